"""One rule for every verdict, fixed before any data are read.

A claim is a sentence in parts, each of which is about a mean over seeds. A part says on which side of a boundary this mean
lies: above 0 where something is to be better, above -MARGIN where it is to be as good. A two-sided t-test of the seeds'
values against the boundary gives a p-value (values are differences between runs of one seed, so that it is a paired test);
those of all parts of all claims of a table are one family and corrected for their number (Holm 1979). So where every mean
lies on its boundary, at most 5 % of tables say anything. A part holds if its corrected p-value is at most ALPHA and its mean
lies on the right side, it fails if the mean lies on the other, and is open else. A claim is *supported* if all its parts
hold, *contradicted* if one fails, *undecided* else, and *not tested* where there are no data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from retrainlab import stats
from retrainlab.checks import choose

ALPHA = 0.05  # of a whole table
MARGIN = 0.5  # percentage points, within which one thing is as good as another
POWER = 0.8  # with which the smallest difference is found
ROUNDING = 1e-3  # nats of test loss by which one training may miss itself where its sums are taken in another order
SUPPORTED, CONTRADICTED, UNDECIDED, NOT_TESTED = "supported", "contradicted", "undecided", "not tested"
HOLDS, FAILS, OPEN = "holds", "fails", "open"
SIDES = ("above", "below", "exactly")


@dataclass(frozen=True)
class Part:
    """What a claim says of one mean.

    says: in words. figure: whose runs it is about. values: a number for each seed, in `unit` ("points" are percentage
    points). boundary: the mean lies above it if the part is true, or below it for the side "below"; "exactly" asks that
    each value is the boundary, but for what ROUNDING does, which is seen and needs no test.
    """

    says: str
    figure: str
    values: tuple[float, ...]
    boundary: float = 0.0
    side: str = "above"
    unit: str = "points"

    def __post_init__(self) -> None:
        choose(self.side, SIDES, "side of a boundary")


@dataclass(frozen=True)
class Judged:
    """A part with what the data say of it.

    mean, low, high: with its 95 % interval over n seeds, not corrected. p: corrected over the family, NaN where there is no
    test. smallest: the distance from the boundary that a test of so many seeds with such a spread, corrected as the family's
    first, finds with POWER; NaN where there is no test. state: HOLDS, FAILS or OPEN.
    """

    part: Part
    mean: float
    low: float
    high: float
    n: int
    p: float
    smallest: float
    state: str


def judge(parts: Sequence[Part]) -> list[Judged]:
    """Every part with its state; they are one family."""
    corrected = stats.holm([p_value(part) for part in parts])
    tests = int(np.isfinite(corrected).sum())
    return [_judged(part, p, tests) for part, p in zip(parts, corrected)]


def p_value(part: Part) -> float:
    """Of a two-sided paired t-test of the values against the boundary; NaN for fewer than `stats.SEEDS`, and where there is
    nothing to test; 1 where all values are equal."""
    return math.nan if part.side == "exactly" else stats.p_value(np.subtract(part.values, part.boundary))


def states(parts: Sequence[Part]) -> list[str]:
    """The states alone, which need no power."""
    return [_state(part, p) for part, p in zip(parts, stats.holm([p_value(part) for part in parts]))]


def _state(part: Part, p: float) -> str:
    if part.side == "exactly":
        near = all(abs(x - part.boundary) <= ROUNDING for x in part.values)
        return OPEN if not part.values else HOLDS if near else FAILS
    if not p <= ALPHA:
        return OPEN
    return HOLDS if (np.mean(part.values) > part.boundary) == (part.side == "above") else FAILS


def _judged(part: Part, p: float, tests: int) -> Judged:
    n = len(part.values)
    spread = float(np.std(part.values, ddof=1)) if math.isfinite(p) else 0.0
    smallest = spread * effect(n, tests) if spread else math.nan
    return Judged(part, *stats.difference(part.values), n, float(p), smallest, _state(part, p))


@lru_cache(maxsize=256)
def effect(n: int, tests: int) -> float:
    """The mean over the standard deviation that a two-sided t-test of n values, the first of so many in Holm's order, finds
    with POWER."""
    from scipy.optimize import brentq
    from statsmodels.stats.power import TTestPower  # a second to load

    # its own solver does not converge for three values
    def power(size: float) -> float:  # to find it on its side, where half of the errors are allowed
        return TTestPower().power(size, n, ALPHA / tests / 2, alternative="larger")

    return float(brentq(lambda size: power(size) - POWER, 1e-3, 1e3))


def verdict(states: Sequence[str]) -> str:
    """The verdict on a claim whose parts have these states."""
    if not states:
        return NOT_TESTED
    if FAILS in states:
        return CONTRADICTED
    return SUPPORTED if set(states) == {HOLDS} else UNDECIDED
