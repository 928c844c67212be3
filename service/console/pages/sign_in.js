// Signing in with a key. It is kept in this tab's session only, and sent to the service as a header.
import { get, path } from "../api.js";
import { useAction } from "../hooks.js";
import { useState } from "../vendor/hooks.js";
import { signedIn } from "../store.js";
import { Field, Form, html } from "../ui.js";

export function SignIn() {
  const [key, setKey] = useState("");
  const action = useAction(async () => {
    const used = key.trim();
    if (!/^[!-~]+$/.test(used)) throw new Error("A key has only letters, digits and signs, and no spaces.");
    const who = await get(path`/v1/whoami`, { key: used }).catch((error) => {
      if (error.status !== 401) throw error;
      throw new Error("This key is not known. Was it copied as a whole, or exchanged meanwhile?");
    });
    signedIn({ key: used, handle: who.user_handle, role: who.role });
  });
  return html`<div class="sign-in">
    <${Form} action=${action} submit="Sign in" isReady=${key.trim() !== ""}>
      <${Field} label="Your key" type="password" value=${key} onValue=${setKey} required isFirst
        hint="The admin who made your account has given it to you. It stays in this tab until you close it." />
    <//>
    <p>Without a key you can open the address of a public project.</p>
  </div>`;
}
