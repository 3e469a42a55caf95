"""Figure 15, the claims: DataFrame -> matplotlib Figure."""

import pandas as pd
from matplotlib.figure import Figure

from retrainlab.figures.style import BLUE, GREY, RED, ROW_BARS, Look, legend, styled

STATES = {"holds": Look(BLUE, "o"), "open": Look(GREY, "s"), "fails": Look(RED, "X")}
FARTHEST = 20.0  # smallest differences; what lies beyond is drawn there


def distances(table: pd.DataFrame) -> pd.DataFrame:
    """How far each part's mean, and the ends of its interval, lie from its boundary on the side that the claim says, in
    units of the smallest difference that its seeds could have shown: columns claim, says, state, mean, low and high, NaN
    where there is no test."""
    sign = table["side"].map({"above": 1.0, "below": -1.0})
    ends = {end: sign * (table[end] - table["boundary"]) / table["smallest"] for end in ("mean", "low", "high")}
    turned = pd.DataFrame(ends)
    low, high = turned[["low", "high"]].min(axis=1), turned[["low", "high"]].max(axis=1)
    return table[["claim", "says", "state"]].assign(mean=turned["mean"], low=low, high=high)


@styled
def claims(table: pd.DataFrame) -> Figure:
    """Figure 15: a row for each part of each claim. table: that of `claims.report.frame`."""
    rows, labels = _rows(table)
    figure = Figure(figsize=(16, 2.0 + 0.36 * len(labels)), layout="constrained")
    ax = figure.subplots()
    ax.axvline(0, color="0.15", linewidth=1.4)
    ax.axvspan(-1, 1, color="0.93", zorder=0)
    for state, look in STATES.items():
        own = rows[(rows["state"] == state) & rows["mean"].notna()]
        mean, low, high = (own[end].clip(-FARTHEST, FARTHEST) for end in ("mean", "low", "high"))
        bars = [mean - low, high - mean]
        ax.errorbar(mean, own["row"], xerr=bars, linestyle="", label=state, **ROW_BARS, **look.marks)
    for _, untested in rows[rows["mean"].isna()].iterrows():
        ax.text(0.15, untested["row"], f"{untested['state']}, without a test", va="center", color="0.3")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(-1.15 * FARTHEST, 1.15 * FARTHEST)
    ax.set_xticks([-20, -5, -1, 0, 1, 5, 20], ["-20", "-5", "-1", "0", "1", "5", "20"])
    ax.set_yticks(range(len(labels)), labels)
    for text in ax.get_yticklabels():
        text.set_fontweight("bold" if text.get_text()[:1] == "C" and "  " in text.get_text() else "normal")
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("Distance from the boundary, in smallest differences\n(left: against the claim; right: for it)")
    legend(figure, ax, len(STATES))
    return figure


def _rows(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The parts with the places of their rows, and the labels of all rows: a claim with its verdict, then its parts."""
    labels: list[str] = []
    places = []
    for (claim, verdict), parts in table.groupby(["claim", "verdict"], sort=False):
        labels.append(f"{claim}  {verdict}")
        for says in parts["says"].dropna():
            places.append(len(labels))
            labels.append(says)
    return distances(table[table["says"].notna()]).assign(row=places), labels
