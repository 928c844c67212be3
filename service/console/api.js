// The service's interface. All requests of the console are made here, with the key as a header, and nowhere else.
import { isAway, returns, session, signInReason } from "./store.js";

// The service's own address, also behind a path prefix.
export const ROOT = new URL("../", document.baseURI);

const LONGEST_WAIT = 15_000; // milliseconds between two looks whether a service that was away is back
const HAS_LONG = /(?<![.\d])\d{16}/; // perhaps an integer that JavaScript would round

// A refusal of the service, in its own words. `errors` are {message, location, value}. Status 0: it was not reached.
export class Problem extends Error {
  constructor(status, { title, detail, errors = [] } = {}) {
    super(detail ?? title ?? `The service answered with status ${status}.`);
    this.status = status;
    this.errors = errors;
  }
}

// A path of the interface: path`/v1/projects/${user}/${project}`, with what is filled in percent-encoded.
export const path = (texts, ...values) => String.raw({ raw: texts }, ...values.map(encodeURIComponent));

// The two parts of a name `owner/handle`. A handle of the original system may hold a "/", an owner's not.
export const ownerAndHandle = (name) => name.split(/\/(.*)/s, 2);

// Parameters of `query` that have no value are left out.
export function get(where, { query = {}, ...options } = {}) {
  const given = Object.entries(query).filter(([, value]) => (value ?? "") !== "");
  return call("GET", given.length ? `${where}?${new URLSearchParams(given)}` : where, options);
}

export const post = (where, body, options) => call("POST", where, { body, ...options });
export const patch = (where, body, options) => call("PATCH", where, { body, ...options });
export const remove = (where, options) => call("DELETE", where, options);

// All entries of a list that has pages. `field` names them in an answer.
export async function all(where, field, options) {
  let page = await get(where, options);
  const found = page[field];
  while (page.next) {
    page = await get(page.next, { signal: options?.signal });
    found.push(...page[field]);
  }
  return found;
}

// What there is at `where`, or null.
export const known = (where, options) =>
  get(where, options).catch((error) => (error.status === 404 ? null : Promise.reject(error)));

// Raises Problem when there is something at `where`, `what`, which would be replaced.
export async function mustBeFree(where, what, options) {
  if (await known(where, options)) throw new Problem(409, { detail: `There is ${what} already.` });
}

// The answer's JSON (null when it has no body). Raises Problem. `key` is another than the session's.
async function call(method, where, { body, signal, key } = {}) {
  const used = key ?? session.value?.key;
  const headers = { Accept: "application/json", ...(used && { Authorization: `Bearer ${used}` }) };
  if (body !== undefined) headers["Content-Type"] = `application/${method === "PATCH" ? "merge-patch+" : ""}json`;
  let answer;
  let text;
  try {
    answer = await fetch(new URL(where.replace(/^\//, ""), ROOT), {
      method, headers, signal, body: JSON.stringify(body), credentials: "omit", redirect: "error",
    });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    watchForReturn();
    throw new Problem(0, { detail: "The service cannot be reached." });
  }
  if (answer.ok) {
    const { value = null, fault } = text ? parsed(text) : {};
    if (!fault) return value;
    throw new Problem(answer.status, { detail: "The answer is not from the service: a proxy may have sent it." });
  }
  const isPresent = used === session.value?.key; // not one that was exchanged while the answer was on its way
  if (answer.status === 401 && !key && isPresent) {
    signInReason.value = used
      ? "Your key is not valid any more. Sign in with your present key; what you have typed is kept."
      : "This needs a key.";
  }
  throw new Problem(answer.status, parsed(text).value); // a proxy before the service may answer with other than JSON
}

// What a text holds as JSON, or why it holds none: {value, fault}. Integers that JavaScript would round, as ids of 19
// digits, stay as they are written, and are written so again.
export function parsed(text) {
  try {
    return { value: (HAS_LONG.test(text) ? JSON.parse(text, asWritten) : JSON.parse(text)) ?? undefined };
  } catch (error) {
    return { fault: error.message };
  }
}

// Older browsers have no rawJSON, and round.
function asWritten(name, value, context) {
  const isRounded = typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER;
  return isRounded && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
}

// Asks, ever more rarely, whether the service is back.
async function watchForReturn() {
  if (isAway.value) return;
  isAway.value = true;
  for (let wait = 1000; isAway.value; wait = Math.min(2 * wait, LONGEST_WAIT)) {
    await new Promise((done) => setTimeout(done, wait));
    isAway.value = !(await fetch(new URL("readyz", ROOT), { credentials: "omit" }).catch(() => null))?.ok;
  }
  returns.value += 1;
}
