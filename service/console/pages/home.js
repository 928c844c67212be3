// The first page: projects.
import { html, Page } from "../ui.js";

export default function Home() {
  return html`<${Page} title="Projects"><//>`;
}
