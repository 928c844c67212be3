// The canvas of a map with its buttons, and what is shown at the pointer.
import { post } from "./api.js";
import { useLoad } from "./hooks.js";
import { ALL, Scatter } from "./scatter.js";
import { route, setQuery } from "./store.js";
import { useLayoutEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import { html } from "./ui.js";

const REST = 150; // milliseconds until the text at the pointer is fetched
const KEPT = 100; // of these texts, the latest

// `colours` are those of the groups of `colouring`, null for a hidden one. `onSelect` gets ids.
export function Plot({ ids, places, colouring, colours, layers, base, nameOf, label, onOpen, onSelect }) {
  const canvas = useRef(null);
  const line = useRef(null);
  const timer = useRef(0);
  const scatter = useRef(null);
  const texts = useMemo(() => new Map(), [places]); // those that were at the pointer, by id
  const [fault, setFault] = useState("");
  const [hovered, setHovered] = useState(null);
  const [isLasso, setLasso] = useState(false);
  const on = {
    moved: ({ x, y, zoom }) => {
      const view = [x, y, zoom].map((one) => Number(one.toPrecision(5))).join(",");
      clearTimeout(timer.current);
      timer.current = setTimeout(() => setQuery({ view: view === "0,0,1" ? "" : view }), 400);
    },
    hover: (index, x, y) => setHovered(index === null ? null : { index, x, y }),
    pick: (index) => onOpen(index === null ? "" : ids[index]),
    lasso: (indices) => onSelect(indices.map((one) => ids[one])),
    outline: (points) => line.current.setAttribute("points", points.join(" ")),
  };
  if (scatter.current) Object.assign(scatter.current, { on, isLasso });
  // At once, so that the canvas shows what the page says.
  useLayoutEffect(() => {
    try {
      scatter.current = new Scatter(canvas.current, on);
    } catch (error) {
      setFault(error.message);
      return undefined;
    }
    const [x, y, zoom] = (route.value.query.get("view") ?? "").split(",").map(Number);
    if (zoom > 0 && Number.isFinite(x + y + zoom)) scatter.current.setView({ x, y, zoom });
    return () => {
      clearTimeout(timer.current);
      scatter.current.destroy();
    };
  }, []);
  useLayoutEffect(() => {
    setHovered(null);
    scatter.current?.setPoints(places);
  }, [places]);
  useLayoutEffect(() => scatter.current?.setGroups(colouring.of, colours), [colouring, colours]);
  useLayoutEffect(() => {
    const pointed = hovered ? [{ indices: [hovered.index], ring: [0.5, 0.5, 0.5], more: 6 }] : [];
    scatter.current?.setLayers([...layers, ...pointed]);
  }, [layers, hovered]);
  const inView = () => {
    const { clientWidth: right, clientHeight: bottom } = canvas.current;
    on.lasso(scatter.current.within([[0, 0], [right, 0], [right, bottom], [0, bottom]]));
  };
  if (fault) return html`<p class="failure" role="alert">${fault} Search by a text instead.</p>`;
  return html`<div class="plot">
    <canvas ref=${canvas} class=${isLasso ? "lasso" : ""} tabindex="0" role="application" aria-describedby="plot-keys"
      aria-label=${label}></canvas>
    <svg aria-hidden="true"><polygon ref=${line} /></svg>
    <div class="plot-buttons" role="group" aria-label="Map">
      <button type="button" aria-label="Zoom in" onClick=${() => scatter.current.zoom(1.5)}>+</button>
      <button type="button" aria-label="Zoom out" onClick=${() => scatter.current.zoom(1 / 1.5)}>−</button>
      <button type="button" onClick=${() => scatter.current.setView(ALL)}>Fit</button>
      <button type="button" aria-pressed=${isLasso} onClick=${() => setLasso(!isLasso)}>Lasso</button>
      <button type="button" onClick=${inView}>Select all in view</button>
    </div>
    <p id="plot-keys" class="hint">Drag or arrow keys: move. Wheel, + and −: zoom, 0: all. Shift and drag: select.
      Enter: open the point in the middle. Escape: close it.</p>
    ${hovered && ids[hovered.index] !== undefined && html`<${Tip} ...${hovered} id=${ids[hovered.index]}
      group=${nameOf(hovered.index)} base=${base} texts=${texts} right=${canvas.current.clientWidth} />`}
  </div>`;
}

// It is only a help: an error of the request shows where the point is opened.
function Tip({ id, x, y, right, group, base, texts }) {
  const { data: text } = useLoad(async (signal) => {
    if (texts.has(id)) return texts.get(id);
    await new Promise((done) => setTimeout(done, REST));
    signal.throwIfAborted();
    const { embeddings } = await post(`${base.embeddings}/get`, { text_ids: [id], include: ["text"] }, { signal });
    texts.set(id, embeddings[0]?.text);
    if (texts.size > KEPT) texts.delete(texts.keys().next().value);
    return texts.get(id);
  }, [base.embeddings, id]);
  const side = x > right / 2 ? { right: `${right - x + 14}px` } : { left: `${x + 14}px` };
  return html`<div class="tip" style=${{ ...side, top: `${y + 8}px` }}>
    <strong>${id}</strong><span class="faint"> ${group}</span>
    ${text && html`<p>${text.length > 300 ? `${text.slice(0, 300)} …` : text}</p>`}
  </div>`;
}
