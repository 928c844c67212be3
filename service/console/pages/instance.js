// One instance: what it is, a test of its connection, its key and limits, its shares, and what it was used for.
import { patch, path, post } from "../api.js";
import { number, plural, time } from "../format.js";
import { DataForm, Delete, field, FormButton } from "../forms.js";
import { useAll, useGet } from "../hooks.js";
import { link } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Badge, Card, html, Loaded, Named, Page } from "../ui.js";
import { KEY, LIMITS, modelFacts, modelFields } from "./fields.js";
import { Shares } from "./lists.js";
import { Usage } from "./usage.js";

const WORD = [field("input", "A word", "It is embedded by the model, and counts for the budget.", { required: true })];
const ROSE = { input: "rose" };
const ROLES = "Both may build projects on it and embed texts; neither changes it, nor sees its key.";
const ROLE = field("role", "Role", ROLES, { options: ["reader", "editor"] });

export function Instance({ owner, handle }) {
  const where = path`/v1/llm-instances/${owner}/${handle}`;
  const [tests, setTests] = useState(0);
  const from = useGet(where);
  const { data: instance, reload } = from;
  const mayChange = instance && ["owner", "admin"].includes(instance.access_role);
  return html`<${Page} title="${owner}/${handle}" lead=${instance?.description}
      actions=${mayChange && html`<${Changes} instance=${instance} where=${where} reload=${reload} />`}>
    <${Loaded} from=${from}>${(one) => html`
      <div class="columns">
        <${Card} title="Instance" facts=${[
          ...modelFacts(one), ["Key of the provider", keyBadge(one)], ["Your role", one.access_role],
          ["Made from", one.definition_handle && html`<${Named} noun="definition" owner=${one.definition_owner}
            definition_handle=${one.definition_handle} />`],
          ["Limit of all together", limits(one)],
        ]} />
        <${Connection} where=${where} onTested=${() => setTests((old) => old + 1)} />
      </div>
      <${Usage} key=${tests} where=${where} isAll=${mayChange} />
      ${mayChange && html`
        <${Shares} where=${where} shares=${one.shared_with ?? []} fields=${[ROLE, ...LIMITS]} mayChange
          none="Nobody yet. You set how much each user may embed with it." reload=${reload}
          columns=${[["Role", (share) => share.role], ["Limits", (share) => limits(share) || "none"]]}
          done=${(body) => `${body.share_with_handle} may use this instance now.`}
          ended=${(user) => `${user} embeds no more texts with it. Projects that they built on it stay.`} />
        <${Card} title="Delete the instance">
          <${Delete} noun="instance" name=${handle} where=${where} to=${link`/instances/${owner}`}>
            <p>It is deleted with its key, its shares and its usage, unless a project uses it.</p>
            <${Projects} owner=${owner} handle=${handle} />
          <//>
        <//>`}`}<//>
  <//>`;
}

export function keyBadge({ has_api_key: isStored }) {
  return isStored ? html`<${Badge} kind="good">stored<//>` : html`<${Badge}>none<//>`;
}

// The limits of an instance or a share in words; "" when there are none.
function limits(one) {
  const spans = [["tokens_per_day", "token", "a day"], ["tokens_per_month", "token", "a month"],
    ["requests_per_minute", "request", "a minute"]].filter(([name]) => name in one);
  const texts = spans.map(([name, noun, span]) => `${plural(one[name], noun)} ${span}`);
  if (one.expires_at) texts.push(`${new Date(one.expires_at) < Date.now() ? "ended" : "ends"} ${time(one.expires_at)}`);
  return texts.join(", ");
}

function Changes({ instance, where, reload }) {
  const own = { where, stored: instance, onDone: reload };
  const hasKey = instance.has_api_key;
  return html`<${FormButton} label="Edit" ...${own} fields=${modelFields(true)} />
    <${FormButton} label=${hasKey ? "Replace the key" : "Store a key"} ...${own}
      fields=${[{ ...KEY, required: true, isFirst: true }]} done="The provider's key is stored." />
    ${hasKey && html`<${FormButton} label="Remove the key" kind="danger" submit="Remove the key" onDone=${reload}
        send=${(body, options) => patch(where, { api_key: null }, options)} done="The provider's key is removed.">
      <p>Providers that need a key embed no more texts until another one is stored.</p><//>`}
    <${FormButton} label="Limits" ...${own} fields=${LIMITS}>
      <p>What all together may embed with this instance.</p><//>`;
}

function Connection({ where, onTested }) {
  const [found, setFound] = useState(null);
  const send = async ({ input }, options) => {
    setFound({ isAsked: true });
    const start = performance.now();
    try {
      const answer = await post(`${where}/embed`, { input: [input] }, options);
      setFound({ ...answer, milliseconds: performance.now() - start });
    } catch (error) {
      setFound(null);
      throw error;
    }
  };
  return html`<${Card} title="Test the connection">
    <${DataForm} submit="Embed it" fields=${WORD} stored=${ROSE} send=${send} onDone=${onTested} mayCancel />
    <p role="status">${found?.isAsked && "The model is asked …"}${found?.model !== undefined &&
      html`<${Badge} kind="good">It works<//> ${found.model}:
      ${" "}${plural(found.dimensions, "dimension")}, ${number(Math.round(found.milliseconds))} ms,
      ${" "}${plural(found.usage.tokens, "token")}`}</p>
  <//>`;
}

// The projects of its owner that use an instance.
function Projects({ owner, handle }) {
  const isOn = ({ instance }) => instance?.owner === owner && instance.instance_handle === handle;
  const named = (one) => html`<li><${Named} noun="project" ...${one} isFull /></li>`;
  return html`<${Loaded} from=${useAll(path`/v1/projects/${owner}`, "projects")}>${(projects) =>
    projects.some(isOn) && html`<p>Projects that use it:</p><ul>${projects.filter(isOn).map(named)}</ul>`}<//>`;
}
