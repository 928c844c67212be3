// The first page: a user's projects and those shared with them; for the admin those of a user, or all.
import { mustBeFree, path, post } from "../api.js";
import { left, number, plural } from "../format.js";
import { field, FormButton } from "../forms.js";
import { useGet } from "../hooks.js";
import { go, isAdmin, link, offset, route, session, setQuery } from "../store.js";
import { Badge, Card, Empty, html, IndexBadge, Loaded, Named, Page, Pages, Progress } from "../ui.js";
import { DESCRIPTION, handleField, instanceField, instanceName, instanceOf, useInstances } from "./fields.js";
import { Grouped, UserChoice } from "./lists.js";

const PAGE = 50; // projects
const PUBLIC = "Everybody who knows its address can read and search all its texts, also without a key.";
const COLUMNS = [
  ["Project", (one) => html`<${Named} noun="project" ...${one} />
    ${" "}${one.public_read && html`<${Badge} kind="warning">public<//>`}
    ${one.description && html`<div class="faint short">${one.description}</div>`}`],
  ["Role", (one) => one.role],
  ["Texts", (one) => number(one.number_of_embeddings), "number"],
  ["Instance", ({ instance }) => (instance ? html`<${InstanceName} ...${instance} />` : "none")],
  ["Search", ({ index }) => html`<${IndexBadge} index=${index} />
    ${index.state === "building" && html`<${Progress} value=${index.progress} label="being built${left(index)}" />`}`],
];

export default function Home() {
  const user = isAdmin.value ? route.value.query.get("user") : session.value.handle;
  const from = useGet(
    user ? path`/v1/projects/${user}` : "/v1/projects",
    { limit: PAGE, offset: offset.value },
    (page) => (page.projects.some((one) => one.index.state === "building") ? 2000 : 30_000),
  );
  const instances = useInstances(user);
  const make = user && instances.data?.length > 0 && html`<${MakeProject} user=${user} instances=${instances.data} />`;
  const own = isAdmin.value ? `Projects of ${user}` : "Projects";
  const show = (chosen) => setQuery({ user: chosen, offset: "" }, { replace: false });
  return html`<${Page} title=${user ? own : "All projects"} actions=${make}>
    ${isAdmin.value && html`<${UserChoice} key=${user} label="Projects of" user=${user ?? ""} show=${show}
      more=${user && html`<a class="button" href=${link`/`}>All users</a>`} />`}
    <${Loaded} from=${from}>${({ projects, next }) => html`
      ${user && !offset.value && !next && !projects.some((one) => one.owner === user) &&
      html`<${Loaded} from=${instances}>${(usable) => html`<${FirstSteps} instances=${usable} make=${make} />`}<//>`}
      <${Grouped} rows=${projects} user=${user} noun="project" columns=${COLUMNS} />
      ${!user && !projects.length && html`<${Empty} title="There is no project yet.">
        Choose a user, to make one for them; users are made at <a href=${link`/users`}>Users</a>.<//>`}
      <${Pages} size=${PAGE} hasNext=${Boolean(next)} />`}<//>
  <//>`;
}

const InstanceName = ({ owner, instance_handle: handle, model, dimensions }) =>
  html`${handle}${owner !== session.value?.handle && html` <span class="faint">of ${owner}</span>`}
    <div class="faint">${[model, plural(dimensions, "dimension")].filter(Boolean).join(", ")}</div>`;

// What a new user does first, in this order.
function FirstSteps({ instances, make }) {
  const isDone = instances.length > 0;
  return html`<${Card} title="First steps">
    <ol class="steps">
      <li>
        <strong>Make an instance</strong> ${isDone && html`<${Badge} kind="good">done<//>`}
        <p>A model with its key: it turns texts into vectors. There is one built in that needs no key.</p>
        <a class="button ${isDone ? "" : "primary"}" href=${link`/instances`}>To the instances</a>
      </li>
      <li><strong>Make a project</strong><p>It holds texts with their vectors, all of one instance.</p>${make}</li>
      <li><strong>Add texts</strong><p>Paste them in the project, or choose a file. Then search them.</p></li>
    </ol>
  <//>`;
}

function MakeProject({ user, instances }) {
  const send = async ({ instance_handle: instance, ...body }, options) => {
    const handle = body.project_handle;
    await mustBeFree(path`/v1/projects/${user}/${handle}`, `a project ${user}/${handle}`, options);
    await post(path`/v1/projects/${user}`, { ...body, ...instanceOf(instance) }, options);
    go(link`/projects/${user}/${handle}`);
  };
  const fields = ({ public_read: isPublic }) => [
    handleField("project_handle"),
    instanceField(instances, "Its model embeds the texts. All vectors of a project have the instance's dimensions."),
    DESCRIPTION,
    field("public_read", "Public", PUBLIC, { type: "checkbox" }),
    isPublic && html`<p class="warning-box">Be sure that no text of this project is confidential.</p>`,
  ];
  return html`<${FormButton} label="Make a project" kind="primary" submit="Make" send=${send} fields=${fields}
    stored=${instances.length === 1 ? { instance_handle: instanceName(instances[0]) } : {}}
    done=${(made) => `The project ${made.project_handle} is made.`} />`;
}
