// Who has access to a project: users and their roles, the public, and handing it over to another user.
import { patch, path, post, remove } from "../api.js";
import { plural } from "../format.js";
import { useAction } from "../hooks.js";
import { go, link, notify, session } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, Code, ConfirmButton, Failure, Field, Form, html, Table } from "../ui.js";

const ROLES = [["reader", "Reader: reads and searches"], ["editor", "Editor: adds and deletes texts, too"]];

export default function Sharing({ project, base, reload }) {
  const own = { project, base, reload };
  return html`<div class="columns">
    <div><${Users} ...${own} /><${Transfer} ...${own} /></div>
    <div><${Public} ...${own} /></div>
  </div>`;
}

function Users({ project, base, reload }) {
  const shares = project.shared_with ?? [];
  const share = async (handle, role, signal) => {
    await post(`${base.project}/share`, { share_with_handle: handle, role }, { signal });
    notify(`${handle} is ${role === "editor" ? "an editor" : "a reader"} now.`);
    reload();
  };
  const change = useAction((handle, role, { signal }) => share(handle, role, signal));
  const end = async (handle, signal) => {
    await remove(`${base.project}/share/` + path`${handle}`, { signal });
    notify(`${handle} has no access any more.`);
    reload();
  };
  const columns = [
    { title: "User", cell: (one) => one.user_handle },
    {
      title: "Role",
      cell: ({ user_handle: handle, role }) => html`<select aria-label="Role of ${handle}" value=${role}
          disabled=${change.isRunning} onChange=${(event) => change.run(handle, event.target.value)}>
        ${ROLES.map(([one]) => html`<option value=${one} selected=${one === role}>${one}</option>`)}
      </select>`,
    },
    {
      title: html`<span class="unseen">End</span>`,
      cell: ({ user_handle: handle }) => html`<${ConfirmButton}
          label=${html`Remove<span class="unseen"> ${handle}</span>`} title="Remove ${handle}" submit="Remove"
          act=${({ signal }) => end(handle, signal)}>
        <p>${handle} ${project.public_read
          ? "keeps no role, but reads and searches the project as everybody does: it is public."
          : "cannot read or search this project any more."}</p>
      <//>`,
    },
  ];
  const rowKey = ({ user_handle: handle }) => handle;
  return html`<${Card} title="Users with access">
    <p>${project.owner} owns the project.</p>
    ${shares.length
      ? html`<${Table} caption="Users with access" columns=${columns} rows=${shares} rowKey=${rowKey} />`
      : html`<p class="faint">It is shared with nobody else yet.</p>`}
    <${Failure} error=${change.error} />
    <h3>Share it</h3>
    <${NewShare} share=${share} />
  <//>`;
}

function NewShare({ share }) {
  const [handle, setHandle] = useState("");
  const [role, setRole] = useState("reader");
  const action = useAction(async ({ signal }) => {
    await share(handle.trim(), role, signal);
    setHandle("");
  });
  return html`<${Form} action=${action} submit="Share" isReady=${handle.trim() !== ""}>
    <div class="row from-top">
      <${Field} label="User" name="share_with_handle" value=${handle} onValue=${setHandle} hint="Their handle." />
      <${Field} label="Role" name="role" value=${role} onValue=${setRole} options=${ROLES} />
    </div>
  <//>`;
}

function Public({ project, base, reload }) {
  const address = new URL(link`/projects/${project.owner}/${project.project_handle}`, document.baseURI).href;
  const make = async (isPublic, signal) => {
    await patch(base.project, { public_read: isPublic }, { signal });
    notify(isPublic ? "The project is public." : "The project is not public any more.");
    reload();
  };
  const end = useAction(({ signal }) => make(false, signal));
  return html`<${Card} title="The public">
    ${project.public_read
      ? html`<p class="warning-box">Everybody who knows its address reads and searches this project, also without a
            key.</p>
          <button type="button" onClick=${() => end.run()} disabled=${end.isRunning}>Make it not public</button>
          <${Failure} error=${end.error} />`
      : html`<p>Only its owner and the users with access see this project.</p>
          <${ConfirmButton} label="Make it public …" title="Make the project public" submit="Make it public"
              act=${({ signal }) => make(true, signal)}>
            <p class="warning-box">Everybody who knows the address of this project will read
              ${" "}${plural(project.number_of_embeddings, "text")} with metadata, and all that are added later, also
              without a key. What others have copied meanwhile cannot be called back.</p>
          <//>`}
    <h3>Its address</h3>
    <${Code} text=${address} />
  <//>`;
}

function Transfer({ project, base }) {
  const [owner, setOwner] = useState("");
  const { project_handle: handle } = project;
  const act = async ({ signal }) => {
    await post(`${base.project}/transfer`, { new_owner: owner.trim() }, { signal });
    notify(`${owner.trim()} owns the project ${handle} now.`);
    go(session.value?.handle ? link`/` : link`/projects/${owner.trim()}/${handle}`);
  };
  return html`<${Card} title="Hand it over">
    <${Field} label="New owner" value=${owner} onValue=${setOwner}
      hint="The handle of a user who has access to the project's instance." />
    <${ConfirmButton} label="Hand it over …" title="Hand the project over" disabled=${!owner.trim()} act=${act}
        submit="Hand it over" name=${handle}>
      <p>${owner.trim()} becomes the owner. ${project.owner} has no access any more, unless the new owner gives it.</p>
    <//>
  <//>`;
}
