"""Run an experiment: train_dense(recipe), prune_dense(...), run(experiment) -> Result.

The three stages can be shared: every experiment with the same recipe starts from the same dense network, and every one
with the same pruning from the same masks. Choices and curves use validation images; the test images of a network are
read once, when its training is over.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import lru_cache, partial
from typing import Any, TypeVar

import torch
from torch import nn

from retrainlab import obs, schedules
from retrainlab.checks import BadInput, is_reference
from retrainlab.config import Experiment, Prune, Recipe
from retrainlab.data.dataset import counts, load
from retrainlab.data.folders import printable
from retrainlab.data.reading import steps_per_epoch
from retrainlab.device import lack_of_memory_told, repeatable, resolve
from retrainlab.layers import prunable, words
from retrainlab.methods.make import make
from retrainlab.methods.sparsifier import Span
from retrainlab.models import build, skeleton, state_dict
from retrainlab.schedules import DenseCurve
from retrainlab.study.courses import Callbacks, drive
from retrainlab.study.measured import (
    DAMAGE,
    Dense,
    Pruned,
    check_given,
    check_momentum,
    damage,
    dense_of,
    never_pruned,
    result_of,
)
from retrainlab.study.result import Result, record
from retrainlab.training import cycles
from retrainlab.training.engine import Engine
from retrainlab.training.loop import recalibrate, validate
from retrainlab.training.state import Job, Point, Setup, State, Trained

T = TypeVar("T")
OWN = ("epochs", "schedule", "lr", "warmup", "milestones", "gamma", "seed", "method")
"""What recipes may differ in that train together."""


def prepare(recipe: Recipe, device: torch.device) -> tuple[Setup, DenseCurve]:
    """What all stages of a recipe share (network as initialised, data on the device, optimiser), and the learning rates of
    its first training."""
    data = load(recipe.data, str(device), all_train=recipe.all_train, image_size=recipe.image_size)
    model = build(recipe.model, shape=data.shape, classes=data.classes, width=recipe.width, seed=recipe.seed)
    if not (names := prunable(model, recipe.embeddings)):
        raise BadInput(f"The model '{recipe.model}' has no weights to prune. {words(model, recipe.embeddings)}")
    setup = Setup(model.to(device), data, recipe.sgd, recipe.batch_size, names, recipe.augment, recipe.precision)
    return setup, dense_curve(recipe, data.steps_per_epoch(recipe.batch_size))


@lru_cache(maxsize=1024)  # it is asked for each of very many runs
def common(recipe: Recipe) -> Recipe:
    """The recipe with defaults for all that recipes may differ in (OWN): those for which it is equal train together."""
    defaults: dict[str, Any] = {f.name: f.default for f in fields(Recipe) if f.name in OWN}
    return replace(recipe, **defaults)


def evaluations_of(recipe: Recipe) -> int:
    """How many points the first training's curve has after the one at its start."""
    return min(recipe.epochs, 20)


def while_retraining(experiment: Experiment) -> Recipe:
    """The experiment's recipe with the optimiser that its retraining uses."""
    sgd = experiment.retrain.sgd
    return experiment.recipe if sgd is None else replace(experiment.recipe, sgd=sgd)


def dense_curve(recipe: Recipe, steps_per_epoch: int) -> DenseCurve:
    """The learning rates of the recipe's first training, one per iteration."""
    return schedules.dense(recipe, recipe.epochs * steps_per_epoch)


def dense_curve_of(recipe: Recipe) -> DenseCurve:
    """As `dense_curve`; the images of a data set that has a name need not be here."""
    return dense_curve(recipe, steps_of(recipe))


def network_of(recipe: Recipe) -> nn.Module:
    """The recipe's network without numbers, by which layers and sizes are known; no image is read for a data set that has a
    name."""
    there = counts(recipe.data, image_size=recipe.image_size)
    return skeleton(recipe.model, shape=there.shape, classes=there.classes, width=recipe.width)


def steps_of(recipe: Recipe) -> int:
    """Steps of an epoch. Raises BadInput for a batch that is larger than the training images."""
    there = counts(recipe.data, all_train=recipe.all_train, image_size=recipe.image_size)
    return steps_per_epoch(printable(recipe.data), there.train, recipe.batch_size)


