"""How fast is the engine, and beside what? Measured in one run on one machine, for results/DEVICE.json and docs/speed.md.

    python benchmarks/bench.py [--device auto] [--only steps scaling live grid precision figures]

steps      the usual loop, our plain loop and the engine with more and more members, on the same work; peak memory; on CUDA
           for five networks, in float32 and bfloat16, with the share of the floor
scaling    the engine against members, width, depth and batch
live       what a callback that sees every member's curve costs
grid       figure 3's whole grid in a study, and a part of it through the usual loop
precision  accuracy in bfloat16 less that in float32, paired over seeds
figures    `retrainlab figures`, with an empty store and again

Ratios are of times measured in one run. Every clock is read when the device is done; the first steps do not count.
"""

import argparse
import copy
import gc
import json
import multiprocessing
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from usual import loaders
from usual import retrain as usual_retrain

from retrainlab import stats
from retrainlab.config import NAMED_SCHEDULES, PRECISIONS, Prune, Recipe
from retrainlab.data.dataset import Augmentation, Dataset, Split
from retrainlab.device import cores, describe, out_of_memory, repeatable, resolve
from retrainlab.figures import presets
from retrainlab.layers import prunable
from retrainlab.metrics import multiply_adds
from retrainlab.models import build
from retrainlab.noise import stream
from retrainlab.paths import write_whole
from retrainlab.progress import Progress
from retrainlab.study.grids import grid
from retrainlab.study.run import run_study
from retrainlab.study.stages import dense_curve, prepare
from retrainlab.training import cycles, loop, masked, together
from retrainlab.training.engine import TOGETHER, decide
from retrainlab.training.state import Job, Setup, State
from retrainlab.training.timing import probe
from retrainlab.training.ways import Way

FOLDER = Path(__file__).parent / "results"
MEMBERS = {"cpu": (1, 4, 16, 64), "cuda": (1, 2, 4, 8, 16, 32, 64)}
SPARSITY = 0.9


@dataclass(frozen=True)
class Case:
    """A network, its images (channels, height, width) and a batch size. The images are random: speed does not depend on
    what they show."""

    model: str
    shape: tuple[int, int, int]
    batch: int
    width: int | None = None

    def __str__(self) -> str:
        width = "" if self.width is None else f" of width {self.width}"
        return f"{self.model}{width}, {'x'.join(map(str, self.shape))}, batch {self.batch}"

    def setup(self, device: torch.device, precision: str = "float32") -> Setup:
        """Eight batches of training images, so that an epoch ends now and then, and few to validate on."""
        generator = stream("benchmark")
        count = max(8 * self.batch, 512)
        images = torch.randint(0, 256, (count, *self.shape), generator=generator, dtype=torch.uint8).to(device)
        split = Split(images, torch.randint(0, 10, (count,), generator=generator).to(device))
        few = Split(split.images[:64], split.labels[:64])
        ones = torch.ones(self.shape[0], device=device)
        augmentation = Augmentation(self.shape[1] // 8, self.shape[1] > 8)
        data = Dataset("random", split, few, few, 10, 127 * ones, 74 * ones, augmentation)
        model = build(self.model, shape=self.shape, classes=10, width=self.width).to(device)
        return Setup(model, data, Recipe().sgd, self.batch, prunable(model), precision=precision)

    def jobs(self, setup: Setup, members: int, steps: int, on_point=None) -> list[Job]:
        """Members that start as the same pruned network and differ in their learning rates."""
        state = State.of(setup.model, setup.data.device)
        masks = cycles.prune_state(setup, state, Prune(SPARSITY), 0, 0)
        state = masked.apply(state, masks)
        rates = [torch.full((steps,), 1e-3 * (1 + i), dtype=torch.float64) for i in range(members)]
        return [Job(state, r, ("benchmark",), masked.Masked(masks), evaluations=1, on_point=on_point) for r in rates]


NETWORKS = ("resnet20", "resnet56", "resnet18", "vgg16", "wrn28-10")
CASES = {"cpu": [Case("resnet8", (1, 8, 8), 32)], "cuda": [Case(n, (3, 32, 32), 128) for n in NETWORKS]}
SCALING = {
    "cpu": {
        "width": [Case("resnet8", (1, 8, 8), 32, w) for w in (4, 8, 16, 32)],
        "depth": [Case(m, (1, 8, 8), 32, 16) for m in ("mlp", "resnet8", "resnet20", "resnet56")],
        "batch": [Case("resnet8", (1, 8, 8), b) for b in (16, 32, 128)],
        "image": [Case("resnet8", (c, s, s), 128) for c, s in ((1, 8), (1, 28), (3, 32))],
    },
    "cuda": {
        "width": [Case("resnet20", (3, 32, 32), 128, w) for w in (4, 16, 64)],
        "depth": CASES["cuda"],
        "batch": [Case("resnet20", (3, 32, 32), b) for b in (32, 128, 512)],
    },
}


# ---- one measurement -------------------------------------------------------------------------------------------------


def measure(kind: str, case: Case, members: int, device: str, seconds: float, precision: str = "float32") -> dict:
    """ms per member-step and peak memory of one way to train; kind: usual, loop, batched or graph. On a CPU in a process of
    its own, whose peak it is."""
    if resolve(device).type == "cuda":
        return _measured(kind, case, members, device, seconds, precision)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_measured, kind, case, members, device, seconds, precision).result()


