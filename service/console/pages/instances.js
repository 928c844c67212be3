// Instances: a user's own and those shared with them, and a form that makes one. The page of one is in instance.js.
import { all, get, mustBeFree, path, post } from "../api.js";
import { useAction, useLoad } from "../hooks.js";
import { go, isAdmin, link, notify, route, session, setQuery } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, Dialog, Empty, Facts, Field, Form, html, Loaded, Named, Page, Pages, Table } from "../ui.js";
import { bodyOf, KeyBadge, KeyField, MODEL, ModelFields, useFields } from "./fields.js";
import { Instance } from "./instance.js";

const PAGE = 25; // instances
const PLAIN = "-"; // in the address: without a definition

export default function Instances() {
  const [, owner, handle] = route.value.parts;
  if (handle !== undefined) return html`<${Instance} owner=${owner} handle=${handle} />`;
  const user = owner ?? session.value.handle;
  return user ? html`<${List} key=${user} user=${user} />` : html`<${UserChoice} />`;
}

// The admin owns nothing, and looks at a user's.
function UserChoice() {
  const [typed, setTyped] = useState("");
  const action = useAction(async () => go(link`/instances/${typed.trim()}` + definitionQuery()));
  return html`<${Page} title="Instances" lead="Whose? An instance belongs to a user.">
    <${Card}><${Form} action=${action} submit="Show" isReady=${typed.trim() !== ""}>
      <${Field} label="User" value=${typed} onValue=${setTyped} hint="The handle of a user." isFirst />
    <//><//>
  <//>`;
}

function definitionQuery() {
  const chosen = route.value.query.get("definition");
  return chosen ? `?${new URLSearchParams({ definition: chosen })}` : "";
}

function List({ user }) {
  const offset = Number(route.value.query.get("offset")) || 0;
  const from = useLoad(
    (signal) => get(path`/v1/llm-instances/${user}`, { signal, query: { limit: PAGE, offset } }),
    [user, offset],
  );
  const isMaking = route.value.query.has("definition");
  const make = html`<button type="button" class="primary"
    onClick=${() => setQuery({ definition: "_system/local-small" })}>Make an instance</button>`;
  return html`<${Page} title=${isAdmin.value ? `Instances of ${user}` : "Instances"} actions=${make}
      lead="A model with its key, which embeds texts. Projects hold texts that one instance has embedded.">
    <${Loaded} from=${from}>${({ instances, next }) => {
      const own = instances.filter((one) => one.owner === user);
      const given = instances.filter((one) => one.owner !== user);
      return html`
        ${!instances.length && html`<${Empty} title="There is no instance yet.">
          <p>Make one first: the definition _system/local-small needs no key.</p>${make}<//>`}
        ${own.length > 0 && html`<${Part} title="Own" instances=${own} />`}
        ${given.length > 0 && html`<${Part} title="Shared by others" instances=${given} />`}
        <${Pages} offset=${offset} size=${PAGE} hasNext=${Boolean(next)} />`;
    }}<//>
    ${isMaking && html`<${Dialog} title="Make an instance" onClose=${() => setQuery({ definition: "" })}>
      <${NewInstance} user=${user} />
    <//>`}
  <//>`;
}

function Part({ title, instances }) {
  const columns = [
    {
      title: "Instance",
      cell: (one) => html`<${Named} kind="instances" owner=${one.owner} handle=${one.instance_handle} />
        ${one.description && html`<div class="faint clip">${one.description}</div>`}`,
    },
    { title: "Role", cell: (one) => one.access_role },
    { title: "Model", cell: (one) => one.model ?? "" },
    { title: "Dimensions", class: "number", cell: (one) => one.dimensions ?? "" },
    { title: "API standard", cell: (one) => one.api_standard },
    { title: "Key", cell: (one) => html`<${KeyBadge} instance=${one} />` },
  ];
  return html`<${Card} title=${title}>
    <${Table} caption="${title}: instances" columns=${columns} rows=${instances} rowKey=${(one) => one.instance_id} />
  <//>`;
}

