"""Work for workers in tests; it loads no torch, so that they start soon."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil

from retrainlab.paths import stored_file, write_whole
from retrainlab.study.serving import Unfinished, advance


def note(path: Path) -> None:
    """Work that leaves a file with the process's number."""
    path.write_text(str(os.getpid()))


def write_slowly(path: Path) -> None:
    """Work that is at writing `path` for long, and says so by a file beside it."""

    def fill(temporary: Path) -> None:
        temporary.write_text("half")
        path.with_suffix(".begun").touch()
        time.sleep(600)

    write_whole(path, fill)


def workers_of(parent: psutil.Process) -> list[psutil.Process]:
    """The workers of a study among a process's children, of which there are others, too: what tracks resources, what other
    tests have started, and what has ended and waits to be collected."""
    out = []
    for child in parent.children():
        with suppress(psutil.NoSuchProcess):  # a zombie's name in psutil, too
            if "retrainlab.study.serving" in " ".join(child.cmdline()):
                out.append(child)
    return out


def die(path: Path | None = None) -> None:
    """Work that kills its process; with `path`, the first time only, and the second it notes who else is there."""
    if path is not None and path.exists():
        path.write_text(str(len(workers_of(psutil.Process().parent()))))
    else:
        if path is not None:
            path.touch()
        signal.raise_signal(signal.SIGKILL)


def run_out(path: Path, error: Exception) -> None:
    """Work that has not enough memory, the first time."""
    if not path.exists():
        path.touch()
        raise error


def fail(error: Exception) -> None:
    raise error


def leave() -> None:
    """Work that has made one of its runs when its time is over."""
    raise Unfinished(1)


def make_runs(root: Path, nouns: list[str]) -> None:
    """Work that makes some runs, each a file of a store. One that is named `deadly` kills its process each time that it is
    begun, and one that is named `once` the first time."""
    for noun in nouns:
        with open(root / "begun", "a") as diary:
            diary.write(f"{noun}\n")
        if noun.startswith("deadly") or noun.startswith("once") and (root / "begun").read_text().count(noun) == 1:
            signal.raise_signal(signal.SIGKILL)
        write_whole(stored_file(root, "results", noun), lambda path, noun=noun: path.write_text(noun))


class Odd(Exception):
    """Cannot be unpacked from its pickle."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def odd() -> None:
    raise Odd(1, 2)


def half(seconds: float) -> None:
    """Work that is half done after so long, and then lasts for as long."""
    for share in (0.5, 1.0):
        time.sleep(seconds)
        advance(share, 1)


def half_then_die(path: Path) -> None:
    advance(0.25 if path.exists() else 0.5, 1)
    time.sleep(1)
    die(path)
