"""Means and differences over seeds, with 95 % confidence intervals; and what may be concluded from them.

Everything compared shares the dense network, the mask and the batches of its seed, so that a difference between two
schedules is a paired difference: its interval is that of the mean of the per-seed differences (Student's t). No verdict is
given on fewer than SEEDS seeds, nor on differences that all seeds share: accuracies come in steps of one image, so that a
few small differences are easily equal by chance, and Student's t would be certain. What is counted over many comparisons
is corrected for their number (Holm 1979). Runs that diverged have no accuracy; they are left out, and it is said.
"""

import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import nctdtr, stdtr, stdtrit

from retrainlab import tables
from retrainlab.checks import BadInput, choose, listed
from retrainlab.phrases import share

LEVEL = 0.95
SEEDS = 3  # with fewer, an interval rests on a single difference between two numbers, or on none
ENDS = ("mean", "low", "high")
LOSSES = ("test_loss", "validation_loss")
NAMED = 4  # at most so many of the runs that are left out are named


def interval(values: ArrayLike, level: float = LEVEL) -> tuple[float, float, float]:
    """Mean and confidence interval (Student's t) of independent values, as (mean, low, high).

    level: the confidence, in (0, 1). For a single value the interval is infinitely wide; for none the mean is NaN.
    """
    values = np.asarray(values, dtype=float)
    mean = float(values.mean()) if len(values) else math.nan
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = float(stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def difference(values: ArrayLike, level: float = LEVEL) -> tuple[float, float, float]:
    """`interval` for differences of accuracies, without the noise of float sums.

    Where all values are the same and not 0 the interval is infinitely wide as well.
    """
    values = _rounded(values)
    mean, low, high = (float(x) for x in _rounded(interval(values, level)))
    return (mean, low, high) if low < high or not values.any() else (mean, -math.inf, math.inf)


def welch(values: ArrayLike, mean: float, deviation: float, count: int) -> tuple[float, float, float, float]:
    """The mean of independent values less that of others, of which mean, standard deviation and number are known: mean, low
    and high of the difference, and its two-sided p-value. Both need not spread alike (Welch's t).

    The p-value is NaN, and the interval infinitely wide, where either are fewer than SEEDS.
    """
    values = np.asarray(values, dtype=float)
    apart = float(values.mean()) - mean
    if min(len(values), count) < SEEDS:
        return apart, -math.inf, math.inf, math.nan
    own, others = values.var(ddof=1) / len(values), deviation**2 / count
    free = (own + others) ** 2 / (own**2 / (len(values) - 1) + others**2 / (count - 1))
    error = math.sqrt(own + others)
    half = float(stdtrit(free, (1 + LEVEL) / 2)) * error
    return apart, apart - half, apart + half, float(2 * stdtr(free, -abs(apart) / error))


def verdict(values: ArrayLike, level: float = LEVEL) -> str:
    """`better` or `worse` if there are at least SEEDS differences and their interval excludes 0, or else `undecided`."""
    _, low, high = difference(values, level)
    return "undecided" if np.size(values) < SEEDS or low <= 0 <= high else "better" if low > 0 else "worse"


def seeds_needed(values: ArrayLike, level: float = LEVEL, most: int = 1000, power: float = 0.8) -> int | None:
    """How many differences it takes, of the mean and deviation of these, for their interval to exclude 0 with this power;
    at least SEEDS, None if it is more than `most`.

    The power of a two-sided t test of n differences is that of Student's non-central t, with non-centrality
    mean / deviation * sqrt(n).
    """
    values = _rounded(values)
    mean, deviation = abs(float(values.mean())), float(values.std(ddof=1))
    if mean == 0:
        return None
    if deviation == 0:
        return SEEDS
    n = np.arange(SEEDS, most + 1)
    bound = stdtrit(n - 1, (1 + level) / 2)
    center = np.minimum(mean / deviation * np.sqrt(n), 4 * bound)  # where the power is 1, and larger ones take long
    reached = 1 - nctdtr(n - 1, center, bound) >= power
    return int(n[reached.argmax()]) if reached.any() else None


def p_value(values: ArrayLike) -> float:
    """The two-sided p-value of the mean difference; NaN for fewer than SEEDS values, 1 for those that are all equal."""
    values = _rounded(values)
    if len(values) < SEEDS:
        return math.nan
    spread = values.std(ddof=1) if np.ptp(values) > 0 else 0.0
    return float(2 * stdtr(len(values) - 1, -abs(values.mean()) * math.sqrt(len(values)) / spread)) if spread else 1.0


def holm(p: ArrayLike) -> np.ndarray:
    """The p-values corrected for their number (Holm 1979), in their order; a NaN counts as none and stays NaN."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]
    out = np.full(len(p), math.nan)
    out[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out


def _rounded(values: ArrayLike) -> np.ndarray:
    """The values without the noise of float sums, and without -0."""
    return np.round(np.asarray(values, dtype=float), 10) + 0.0


def summary(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Mean of the column `value` over seeds, a row for each combination of the columns `by`, in order of appearance.

    Columns: by, mean, low, high (its interval), n (the runs that count) and left_out (those without a value). Raises
    BadInput where a run stands twice, or runs of several precisions would be taken together.
    """
    by, rows = listed(by, str, "summary's by"), []
    _check_runs(frame, by)
    for group, part in frame.groupby(by, sort=False):
        values = part[value].astype(float).dropna()
        counts = {"n": len(values), "left_out": len(part) - len(values)}
        rows.append(dict(zip(by, group)) | dict(zip(ENDS, interval(values))) | counts)
    return pd.DataFrame(rows)


def _check_runs(frame: pd.DataFrame, named: Sequence[str]) -> None:
    """Raise BadInput where a run stands twice, as in two tables that overlap, or precisions would be mixed.

    named: the columns that tell rows apart.
    """
    if {"key", "seed"} <= {*frame} and frame.duplicated([*named, "seed", "key"]).any():
        raise BadInput(
            "Some runs stand twice, and would count as so many seeds; keep one of each: frame.drop_duplicates('key')."
        )
    if "precision" not in named:
        check_precision(frame)


def check_precision(frame: pd.DataFrame) -> None:
    """Raise BadInput where runs of several precisions would be taken together."""
    if "precision" in frame and frame["precision"].nunique() > 1:
        found = ", ".join(sorted(frame["precision"].unique()))
        raise BadInput(
            f"These runs were computed in {found}; take those of one, or name precision as a column to group by."
        )


def paired(frame: pd.DataFrame, by: list[str], value: str, compare: str, baseline: str) -> pd.DataFrame:
    """Differences of the column `value` between each level of the column `compare` and its level `baseline`, seed by seed.

    A row for each combination of the columns `by` and each other level. Columns: by, compare, mean, low, high, n (seeds that
    count), left_out (those where either has no value), p and verdict (see `verdict`); same_as, the level before it (the
    baseline first) that is the same run, or empty: one run under two names has equal LOSSES on every seed; and corrected,
    the verdict after Holm's correction over the whole table, in which a run counts once.
    """
    by = listed(by, str, "paired's by")
    _check_runs(frame, [*by, compare])
    if frame.duplicated([*by, compare, "seed"]).any():
        raise BadInput(f"Some runs stand twice for one {compare} and seed; keep one, or name what tells them apart.")
    choose(baseline, levels := list(frame[compare].unique()), f"{compare} to compare with")
    levels = [baseline, *(level for level in levels if level != baseline)]

    def wide(column: str) -> pd.DataFrame:
        return frame.pivot(index=[*by, "seed"], columns=compare, values=column)

    there = wide("seed").notna()
    losses, rows = [wide(loss).astype(float) for loss in LOSSES if loss in frame], []
    for group, part in wide(value).astype(float).groupby(by, sort=False):
        own = [loss.loc[part.index] for loss in losses]
        for place, level in enumerate(levels[1:], 1):
            differences = (part[level] - part[baseline]).dropna()
            both = there.loc[part.index, [level, baseline]].all(axis=1).sum()
            rows.append(
                dict(zip(by, group))
                | {compare: level}
                | dict(zip(ENDS, difference(differences)))
                | {"n": len(differences), "left_out": int(both) - len(differences)}
                | {"p": p_value(differences), "verdict": verdict(differences)}
                | {"same_as": next((name for name in levels[:place] if _same_run(own, name, level)), "")}
            )
    return _corrected(pd.DataFrame(rows), by, compare)


def _same_run(losses: list[pd.DataFrame], one: str, other: str) -> bool:
    """Whether all losses are equal: they have sixteen digits, while accuracies of different runs are easily equal."""
    return bool(losses) and all((loss[one] == loss[other]).all() for loss in losses)


def _corrected(table: pd.DataFrame, by: list[str], compare: str) -> pd.DataFrame:
    """The table with its verdicts after Holm's correction; a run under two names has that of the first."""
    if table.empty:
        return table
    adjusted = holm(table["p"].where(table["same_as"] == ""))
    table["corrected"] = table["verdict"].where(adjusted <= 1 - LEVEL, "undecided")
    leaders = table.set_index([*by, compare])["corrected"]
    for i, row in table[table["same_as"] != ""].iterrows():
        table.loc[i, "corrected"] = leaders.get((*row[by], row["same_as"]), "undecided")
    return table


def compared(frame: pd.DataFrame, by: list[str], value: str, compare: str, baseline: str) -> pd.DataFrame:
    """`summary` of every level of the column `compare`, and beside it the columns of `paired` (empty for the baseline):
    difference_mean, difference_low, difference_high, p, verdict, same_as and corrected."""
    found = paired(frame, by, value, compare, baseline).drop(columns=["n", "left_out"])
    found = found.rename(columns={end: f"difference_{end}" for end in ENDS})
    return summary(frame, [*by, compare], value).merge(found, on=[*by, compare], how="left")


def overall(frame: pd.DataFrame, value: str, compare: str, baseline: str, by: Sequence[str] = ()) -> pd.DataFrame:
    """Differences to `baseline` on average over all cells of a grid, seed by seed: a row for each other level of `compare`,
    and for each combination of the columns `by`, which are not averaged over.

    Columns: by, compare, overall_mean, overall_low, overall_high and overall, the verdict after Holm's correction. A seed
    that lacks a cell, or has no value there, is left out.
    """
    _check_runs(frame, [*by, compare])
    cells = frame.groupby([*by, compare, "seed"], sort=False)[value]
    means = cells.agg(lambda v: v.astype(float).mean(skipna=False)).where(cells.size() == cells.size().max())
    found = paired(means.reset_index().assign(where="everywhere"), ["where", *by], value, compare, baseline)
    names = {end: f"overall_{end}" for end in ENDS} | {"corrected": "overall"}
    return found.rename(columns=names)[[*by, compare, *names.values()]]


def finished(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that did not diverge."""
    return frame[frame["test_accuracy"].notna()]


def mixed(frame: pd.DataFrame) -> str:
    """In which precisions and on which devices runs were computed, as a sentence; empty where all were computed alike, or
    the frame does not say."""
    parts = []
    for column, word in (("precision", "in"), ("device", "on")):
        found = sorted(frame[column].dropna().unique()) if column in frame else []
        if len(found) > 1:
            parts.append(" and ".join(f"{word} {name}" for name in found))
    return f"Not all runs were computed alike: {'; '.join(parts)}." if parts else ""


def left_out(frame: pd.DataFrame) -> str:
    """Which runs of a study diverged, as a sentence for a caption, with a space before it; empty if none did."""
    if "outcome" not in frame or not (lost := frame[frame["outcome"].fillna("") != ""]).size:
        return ""
    name = next(column for column in ("entrant", "ingredient", "schedule") if column in lost)
    words = [
        f"{row[name]} at sparsity {share(row['sparsity'])}, budget {share(row['budget'])}, seed {row['seed']}"
        for _, row in lost.iterrows()
    ]
    if len(words) > NAMED:
        words[NAMED:] = [f"{len(words) - NAMED} more"]
    are = "is" if len(lost) == 1 else "are"
    return f" {len(lost)} of {len(frame)} runs diverged and {are} left out: {'; '.join(words)}."


def seen(frame: pd.DataFrame) -> str:
    """That validation images were trained on, as a sentence for a caption that tells of them, with a space before it; empty
    if they were not."""
    return " The validation images are among those trained on." if frame["all_train"].any() else ""


def to_csv(table: pd.DataFrame) -> str:
    """The table as CSV, numbers to six digits."""
    return tables.csv(table, "%.6g")


def as_saved(table: pd.DataFrame) -> pd.DataFrame:
    """The table as a reader of its file gets it, in which means that differ by the noise of float sums tie.

    What is drawn, ranked, counted and said is taken from this, so that all of it agrees.
    """
    return read_saved(StringIO(to_csv(table)))


def read_saved(source: Path | StringIO) -> pd.DataFrame:
    """A table that `to_csv` wrote."""
    return pd.read_csv(source, low_memory=False)  # exact for six digits; one type for all rows of a column
