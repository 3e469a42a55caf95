"""Run an experiment: train_dense(recipe), prune_dense(...), run(experiment) -> Result.

The three stages can be shared: every experiment with the same recipe starts from the same dense network, and every one
with the same pruning from the same masks. Choices and curves use validation images; the test images of a network are
read once, when its training is over.
"""

import math
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

import retrainlab
from retrainlab import metrics, schedules
from retrainlab.config import Experiment, Prune, Recipe, to_dict
from retrainlab.data import Dataset, load
from retrainlab.device import describe, repeatable, resolve
from retrainlab.methods import imp
from retrainlab.models import build, prunable
from retrainlab.pruning import Masks
from retrainlab.schedules import Original
from retrainlab.training import Point, State, evaluate, recalibrate, train


@dataclass(frozen=True)
class Result:
    """What is kept of a run. config: the nouns; scalars: numbers by name (accuracies are shares, None where undefined);
    curves: lists by name; provenance: versions, device, seconds, revision. JSON throughout."""

    config: dict
    scalars: dict
    curves: dict
    provenance: dict


@dataclass(frozen=True)
class Dense:
    """A trained dense network: its state (momentum included) and what was measured."""

    state: State
    result: Result


@dataclass(frozen=True)
class Pruned:
    """The first cycle's masks, and what pruning alone did."""

    masks: Masks
    result: Result


def setting(recipe: Recipe, device: torch.device) -> tuple[Dataset, nn.Module, Original]:
    """What the stages share: the data on the device, the network as initialised, the dense learning-rate curve."""
    data = load(recipe.data, str(device), all_train=recipe.all_train, image_size=recipe.image_size)
    model = build(recipe.model, shape=data.shape, classes=data.classes, width=recipe.width, seed=recipe.seed)
    return data, model.to(device), original_curve(recipe, data.steps_per_epoch(recipe.batch_size))


def original_curve(recipe: Recipe, steps_per_epoch: int) -> Original:
    """The recipe's learning rates, one per iteration."""
    n = recipe.epochs * steps_per_epoch
    return schedules.dense(
        recipe.schedule, n, recipe.lr, warmup=int(recipe.warmup * n), milestones=recipe.milestones, gamma=recipe.gamma
    )


def check(recipe: Recipe, prune: Prune, device: torch.device) -> None:
    """Raise BadInput now for what would fail later: data, network, schedule or a sparsity that cannot be reached."""
    _, model, _ = setting(recipe, device)
    imp.prune_state(State.of(model, device), prune, prunable(model), prune.cycles - 1, recipe.seed)


