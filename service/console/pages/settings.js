// What the owner of a project sets: description, instance, who searches by text, the schema of its metadata, which is
// checked against what is stored before it is saved; and its deletion.
import { parsed, patch, path, post } from "../api.js";
import { number, plural } from "../format.js";
import { DataForm, Delete, field, useFields } from "../forms.js";
import { useAction } from "../hooks.js";
import { link, notify } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, Form, html, Loaded, Progress } from "../ui.js";
import { DESCRIPTION, instanceField, instanceName, instanceOf, useInstances } from "./fields.js";

const FAILURES = 100; // that are shown
const EXAMPLE = `{
  "type": "object",
  "required": ["author"],
  "properties": {"author": {"type": "string"}, "year": {"type": "integer"}}
}`;
const SEARCHERS = [["editors", "Owner and editors"], ["readers", "Readers, too"], ["public", "All who may read it"]];
const COST = "Each such search is embedded by the instance, and counts for its budget.";
const GENERAL = [DESCRIPTION, field("text_search", "Who may search by text", COST, { options: SEARCHERS })];

export default function Settings(props) {
  const { project, base, reload } = props;
  return html`<div class="columns">
    <div>
      <${Card} title="General">
        <${DataForm} where=${base.project} fields=${GENERAL} stored=${project} isEdit
          done="The settings are stored." onDone=${reload} />
      <//>
      <${Card} title="Instance"><${Instance} ...${props} /><//>
      <${Card} title="Delete the project">
        <${Delete} noun="project" name=${project.project_handle} where=${base.project} to=${link`/`}>
          <p>The project is deleted with its ${number(project.number_of_embeddings)} texts, vectors and metadata, its
            shares and settings. It cannot be brought back.</p>
        <//>
      <//>
    </div>
    <${Schema} ...${props} />
  </div>`;
}

function Instance({ project: { owner, instance, number_of_embeddings: rows }, base, reload }) {
  const stored = { instance_handle: instance && instanceName(instance) };
  const warning = rows
    ? html`<p class="warning-box">Stored vectors stay as they are, so the new one must have as many dimensions, and
        should be of the same model: texts that are embedded by different models are not comparable.</p>`
    : html`<p class="hint">The project holds no texts, so any instance will do.</p>`;
  return html`<${Loaded} from=${useInstances(owner)}>${(usable) => {
    const isKnown = !instance || usable.some((one) => instanceName(one) === stored.instance_handle);
    return html`<${DataForm} submit="Exchange" stored=${stored} isEdit
      done="The instance is exchanged." onDone=${reload}
      fields=${[instanceField(isKnown ? usable : [instance, ...usable]), warning]}
      send=${(body, options) => patch(base.project, instanceOf(body.instance_handle), options)} />`;
  }}<//>`;
}

function Schema({ project, base, reload }) {
  const [found, setFound] = useState({}); // what a check has found, and of which text
  const hint = (typed) =>
    (fault(typed) ? `Not JSON: ${fault(typed)}` : "Empty: no schema. Metadata are checked when they are stored.");
  const fields = ({ metadataScheme: typed }) =>
    [field("metadataScheme", "Schema", hint(typed), { lines: 16, placeholder: EXAMPLE })];
  const form = useFields(fields, { metadataScheme: pretty(project.metadataScheme) });
  const text = form.values.metadataScheme;
  const check = async (signal) => {
    const sum = { text, checked: 0, failing: 0, failures: [] };
    for (let after; !sum.isWhole; setFound({ ...sum })) {
      const part = await post(`${base.project}/schema-check`, { metadataScheme: text, after }, { signal });
      sum.checked += part.checked;
      sum.failing += part.failing;
      sum.failures = [...sum.failures, ...part.failures].slice(0, FAILURES);
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
    <p>A JSON Schema that the metadata of each text must satisfy. Without one, any metadata are valid.</p>
    <${Form} action=${action} submit="Check and save" isReady=${isReady} more=${more}>${form.inputs}<//>
    ${isCurrent && html`<${Findings} ...${found} base=${base} onCancel=${action.isRunning && action.cancel} />`}
  <//>`;
}

function Findings({ checked, failing, failures, rows, isWhole, base, onCancel }) {
  const texts = isWhole ? `All ${plural(checked, "text")}` : `${number(checked)} of ${plural(rows, "text")}`;
  const label = `${texts} checked: ${failing ? number(failing) : "none"} violate${failing > 1 ? "" : "s"} the schema.`;
  return html`
    ${onCancel && !isWhole
      ? html`<${Progress} value=${rows ? checked / rows : 1} label=${label} onCancel=${onCancel} />`
      : html`<p role="status" class=${failing ? "warning-box" : ""}>${label}</p>`}
    <ul>
      ${failures.map(({ text_id: id, path: place, message }) => html`<li key=${id}>
        <a href=${base.page + path`/text/${id}`}>${id}</a>
        ${" "}${place && html`<code>${place}</code> `}${message}</li>`)}
    </ul>
    ${failing > failures.length && html`<p>These are the first ${number(failures.length)}.</p>`}`;
}

// Why a text is no JSON.
const fault = (text) => text.trim() && parsed(text).fault;

// The stored schema for people to read; one that the original system has left may be no JSON.
const pretty = (scheme = "") => (!scheme || fault(scheme) ? scheme : JSON.stringify(parsed(scheme).value, null, 2));
