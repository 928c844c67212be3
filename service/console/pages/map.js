// The map of a project: all its texts as points in the plane.
import { get, post } from "../api.js";
import { ago, number, percent, plural } from "../format.js";
import { fieldsOf, grouped } from "../groups.js";
import { useLoad, usePost } from "../hooks.js";
import { Plot } from "../plot.js";
import { isDark as isPageDark, route, setQuery } from "../store.js";
import { useEffect, useMemo, useRef, useState } from "../vendor/hooks.js";
import { Empty, Failure, Field, Form, html, Loaded, Progress } from "../ui.js";
import { Found, Legend, Opened, Selection } from "./map_side.js";

const METHODS = { pca: "Principal components (PCA)", neighbours: "Neighbours stay together" };
const RINGS = { found: [0.95, 0.55, 0], near: [0.9, 0.1, 0.5], selected: [0.5, 0.5, 0.5] };
const RESULTS = 50;

export default function ProjectMap({ project, base, canEdit, canSearchTexts }) {
  const { query } = route.value;
  const address = `${base.project}/map`;
  const status = useLoad(
    (signal) => get(address, { query: { method: "neighbours", limit: 1 }, signal }),
    [address, project.changes],
    (known) => (isSettled(known, project) ? 0 : 2000),
  );
  const states = status.data?.methods;
  const first = useRef(null); // the method that is shown where the address names none
  if (states && !first.current) first.current = states.neighbours === "ready" ? "neighbours" : "pca";
  const method = query.get("method") in METHODS ? query.get("method") : first.current;
  const colour = query.get("colour") ?? "clusters";
  const field = colour.startsWith("field:") ? colour.slice(6) : null;
  const wanted = states?.[method] === "ready" ? method : null;
  const points = useLoad(
    async (signal) => wanted && decoded(await get(address, { query: { method, field }, signal })),
    [address, wanted, field, status.data?.changes],
  );
  const kept = useRef(null);
  if (points.data) kept.current = points.data;
  const shown = kept.current;
  if (status.error && !status.data) return html`<${Loaded} from=${status} />`;
  if (status.data?.rows === 0) {
    return html`<${Empty} title="There is nothing to draw yet.">
      <p>Add texts first; each becomes a point of the map.</p>
    <//>`;
  }
  const isFailed = states?.[method] === "failed";
  const retry = () => {
    status.reload();
    points.reload();
  };
  const failed = isFailed ? { message: status.data.error ?? "The map could not be made." } : points.error;
  const what = states?.[method] === "waiting" ? "The map is waiting for its turn …" : "The map is being computed …";
  const { isLoading } = points;
  const fault = status.data?.error;
  const props = { project, base, canEdit, canSearchTexts };
  const more = { ...props, shown, states, method, colour, isLoading, fault, reload: retry };
  return html`<${Failure} error=${failed} retry=${retry} />
    ${states && !isFailed && !wanted && html`<${Progress} value=${status.data.progress ?? undefined} label=${what} />`}
    ${!states && html`<${Loaded} from=${status} />`}
    ${shown && html`<${Drawn} ...${more} />`}`;
}

// Whether nothing is being made that one waits for.
function isSettled({ methods, changes, rows }, project) {
  const isMade = Object.values(methods).every((one) => one === "ready" || one === "failed");
  return rows === 0 || methods.pca === "failed" || (isMade && changes >= project.changes);
}

// The points in the square from -1 to 1.
function decoded(map) {
  if (map.state !== "ready") return null;
  const raw = new Float32Array(Uint8Array.from(atob(map.positions ?? ""), (one) => one.charCodeAt(0)).buffer);
  const [low, high] = [[Infinity, Infinity], [-Infinity, -Infinity]];
  raw.forEach((one, at) => {
    low[at % 2] = Math.min(low[at % 2], one);
    high[at % 2] = Math.max(high[at % 2], one);
  });
  const half = Math.max(high[0] - low[0], high[1] - low[1]) / 2 || 1;
  const places = raw.map((one, at) => (one - (low[at % 2] + high[at % 2]) / 2) / half);
  const ids = map.ids ?? [];
  return { ...map, ids, places, indexOf: new Map(ids.map((id, at) => [id, at])) };
}

