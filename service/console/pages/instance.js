// One instance: what it is, a test of its connection, its key and limits, its shares, and what it was used for.
import { all, get, patch, path, post, remove } from "../api.js";
import { number, plural, time } from "../format.js";
import { useAction, useLoad } from "../hooks.js";
import { go, link, notify } from "../store.js";
import { useState } from "../vendor/hooks.js";
import {
  Badge, Card, ConfirmButton, Facts, Field, Form, html, Loaded, Named, Page, Progress, Table,
} from "../ui.js";
import { bodyOf, Change, KeyBadge, KeyField, LIMITS, LimitFields, MODEL, ModelFields, useFields } from "./fields.js";
import { Usage } from "./usage.js";

const ROLES = ["reader", "editor"];

export function Instance({ owner, handle }) {
  const where = path`/v1/llm-instances/${owner}/${handle}`;
  const [tests, setTests] = useState(0);
  const from = useLoad((signal) => get(where, { signal }), [where]);
  const mayChange = from.data && ["owner", "admin"].includes(from.data.access_role);
  const own = { where, instance: from.data, reload: from.reload };
  return html`<${Page} title=${`${owner}/${handle}`} lead=${from.data?.description}
      actions=${mayChange && html`<${Edit} ...${own} /><${Key} ...${own} /><${Limits} ...${own} />`}>
    <${Loaded} from=${from}>${(instance) => html`
      <div class="columns">
        <${Card} title="Instance"><${About} instance=${instance} /><//>
        <${Connection} where=${where} onTested=${() => setTests((old) => old + 1)} />
      </div>
      <${Usage} where=${where} turn=${tests} isAll=${mayChange} />
      ${mayChange && html`<${Shares} ...${own} /><${Deletion} ...${own} />`}`}<//>
  <//>`;
}

function About({ instance }) {
  const { definition_owner: owner, definition_handle: handle } = instance;
  return html`<${Facts} pairs=${[
    ["Model", instance.model],
    ["Dimensions", instance.dimensions],
    ["API standard", instance.api_standard],
    ["Endpoint", instance.endpoint],
    ["Context limit", instance.context_limit && plural(instance.context_limit, "token")],
    ["Key of the provider", html`<${KeyBadge} instance=${instance} />`],
    ["Your role", instance.access_role],
    ["Made from", handle && html`<${Named} kind="definitions" owner=${owner} handle=${handle} />`],
    ["Limit of all together", limits(instance)],
  ]} />`;
}

// The limits of an instance or a share in words; "" when there are none.
function limits(one) {
  const parts = [
    [one.tokens_per_day, "token", "a day"],
    [one.tokens_per_month, "token", "a month"],
    [one.requests_per_minute, "request", "a minute"],
  ].filter(([value]) => value !== undefined && value !== null);
  const texts = parts.map(([value, noun, span]) => `${plural(value, noun)} ${span}`);
  if (one.expires_at) texts.push(`${new Date(one.expires_at) < Date.now() ? "ended" : "ends"} ${time(one.expires_at)}`);
  return texts.join(", ");
}

function Connection({ where, onTested }) {
  const [word, setWord] = useState("rose");
  const [found, setFound] = useState(null);
  const action = useAction(async (options) => {
    setFound(null);
    const start = performance.now();
    const answer = await post(`${where}/embed`, { input: [word] }, options);
    setFound({ ...answer, milliseconds: performance.now() - start });
    onTested();
  });
  return html`<${Card} title="Test the connection">
    <${Form} action=${action} submit="Embed it" isReady=${word !== ""}>
      <${Field} label="A word" name="input" value=${word} onValue=${setWord}
        hint="It is embedded by the model, and counts for the budget." />
    <//>
    ${action.isRunning && html`<${Progress} label="The model is asked …" onCancel=${action.cancel} />`}
    <p role="status">${found && html`<${Badge} kind="good">It works<//> ${found.model ?? ""}:
      ${" "}${plural(found.dimensions, "dimension")}, ${number(Math.round(found.milliseconds))} ms,
      ${" "}${plural(found.usage.tokens, "token")}`}</p>
  <//>`;
}

function Edit({ where, instance, reload }) {
  const send = (values, options) => patch(where, bodyOf(values, MODEL), options);
  return html`<${Change} label="Edit" stored=${instance} send=${send} reload=${reload}
    fields=${(field) => html`<${ModelFields} field=${field} isInstance />`} />`;
}

