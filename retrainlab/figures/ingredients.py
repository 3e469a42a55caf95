"""Figure 12, what each ingredient is worth: its table, and DataFrame -> matplotlib Figure."""

import pandas as pd
from matplotlib.figure import Figure

from retrainlab import stats
from retrainlab.figures.sentences.ingredients import averages
from retrainlab.figures.style import POINTS, ROW_BARS, VERDICTS, legend, reach, signed, spread, styled, ticks
from retrainlab.phrases import share
from retrainlab.study.changes import BASE, LLR, PERP

VALUE, CELL = "test_accuracy", ["sparsity", "budget"]
AGAINST = "against"


def compared(frame: pd.DataFrame) -> pd.DataFrame:
    """Figure 12's table: each ingredient against its base, on the same seeds, at each sparsity and budget.

    frame: a study's rows with columns base and ingredient (see `study.changes.ingredients`). Columns: those of
    `stats.compared` by base, sparsity, budget and ingredient; overall and overall_*, the same differences on average over
    sparsities and budgets (see `stats.overall`); kept_*, of PERP, what it keeps of LLR's gain in test accuracy since the
    prune, as a share (NaN where LLR gains nothing on some seed); and pruned, the mean accuracy straight after the prune.
    """
    runs, pruned = frame[frame["base"] != ""], frame[frame["base"] == ""]
    table = stats.compared(runs, ["base", *CELL], VALUE, "ingredient", BASE)
    table = table.merge(stats.overall(runs, VALUE, "ingredient", BASE, ["base"]), on=["base", "ingredient"], how="left")
    table = table.merge(_kept(runs[runs["base"] == LLR], pruned), on=["base", *CELL, "ingredient"], how="left")
    return table.merge(pruned.groupby("sparsity", as_index=False)[VALUE].mean().rename(columns={VALUE: "pruned"}))


def _kept(runs: pd.DataFrame, pruned: pd.DataFrame) -> pd.DataFrame:
    """What PERP keeps of LLR's gain since the prune, a row for each sparsity and budget: kept_mean, kept_low, kept_high."""
    start = pruned[["sparsity", "seed", VALUE]].rename(columns={VALUE: "start"})
    gains = runs.merge(start, on=["sparsity", "seed"])
    gains = gains.assign(gain=gains[VALUE] - gains["start"])
    wide = gains.pivot(index=[*CELL, "seed"], columns="ingredient", values="gain").astype(float)[[BASE, PERP]].dropna()
    rows = []
    for cell, own in wide.groupby(CELL, sort=False):
        ends = stats.interval(own[PERP] / own[BASE] if (own[BASE] > 0).all() else [])
        rows.append(dict(zip(CELL, cell)) | {f"kept_{end}": value for end, value in zip(stats.ENDS, ends)})
    return pd.DataFrame(rows, columns=[*CELL, *(f"kept_{end}" for end in stats.ENDS)]).assign(base=LLR, ingredient=PERP)


@styled
def ingredients(table: pd.DataFrame) -> Figure:
    """Figure 12: a row for each ingredient, a panel for each sparsity and budget, and one for their average.

    table: that of `compared`.
    """
    labels, places = _rows(table)
    panels = [
        (f"Sparsity {share(s)}, budget {share(b)}", _cell(part)) for (s, b), part in table.groupby(CELL, sort=False)
    ]
    if len(panels) > 1:
        panels.append(("Average", _picked(averages(table), "overall", "overall")))
    figure = Figure(figsize=(max(9.0, 3.4 * len(panels) + 3.4), 1.9 + 0.36 * len(labels)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for ax, (title, part) in zip(axes, panels):
        ax.axvline(0, color="0.15", linewidth=1.2, zorder=1)
        for verdict, look in VERDICTS.items():
            own = part[part["shown"] == verdict]
            rows = [places[key] for key in zip(own["base"], own["ingredient"])]
            ax.errorbar(
                100 * own["mean"],
                rows,
                xerr=spread(own),
                linestyle="",
                label=f"{verdict} (corrected)",
                **ROW_BARS,
                **look.marks,
            )
        ax.set(title=title, xlabel="Difference (percentage points)")
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="x", labelsize=11)
    axes[0].set_xscale("symlog", linthresh=1)  # some tenths and some tens both find room
    axes[0].set_xlim(reach(100 * pd.concat([part[[*stats.ENDS]] for _, part in panels])))
    ticks(axes[0].xaxis, POINTS, signed)
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.5, -0.5)
    for label in axes[0].get_yticklabels():
        label.set_fontweight("bold" if label.get_text().startswith(AGAINST) else "normal")
    legend(figure, axes[0], 3)
    return figure


def _rows(table: pd.DataFrame) -> tuple[list[str], dict[tuple[str, str], int]]:
    """The rows' labels from the top, a heading for each base, and the row of each base and ingredient."""
    labels: list[str] = []
    places = {}
    for base, own in averages(table).groupby("base", sort=False):
        labels.append(f"{AGAINST} {base}")
        for name in own["ingredient"]:
            places[str(base), name] = len(labels)
            labels.append(name)
    return labels, places


def _cell(part: pd.DataFrame) -> pd.DataFrame:
    return _picked(part[part["ingredient"] != BASE], "difference", "corrected")


def _picked(rows: pd.DataFrame, kind: str, shown: str) -> pd.DataFrame:
    """The columns base, ingredient, mean, low and high of one kind of difference, and shown, its verdict."""
    ends = {end: rows[f"{kind}_{end}"] for end in stats.ENDS}
    return rows[["base", "ingredient"]].assign(shown=rows[shown], **ends)