function Drawn({ shown, states, method, colour, project, base, canEdit, canSearchTexts, reload, isLoading, fault }) {
  const { query } = route.value;
  const { ids, indexOf, places } = shown;
  const isDark = isPageDark.value;
  const [hidden, setHidden] = useState(new Set());
  const [selected, setSelected] = useState([]);
  const colouring = useMemo(
    () => grouped({ values: shown.field, places, isClustered: colour === "clusters", isDark }),
    [shown, colour, isDark],
  );
  useEffect(() => setHidden(new Set()), [colour, method]);
  const colours = useMemo(
    () => colouring.groups.map((one, at) => (hidden.has(at) ? null : one.colour)),
    [colouring, hidden],
  );
  const opened = query.get("open");
  const near = useLoad(
    async (signal) => {
      if (opened === null) return null;
      const [{ embeddings: [row] }, { results }] = await Promise.all([
        post(`${base.embeddings}/get`, { text_ids: [opened], include: ["text", "metadata"] }, { signal }),
        post(`${base.similars}?limit=10&threshold=-1`, { text_id: opened, include: ["text"] }, { signal }),
      ]);
      return { row, results };
    },
    [base.embeddings, opened],
  );
  const sought = query.get("q");
  const toSearch = sought && `${base.similars}?limit=${RESULTS}&threshold=0`;
  const found = usePost(toSearch, { text: sought, include: ["text"] });
  const placed = (list) => list.map((id) => indexOf.get(id)).filter((one) => one !== undefined);
  const layers = useMemo(
    () => [
      { indices: placed(selected), ring: RINGS.selected, more: 2 },
      { indices: placed((found.data?.results ?? []).map((one) => one.id)), ring: RINGS.found, more: 5 },
      { indices: placed((near.data?.results ?? []).map((one) => one.id)), ring: RINGS.near, more: 5 },
      { indices: placed(opened === null ? [] : [opened]), ring: isDark ? [1, 1, 1] : [0, 0, 0], more: 8 },
    ],
    [indexOf, selected, found.data, near.data, opened, isDark],
  );
  const open = (id) => setQuery({ open: id });
  const visible = colouring.groups.reduce((sum, one, at) => sum + (hidden.has(at) ? 0 : one.count), 0);
  const amount = `${number(shown.points)} of ${plural(shown.rows, "text")}`;
  const nameOf = (index) => colouring.groups[colouring.of[index]]?.label;
  return html`<${Bar} ...${{ shown, states, method, colour, base, canSearchTexts, indexOf, fault }} />
    <div class="map">
      <div>
        <${Plot} ...${{ ids, places, colouring, colours, layers, base, nameOf }} onOpen=${open} onSelect=${setSelected}
          label="Map of ${amount}, ${METHODS[shown.method]}." />
        <p role="status" class="faint">${shown.sampled ? `A sample of ${amount}` : amount}${visible < shown.points &&
          `, ${number(visible)} shown`}${selected.length > 0 && `, ${number(selected.length)} selected`}.
          ${" "}${shown.computed_at && `Made ${ago(shown.computed_at)}.`} ${isLoading && "Loading …"}</p>
        <${Quality} shown=${shown} />
      </div>
      <div class="side">
        ${opened !== null && html`<${Opened} ...${{ opened, near, indexOf, project, open }} />`}
        ${sought && html`<${Found} ...${{ found, sought, indexOf, open }} />`}
        ${selected.length > 0 &&
        html`<${Selection} ...${{ selected, setSelected, canEdit, base, reload, open }}
          name=${project.project_handle} />`}
        <${Legend} ...${{ groups: colouring.groups, hidden, setHidden }} />
      </div>
    </div>`;
}

function Bar({ shown, states, method, colour, base, canSearchTexts, indexOf, fault }) {
  const { query } = route.value;
  const [typed, setTyped] = useState(query.get("q") ?? "");
  const fields = useLoad(async (signal) => {
    const page = await get(base.embeddings, { query: { include: "metadata", limit: 200 }, signal });
    return fieldsOf(page.embeddings);
  }, [base.embeddings]);
  const known = new Set(fields.data);
  if (colour.startsWith("field:")) known.add(colour.slice(6));
  const colourings = [["clusters", "Clusters on the map"], ["none", "One colour"]];
  for (const one of known) colourings.push([`field:${one}`, one]);
  const later = { waiting: " (being made)", computing: " (being made)", failed: " (not available)" };
  const methods = Object.entries(METHODS).map(([one, text]) => [one, text + (later[states?.[one]] ?? "")]);
  const opened = query.get("open");
  const isLost = opened && !canSearchTexts && !indexOf.has(opened);
  const action = {
    run: () => setQuery({ [canSearchTexts ? "q" : "open"]: typed }),
    error: isLost ? { message: "This id is not on the map." } : null,
  };
  const [label, submit] = canSearchTexts ? ["Light up what is like", "Search"] : ["Id of a text", "Open"];
  return html`<div class="row map-bar">
      <${Field} label="Method" options=${methods} value=${method} onValue=${(one) => setQuery({ method: one })} />
      <${Field} label="Colour by" options=${colourings} value=${colour}
        onValue=${(one) => setQuery({ colour: one === "clusters" ? "" : one })} />
      <${Form} action=${action} submit=${submit}>
        <${Field} label=${label} value=${typed} onValue=${setTyped} type="search" />
      <//>
    </div>
    ${states?.neighbours === "failed" && fault && html`<p class="hint">Only PCA is available: ${fault}</p>`}`;
}

function Quality({ shown }) {
  const { trustworthiness: trust, explained_variance: explained, method } = shown;
  if (!trust || trust.value === null) return null;
  const other = method === "pca" ? "" : ` (PCA: ${trust.pca.toFixed(3)})`;
  const share = method === "pca" && explained?.length ? percent(explained.reduce((a, b) => a + b), 1) : "";
  return html`<p class="hint">
    Trustworthiness at ${trust.k}: <strong>${trust.value.toFixed(3)}</strong>${other}.
    ${" "}It says how far the ${trust.k} nearest points of each on the map are near it among the vectors, too:
    1 is best, and about 0.5 is chance.
    ${share && ` The two axes show ${share} of the variance.`}
  </p>`;
}
