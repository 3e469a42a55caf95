"""Run a few experiments while somebody watches: what is stored at once, the rest together in the fast engine, with each
point of their curves as it is made. Stop ends all at the next step; only what is whole is stored.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import torch

from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe
from retrainlab.data.sources import fingerprint
from retrainlab.figures.presets import PRESETS
from retrainlab.study.plan import Marks, adopt_unsaid, dense_key, pruned_key, result_key
from retrainlab.study.result import Result
from retrainlab.study.stages import (
    Dense,
    Pruned,
    belongs,
    common,
    prepare,
    prune_dense,
    run_together,
    train_dense_together,
    while_retraining,
)
from retrainlab.study.store import Store
from retrainlab.training.cycles import lengths
from retrainlab.training.engine import TOGETHER, Engine, forced
from retrainlab.training.state import Point

TELL = Callable[[float, str], None]


@dataclass
class Curve:
    """The points of one training so far, on one axis of steps through all its cycles: accuracies (NaN at the point at which
    it has diverged), sparsities (shares) and learning rates."""

    steps: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    sparsity: list[float] = field(default_factory=list)
    lr: list[float | None] = field(default_factory=list)
    begun: int = 0  # steps of the cycles before
    last: int = 0

    def add(self, step: int, accuracy: float, sparsity: float, lr: float | None) -> None:
        if step == 0 and self.steps:
            self.begun += self.last
        self.last = step
        self.steps.append(self.begun + step)
        self.accuracy.append(accuracy)
        self.sparsity.append(sparsity)
        self.lr.append(lr)

    @staticmethod
    def of(curves: dict) -> "Curve":
        """The curve of a stored result; the oldest do not tell their learning rates."""
        out, steps = Curve(), curves["step"]
        rates = curves.get("lr") or [None] * len(steps)
        shares = [math.nan if share is None else share for share in curves["validation_accuracy"]]
        for values in zip(steps, shares, curves["weight_sparsity"], rates):
            out.add(*values)
        return out


@dataclass
class Live:
    """Experiments and how far they are: `first` and `second`, the curves of the first training and the retraining, and
    `results`, by their place in `experiments`."""

    experiments: Sequence[Experiment]
    first: dict[int, Curve] = field(default_factory=dict)
    second: dict[int, Curve] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every experiment has ended by itself."""
        return len(self.results) == len(self.experiments) and not any(
            r.scalars["stopped"] for r in list(self.results.values())
        )

    def diverged(self, place: int) -> bool:
        """Whether that experiment has: its result says so, or, before there is one, its last point has no number."""
        if (result := self.results.get(place)) is not None:
            return bool(result.outcome)
        curve = self.second.get(place, Curve())
        return any(map(math.isnan, curve.accuracy[-1:]))


def stored(experiments: Sequence[Experiment], store: Store, firsts: bool = False) -> Live:
    """What the store has of them, without training; firsts: the first trainings' curves too."""
    live, marks = Live(list(experiments)), {}
    for place, e in enumerate(experiments):
        mark = marks.setdefault((e.recipe.data, e.recipe.image_size), fingerprint(e.recipe.data, e.recipe.image_size))
        result = store.result(result_key(e, mark))
        if result is None and adopt_unsaid(e, store, mark):
            result = store.result(result_key(e, mark))
        if result is not None:
            live.results[place], live.second[place] = result, Curve.of(result.curves)
        if firsts and (dense := store.dense(dense_key(e.recipe, mark), torch.device("cpu"))) is not None:
            live.first[place] = Curve.of(dense.result.curves)
    return live


def recipe_of(data: str, model: str, seed: int) -> Recipe:
    """How a data set's networks are trained: as its preset does."""
    recipe = replace(PRESETS[data if data in PRESETS else "cifar10"].recipe, data=data)
    width = recipe.width if model == recipe.model else None
    return replace(recipe, model=model, width=width, seed=seed)


def together(device: torch.device) -> Engine:
    """The engine that trains many side by side on this device."""
    return forced(TOGETHER[device.type], device)


