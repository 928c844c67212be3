// The service's interface. All requests of the console are made here, with the key as a header, and nowhere else.
import { isAway, returns, session, signInReason } from "./store.js";

// The service's own address, also behind a path prefix.
export const ROOT = new URL("../", document.baseURI);

const LONGEST_WAIT = 15_000; // milliseconds between two looks whether a service that was away is back

// A refusal of the service, in its own words. `errors` are {message, location, value}. Status 0: it was not reached.
export class Problem extends Error {
  constructor(status, { title, detail, errors } = {}) {
    super(detail ?? title ?? `The service answered with status ${status}.`);
    this.status = status;
    this.title = title ?? "";
    this.errors = errors ?? [];
  }
}

// A path of the interface: path`/v1/projects/${user}/${project}`, with what is filled in percent-encoded.
export function path(texts, ...values) {
  return String.raw({ raw: texts }, ...values.map(encodeURIComponent));
}

export function get(where, { query = {}, signal, key } = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") parameters.set(name, value);
  }
  return call("GET", parameters.size ? `${where}?${parameters}` : where, { signal, key });
}

export function post(where, body, options) {
  return call("POST", where, { body, ...options });
}

export function put(where, body, options) {
  return call("PUT", where, { body, ...options });
}

export function patch(where, body, options) {
  return call("PATCH", where, { body, type: "application/merge-patch+json", ...options });
}

export function remove(where, options) {
  return call("DELETE", where, options);
}

// All entries of a list that has pages. `field` names them in an answer.
export async function all(where, field, { query, signal } = {}) {
  const found = [];
  for (let page = await get(where, { query, signal }); ; page = await get(page.next, { signal })) {
    found.push(...page[field]);
    if (!page.next) return found;
  }
}

// Raises Problem when there is something at `where`, which would be replaced.
export async function mustBeFree(where, message, options) {
  try {
    await get(where, options);
  } catch (error) {
    if (error.status === 404) return;
    throw error;
  }
  throw new Problem(409, { detail: message });
}

// The answer's JSON (null when it has no body). Raises Problem. `key` is another than the session's.
async function call(method, where, { body, signal, key, type = "application/json" } = {}) {
  const used = key ?? session.value?.key;
  const headers = { Accept: "application/json" };
  if (used) headers.Authorization = `Bearer ${used}`;
  if (body !== undefined) headers["Content-Type"] = type;
  const target = new URL(where.replace(/^\//, ""), ROOT);
  let answer;
  let text;
  try {
    const content = body === undefined ? undefined : JSON.stringify(body);
    answer = await fetch(target, { method, headers, body: content, signal, credentials: "omit", redirect: "error" });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    watchForReturn();
    throw new Problem(0, { title: "Not reached", detail: "The service cannot be reached." });
  }
  const found = parsed(text);
  if (answer.ok) return found;
  const isPresent = used === session.value?.key; // not one that was exchanged while the answer was on its way
  if (answer.status === 401 && !key && isPresent) askForKey(used);
  throw new Problem(answer.status, found ?? {});
}

function askForKey(used) {
  signInReason.value = used
    ? "Your key is not valid any more. Sign in with your present key; what you have typed is kept."
    : "This needs a key.";
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

// Asks, ever more rarely, whether the service is back.
async function watchForReturn() {
  if (isAway.value) return;
  isAway.value = true;
  for (let wait = 1000; isAway.value; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    await new Promise((done) => setTimeout(done, wait));
    try {
      const answer = await fetch(new URL("readyz", ROOT), { credentials: "omit" });
      if (answer.ok) isAway.value = false;
    } catch {
      // Still away.
    }
  }
  returns.value += 1;
}
