// Reads what is pasted, or a file, into records {line, text_id, text, metadata, vector}, and finds wrong lines.
import { parsed } from "../api.js";

const FIELDS = ["text_id", "text", "metadata", "vector"];
const READERS = { lines: readLines, json: readJson, csv: readCsv };
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
// All have vectors, or none, to be embedded.
export function readRecords(content, format, prefix, canEmbed) {
  const records = [];
  const wrong = [];
  const lines = new Map(); // by id
  for (const { line, record, message } of READERS[format](content.replace(/^\ufeff/, ""))) {
    const text_id = record?.text_id ?? `${prefix}${line}`;
    if (message) wrong.push({ line, message });
    else if (lines.has(text_id)) wrong.push({ line, message: `has the id of line ${lines.get(text_id)}, ${text_id}` });
    else records.push({ ...record, line, text_id });
    if (!message) lines.set(text_id, line);
  }
  const without = records.filter((one) => one.vector === undefined);
  if (canEmbed && without.length === records.length) return { records, wrong };
  const message = canEmbed ? "has no vector, but others have" : "has no vector";
  return { records, wrong: [...wrong, ...without.map(({ line }) => ({ line, message }))] };
}

// The lines that are not blank: {line, text}.
function numbered(content) {
  const lines = content.split(/\r\n|\n|\r/).map((text, at) => ({ line: at + 1, text: text.trim() }));
  return lines.filter((one) => one.text);
}

function readLines(content) {
  return numbered(content).map(({ line, text }) => ({ line, record: { text } }));
}

function readJson(content) {
  return numbered(content).map(({ line, text }) => {
    const { value, fault } = parsed(text);
    return { line, record: value, message: fault ? `is not JSON: ${fault}` : faultOf(value) };
  });
}

function faultOf(record) {
  if (typeof record !== "object" || Array.isArray(record)) return "is not a JSON object";
  const unknown = Object.keys(record).find((name) => !FIELDS.includes(name));
  if (unknown !== undefined) return `has the field ${unknown}; known are ${FIELDS.join(", ")}`;
  if (typeof (record.text_id ?? "") !== "string") return "has a text_id that is not a text";
  return record.vector === undefined && typeof record.text !== "string" ? "has no text" : undefined;
}

function* readCsv(content) {
  const rows = csvRows(content);
  const header = rows.next().value?.cells.map((name) => name.trim()) ?? ["text"];
  if (!header.includes("text")) {
    yield { line: 1, message: `is the header, and names no column text, only ${header.join(", ")}` };
    return;
  }
  for (const { line, cells, message } of rows) {
    const given = Object.fromEntries(header.map((name, at) => [name, cells[at] ?? ""]));
    const { text_id, text, ...metadata } = given;
    const fault = cells.length > header.length ? "has more cells than the header" : !text && "has no text";
    yield { line, message: message ?? fault, record: { text_id: text_id || undefined, text, metadata } };
  }
}

// Rows of RFC 4180 with the line at which each begins; cells in quotes may hold commas, quotes and ends of lines.
function* csvRows(content) {
  const cell = /(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r\n|\n|\r|$)/y;
  let [line, start, cells, end] = [1, 1, [], ""];
  while (cell.lastIndex < content.length || end === ",") {
    const found = cell.exec(content);
    if (!found) {
      yield { line: start, cells: [], message: "has a quote that is not closed, or stands within a cell" };
      return;
    }
    cells.push(found[1]?.replaceAll('""', '"') ?? found[2]);
    line += found[0].match(/\r\n|\n|\r/g)?.length ?? 0;
    end = found[3];
    if (end === ",") continue;
    if (cells.length > 1 || cells[0]) yield { line: start, cells };
    [start, cells] = [line, []];
  }
}
