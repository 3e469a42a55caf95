"""Progress in one line, rewritten in place; and a writer that turns it into calm lines where nobody watches live."""

import sys
import time
from typing import TextIO


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Call it with (work done, all work, a word on what is done); it writes at most twice a second.

    `out` is sys.stdout unless given. The time left is in proportion to the work that is left.
    """

    def __init__(self, title: str, out: TextIO | None = None):
        self.title, self.out = title, out or sys.stdout
        self.start = time.monotonic()
        self.written = 0.0
        self.length = 0

    def __call__(self, done: float, total: float, word: str) -> None:
        now = time.monotonic()
        if now - self.written < 0.5 and done < total:
            return
        self.written = now
        share = done / total if total else 1.0
        elapsed = now - self.start
        left = f"about {duration(elapsed / share * (1 - share))} left" if 0 < share < 1 else duration(elapsed)
        self._write(f"{self.title}: {word}, {share:.0%}, {left}")

    def close(self) -> None:
        """End the line."""
        if self.length:
            self.out.write("\n")
            self.out.flush()
            self.length = 0

    def _write(self, text: str) -> None:
        self.out.write("\r" + text.ljust(self.length))
        self.out.flush()
        self.length = len(text)


class CalmLines:
    """A text stream for logs: of a line rewritten by carriage returns it passes on one state every `every` seconds, and
    the last. A terminal gets everything as it comes."""

    def __init__(self, out: TextIO, every: float = 10.0):
        self.out, self.every = out, every
        self.line, self.passed = "", -every  # the first state passes at once

    def write(self, text: str) -> int:
        if self.out.isatty():
            return self.out.write(text)
        for piece in text.splitlines(keepends=True):
            fresh, ended = piece.rstrip("\r\n"), piece.endswith("\n")
            self.line = fresh if text.startswith("\r") else self.line + fresh
            late = time.monotonic() - self.passed >= self.every
            if self.line.strip() and (ended or (late and text.startswith("\r"))):
                self.out.write(self.line.rstrip() + "\n")
                self.passed = time.monotonic()
            if ended:
                self.line = ""
        return len(text)

    def flush(self) -> None:
        self.out.flush()
