// Instances: a user's own and those shared with them, and a form that makes one.
import { get, mustBeFree, ownerAndHandle, path, post } from "../api.js";
import { DataForm, field } from "../forms.js";
import { useAll, useGet, useLoad } from "../hooks.js";
import { go, isAdmin, link, offset, route, session, setQuery } from "../store.js";
import { Dialog, Empty, Facts, Field, html, Loaded, Named, Page, Pages } from "../ui.js";
import { DIMENSIONS, handleField, KEY, modelFields } from "./fields.js";
import { Instance, keyBadge } from "./instance.js";
import { Grouped, UserChoice } from "./lists.js";

const PAGE = 25; // instances
const PLAIN = "-"; // in the address: without a definition
const NAME = handleField("instance_handle");
const COLUMNS = [
  ["Instance", (one) => html`<${Named} noun="instance" ...${one} />
    ${one.description && html`<div class="faint clip">${one.description}</div>`}`],
  ["Role", (one) => one.access_role],
  ["Model", (one) => one.model],
  ["Dimensions", (one) => one.dimensions, "number"],
  ["API standard", (one) => one.api_standard],
  ["Key", keyBadge],
];

export default function Instances() {
  const [, owner, handle] = route.value.parts;
  if (handle !== undefined) return html`<${Instance} owner=${owner} handle=${handle} />`;
  const user = owner ?? session.value.handle;
  if (user) return html`<${List} key=${user} user=${user} />`;
  const { query } = route.value; // the admin owns nothing, and looks at a user's
  return html`<${Page} title="Instances" lead="Whose? An instance belongs to a user.">
    <${UserChoice} label="User" show=${(chosen) => go(link`/instances/${chosen}` + (query.size ? `?${query}` : ""))} />
  <//>`;
}

function List({ user }) {
  const from = useGet(path`/v1/llm-instances/${user}`, { limit: PAGE, offset: offset.value });
  const make = html`<button type="button" class="primary"
    onClick=${() => setQuery({ definition: "_system/local-small" })}>Make an instance</button>`;
  return html`<${Page} title=${isAdmin.value ? `Instances of ${user}` : "Instances"} actions=${make}
      lead="A model with its key, which embeds texts. Projects hold texts that one instance has embedded.">
    <${Loaded} from=${from}>${({ instances, next }) => html`
      ${!instances.length && html`<${Empty} title="There is no instance yet.">
        <p>Make one first: the definition _system/local-small needs no key.</p>${make}<//>`}
      <${Grouped} rows=${instances} user=${user} noun="instance" columns=${COLUMNS} />
      <${Pages} size=${PAGE} hasNext=${Boolean(next)} />`}<//>
    ${route.value.query.has("definition") && html`<${NewInstance} user=${user} />`}
  <//>`;
}

function NewInstance({ user }) {
  const chosen = route.value.query.get("definition");
  const from = useAll(isAdmin.value ? path`/v1/llm-definitions/${user}` : "/v1/llm-definitions", "definitions");
  const send = (place, more) => async (body, options) => {
    const handle = body.instance_handle;
    await mustBeFree(path`/v1/llm-instances/${user}/${handle}`, `an instance ${user}/${handle}`, options);
    await post(path`/v1/llm-instances/${user}` + place, { ...more, ...body }, options);
    go(link`/instances/${user}/${handle}`);
  };
  const form = { submit: "Make", done: ({ instance_handle: handle }) => `The instance ${handle} is made.` };
  return html`<${Dialog} title="Make an instance" onClose=${() => setQuery({ definition: "" })}>
    <${Loaded} from=${from}>${(definitions) => {
      const names = new Set([...definitions.map((one) => `${one.owner}/${one.definition_handle}`), chosen, PLAIN]);
      return html`<${Field} label="Definition" value=${chosen} onValue=${(value) => setQuery({ definition: value })}
        options=${[...names].map((one) => [one, one === PLAIN ? "Without a definition (advanced)" : one])}
        hint="A definition says which model, and where it is asked." />`;
    }}<//>
    ${chosen === PLAIN
      ? html`<${DataForm} ...${form} send=${send("")} stored=${{ api_standard: "openai" }}
          fields=${[NAME, ...modelFields(true), KEY]} />`
      : html`<${FromDefinition} key=${chosen} name=${chosen} form=${form} send=${send} />`}
  <//>`;
}

function FromDefinition({ name, form, send }) {
  const [owner, handle] = ownerAndHandle(name);
  const from = useLoad(async (signal) => {
    const definition = await get(path`/v1/llm-definitions/${owner}/${handle}`, { signal });
    return { definition, standard: await get(path`/v1/api-standards/${definition.api_standard}`, { signal }) };
  }, [name]);
  return html`<${Loaded} from=${from}>${({ definition, standard }) => {
    const { model, dimensions, endpoint, description, api_standard: named } = definition;
    const fields = [{ ...NAME, isFirst: false }]; // the focus stays in the choice of a definition
    if (!dimensions) fields.push({ ...DIMENSIONS, required: true, hint: "The definition leaves them open." });
    if (standard.dialect !== "local") {
      const options = { type: "url", placeholder: endpoint, required: !endpoint };
      fields.push(KEY, field("endpoint", "Endpoint", endpoint && "Empty: that of the definition.", options));
    }
    const facts = [["Model", model], ["Dimensions", dimensions], ["API standard", standard.description || named]];
    return html`<${Facts} pairs=${[...facts, ["What it is", description]]} />
      <${DataForm} ...${form} fields=${fields} stored=${{ instance_handle: handle }}
        send=${send("/from-definition", { definition_owner: owner, definition_handle: handle })} />`;
  }}<//>`;
}
