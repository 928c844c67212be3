// Who has access to a project: users and their roles, the public, and handing it over to another user.
import { patch, post } from "../api.js";
import { plural } from "../format.js";
import { DataForm, field, FormButton } from "../forms.js";
import { useAction } from "../hooks.js";
import { go, link, notify, session } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, Code, Failure, Field, html } from "../ui.js";
import { Shares } from "./lists.js";

const ROLES = [["reader", "Reader: reads and searches"], ["editor", "Editor: adds and deletes texts, too"]];

export default function Sharing(props) {
  return html`<div class="columns">
    <div><${Users} ...${props} /><${Transfer} ...${props} /></div>
    <${Public} ...${props} />
  </div>`;
}

function Users({ project, base, reload }) {
  const done = ({ share_with_handle: user, role }) => `${user} is ${role === "editor" ? "an editor" : "a reader"} now.`;
  const change = useAction(async (user, role, options) => {
    const body = { share_with_handle: user, role };
    await post(`${base.project}/share`, body, options);
    notify(done(body));
    reload();
  });
  const role = ({ user_handle: user, role: present }) => html`<${Field} value=${present} options=${["reader", "editor"]}
    disabled=${change.isRunning} label=${html`<span class="unseen">Role of ${user}</span>`}
    onValue=${(chosen) => change.run(user, chosen)} />`;
  const ended = (handle) => `${handle} ${project.public_read
    ? "keeps no role, but reads and searches the project as everybody does: it is public."
    : "cannot read or search this project any more."}`;
  return html`<${Shares} title="Users with access" where=${base.project} shares=${project.shared_with ?? []}
      none="It is shared with nobody else yet." verbs=${["Remove", "Remove"]} done=${done} ended=${ended}
      columns=${[["Role", role]]} fields=${[field("role", "Role", "", { options: ROLES })]} reload=${reload}>
    <p>${project.owner} owns the project.</p>
    <${Failure} error=${change.error} />
  <//>`;
}

function Public({ project, base, reload }) {
  const set = (isPublic) => (body, options) => patch(base.project, { public_read: isPublic }, options);
  return html`<${Card} title="The public">
    ${project.public_read
      ? html`<${DataForm} submit="Make it not public" kind="" send=${set(false)} onDone=${reload}
            done="The project is not public any more.">
          <p class="warning-box">Everybody who knows its address reads and searches it, also without a key.</p>
        <//>`
      : html`<p>Only its owner and the users with access see this project.</p>
        <${FormButton} label="Make it public …" title="Make the project public" kind="danger" submit="Make it public"
            send=${set(true)} onDone=${reload} done="The project is public.">
          <p class="warning-box">Everybody who knows the address of this project will read
            ${" "}${plural(project.number_of_embeddings, "text")} with metadata, and all that are added later, also
            without a key. What others have copied meanwhile cannot be called back.</p>
        <//>`}
    <h3>Its address</h3>
    <${Code} text=${new URL(base.page, document.baseURI).href} />
  <//>`;
}

function Transfer({ project, base }) {
  const [typed, setTyped] = useState("");
  const owner = typed.trim();
  const { project_handle: handle } = project;
  return html`<${Card} title="Hand it over">
    <${Field} label="New owner" value=${typed} onValue=${setTyped}
      hint="The handle of a user who has access to the project's instance." />
    <${FormButton} label="Hand it over …" title="Hand the project over" kind="danger" disabled=${!owner}
        submit="Hand it over" confirm=${handle} done="${owner} owns the project ${handle} now."
        send=${(body, options) => post(`${base.project}/transfer`, { new_owner: owner }, options)}
        onDone=${() => go(session.value?.handle ? link`/` : link`/projects/${owner}/${handle}`)}>
      <p>${owner} becomes the owner. ${project.owner} has no access any more, unless the new owner gives it.</p>
    <//>
  <//>`;
}
