// A schedule drawn by its control points, and the stored curves nearest to it. `rules` are the kit's, in points.py: `gap` (of
// the run, between neighbours), `top` (the largest learning rate), `fewest` and `most` points.

// Learning rates at 0, 1, ..., 100 % of the run: straight between points, level before the first and after the last.
function sampled(points) {
  return Array.from({ length: 101 }, (_, i) => {
    const x = i / 100, next = points.findIndex(([share]) => share >= x);
    if (next === 0) return points[0][1];
    if (next < 0) return points.at(-1)[1];
    const [[x0, y0], [x1, y1]] = points.slice(next - 1, next + 1);
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0);
  });
}

// How far two curves lie apart: the mean distance of their learning rates over the run, as a share of the dense run's peak.
function distance(one, other, peak) {
  return one.reduce((sum, lr, i) => sum + Math.abs(lr - other[i]), 0) / one.length / peak;
}

function moved(points, place, share, lr, { gap, top }) {
  const low = place ? points[place - 1][0] + gap : 0, high = place < points.length - 1 ? points[place + 1][0] - gap : 1;
  const round = (value, digits) => Number(value.toFixed(digits)), within = (value, least, most) => Math.min(Math.max(value, least), most);
  const x = low <= high ? round(within(round(share, 3), low, high), 6) : points[place][0];
  return points.map((point, i) => (i === place ? [x, round(within(lr, 0, top), 4)] : point));
}

function added(points, { gap, most }) { // one more, in the middle of the widest step; the same points where there is no room
  const steps = points.slice(1).map(([x], i) => x - points[i][0]), at = steps.indexOf(Math.max(...steps));
  if (points.length >= most || steps[at] < 2 * gap) return points;
  const middle = points[at].map((value, k) => Number(((value + points[at + 1][k]) / 2).toFixed(6)));
  return [...points.slice(0, at + 1), middle, ...points.slice(at + 1)];
}

function extend(host, page, show) {
  const { shapes, rules, peak, own } = page.data, look = { color: "#222222", symbol: "*" };
  let points = shapes[page.data.start], last = 0;
  element(host, "p", { id: "draw-how" }, "Drag the points of your curve, or focus one and press the arrow keys (with Shift: ten times as far).");
  const bar = element(host, "div", { class: "row" });
  element(bar, "label", { for: "draw-shape" }, "Start from");
  const list = element(bar, "select", { id: "draw-shape" }), said = element(host, "p", { role: "status" });
  Object.keys(shapes).forEach((name) => element(list, "option", { value: name }, name));
  list.value = page.data.start;
  const change = (made, words = "") => { points = made; last = Math.min(last, points.length - 1); said.textContent = words; show(); };
  list.addEventListener("input", () => change(shapes[list.value]));
  const button = (words, act) => element(bar, "button", { type: "button" }, words).addEventListener("click", act);
  button("Add a point", () => {
    const made = added(points, rules);
    change(made, made === points ? `There are ${points.length} points already, or no room between them.` : "");
  });
  button("Remove the point moved last", () => {
    const few = points.length <= rules.fewest;
    change(few ? points : points.filter((_, i) => i !== last), few ? `A curve needs ${rules.fewest} points.` : "");
  });

  const short = (value, digits = 3) => String(Number(value.toPrecision(digits))), tuple = (point) => `(${point.map((v) => short(v, 6)).join(", ")})`;
  const percent = (share) => share === null ? "diverged" : `${(100 * share).toFixed(1)} %`;
  const span = (curve) => curve.mean === null ? "" : `${(100 * curve.low).toFixed(1)} to ${percent(curve.high)}`;

  function drawn(chart, near) {
    const [left, right] = chart.panels, x = Array.from({ length: 101 }, (_, i) => i);
    const rates = near.map((c) => ({ kind: "line", x, y: c.lr, ...c.look, width: 1.8 }));
    const line = { kind: "line", x: [0, ...points.map(([share]) => 100 * share), 100], y: [points[0][1], ...points.map(([, lr]) => lr), points.at(-1)[1]], ...look, width: 3.4, marks: 0 };
    const ends = near.map((c) => ({ kind: "line", x: c.steps, y: c.accuracy, ...c.look }));
    const legend = [{ name: own, ...look }, ...near.map((c) => ({ name: c.name, ...c.look }))];
    const alt = `Left: learning rate over the share of the run; ${own}: ${points.map(([share, lr]) => `${short(lr)} at ${short(100 * share)} %`).join("; ")}. `
      + `Right: accuracy of the nearest stored curves over the steps of retraining; ${page.data.measure} at the end: ${near.map((c) => `${c.name} ${percent(c.mean)}`).join(", ")}.`;
    return { ...chart, alt, legend, panels: [{ ...left, marks: [...rates.reverse(), line] }, { ...right, marks: [...right.marks, ...ends] }],
      handles: { ...chart.handles, points: points.map(([share, lr]) => [100 * share, lr]) } };
  }

  return {
    view(stored) {
      const mine = sampled(points);
      const near = stored.data.curves.map((c) => ({ ...c, far: Number(distance(mine, c.lr, peak).toFixed(6)) })).sort((a, b) => a.far - b.far).slice(0, page.data.shown);
      const [first] = near, reached = first.mean === null ? "which diverged" : `which reached ${percent(first.mean)} ${page.data.measure} (mean of ${first.seeds} seeds)`;
      const rows = near.map((c) => [c.name, short(c.far), percent(c.mean), span(c), String(c.seeds), percent(c.other)]);
      const csv = [["curve", "distance", page.data.heads[2].replace(", ", " "), "lowest", "highest", "seeds", page.data.heads[5].replaceAll(", ", " ")],
        ...near.map((c) => [c.name, short(c.far, 6), ...[c.mean, c.low, c.high].map((v) => v ?? ""), c.seeds, c.other ?? ""])];
      return {
        ...stored,
        charts: [drawn(stored.charts[0], near)],
        words: `The nearest stored curve is ${first.name} (distance ${short(first.far)}), ${reached}. ${stored.words}`,
        table: ["The stored curves nearest to yours", page.data.heads, rows],
        csv: csv.map((line) => line.map(cell).join(",")).join("\n") + "\n",
        code: stored.code.replace(page.data.slot, `(${points.map(tuple).join(", ")})`),
        moved: (i, x, lr) => { last = i; change(moved(points, i, x / 100, lr, rules)); },
      };
    },
  };
}