def train_dense(
    recipe: Recipe,
    device: str = "auto",
    on_point: Callable[[Point], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Dense:
    """The dense run of the recipe."""
    where = resolve(device)
    with repeatable(where):
        data, model, original = setting(recipe, where)
        names = prunable(model)
        trained = train(
            model,
            State.of(model, where),
            data,
            original.lr,
            sgd=recipe.sgd,
            batch_size=recipe.batch_size,
            seed=(recipe.seed, "dense"),
            prunable=names,
            augment=recipe.augment,
            evaluations=min(recipe.epochs, 20),
            on_point=on_point,
            stop=stop,
        )
        state = trained.state
        test, test_loss = evaluate(model, state.params, state.buffers, data, data.test)
    weights = {name: state.params[name] for name in names}
    scalars = {
        "test_accuracy": test,
        "test_loss": test_loss,
        "validation_accuracy": trained.points[-1].accuracy,
        "validation_loss": trained.points[-1].loss,
        "parameters": sum(p.numel() for p in state.params.values()),
        "prunable_weights": sum(w.numel() for w in weights.values()),
        "multiply_adds": metrics.multiply_adds(model, data.shape, weights)[0],
        "steps": trained.steps,
        "images_per_second": _rate(trained.steps, recipe, trained.seconds),
    }
    return Dense(state, _result(recipe, scalars, _curves(trained.points, original.lr), where, trained.seconds))


def prune_dense(recipe: Recipe, prune: Prune, dense: Dense, device: str = "auto") -> Pruned:
    """The first cycle's masks for a dense network, and the damage: validation accuracy raw and recalibrated."""
    where = resolve(device)
    start = time.perf_counter()
    with repeatable(where):
        data, model, _ = setting(recipe, where)
        names = prunable(model)
        masks = imp.prune_state(dense.state, prune, names, 0, recipe.seed)
        state = imp.apply(dense.state, masks)
        before = dense.result.scalars["validation_accuracy"]
        raw, _ = evaluate(model, state.params, state.buffers, data, data.validation)
        fresh = recalibrate(model, state, data, batch_size=recipe.batch_size, seed=(recipe.seed, "recalibrate"))
        lifted, _ = evaluate(model, fresh.params, fresh.buffers, data, data.validation)
    scalars = {
        "validation_accuracy": raw,
        "recalibrated_validation_accuracy": lifted,
        "stability": metrics.stability(before, raw),
        "recalibrated_stability": metrics.stability(before, lifted),
    }
    return Pruned(masks, _result(prune, scalars, {}, where, time.perf_counter() - start))


def run(
    experiment: Experiment,
    device: str = "auto",
    *,
    dense: Dense | None = None,
    pruned: Pruned | None = None,
    on_point: Callable[[Point], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Result:
    """The whole experiment; `dense` and `pruned` are made first where they are not given.

    Scalars of several cycles: `pruned_`, `recalibrated_` and stability tell of the first prune, that of the dense network;
    norm_drop, removed, allr_factor and peak_lr of the last; recovery sums what all cycles lost and regained.

    stop: asked before each step; once true, the result is that of the steps made so far, and its scalar `stopped` says
    so. Raises BadInput for data that is missing, a batch larger than the data, images the network cannot take.
    """
    recipe, prune, retrain = experiment.recipe, experiment.prune, experiment.retrain
    where = resolve(device)
    dense = dense or train_dense(recipe, device, stop=stop)
    pruned = pruned or prune_dense(recipe, prune, dense, device)
    with repeatable(where):
        data, model, original = setting(recipe, where)
        names = prunable(model)
        state, masks, cycles = imp.run(
            model,
            dense.state,
            data,
            recipe,
            prune,
            retrain,
            original,
            names,
            masks=pruned.masks,
            evaluations=experiment.evaluations,
            on_point=on_point,
            stop=stop,
        )
        validation, validation_loss = evaluate(model, state.params, state.buffers, data, data.validation)
        test, test_loss = evaluate(model, state.params, state.buffers, data, data.test)
        weights = {name: state.params[name] for name in names}
        dense_count, nonzero = metrics.multiply_adds(model, data.shape, weights)
    before, first = dense.result.scalars, pruned.result.scalars
    last = cycles[-1]
    steps = sum(c.trained.steps for c in cycles)
    seconds = sum(c.trained.seconds for c in cycles)
    scalars = {
        "test_accuracy": test,
        "test_loss": test_loss,
        "validation_accuracy": validation,
        "validation_loss": validation_loss,
        "dense_test_accuracy": before["test_accuracy"],
        "dense_validation_accuracy": before["validation_accuracy"],
        "pruned_validation_accuracy": first["validation_accuracy"],
        "recalibrated_validation_accuracy": first["recalibrated_validation_accuracy"],
        "stability": first["stability"],
        "recalibrated_stability": first["recalibrated_stability"],
        "recovery": metrics.recovery(*_lost_and_regained(before["validation_accuracy"], cycles, validation)),
        "sparsity_achieved": metrics.sparsity(weights),
        "norm_drop": last.norm_drop,
        "removed": last.removed,
        "allr_factor": last.factor,
        "peak_lr": last.peak_lr,
        "theoretical_speedup": metrics.theoretical_speedup(dense_count, nonzero),
        "steps": steps,
        "stopped": last.trained.stopped,
        "images_per_second": _rate(steps, recipe, seconds),
    }
    curves = _curves([p for c in cycles for p in c.trained.points], None)
    curves["cycle"] = [i for i, c in enumerate(cycles) for _ in c.trained.points]
    curves["layer_sparsity"] = metrics.layer_sparsity(weights)
    return _result(experiment, scalars, curves, where, seconds)


def _lost_and_regained(dense: float, cycles: list[imp.Cycle], final: float) -> tuple[float, float]:
    """Validation accuracy lost by all prunes, and regained by all retrainings; `final` is after the last of them."""
    ends = [c.trained.points[-1].accuracy for c in cycles[:-1]]
    pruned = [c.trained.points[0].accuracy for c in cycles]
    lost = sum(before - after for before, after in zip([dense, *ends], pruned))
    return lost, sum(end - after for end, after in zip([*ends, final], pruned))


def _rate(steps: int, recipe: Recipe, seconds: float) -> float:
    """Training images per second, loading and augmentation included, the device synchronised."""
    return steps * recipe.batch_size / seconds if seconds else 0.0


def _curves(points, lr: Tensor | None) -> dict:
    curves = {
        "step": [p.step for p in points],
        "validation_accuracy": [p.accuracy for p in points],
        "validation_loss": [p.loss for p in points],
        "train_loss": [p.train_loss for p in points],
    }
    if lr is not None:
        curves["lr"] = [lr[min(p.step, len(lr) - 1)].item() for p in points]
    return curves


def _result(noun, scalars: dict, curves: dict, device: torch.device, seconds: float) -> Result:
    def finite(x):
        return None if isinstance(x, float) and not math.isfinite(x) else x

    scalars = {name: finite(x) for name, x in scalars.items()}
    curves = {k: [finite(x) for x in v] if isinstance(v, list) else v for k, v in curves.items()}
    provenance = {"device": describe(device), "seconds": round(seconds, 3), **versions()}
    return Result(to_dict(noun), scalars, curves, provenance)


@lru_cache(maxsize=1)
def versions() -> dict:
    """What made a result: versions of retrainlab, Python and torch, the git revision if there is one."""
    root = Path(retrainlab.__file__).parent.parent
    revision = None
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
        with suppress(OSError):  # no git on this machine
            revision = subprocess.run(command, capture_output=True, text=True).stdout.strip() or None
    return {
        "retrainlab": retrainlab.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "revision": revision,
    }
