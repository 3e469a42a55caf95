"""Prune a small trained network, watch its accuracy collapse, retrain it: what the first explorer shows.

`Settings` and a `collapse.Network` -> `pruned`; the attempts to mend it -> `view`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from retrainlab.checks import choice, settle
from retrainlab.config import NAMED_SCHEDULES, Experiment, Prune, Recipe, Retrain
from retrainlab.explore.kit import chart, collapse, live, writing
from retrainlab.explore.kit.collapse import Network
from retrainlab.explore.kit.pages import View
from retrainlab.phrases import percent, share
from retrainlab.study.result import Result

WIDTH, HEIGHTS = 560, (330, 430)
KEPT = 8  # attempts that stay in the picture
ABOUT = {
    "FT": "the dense run's last, small rate",
    "LRW": "replay the end of the dense run",
    "SLR": "the whole dense schedule, compressed",
    "CLR": "a cosine, from the largest rate down",
    "LLR": "a line, from the largest rate to 0",
    "ALLR": "LLR, started lower the less the prune hurt",
}


@dataclass(frozen=True)
class Settings:
    """What is tried next. sparsity in [0, 1) and budget (of the dense run, at least 0) are shares."""

    sparsity: float = 0.9
    schedule: str = choice("LLR", NAMED_SCHEDULES)
    budget: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        Prune(self.sparsity), Retrain(self.schedule, self.budget)

    @property
    def recipe(self) -> Recipe:
        """The dense run's."""
        return live.recipe_of("digits", "resnet8", self.seed)

    @property
    def percent(self) -> int:
        """The sparsity in whole percent."""
        return round(100 * self.sparsity)


@dataclass(frozen=True)
class Attempt:
    """One retraining: its plan (sparsity in percent, budget as a share, planned steps), the points (step, accuracy as a
    share) so far, and whether it goes on."""

    schedule: str
    sparsity: int
    budget: float
    planned: int
    points: tuple[tuple[int, float], ...] = ()
    running: bool = True

    @property
    def label(self) -> str:
        if self.points and math.isnan(self.points[-1][1]):
            end, early = "diverged", ""
        else:
            end = "..." if self.running or not self.points else percent(self.points[-1][1])
            early = "" if self.running or not self.points or self.points[-1][0] == self.planned else ", stopped"
        return f"{self.schedule}, {share(self.budget)} at {self.sparsity} %: {end}{early}"

    @property
    def plan(self) -> tuple:
        return self.schedule, self.sparsity, self.budget

    def experiment(self, recipe: Recipe) -> Experiment:
        """What is run for it, with up to 60 points."""
        retrain = Retrain(self.schedule, self.budget)
        return Experiment(recipe, Prune(self.sparsity / 100), retrain, evaluations=min(self.planned, 60))


def outcome_words(result: Result, planned: int) -> str:
    """A finished or stopped retraining in words, or one that has diverged."""
    s, retrain = result.scalars, result.config["retrain"]
    if result.outcome:
        return (
            f"{percent(s['dense_validation_accuracy'])} → {percent(s['pruned_validation_accuracy'])} by pruning → "
            f"{result.outcome}, with {retrain['schedule']}. Choose another schedule."
        )
    length = f"{share(retrain['budget'])} of the dense run"
    steps = f"{s['steps']} of {planned} steps (stopped early)" if s["stopped"] else f"{s['steps']} steps ({length})"
    return (
        f"{percent(s['dense_validation_accuracy'])} → {percent(s['pruned_validation_accuracy'])} by pruning → "
        f"{percent(s['validation_accuracy'])} after {steps} with {retrain['schedule']}. "
        f"Checked: {percent(s['sparsity_achieved'])} of the weights are still exactly 0."
    )


# ---- the pictures ----------------------------------------------------------------------------------------------------


def pruned(network: Network | None, sparsity: float) -> View:
    """Validation accuracy straight after pruning over sparsity, of the network if there is one. sparsity: the one that is
    chosen, a share."""
    place = round(100 * sparsity)
    panel, alt = collapse.panel(network, place, "Validation accuracy (%)")
    picture = chart.chart([panel], alt, width=WIDTH, height=HEIGHTS[0])
    return View([picture], "" if network is None else network.words(place))


def view(attempts: Sequence[Attempt], recipe: Recipe, dense: float, zoom: bool = False) -> View:
    """The attempts (see `attempts_chart`)."""
    picture = attempts_chart(attempts, dense, zoom)
    return View([picture], "", None, attempts_csv(attempts), attempts_code(recipe, attempts))


def attempts_chart(attempts: Sequence[Attempt], dense: float, zoom: bool = False) -> dict:
    """Validation accuracy against retraining step: the last attempt bold, those before thin. dense: the accuracy before
    pruning, as a share; zoom: show only the 15 points below it."""
    attempts = attempts[-KEPT:]
    marks, legend = [chart.level(100 * dense)], []
    for attempt in attempts:
        last, look = attempt is attempts[-1], chart.schedule(attempt.schedule)
        steps, shares = [s for s, _ in attempt.points], [100 * share for _, share in attempt.points]
        marks.append(chart.line(steps, shares, look, width=3 if last else 1.3, opacity=1 if last else 0.7))
        legend.append((attempt.label, look))
    y = (100 * dense - 15, 100 * dense + 1) if zoom else (0, 108)
    x = (0, max((a.planned for a in attempts), default=100))
    panel = chart.panel(marks, x=x, y=y, xlabel="Retraining step", ylabel="Validation accuracy (%)")
    return chart.chart([panel], attempts_alt(attempts), width=WIDTH, height=HEIGHTS[1], legend=legend)


def attempts_alt(attempts: Sequence[Attempt]) -> str:
    """The second picture in words, from its numbers."""
    lines = [f"{a.label}, from {percent(a.points[0][1])}" for a in attempts[-KEPT:] if a.points]
    listed = "; ".join(lines) or "nothing has been retrained yet"
    return f"Validation accuracy against retraining step, a line for each attempt (schedule, budget at sparsity): {listed}."


def attempts_csv(attempts: Sequence[Attempt]) -> str:
    """The points of every attempt."""
    heads = ("schedule", "sparsity_percent", "budget", "step", "validation_accuracy")
    rows = [(a.schedule, a.sparsity, a.budget, *point) for a in attempts for point in a.points]
    return writing.csv(heads, rows) if rows else ""


def attempts_code(recipe: Recipe, attempts: Sequence[Attempt]) -> str:
    """The attempts as Python."""
    plans = [
        f"    Experiment(recipe, Prune({a.sparsity / 100!r}), Retrain({a.schedule!r}, {a.budget!r}))," for a in attempts
    ]
    return writing.python(
        recipe, "frame = study.run_study([", *plans, "])", "print(frame[['schedule', 'test_accuracy']])"
    )
