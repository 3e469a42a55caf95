"""Which way to train a set of jobs: one after the other, many at once, or many at once with a recorded or compiled step.

All give the same results, up to the rounding of sums; which is fastest depends on network, batch, device, and on how much
there is to train. A probe of some seconds measures it, and the choice is remembered in a file of the user's cache;
`--engine` overrides it.
"""

import copy
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from retrainlab import paths
from retrainlab.checks import BadInput, check_number, choose
from retrainlab.config import ENGINES, Recipe
from retrainlab.device import describe, free, out_of_memory
from retrainlab.models import apart
from retrainlab.parsing import parsed, read_file
from retrainlab.paths import engines_file, locked, write_whole
from retrainlab.training import half, loop, together
from retrainlab.training.slots import in_slots
from retrainlab.training.state import Job, Setup, State, Trained
from retrainlab.training.timing import Trial, probe
from retrainlab.training.ways import Way

KINDS = tuple(kind for kind in ENGINES if kind != "auto")
TOGETHER = {"cpu": "batched", "cuda": "graph"}  # the kind that trains many members at once, by device
USUAL = {"cpu": 8, "cuda": 16}  # number of members of an engine that is taken without a probe
MOST = 4096  # members of any engine
TIMES = "ms_per_member_step"
CLEARLY = 0.85  # an engine is taken if it takes less than this share of the loop's time
AT_ALL = 0.95  # a number of members counts for `least` if it does
REBUILD = {"batched": 0.0, "graph": 500.0, "compiled": 30_000.0}  # of a `Way`, about, on an H100
LONG = 60.0  # seconds: for less work it is not tried what compiling the steps gives


@dataclass(frozen=True)
class Engine:
    """A way to train jobs.

    kind: a name of ENGINES but auto. members: how many slots train at once. least: with fewer, the loop is faster. unfolded:
    see `stacking.forward_of`. seconds: how long one step takes per member, 0 if no probe has measured it. compiled: the same
    for steps that are compiled; compiling: how many seconds it takes to compile them for a number of members.
    """

    kind: str = "loop"
    members: int = 1
    least: int = 2
    seconds: float = 0.0
    unfolded: bool = False
    compiled: float = 0.0
    compiling: float = 0.0

    def __post_init__(self) -> None:
        choose(self.kind, KINDS, "engine")
        check_number(self.members, "number of members", low=1, high=MOST, whole=True)
        check_number(self.least, "least number of members", low=1, high=MOST, whole=True)
        check_number(self.seconds, "seconds of a step", low=0)
        if not isinstance(self.unfolded, bool):
            raise BadInput(f"An engine unfolds or does not, True or False; {self.unfolded!r} is neither.")
        check_number(self.compiled, "seconds of a compiled step", low=0)
        check_number(self.compiling, "seconds of compiling", low=0)

    def __str__(self) -> str:
        if self.kind == "loop":
            return "loop"
        also = f", compiled from {self.pays_from:,.0f} steps on" if self.pays_from < math.inf else ""
        return f"{self.kind}, up to {self.members} at once{also}"

    @property
    def pays_from(self) -> float:
        """For how many steps of one member, all together, compiling pays; infinite if never, or if it was not measured."""
        gain = self.seconds - self.compiled if self.kind == "graph" and self.compiled else 0.0
        return self.compiling / gain if gain > 0 else math.inf

    def within(self, seconds: float) -> "Engine":
        """The engine for work that is to end in so many seconds: it compiles nothing that would not pay by then."""
        gain = 1 - self.compiled / self.seconds if self.compiled and self.seconds else 0.0
        return self if seconds * gain > self.compiling else replace(self, compiled=0.0)

    def way(self, setup: Setup, steps: float) -> Way:
        """How this engine makes that many steps of one member, all together."""
        compiled = (self.kind == "compiled" or steps > self.pays_from) and not setup.noisy
        rebuild = REBUILD["compiled" if compiled else self.kind]
        if compiled and self.compiled:
            rebuild = self.compiling / self.compiled
        how = dict(recorded=self.kind != "batched", compiled=compiled, unfolded=self.unfolded)
        return replace(Way.of(setup.model, **how, rank=setup.data.rank), rebuild=rebuild)

    def train(
        self, setup: Setup, jobs: Sequence[Job], stop: Callable[[], bool] | None = None
    ) -> Iterator[tuple[int, Trained]]:
        """Train all jobs, the longest first; yields (place in `jobs`, Trained) as each ends. If memory runs out, half as
        many train at once from there on. A network that cannot be stacked trains one job after the other."""
        if self.kind == "loop" or not setup.stackable:
            for place in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].curve)):
                yield place, loop.train(setup, jobs[place], stop)
            return
        setup = replace(setup, model=apart(setup.model))
        members = self.members
        groups: dict[tuple, list[int]] = {}
        for place, job in enumerate(jobs):
            kind = (type(job.method), tuple(job.start.params), job.step, job.seed if setup.noisy else None)
            groups.setdefault(kind, []).append(place)
        for group in groups.values():
            while group:
                slots = in_slots([jobs[place] for place in group])[:members]
                places = [group[i] for slot in slots for i in slot]
                if len(slots) < self.least:
                    group.remove(places[0])
                    yield places[0], loop.train(setup, jobs[places[0]], stop)
                    continue
                chunk = [jobs[place] for place in places]
                way = self.way(setup, sum(len(jobs[group[slot[0]]].curve) - chunk[0].step for slot in slots))
                methods = copy.deepcopy([job.method for job in chunk])  # as they are before they count a step
                try:
                    for i, trained in together.train(setup, chunk, stop, way):
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
                else:
                    continue
                free(setup.data.device)  # here, where the error no longer holds what was tried


