"""Which way to train a set of jobs: one after the other, many at once, or many at once with a recorded step.

All three give the same results, up to the rounding of sums; which is fastest depends on network, batch and device. A probe
of some seconds measures it, and the choice is remembered in a file of the user's cache; `--engine` overrides it.
"""

import copy
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from retrainlab.checks import BadInput, check_number, choose
from retrainlab.config import ENGINES, Recipe
from retrainlab.device import describe, out_of_memory, repeatable
from retrainlab.models import apart
from retrainlab.paths import engines_file, locked, write_whole
from retrainlab.training import half, loop, masked, together
from retrainlab.training.stacking import forward_of
from retrainlab.training.state import Job, Setup, State, Trained

KINDS = tuple(kind for kind in ENGINES if kind != "auto")
TOGETHER = {"cpu": "batched", "cuda": "graph"}  # the kind that trains many members at once, by device
LADDERS = {"cpu": (2, 4, 8, 16, 32), "cuda": (1, 4, 16, 64)}  # numbers of members that the probe tries
USUAL = {"cpu": 8, "cuda": 16}  # number of members of an engine that is taken without a probe
MOST = 4096  # members of any engine
TIMES = "ms_per_member_step"
CLEARLY, AT_ALL = (
    0.85,
    0.95,
)  # shares of the loop's time: an engine is taken below the first, `least` counts below the second
NOISE = 1.1  # the probe ends at a number of members whose time is this many times the best
SLOW = 0.25  # seconds: beside steps that are longer the time of calls, which batching saves, is nothing on a CPU


@dataclass(frozen=True)
class Engine:
    """A way to train jobs. kind: a name of ENGINES but auto. members: how many slots train at once. least: with fewer, the
    loop is faster. seconds: how long one step takes per member, 0 if no probe has measured it."""

    kind: str = "loop"
    members: int = 1
    least: int = 2
    seconds: float = 0.0

    def __post_init__(self) -> None:
        choose(self.kind, KINDS, "engine")
        check_number(self.members, "number of members", low=1, high=MOST, whole=True)
        check_number(self.least, "least number of members", low=1, high=MOST, whole=True)
        check_number(self.seconds, "seconds of a step", low=0)

    def __str__(self) -> str:
        return "loop" if self.kind == "loop" else f"{self.kind}, up to {self.members} at once"

    def train(
        self, setup: Setup, jobs: Sequence[Job], stop: Callable[[], bool] | None = None
    ) -> Iterator[tuple[int, Trained]]:
        """Train all jobs, the longest first; yields (place in `jobs`, Trained) as each ends. If memory runs out, half as
        many train at once from there on."""
        if self.kind == "loop":
            for place in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].curve)):
                yield place, loop.train(setup, jobs[place], stop)
            return
        setup = replace(setup, model=apart(setup.model))
        forward, members, graph = forward_of(setup.model), self.members, self.kind == "graph"
        groups: dict[tuple, list[int]] = {}
        for place, job in enumerate(jobs):
            kind = (type(job.method), tuple(job.start.params), job.seed if setup.noisy else None)
            groups.setdefault(kind, []).append(place)
        for group in groups.values():
            while group:
                slots = together.in_slots([jobs[place] for place in group])[:members]
                places = [group[i] for slot in slots for i in slot]
                if len(slots) < self.least:
                    group.remove(places[0])
                    yield places[0], loop.train(setup, jobs[places[0]], stop)
                    continue
                chunk = [jobs[place] for place in places]
                methods = [copy.deepcopy(job.method) for job in chunk]  # as they are before they count a step
                try:
                    for i, trained in together.train(setup, chunk, stop, graph=graph, forward=forward):
                        group.remove(places[i])
                        yield places[i], trained
                except (RuntimeError, MemoryError) as error:
                    if not out_of_memory(error) or len(slots) == 1:
                        raise
                    members, jobs = len(slots) // 2, list(jobs)
                    for place, job, method in zip(places, chunk, methods):
                        jobs[place] = replace(job, method=method)
                    words = f"Memory ran out with {len(slots)} members at once; going on with {members}."
                    warnings.warn(words, stacklevel=2)


def forced(kind: str, device: torch.device) -> Engine:
    """The engine of that kind, without a probe. Raises BadInput for one that this device does not have."""
    choose(kind, ENGINES, "engine")
    if kind == "graph" and device.type != "cuda":
        raise BadInput("The engine 'graph' needs a CUDA GPU; use --engine batched, loop or auto.")
    return Engine() if kind == "loop" else Engine(kind, USUAL[device.type], least=1)


