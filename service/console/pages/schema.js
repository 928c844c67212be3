// The schema of a project's metadata: edited as JSON, and checked against what is stored before it is saved.
import { patch, post } from "../api.js";
import { number, plural } from "../format.js";
import { useAction } from "../hooks.js";
import { link, notify } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, Field, Form, html, Progress } from "../ui.js";

const SHOWN = 100; // failures
const EXAMPLE = `{
  "type": "object",
  "required": ["author"],
  "properties": {"author": {"type": "string"}, "year": {"type": "integer"}}
}`;

export function SchemaEditor({ project, base, reload }) {
  const [text, setText] = useState(pretty(project.metadataScheme));
  const [found, setFound] = useState(null); // what the check of this very text has found
  const change = (typed) => {
    setText(typed);
    setFound(null);
  };
  const store = async (signal) => {
    await patch(base.project, { metadataScheme: text.trim() || null }, { signal }); // as text: an object is merged
    notify(text.trim() ? "The schema is stored." : "The project has no schema any more.");
    setFound(null);
    reload();
  };
  const check = async (signal) => {
    const sum = { checked: 0, failing: 0, failures: [], number_of_embeddings: project.number_of_embeddings };
    for (let after; ; ) {
      const part = await post(`${base.project}/schema-check`, { metadataScheme: text, after }, { signal });
      sum.checked += part.checked;
      sum.failing += part.failing;
      sum.failures = [...sum.failures, ...part.failures].slice(0, SHOWN);
      sum.number_of_embeddings = part.number_of_embeddings;
      after = part.next_after;
      setFound({ ...sum, isWhole: after === undefined });
      if (after === undefined) return sum;
    }
  };
  const save = useAction(async ({ signal }) => {
    if (!text.trim() || (await check(signal)).failing === 0) await store(signal);
  });
  const look = useAction(({ signal }) => check(signal));
  const anyway = useAction(({ signal }) => store(signal));
  const isRunning = save.isRunning || look.isRunning || anyway.isRunning;
  const wrong = fault(text);
  const action = { run: save.run, isRunning, error: save.error ?? look.error ?? anyway.error };
  const isChanged = text.trim() !== pretty(project.metadataScheme);
  const more = html`
    <button type="button" disabled=${isRunning || Boolean(wrong) || !text.trim()} onClick=${() => look.run()}>
      Check only</button>
    ${found?.failing > 0 && isChanged && !isRunning &&
    html`<button type="button" class="danger" onClick=${() => anyway.run()}>Save anyway</button>`}`;
  return html`<${Card} title="Metadata schema">
    <p>A JSON Schema that the metadata of each text must keep to. Without one they may be anything.</p>
    <${Form} action=${action} submit="Check and save" isReady=${isChanged && !wrong} more=${more}>
      <${Field} label="Schema" name="metadataScheme" lines="16" value=${text} onValue=${change} placeholder=${EXAMPLE}
        hint=${wrong ? `Not JSON: ${wrong}` : "Empty: no schema. Metadata are checked when they are stored."} />
    <//>
    ${found && html`<${Findings} found=${found} project=${project}
      onCancel=${(save.isRunning && save.cancel) || (look.isRunning && look.cancel)} />`}
  <//>`;
}

function Findings({ found, project, onCancel }) {
  const { checked, failing, failures, number_of_embeddings: rows, isWhole } = found;
  const looked = isWhole
    ? `All ${plural(checked, "text")} looked at`
    : `${number(checked)} of ${plural(rows, "text")} looked at`;
  const label = `${looked}: ${failing ? `${number(failing)} do not keep to the schema.` : "they keep to the schema."}`;
  return html`
    ${onCancel && !isWhole
      ? html`<${Progress} value=${rows ? checked / rows : 1} label=${label} onCancel=${onCancel} />`
      : html`<p role="status" class=${failing ? "warning-box" : ""}>${label}</p>`}
    ${failures.length > 0 && html`<ul>
      ${failures.map(({ text_id: id, path, message }) => html`<li key=${id}>
        <a href=${link`/projects/${project.owner}/${project.project_handle}/text/${id}`}>${id}</a>
        ${" "}${path && html`<code>${path}</code> `}${message}</li>`)}
    </ul>`}
    ${failing > failures.length && html`<p>These are the first ${number(failures.length)}.</p>`}`;
}

function fault(text) {
  if (!text.trim()) return null;
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return error.message;
  }
}

// The stored schema for people to read; one that the original system has left may be no JSON.
function pretty(scheme) {
  if (!scheme) return "";
  return fault(scheme) ? scheme : JSON.stringify(JSON.parse(scheme), null, 2);
}
