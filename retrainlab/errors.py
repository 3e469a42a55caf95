"""What went wrong, told in one sentence: what it was, what is allowed, what to do."""

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real


class _Sentence:
    """An exception whose sentence says all: a notebook shows it without a stack trace."""

    def _render_traceback_(self) -> list[str]:  # IPython's hook
        return [f"retrainlab: {self}"]


class BadInput(_Sentence, ValueError):
    """Raised before any work starts. The CLI prints its sentence and exits with 2."""


class Stopped(_Sentence, KeyboardInterrupt):
    """A study was stopped by the user; its sentence says what is kept. The CLI exits with 130."""


class Failed(_Sentence, RuntimeError):
    """Some of what was asked could not be made; its sentences say what, and what is kept. The CLI exits with 1."""


class WorkerDied(Failed):
    """A worker ended for lack of memory, or without a word; its sentence says what is kept. The CLI exits with 1."""


def choose(name: str, allowed: Iterable[str], what: str, more: str = "") -> str:
    """Return `name` if it is one of `allowed`; otherwise raise BadInput that names the nearest right one.

    more: what is allowed besides, in words.
    """
    allowed = list(allowed)
    if name in allowed:
        return name
    lower = {a.lower(): a for a in allowed}
    near = get_close_matches(str(name).lower(), lower, n=1, cutoff=0.5)
    hint = f"did you mean '{lower[near[0]]}'? " if near else ""
    raise BadInput(f"There is no {what} '{name}': {hint}Allowed: {', '.join([*allowed, *([more] if more else [])])}.")


def shortened(names: Sequence[str], most: int) -> str:
    """The first `most` of the names, and how many more there are: `a, b, and 3 more`."""
    more = [f"and {len(names) - most:,} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def check_number(
    value: float,
    what: str,
    *,
    above: float | None = None,
    low: float | None = None,
    high: float | None = None,
    whole: bool = False,
) -> None:
    """Raise BadInput unless `value` is a number with `above` < value, `low` <= value <= `high` (each if given)."""
    bounds = []
    if above is not None:
        bounds.append(f"above {above:g}")
    if low is not None:
        bounds.append(f"at least {low:g}")
    if high is not None:
        bounds.append(f"at most {high:g}")
    kind = "a whole number" if whole else "a number"
    types = Integral if whole else Real
    good = isinstance(value, types) and not isinstance(value, bool) and _finite(value)
    good = good and (above is None or value > above)
    good = good and (low is None or value >= low) and (high is None or value <= high)
    if not good:
        raise BadInput(f"The {what} is {value!r}, but must be {kind} {' and '.join(bounds)}.".replace(" .", "."))


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False
