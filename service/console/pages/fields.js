// The fields of forms that instances, definitions and shares have in common.
import { all } from "../api.js";
import { useAction, useLoad } from "../hooks.js";
import { useState } from "../vendor/hooks.js";
import { Badge, DialogButton, Failure, Field, Form, html } from "../ui.js";

// The names of what describes a model, and of the limits of what is spent.
export const MODEL = ["api_standard", "endpoint", "model", "dimensions", "context_limit", "description"];
export const LIMITS = ["tokens_per_day", "tokens_per_month", "requests_per_minute", "expires_at"];
const NUMBERS = new Set(["dimensions", "context_limit", ...LIMITS.slice(0, 3)]);

// What is typed in a form, from a stored object: {values, field}. `field(name)` has what a Field needs of it.
export function useFields(stored = {}) {
  const [values, setValues] = useState({ ...stored, expires_at: local(stored.expires_at) });
  const set = (name) => (value) => setValues((old) => ({ ...old, [name]: value }));
  return { values, field: (name) => ({ name, value: values[name] ?? "", onValue: set(name) }) };
}

// The properties of a body: numbers as numbers, times in UTC, and null for what is empty.
export function bodyOf(values, names) {
  return Object.fromEntries(names.map((name) => [name, sent(name, values[name] ?? "")]));
}

function sent(name, value) {
  if (value === "") return null;
  if (name === "expires_at") return new Date(value).toISOString();
  return NUMBERS.has(name) ? Number(value) : value;
}

// A moment as the browser's inputs want it, in local time.
function local(moment) {
  if (!moment) return "";
  const at = new Date(moment);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export function ModelFields({ field, isInstance }) {
  const from = useLoad((signal) => all("/v1/api-standards", "api_standards", { signal }), ["standards"]);
  const { value } = field("api_standard");
  const options = (from.data ?? [{ api_standard_handle: value, dialect: value }]).map((one) => [
    one.api_standard_handle,
    one.dialect ? one.api_standard_handle : `${one.api_standard_handle} (stored only, not called)`,
  ]);
  return html`<${Failure} error=${from.error} retry=${from.reload} />
    <div class="row from-top">
      <${Field} label="API standard" ...${field("api_standard")} options=${options} required />
      <${Field} label="Model" ...${field("model")} hint="Its name at the provider." />
    </div>
    <${Field} label="Endpoint" ...${field("endpoint")} type="url"
      hint="Where the provider is asked: a whole URL, or the base to which the standard adds its path." />
    <div class="row from-top">
      <${Field} label="Dimensions" ...${field("dimensions")} type="number" min="1" required=${isInstance}
        hint="How many numbers its vectors have." />
      <${Field} label="Context limit" ...${field("context_limit")} type="number" min="1"
        hint="The most tokens that the model reads." />
    </div>
    <${Field} label="Description" ...${field("description")} lines="2" class="prose" />`;
}

export function LimitFields({ field }) {
  return html`<div class="row from-top">
      <${Field} label="Tokens a day" ...${field("tokens_per_day")} type="number" min="0" />
      <${Field} label="Tokens a month" ...${field("tokens_per_month")} type="number" min="0" />
      <${Field} label="Requests a minute" ...${field("requests_per_minute")} type="number" min="0" />
    </div>
    <${Field} label="Ends" ...${field("expires_at")} type="datetime-local"
      hint="Empty: no limit; 0: nothing. Days and months are those of UTC." />`;
}

export function KeyField({ field, ...rest }) {
  return html`<${Field} label="The provider's key" ...${field("api_key")} type="password" autocomplete="new-password"
    ...${rest} hint="It is stored encrypted, and never shown again. Some providers need none." />`;
}

export function KeyBadge({ instance }) {
  return instance.has_api_key ? html`<${Badge} kind="good">stored<//>` : html`<${Badge}>none<//>`;
}

// A button that opens a form for a stored object. Its fields are fields(field), and send(values, options) stores them.
export function Change({ label, kind, submit = "Save", stored, send, reload, fields }) {
  return html`<${DialogButton} label=${label} kind=${kind}>
    ${(close) => html`<${ChangeForm} ...${{ submit, stored, send, reload, fields, close }} />`}
  <//>`;
}

function ChangeForm({ submit, stored, send, reload, fields, close }) {
  const { values, field } = useFields(stored);
  const action = useAction(async (options) => {
    await send(values, options);
    close();
    reload?.();
  });
  return html`<${Form} action=${action} submit=${submit} onCancel=${close}>${fields(field)}<//>`;
}
