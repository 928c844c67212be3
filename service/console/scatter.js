// Draws points in the plane with WebGL 2, and knows which one is where. It draws only when something has changed. Where
// that is too slow for a smooth movement, it draws some of them, chosen at random, and all when the movement has ended.
import Flatbush from "./vendor/flatbush.js";

const REACH = 10; // pixels between the pointer and a point that it means
const MOST = 16; // groups
const FINE = 1e6; // paths are not exact for short lines
const ZOOMS = [0.5, 2000];
export const ALL = { x: 0, y: 0, zoom: 1 }; // the view of all points
const EVENTS = ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave", "wheel", "keydown"];
const SMOOTH = 19; // milliseconds until a frame
const SLOW = 50; // the same, on displays that are slow with few points, too
const LEAST = 5000; // points of a frame
const REST = 150; // milliseconds without a frame that end a movement
const KEYS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

const VERTEX = `#version 300 es
in vec2 place;
in float group;
uniform vec2 middle, scale;
uniform float size;
uniform vec4 colours[${MOST}];
out vec4 colour;
void main() {
  colour = colours[int(group)];
  gl_Position = colour.a == 0.0 ? vec4(2, 2, 2, 1) : vec4((place - middle) * scale, 0, 1);
  gl_PointSize = size;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 colour;
uniform float size, opacity;
uniform vec4 ring;
out vec4 drawn;
void main() {
  float far = length(gl_PointCoord - 0.5) * size;
  float edge = ring.a * clamp(far - size * 0.5 + 3.0, 0.0, 1.0);
  drawn = vec4(mix(colour.rgb, ring.rgb, edge), 1) * clamp(size * 0.5 - far, 0.0, 1.0) * max(opacity, edge);
}`;

// `on` is told: {hover(index or null, x, y), pick(index or null), lasso(indices), moved(view), outline(points)}. A view
// is {x, y, zoom}: the middle, in the square from -1 to 1 that all points are fitted into, and 1 for all of it.
export class Scatter {
  constructor(canvas, on) {
    this.canvas = canvas;
    this.on = on;
    this.gl = canvas.getContext("webgl2", { antialias: false });
    if (!this.gl) throw new Error("This browser cannot draw the map: it has no WebGL 2.");
    this.view = ALL;
    this.places = new Float32Array();
    this.groups = new Uint8Array();
    this.colours = new Float32Array(4 * MOST);
    this.layers = [];
    this.isLasso = false;
    this.hovered = null;
    this.pointers = new Map();
    this.drawn = 0;
    this.share = 1; // of the points, which the last frames of a movement had time for
    this.isMoving = false;
    this.stop = new AbortController();
    const listen = (name, act) => canvas.addEventListener(name, act, { signal: this.stop.signal, passive: false });
    for (const name of EVENTS) listen(name, (event) => this[name](event));
    listen("webglcontextlost", (event) => event.preventDefault());
    listen("webglcontextrestored", () => this.prepare());
    this.sizes = new ResizeObserver(() => this.fitCanvas());
    this.sizes.observe(canvas);
    this.prepare();
    this.fitCanvas();
  }

