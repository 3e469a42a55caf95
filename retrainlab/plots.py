"""DataFrame -> matplotlib Figure, one function a figure; and how a figure is saved with its data.

Figures are made without pyplot, so that they never mix between cells or threads. Colours are seaborn's colour-blind-safe
palette, and every schedule has its own line style and marker as well. Shares become percent here and nowhere else.
"""

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from io import BytesIO
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from retrainlab import presets, sentences, stats
from retrainlab.paths import write_whole
from retrainlab.presets import Preset
from retrainlab.sentences import percent

SCHEDULES = ("FT", "LRW", "SLR", "CLR", "LLR", "ALLR")
# seaborn's palette and style, written out: to load seaborn, which only the map needs, would take a second a notebook
PALETTE = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9")
_COLORS = dict(zip(SCHEDULES, [to_rgb(PALETTE[i]) for i in (7, 9, 2, 4, 0, 3)]))
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
    return {"color": _COLORS[schedule], "linestyle": _LINES[schedule], "marker": _MARKERS[schedule], "label": schedule}


def _line(schedule: str) -> dict:
    return style(schedule) | {"marker": ""}


def _order(names: Sequence[str]) -> list[str]:
    return [s for s in SCHEDULES if s in set(names)]


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """The legend of `axes`, above the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)


def schedules(curves: pd.DataFrame) -> Figure:
    """Figure 1. curves: columns panel (`dense` or the budget as a share), schedule, epoch, lr."""
    with matplotlib.rc_context(RC):
        panels = list(curves["panel"].unique())
        figure = Figure(figsize=(9.6, 3.1 * ((len(panels) + 1) // 2) + 0.5), layout="constrained")
        axes = figure.subplots(-(-len(panels) // 2), 2, sharey=True, squeeze=False)
        for ax, panel in zip(axes.flat, panels):
            part = curves[curves["panel"] == panel]
            if panel == "dense":
                ax.plot(part["epoch"], part["lr"], color="0.15", drawstyle="steps-post")
                ax.set_title("Dense run")
            else:
                for name in _order(part["schedule"]):
                    line = part[part["schedule"] == name]
                    ax.plot(line["epoch"], line["lr"], drawstyle="steps-post", **_line(name))
                ax.set_title(f"Retraining, budget {percent(float(panel))}")
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


def recovery(points: pd.DataFrame, what: str) -> Figure:
    """Figure 2. points: columns schedule, step, lr, validation_accuracy (a share; missing where not measured; at step 0
    straight after pruning) and dense (before it); what: the title."""
    dense, pruned = sentences.levels(points)
    with matplotlib.rc_context(RC):
        figure = Figure(figsize=(9, 7.2), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.3, 1])
        for i, name in enumerate(_order(points["schedule"])):
            line = points[points["schedule"] == name]
            measured = line.dropna(subset=["validation_accuracy"])
            every = max(1, len(measured) // 6)  # markers of curves that coincide stand side by side
            marks = style(name) | {"markevery": (i % every, every)}
            top.plot(measured["step"], 100 * measured["validation_accuracy"], **marks)
            bottom.plot(line["step"], line["lr"], drawstyle="steps-post", **_line(name))
        across = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        for level in (dense, pruned):
            top.axhline(100 * level, **LEVEL)
        top.annotate(f"dense: {100 * dense:.1f} %", (0, 100 * dense), xytext=(8, -6), va="top", **across)
        after = f"straight after pruning: {100 * pruned:.1f} %"
        top.annotate(after, (1, 100 * pruned), xytext=(-8, 6), ha="right", va="bottom", **across)
        top.set(ylabel="Validation accuracy (%)", title=what, ylim=(0, 102), xlim=(0, points["step"].max()))
        bottom.set(ylabel="Learning rate", xlabel="Retraining step (iteration)")
        bottom.set_ylim(bottom=0)
        legend(figure, top, 6)
        return figure


def budgets(table: pd.DataFrame) -> Figure:
    """Figure 3. table: columns sparsity, budget, schedule, mean, low, high (shares) and dense (mean accuracy of the dense
    networks); and paired differences to the baseline, as `stats.compared` has them."""
    names = {f"difference_{name}": name for name in ("mean", "low", "high")}
    difference = (
        table[["sparsity", "budget", "schedule", *names]].dropna(subset=["difference_mean"]).rename(columns=names)
    )
    baseline, dense = sentences.baseline(table), table["dense"].iloc[0]
    with matplotlib.rc_context(RC):
        sparsities = list(table["sparsity"].unique())
        figure = Figure(figsize=(3.3 * len(sparsities) + 0.4, 7.4), layout="constrained")
        axes = figure.subplots(2, len(sparsities), sharex=True, squeeze=False, height_ratios=[1.3, 1])
        for column, sparsity in enumerate(sparsities):
            top, bottom = axes[:, column]
            _lines(top, table[table["sparsity"] == sparsity])
            _lines(bottom, difference[difference["sparsity"] == sparsity])
            top.axhline(100 * dense, **LEVEL, label=f"dense, {100 * dense:.1f} %")
            bottom.axhline(0, color=_COLORS[baseline], linewidth=1.6)
            low, high = top.get_ylim()
            top.set_ylim(max(low, 0), min(high, 101))
            top.set_title(f"Sparsity {percent(sparsity)}")
            bottom.set_xlabel("Budget (% of dense run)")
        axes[0, 0].set_ylabel("Test accuracy (%)")
        axes[1, 0].set_ylabel(f"Difference to {baseline}\n(percentage points)")
        legend(figure, axes[0, 0], 7 if len(sparsities) > 3 else 4)
        return figure


def _lines(ax: Axes, frame: pd.DataFrame) -> None:
    """A line per schedule over the budget, with intervals drawn side by side; columns as in `budgets`."""
    for name in _order(frame["schedule"]):
        line = frame[frame["schedule"] == name]
        aside = 1.03 ** (SCHEDULES.index(name) - (len(SCHEDULES) - 1) / 2)
        spread = [100 * (line["mean"] - line["low"]), 100 * (line["high"] - line["mean"])]
        bars = {"elinewidth": 1.2, "capsize": 2, "markeredgecolor": "w", "markeredgewidth": 0.5}
        ax.errorbar(100 * line["budget"] * aside, 100 * line["mean"], yerr=spread, **bars, **style(name))
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sorted(100 * frame["budget"].unique())))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.tick_params(labelbottom=True)


def best_lr(cells: pd.DataFrame) -> Figure:
    """Figure 4. cells: columns sparsity, budget, best_lr, allr_lr (initial learning rates), best_accuracy,
    allr_accuracy (test, shares): a map of the best start with ALLR's in brackets, and one of what ALLR's gains."""
    with matplotlib.rc_context(RC):
        cells = cells.assign(gain=sentences.gain(cells))
        figure = Figure(figsize=(12.5, 1.6 + 0.85 * cells["sparsity"].nunique()), layout="constrained")
        left, right = figure.subplots(1, 2)

        def table(column: str) -> pd.DataFrame:
            return cells.pivot(index="sparsity", columns="budget", values=column).sort_index(ascending=False)

        words = table("best_lr").map("{:.3g}".format) + "\n" + table("allr_lr").map("({:.2g})".format)
        rates = cells["best_lr"]
        scale = {"norm": LogNorm(rates.min() / 1.01, rates.max() * 1.01)}
        _map(left, table("best_lr"), words, "cividis", "Initial learning rate", scale)
        ticks = sorted(rates.unique())
        left.collections[0].colorbar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks], minor=False)
        left.collections[0].colorbar.minorticks_off()
        left.set_title("Best initial learning rate (ALLR's)")
        limit = max(cells["gain"].abs().max(), 0.5)
        words = table("gain").map("{:+.1f}".format)
        _map(right, table("gain"), words, "PuOr", "Percentage points", {"vmin": -limit, "vmax": limit})
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
    for text, face in zip(ax.texts, ax.collections[0].get_facecolors()):
        text.set_color("k" if _luminance(face[:3]) > 0.18 else "w")  # whichever contrasts more, by WCAG's formula
    ax.set(xlabel="Budget (% of dense run)", ylabel="Sparsity (%)")
    ax.tick_params(rotation=0)


def _luminance(rgb: Sequence[float]) -> float:
    """WCAG's relative luminance of a colour with components in [0, 1]."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# ---- saving ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A saved figure as a notebook shows it: an image with its alternative text and a caption."""

    png: bytes
    alt: str
    caption: str

    def _repr_html_(self) -> str:
        source = base64.b64encode(self.png).decode()
        return (
            f'<figure><img alt="{html.escape(self.alt)}" style="max-width: 100%; background: white" '
            f'src="data:image/png;base64,{source}"><figcaption>{html.escape(self.caption)}</figcaption></figure>'
        )


