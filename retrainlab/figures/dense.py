"""Figure 11, dense training within a budget: its table, and DataFrame -> matplotlib Figure."""

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from retrainlab import stats
from retrainlab.figures.sentences import dense as sentences
from retrainlab.figures.style import BARS, DENSE, POINTS, by_errors, legend, reach, signed, spread, styled, ticks, wrong


def named(results: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """A study's rows of dense training, in which schedule is the dense run's, and budget the share that it has of so many
    epochs, to a thousandth."""
    return results.assign(schedule=results["dense_schedule"], budget=(results["epochs"] / epochs).round(3))


def compared(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Figure 11's table: each schedule of dense training against the schedule `baseline`, at each length.

    frame: that of `named`. Columns: those of `stats.compared` by epochs, budget and schedule; overall and overall_*, the
    same differences on average over the budgets (see `stats.overall`).
    """
    table = stats.compared(frame, ["epochs", "budget"], "test_accuracy", "schedule", baseline)
    return table.merge(stats.overall(frame, "test_accuracy", "schedule", baseline), on="schedule", how="left")


@styled
def dense(table: pd.DataFrame) -> Figure:
    """Figure 11: test accuracy of dense training over the share of the recipe's epochs, and differences to the baseline.

    table: that of `compared`.
    """
    baseline, budgets = sentences.baseline(table), sorted(table["budget"].unique())
    figure = Figure(figsize=(9.6, 8.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
    for i, name in enumerate(name for name in DENSE if name in set(table["schedule"])):
        line = table[table["schedule"] == name].sort_values("budget")
        look, x = DENSE[name], 100 * line["budget"] * 1.02 ** (i - 1.5)  # intervals side by side
        drawn: dict[str, Any] = {"label": name, "linestyle": look.dashes, **BARS, **look.marks}
        mean, low, high = (line[end].map(wrong) for end in stats.ENDS)
        top.errorbar(x, mean, yerr=[mean - high, low - mean], **drawn)
        if name != baseline:
            ends = line.filter(like="difference_").rename(columns=lambda column: column.removeprefix("difference_"))
            bottom.errorbar(x, 100 * ends["mean"], yerr=spread(ends), **drawn)
    accuracies = table[[*stats.ENDS]].replace([-math.inf, math.inf], math.nan)
    by_errors(top, min(105, 1.2 * wrong(accuracies.min(axis=None))), 0.85 * wrong(accuracies.max(axis=None)))
    bottom.axhline(0, color=DENSE[baseline].color, linewidth=1.6)
    bottom.set_yscale("symlog", linthresh=1)  # some tenths and some tens both find room
    bottom.set_ylim(reach(100 * table.filter(regex="^difference_")))
    ticks(bottom.yaxis, POINTS, signed)
    top.set_ylabel("Test accuracy (%)")
    bottom.set_ylabel(f"Difference to {baseline}\n(percentage points)")
    bottom.set_xlabel("Epochs trained (% of the recipe's)")
    top.set_xscale("log")
    ticks(bottom.xaxis, [100 * budget for budget in budgets], "{:.3g}".format)
    legend(figure, top, len(DENSE))
    return figure
