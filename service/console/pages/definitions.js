// Definitions, templates for instances: those that one may use, and one of them in full.
import { all, get, mustBeFree, patch, path, post, remove } from "../api.js";
import { plural } from "../format.js";
import { useAction, useLoad } from "../hooks.js";
import { go, isAdmin, link, notify, route, session } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Badge, Card, ConfirmButton, Empty, Facts, Field, Form, html, Loaded, Named, Page, Table } from "../ui.js";
import { bodyOf, Change, MODEL, ModelFields } from "./fields.js";

const SYSTEM = "_system"; // the owner of what is built in

export default function Definitions() {
  const [, owner, handle] = route.value.parts;
  return handle === undefined ? html`<${List} />` : html`<${Definition} owner=${owner} handle=${handle} />`;
}

// The groups of a list, in this order.
function groupOf({ owner, is_public: isPublic }) {
  if (owner === session.value?.handle) return "Own";
  if (owner === SYSTEM) return "Built in";
  if (isPublic) return "Public";
  return isAdmin.value ? "Of users" : "Shared by others";
}

function List() {
  const from = useLoad((signal) => all("/v1/llm-definitions", "definitions", { signal }), ["definitions"]);
  const columns = [
    {
      title: "Definition",
      cell: (one) => html`<${Named} kind="definitions" owner=${one.owner} handle=${one.definition_handle} />`,
    },
    { title: "Seen by", cell: seenBy },
    { title: html`<span class="unseen">Use</span>`, cell: (one) => html`<${UseIt} definition=${one} />` },
  ];
  return html`<${Page} title="Definitions" actions=${html`<${NewDefinition} />`}
      lead="Templates: an instance that is made from one has its model, endpoint and dimensions.">
    <${Loaded} from=${from}>${(found) => ["Own", "Shared by others", "Of users", "Built in", "Public"].map((group) => {
      const rows = found.filter((one) => groupOf(one) === group);
      if (!rows.length && group === "Own" && !isAdmin.value) {
        return html`<${Card} title="Own"><${Empty} title="You have made no definition yet.">
          <p>Make one for a model that several people use, or make an instance of one below.</p><//><//>`;
      }
      return rows.length > 0 && html`<${Card} title=${group}>
        <${Table} caption="${group}: definitions" columns=${columns} rows=${rows} />
      <//>`;
    })}<//>
  <//>`;
}

function seenBy({ is_public: isPublic }) {
  return isPublic ? html`<${Badge}>every user<//>` : "its owner, and those it is shared with";
}

function UseIt({ definition: { owner, definition_handle: handle } }) {
  const query = new URLSearchParams({ definition: `${owner}/${handle}` });
  const name = html`<span class="unseen"> of ${owner}/${handle}</span>`;
  return html`<a href=${`#/instances?${query}`}>Make an instance${name}</a>`;
}

function Fields({ field }) {
  return html`<${ModelFields} field=${field} />
    <${Field} type="checkbox" label="Public" ...${field("is_public")}
      hint="Every user sees it, and may make instances of it. It holds no key." />`;
}

const bodyFor = (values) => ({ ...bodyOf(values, MODEL), is_public: Boolean(values.is_public) });

function NewDefinition() {
  const make = async (values, options) => {
    const [owner, handle] = [values.owner.trim(), values.definition_handle.trim()];
    const message = `There is a definition ${owner}/${handle} already.`;
    await mustBeFree(path`/v1/llm-definitions/${owner}/${handle}`, message, options);
    await post(path`/v1/llm-definitions/${owner}`, { definition_handle: handle, ...bodyFor(values) }, options);
    notify(`The definition ${handle} is made.`);
    go(link`/definitions/${owner}/${handle}`);
  };
  const fields = (field) => html`
    ${isAdmin.value && html`<${Field} label="Owner" ...${field("owner")} required hint="The handle of a user." />`}
    <${Field} label="Name" ...${field("definition_handle")} required isFirst
      hint="3 to 64 letters, digits and . _ ~ - ; it is not changed later." />
    <${Fields} field=${field} />`;
  return html`<${Change} label="Make a definition" kind="primary" submit="Make" send=${make} fields=${fields}
    stored=${{ api_standard: "openai", owner: session.value.handle ?? "" }} />`;
}

function Definition({ owner, handle }) {
  const where = path`/v1/llm-definitions/${owner}/${handle}`;
  const from = useLoad((signal) => get(where, { signal }), [where]);
  const mayChange = owner !== SYSTEM && (isAdmin.value || owner === session.value?.handle);
  const { data: definition, reload } = from;
  const edit = (values, options) => patch(where, bodyFor(values), options);
  const destroy = async (options) => {
    await remove(where, options);
    notify(`The definition ${handle} is deleted.`);
    go(link`/definitions`);
  };
  const actions = definition && html`<${UseIt} definition=${definition} />
    ${mayChange && html`
      <${Change} label="Edit" stored=${definition} send=${edit} reload=${reload}
        fields=${(field) => html`<${Fields} field=${field} />`} />
      <${ConfirmButton} label="Delete …" title="Delete the definition" submit="Delete the definition" name=${handle}
          act=${destroy}><p>Instances that were made from it stay as they are.</p><//>`}`;
  return html`<${Page} title=${`${owner}/${handle}`} lead=${definition?.description} actions=${actions}>
    <${Loaded} from=${from}>${(one) => html`
      <${Card} title="Definition"><${Facts} pairs=${[
        ["Model", one.model],
        ["Dimensions", one.dimensions],
        ["API standard", one.api_standard],
        ["Endpoint", one.endpoint],
        ["Context limit", one.context_limit && plural(one.context_limit, "token")],
        ["Seen by", seenBy(one)],
      ]} /><//>
      ${mayChange && html`<${Shares} where=${where} />`}`}<//>
  <//>`;
}

function Shares({ where }) {
  const from = useLoad((signal) => get(`${where}/shared-with`, { signal }), [where]);
  const [handle, setHandle] = useState("");
  const action = useAction(async (options) => {
    await post(`${where}/share`, { share_with_handle: handle.trim() }, options);
    notify(`${handle.trim()} may use this definition now.`);
    setHandle("");
    from.reload();
  });
  const end = (user) => async (options) => {
    await remove(`${where}/share/` + path`${user}`, options);
    from.reload();
  };
  const columns = [
    { title: "User", cell: (user) => user },
    {
      title: html`<span class="unseen">End</span>`,
      cell: (user) => html`<${ConfirmButton} label=${html`End<span class="unseen"> ${user}</span>`}
        title="End the share" submit="End it" act=${end(user)}>
          <p>Instances that ${user} made from it stay as they are.</p><//>`,
    },
  ];
  return html`<${Card} title="Shared with">
    <${Loaded} from=${from}>${(users) => users.length
      ? html`<${Table} caption="Users it is shared with" columns=${columns} rows=${users} rowKey=${(user) => user} />`
      : html`<p class="faint">Nobody yet.</p>`}<//>
    <${Form} action=${action} submit="Share" isReady=${handle.trim() !== ""}>
      <${Field} label="User" name="share_with_handle" value=${handle} onValue=${setHandle} hint="Their handle." />
    <//>
  <//>`;
}
