// The parts that pages are made of. Texts are shown as text by preact, and nothing is ever set as HTML.
import htm from "./vendor/htm.js";
import { createContext, h, toChildArray } from "./vendor/preact.js";
import { useContext, useEffect, useId, useRef, useState } from "./vendor/hooks.js";
import { percent } from "./format.js";
import { useAction } from "./hooks.js";
import { announced, link, notify, route, session, setQuery } from "./store.js";

export const html = htm.bind(h);

// A page: its heading has the focus when one comes from another page, so that screen readers read it.
export function Page({ title, lead, actions, children }) {
  const heading = useRef(null);
  const where = route.value.parts.join("/");
  useEffect(() => {
    document.title = `${title} · Embedding service`;
  }, [title]);
  useEffect(() => {
    if (announced.address !== null && announced.address !== where) heading.current?.focus();
    announced.address = where;
  }, [where]);
  return html`<header class="page-head">
      <div>
        <h1 tabindex="-1" ref=${heading}>${title}</h1>
        ${lead && html`<p class="lead">${lead}</p>`}
      </div>
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>
    ${children}`;
}

export function Card({ title, actions, children, class: more = "" }) {
  const id = useId();
  return html`<section class="card ${more}" aria-labelledby=${title ? id : undefined}>
    ${(title || actions) &&
    html`<header>
      <h2 id=${id}>${title}</h2>
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>`}
    ${children}
  </section>`;
}

// What `useLoad` has loaded: children is a function of the data.
export function Loaded({ from, children }) {
  if (from.data !== undefined) {
    return html`${from.error && html`<${Failure} error=${from.error} retry=${from.reload} />`}${children(from.data)}`;
  }
  if (from.error) return html`<${Failure} error=${from.error} retry=${from.reload} />`;
  return html`<p class="loading" role="status"><span class="spinner"></span>Loading …</p>`;
}

