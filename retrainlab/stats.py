"""Means and differences over seeds, with 95 % confidence intervals; and what may be concluded from them.

Everything compared shares the dense network, the mask and the batches of its seed, so that a difference between two
schedules is a paired difference: its interval is that of the mean of the per-seed differences (Student's t).
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from retrainlab.errors import choose

LEVEL = 0.95


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """(mean, low, high) by Student's t over independent `values`; infinitely wide for a single one."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = float(stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half


def summary(frame: pd.DataFrame, by: list[str], value: str) -> pd.DataFrame:
    """Mean of `value` over seeds for each combination of `by`, in order of appearance: columns mean, low, high, n."""
    rows = [
        dict(zip(by, group)) | dict(zip(("mean", "low", "high"), interval(part[value]))) | {"n": len(part)}
        for group, part in frame.groupby(by, sort=False)
    ]
    return pd.DataFrame(rows)


def paired(frame: pd.DataFrame, by: list[str], value: str, compare: str, baseline: str) -> pd.DataFrame:
    """Differences of `value` between each level of the column `compare` and `baseline`, seed by seed.

    Columns: by, compare, mean, low, high, n and verdict: better, worse (the interval excludes 0) or undecided.
    """
    choose(baseline, list(frame[compare].unique()), f"{compare} to compare with")
    wide = frame.pivot(index=[*by, "seed"], columns=compare, values=value)
    rows = []
    for group, part in wide.groupby(by, sort=False):
        group = group if isinstance(group, tuple) else (group,)
        for level in frame[compare].unique():
            if level != baseline:
                differences = (part[level] - part[baseline]).dropna()
                mean, low, high = (round(x, 10) + 0.0 for x in interval(differences))  # no noise of float sums, no -0
                verdict = "better" if low > 0 else "worse" if high < 0 else "undecided"
                head = dict(zip(by, group)) | {compare: level}
                rows.append(head | {"mean": mean, "low": low, "high": high, "n": len(differences), "verdict": verdict})
    return pd.DataFrame(rows)
