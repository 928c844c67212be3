// The first page: a user's projects and those shared with them; for the admin those of a user, or all.
import { get, mustBeFree, path, put } from "../api.js";
import { number, plural } from "../format.js";
import { useAction, useLoad } from "../hooks.js";
import { go, isAdmin, link, notify, route, session, setQuery } from "../store.js";
import { useId, useState } from "../vendor/hooks.js";
import {
  Badge, Card, DialogButton, Empty, Field, Form, html, IndexBadge, Loaded, Page, Pages, Progress, Table,
} from "../ui.js";
import { InstanceChoice, instanceOf, instanceName, useInstances } from "./instance_choice.js";

const PAGE = 50; // projects

export default function Home() {
  const user = isAdmin.value ? route.value.query.get("user") : session.value.handle;
  const offset = Number(route.value.query.get("offset")) || 0;
  const where = user ? path`/v1/projects/${user}` : "/v1/projects";
  const from = useLoad(
    (signal) => get(where, { signal, query: { limit: PAGE, offset } }),
    [where, offset],
    (page) => (page.projects.some((one) => one.index.state === "building") ? 2000 : 30_000),
  );
  const instances = useInstances(user);
  const make = user && instances.data?.length > 0 && html`<${MakeProject} user=${user} instances=${instances.data} />`;
  const title = user && isAdmin.value ? `Projects of ${user}` : user ? "Projects" : "All projects";
  return html`<${Page} title=${title} actions=${make}>
    ${isAdmin.value && html`<${UserChoice} key=${user} user=${user ?? ""} />`}
    <${Loaded} from=${from}>${({ projects, next }) => {
      const own = user ? projects.filter((one) => one.owner === user) : projects;
      const given = projects.filter((one) => !own.includes(one));
      const isNew = user && !own.length && !offset && !next;
      return html`
        ${isNew &&
        html`<${Loaded} from=${instances}>${(usable) => html`<${FirstSteps} instances=${usable} make=${make} />`}<//>`}
        ${own.length > 0 && html`<${Projects} title=${user ? "Own" : "Of all users"} projects=${own} />`}
        ${given.length > 0 && html`<${Projects} title="Shared by others" projects=${given} />`}
        ${!user && !projects.length && html`<${Empty} title="There is no project yet.">
          Choose a user, to make one for them; users are made at <a href=${link`/users`}>Users</a>.<//>`}
        <${Pages} offset=${offset} size=${PAGE} hasNext=${Boolean(next)} />`;
    }}<//>
  <//>`;
}

function Projects({ title, projects }) {
  const columns = [
    { title: "Project", cell: (one) => html`<${ProjectName} project=${one} />` },
    { title: "Role", cell: (one) => one.role },
    { title: "Texts", class: "number", cell: (one) => number(one.number_of_embeddings) },
    { title: "Instance", cell: ({ instance }) => (instance ? html`<${InstanceName} instance=${instance} />` : "none") },
    { title: "Search", cell: ({ index }) => html`<${IndexBadge} index=${index} />
      ${index.state === "building" && html`<${Progress} value=${index.progress} label=${left(index)} />`}` },
  ];
  const name = (one) => `${one.owner}/${one.project_handle}`;
  return html`<${Card} title=${title}>
    <${Table} caption="${title}: projects" columns=${columns} rows=${projects} rowKey=${name} />
  <//>`;
}

function left(index) {
  return index.seconds_left ? `about ${plural(Math.ceil(index.seconds_left), "second")} left` : "being built";
}

