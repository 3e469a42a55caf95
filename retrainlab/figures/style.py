"""How figures look: colours, line styles and markers of the schedules, and matplotlib's settings."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

SCHEDULES = ("FT", "LRW", "SLR", "CLR", "LLR", "ALLR")
# seaborn's palette and style, written out: to load seaborn, which only the map needs, would take a second a notebook
PALETTE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9")
COLORS = dict(zip(SCHEDULES, [to_rgb(PALETTE[i]) for i in (7, 9, 2, 4, 0, 3)]))
_LINES = dict(zip(SCHEDULES, ["-", (0, (4, 2)), (0, (1, 1)), (0, (6, 1, 1, 1)), "-", (0, (5, 1))]))
_MARKERS = dict(zip(SCHEDULES, "osv^DX"))
LEVEL = {"color": "0.15", "linestyle": (0, (2, 2)), "linewidth": 1.4}
RC = {
    **{name: "0.15" for name in ("axes.labelcolor", "xtick.color", "ytick.color", "text.color")},
    **{"axes.grid": True, "axes.axisbelow": True, "xtick.bottom": False, "ytick.left": False},
    **{"lines.solid_capstyle": "round", "patch.edgecolor": "w", "patch.force_edgecolor": True},
    **{"font.sans-serif": ["Arial", "DejaVu Sans", "Liberation Sans", "Bitstream Vera Sans", "sans-serif"]},
    **{"font.size": 13, "axes.titlesize": 14, "axes.labelsize": 13, "legend.fontsize": 13},
    **{"axes.edgecolor": "0.4", "grid.color": "0.9", "lines.linewidth": 2.2, "lines.markersize": 7},
    **{"figure.facecolor": "w", "figure.dpi": 100, "svg.hashsalt": "retrainlab", "svg.fonttype": "path"},
}


def style(schedule: str) -> dict:
    """Colour, line style and marker of a schedule, the same in every figure."""
    return {"color": COLORS[schedule], "linestyle": _LINES[schedule], "marker": _MARKERS[schedule], "label": schedule}


def bare_line(schedule: str) -> dict:
    """The same without a marker."""
    return style(schedule) | {"marker": ""}


def in_order(names: Sequence[str]) -> list[str]:
    """Those of SCHEDULES that are named, in its order."""
    return [s for s in SCHEDULES if s in set(names)]


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """The legend of `axes`, above the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
