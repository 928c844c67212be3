// The box for a filter of the metadata, with its language explained beside it.
import { Field, html } from "../ui.js";

const EXAMPLES = [
  ['{"author": "Blake"}', "the field author is Blake"],
  ['{"year": {"$gte": 1780, "$lt": 1800}}', "from 1780 up to, but not, 1800"],
  ['{"author": {"$in": ["Blake", "Stein"]}}', "one of these"],
  ['{"note": {"$exists": false}}', "has no field note"],
  ['{"place.city": {"$ne": "London"}}', "the field city within place is not London, or missing"],
  ['{"$or": [{"lang": "en"}, {"lang": "de"}]}', "one of these filters lets it in"],
];

// The filter that stands in the box, undefined when it is empty. Raises an Error that says what is wrong with it.
export function readFilter(text) {
  if (!text.trim()) return undefined;
  let filter;
  try {
    filter = JSON.parse(text);
  } catch (error) {
    throw new Error(`The filter is not JSON: ${error.message}`);
  }
  if (filter === null || typeof filter !== "object" || Array.isArray(filter)) {
    throw new Error('The filter is not a JSON object like {"author": "Blake"}.');
  }
  return filter;
}

// Within a Form, which shows the service's errors; `value` is the filter as text.
export function FilterBox({ value, onValue }) {
  return html`<div>
    <${Field} label="Filter" name="filter" value=${value} onValue=${onValue} class="mono"
      placeholder='{"author": "Blake"}' hint="Lets in only texts whose metadata fit. Empty: all." />
    <details class="help">
      <summary>How to write a filter</summary>
      <p>A JSON object. Fields stand beside their values, or beside conditions:
        ${" "}<code>$eq $ne $gt $gte $lt $lte $in $nin $exists $not</code>; <code>$and $or $not</code> join filters.
        Dots lead into objects and lists.</p>
      <dl class="examples">
        ${EXAMPLES.map(([example, meaning]) => html`<div>
          <dt><button type="button" class="link mono" onClick=${() => onValue(example)}>${example}</button></dt>
          <dd>${meaning}</dd>
        </div>`)}
      </dl>
    </details>
  </div>`;
}
