"""A trained network, and what pruning does to it before any retraining: numbers, a panel of a chart, sentences."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from retrainlab import metrics, obs
from retrainlab.checks import BadInput
from retrainlab.config import Prune, Recipe
from retrainlab.device import repeatable
from retrainlab.explore.kit import chart
from retrainlab.phrases import percent
from retrainlab.pruning import Masks
from retrainlab.study.making import Watch
from retrainlab.study.measured import Dense
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.stages import prepare
from retrainlab.training import cycles
from retrainlab.training.engine import Engine
from retrainlab.training.loop import validate
from retrainlab.training.state import State

MOST = 1e12  # products and sums that a reader waits for, who cannot stop them: a few minutes
ORDER = sorted(range(100), key=lambda s: (s % 4 > 0, s))  # every fourth first: the curve is soon seen whole


@dataclass
class Network:
    """A trained network and its validation accuracy straight after pruning.

    scored: what its weights are worth to the prune, whose sparsity does not matter here.
    peak: the largest learning rate of its first training.
    accuracies: shares, by sparsity in whole percent, which `measure` fills in.
    """

    recipe: Recipe
    dense: Dense
    scored: cycles.Scored
    peak: float
    accuracies: dict[int, float] = field(default_factory=dict)

    @property
    def level(self) -> float:
        """Its validation accuracy before pruning, a share."""
        return self.dense.result.scalars["validation_accuracy"]

    @property
    def weights(self) -> int:
        """How many weights can be pruned."""
        return self.dense.result.scalars["prunable_weights"]

    @property
    def steps(self) -> int:
        """The steps of its first training."""
        return self.dense.result.scalars["steps"]

    def masks(self, sparsity: float) -> Masks:
        """The masks of a sparsity, a share."""
        return self.scored.masks(sparsity)

    def layers(self, sparsity: float) -> dict[str, float]:
        """The share that each layer loses at a sparsity, by the name of its weights."""
        return metrics.layer_sparsity(self.masks(sparsity))

    def measure(self, stop: Callable[[], bool], tell: Callable[[float], None]) -> None:
        """Fill in `accuracies`, in ORDER, until `stop` is true; `tell` is called with the share that is done."""
        setup = self.scored.setup
        with repeatable(setup.data.device):
            for place, sparsity in enumerate(ORDER, 1):
                if stop():
                    return
                accuracy, _ = validate(setup, self.scored.cut(sparsity / 100).of(self.dense.state))
                self.accuracies = self.accuracies | {sparsity: accuracy}  # a copy: a thread may be drawing the old one
                tell(place / len(ORDER))

    def words(self, sparsity: float) -> str:
        """What pruning to a sparsity in percent does; empty before it is measured."""
        near = nearest(sparsity)
        if near not in self.accuracies:
            return ""
        told = pruned_words(near, self.weights, self.level, self.accuracies[near], self.scored.setup.data.classes)
        return told if near == sparsity else f"At {near} %: {told}"


def check_patience(recipe: Recipe, prune: Prune, device: torch.device) -> None:
    """Raise BadInput for a score that takes longer than a reader waits who cannot stop it."""
    if prune.score == "obs" and device.type == "cpu":
        setup, _ = prepare(recipe, device)
        if obs.work(setup.weights(State.of(setup.model))) > MOST:
            raise BadInput(
                f"Optimal Brain Surgeon takes ten minutes to hours for {recipe.model} on a CPU, without a stop; choose "
                "another score or network here, or run it by `retrainlab study`."
            )


def trained(recipe: Recipe, prune: Prune, results: Results, device: torch.device, watch: Watch = Watch()) -> Network:
    """A recipe's network, stored or else trained now, and scored for the prune.

    Raises BadInput if it has diverged, if its training was stopped, for then nothing is stored, and if its score would take
    too long.
    """
    setup, original = prepare(recipe, device)
    check_patience(recipe, prune, device)
    made = dict(Results.at(results).make([recipe], device, watch, Engine()))  # at: the images may have changed since
    dense = made.get(recipe)
    if not isinstance(dense, Dense):
        raise BadInput("The training of the network was stopped.")
    if dense.result.outcome:
        raise BadInput(f"There is no trained network to show ({dense.result.outcome}); choose another seed or network.")
    watch.tell(1.0, "Scoring the weights ...")
    with repeatable(device):
        scored = cycles.scored(setup, dense.state, prune, 0, recipe.seed)
    return Network(recipe, dense, scored, original.peak)


def check_sparsity(result: Result, sparsity: float, weights: int) -> None:
    """Raise AssertionError unless exactly round(sparsity * weights) weights ended at 0."""
    zeros, wanted = round(result.scalars["sparsity_achieved"] * weights), round(sparsity * weights)
    if zeros != wanted:
        raise AssertionError(f"{zeros} of {weights} weights are 0 at the end, not {wanted}")


def nearest(sparsity: float) -> int:
    """The nearest sparsity, in percent, at which accuracy after pruning is measured."""
    return min(99, round(sparsity))


def panel(network: Network | None, sparsity: float, ylabel: str) -> tuple[dict, str]:
    """Validation accuracy straight after pruning over sparsity, and the same in words; an empty frame without a network.

    sparsity: in percent, where a marker stands.
    """
    accuracies, near = {} if network is None else network.accuracies, nearest(sparsity)
    known, marks = sorted(accuracies), []
    alt = "An empty frame for validation accuracy straight after pruning: the trained network is not there yet."
    if network is not None and accuracies:
        dense = percent(network.level)
        marks.append(chart.level(100 * network.level, f"dense: {dense}"))
        some = sorted({s for s in (0, 20, 40, 60, 80, 90, 99, near) if s in accuracies})
        pairs = ", ".join(f"{percent(accuracies[s])} at {s} %" for s in some)
        alt = f"Validation accuracy straight after pruning against weights removed: {pairs}. Dense: {dense}."
    marks.append(chart.line(known, [100 * accuracies[s] for s in known], {"color": chart.BLUE}, width=2.4))
    marks.append(chart.cut(sparsity))
    if near in accuracies:
        marks.append(chart.point(near, 100 * accuracies[near], {"color": chart.RED}))
    return chart.panel(marks, x=(0, 100), y=(0, 108), xlabel="Weights removed (%)", ylabel=ylabel), alt


def pruned_words(sparsity: int, weights: int, dense: float, accuracy: float, classes: int) -> str:
    """How many weights pruning to `sparsity` percent leaves, and what it does to the accuracy `dense` (shares)."""
    removed = round(sparsity / 100 * weights)
    left = weights - removed
    ratio = f", about 1 in {weights / left:.3g}" if sparsity >= 50 else ""
    text = f"{left:,} of {weights:,} weights are left ({100 - sparsity} %{ratio}). Validation accuracy "
    if round(1000 * accuracy) == round(1000 * dense):
        return text + f"is what it was: {percent(accuracy)}."
    guess = f", no better than guessing one of {classes} classes" if accuracy < 1.3 / classes else ""
    return text + f"goes from {percent(dense)} to {percent(accuracy)}{guess}."