def check(recipe: Recipe, prune: Prune, device: torch.device) -> None:
    """Raise BadInput now for what would fail later: data, network, schedule, a sparsity that cannot be reached, or a score
    that does not know how the network uses its weights."""
    setup, _ = prepare(recipe, device)
    own = is_reference(prune.score)  # else counts do not depend on the score
    state, quick = State.of(setup.model, device), prune if own else replace(prune, score="magnitude")
    cycles.prune_state(setup, state, quick, prune.cycles - 1, recipe.seed)
    if prune.score == "obs":
        obs.check(setup, state)


def check_lengths(experiment: Experiment) -> None:
    """Raise BadInput now if LRW has too little to replay in the last cycle, which takes what a split budget leaves over:
    whether it does depends on the number of images; and for a user's schedule that gives no curve."""
    retrain = experiment.retrain
    if retrain.budget and (is_reference(retrain.schedule) or (retrain.schedule == "LRW" and retrain.split)):
        curve = dense_curve_of(experiment.recipe)
        schedules.retraining(retrain, curve, max(cycles.lengths(experiment.prune, retrain, len(curve.lr))))


def check_all(experiments: Iterable[Experiment], device: torch.device) -> None:
    """`check` and `check_lengths` for all of a study, once for those that differ in their seeds alone."""
    distinct = {replace(e, recipe=replace(e.recipe, seed=0)) for e in experiments}
    for recipe, prune in {(e.recipe, e.prune) for e in distinct}:
        check(recipe, prune, device)
    for e in distinct:
        check_lengths(e)


def train_dense(
    recipe: Recipe,
    device: str = "auto",
    on_point: Callable[[Point], None] = lambda point: None,
    stop: Callable[[], bool] | None = None,
) -> Dense:
    """Train the recipe's network for the first time, before any prune.

    device: `auto`, `cpu`, `cuda` or `mps`. on_point: called with each point of the curve. stop: asked before each step;
    training ends once it is true.
    """
    calls = Callbacks(lambda _, point: on_point(point), stop)
    return next(train_dense_together([recipe], device, calls=calls))[1]


def train_dense_together(
    recipes: Sequence[Recipe], device: str = "auto", engine: Engine = Engine(), calls: Callbacks = Callbacks()
) -> Iterator[tuple[int, Dense]]:
    """The first trainings of recipes that share network, data, optimiser and batch size (see `common`): (place in
    `recipes`, dense run) as each ends."""
    where = resolve(device)
    with repeatable(where):
        setups, originals = zip(*(prepare(recipe, where) for recipe in recipes))
        courses = [
            _dense_course(setups[0], recipe, State.of(setup.model, where), original, engine, partial(calls.on_point, i))
            for i, (recipe, setup, original) in enumerate(zip(recipes, setups, originals))
        ]
        yield from drive(setups[0], courses, engine, calls)


def _dense_course(
    setup: Setup, recipe: Recipe, start: State, original: DenseCurve, engine: Engine, on_point: Callable[[Point], None]
) -> Generator[Job, Trained, Dense]:
    per_epoch = setup.data.steps_per_epoch(recipe.batch_size)
    span = Span(setup.prunable, len(original.lr), per_epoch, recipe.seed, original.peak)
    method, start = make(recipe.method, start, span)
    trained = yield Job(start, original.lr, (recipe.seed, "dense"), method, evaluations_of(recipe), on_point)
    return dense_of(setup, recipe, trained, engine)


def check_dense(setup: Setup, dense: Dense) -> None:
    """Raise BadInput unless a dense network that was given has the tensors of the recipe's, where this run computes."""

    def described(tensors: Iterable[tuple[str, torch.Tensor]]) -> dict[str, str]:
        return {name: f"{tuple(t.shape)}, {t.dtype} on {t.device}" for name, t in tensors}

    own, given = State.of(setup.model, setup.data.device), dense.state
    for wanted, found in ((own.params, given.params), (own.buffers, given.buffers)):
        there, here = described(wanted.items()), described(found.items())
        for name in there | here:
            if there.get(name) != here.get(name):
                raise BadInput(
                    f"The dense network given is not one of this recipe on this device: '{name}' is "
                    f"{here.get(name, 'missing')} and should be {there.get(name, 'missing')}; train it with the same "
                    "recipe and device."
                )


