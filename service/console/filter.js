// The field for a filter of metadata, which searches and lists share, with help on its language.
import { parsed, Problem } from "./api.js";
import { Field, html } from "./ui.js";

const EXAMPLES = [
  ['{"author": "Blake"}', "the field has this value"],
  ['{"year": {"$gte": 1780, "$lt": 1800}}', "from 1780 on, and before 1800; also $gt, $lte, $eq and $ne"],
  ['{"lang": {"$in": ["en", "de"]}}', "one of these; $nin: none of these"],
  ['{"about.place": {"$exists": true}}', "there is such a field; dots lead into objects and lists"],
  ['{"$or": [{"year": 1794}, {"$not": {"lang": "en"}}]}', "either holds; $and: all of them; $not: does not hold"],
];
const hint = "Only texts whose metadata fit, as JSON. Empty: all.";
export const FILTER = { name: "filter", label: "Filter", class: "mono", hint, is: FilterField };

// The filter that was typed; undefined for none. Raises a Problem for the field when it is not a JSON object.
export function filterOf(text) {
  if (!text?.trim()) return undefined;
  const { value, fault = "a filter is an object, in braces" } = parsed(text);
  if (value && typeof value === "object" && !Array.isArray(value)) return value;
  const message = `must be JSON, like {"author": "Blake"} (${fault})`;
  throw new Problem(422, { detail: "The filter cannot be read.", errors: [{ location: "body.filter", message }] });
}

function FilterField(props) {
  return html`<div class="filter">
    <${Field} ...${props} />
    <details>
      <summary>How to write a filter</summary>
      <ul>${EXAMPLES.map(([example, meaning]) => html`<li>
        <button type="button" class="link" onClick=${() => props.onValue(example)}><code>${example}</code></button>
        ${" "}${meaning}
      </li>`)}</ul>
    </details>
  </div>`;
}