// An error in the service's own words, with all that was wrong.
export function Failure({ error, retry }) {
  if (!error) return null;
  const errors = (error.errors ?? []).filter((one) => one.message);
  return html`<div class="failure" role="alert">
    <p><strong>${error.message}</strong></p>
    ${errors.length > 0 &&
    html`<ul>
      ${errors.map((one) => html`<li>${one.location && html`<code>${one.location}</code> `}${one.message}</li>`)}
    </ul>`}
    ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

export function Empty({ title, children }) {
  return html`<div class="empty"><p class="title">${title}</p>${children}</div>`;
}

const FormError = createContext(null);

// A form. `action` is one of `useAction`: its error is shown here, and at the fields that the service names. `more` are
// further buttons.
export function Form({ action, submit, onCancel, more, isDangerous, isReady = true, children }) {
  const send = (event) => {
    event.preventDefault();
    action.run();
  };
  return html`<form onSubmit=${send}>
    <${FormError.Provider} value=${action.error}>${children}<//>
    <${Failure} error=${action.error} />
    <div class="actions">
      <button class=${isDangerous ? "danger" : "primary"} disabled=${action.isRunning || !isReady}>
        ${action.isRunning && html`<span class="spinner"></span>`}${submit}
      </button>
      ${onCancel && html`<button type="button" onClick=${onCancel}>Cancel</button>`}
      ${more}
    </div>
  </form>`;
}

// A labelled input. `name` is the property of the body, at which the service's errors are shown. `options` are
// [value, label] pairs, or values. `lines` makes it a text area. `onValue` gets what was typed or chosen. With
// `isFirst` it has the focus when it appears.
export function Field({ label, name, hint, value, onValue, options, lines, isFirst, type = "text", ...rest }) {
  const id = useId();
  useEffect(() => {
    if (isFirst) document.getElementById(id)?.focus();
  }, []);
  const error = useContext(FormError)?.errors?.find((one) => name && one.location?.split(/[.[]/)[1] === name);
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
  const common = { id, name, "aria-describedby": described, "aria-invalid": error ? "true" : undefined, ...rest };
  const change = (event) => onValue(event.currentTarget.value);
  if (type === "checkbox") {
    return html`<div class="field check">
      <input type="checkbox" ...${common} checked=${value} onChange=${(event) => onValue(event.target.checked)} />
      <label for=${id}>${label}</label>${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
    </div>`;
  }
  let input;
  if (options) {
    const pairs = options.map((one) => (Array.isArray(one) ? one : [one, one]));
    input = html`<select ...${common} value=${value} onChange=${change}>
      ${pairs.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}
    </select>`;
  } else if (lines) {
    input = html`<textarea ...${common} rows=${lines} value=${value} onInput=${change}></textarea>`;
  } else {
    const plain = { autocomplete: "off", spellcheck: false };
    input = html`<input ...${plain} ...${common} type=${type} value=${value} onInput=${change} />`;
  }
  return html`<div class="field">
    <label for=${id}>${label}</label>${input}
    ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
    ${error && html`<p class="error" id="${id}-error">${error.message}</p>`}
  </div>`;
}

// A modal dialog: the browser keeps the focus inside, and gives it back at the end. Escape closes it.
export function Dialog({ title, onClose, children, class: more = "" }) {
  const dialog = useRef(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  const cancelled = (event) => {
    event.preventDefault();
    onClose?.();
  };
  return html`<dialog ref=${dialog} class=${more} aria-labelledby=${id} onCancel=${cancelled}>
    <header>
      <h2 id=${id}>${title}</h2>
      ${onClose && html`<button type="button" class="quiet" aria-label="Close" onClick=${onClose}>✕</button>`}
    </header>
    ${children}
  </dialog>`;
}

// A button that opens a dialog, whose content is children(close).
export function DialogButton({ label, title = label, kind = "", disabled, children }) {
  const [isOpen, setOpen] = useState(false);
  const close = () => setOpen(false);
  return html`<button type="button" class=${kind} disabled=${disabled} onClick=${() => setOpen(true)}>${label}</button>
    ${isOpen && html`<${Dialog} title=${title} onClose=${close}>${children(close)}<//>`}`;
}

// Asks before what cannot be undone. With `name`, that name must be typed.
export function Confirmation({ action, submit, name, onCancel, children }) {
  const [typed, setTyped] = useState("");
  const isReady = !name || typed === name;
  const label = html`Type <code>${name}</code> to confirm`;
  return html`<${Form} action=${action} submit=${submit} isDangerous onCancel=${onCancel} isReady=${isReady}>
    ${children}
    ${name && html`<${Field} label=${label} value=${typed} onValue=${setTyped} isFirst />`}
  <//>`;
}

// A button that asks in a dialog before `act({signal})`, which cannot be undone. With `name`, that must be typed.
export function ConfirmButton({ label, title = label, disabled, ...rest }) {
  return html`<${DialogButton} label=${label} title=${title} kind="danger" disabled=${disabled}>
    ${(close) => html`<${ConfirmedAction} ...${rest} onClose=${close} />`}
  <//>`;
}

function ConfirmedAction({ act, submit, name, onClose, children }) {
  const action = useAction(async (options) => {
    await act(options);
    onClose();
  });
  return html`<${Confirmation} action=${action} submit=${submit} name=${name} onCancel=${onClose}>${children}<//>`;
}

// A table that scrolls within itself on small screens. `columns` are {title, cell(row), class}; the first is the
// row's header.
export function Table({ caption, columns, rows, rowKey }) {
  return html`<div class="table" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <caption class="unseen">${caption}</caption>
      <thead>
        <tr>${columns.map((one) => html`<th scope="col" class=${one.class}>${one.title}</th>`)}</tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) => html`<tr key=${rowKey?.(row)}>
            ${columns.map((one, at) =>
              at === 0
                ? html`<th scope="row" class=${one.class}>${one.cell(row)}</th>`
                : html`<td class=${one.class}>${one.cell(row)}</td>`,
            )}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

// Pairs of a term and its value; those without a value are left out.
export function Facts({ pairs }) {
  const shown = pairs.filter(([, value]) => value !== undefined && value !== null && value !== "");
  return html`<dl class="facts">
    ${shown.map(([term, value]) => html`<div><dt>${term}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

// `kind`: good, warning, bad, or nothing.
export function Badge({ kind = "", children }) {
  return html`<span class="badge ${kind}">${children}</span>`;
}

// Progress from 0 to 1, or without an end when `value` is not known.
export function Progress({ value, label, onCancel }) {
  return html`<div class="progress">
    <progress max="1" value=${value} aria-label=${label}></progress><span role="status">${label}</span>
    ${onCancel && html`<button type="button" onClick=${onCancel}>Cancel</button>`}
  </div>`;
}

// Links between the parts of a page: [address, label] pairs; `current` is the address of the one that is shown.
export function Tabs({ label, links, current }) {
  return html`<nav class="tabs" aria-label=${label}>
    ${links.map(([to, text]) => html`<a href=${to} aria-current=${to === current ? "page" : undefined}>${text}</a>`)}
  </nav>`;
}

export function Code({ text, label = "Copy" }) {
  return html`<div class="code">
    <pre tabindex="0"><code>${text}</code></pre>
    <${CopyButton} text=${text} label=${label} />
  </div>`;
}

export function CopyButton({ text, label = "Copy" }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      notify("Copied.");
    } catch {
      notify("The browser did not allow it: select the text and copy it.");
    }
  };
  return html`<button type="button" class="copy" onClick=${copy}>${label}</button>`;
}

const escaped = (word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// A text in which the words of a query are marked, where they are whole words.
export function Marked({ text, words }) {
  const wanted = words.filter((word) => word.length > 1).map(escaped);
  if (!wanted.length) return text;
  const parts = text.split(new RegExp(`(?<![\\p{L}\\p{N}])(${wanted.join("|")})(?![\\p{L}\\p{N}])`, "giu"));
  return toChildArray(parts.map((part, at) => (at % 2 ? html`<mark>${part}</mark>` : part)));
}

// Links to the pages of a list, by `offset` in the address.
export function Pages({ offset, size, hasNext }) {
  if (!offset && !hasNext) return null;
  const to = (place) => () => setQuery({ offset: place || "" }, { replace: false });
  return html`<nav class="actions" aria-label="Pages of the list">
    <button type="button" disabled=${!offset} onClick=${to(Math.max(0, offset - size))}>Previous</button>
    <button type="button" disabled=${!hasNext} onClick=${to(offset + size)}>Next</button>
  </nav>`;
}

// A key that is shown this once.
export function Secret({ value, children }) {
  return html`<div class="warning-box" role="status">
    <p><strong>This key is shown only now.</strong> ${children}</p>
    <${Code} text=${value} label="Copy the key" />
  </div>`;
}

// A link to an instance or definition, whose owner is named when it is another than oneself.
export function Named({ kind, owner, handle }) {
  const shown = owner === session.value?.handle ? handle : `${owner}/${handle}`;
  return html`<a href=${link`/${kind}/${owner}/${handle}`}>${shown}</a>`;
}

// Metadata in a few words: names and values, without those of nested objects.
export function Pairs({ metadata }) {
  const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  return html`<span class="pairs">
    ${Object.entries(metadata ?? {}).map(
      ([name, value]) => html`<span key=${name}><span class="faint">${name}</span> ${shown(value)}</span>${" "}`,
    )}
  </span>`;
}

// How a project is searched. `index` is the interface's.
export function IndexBadge({ index }) {
  const recall = index.recall === undefined ? "" : `, finds ${percent(index.recall, 1)}`;
  if (index.state === "indexed") return html`<${Badge} kind="good">Indexed${recall}<//>`;
  if (index.state === "exact") return html`<${Badge}>Searched exactly<//>`;
  return html`<${Badge} kind="warning">Index ${percent(index.progress ?? 0)} built${recall}<//>`;
}

// A similarity from -1 to 1 as a number and a bar, which is empty below 0.
export function SimilarityBar({ value }) {
  return html`<span class="similarity">
    <span class="bar" aria-hidden="true"><span style=${{ width: `${Math.max(0, value) * 100}%` }}></span></span>
    <span class="number"><span class="unseen">Similarity </span>${value.toFixed(4)}</span>
  </span>`;
}