def fastest(setup: Setup, start: State, recipe: Recipe, tell: Callable[[str], None] | None = None) -> Engine:
    """The engine for this network, batch size, precision and device: the remembered one, or else that of a probe, which is
    announced to `tell`. Without `tell` there is no probe, and the loop is taken."""
    device, known = setup.data.device, recorded(setup, recipe)
    if known and (engine := of_record(known)).kind in ("loop", TOGETHER[device.type]):
        return engine
    if tell is None:
        return Engine()
    tell(f"trying which engine is fastest for {recipe.model}")
    times = probe(setup, start)
    engine = decide(times, TOGETHER[device.type])
    record = {"engine": asdict(engine), TIMES: {str(m): round(1e3 * t, 3) for m, t in times.items()}}
    _remember(_name(setup, recipe), record | half.measured(engine.train, setup, start, engine.members))
    return engine


def decide(times: dict[int, float], kind: str) -> Engine:
    """The engine for measured seconds per member-step, by the number of members, the loop's at 0. The loop is taken unless
    it is clearly beaten."""
    best = min(times, key=lambda members: times[members])
    if times[best] >= CLEARLY * times[0]:
        return Engine(seconds=times[0])
    least = min(m for m, t in times.items() if m and t < AT_ALL * times[0])
    return Engine(kind, best, least, seconds=times[best])


def probe(setup: Setup, start: State) -> dict[int, float]:
    """Seconds per member-step of the loop (at 0) and of each number of members worth trying."""
    device = setup.data.device
    setup = setup.barely_evaluated()
    weights = setup.weights(start)
    masks = {name: torch.arange(w.numel(), device=device).view_as(w) % 10 == 0 for name, w in weights.items()}
    start = masked.apply(start, masks)

    def job(i: int, steps: int) -> Job:
        curve = torch.full((steps,), 1e-4 * (i + 1), dtype=torch.float64)  # all differ, so that none share a slot
        return Job(start, curve, ("probe",), masked.Masked(masks), evaluations=1)

    def single(steps: int) -> float:
        return loop.train(setup, job(0, steps)).seconds / steps

    def many(members: int, steps: int) -> float:
        jobs = [job(i, steps) for i in range(members)]
        done = together.train(setup, jobs, graph=device.type == "cuda", forward=forward)
        return sum(trained.seconds for _, trained in done) / steps / members

    with repeatable(device):
        single(1)
        first = single(2)
        if device.type == "cpu" and first > SLOW:
            return {0: first}
        steps = max(3, min(20, round(0.05 / first)))
        times, forward = {0: min(single(steps) for _ in range(3))}, forward_of(setup.model)
        waits = 0  # how many numbers of members were tried since the best
        for members in LADDERS[device.type]:
            try:
                many(members, 1)
                rounds = 3 if members * steps * first < 0.5 else 2 if members * steps * first < 1 else 1
                times[members] = min(many(members, steps) for _ in range(rounds))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) and members != LADDERS[device.type][0]:
                    raise
                break  # no more fit; or, with the fewest, this network cannot be stacked at all
            best = min(times.values())
            waits = waits + 1 if times[members] > best else 0
            if members >= 4 and (waits > 1 or times[members] > NOISE * best):
                break
    return times


def _name(setup: Setup, recipe: Recipe) -> str:
    shape = "x".join(map(str, setup.data.shape))
    width = "" if recipe.width is None else f" width {recipe.width}"
    batch = f"batch {recipe.batch_size}" + (f" in {setup.precision}" if setup.precision != "float32" else "")
    return f"{recipe.model}{width}, {shape}, {batch}, {describe(setup.data.device)}, torch {torch.__version__}"


def recorded(setup: Setup, recipe: Recipe) -> dict:
    """The record for this network, batch size, precision and device; empty if there is none that is valid."""
    return remembered().get(_name(setup, recipe), {})


def remembered() -> dict[str, dict]:
    """The valid records in the user's cache by network, batch and device; empty if there are none or they cannot be read."""
    if (file := engines_file()) is None:
        return {}
    try:
        if file.stat().st_size > 2**20:
            return {}
        known = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {what: one for what, one in known.items() if _sound(one)} if isinstance(known, dict) else {}


def of_record(record: dict) -> Engine:
    """The engine in a record of `remembered`. Records of earlier versions name a precision, too, which must be float32.
    Raises BadInput for a record that is not valid."""
    fields = {**record["engine"]}
    choose(fields.pop("precision", "float32"), ("float32",), "remembered precision")
    return Engine(**fields)


def _sound(record: Any) -> bool:
    try:
        of_record(record)
        for members, time in {"0": None, **record[TIMES]}.items():
            check_number(int(members), "number of members", low=0, high=MOST)
            check_number(time, "time of a step", above=0)
        check_number(record.get(half.SHARE, 1.0), "share of float32's time", above=0)
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    return True


def _remember(name: str, record: dict) -> None:
    """Add a record to those that other processes may have added meanwhile."""
    if (file := engines_file()) is None:
        return
    with suppress(OSError), locked(file):  # a cache that cannot be written: the probe is made again next time
        choices = remembered() | {name: record}
        write_whole(file, lambda path: path.write_text(json.dumps(choices, indent=1) + "\n"))
