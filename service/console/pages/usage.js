// What an instance was used for: a chart by day and user, and the same in tables.
import { number, plural } from "../format.js";
import { useAll } from "../hooks.js";
import { route, setQuery } from "../store.js";
import { Card, Facts, Field, html, Loaded, Table } from "../ui.js";

const DAY = 86_400_000; // milliseconds
const RANGES = [["7", "Last 7 days"], ["30", "Last 30 days"], ["90", "Last 90 days"], ["365", "Last year"]];
const COUNTS = [["tokens", "Tokens"], ["requests", "Requests"], ["texts", "Texts"]];
const FIGURES = [...COUNTS, ["estimated_tokens", "Estimated tokens"], ["failures", "Failed requests"]].map(
  ([name, title]) => [title, ({ rows }) => number(sum(rows, name)), "number"]);
const COLOURS = 5; // users with a colour of their own, those who used the most
const MOST_ROWS = 500; // of the table by day
const [WIDTH, HEIGHT] = [1000, 200];

export function Usage({ where, isAll }) {
  const { query } = route.value;
  const [range] = RANGES.find(([days]) => days === query.get("days")) ?? ["30"];
  const [count] = COUNTS.find(([name]) => name === query.get("count")) ?? ["tokens"];
  const today = Date.parse(new Date().toISOString().slice(0, 10));
  const days = Array.from({ length: range }, (_, at) =>
    new Date(today - (range - 1 - at) * DAY).toISOString().slice(0, 10));
  const asked = { by: "day,user", from: days[0], to: days.at(-1) };
  const from = useAll(`${where}/usage`, "usage", asked);
  return html`<${Card} title="Usage">
    ${!isAll && html`<p class="faint">What you and your projects used.</p>`}
    <div class="row">
      <${Field} label="Range" options=${RANGES} value=${range} onValue=${(value) => setQuery({ days: value })} />
      <${Field} label="Shown" options=${COUNTS} value=${count} onValue=${(value) => setQuery({ count: value })} />
    </div>
    <${Loaded} from=${from}>${(rows) => (rows.length
      ? html`<${Used} rows=${rows} days=${days} count=${count} />`
      : html`<p class="faint">No text was embedded in this time: test the connection, or add texts.</p>`)}<//>
  <//>`;
}

const sum = (rows, name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);

function Used({ rows, days, count }) {
  const byUser = [...Map.groupBy(rows, (row) => row.user_handle)].map(([user, own]) => ({ user, rows: own }))
    .sort((a, b) => sum(b.rows, count) - sum(a.rows, count));
  const rank = new Map(byUser.map(({ user }, at) => [user, Math.min(at, COLOURS)]));
  const swatch = ({ user }) => html`<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">
    <rect class="series-${rank.get(user)}" width="10" height="10" /></svg> ${user}`;
  const byDay = rows.slice(-MOST_ROWS).reverse().map((row) => ({ ...row, rows: [row] }));
  return html`
    <${Facts} pairs=${FIGURES.map(([title, figure]) => [title, figure({ rows })])} />
    <${Chart} rows=${rows} days=${days} count=${count} rank=${rank} />
    <${Table} caption="Usage by user" rows=${byUser} columns=${[["User", swatch], ...FIGURES]} />
    <details class="about"><summary>Day by day</summary>
      ${rows.length > MOST_ROWS && html`<p>The latest ${number(MOST_ROWS)} of ${number(rows.length)} rows.</p>`}
      <${Table} caption="Usage by day and user" rows=${byDay}
        columns=${[["Day", (one) => one.day], ["User", (one) => one.user_handle], ...FIGURES]} />
    </details>`;
}

function Chart({ rows, days, count, rank }) {
  const byDay = Map.groupBy(rows, (row) => row.day);
  const most = Math.max(1, ...[...byDay.values()].map((own) => sum(own, count)));
  const noun = count.slice(0, -1);
  const step = WIDTH / days.length;
  const bars = days.flatMap((day, at) => {
    let top = HEIGHT;
    const ordered = (byDay.get(day) ?? []).toSorted((a, b) => rank.get(a.user_handle) - rank.get(b.user_handle));
    return ordered.filter((row) => row[count] > 0).map((row) => {
      const height = (row[count] / most) * HEIGHT;
      top -= height;
      return html`<rect class="series-${rank.get(row.user_handle)}" x=${(at + 0.1) * step} y=${top}
        width=${0.8 * step} height=${height}>
        <title>${day}, ${row.user_handle}: ${plural(row[count], noun)}</title></rect>`;
    });
  });
  const title = `${plural(sum(rows, count), noun)} from ${days[0]} to ${days.at(-1)}, by day and user; at most
    ${number(most)} on a day. The tables below have the same figures.`;
  return html`<div class="chart">
    <div class="faint">${number(most)}</div>
    <svg role="img" aria-label=${title} viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none">${bars}</svg>
    <div class="faint ends"><span>${days[0]}</span><span>${days.at(-1)} (UTC)</span></div>
  </div>`;
}
