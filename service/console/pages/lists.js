// What the pages of projects, instances and definitions have in common: whose they are, and with whom they are shared.
import { path, post, remove } from "../api.js";
import { DataForm, field, FormButton } from "../forms.js";
import { useGet } from "../hooks.js";
import { useId, useState } from "../vendor/hooks.js";
import { Card, Field, Form, html, Table } from "../ui.js";

const GROUPS = ["Own", "Shared by others", "Of all owners", "Built in", "Public"];
const USER = field("share_with_handle", "User", "Their handle.", { required: true });

function groupOf({ owner, is_public: isPublic }, user) {
  if (owner === user) return "Own";
  if (owner === "_system") return "Built in";
  if (isPublic) return "Public";
  return user ? "Shared by others" : "Of all owners";
}

// A table for each group of the rows, as `user` sees them; null is the admin, who sees those of all users.
export function Grouped({ rows, user, noun, ...table }) {
  const groups = Map.groupBy(rows, (one) => groupOf(one, user));
  return GROUPS.filter((group) => groups.has(group)).map((group) => html`<${Card} key=${group} title=${group}>
    <${Table} caption="${group}: ${noun}s" rows=${groups.get(group)} ...${table}
      rowKey=${(one) => `${one.owner}/${one[`${noun}_handle`]}`} />
  <//>`);
}

// The admin chooses a user, whose handle is completed as it is typed. `show` gets it.
export function UserChoice({ label, user = "", show, more }) {
  const [typed, setTyped] = useState(user);
  const known = useGet("/v1/users", { search: typed.trim(), limit: 20 });
  const id = useId();
  return html`<${Card}>
    <${Form} action=${{ run: () => show(typed.trim()) }} submit="Show" more=${more}>
      <${Field} label=${label} value=${typed} onValue=${setTyped} list=${id} hint="The handle of a user." />
      <datalist id=${id}>${known.data?.map((one) => html`<option key=${one} value=${one} />`)}</datalist>
    <//>
  <//>`;
}

// `shares` are {user_handle, …}, and `columns` what is shown of them beside the user. `fields` are those of a share:
// with `mayChange` they are changed later, in dialogs. `none` is said without any, `done` of a share that was made,
// `ended` before it is ended, where [the button, the last button] are `verbs`.
export function Shares({ title = "Shared with", where, shares, columns = [], fields = [], mayChange, ...words }) {
  const { none = "Nobody yet.", done, ended, verbs = ["End", "End it"], reload, children } = words;
  const place = (one) => `${where}/share/` + path`${one.user_handle}`;
  const of = (one) => html`<span class="unseen"> ${one.user_handle}</span>`;
  const actions = (one) => html`<div class="actions">
    ${mayChange && html`<${FormButton} label=${html`Change${of(one)}`} where=${place(one)}
      stored=${one} fields=${fields} onDone=${reload} />`}
    <${FormButton} label=${html`${verbs[0]}${of(one)}`} title="End the share with ${one.user_handle}" kind="danger"
      submit=${verbs[1]} send=${(body, options) => remove(place(one), options)} onDone=${reload}
      done="${one.user_handle} has no access any more."><p>${ended(one.user_handle)}</p><//>
  </div>`;
  const share = {
    submit: "Share", fields: [{ ...USER, isFirst: mayChange }, ...fields], stored: { role: "reader" },
    send: (body, options) => post(`${where}/share`, body, options), done, onDone: reload,
  };
  return html`<${Card} title=${title} actions=${mayChange && html`<${FormButton} label="Share it" ...${share} />`}>
    ${children}
    <${Table} caption="Users it is shared with" rows=${shares} rowKey=${(one) => one.user_handle} empty=${none}
      columns=${[["User", (one) => one.user_handle], ...columns, ["Actions", actions]]} />
    ${!mayChange && html`<h3>Share it</h3><${DataForm} clears ...${share} />`}
  <//>`;
}
