"""What is measured and kept of each stage: the first training, the first prune, the whole experiment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from retrainlab import metrics, shrink, storage
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe
from retrainlab.keys import to_dict
from retrainlab.pruning import STRUCTURES, Masks
from retrainlab.study import seal
from retrainlab.study.result import Result, curves_of, record
from retrainlab.training.cycles import Cut, Cycle
from retrainlab.training.engine import Engine
from retrainlab.training.loop import evaluate, validate
from retrainlab.training.method import Tensors
from retrainlab.training.state import Setup, State, Trained

DAMAGE = ("validation_accuracy", "recalibrated_validation_accuracy", "stability", "recalibrated_stability")
MOMENTUM, LEFT_OUT = "momentum", "left out"  # in the provenance of a dense run whose momentum was not exported
UNKNOWN = (  # of an experiment whose dense run has diverged
    *("test_accuracy", "test_loss", "validation_accuracy", "validation_loss"),
    *("dense_test_accuracy", "dense_validation_accuracy", "trained_sparsity"),
    *("pruned_validation_accuracy", "recalibrated_validation_accuracy", "stability", "recalibrated_stability"),
    *("recovery", "sparsity_achieved", "norm_drop", "removed", "allr_factor", "peak_lr"),
    *("theoretical_speedup", "shrunken_speedup", "measured_speedup"),
)


@dataclass(frozen=True)
class Dense:
    """A trained dense network: its state (momentum included) and what was measured."""

    state: State
    result: Result

    @cached_property
    def weights(self) -> str:
        """What tells this network from every other, as 16 hex digits: masks and results name the one they start from."""
        return weights_of(self.state.params)


@dataclass(frozen=True)
class Pruned:
    """The first cycle's masks, and what pruning alone did; no masks if the dense run has diverged, whose weights are no
    numbers to choose among. updated: new values of weights, by name, where the score changes those that stay. d1: see
    `cycles.Cut`."""

    masks: Masks
    result: Result
    updated: Tensors = field(default_factory=dict)
    d1: float | None = None

    @property
    def cut(self) -> Cut:
        """The prune itself."""
        return Cut(self.masks, self.updated, self.d1)


def weights_of(params: Tensors) -> str:
    """A checksum of a network's parameters: 16 hex digits."""
    return seal.of_tensors("weights", {name: p.detach().cpu() for name, p in params.items()})[:16]


def belongs(pruned: Pruned, dense: Dense) -> bool:
    """Whether masks were made from that dense network. Masks of earlier versions do not name theirs, and are taken to belong
    to a network of an earlier version."""
    told = pruned.result.provenance.get("weights")
    return told == dense.weights if told is not None else "weights" not in dense.result.provenance


def check_given(experiment: Experiment, dense: Dense, pruned: Pruned) -> None:
    """Raise BadInput unless a dense network and masks are of the experiment's settings, and the masks that network's."""
    for what, given, noun in (("dense network", dense, experiment.recipe), ("pruning", pruned, experiment.prune)):
        config, wanted = to_dict(type(noun)()) | given.result.config, to_dict(noun)  # earlier versions had fewer fields
        other = [name for name, value in wanted.items() if name != "data" and config.get(name) != value]
        if other:
            raise BadInput(
                f"The {what} given has another {', '.join(other)} than the experiment asks for; make it with the "
                "experiment's recipe and prune."
            )
    if not belongs(pruned, dense):
        raise BadInput("The masks given were made from another dense network; make them from the one given.")


def lacks_momentum(experiment: Experiment, dense: Result) -> bool:
    """Whether an experiment goes on from a momentum which its dense run, once exported, no longer has."""
    return experiment.retrain.optimizer == "keep" and dense.provenance.get(MOMENTUM) == LEFT_OUT


def check_momentum(experiment: Experiment, dense: Result) -> None:
    """Raise BadInput for an experiment of which `lacks_momentum` is true."""
    if lacks_momentum(experiment, dense):
        raise BadInput(
            "The dense network comes from a file of results, which holds no momentum, but optimizer 'keep' retrains from it;"
            " take 'fresh' or 'cycles', or make the network anew with --fresh."
        )


def dense_of(setup: Setup, recipe: Recipe, trained: Trained, engine: Engine) -> Dense:
    """The first training of a recipe as it is kept, evaluated on the test images."""
    state = trained.state
    test, test_loss = evaluate(setup.model, state.params, state.buffers, setup.data, setup.data.test)
    weights = setup.weights(state)
    scalars = {
        "test_accuracy": test,
        "test_loss": test_loss,
        "validation_accuracy": trained.points[-1].accuracy,
        "validation_loss": trained.points[-1].loss,
        "parameters": sum(p.numel() for p in setup.model.parameters()),
        "prunable_weights": sum(w.numel() for w in weights.values()),
        "multiply_adds": metrics.multiply_adds(setup.model, setup.data.shape, weights)[0],
        "sparsity": metrics.sparsity(weights),
        "steps": trained.steps,
        "images_per_second": _rate(trained.steps, recipe, trained.seconds),
    }
    curves, name = curves_of(trained.points), weights_of(state.params)
    return Dense(state, record(recipe, scalars, curves, setup.data.device, trained.seconds, engine, weights=name))


