// Draws a chart from a plain description (what each field means is said in chart.py) as SVG: for notebooks and for
// exported pages alike. Everything is redrawn in one go, so nothing flickers; points that can be dragged stay.

const INK = "#222", GRID = "#e4e4e4", AXIS = "#666";
const LEFT = 60, RIGHT = 16, TOP = 28, BOTTOM = 48, ROW = 22, LINE = 15, READABLE = 11; // READABLE: pixels of the smallest type

function shape(parent, tag, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

const short = (value) => String(Number(Number(value).toPrecision(3)));

function ticks(low, high, log) {
  const out = [];
  if (log) {
    const few = Math.log10(high / low) < 3;
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high) + 1e-9; power++)
      for (const factor of few ? [1, 2, 5] : [1]) out.push(factor * 10 ** power);
  } else {
    const raw = (high - low) / 5, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) out.push(Number((i * step).toPrecision(12)));
  }
  return out.filter((value) => value >= low * (log ? 0.999 : 1) - 1e-12 && value <= high * (log ? 1.001 : 1) + 1e-12);
}

function scale(range, from, to, log) {
  const [low, high] = log ? range.map(Math.log10) : range;
  const place = (value) => from + (to - from) * ((log ? Math.log10(Math.max(value, 1e-300)) : value) - low) / (high - low);
  const undo = (pixel) => { const v = low + (high - low) * (pixel - from) / (to - from); return log ? 10 ** v : v; };
  return { place, undo };
}

