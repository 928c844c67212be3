// The state of the service, for the admin: versions, sizes, indexes, encryption keys, slow searches, the sanity check.
import { get } from "../api.js";
import { ago, bytes, duration, number, percent, plural, time } from "../format.js";
import { useAction, useLoad } from "../hooks.js";
import { link } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Badge, Card, Facts, Failure, html, IndexBadge, Loaded, Page, Progress, Table } from "../ui.js";

const EVERY = 10_000; // milliseconds between two looks
const MOST_OF_KIND = 100; // findings of a kind that are shown

export default function Service() {
  const from = useLoad((signal) => get("/v1/admin/status", { signal }), ["status"], EVERY);
  const slow = useLoad((signal) => get("/v1/admin/slow-searches", { signal }), ["slow"], EVERY);
  return html`<${Page} title="Service">
    <${Loaded} from=${from}>${(state) => html`
      <div class="columns"><${Versions} state=${state} /><${Sizes} state=${state} /></div>
      <${Largest} state=${state} />
      <${EncryptionKeys} keys=${state.encryption_keys} />`}<//>
    <${Card} title="Slow searches"><${Loaded} from=${slow}>${(found) => html`<${Slow} found=${found} />`}<//><//>
    <${SanityCheck} />
  <//>`;
}

function Project({ owner, project_handle: handle }) {
  return html`<a href=${link`/projects/${owner}/${handle}`}>${owner}/${handle}</a>`;
}

function Versions({ state }) {
  const { version, pending, unknown } = state.schema;
  return html`<${Card} title="Versions">
    <${Facts} pairs=${[
      ["Service", state.version], ["Python", state.python], ["PostgreSQL", state.postgresql],
      ["pgvector", state.pgvector], ["Schema", version],
      ["Process", `${state.process}, started ${ago(state.started_at)}`],
    ]} />
    ${pending.length > 0 && html`<p class="warning-box">Run <code>migrate</code>: ${pending.join(", ")}</p>`}
    ${unknown.length > 0 && html`<p class="warning-box">A newer version has migrated it: ${unknown.join(", ")}</p>`}
  <//>`;
}

function Sizes({ state }) {
  const { projects, rows, below_recall: below } = state.indexes;
  return html`<${Card} title="Sizes">
    <${Facts} pairs=${[
      ["Users", number(state.users)], ["Projects", number(state.projects)], ["Instances", number(state.instances)],
      ["Texts", state.embeddings === null ? "being counted" : number(state.embeddings)],
      ["Database", bytes(state.database_bytes)],
      ["Indexes", `${number(projects)}, with ${plural(rows, "text")}`],
      ["Below the wanted recall", below ? html`<${Badge} kind="warning">${number(below)}<//>` : "none"],
    ]} />
  <//>`;
}

function Largest({ state }) {
  const columns = [
    { title: "Project", cell: (one) => html`<${Project} ...${one} />` },
    { title: "Texts", class: "number", cell: (one) => number(one.number_of_embeddings) },
    { title: "Size", class: "number", cell: (one) => bytes(one.bytes) },
    { title: "Search", cell: (one) => html`<${IndexBadge} index=${one.index} />` },
  ];
  const left = (one) => (one.seconds_left ? `, about ${duration(one.seconds_left)} left` : "");
  return html`<${Card} title="Largest projects">
    ${state.builds.map((one) => html`<${Progress} key=${`${one.project_id} ${one.kind}`} value=${one.progress}
      label=${`${one.owner}/${one.project_handle}: ${one.kind} index, ${percent(one.progress)}${left(one)}`} />`)}
    ${state.largest_projects.length
      ? html`<${Table} caption="Largest projects" columns=${columns} rows=${state.largest_projects}
          rowKey=${(one) => one.project_id} />`
      : html`<p class="faint">There is no project yet.</p>`}
  <//>`;
}

const KNOWN_AS = { current: "ENCRYPTION_KEY", previous: "ENCRYPTION_KEY_PREVIOUS", original: "as the original system" };

