"""Figures 5 to 9: DataFrame -> matplotlib Figure, one function a figure."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor

from retrainlab.figures.sentences.contest import CONTROLS, titles
from retrainlab.figures.style import ALLOCATIONS, BLUE, LEVEL, METHODS, OTHER, RED, Look, legend, place, styled, ticks
from retrainlab.phrases import share

_BARS: dict[str, Any] = {"elinewidth": 1.3, "capsize": 2.5, "markeredgecolor": "w", "markeredgewidth": 0.5}


def _kind(entrant: str) -> Look:
    """BIMP, the controls, and the methods that sparsify during training each have a look."""
    return Look(RED, "D") if entrant == "BIMP" else Look("0.35", "s") if entrant in CONTROLS else Look(BLUE, "o")


def _spread(line: pd.DataFrame, mean: str = "mean") -> list[pd.Series]:
    """How far the interval reaches to both sides of the mean, in percent."""
    return [100 * (line[mean] - line["low"]), 100 * (line["high"] - line[mean])]


def _line(ax: Axes, x: pd.Series, line: pd.DataFrame, label: str, look: Look) -> None:
    """Means over x with their intervals."""
    marks: dict[str, Any] = {"label": label, "color": look.color, "marker": look.marker}
    ax.errorbar(x, 100 * line["mean"], yerr=_spread(line), **_BARS, **marks)


@styled
def contest(table: pd.DataFrame) -> Figure:
    """Figure 5. table: columns entrant, sparsity, mean, low, high (test, shares), dense (mean test accuracy of the dense
    networks), theoretical_speedup and images_per_second (of training)."""
    sparsities = list(table["sparsity"].unique())
    middle = sorted(sparsities)[len(sparsities) // 2]
    at_middle = table[table["sparsity"] == middle].sort_values("mean", kind="stable")
    names = list(at_middle["entrant"])
    figure = Figure(figsize=(3.1 * len(sparsities) + 6.4, 1.6 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(sparsities) + 2, sharey=True)
    for ax, sparsity in zip(axes, sparsities):
        part = table[table["sparsity"] == sparsity].set_index("entrant")
        for row, name in enumerate(names):
            one = part.loc[[name]]
            marks = {"color": _kind(name).color, "marker": _kind(name).marker, "markersize": 8}
            ax.errorbar(100 * one["mean"], [row], xerr=_spread(one), linestyle="", **_BARS, **marks)
        ax.axvline(100 * table["dense"].iloc[0], **LEVEL)
        ax.axvline(100 * part.loc["BIMP", "mean"], color=_kind("BIMP").color, linewidth=1)
        ax.set_xlim(max(0, 100 * part["mean"].min() - 6), 101)
        ax.set(title=f"Sparsity {share(sparsity)}", xlabel="Test accuracy (%)")
    faster, rate = axes[-2:]
    for i, sparsity in enumerate(sparsities):
        part = table[table["sparsity"] == sparsity].set_index("entrant").reindex(names)
        shade = {"color": str(0.7 - 0.6 * i / max(1, len(sparsities) - 1)), "marker": "o^D*"[i % 4]}
        values = part["theoretical_speedup"]
        faster.plot(values, range(len(names)), linestyle="", **shade)
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
    """Figure 6. accuracy: columns sparsity, share (of the epochs that are dense), cycles, mean, low, high (test, shares);
    total: epochs in all. The band from 25 to 75 % is marked."""
    panels = list(accuracy["sparsity"].unique())
    figure = Figure(figsize=(5.2 * len(panels) + 0.4, 4.8), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for ax, sparsity in zip(axes, panels):
        part = accuracy[accuracy["sparsity"] == sparsity]
        ax.axvspan(25, 75, color="0.93", zorder=0)
        for i, k in enumerate(part["cycles"].unique()):
            line = part[part["cycles"] == k]
            label = "1 cycle" if k == 1 else f"{k} cycles"
            _line(ax, 100 * line["share"] + (i - 1) * 0.8, line, label, place(i))
        ax.set(title=f"Sparsity {share(sparsity)}", xlabel=f"Dense share of {total} epochs (%)", xlim=(0, 100))
        ax.set_ylim(max(0, 100 * part["mean"].min() - 8), 101)
    axes[0].set_ylabel("Test accuracy (%)")
    legend(figure, axes[0], 4)
    return figure


@styled
def stability(points: pd.DataFrame) -> Figure:
    """Figure 7. points: columns what (`raw` or `recalibrated`), entrant, before, after (mean accuracies straight after the
    hard prune, on validation, and after retraining, on test, shares), low, high (interval of after) and stability."""
    figure = Figure(figsize=(12.5, 5.6), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for ax, what, title in zip(axes, ("raw", "recalibrated"), titles(points)):
        for name in points["entrant"].unique():
            one = points[(points["what"] == what) & (points["entrant"] == name)]
            look = METHODS.get(name, OTHER)
            marks = {"color": look.color, "marker": look.marker, "markersize": 9, "label": name}
            wrong = 100 * (1 - one["before"]).clip(lower=0.001)
            ax.errorbar(wrong, 100 * one["after"], yerr=_spread(one, "after"), linestyle="", **_BARS, **marks)
        ax.set_xscale("log")  # of the error, so that 12 % and 95 % both find room
        ax.invert_xaxis()
        ticks(ax.xaxis, [2, 5, 10, 20, 50, 90], lambda wrong: f"{100 - wrong:g}")
        ax.set(title=title, xlabel="Validation accuracy straight after the hard prune (%)")
    axes[0].set_ylabel("Test accuracy after retraining (%)")
    legend(figure, axes[0], 6)
    return figure


@styled
def lengths(accuracy: pd.DataFrame) -> Figure:
    """Figure 8. accuracy: columns sparsity, what, epochs (in all), mean, low, high (test, shares)."""
    panels = list(accuracy["sparsity"].unique())
    figure = Figure(figsize=(5.2 * len(panels) + 0.4, 4.8), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    epochs = sorted(accuracy["epochs"].unique())
    for ax, sparsity in zip(axes, panels):
        part = accuracy[accuracy["sparsity"] == sparsity]
        for i, what in enumerate(part["what"].unique()):
            line = part[part["what"] == what]
            aside = (i - 1.5) * 0.008 * (epochs[-1] - epochs[0])
            _line(ax, line["epochs"] + aside, line, what, place(i))
        ax.set(title=f"Sparsity {share(sparsity)}", xlabel="Epochs in all", xticks=epochs)
    axes[0].set_ylabel("Test accuracy (%)")
    legend(figure, axes[0], 4)
    return figure


@styled
def allocations(accuracy: pd.DataFrame, layers: pd.DataFrame, masks: dict[str, Tensor], layer: str) -> Figure:
    """Figure 9. accuracy: columns allocation, sparsity, mean, low, high (test after retraining, shares); layers:
    allocation, layer, sparsity (of one sparsity in all, shares); masks: of the layer `layer` for each allocation."""
    names = list(accuracy["allocation"].unique())
    looks = {name: ALLOCATIONS.get(name, OTHER) for name in names}
    figure = Figure(figsize=(12.5, 8.2), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[1.35, 1])
    top = grid[0].subgridspec(1, 2, width_ratios=[1, 1.5])
    left, right = figure.add_subplot(top[0]), figure.add_subplot(top[1])
    for i, name in enumerate(names):
        line = accuracy[accuracy["allocation"] == name]
        aside = (i - (len(names) - 1) / 2) * 0.12
        _line(left, 100 * line["sparsity"] + aside, line, name, looks[name])
    left.set(xlabel="Sparsity (%)", ylabel="Test accuracy after retraining (%)")
    order = list(layers["layer"].unique())
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        part = layers[layers["allocation"] == name].set_index("layer").reindex(order)
        x = [k + (i - (len(names) - 1) / 2) * width for k in range(len(order))]
        right.bar(x, 100 * part["sparsity"], width, color=looks[name].color, edgecolor="w", linewidth=0.4)
    short = [n.removesuffix(".weight").removeprefix("blocks.") for n in order]
    right.set_xticks(range(len(order)), short, rotation=30, ha="right")
    right.set(ylabel="Sparsity of the layer (%)", ylim=(0, 102))
    right.grid(axis="x", visible=False)
    bottom = grid[1].subgridspec(1, len(masks))
    for i, (name, mask) in enumerate(masks.items()):
        _mask(figure.add_subplot(bottom[i]), mask, name)
    figure.axes[2].set_ylabel(f"{layer.removesuffix('.weight')}: filters")
    legend(figure, left, len(names))
    return figure


def _mask(ax: Axes, mask: Tensor, title: str) -> None:
    """A picture of the mask: rows are filters, columns their weights; dark is kept."""
    stays = mask.flatten(1).float().cpu()
    ax.imshow(stays.numpy(), cmap=ListedColormap(["0.93", "0.1"]), aspect="auto", vmin=0, vmax=1)
    ax.set(title=f"{title}: {share(float(stays.mean().round(decimals=3)))} kept", xticks=[], yticks=[])
    ax.grid(visible=False)
