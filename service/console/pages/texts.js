// The texts of a project as a table: paged, filtered, selected to be deleted; the ways to add some.
import { get, path, post, remove } from "../api.js";
import { number, plural } from "../format.js";
import { DataForm, field, FormButton } from "../forms.js";
import { useLoad } from "../hooks.js";
import { go, route, setQuery } from "../store.js";
import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { Empty, Field, html, Loaded, Pairs, Table } from "../ui.js";
import { FILTER, filterOf } from "./fields.js";
import { AddTexts } from "./add_texts.js";

const SIZES = ["10", "25", "50", "100", "200"];
const LOOKS = 8; // answers that make up a filtered page: each looks at rows for a second at most
const ID = field("id", "Open a text by its id", "The whole id, as it is stored.", { required: true, isExact: true });

export default function Texts(props) {
  const { project, base, canEdit, canEmbed, reload } = props;
  const { query } = route.value;
  const [after, filter, limit] = [query.get("after"), query.get("filter") ?? "", query.get("limit") ?? "25"];
  const trail = useRef([]); // the pages before this one
  if (!after) trail.current = [];
  if (trail.current.includes(after)) trail.current.length = trail.current.indexOf(after); // by the browser's Back
  const [selected, setSelected] = useState(new Set());
  const where = [base.embeddings, after, filter, limit];
  const from = useLoad((signal) => page(base.embeddings, { after, filter, limit: Number(limit) }, signal), where);
  useEffect(() => setSelected(new Set()), where);
  const changed = () => {
    setSelected(new Set());
    from.reload();
    reload();
  };
  const turn = (to) => setQuery({ after: to }, { replace: false });
  const onwards = (to) => {
    trail.current.push(after);
    turn(to);
  };
  const toggle = (id) => setSelected(selected.symmetricDifference(new Set([id])));
  const columns = [
    ["Id", ({ text_id: id }) => html`<span class="pick">
      ${canEdit && html`<input type="checkbox" aria-label="Select ${id}" checked=${selected.has(id)}
        onChange=${() => toggle(id)} />`}
      <a href=${base.page + path`/text/${id}`}>${id}</a></span>`],
    ["Text", ({ text }) => html`<div class="short">${text ?? html`<i class="faint">none</i>`}</div>`],
    ["Metadata", ({ metadata }) => html`<div class="short"><${Pairs} metadata=${metadata} /></div>`],
  ];
  const isEmpty = !from.error && from.data?.rows.length === 0 && !after && !filter;
  const atFilter = from.error?.errors?.some((one) => one.location?.startsWith("query.filter")) ? from.error : null;
  const first = canEmbed
    ? "Paste some, or choose a file: the project's instance embeds them."
    : "Its instance cannot embed texts: add them with their vectors.";
  // "Add texts" stays in its place: its dialog is open while the project fills.
  return html`
    ${isEmpty
      ? html`<${Empty} title="This project holds no texts yet.">${canEdit && html`<p>${first}</p>`}<//>`
      : html`<div class="columns">
          <${FilterForm} filter=${filter} error=${atFilter} />
          <${DataForm} submit="Open" fields=${[ID]} send=${async ({ id }) => go(base.page + path`/text/${id}`)} />
        </div>`}
    <div class="bar-of-actions">
      ${canEdit && html`<${AddTexts} ...${props} onDone=${changed} />`}
      ${canEdit && !isEmpty && html`<${Deletion} ...${props} ids=${[...selected]} onDone=${changed} />`}
      ${!isEmpty && html`<${Field} label="Texts a page" options=${SIZES} value=${limit}
        onValue=${(size) => setQuery({ limit: size })} />`}
    </div>
    ${!atFilter && !isEmpty && html`<${Loaded} from=${from}>${({ rows, next }) => html`
      <${Table} caption="Texts of the project" columns=${columns} rows=${rows} rowKey=${(one) => one.text_id}
        empty=${next ? "None of the texts read so far." : "There is no text here."} />
      <nav class="bar-of-actions" aria-label="Pages of the texts">
        <button type="button" disabled=${!after} onClick=${() => turn("")}>First page</button>
        <button type="button" disabled=${!trail.current.length} onClick=${() => turn(trail.current.pop())}>
          Previous page</button>
        <button type="button" disabled=${!next} onClick=${() => onwards(next)}>
          ${next && rows.length < limit ? "Look further" : "Next page"}</button>
        <span class="faint" role="status">${plural(rows.length, "text")} on this page${filter && ", filtered"};
          ${" "}${plural(project.number_of_embeddings, "text")} in all</span>
      </nav>`}<//>`}`;
}

// A page of rows, and the id after which it goes on.
async function page(where, { after, filter, limit }, signal) {
  const rows = [];
  let next = after;
  for (let look = 0; look < LOOKS; look += 1) {
    const query = { include: "text,metadata", limit: limit - rows.length, after: next, filter };
    const answer = await get(where, { signal, query });
    rows.push(...answer.embeddings);
    next = answer.next ? new URLSearchParams(answer.next.split("?")[1]).get("after") : null;
    if (!next || rows.length >= limit) break;
  }
  return { rows, next };
}

function FilterForm({ filter, error }) {
  const show = (wanted) => setQuery({ filter: wanted, after: "" }, { replace: false });
  const send = async ({ filter: typed }) => show(filterOf(typed) && typed);
  return html`<${DataForm} key=${filter} submit="Filter" fields=${[FILTER]} stored=${{ filter }} send=${send}
    error=${error} more=${filter && html`<button type="button" onClick=${() => show("")}>Show all</button>`} />`;
}

function Deletion({ base, project, ids, onDone }) {
  const all = `All ${number(project.number_of_embeddings)} texts`;
  return html`<${FormButton} label=${ids.length ? `Delete ${number(ids.length)} selected` : "Delete selected"}
      kind="danger" disabled=${!ids.length} submit="Delete ${plural(ids.length, "text")}" onDone=${onDone}
      send=${(body, options) => post(`${base.embeddings}/delete`, { text_ids: ids }, options)}
      done=${(body, { deleted }) => `${plural(deleted, "text")} deleted.`}>
      <p>These texts, their vectors and metadata cannot be brought back:</p>
      <ul>${ids.slice(0, 10).map((id) => html`<li><code>${id}</code></li>`)}</ul>
      ${ids.length > 10 && html`<p>and ${number(ids.length - 10)} more.</p>`}
    <//>
    <${FormButton} label="Delete all …" title="Delete all texts" kind="danger" submit="Delete all texts"
      confirm=${project.project_handle} onDone=${onDone} done="All texts are deleted."
      send=${(body, options) => remove(base.embeddings, options)}>
      <p>${all} of this project are deleted with their vectors and metadata, and cannot be brought back. The project,
        its settings and shares stay.</p>
    <//>`;
}
