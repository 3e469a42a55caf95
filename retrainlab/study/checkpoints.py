"""Checkpoints on disk: what runs that were not finished have come to, so that they go on from there to the same bits.

    STORE/checkpoints/KEY-N.safetensors     training N (from 0) of the run with this key: under way, or ended

A run may be several trainings (cycles of pruning, copies that are averaged): those that have ended are kept as long as the
run has not, so that it can be carried out up to where it was without training again. A file holds its tensors, and in its
header a record in JSON with checksums of both, and what made it. It is written whole or not at all, and goes when the run's
result is kept. One that is damaged, or is of a training that starts from another network, is set aside with a word, and
that training begins anew. One of another engine, device or version of torch is good: the result is equal up to rounding.
"""

import json
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from retrainlab.checks import check_number
from retrainlab.keys import SCHEMA
from retrainlab.parsing import open_file, parsed
from retrainlab.paths import set_aside, stored_file, write_whole
from retrainlab.phrases import first_line
from retrainlab.study import seal
from retrainlab.study.older import Unfit
from retrainlab.study.result import versions
from retrainlab.training.state import Checkpoint, Job, Point, State, Trained

T = TypeVar("T")
EVERY = 60.0  # seconds from one checkpoint of what trains to the next,
RARELY = 20  # or so many times what it took to write the last one, if that is longer
HEADER = "checkpoint"
STATE = ("params", "buffers", "momentum")


