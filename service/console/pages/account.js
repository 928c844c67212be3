// The account of the user who has signed in: their key, which they may exchange, the colours, and what they own.
import { path, post } from "../api.js";
import { FormButton } from "../forms.js";
import { useGet } from "../hooks.js";
import { session, signedIn, theme } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, Field, html, Loaded, Page, Secret } from "../ui.js";
import { About } from "./users.js";

const THEMES = [["", "As the system has it"], ["light", "Light"], ["dark", "Dark"]];

export default function Account() {
  const { handle } = session.value;
  const where = handle && path`/v1/users/${handle}`;
  const from = useGet(where);
  const [key, setKey] = useState(null);
  const exchange = async (body, options) => {
    const { vdb_key: made } = await post(`${where}/key`, undefined, options);
    setKey(made);
    signedIn({ ...session.value, key: made });
  };
  return html`<${Page} title="Account" lead="Signed in as ${handle ?? "the admin"}.">
    <div class="columns">
      <${Card} title="Key">${handle
        ? html`${key && html`<${Secret} value=${key}>Put it into your programs. This tab uses it already.<//>`}
          <p>Exchange it when somebody else may know it.</p>
          <${FormButton} label="Exchange my key …" title="Exchange my key" kind="danger" submit="Exchange it"
              send=${exchange}>
            <p class="warning-box">All programs and tabs that use the present key stop working at once.</p>
          <//>`
        : html`<p>The admin's key is the setting <code>SERVICE_ADMINKEY</code> of the service. It is exchanged there,
            and the service is started again.</p>`}<//>
      <${Card} title="Appearance">
        <${Field} label="Colours" options=${THEMES} value=${theme.value} onValue=${(value) => (theme.value = value)} />
      <//>
    </div>
    <${Loaded} from=${from}>${(user) => user && html`<${About} title="About you" user=${user} />`}<//>
  <//>`;
}
