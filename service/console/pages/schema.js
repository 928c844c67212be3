// The schema of a project's metadata: edited as JSON, and checked against what is stored before it is saved.
import { parsed, patch, post } from "../api.js";
import { number, plural } from "../format.js";
import { useFields } from "../forms.js";
import { useAction } from "../hooks.js";
import { link, notify } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, Form, html, Progress } from "../ui.js";

const SHOWN = 100; // failures
const EXAMPLE = `{
  "type": "object",
  "required": ["author"],
  "properties": {"author": {"type": "string"}, "year": {"type": "integer"}}
}`;

export function SchemaEditor({ project, base, reload }) {
  const [found, setFound] = useState({}); // what a check has found, and of which text
  const fields = ({ metadataScheme: typed }) => [{
    name: "metadataScheme", label: "Schema", lines: 16, placeholder: EXAMPLE,
    hint: fault(typed) ? `Not JSON: ${fault(typed)}` : "Empty: no schema. Metadata are checked when they are stored.",
  }];
  const form = useFields(fields, { metadataScheme: pretty(project.metadataScheme) });
  const text = form.values.metadataScheme;
  const check = async (signal) => {
    const sum = { text, checked: 0, failing: 0, failures: [] };
    for (let after; !sum.isWhole; setFound({ ...sum })) {
      const part = await post(`${base.project}/schema-check`, { metadataScheme: text, after }, { signal });
      sum.checked += part.checked;
      sum.failing += part.failing;
      sum.failures = [...sum.failures, ...part.failures].slice(0, SHOWN);
      sum.rows = part.number_of_embeddings;
      after = part.next_after;
      sum.isWhole = after === undefined;
    }
    return sum.failing === 0;
  };
  const action = useAction(async (by, { signal }) => {
    const isFine = by === "anyway" || !text.trim() || (await check(signal));
    if (!isFine || by === "check") return;
    await patch(base.project, { metadataScheme: text.trim() || null }, { signal }); // as text: an object is merged
    notify(text.trim() ? "The schema is stored." : "The project has no schema any more.");
    setFound({});
    reload();
  });
  const isReady = form.isChanged && !fault(text);
  const isCurrent = found.text === text;
  const more = html`
    <button value="check" disabled=${action.isRunning || Boolean(fault(text)) || !text.trim()}>Check only</button>
    ${isCurrent && found.failing > 0 && form.isChanged && !action.isRunning &&
    html`<button value="anyway" class="danger">Save anyway</button>`}`;
  return html`<${Card} title="Metadata schema">
    <p>A JSON Schema that the metadata of each text must keep to. Without one they may be anything.</p>
    <${Form} action=${action} submit="Check and save" isReady=${isReady} more=${more}>${form.inputs}<//>
    ${isCurrent && html`<${Findings} ...${found} project=${project} onCancel=${action.isRunning && action.cancel} />`}
  <//>`;
}

function Findings({ checked, failing, failures, rows, isWhole, project, onCancel }) {
  const looked = isWhole ? `All ${plural(checked, "text")}` : `${number(checked)} of ${plural(rows, "text")}`;
  const label = `${looked} looked at: ${failing ? `${number(failing)} do not` : "they"} keep to the schema.`;
  return html`
    ${onCancel && !isWhole
      ? html`<${Progress} value=${rows ? checked / rows : 1} label=${label} onCancel=${onCancel} />`
      : html`<p role="status" class=${failing ? "warning-box" : ""}>${label}</p>`}
    <ul>
      ${failures.map(({ text_id: id, path, message }) => html`<li key=${id}>
        <a href=${link`/projects/${project.owner}/${project.project_handle}/text/${id}`}>${id}</a>
        ${" "}${path && html`<code>${path}</code> `}${message}</li>`)}
    </ul>
    ${failing > failures.length && html`<p>These are the first ${number(failures.length)}.</p>`}`;
}

// Why a text is no JSON.
const fault = (text) => text.trim() && parsed(text).fault;

// The stored schema for people to read; one that the original system has left may be no JSON.
const pretty = (scheme = "") => (!scheme || fault(scheme) ? scheme : JSON.stringify(JSON.parse(scheme), null, 2));