def damage(dense: Dense, raw: float, recalibrated: float) -> dict[str, float]:
    """What pruning alone did; raw, recalibrated: validation accuracy straight after it, and with BatchNorm recalibrated."""
    before = dense.result.scalars["validation_accuracy"]
    values = raw, recalibrated, metrics.stability(before, raw), metrics.stability(before, recalibrated)
    return dict(zip(DAMAGE, values))


def result_of(
    setup: Setup,
    experiment: Experiment,
    start: tuple[Dense, Pruned],
    end: tuple[State, Masks, Sequence[Cycle]],
    engine: Engine,
) -> Result:
    """An experiment as it is kept, its last network evaluated on the test images. end: what `cycles.run` returns."""
    (dense, pruned), (state, masks, done) = start, end
    model, data, last = setup.model, setup.data, done[-1]
    validation, validation_loss = last.trained.points[-1].accuracy, last.trained.points[-1].loss
    if experiment.retrain.recalibrate:
        validation, validation_loss = validate(setup, state)
    test, test_loss = evaluate(model, state.params, state.buffers, data, data.test)
    diverged = last.trained.diverged
    weights = masks if diverged else setup.weights(state)
    sizes = {} if diverged else storage.sizes(state.params | state.buffers, setup.prunable)
    dense_count, nonzero = metrics.multiply_adds(model, data.shape, weights)
    before, first = dense.result.scalars, pruned.result.scalars
    steps = sum(c.trained.steps for c in done)
    seconds = sum(c.trained.seconds for c in done)
    scalars = {
        "test_accuracy": test,
        "test_loss": test_loss,
        "validation_accuracy": validation,
        "validation_loss": validation_loss,
        "dense_test_accuracy": before["test_accuracy"],
        "dense_validation_accuracy": before["validation_accuracy"],
        "trained_sparsity": before["sparsity"],
        "pruned_validation_accuracy": first["validation_accuracy"],
        "recalibrated_validation_accuracy": first["recalibrated_validation_accuracy"],
        "stability": first["stability"],
        "recalibrated_stability": first["recalibrated_stability"],
        "recovery": metrics.recovery(*_lost_and_regained(before["validation_accuracy"], done, validation)),
        "sparsity_achieved": metrics.sparsity(weights),
        "norm_drop": last.norm_drop,
        "removed": last.removed,
        "allr_factor": last.factor,
        "peak_lr": last.peak_lr,
        "theoretical_speedup": metrics.theoretical_speedup(dense_count, nonzero),
        **_shrunken(setup, None if diverged else state, masks, experiment.prune),
        **storage.ratios(sizes),
        "steps": steps,
        "total_steps": before["steps"] + steps,
        "stopped": last.trained.stopped,
        "images_per_second": _rate(steps, experiment.recipe, seconds),
    }
    curves = curves_of([p for c in done for p in c.trained.points])
    curves["cycle"] = [i for i, c in enumerate(done) for _ in c.trained.points]
    curves["layer_sparsity"] = metrics.layer_sparsity(weights)
    curves["bytes"] = sizes
    return record(experiment, scalars, curves, data.device, seconds, engine, weights=dense.weights)


def never_pruned(experiment: Experiment, dense: Dense, device: torch.device, engine: Engine) -> Result:
    """The result of an experiment whose first training has diverged: that it has, and no number."""
    spent = {"steps": 0, "total_steps": dense.result.scalars["steps"], "stopped": False, "images_per_second": 0.0}
    curves = curves_of([]) | {"cycle": [], "layer_sparsity": {}, "bytes": {}}
    scalars = dict.fromkeys(UNKNOWN) | storage.ratios({}) | spent
    return record(experiment, scalars, curves, device, 0.0, engine, dense.result.outcome)


def _shrunken(setup: Setup, state: State | None, masks: Masks, prune: Prune) -> dict[str, float | None]:
    """How much faster the smaller network is that pruning whole filters or neurons leaves, in theory and measured (256 test
    images at once); None for other structures, for a network that has diverged, and for one that `shrink` refuses."""
    none: dict[str, float | None] = {"shrunken_speedup": None, "measured_speedup": None}
    if state is None or not STRUCTURES[prune.structure].rows:
        return none
    data = setup.data
    images = data.normalise(data.test.images[:256])
    try:
        both = shrink.speedup(setup.model, state.params, state.buffers, masks, images)
    except BadInput:  # it looks at its numbers; all else about it has been measured
        return none
    return {"shrunken_speedup": both["theoretical_speedup"], "measured_speedup": both["measured_speedup"]}


def _lost_and_regained(dense: float, cycles: Sequence[Cycle], final: float) -> tuple[float, float]:
    """Validation accuracy lost by all prunes, and regained by all retrainings; `final` is after the last of them."""
    ends = [c.trained.points[-1].accuracy for c in cycles[:-1]]
    pruned = [c.trained.points[0].accuracy for c in cycles]
    lost = sum(before - after for before, after in zip([dense, *ends], pruned))
    return lost, sum(end - after for end, after in zip([*ends, final], pruned))


def _rate(steps: int, recipe: Recipe, seconds: float) -> float:
    """Training images per second, loading and augmentation included, the device synchronised."""
    return steps * recipe.batch_size / seconds if seconds else 0.0
