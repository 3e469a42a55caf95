"""Work that is carried out elsewhere: by any executor of processes, which may have another disk, device and clock.

A task takes its networks and masks along, and brings back what it has made; this process alone writes the store. The worker
resolves the device, says which engine is fastest there, and checks that data and code are those under whose key the results
are to be kept. What a sitting leaves unfinished comes back as files of checkpoints, and is sent along the next time.
"""

import json
import math
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import torch

from retrainlab.checks import BadInput, WorkerDied
from retrainlab.config import Recipe
from retrainlab.data.folders import printable
from retrainlab.device import describe, resolve
from retrainlab.paths import write_whole
from retrainlab.progress import Tell
from retrainlab.study import checkpoints, serving
from retrainlab.study.checkpoints import Checkpoints
from retrainlab.study.ledger import Task
from retrainlab.study.making import Noun, Pair, Thing, Watch, made_of, recipe_of, starts_of, trained_as
from retrainlab.study.measured import Dense, Pruned
from retrainlab.study.processes import Died
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.serving import Unfinished, advance
from retrainlab.study.sitting import Sitting
from retrainlab.study.speed import engine_of
from retrainlab.study.stages import prepare
from retrainlab.study.store import Store
from retrainlab.training.engine import Engine

T = TypeVar("T")
UNMEASURED = 1e-3  # seconds that a step is taken for where it was not measured, since there are few
AHEAD = 2  # tasks for each worker
KEPT = 64  # networks and masks that are held ready to be sent

_stopped: set[str] = set()  # studies whose work is not wanted any more
_alone = threading.Lock()  # one task at a time in a process: a GPU is for one, and torch's settings are the process's


class Lost(CancelledError):
    """A task is to be begun anew: what it starts from was lost with the worker that held it."""


@dataclass(frozen=True)
class Probed:
    """An engine, and the machine that it was measured on, empty if it was asked for."""

    engine: Engine
    machine: str = ""


@dataclass(frozen=True)
class Order:
    """What a worker is to make. study: a name, by which it can be stopped. keys: of the nouns, as the client knows them.
    device: by name. steps: of one member, all together, that are to be made in the whole study. left: seconds until work is
    to stop, None for no limit. files: checkpoints by name."""

    study: str
    nouns: tuple[Noun, ...]
    keys: tuple[str, ...]
    device: str
    probed: Probed
    steps: float
    left: float | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Brought:
    """What a worker has made, by the nouns' places, its tensors on the CPU; and checkpoints of the rest, by name."""

    things: tuple[tuple[int, Thing], ...]
    files: Mapping[str, bytes]


# ---- in a worker -----------------------------------------------------------------------------------------------------


def make(order: Order, dense: Sequence[Dense], pruned: Sequence[Pruned]) -> Brought:
    """Carry out an order, from the networks and masks that `starts_of` its nouns says, in that order."""
    begun = time.monotonic()
    with _alone, tempfile.TemporaryDirectory(prefix="retrainlab-") as folder:
        where, root = resolve(order.device), Path(folder)
        recipe = recipe_of(order.nouns[0])
        _check(order, Results(Store(root)))
        engine = _engine(order, recipe, where)
        until = math.inf if order.left is None else begun + order.left
        if order.left is not None:
            engine = engine.within(until - time.monotonic())
        _write(root, order.files)
        recipes, pairs = starts_of(order.nouns)
        starts = {r: _on(d, where) for r, d in zip(recipes, dense)}, {p: _on(m, where) for p, m in zip(pairs, pruned)}
        things: list[tuple[int, Thing]] = []

        def stop() -> bool:
            return time.monotonic() >= until or order.study in _stopped

        kept = Checkpoints(root, order.keys, str(engine))
        watch = Watch(stop=stop, tell=lambda share, _: advance(share, len(things)), checkpoints=kept)
        for noun, thing in made_of(order.nouns, *starts, where, engine, watch):
            things.append((order.nouns.index(noun), _on(thing, torch.device("cpu"))))
        done = {order.keys[place] for place, _ in things}
        files = {file.stem: file.read_bytes() for key, file in checkpoints.files(root) if key not in done}
    return Brought(tuple(things), files)


def stop(study: str) -> None:
    """Let the work for a study that runs in this process end soon."""
    _stopped.add(study)


def probe(recipe: Recipe, kind: str, device: str, steps: float, compiled: float) -> Probed:
    """Which engine trains a recipe where this runs; see `speed.engine_of`."""
    with _alone:
        setup, _ = prepare(recipe, where := resolve(device))
        engine = engine_of(setup, recipe, kind, steps, lambda words: None, compiled)
        return Probed(engine, describe(where) if kind == "auto" else "")


def _engine(order: Order, recipe: Recipe, where: torch.device) -> Engine:
    if order.probed.machine in ("", describe(where)):
        return order.probed.engine
    setup, _ = prepare(recipe, where)
    return engine_of(setup, recipe, "auto", order.steps, lambda words: None, order.steps)


