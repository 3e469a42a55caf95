"""How figures look: colours, dashes and markers by name, and matplotlib's settings.

Colours are seaborn's colour-blind-safe palette, and every schedule has dashes and a marker of its own as well.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# written out, as is seaborn's style: to load seaborn, which only the map needs, would take a second a notebook
BLUE, ORANGE, GREEN, RED, PURPLE = "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"
BROWN, GREY, SKY = "#ca9161", "#949494", "#56b4e9"


@dataclass(frozen=True)
class Look:
    """Colour, marker and dashes: `-` for none, or matplotlib's offset and lengths in line widths."""

    color: str
    marker: str
    dashes: str | tuple[int, tuple[float, ...]] = "-"

    @property
    def marks(self) -> dict[str, Any]:
        """Colour and marker, by matplotlib's names."""
        return {"color": self.color, "marker": self.marker}


SCHEDULES = {
    "FT": Look(GREY, "o"),
    "LRW": Look(SKY, "s", (0, (4, 2))),
    "SLR": Look(GREEN, "v", (0, (1, 1))),
    "CLR": Look(PURPLE, "^", (0, (6, 1, 1, 1))),
    "LLR": Look(BLUE, "D"),
    "ALLR": Look(RED, "X", (0, (5, 1))),
}
DENSE = {
    "linear": Look(BLUE, "D"),
    "cosine": Look(PURPLE, "^", (0, (6, 1, 1, 1))),
    "multistep": Look(GREEN, "v", (0, (1, 1))),
    "step": Look(SKY, "s", (0, (4, 2))),
    "constant": Look(GREY, "o"),
}
METHODS = {
    "GMP": Look(BLUE, "o"),
    "GSM": Look(ORANGE, "s"),
    "DPF": Look(GREEN, "v"),
    "DNW": Look(PURPLE, "^"),
    "CS": Look(BROWN, "D"),
    "STR": Look(SKY, "X"),
    "DST": Look(BLUE, "P"),
    "LC": Look(ORANGE, "*"),
    "RigL": Look(GREEN, "<"),
    "Static": Look("0.35", ">"),
    "IMP": Look(RED, "h"),
}
ALLOCATIONS = {
    "global": Look(BLUE, "o"),
    "uniform": Look(RED, "s"),
    "erk": Look(GREEN, "v"),
    "lamp": Look(GREY, "^"),
    "random": Look(PURPLE, "D"),
}
SCORES = {
    "magnitude": Look(BLUE, "o"),
    "obd": Look(GREEN, "v", (0, (4, 2))),
    "obs": Look(RED, "D", (0, (6, 1, 1, 1))),
    "random": Look(GREY, "s", (0, (1, 1))),
}
MASKS = {"unstructured": Look(BLUE, "o"), "n:m": Look(GREEN, "v"), "filters": Look(RED, "s")}
ENCODINGS = {"dense": Look(GREY, "o"), "bitmask": Look(BLUE, "s"), "csr": Look(ORANGE, "^")}
DASHED: Any = (0, (2, 1.5))  # where a colour has two lines
VERDICTS = {"better": Look(BLUE, "^"), "undecided": Look("0.45", "o"), "worse": Look(RED, "v")}
OTHER = Look(ORANGE, "*")  # a method, an allocation or a score of one's own
_PLACES = tuple(map(Look, (BLUE, RED, GREEN, GREY, PURPLE, SKY, ORANGE), "osv^DXP"))
BARS: dict[str, Any] = {"elinewidth": 1.2, "capsize": 2, "markeredgecolor": "w", "markeredgewidth": 0.5}
"""How intervals are drawn at the points of lines."""
ROW_BARS: dict[str, Any] = {**BARS, "elinewidth": 1.3, "capsize": 2.5}
"""The same where each row has a mark of its own."""
LEVEL: dict[str, Any] = {"color": "0.15", "linestyle": (0, (2, 2)), "linewidth": 1.4}
RC: dict[Any, object] = {  # by matplotlib's names
    **{name: "0.15" for name in ("axes.labelcolor", "xtick.color", "ytick.color", "text.color")},
    **{"axes.grid": True, "axes.axisbelow": True, "xtick.bottom": False, "ytick.left": False},
    **{"lines.solid_capstyle": "round", "patch.edgecolor": "w", "patch.force_edgecolor": True},
    **{"font.sans-serif": ["Arial", "DejaVu Sans", "Liberation Sans", "Bitstream Vera Sans", "sans-serif"]},
    **{"font.size": 13, "axes.titlesize": 14, "axes.labelsize": 13, "legend.fontsize": 13},
    **{"axes.edgecolor": "0.4", "grid.color": "0.9", "lines.linewidth": 2.2, "lines.markersize": 7},
    **{"figure.facecolor": "w", "figure.dpi": 100, "svg.hashsalt": "retrainlab", "svg.fonttype": "path"},
}
ACCURACIES = [10, 50, 80, 90, 95, 98, 99]  # at the ticks of `by_errors`, in percent
POINTS = [-30, -10, -3, -1, 0, 1, 3, 10, 30]  # differences at the ticks of an axis that is logarithmic beyond one point
styled = matplotlib.rc_context(RC)  # decorates what draws