function NewInstance({ user }) {
  const chosen = route.value.query.get("definition");
  const own = isAdmin.value ? path`/v1/llm-definitions/${user}` : "/v1/llm-definitions";
  const from = useLoad((signal) => all(own, "definitions", { signal }), [own]);
  return html`<${Loaded} from=${from}>${(definitions) => {
    const names = definitions.map((one) => `${one.owner}/${one.definition_handle}`);
    if (chosen !== PLAIN && !names.includes(chosen)) names.unshift(chosen);
    return html`
      <${Field} label="Definition" value=${chosen} onValue=${(value) => setQuery({ definition: value })}
        options=${[...names, [PLAIN, "Without a definition (advanced)"]]}
        hint="A definition says which model, and where it is asked." />
      ${chosen === PLAIN
        ? html`<${Plain} user=${user} />`
        : html`<${FromDefinition} key=${chosen} user=${user} name=${chosen} />`}`;
  }}<//>`;
}

// What makes an instance at `where` unless there is one of its handle, which a POST would replace.
function useMaking(user, where, body, values) {
  return useAction(async (options) => {
    const handle = values.instance_handle.trim();
    const message = `There is an instance ${user}/${handle} already.`;
    await mustBeFree(path`/v1/llm-instances/${user}/${handle}`, message, options);
    const key = values.api_key ? { api_key: values.api_key.trim() } : {};
    await post(where, { instance_handle: handle, ...key, ...body }, options);
    notify(`The instance ${handle} is made.`);
    go(link`/instances/${user}/${handle}`);
  });
}

function FromDefinition({ user, name }) {
  const at = name.indexOf("/");
  const [owner, handle] = [name.slice(0, at), name.slice(at + 1)];
  const from = useLoad(async (signal) => {
    const definition = await get(path`/v1/llm-definitions/${owner}/${handle}`, { signal });
    return { definition, standard: await get(path`/v1/api-standards/${definition.api_standard}`, { signal }) };
  }, [name]);
  const { values, field } = useFields({ instance_handle: handle });
  const body = { definition_owner: owner, definition_handle: handle, ...bodyOf(values, ["endpoint", "dimensions"]) };
  const action = useMaking(user, path`/v1/llm-instances/${user}/from-definition`, body, values);
  return html`<${Loaded} from=${from}>${({ definition, standard }) => {
    const isRemote = standard.dialect !== "local";
    return html`<${Facts} pairs=${[
        ["Model", definition.model],
        ["Dimensions", definition.dimensions],
        ["API standard", standard.description || definition.api_standard],
        ["What it is", definition.description],
      ]} />
      <${Form} action=${action} submit="Make" isReady=${Boolean(values.instance_handle)}>
        <${Handle} field=${field} />
        ${!definition.dimensions && html`<${Field} label="Dimensions" ...${field("dimensions")} type="number" min="1"
          required hint="The definition leaves them open." />`}
        ${isRemote && html`<${KeyField} field=${field} />
          <${Field} label="Endpoint" ...${field("endpoint")} type="url" placeholder=${definition.endpoint}
            required=${!definition.endpoint} hint=${definition.endpoint ? "Empty: that of the definition." : ""} />`}
      <//>`;
  }}<//>`;
}

function Plain({ user }) {
  const { values, field } = useFields({ api_standard: "openai" });
  const action = useMaking(user, path`/v1/llm-instances/${user}`, bodyOf(values, MODEL), values);
  return html`<${Form} action=${action} submit="Make" isReady=${Boolean(values.instance_handle)}>
    <${Handle} field=${field} />
    <${ModelFields} field=${field} isInstance />
    <${KeyField} field=${field} />
  <//>`;
}

function Handle({ field }) {
  return html`<${Field} label="Name" ...${field("instance_handle")} required
    hint="3 to 64 letters, digits and . _ ~ - ; it is not changed later." />`;
}
