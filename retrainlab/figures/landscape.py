"""Figure 14, where retraining goes: its table, and DataFrame -> matplotlib Figure."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retrainlab import stats
from retrainlab.figures.sentences.landscape import GAINS, WORDS, along, norm_drop, went
from retrainlab.figures.style import BARS, DASHED, LEVEL, SCHEDULES, by_schedule, legend, place, spread, styled, ticks
from retrainlab.landscape import above_ends
from retrainlab.phrases import percent, share

CELL = ["sparsity", "schedule"]
WENT = ["distance_from_dense", "distance_from_pruned", "distance_between_copies", "sign_flips"]
WENT += ["barrier", "recalibrated_barrier", "norm_drop"]


def compared(frame: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """Figure 14's table: rows of gains, and after them rows of the lines.

    frame: rows of `study.landscape.run_landscape`; lines: of its `lines`. Columns of gains: gain (a name of GAINS),
    sparsity, schedule; copies and average, the mean test accuracies that are compared; mean, low, high, n, p, verdict and
    corrected of the average's less the copies' (see `stats.paired`); overall and overall_*, the same on average over all
    cells; WENT, means over seeds; and dense. Columns of the lines: sparsity, schedule, place, and means over seeds of
    accuracy and loss on validation images, as they are and recalibrated.
    """
    networks = pd.concat([_networks(frame, gain) for gain in GAINS], ignore_index=True)
    by, value = ["gain", *CELL], "test_accuracy"
    gains = networks.groupby([*by, "network"], sort=False)[value].mean().unstack().reset_index()
    found = stats.paired(networks, by, value, "network", "copies").drop(columns=["network", "left_out", "same_as"])
    overall = stats.overall(networks, value, "network", "copies", ["gain"]).drop(columns="network")
    went = frame.groupby(CELL, sort=False)[WENT].mean().reset_index()
    for part, on in ((found, by), (overall, ["gain"]), (went, CELL)):
        gains = gains.merge(part, on=on, how="left")
    gains["dense"] = frame.groupby("seed")["dense_test_accuracy"].first().mean()
    along = lines.drop(columns=["seed", "budget"]).groupby([*CELL, "place"], sort=False).mean().reset_index()
    return pd.concat([gains, along], ignore_index=True)


def _networks(frame: pd.DataFrame, gain: str) -> pd.DataFrame:
    """Rows of the two networks that are compared: the copies, whose accuracy is the mean of both, and their average."""
    of_copies, of_average = GAINS[gain]
    copies = (frame[f"{of_copies}test_accuracy"] + frame[f"{of_copies}second_test_accuracy"]) / 2
    own = frame[[*CELL, "seed"]].assign(gain=gain)
    average = own.assign(network="average", test_accuracy=frame[f"{of_average}average_test_accuracy"])
    return pd.concat([own.assign(network="copies", test_accuracy=copies), average])


@styled
def landscape(table: pd.DataFrame) -> Figure:
    """Figure 14: distances, the two lines and what averaging adds, a row for each sparsity. table: that of `compared`."""
    sparsities = list(table["sparsity"].unique())
    figure = Figure(figsize=(16, 4.2 * len(sparsities) + 1), layout="constrained")
    axes = figure.subplots(len(sparsities), 4, squeeze=False)
    for (far, way, between, gains), sparsity in zip(axes, sparsities):
        own = table[table["sparsity"] == sparsity]
        if len(rows := went(own)):
            _distances(far, rows)
        far.set_ylabel(f"Sparsity {share(sparsity)}\nDistance (% of the norm)")
        for name, line in by_schedule(along(own)):
            _line(way, line[line["place"] <= 1], name)
            _line(between, _above_ends(line[line["place"] >= 1]), name)
        way.set(title="From the pruned network", ylabel="Validation loss", yscale="log")
        ticks(way.yaxis, [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10])
        way.set_xticks([0, 0.5, 1], ["pruned", "halfway", "retrained"])
        between.axhline(0, color="0.4", linewidth=1)
        between.set(title="Between two copies", ylabel="Loss less the straight line")
        between.set_xticks([1, 1.5, 2], ["first", "average", "second"])
        _gains(gains, own[own["gain"].notna()])
    way, gains = axes[0, 1:4:2]
    way.plot([], [], color="0.4", label="BatchNorm recalibrated")
    way.plot([], [], color="0.4", linestyle=DASHED, label="raw")
    legend(figure, way, 8)
    handles = gains.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower right", ncols=3, frameon=False, title="right: average less copies")
    return figure


def _distances(ax: Axes, rows: pd.DataFrame) -> None:
    """Bars of the distance from the pruned weights, with the share of signs that turned; marks of that from the dense."""
    places, far = range(len(rows)), 100 * rows["distance_from_pruned"]
    ax.bar(places, far, color=[SCHEDULES[name].color for name in rows["schedule"]], width=0.6)
    for x, height, turned in zip(places, far, rows["sign_flips"]):
        ax.annotate(percent(turned), (x, height), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=11)
    from_dense = 100 * rows["distance_from_dense"]
    ax.plot(places, from_dense, "D", color="0.15", fillstyle="none", label="from the dense weights")
    ax.axhline(100 * norm_drop(rows), **LEVEL, label="the prune alone")
    ax.set_xticks(places, rows["schedule"])
    ax.set(title="Distance; signs turned", ylim=(0, 1.3 * (max(far.max(), from_dense.max()) or 1)))
    ax.legend(frameon=False, loc="upper left", fontsize=11)
    ax.grid(axis="x", visible=False)


def _above_ends(line: pd.DataFrame) -> pd.DataFrame:
    """The line with its losses less the straight line between those at its ends."""
    line, columns = line.sort_values("place"), ["loss", "recalibrated_loss"]
    return line.assign(**{name: above_ends(line[name].to_list()) for name in columns})


def _line(ax: Axes, line: pd.DataFrame, name: str) -> None:
    look = SCHEDULES[name]
    ax.plot(line["place"], line["recalibrated_loss"], label=name, markersize=5, **look.marks)
    ax.plot(line["place"], line["loss"], color=look.color, linestyle=DASHED, linewidth=1.6)


def _gains(ax: Axes, rows: pd.DataFrame) -> None:
    """What averaging adds, by what is recalibrated."""
    names = list(rows["schedule"].unique())
    for i, (gain, part) in enumerate(rows.groupby("gain", sort=False)):
        x = [names.index(name) + 0.2 * (i - 1) for name in part["schedule"]]
        bars = BARS | {"linestyle": "", "label": WORDS[str(gain)]}
        ax.errorbar(x, 100 * part["mean"], yerr=spread(part), **bars, **place(i).marks)
    ax.axhline(0, color="0.4", linewidth=1)
    ax.set_xticks(range(len(names)), names)
    ax.set(title="Average less copies", ylabel="Test accuracy (points)")
    ax.grid(axis="x", visible=False)
