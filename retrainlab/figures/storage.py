"""Figure 13, what a mask saves in time and in bytes: its table, and DataFrame -> matplotlib Figure."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retrainlab import stats
from retrainlab.checks import BadInput
from retrainlab.config import Prune
from retrainlab.figures import style
from retrainlab.figures.sentences.storage import FILES, NAMES
from retrainlab.figures.style import BARS, DASHED, LEVEL, spread, styled, ticks
from retrainlab.phrases import percent

CELL = ["structure", "sparsity"]


def pattern(text: str) -> Prune:
    """The prune by a pattern such as `2:4`, two weights kept of each four neighbours. Raises BadInput for what is none."""
    try:
        n, m = map(int, text.split(":"))
    except ValueError:
        raise BadInput(
            f"A pattern says how many weights stay of how many, such as 2:4, but '{text}' does not."
        ) from None
    return Prune(1 - n / max(1, m), structure="n:m", n=n, m=m)


def compared(frame: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """Figure 13's table: a row for each structure and sparsity that was asked for.

    frame: a study's rows; sizes: `study.sizes` of the same experiments. Columns: structure, sparsity and pattern (such as
    2:4, or empty); those of `stats.summary` for test accuracy; removed, the share of the prunable weights that are 0;
    cost_*, test accuracy less the dense network's (see `stats.paired`); theory, the dense network's multiply-adds over the
    masked one's; of the smaller network that has no removed filters, where there is one: smaller, the same for it, and how
    many times as fast it was, the median over seeds (measured) and the quartiles (measured_low, measured_high), since a
    busy machine makes outliers; bytes_* for each of FILES, means in float32; and dense.
    """
    table = stats.summary(frame, CELL, "test_accuracy")
    own = frame.assign(
        pattern=(frame["n"].astype(str) + ":" + frame["m"].astype(str)).where(frame["structure"] == "n:m", "")
    )
    means = own.groupby([*CELL, "pattern"], sort=False)[
        ["sparsity_achieved", "theoretical_speedup", "shrunken_speedup"]
    ]
    means = means.mean().set_axis(["removed", "theory", "smaller"], axis=1).reset_index()
    measured = frame.groupby(CELL, sort=False)["measured_speedup"].quantile([0.25, 0.5, 0.75]).unstack()
    measured = measured.set_axis(["measured_low", "measured", "measured_high"], axis=1).reset_index()
    for part in (means, measured, _cost(frame), _bytes(frame, sizes)):
        table = table.merge(part, on=CELL, how="left")
    return table.assign(dense=frame.groupby("seed")["dense_test_accuracy"].first().mean())


def _cost(frame: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy less that of the dense network, seed by seed."""
    own = frame[[*CELL, "seed", "test_accuracy"]].assign(network="retrained")
    both = pd.concat([own, own.assign(network="dense", test_accuracy=frame["dense_test_accuracy"])])
    found = stats.paired(both, CELL, "test_accuracy", "network", "dense")
    return found[CELL].join(found[[*stats.ENDS, "verdict", "corrected"]].add_prefix("cost_"))


def _bytes(frame: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """Mean bytes of each file in float32."""
    own = sizes[sizes["precision"] == "float32"]
    file = "bytes_" + own["encoding"] + own["gzipped"].map({False: "", True: "_gzip"})
    flat = frame[CELL].iloc[own["place"]].assign(file=file.to_numpy(), bytes=own["bytes"].to_numpy())
    return flat.pivot_table(index=CELL, columns="file", values="bytes").reset_index()


@styled
def storage(table: pd.DataFrame) -> Figure:
    """Figure 13: test accuracy, speed-up and bytes over the share of weights removed. table: that of `compared`."""
    parts = [(name, part.sort_values("removed")) for name, part in table.groupby("structure", sort=False)]
    figure = Figure(figsize=(12.5, 9.6), layout="constrained")
    rows = figure.add_gridspec(2, 1)
    accuracy, speed = rows[0].subgridspec(1, 2).subplots(squeeze=False)[0]
    panels = rows[1].subgridspec(1, len(parts)).subplots(sharey=True, squeeze=False)[0]
    for (name, part), ax in zip(parts, panels):
        x, look = 100 * part["removed"], style.MASKS[name]
        accuracy.errorbar(x, 100 * part["mean"], yerr=spread(part), label=NAMES[name], **BARS, **look.marks)
        _speed(speed, part, name)
        for file, words in FILES.items():
            encoding = file.removesuffix("_gzip")
            share = 100 * part[f"bytes_{file}"] / part["bytes_dense"]
            line = "-" if file == encoding else DASHED
            ax.plot(x, share, linestyle=line, label=words, **style.ENCODINGS[encoding].marks)
        ax.set_title(f"File size: {NAMES[name]}")
    accuracy.axhline(100 * table["dense"].iloc[0], **LEVEL, label=f"dense, {percent(table['dense'].iloc[0])}")
    accuracy.set(title="Accuracy", ylabel="Test accuracy (%)", ylim=(max(0, 100 * table["mean"].min() - 8), 101))
    accuracy.legend(frameon=False, loc="lower left")
    speed.axhline(1, **LEVEL, label="any mask by itself, measured: 1")
    speed.set(title="Speed-up", ylabel="Times as fast as the dense network", yscale="log")
    speed.set_ylim(0.7, 3 * table["theory"].max())
    ticks(speed.yaxis, [1, 2, 3, 5, 10, 20, 50, 100])
    speed.legend(frameon=False, loc="upper left", fontsize=11)
    panels[0].set(ylabel="Share of the dense file (%)", yscale="log")
    ticks(panels[0].yaxis, [1, 2, 5, 10, 20, 50, 100])
    for ax in (accuracy, speed, *panels):
        ax.set(xlabel="Weights removed (%)", xlim=(100 * table["removed"].min() - 3, 101))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _speed(ax: Axes, part: pd.DataFrame, name: str) -> None:
    """What the multiply-adds of a structure promise, and what was measured where there is a smaller network."""
    x, marks = 100 * part["removed"], style.MASKS[name].marks
    ax.plot(x, part["theory"], linestyle=DASHED, label=f"{NAMES[name]}: in theory", **marks)
    if not (there := part[part["measured"].notna()]).empty:
        middle = there["measured"]
        yerr = [middle - there["measured_low"], there["measured_high"] - middle]
        words = f"without the removed {NAMES[name]}: measured"
        ax.errorbar(100 * there["removed"], middle, yerr=yerr, label=words, **BARS, **marks)
