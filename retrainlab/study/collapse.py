"""A trained network and its accuracy straight after pruning, measured at each whole percentage and kept with the network.

The curve of the usual prune, by magnitude everywhere at once, goes into the record of the dense run, under COLLAPSE: a share
for each sparsity. So readers without the images see it, who need only the weights for the masks, and for it not even them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch

from retrainlab import metrics
from retrainlab.checks import BadInput
from retrainlab.config import Prune, Recipe
from retrainlab.device import describe, repeatable
from retrainlab.layers import prunable
from retrainlab.pruning import Masks
from retrainlab.study.measured import Dense
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.stages import dense_curve_of, network_of, prepare
from retrainlab.training import cycles
from retrainlab.training.loop import validate
from retrainlab.training.state import Setup, State

COLLAPSE = "collapse"  # of the curves of a dense run's record; in its provenance, where it was measured
USUAL = Prune()  # at any sparsity
ORDER = sorted(range(100), key=lambda s: (s % 4 > 0, s))  # every fourth first: the curve is soon seen whole
NO_WEIGHTS = State({}, {}, {})


@dataclass
class Network:
    """A trained network and its validation accuracy straight after pruning.

    prune: how it is pruned, whatever the sparsity.
    dense: its state has no tensors where only the record of its first training is stored.
    scored: what its weights are worth to the prune; None without weights.
    peak: the largest learning rate of its first training.
    accuracies: shares, by sparsity in whole percent, which `measure` fills in.
    other: a seed whose weights are stored, where this one's are not; None if there is none.
    """

    recipe: Recipe
    prune: Prune
    dense: Dense
    scored: cycles.Scored | None
    peak: float
    accuracies: dict[int, float] = field(default_factory=dict)
    other: int | None = None

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

    @property
    def whole(self) -> bool:
        """Whether its accuracy is known at every whole percentage."""
        return len(self.accuracies) == len(ORDER)

    @property
    def measurable(self) -> bool:
        """Whether there are weights and images to measure it with."""
        return self.scored is not None and self.scored.setup is not None

    @property
    def where(self) -> str:
        """The device on which `accuracies` were measured, or are to be."""
        if self.scored is not None and self.scored.setup is not None:
            return describe(self.scored.setup.data.device)
        return str(self.dense.result.provenance.get(COLLAPSE, ""))

    @property
    def prunable(self) -> tuple[str, ...]:
        """The names of the weights that pruning may touch; none without weights."""
        return () if self.scored is None else tuple(self.scored.weights)

    def masks(self, sparsity: float) -> Masks:
        """The masks of a sparsity, a share; none without weights."""
        return {} if self.scored is None else self.scored.masks(sparsity)

    def layers(self, sparsity: float) -> dict[str, float]:
        """The share that each layer loses at a sparsity, by the name of its weights."""
        return metrics.layer_sparsity(self.masks(sparsity))

    def measure(self, stop: Callable[[], bool], tell: Callable[[float], None]) -> None:
        """Fill in what `accuracies` lacks, in ORDER, until `stop` is true, if it is `measurable`; `tell` is called with the
        share that is done."""
        if self.scored is None or (setup := self.scored.setup) is None:
            return
        lacking = [s for s in ORDER if s not in self.accuracies]
        with repeatable(setup.data.device):
            for place, sparsity in enumerate(lacking, 1):
                if stop():
                    return
                accuracy, _ = validate(setup, self.scored.cut(sparsity / 100).of(self.dense.state))
                self.accuracies = self.accuracies | {sparsity: accuracy}  # a copy: a thread may be drawing the old one
                tell(place / len(lacking))

    def keep(self, results: Results) -> None:
        """Add `accuracies` to the stored record of the first training, if they are whole, of the usual prune and not there.
        Raises BadInput where the store cannot be written."""
        result = self.dense.result
        finite = all(map(math.isfinite, self.accuracies.values()))
        if not (self.whole and usual(self.prune) and finite) or kept(result):
            return
        curve = {str(s): self.accuracies[s] for s in sorted(self.accuracies)}
        where = result.provenance | {COLLAPSE: self.where}
        more = replace(result, curves=result.curves | {COLLAPSE: curve}, provenance=where)
        self.dense = replace(self.dense, result=more)
        results.put(self.recipe, self.dense)


def usual(prune: Prune) -> bool:
    """Whether it is the prune whose curve is kept."""
    return replace(prune, sparsity=USUAL.sparsity) == USUAL


def kept(result: Result) -> dict[int, float]:
    """The curve that the record of a first training holds, by sparsity in whole percent; empty if it holds none."""
    curve = result.curves.get(COLLAPSE, {})
    known = {s: curve.get(str(s)) for s in ORDER}
    return {} if None in known.values() else known


def network(recipe: Recipe, prune: Prune, dense: Dense, device: torch.device) -> Network:
    """The network of a first training, scored for the prune. What is kept of its curve is taken, and its images are read
    only where they are needed: to score it, or to measure the curve.

    Raises BadInput if it has diverged, and for a score that needs images that are not here.
    """
    if dense.result.outcome:
        raise BadInput(f"There is no trained network to show ({dense.result.outcome}); choose another seed or network.")
    found = Network(recipe, prune, dense, None, dense_curve_of(recipe).peak)
    if usual(prune):
        found.accuracies = kept(dense.result)
    if not dense.state.params:
        return found
    setup = None if found.whole else _setup(recipe, prune, device)
    if setup is None:
        weights = {name: dense.state.params[name] for name in prunable(network_of(recipe), recipe.embeddings)}
        found.scored = cycles.scored_alone(weights, prune)
    else:
        with repeatable(device):
            found.scored = cycles.scored(setup, dense.state, prune, 0, recipe.seed)
    return found


def _setup(recipe: Recipe, prune: Prune, device: torch.device) -> Setup | None:
    """Network and images; None for images that are not here and that the prune does not need."""
    try:
        return prepare(recipe, device)[0]
    except BadInput:
        if not cycles.by_weights(prune):
            raise
        return None


def stored(recipe: Recipe, results: Results, device: torch.device) -> Dense | None:
    """The first training that the store has, with its weights, or its record alone; None if it has neither."""
    if (dense := results.dense(recipe, device)) is not None:
        return dense
    record = results.told(recipe)
    return None if record is None else Dense(NO_WEIGHTS, record)


def measured(
    results: Results, recipe: Recipe, device: torch.device, tell: Callable[[float], None] = lambda share: None
) -> dict[int, float]:
    """Accuracy straight after the usual prune of a stored dense network, by sparsity in whole percent: what is kept with it,
    or measured now and kept. tell: called with the share that is measured.

    Raises BadInput if the network or its weights are not stored, if it has diverged, if its images are not here, or if the
    store cannot be written.
    """
    dense = stored(recipe, results, device)
    found = None if dense is None else network(recipe, USUAL, dense, device)
    if found is None or not (found.whole or found.scored):
        raise BadInput(
            f"No weights of {recipe.model} on {recipe.data}, seed {recipe.seed}, are stored; train it first."
        )
    if not (found.whole or found.measurable):
        prepare(recipe, device)  # says what is missing
    found.measure(lambda: False, tell)
    found.keep(results)
    return found.accuracies