@dataclass
class Checkpoints:
    """Keeps the trainings of runs that are carried out together.

    root: the store's folder. keys: of the runs, by place. engine: what trains them, in words. Where no file can be written,
    a warning says so, and the runs go on.
    """

    root: Path
    keys: Sequence[str]
    engine: str = ""
    ended: dict[str, tuple[Job, Trained]] = field(default_factory=dict)  # of runs under way, not written yet
    last: float = field(default_factory=time.monotonic)
    took: float = 0.0
    failed: bool = False

    def kept(self, place: int, course: Generator[Job, Any, T]) -> Generator[Job, Trained, T]:
        """The course of the run at `place`, whose trainings go on from their checkpoints, and are not asked for if they have
        ended. Training must be stopped by leaving the course where it is."""
        trained, number = None, 0
        while True:
            try:
                job = course.send(trained)
            except StopIteration as end:
                self._drop(self.keys[place])
                return end.value
            name = f"{self.keys[place]}-{number}"
            found = self._read(name, job)
            if isinstance(found, Trained):
                trained = found
                if job.on_point:
                    for point in trained.points:
                        job.on_point(point)
            else:
                going_on = replace(job, resume=found)
                trained = yield replace(going_on, keep=_Keep(self, name, going_on))
                self.ended[name] = job, trained
            number += 1

    def flush(self) -> None:
        """Write what has ended of runs that have not."""
        ended, self.ended = self.ended, {}
        for name, (job, trained) in ended.items():
            self._write(name, job, trained)

    def due(self) -> bool:
        """Whether it is time for the next checkpoints; the time starts again."""
        if due := time.monotonic() - self.last >= max(EVERY, RARELY * self.took):
            self.last, self.took = time.monotonic(), 0.0
        return due

    def put(self, name: str, job: Job, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, and before it what has ended of its run."""
        for other in [n for n in self.ended if n.rpartition("-")[0] == name.rpartition("-")[0]]:
            self._write(other, *self.ended.pop(other))
        if checkpoint.step > job.step:
            self._write(name, job, checkpoint)

    def _drop(self, key: str) -> None:
        self.ended = {name: both for name, both in self.ended.items() if name.rpartition("-")[0] != key}

    def _write(self, name: str, job: Job, thing: Checkpoint | Trained) -> None:
        begun = time.monotonic()
        tensors = {f"{part}/{n}": t for part in STATE for n, t in getattr(thing.state, part).items()}
        if isinstance(thing, Checkpoint):
            tensors |= {f"method/{n}": t for n, t in thing.method.items()}
            tensors |= {f"noise/{n}": t for n, t in thing.noise.items()}
            more = {"ended": False, "step": thing.step, "since": thing.since}
            tensors["loss_sum"] = torch.tensor(thing.loss_sum, dtype=torch.float64)  # JSON knows no NaN
        else:
            more = {"ended": True, "step": thing.steps, "since": 0}
        tensors = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
        record: dict[str, Any] = {"name": name, "schema": SCHEMA, "job": job_of(job), **more, "seconds": thing.seconds}
        record |= {"points": [asdict(p) for p in thing.points], "tensors": seal.of_tensors(name, tensors)}
        record |= {"made": {**versions(), "engine": self.engine}}
        try:
            record = json.loads(json.dumps(record, allow_nan=False))
            header = {HEADER: json.dumps({"sha256": seal.of_record(record)} | record)}
            write_whole(path(self.root, name), lambda there: save_file(tensors, there, header))
        except (OSError, SafetensorError) as error:
            if not self.failed:
                why = getattr(error, "strerror", None) or first_line(error)
                words = f"No checkpoint can be written in {folder(self.root)} ({why}); the runs go on without."
                warnings.warn(words, stacklevel=2)
            self.failed = True
        self.took += time.monotonic() - begun

    def _read(self, name: str, job: Job) -> Checkpoint | Trained | None:
        file = path(self.root, name)
        if not file.exists():
            return None
        try:
            return read(file, job)
        except Unfit as error:
            set_aside([file], self.root / "damaged", str(error), "and that training begins anew")
            return None


@dataclass(frozen=True)
class _Keep:
    """Keeps the checkpoints of one training."""

    all: Checkpoints
    name: str
    job: Job

    def due(self) -> bool:
        return self.all.due()

    def __call__(self, checkpoint: Checkpoint) -> None:
        self.all.put(self.name, self.job, checkpoint)


def job_of(job: Job) -> str:
    """A checksum of what a training is to do: its start, with masks, its learning rates, seed and points; in hex."""
    parts = {
        **{part: getattr(job.start, part) for part in STATE},
        "masks": job.method.masks,
        "curve": {"lr": job.curve},
    }
    tensors = {f"{part}/{n}": t.detach().cpu() for part, named in parts.items() for n, t in named.items()}
    return seal.of_tensors(json.dumps([type(job.method).__name__, job.seed, job.evaluations]), tensors)


def read(file: Path, job: Job) -> Checkpoint | Trained:
    """What a file of checkpoints holds, if it is of that training, on the device of its start. Raises Unfit."""
    try:
        open_file(file).close()  # a pipe would be waited for
        with safe_open(file, framework="pt") as opened:
            header, tensors = opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}
        record = parsed(header[HEADER])
        stamp = record.pop("sha256")
        if seal.of_record(record) != stamp or seal.of_tensors(file.stem, tensors) != record["tensors"]:
            raise Unfit("its content is not that of its checksum")
        if (record["name"], record["schema"]) != (file.stem, SCHEMA):
            raise Unfit("it holds another training")
        if record["job"] != job_of(job):
            raise Unfit("it belongs to a training that starts from another network, or goes another way")
        thing = _thing(record, tensors, job)
        _check(thing, job)
        return thing
    except (SafetensorError, OSError, LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise error if isinstance(error, Unfit) else Unfit(first_line(error)) from None


def _thing(record: dict, tensors: dict[str, Tensor], job: Job) -> Checkpoint | Trained:
    device = next(iter(job.start.params.values())).device
    named: dict[str, dict[str, Tensor]] = {part: {} for part in (*STATE, "method", "noise")}
    loss_sum = tensors.pop("loss_sum", torch.zeros(()))
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        named[part][rest] = tensor if part == "noise" else tensor.to(device)
    orders = {part: getattr(job.start, part) for part in STATE}
    state = State(**{part: {n: named[part][n] for n in order if n in named[part]} for part, order in orders.items()})
    points = tuple(Point(**p) for p in record["points"])
    if record["ended"]:
        return Trained(state, points, record["step"], record["seconds"])
    more = record["step"], points, loss_sum.item(), record["since"], record["seconds"]
    return Checkpoint(state, named["method"], named["noise"], *more)


def _check(thing: Checkpoint | Trained, job: Job) -> None:
    """Raise ValueError, LookupError, TypeError or RuntimeError for numbers and tensors that the training cannot go on from.
    A method may have learned tensors of its own besides, or have taken some away."""
    ended, most = isinstance(thing, Trained), len(job.curve)
    check_number(thing.steps if isinstance(thing, Trained) else thing.step, "step", low=0, high=most, whole=True)
    check_number(thing.seconds, "time of the steps", low=0)
    for point in thing.points:
        check_number(point.step, "step of a point", low=0, high=most, whole=True)
        for value in asdict(point).values():
            float(0.0 if value is None else value)
    for part in STATE:
        own, start = getattr(thing.state, part), getattr(job.start, part)
        if any(t.shape != start[n].shape or t.dtype != start[n].dtype for n, t in own.items() if n in start):
            raise Unfit("its tensors are not those of its network")
        if not ended and own.keys() != start.keys():
            raise Unfit("its tensors are not those of its network")
    if isinstance(thing, Checkpoint):
        check_number(thing.since, "number of steps since a point", low=0, high=most, whole=True)
        deepcopy(job.method).restore(thing.method)
        if any(t.dtype != torch.uint8 or t.dim() != 1 for t in thing.noise.values()):
            raise Unfit("it holds no state of a generator")


# ---- the files -------------------------------------------------------------------------------------------------------


def folder(root: Path) -> Path:
    """Where the checkpoints of the store in the folder `root` lie."""
    return root / "checkpoints"


def path(root: Path, name: str) -> Path:
    """The file of a training; name: its run's key and its number, such as 0123456789abcdef-0."""
    return folder(root) / f"{name}.safetensors"


def files(root: Path) -> Iterator[tuple[str, Path]]:
    """(key of the run, file) of every checkpoint in a store, in their order."""
    for file in sorted(folder(root).glob("[!.]*-*.safetensors")):
        yield file.stem.rpartition("-")[0], file


def left_over(root: Path) -> list[Path]:
    """Checkpoints that are of no use any more, since the store holds the result of their run."""
    return [f for key, f in files(root) if any(stored_file(root, kind, key).exists() for kind in ("dense", "results"))]


def remove(root: Path, key: str) -> None:
    """Remove the checkpoints of a run; what may not be removed stays."""
    for file in folder(root).glob(f"{key}-*.safetensors"):
        with suppress(OSError):
            file.unlink(missing_ok=True)
