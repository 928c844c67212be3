// The groups by which points of a map are coloured: values of a field, ranges of its numbers, or clusters of the points.
import { number } from "./format.js";

// Twelve colours that people with any kind of colour blindness can tell apart, as far as that goes for so many (after
// Paul Tol and CARTO); for dark pages those that are too dark are lighter.
const LIGHT = "56b4e9 cc6677 c9a227 117733 332288 aa4499 44aa99 8a8a2b 882255 661100 4d7fc4 e07b39".split(" ");
const DARK = "88ccee ee8899 ddcc77 44bb66 9f8fff dd77cc 55ccbb bbbb44 cc5588 c87855 7799dd ffa15c".split(" ");
// From few to many, without the end that the page's colour would hide (viridis).
const SCALE = "440154 443983 31688e 21918c 35b779 90d743 fde725".split(" ");
const REST = { light: ["8d949e", "c3c8cf"], dark: ["8b94a1", "4c545f"] };
const CELLS = 96; // along each side of the grid in which clusters are found
const VALLEY = 0.75; // of the lower peak: as deep must the way between two clusters be
const PLAIN = new Intl.NumberFormat(undefined, { useGrouping: false, maximumSignificantDigits: 6 });

const rgb = (hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);

// {of: the group of each point, groups: [{label, colour, count}], note}. `values` has one of a field for each point; without
// it they are grouped by clusters, or not at all.
export function grouped({ values, places, isClustered, isDark }) {
  const palette = (isDark ? DARK : LIGHT).map(rgb);
  const [other, none] = REST[isDark ? "dark" : "light"].map(rgb);
  if (!values && !isClustered) return counted([{ label: "Texts", colour: palette[0] }], places.length / 2, () => 0);
  if (!values) return byValue(clusters(places), palette, { other, none, rest: "Small clusters", name: (one) => `Cluster ${one}` });
  const numbers = values.filter((one) => typeof one === "number");
  const isScale = numbers.length > 0.9 * values.filter((one) => one !== null).length && new Set(numbers).size > SCALE.length;
  if (!isScale) return byValue(values, palette, { other, none, rest: "Other values", name: String });
  const sorted = Float64Array.from(numbers).sort();
  const starts = [...new Set(SCALE.map((_, at) => sorted[Math.floor((at * sorted.length) / SCALE.length)]))];
  const shades = (isDark ? SCALE.slice(1) : SCALE.slice(0, -1)).map(rgb);
  const groups = starts.map((start, at) => {
    const end = sorted[at + 1 < starts.length ? sorted.findIndex((one) => one >= starts[at + 1]) - 1 : sorted.length - 1];
    const shade = (at / Math.max(1, starts.length - 1)) * (shades.length - 1);
    const [low, high] = [shades[Math.floor(shade)], shades[Math.ceil(shade)]];
    const colour = low.map((part, band) => part + (high[band] - part) * (shade % 1));
    return { label: start === end ? PLAIN.format(start) : `${PLAIN.format(start)} – ${PLAIN.format(end)}`, colour };
  });
  const last = groups.push({ label: "No number", colour: none }) - 1;
  return counted(groups, values.length, (at) =>
    typeof values[at] === "number" ? starts.findLastIndex((start) => start <= values[at]) : last);
}

// The most frequent values have a group each. Null is no value.
function byValue(values, palette, { other, none, rest, name }) {
  const counts = new Map();
  for (const one of values) if (one !== null) counts.set(one, (counts.get(one) ?? 0) + 1);
  const known = [...counts].sort(([a, many], [b, more]) => more - many || (a < b ? -1 : 1)).map(([value]) => value);
  const shown = known.slice(0, known.length === palette.length ? known.length : palette.length - 1);
  const groups = shown.map((value, at) => ({ label: name(value, at), colour: palette[at] }));
  const places = new Map(shown.map((value, at) => [value, at]));
  const left = known.length - shown.length;
  const of = (at) => (values[at] === null ? shown.length + 1 : places.get(values[at]) ?? shown.length);
  groups.push({ label: `${rest} (${number(left)})`, colour: other }, { label: "No value", colour: none });
  return counted(groups, values.length, of);
}

function counted(groups, size, groupOf) {
  const of = Uint8Array.from({ length: size }, (_, at) => groupOf(at));
  const counts = new Array(groups.length).fill(0);
  for (const one of of) counts[one] += 1;
  return { of, groups: groups.map((one, at) => ({ ...one, count: counts[at] })) };
}

// The cluster of each point, from 1 for the largest: a peak of the density with what leads up to it. Densities are those of a
// grid, smoothed; two peaks are one where the valley between them is shallow. Its time is bounded by the grid.
function clusters(places) {
  let density = new Float32Array(CELLS * CELLS);
  const cellOf = (at) => {
    const [x, y] = [places[2 * at], places[2 * at + 1]].map((one) => Math.min(CELLS - 1, Math.floor(((one + 1) / 2) * CELLS)));
    return y * CELLS + x;
  };
  const size = places.length / 2;
  for (let at = 0; at < size; at++) density[cellOf(at)] += 1;
  for (const step of [1, CELLS, 1, CELLS, 1, CELLS]) density = blurred(density, step);
  const cells = [...density.keys()].filter((cell) => density[cell] > 0).sort((a, b) => density[b] - density[a]);
  const parent = new Int32Array(CELLS * CELLS).fill(-1);
  const root = (cell) => {
    while (parent[cell] !== cell) cell = parent[cell] = parent[parent[cell]];
    return cell;
  };
  for (const cell of cells) {
    const around = neighbours(cell).filter((one) => parent[one] >= 0).sort((a, b) => density[b] - density[a]);
    parent[cell] = around.length ? root(around[0]) : cell;
    for (const one of around) {
      const [high, low] = [root(cell), root(one)].sort((a, b) => density[b] - density[a]);
      if (high !== low && density[cell] > VALLEY * density[low]) parent[low] = high;
    }
  }
  const roots = Array.from({ length: size }, (_, at) => root(cellOf(at)));
  const counts = new Map();
  for (const one of roots) counts.set(one, (counts.get(one) ?? 0) + 1);
  const order = new Map([...counts].sort(([, a], [, b]) => b - a).map(([one], at) => [one, at + 1]));
  return roots.map((one) => order.get(one));
}

function neighbours(cell) {
  const [x, y] = [cell % CELLS, Math.floor(cell / CELLS)];
  const around = [-1, 0, 1].flatMap((up) => [-1, 0, 1].map((right) => [x + right, y + up]));
  return around.filter(([a, b]) => a >= 0 && b >= 0 && a < CELLS && b < CELLS && (a !== x || b !== y)).map(([a, b]) => b * CELLS + a);
}

function blurred(density, step) {
  return density.map((one, cell) => {
    const along = step === 1 ? cell % CELLS : Math.floor(cell / CELLS);
    return one + (along > 0 ? density[cell - step] : 0) + (along < CELLS - 1 ? density[cell + step] : 0);
  });
}

// The fields that rows' metadata have, named as in filters: "author", "about.place".
export function fieldsOf(rows) {
  const found = new Set();
  const walk = (value, name) => {
    if (Array.isArray(value)) value.slice(0, 3).forEach((one) => walk(one, name));
    else if (!value || typeof value !== "object") found.add(name);
    else for (const [key, one] of Object.entries(value)) if (!/[.$]/.test(key)) walk(one, name ? `${name}.${key}` : key);
  };
  for (const row of rows) if (row.metadata && !Array.isArray(row.metadata)) walk(row.metadata, "");
  found.delete("");
  return [...found].sort();
}