function EncryptionKeys({ keys }) {
  const columns = [
    { title: "Key", cell: (one) => one.key_id ?? "without an id" },
    { title: "Known as", cell: (one) => KNOWN_AS[one.known_as] ?? html`<${Badge} kind="bad">unknown<//>` },
    { title: "Provider keys that it sealed", class: "number", cell: (one) => number(one.sealed) },
  ];
  return html`<${Card} title="Encryption of the providers' keys">
    <p>${keys.is_done
      ? html`<${Badge} kind="good">Complete<//> The present key sealed all of them.`
      : html`<${Badge} kind="warning">Not complete<//> Run <code>keys rotate</code>, and leave the previous key in
          ${" "}<code>ENCRYPTION_KEY_PREVIOUS</code> until this is complete.`}</p>
    ${keys.plaintext > 0 && html`<p class="warning-box">${plural(keys.plaintext, "key")} in the clear: run
      ${" "}<code>keys encrypt</code>.</p>`}
    ${keys.sealed.length > 0 && html`<${Table} caption="Encryption keys" columns=${columns} rows=${keys.sealed} />`}
  <//>`;
}

function Slow({ found }) {
  const columns = [
    { title: "Project", cell: (one) => html`<${Project} ...${one} />` },
    { title: "Took", class: "number", cell: (one) => `${number(Math.round(one.seconds * 1000))} ms` },
    { title: "When", cell: (one) => ago(one.at) },
    { title: "Outcome", cell: ({ outcome }) => html`<${Badge} kind=${outcome === "failed" && "bad"}>${outcome}<//>` },
    { title: "How", cell: (one) => [one.method, one.is_filtered && "with a filter"].filter(Boolean).join(", ") },
    { title: "Vectors", class: "number", cell: (one) => number(one.vectors) },
    { title: "Limit", class: "number", cell: (one) => number(one.limit) },
  ];
  const lists = [["Slowest", found.slowest], ["Latest", found.latest]];
  return html`<p>${plural(found.slow, "search", "searches")} of process ${found.process} took
      ${" "}${number(found.threshold_seconds * 1000)} ms or longer since ${time(found.since)}. Other processes have
      their own list.</p>
    ${found.slow > 0 && lists.map(([title, rows]) => html`<h3>${title}</h3>
      <${Table} caption=${`${title} searches`} columns=${columns} rows=${rows} />`)}`;
}

function SanityCheck() {
  const [report, setReport] = useState(null);
  const action = useAction(async (options) => {
    setReport(null);
    setReport(await get("/v1/admin/sanity-check", options));
  });
  return html`<${Card} title="Sanity check">
    <p>Looks at all that is stored: dimensions, metadata against their schemas, keys, indexes. It takes minutes where
      millions of texts are stored.</p>
    ${action.isRunning
      ? html`<${Progress} label="Looking at everything that is stored …" onCancel=${action.cancel} />`
      : html`<button type="button" onClick=${() => action.run()}>${report ? "Check again" : "Check"}</button>`}
    <${Failure} error=${action.error} />
    <div role="status">${report && html`<${Report} report=${report} />`}</div>
  <//>`;
}

function Report({ report }) {
  const kinds = Map.groupBy(report.findings ?? [], (one) => one.kind);
  const kind = { PASSED: "good", WARNING: "warning", FAILED: "bad" }[report.status];
  return html`<p><${Badge} kind=${kind}>${report.status}<//> ${plural(report.total_projects, "project")}:
      ${" "}${plural(report.issues_count, "issue")}, ${plural(report.warnings_count, "warning")}.</p>
    ${[...kinds.values()].map((found) => html`<section>
      <h3><${Badge} kind=${found[0].level === "issue" ? "bad" : "warning"}>${found[0].level}<//>
        ${" "}${found[0].kind.replaceAll("_", " ")}: ${number(found.length)}</h3>
      <p>${found[0].remedy}</p>
      <ul>${found.slice(0, MOST_OF_KIND).map((one) => html`<li class="text">${one.message}${one.project && html` ·
        ${" "}<a href=${link`/projects/${one.project.split("/")[0]}/${one.project.split("/").slice(1).join("/")}`}>
          To the project</a>`}</li>`)}</ul>
      ${found.length > MOST_OF_KIND && html`<p class="faint">The first ${MOST_OF_KIND} are shown.</p>`}
    </section>`)}`;
}