def _write(root: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        write_whole(checkpoints.path(root, name), partial(Path.write_bytes, data=content))


def _check(order: Order, results: Results) -> None:
    """Raise BadInput where this machine would make something else under the same name."""
    if other := [noun for noun, key in zip(order.nouns, order.keys) if results.key(noun) != key]:
        raise BadInput(
            f"The worker on {socket.gethostname()} has other images of {printable(recipe_of(other[0]).data)}, or other "
            "code, than this machine, so that its results would be of something else; give both the same, and the same "
            "version of retrainlab."
        )


def _whole(thing: Thing) -> bool:
    """Whether what was made has numbers where it must."""
    result = thing if isinstance(thing, Result) else thing.result
    try:
        json.dumps(asdict(result), allow_nan=False)
    except ValueError:
        return False
    if isinstance(thing, Dense) and not result.outcome:
        return not any(t.isnan().any() for t in thing.state.params.values())
    return True


def _on(thing: T, where: torch.device) -> T:
    """What was made, its tensors on that device."""
    if isinstance(thing, Dense):
        return replace(thing, state=thing.state.map(lambda t: t.to(where)))
    if isinstance(thing, Pruned):
        masks, updated = ({name: t.to(where) for name, t in named.items()} for named in (thing.masks, thing.updated))
        return replace(thing, masks=masks, updated=updated)
    return thing


# ---- here ------------------------------------------------------------------------------------------------------------


class Away:
    """Carries out tasks by an executor of processes, which may be anywhere, and keeps what they bring.

    workers: how many work at once; ahead: how many tasks are under way for each, so that none waits for this process, of
    which a sitting sends one alone, since what waits would end after it. device, kind: as for `study.run_study`, there.
    Raises BadInput for threads, which share torch's settings.
    """

    here, alone = False, True

    def __init__(self, executor: Executor, workers: int, results: Results, device: str, kind: str):
        if isinstance(executor, ThreadPoolExecutor):
            raise BadInput(
                "Trainings set torch's own settings, which threads share: give an executor of processes, such as "
                "ProcessPoolExecutor, or jobs."
            )
        self.executor, self._workers, self.results, self.device, self.kind = executor, workers, results, device, kind
        self.ahead = AHEAD
        self.study = uuid.uuid4().hex[:8]
        self.probed: dict[Recipe, tuple[Probed, float]] = {}
        self._start = lru_cache(KEPT)(self._read)

    @property
    def count(self) -> int:
        """How many tasks are under way at once."""
        return self.ahead * self.workers

    @property
    def workers(self) -> int:
        """How many are thought to work at once."""
        return self._workers

    @property
    def words(self) -> str:
        """Where the work is done."""
        return "an executor of processes"

    def engine(self, recipe: Recipe, steps: float, compiled: float, tell: Tell) -> Engine:
        """Which engine a worker takes for a recipe; see `speed.paces`."""
        asked = recipe, self.kind, self.device, steps, compiled
        found = self.submit(f"probe {recipe.model}", lambda *_: None, probe, *asked)
        try:
            while not wait([found], timeout=0.5).done:
                tell(0.0, f"asking for an engine for {recipe.model}")
                self.check()
            self.probed[recipe] = found.result(), steps
        except BrokenExecutor as error:
            why = str(error).rstrip(".")
            raise WorkerDied(f"The executor broke ({why}) before any run began; the same call begins anew.") from None
        except (Died, Lost) as error:
            how = str(error) or "was lost"
            raise WorkerDied(f"A worker {how} when asked for an engine; see what it wrote before that.") from None
        engine = self.probed[recipe][0].engine
        return engine if engine.seconds else replace(engine, seconds=UNMEASURED)

    def check(self) -> None:
        """Raise BrokenExecutor if nobody is there any more."""

    def begin(self, task: Task, tell: serving.Tell) -> Future:
        """Begin a task."""
        sitting: Sitting | None = task.args[3]
        nouns, keys = tuple(part.noun for part in task.parts), tuple(part.key for part in task.parts)
        probed, steps = self.probed.get(trained_as(nouns[0]), (Probed(Engine()), 0.0))  # masks do not train
        left, files = (None, {}) if sitting is None else (sitting.left, dict(self._files(keys)))
        order = Order(self.study, nouns, keys, self.device, probed, steps, left, files)
        recipes, pairs = starts_of(nouns)
        starts = [self.sent(r) for r in recipes], [self.sent(p) for p in pairs]
        return self.submit(task.parts[0].name, tell, make, order, *starts)

    def keep(self, task: Task, value: Brought) -> None:
        """Put into the store what a task has brought. Raises Unfinished if that is not all, and Died if some of it is no
        number; the rest of it is kept."""
        results: Results = task.args[0]
        good = [(place, thing) for place, thing in value.things if _whole(thing)]
        for place, thing in good:
            results.put(task.parts[place].noun, thing)
        if len(good) < len(value.things):
            raise Died("has brought NaN or infinity where numbers must be")
        with results.store.writing():
            _write(results.store.root, value.files)
        if len(value.things) < len(task.parts):
            raise Unfinished(len(value.things))

    def rest(self) -> None:
        """Others' memory is not this one's to give back."""

    def finish(self) -> None:
        """Each task knows when it is to end."""

    def terminate(self) -> None:
        """What has begun is let be; its results are not waited for."""

    def close(self) -> None:
        """Let go what is held ready to be sent."""
        self._start.cache_clear()

    def submit(self, name: str, tell: serving.Tell, work: Callable, *args: object) -> Future:
        """`work(*args)` on a worker. name: what it is, for those who watch; tell: hears how far it is, if that is known."""
        return self.executor.submit(work, *args)

    def sent(self, start: Recipe | Pair) -> object:
        """What a task starts from, as `submit` takes it."""
        return self._start(start)

    def _read(self, start: Recipe | Pair) -> Dense | Pruned:
        cpu = torch.device("cpu")
        if isinstance(start, Recipe):
            return self.results.required(self.results.dense(start, cpu))
        return self.results.required(self.results.masks(*start, cpu))

    def _files(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Checkpoints of those runs."""
        for key, file in checkpoints.files(self.results.store.root):
            if key in keys:
                yield file.stem, file.read_bytes()
