// Guesses before the answer is shown: a ranking by keys, mouse, touch or buttons; a group's guesses stay in the browser.

// What a guess was worth. order: names, the best first. came: accuracies (shares) by name; without one a name has diverged
// and came last. tau: Kendall's tau-b, null if all came out equal; exact: how many stand at a place that they had, those that
// came out equal having several; gap: points from first to last of what did not diverge.
function scored(order, came) {
  const value = (name) => came[name] ?? -Infinity, values = order.map(value);
  let right = 0, wrong = 0;
  values.forEach((a, i) => values.slice(i + 1).forEach((b) => { if (a > b) right++; else if (a < b) wrong++; }));
  const pairs = values.length * (values.length - 1) / 2, told = right + wrong;
  const exact = values.filter((own, i) => {
    const better = values.filter((other) => other > own).length, same = values.filter((other) => other === own).length;
    return better <= i && i < better + same;
  }).length;
  const ended = values.filter(Number.isFinite);
  const gap = ended.length ? 100 * (Math.max(...ended) - Math.min(...ended)) : 0;
  return { tau: told ? (right - wrong) / Math.sqrt(told * pairs) : null, exact, gap };
}

// Guesses by what was asked, in the browser's storage; in memory where that is closed or holds something else.
function guessesKept(name) {
  const whole = (g) => typeof g?.name === "string" && Array.isArray(g.order) && Number.isFinite(g.gap);
  let all = {};
  const read = () => {
    try {
      const found = Object.entries(JSON.parse(localStorage.getItem(name)) ?? {});
      all = Object.fromEntries(found.map(([asked, guesses]) => [asked, guesses.filter(whole)]));
    } catch { /* what is in memory stays */ }
  };
  const write = () => {
    try { localStorage.setItem(name, JSON.stringify(all)); return true; } catch { return false; }
  };
  read();
  return {
    of: (asked) => all[asked] ?? [],
    asked: () => Object.keys(all),
    put(asked, guess) { // replaces one of the same name
      read();
      all[asked] = [...(all[asked] ?? []).filter((one) => one.name !== guess.name), guess];
      return write();
    },
    clear() { all = {}; return write(); },
  };
}

// One item for each name, the best first; `order` tells how they stand.
function rankingList(list, names, long, told) {
  const order = () => [...list.children].map((item) => item.dataset.name);
  const say = (item) => told(`${item.dataset.name} is at place ${1 + [...list.children].indexOf(item)} of ${list.children.length}.`);
  const step = (item, by) => { // its neighbour moves, so that it keeps focus and pointer
    const other = by < 0 ? item.previousElementSibling : item.nextElementSibling;
    if (other && by < 0) item.after(other);
    else if (other) item.before(other);
    return Boolean(other);
  };
  const drag = (item, y) => {
    const middle = (one) => { const at = one.getBoundingClientRect(); return at.top + at.height / 2; };
    while (item.previousElementSibling && y < middle(item.previousElementSibling)) step(item, -1);
    while (item.nextElementSibling && y > middle(item.nextElementSibling)) step(item, 1);
  };
  list.replaceChildren();
  for (const name of names) {
    const item = element(list, "li", { "data-name": name });
    const grip = element(item, "button", { type: "button", class: "grip", "aria-describedby": "guess-how" }, name);
    if (long[name]) element(grip, "span", {}, ` ${long[name]}`);
    grip.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      step(item, by);
      say(item);
    });
    grip.addEventListener("pointerdown", (event) => { grip.setPointerCapture(event.pointerId); item.classList.add("held"); });
    grip.addEventListener("pointermove", (event) => { if (item.classList.contains("held")) drag(item, event.clientY); });
    grip.addEventListener("lostpointercapture", () => { item.classList.remove("held"); say(item); });
    for (const [words, sign, by] of [["up", "↑", -1], ["down", "↓", 1]]) {
      const button = element(item, "button", { type: "button", "aria-label": `Move ${name} ${words}` }, sign);
      button.addEventListener("click", () => { step(item, by); say(item); });
    }
  }
  return order;
}

