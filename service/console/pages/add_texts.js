// Adding texts: pasted or of a file, embedded by the project's instance, or stored with vectors of their own.
import { post } from "../api.js";
import { bytes, number, plural } from "../format.js";
import { field, useFields } from "../forms.js";
import { useAction } from "../hooks.js";
import { useMemo, useRef, useState } from "../vendor/hooks.js";
import { Dialog, Failure, Form, html, Progress } from "../ui.js";
import { FORMATS, formatOf, readRecords } from "./records.js";

const BATCH_ROWS = 100; // small, so that progress is seen
const BATCH_CHARACTERS = 400_000;
const FILE_BYTES = 64 * 2 ** 20; // larger ones are for the client, which reads them piece by piece
const COST = "A text that is stored under its id is replaced; one that is stored as it is costs nothing.";
const EXAMPLES = {
  lines: "The modest rose puts forth a thorn",
  csv: "text_id,text,author\nrose,A rose,Stein",
  json: `{"text_id": "rose", "vector": [0.9, 0.1, …], "text": "A rose", "metadata": {"author": "Stein"}}`,
};

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
  const [left, setLeft] = useState(null); // the records that are still to be sent, once it has begun
  const [done, setDone] = useState({ sent: 0, inserted: 0, updated: 0, unchanged: 0, tokens: 0 });
  const action = useAction(async (records, { signal }) => {
    for (let rest = records; ; ) {
      setLeft(rest);
      if (!rest.length) return;
      const batch = firstBatch(rest);
      const rows = batch.map(({ line, ...record }) => record);
      const [place, body] = rows[0].vector ? [base.embeddings, { embeddings: rows }] : [base.texts, { texts: rows }];
      const answer = await post(place, body, { signal }).catch((error) => {
        throw Object.assign(error, { faults: faultsOf(error, batch) });
      });
      rest = rest.slice(batch.length);
      const counts = { sent: batch.length, tokens: 0, ...answer, ...answer.usage };
      setDone((old) => Object.fromEntries(Object.entries(old).map(([name, sum]) => [name, sum + counts[name]])));
    }
  });
  const { sent, inserted, updated, unchanged, tokens } = done;
  const total = sent + (left?.length ?? 0);
  const summary = `${number(inserted)} new, ${number(updated)} replaced, ${number(unchanged)} as they were`;
  const faults = action.error?.faults ?? []; // lines that the service refused
  const error = faults.length ? { message: action.error.message } : action.error;
  const refused = new Set(faults.map((one) => one.line));
  const leaveOut = () => action.run(left.filter((one) => !refused.has(one.line)));
  return html`<${Dialog} title="Add texts" class="wide" onClose=${action.isRunning ? undefined : onClose}>
    ${left === null
      ? html`<${Source} instance=${instance} canEmbed=${canEmbed} start=${action.run} onClose=${onClose} />`
      : html`<${Progress} value=${total ? sent / total : 1} onCancel=${action.isRunning && action.cancel}
            label="${number(sent)} of ${plural(total, "text")}" />
          <p role="status">${summary}${tokens > 0 && `; ${plural(tokens, "token")}`}.</p>
          <${Failure} error=${error} />
          <${Lines} wrong=${faults} />
          ${!action.isRunning && html`<div class="actions">
            ${faults.length > 0 && html`<button type="button" onClick=${leaveOut}>
              Leave out ${plural(faults.length, "line")} and go on</button>`}
            ${left.length > 0 && html`<button type="button" onClick=${() => action.run(left)}>Go on</button>`}
            <button type="button" class="primary" onClick=${onClose}>Close</button>
          </div>`}`}
  <//>`;
}

// The text of a file. Without `fatal` each letter of another encoding would become "\ufffd", and be stored so.
function textOf(content) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    throw new Error("The file is not UTF-8: save it with this encoding, for example as “CSV UTF-8”.");
  }
}

// So that what is pasted later does not replace what was before.
const newPrefix = () => `${new Date().toISOString().slice(0, 19).replace("T", "-").replaceAll(":", "")}-`;

