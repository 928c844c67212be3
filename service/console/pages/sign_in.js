// Signing in with a key. It is kept in this tab's session only, and sent to the service as a header.
import { get } from "../api.js";
import { DataForm } from "../forms.js";
import { signedIn } from "../store.js";
import { html } from "../ui.js";

const FIELDS = [{
  name: "key", label: "Your key", type: "password", required: true, isFirst: true,
  hint: "The admin who made your account has given it to you. It stays in this tab until you close it.",
}];

export function SignIn() {
  const send = async ({ key }) => {
    if (!/^[!-~]+$/.test(key)) throw new Error("A key has only letters, digits and signs, and no spaces.");
    const who = await get("/v1/whoami", { key }).catch((error) => {
      if (error.status !== 401) throw error;
      throw new Error("This key is not known. Was it copied as a whole, or exchanged meanwhile?");
    });
    signedIn({ key, handle: who.user_handle, role: who.role });
  };
  return html`<div class="sign-in">
    <${DataForm} fields=${FIELDS} submit="Sign in" send=${send} />
    <p>Without a key you can open the address of a public project.</p>
  </div>`;
}
