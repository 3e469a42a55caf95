"""How far a study is: one line on stderr, rewritten in place where somebody watches, and a line now and then in a log.

tqdm does only the first: it writes its carriage returns into logs, too, and counts what came before the work (a probe, the
start of processes) as work when it estimates the time left.
"""

import io
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

TRUSTED = 3.0, 0.02, 60.0  # an estimate needs so many seconds and this share of the work, or so many seconds alone
BESIDES = 1.0  # what evaluations, pruning and a method's own work add at most, about, as a share of the steps' time
MOMENT = 0.5  # seconds; advances within it count as one, as those of runs that train together


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def span(training: float, other: float = 0.0) -> str:
    """`2 h 00 min to 4 h 00 min`: how long it takes. training: seconds of the steps alone, beside which evaluations, pruning
    and a method's own work take as long again at most, about. other: seconds of all other work."""
    return f"{duration(training + other)} to {duration((1 + BESIDES) * training + other)}"


Tell = Callable[[float, str], None]
"""Takes how much of the work is done, a share from 0 to 1 that never falls, and words on what is done now."""


class Left:
    """The time left, by the pace of the later half of the work so far; None until there is a pace to trust.

    The clock starts with the first advance: what came before (a probe, the start of processes, what was stored) is no work.
    """

    def __init__(self) -> None:
        self.share, self.first = 0.0, 0.0
        self.end: float | None = None
        self.marks: deque[tuple[float, float]] = deque()  # (time, share) in the later half of the work

    def add(self, now: float, share: float) -> None:
        """share: of all the work, done at `now` (seconds of any clock)."""
        if share <= self.share:
            return
        self.share = share
        self.first = self.first if self.marks else now
        worked = now - self.first
        if self.marks and now - self.marks[-1][0] < max(MOMENT, worked / 100):
            self.marks[-1] = self.marks[-1][0], share
        else:
            self.marks.append((now, share))
        least, enough, long = TRUSTED
        while len(self.marks) > 1 and self.marks[1][0] <= now - max(least, worked / 2):
            self.marks.popleft()
        seconds, gained = now - self.marks[0][0], share - self.marks[0][1]
        if seconds >= least and gained > 0 and (gained >= enough or seconds >= long):
            self.end = now + (1 - share) * seconds / gained

    def at(self, now: float) -> float | None:
        """Seconds left; None where nothing is known, or what was known has proved wrong."""
        end = self.end  # another thread may set it
        return None if end is None or now > end else end - now


class Stages:
    """Counts the stages of a piece of work as one: `stage` begins the next, `tell` says how far it is.

    total: the weights of all stages together, in any unit of work such as epochs.
    hear: gets what is told; words are the stage's name when it begins, and empty after that.
    """

    def __init__(self, total: float, hear: Tell):
        self.total, self.hear = total, hear
        self.done, self.weight, self.name = 0.0, 0.0, ""

    def stage(self, name: str, weight: float) -> None:
        """End the stage before and begin this one. weight: in the unit of `total`."""
        self.done, self.weight = self.done + self.weight, weight
        if name != self.name:
            self.name = name
            self.tell(0.0, name)

    def tell(self, share: float, words: str = "") -> None:
        """Say that this share of the stage, 0 to 1, is done; words: what begins within it, if anything."""
        self.hear((self.done + share * self.weight) / self.total, words)


class Progress:
    """A `Tell` that writes a line at most twice a second, to stderr unless `out` is given. A stream that cannot be written
    any more stops nothing. after: seconds of work without a line, for what mostly takes less."""

    def __init__(self, title: str, out: TextIO | None = None, after: float = 0.0):
        self.after, self.title, self.out = after, title, CalmLines(out or sys.stderr or io.StringIO())
        self.start, self.left = time.monotonic(), Left()
        self.written = float("-inf")
        self.length = 0

    def __call__(self, share: float, words: str) -> None:
        now = time.monotonic()
        self.left.add(now, share)
        if now - self.written < 0.5 and share < 1 or now - self.start < self.after:
            return
        self.written = now
        left = self.left.at(now)
        took = [duration(now - self.start)] if share >= 1 else [f"about {duration(left)} left"] if left else []
        text = ", ".join([f"{self.title}: {int(100 * share + 1e-9)}%", *took, words])[: self.out.columns - 1]
        self._pass("\r" + text.ljust(self.length))
        self.length = len(text)

    def close(self) -> None:
        """End the line, if there is one."""
        if self.length:
            self._pass("\n")
            self.length = 0

    def _pass(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self.out.write(text)
            self.out.flush()


class CalmLines:
    """A text stream for logs: of a line rewritten by carriage returns it passes on one state every `every` seconds, and
    the last. A terminal, and a notebook's page, get everything as it comes."""

    def __init__(self, out: TextIO, every: float = 10.0):
        self.out, self.every = out, every
        self.terminal = out.isatty()
        self.rewrites = self.terminal or type(out).__module__.startswith("ipykernel.")
        self.line, self.passed = "", -every  # the first state passes at once
        self.told = ""  # what was passed on of this line

    @property
    def columns(self) -> int:
        """How long a line can be that is rewritten in place; 80 in a terminal that does not say."""
        if not self.terminal:
            return sys.maxsize
        with suppress(OSError, ValueError):
            return os.get_terminal_size(self.out.fileno()).columns or 80
        return 80

    def write(self, text: str) -> int:
        if self.rewrites:
            return self.out.write(text)
        for piece in text.splitlines(keepends=True):
            fresh, ended = piece.rstrip("\r\n"), piece.endswith("\n")
            self.line = fresh if text.startswith("\r") else self.line + fresh
            late = time.monotonic() - self.passed >= self.every
            if self.line.strip() and self.line != self.told and (ended or (late and text.startswith("\r"))):
                self.out.write(self.line.rstrip() + "\n")
                self.told, self.passed = self.line, time.monotonic()
            if ended:
                self.line = self.told = ""
        return len(text)

    def flush(self) -> None:
        self.out.flush()
