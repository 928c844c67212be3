// What an instance was used for: a chart by day and user, and the same in tables.
import { all } from "../api.js";
import { number, plural } from "../format.js";
import { useLoad } from "../hooks.js";
import { route, setQuery } from "../store.js";
import { useId } from "../vendor/hooks.js";
import { Card, Facts, Field, html, Loaded, Table } from "../ui.js";

const DAY = 86_400_000; // milliseconds
const RANGES = [["7", "Last 7 days"], ["30", "Last 30 days"], ["90", "Last 90 days"], ["365", "Last year"]];
const COUNTS = [["tokens", "Tokens"], ["requests", "Requests"], ["texts", "Texts"]];
const COLOURS = 5; // users with a colour of their own, those who used the most
const MOST_ROWS = 500; // of the table by day
const WIDTH = 1000;
const HEIGHT = 200;

export function Usage({ where, turn, isAll }) {
  const range = RANGES.find(([days]) => days === route.value.query.get("days"))?.[0] ?? "30";
  const count = COUNTS.find(([name]) => name === route.value.query.get("count"))?.[0] ?? "tokens";
  const today = new Date().toISOString().slice(0, 10);
  const days = Array.from({ length: Number(range) }, (_, at) =>
    new Date(Date.parse(today) - (range - 1 - at) * DAY).toISOString().slice(0, 10));
  const query = { by: "day,user", from: days[0], to: today };
  const load = (signal) => all(`${where}/usage`, "usage", { query, signal });
  const from = useLoad(load, [where, days[0], today, turn]);
  return html`<${Card} title="Usage">
    ${!isAll && html`<p class="faint">What you and your projects used.</p>`}
    <div class="row">
      <${Field} label="Range" options=${RANGES} value=${range} onValue=${(value) => setQuery({ days: value })} />
      <${Field} label="Shown" options=${COUNTS} value=${count} onValue=${(value) => setQuery({ count: value })} />
    </div>
    <${Loaded} from=${from}>${(rows) => rows.length
      ? html`<${Used} rows=${rows} days=${days} count=${count} />`
      : html`<p class="faint">No text was embedded in this time: test the connection, or add texts.</p>`}<//>
  <//>`;
}

const sum = (rows, name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);

// Rows by the value of a property: [[value, its rows], …].
const grouped = (rows, name) => [...Map.groupBy(rows, (row) => row[name])];

function Used({ rows, days, count }) {
  const users = grouped(rows, "user_handle").sort(([, a], [, b]) => sum(b, count) - sum(a, count));
  const rank = new Map(users.map(([user], at) => [user, Math.min(at, COLOURS)]));
  const figures = [
    ...COUNTS.map(([name, title]) => ({ title, class: "number", cell: (one) => number(sum(one.rows, name)) })),
    { title: "Estimated tokens", class: "number", cell: (one) => number(sum(one.rows, "estimated_tokens")) },
    { title: "Failed requests", class: "number", cell: (one) => number(sum(one.rows, "failures")) },
  ];
  const byUser = users.map(([user, own]) => ({ user, rows: own }));
  const latest = [...rows].reverse().slice(0, MOST_ROWS).map((row) => ({ row, rows: [row] }));
  const swatch = ({ user }) => html`<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">
    <rect class="series-${rank.get(user)}" width="10" height="10" /></svg> ${user}`;
  return html`
    <${Facts} pairs=${figures.map((one) => [one.title, one.cell({ rows })])} />
    <${Chart} rows=${rows} days=${days} count=${count} rank=${rank} />
    <${Table} caption="Usage by user" rows=${byUser} rowKey=${(one) => one.user}
      columns=${[{ title: "User", cell: swatch }, ...figures]} />
    <details class="about"><summary>Day by day</summary>
      ${rows.length > MOST_ROWS && html`<p>The latest ${number(MOST_ROWS)} of ${number(rows.length)} rows.</p>`}
      <${Table} caption="Usage by day and user" rows=${latest} columns=${[
        { title: "Day", cell: ({ row }) => row.day }, { title: "User", cell: ({ row }) => row.user_handle }, ...figures,
      ]} />
    </details>`;
}

function Chart({ rows, days, count, rank }) {
  const id = useId();
  const byDay = new Map(grouped(rows, "day"));
  const most = Math.max(1, ...[...byDay.values()].map((own) => sum(own, count)));
  const step = WIDTH / days.length;
  const noun = count.slice(0, -1);
  const bars = days.flatMap((day, at) => {
    const ordered = [...(byDay.get(day) ?? [])].sort((a, b) => rank.get(a.user_handle) - rank.get(b.user_handle));
    let top = HEIGHT;
    return ordered.filter((row) => (row[count] ?? 0) > 0).map((row) => {
      const height = (row[count] / most) * HEIGHT;
      top -= height;
      return html`<rect class="series-${rank.get(row.user_handle)}" x=${at * step + step * 0.1} y=${top}
        width=${step * 0.8} height=${height}>
        <title>${day}, ${row.user_handle}: ${plural(row[count], noun)}</title></rect>`;
    });
  });
  const title = `${plural(sum(rows, count), noun)} from ${days[0]} to ${days.at(-1)}, by day and user; at most
    ${number(most)} on a day. The tables below have the same figures.`;
  return html`<div class="chart">
    <div class="faint">${number(most)}</div>
    <svg role="img" aria-labelledby=${id} viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none">
      <title id=${id}>${title}</title>${bars}
    </svg>
    <div class="faint ends"><span>${days[0]}</span><span>${days.at(-1)} (UTC)</span></div>
  </div>`;
}
