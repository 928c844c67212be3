// The texts of a project as a table: paged, filtered, selected to be deleted; and the ways to add some.
import { get, post, remove } from "../api.js";
import { FilterBox, filterOf } from "../filter.js";
import { number, plural } from "../format.js";
import { useAction, useLoad } from "../hooks.js";
import { go, link, notify, route, setQuery } from "../store.js";
import { useEffect, useRef, useState } from "../vendor/hooks.js";
import { ConfirmButton, Empty, Field, Form, html, Loaded, Pairs, Table } from "../ui.js";
import { AddTexts } from "./add_texts.js";

const SIZES = ["10", "25", "50", "100", "200"];
const LOOKS = 8; // answers that make up a filtered page: each looks at rows for a second at most

export default function Texts(props) {
  const { project, base, canEdit, reload } = props;
  const query = route.value.query;
  const [after, filter, limit] = [query.get("after"), query.get("filter") ?? "", query.get("limit") ?? "25"];
  const trail = useRef([]); // the pages before this one
  if (!after) trail.current = [];
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
  const select = (id, isOn) => {
    const all = new Set(selected);
    if (isOn) all.add(id);
    else all.delete(id);
    setSelected(all);
  };
  const isEmpty = !from.error && from.data?.rows.length === 0 && !after && !filter;
  const atFilter = from.error?.errors?.some((one) => one.location?.startsWith("query.filter")) ? from.error : null;
  // "Add texts" stays in its place: its dialog is open while the project fills.
  return html`
    ${isEmpty
      ? html`<${NoTexts} ...${props} />`
      : html`<div class="columns">
          <${FilterForm} key=${filter} filter=${filter} error=${atFilter} />
          <${GoTo} project=${project} />
        </div>`}
    <div class="bar-of-actions">
      ${canEdit && html`<${AddTexts} ...${props} onDone=${changed} />`}
      ${canEdit && !isEmpty && html`<${DeleteSelected} base=${base} ids=${[...selected]} onDone=${changed} />
        <${DeleteAll} base=${base} project=${project} onDone=${changed} />`}
      ${!isEmpty && html`<${PageSize} limit=${limit} />`}
    </div>
    ${!atFilter && !isEmpty &&
    html`<${Loaded} from=${from}>${({ rows, next }) => html`
      ${rows.length
        ? html`<${Rows} project=${project} rows=${rows} selected=${canEdit && selected} select=${select} />`
        : html`<${Empty} title=${next ? "None of the texts looked at so far." : "There is no text here."} />`}
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
    const asked = { include: "text,metadata", limit: limit - rows.length, after: next, filter };
    const answer = await get(where, { signal, query: asked });
    rows.push(...answer.embeddings);
    next = answer.next ? new URLSearchParams(answer.next.split("?")[1]).get("after") : null;
    if (!next || rows.length >= limit) break;
  }
  return { rows, next };
}

function Rows({ project, rows, selected, select }) {
  const { owner, project_handle: handle } = project;
  const columns = [
    {
      title: "Id",
      cell: ({ text_id: id }) => html`<span class="pick">
        ${selected &&
        html`<input type="checkbox" aria-label="Select ${id}" checked=${selected.has(id)}
          onChange=${(event) => select(id, event.target.checked)} />`}
        <a href=${link`/projects/${owner}/${handle}/text/${id}`}>${id}</a></span>`,
    },
    { title: "Text", cell: ({ text }) => html`<div class="short">${text ?? html`<i class="faint">none</i>`}</div>` },
    { title: "Metadata", cell: ({ metadata }) => html`<div class="short"><${Pairs} metadata=${metadata} /></div>` },
  ];
  const rowKey = ({ text_id: id }) => id;
  return html`<${Table} caption="Texts of the project" columns=${columns} rows=${rows} rowKey=${rowKey} />`;
}

function FilterForm({ filter, error }) {
  const [text, setText] = useState(filter);
  const [wrong, setWrong] = useState(null);
  const apply = () => {
    try {
      filterOf(text);
      setWrong(null);
      setQuery({ filter: text.trim(), after: "" }, { replace: false });
    } catch (problem) {
      setWrong(problem);
    }
  };
  const all = () => setQuery({ filter: "", after: "" }, { replace: false });
  const more = filter && html`<button type="button" onClick=${all}>Show all</button>`;
  return html`<${Form} action=${{ run: apply, error: wrong ?? error }} submit="Filter" more=${more}>
    <${FilterBox} value=${text} onValue=${setText} />
  <//>`;
}

function GoTo({ project }) {
  const [id, setId] = useState("");
  const show = async () => go(link`/projects/${project.owner}/${project.project_handle}/text/${id}`);
  return html`<${Form} action=${useAction(show)} submit="Open" isReady=${id !== ""}>
    <${Field} label="Open a text by its id" value=${id} onValue=${setId} hint="The whole id, as it is stored." />
  <//>`;
}

function PageSize({ limit }) {
  return html`<label class="last">Texts a page
    ${" "}<select value=${limit} onChange=${(event) => setQuery({ limit: event.target.value })}>
      ${SIZES.map((size) => html`<option value=${size} selected=${size === limit}>${size}</option>`)}
    </select></label>`;
}

function DeleteSelected({ base, ids, onDone }) {
  const act = async ({ signal }) => {
    const { deleted } = await post(`${base.embeddings}/delete`, { text_ids: ids }, { signal });
    notify(`${plural(deleted, "text")} deleted.`);
    onDone();
  };
  const label = ids.length ? `Delete ${number(ids.length)} selected` : "Delete selected";
  return html`<${ConfirmButton} label=${label} disabled=${!ids.length} act=${act}
      submit="Delete ${plural(ids.length, "text")}">
    <p>These texts, their vectors and metadata cannot be brought back:</p>
    <ul>${ids.slice(0, 10).map((id) => html`<li><code>${id}</code></li>`)}</ul>
    ${ids.length > 10 && html`<p>and ${number(ids.length - 10)} more.</p>`}
  <//>`;
}

function DeleteAll({ base, project, onDone }) {
  const act = async ({ signal }) => {
    await remove(base.embeddings, { signal });
    notify("All texts are deleted.");
    onDone();
  };
  return html`<${ConfirmButton} label="Delete all …" title="Delete all texts" submit="Delete all texts" act=${act}
      name=${project.project_handle}>
    <p>All ${number(project.number_of_embeddings)} texts of this project are deleted with their vectors and metadata,
      and cannot be brought back. The project, its settings and shares stay.</p>
  <//>`;
}

function NoTexts({ canEdit, canEmbed }) {
  const first = canEmbed
    ? "Paste some, or choose a file: the project's instance embeds them."
    : "Its instance cannot embed texts: add them with their vectors.";
  return html`<${Empty} title="This project holds no texts yet.">${canEdit && html`<p>${first}</p>`}<//>`;
}