const SYMBOLS = {
  o: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  s: (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  D: (r) => `M0,${-1.3 * r}L${1.1 * r},0L0,${1.3 * r}L${-1.1 * r},0z`,
  v: (r) => `M0,${1.2 * r}L${1.2 * r},${-r}H${-1.2 * r}z`,
  "^": (r) => `M0,${-1.2 * r}L${1.2 * r},${r}H${-1.2 * r}z`,
  X: (r) => `M${-r},${-r}L${r},${r}M${r},${-r}L${-r},${r}`,
  "*": (r) => `M0,${-1.3 * r}V${1.3 * r}M${-1.2 * r},${-0.7 * r}L${1.2 * r},${0.7 * r}M${1.2 * r},${-0.7 * r}L${-1.2 * r},${0.7 * r}`,
};

function symbol(parent, mark, x, y, r) {
  const open = mark.symbol === "X" || mark.symbol === "*";
  shape(parent, "path", {
    d: (SYMBOLS[mark.symbol] || SYMBOLS.o)(r), transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`,
    fill: open ? "none" : mark.color, stroke: open ? mark.color : "#fff", "stroke-width": open ? 2 : 0.8,
  });
}

const DRAW = {
  line(g, m, X, Y) {
    let d = "", before = null;
    m.x.forEach((x, i) => {
      const y = m.y[i];
      if (y === null || y === undefined) { before = null; return; }
      const px = X(x).toFixed(1), py = Y(y).toFixed(1);
      d += before === null ? `M${px},${py}` : m.step ? `H${px}V${py}` : `L${px},${py}`;
      before = py;
    });
    if (d) shape(g, "path", { d, fill: "none", stroke: m.color, "stroke-width": m.width || 2, "stroke-dasharray": m.dash, "stroke-linejoin": "round", opacity: m.opacity });
    const count = m.marks ?? 8, n = m.x.length;
    if (m.symbol && count) {
      const every = Math.max(1, Math.ceil(n / count));
      for (let i = (m.offset || 0) % every; i < n; i += every) if (m.y[i] !== null) symbol(g, m, X(m.x[i]), Y(m.y[i]), 4);
    }
  },
  band(g, m, X, Y) {
    const up = m.x.map((x, i) => `${X(x).toFixed(1)},${Y(m.high[i]).toFixed(1)}`);
    const down = m.x.map((x, i) => `${X(x).toFixed(1)},${Y(m.low[i]).toFixed(1)}`).reverse();
    shape(g, "polygon", { points: [...up, ...down].join(" "), fill: m.color, opacity: 0.18 });
  },
  bars(g, m, X, Y) {
    m.x.forEach((x, i) => {
      const left = X(x - m.width / 2), right = X(x + m.width / 2), top = Y(m.y[i]), base = Y(m.base || 0);
      shape(g, "rect", { x: left.toFixed(2), width: Math.max(0.5, right - left).toFixed(2), y: Math.min(top, base).toFixed(2), height: Math.abs(base - top).toFixed(2), fill: Array.isArray(m.color) ? m.color[i] : m.color });
    });
  },
  errors(g, m, X, Y) {
    m.x.forEach((x, i) => {
      const p = X(x).toFixed(1);
      shape(g, "path", { d: `M${p},${Y(m.low[i]).toFixed(1)}V${Y(m.high[i]).toFixed(1)}`, stroke: m.color, "stroke-width": 1.4 });
    });
  },
  point(g, m, X, Y) { symbol(g, m, X(m.x), Y(m.y), m.radius || 6.5); },
  level(g, m, X, Y, box) {
    const y = Y(m.y);
    shape(g, "path", { d: `M${box.left},${y}H${box.right}`, stroke: m.color || "#333", "stroke-width": 1.4, "stroke-dasharray": "4 3" });
  },
  cut(g, m, X, Y, box) {
    shape(g, "path", { d: `M${X(m.x)},${box.top}V${box.bottom}`, stroke: m.color, "stroke-width": m.width || 1.5 });
  },
  span(g, m, X, Y, box) {
    shape(g, "rect", { x: X(m.from), width: Math.max(0, X(m.to) - X(m.from)), y: box.top, height: box.bottom - box.top, fill: m.color || "#ececec" });
  },
};

function words(g, m, X, Y, box) { // beside a level or a cut, over everything that was drawn
  if (!m.label) return;
  const at = m.kind === "level"
    ? { x: m.right ? box.right - 6 : box.left + 6, y: Y(m.y) + (m.above ? -6 : 15), "text-anchor": m.right ? "end" : "start" }
    : { x: X(m.x) + (m.right ? -6 : 6), y: box.top + 14, "text-anchor": m.right ? "end" : "start" };
  shape(g, "text", { ...at, "font-size": 12, fill: INK, stroke: "#fff", "stroke-width": 3, "paint-order": "stroke" }, m.label);
}

// Words as one line, or, where that would be too small to read, as two.
function lines(words, room) {
  if (fits(words, room, READABLE) === READABLE) return [words];
  const far = (at) => Math.abs(at - words.length / 2), gaps = [...words.matchAll(/ /g)].map((gap) => gap.index);
  const [at] = gaps.sort((a, b) => far(a) - far(b));
  return at === undefined ? [words] : [words.slice(0, at), words.slice(at + 1)];
}

const fits = (words, room, size) => Math.min(size, room / (0.56 * (words.length || 1))); // small rather than cut

function place(panel, spec, head) {
  const [x, y, w, h] = panel.at, wide = spec.width, high = spec.height - head;
  const left = x * wide + (panel.left ?? LEFT), right = (x + w) * wide - RIGHT, room = right - left + 2 * RIGHT;
  const more = (words) => LINE * (lines(words || "", room).length - 1);
  return { left, right, room, top: head + y * high + TOP + more(panel.title), bottom: head + (y + h) * high - BOTTOM - more(panel.xlabel) };
}

function scales(panel, box) {
  return { X: scale(panel.x, box.left, box.right, panel.xlog), Y: scale(panel.y, box.bottom, box.top, panel.ylog) };
}

function axes(svg, panel, box, X, Y) {
  const text = (attributes, words) => shape(svg, "text", { fill: INK, "font-size": 12, ...attributes }, words);
  const ends = [-Infinity, -Infinity]; // words go into a second row, or are left out, before they would overlap
  let rows = 1;
  for (const [value, label] of panel.xticks || ticks(...panel.x, panel.xlog).map((v) => [v, short(v)])) {
    const x = X(value).toFixed(1), half = 3.4 * label.length;
    if (!panel.xticks) shape(svg, "path", { d: `M${x},${box.top}V${box.bottom}`, stroke: GRID });
    const row = ends.findIndex((end) => end < x - half);
    if (row < 0) continue;
    ends[row] = Number(x) + half;
    rows = Math.max(rows, row + 1);
    text({ x, y: box.bottom + 17 + 13 * row, "text-anchor": "middle" }, label);
  }
  for (const [value, label] of panel.yticks || ticks(...panel.y, panel.ylog).map((v) => [v, short(v)])) {
    const y = Y(value).toFixed(1);
    if (!panel.yticks) shape(svg, "path", { d: `M${box.left},${y}H${box.right}`, stroke: GRID });
    if (!panel.bare) text({ x: box.left - 7, y: Number(y) + 4, "text-anchor": "end" }, label);
  }
  shape(svg, "path", { d: `M${box.left},${box.top}V${box.bottom}H${box.right}`, stroke: AXIS, fill: "none" });
  const put = (told, room, size, x, y, more) => told.forEach((line, i) => text({ x, y: y + LINE * i, "text-anchor": "middle", "font-size": fits(line, room, size), ...more }, line));
  const across = (y, told, size, bold) => put(told, box.room, size, (box.left + box.right) / 2, y, { "font-weight": bold });
  across(box.bottom + (rows > 1 ? 45 : 37), lines(panel.xlabel || "", box.room), 13, null);
  const middle = (box.top + box.bottom) / 2, high = box.bottom - box.top + 2 * TOP, side = lines(panel.ylabel || "", high);
  const left = box.left - (side.length > 1 ? 50 : 46), turned = `rotate(-90 ${left} ${middle})`;
  put(side, high, 13, left, middle, { transform: turned });
  const title = lines(panel.title || "", box.room);
  across(box.top - 10 - LINE * (title.length - 1), title, 13.5, 600);
}

function grid(spec) { // of the legend: columns, the width of one, and its height with all rows
  const entries = spec.legend || [];
  if (!entries.length) return { columns: 0, size: 0, high: 0 };
  const size = Math.max(...entries.map((e) => e.name.length)) * 7 + 52;
  const columns = Math.max(1, Math.min(entries.length, Math.floor((spec.width - 20) / size)));
  return { columns, size, high: ROW * Math.ceil(entries.length / columns) + 4 };
}

function legend(svg, spec) { // returns its height
  const { columns, size, high } = grid(spec), left = (spec.width - columns * size) / 2;
  (spec.legend || []).forEach((entry, i) => {
    const x = left + (i % columns) * size, y = 15 + ROW * Math.floor(i / columns);
    shape(svg, "path", { d: `M${x},${y}h30`, stroke: entry.color, "stroke-width": entry.width || 2, "stroke-dasharray": entry.dash });
    if (entry.symbol) symbol(svg, entry, x + 15, y, 4);
    shape(svg, "text", { x: x + 37, y: y + 4, "font-size": 12.5, fill: INK }, entry.name);
  });
  return high;
}

// The chart for a page so many pixels wide: as it is, or, where its type would be too small, with its panels one below the
// other.
function fitted(spec, width) {
  if (!width || 12 * width >= READABLE * spec.width) return spec; // ticks are of 12 pixels
  const narrow = { ...spec, width: Math.max(300, Math.round(width)) }, count = spec.panels.length;
  const panels = spec.panels.map((panel, i) => ({ ...panel, at: [0, i / count, 1, 1 / count] }));
  return { ...narrow, panels, height: 300 * count + grid(narrow).high };
}

function draw(host, spec, moved = null) {
  if (!spec || !spec.panels) return;
  let svg = host.querySelector(":scope > svg");
  if (!svg) {
    svg = shape(host, "svg", { class: "retrainlab-chart" });
    shape(svg, "g"); shape(svg, "g");
  }
  const [drawing, handles] = svg.children, fresh = document.createElementNS(svg.namespaceURI, "g");
  svg.setAttribute("viewBox", `0 0 ${spec.width} ${spec.height}`);
  svg.setAttribute("role", spec.handles ? "group" : "img");
  svg.setAttribute("aria-label", spec.alt);
  svg.style.cssText = `display:block;width:100%;max-width:${spec.width}px;aspect-ratio:${spec.width}/${spec.height};background:#fff;border-radius:4px;font-family:system-ui,sans-serif`;
  const head = legend(fresh, spec);
  for (const panel of spec.panels) {
    const box = place(panel, spec, head), { X, Y } = scales(panel, box);
    for (const mark of panel.marks) if (mark.kind === "span") DRAW.span(fresh, mark, X.place, Y.place, box);
    axes(fresh, panel, box, X.place, Y.place);
    const inside = shape(fresh, "svg", { x: 0, y: box.top - 8, width: spec.width, height: box.bottom - box.top + 16, viewBox: `0 ${box.top - 8} ${spec.width} ${box.bottom - box.top + 16}` });
    for (const mark of panel.marks) if (mark.kind !== "span") DRAW[mark.kind](inside, mark, X.place, Y.place, box);
    for (const mark of panel.marks) words(fresh, mark, X.place, Y.place, box);
  }
  svg.replaceChild(fresh, drawing);
  grips(svg, handles, spec, head, moved);
}

function grips(svg, group, spec, head, moved) {
  const points = spec.handles?.points || [];
  svg.spec = spec;
  svg.moved = moved;
  if (!points.length) { group.replaceChildren(); return; }
  const panel = spec.panels[spec.handles.panel], { X, Y } = scales(panel, place(panel, spec, head));
  svg.undo = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [X.undo(at.x), Y.undo(at.y)];
  };
  if (group.children.length !== points.length) {
    group.replaceChildren();
    points.forEach((_, i) => grip(svg, group, i));
  }
  points.forEach(([x, y], i) => {
    const node = group.children[i];
    if (node.held) return; // what is being dragged follows the pointer, not the kernel
    node.setAttribute("cx", X.place(x));
    node.setAttribute("cy", Y.place(y));
    node.setAttribute("aria-valuenow", y);
    node.setAttribute("aria-valuemin", panel.y[0]);
    node.setAttribute("aria-valuemax", panel.y[1]);
    node.setAttribute("aria-valuetext", `${spec.handles.names[0]} ${short(x)}, ${spec.handles.names[1]} ${short(y)}`);
  });
}

function grip(svg, group, i) {
  const node = shape(group, "circle", { r: 9, fill: "#fff", stroke: "#b02a00", "stroke-width": 3, tabindex: 0, role: "slider", "aria-label": `Control point ${i + 1}`, "aria-orientation": "vertical" });
  node.style.cssText = "cursor:grab";
  node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false }); // else the page would scroll
  const tell = (x, y) => { node.told = [x, y, Date.now()]; if (svg.moved) svg.moved(i, x, y); };
  node.addEventListener("pointerdown", (event) => { node.setPointerCapture(event.pointerId); clearTimeout(node.timer); node.held = true; node.focus(); event.preventDefault(); });
  node.addEventListener("pointermove", (event) => {
    if (!node.held) return;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    node.setAttribute("cx", at.x); node.setAttribute("cy", at.y);
    tell(...svg.undo(event));
  });
  const drop = () => { // it stays where it was let go until the kernel has had time to answer
    if (!node.held) return;
    clearTimeout(node.timer); // letting go is told twice
    node.timer = setTimeout(() => { node.held = false; if (svg.isConnected) draw(svg.parentNode, svg.spec, svg.moved); }, 400);
  };
  node.addEventListener("pointerup", drop);
  node.addEventListener("lostpointercapture", drop);
  node.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] || [0, 0];
    if (!dx && !dy) return;
    event.preventDefault(); event.stopPropagation();
    const { handles, panels } = svg.spec, panel = panels[handles.panel], far = event.shiftKey ? 10 : 1;
    const [x, y] = node.told && Date.now() - node.told[2] < 500 ? node.told : handles.points[i]; // quick presses add up
    const within = (value, [low, high]) => Math.min(Math.max(value, low), high);
    tell(within(x + dx * far * (panel.x[1] - panel.x[0]) / 100, panel.x), within(y + dy * far * (panel.y[1] - panel.y[0]) / 100, panel.y));
  });
}

