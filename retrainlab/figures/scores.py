"""Figure 10, does a better prune make retraining needless: its table, and DataFrame -> matplotlib Figure."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retrainlab import stats
from retrainlab.figures import style
from retrainlab.figures.style import BARS, LEVEL, OTHER, by_errors, legend, styled, wrong
from retrainlab.phrases import percent, share


def compared(frame: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Figure 10's table: each score against the score `baseline`, straight after the prune and after each retraining.

    frame: a study's rows; a budget of 0 is no retraining. Columns: those of `stats.compared` by sparsity, schedule (`none`
    straight after the prune), budget and score; overall and overall_*, the same differences on average over the sparsities
    (see `stats.overall`); gain_*, what the retraining adds to the score's own accuracy straight after the prune (see
    `stats.paired`); and dense.
    """
    retraining = frame["schedule"].where(frame["budget"] > 0, "none")
    frame = frame.assign(schedule=retraining, moment=retraining + frame["budget"].map(" {:g}".format))
    when, value = ["schedule", "budget"], "test_accuracy"
    table = stats.compared(frame, ["sparsity", *when], value, "score", baseline)
    leads = stats.overall(frame, value, "score", baseline, when)
    gains = stats.paired(frame, ["sparsity", "score"], value, "moment", "none 0").merge(
        frame[["moment", *when]].drop_duplicates()
    )
    gains = gains[["sparsity", *when, "score"]].join(gains[[*stats.ENDS, "verdict", "corrected"]].add_prefix("gain_"))
    table = table.merge(leads, on=[*when, "score"], how="left")
    table = table.merge(gains, on=["sparsity", *when, "score"], how="left")
    return table.assign(dense=frame.groupby("seed")["dense_test_accuracy"].first().mean())


@styled
def scores(table: pd.DataFrame) -> Figure:
    """Figure 10: test accuracy over the budget, 0 being straight after the prune: a panel for each sparsity and schedule.

    table: that of `compared`.
    """
    schedules = [name for name in table["schedule"].unique() if name != "none"]
    sparsities, budgets = table["sparsity"].unique(), sorted(table["budget"].unique())
    figure = Figure(figsize=(2.9 * len(sparsities) + 0.6, 3.6 * len(schedules) + 0.8), layout="constrained")
    axes = figure.subplots(len(schedules), len(sparsities), sharex=True, sharey=True, squeeze=False)
    for row, schedule in zip(axes, schedules):
        for ax, sparsity in zip(row, sparsities):
            part = table[(table["sparsity"] == sparsity) & table["schedule"].isin(("none", schedule))]
            _lines(ax, part.sort_values("budget", kind="stable"), budgets)
            ax.axhline(wrong(table["dense"].iloc[0]), **LEVEL, label=f"dense, {percent(table['dense'].iloc[0])}")
            ax.set_title(f"{schedule}, sparsity {share(sparsity)}")
            ax.tick_params(labelbottom=True)
        row[0].set_ylabel("Test accuracy (%)")
    for ax in axes[-1]:
        ax.set_xlabel("Budget (% of dense run)")
    top = axes[0, 0]
    by_errors(top, 105, 0.8 * wrong(table[["mean", "dense"]].max(axis=None)))
    top.set_xticks(range(len(budgets)), [f"{100 * budget:g}" for budget in budgets])
    legend(figure, top, len(top.get_legend_handles_labels()[1]))
    return figure


def _lines(ax: Axes, part: pd.DataFrame, budgets: list[float]) -> None:
    """A line for each score over the budgets, equally far apart, with intervals side by side."""
    ways = list(part.groupby("score", sort=False))
    for i, (name, line) in enumerate(ways):
        look = style.SCORES.get(name, OTHER)
        x = [budgets.index(budget) + 0.06 * (i - (len(ways) - 1) / 2) for budget in line["budget"]]
        mean, low, high = (line[end].map(wrong) for end in stats.ENDS)
        ax.errorbar(x, mean, yerr=[mean - high, low - mean], label=name, linestyle=look.dashes, **BARS, **look.marks)
