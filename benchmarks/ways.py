"""One way to train, measured: the usual loop, our plain loop, or the engine with some members, on the same work."""

import copy
import gc
import multiprocessing
import resource
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch
from cases import Case
from usual import loaders
from usual import retrain as usual_retrain

from retrainlab.device import repeatable, resolve
from retrainlab.training import loop, together
from retrainlab.training.state import Setup
from retrainlab.training.ways import Way as Steps

PACE = 64  # steps at least of the usual loop, so that its workers reach their pace


@dataclass(frozen=True)
class Way:
    """kind: `usual`, `loop`, or a kind of engine. members: how many train at once. workers: the usual loop's, of its
    DataLoader. None stands for the best of those that are measured. unfolded: see `stacking.forward_of`; a recorded step is
    unless said otherwise."""

    kind: str
    members: int | None = 1
    precision: str = "float32"
    workers: int | None = 0
    unfolded: bool = True

    def __str__(self) -> str:
        whose = f"{self.workers} workers" if self.kind == "usual" else f"{self.members} members, {self.precision}"
        return f"{self.kind}, {whose}" + (", not unfolded" if not self.unfolded else "")

    @property
    def told(self) -> dict:
        """What a row says of it."""
        out = {"kind": self.kind, "members": self.members, "precision": self.precision}
        out |= {"workers": self.workers} if self.kind == "usual" else {}
        return out | ({"unfolded": self.unfolded} if self.kind in ("graph", "compiled") else {})


def cleared(device: torch.device) -> None:
    """Free what earlier measurements have left on a GPU."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def measure(way: Way, case: Case, device: str, seconds: float) -> dict:
    """ms per member-step and peak memory of one way to train. On a CPU in a process of its own, whose peak it is; on a GPU
    the peak is above the images and the network."""
    if resolve(device).type == "cuda":
        return measured(way, case, device, seconds)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, way, case, device, seconds).result()


def measured(way: Way, case: Case, device: str, seconds: float) -> dict:
    """As `measure`, in this process. On a GPU one run of `seconds`, since each run records its step anew; on a CPU the
    median of three. The usual loop's first steps, for which its workers start to load, are taken off."""
    where = resolve(device)
    setup = case.setup(where, way.precision)
    before = 0
    if where.type == "cuda":
        cleared(where)
        torch.cuda.reset_peak_memory_stats(where)
        before = torch.cuda.memory_allocated(where)
    run = {"usual": _usual, "loop": _loop}.get(way.kind, _engine)(way, case, setup)
    some = 8 if where.type == "cuda" else 2
    took = run(some)  # warm
    if where.type == "cpu" or way.kind in ("usual", "loop"):
        some = 8 if took < 0.5 else 2
        took = run(some)
    steps = max(PACE if way.kind == "usual" else 4, min(400, round(seconds / max(took / some, 1e-4))))
    rounds = 3 if where.type == "cpu" and took / some * steps < 5 else 1
    first, lost = (some, took) if way.kind == "usual" else (0, 0.0)
    per = statistics.median(run(first + steps) - lost for _ in range(rounds)) / steps / way.members
    epoch = len(setup.data.train) // case.batch
    return {
        **way.told,
        "ms_per_member_step": 1e3 * per,
        "steps_per_second": 1 / per,
        "images_per_second": case.batch / per,
        "ms_per_member_epoch": 1e3 * per * epoch,
        "peak_mib": (_memory(where) - before) / 2**20,
    }


def _usual(way: Way, case: Case, setup: Setup) -> Callable[[int], float]:
    masks = {name: mask.float() for name, mask in case.jobs(setup, 1, 1)[0].method.masks.items()}
    pair = loaders(setup.data, case.batch, way.workers)
    options = dict(sgd=setup.sgd, device=setup.data.device, evaluations=1)
    return lambda steps: usual_retrain(copy.deepcopy(setup.model), masks, *pair, [1e-3] * steps, **options).in_steps


def _loop(way: Way, case: Case, setup: Setup) -> Callable[[int], float]:
    def run(steps: int) -> float:
        with repeatable(setup.data.device):
            return loop.train(setup, case.jobs(setup, 1, steps)[0]).seconds

    return run


def _engine(way: Way, case: Case, setup: Setup) -> Callable[[int], float]:
    called = way.kind == "batched"
    how = Steps.of(
        setup.model, recorded=not called, compiled=way.kind == "compiled", unfolded=way.unfolded and not called
    )

    def run(steps: int) -> float:
        jobs = case.jobs(setup, way.members, steps)
        with repeatable(setup.data.device):
            return sum(trained.seconds for _, trained in together.train(setup, jobs, way=how))

    return run


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
