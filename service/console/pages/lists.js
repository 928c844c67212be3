// What the lists of projects, instances and definitions have in common, and whose they are.
import { path } from "../api.js";
import { plural } from "../format.js";
import { useGet } from "../hooks.js";
import { link } from "../store.js";
import { useId, useState } from "../vendor/hooks.js";
import { Card, Facts, Field, Form, html, Named, Table } from "../ui.js";

const GROUPS = ["Own", "Shared by others", "Of all users", "Built in", "Public"];
const NOUNS = ["project", "instance", "definition"];

function groupOf({ owner, is_public: isPublic }, user) {
  if (owner === user) return "Own";
  if (owner === "_system") return "Built in";
  if (isPublic) return "Public";
  return user ? "Shared by others" : "Of all users";
}

// A table for each group of the rows, as `user` sees them; null is the admin, who sees those of all users.
export function Grouped({ rows, user, noun, columns, rowKey }) {
  const groups = Map.groupBy(rows, (one) => groupOf(one, user));
  return GROUPS.filter((group) => groups.has(group)).map((group) => html`<${Card} key=${group} title=${group}>
    <${Table} caption="${group}: ${noun}" columns=${columns} rows=${groups.get(group)} rowKey=${rowKey} />
  <//>`);
}

// The admin chooses a user, whose handle is completed as it is typed. `show` gets it.
export function UserChoice({ label, user = "", show, more }) {
  const [typed, setTyped] = useState(user);
  const known = useGet("/v1/users", { search: typed.trim(), limit: 20 });
  const id = useId();
  return html`<${Card}>
    <${Form} action=${{ run: () => show(typed.trim()) }} submit="Show" more=${more}>
      <${Field} label=${label} value=${typed} onValue=${setTyped} list=${id} hint="The handle of a user." isFirst />
      <datalist id=${id}>${known.data?.map((one) => html`<option key=${one} value=${one} />`)}</datalist>
    <//>
  <//>`;
}

// Who a user is, what they own and what they have been given.
export function AboutUser({ title, user }) {
  const facts = [["Handle", user.user_handle], ["E-mail", user.email], ["Name", user.name]];
  return html`<${Card} title=${title}><${Facts} pairs=${facts} /><//>
    <div class="columns">${NOUNS.map((noun) => html`<${Card} title=${plural(user[`${noun}s`].length, noun)}>
      ${!user[`${noun}s`].length && html`<p class="faint">None.</p>`}
      <ul>${user[`${noun}s`].map((one) => html`<li>
        <${Named} noun=${noun} ...${one} />
        ${one.owner !== user.user_handle && html` <span class="faint">${one.role ?? "shared"}</span>`}
      </li>`)}</ul>
      ${noun === "instance" && html`<a href=${link`/instances/${user.user_handle}`}>Show all with their models</a>`}
    <//>`)}</div>`;
}

// How many of each kind a user owns, in words.
export function ownedInWords(user) {
  const own = (noun) => user[`${noun}s`].filter((one) => one.owner === user.user_handle);
  return NOUNS.map((noun) => plural(own(noun).length, noun)).join(", ");
}
