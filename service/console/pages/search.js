// Search in a project: by a text, by a stored text, or by a vector; and how the same is asked for elsewhere.
import { post, Problem, ROOT } from "../api.js";
import { FilterBox, filterOf } from "../filter.js";
import { number, percent, plural } from "../format.js";
import { useLoad } from "../hooks.js";
import { link, route, session, setQuery } from "../store.js";
import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { Code, Empty, Field, Form, html, Marked, Pairs, SimilarityBar } from "../ui.js";

const LONGEST_IN_ADDRESS = 2000; // characters of a vector
const ELSEWHERE = "-"; // in the address, in place of a longer one
// The ways to search, named as in the address and the interface's body.
const WAYS = { text: "Text", id: "Like a stored text", vector: "Vector" };
const USUAL = { limit: "10", threshold: "0", recall: "", filter: "" };
const HOW = {
  index: (recall) => `by the index, which finds ${percent(recall, 1)} of the nearest`,
  exact: () => "all texts were compared, so none of the nearest is missing",
  filtered: () => "all texts that pass the filter were compared, so none of the nearest is missing",
};

export default function Search({ project, instance, base, canSearchTexts }) {
  const { query } = route.value;
  const [longVector, setLongVector] = useState("");
  const fromAddress = () => {
    const by = Object.keys(WAYS).find((one) => query.has(one)) ?? (canSearchTexts ? "text" : "id");
    const values = Object.entries(USUAL).map(([name, usual]) => [name, valueOf(query.get(name) ?? usual, usual)]);
    const sought = query.get(by) ?? "";
    return { by, sought: by === "vector" && sought === ELSEWHERE ? longVector : sought, ...Object.fromEntries(values) };
  };
  const [draft, setDraft] = useState(fromAddress);
  const asked = fromAddress();
  const address = query.toString();
  const drafted = useRef(address); // an effect comes late: what is typed right after the page is shown stays
  useEffect(() => {
    if (drafted.current !== address) setDraft(fromAddress());
    drafted.current = address;
  }, [address]);
  const change = (name) => (value) => setDraft((old) => ({ ...old, [name]: value }));
  const [turn, setTurn] = useState(0);
  const from = useLoad(
    async (signal) => {
      if (!asked.sought.trim()) return null;
      const request = requestOf(asked, base, instance?.dimensions);
      const start = performance.now();
      const found = await post(request.path, request.body, { signal });
      return { found, request, milliseconds: performance.now() - start };
    },
    [base.similars, asked, turn],
  );
  const submit = () => {
    const isLong = draft.by === "vector" && draft.sought.length > LONGEST_IN_ADDRESS;
    setLongVector(isLong ? draft.sought : "");
    const changed = Object.entries(USUAL).map(([name, usual]) => [name, draft[name] === usual ? "" : draft[name]]);
    const way = { text: "", id: "", vector: "", [draft.by]: isLong ? ELSEWHERE : draft.sought };
    setQuery({ ...way, ...Object.fromEntries(changed) }, { replace: false });
    setTurn(turn + 1); // also when nothing was changed
  };
  const action = { run: submit, error: from.error }; // also while another search is running, which then ends
  const fields = { draft, change, canSearchTexts, dimensions: instance?.dimensions };
  return html`<section class="card" aria-label="Search">
      <${Form} action=${action} submit="Search" isReady=${Boolean(draft.sought.trim())}>
        <${Question} ...${fields} />
        <${Options} ...${fields} />
      <//>
      ${query.get("vector") === ELSEWHERE &&
      html`<p class="hint">A vector of more than ${number(LONGEST_IN_ADDRESS)} characters is not in the address.
        Who opens it elsewhere must paste the vector again.</p>`}
    </section>
    ${from.data && html`<${Answer} ...${from.data} asked=${asked} project=${project} />`}
    ${!from.error && !asked.sought && html`<${Beginning} project=${project} />`}`;
}

// A value of the address. Fields for numbers, which have a usual one, take no others.
function valueOf(given, usual) {
  if (!usual) return given;
  return Number.isFinite(Number(given)) ? String(Number(given)) : usual;
}

function Beginning({ project }) {
  if (!project.number_of_embeddings) {
    const texts = link`/projects/${project.owner}/${project.project_handle}`;
    return html`<${Empty} title="This project has no texts yet.">
      <p><a href=${texts}>Add some</a>, then search them.</p>
    <//>`;
  }
  return html`<${Empty} title="What are you looking for?">
    <p>Results are the texts that are nearest to what you ask for, best first.</p>
  <//>`;
}

function Question({ draft, change, canSearchTexts, dimensions }) {
  const ways = Object.entries(WAYS).filter(([way]) => way !== "text" || canSearchTexts);
  const amount = dimensions ? `${number(dimensions)} numbers` : "Numbers";
  const inputs = {
    text: { label: "Text", name: "text" },
    id: { label: "Id of the stored text", name: "text_id", hint: "Shows more like this one." },
    vector: { label: "Vector", name: "vector", lines: 3, hint: `${amount} in brackets: [0.1, -0.2, …]` },
  };
  return html`<fieldset class="ways">
      <legend>Search by</legend>
      ${ways.map(
        ([way, label]) => html`<label>
          <input type="radio" name="by" value=${way} checked=${draft.by === way} onChange=${() => change("by")(way)} />
          ${label}
        </label>`,
      )}
    </fieldset>
    <${Field} key=${draft.by} ...${inputs[draft.by]} value=${draft.sought} onValue=${change("sought")} isFirst />`;
}