function Key({ where, instance, reload }) {
  const send = async ({ api_key: key }, options) => {
    await patch(where, { api_key: key.trim() }, options);
    notify("The provider's key is stored.");
  };
  const forget = async (options) => {
    await patch(where, { api_key: null }, options);
    notify("The provider's key is removed.");
    reload();
  };
  const fields = (field) => html`<${KeyField} field=${field} required isFirst />`;
  return html`<${Change} label=${instance.has_api_key ? "Replace the key" : "Store a key"} send=${send} reload=${reload}
      fields=${fields} />
    ${instance.has_api_key && html`<${ConfirmButton} label="Remove the key" submit="Remove the key" act=${forget}>
      <p>Providers that need a key embed no more texts until another one is stored.</p>
    <//>`}`;
}

function Limits({ where, instance, reload }) {
  const send = (values, options) => patch(where, bodyOf(values, LIMITS), options);
  return html`<${Change} label="Limits" stored=${instance} send=${send} reload=${reload} fields=${(field) => html`
    <p>What all together may embed with this instance.</p><${LimitFields} field=${field} />`} />`;
}

function RoleField({ field }) {
  return html`<${Field} label="Role" ...${field("role")} options=${ROLES}
    hint="Both may build projects on it and embed texts; neither changes it, nor sees its key." />`;
}

function Shares({ where, instance, reload }) {
  const add = async (values, options) => {
    const handle = values.share_with_handle.trim();
    const body = { share_with_handle: handle, role: values.role, ...bodyOf(values, LIMITS) };
    await post(`${where}/share`, body, options);
    notify(`${handle} may use this instance now.`);
  };
  const place = (one) => `${where}/share/` + path`${one.user_handle}`;
  const end = (one) => async (options) => {
    await remove(place(one), options);
    notify(`${one.user_handle} may not use this instance any more.`);
    reload();
  };
  const change = (one) => (values, options) =>
    patch(place(one), { role: values.role, ...bodyOf(values, LIMITS) }, options);
  const of = (one) => html`<span class="unseen"> ${one.user_handle}</span>`;
  const columns = [
    { title: "User", cell: (one) => one.user_handle },
    { title: "Role", cell: (one) => one.role },
    { title: "Limits", cell: (one) => limits(one) || "none" },
    {
      title: html`<span class="unseen">Actions</span>`,
      cell: (one) => html`<div class="actions">
        <${Change} label=${html`Change${of(one)}`} stored=${one} send=${change(one)} reload=${reload}
          fields=${(field) => html`<${RoleField} field=${field} /><${LimitFields} field=${field} />`} />
        <${ConfirmButton} label=${html`End${of(one)}`} title="End the share" submit="End it" act=${end(one)}>
          <p>${one.user_handle} embeds no more texts with this instance. Projects that they built on it stay.</p>
        <//>
      </div>`,
    },
  ];
  const rows = instance.shared_with ?? [];
  const fields = (field) => html`
    <${Field} label="User" ...${field("share_with_handle")} required isFirst hint="Their handle." />
    <${RoleField} field=${field} /><${LimitFields} field=${field} />`;
  const button = html`<${Change} label="Share it" submit="Share" stored=${{ role: "reader" }} send=${add}
    reload=${reload} fields=${fields} />`;
  return html`<${Card} title="Shared with" actions=${button}>
    ${rows.length
      ? html`<${Table} caption="Users it is shared with" columns=${columns} rows=${rows}
          rowKey=${(one) => one.user_handle} />`
      : html`<p class="faint">Nobody yet. You set how much each user may embed with it.</p>`}
  <//>`;
}

function Deletion({ where, instance }) {
  const { owner, instance_handle: handle } = instance;
  const [users, setUsers] = useState([]);
  const act = async (options) => {
    try {
      await remove(where, options);
    } catch (error) {
      if (error.status === 409) {
        const isOn = (one) => one.instance?.owner === owner && one.instance.instance_handle === handle;
        setUsers((await all(path`/v1/projects/${owner}`, "projects", options)).filter(isOn));
      }
      throw error;
    }
    notify(`The instance ${handle} is deleted.`);
    go(link`/instances/${owner}`);
  };
  return html`<${Card} title="Delete the instance">
    <${ConfirmButton} label="Delete …" title="Delete the instance" submit="Delete the instance" name=${handle}
        act=${act}>
      <p>It is deleted with its key, its shares and its usage, unless a project uses it.</p>
      ${users.length > 0 && html`<p>Projects that use it: ${users.map((one) => html`
        <a href=${link`/projects/${one.owner}/${one.project_handle}`}>${one.owner}/${one.project_handle}</a> `)}</p>`}
    <//>
  <//>`;
}