def forced(kind: str, device: torch.device) -> Engine:
    """The engine of that kind, without a probe. Raises BadInput for one that this device does not have."""
    choose(kind, ENGINES, "engine")
    if kind in ("graph", "compiled") and device.type != "cuda":
        raise BadInput(f"The engine '{kind}' needs a CUDA GPU; use --engine batched, loop or auto.")
    return Engine() if kind == "loop" else Engine(kind, USUAL[device.type], 1, unfolded=device.type == "cuda")


def fastest(
    setup: Setup, start: State, recipe: Recipe, tell: Callable[[str], None] | None = None, steps: float = 0.0
) -> Engine:
    """The engine for this network, batch size, precision and device: the remembered one, or else that of a probe, which is
    announced to `tell`. Without `tell` there is no probe, and the loop is taken. steps: of one member, all together, that
    are to be made, as far as it is known: compiling them is tried where they are many."""
    name, kind, record = _name(setup, recipe), TOGETHER[setup.data.device.type], record_of(setup, recipe)
    engine = of_record(record) if record else None
    if tell is not None and kind == "graph" and "unfolded" not in record.get("engine", {}):
        engine = None  # measured before there were patches, which changed every time
    if engine is None or engine.kind not in ("loop", kind):
        if tell is None:
            return Engine()
        tell(f"trying which engine is fastest for {recipe.model}")
        times = probe(setup, start)
        engine = _with_patches(decide(times, kind), setup, start)
        record = {TIMES: {str(m): round(1e3 * t, 3) for m, t in times.items()}}
        record |= half.measured(setup, start, 0 if engine.kind == "loop" else engine.members)
        _remember(name, record | {"engine": asdict(engine)})
    untried = engine.kind == "graph" and not engine.compiling and not setup.noisy
    if untried and tell is not None and steps * engine.seconds > LONG:
        tell(f"trying whether compiling pays for {recipe.model}")
        engine = _compiled(engine, setup, start)
        _remember(name, record | {"engine": asdict(engine)})
    return engine


def decide(times: dict[int, float], kind: str) -> Engine:
    """The engine for measured seconds per member-step, by the number of members, the loop's at 0. The loop is taken unless
    it is clearly beaten."""
    best = min(times, key=lambda members: times[members])
    if times[best] >= CLEARLY * times[0]:
        return Engine(seconds=times[0])
    least = min(m for m, t in times.items() if m and t < AT_ALL * times[0])
    return Engine(kind, best, least, seconds=times[best])


def _tried(trial: Trial, members: int) -> float:
    """Seconds of a member's step; infinite if memory runs out."""
    try:
        return trial.seconds(members)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
    free(trial.setup.data.device)
    return math.inf


def _with_patches(engine: Engine, setup: Setup, start: State) -> Engine:
    """The engine, with patches where that is faster and there is memory for them."""
    if engine.kind != "graph":
        return engine
    unfolded = _tried(Trial(setup, start, unfolded=True), engine.members)
    return replace(engine, unfolded=True, seconds=unfolded) if unfolded < engine.seconds else engine


def _compiled(engine: Engine, setup: Setup, start: State) -> Engine:
    """The engine, knowing what compiling gives and takes: nothing, where it fails or memory runs out."""
    trial, began = Trial(setup, start, unfolded=engine.unfolded, compiled=True), time.perf_counter()
    try:
        compiled = _tried(trial, engine.members)
    except BadInput:
        compiled = math.inf
    compiled = compiled if compiled < math.inf else engine.seconds
    return replace(engine, compiled=compiled, compiling=time.perf_counter() - began)


def _name(setup: Setup, recipe: Recipe) -> str:
    return _named(replace(recipe, precision=setup.precision), setup.data.shape, setup.data.device)


def _named(recipe: Recipe, shape: tuple[int, ...], device: torch.device) -> str:
    width = "" if recipe.width is None else f" width {recipe.width}"
    batch = f"batch {recipe.batch_size}" + (f" in {recipe.precision}" if recipe.precision != "float32" else "")
    images = "x".join(map(str, shape))
    return f"{recipe.model}{width}, {images}, {batch}, {describe(device)}, torch {torch.__version__}"


def record_of(setup: Setup, recipe: Recipe) -> dict:
    """The record for this network, batch size, precision and device; empty if there is none that is valid."""
    return remembered().get(_name(setup, recipe), {})


def seconds_of(recipe: Recipe, shape: tuple[int, ...], device: torch.device) -> float:
    """Seconds of a member's step as they are remembered for images of that shape; 0 if they are not."""
    record = remembered().get(_named(recipe, shape, device))
    return of_record(record).seconds if record else 0.0


def remembered() -> dict[str, dict]:
    """The valid records in the user's cache by network, batch and device; empty if there are none or they cannot be read."""
    if (file := engines_file()) is None:
        return {}
    try:
        known = parsed(read_file(file, 2**20), finite=False)  # one bad entry costs no other
    except (OSError, ValueError):
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
        paths.probe(file.parent)  # what killed writers left goes
        choices = remembered() | {name: record}
        write_whole(file, lambda path: path.write_text(json.dumps(choices, indent=1) + "\n"))