def _measured(kind: str, case: Case, members: int, device: str, seconds: float, precision: str = "float32") -> dict:
    where = resolve(device)
    before = 0
    if where.type == "cuda":  # what was measured before is not this way's
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(where)
        before = torch.cuda.memory_allocated(where)
    setup = case.setup(where, precision)
    run = {"usual": _usual, "loop": _loop}.get(kind, _engine)(kind, case, setup, members)
    once = run(2)  # warm
    steps = max(4, min(400, round(seconds / max(run(8 if once < 0.5 else 2) / (8 if once < 0.5 else 2), 1e-4))))
    rounds = 3 if once < 5 else 1
    took = statistics.median(run(steps) for _ in range(rounds))
    per = took / steps / members
    epoch = len(setup.data.train) // case.batch
    return {
        "kind": kind,
        "members": members,
        "ms_per_member_step": 1e3 * per,
        "steps_per_second": 1 / per,
        "images_per_second": case.batch / per,
        "ms_per_member_epoch": 1e3 * per * epoch,
        "peak_mib": (_memory(where) - before) / 2**20,
    }


def _usual(kind: str, case: Case, setup: Setup, members: int) -> Callable[[int], float]:
    masks = {name: mask.float() for name, mask in case.jobs(setup, 1, 1)[0].method.masks.items()}
    pair = loaders(setup.data, case.batch, min(4, cores()))
    options = dict(sgd=setup.sgd, device=setup.data.device, evaluations=1)
    return lambda steps: usual_retrain(copy.deepcopy(setup.model), masks, *pair, [1e-3] * steps, **options)[1]


def _loop(kind: str, case: Case, setup: Setup, members: int) -> Callable[[int], float]:
    def run(steps: int) -> float:
        with repeatable(setup.data.device):
            return loop.train(setup, case.jobs(setup, 1, steps)[0]).seconds

    return run


def _engine(kind: str, case: Case, setup: Setup, members: int) -> Callable[[int], float]:
    def run(steps: int) -> float:
        with repeatable(setup.data.device):
            way = Way.of(setup.model, recorded=kind == "graph")
            done = together.train(setup, case.jobs(setup, members, steps), way=way)
            return sum(trained.seconds for _, trained in done)

    return run


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# ---- the floor -------------------------------------------------------------------------------------------------------


def traffic(case: Case, precision: str = "float32") -> int:
    """Bytes that a training step must move, about: forward and backward through convolution, normalisation and ReLU pass
    over each convolution's output some 12 times."""
    model, outputs = build(case.model, shape=case.shape, classes=10, width=case.width), 0

    def count(module, inputs, output) -> None:
        nonlocal outputs
        outputs += output.numel()

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *case.shape))
    return 12 * outputs * case.batch * (2 if precision == "bfloat16" else 4)


