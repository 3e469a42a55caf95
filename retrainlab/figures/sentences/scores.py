"""What the table of figure 10 says: does a better prune make retraining needless?"""

import math
from typing import Any

import pandas as pd

from retrainlab.figures.sentences.phrases import FEW, Said, accuracies, too_few
from retrainlab.phrases import listed, percent, share

NAMES = {"obd": "Optimal Brain Damage", "obs": "Optimal Brain Surgeon"}
SHOWN = {"better": "shown to be better", "worse": "shown to be worse", "undecided": "undecided"}
HELPS = {"better": "is shown to help", "worse": "is shown to harm", "undecided": "is not shown to help"}


def baseline(table: pd.DataFrame) -> str:
    """The score that the others are compared with."""
    [name] = set(table["score"]) - set(table.loc[table["verdict"].notna(), "score"])
    return name


def best(table: pd.DataFrame) -> tuple[str, float]:
    """The score with the highest test accuracy straight after the prune, on average over sparsities, and that accuracy."""
    means = table[table["budget"] == 0].groupby("score", sort=False)["mean"].mean()
    return str(means.idxmax()), float(means.max())


def scores(table: pd.DataFrame) -> Said:
    """What figure 10 says of the score that is best straight after the prune, before and after retraining."""
    hardest = table[table["sparsity"] == table["sparsity"].max()]
    cells = [hardest[hardest["budget"] == 0]]
    cells += [_after(hardest, name).iloc[: hardest["score"].nunique()] for name in _schedules(table)]
    there = "; ".join(f"{_moment(cell.iloc[0])}: {accuracies(cell['score'], cell['mean'])}" for cell in cells)
    start, lefts = _start(table), [_left(table, name) for name in _schedules(table)]
    told = " ".join([start, *lefts, answer(table)])
    return (
        f"Lines of test accuracy over the budget of retraining, 0 being straight after the prune; one line per score, a "
        f"panel for each sparsity and schedule. The dense network has {percent(table['dense'].iloc[0])}. At sparsity "
        f"{share(hardest['sparsity'].iloc[0])}, {there}. On average over sparsities: {start} {answer(table)}",
        f"On average over sparsities, in points with 95 % interval, corrected (Holm): {told}",
        (answer(table), start, *lefts),
    )


def answer(table: pd.DataFrame) -> str:
    """Whether retraining is needless after the best prune, and whether that prune pays in the end, in a sentence."""
    if too_few(table):
        return f"{FEW.capitalize()}."
    (name, _), base = best(table), baseline(table)
    after = _after(table[table["score"] == name], _schedules(table)[-1]).drop_duplicates("budget")
    schedule = after["schedule"].iloc[0]
    gains = [f"{100 * gain:.1f}" for gain in (after["gain_mean"].min(), after["gain_mean"].max())]
    adds = f"({' to '.join(dict.fromkeys(gains))} points)"
    helps = f"After the best prune, that by {name}, {schedule} {_each(after, 'gain', HELPS)} {adds}"
    return f"{helps}." if name == base else f"{helps}; against {base} it is then {_each(after, 'overall', SHOWN)}."


def finding(table: pd.DataFrame) -> str:
    """The same in the few words that README has room for, at the shortest budget."""
    if too_few(table):
        return FEW
    (name, _), base = best(table), baseline(table)
    own = table[table["score"] == name]
    row = _after(own, _schedules(table)[-1]).iloc[0]
    needless = {"better": "no", "worse": "retraining harms", "undecided": "undecided"}[row["gain"]]
    adds = f"{row['schedule']} for {share(row['budget'])} adds {100 * row['gain_mean']:.1f} points to "
    adds += NAMES.get(name, name)
    if name == base:
        return f"{needless}: {adds}, the best straight after the prune"
    lead, left = (
        f"{100 * mean:+.1f}" for mean in (own.loc[own["budget"] == 0, "overall_mean"].iloc[0], row["overall_mean"])
    )
    return (
        f"{needless}: {adds}, the best straight after the prune, and takes its lead over {base} from {lead} to {left} "
        f"({row['overall']})"
    )


def _schedules(table: pd.DataFrame) -> list[str]:
    """The schedules of retraining in the table's order; the last is the one that the answer is about."""
    return [name for name in table["schedule"].unique() if name != "none"]


def _after(table: pd.DataFrame, schedule: str) -> pd.DataFrame:
    """The rows after retraining with that schedule, the shortest budget first."""
    return table[table["schedule"] == schedule].sort_values("budget", kind="stable")


def _moment(row: pd.Series) -> str:
    return f"after {row['schedule']} for {share(row['budget'])}" if row["budget"] else "straight after the prune"


def _start(table: pd.DataFrame) -> str:
    """Which score is best straight after the prune, and by how much."""
    (name, mean), base = best(table), baseline(table)
    first = f"Straight after the prune {name} is best with {percent(mean)}"
    if name == base:
        return f"{first}."
    row = table[(table["score"] == name) & (table["budget"] == 0)].iloc[0]
    return f"{first}, {_points(row, 'overall')} against {base}."


def _left(table: pd.DataFrame, schedule: str) -> str:
    """What is left of the best score's lead after each budget of a schedule; of what leads nothing, what it gains."""
    (name, _), base = best(table), baseline(table)
    rows = [row for _, row in _after(table[table["score"] == name], schedule).drop_duplicates("budget").iterrows()]
    column = "gain" if name == base else "overall"
    said = "; ".join(f"{_points(row, column)} at {share(row['budget'])}" for row in rows)
    return f"{schedule} adds {said}." if name == base else f"After {schedule} its lead is {said}."


def _points(row: Any, column: str) -> str:
    """`+12.3 (+10.1 to +14.5, better)`."""
    low, high = 100 * row[f"{column}_low"], 100 * row[f"{column}_high"]
    span = f"{low:+.1f} to {high:+.1f}, " if math.isfinite(low) else ""
    return f"{100 * row[f'{column}_mean']:+.1f} ({span}{row[column]})"


def _each(rows: pd.DataFrame, column: str, words: dict[str, str]) -> str:
    """The words for each verdict with its budgets, or at every budget."""
    found = [(said, rows.loc[rows[column] == verdict, "budget"]) for verdict, said in words.items()]
    named = [(said, budgets) for said, budgets in found if len(budgets)]
    if len(named) == 1:
        return f"{named[0][0]} at every budget"
    return ", ".join(f"{said} at {listed([share(b) for b in budgets])}" for said, budgets in named)
