"""What the table of figure 10 says: does a better prune make retraining needless?"""

import pandas as pd

from retrainlab.figures.sentences.phrases import FEW, Said, accuracies, overall, too_few
from retrainlab.phrases import listed, percent, share

NAMES = {"obd": "Optimal Brain Damage", "obs": "Optimal Brain Surgeon"}


def baseline(table: pd.DataFrame) -> str:
    """The score that the others are compared with."""
    [name] = set(table["score"]) - set(table.loc[table["verdict"].notna(), "score"])
    return name


def best(table: pd.DataFrame) -> str:
    """The score with the highest test accuracy straight after the prune, on average over sparsities."""
    return str(table[table["budget"] == 0].groupby("score", sort=False)["mean"].mean().idxmax())


def scores(table: pd.DataFrame) -> Said:
    """What figure 10 says of the score that is best straight after the prune, before and after retraining."""
    hardest = table[table["sparsity"] == table["sparsity"].max()]
    moments = hardest.sort_values("budget", kind="stable").groupby("schedule", sort=False)
    cells = [rows[rows["budget"] == rows["budget"].min()] for _, rows in moments]
    there = "; ".join(f"{_moment(cell.iloc[0])}: {accuracies(cell['score'], cell['mean'])}" for cell in cells)
    start, leads = _start(table), [_leads(table, name) for name in _schedules(table)]
    return (
        f"Lines of test accuracy over the budget of retraining, 0 being straight after the prune; one line per score, a "
        f"panel for each sparsity and schedule. The dense network has {percent(table['dense'].iloc[0])}. At sparsity "
        f"{share(hardest['sparsity'].iloc[0])}, {there}. {start} {answer(table)}",
        " ".join([start, *leads, answer(table)]),
        (answer(table), start, leads[-1]),
    )


def answer(table: pd.DataFrame) -> str:
    """At which sparsities retraining still helps after the best prune, in a sentence; and where it harms."""
    if too_few(table):
        return f"{FEW.capitalize()}."
    name, tests = best(table), table["gain_verdict"].notna().sum()
    own = _last(table, name)
    sure = _budgets(_where(own, "gain_corrected", "better"))
    return (
        f"After the prune by {name}, {own['schedule'].iloc[0]} is shown to help {_helps(own)} (the interval of the gain "
        f"excludes 0; after Holm's correction for all {tests}, {sure}){_harms(own)}."
    )


def finding(table: pd.DataFrame) -> str:
    """The same in the few words that the README has room for, and what is left of the lead at the shortest budget."""
    if too_few(table):
        return FEW
    name, base = best(table), baseline(table)
    own = _last(table, name)
    last = f"{own['schedule'].iloc[0]}, which helps (uncorrected) {_helps(own)}{_harms(own)}"
    if name == base:
        return f"{name} is best after the prune, before {last}"
    end = own.iloc[0]
    before, after = (f"{100 * row['overall_mean']:+.1f}" for row in (_pruned(table, name).iloc[0], end))
    return (
        f"{NAMES.get(name, name)} leads {base} by {before} points, by {after} ({end['overall']}) after "
        f"{share(end['budget'])} of {last}"
    )


def _schedules(table: pd.DataFrame) -> list[str]:
    """The schedules of retraining in the table's order; the last is the one that the answer is about."""
    return [name for name in table["schedule"].unique() if name != "none"]


def _pruned(table: pd.DataFrame, score: str) -> pd.DataFrame:
    """The score's rows straight after the prune."""
    return table[(table["score"] == score) & (table["budget"] == 0)]


def _last(table: pd.DataFrame, score: str) -> pd.DataFrame:
    """The score's rows after the last schedule, the shortest budget first."""
    rows = table[(table["score"] == score) & (table["schedule"] == _schedules(table)[-1])]
    return rows.sort_values("budget", kind="stable")


def _moment(row: pd.Series) -> str:
    return f"after {row['schedule']} for {share(row['budget'])}" if row["budget"] else "straight after the prune"


def _start(table: pd.DataFrame) -> str:
    """Which score is best straight after the prune, how good it is, and by how much."""
    name, base = best(table), baseline(table)
    own = _pruned(table, name)
    said = ", ".join(f"{percent(mean)} at {share(sparsity)}" for sparsity, mean in zip(own["sparsity"], own["mean"]))
    lead = "" if name == base else f"; on average {overall(own.iloc[0])} points against {base}"
    return f"Straight after the prune {name} is best, by sparsity {said}{lead}."


def _leads(table: pd.DataFrame, schedule: str) -> str:
    """The average lead of the best score after each budget of a schedule; or, if it is the baseline, that of the others."""
    name, base = best(table), baseline(table)
    rows = table[(table["schedule"] == schedule) & (table["sparsity"] == table["sparsity"].min())]
    if name == base:
        last = rows[(rows["budget"] == rows["budget"].max()) & rows["overall"].notna()]
        others = "; ".join(f"{row['score']} {overall(row)}" for _, row in last.iterrows())
        return f"After {schedule} for {share(rows['budget'].max())}, on average against {base}: {others}."
    own = rows[rows["score"] == name].sort_values("budget", kind="stable")
    leads = "; ".join(f"{overall(row)} at {share(row['budget'])}" for _, row in own.iterrows())
    return f"After {schedule} its lead is, by budget, {leads}."


Places = dict[str, list[str]]
"""Sparsities by how many of the budgets something holds at there: every budget, some budgets or no budget."""


def _where(rows: pd.DataFrame, column: str, verdict: str) -> Places:
    """Where that verdict holds."""
    found: Places = {"every budget": [], "some budgets": [], "no budget": []}
    for sparsity, part in (rows[column] == verdict).groupby(rows["sparsity"]):
        found["every budget" if part.all() else "some budgets" if part.any() else "no budget"].append(share(sparsity))
    return found


def _budgets(found: Places) -> str:
    """`at every budget at sparsity 95 % and 98 %, at some at 90 %`; all the places that there are."""
    first, *rest = ((which, listed(places)) for which, places in found.items() if places)
    short = (f"at {which.split()[0].replace('no', 'none')} at {places}" for which, places in rest)
    return ", ".join([f"at {first[0]} at sparsity {first[1]}", *short])


def _helps(rows: pd.DataFrame) -> str:
    return _budgets(_where(rows, "gain_verdict", "better"))


def _harms(rows: pd.DataFrame) -> str:
    """Where retraining is shown to harm, with what leads to it; empty if it is nowhere."""
    found = _where(rows, "gain_verdict", "worse") | {"no budget": []}
    return f" and harms {_budgets(found)}" if any(found.values()) else ""
