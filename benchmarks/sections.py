"""The other measurements: scaling, callbacks, a grid in a study, precision, all figures."""

import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
import ways
from cases import CASES, SCALING, SPARSITY
from usual import loaders, usually
from usual import retrain as usual_retrain
from ways import Way

from retrainlab import stats
from retrainlab.config import NAMED_SCHEDULES, PRECISIONS, Prune
from retrainlab.data.dataset import load
from retrainlab.device import repeatable
from retrainlab.figures import presets
from retrainlab.progress import Progress
from retrainlab.study.grids import grid
from retrainlab.study.run import run_study
from retrainlab.study.stages import dense_curve, prepare
from retrainlab.training import cycles, loop, together
from retrainlab.training.engine import TOGETHER, decide
from retrainlab.training.state import State
from retrainlab.training.timing import probe


def scaling(device: torch.device, seconds: float) -> Iterator[dict]:
    """For each case the loop, what the probe measured, and its choice, which must not be slower than the loop."""
    out: dict[str, list[dict]] = {}
    for axis, cases in SCALING[device.type].items():
        for case in cases:
            with repeatable(device):
                setup = case.setup(device)
                times = probe(setup, State.of(setup.model, device))
            choice = decide(times, TOGETHER[device.type])
            row = {
                "case": str(case),
                "choice": str(choice),
                "ms_per_member_step": {m: 1e3 * t for m, t in times.items()},
            }
            row["times_loop"] = times[0] / times[choice.members if choice.kind != "loop" else 0]
            if choice.kind != "loop":  # again, longer: the choice was made on a short probe
                both = Way("loop"), Way(choice.kind, choice.members)
                again = [ways.measure(way, case, str(device), seconds) for way in both]
                row["times_loop"] = again[0]["ms_per_member_step"] / again[1]["ms_per_member_step"]
            out.setdefault(axis, []).append(row)
            print(f"{row['case']:<42} {row['times_loop']:5.2f} times the loop with: {row['choice']}", flush=True)
            yield out


def live(device: torch.device) -> Iterator[dict]:
    """Training 8 members with a callback that keeps every point, 20 points a curve, against 20 points nobody sees."""
    case = CASES[device.type][0]
    setup = case.setup(device)
    seen: list[tuple[int, float]] = []

    def once(listening: bool) -> float:
        jobs = case.jobs(setup, 8, 200, (lambda p: seen.append((p.step, p.accuracy))) if listening else None)
        jobs = [replace(job, evaluations=20) for job in jobs]
        start = loop.now(device)
        list(together.train(setup, jobs))
        return loop.now(device) - start

    with repeatable(device):
        once(True)
        pairs = [(once(False), once(True)) for _ in range(5)]
    silent, heard = (statistics.median(times) for times in zip(*pairs))
    print(f"a callback on every point costs {100 * (heard / silent - 1):.1f} % (of {len(seen)} points)", flush=True)
    yield {"case": str(case), "members": 8, "points_a_curve": 21, "cost_share": heard / silent - 1}


def whole_grid(device: torch.device) -> Iterator[dict]:
    """Figure 3's runs, dense networks included: a study with an empty store against the usual loop, of which one dense run
    and the retrainings of one seed and sparsity are made; the others take it as long."""
    settings = presets.preset("digits")
    recipe = settings.recipe
    shared = dict(budgets=settings.budgets, schedules=NAMED_SCHEDULES, seeds=settings.seeds)
    experiments = grid(recipe, sparsities=settings.sparsities, **shared)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run_study(experiments, store=folder, device=str(device), progress=Progress("study"))
        ours = time.perf_counter() - start
    setup, _ = prepare(recipe, device)
    data, model = setup.data, setup.model
    masks = cycles.prune_state(setup, State.of(model, device), Prune(SPARSITY), 0, recipe.seed)
    pair = loaders(data, recipe.batch_size, usually())

    def usual(masks: dict, steps: int, evaluations: int) -> float:
        curve = torch.linspace(recipe.lr, 0.0, steps).tolist()  # which rates they are takes no time
        options = dict(sgd=recipe.sgd, device=device, evaluations=evaluations)
        return usual_retrain(copy.deepcopy(model), masks, *pair, curve, **options).seconds

    usual({}, 40, 1)  # starts the workers
    full = len(dense_curve(recipe, data.steps_per_epoch(recipe.batch_size)).lr)
    lengths = [round(b * full) for b in settings.budgets for _ in NAMED_SCHEDULES]
    parts = len(settings.sparsities) * settings.seeds
    theirs = settings.seeds * usual({}, full, 20) + parts * sum(usual(masks, n, 5) for n in lengths)
    steps = settings.seeds * full + parts * sum(lengths)
    print(f"{len(experiments)} runs, {steps} steps: usual loop {theirs:.0f} s, study {ours:.1f} s", flush=True)
    out = {"runs": len(experiments), "steps": steps, "usual_seconds": theirs, "study_seconds": ours}
    yield out | {"times_usual": theirs / ours, "measured": 1 / parts}


def precision(device: torch.device) -> Iterator[dict]:
    """Test accuracy after LLR in bfloat16 less that in float32, all else equal, dense run included: paired over seeds."""
    if device.type == "cuda":
        recipe, sparsities, seeds = replace(presets.preset("cifar10").recipe, epochs=10), [0.9], 3
        engine = "graph"  # trying others would take as long as they save
    else:
        recipe, sparsities, seeds, engine = presets.preset("digits").recipe, [0.9, 0.95], 5, "auto"
    load(recipe.data, str(device))  # says now what is missing
    own = dict(sparsities=sparsities, budgets=[0.1, 0.25], schedules=["LLR"], seeds=seeds)
    frames, took = {}, {}
    for name in PRECISIONS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            experiments = grid(replace(recipe, precision=name), **own)
            how = dict(store=folder, device=str(device), engine=engine, progress=Progress(name))
            frames[name] = run_study(experiments, **how)
        took[name] = time.perf_counter() - began
        print(f"{name}: {took[name]:.0f} s", flush=True)
    rows = []
    frame = frames["float32"].assign(half=frames["bfloat16"]["test_accuracy"])
    for (sparsity, budget), cell in frame.groupby(["sparsity", "budget"]):
        mean, low, high = stats.interval(cell["half"] - cell["test_accuracy"])
        rows.append({"sparsity": sparsity, "budget": budget, "mean": mean, "low": low, "high": high, "seeds": seeds})
        rows[-1] |= {"float32": float(cell["test_accuracy"].mean()), "bfloat16": float(cell["half"].mean())}
        print(f"{sparsity:.0%} {budget:.0%}: {100 * mean:+.2f} points [{100 * low:.2f}, {100 * high:.2f}]", flush=True)
    yield {"recipe": f"{recipe.data}, {recipe.model}, {recipe.epochs} epochs, LLR", "rows": rows, "seconds": took}


def figures(device: torch.device) -> Iterator[dict]:
    """All figures of digits, with an empty store and an empty cache, and once more."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "retrainlab.cli", "figures", "--device", str(device)]
        command += ["--store", f"{folder}/store", "--output", f"{folder}/out"]
        for name in ("cold_seconds", "warm_seconds"):
            start = time.perf_counter()
            subprocess.run(command, check=True, env=os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"})
            out[name] = time.perf_counter() - start
    print(f"figures: {out['cold_seconds']:.0f} s with an empty store, {out['warm_seconds']:.0f} s again", flush=True)
    yield out
