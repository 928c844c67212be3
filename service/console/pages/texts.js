// A stub of this part of a project.
import { Empty, html } from "../ui.js";

export default function Stub() {
  return html`<${Empty} title="This part is being made." />`;
}
