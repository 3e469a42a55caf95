"""What `retrainlab run` and `retrainlab study` print: a study's rows as a table and a few sentences."""

import math

import pandas as pd

from retrainlab.methods.table import SEARCHED
from retrainlab.stats import summary

COLUMNS = {  # of the table: column of the summary -> (heading, factor to the unit in the heading)
    "sparsity_achieved": ("sparsity %", 100),
    "budget": ("budget %", 100),
    "schedule": ("schedule", None),
    "mean": ("test acc. %", 100),
    "low": ("95 % from", 100),
    "high": ("to", 100),
    "n": ("seeds", None),
}


def report(frame: pd.DataFrame) -> str:
    """All that is printed of a study's rows: the table, what is not in it, and all that was measured of a single run."""
    parts = [table(frame), *_left_out(frame), *(f"\n{words}" for words in frame["not_pruned"].unique() if words)]
    short = frame["method"].isin(SEARCHED) & (frame["trained_sparsity"] < frame["sparsity"] - 0.01)
    parts += [
        f"\n{method} alone did not reach the sparsity: one hard prune did the rest. Turn its knob for a fair result."
        for method in frame["method"][short].unique()
    ]
    if len(frame) == 1:
        parts.append("\nAll that was asked and measured (accuracies, sparsity and budget as shares):\n")
        parts.append(frame.iloc[0].drop("not_pruned").to_string())
    return "\n".join(parts)


def table(frame: pd.DataFrame) -> str:
    """Mean test accuracy over seeds with its interval, a line for each sparsity, budget, schedule and precision. Precision
    and device have a column each unless they are the same everywhere, and said above the table."""
    own = frame[["sparsity_achieved", "trained_sparsity"]].where(frame["outcome"] == "").round(6)
    frame = frame.assign(**own)
    by = ["sparsity", "budget", "schedule", "precision"]
    short = summary(frame, by, "test_accuracy")
    short[["low", "high"]] = short[["low", "high"]].where(short["n"] > 0)
    groups = frame.groupby(by, sort=False)
    short["sparsity_achieved"] = groups["sparsity_achieved"].mean().values
    shown = {heading: short[name] * factor if factor else short[name] for name, (heading, factor) in COLUMNS.items()}
    if (frame["method"] != "dense").any():
        shown["before the prune %"] = 100 * groups["trained_sparsity"].mean().values
    if frame["measured_speedup"].notna().any():
        shown["speed-up in theory"] = groups["shrunken_speedup"].mean().values
        shown["measured"] = groups["measured_speedup"].median().values
    if frame["compression_ratio"].notna().any():
        shown["times smaller"] = groups["compression_ratio"].mean().values
    if frame["seed"].nunique() == 1:
        del shown["95 % from"], shown["to"]
    how = []
    for column, word in (("precision", "in"), ("device", "on")):
        if frame[column].nunique() > 1:
            shown[column] = groups[column].agg(lambda own: " and ".join(sorted(own.unique()))).values
        else:
            how.append(f"{word} {frame[column].iloc[0]}")
    head = f"dense: {_dense(frame)}" + (f"; all computed {' '.join(how)}" if how else "")
    return head + "\n" + pd.DataFrame(shown).to_string(index=False, float_format=lambda x: f"{x:.2f}", na_rep="-")


def _dense(frame: pd.DataFrame) -> str:
    """The dense networks' mean test accuracy, over the seeds that have one, for each precision."""
    own = 100 * frame.groupby(["precision", "seed"], sort=False)["dense_test_accuracy"].first()
    means = own.groupby("precision", sort=False).mean()
    told = ["diverged" if math.isnan(mean) else f"{mean:.2f} % test accuracy" for mean in means]
    return told[0] if len(told) == 1 else ", ".join(f"{one} in {name}" for one, name in zip(told, means.index))


def _left_out(frame: pd.DataFrame) -> list[str]:
    """Which runs have diverged, so that they are in no number of the table: a line for each setting and outcome."""
    lost = frame[frame["outcome"] != ""]
    if lost.empty:
        return []
    lines = [f"\nLeft out of these numbers: {len(lost)} of {len(frame)} runs. Try a smaller learning rate."]
    by = ["sparsity", "budget", "schedule", "outcome"]
    for (sparsity, budget, schedule, outcome), part in lost.groupby(by, sort=False):
        seeds = ", ".join(map(str, part["seed"]))
        lines.append(f"  {100 * sparsity:g} % sparsity, budget {100 * budget:g} %, {schedule}, seed {seeds}: {outcome}")
    return lines
