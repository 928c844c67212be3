// One text in full: its text, metadata and vector, and the ten nearest to it.
import { post } from "../api.js";
import { percent, plural, time } from "../format.js";
import { useAction, useLoad } from "../hooks.js";
import { go, link, notify, route } from "../store.js";
import { useState } from "../vendor/hooks.js";
import {
  Card, Code, ConfirmButton, CopyButton, DialogButton, Empty, Facts, Field, Form, html, Loaded, SimilarityBar,
} from "../ui.js";

const FIRST_NUMBERS = 8; // of a vector

export default function Text(props) {
  const id = route.value.parts[4] ?? "";
  const { base } = props;
  const from = useLoad((signal) => read(base, id, signal), [base.embeddings, id]);
  return html`<${Loaded} from=${from}>${(row) => (row
    ? html`<${Shown} key=${id} ...${props} row=${row} onDone=${from.reload} />`
    : html`<${Empty} title="There is no text with this id."><p><code>${id}</code></p><//>`)}<//>`;
}

async function read(base, id, signal) {
  if (!id) return null;
  const answer = await post(`${base.embeddings}/get`, { text_ids: [id] }, { signal });
  return answer.embeddings[0] ?? null;
}

function Shown({ row, project, base, canEdit, canEmbed, reload, onDone }) {
  const { owner, project_handle: handle } = project;
  const all = link`/projects/${owner}/${handle}`;
  const act = async ({ signal }) => {
    await post(`${base.embeddings}/delete`, { text_ids: [row.text_id] }, { signal });
    notify("The text is deleted.");
    reload();
    go(all);
  };
  const like = `${all}/search?${new URLSearchParams({ id: row.text_id })}`;
  const actions = html`<a class="button" href=${like}>More like this</a>
    ${canEdit && html`<${Edit} ...${{ row, base, canEmbed, onDone }} />
      <${ConfirmButton} label="Delete" title="Delete this text" submit="Delete it" act=${act}>
        <p>The text <code>${row.text_id}</code>, its vector and metadata cannot be brought back.</p>
      <//>`}`;
  const metadata = JSON.stringify(row.metadata ?? {}, null, 2);
  const copy = html`<${CopyButton} text=${JSON.stringify(row.vector)} label="Copy the vector" />`;
  const numbers = row.vector.slice(0, FIRST_NUMBERS).join(", ") + (row.vector.length > FIRST_NUMBERS ? ", …" : "");
  return html`<div class="columns">
    <div>
      <${Card} title=${row.text_id} actions=${actions}>
        ${row.text ? html`<p class="text">${row.text}</p>` : html`<p class="faint">Only a vector is stored.</p>`}
        <${Facts} pairs=${[["Stored", time(row.created_at)], ["Changed", time(row.updated_at)]]} />
      <//>
      <${Card} title="Metadata">
        ${metadata === "{}" ? html`<p class="faint">None.</p>` : html`<${Code} text=${metadata} />`}
      <//>
      <${Card} title="Vector" actions=${copy}>
        <p>${plural(row.vector.length, "number")}, in half precision: ${" "}<code>${numbers}</code></p>
      <//>
    </div>
    <${Nearest} id=${row.text_id} project=${project} base=${base} />
  </div>`;
}

function Nearest({ id, project, base }) {
  const { owner, project_handle: handle } = project;
  const from = useLoad(
    (signal) => post(`${base.similars}?limit=10&threshold=-1`, { text_id: id, include: ["text"] }, { signal }),
    [base.similars, id],
  );
  return html`<${Card} title="Nearest texts">
    <${Loaded} from=${from}>${({ results, search }) => html`
      ${!results.length && html`<p class="faint">There is no other text.</p>`}
      <ol class="nearest">
        ${results.map((one) => html`<li key=${one.id}>
          <a href=${link`/projects/${owner}/${handle}/text/${one.id}`}>${one.id}</a>
          <${SimilarityBar} value=${one.similarity} />
          ${one.text && html`<div class="short">${one.text}</div>`}
        </li>`)}
      </ol>
      <p class="faint">${percent(search.recall, 1)} of the nearest are found (method ${search.method}).</p>`}<//>
  <//>`;
}

function Edit({ row, base, canEmbed, onDone }) {
  return html`<${DialogButton} label="Edit" title="Edit this text">
    ${(close) => html`<${EditForm} ...${{ row, base, canEmbed, onDone, close }} />`}
  <//>`;
}

function EditForm({ row, base, canEmbed, onDone, close }) {
  const [text, setText] = useState(row.text ?? "");
  const [metadata, setMetadata] = useState(JSON.stringify(row.metadata ?? {}, null, 2));
  const action = useAction(async ({ signal }) => {
    const changed = { text_id: row.text_id, metadata: parsed(metadata) };
    if (canEmbed && text !== (row.text ?? "")) {
      await post(base.texts, { texts: [{ ...changed, text }] }, { signal });
    } else {
      const now = await read(base, row.text_id, signal);
      if (!now) throw new Error("The text was deleted meanwhile.");
      await post(base.embeddings, { embeddings: [{ ...changed, vector: now.vector }] }, { signal });
    }
    notify("The text is stored.");
    onDone();
    close();
  });
  return html`<${Form} action=${action} submit="Save" onCancel=${close}>
    ${canEmbed && html`<${Field} label="Text" lines="8" value=${text} onValue=${setText} isFirst
      hint="A changed text is embedded by the project's instance." />`}
    <${Field} label="Metadata" lines="8" value=${metadata} onValue=${setMetadata} hint="A JSON object." />
  <//>`;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`The metadata are not JSON: ${error.message}`);
  }
}