def run(
    live: Live, store: Store, device: torch.device, stop: Callable[[], bool], tell: TELL = lambda share, words: None
) -> None:
    """Fill `live` with what is missing. tell(share of the work, words) says how far it is. Experiments may differ in
    anything. Raises BadInput for what cannot be run."""
    missing = [i for i in range(len(live.experiments)) if i not in live.results]
    of = {(e.recipe.data, e.recipe.image_size) for e in live.experiments}
    marks = {(data, size): fingerprint(data, size) for data, size in of}
    dense = _first_trainings(live, missing, marks, store, device, stop, tell)
    if stop():
        return
    pruned: dict[tuple[Recipe, Prune], Pruned] = {}
    for i in missing:
        recipe, prune = live.experiments[i].recipe, live.experiments[i].prune
        if (recipe, prune) not in pruned:
            name = pruned_key(recipe, prune, marks[recipe.data, recipe.image_size])
            found = store.pruned(name, device)
            if found is None or not belongs(found, dense[recipe]):
                found = prune_dense(recipe, prune, dense[recipe], str(device))
                _keep(lambda name=name, found=found: store.put_pruned(name, found))
            pruned[recipe, prune] = found
    groups: dict[Recipe, list[int]] = {}
    for i in missing:
        groups.setdefault(common(while_retraining(live.experiments[i])), []).append(i)
    meter = _Meter({i: _steps(live.experiments[i], dense) for i in missing}, tell, "Retraining ...")
    for places in groups.values():
        experiments = [live.experiments[i] for i in places]
        starts = [(dense[e.recipe], pruned[e.recipe, e.prune]) for e in experiments]

        def on_point(place: int, point: Point, places=places) -> None:
            _add(live.second.setdefault(places[place], Curve()), point)
            meter(places[place], live.second[places[place]].steps[-1])

        done = run_together(experiments, starts, str(device), together(device), on_point=on_point, stop=stop)
        for place, result in done:
            live.results[places[place]] = result
            if result.outcome:
                meter(places[place], meter.lengths[places[place]])
            if not result.scalars["stopped"]:
                e = experiments[place]
                name = result_key(e, marks[e.recipe.data, e.recipe.image_size])
                _keep(lambda name=name, result=result: store.put_result(name, result))


def _first_trainings(
    live: Live,
    missing: Sequence[int],
    marks: Marks,
    store: Store,
    device: torch.device,
    stop: Callable[[], bool],
    tell: TELL,
) -> dict[Recipe, Dense]:
    """The first trainings, made where the store has none."""
    users: dict[Recipe, list[int]] = {}
    for i in missing:
        users.setdefault(live.experiments[i].recipe, []).append(i)
    out: dict[Recipe, Dense] = {}
    todo: dict[Recipe, list[Recipe]] = {}
    for recipe, places in users.items():
        if (found := store.dense(dense_key(recipe, marks[recipe.data, recipe.image_size]), device)) is None:
            todo.setdefault(common(recipe), []).append(recipe)
            continue
        out[recipe] = found
        for i in places:
            live.first[i] = Curve.of(found.result.curves)
    steps = {r: len(prepare(r, device)[1].lr) for recipes in todo.values() for r in recipes}
    meter = _Meter(steps, tell, "Training the network first (once; it is kept) ...")
    for recipes in todo.values():

        def on_point(place: int, point: Point, recipes=recipes) -> None:
            for i in users[recipes[place]]:
                _add(live.first.setdefault(i, Curve()), point)
            meter(recipes[place], point.step)

        for place, made in train_dense_together(recipes, str(device), together(device), on_point=on_point, stop=stop):
            if not stop():
                recipe = recipes[place]
                out[recipe] = made
                meter(recipe, steps[recipe])  # fewer if it has diverged
                name = dense_key(recipe, marks[recipe.data, recipe.image_size])
                _keep(lambda name=name, made=made: store.put_dense(name, made))
    return out


def _add(curve: Curve, point: Point) -> None:
    if point.step and curve.steps and curve.last == point.step:  # a stop replaces the point before
        for values in (curve.steps, curve.accuracy, curve.sparsity, curve.lr):
            values.pop()
    curve.add(point.step, point.accuracy, point.sparsity, point.lr)


def _steps(e: Experiment, dense: dict[Recipe, Dense]) -> float:
    """Of the retraining; a little above 0 for none."""
    return sum(lengths(e.prune, e.retrain, dense[e.recipe].result.scalars["steps"])) or 1e-9


def _keep(put: Callable[[], None]) -> None:
    with suppress(BadInput):  # a store that is only read, as on a shared machine: it is made again next time
        put()


class _Meter:
    """Turns how far each run is into a share of all; the words are told once."""

    def __init__(self, lengths: dict, tell: TELL, words: str):
        self.lengths, self.tell, self.words, self.seen = lengths, tell, words, dict.fromkeys(lengths, 0.0)

    def __call__(self, which, so_far: float) -> None:
        self.seen[which] = so_far
        self.tell(sum(self.seen.values()) / sum(self.lengths.values()), self.words)
        self.words = ""
