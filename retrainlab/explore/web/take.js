// Two buttons: the numbers on screen as a CSV file, and the view as Python on the clipboard.

// A cell of a CSV. A text that a spreadsheet would compute has an apostrophe before it, as in tables.py; numbers stay.
function cell(value) {
  const formula = /^[=+\-@\t\r\n＝＋－＠]/.test(value) && Number.isNaN(Number(value));
  const text = formula ? `'${value}` : String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch { // a page without permission: select the text that is shown, so that Ctrl-C takes it
    return false;
  }
}

// Returns what is to be called when the view changes: the code that is shown is then that of the new one.
function takeButtons(host, get, style = "") {
  const bar = document.createElement("div");
  bar.style.cssText = "display:flex;flex-wrap:wrap;gap:6px;align-items:center";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  const code = document.createElement("pre");
  code.tabIndex = 0;
  code.setAttribute("aria-label", "The view as Python");
  code.style.cssText = "white-space:pre-wrap;user-select:all;margin:4px 0;padding:6px 8px;font-size:12px;background:#f6f6f6;color:#222;border-radius:4px";
  code.hidden = true;
  const button = (words, act) => {
    const node = document.createElement("button");
    node.type = "button";
    node.textContent = words;
    node.className = style;
    node.addEventListener("click", act);
    bar.append(node);
  };
  button("Download CSV", () => {
    const { name, csv } = get();
    if (csv) download(`${name}.csv`, csv);
    said.textContent = csv ? `${name}.csv is saved.` : "There are no numbers on screen yet.";
  });
  button("Copy as Python", async () => {
    code.textContent = get().code;
    code.hidden = false;
    said.textContent = (await copy(code.textContent)) ? "Copied; it is shown below." : "Select the code below and copy it.";
  });
  bar.append(said);
  host.append(bar, code);
  return () => {
    said.textContent = "";
    if (!code.hidden) code.textContent = get().code;
  };
}

function renderTake({ model, el }) {
  const changed = takeButtons(el, () => ({ name: model.get("name"), csv: model.get("csv"), code: model.get("code") }), "jupyter-widgets jupyter-button widget-button");
  model.on("change:code", changed);
}
