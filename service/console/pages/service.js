// The state of the service, for the admin: versions, sizes, indexes, encryption keys, slow searches, the sanity check.
import { get, ownerAndHandle } from "../api.js";
import { ago, bytes, left, number, percent, plural, time } from "../format.js";
import { useAction, useGet } from "../hooks.js";
import { link } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Badge, Card, Failure, html, IndexBadge, Loaded, Named, Page, Progress, Table } from "../ui.js";

const EVERY = 10_000; // milliseconds between two looks
const MOST_OF_KIND = 100; // findings of a kind that are shown
const KNOWN_AS = { current: "ENCRYPTION_KEY", previous: "ENCRYPTION_KEY_PREVIOUS", original: "as the original system" };
const PROJECT = ["Project", (one) => html`<${Named} noun="project" ...${one} />`];
const LARGEST = [
  PROJECT,
  ["Texts", (one) => number(one.number_of_embeddings), "number"],
  ["Size", (one) => bytes(one.bytes), "number"],
  ["Search", (one) => html`<${IndexBadge} index=${one.index} />`],
];
const KEYS = [
  ["Key", (one) => one.key_id ?? "without an id"],
  ["Known as", (one) => KNOWN_AS[one.known_as] ?? html`<${Badge} kind="bad">unknown<//>`],
  ["Provider keys that it sealed", (one) => number(one.sealed), "number"],
];
const SLOW = [
  PROJECT,
  ["Took", (one) => `${number(Math.round(one.seconds * 1000))} ms`, "number"],
  ["When", (one) => ago(one.at)],
  ["Outcome", ({ outcome }) => html`<${Badge} kind=${outcome === "failed" && "bad"}>${outcome}<//>`],
  ["How", (one) => [one.method, one.is_filtered && "with a filter"].filter(Boolean).join(", ")],
  ["Vectors", (one) => number(one.vectors), "number"],
  ["Limit", (one) => number(one.limit), "number"],
];

export default function Service() {
  const from = useGet("/v1/admin/status", {}, EVERY);
  const slow = useGet("/v1/admin/slow-searches", {}, EVERY);
  return html`<${Page} title="Service">
    <${Loaded} from=${from}>${(state) => html`<${State} ...${state} />`}<//>
    <${Card} title="Slow searches" from=${slow}>${(found) => html`
      <p>${plural(found.slow, "search", "searches")} of process ${found.process} took
        ${" "}${number(found.threshold_seconds * 1000)} ms or longer since ${time(found.since)}. Other processes have
        their own list.</p>
      ${found.slow > 0 && [["Slowest", found.slowest], ["Latest", found.latest]].map(([title, rows]) => html`
        <h3>${title}</h3><${Table} caption="${title} searches" columns=${SLOW} rows=${rows} />`)}`}<//>
    <${SanityCheck} />
  <//>`;
}

function State({ schema, indexes, encryption_keys: keys, builds, ...state }) {
  const below = number(indexes.below_recall);
  return html`<div class="columns">
      <${Card} title="Versions" facts=${[
          ["Service", state.version], ["Python", state.python], ["PostgreSQL", state.postgresql],
          ["pgvector", state.pgvector], ["Schema", schema.version],
          ["Process", `${state.process}, started ${ago(state.started_at)}`],
        ]}>
        <${Warning} if=${schema.pending.length}>Run <code>migrate</code>: ${schema.pending.join(", ")}<//>
        <${Warning} if=${schema.unknown.length}>A newer version has migrated it: ${schema.unknown.join(", ")}<//>
      <//>
      <${Card} title="Sizes" facts=${[
        ["Users", number(state.users)], ["Projects", number(state.projects)], ["Instances", number(state.instances)],
        ["Texts", state.embeddings === null ? "being counted" : number(state.embeddings)],
        ["Database", bytes(state.database_bytes)],
        ["Indexes", `${number(indexes.projects)}, with ${plural(indexes.rows, "text")}`],
        ["Below the wanted recall", indexes.below_recall ? html`<${Badge} kind="warning">${below}<//>` : "none"],
      ]} />
    </div>
    <${Card} title="Largest projects">
      ${builds.map((one) => html`<${Progress} key="${one.project_id} ${one.kind}" value=${one.progress}
        label="${one.owner}/${one.project_handle}: ${one.kind} index, ${percent(one.progress)}${left(one)}" />`)}
      <${Table} caption="Largest projects" columns=${LARGEST} rows=${state.largest_projects}
        rowKey=${(one) => `${one.owner}/${one.project_handle}`} empty="There is no project yet." />
    <//>
    <${Card} title="Encryption of the providers' keys">
      <p>${keys.is_done
        ? html`<${Badge} kind="good">Complete<//> The present key sealed all of them.`
        : html`<${Badge} kind="warning">Not complete<//> Run <code>keys rotate</code>, and leave the previous key in
            ${" "}<code>ENCRYPTION_KEY_PREVIOUS</code> until this is complete.`}</p>
      <${Warning} if=${keys.plaintext}>${plural(keys.plaintext, "key")} in the clear: run <code>keys encrypt</code>.<//>
      ${keys.sealed.length > 0 && html`<${Table} caption="Encryption keys" columns=${KEYS} rows=${keys.sealed} />`}
    <//>`;
}

function Warning({ if: isShown, children }) {
  return isShown ? html`<p class="warning-box">${children}</p>` : null;
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
  const to = ([owner, handle]) => link`/projects/${owner}/${handle}`;
  return html`<p><${Badge} kind=${kind}>${report.status}<//> ${plural(report.total_projects, "project")}:
      ${" "}${plural(report.issues_count, "issue")}, ${plural(report.warnings_count, "warning")}.</p>
    ${[...kinds.values()].map((found) => html`<section>
      <h3><${Badge} kind=${found[0].level === "issue" ? "bad" : "warning"}>${found[0].level}<//>
        ${" "}${found[0].kind.replaceAll("_", " ")}: ${number(found.length)}</h3>
      <p>${found[0].remedy}</p>
      <ul>${found.slice(0, MOST_OF_KIND).map((one) => html`<li class="text">${one.message}${one.project && html` ·
        ${" "}<a href=${to(ownerAndHandle(one.project))}>To the project</a>`}</li>`)}</ul>
      ${found.length > MOST_OF_KIND && html`<p class="faint">The first ${MOST_OF_KIND} are shown.</p>`}
    </section>`)}`;
}
