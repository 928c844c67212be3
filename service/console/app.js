// The frame around all pages: who has signed in, the navigation, and which page an address shows.
import { useLoad } from "./hooks.js";
import { enter, SignIn } from "./pages/sign_in.js";
import {
  forgetKey, isAdmin, isAway, isDark, link, notices, returns, route, session, signInReason, signOut, storedKey, theme,
} from "./store.js";
import { useEffect, useErrorBoundary, useState } from "./vendor/hooks.js";
import { render } from "./vendor/preact.js";
import { Dialog, Empty, Failure, html, Loaded, Page } from "./ui.js";

// The first part of the address, the module of its page, for whom it is, and its title in the navigation.
const PAGES = {
  "": { load: () => import("./pages/home.js"), needs: "key", title: "Projects" },
  projects: { load: () => import("./pages/project.js"), needs: "" }, // a public project is for everybody
  instances: { load: () => import("./pages/instances.js"), needs: "key", title: "Instances" },
  definitions: { load: () => import("./pages/definitions.js"), needs: "key", title: "Definitions" },
  users: { load: () => import("./pages/users.js"), needs: "admin", title: "Users" },
  service: { load: () => import("./pages/service.js"), needs: "admin", title: "Service" },
  account: { load: () => import("./pages/account.js"), needs: "key" },
};

function App() {
  const [isStarted, setStarted] = useState(!storedKey());
  const [fault, setFault] = useState(null); // why the service does not say whose the stored key is
  const who = session.value;
  const useKey = () => {
    const key = storedKey();
    if (!key || who) return;
    setFault(null);
    enter(key).catch((error) => (error.status === 401 ? forgetKey() : setFault(error))).finally(() => setStarted(true));
  };
  useEffect(useKey, [returns.value]); // a service that was away is asked again
  const place = route.value.parts.slice(0, 3).join("/"); // the parts of a project share its frame
  return html`<a class="skip" href="#main" onClick=${toMain}>Skip to the content</a>
    <${Header} />
    ${isAway.value && html`<p class="away" role="alert">The service cannot be reached. Trying again …</p>`}
    <main id="main" tabindex="-1">
      ${!who && fault?.status > 0 && html`<${Failure} error=${fault} retry=${useKey} />`}
      ${isStarted && html`<${Boundary} key=${place}><${Current} key=${who?.handle ?? who?.role ?? ""} /><//>`}
    </main>
    <div class="notices" role="status">${notices.value.map((one) => html`<p key=${one}>${one.text}</p>`)}</div>
    ${signInReason.value && html`<${Dialog} title="Sign in" onClose=${() => (signInReason.value = null)}>
      <p>${signInReason.value}</p><${SignIn} />
    <//>`}`;
}

function toMain(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function Header() {
  const here = route.value.parts[0] ?? "";
  const section = here === "projects" ? "" : here;
  const links = Object.entries(PAGES).filter(([, { title, needs }]) => title && (needs !== "admin" || isAdmin.value));
  const who = session.value;
  const dark = isDark.value;
  return html`<header class="top">
    <a class="brand" href=${link`/`}><img src="icon.svg" alt="" width="28" height="28" />Embedding service</a>
    ${who && html`<nav aria-label="Console">${links.map(([part, { title }]) =>
      html`<a href="#/${part}" aria-current=${part === section ? "page" : undefined}>${title}</a>`)}</nav>`}
    <div class="who">
      <button type="button" class="quiet" aria-pressed=${dark} onClick=${() => (theme.value = dark ? "light" : "dark")}>
        ${dark ? "☾" : "☀"}<span class="unseen"> Dark colours</span>
      </button>
      ${who && html`<a href=${link`/account`}>${who.handle ?? "admin"}</a>
        <button type="button" onClick=${signOut}>Sign out</button>`}
      ${!who && here && html`<a class="button" href=${link`/`}>Sign in</a>`}
    </div>
  </header>`;
}

// An error of the console itself is shown in place of the page.
function Boundary({ children }) {
  const [error, reset] = useErrorBoundary();
  return error ? html`<${Failure} error=${error} retry=${reset} />` : children;
}

function Current() {
  const name = route.value.parts[0] ?? "";
  const page = PAGES[name];
  const from = useLoad(async () => page?.load(), [name]);
  const refused = (title, why) =>
    html`<${Page} title=${title}><${Empty} title=${why}><a href=${link`/`}>To the projects</a><//><//>`;
  if (!page) return refused("Not found", "There is no such page.");
  if (page.needs && !session.value) return html`<${Page} title="Sign in"><${SignIn} /><//>`;
  if (page.needs === "admin" && !isAdmin.value) return refused("Not allowed", "This page is for the admin.");
  return html`<${Loaded} from=${from}>${({ default: Show }) => html`<${Show} />`}<//>`;
}

document.getElementById("app").replaceChildren();
render(html`<${App} />`, document.getElementById("app"));