def prune_dense(recipe: Recipe, prune: Prune, dense: Dense, device: str = "auto") -> Pruned:
    """Prune a trained network for the first time: its masks, and the validation accuracy straight after and recalibrated."""
    where = resolve(device)
    if dense.result.outcome:
        told = dict(outcome=dense.result.outcome, weights=dense.weights)
        return Pruned({}, record(prune, dict.fromkeys(DAMAGE), {}, where, 0.0, **told))
    start = time.perf_counter()
    with repeatable(where):
        setup, _ = prepare(recipe, where)
        check_dense(setup, dense)
        cut = cycles.cut(setup, dense.state, prune, 0, recipe.seed)
        state = cut.of(dense.state)
        raw, _ = validate(setup, state)
        lifted, _ = validate(setup, recalibrate(setup, state, (recipe.seed, "recalibrate")))
    seconds = time.perf_counter() - start
    kept = record(prune, damage(dense, raw, lifted), {}, where, seconds, weights=dense.weights)
    return Pruned(cut.masks, kept, cut.updated)


@lack_of_memory_told()
def run(
    experiment: Experiment,
    device: str = "auto",
    *,
    dense: Dense | None = None,
    pruned: Pruned | None = None,
    keep: bool = False,
    on_point: Callable[[Point], None] = lambda point: None,
    stop: Callable[[], bool] | None = None,
) -> Result:
    """The whole experiment; `dense` and `pruned` are made first where they are not given. keep: whether the result has its
    network, too (see `Result.weights`).

    Scalars with `dense_` and `trained_` tell of the first training, by whatever method, before any prune. Scalars of
    several cycles: `pruned_`, `recalibrated_` and stability tell of the first prune, that of the dense network;
    norm_drop, removed, allr_factor and peak_lr of the last; recovery sums what all cycles lost and regained. A training
    that diverges is the last, and `outcome` says which it was: there is no accuracy then, and sparsity is the masks'.

    stop: asked before each step; once true, the result is that of the steps made so far, and its scalar `stopped` says
    so. Raises BadInput for data that is missing, a batch larger than the data, images the network cannot take, a last
    cycle that is too long for LRW, and a `dense` or `pruned` of another network.
    """
    check_lengths(experiment)
    dense = dense or train_dense(experiment.recipe, device, stop=stop)
    pruned = pruned or prune_dense(experiment.recipe, experiment.prune, dense, device)
    check_given(experiment, dense, pruned)
    calls = Callbacks(lambda _, point: on_point(point), stop)
    result, state = next(networks_together([experiment], [(dense, pruned)], device, calls=calls))[1]
    return result.keeping(state_dict(network_of(experiment.recipe), state.params | state.buffers)) if keep else result


def run_together(
    experiments: Sequence[Experiment],
    starts: Sequence[tuple[Dense, Pruned]],
    device: str = "auto",
    engine: Engine = Engine(),
    calls: Callbacks = Callbacks(),
) -> Iterator[tuple[int, Result]]:
    """Run experiments that share network, data, retraining's optimiser and batch size (see `common`), each from its own
    dense network and masks (`starts`, one pair each): (place in `experiments`, result) as each ends; see `run`."""
    for place, (result, _) in networks_together(experiments, starts, device, engine, calls):
        yield place, result


def networks_together(
    experiments: Sequence[Experiment],
    starts: Sequence[tuple[Dense, Pruned]],
    device: str = "auto",
    engine: Engine = Engine(),
    calls: Callbacks = Callbacks(),
) -> Iterator[tuple[int, tuple[Result, State]]]:
    """As `run_together`, with the network that each experiment ends with."""
    where = resolve(device)
    with repeatable(where):
        setup, _ = prepare(while_retraining(experiments[0]), where)
        for dense, _ in starts:
            check_dense(setup, dense)
        courses = [
            _course(setup, e, start, engine, partial(calls.on_point, i))
            for i, (e, start) in enumerate(zip(experiments, starts, strict=True))
        ]
        yield from drive(setup, courses, engine, calls)


def _course(
    setup: Setup, experiment: Experiment, start: tuple[Dense, Pruned], engine: Engine, on_point: Callable[[Point], None]
) -> Generator[Job, Trained, tuple[Result, State]]:
    dense, pruned = start
    check_momentum(experiment, dense.result)
    if dense.result.outcome:
        return never_pruned(experiment, dense, setup.data.device, engine), dense.state
    original = dense_curve(experiment.recipe, setup.data.steps_per_epoch(experiment.recipe.batch_size))
    end = yield from cycles.run(setup, experiment, dense.state, original, pruned.cut, on_point)
    return result_of(setup, experiment, start, end, engine), end[0]
