// One's own account: who one is, the key and its exchange, what one owns, and the console's colours.
import { get, path, post } from "../api.js";
import { useLoad } from "../hooks.js";
import { session, signedIn, theme } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, ConfirmButton, Facts, Field, html, Loaded, Page, Secret } from "../ui.js";
import { Owned } from "./owned.js";

const THEMES = [["", "As the system has it"], ["light", "Light"], ["dark", "Dark"]];

export default function Account() {
  const { handle, role } = session.value;
  return html`<${Page} title="Account" lead=${`Signed in as ${handle ?? "the admin"}.`}>
    <div class="columns">
      <${Card} title="Key">
        ${handle
          ? html`<${Key} handle=${handle} />`
          : html`<p>The admin's key is the setting <code>SERVICE_ADMINKEY</code> of the service. It is exchanged there,
              and the service is started again.</p>`}
      <//>
      <${Card} title="Appearance">
        <${Field} label="Colours" options=${THEMES} value=${theme.value} onValue=${(value) => (theme.value = value)} />
      <//>
    </div>
    ${handle && html`<${About} handle=${handle} role=${role} />`}
  <//>`;
}

function Key({ handle }) {
  const [key, setKey] = useState(null);
  const exchange = async (options) => {
    const { vdb_key: made } = await post(path`/v1/users/${handle}/key`, undefined, options);
    setKey(made);
    signedIn({ ...session.value, key: made });
  };
  return html`
    ${key && html`<${Secret} value=${key}>Put it into your programs. This tab uses it already.<//>`}
    <p>Exchange it when somebody else may know it.</p>
    <${ConfirmButton} label="Exchange my key …" title="Exchange my key" submit="Exchange it" act=${exchange}>
      <p class="warning-box">All programs and tabs that use the present key stop working at once.</p>
    <//>`;
}

function About({ handle, role }) {
  const from = useLoad((signal) => get(path`/v1/users/${handle}`, { signal }), [handle]);
  return html`<${Loaded} from=${from}>${(user) => html`
    <${Card} title="About you"><${Facts} pairs=${[
      ["Handle", handle], ["Role", role], ["E-mail", user.email], ["Name", user.name],
    ]} /><//>
    <${Owned} user=${user} />`}<//>`;
}
