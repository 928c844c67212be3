// The state that pages share. Everything else is local to a component, or in the address.
import { computed, effect, signal } from "./vendor/signals.js";

const KEY = "embedding-service.key";
const THEME = "embedding-service.theme";

const [tab, browser] = ["sessionStorage", "localStorage"].map(storage);

// A storage of the browser. A user may have blocked them: what is kept ends with the page then.
function storage(name) {
  try {
    return window[name];
  } catch {
    const kept = new Map();
    return {
      getItem: (key) => kept.get(key),
      setItem: (key, value) => kept.set(key, value),
      removeItem: (key) => kept.delete(key),
    };
  }
}

// {key, handle, role} of the user who has signed in, or null. The admin has no handle.
export const session = signal(null);
export const isAdmin = computed(() => session.value?.role === "admin");
// Why the user must sign in (again), or null. The page stays below the dialog, so nothing typed is lost.
export const signInReason = signal(null);
// Whether the service could not be reached, and how often it came back: pages load again then.
export const isAway = signal(false);
export const returns = signal(0);
// Short messages, {text}, each for some seconds.
export const notices = signal([]);
// The address: {parts: ["projects", "ada", "poems"], query: URLSearchParams}.
export const route = signal(read(location.hash));
// How many entries of a list are on the pages before the one that is shown.
export const offset = computed(() => Number(route.value.query.get("offset")) || 0);
// "light", "dark", or "" for what the system prefers.
export const theme = signal(browser.getItem(THEME) ?? "");
const system = matchMedia("(prefers-color-scheme: dark)");
const isSystemDark = signal(system.matches);
export const isDark = computed(() => (theme.value ? theme.value === "dark" : isSystemDark.value));

export const storedKey = () => tab.getItem(KEY);

export function signedIn(who) {
  tab.setItem(KEY, who.key);
  session.value = who;
  signInReason.value = null;
}

export function signOut() {
  go("#/"); // first, or the form to sign in would be made twice, and lose what is typed
  forgetKey();
}

export function forgetKey() {
  tab.removeItem(KEY);
  session.value = null;
}

export function notify(text) {
  const notice = { text };
  notices.value = [...notices.value, notice];
  setTimeout(() => (notices.value = notices.value.filter((one) => one !== notice)), 6000);
}

// The address of a page: link`/projects/${user}/${project}`, with what is filled in percent-encoded.
export const link = (texts, ...values) => "#" + String.raw({ raw: texts }, ...values.map(encodeURIComponent));

// Goes to an address of `link`. With `replace` the browser's history gets no new entry.
export function go(hash, { replace = false } = {}) {
  if (replace) history.replaceState(null, "", hash);
  else location.hash = hash;
  route.value = read(hash); // at once: the event comes later
}

// Changes parameters of the address, so that it can be shared; an empty value removes one.
export function setQuery(changes, options = { replace: true }) {
  const query = new URLSearchParams(route.value.query);
  for (const [name, value] of Object.entries(changes)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const path = "#/" + route.value.parts.map(encodeURIComponent).join("/");
  go(query.size ? `${path}?${query}` : path, options);
}

function read(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

// A part that was typed by hand may have a "%" that encodes nothing.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

window.addEventListener("hashchange", () => (route.value = read(location.hash)));
system.addEventListener("change", () => (isSystemDark.value = system.matches));
effect(() => {
  browser.setItem(THEME, theme.value);
  document.documentElement.dataset.theme = theme.value;
});
