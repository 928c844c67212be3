// Users, for the admin: the list, one who is made, and all of one.
import { get, mustBeFree, patch, path, post, remove } from "../api.js";
import { useAction, useLoad } from "../hooks.js";
import { go, link, notify, route, setQuery } from "../store.js";
import { useState } from "../vendor/hooks.js";
import {
  Card, ConfirmButton, DialogButton, Empty, Facts, Field, Form, html, Loaded, Page, Pages, Secret, Table,
} from "../ui.js";
import { Change, useFields } from "./fields.js";
import { Owned, ownedInWords } from "./owned.js";

const PAGE = 50; // users
const HIDDEN = "_system"; // it owns what is built in, and nobody has its key

export default function Users() {
  const handle = route.value.parts[1];
  return handle === undefined ? html`<${List} />` : html`<${User} handle=${handle} />`;
}

function List() {
  const search = route.value.query.get("search") ?? "";
  const offset = Number(route.value.query.get("offset")) || 0;
  const load = (signal) => get("/v1/users", { signal, query: { search, offset, limit: PAGE + 1 } });
  const from = useLoad(load, [search, offset]);
  const make = html`<${DialogButton} label="Make a user" kind="primary">
    ${(close) => html`<${NewUser} onClose=${close} onMade=${from.reload} />`}<//>`;
  const columns = [{ title: "User", cell: (handle) => html`<a href=${link`/users/${handle}`}>${handle}</a>` }];
  return html`<${Page} title="Users" actions=${make}>
    <${Card}>
      <${Field} label="Search" type="search" value=${search} hint="A part of the handle."
        onValue=${(value) => setQuery({ search: value, offset: "" })} />
      <${Loaded} from=${from}>${(found) => html`
        ${found.length
          ? html`<${Table} caption="Users" columns=${columns} rows=${found.slice(0, PAGE)} />`
          : html`<${Empty} title="There is no user whose handle contains this." />`}
        <${Pages} offset=${offset} size=${PAGE} hasNext=${found.length > PAGE} />`}<//>
    <//>
  <//>`;
}

function UserFields({ field }) {
  return html`<${Field} label="E-mail" ...${field("email")} type="email" required />
    <${Field} label="Name" ...${field("name")} />`;
}

function NewUser({ onClose, onMade }) {
  const { values, field } = useFields();
  const [made, setMade] = useState(null);
  const action = useAction(async (options) => {
    const handle = values.user_handle.trim();
    await mustBeFree(path`/v1/users/${handle}`, `There is a user ${handle} already.`, options);
    const body = { user_handle: handle, email: values.email.trim(), name: values.name || null };
    setMade(await post("/v1/users", body, options));
    onMade();
  });
  if (made) {
    return html`<p>The user <a href=${link`/users/${made.user_handle}`}>${made.user_handle}</a> is made.</p>
      <${Secret} value=${made.vdb_key}>Give it to them on a safe way: it is not stored, and cannot be shown again.<//>
      <button type="button" class="primary" onClick=${onClose}>I have copied the key</button>`;
  }
  return html`<${Form} action=${action} submit="Make" onCancel=${onClose}>
    <${Field} label="Handle" ...${field("user_handle")} required isFirst
      hint="3 to 64 letters, digits and . _ ~ - ; it is not changed later." />
    <${UserFields} field=${field} />
  <//>`;
}

function User({ handle }) {
  const where = path`/v1/users/${handle}`;
  const from = useLoad((signal) => get(where, { signal }), [where]);
  const [key, setKey] = useState(null);
  const exchange = async (options) => setKey((await post(`${where}/key`, undefined, options)).vdb_key);
  const destroy = async (options) => {
    await remove(where, options);
    notify(`The user ${handle} is deleted.`);
    go(link`/users`);
  };
  const edit = ({ email, name }, options) => patch(where, { email: email.trim(), name: name || null }, options);
  const user = from.data;
  const actions = user && handle !== HIDDEN && html`
    <${Change} label="Edit" stored=${user} send=${edit} reload=${from.reload}
      fields=${(field) => html`<${UserFields} field=${field} />`} />
    <${ConfirmButton} label="New key …" title="A new key" submit="Exchange the key" act=${exchange}>
      <p>All programs of ${handle} that use the present key stop working at once.</p>
    <//>
    <${ConfirmButton} label="Delete …" title="Delete the user" submit="Delete the user" name=${handle} act=${destroy}>
      <p>Deleted with ${handle} is all that they own: ${ownedInWords(user)}, with all texts and vectors. It cannot be
        brought back. What others own and have shared with them stays.</p>
    <//>`;
  return html`<${Page} title=${handle} actions=${actions}>
    ${key && html`<${Secret} value=${key}>Give it to ${handle} on a safe way; the old one does not work any more.<//>`}
    <${Loaded} from=${from}>${(one) => html`
      <${Card} title="User"><${Facts} pairs=${[["E-mail", one.email], ["Name", one.name]]} /><//>
      <${Owned} user=${one} />`}<//>
  <//>`;
}
