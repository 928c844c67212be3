// Search in a project: by a text, by a stored text, or by a vector; and how the same is asked for elsewhere.
import { parsed, path, post, Problem, ROOT } from "../api.js";
import { number, percent, plural } from "../format.js";
import { field, useFields } from "../forms.js";
import { useLoad } from "../hooks.js";
import { route, session, setQuery } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Code, Empty, Form, html, Loaded, Pairs, SimilarityBar } from "../ui.js";
import { FILTER, filterOf } from "./fields.js";

const LONGEST_IN_ADDRESS = 2000; // characters of a vector
const ELSEWHERE = "-"; // in the address, in place of a longer one
// Ways to search, as the address and the interface call them.
const WAYS = [["text", "Text"], ["text_id", "Like a stored text"], ["vector", "Vector"]];
const NO_WAY = { text: "", text_id: "", vector: "" };
const USUAL = { limit: 10, threshold: 0 };
const RECALLS = [["", "as usual"], ["exact", "all of the nearest"], ...[0.999, 0.99, 0.95, 0.9].map((one) =>
  [String(one), `${percent(one, 1)} of the nearest`])];
const OPTIONS = [
  FILTER,
  [
    field("limit", "Results", "", { type: "number", min: 1, max: 200, required: true }),
    field("threshold", "Least similarity", "", { type: "number", min: -1, max: 1, step: "any", required: true }),
    field("recall", "Find", "", { options: RECALLS }),
  ],
];
const PYTHON = { null: "None", true: "True", false: "False" };
const HOW = {
  index: "by the index, which finds % of the nearest",
  exact: "all texts were compared, so none of the nearest is missing",
  filtered: "all texts that pass the filter were compared, so none of the nearest is missing",
};