def arithmetic(case: Case) -> int:
    """Floating-point operations of a training step: two for each multiply-add, forward once and backward twice."""
    model = build(case.model, shape=case.shape, classes=10, width=case.width)
    parameters = dict(model.named_parameters())
    return 6 * case.batch * multiply_adds(model, case.shape, {name: parameters[name] for name in prunable(model)})[0]


def ceilings(device: torch.device) -> dict:
    """Measured: bytes per second of a copy (read and write counted), operations per second of a product in either type;
    float32 is what it is to convolutions, which torch lets use TF32 where there is such a thing."""
    big = torch.empty(2**28, device=device)  # 1 GiB
    size = 8192

    def best(work: Callable[[], object]) -> float:
        work()
        times = []
        for _ in range(5):
            start = loop.now(device)
            work()
            times.append(loop.now(device) - start)
        return min(times)

    out = {"copy_bytes_per_second": 2 * big.nbytes / best(lambda: big.clone())}
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    for precision in PRECISIONS:
        square = torch.randn(size, size, device=device, dtype=getattr(torch, precision))
        out[f"{precision}_flops"] = 2 * size**3 / best(lambda: square @ square)  # noqa: B023
    matmul.allow_tf32 = before
    return out


def floor(case: Case, precision: str, ceilings: dict) -> float:
    """Seconds that a step of one member must take: for what it moves or for what it computes, whichever is longer."""
    moves = traffic(case, precision) / ceilings["copy_bytes_per_second"]
    return max(moves, arithmetic(case) / ceilings[f"{precision}_flops"])


# ---- sections --------------------------------------------------------------------------------------------------------


def steps(device: torch.device, seconds: float) -> Iterator[dict]:
    """The tables: each network on the device, every way to train it. What there is after each network."""
    out: dict = {"cases": []}
    if device.type == "cuda":
        out["ceilings"] = ceilings(device)
    for case in CASES[device.type]:
        print(case, flush=True)
        rows: list[dict] = []
        least = {p: floor(case, p, out["ceilings"]) for p in PRECISIONS} if "ceilings" in out else {}
        for row in ways(case, device, seconds):
            row["times_usual"] = (rows[0] if rows else row)["ms_per_member_step"] / row["ms_per_member_step"]
            if least:
                row["share_of_floor"] = 1e3 * least[row["precision"]] / row["ms_per_member_step"]
            rows.append(row)
            print(_line(row), flush=True)
        out["cases"].append({"case": str(case), "rows": rows})
        yield out


def ways(case: Case, device: torch.device, seconds: float) -> Iterator[dict]:
    """The usual loop, the plain loop, and the engine with more and more members, as far as there is memory for them."""
    for kind in ("usual", "loop"):
        yield measure(kind, case, 1, str(device), seconds) | {"precision": "float32"}
    for precision in PRECISIONS if device.type == "cuda" else PRECISIONS[:1]:
        for members in MEMBERS[device.type]:
            try:
                row = measure(TOGETHER[device.type], case, members, str(device), seconds, precision)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                print(f"no memory for {members} members in {precision}", flush=True)
                break
            yield row | {"precision": precision}


def scaling(device: torch.device, seconds: float) -> dict:
    """For each case the loop, what the probe measured, and its choice, which must not be slower than the loop."""
    out = {}
    for axis, cases in SCALING[device.type].items():
        rows = []
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
                again = [
                    measure(kind, case, m, str(device), seconds)
                    for kind, m in (("loop", 1), (choice.kind, choice.members))
                ]
                row["times_loop"] = again[0]["ms_per_member_step"] / again[1]["ms_per_member_step"]
            rows.append(row)
            print(f"{row['case']:<42} {row['times_loop']:5.2f} times the loop with: {row['choice']}", flush=True)
        out[axis] = rows
    return out


def live(device: torch.device, seconds: float) -> dict:
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
    return {"case": str(case), "members": 8, "points_a_curve": 21, "cost_share": heard / silent - 1}