function Source({ instance, canEmbed, start, onClose }) {
  const [file, setFile] = useState(null);
  const input = useRef(null);
  const read = useAction(async (chosen) => {
    if (chosen.size > FILE_BYTES) {
      throw new Error(`The file has ${bytes(chosen.size)}: above ${bytes(FILE_BYTES)} use the client vecferry.`);
    }
    setFile({ name: chosen.name, content: textOf(await chosen.arrayBuffer()) });
    form.set({ format: formatOf(chosen.name), prefix: `${chosen.name.replace(/\.[^.]*$/, "")}-` });
  });
  const drop = () => {
    setFile(null);
    input.current.value = "";
    form.set({ prefix: newPrefix() });
  };
  const fields = ({ format, prefix }) => [
    [
      html`<div class="field">
        <label for="texts-file">File</label>
        <input id="texts-file" type="file" ref=${input} disabled=${read.isRunning}
          accept=".jsonl,.ndjson,.json,.txt,.csv"
          onChange=${({ target }) => target.files[0] && read.run(target.files[0])} />
      </div>`,
      canEmbed && field("format", "Format", "", { options: FORMATS }),
      field("prefix", "Ids of texts without one", `Before the number of the line: ${prefix}1`, { isExact: true }),
    ],
    file
      ? html`<p>${file.name} <button type="button" onClick=${drop}>Paste instead</button></p>`
      : field("content", "Texts", COST, { lines: 8, isFirst: true, placeholder: EXAMPLES[canEmbed ? format : "json"] }),
  ];
  const [stored] = useState({ format: canEmbed ? "lines" : "json", prefix: newPrefix(), content: "" });
  const form = useFields(fields, stored);
  const { prefix } = form.values;
  const format = canEmbed ? form.values.format : "json";
  const content = file?.content ?? form.values.content;
  const { records, wrong } = useMemo(() => readRecords(content, format, prefix, canEmbed), [content, format, prefix]);
  const action = { run: () => start(records), error: read.error };
  return html`<${Form} action=${action} submit=${records.length ? `Add ${plural(records.length, "text")}` : "Add"}
      isReady=${records.length > 0 && !wrong.length} onCancel=${onClose}>
    ${!canEmbed && html`<p class="warning-box">${instance
      ? "The project's instance cannot embed texts here"
      : "The project has no instance"}: give each text its vector${instance &&
      `, of ${plural(instance.dimensions, "number")}`}.</p>`}
    ${form.inputs}
    <${Lines} wrong=${wrong} />
    ${!wrong.length && records.length > 0 && html`
      <p role="status">${plural(records.length, "text")} read, the first ones are:</p>
      <ul>${records.slice(0, 3).map(({ text_id: id, text }) => html`
        <li><code>${id}</code> ${text?.slice(0, 120)}</li>`)}</ul>`}
  <//>`;
}

function Lines({ wrong }) {
  if (!wrong.length) return null;
  return html`<div class="failure" role="alert">
    <p><strong>${plural(wrong.length, "line")} cannot be stored:</strong></p>
    <ul>${wrong.slice(0, 20).map((one) => html`<li>Line ${number(one.line)} ${one.message}</li>`)}</ul>
    ${wrong.length > 20 && html`<p>and ${number(wrong.length - 20)} more.</p>`}
  </div>`;
}

function firstBatch(records) {
  let characters = 0;
  const isFull = (one) => (characters += JSON.stringify(one).length) > BATCH_CHARACTERS;
  const end = records.slice(0, BATCH_ROWS).findIndex(isFull);
  return records.slice(0, end < 0 ? BATCH_ROWS : Math.max(1, end));
}

// The service names rows of a batch as body.texts[3].text: here they are lines.
function faultsOf({ errors = [] }, batch) {
  const found = errors.map(({ location, message }) => {
    const [, at, part] = /^body\.(?:texts|embeddings)\[(\d+)\]\.?(.*)$/.exec(location) ?? [];
    return { line: batch[at]?.line, message: `${part} ${message}`.trim() };
  });
  return found.filter(({ line }, at) => line && found.findIndex((one) => one.line === line) === at); // one of each line
}
