// The form that signs in.
import { get } from "../api.js";
import { DataForm, field } from "../forms.js";
import { signedIn } from "../store.js";
import { html } from "../ui.js";

const KEYS = "The admin who made your account has given it to you. It stays in this tab until you close it.";
const KEY = field("key", "Your key", KEYS, { type: "password", required: true, isFirst: true });

// Signs in with a key. It is kept in this tab's session only, and sent to the service as a header.
export async function enter(key) {
  const who = await get("/v1/whoami", { key });
  signedIn({ key, handle: who.user_handle, role: who.role });
}

export function SignIn() {
  const send = async ({ key }) => {
    if (!/^[!-~]+$/.test(key)) throw new Error("A key has only letters, digits and signs, and no spaces.");
    await enter(key).catch((error) => {
      if (error.status !== 401) throw error;
      throw new Error("This key is not known. Was it copied as a whole, or exchanged meanwhile?");
    });
  };
  return html`<div class="sign-in">
    <${DataForm} fields=${[KEY]} submit="Sign in" send=${send} />
    <p>Without a key you can open the address of a public project.</p>
  </div>`;
}
