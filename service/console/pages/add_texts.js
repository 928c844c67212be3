// Adding texts: pasted or of a file, embedded by the project's instance, or stored with vectors of their own.
import { post } from "../api.js";
import { bytes, number, plural } from "../format.js";
import { useAction } from "../hooks.js";
import { useMemo, useRef, useState } from "../vendor/hooks.js";
import { Dialog, Failure, Field, html, Progress } from "../ui.js";
import { FORMATS, formatOf, readRecords } from "./records.js";

const BATCH_ROWS = 100; // small, so that progress is seen
const BATCH_CHARACTERS = 400_000;
const FILE_BYTES = 64 * 2 ** 20; // larger ones are for the client, which reads them piece by piece

export function AddTexts({ base, instance, canEmbed, onDone }) {
  const [isOpen, setOpen] = useState(false);
  const close = () => {
    setOpen(false);
    onDone();
  };
  return html`<button type="button" class="primary" onClick=${() => setOpen(true)}>Add texts</button>
    ${isOpen && html`<${Adding} base=${base} instance=${instance} canEmbed=${canEmbed} onClose=${close} />`}`;
}

function Adding({ base, instance, canEmbed, onClose }) {
  const [source, setSource] = useState({ content: "", name: "" });
  const [format, setFormat] = useState(canEmbed ? "lines" : "json");
  const [prefix, setPrefix] = useState(newPrefix); // so that what is pasted later does not replace what was before
  const [left, setLeft] = useState(null); // the records that are still to be sent, once it has begun
  const [done, setDone] = useState({ sent: 0, inserted: 0, updated: 0, unchanged: 0, tokens: 0 });
  const [faults, setFaults] = useState([]); // lines that the service refused
  const { records, wrong } = useMemo(
    () => checked(readRecords(source.content, format, prefix), canEmbed),
    [source, format, prefix],
  );
  const action = useAction(async (given, { signal }) => {
    setFaults([]);
    for (let rest = given; rest.length; ) {
      const batch = firstBatch(rest);
      const answer = await send(base, batch, signal).catch((error) => {
        setFaults(faultsOf(error, batch));
        throw error;
      });
      rest = rest.slice(batch.length);
      setLeft(rest);
      setDone((old) => ({
        sent: old.sent + batch.length,
        inserted: old.inserted + answer.inserted,
        updated: old.updated + answer.updated,
        unchanged: old.unchanged + answer.unchanged,
        tokens: old.tokens + (answer.usage?.tokens ?? 0),
      }));
    }
  });
  const start = () => {
    setLeft(records);
    action.run(records);
  };
  const leaveOut = () => {
    const refused = new Set(faults.map((one) => one.line));
    const rest = left.filter((one) => !refused.has(one.line));
    setLeft(rest);
    action.run(rest);
  };
  const total = done.sent + (left?.length ?? 0);
  return html`<${Dialog} title="Add texts" class="wide" onClose=${action.isRunning ? undefined : onClose}>
    ${left === null
      ? html`<${Source} ...${{ source, setSource, format, setFormat, prefix, setPrefix, canEmbed, instance }} />
          <${Preview} records=${records} wrong=${wrong} />
          <div class="actions">
            <button type="button" class="primary" disabled=${!records.length || wrong.length > 0} onClick=${start}>
              ${records.length ? `Add ${plural(records.length, "text")}` : "Add"}</button>
            <button type="button" onClick=${onClose}>Cancel</button>
          </div>`
      : html`<${Progress} value=${total ? done.sent / total : 1} onCancel=${action.isRunning && action.cancel}
            label="${number(done.sent)} of ${plural(total, "text")}" />
          <p role="status">${summary(done)}</p>
          <${Failure} error=${faults.length ? { message: action.error?.message } : action.error} />
          <${Lines} wrong=${faults} />
          ${!action.isRunning && html`<div class="actions">
            ${faults.length > 0 && html`<button type="button" onClick=${leaveOut}>
              Leave out ${plural(faults.length, "line")} and go on</button>`}
            ${left.length > 0 && html`<button type="button" onClick=${() => action.run(left)}>Go on</button>`}
            <button type="button" class="primary" onClick=${onClose}>Close</button>
          </div>`}`}
  <//>`;
}

const newPrefix = () => `${new Date().toISOString().slice(0, 19).replace("T", "-").replaceAll(":", "")}-`;

