// One text in full: its text, metadata and vector, and the ten nearest to it.
import { parsed, path, post } from "../api.js";
import { percent, plural, time } from "../format.js";
import { FormButton } from "../forms.js";
import { useLoad } from "../hooks.js";
import { go, link, route } from "../store.js";
import { Card, Code, CopyButton, Empty, Facts, html, Loaded, SimilarityBar } from "../ui.js";

const FIRST_NUMBERS = 8; // of a vector

export default function Text(props) {
  const id = route.value.parts[4] ?? "";
  const { base } = props;
  const from = useLoad((signal) => read(base, id, signal), [base.embeddings, id]);
  return html`<${Loaded} from=${from}>${(row) => (row
    ? html`<${Shown} key=${id} ...${props} row=${row} onStored=${from.reload} />`
    : html`<${Empty} title="There is no text with this id."><p><code>${id}</code></p><//>`)}<//>`;
}

async function read(base, id, signal) {
  if (!id) return null;
  const answer = await post(`${base.embeddings}/get`, { text_ids: [id] }, { signal });
  return answer.embeddings[0] ?? null;
}

function Shown({ row, project, base, canEdit, canEmbed, reload, onStored }) {
  const { text_id: id, vector } = row;
  const top = link`/projects/${project.owner}/${project.project_handle}`;
  const metadata = JSON.stringify(row.metadata ?? {}, null, 2);
  const fields = [{ name: "metadata", label: "Metadata", lines: 8, hint: "A JSON object." }];
  if (canEmbed) {
    const hint = "A changed text is embedded by the project's instance.";
    fields.unshift({ name: "text", label: "Text", lines: 8, isFirst: true, required: Boolean(row.text), hint });
  }
  const deleted = () => {
    reload();
    go(top);
  };
  const actions = html`<a class="button" href="${top}/search?${new URLSearchParams({ id })}">More like this</a>
    ${canEdit && html`<${FormButton} label="Edit" title="Edit this text" submit="Save" fields=${fields}
        stored=${{ text: row.text, metadata }} done="The text is stored." onDone=${onStored}
        send=${(body, { signal }) => store(base, row, body, signal)} />
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
        ${metadata === "{}" ? html`<p class="faint">None.</p>` : html`<${Code} text=${metadata} />`}
      <//>
      <${Card} title="Vector" actions=${html`<${CopyButton} text=${JSON.stringify(vector)} label="Copy the vector" />`}>
        <p>${plural(vector.length, "number")}, in half precision: ${" "}<code>${numbers}</code></p>
      <//>
    </div>
    <${Nearest} id=${id} top=${top} base=${base} />
  </div>`;
}

async function store(base, row, { text = null, metadata }, signal) {
  const { value, fault } = parsed(metadata);
  if (fault) throw new Error(`The metadata are not JSON: ${fault}`);
  const changed = { text_id: row.text_id, metadata: value };
  if (text !== null && text !== row.text) return post(base.texts, { texts: [{ ...changed, text }] }, { signal });
  const now = await read(base, row.text_id, signal);
  if (!now) throw new Error("The text was deleted meanwhile.");
  return post(base.embeddings, { embeddings: [{ ...changed, vector: now.vector }] }, { signal });
}

function Nearest({ id, top, base }) {
  const from = useLoad(
    (signal) => post(`${base.similars}?limit=10&threshold=-1`, { text_id: id, include: ["text"] }, { signal }),
    [base.similars, id],
  );
  return html`<${Card} title="Nearest texts">
    <${Loaded} from=${from}>${({ results, search }) => html`
      ${!results.length && html`<p class="faint">There is no other text.</p>`}
      <ol class="nearest">
        ${results.map((one) => html`<li key=${one.id}>
          <a href=${top + path`/text/${one.id}`}>${one.id}</a>
          <${SimilarityBar} value=${one.similarity} />
          ${one.text && html`<div class="short">${one.text}</div>`}
        </li>`)}
      </ol>
      <p class="faint">${percent(search.recall, 1)} of the nearest are found (method ${search.method}).</p>`}<//>
  <//>`;
}