def place(i: int) -> Look:
    """The look of the i-th line where lines have no names of their own, such as numbers of cycles."""
    return _PLACES[i % len(_PLACES)]


def style(schedule: str) -> dict[str, Any]:
    """How a schedule's line is drawn and labelled in every figure, by matplotlib's names."""
    look = SCHEDULES[schedule]
    return {**look.marks, "linestyle": look.dashes, "label": schedule}


def by_schedule(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each schedule, in the order of SCHEDULES. Raises ValueError for one that has no look there."""
    return sorted(frame.groupby("schedule"), key=lambda pair: [*SCHEDULES].index(pair[0]))


def spread(line: pd.DataFrame, mean: str = "mean") -> list[pd.Series]:
    """How far the interval reaches to both sides of the mean, in percent."""
    return [100 * (line[mean] - line["low"]), 100 * (line["high"] - line[mean])]


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Put the legend of `axes` above the whole figure, in as many columns as it is wide enough for, at most so many."""
    told = axes.get_legend_handles_labels()
    for count in range(columns, 0, -1):
        made = figure.legend(*told, loc="outside upper center", ncols=count, frameon=False)
        if count == 1 or made.get_window_extent().width <= figure.bbox.width:
            return
        made.remove()


def ticks(axis: Axis, places: Sequence[float], words: Callable[[float], str] = "{:g}".format) -> None:
    """Put ticks and words at these places of a logarithmic axis, and nowhere else."""
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: words(x)))


def wrong(accuracy: float) -> float:
    """The share of wrong answers in percent, at least a tenth so that it has a logarithm; NaN where nothing is known."""
    return accuracy if math.isnan(accuracy) else max(0.1, 100 * (1 - accuracy))


def by_errors(ax: Axes, bottom: float, top: float) -> None:
    """Make a vertical axis of `wrong`, which goes from `bottom` up to `top` (or as far as there may be errors, where these
    are NaN), logarithmic, so that 10 % and 98 % accuracy both find room; its ticks are accuracies."""
    ax.set_yscale("log")
    ticks(ax.yaxis, [100 - accuracy for accuracy in ACCURACIES], lambda error: f"{100 - error:g}")
    ax.set_ylim(105 if math.isnan(bottom) else bottom, 0.08 if math.isnan(top) else top)


def signed(points: float) -> str:
    """`+3`, `-3` or `0`."""
    return f"{points:+g}" if points else "0"


def reach(differences: pd.DataFrame) -> tuple[float, float]:
    """The limits of an axis that shows all finite differences, in points, and one point to both sides at least."""
    ends = differences.to_numpy()
    ends = ends[np.isfinite(ends)]
    return 1.3 * min([*ends, -1.0]), 1.3 * max([*ends, 1.0])
