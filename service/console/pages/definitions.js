// Definitions, templates for instances: those that one may use, and one of them in full.
import { mustBeFree, path, post } from "../api.js";
import { Delete, field, FormButton } from "../forms.js";
import { useAll, useGet } from "../hooks.js";
import { go, isAdmin, link, route, session } from "../store.js";
import { Badge, Card, Empty, html, Loaded, Named, Page } from "../ui.js";
import { handleField, modelFacts, modelFields } from "./fields.js";
import { Grouped, Shares } from "./lists.js";

const PUBLIC = "Every user sees it, and may make instances of it. It holds no key.";
const FIELDS = [...modelFields(), field("is_public", "Public", PUBLIC, { type: "checkbox" })];
const COLUMNS = [
  ["Definition", (one) => html`<${Named} noun="definition" ...${one} />`],
  ["Seen by", seenBy],
  ["Use", UseIt],
];

export default function Definitions() {
  const [, owner, handle] = route.value.parts;
  return handle === undefined ? html`<${List} />` : html`<${Definition} owner=${owner} handle=${handle} />`;
}

function List() {
  const from = useAll("/v1/llm-definitions", "definitions");
  const user = session.value.handle;
  return html`<${Page} title="Definitions" actions=${html`<${NewDefinition} />`}
      lead="Templates: an instance that is made from one has its model, endpoint and dimensions.">
    <${Loaded} from=${from}>${(found) => html`
      ${user && !found.some((one) => one.owner === user) && html`<${Card} title="Own">
        <${Empty} title="You have made no definition yet.">
          <p>Make one for a model that several people use, or make an instance of one below.</p><//><//>`}
      <${Grouped} rows=${found} user=${user} noun="definition" columns=${COLUMNS} />`}<//>
  <//>`;
}

function seenBy({ is_public: isPublic }) {
  return isPublic ? html`<${Badge}>every user<//>` : "its owner, and those it is shared with";
}

function UseIt({ owner, definition_handle: handle }) {
  const query = new URLSearchParams({ definition: `${owner}/${handle}` });
  return html`<a href="#/instances?${query}">Make an instance<span class="unseen"> of ${owner}/${handle}</span></a>`;
}

function NewDefinition() {
  const { handle: user = "" } = session.value;
  const send = async ({ owner = user, ...body }, options) => {
    const handle = body.definition_handle;
    await mustBeFree(path`/v1/llm-definitions/${owner}/${handle}`, `a definition ${owner}/${handle}`, options);
    await post(path`/v1/llm-definitions/${owner}`, body, options);
    go(link`/definitions/${owner}/${handle}`);
  };
  const owner = field("owner", "Owner", "The handle of a user.", { required: true });
  const fields = [isAdmin.value && owner, handleField("definition_handle"), ...FIELDS];
  return html`<${FormButton} label="Make a definition" kind="primary" submit="Make" send=${send} fields=${fields}
    stored=${{ api_standard: "openai" }} done=${(made) => `The definition ${made.definition_handle} is made.`} />`;
}

function Definition({ owner, handle }) {
  const where = path`/v1/llm-definitions/${owner}/${handle}`;
  const from = useGet(where);
  const { data: definition, reload } = from;
  const mayChange = definition && owner !== "_system" && (isAdmin.value || owner === session.value.handle);
  const shares = useGet(mayChange && `${where}/shared-with`);
  const actions = definition && html`${UseIt(definition)}
    ${mayChange && html`
      <${FormButton} label="Edit" where=${where} stored=${definition} fields=${FIELDS} onDone=${reload} />
      <${Delete} noun="definition" name=${handle} where=${where} to=${link`/definitions`}>
        <p>Instances that were made from it stay as they are.</p><//>`}`;
  return html`<${Page} title="${owner}/${handle}" lead=${definition?.description} actions=${actions}>
    <${Loaded} from=${from}>${(one) => html`
      <${Card} title="Definition" facts=${[...modelFacts(one), ["Seen by", seenBy(one)]]} />`}<//>
    ${mayChange && html`<${Loaded} from=${shares}>${(users) => html`
      <${Shares} where=${where} shares=${users.map((one) => ({ user_handle: one }))} reload=${shares.reload}
        done=${(made) => `${made.share_with_handle} may use this definition now.`}
        ended=${(user) => `Instances that ${user} made from it stay as they are.`} />`}<//>`}
  <//>`;
}
