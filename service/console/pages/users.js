// Users, for the admin: the list, one who is made, and all of one.
import { mustBeFree, path, post } from "../api.js";
import { plural } from "../format.js";
import { Delete, field, FormButton } from "../forms.js";
import { useGet } from "../hooks.js";
import { link, offset, route, setQuery } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, Dialog, Field, html, Loaded, Named, Page, Pages, Secret, Table } from "../ui.js";
import { handleField } from "./fields.js";

const PAGE = 50; // users
const HIDDEN = "_system"; // it owns what is built in, and nobody has its key
const FIELDS = [field("email", "E-mail", "", { type: "email", required: true }), field("name", "Name")];
const NOUNS = ["project", "instance", "definition"];

export default function Users() {
  const [, handle] = route.value.parts;
  return handle === undefined ? html`<${List} />` : html`<${User} handle=${handle} />`;
}

function List() {
  const search = route.value.query.get("search") ?? "";
  const from = useGet("/v1/users", { search, offset: offset.value, limit: PAGE + 1 });
  const [made, setMade] = useState(null);
  const send = async (body, options) => {
    await mustBeFree(path`/v1/users/${body.user_handle}`, `a user ${body.user_handle}`, options);
    return post("/v1/users", body, options);
  };
  const shown = (user) => {
    setMade(user);
    from.reload();
  };
  const make = html`<${FormButton} label="Make a user" kind="primary" submit="Make" send=${send} onDone=${shown}
    fields=${[handleField("user_handle", "Handle"), ...FIELDS]} />`;
  const columns = [["User", (handle) => html`<a href=${link`/users/${handle}`}>${handle}</a>`]];
  return html`<${Page} title="Users" actions=${make}>
    <${Field} label="Search" type="search" value=${search} hint="A part of the handle."
      onValue=${(value) => setQuery({ search: value, offset: "" })} />
    <${Card} from=${from}>${(found) => html`
      <${Table} caption="Users" columns=${columns} rows=${found.slice(0, PAGE)}
        empty="There is no user whose handle contains this." />
      <${Pages} size=${PAGE} hasNext=${found.length > PAGE} />`}<//>
    ${made && html`<${Dialog} title="Make a user">
      <p>The user <a href=${link`/users/${made.user_handle}`}>${made.user_handle}</a> is made.</p>
      <${Secret} value=${made.vdb_key}>Give it to them on a safe way: it is not stored, and cannot be shown again.<//>
      <button type="button" class="primary" onClick=${() => setMade(null)}>I have copied the key</button>
    <//>`}
  <//>`;
}

function User({ handle }) {
  const where = path`/v1/users/${handle}`;
  const from = useGet(where);
  const [key, setKey] = useState(null);
  const exchange = async (body, options) => setKey((await post(`${where}/key`, undefined, options)).vdb_key);
  const own = (noun) => plural(from.data[`${noun}s`].filter((one) => one.owner === handle).length, noun);
  const actions = from.data && handle !== HIDDEN && html`
    <${FormButton} label="Edit" where=${where} stored=${from.data} fields=${FIELDS} onDone=${from.reload} />
    <${FormButton} label="New key …" title="A new key" kind="danger" submit="Exchange the key" send=${exchange}>
      <p>All programs of ${handle} that use the present key stop working at once.</p>
    <//>
    <${Delete} noun="user" name=${handle} where=${where} to=${link`/users`}>
      <p>Deleted with ${handle} is all that they own: ${NOUNS.map(own).join(", ")}, with all texts and vectors. It
        cannot be brought back. What others own and have shared with them stays.</p>
    <//>`;
  return html`<${Page} title=${handle} actions=${actions}>
    ${key && html`<${Secret} value=${key}>Give it to ${handle} on a safe way; the old one does not work any more.<//>`}
    <${Loaded} from=${from}>${(user) => html`<${About} title="User" user=${user} />`}<//>
  <//>`;
}

// Who a user is, what they own and what they have been given.
export function About({ title, user }) {
  const facts = [["Handle", user.user_handle], ["E-mail", user.email], ["Name", user.name]];
  const given = (one) => one.owner !== user.user_handle && html` <span class="faint">${one.role ?? "shared"}</span>`;
  const card = (noun, all) => html`<${Card} title=${plural(all.length, noun)}>
    ${!all.length && html`<p class="faint">None.</p>`}
    <ul>${all.map((one) => html`<li><${Named} noun=${noun} ...${one} />${given(one)}</li>`)}</ul>
    ${noun === "instance" && html`<a href=${link`/instances/${user.user_handle}`}>Show all with their models</a>`}
  <//>`;
  return html`<${Card} title=${title} facts=${facts} />
    <div class="columns">${NOUNS.map((noun) => card(noun, user[`${noun}s`]))}</div>`;
}
