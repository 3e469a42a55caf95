"""What is said of each figure: its alternative text, the results in its caption, the sentences on its slide, and the few
words in a row of the README.

Pure functions of the figure's table as it is saved (`stats.as_saved`), and the only place where these numbers are worked
out: whoever reads the saved table again gets the same words.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from retrainlab.figures.sentences import (
    claims,
    contest,
    dense,
    findings,
    ingredients,
    landscape,
    retraining,
    scores,
    storage,
)
from retrainlab.figures.sentences.phrases import Said

FIGURES: dict[str, Callable[[pd.DataFrame], Said]] = {
    "fig01_schedules": retraining.schedules,
    "fig02_recovery": retraining.recovery,
    "fig03_budgets": retraining.budgets,
    "fig04_best_lr": retraining.best_lr,
    "fig05_contest": contest.contest,
    "fig06_split": contest.splits,
    "fig07_stability": contest.stability,
    "fig08_lengths": contest.lengths,
    "fig09_where": contest.allocations,
    "fig10_scores": scores.scores,
    "fig11_dense": dense.dense,
    "fig12_ingredients": ingredients.ingredients,
    "fig13_storage": storage.storage,
    "fig14_landscape": landscape.landscape,
    "fig15_claims": claims.claims,
}
FINDINGS: dict[str, Callable[[pd.DataFrame], str]] = {
    "fig01_schedules": findings.schedules,
    "fig02_recovery": findings.recovery,
    "fig03_budgets": findings.budgets,
    "fig04_best_lr": findings.best_lr,
    "fig05_contest": findings.contest,
    "fig06_split": findings.splits,
    "fig07_stability": findings.stability,
    "fig08_lengths": findings.lengths,
    "fig09_where": findings.allocations,
    "fig10_scores": scores.finding,
    "fig11_dense": dense.finding,
    "fig12_ingredients": ingredients.finding,
    "fig13_storage": storage.finding,
    "fig14_landscape": landscape.finding,
    "fig15_claims": claims.finding,
}


@dataclass(frozen=True)
class Words:
    """What is said of the figure of that name.

    alt: its alternative text; results: sentences for its caption, or none; points: sentences for its slide; finding: the
    few words that a row of a table has room for.
    """

    figure: str
    alt: str
    results: str
    points: tuple[str, ...]
    finding: str


def words(figure: str, table: pd.DataFrame) -> Words:
    """What the figure's table says; figure: a name of FIGURES; table: as it is saved. KeyError for another name."""
    return Words(figure, *FIGURES[figure](table), FINDINGS[figure](table))
