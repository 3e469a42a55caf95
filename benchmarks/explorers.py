"""How quick are the explorers for somebody at a browser? Measured in JupyterLab in a headless browser, on this machine.

    python benchmarks/explorers.py [--only sliders stop cost memory layout] [--moves 60] [--races 20]

sliders  from a key on a slider to the next picture: schedules, race, and race while it trains
stop     from a click on Stop to the line that says so
cost     a race on screen against the same race that nobody sees
memory   of kernel and page after some races and after many more
layout   how much jumps on the page during a race

Written to results/explorers-DEVICE.json. Times in milliseconds are the page's own, up to the frame that shows the picture.
"""

import argparse
import json
import math
import platform
import re
import shutil
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from playwright.sync_api import expect, sync_playwright

from retrainlab.device import describe, resolve
from retrainlab.paths import write_whole

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.browser.lab import HOW, SLOW, App, Lab, Server, find_browser, launch

FOLDER = Path(__file__).parent / "results"
SPARSITY, BUDGET = "Weights removed (%)", "Budget (% of dense run)"
ENDED = re.compile("ends? first with")
WARM = 5  # moves, and races, that do not count


class Bench:
    """The page, the store behind it, and how often to measure."""

    def __init__(self, lab: Lab, store: Path, device: torch.device, moves: int, races: int):
        self.lab, self.page, self.store = lab, lab.page, store
        self.device, self.moves, self.races = device, moves, races

    def race(self, budget: float) -> App:
        """The race, ready to start with that budget (percent), with nothing stored but the network."""
        app = self.lab.show("explore_race", "race")
        expect(app.button("Retrain")).to_be_enabled(timeout=10 * SLOW)
        app.set(BUDGET, budget)
        shutil.rmtree(self.store / "results", ignore_errors=True)
        return app

    def whole(self, budget: float) -> App:
        """Race to the end."""
        app = self.race(budget)
        app.button("Retrain").click()
        expect(app.button("Stop")).to_be_enabled()
        expect(app.button("Retrain")).to_be_enabled(timeout=10 * SLOW)
        app.says(ENDED)
        return app

    def begin(self) -> App:
        """Start a long race, and wait until it is well under way."""
        app = self.race(100)
        app.watch(1)
        app.button("Retrain").click()
        self.page.wait_for_function("window.seen.length > 3")
        return app

    def halt(self, app: App) -> None:
        app.button("Stop").click()
        expect(app.button("Retrain")).to_be_enabled()


# ---- sections --------------------------------------------------------------------------------------------------------


def sliders(b: Bench) -> dict:
    """Key to picture, in milliseconds."""
    out = {"schedules": _moves(b, b.lab.show("explore_schedules", "curves"), BUDGET, "ArrowRight", "ArrowLeft")}
    app = b.race(10)
    out["race"] = _moves(b, app, SPARSITY, "ArrowLeft", "ArrowRight")
    b.begin()
    out["race, while it trains"] = _moves(b, app, SPARSITY, "ArrowLeft", "ArrowRight")
    out["race, while it trains"]["trained_to_the_end"] = app.button("Stop").is_enabled()
    if app.button("Stop").is_enabled():
        b.halt(app)
    for name, row in out.items():
        print(f"{name:<24} median {row['median_ms']:6.0f} ms   95 % {row['p95_ms']:6.0f} ms", flush=True)
    return out


