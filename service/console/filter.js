// The box for a filter of metadata, which searches and lists share, with help on its language.
import { Problem } from "./api.js";
import { Field, html } from "./ui.js";

const EXAMPLES = [
  ['{"author": "Blake"}', "the field has this value"],
  ['{"year": {"$gte": 1780, "$lt": 1800}}', "from 1780 on, and before 1800; also $gt, $lte, $eq and $ne"],
  ['{"lang": {"$in": ["en", "de"]}}', "one of these; $nin: none of these"],
  ['{"about.place": {"$exists": true}}', "there is such a field; dots lead into objects and lists"],
  ['{"$or": [{"year": 1794}, {"$not": {"lang": "en"}}]}', "either holds; $and: all of them; $not: does not hold"],
];

// The filter that was typed; undefined for none. Raises a Problem for the box when it is not a JSON object.
export function filterOf(text) {
  if (!text.trim()) return undefined;
  let filter;
  let reason = "a filter is an object, in braces";
  try {
    filter = JSON.parse(text);
  } catch (error) {
    reason = error.message;
  }
  if (filter && typeof filter === "object" && !Array.isArray(filter)) return filter;
  const message = `must be JSON, like {"author": "Blake"} (${reason})`;
  throw new Problem(422, { detail: "The filter cannot be read.", errors: [{ location: "body.filter", message }] });
}

// Stands in a Form, whose error is shown at it. `value` is what was typed.
export function FilterBox({ value, onValue }) {
  return html`<div class="filter">
    <${Field} label="Filter" name="filter" value=${value} onValue=${onValue} class="mono"
      hint="Only texts whose metadata fit, as JSON. Empty: all." />
    <details>
      <summary>How to write a filter</summary>
      <ul>
        ${EXAMPLES.map(
          ([example, meaning]) => html`<li>
            <button type="button" class="link" onClick=${() => onValue(example)}><code>${example}</code></button>${" "}
            ${meaning}
          </li>`,
        )}
      </ul>
    </details>
  </div>`;
}
