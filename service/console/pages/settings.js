// What the owner of a project sets: description, instance, who searches by text, the schema; and its deletion.
import { patch } from "../api.js";
import { number } from "../format.js";
import { DataForm, Delete } from "../forms.js";
import { link } from "../store.js";
import { Card, html, Loaded } from "../ui.js";
import { DESCRIPTION, instanceField, instanceName, instanceOf, useInstances } from "./fields.js";
import { SchemaEditor } from "./schema.js";

const GENERAL = [
  DESCRIPTION,
  {
    name: "text_search", label: "Who may search by text",
    options: [
      ["editors", "Its owner and editors"], ["readers", "Readers, too"], ["public", "Everybody who may read it"],
    ],
    hint: "Each such search is embedded by the instance, and counts for its budget.",
  },
];

export default function Settings(props) {
  const { project, base, reload } = props;
  const name = project.project_handle;
  return html`<div class="columns">
    <div>
      <${Card} title="General">
        <${DataForm} submit="Save" fields=${GENERAL} stored=${project} isEdit done="The settings are stored."
          send=${(body, options) => patch(base.project, body, options)} onDone=${reload} />
      <//>
      <${Card} title="Instance"><${Instance} ...${props} /><//>
      <${Card} title="Delete the project">
        <${Delete} noun="project" name=${name} where=${base.project} to=${link`/`}>
          <p>The project is deleted with its ${number(project.number_of_embeddings)} texts, vectors and metadata, its
            shares and settings. It cannot be brought back.</p>
        <//>
      <//>
    </div>
    <${SchemaEditor} ...${props} />
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