export default function Search({ project, instance, base, canSearchTexts }) {
  const { query } = route.value;
  const [longVector, setLongVector] = useState("");
  const [turn, setTurn] = useState(0);
  const asked = askedBy(query, canSearchTexts ? "text" : "text_id", longVector);
  const from = useLoad(
    async (signal) => {
      if (!asked[asked.by]) return null;
      const request = requestOf(asked, base, instance?.dimensions);
      const start = performance.now();
      return { found: await post(request.path, request.body, { signal }), request, took: performance.now() - start };
    },
    [base.similars, asked, turn],
  );
  const amount = instance ? `${number(instance.dimensions)} numbers` : "Numbers";
  const sought = {
    text: field("text", "Text"),
    text_id: field("text_id", "Id of the stored text", "Shows more like this one.", { isExact: true }),
    vector: field("vector", "Vector", `${amount} in brackets: [0.1, -0.2, …]`, { lines: 3 }),
  };
  const ways = { name: "by", is: Ways, ways: canSearchTexts ? WAYS : WAYS.slice(1) };
  const fields = ({ by }) => [ways, { ...sought[by], required: true, isFirst: true }, ...OPTIONS];
  const form = useFields(fields, asked, query.toString());
  const submit = () => {
    const { by, limit, threshold, ...body } = form.body;
    const isLong = by === "vector" && body.vector.length > LONGEST_IN_ADDRESS;
    setLongVector(isLong ? body.vector : "");
    const numbers = { limit: limit === USUAL.limit ? "" : limit, threshold };
    setQuery({ ...NO_WAY, ...body, ...numbers, ...(isLong && { vector: ELSEWHERE }) }, { replace: false });
    setTurn(turn + 1); // also when nothing was changed
  };
  const action = { run: submit, error: from.error }; // also while another search is running, which then ends
  return html`<section class="card" aria-label="Search">
      <${Form} action=${action} submit="Search" isReady=${form.isFilled}>${form.inputs}<//>
      ${query.get("vector") === ELSEWHERE &&
      html`<p class="hint">A vector of more than ${number(LONGEST_IN_ADDRESS)} characters is not in the address.
        Who opens it elsewhere must paste the vector again.</p>`}
    </section>
    ${!from.error && html`<${Loaded} from=${{ data: from.data }}>${(answer) => answer &&
      html`<${Answer} ...${answer} asked=${asked} project=${project} base=${base} />`}<//>`}
    ${!from.error && !asked[asked.by] && (project.number_of_embeddings
      ? html`<${Empty} title="What are you looking for?">
          <p>Results are the texts that are nearest to what you ask for, best first.</p><//>`
      : html`<${Empty} title="This project has no texts yet.">
          <p><a href=${base.page}>Add some</a>, then search them.</p><//>`)}`;
}

const Ways = ({ ways, value, onValue }) => html`<fieldset class="ways">
  <legend>Search by</legend>
  ${ways.map(([way, label]) => html`<label>
    <input type="radio" name="by" value=${way} checked=${value === way} onChange=${() => onValue(way)} /> ${label}
  </label>`)}
</fieldset>`;

// What the address asks for. In place of what is no number there is the usual one.
function askedBy(query, usualWay, longVector) {
  const [by] = WAYS.find(([way]) => query.has(way)) ?? [usualWay];
  const { [by]: sought, limit, threshold, filter = "", recall = "" } = Object.fromEntries(query);
  const numberOf = (given, usual) => (Number.isFinite(Number(given ?? NaN)) ? Number(given) : usual);
  return {
    by, filter, recall, limit: numberOf(limit, USUAL.limit), threshold: numberOf(threshold, USUAL.threshold),
    [by]: by === "vector" && sought === ELSEWHERE ? longVector : sought?.trim() && sought,
  };
}

// The request of a search. Raises a Problem for a vector or filter that cannot be sent.
function requestOf({ by, text, text_id, vector, filter, limit, threshold, recall }, base, dimensions) {
  const exactness = recall === "exact" ? { exact: true } : recall && { recall };
  const parameters = new URLSearchParams({ limit, threshold, ...exactness });
  const what = by === "vector" ? { vector: vectorOf(vector, dimensions) } : { text, text_id }; // one is not given
  const body = { ...what, filter: filterOf(filter), include: ["text", "metadata"] };
  return { path: `${base.similars}?${parameters}`, body, parameters };
}

function vectorOf(text, dimensions) {
  const { value } = parsed(text);
  const isVector = Array.isArray(value) && value.every((one) => typeof one === "number");
  if (isVector && (!dimensions || value.length === dimensions)) return value;
  const message = isVector
    ? `must have ${plural(dimensions, "number")}, as all vectors of this project; it has ${number(value.length)}`
    : "must be a list of numbers, like [0.1, -0.2]";
  throw new Problem(422, { detail: "The vector cannot be sent.", errors: [{ location: "body.vector", message }] });
}

// The arrows go from result to result.
function move(event) {
  const sibling = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const next = event.target.matches("a") && event.target.closest("li")[sibling]?.querySelector("a");
  if (!next) return;
  event.preventDefault();
  next.focus();
}

const Answer = ({ found: { results, search }, request, took, asked, project, base }) =>
  html`<section aria-labelledby="results-title">
    <h2 id="results-title">Results</h2>
    <p role="status">${plural(results.length, "result")}, ${HOW[search.method].replace("%", percent(search.recall, 1))}.
      ${" "}<span class="faint">Method <code>${search.method}</code>, recall ${number(search.recall)},
        ${" "}${number(Math.round(took))} ms from here and back.</span></p>
    ${results.length === 0 && html`<${Empty} title="Nothing is that similar.">
      <p>Lower the least similarity${asked.filter ? ", or change the filter" : ""}.</p>
    <//>`}
    <ol class="results" onKeyDown=${move}>
      ${results.map((one) => html`<li key=${one.id}>
        <div class="result-head">
          <a href=${base.page + path`/text/${one.id}`}>${one.id}</a>
          <${SimilarityBar} value=${one.similarity} />
          <button type="button" class="link" aria-label="More like this: ${one.id}"
            onClick=${() => setQuery({ ...NO_WAY, text_id: one.id }, { replace: false })}>More like this</button>
        </div>
        ${one.text && html`<p class="text">${marked(one.text, asked.text)}</p>`}
        <${Pairs} metadata=${one.metadata} />
      </li>`)}
    </ol>
    <details class="card">
      <summary>The same search elsewhere</summary>
      <p class="hint">Put your key into the variable <code>KEY</code> first.</p>
      <h3>curl</h3>
      <${Code} text=${curlOf(request)} label="Copy curl" />
      <h3>Python</h3>
      <${Code} text=${pythonOf(request, project)} label="Copy Python" />
    </details>
  </section>`;

// A text in which the words of a query are marked, where they are whole words.
function marked(text, query = "") {
  const words = query.match(/[\p{L}\p{N}]{2,}/gu);
  if (!words) return text;
  const parts = text.split(new RegExp(`(?<![\\p{L}\\p{N}])(${words.join("|")})(?![\\p{L}\\p{N}])`, "giu"));
  return parts.map((part, at) => (at % 2 ? html`<mark>${part}</mark>` : part));
}

// For a POSIX shell: within single quotes only those themselves have a meaning.
function curlOf({ path, body }) {
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const key = session.value ? '-H "Authorization: Bearer $KEY" ' : "";
  return `curl -sS ${quoted(new URL(path.slice(1), ROOT).href)} \\
  -H 'Content-Type: application/json' ${key}\\
  --data-binary ${quoted(JSON.stringify(body))}`;
}

function pythonOf({ body, parameters }, project) {
  const { text_id: id, include, ...rest } = body;
  const numbers = [...parameters].map(([name, value]) => [name, name === "exact" || Number(value)]);
  const listed = Object.entries({ id, ...rest, ...Object.fromEntries(numbers), include })
    .filter(([, value]) => value !== undefined).map(([name, value]) => `    ${name}=${literal(value)},`);
  const key = session.value ? ', os.environ["KEY"]' : "";
  return `${key ? "import os\n\n" : ""}from vecferry import Client

client = Client(${literal(ROOT.href)}${key})
found = client.project(${literal(`${project.owner}/${project.project_handle}`)}).similar(
${listed.join("\n")}
)
for one in found:
    print(one.similarity, one.id, one.text)`;
}

// A value as Python writes it: JSON but for three words, where they do not stand in a text.
const literal = (value) =>
  JSON.stringify(value).replace(/"(?:[^"\\]|\\.)*"|null|true|false/g, (one) => PYTHON[one] ?? one);
