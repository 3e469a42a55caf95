"""Studies in processes that may be killed, and started again at once: they are forked from one that has loaded torch.

A study here writes which runs it begins, one a line, so that it is known what was made twice.
"""

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path

import pandas as pd
import torch
from sklearn.datasets import load_digits

from retrainlab.checks import BadInput, WorkerDied
from retrainlab.config import Recipe
from retrainlab.study import away, checkpoints, run, workers
from retrainlab.study.grids import grid
from retrainlab.study.results import Results

ROOT = Path(__file__).parents[2]
GRID = {"sparsities": (0.9,), "budgets": (0.5, 1.0), "schedules": ("FT", "LLR"), "seeds": 2}
PLAN = [replace(e, evaluations=1) for e in grid(Recipe(model="mlp", width=8, epochs=1), **GRID)]
LONGEST = 150  # seconds after which a study that hangs is ended
THINGS = 12  # two first trainings, their masks, and eight results
Change = Callable[[Path], dict]
"""What is done in a study's process before it begins, told its store; gives further arguments of `run_study`."""


@dataclass(frozen=True)
class Order:
    """A study that is to begin. out: a file for its table or its last words; its diary has the same name."""

    store: Path
    out: Path
    change: Change | None = None


class Forks:
    """The process that forks: `start` begins a study and gives its number, which `wait` takes."""

    def __init__(self) -> None:
        more = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": ROOT}
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.popen = subprocess.Popen([sys.executable, "-m", "tests.helpers.forks"], env=environment, **more)

    def start(self, order: Order) -> int:
        """Begin a study in a process group of its own; its number."""
        return self._ask(order)

    def wait(self, study: int) -> int:
        """Wait for a study's end; how it ended, negative for a signal."""
        return self._ask(study)

    def kill(self, study: int) -> int:
        """Kill it and all of its processes; how it ended."""
        os.killpg(study, signal.SIGKILL)
        return self.wait(study)

    def close(self) -> None:
        """End the process that forks."""
        self.popen.communicate()

    def _ask(self, what: object) -> int:
        pickle.dump(what, self.popen.stdin)
        self.popen.stdin.flush()
        return pickle.load(self.popen.stdout)


@dataclass(frozen=True)
class Ended:
    """What became of a study: how its process ended, its table, its last words, and the runs that it began."""

    code: int
    table: pd.DataFrame | None
    said: str
    begun: list[str]


def ended(order: Order, code: int) -> Ended:
    """What became of an order whose process ended with that code."""
    what = pickle.loads(order.out.read_bytes()) if code == 0 else ""
    diary = order.out.with_suffix(".diary")
    begun = diary.read_text().split() if diary.exists() else []
    return Ended(code, None if isinstance(what, str) else what, what if isinstance(what, str) else "", begun)


def kept(store: Path) -> dict[str, bytes]:
    """The records that are there, by kind and key, with their content, tensors included."""
    files = [p for kind in ("dense", "pruned", "results") for p in (store / kind).glob("[!.]*")]
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in files if p.with_suffix(".json").exists()}


# ---- in a process ----------------------------------------------------------------------------------------------------


def keep_diary(path: Path) -> None:
    """From now on this process notes in that file the key of each run that it begins."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    real, made = Results.make_task, away.make

    def make_task(self, nouns, *more):
        for noun in nouns:
            os.write(file, f"{self.key(noun)}\n".encode())
        return real(self, nouns, *more)

    @wraps(made)
    def make(order, *starts):
        os.write(file, "".join(f"{key}\n" for key in order.keys).encode())
        return made(order, *starts)

    Results.make_task = make_task
    away.make = make


def study(order: Order) -> None:
    """Run the plan, and leave the table, or the sentence with which it ended."""
    signal.alarm(LONGEST)
    keep_diary(order.out.with_suffix(".diary"))
    file = open(order.out, "wb")  # it may be another user's then
    checkpoints.EVERY, workers.POLL = 0.0, 0.2
    more = {"store": order.store, "jobs": 1, "device": "cpu", "engine": "loop", "progress": lambda *_: None}
    try:
        what: object = run.run_study(PLAN, **more | (order.change(order.store) if order.change else {}))
    except (BadInput, WorkerDied) as error:
        what = str(error)
    with file:
        pickle.dump(what, file)


def serve() -> None:
    """Fork a study for each order, and answer with its number; wait for each number, and answer with how it ended."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    load_digits()  # to have loaded what it takes to do so
    while True:
        try:
            asked = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if isinstance(asked, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1])
        elif not (answer := os.fork()):
            code = 1
            try:
                os.setpgid(0, 0)
                study(asked)
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        else:
            with suppress(OSError):  # it has done so itself, and is over
                os.setpgid(answer, answer)
        pickle.dump(answer, out)
        out.flush()


if __name__ == "__main__":
    from tests.helpers import forks

    forks.serve()
