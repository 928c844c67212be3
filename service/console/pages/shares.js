// With whom a project, an instance or a definition is shared: the users, and how that is changed and ended.
import { patch, path, post, remove } from "../api.js";
import { DataForm, FormButton } from "../forms.js";
import { Card, html, Table } from "../ui.js";

const USER = { name: "share_with_handle", label: "User", required: true, hint: "Their handle." };

// `shares` are {user_handle, …}, and `columns` what is shown of them beside the user. `fields` are those of a share:
// with `mayChange` they are changed later, in dialogs. `none` is said without any, `done` of a share that was made,
// `ended` before it is ended, where [the button, the last button] are `verbs`.
export function Shares({ title = "Shared with", where, shares, columns = [], fields = [], mayChange, ...words }) {
  const { none = "Nobody yet.", done, ended, verbs = ["End", "End it"], reload, children } = words;
  const place = (one) => `${where}/share/` + path`${one.user_handle}`;
  const of = (one) => html`<span class="unseen"> ${one.user_handle}</span>`;
  const actions = (one) => html`<div class="actions">
    ${mayChange && html`<${FormButton} label=${html`Change${of(one)}`} submit="Save" stored=${one} fields=${fields}
      send=${(body, options) => patch(place(one), body, options)} onDone=${reload} />`}
    <${FormButton} label=${html`${verbs[0]}${of(one)}`} title="End the share with ${one.user_handle}" kind="danger"
      submit=${verbs[1]} send=${(body, options) => remove(place(one), options)} onDone=${reload}
      done="${one.user_handle} has no access any more."><p>${ended(one.user_handle)}</p><//>
  </div>`;
  const share = {
    submit: "Share", fields: [USER, ...fields], stored: { role: "reader" },
    send: (body, options) => post(`${where}/share`, body, options), done, onDone: reload,
  };
  return html`<${Card} title=${title} actions=${mayChange && html`<${FormButton} label="Share it" ...${share} />`}>
    ${children}
    <${Table} caption="Users it is shared with" rows=${shares} rowKey=${(one) => one.user_handle} empty=${none}
      columns=${[["User", (one) => one.user_handle], ...columns, ["Actions", actions]]} />
    ${!mayChange && html`<h3>Share it</h3><${DataForm} key=${shares.length} ...${share} />`}
  <//>`;
}
