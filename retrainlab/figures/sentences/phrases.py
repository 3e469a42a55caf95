"""Phrases that several figures share."""

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from retrainlab.phrases import listed, percent
from retrainlab.stats import SEEDS

Said = tuple[str, str, tuple[str, ...]]
"""Alternative text, sentences for the caption (or none), and sentences for a slide."""
FEW = f"with fewer than {SEEDS} seeds nothing can be told"


def accuracies(names: Iterable[str], shares: Iterable[float], between: str = ", ") -> str:
    """`LLR 96.5 %, FT 81.1 %`, the highest first, ties in the order given; what diverged on every seed comes last."""
    ranked = sorted(zip(names, shares), key=lambda pair: -pair[1] if pair[1] == pair[1] else math.inf)
    return between.join(f"{name} {percent(share)}" if share == share else f"{name} none" for name, share in ranked)


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that are compared with the baseline, a run under two names once."""
    return table[table["verdict"].notna() & table["same_as"].isna()]


def after_holm(table: pd.DataFrame) -> str:
    """`after Holm's correction for all 84 comparisons`."""
    return f"after Holm's correction for all {judged(table)['p'].notna().sum()} comparisons"


def too_few(table: pd.DataFrame) -> bool:
    """Whether no comparison has seeds enough for a verdict."""
    return bool(judged(table)["p"].isna().all())


def found(table: pd.DataFrame, column: str, verdict: str) -> str:
    """`FT in 13 of 20, LRW in 2 of 4`: the schedules with this verdict, in the table's order, or none."""
    rows = judged(table)
    cells, found = (part["schedule"].value_counts() for part in (rows, rows[rows[column] == verdict]))
    named = (name for name in table["schedule"].unique() if name in found)
    return ", ".join(f"{name} in {found[name]} of {cells[name]}" for name in named) or "none"


def average(row: Any) -> str:
    """`FT -12.5 (-17.2 to -7.8), worse`: a schedule's difference on average over all cells; or `FT none`."""
    if math.isnan(row.overall_mean):
        return f"{row.schedule} none, {row.overall}"
    low, high = 100 * row.overall_low, 100 * row.overall_high
    span = f" ({low:+.1f} to {high:+.1f})" if math.isfinite(low) else ""
    return f"{row.schedule} {100 * row.overall_mean:+.1f}{span}, {row.overall}"


def overall(row: pd.Series) -> str:
    """`+12.3 (+10.1 to +14.5, better)`: a difference on average, in points; `none (undecided)` where no seed has it."""
    if math.isnan(row["overall_mean"]):
        return f"none ({row['overall']})"
    low, high = 100 * row["overall_low"], 100 * row["overall_high"]
    span = f"{low:+.1f} to {high:+.1f}, " if math.isfinite(low) else ""
    return f"{100 * row['overall_mean']:+.1f} ({span}{row['overall']})"


def standing(name: str, table: pd.DataFrame) -> str:
    """`LLR beats FT by 12.5 points; undecided: SLR and CLR (on average, corrected)`: the baseline against the schedules of
    a table that are compared with it, by their verdicts on average over all cells."""
    if too_few(table):
        return FEW
    others, said = table[table["verdict"].notna()].drop_duplicates("schedule"), []
    for words, verdict in (("beats", "worse"), ("loses to", "better")):
        own = others[others["overall"] == verdict]
        each = [f"{row['schedule']} by {100 * abs(row['overall_mean']):.1f}" for _, row in own.iterrows()]
        said += [f"{name} {words} {listed(each)} points"] if each else []
    names = list(others.loc[others["overall"] == "undecided", "schedule"])
    said += [f"undecided: {listed(names)}" if said else f"{name} against {listed(names)}: undecided"] if names else []
    return f"{'; '.join(said)} (on average, corrected)"
