// An exported page: controls choose one of the views that are in the file. A page with a script of its own has `extend`
// (guess.js, drawing.js): (where it shows, the page, what shows all anew) -> { view, revealed }; `view` makes of a stored view
// and the words of the controls the one that is shown, and `revealed` hears whether an answer is.

function element(parent, tag, attributes = {}, text = null) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

function fillTable(host, told) {
  host.replaceChildren();
  if (!told) return;
  const [caption, heads, rows] = told, box = element(host, "div", { class: "wide" });
  const table = element(box, "table");
  element(table, "caption", {}, caption);
  const head = element(element(table, "thead"), "tr"), body = element(table, "tbody");
  heads.forEach((text) => element(head, "th", { scope: "col" }, text));
  for (const row of rows) { const line = element(body, "tr"); row.forEach((text, i) => element(line, "td", { "data-label": heads[i] }, text)); }
  if (rows.some((row) => row.some((text) => text.length > 30))) table.className = "wordy";
  scrolls(box);
}

function scrolls(box) { // a table that is wider than the page scrolls, with the keyboard too
  const wide = box.scrollWidth > box.clientWidth, name = box.querySelector("caption").textContent;
  for (const [attribute, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", name]]) {
    if (wide) box.setAttribute(attribute, value);
    else box.removeAttribute(attribute);
  }
}

const page = JSON.parse(document.getElementById("data").textContent);
const places = page.controls.map((control) => control.start);
const view = document.getElementById("view");
const answer = page.hidden ? element(view, "button", { type: "button", "aria-expanded": "false" }, "Show the answer") : null;
const shown = element(view, "div");
const charts = element(shown, "div"), sentence = element(shown, "p", { role: "status", class: "words" }), tables = element(shown, "div");
const extension = typeof extend === "function" ? extend(document.getElementById("more"), page, show) : null;
let current = null;
const changed = takeButtons(shown, () => ({ name: page.name, csv: current.csv, code: current.code }));

function control(one, i) {
  const box = element(document.getElementById("controls"), "div"), id = `control-${i}`;
  element(box, "label", { for: id }, one.label);
  if (one.choice) {
    const list = element(box, "select", { id });
    one.words.forEach((text, at) => element(list, "option", { value: at }, text));
    list.value = one.start;
    list.addEventListener("input", () => { places[i] = Number(list.value); show(); reveal(false); });
    return;
  }
  const slider = element(box, "input", { type: "range", id, min: 0, max: one.words.length - 1, step: 1, value: one.start });
  const output = element(box, "output", { for: id });
  const told = () => { output.textContent = one.words[slider.value]; slider.setAttribute("aria-valuetext", one.words[slider.value]); };
  slider.addEventListener("input", () => { places[i] = Number(slider.value); told(); show(); reveal(false); });
  told();
}

function show() {
  const stored = page.views[places.join(",")];
  current = extension ? extension.view(stored, page.controls.map((one, i) => one.words[places[i]])) : stored;
  while (charts.children.length > current.charts.length) charts.lastChild.remove();
  while (charts.children.length < current.charts.length) element(charts, "div", { class: "chart" });
  drawAll();
  sentence.textContent = current.words;
  fillTable(tables, current.table);
  changed();
}

function drawAll() {
  current.charts.forEach((spec, i) => draw(charts.children[i], fitted(spec, charts.clientWidth), current.moved));
}

function fit() { // what is hidden has no width
  drawAll();
  document.querySelectorAll(".wide").forEach(scrolls);
}

function reveal(open) {
  if (!answer) return;
  shown.hidden = !open;
  answer.textContent = open ? "Hide the answer" : "Show the answer";
  answer.setAttribute("aria-expanded", String(open));
  extension?.revealed?.(open);
  if (open) fit();
}

page.controls.forEach(control);
if (answer) answer.addEventListener("click", () => reveal(shown.hidden));
show();
reveal(false);
addEventListener("resize", fit);
