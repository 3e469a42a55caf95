"""What goes wrong in the process of a study: each is a change of `forks`, given the study's store."""

import codecs
import multiprocessing
import os
import resource
import signal
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from retrainlab.study import away, claims, results
from retrainlab.study.store import Store

FILLER = "filler"


def nth(owner: type, name: str, number: int, then) -> None:
    """Let `then` happen before call `number` (from 1) of that method, and all that follow."""
    real, count = getattr(owner, name), [0]

    def called(*args, **more):
        count[0] += 1
        if count[0] >= number:
            then()
        return real(*args, **more)

    setattr(owner, name, called)


def fill(store: Path) -> None:
    """Take all room that the disk of the store has left."""
    with open(store / FILLER, "ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def full(owner: type, name: str, number: int, store: Path) -> dict:
    """The disk is full from a moment on."""
    nth(owner, name, number, partial(fill, store))
    return {}


def no_memory(number: int, store: Path) -> dict:
    """Memory runs out when that thing is to be kept, and later."""

    def run_out():
        raise MemoryError

    nth(Store, "put", number, run_out)
    return {}


def little_memory(more: int, store: Path) -> dict:
    """The process may take so many bytes more than it has, and no others."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more,) * 2)
    return {}


def wrong_clock(store: Path) -> dict:
    """The clock was set back by ten years, and is set back again and again; files have times of the future."""
    real, count = time.time, [0]

    def back() -> float:
        count[0] += 1
        return real() - 3e8 - 100 * count[0]

    time.time = back
    for file in store.rglob("*"):
        os.utime(file, (real() + 3e8,) * 2)
    return {}


def impatient(store: Path) -> dict:
    """Others are taken for dead within a second."""
    claims.PATIENCE = 1.0
    return {}


def still(store: Path) -> dict:
    """As `impatient`, and once all of its results are made but one, it stands still until it is woken."""
    claims.PATIENCE = 1.0
    nth(results.Results, "put", 7, partial(os.kill, os.getpid(), signal.SIGSTOP))
    return {}


def all_but_one(store: Path) -> dict:
    """Ends before the last of its results is made."""
    nth(Store, "put", 12, partial(os._exit, 9))
    return {}


def nobody(store: Path) -> dict:
    """The process is that of a user who may write nothing there."""
    codecs.lookup("cp437")  # of zip files; where Python lies at root's home, nobody can load it
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    return {}


class Wrong(Executor):
    """Does the work at once, and brings a number that is none from the first retraining."""

    def submit(self, work, /, *args):
        future: Future = Future()
        made = work(*args)
        if isinstance(made, away.Brought) and len(made.things) == 1 and hasattr(made.things[0][1], "scalars"):
            thing = made.things[0][1]
            thing = replace(thing, scalars=thing.scalars | {"test_accuracy": self.number})
            made = replace(made, things=((0, thing),))
        future.set_result(made)
        return future


def wrong_number(number: float, store: Path) -> dict:
    """What does the work elsewhere brings a number that is none."""
    executor = Wrong()
    executor.number = number
    return {"executor": executor}


class Killed(ProcessPoolExecutor):
    """Has one process, which is killed at the work of a number, counted from 1."""

    def __init__(self, number: int):
        super().__init__(1, multiprocessing.get_context("fork"))
        self.left = number

    def submit(self, work, /, *args):
        self.left -= 1
        return super().submit(work, *args) if self.left else super().submit(_die)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_executor(number: int, store: Path) -> dict:
    """The process of an executor is killed at some work."""
    return {"executor": Killed(number)}
