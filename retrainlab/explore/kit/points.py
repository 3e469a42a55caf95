"""Control points of a drawn schedule: pairs of share of the run and learning rate, moved, added and removed in order."""

import math
from collections.abc import Sequence

from retrainlab.checks import BadInput

Points = tuple[tuple[float, float], ...]
FEWEST, MOST = 2, 8  # control points
GAP = 0.01  # share of the run that stays between neighbours
TOP = 0.25  # the largest learning rate that can be drawn: 2.5 times the peak of every preset


def _cosine(high: float, low: float, shares: Sequence[float]) -> Points:
    """Half a wave from `high` at the first share to `low` at the last."""
    first, length = shares[0], shares[-1] - shares[0]
    return tuple((x, round(low + (high - low) * (1 + math.cos(math.pi * (x - first) / length)) / 2, 4)) for x in shares)


# all have the same peak, so that they differ in shape alone
SHAPES: dict[str, Points] = {
    "LLR": ((0.0, 0.0), (0.1, 0.1), (1.0, 0.0)),
    "CLR": ((0.0, 0.0), *_cosine(0.1, 0.001, (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0))),
    "SLR": ((0.0, 0.0), (0.1, 0.1), (0.55, 0.1), (0.56, 0.01), (0.77, 0.01), (0.78, 0.001), (1.0, 0.001)),
    "FT": ((0.0, 0.001), (1.0, 0.001)),
    "cosine to 0": _cosine(0.1, 0.0, (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)),
    "late drop": ((0.0, 0.0), (0.1, 0.1), (0.8, 0.1), (1.0, 0.0)),
    "triangle": ((0.0, 0.0), (0.5, 0.1), (1.0, 0.0)),
    "two cycles": ((0.0, 0.0), (0.1, 0.1), (0.5, 0.0), (0.6, 0.1), (1.0, 0.0)),
}


def move(points: Points, place: int, share: float, lr: float) -> Points:
    """The points with that at `place` moved as near to (share, lr) as its neighbours, [0, 1] and [0, TOP] let it."""
    low = points[place - 1][0] + GAP if place else 0.0
    high = points[place + 1][0] - GAP if place < len(points) - 1 else 1.0
    x = round(min(max(round(share, 3), low), high), 6) if low <= high else points[place][0]
    return (*points[:place], (x, round(min(max(lr, 0.0), TOP), 4)), *points[place + 1 :])


def add(points: Points, place: int) -> tuple[Points, int]:
    """The points with one more, halfway from that at `place` to the next (from the last, to the one before), and its place.

    Raises BadInput where there is no room.
    """
    if len(points) == MOST:
        raise BadInput(f"A drawn curve has at most {MOST} points; remove one first.")
    left = min(place, len(points) - 2)
    (x0, y0), (x1, y1) = points[left : left + 2]
    if x1 - x0 < 2 * GAP:
        raise BadInput("There is no room between this point and the next; choose another point to add one beside.")
    return (*points[: left + 1], (round((x0 + x1) / 2, 6), round((y0 + y1) / 2, 6)), *points[left + 1 :]), left + 1


def remove(points: Points, place: int) -> Points:
    """The points without that at `place`. Raises BadInput where too few would be left."""
    if len(points) == FEWEST:
        raise BadInput(f"A drawn curve needs at least {FEWEST} points; add one first.")
    return points[:place] + points[place + 1 :]
