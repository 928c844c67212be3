// One text in full: what is stored of it, changed and deleted, and the nearest ones.
import { get, parsed, path, post } from "../api.js";
import { number, percent, plural, time } from "../format.js";
import { field, FormButton } from "../forms.js";
import { usePost } from "../hooks.js";
import { go, route } from "../store.js";
import { Card, Code, CopyButton, Empty, Facts, html, Loaded, SimilarityBar } from "../ui.js";

const FIRST_NUMBERS = 8; // of a vector

export default function Text(props) {
  const { base } = props;
  const [, , , , id = ""] = route.value.parts;
  const from = usePost(`${base.embeddings}/get`, { text_ids: [id] });
  return html`<${Loaded} from=${from}>${({ embeddings: [row] }) => (row
    ? html`<${Shown} key=${id} ...${props} row=${row} onStored=${from.reload} />`
    : html`<${Empty} title="There is no text with this id."><p><code>${id}</code></p><//>`)}<//>`;
}

function Shown({ row, base, canEdit, canEmbed, reload, onStored }) {
  const { text_id: id, vector } = row;
  const metadata = JSON.stringify(row.metadata ?? {}, null, 2);
  const options = { lines: 8, isFirst: true, required: Boolean(row.text) };
  const fields = [
    canEmbed && field("text", "Text", "A changed text is embedded by the project's instance.", options),
    field("metadata", "Metadata", "A JSON object.", { lines: 8 }),
  ];
  const deleted = () => {
    reload();
    go(base.page);
  };
  const alike = new URLSearchParams({ text_id: id });
  const actions = html`<a class="button" href="${base.page}/search?${alike}">More like this</a>
    ${canEdit && html`<${FormButton} label="Edit" title="Edit this text" submit="Save" fields=${fields}
        stored=${{ text: row.text, metadata }} done="The text is stored." onDone=${onStored}
        send=${(body, { signal }) => store(base, row, metadata, body, signal)} />
      <${FormButton} label="Delete" title="Delete this text" kind="danger" submit="Delete it"
          send=${(body, options) => post(`${base.embeddings}/delete`, { text_ids: [id] }, options)}
          done="The text is deleted." onDone=${deleted}>
        <p>The text <code>${id}</code>, its vector and metadata cannot be brought back.</p>
      <//>`}`;
  const numbers = vector.slice(0, FIRST_NUMBERS).join(", ") + (vector.length > FIRST_NUMBERS ? ", …" : "");
  return html`<div class="columns">
    <div>
      <${Card} title=${id} actions=${actions}>
        ${row.text ? html`<p class="text">${row.text}</p>` : html`<p class="faint">Only a vector is stored.</p>`}
        <${Facts} pairs=${[["Stored", time(row.created_at)], ["Changed", time(row.updated_at)]]} />
      <//>
      <${Card} title="Metadata">
        ${metadata === "{}" ? html`<p class="faint">None.</p>` : html`<${Code} text=${metadata} />`}<//>
      <${Card} title="Vector" actions=${html`<${CopyButton} text=${JSON.stringify(vector)} label="Copy the vector" />`}>
        <p>${plural(vector.length, "number")}, in half precision: ${" "}<code>${numbers}</code></p>
      <//>
    </div>
    <${Nearest} key=${row.updated_at} id=${id} base=${base} />
  </div>`;
}

async function store(base, row, before, { text = null, metadata }, signal) {
  const { value = null, fault } = parsed(metadata ?? "null"); // null removes what is stored
  if (fault) throw new Error(`The metadata are not JSON: ${fault}`);
  const changed = { text_id: row.text_id, ...(metadata !== before && { metadata: value }) }; // else it stays
  if (text !== null && text !== row.text) return post(base.texts, { texts: [{ ...changed, text }] }, { signal });
  const { embeddings: [now] } = await post(`${base.embeddings}/get`, { text_ids: [row.text_id] }, { signal });
  if (!now) throw new Error("The text was deleted meanwhile.");
  return post(base.embeddings, { embeddings: [{ ...changed, vector: now.vector }] }, { signal });
}

function Nearest({ id, base }) {
  const from = usePost(`${base.similars}?limit=10&threshold=-1`, { text_id: id, include: ["text"] });
  return html`<${Card} title="Nearest texts" from=${from}>${({ results, search }) => html`
    ${!results.length && html`<p class="faint">There is no other text.</p>`}
    <ol class="nearest">${results.map((one) => html`<li key=${one.id}>
      <a href=${base.page + path`/text/${one.id}`}>${one.id}</a>
      <${SimilarityBar} value=${one.similarity} />
      ${one.text && html`<div class="short">${one.text}</div>`}
    </li>`)}</ol>
    <p class="faint">${percent(search.recall, 1)} of the nearest are found (method ${search.method}).</p>`}<//>`;
}
