// Forms as data: what is typed in fields, a form that sends it, and buttons that open one in a dialog.
import { patch, remove } from "./api.js";
import { useAction } from "./hooks.js";
import { go, notify } from "./store.js";
import { useState } from "./vendor/hooks.js";
import { Dialog, Field, Form, html } from "./ui.js";

// A field of a form: what `Field` takes, where `is` names another component that draws it.
export const field = (name, label, hint, more) => ({ name, label, hint, ...more });

// What a field shows of what is stored: a moment in local time, as the browser's inputs want it.
function shown({ type }, value) {
  if (type !== "datetime-local" || !value) return value ?? "";
  const at = new Date(value);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

// What is sent of a field: numbers as numbers, moments in UTC, null for what is empty, and no spaces around words.
function sent({ type, lines, isExact }, value) {
  if (type === "checkbox") return Boolean(value);
  const text = lines || isExact ? value : String(value).trim();
  if ((isExact ? text : text.trim()) === "") return null;
  if (type === "datetime-local") return new Date(text).toISOString();
  return type === "number" ? Number(text) : text;
}

// What is typed: {values, body, changes, isFilled, isChanged, inputs, set}. `fields` are a list, or a function of the
// values. `changes` has of the body what is not as stored.
// An `isExact` one keeps its spaces; a list within the list is a row; markup stands as it is. `stored` are the first
// values; what was typed is forgotten when `follows` changes.
export function useFields(fields, stored = {}, follows = "") {
  const [state, setState] = useState({ follows, typed: {} });
  if (state.follows !== follows) setState({ follows, typed: {} });
  const typed = state.follows === follows ? state.typed : {};
  const set = (changes) =>
    setState((old) => ({ follows, typed: { ...(old.follows === follows && old.typed), ...changes } }));
  const values = { ...stored, ...typed };
  const rows = typeof fields === "function" ? fields(values) : fields;
  const named = rows.flat().filter((one) => one?.name);
  const value = (field) => typed[field.name] ?? shown(field, stored[field.name]);
  const isOther = (one) => sent(one, value(one)) !== sent(one, shown(one, stored[one.name]));
  const body = (some) => Object.fromEntries(some.map((one) => [one.name, sent(one, value(one))]));
  const draw = (field) => {
    if (!field?.name) return field;
    const { is = Field, isExact, ...rest } = field;
    return html`<${is} key=${field.name} ...${rest} value=${value(field)}
      onValue=${(given) => set({ [field.name]: given })} />`;
  };
  return {
    values,
    body: body(named),
    changes: body(named.filter(isOther)),
    isFilled: named.every((one) => !one.required || sent(one, value(one)) !== null),
    isChanged: named.some(isOther),
    inputs: rows.map((one) =>
      (Array.isArray(one) ? html`<div class="row from-top">${one.map(draw)}</div>` : draw(one))),
    set,
    clear: () => setState({ follows, typed: {} }),
  };
}

// A form that changes what is at `where`, or sends what is typed by `send(body, {signal})`. Then `done` is said, a text
// or a function of the body and the answer, and `onDone` called with the answer.
// - With `where` only the changed fields are sent: somebody else may have changed the others meanwhile.
// - `confirm`: a name that must be typed. `isEdit`: a change is needed before it can be sent.
// - `mayCancel`: there is a button that cancels what is being sent. `clears`: the fields are as at first afterwards.
// - `error`: one from elsewhere, shown as its own.
export function DataForm({ fields = [], stored, where, send, done, onDone, error, children, ...rest }) {
  const { confirm, isEdit, mayCancel, clears, submit = "Save", ...frame } = rest;
  const label = html`Type <code>${confirm}</code> to confirm`;
  const form = useFields(confirm ? [{ name: "confirm", label, required: true, isFirst: true }] : fields, stored);
  const act = useAction(async (by, options) => {
    const answer = await (send ? send(form.body, options) : patch(where, form.changes, options));
    if (done) notify(typeof done === "function" ? done(form.body, answer) : done);
    if (clears) form.clear();
    onDone?.(answer);
  });
  const action = { ...act, error: act.error ?? error };
  const isReady = form.isFilled && (!confirm || form.body.confirm === confirm) && (!isEdit || form.isChanged);
  const cancel = mayCancel && act.isRunning && act.cancel;
  return html`<${Form} onCancel=${cancel} ...${frame} submit=${submit} action=${action} isReady=${isReady}>
    ${children}${form.inputs}
  <//>`;
}

// A button that opens a form in a dialog, which is closed when the form has been sent.
export function FormButton({ label, title = label, kind, disabled, onDone, ...form }) {
  const [isOpen, setOpen] = useState(false);
  const close = () => setOpen(false);
  const ended = (answer) => {
    close();
    onDone?.(answer);
  };
  return html`<button type="button" class=${kind} disabled=${disabled} onClick=${() => setOpen(true)}>${label}</button>
    ${isOpen && html`<${Dialog} title=${title} onClose=${close}>
      <${DataForm} kind=${kind} ...${form} onCancel=${close} onDone=${ended} />
    <//>`}`;
}

// A button that deletes what is at `where` when its name has been typed, and goes to `to`.
export const Delete = ({ noun, name, where, to, children }) =>
  html`<${FormButton} label="Delete …" title="Delete the ${noun}" submit="Delete the ${noun}" kind="danger"
    confirm=${name} send=${(body, options) => remove(where, options)} done="The ${noun} ${name} is deleted."
    onDone=${() => go(to)}>${children}<//>`;