def _moves(b: Bench, app: App, label: str, there: str, back: str) -> dict:
    """Half of the moves in one direction, then the others back."""
    app.chart().evaluate(
        """svg => { let pressed = null; const moves = window.moves = [];
          const note = (event) => { pressed = event.timeStamp; };
          const look = new MutationObserver(() => {
            if (pressed === null) return;
            const from = pressed; pressed = null;
            requestAnimationFrame(() => moves.push(performance.now() - from)); });
          document.addEventListener("keydown", note, true);
          look.observe(svg, { attributes: true, childList: true });
          window.enough = () => { look.disconnect(); document.removeEventListener("keydown", note, true); }; }"""
    )
    app.slider(label).focus()
    keys = [there, back] * (WARM // 2) + [there]
    keys += [there] * (b.moves // 2) + [back] * (b.moves - b.moves // 2)
    for count, key in enumerate(keys, start=1):
        app.page.keyboard.press(key)
        app.page.wait_for_function("count => window.moves.length >= count", arg=count, polling=5)
    took = sorted(app.page.evaluate("window.enough(), window.moves")[-b.moves :])
    return {
        "moves": b.moves,
        "median_ms": statistics.median(took),
        "p95_ms": took[math.ceil(0.95 * len(took)) - 1],
        "max_ms": took[-1],
    }


def stop(b: Bench) -> dict:
    """Click on Stop to the line that says that it has, in milliseconds."""
    took = []
    for _ in range(max(3, b.races // 2)):
        app = b.begin()
        took.append(
            app.root.evaluate(
                """root => new Promise((done) => {
                  const lines = () => [...root.querySelectorAll("[role=status]")];
                  const said = () => lines().some((line) => line.textContent.startsWith("Stopped"));
                  const button = [...root.querySelectorAll("button")].find((b) => b.textContent === "Stop");
                  const start = performance.now();
                  new MutationObserver((_, look) => { if (said()) { look.disconnect(); done(performance.now() - start); } })
                    .observe(root, { childList: true, subtree: true, characterData: true });
                  button.click(); })"""
            )
        )
        expect(app.button("Retrain")).to_be_enabled()
    print(f"median {statistics.median(took):.0f} ms, at most {max(took):.0f} ms of {len(took)}", flush=True)
    return {"times": len(took), "median_ms": statistics.median(took), "max_ms": max(took)}


SILENT = """
from retrainlab.explore.kit import live
from retrainlab.explore.views import race
from retrainlab.study.results import Results
import time, torch
if "real" not in globals():
    real, took = live.run, []
    def timed(race, *more):
        start = time.perf_counter()
        real(race, *more)
        took.append((time.perf_counter() - start, sum(curve.steps[-1] for curve in race.second.values())))
    live.run = timed
"""


def cost(b: Bench) -> dict:
    """Steps of all schedules in a second: on screen, and without a drawing, by turns."""
    rounds, rates = max(3, b.races // 2 + 2), {"shown": [], "silent": []}
    b.race(25)
    b.lab.execute(SILENT)
    for turn in range(rounds + 1):
        b.whole(25)
        shown = json.loads(b.lab.execute("print(list(took[-1]))"))
        shutil.rmtree(b.store / "results")
        b.lab.execute(
            "race = live.Live(race.experiments(race.Settings(budget=0.25)))\n"
            f"live.run(race, Results.at(), torch.device({str(b.device)!r}), lambda: False)"
        )
        silent = json.loads(b.lab.execute("print(list(took[-1]))"))
        if turn:  # the first is warm-up
            for name, (seconds, steps) in (("shown", shown), ("silent", silent)):
                rates[name].append(steps / seconds)
    b.lab.execute("live.run = real; del real")
    out = {f"{name}_steps_per_second": statistics.median(values) for name, values in rates.items()}
    shares = sorted(1 - shown / silent for shown, silent in zip(rates["shown"], rates["silent"]))
    out |= {"rounds": rounds, "cost_share": statistics.median(shares), "cost_quartiles": statistics.quantiles(shares)}
    print(
        f"{out['shown_steps_per_second']:.0f} steps/s on screen, {out['silent_steps_per_second']:.0f} unseen: drawing takes "
        f"{100 * out['cost_share']:.1f} % (quartiles {', '.join(f'{100 * q:.1f}' for q in out['cost_quartiles'])})",
        flush=True,
    )
    return out


def memory(b: Bench) -> dict:
    """MiB of kernel and page and the kernel's objects (all after a collection of garbage)."""
    session = b.lab.context.new_cdp_session(b.page)
    session.send("Performance.enable")
    rows = []
    for count in range(1, b.races + 1):
        b.whole(10)
        if count in (min(3, b.races), b.races) or count % 4 == 0:
            told = "psutil.Process().memory_info().rss, len(gc.get_objects())"
            kernel, objects = b.lab.execute(f"import gc, psutil; gc.collect(); print({told})").split()
            session.send("HeapProfiler.collectGarbage")
            page = {m["name"]: m["value"] for m in session.send("Performance.getMetrics")["metrics"]}
            rows.append(
                {
                    "race": count,
                    "kernel_mib": int(kernel) / 2**20,
                    "kernel_objects": int(objects),
                    "page_mib": page["JSHeapUsedSize"] / 2**20,
                    "nodes": page["Nodes"],
                    "listeners": page["JSEventListeners"],
                }
            )
            told = ", ".join(f"{name} {value:.1f}" for name, value in rows[-1].items())
            print(told, flush=True)
    session.detach()
    return {"rows": rows} | {f"{n}_growth": rows[-1][n] - rows[0][n] for n in ("kernel_mib", "page_mib")}


def layout(b: Bench) -> dict:
    """The browser's layout-shift score over a race, what follows an input within half a second included."""
    app = b.race(25)
    app.root.scroll_into_view_if_needed()
    app.root.evaluate(
        """() => { window.shifts = []; window.shifting = new PerformanceObserver((list) => list.getEntries().forEach((e) =>
          window.shifts.push([e.value, e.hadRecentInput, e.sources.map((s) => s.node?.outerHTML?.slice(0, 80) ?? "")])));
          window.shifting.observe({ type: "layout-shift" }); }"""
    )
    app.button("Retrain").click()
    app.says(ENDED)
    app.page.wait_for_timeout(500)
    shifts = app.page.evaluate("window.shifting.disconnect(), window.shifts")
    out = {"shifts": len(shifts), "score": sum(s[0] for s in shifts)}
    out |= {"score_without_input": sum(s[0] for s in shifts if not s[1])}
    print(
        f"{out['shifts']} shifts, score {out['score']:.4f} ({out['score_without_input']:.4f} without input)", flush=True
    )
    for value, _, nodes in shifts[:5]:
        print(f"  {value:.4f}: {'; '.join(nodes)}", flush=True)
    return out


SECTIONS = {"sliders": sliders, "stop": stop, "cost": cost, "memory": memory, "layout": layout}


def measure(device: torch.device, only: list[str], moves: int, races: int) -> dict:
    """The sections by name, and with what they were measured."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            sys.exit(HOW)
        browser = launch(playwright, path)
        server = Server(Path(folder))
        record = {"browser": browser.version} | {n: version(n) for n in ("jupyterlab", "ipykernel", "anywidget")}
        try:
            lab = Lab(browser, server.start())
            bench = Bench(lab, server.store, device, moves, races)
            for name in only:
                print(f"\n{name}: {SECTIONS[name].__doc__.splitlines()[0]}", flush=True)
                record[name] = SECTIONS[name](bench)
            lab.close()
        finally:
            browser.close()
            server.stop()
    return record


def rounded(value):
    """Four digits, all through."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--moves", type=int, default=60, help="of each slider")
    parser.add_argument("--races", type=int, default=20, help="over which memory is watched")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the JSON file")
    options = parser.parse_args()
    device = resolve("auto")  # as the notebooks do
    path = options.output / f"explorers-{re.sub(r'[^a-z0-9]+', '-', describe(device).lower()).strip('-')}.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    record |= {"device": describe(device), "processor": platform.machine(), "torch": torch.__version__}
    record |= rounded(measure(device, options.only, options.moves, options.races))
    write_whole(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1) + "\n"))
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
