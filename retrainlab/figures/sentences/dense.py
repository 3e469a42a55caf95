"""What the table of figure 11 says: which schedule is best for dense training within a budget?"""

import pandas as pd

from retrainlab.figures.sentences.phrases import FEW, Said, accuracies, after_holm, average, found, standing, too_few
from retrainlab.phrases import share


def baseline(table: pd.DataFrame) -> str:
    """The schedule that the others are compared with."""
    [name] = set(table["schedule"]) - set(table.loc[table["verdict"].notna(), "schedule"])
    return name


def dense(table: pd.DataFrame) -> Said:
    """What figure 11 says of each schedule against the baseline, over all budgets and at the ends."""
    name, ends = baseline(table), table["epochs"].agg(["min", "max"])
    first, last = (_cell(table[table["epochs"] == epochs]) for epochs in ends)
    counted = (
        f"Worse than {name}, of the budgets: {found(table, 'verdict', 'worse')}; better: "
        f"{found(table, 'verdict', 'better')} (the interval excludes 0); {after_holm(table)}, worse: "
        f"{found(table, 'corrected', 'worse')}; better: {found(table, 'corrected', 'better')}"
    )
    counted = FEW.capitalize() if too_few(table) else counted
    others = _others(table)
    means = f"On average over the budgets, less {name}, in points: {'; '.join(map(average, others.itertuples()))}"
    return (
        f"Test accuracy of dense training against its length, one line per schedule, above paired differences to {name}. "
        f"{first}. {last}. {counted}. {means}.",
        f"{counted}. {means} (corrected for {len(others)} comparisons).",
        (f"{means}.", f"{first}.", f"{last}."),
    )


def finding(table: pd.DataFrame) -> str:
    """The verdicts on average over the budgets, in the few words that the README has room for."""
    return standing(baseline(table), table)


def _others(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each schedule that is compared with the baseline."""
    return table[table["verdict"].notna()].drop_duplicates("schedule")


def _cell(rows: pd.DataFrame) -> str:
    """`1 epoch, 3.3 % of the recipe's: linear 96.5 %, constant 81.1 %`."""
    epochs, budget = rows["epochs"].iloc[0], rows["budget"].iloc[0]
    count = "1 epoch" if epochs == 1 else f"{epochs:g} epochs"
    return f"After {count} ({share(budget)} of the recipe's): {accuracies(rows['schedule'], rows['mean'])}"