function extend(host, page, _show) {
  const kept = guessesKept(`retrainlab guesses: ${page.name}`), seen = new Map(); // asked -> what came, once it was shown
  element(host, "h2", {}, "Your guess");
  element(host, "p", { id: "guess-how" }, "The best first: drag a schedule, or press the arrow keys on it, or its buttons.");
  const list = element(host, "ol", { class: "ranking" });
  const form = element(host, "form", { class: "row" });
  const field = (id, words, attributes) => {
    element(form, "label", { for: id }, words);
    return element(form, "input", { id, ...attributes });
  };
  const name = field("guess-name", "Name", { maxlength: 40, autocomplete: "off" });
  const gap = field("guess-gap", "Points from first to last", { type: "number", min: 0, max: 100, step: "any", value: 5 });
  element(form, "button", { type: "submit" }, "Keep the guess");
  const said = element(host, "p", { role: "status" }), table = element(host, "div"), bar = element(host, "div", { class: "row" });
  let asked = "", came = {}, names = "", order = () => [];

  const begin = () => { order = rankingList(list, Object.keys(came), page.data.long, (text) => { said.textContent = text; }); };
  const rows = (question, known) => kept.of(question).map((g) => {
    const score = known && g.order.every((one) => one in known) ? scored(g.order, known) : null;
    return { ...g, score, off: score ? Math.abs(g.gap - score.gap) : 0, sort: score?.tau ?? 0 };
  });
  const tau = (score) => score.tau === null ? page.data.equal : `${score.tau < 0 ? "" : "+"}${score.tau.toFixed(2)}`;
  const tell = () => {
    const made = rows(asked, seen.get(asked)).sort((a, b) => b.sort - a.sort || a.off - b.off);
    const shown = made.map(({ name, order, gap, score, off }) => [name, order.join(" > "), score ? tau(score) : "",
      score ? `${score.exact} of ${order.length}` : "", String(gap), score ? off.toFixed(1) : ""]);
    fillTable(table, made.length ? [`Guesses (${asked})`, page.data.heads, shown] : null);
  };
  const csv = () => {
    const heads = ["asked", ...page.data.columns];
    const lines = kept.asked().flatMap((question) => rows(question, seen.get(question)).map((g) => [question, g.name,
      g.order.join(" > "), g.score?.tau ?? "", g.score?.exact ?? "", g.gap, g.score ? g.off : ""]));
    return [heads, ...lines].map((line) => line.map(cell).join(",")).join("\n") + "\n";
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const who = name.value.trim(), far = gap.valueAsNumber;
    if (seen.has(asked)) said.textContent = "This answer has been shown already; choose another question above.";
    else if (!who) said.textContent = "The guess has no name; type one, so that the table can tell whose it is.";
    else if (!(far >= 0 && far <= 100)) said.textContent = "The points from first to last must be a number from 0 to 100.";
    else {
      const lasts = kept.put(asked, { name: who, order: order(), gap: far });
      said.textContent = `Kept: ${who} says ${order().join(" > ")}.${lasts ? "" : " This browser keeps it only until the page is closed."}`;
      name.value = "";
      begin(); // the next one starts from the same list
      tell();
    }
  });
  element(bar, "button", { type: "button" }, "Download the guesses").addEventListener("click", () => {
    said.textContent = kept.asked().length ? `${page.name}_guesses.csv is saved.` : "There are no guesses yet.";
    if (kept.asked().length) download(`${page.name}_guesses.csv`, csv());
  });
  element(bar, "button", { type: "button" }, "Remove all guesses").addEventListener("click", () => {
    if (!confirm("Remove the guesses about all questions of this page?")) return;
    kept.clear();
    said.textContent = "All guesses are removed.";
    tell();
  });
  return {
    view(stored, words) {
      const now = page.controls.map((control, i) => `${control.label}: ${words[i]}`).join("; ");
      if (now !== asked) said.textContent = "";
      asked = now;
      came = stored.data.came;
      if (names !== (names = Object.keys(came).join())) begin();
      tell();
      return stored;
    },
    revealed(open) {
      if (open) { seen.set(asked, came); tell(); }
    },
  };
}