// Number boxes name themselves; the slider beside one takes that name, since ipywidgets gives it none. Lines of status
// become live regions.
function nameSliders(root) {
  for (const row of root.querySelectorAll(".retrainlab-number")) {
    const label = row.querySelector("label"), handle = row.querySelector(".noUi-handle");
    const name = label && label.textContent + ", slider";
    if (name && handle && handle.getAttribute("aria-label") !== name) handle.setAttribute("aria-label", name);
  }
  for (const line of root.querySelectorAll(".retrainlab-status .widget-html-content")) {
    if (line.getAttribute("role") !== "status") { line.setAttribute("role", "status"); line.setAttribute("aria-live", "polite"); }
  }
}

// A key on a control is for the control: JupyterLab takes an arrow on a list for "next cell", an x for "cut cell".
function keepKeys(event) { event.target.setAttribute("data-lm-suppress-shortcuts", "true"); }

function renderChart({ model, el }) {
  let waiting = null;
  const moved = (i, x, y) => {
    waiting = [i, x, y, Date.now()]; // the kernel gets the latest, at most 25 times a second
    if (moved.timer) return;
    const send = () => { moved.timer = null; if (waiting) { model.set("moved", waiting); model.save_changes(); waiting = null; moved.timer = setTimeout(send, 40); } };
    send();
  };
  const redraw = () => draw(el, model.get("spec"), moved);
  model.on("change:spec", redraw);
  redraw();
  let tries = 0;
  const watch = new MutationObserver(() => nameSliders(document));
  const timer = setInterval(() => {
    const root = el.closest(".retrainlab");
    if (root) { nameSliders(root); watch.observe(root, { childList: true, subtree: true }); root.addEventListener("focusin", keepKeys); }
    if (root || ++tries > 100) clearInterval(timer);
  }, 100);
  return () => { model.off("change:spec", redraw); clearInterval(timer); watch.disconnect(); };
}
