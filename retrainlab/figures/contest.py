"""Figures 5 to 9: DataFrame -> matplotlib Figure, one function a figure."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from retrainlab.figures import style
from retrainlab.figures.sentences.contest import CONTROLS, WHATS, middle, titles
from retrainlab.figures.style import BLUE, LEVEL, OTHER, RED, ROW_BARS, Look, legend, spread, styled, ticks
from retrainlab.phrases import share


def _kind(entrant: str) -> Look:
    """BIMP, the controls, and the methods that sparsify during training each have a look."""
    return Look(RED, "D") if entrant == "BIMP" else Look("0.35", "s") if entrant in CONTROLS else Look(BLUE, "o")


def _line(ax: Axes, x: pd.Series, line: pd.DataFrame, label: str, look: Look) -> None:
    """Means over x with their intervals."""
    ax.errorbar(x, 100 * line["mean"], yerr=spread(line), label=label, **ROW_BARS, **look.marks)


def _panels(accuracy: pd.DataFrame, xlabel: str) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A figure with a panel of test accuracy for each sparsity, and the rows that each is to show."""
    sparsities = list(accuracy.groupby("sparsity", sort=False))
    figure = Figure(figsize=(5.2 * len(sparsities) + 0.4, 4.8), layout="constrained")
    axes = figure.subplots(1, len(sparsities), squeeze=False)[0]
    axes[0].set_ylabel("Test accuracy (%)")
    for ax, (sparsity, _) in zip(axes, sparsities):
        ax.set(title=f"Sparsity {share(sparsity)}", xlabel=xlabel)
    return figure, [(ax, part) for ax, (_, part) in zip(axes, sparsities)]


