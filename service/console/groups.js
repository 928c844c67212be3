// The groups by which points of a map are coloured: values of a field, ranges of numbers, or clusters of the points.
import { number } from "./format.js";

// Twelve colours that people with any kind of colour blindness can tell apart, as far as that goes for twelve (after
// Paul Tol and CARTO); for dark pages those that are too dark are lighter. Then other values, and none.
const LIGHT = "56b4e9 cc6677 c9a227 117733 332288 aa4499 44aa99 8a8a2b 882255 661100 4d7fc4 e07b39 8d949e c3c8cf";
const DARK = "88ccee ee8899 ddcc77 44bb66 9f8fff dd77cc 55ccbb bbbb44 cc5588 c87855 7799dd ffa15c 8b94a1 4c545f";
// From few to many (viridis). The page's colour would hide one end.
const SCALE = "440154 46327e 365c8d 277f8e 1fa187 4ac16d a0da39 fde725";
const CELLS = 104; // along each side of the grid in which clusters are found
const MARGIN = 4; // of them, on each side
const AROUND = [-CELLS - 1, -CELLS, -CELLS + 1, -1, 1, CELLS - 1, CELLS, CELLS + 1];
const VALLEY = 0.75; // of the lower peak: as deep must the way between two clusters be
const PLAIN = new Intl.NumberFormat(undefined, { useGrouping: false, maximumSignificantDigits: 6 });

const coloursOf = (texts) => texts.split(" ").map((hex) => hex.match(/../g).map((one) => parseInt(one, 16) / 255));

// {of: the group of each point, groups: [{label, colour, count}]}. `values` has one of a field for each point; without
// it they are grouped by clusters, or not at all.
export function grouped({ values, places, isClustered, isDark }) {
  const colours = coloursOf(isDark ? DARK : LIGHT);
  if (!values && isClustered) return byValue(clusters(places), colours, "Small clusters", (one) => `Cluster ${one}`);
  if (!values) return counted([{ label: "Texts", colour: colours[0] }], places.length / 2, () => 0);
  const numbers = Float64Array.from(values.filter((one) => typeof one === "number")).sort();
  const isScale = numbers.length > 0.9 * values.filter((one) => one !== null).length;
  const shades = coloursOf(SCALE).slice(isDark ? 1 : 0, isDark ? undefined : -1);
  if (!isScale || new Set(numbers).size <= shades.length) return byValue(values, colours, "Other values", String);
  const starts = [...new Set(shades.map((_, at) => numbers[Math.floor((at * numbers.length) / shades.length)]))];
  const groups = starts.map((start, at) => {
    const end = numbers.findLast((one) => at === starts.length - 1 || one < starts[at + 1]);
    const colour = shades[Math.round((at / Math.max(1, starts.length - 1)) * (shades.length - 1))];
    return { label: [...new Set([start, end])].map((one) => PLAIN.format(one)).join(" – "), colour };
  });
  return counted([...groups, { label: "No number", colour: colours.at(-1) }], values.length, (at) =>
    typeof values[at] === "number" ? starts.findLastIndex((start) => start <= values[at]) : starts.length);
}

// The most frequent values have a group each. Null is no value.
function byValue(values, colours, rest, name) {
  const most = colours.length - 2;
  const known = byCount(values.filter((one) => one !== null)).map(([value]) => value);
  const shown = known.slice(0, known.length === most ? most : most - 1);
  const groups = shown.map((value, at) => ({ label: name(value), colour: colours[at] }));
  groups.push({ label: `${rest} (${number(known.length - shown.length)})`, colour: colours.at(-2) });
  groups.push({ label: "No value", colour: colours.at(-1) });
  const places = new Map([...shown.map((value, at) => [value, at]), [null, shown.length + 1]]);
  return counted(groups, values.length, (at) => places.get(values[at]) ?? shown.length);
}

function counted(groups, size, groupOf) {
  const of = Uint8Array.from({ length: size }, (_, at) => groupOf(at));
  const counts = new Array(groups.length).fill(0);
  for (const one of of) counts[one] += 1;
  return { of, groups: groups.map((one, at) => ({ ...one, count: counts[at] })) };
}

// The cluster of each point, from 1 for the largest: a peak of the density with what leads up to it. Densities are
// those of a grid, smoothed; two peaks are one where the valley between them is shallow. The grid bounds the time; its
// margin is empty, so that each cell has eight others around it.
function clusters(places) {
  const cellAt = (place) => MARGIN + Math.floor(((place + 1) * (CELLS - 2 * MARGIN)) / 2.001);
  const cells = Int32Array.from({ length: places.length / 2 }, (_, at) =>
    CELLS * cellAt(places[2 * at + 1]) + cellAt(places[2 * at]));
  let density = new Float32Array(CELLS * CELLS);
  for (const cell of cells) density[cell] += 1;
  for (const step of [1, CELLS, 1, CELLS, 1, CELLS]) {
    density = density.map((one, cell, all) => one + (all[cell - step] || 0) + (all[cell + step] || 0));
  }
  const highest = (a, b) => density[b] - density[a];
  const parent = new Int32Array(CELLS * CELLS).fill(-1);
  const root = (cell) => {
    while (parent[cell] !== cell) cell = parent[cell] = parent[parent[cell]];
    return cell;
  };
  for (const cell of [...density.keys()].filter((one) => density[one] > 0).sort(highest)) {
    const around = AROUND.map((step) => cell + step).filter((one) => parent[one] >= 0).sort(highest);
    parent[cell] = around.length ? root(around[0]) : cell;
    for (const one of around) {
      const [high, low] = [root(cell), root(one)].sort(highest);
      if (high !== low && density[cell] > VALLEY * density[low]) parent[low] = high;
    }
  }
  const roots = Array.from(cells, root);
  const order = new Map(byCount(roots).map(([one], at) => [one, at + 1]));
  return roots.map((one) => order.get(one));
}

// Each value and how often it is there, the most frequent first.
function byCount(values) {
  const counts = [...Map.groupBy(values, (one) => one)].map(([value, all]) => [value, all.length]);
  return counts.sort(([a, many], [b, more]) => more - many || (a < b ? -1 : 1));
}

// The fields that rows' metadata have, named as in filters: "author", "about.place", which cannot name others.
export function fieldsOf(rows) {
  const namesIn = (value, name) => {
    if (Array.isArray(value)) return value.slice(0, 3).flatMap((one) => namesIn(one, name));
    if (!value || typeof value !== "object") return name;
    const keys = Object.keys(value).filter((key) => !/[.$]/.test(key));
    return keys.flatMap((key) => namesIn(value[key], name ? `${name}.${key}` : key));
  };
  const found = rows.filter((row) => !Array.isArray(row.metadata)).flatMap((row) => namesIn(row.metadata, ""));
  return [...new Set(found)].filter(Boolean).sort();
}
