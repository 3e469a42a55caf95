"""Prune a small trained network, watch its accuracy collapse, retrain it: a Network -> `pruned`, Attempts -> `view`."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache

import torch

from retrainlab import glossary
from retrainlab.checks import BadInput, choice, number, settle
from retrainlab.config import NAMED_SCHEDULES, Experiment, Prune, Recipe, Retrain
from retrainlab.explore.kit import chart, collapse, live, writing
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.views import race
from retrainlab.phrases import percent, share
from retrainlab.study.collapse import USUAL, Network
from retrainlab.study.collapse import network as network_of
from retrainlab.study.result import Result
from retrainlab.study.results import Results

WIDTH, HEIGHTS = 560, (330, 430)
KEPT = 8  # attempts that stay in the picture
ABOUT = glossary.hints()


@dataclass(frozen=True)
class Settings:
    """What the widgets say. sparsity (of the weights), budget (of the dense run): shares."""

    sparsity: float = 0.9
    schedule: str = choice("LLR", NAMED_SCHEDULES)
    budget: float = 0.1
    seed: int = number(0, low=0)

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
    """One retraining.

    sparsity: in percent; budget: a share; planned: how many steps it is to have.
    points: (step, validation accuracy as a share) so far.
    """

    schedule: str
    sparsity: int
    budget: float
    planned: int
    points: tuple[tuple[int, float], ...] = ()
    running: bool = True

    @property
    def label(self) -> str:
        """What was tried, and how it ended."""
        step, accuracy = self.points[-1] if self.points else (0, 0.0)
        if math.isnan(accuracy):
            end = "diverged"
        elif self.running or not self.points:
            end = "..."
        else:
            end = percent(accuracy) + (", stopped" if step < self.planned else "")
        return f"{self.schedule}, {share(self.budget)} at {self.sparsity} %: {end}"

    @property
    def plan(self) -> tuple:
        """What tells it from attempts at something else."""
        return self.schedule, self.sparsity, self.budget

    def experiment(self, recipe: Recipe) -> Experiment:
        """What is run, with up to 60 points."""
        retrain = Retrain(self.schedule, self.budget)
        return Experiment(recipe, Prune(self.sparsity / 100), retrain, evaluations=min(self.planned, 60))


def outcome_words(result: Result, planned: int) -> str:
    """How a retraining ended. planned: how many steps it was to have."""
    s, retrain = result.scalars, result.config["retrain"]
    before = f"{percent(s['dense_validation_accuracy'])} → {percent(s['pruned_validation_accuracy'])} by pruning → "
    if result.outcome:
        return f"{before}{result.outcome}, with {retrain['schedule']}. Choose another schedule."
    length = f"{share(retrain['budget'])} of the dense run"
    steps = f"{s['steps']} of {planned} steps (stopped early)" if s["stopped"] else f"{s['steps']} steps ({length})"
    return (
        f"{before}{percent(s['validation_accuracy'])} after {steps} with {retrain['schedule']}. "
        f"Checked: {percent(s['sparsity_achieved'])} of the weights are still exactly 0."
    )


def pruned(network: Network | None, sparsity: float) -> View:
    """Accuracy straight after pruning over sparsity (of the network, if there is one), with the chosen sparsity marked."""
    place = round(100 * sparsity)
    panel, alt = collapse.panel(network, place, "Validation accuracy (%)")
    picture = chart.chart([panel], alt, width=WIDTH, height=HEIGHTS[0])
    return View([picture], "" if network is None else collapse.words(network, place))


def view(attempts: Sequence[Attempt], recipe: Recipe, dense: float, zoom: bool = False) -> View:
    """The attempts as a picture (see `picture`), as CSV and as Python."""
    plans = [
        f"    Experiment(recipe, Prune({a.sparsity / 100}), Retrain({a.schedule!r}, {a.budget}))," for a in attempts
    ]
    code = "frame = study.run_study([", *plans, "])", "print(frame[['schedule', 'test_accuracy']])"
    return View([picture(attempts, dense, zoom)], "", None, csv(attempts), writing.python(recipe, *code))


def picture(attempts: Sequence[Attempt], dense: float, zoom: bool = False) -> dict:
    """Validation accuracy against retraining step: the last attempt bold, those before thin. dense: the accuracy before
    pruning, a share; zoom: whether to show only the 15 percentage points below it."""
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
    told = "; ".join(f"{a.label}, from {percent(a.points[0][1])}" for a in attempts if a.points)
    alt = (
        "Validation accuracy against retraining step, a line for each attempt (schedule, budget at sparsity): "
        f"{told or 'nothing has been retrained yet'}."
    )
    return chart.chart([panel], alt, width=WIDTH, height=HEIGHTS[1], legend=legend)


def csv(attempts: Sequence[Attempt]) -> str:
    """The points of every attempt; empty if there is none."""
    heads = ("schedule", "sparsity_percent", "budget", "step", "validation_accuracy")
    rows = [(a.schedule, a.sparsity, a.budget, *point) for a in attempts for point in a.points]
    return writing.csv(heads, rows) if rows else ""


SPARSITIES, BUDGET = (0.8, 0.9, 0.95, 0.98), 0.1  # of the races that a page tells of
INTRO = (
    "A trained network has more weights than it needs. Pruning sets those nearest to zero to zero for good, in whatever "
    "layer they are. Move the slider: at the left, the accuracy straight after pruning, before any retraining; at the "
    "right, what each layer loses.",
    "Then the weights that are left are trained again, for a share of the first training's length. The table shows what "
    "each schedule of the learning rate brings back, at the nearest sparsity that was raced.",
)
TITLE = "Start here: what pruning breaks, and how retraining mends it"
SLIDER = Control("Weights removed", [(f"{place} %", place) for place in range(100)], 90)


def mended(network: Network, place: int, settings: race.Settings, raced: Live) -> View:
    """A network pruned to `place` percent as a page shows it, and below it how a race ended. settings: of the race."""
    shown, heads = race.pruned(network, place / 100), ("sparsity_percent", "validation_accuracy")
    caption = f"Retrained for {share(settings.budget)} of the first training, with {share(settings.sparsity)} removed"
    table, numbers = (caption, race.heads(raced), race.ranking(raced)), sorted(network.accuracies.items())
    points = raced.experiments[0].evaluations
    return replace(shown, table=table, csv=writing.csv(heads, numbers), code=race.code(settings, points))


def page(results: Results) -> Page:
    """For readers without a kernel: prune the network of one seed of digits with a slider, and see what retraining brings
    back. What is not kept of its curve straight after pruning is measured while the page is made."""
    recipe, cpu = Settings().recipe, torch.device("cpu")
    races = {s: race.Settings(sparsity=s, budget=BUDGET, seed=recipe.seed) for s in SPARSITIES}

    @cache
    def network() -> Network:
        if (dense := results.dense(recipe, cpu)) is None:
            raise BadInput(
                "The page to start with needs the trained network, which is not in the store; make it first."
            )
        found = network_of(recipe, USUAL, dense, cpu)
        found.measure(lambda: False, lambda share: None)
        with suppress(BadInput):  # a store that cannot be written
            found.keep(results)
        return found

    @cache
    def raced(sparsity: float) -> Live:
        return live.stored(race.experiments(races[sparsity]), results)

    def view_of(place: int) -> View:
        near = min(SPARSITIES, key=lambda s: abs(100 * s - place))
        return mended(network(), place, races[near], raced(near))

    needs = [e for s in races.values() for e in race.experiments(s)]
    return Page("start", TITLE, INTRO, [SLIDER], needs, view_of)