function Options({ draft, change }) {
  const recalls = [["", "as usual"], ["exact", "all of the nearest"], ...[0.999, 0.99, 0.95, 0.9].map((one) =>
    [String(one), `${percent(one, 1)} of the nearest`])];
  return html`<${FilterBox} value=${draft.filter} onValue=${change("filter")} />
    <div class="row">
      <${Field} label="Results" name="limit" type="number" min="1" max="200" required
        value=${draft.limit} onValue=${change("limit")} />
      <${Field} label="Least similarity" name="threshold" type="number" min="-1" max="1" step="any" required
        value=${draft.threshold} onValue=${change("threshold")} />
      <${Field} label="Find" name="recall" options=${recalls} value=${draft.recall} onValue=${change("recall")} />
    </div>`;
}

// The request of a search. Raises a Problem for a vector or filter that cannot be sent.
function requestOf({ by, sought, filter, limit, threshold, recall }, base, dimensions) {
  const parameters = new URLSearchParams({ limit, threshold });
  if (recall === "exact") parameters.set("exact", "true");
  else if (recall) parameters.set("recall", recall);
  const what = { text: { text: sought }, id: { text_id: sought } }[by] ?? { vector: vectorOf(sought, dimensions) };
  const only = filterOf(filter);
  const body = { ...what, ...(only && { filter: only }), include: ["text", "metadata"] };
  return { path: `${base.similars}?${parameters}`, body, parameters };
}

function vectorOf(text, dimensions) {
  let vector;
  try {
    vector = JSON.parse(text);
  } catch {
    vector = null;
  }
  const isVector = Array.isArray(vector) && vector.every((one) => typeof one === "number");
  if (isVector && (!dimensions || vector.length === dimensions)) return vector;
  const message = isVector
    ? `must have ${plural(dimensions, "number")}, as all vectors of this project; it has ${number(vector.length)}`
    : "must be a list of numbers, like [0.1, -0.2]";
  throw new Problem(422, { detail: "The vector cannot be sent.", errors: [{ location: "body.vector", message }] });
}

function Answer({ found, request, milliseconds, asked, project }) {
  const { results, search } = found;
  const list = useRef(null);
  const move = (event) => {
    const links = [...list.current.querySelectorAll("a[data-result]")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const next = step && links[links.indexOf(event.target) + step];
    if (!next || !links.includes(event.target)) return;
    event.preventDefault();
    next.focus();
  };
  const words = asked.by === "text" ? (asked.sought.match(/[\p{L}\p{N}]+/gu) ?? []) : [];
  const address = (id) => link`/projects/${project.owner}/${project.project_handle}/text/${id}`;
  return html`<section aria-labelledby="results-title">
    <h2 id="results-title">Results</h2>
    <p role="status">${plural(results.length, "result")}, ${HOW[search.method](search.recall)}.${" "}
      <span class="faint">Method <code>${search.method}</code>, recall ${number(search.recall)},
        ${" "}${number(Math.round(milliseconds))} ms from here and back.</span></p>
    ${results.length === 0 && html`<${Empty} title="Nothing is that similar.">
      <p>Lower the least similarity${asked.filter ? ", or change the filter" : ""}.</p>
    <//>`}
    <ol class="results" ref=${list} onKeyDown=${move}>
      ${results.map(
        (one) => html`<li key=${one.id}>
          <div class="result-head">
            <a href=${address(one.id)} data-result>${one.id}</a>
            <${SimilarityBar} value=${one.similarity} />
            <button type="button" class="link" aria-label="More like this: ${one.id}"
              onClick=${() => setQuery({ text: "", vector: "", id: one.id }, { replace: false })}>
              More like this
            </button>
          </div>
          ${one.text && html`<p class="text"><${Marked} text=${one.text} words=${words} /></p>`}
          <${Pairs} metadata=${one.metadata} />
        </li>`,
      )}
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
}

// For a POSIX shell: within single quotes only those themselves have a meaning.
function curlOf({ path, body }) {
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const lines = [`curl -sS ${quoted(new URL(path.slice(1), ROOT).href)}`, `-H 'Content-Type: application/json'`];
  if (session.value) lines.push('-H "Authorization: Bearer $KEY"');
  lines.push(`--data-binary ${quoted(JSON.stringify(body))}`);
  return lines.join(" \\\n  ");
}

function pythonOf({ body, parameters }, project) {
  const { text_id: id, include, ...rest } = body;
  const options = { ...(id === undefined ? {} : { id }), ...rest };
  for (const [name, value] of parameters) options[name] = name === "exact" ? true : Number(value);
  const listed = Object.entries({ ...options, include }).map(([name, value]) => `    ${name}=${literal(value)},`);
  const key = session.value ? ', os.environ["KEY"]' : "";
  return `${key ? "import os\n\n" : ""}from vecferry import Client

client = Client(${literal(ROOT.href)}${key})
found = client.project(${literal(`${project.owner}/${project.project_handle}`)}).similar(
${listed.join("\n")}
)
for one in found:
    print(one.similarity, one.id, one.text)`;
}

// A value of JSON as Python writes it. Its texts are Python's, too.
function literal(value) {
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (value && typeof value === "object") {
    return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${literal(one)}`).join(", ")}}`;
  }
  if (typeof value === "string") return JSON.stringify(value);
  return { null: "None", true: "True", false: "False" }[value] ?? String(value);
}
