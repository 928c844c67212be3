// The fields that several forms have in common: of instances, definitions, projects, and the filter of metadata.
import { all, parsed, path, Problem } from "../api.js";
import { plural } from "../format.js";
import { useGet, useLoad } from "../hooks.js";
import { Failure, Field, html } from "../ui.js";

export const HANDLE = {
  label: "Name", required: true, isFirst: true,
  hint: "3 to 64 letters, digits and . _ ~ - ; it stands in addresses, and is not changed later.",
};
export const DESCRIPTION = { name: "description", label: "Description", lines: 2, class: "prose" };
export const KEY = {
  name: "api_key", label: "The provider's key", type: "password", autocomplete: "new-password",
  hint: "It is stored encrypted, and never shown again. Some providers need none.",
};
export const LIMITS = [
  [
    { name: "tokens_per_day", label: "Tokens a day", type: "number", min: 0 },
    { name: "tokens_per_month", label: "Tokens a month", type: "number", min: 0 },
    { name: "requests_per_minute", label: "Requests a minute", type: "number", min: 0 },
  ],
  {
    name: "expires_at", label: "Ends", type: "datetime-local",
    hint: "Empty: no limit; 0: nothing. Days and months are those of UTC.",
  },
];

export const FILTER = {
  name: "filter", label: "Filter", class: "mono", is: Filter,
  hint: "Only texts whose metadata fit, as JSON. Empty: all.",
};
const FILTERS = [
  ['{"author": "Blake"}', "the field has this value"],
  ['{"year": {"$gte": 1780, "$lt": 1800}}', "from 1780 on, and before 1800; also $gt, $lte, $eq and $ne"],
  ['{"lang": {"$in": ["en", "de"]}}', "one of these; $nin: none of these"],
  ['{"about.place": {"$exists": true}}', "there is such a field; dots lead into objects and lists"],
  ['{"$or": [{"year": 1794}, {"$not": {"lang": "en"}}]}', "either holds; $and: all of them; $not: does not hold"],
];

// What describes a model. An instance must have dimensions.
export const modelFields = (isInstance) => [
  [
    { name: "api_standard", label: "API standard", is: Standard, required: true },
    { name: "model", label: "Model", hint: "Its name at the provider." },
  ],
  {
    name: "endpoint", label: "Endpoint", type: "url",
    hint: "Where the provider is asked: a whole URL, or the base to which the standard adds its path.",
  },
  [
    {
      name: "dimensions", label: "Dimensions", type: "number", min: 1, required: isInstance,
      hint: "How many numbers its vectors have.",
    },
    {
      name: "context_limit", label: "Context limit", type: "number", min: 1,
      hint: "The most tokens that the model reads.",
    },
  ],
  DESCRIPTION,
];

// The same in words, of one that is stored.
export const modelFacts = (one) => [
  ["Model", one.model],
  ["Dimensions", one.dimensions],
  ["API standard", one.api_standard],
  ["Endpoint", one.endpoint],
  ["Context limit", one.context_limit && plural(one.context_limit, "token")],
];

function Standard({ value, ...rest }) {
  const from = useLoad((signal) => all("/v1/api-standards", "api_standards", { signal }), ["standards"]);
  const known = from.data ?? [{ api_standard_handle: value, dialect: value }];
  const options = known.map(({ api_standard_handle: handle, dialect }) =>
    [handle, dialect ? handle : `${handle} (stored only, not called)`]);
  return html`<${Failure} error=${from.error} retry=${from.reload} />
    <${Field} ...${rest} value=${value} options=${options} />`;
}

// The instances that a user owns or has been given.
export function useInstances(user) {
  const load = async (signal) => (user ? all(path`/v1/llm-instances/${user}`, "instances", { signal }) : []);
  return useLoad(load, ["instances", user]);
}

// The name of an instance in the choice of one. A handle of the original system may hold a "/", an owner's not.
export const instanceName = (one) => `${one.owner}/${one.instance_handle}`;

// What a project's body says of the instance of that name.
export function instanceOf(name) {
  const [owner, handle] = name.split(/\/(.*)/s);
  return { instance_owner: owner, instance_handle: handle };
}

// The choice of a project's instance, with what the chosen one is.
export const instanceField = (instances, hint) => ({
  name: "instance_handle", label: "Instance", is: Instance, required: true, hint,
  options: [["", "Choose …"], ...instances.map(instanceName)],
});

function Instance({ value, hint, ...rest }) {
  const { instance_owner: owner, instance_handle: handle } = instanceOf(value);
  const { data: one, error } = useGet(value && path`/v1/llm-instances/${owner}/${handle}`);
  const facts = one && [one.model, plural(one.dimensions, "dimension"), one.api_standard].filter(Boolean).join(", ");
  return html`<${Field} ...${rest} value=${value} hint=${facts || hint} /><${Failure} error=${error} />`;
}

// The filter that was typed; undefined for none. Raises a Problem for the field when it is not a JSON object.
export function filterOf(text) {
  if (!text?.trim()) return undefined;
  const { value, fault = "a filter is an object, in braces" } = parsed(text);
  if (value && typeof value === "object" && !Array.isArray(value)) return value;
  const message = `must be JSON, like {"author": "Blake"} (${fault})`;
  throw new Problem(422, { detail: "The filter cannot be read.", errors: [{ location: "body.filter", message }] });
}

function Filter(props) {
  return html`<div class="filter">
    <${Field} ...${props} />
    <details>
      <summary>How to write a filter</summary>
      <ul>${FILTERS.map(([example, meaning]) => html`<li>
        <button type="button" class="link" onClick=${() => props.onValue(example)}><code>${example}</code></button>
        ${" "}${meaning}
      </li>`)}</ul>
    </details>
  </div>`;
}