def whole_grid(device: torch.device, seconds: float) -> dict:
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
    pair = loaders(data, recipe.batch_size, min(4, cores()))

    def usual(masks: dict, steps: int, evaluations: int) -> float:
        curve = torch.linspace(recipe.lr, 0.0, steps).tolist()  # which rates they are takes no time
        options = dict(sgd=recipe.sgd, device=device, evaluations=evaluations)
        return usual_retrain(copy.deepcopy(model), masks, *pair, curve, **options)[1]

    usual({}, 40, 1)  # starts the workers
    full = len(dense_curve(recipe, data.steps_per_epoch(recipe.batch_size)).lr)
    lengths = [round(b * full) for b in settings.budgets for _ in NAMED_SCHEDULES]
    parts = len(settings.sparsities) * settings.seeds
    theirs = settings.seeds * usual({}, full, 20) + parts * sum(usual(masks, n, 5) for n in lengths)
    steps = settings.seeds * full + parts * sum(lengths)
    print(f"{len(experiments)} runs, {steps} steps: usual loop {theirs:.0f} s, study {ours:.1f} s", flush=True)
    out = {"runs": len(experiments), "steps": steps, "usual_seconds": theirs, "study_seconds": ours}
    return out | {"times_usual": theirs / ours}


def precision(device: torch.device, seconds: float) -> dict:
    """Test accuracy after LLR in bfloat16 less that in float32, all else equal, dense run included: paired over seeds."""
    recipe, seeds = presets.preset("digits").recipe, 5
    frames = {}
    for name in PRECISIONS:
        own = dict(sparsities=[0.9, 0.95], budgets=[0.1, 0.25], schedules=["LLR"], seeds=seeds)
        experiments = grid(replace(recipe, precision=name), **own)
        with tempfile.TemporaryDirectory() as folder:
            frames[name] = run_study(experiments, store=folder, device=str(device), progress=Progress(name))
    rows = []
    frame = frames["float32"].assign(half=frames["bfloat16"]["test_accuracy"])
    for (sparsity, budget), cell in frame.groupby(["sparsity", "budget"]):
        mean, low, high = stats.interval(cell["half"] - cell["test_accuracy"])
        rows.append({"sparsity": sparsity, "budget": budget, "mean": mean, "low": low, "high": high, "seeds": seeds})
        print(f"{sparsity:.0%} {budget:.0%}: {100 * mean:+.2f} points [{100 * low:.2f}, {100 * high:.2f}]", flush=True)
    return {"recipe": "digits, resnet8, 30 epochs, LLR", "rows": rows}


def figures(device: torch.device, seconds: float) -> dict:
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
    return out


SECTIONS = {
    "steps": steps,
    "scaling": scaling,
    "live": live,
    "grid": whole_grid,
    "precision": precision,
    "figures": figures,
}
ORDER = list(SECTIONS)


def _line(row: dict) -> str:
    return (
        f"{row['kind']:<8} {row['members']:>3} {row['precision']:<9} {row['ms_per_member_step']:>9.2f} ms/member-step "
        f"{row['images_per_second']:>9.0f} images/s {row['peak_mib']:>7.0f} MiB {row['times_usual']:>6.1f} x usual"
    )


def main() -> None:
    """Measure, print, and keep each section in results/DEVICE.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER, metavar="SECTION", help=", ".join(ORDER))
    parser.add_argument("--seconds", type=float, default=2.0, help="that a measurement takes, about")
    options = parser.parse_args()
    device = resolve(options.device)
    path = FOLDER / f"{re.sub(r'[^a-z0-9]+', '-', describe(device).lower()).strip('-')}.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    record |= {"device": describe(device), "processor": platform.machine(), "torch": torch.__version__}
    print(
        f"{describe(device)}; torch {torch.__version__}; on a CPU ours uses one torch thread, the usual loop torch's default"
    )
    for name in options.only:
        print(f"\n{name}: {SECTIONS[name].__doc__.splitlines()[0]}", flush=True)
        found = SECTIONS[name](device, options.seconds)
        for part in [found] if isinstance(found, dict) else found:
            record[name] = _rounded(part)
            write_whole(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1) + "\n"))
    print(f"\nwritten to {path.relative_to(Path(__file__).parent.parent)}")


def _rounded(value):
    if isinstance(value, dict):
        return {str(k): _rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