@styled
def contest(table: pd.DataFrame) -> Figure:
    """Figure 5: test accuracy of each entrant at each sparsity, speed-up in theory, and speed of training.

    table: columns entrant, sparsity, mean, low, high (test, shares), dense (mean test accuracy of the dense networks),
    theoretical_speedup and images_per_second (of training).
    """
    names = list(middle(table).sort_values("mean", kind="stable")["entrant"])
    panels = {s: part.set_index("entrant").reindex(names) for s, part in table.groupby("sparsity", sort=False)}
    figure = Figure(figsize=(3.1 * len(panels) + 6.4, 1.6 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(panels) + 2, sharey=True)
    faster, rate = axes[-2:]
    for ax, (sparsity, part) in zip(axes, panels.items()):
        for row, name in enumerate(names):
            one, marks = part.loc[[name]], _kind(name).marks
            ax.errorbar(100 * one["mean"], [row], xerr=spread(one), linestyle="", markersize=8, **ROW_BARS, **marks)
        ax.axvline(100 * table["dense"].iloc[0], **LEVEL)
        ax.axvline(100 * part.loc["BIMP", "mean"], color=_kind("BIMP").color, linewidth=1)
        ax.set_xlim(max(0, 100 * part["mean"].min() - 6), 101)
        ax.set(title=f"Sparsity {share(sparsity)}", xlabel="Test accuracy (%)")
    for i, (sparsity, part) in enumerate(panels.items()):
        grey, values = str(0.7 - 0.6 * i / max(1, len(panels) - 1)), part["theoretical_speedup"]
        faster.plot(values, range(len(names)), linestyle="", color=grey, marker="o^D*"[i % 4])
        faster.annotate(share(sparsity), (values.iloc[-1], len(names) - 0.75), ha="center", fontsize=10)
    faster.set_xscale("log")
    ticks(faster.xaxis, [1, 2, 3, 5, 10, 20, 50])
    faster.set(title="Speed-up in theory", xlabel="Dense / non-zero multiply-adds")
    mean = table.groupby("entrant")["images_per_second"].median().reindex(names) / 1000
    rate.barh(range(len(names)), mean, color=[_kind(n).color for n in names], height=0.6)
    rate.set(title="Training", xlabel="1000 images / s")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(-0.6, len(names) - 0.3)
    for ax in axes:
        ax.grid(axis="y", visible=False)
    return figure


@styled
def splits(accuracy: pd.DataFrame, total: int) -> Figure:
    """Figure 6: test accuracy over the dense share of the epochs, with the band from 25 to 75 % marked.

    accuracy: columns sparsity, share (of the epochs that are dense), cycles, mean, low, high (test, shares); total: epochs
    in all.
    """
    figure, panels = _panels(accuracy, f"Dense share of {total} epochs (%)")
    for ax, part in panels:
        ax.axvspan(25, 75, color="0.93", zorder=0)
        for i, (k, line) in enumerate(part.groupby("cycles", sort=False)):
            label = "1 cycle" if k == 1 else f"{k} cycles"
            _line(ax, 100 * line["share"] + (i - 1) * 0.8, line, label, style.place(i))
        ax.set(xlim=(0, 100), ylim=(max(0, 100 * part["mean"].min() - 8), 101))
    legend(figure, figure.axes[0], 4)
    return figure


@styled
def stability(points: pd.DataFrame) -> Figure:
    """Figure 7: test accuracy after retraining over validation accuracy straight after the hard prune.

    points: columns what (one of WHATS), entrant, before, after (means, shares), low, high (interval of after), stability.
    """
    figure = Figure(figsize=(12.5, 5.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, what, title in zip(axes, WHATS, titles(points)):
        for name in points["entrant"].unique():
            one = points[(points["what"] == what) & (points["entrant"] == name)]
            marks = style.METHODS.get(name, OTHER).marks | {"markersize": 9, "label": name, "linestyle": ""}
            wrong = 100 * (1 - one["before"]).clip(lower=0.001)
            ax.errorbar(wrong, 100 * one["after"], yerr=spread(one, "after"), **ROW_BARS, **marks)
        ax.set_xscale("log")  # of the error, so that 12 % and 95 % both find room
        ax.invert_xaxis()
        ticks(ax.xaxis, [2, 5, 10, 20, 50, 90], lambda wrong: f"{100 - wrong:g}")
        ax.set(title=title, xlabel="Validation accuracy straight after the hard prune (%)")
    axes[0].set_ylabel("Test accuracy after retraining (%)")
    legend(figure, axes[0], 6)
    return figure


@styled
def lengths(accuracy: pd.DataFrame) -> Figure:
    """Figure 8: test accuracy over epochs. accuracy: columns sparsity, what, epochs (in all), mean, low, high (shares)."""
    epochs = sorted(accuracy["epochs"].unique())
    figure, panels = _panels(accuracy, "Epochs in all")
    for ax, part in panels:
        for i, (what, line) in enumerate(part.groupby("what", sort=False)):
            aside = (i - 1.5) * 0.008 * (epochs[-1] - epochs[0])
            _line(ax, line["epochs"] + aside, line, what, style.place(i))
        ax.set_xticks(epochs)
    legend(figure, figure.axes[0], 4)
    return figure


@styled
def allocations(accuracy: pd.DataFrame, layers: pd.DataFrame, masks: dict[str, Tensor], layer: str) -> Figure:
    """Figure 9: accuracy and sparsity of each layer by allocation, and masks of one layer.

    accuracy: columns allocation, sparsity, mean, low, high (test after retraining, shares); layers: columns allocation,
    layer, sparsity (shares, at one sparsity in all); masks: of the layer `layer` for each allocation, True = stays.
    """
    ways = list(accuracy.groupby("allocation", sort=False))
    order = list(layers["layer"].unique())
    figure = Figure(figsize=(12.5, 8.2), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[1.35, 1])
    top = grid[0].subgridspec(1, 2, width_ratios=[1, 1.5])
    left, right = figure.add_subplot(top[0]), figure.add_subplot(top[1])
    width = 0.8 / len(ways)
    for i, (name, line) in enumerate(ways):
        look, aside = style.ALLOCATIONS.get(name, OTHER), i - (len(ways) - 1) / 2
        _line(left, 100 * line["sparsity"] + aside * 0.12, line, name, look)
        part = layers[layers["allocation"] == name].set_index("layer").reindex(order)
        x = [k + aside * width for k in range(len(order))]
        right.bar(x, 100 * part["sparsity"], width, color=look.color, edgecolor="w", linewidth=0.4)
    left.set(xlabel="Sparsity (%)", ylabel="Test accuracy after retraining (%)")
    short = [n.removesuffix(".weight").removeprefix("blocks.") for n in order]
    right.set_xticks(range(len(order)), short, rotation=30, ha="right")
    right.set(ylabel="Sparsity of the layer (%)", ylim=(0, 102))
    right.grid(axis="x", visible=False)
    below = grid[1].subgridspec(1, len(masks))
    pictures = [figure.add_subplot(below[k]) for k in range(len(masks))]
    for ax, (name, mask) in zip(pictures, masks.items()):
        _mask(ax, mask, name)
    pictures[0].set_ylabel(f"{layer.removesuffix('.weight')}: filters")
    legend(figure, left, len(ways))
    return figure


def _mask(ax: Axes, mask: Tensor, title: str) -> None:
    """A picture of the mask: rows are filters, columns their weights; dark is kept."""
    stays = mask.flatten(1).float().cpu()
    ax.imshow(stays.numpy(), cmap=ListedColormap(["0.93", "0.1"]), aspect="auto", vmin=0, vmax=1)
    ax.set(title=f"{title}: {share(float(stays.mean().round(decimals=3)))} kept", xticks=[], yticks=[])
    ax.grid(visible=False)
