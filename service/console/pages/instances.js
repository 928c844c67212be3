// Instances: a user's own and those shared with them, and a form that makes one. The page of one is in instance.js.
import { all, get, mustBeFree, path, post } from "../api.js";
import { DataForm } from "../forms.js";
import { useLoad } from "../hooks.js";
import { go, isAdmin, link, notify, offset, route, session, setQuery } from "../store.js";
import { Badge, Dialog, Empty, Facts, Field, html, Loaded, Named, Page, Pages } from "../ui.js";
import { HANDLE, KEY, modelFacts, modelFields } from "./fields.js";
import { Instance } from "./instance.js";
import { Grouped, UserChoice } from "./lists.js";

const PAGE = 25; // instances
const PLAIN = "-"; // in the address: without a definition
const NAME = { ...HANDLE, name: "instance_handle" };
const COLUMNS = [
  ["Instance", (one) => html`<${Named} noun="instance" ...${one} />
    ${one.description && html`<div class="faint clip">${one.description}</div>`}`],
  ["Role", (one) => one.access_role],
  ["Model", (one) => one.model],
  ["Dimensions", (one) => one.dimensions, "number"],
  ["API standard", (one) => one.api_standard],
  ["Key", (one) => (one.has_api_key ? html`<${Badge} kind="good">stored<//>` : html`<${Badge}>none<//>`)],
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
  const from = useLoad(async (signal) => {
    const query = { limit: PAGE, offset: offset.value };
    const page = await get(path`/v1/llm-instances/${user}`, { signal, query });
    const full = (one) => get(path`/v1/llm-instances/${one.owner}/${one.instance_handle}`, { signal });
    const facts = await Promise.all(page.instances.map((one) => full(one).catch(() => one))); // it may be gone by now
    return { ...page, instances: page.instances.map((one, at) => ({ ...facts[at], ...one })) };
  }, [user, offset.value]);
  const make = html`<button type="button" class="primary"
    onClick=${() => setQuery({ definition: "_system/local-small" })}>Make an instance</button>`;
  return html`<${Page} title=${isAdmin.value ? `Instances of ${user}` : "Instances"} actions=${make}
      lead="A model with its key, which embeds texts. Projects hold texts that one instance has embedded.">
    <${Loaded} from=${from}>${({ instances, next }) => html`
      ${!instances.length && html`<${Empty} title="There is no instance yet.">
        <p>Make one first: the definition _system/local-small needs no key.</p>${make}<//>`}
      <${Grouped} rows=${instances} user=${user} noun="instances" columns=${COLUMNS}
        rowKey=${(one) => one.instance_id} />
      <${Pages} size=${PAGE} hasNext=${Boolean(next)} />`}<//>
    ${route.value.query.has("definition") && html`<${NewInstance} user=${user} />`}
  <//>`;
}

function NewInstance({ user }) {
  const chosen = route.value.query.get("definition");
  const own = isAdmin.value ? path`/v1/llm-definitions/${user}` : "/v1/llm-definitions";
  const from = useLoad((signal) => all(own, "definitions", { signal }), [own]);
  const send = (place, more) => async (body, options) => {
    const handle = body.instance_handle;
    await mustBeFree(path`/v1/llm-instances/${user}/${handle}`, `an instance ${user}/${handle}`, options);
    await post(path`/v1/llm-instances/${user}` + place, { ...more, ...body }, options);
    notify(`The instance ${handle} is made.`);
    go(link`/instances/${user}/${handle}`);
  };
  return html`<${Dialog} title="Make an instance" onClose=${() => setQuery({ definition: "" })}>
    <${Loaded} from=${from}>${(definitions) => {
      const names = new Set([...definitions.map((one) => `${one.owner}/${one.definition_handle}`), chosen, PLAIN]);
      return html`<${Field} label="Definition" value=${chosen} onValue=${(value) => setQuery({ definition: value })}
        options=${[...names].map((one) => [one, one === PLAIN ? "Without a definition (advanced)" : one])}
        hint="A definition says which model, and where it is asked." />`;
    }}<//>
    ${chosen === PLAIN
      ? html`<${DataForm} submit="Make" send=${send("")} stored=${{ api_standard: "openai" }}
          fields=${[NAME, ...modelFields(true), KEY]} />`
      : html`<${FromDefinition} key=${chosen} name=${chosen} send=${send} />`}
  <//>`;
}

function FromDefinition({ name, send }) {
  const [owner, handle] = name.split(/\/(.*)/s);
  const from = useLoad(async (signal) => {
    const definition = await get(path`/v1/llm-definitions/${owner}/${handle}`, { signal });
    return { definition, standard: await get(path`/v1/api-standards/${definition.api_standard}`, { signal }) };
  }, [name]);
  return html`<${Loaded} from=${from}>${({ definition, standard }) => {
    const { dimensions, endpoint, description } = definition;
    const fields = [NAME];
    if (!dimensions) {
      fields.push({
        name: "dimensions", label: "Dimensions", type: "number", min: 1, required: true,
        hint: "The definition leaves them open.",
      });
    }
    if (standard.dialect !== "local") {
      fields.push(KEY, {
        name: "endpoint", label: "Endpoint", type: "url", placeholder: endpoint, required: !endpoint,
        hint: endpoint && "Empty: that of the definition.",
      });
    }
    return html`<${Facts} pairs=${[
        ["Model", definition.model], ["Dimensions", dimensions],
        ["API standard", standard.description || definition.api_standard], ["What it is", description],
      ]} />
      <${DataForm} submit="Make" fields=${fields} stored=${{ instance_handle: handle }}
        send=${send("/from-definition", { definition_owner: owner, definition_handle: handle })} />`;
  }}<//>`;
}
