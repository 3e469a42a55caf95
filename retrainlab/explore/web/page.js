// An exported page: controls choose one of the views that are in the file.

function element(parent, tag, attributes = {}, text = null) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

const page = JSON.parse(document.getElementById("data").textContent);
const places = page.controls.map((control) => control.start);
const view = document.getElementById("view");
const answer = page.hidden ? element(view, "button", { type: "button", "aria-expanded": "false" }, "Show the answer") : null;
const shown = element(view, "div");
const charts = element(shown, "div"), sentence = element(shown, "p", { role: "status", class: "words" }), tables = element(shown, "div", { class: "tables" });
let current = null;

function control(one, i) {
  const box = element(document.getElementById("controls"), "div"), id = `control-${i}`;
  element(box, "label", { for: id }, one.label);
  if (one.choice) {
    const list = element(box, "select", { id });
    one.words.forEach((text, at) => element(list, "option", { value: at }, text));
    list.value = one.start;
    list.addEventListener("input", () => { places[i] = Number(list.value); show(); });
    return;
  }
  const slider = element(box, "input", { type: "range", id, min: 0, max: one.words.length - 1, step: 1, value: one.start });
  const output = element(box, "output", { for: id });
  const told = () => { output.textContent = one.words[slider.value]; slider.setAttribute("aria-valuetext", one.words[slider.value]); };
  slider.addEventListener("input", () => { places[i] = Number(slider.value); told(); show(); });
  told();
}

function show() {
  current = page.views[places.join(",")];
  while (charts.children.length > current.charts.length) charts.lastChild.remove();
  while (charts.children.length < current.charts.length) element(charts, "div", { class: "chart" });
  current.charts.forEach((spec, i) => draw(charts.children[i], spec));
  sentence.textContent = current.words;
  tables.replaceChildren();
  if (current.table) {
    const [caption, heads, rows] = current.table, table = element(tables, "table");
    element(table, "caption", {}, caption);
    const head = element(element(table, "thead"), "tr"), body = element(table, "tbody");
    heads.forEach((text) => element(head, "th", { scope: "col" }, text));
    for (const row of rows) { const line = element(body, "tr"); row.forEach((text) => element(line, "td", {}, text)); }
  }
  if (answer) reveal(false);
  scrolls();
}

// a table that is wider than the page scrolls, with the keyboard too
function scrolls() {
  const wide = tables.scrollWidth > tables.clientWidth;
  for (const [name, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", "Table"]]) {
    if (wide) tables.setAttribute(name, value);
    else tables.removeAttribute(name);
  }
}

function reveal(open) {
  shown.hidden = !open;
  answer.textContent = open ? "Hide the answer" : "Show the answer";
  answer.setAttribute("aria-expanded", String(open));
  scrolls();
}

page.controls.forEach(control);
if (answer) answer.addEventListener("click", () => reveal(shown.hidden));
takeButtons(shown, () => ({ name: page.name, csv: current.csv, code: current.code }));
addEventListener("resize", scrolls);
show();
