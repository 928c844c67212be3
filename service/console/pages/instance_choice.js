// Which instance a project belongs to: those that its owner may use, with what the chosen one is.
import { all, get, path } from "../api.js";
import { plural } from "../format.js";
import { useLoad } from "../hooks.js";
import { Failure, Field, html } from "../ui.js";

// The instances that a user owns or has been given.
export function useInstances(user) {
  const load = async (signal) => (user ? all(path`/v1/llm-instances/${user}`, "instances", { signal }) : []);
  return useLoad(load, ["instances", user]);
}

// The name of an instance as a value of the choice; `instanceOf` is the other way round.
export const instanceName = (one) => `${one.owner}/${one.instance_handle}`;

// What a project's body says of the chosen instance. A handle of the original system may hold a "/", an owner's not.
export function instanceOf(name) {
  const at = name.indexOf("/");
  return { instance_owner: name.slice(0, at), instance_handle: name.slice(at + 1) };
}

export function InstanceChoice({ instances, value, onValue, hint }) {
  const { instance_owner: owner, instance_handle: handle } = instanceOf(value);
  const chosen = useLoad(
    async (signal) => (value ? get(path`/v1/llm-instances/${owner}/${handle}`, { signal }) : null),
    ["instance", value],
  );
  const one = chosen.data;
  const facts = one && [one.model, plural(one.dimensions, "dimension"), one.api_standard].filter(Boolean).join(", ");
  return html`<${Field} label="Instance" name="instance_handle" value=${value} onValue=${onValue} required
      options=${[["", "Choose …"], ...instances.map(instanceName)]} hint=${facts || hint} />
    <${Failure} error=${chosen.error} />`;
}
