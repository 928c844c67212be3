// The frame of a project: what it is, what its caller may do, and its parts, each a module loaded when it is shown.
import { get, known, path } from "../api.js";
import { ago, left, number, percent, plural } from "../format.js";
import { useLoad } from "../hooks.js";
import { link, route } from "../store.js";
import { Badge, Empty, Facts, Failure, html, IndexBadge, Loaded, Page, Progress } from "../ui.js";

// The parts by their place in the address, the title of their tab or whose tab they have, and for whom they are.
const PARTS = {
  texts: { load: () => import("./texts.js"), title: "Texts" },
  text: { load: () => import("./text.js"), tab: "texts" },
  search: { load: () => import("./search.js"), title: "Search" },
  map: { load: () => import("./map.js"), title: "Map" },
  sharing: { load: () => import("./sharing.js"), title: "Sharing", isOwners: true },
  settings: { load: () => import("./settings.js"), title: "Settings", isOwners: true },
};
const ROLES = { owner: "You own it", admin: "You are the admin", editor: "You may edit", reader: "You may read" };
const TEXT_SEARCHERS = { editors: ["owner", "admin", "editor"], readers: ["owner", "admin", "editor", "reader"] };

export default function Project() {
  const [, owner, handle] = route.value.parts;
  const base = path`/v1/projects/${owner ?? ""}/${handle ?? ""}`;
  const from = useLoad(
    async (signal) => {
      const [project, instance] = await Promise.all([get(base, { signal }), known(`${base}/instance`, { signal })]);
      return { project, instance };
    },
    [base],
    ({ project }) => (project.index.state === "building" ? 2000 : 30_000),
  );
  if (!handle) return html`<${Page} title="Not found"><${Empty} title="This address names no project." /><//>`;
  if (!from.data) return html`<${Page} title="${owner}/${handle}"><${Loaded} from=${from} /><//>`;
  return html`<${Frame} ...${from.data} from=${from} />`;
}

function Frame({ project, instance, from }) {
  const { owner, project_handle: handle, role } = project;
  const name = route.value.parts[3] ?? "texts";
  const part = PARTS[name];
  const tab = part?.tab ?? name;
  const isOwner = role === "owner" || role === "admin";
  const canEdit = isOwner || role === "editor";
  const at = (kind) => path`/v1/${kind}/${owner}/${handle}`;
  const top = link`/projects/${owner}/${handle}`;
  const base = {
    page: top, project: at("projects"), embeddings: at("embeddings"), texts: at("texts"), similars: at("similars"),
  };
  const canEmbed = canEdit && Boolean(instance?.can_embed);
  const maySearch = TEXT_SEARCHERS[project.text_search]?.includes(role) ?? true;
  const canSearchTexts = Boolean(instance?.can_embed) && maySearch;
  const props = { project, instance, base, reload: from.reload, canEdit, canEmbed, canSearchTexts };
  const tabs = Object.entries(PARTS).filter(([, one]) => one.title && (isOwner || !one.isOwners));
  const badges = html`<${Badge}>${ROLES[role] ?? "You look at it as the public"}<//>
    ${project.public_read ? html`<${Badge} kind="warning">Public<//>` : html`<${Badge}>Not public<//>`}
    <${IndexBadge} index=${project.index} />`;
  return html`<${Page} title="${owner}/${handle}" lead=${project.description} actions=${badges}>
    <${Failure} error=${from.error} retry=${from.reload} />
    <${About} project=${project} instance=${instance} />
    <nav class="tabs" aria-label="Parts of the project">${tabs.map(([one, { title }]) => html`
      <a href=${one === "texts" ? top : `${top}/${one}`} aria-current=${one === tab ? "page" : undefined}>
        ${title}</a>`)}
    </nav>
    ${part && (isOwner || !part.isOwners)
      ? html`<${Part} key=${name} load=${part.load} props=${props} />`
      : html`<${Empty} title=${part ? "This part is for the project's owner." : "A project has no such part."} />`}
  <//>`;
}

const Part = ({ load, props }) =>
  html`<${Loaded} from=${useLoad(load, [])}>${({ default: Show }) => html`<${Show} ...${props} />`}<//>`;

function About({ project, instance }) {
  const { index } = project;
  const { measured } = index;
  const queries = measured && plural(measured.queries, `${measured.kind} query`, `${measured.kind} queries`);
  return html`${index.state === "building" &&
    html`<${Progress} value=${index.progress ?? undefined} label="The index is being built${left(index)}" />`}
    <details class="about">
      <summary>${plural(project.number_of_embeddings, "text")}${instance &&
        ` · ${instance.model ?? instance.instance_handle} · ${plural(instance.dimensions, "dimension")}`}</summary>
      <${Facts} pairs=${[
        ["Instance", instance ? `${instance.owner}/${instance.instance_handle}` : "none"],
        ["Embeds texts", instance?.can_embed ? "yes" : "no, only vectors can be stored"],
        ["Search by text is for", project.text_search],
        ["In the index", index.state === "exact" ? "nothing, all rows are compared" : number(index.rows)],
        ["Compared one by one", number(index.tail)],
        ["Finds of the nearest", index.recall && percent(index.recall, 2)],
        ["Measured", measured && `${ago(measured.at)}, with ${queries}`],
      ]} />
      ${project.metadataScheme &&
      html`<h2>Metadata schema</h2><pre tabindex="0" class="sunken">${project.metadataScheme}</pre>`}
    </details>`;
}