function Source({ source, setSource, format, setFormat, prefix, setPrefix, canEmbed, instance }) {
  const [problem, setProblem] = useState(null);
  const input = useRef(null);
  const choose = async (event) => {
    const file = event.target.files[0];
    if (!file) return;
    if (file.size > FILE_BYTES) {
      setProblem(new Error(`The file has ${bytes(file.size)}: above ${bytes(FILE_BYTES)} use the client vecferry.`));
      return;
    }
    setProblem(null);
    if (canEmbed) setFormat(formatOf(file.name));
    setPrefix(`${file.name.replace(/\.[^.]*$/, "")}-`);
    setSource({ content: await file.text(), name: file.name });
  };
  const drop = () => {
    input.current.value = "";
    setPrefix(newPrefix());
    setSource({ content: "", name: "" });
  };
  const vectors = `{"text_id": "rose", "vector": [0.9, 0.1, …], "text": "A rose", "metadata": {"author": "Stein"}}`;
  const example = { lines: "The modest rose puts forth a thorn", csv: "text_id,text,author\nrose,A rose,Stein" };
  return html`
    ${!canEmbed && html`<p class="warning-box">${instance
      ? "The project's instance cannot embed texts here"
      : "The project has no instance"}: give each text its vector${instance &&
      `, of ${plural(instance.dimensions, "number")}`}.</p>`}
    <div class="row from-top">
      <div class="field">
        <label for="texts-file">File</label>
        <input id="texts-file" type="file" ref=${input} accept=".jsonl,.ndjson,.json,.txt,.csv" onChange=${choose} />
      </div>
      ${canEmbed && html`<${Field} label="Format" value=${format} onValue=${setFormat} options=${FORMATS} />`}
      <${Field} label="Ids of texts without one" value=${prefix} onValue=${setPrefix}
        hint="Before the number of the line: ${prefix}1" />
    </div>
    <${Failure} error=${problem} />
    ${source.name
      ? html`<p>${source.name} <button type="button" onClick=${drop}>Paste instead</button></p>`
      : html`<${Field} label="Texts" lines="8" value=${source.content} isFirst
          onValue=${(content) => setSource({ content, name: "" })} placeholder=${example[format] ?? vectors}
          hint="A text that is stored under its id is replaced; one that is stored as it is costs nothing." />`}`;
}

function Preview({ records, wrong }) {
  if (wrong.length) return html`<${Lines} wrong=${wrong} />`;
  if (!records.length) return null;
  return html`<p role="status">${plural(records.length, "text")} read, the first ones are:</p>
    <ul>
      ${records.slice(0, 3).map((one) => html`<li><code>${one.text_id}</code> ${one.text?.slice(0, 120)}</li>`)}
    </ul>`;
}

function Lines({ wrong }) {
  if (!wrong.length) return null;
  return html`<div class="failure" role="alert">
    <p><strong>${plural(wrong.length, "line")} cannot be stored:</strong></p>
    <ul>${wrong.slice(0, 20).map((one) => html`<li>Line ${number(one.line)} ${one.message}</li>`)}</ul>
    ${wrong.length > 20 && html`<p>and ${number(wrong.length - 20)} more.</p>`}
  </div>`;
}

// Records are of one kind: all with vectors, or all without, to be embedded.
function checked({ records, wrong }, canEmbed) {
  const withVector = records.filter((one) => one.vector !== undefined);
  if (!canEmbed || withVector.length) {
    const message = canEmbed ? "has no vector, but others have" : "has no vector";
    wrong.push(...records.filter((one) => one.vector === undefined).map(({ line }) => ({ line, message })));
  }
  return { records, wrong };
}

function firstBatch(records) {
  let [count, characters] = [0, 0];
  while (count < records.length && count < BATCH_ROWS && (count === 0 || characters < BATCH_CHARACTERS)) {
    characters += JSON.stringify(records[count]).length;
    count += 1;
  }
  return records.slice(0, count);
}

function send(base, batch, signal) {
  const rows = batch.map(({ line, ...record }) => record);
  const hasVectors = batch[0].vector !== undefined;
  return hasVectors
    ? post(base.embeddings, { embeddings: rows }, { signal })
    : post(base.texts, { texts: rows }, { signal });
}

// The service names rows of a batch as body.texts[3].text: here they are lines.
function faultsOf(error, batch) {
  const lines = new Map();
  for (const { location, message } of error.errors ?? []) {
    const [, at, field] = /^body\.(?:texts|embeddings)\[(\d+)\]\.?(.*)$/.exec(location ?? "") ?? [];
    if (at !== undefined && batch[at]) lines.set(batch[at].line, `${field} ${message}`.trim());
  }
  return [...lines].map(([line, message]) => ({ line, message }));
}

function summary({ inserted, updated, unchanged, tokens }) {
  const parts = [`${number(inserted)} new`, `${number(updated)} replaced`, `${number(unchanged)} as they were`];
  return `${parts.join(", ")}${tokens ? `; ${plural(tokens, "token")}` : ""}.`;
}
