// Reads what is pasted, or a file, into records {line, text_id, text, metadata, vector}, and finds wrong lines.
import { parsed } from "../api.js";

const FIELDS = ["text_id", "text", "metadata", "vector"];

export const FORMATS = [
  ["lines", "Lines: each is a text"],
  ["json", "JSON lines: each is an object with text_id, text, metadata"],
  ["csv", "CSV: a header with text and, if you like, text_id; other columns become metadata"],
];

// The format that a file's name tells.
export function formatOf(name) {
  if (/\.(jsonl|ndjson|json)$/i.test(name)) return "json";
  return /\.csv$/i.test(name) ? "csv" : "lines";
}

// {records, wrong}: `wrong` are {line, message}. Records without an id get `prefix` and the number of their line.
export function readRecords(content, format, prefix) {
  const read = { lines: readLines, json: readJson, csv: readCsv }[format];
  const records = [];
  const wrong = [];
  const lines = new Map(); // by id
  for (const { line, record, message } of read(content.replace(/^\ufeff/, ""))) {
    if (message) {
      wrong.push({ line, message });
      continue;
    }
    const text_id = record.text_id ?? `${prefix}${line}`;
    if (lines.has(text_id)) wrong.push({ line, message: `has the id of line ${lines.get(text_id)}, ${text_id}` });
    else records.push({ ...record, line, text_id });
    lines.set(text_id, line);
  }
  return { records, wrong };
}

// The lines that are not blank: {line, text}.
const numbered = (content) =>
  content.split(/\r\n|\n|\r/).map((text, at) => ({ line: at + 1, text: text.trim() })).filter((one) => one.text);

const readLines = (content) => numbered(content).map(({ line, text }) => ({ line, record: { text } }));

const readJson = (content) => numbered(content).map(({ line, text }) => {
  const { value, fault } = parsed(text);
  return { line, record: value, message: fault ? `is not JSON: ${fault}` : faultOf(value) };
});

function faultOf(record) {
  if (typeof record !== "object" || Array.isArray(record)) return "is not a JSON object";
  const unknown = Object.keys(record).find((name) => !FIELDS.includes(name));
  if (unknown !== undefined) return `has the field ${unknown}; known are ${FIELDS.join(", ")}`;
  if ("text_id" in record && typeof record.text_id !== "string") return "has a text_id that is not a text";
  return record.vector === undefined && typeof record.text !== "string" ? "has no text" : undefined;
}

function* readCsv(content) {
  const rows = csvRows(content);
  const header = rows.next().value?.cells.map((name) => name.trim());
  if (!header) return;
  if (!header.includes("text")) {
    yield { line: 1, message: `is the header, and names no column text, only ${header.join(", ")}` };
    return;
  }
  for (const { line, cells, message } of rows) {
    const given = Object.fromEntries(header.map((name, at) => [name, cells[at] ?? ""]));
    const { text_id, text, ...metadata } = given;
    if (message || cells.length > header.length) yield { line, message: message ?? "has more cells than the header" };
    else if (!text) yield { line, message: "has no text" };
    else yield { line, record: { ...(text_id && { text_id }), text, ...(header.length > 1 && { metadata }) } };
  }
}

// Rows of RFC 4180 with the line at which each begins; cells in quotes may hold commas, quotes and ends of lines.
function* csvRows(content) {
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|\r|$)/y;
  let [line, start, cells] = [1, 1, []];
  while (cell.lastIndex < content.length) {
    const at = cell.lastIndex;
    const found = cell.exec(content);
    if (!found) {
      yield { line: start, cells: [], message: "has a quote that is not closed, or stands within a cell" };
      return;
    }
    const [whole, quoted, plain, end] = found;
    cells.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    line += whole.match(/\r\n|\n|\r/g)?.length ?? 0;
    if (end === ",") {
      if (at + whole.length < content.length) continue;
      cells.push("");
    }
    if (cells.length > 1 || cells[0]) yield { line: start, cells };
    [start, cells] = [line, []];
  }
}