def png(figure: Figure, dpi: int = 100, metadata: dict | None = None) -> bytes:
    """The figure as PNG bytes, the same for the same figure."""
    out = BytesIO()
    figure.savefig(out, format="png", dpi=dpi, metadata={"Software": None, **(metadata or {})})
    return out.getvalue()


def save(
    figure: Figure,
    data: pd.DataFrame,
    name: str,
    *,
    preset: str,
    settings: Preset,
    output: Path | str,
    results: pd.DataFrame,
    caption: str,
    alt: str,
) -> Picture:
    """Write NAME.png, .svg, .csv (the numbers drawn) and .json (caption, alt text, provenance) to `output`, or, if that is
    empty, to figures/PRESET; with other settings than the preset's to figures/own/PRESET, which is told. The same figure and
    data give the same bytes.

    alt: written from the data. results: the study's rows, whose keys and devices go into the provenance, and to the caption
    what of their networks is not pruned.
    """
    caption = " ".join([caption, *filter(None, dict.fromkeys(results.get("not_pruned", ())))])
    folder, own = Path(output or presets.folder(preset, settings)), presets.changed(preset, settings)
    if own and not output:
        print(
            f"Not the preset's own {', '.join(own)}: the figure goes to {folder}, and figures/{preset} stays as it is."
        )
    words = {"Title": caption, "Description": alt}
    image = png(figure, 160, words)
    vector = BytesIO()
    with matplotlib.rc_context(RC):
        figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None, **words})
    about = {
        "caption": caption,
        "alt": alt,
        "preset": preset,
        "parameters": own,
        "devices": sorted(set(results["device"])),
        "versions": {p: metadata.version(p) for p in ("retrainlab", "torch", "numpy", "matplotlib", "seaborn")},
        "results": sorted(set(results["key"])),
    }
    files = {
        ".png": image,
        ".svg": vector.getvalue(),
        ".csv": stats.to_csv(data).encode("utf-8", "backslashreplace"),
        ".json": (json.dumps(about, indent=1) + "\n").encode(),
    }
    for end, content in files.items():
        write_whole(folder / f"{name}{end}", lambda path, content=content: path.write_bytes(content))
    return Picture(image, alt, caption)
