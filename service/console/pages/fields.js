// The fields that several forms have in common: of instances, definitions, projects, and the filter of metadata.
import { ownerAndHandle, parsed, path, Problem } from "../api.js";
import { plural } from "../format.js";
import { field } from "../forms.js";
import { useAll } from "../hooks.js";
import { Failure, Field, html } from "../ui.js";

const COUNT = { type: "number", min: 1 };
const ENDPOINT = "Where the provider is asked: a whole URL, or the base to which the standard adds its path.";
const HANDLES = "3 to 64 letters, digits and . _ ~ - ; it stands in addresses, and is not changed later.";
export const handleField = (name, label = "Name") => field(name, label, HANDLES, { required: true, isFirst: true });
export const DESCRIPTION = field("description", "Description", "", { lines: 2, class: "prose" });
export const KEY = field(
  "api_key", "The provider's key", "It is stored encrypted, and never shown again. Some providers need none.",
  { type: "password", autocomplete: "new-password" },
);
export const DIMENSIONS = field("dimensions", "Dimensions", "How many numbers its vectors have.", COUNT);
export const LIMITS = [
  [
    field("tokens_per_day", "Tokens a day", "", { type: "number", min: 0 }),
    field("tokens_per_month", "Tokens a month", "", { type: "number", min: 0 }),
    field("requests_per_minute", "Requests a minute", "", { type: "number", min: 0 }),
  ],
  field("expires_at", "Ends", "Empty: no limit; 0: nothing. Days and months are UTC's.", { type: "datetime-local" }),
];
export const FILTER = field("filter", "Filter", "Only texts whose metadata fit, as JSON. Empty: all.", { is: Filter });
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
    field("api_standard", "API standard", "", { is: Standard, required: true }),
    field("model", "Model", "Its name at the provider."),
  ],
  field("endpoint", "Endpoint", ENDPOINT, { type: "url" }),
  [
    { ...DIMENSIONS, required: isInstance },
    field("context_limit", "Context limit", "The most tokens that the model reads.", COUNT),
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
  const from = useAll("/v1/api-standards", "api_standards");
  const known = from.data ?? [{ api_standard_handle: value, dialect: value }];
  const options = known.map(({ api_standard_handle: handle, dialect }) =>
    [handle, dialect ? handle : `${handle} (stored only, not called)`]);
  return html`<${Failure} error=${from.error} retry=${from.reload} />
    <${Field} ...${rest} value=${value} options=${options} />`;
}

// The instances that a user owns or has been given.
export const useInstances = (user) => useAll(user && path`/v1/llm-instances/${user}`, "instances");

// The name of an instance in the choice of one.
export const instanceName = (one) => `${one.owner}/${one.instance_handle}`;

// What a project's body says of the instance of that name.
export function instanceOf(name) {
  const [owner, handle] = ownerAndHandle(name);
  return { instance_owner: owner, instance_handle: handle };
}

// The choice of a project's instance, with what the chosen one is.
export const instanceField = (instances, hint) =>
  field("instance_handle", "Instance", hint, { is: Instance, required: true, instances });

function Instance({ instances, hint, ...rest }) {
  const one = instances.find((known) => instanceName(known) === rest.value);
  const facts = one && [one.model, plural(one.dimensions, "dimension"), one.api_standard].filter(Boolean).join(", ");
  const options = [["", "Choose …"], ...instances.map(instanceName)];
  return html`<${Field} ...${rest} options=${options} hint=${facts || hint} />`;
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
    <${Field} ...${props} class="mono" />
    <details>
      <summary>How to write a filter</summary>
      <ul>${FILTERS.map(([example, meaning]) => html`<li>
        <button type="button" class="link" onClick=${() => props.onValue(example)}><code>${example}</code></button>
        ${" "}${meaning}
      </li>`)}</ul>
    </details>
  </div>`;
}
