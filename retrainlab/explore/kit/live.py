"""Run a few experiments while somebody watches: stored ones show at once, the others train together and show each point of
their curves as it is made. Stop ends all at the next step; only finished ones are stored.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
import torch

from retrainlab import stats
from retrainlab.config import Experiment, Recipe
from retrainlab.explore.kit.collapse import check_patience
from retrainlab.figures.presets import PRESETS, Preset
from retrainlab.progress import Tell
from retrainlab.study.making import Noun, Watch
from retrainlab.study.measured import Dense
from retrainlab.study.result import Result
from retrainlab.study.results import Place, Results
from retrainlab.training.state import Point


@dataclass
class Curve:
    """The points of one training so far, on one axis of steps through all its cycles.

    accuracy: shares; NaN at the point at which the training has diverged.
    sparsity: shares. lr: learning rates; None where they are not known.
    begun: steps of the cycles before. last: the last step of this cycle.
    """

    steps: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    sparsity: list[float] = field(default_factory=list)
    lr: list[float | None] = field(default_factory=list)
    begun: int = 0
    last: int = 0

    def add(self, step: int, accuracy: float, sparsity: float, lr: float | None) -> None:
        """Take the next point: step 0 begins a cycle, and a point at the last step, as of a stop there, replaces it."""
        if self.steps and step == 0:
            self.begun += self.last
        elif self.steps and step == self.last:
            for values in (self.steps, self.accuracy, self.sparsity, self.lr):
                values.pop()
        self.last = step
        self.steps.append(self.begun + step)
        self.accuracy.append(accuracy)
        self.sparsity.append(sparsity)
        self.lr.append(lr)

    @staticmethod
    def of(curves: dict) -> "Curve":
        """The curve of a stored result; the oldest do not tell their learning rates."""
        out, steps = Curve(), curves["step"]
        accuracies = [math.nan if share is None else share for share in curves["validation_accuracy"]]
        for point in zip(steps, accuracies, curves["weight_sparsity"], curves.get("lr") or [None] * len(steps)):
            out.add(*point)
        return out


@dataclass
class Live:
    """Experiments and how far they are.

    first, second: the curves of first trainings and retrainings, by place in `experiments`; results: the same way.
    """

    experiments: list[Experiment]
    first: dict[int, Curve] = field(default_factory=dict)
    second: dict[int, Curve] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every experiment has ended by itself."""
        results = list(self.results.values())  # a copy: a thread may be adding to them
        return len(results) == len(self.experiments) and not any(r.scalars["stopped"] for r in results)

    @property
    def mixed(self) -> str:
        """On which devices the results were computed, as a sentence with a space before it; empty where it was one."""
        words = stats.mixed(pd.DataFrame({"device": [r.provenance.get("device") for r in list(self.results.values())]}))
        return words and f" {words}"

    def take(self, place: int, other: "Live", its: int) -> None:
        """Make what `other` has of its experiment number `its` the curves and the result of that at `place`."""
        pairs: list[tuple[dict, dict]] = [(self.first, other.first), (self.second, other.second)]
        for mine, theirs in (*pairs, (self.results, other.results)):
            if its in theirs:
                mine[place] = theirs[its]

    def diverged(self, place: int) -> bool:
        """Whether that experiment has diverged: by its result, or before there is one by its last accuracy."""
        if (result := self.results.get(place)) is not None:
            return bool(result.outcome)
        curve = self.second.get(place, Curve())
        return any(map(math.isnan, curve.accuracy[-1:]))


def stored(experiments: Sequence[Experiment], store: Place, firsts: bool = False, points: Sequence[int] = ()) -> Live:
    """What the store has of them, without training; firsts: the curves of first trainings too; points: how many points a
    curve may have in place of those asked for."""
    live, results = Live([*experiments]), Results.at(store)
    for place, e in enumerate(experiments):
        others = (replace(e, evaluations=n) for n in sorted({*points} - {e.evaluations}, reverse=True))
        for one in (e, *others):
            if (result := results.of(one)) is not None:
                live.experiments[place], live.results[place] = one, result
                live.second[place] = Curve.of(result.curves)
                break
        if firsts and (dense := results.dense(e.recipe, torch.device("cpu"))) is not None:
            live.first[place] = Curve.of(dense.result.curves)
    return live


def preset_of(data: str) -> Preset:
    """The preset of a data set; cifar10's for one that has none."""
    return PRESETS.get(data, PRESETS["cifar10"])


def recipe_of(data: str, model: str, seed: int) -> Recipe:
    """How a network is trained on a data set: as its preset does."""
    recipe = preset_of(data).recipe
    return replace(recipe, data=data, model=model, width=recipe.width if model == recipe.model else None, seed=seed)


def run(
    live: Live, store: Place, device: torch.device, stop: Callable[[], bool], tell: Tell = lambda share, words: None
) -> None:
    """Fill `live` with what is missing, each point as it is made. Experiments may differ in anything.

    Raises BadInput for what cannot be run, or would take too long here (see `collapse.check_patience`).
    """
    results = Results.at(store)
    missing = {i: e for i, e in enumerate(live.experiments) if i not in live.results}
    for recipe, prune in {(e.recipe, e.prune) for e in missing.values()}:
        if results.masks(recipe, prune, device) is None:
            check_patience(recipe, prune, device)
    places: dict[Noun, list[int]] = {}
    for i, e in missing.items():
        places.setdefault(e, []).append(i)
        places.setdefault(e.recipe, []).append(i)

    def on_point(noun: Recipe | Experiment, point: Point) -> None:
        curves = live.first if isinstance(noun, Recipe) else live.second
        for i in places[noun]:
            curves.setdefault(i, Curve()).add(point.step, point.accuracy, point.sparsity, point.lr)

    for noun, made in results.make(list(missing.values()), device, Watch(on_point, stop, tell)):
        for i in places.get(noun, ()):
            if isinstance(made, Dense):
                live.first[i] = Curve.of(made.result.curves)
            elif isinstance(made, Result):
                live.results[i], live.second[i] = made, Curve.of(made.curves)
