"""Runs of a figure -> a number for each seed, which a claim is tested with. Accuracies become percentage points."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

Values = tuple[float, ...]


def means(runs: pd.DataFrame, compare: str, value: str = "test_accuracy") -> pd.DataFrame:
    """The mean of a column of accuracies over all cells, in points: a row for each seed, a column for each level.

    compare: the column of the levels. NaN where a seed lacks a cell that others have, or has no value there.
    """
    groups = runs.groupby(["seed", compare], sort=False)[value]
    whole = groups.agg(lambda v: 100 * v.astype(float).mean(skipna=False)).where(groups.size() == groups.size().max())
    return whole.unstack(compare)


def lead(runs: pd.DataFrame, compare: str, one: str, other: str) -> pd.Series:
    """Test accuracy of the level `one` less that of `other`, on average over cells, by seed; NaN for a seed that lacks a
    value of either, empty where a level is not among the runs."""
    table = means(runs[runs[compare].isin((one, other))], compare)
    return table[one] - table[other] if {one, other} <= {*table} else pd.Series(dtype=float)


def difference(runs: pd.DataFrame, compare: str, one: str, other: str) -> Values:
    """The `lead` of each seed that has one."""
    return values(lead(runs, compare, one, other))


def values(column: "pd.Series") -> Values:
    """The numbers that there are, in the order of the seeds, without the noise of float sums."""
    return tuple(np.round(column.dropna().sort_index().to_numpy(float), 10).tolist())


def rank_correlations(runs: pd.DataFrame, one: str, other: str) -> Values:
    """Spearman's rank correlation of two columns over the runs of each seed; seeds with all ranks equal are left out."""
    found = []
    for _, part in runs.dropna(subset=[one, other]).groupby("seed"):
        told = len(part) > 2 and part[one].nunique() > 1 and part[other].nunique() > 1
        found += [float(spearmanr(part[one], part[other])[0])] if told else []
    return tuple(found)


def best(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Of the runs that are alike in the columns `by`, that of the highest validation accuracy and then the lowest loss; none
    where all have diverged."""
    ranked = runs.dropna(subset="validation_accuracy").sort_values(
        ["validation_accuracy", "validation_loss"], ascending=[False, True], kind="stable"
    )
    return ranked.drop_duplicates([*by]).sort_values([*by])
