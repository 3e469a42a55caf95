"""Figures 1 to 4: DataFrame -> matplotlib Figure, one function a figure.

Figures are made without pyplot, so that they never mix between cells or threads. Tables have shares, and pictures percent.
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_rgba_array
from matplotlib.figure import Figure

from retrainlab.figures.sentences import retraining as sentences
from retrainlab.figures.style import BARS, LEVEL, SCHEDULES, by_schedule, legend, spread, style, styled, ticks
from retrainlab.phrases import percent, share


@styled
def schedules(curves: pd.DataFrame) -> Figure:
    """Figure 1: learning rates over epochs, of the dense run and of each budget.

    curves: columns panel (`dense` or the budget as a share), schedule, epoch, lr.
    """
    panels = list(curves.groupby("panel", sort=False))
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(9.6, 3.1 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, 2, sharey=True, squeeze=False)
    for ax, (panel, part) in zip(axes.flat, panels):
        if panel == "dense":
            ax.plot(part["epoch"], part["lr"], color="0.15", drawstyle="steps-post")
            ax.set_title("Dense run")
        else:
            for name, line in by_schedule(part):
                ax.plot(line["epoch"], line["lr"], drawstyle="steps-post", **style(name) | {"marker": ""})
            ax.set_title(f"Retraining, budget {share(float(panel))}")
        ax.set_xlim(0, part["epoch"].max())
        ax.set_ylim(bottom=0)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("Learning rate")
    for ax in axes.flat[max(0, len(panels) - 2) : len(panels)]:
        ax.set_xlabel("Epoch")
    legend(figure, axes.flat[1], 6)
    return figure


def thinned(rates: Sequence[float], most: int = 1000) -> list[int]:
    """Places of a curve that show all of it: each if there are at most `most`; else so many of them evenly, the largest, the
    last, and both sides of every jump."""
    if (count := len(rates)) <= most:
        return list(range(count))
    least = max(rates) / 100
    jumps = {place for i in range(1, count) if abs(rates[i] - rates[i - 1]) > least for place in (i - 1, i)}
    return sorted({*range(0, count, -(-count // most)), count - 1, rates.index(max(rates))} | jumps)


@styled
def recovery(points: pd.DataFrame, what: str) -> Figure:
    """Figure 2: accuracy and learning rate over the steps of retraining.

    points: columns schedule, step, lr, validation_accuracy (a share; NaN where not measured; at step 0 straight after
    pruning) and dense (before it). what: the title.
    """
    dense, pruned = sentences.levels(points)
    figure = Figure(figsize=(9, 7.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.3, 1])
    for i, (name, line) in enumerate(by_schedule(points)):
        measured = line.dropna(subset=["validation_accuracy"])
        every = max(1, len(measured) // 6)  # markers of curves that coincide stand side by side
        top.plot(measured["step"], 100 * measured["validation_accuracy"], markevery=(i % every, every), **style(name))
        bottom.plot(line["step"], line["lr"], drawstyle="steps-post", **style(name) | {"marker": ""})
    across = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    for level in (dense, pruned):
        top.axhline(100 * level, **LEVEL)
    top.annotate(f"dense: {percent(dense)}", (0, 100 * dense), xytext=(8, -6), va="top", **across)
    after = f"straight after pruning: {percent(pruned)}"
    top.annotate(after, (1, 100 * pruned), xytext=(-8, 6), ha="right", va="bottom", **across)
    top.set(ylabel="Validation accuracy (%)", title=what, ylim=(0, 102), xlim=(0, points["step"].max()))
    bottom.set(ylabel="Learning rate", xlabel="Retraining step (iteration)")
    bottom.set_ylim(bottom=0)
    legend(figure, top, 6)
    return figure


@styled
def budgets(table: pd.DataFrame) -> Figure:
    """Figure 3: test accuracy over the budget, and below it differences to the baseline.

    table: that of `stats.compared` by sparsity and budget (shares), with dense (mean accuracy of the dense networks).
    """
    baseline, dense = sentences.baseline(table), table["dense"].iloc[0]
    panels = list(table.groupby("sparsity", sort=False))
    figure = Figure(figsize=(3.3 * len(panels) + 0.4, 7.4), layout="constrained")
    axes = figure.subplots(2, len(panels), sharex=True, squeeze=False, height_ratios=[1.3, 1])
    for (top, bottom), (sparsity, part) in zip(axes.T, panels):
        _lines(top, part)
        difference = part[["budget", "schedule"]].join(part.filter(like="difference_"))
        _lines(bottom, difference.rename(columns=lambda name: name.removeprefix("difference_")).dropna())
        top.axhline(100 * dense, **LEVEL, label=f"dense, {percent(dense)}")
        bottom.axhline(0, color=SCHEDULES[baseline].color, linewidth=1.6)
        low, high = top.get_ylim()
        top.set_ylim(max(low, 0), min(high, 101))
        top.set_title(f"Sparsity {share(sparsity)}")
        bottom.set_xlabel("Budget (% of dense run)")
    axes[0, 0].set_ylabel("Test accuracy (%)")
    axes[1, 0].set_ylabel(f"Difference to {baseline}\n(percentage points)")
    legend(figure, axes[0, 0], 7 if len(panels) > 3 else 4)
    return figure


def _lines(ax: Axes, frame: pd.DataFrame) -> None:
    """A line per schedule over the budget, with intervals drawn side by side; columns as in `budgets`."""
    for name, line in by_schedule(frame):
        aside = 1.03 ** (list(SCHEDULES).index(name) - (len(SCHEDULES) - 1) / 2)
        ax.errorbar(100 * line["budget"] * aside, 100 * line["mean"], yerr=spread(line), **BARS, **style(name))
    ax.set_xscale("log")
    ticks(ax.xaxis, sorted(100 * frame["budget"].unique()))
    ax.tick_params(labelbottom=True)


@styled
def best_lr(cells: pd.DataFrame) -> Figure:
    """Figure 4: a map of the best initial learning rate with ALLR's in brackets, and one of what ALLR's gains.

    cells: columns sparsity, budget, best_lr, allr_lr (initial learning rates), best_accuracy, allr_accuracy (test, shares).
    """
    cells = cells.assign(gain=sentences.gain(cells))
    figure = Figure(figsize=(12.5, 1.6 + 0.85 * cells["sparsity"].nunique()), layout="constrained")
    left, right = figure.subplots(1, 2)

    def table(column: str) -> pd.DataFrame:
        return cells.pivot(index="sparsity", columns="budget", values=column).sort_index(ascending=False)

    words = table("best_lr").map("{:.3g}".format) + "\n" + table("allr_lr").map("({:.2g})".format)
    tried = sorted(cells["best_lr"].unique())
    scale = {"norm": LogNorm(tried[0] / 1.01, tried[-1] * 1.01)}
    _map(left, table("best_lr"), words, "cividis", "Initial learning rate", scale)
    bar = left.collections[0].colorbar
    bar.set_ticks(tried, labels=[f"{lr:g}" for lr in tried], minor=False)
    bar.minorticks_off()
    left.set_title("Best initial learning rate (ALLR's)")
    limit = max(cells["gain"].abs().max(), 0.5)
    gains = table("gain")
    _map(right, gains, gains.map("{:+.1f}".format), "PuOr", "Percentage points", {"vmin": -limit, "vmax": limit})
    right.set_title("Test accuracy: ALLR minus best start")
    return figure


def _map(ax: Axes, values: pd.DataFrame, words: pd.DataFrame, palette: str, unit: str, bounds: dict) -> None:
    import seaborn as sns

    sns.heatmap(
        values,
        ax=ax,
        annot=words,
        fmt="",
        cmap=palette,
        linewidths=1,
        cbar_kws={"label": unit},
        annot_kws={"fontsize": 13},
        xticklabels=[f"{100 * b:g}" for b in values.columns],
        yticklabels=[f"{100 * s:g}" for s in values.index],
        **bounds,
    )
    for text, face in zip(ax.texts, to_rgba_array(ax.collections[0].get_facecolor())):
        text.set_color("k" if _luminance(face[:3]) > 0.18 else "w")  # whichever contrasts more, by WCAG's formula
    ax.set(xlabel="Budget (% of dense run)", ylabel="Sparsity (%)")
    ax.tick_params(rotation=0)


def _luminance(rgb: Sequence[float]) -> float:
    """WCAG's relative luminance of a colour with components in [0, 1]."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
