// What the owner of a project sets: description, instance, who searches by text, the schema; and its deletion.
import { patch, remove } from "../api.js";
import { number } from "../format.js";
import { useAction } from "../hooks.js";
import { go, link, notify } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, ConfirmButton, Field, Form, html, Loaded } from "../ui.js";
import { InstanceChoice, instanceName, instanceOf, useInstances } from "./instance_choice.js";
import { SchemaEditor } from "./schema.js";

const SEARCHERS = [
  ["editors", "Its owner and editors"],
  ["readers", "Readers, too"],
  ["public", "Everybody who may read it"],
];

export default function Settings(props) {
  return html`<div class="columns">
    <div><${General} ...${props} /><${Instance} ...${props} /><${Deletion} ...${props} /></div>
    <${SchemaEditor} ...${props} />
  </div>`;
}

function General({ project, base, reload }) {
  const [description, setDescription] = useState(project.description ?? "");
  const [searchers, setSearchers] = useState(project.text_search);
  const action = useAction(async ({ signal }) => {
    await patch(base.project, { description: description || null, text_search: searchers }, { signal });
    notify("The settings are stored.");
    reload();
  });
  const isChanged = description !== (project.description ?? "") || searchers !== project.text_search;
  return html`<${Card} title="General">
    <${Form} action=${action} submit="Save" isReady=${isChanged}>
      <${Field} label="Description" name="description" lines="3" class="prose" value=${description}
        onValue=${setDescription} />
      <${Field} label="Who may search by text" name="text_search" options=${SEARCHERS} value=${searchers}
        onValue=${setSearchers} hint="Each such search is embedded by the instance, and counts for its budget." />
    <//>
  <//>`;
}

function Instance({ project, base, reload }) {
  const { instance, number_of_embeddings: rows } = project;
  const present = instance ? instanceName(instance) : "";
  const [chosen, setChosen] = useState(present);
  const instances = useInstances(project.owner);
  const action = useAction(async ({ signal }) => {
    await patch(base.project, instanceOf(chosen), { signal });
    notify("The instance is exchanged.");
    reload();
  });
  const warning = rows
    ? `Stored vectors stay as they are, so the new one must have as many dimensions, and should be of the same model:
      texts that are embedded by different models are not comparable.`
    : "The project holds no texts, so any instance will do.";
  return html`<${Card} title="Instance">
    <${Loaded} from=${instances}>${(usable) => {
      const isKnown = !present || usable.some((one) => instanceName(one) === present);
      return html`<${Form} action=${action} submit="Exchange" isReady=${chosen !== "" && chosen !== present}>
        <${InstanceChoice} instances=${isKnown ? usable : [instance, ...usable]} value=${chosen} onValue=${setChosen} />
        <p class=${rows ? "warning-box" : "hint"}>${warning}</p>
      <//>`;
    }}<//>
  <//>`;
}

function Deletion({ project, base }) {
  const act = async ({ signal }) => {
    await remove(base.project, { signal });
    notify(`The project ${project.project_handle} is deleted.`);
    go(link`/`);
  };
  return html`<${Card} title="Delete the project">
    <${ConfirmButton} label="Delete …" title="Delete the project" submit="Delete the project" act=${act}
        name=${project.project_handle}>
      <p>The project is deleted with its ${number(project.number_of_embeddings)} texts, vectors and metadata, its shares
        and settings. It cannot be brought back.</p>
    <//>
  <//>`;
}
