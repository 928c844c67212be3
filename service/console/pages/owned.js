// What a user owns and has been given, on the pages of users and of one's own account.
import { plural } from "../format.js";
import { link } from "../store.js";
import { Card, html, Named } from "../ui.js";

const KINDS = [["projects", "project"], ["instances", "instance"], ["definitions", "definition"]];

export function Owned({ user }) {
  return html`<div class="columns">${KINDS.map(([kind, noun]) => html`<${Card} title=${plural(user[kind].length, noun)}>
    ${!user[kind].length && html`<p class="faint">None.</p>`}
    <ul>${user[kind].map((one) => html`<li>
      <${Named} kind=${kind} owner=${one.owner} handle=${one[`${noun}_handle`]} />
      ${one.owner !== user.user_handle && html` <span class="faint">${one.role ?? "shared"}</span>`}
    </li>`)}</ul>
    ${kind === "instances" && html`<a href=${link`/instances/${user.user_handle}`}>Show all with their models</a>`}
  <//>`)}</div>`;
}

// How many of each kind a user owns, in words.
export function ownedInWords(user) {
  return KINDS.map(([kind, noun]) =>
    plural(user[kind].filter((one) => one.owner === user.user_handle).length, noun)).join(", ");
}
