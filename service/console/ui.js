// The parts that pages are made of. Texts are shown as text by preact, and nothing is ever set as HTML.
import { percent } from "./format.js";
import { link, notify, offset, route, session, setQuery } from "./store.js";
import { useContext, useEffect, useId, useLayoutEffect, useRef } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";
import { createContext, h } from "./vendor/preact.js";

export const html = htm.bind(h);

let announced = null; // the address whose heading had the focus last

// A page: its heading has the focus when one comes from another page, so that screen readers read it.
export function Page({ title, lead, actions, children }) {
  const heading = useRef(null);
  const where = route.value.parts.join("/");
  useEffect(() => {
    document.title = `${title} · Embedding service`;
    if (announced !== null && announced !== where) heading.current.focus();
    announced = where;
  }, [title, where]);
  return html`<header class="page-head">
      <div><h1 tabindex="-1" ref=${heading}>${title}</h1>${lead && html`<p class="lead">${lead}</p>`}</div>
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>
    ${children}`;
}

// A part of a page. `facts` are pairs that it begins with; `from` is what its content is loaded from.
export function Card({ title, actions, facts, from, children }) {
  const id = useId();
  return html`<section class="card" aria-labelledby=${title && id}>
    ${title && html`<header><h2 id=${id}>${title}</h2><div class="actions">${actions}</div></header>`}
    ${facts && html`<${Facts} pairs=${facts} />`}
    ${from ? html`<${Loaded} from=${from}>${children}<//>` : children}
  </section>`;
}

// What `useLoad` has loaded: children is a function of the data.
export function Loaded({ from: { data, error, reload }, children }) {
  const wait = html`<p class="loading" role="status"><span class="spinner"></span>Loading …</p>`;
  return html`<${Failure} error=${error} retry=${reload} />${data === undefined ? !error && wait : children(data)}`;
}

// An error in the service's own words, with all that was wrong.
export function Failure({ error, retry }) {
  if (!error) return null;
  const errors = error.errors?.filter((one) => one.message) ?? [];
  return html`<div class="failure" role="alert">
    <p><strong>${error.message}</strong></p>
    ${errors.length > 0 && html`<ul>
      ${errors.map((one) => html`<li>${one.location && html`<code>${one.location}</code> `}${one.message}</li>`)}
    </ul>`}
    ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

export const Empty = ({ title, children }) => html`<div class="empty"><p class="title">${title}</p>${children}</div>`;

const FormError = createContext(null);
const PROPERTY = /^\w+\.(?:(?:texts|embeddings)\[0\]\.)?(\w+)/; // in a location: of the body, or of the text in it

// The frame of a form. `action` is one of `useAction`: its error is shown here, and at the fields that the service
// names; `run` gets the value of the button that was pressed. `kind` is that of the first button, `more` are others.
export function Form({ action, submit, kind = "primary", onCancel, more, isReady = true, children }) {
  const send = (event) => {
    event.preventDefault();
    action.run(event.submitter?.value);
  };
  return html`<form onSubmit=${send}>
    <${FormError.Provider} value=${action.error}>${children}<//>
    <${Failure} error=${action.error} />
    <div class="actions">
      <button class=${kind} disabled=${action.isRunning || !isReady}>
        ${action.isRunning && html`<span class="spinner"></span>`}${submit}
      </button>
      ${onCancel && html`<button type="button" onClick=${onCancel}>Cancel</button>`}
      ${more}
    </div>
  </form>`;
}

// A labelled input. `name` is the property of the body, at which the service's errors are shown. `options` are
// [value, label] pairs, or values. `lines` makes it a text area. `onValue` gets what was typed or chosen. With
// `isFirst` it has the focus when it appears.
export function Field({ label, name, hint, value, onValue, options, lines, isFirst, type = "text", ...rest }) {
  const id = useId();
  useEffect(() => {
    if (isFirst) document.getElementById(id)?.focus();
  }, []);
  const error = useContext(FormError)?.errors?.find((one) => name && PROPERTY.exec(one.location)?.[1] === name);
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
  const isCheck = type === "checkbox";
  const common = {
    id, name, "aria-describedby": described, "aria-invalid": error ? "true" : undefined,
    [isCheck ? "checked" : "value"]: value,
  };
  const change = ({ currentTarget: { checked, value: typed } }) => onValue(isCheck ? checked : typed);
  const choices = options?.map((one) => [one].flat()).map(([key, text = key]) =>
    html`<option value=${key} selected=${key === value}>${text}</option>`);
  const input = { type, autocomplete: "off", spellcheck: false };
  const [tag, own] = (options && ["select"]) || (lines && ["textarea", { rows: lines }]) || ["input", input];
  return html`<div class="field ${isCheck ? "check" : ""}">
    <label for=${id}>${label}</label>
    <${tag} ...${own} ...${common} ...${rest} onInput=${change}>${choices}<//>
    ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
    ${error && html`<p class="error" id="${id}-error">${error.message}</p>`}
  </div>`;
}

// A modal dialog: the browser keeps the focus inside, and gives it back at the end. Escape closes it.
export function Dialog({ title, onClose, children, class: more = "" }) {
  const dialog = useRef(null);
  const id = useId();
  useLayoutEffect(() => { // before a field within takes the focus
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  const cancelled = (event) => {
    event.preventDefault();
    onClose?.();
  };
  return html`<dialog ref=${dialog} class=${more} aria-labelledby=${id} onCancel=${cancelled}>
    <header>
      <h2 id=${id}>${title}</h2>
      ${onClose && html`<button type="button" class="quiet" aria-label="Close" onClick=${onClose}>✕</button>`}
    </header>
    ${children}
  </dialog>`;
}

// A table that scrolls within itself on small screens. `columns` are [title, cell(row), class]; the first is the
// row's header. Without rows `empty` is shown.
export function Table({ caption, columns, rows, rowKey, empty }) {
  if (empty && !rows.length) return html`<p class="faint">${empty}</p>`;
  return html`<div class="table" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <caption class="unseen">${caption}</caption>
      <thead><tr>${columns.map(([title, , kind]) => html`<th scope="col" class=${kind}>${title}</th>`)}</tr></thead>
      <tbody>
        ${rows.map((row) => html`<tr key=${rowKey?.(row)}>
          ${columns.map(([, cell, kind], at) =>
            (at ? html`<td class=${kind}>${cell(row)}</td>` : html`<th scope="row">${cell(row)}</th>`))}
        </tr>`)}
      </tbody>
    </table>
  </div>`;
}

// Links to the pages of a list, by `offset` in the address.
export function Pages({ size, hasNext }) {
  if (!offset.value && !hasNext) return null;
  const to = (place) => () => setQuery({ offset: place }, { replace: false });
  return html`<nav class="actions" aria-label="Pages of the list">
    <button type="button" disabled=${!offset.value} onClick=${to(Math.max(0, offset.value - size))}>Previous</button>
    <button type="button" disabled=${!hasNext} onClick=${to(offset.value + size)}>Next</button>
  </nav>`;
}

// Pairs of a term and its value; those without a value are left out.
export function Facts({ pairs }) {
  const shown = pairs.filter(([, value]) => (value ?? "") !== "");
  return html`<dl class="facts">
    ${shown.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>`;
}

// `kind`: good, warning, bad, or nothing.
export const Badge = ({ kind = "", children }) => html`<span class="badge ${kind}">${children}</span>`;

// Progress from 0 to 1, or without an end when `value` is not known.
export const Progress = ({ value, label, onCancel }) => html`<div class="progress">
  <progress max="1" value=${value} aria-label=${label}></progress><span role="status">${label}</span>
  ${onCancel && html`<button type="button" onClick=${onCancel}>Cancel</button>`}
</div>`;

export const Code = ({ text, label }) => html`<div class="code">
  <pre tabindex="0"><code>${text}</code></pre>
  <${CopyButton} text=${text} label=${label} />
</div>`;

export function CopyButton({ text, label = "Copy" }) {
  const copy = async () => navigator.clipboard.writeText(text);
  const refused = () => notify("The browser did not allow it: select the text and copy it.");
  const copied = () => copy().then(() => notify("Copied."), refused);
  return html`<button type="button" class="copy" onClick=${copied}>${label}</button>`;
}

// A key that is shown this once.
export const Secret = ({ value, children }) => html`<div class="warning-box" role="status">
  <p><strong>This key is shown only now.</strong> ${children}</p>
  <${Code} text=${value} label="Copy the key" />
</div>`;

// A link to a project, instance or definition, which `noun` says. The owner is named when it is another than oneself,
// and with `isFull`.
export function Named({ noun, isFull, owner, [`${noun}_handle`]: handle }) {
  const shown = owner === session.value?.handle && !isFull ? handle : `${owner}/${handle}`;
  return html`<a href=${link`/${`${noun}s`}/${owner}/${handle}`}>${shown}</a>`;
}

// Metadata in a few words: names and values, without those of nested objects.
export function Pairs({ metadata }) {
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  return html`<span class="pairs">${Object.entries(metadata ?? {}).map(([name, value]) =>
    html`<span key=${name}><span class="faint">${name}</span> ${shown(value)}</span> `)}</span>`;
}

// How a project is searched. `index` is the interface's.
export function IndexBadge({ index }) {
  const recall = index.recall === undefined ? "" : `, finds ${percent(index.recall, 1)}`;
  if (index.state === "indexed") return html`<${Badge} kind="good">Indexed${recall}<//>`;
  if (index.state === "exact") return html`<${Badge}>Searched exactly<//>`;
  return html`<${Badge} kind="warning">Index ${percent(index.progress ?? 0)} built${recall}<//>`;
}

// A similarity from -1 to 1 as a number and a bar, which is empty below 0.
export const SimilarityBar = ({ value }) => html`<span class="similarity">
  <span class="bar" aria-hidden="true"><span style=${{ width: `${Math.max(0, value) * 100}%` }}></span></span>
  <span class="number"><span class="unseen">Similarity </span>${value.toFixed(4)}</span>
</span>`;
