// One instance: what it is, a test of its connection, its key and limits, its shares, and what it was used for.
import { all, patch, path, post, remove } from "../api.js";
import { number, plural, time } from "../format.js";
import { DataForm, Delete, FormButton } from "../forms.js";
import { useGet } from "../hooks.js";
import { link } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Badge, Card, Facts, html, Loaded, Named, Page } from "../ui.js";
import { KEY, LIMITS, modelFacts, modelFields } from "./fields.js";
import { Shares } from "./shares.js";
import { Usage } from "./usage.js";

const ROLE = {
  name: "role", label: "Role", options: ["reader", "editor"],
  hint: "Both may build projects on it and embed texts; neither changes it, nor sees its key.",
};

export function Instance({ owner, handle }) {
  const where = path`/v1/llm-instances/${owner}/${handle}`;
  const [tests, setTests] = useState(0);
  const from = useGet(where);
  const { data: instance, reload } = from;
  const mayChange = instance && ["owner", "admin"].includes(instance.access_role);
  const send = (body, options) => patch(where, body, options);
  return html`<${Page} title="${owner}/${handle}" lead=${instance?.description}
      actions=${mayChange && html`<${Changes} instance=${instance} send=${send} reload=${reload} />`}>
    <${Loaded} from=${from}>${(one) => html`
      <div class="columns">
        <${Card} title="Instance"><${Facts} pairs=${facts(one)} /><//>
        <${Connection} where=${where} onTested=${() => setTests((old) => old + 1)} />
      </div>
      <${Usage} where=${where} turn=${tests} isAll=${mayChange} />
      ${mayChange && html`
        <${Shares} where=${where} shares=${one.shared_with ?? []} fields=${[ROLE, ...LIMITS]} mayChange
          none="Nobody yet. You set how much each user may embed with it." reload=${reload}
          columns=${[["Role", (share) => share.role], ["Limits", (share) => limits(share) || "none"]]}
          done=${(body) => `${body.share_with_handle} may use this instance now.`}
          ended=${(user) => `${user} embeds no more texts with it. Projects that they built on it stay.`} />
        <${Deletion} where=${where} instance=${one} />`}`}<//>
  <//>`;
}

function facts(instance) {
  const { definition_owner: owner, definition_handle: handle } = instance;
  return [
    ...modelFacts(instance),
    ["Key of the provider", instance.has_api_key ? html`<${Badge} kind="good">stored<//>` : html`<${Badge}>none<//>`],
    ["Your role", instance.access_role],
    ["Made from", handle && html`<${Named} noun="definition" owner=${owner} definition_handle=${handle} />`],
    ["Limit of all together", limits(instance)],
  ];
}

// The limits of an instance or a share in words; "" when there are none.
function limits(one) {
  const texts = [
    [one.tokens_per_day, "token", "a day"],
    [one.tokens_per_month, "token", "a month"],
    [one.requests_per_minute, "request", "a minute"],
  ].filter(([value]) => value !== undefined).map(([value, noun, span]) => `${plural(value, noun)} ${span}`);
  if (one.expires_at) texts.push(`${new Date(one.expires_at) < Date.now() ? "ended" : "ends"} ${time(one.expires_at)}`);
  return texts.join(", ");
}

function Changes({ instance, send, reload }) {
  const own = { submit: "Save", stored: instance, send, onDone: reload };
  const hasKey = instance.has_api_key;
  return html`<${FormButton} label="Edit" ...${own} fields=${modelFields(true)} />
    <${FormButton} label=${hasKey ? "Replace the key" : "Store a key"} ...${own}
      fields=${[{ ...KEY, required: true, isFirst: true }]} done="The provider's key is stored." />
    ${hasKey && html`<${FormButton} label="Remove the key" kind="danger" submit="Remove the key" onDone=${reload}
        send=${(body, options) => send({ api_key: null }, options)} done="The provider's key is removed.">
      <p>Providers that need a key embed no more texts until another one is stored.</p>
    <//>`}
    <${FormButton} label="Limits" ...${own} fields=${LIMITS}>
      <p>What all together may embed with this instance.</p>
    <//>`;
}

function Connection({ where, onTested }) {
  const [found, setFound] = useState(null);
  const send = async ({ input }, options) => {
    setFound(null);
    const start = performance.now();
    const answer = await post(`${where}/embed`, { input: [input] }, options);
    setFound({ ...answer, milliseconds: performance.now() - start });
  };
  const hint = "It is embedded by the model, and counts for the budget.";
  return html`<${Card} title="Test the connection">
    <${DataForm} submit="Embed it" send=${send} onDone=${onTested} stored=${{ input: "rose" }} mayCancel
      fields=${[{ name: "input", label: "A word", required: true, hint }]} />
    <p role="status">${found && html`<${Badge} kind="good">It works<//> ${found.model ?? ""}:
      ${" "}${plural(found.dimensions, "dimension")}, ${number(Math.round(found.milliseconds))} ms,
      ${" "}${plural(found.usage.tokens, "token")}`}</p>
  <//>`;
}

function Deletion({ where, instance }) {
  const { owner, instance_handle: handle } = instance;
  const [users, setUsers] = useState([]);
  const send = (place, options) => remove(place, options).catch(async (error) => {
    const isOn = (one) => one.instance?.owner === owner && one.instance.instance_handle === handle;
    const projects = error.status === 409 ? await all(path`/v1/projects/${owner}`, "projects", options) : [];
    setUsers(projects.filter(isOn));
    throw error;
  });
  return html`<${Card} title="Delete the instance">
    <${Delete} noun="instance" name=${handle} where=${where} to=${link`/instances/${owner}`} send=${send}>
      <p>It is deleted with its key, its shares and its usage, unless a project uses it.</p>
      ${users.length > 0 && html`<p>Projects that use it:</p>
        
        <ul>${users.map((one) => html`<li>
          <a href=${link`/projects/${one.owner}/${one.project_handle}`}>${one.owner}/${one.project_handle}</a>
        </li>`)}</ul>`}
    <//>
  <//>`;
}