function ProjectName({ project }) {
  const { owner, project_handle: handle } = project;
  const isOwn = owner === session.value?.handle;
  return html`<a href=${link`/projects/${owner}/${handle}`}>${isOwn ? "" : `${owner}/`}${handle}</a>
    ${" "}${project.public_read && html`<${Badge} kind="warning">public<//>`}
    ${project.description && html`<div class="faint short">${project.description}</div>`}`;
}

function InstanceName({ instance }) {
  const { owner, instance_handle: handle, model, dimensions } = instance;
  return html`${handle}${owner !== session.value?.handle && html` <span class="faint">of ${owner}</span>`}
    <div class="faint">${[model, plural(dimensions, "dimension")].filter(Boolean).join(", ")}</div>`;
}

// What a new user does first, in this order.
function FirstSteps({ instances, make }) {
  const steps = [
    {
      isDone: instances.length > 0,
      title: "Make an instance",
      what: "A model with its key: it turns texts into vectors. There is one built in that needs no key.",
      how: html`<a class="button ${instances.length ? "" : "primary"}" href=${link`/instances`}>To the instances</a>`,
    },
    { title: "Make a project", what: "It holds texts with their vectors, all of one instance.", how: make },
    { title: "Add texts", what: "Paste them in the project, or choose a file. Then search them." },
  ];
  return html`<${Card} title="First steps">
    <ol class="steps">
      ${steps.map((step) => html`<li>
        <strong>${step.title}</strong> ${step.isDone && html`<${Badge} kind="good">done<//>`}
        <p>${step.what}</p>
        ${step.how}
      </li>`)}
    </ol>
  <//>`;
}

function MakeProject({ user, instances }) {
  return html`<${DialogButton} label="Make a project" kind="primary">
    ${(close) => html`<${NewProject} user=${user} instances=${instances} onClose=${close} />`}
  <//>`;
}

function NewProject({ user, instances, onClose }) {
  const [handle, setHandle] = useState("");
  const [instance, setInstance] = useState(instances.length === 1 ? instanceName(instances[0]) : "");
  const [description, setDescription] = useState("");
  const [isPublic, setPublic] = useState(false);
  const action = useAction(async ({ signal }) => {
    const place = path`/v1/projects/${user}/${handle}`;
    await mustBeFree(place, `There is a project ${user}/${handle} already.`, { signal }); // a PUT would replace it
    const body = { project_handle: handle, ...instanceOf(instance), public_read: isPublic };
    await put(place, description ? { ...body, description } : body, { signal });
    notify(`The project ${handle} is made.`);
    go(link`/projects/${user}/${handle}`);
  });
  return html`<${Form} action=${action} submit="Make" onCancel=${onClose} isReady=${handle !== "" && instance !== ""}>
    <${Field} label="Name" name="project_handle" value=${handle} onValue=${setHandle} required isFirst
      hint="3 to 64 letters, digits and . _ ~ - ; it stands in the address, and is not changed later." />
    <${InstanceChoice} instances=${instances} value=${instance} onValue=${setInstance}
      hint="Its model embeds the texts. All vectors of a project have the instance's dimensions." />
    <${Field} label="Description" name="description" value=${description} onValue=${setDescription} lines="2"
      class="prose" />
    <${Field} type="checkbox" label="Public" value=${isPublic} onValue=${setPublic}
      hint="Everybody who knows its address can read and search all its texts, also without a key." />
    ${isPublic && html`<p class="warning-box">Be sure that no text of this project is confidential.</p>`}
  <//>`;
}

// The admin looks at a user's projects, or at all.
function UserChoice({ user }) {
  const [typed, setTyped] = useState(user);
  const handles = useLoad((signal) => get("/v1/users", { signal }), ["users"]);
  const id = useId();
  const show = (event) => {
    event.preventDefault();
    setQuery({ user: typed.trim(), offset: "" }, { replace: false });
  };
  return html`<form class="row card" onSubmit=${show}>
    <${Field} label="Projects of" value=${typed} onValue=${setTyped} list=${id} placeholder="all users" />
    <datalist id=${id}>${handles.data?.map((one) => html`<option value=${one} />`)}</datalist>
    <div class="field actions">
      <button>Show</button>
      ${user && html`<a class="button" href=${link`/`}>All users</a>`}
    </div>
  </form>`;
}