  destroy() {
    this.stop.abort();
    this.sizes.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.rest);
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }

  prepare() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [type, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    const isReady = gl.getProgramParameter(program, gl.LINK_STATUS) || gl.isContextLost();
    if (!isReady) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.at = (name) => gl.getUniformLocation(program, name);
    this.buffers = {};
    for (const name of ["place", "group", "order", "layer"]) this.buffers[name] = gl.createBuffer();
    for (const [name, size, type] of [["place", 2, gl.FLOAT], ["group", 1, gl.UNSIGNED_BYTE]]) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.enableVertexAttribArray(gl.getAttribLocation(program, name));
      gl.vertexAttribPointer(gl.getAttribLocation(program, name), size, type, false, 0, 0);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.setPoints(this.places);
    this.fill("group", this.groups);
  }

  fill(name, content) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[name]);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, content, this.gl.STATIC_DRAW);
    this.draw();
  }

  // `places` are x and y of each point, within the square.
  setPoints(places) {
    this.places = places;
    this.tree = null;
    this.hovered = null;
    this.smooth = SMOOTH;
    this.late = 0; // frames with few points, one after the other
    const order = Uint32Array.from({ length: places.length / 2 }, (_, at) => at);
    let chance = 1; // always the same: where points overlap, their order shows
    for (let at = order.length - 1; at > 0; at--) {
      chance = (chance * 48271) % 2147483647; // Park and Miller's generator
      const other = chance % (at + 1);
      [order[at], order[other]] = [order[other], order[at]];
    }
    this.gl.bindBuffer(this.gl.ELEMENT_ARRAY_BUFFER, this.buffers.order);
    this.gl.bufferData(this.gl.ELEMENT_ARRAY_BUFFER, order, this.gl.STATIC_DRAW);
    this.fill("place", places);
  }

  // The group of each point, and each group's colour as [red, green, blue], or null to hide it.
  setGroups(groups, colours) {
    this.colours.fill(0);
    colours.forEach((one, at) => one && this.colours.set([...one, 1], 4 * at));
    if (groups !== this.groups) this.fill("group", (this.groups = groups));
    this.draw();
  }

  // Points that are drawn again on top, larger and with a ring: [{indices, ring: [red, green, blue], more: pixels}].
  setLayers(layers) {
    const shown = layers.filter((one) => one.indices.length);
    this.layers = shown.map((one) => ({ ...one, indices: Uint32Array.from(one.indices) }));
    this.draw();
  }

  setView(view) {
    this.view = { ...view, zoom: Math.min(ZOOMS[1], Math.max(ZOOMS[0], view.zoom)) };
    this.isMoving = true;
    this.draw();
    this.on.moved(this.view);
  }

  fitCanvas() {
    const ratio = Math.min(2, devicePixelRatio);
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    this.draw();
  }

  // CSS pixels for a unit of the square.
  get unit() {
    return 0.47 * Math.min(this.canvas.clientWidth, this.canvas.clientHeight) * this.view.zoom;
  }

  // Where a place on the canvas is in the square.
  placeAt(x, y) {
    const { clientWidth, clientHeight } = this.canvas;
    return [this.view.x + (x - clientWidth / 2) / this.unit, this.view.y - (y - clientHeight / 2) / this.unit];
  }

  // Fewer points, and those seen from nearby, are larger.
  get pointSize() {
    const usual = 2.2 * Math.sqrt((this.canvas.clientWidth * this.canvas.clientHeight) / (this.groups.length + 1) / 8);
    return Math.min(14, Math.max(2.5, usual) * Math.max(1, this.view.zoom) ** 0.35);
  }

  draw() {
    const asked = performance.now();
    this.frame ??= requestAnimationFrame(() => this.drawNow(performance.now() - asked));
  }

  // The number of points of a movement's frame that came `late` milliseconds after it was asked for.
  pointsFor(late) {
    const least = Math.min(1, LEAST / this.groups.length);
    this.late = this.share === least && late > SMOOTH ? this.late + 1 : 0;
    if (this.late > 60) this.smooth = SLOW; // fewer points have not helped
    this.share = Math.min(1, Math.max(least, this.share * Math.min(1.05, Math.max(0.5, this.smooth / late))));
    const points = Math.ceil(this.share * this.groups.length);
    if (points < this.groups.length) this.rest = setTimeout(() => this.draw(), REST);
    return points;
  }

  drawNow(late) {
    this.frame = null;
    const { gl, canvas, view } = this;
    const ratio = canvas.width / Math.max(1, canvas.clientWidth);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.groups.length || 2 * this.groups.length !== this.places.length) return;
    gl.uniform2f(this.at("middle"), view.x, view.y);
    gl.uniform2f(this.at("scale"), (2 * this.unit) / canvas.clientWidth, (2 * this.unit) / canvas.clientHeight);
    gl.uniform4fv(this.at("colours"), this.colours);
    const pass = (size, opacity, ring) => {
      gl.uniform1f(this.at("size"), size * ratio);
      gl.uniform1f(this.at("opacity"), opacity);
      gl.uniform4fv(this.at("ring"), ring);
    };
    const dense = this.groups.length > 20_000 ? 0.6 : 0.8;
    pass(this.pointSize, this.layers.some((one) => one.indices.length > 1) ? 0.4 * dense : dense, [0, 0, 0, 0]);
    clearTimeout(this.rest);
    const points = this.isMoving ? this.pointsFor(late) : this.groups.length;
    this.isMoving = false;
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.order);
    gl.drawElements(gl.POINTS, points, gl.UNSIGNED_INT, 0);
    for (const { indices, ring, more } of this.layers) {
      pass(this.pointSize + more, 1, [...ring, 1]);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, this.buffers.layer);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, indices, gl.STREAM_DRAW);
      gl.drawElements(gl.POINTS, indices.length, gl.UNSIGNED_INT, 0);
    }
    canvas.dataset.drawn = ++this.drawn;
    canvas.dataset.points = points;
  }

  isShown(index) {
    return this.colours[4 * this.groups[index] + 3] > 0;
  }

  // The shown point that is nearest to a place on the canvas, or null.
  nearest(x, y, reach = REACH) {
    if (!this.groups.length) return null;
    if (!this.tree) {
      this.tree = new Flatbush(this.places.length / 2, 16, Float32Array);
      for (let at = 0; at < this.places.length; at += 2) this.tree.add(this.places[at], this.places[at + 1]);
      this.tree.finish();
    }
    const [found] = this.tree.neighbors(...this.placeAt(x, y), 1, reach / this.unit, (index) => this.isShown(index));
    return found ?? null;
  }

  // The shown points within an outline of [x, y] pairs on the canvas.
  within(outline) {
    const shape = new Path2D();
    for (const corner of outline) shape.lineTo(...this.placeAt(...corner).map((one) => one * FINE));
    const paper = new OffscreenCanvas(1, 1).getContext("2d");
    const isInside = (at) => paper.isPointInPath(shape, this.places[2 * at] * FINE, this.places[2 * at + 1] * FINE);
    return [...this.groups.keys()].filter((index) => this.isShown(index) && isInside(index));
  }

  pan(x, y) {
    this.setView({ ...this.view, x: this.view.x - x / this.unit, y: this.view.y + y / this.unit });
  }

  // What is at a place on the canvas stays there.
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const [left, top] = this.placeAt(x, y);
    this.setView({ ...this.view, zoom: this.view.zoom * factor });
    const [newLeft, newTop] = this.placeAt(x, y);
    this.setView({ ...this.view, x: this.view.x + left - newLeft, y: this.view.y + top - newTop });
  }

  hover(index, x, y) {
    if (index === this.hovered) return;
    this.hovered = index;
    this.on.hover(index, x, y);
  }

  pointerdown(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.start = [event.offsetX, event.offsetY];
    this.outline = this.isLasso || event.shiftKey ? [this.start] : null;
    this.hover(null);
  }

  pointermove(event) {
    const [x, y] = [event.offsetX, event.offsetY];
    const before = this.pointers.get(event.pointerId);
    if (!before) return this.hover(this.nearest(x, y), x, y);
    this.pointers.set(event.pointerId, [x, y]);
    if (this.outline) return this.on.outline(this.outline.push([x, y]) && this.outline);
    if (this.pointers.size === 1) return this.pan(x - before[0], y - before[1]);
    const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const length = ([a, b]) => Math.hypot(a - other[0], b - other[1]) || 1;
    this.start = null; // a pinch is no click
    return this.zoom(length([x, y]) / length(before), (x + other[0]) / 2, (y + other[1]) / 2);
  }

  pointerup(event) {
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    const [x, y] = [event.offsetX, event.offsetY];
    const { outline, start } = this;
    this.outline = null;
    this.on.outline([]);
    if (outline?.length > 2) this.on.lasso(this.within(outline));
    else if (!outline && start && Math.hypot(x - start[0], y - start[1]) < 5) this.on.pick(this.nearest(x, y));
  }

  pointercancel(event) {
    this.outline = this.start = null;
    this.pointerup(event);
  }

  pointerleave() {
    this.hover(null);
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode ? 30 : 1;
    this.zoom(2 ** (-0.004 * lines * event.deltaY), event.offsetX, event.offsetY);
  }

  keydown(event) {
    const { clientWidth, clientHeight } = this.canvas;
    const middle = [clientWidth / 2, clientHeight / 2];
    if (KEYS[event.key]) this.pan(...KEYS[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key === "0") this.setView(ALL);
    else if (event.key === "Enter") this.on.pick(this.nearest(...middle, Infinity));
    else if (event.key === "Escape") this.on.pick(null);
    else return;
    event.preventDefault();
  }
}
