"""Charts that the browser draws: a plain description here, SVG by `chart.js`, in notebooks and in exported pages alike.

A chart is a dictionary that JSON knows, so that following a slider costs the kernel no drawing: `chart` puts panels
together, `panel` marks, and each other function makes one mark. Accuracies are in percent by the time they get here. A
number that is not finite, as of a network that has diverged, is a gap: JSON has no word for it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from retrainlab.figures import style

Mark = dict[str, Any]
Ends = tuple[float, float]
BLUE, ORANGE, GREEN, RED, GREY = "#0173b2", "#de8f05", "#029e73", "#c5472a", "#555555"
OTHER = {"color": ORANGE, "symbol": "*", "dash": "8 3 2 3"}  # a free or drawn schedule


def schedule(name: str) -> dict:
    """Colour, dashes and symbol of a retraining schedule, as in the figures; OTHER for any other curve."""
    if name not in style.SCHEDULES:
        return OTHER
    look = style.SCHEDULES[name]
    dash = None if look.dashes == "-" else " ".join(f"{2 * part:g}" for part in look.dashes[1])
    return {"color": look.color, "dash": dash, "symbol": look.marker}


def line(x: Iterable[float], y: Iterable[float | None], look: dict, **more: Any) -> Mark:
    """A line; None in y is a gap.

    look: color, dash, symbol. more: width (pixels), opacity, step (True holds each value until the next), marks (how many
    symbols, 0 for none), offset (the first point with a symbol).
    """
    return {"kind": "line", "x": _short(x), "y": _short(y), **look, **more}


def band(x: Iterable[float], low: Iterable[float], high: Iterable[float], color: str) -> Mark:
    """A shaded interval."""
    return {"kind": "band", "color": color} | _intervals(x, low, high)


def bars(x: Iterable[float], y: Iterable[float], width: float, color: str | Sequence[str], base: float = 0) -> Mark:
    """Bars around each x, from `base` to y; width in units of x; one colour, or one for each."""
    return {"kind": "bars", "x": _short(x), "y": _short(y), "width": width, "color": color, "base": base}


def errors(x: Iterable[float], low: Iterable[float], high: Iterable[float], color: str) -> Mark:
    """Vertical intervals."""
    return {"kind": "errors", "color": color} | _intervals(x, low, high)


def point(x: float, y: float, look: dict) -> Mark:
    """One large symbol."""
    return {"kind": "point", "x": x, "y": y, **look}


def level(y: float, label: str = "", *, right: bool = False, above: bool = False) -> Mark:
    """A dashed line across the panel and its words, below it at the left unless said otherwise."""
    return {"kind": "level", "y": y, "label": label, "right": right, "above": above}


def cut(x: float, label: str = "", color: str = RED, *, right: bool = False) -> Mark:
    """A vertical line and its words, to its right, or with `right` to its left."""
    return {"kind": "cut", "x": x, "label": label, "color": color, "right": right}


def span(start: float, end: float) -> Mark:
    """A grey part of the panel's background."""
    return {"kind": "span", "from": start, "to": end}


def panel(
    marks: Sequence[Mark], *, x: Ends, y: Ends, xlabel: str, ylabel: str = "", title: str = "", **more: Any
) -> dict:
    """Marks in a frame.

    x, y: the ends of its axes.
    more: xlog, ylog (True for a logarithmic axis); xticks, yticks (pairs of place and words in place of numbers); left
    (pixels for y's words); bare (True for no words on y).
    """
    placed = [m for m in marks if _placed(m)]
    return dict(marks=placed, x=x, y=y, xlabel=xlabel, ylabel=ylabel, title=title, **more)


def chart(
    panels: Sequence[dict],
    alt: str,
    *,
    width: int = 1060,
    height: int = 430,
    legend: Sequence[tuple[str, dict]] = (),
    columns: Sequence[float] = (),
    handles: dict | None = None,
) -> dict:
    """Panels side by side.

    alt: the chart in words, for those who do not see it.
    legend: pairs of name and look.
    columns: the panels' shares of the width, equal if empty.
    handles: points of a panel that can be dragged: `panel` (its place), `points` (pairs) and `names` (of the two numbers,
    for screen readers).
    """
    shares = list(columns) or [1 / len(panels)] * len(panels)
    lefts = [sum(shares[:i]) for i in range(len(shares))]
    placed = [p | {"at": [left, 0, share, 1]} for p, left, share in zip(panels, lefts, shares)]
    names = [{"name": name, **look} for name, look in legend]
    return {"width": width, "height": height, "alt": alt, "panels": placed, "legend": names, "handles": handles}


def _short(values: Iterable[float | None]) -> list[float | None]:
    """Five digits, which no eye can tell from all, and a third of the text; None for what is not finite."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.5g}") for v in values]


def _intervals(x: Iterable[float], low: Iterable[float], high: Iterable[float]) -> dict[str, list]:
    whole = [each for each in zip(_short(x), _short(low), _short(high)) if None not in each]
    return {name: [each[i] for each in whole] for i, name in enumerate(("x", "low", "high"))}


def _placed(mark: Mark) -> bool:
    """Whether a point, a level or a cut stands at finite numbers."""
    return all(math.isfinite(at) for name in ("x", "y") if isinstance(at := mark.get(name), int | float))
