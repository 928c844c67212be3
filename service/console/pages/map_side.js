// What stands beside a map: the legend, the opened text, what was found, and what is selected.
import { path, post } from "../api.js";
import { number, percent, plural } from "../format.js";
import { FormButton } from "../forms.js";
import { link } from "../store.js";
import { useState } from "../vendor/hooks.js";
import { Card, CopyButton, html, Pairs, Progress } from "../ui.js";

const LISTED = 100;
const AT_ONCE = 5000; // ids in a request

export function Legend({ groups, hidden, setHidden }) {
  const toggle = (at) => setHidden(hidden.symmetricDifference(new Set([at])));
  const entry = ({ label, colour, count }, at) => count > 0 && html`<li key=${at}>
    <button type="button" aria-pressed=${!hidden.has(at)} onClick=${() => toggle(at)}>
      <span class="swatch" style=${{ background: `rgb(${colour.map((one) => one * 255).join(" ")})` }}></span>
      <span>${label}</span><span class="number">${number(count)}</span>
    </button>
  </li>`;
  return html`<${Card} title="Legend">
    <ul class="legend">${groups.map(entry)}</ul>
    ${hidden.size > 0 && html`<button type="button" onClick=${() => setHidden(new Set())}>Show all</button>`}
    <p class="hint">An entry hides its points, and shows them again.</p>
  <//>`;
}

// A button that opens a text by its id.
const Opener = ({ id, open }) => html`<button type="button" class="link" onClick=${() => open(id)}>${id}</button>`;

const Similar = ({ results, indexOf, open }) =>
  html`<ol class="similar">${results.map(({ id, similarity, text }) => html`<li key=${id}>
    <${Opener} id=${id} open=${open} />
    <span class="number"> ${similarity.toFixed(3)}${!indexOf.has(id) && " (not on the map)"}</span>
    ${text && html`<p class="clip">${text}</p>`}
  </li>`)}</ol>`;

export function Opened({ opened, near, indexOf, project, open }) {
  const top = link`/projects/${project.owner}/${project.project_handle}`;
  return html`<${Card} title=${opened} from=${near} actions=${html`<button type="button" class="quiet"
      aria-label="Close the text" onClick=${() => open("")}>✕</button>`}>${(data) => data && html`
    ${data.row?.text && html`<p class="text">${data.row.text}</p>`}
    <${Pairs} metadata=${data.row?.metadata} />
    <p><a href=${top + path`/text/${opened}`}>The whole entry</a></p>
    <h3>Nearest ten</h3>
    <${Similar} results=${data.results} indexOf=${indexOf} open=${open} />`}<//>`;
}

export const Found = ({ found, sought, indexOf, open }) =>
  html`<${Card} title="Found" from=${found}>${(data) => data && html`
    <p role="status">${plural(data.results.length, "text")} like “${sought}”,
      ${" "}${number(data.results.filter((one) => indexOf.has(one.id)).length)} of them on the map.</p>
    <${Similar} results=${data.results} indexOf=${indexOf} open=${open} />`}<//>`;

export function Selection({ selected, setSelected, canEdit, base, reload, open, name }) {
  const [done, setDone] = useState(0); // the share of them that is deleted
  const amount = plural(selected.length, "text");
  const destroy = async (_, options) => {
    let [left, deleted] = [selected, 0];
    try {
      while (left.length) {
        const body = { text_ids: left.slice(0, AT_ONCE) };
        deleted += (await post(`${base.embeddings}/delete`, body, options)).deleted;
        left = left.slice(AT_ONCE);
        setDone(1 - left.length / selected.length);
      }
    } finally {
      setDone(0);
      reload();
      setSelected(left);
    }
    return deleted;
  };
  const save = () => {
    const href = URL.createObjectURL(new Blob([selected.join("\n") + "\n"], { type: "text/plain" }));
    Object.assign(document.createElement("a"), { href, download: `${name}-selection.txt` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  };
  return html`<${Card} title="Selection">
    <p>${amount} selected.</p>
    <div class="actions">
      <${CopyButton} text=${selected.join("\n")} label="Copy ids" />
      <button type="button" onClick=${save}>Save as a list</button>
      ${canEdit && html`<${FormButton} label="Delete …" title="Delete ${amount}" kind="danger" submit="Delete"
          send=${destroy} done=${(_, deleted) => `${plural(deleted, "text")} deleted.`}>
        <p>They cannot be brought back.</p>
        ${done > 0 && html`<${Progress} value=${done} label=${percent(done)} />`}
      <//>`}
      <button type="button" onClick=${() => setSelected([])}>Select none</button>
    </div>
    <ul class="similar">${selected.slice(0, LISTED).map((id) => html`<li key=${id}>
      <${Opener} id=${id} open=${open} /></li>`)}</ul>
    ${selected.length > LISTED && html`<p class="hint">and ${number(selected.length - LISTED)} more</p>`}
  <//>`;
}
