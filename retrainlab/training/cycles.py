"""Iterative magnitude pruning: k times {prune to the next total sparsity, retrain}; one-shot is k = 1.

Han et al. 2015; Renda, Frankle & Carbin 2020; the schedules' part in Zimmer, Spiegel & Pokutta 2023.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from retrainlab import metrics, pruning, scores
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Retrain
from retrainlab.noise import stream
from retrainlab.pruning import Masks, Weights
from retrainlab.schedules import DenseCurve, allr_factor, retraining
from retrainlab.training.loop import recalibrate, validate
from retrainlab.training.masked import Masked, apply, zeroed
from retrainlab.training.method import Plain
from retrainlab.training.state import Job, Point, Setup, State, Trained


@dataclass(frozen=True)
class Cut:
    """What a prune does to a network.

    masks: True where a weight stays. updated: new values of weights, by name, if the score changes those that stay, too.
    d1: ALLR's, where the network given does not tell any more what the prune took; None to measure it.
    """

    masks: Masks
    updated: Weights = field(default_factory=dict)
    d1: float | None = None

    def of(self, state: State) -> State:
        """The network after the prune: weights and momentum are exactly 0 where masked."""
        return apply(replace(state, params=state.params | self.updated), self.masks)


@dataclass(frozen=True)
class Cycle:
    """One cycle of pruning and retraining.

    removed: the share that the prune took of the weights that were not 0 before it. norm_drop: ||W - W_p|| / ||W||.
    factor: ALLR's d. first_lr, peak_lr: of the retraining. trained: the retraining; its first point is just after the prune.
    """

    removed: float
    norm_drop: float
    factor: float
    first_lr: float
    peak_lr: float
    trained: Trained


@dataclass(frozen=True, eq=False)
class Scored:
    """A network's prunable weights and what they are worth (see `scores.score`), from which it can be pruned to any total
    sparsity. setup, state: the network and all its tensors; None for weights alone.

    In its methods `before` are the masks of the cycle before: what they removed stays removed.
    """

    weights: Weights
    prune: Prune
    worth: Weights
    setup: Setup | None = None
    state: State | None = None

    @cached_property
    def update(self) -> scores.Updater:
        """What becomes of the weights that stay, worked out once."""
        if self.setup is None or self.state is None:
            return lambda masks: {}  # magnitude changes no weight that stays
        return scores.updater(self.prune, self.setup, self.state)

    def masks(self, sparsity: float, before: Masks | None = None) -> Masks:
        """The masks of a sparsity."""
        return pruning.prune(self.weights, self.worth, self.prune, sparsity, before)

    def cut(self, sparsity: float, before: Masks | None = None) -> Cut:
        """What pruning to a sparsity does to the network."""
        masks = self.masks(sparsity, before)
        return Cut(masks, self.update(masks))


def scored(setup: Setup, state: State, prune: Prune, cycle: int, seed: int) -> Scored:
    """The network `state`, scored for the prune of cycle `cycle` (from 0). seed: for scores that are random numbers."""
    weights = setup.weights(state)
    worth = scores.score(prune, weights, stream(seed, "prune", cycle), setup, state)
    return Scored(weights, prune, worth, setup, state)


def by_weights(prune: Prune) -> bool:
    """Whether the weights alone say what they are worth to a prune."""
    return prune.score == "magnitude" and prune.structure not in scores.ROWS


def scored_alone(weights: Weights, prune: Prune) -> Scored:
    """Prunable weights, scored for a prune that is `by_weights`, without their network and its images."""
    return Scored(weights, prune, pruning.magnitude(weights))


def prune_state(setup: Setup, state: State, prune: Prune, cycle: int, seed: int, masks: Masks | None = None) -> Masks:
    """The masks of cycle `cycle` (from 0) for the weights of `state`; what `masks`, those of the cycle before, removed stays
    removed. seed: for scores that are random numbers."""
    return scored(setup, state, prune, cycle, seed).masks(prune.targets[cycle], masks)


def cut(setup: Setup, state: State, prune: Prune, cycle: int, seed: int, masks: Masks | None = None) -> Cut:
    """What the prune of cycle `cycle` does to the network; see `prune_state`."""
    return scored(setup, state, prune, cycle, seed).cut(prune.targets[cycle], masks)


def run(
    setup: Setup,
    experiment: Experiment,
    dense: State,
    original: DenseCurve,
    first: Cut | None = None,
    on_point: Callable[[Point], None] | None = None,
) -> Generator[Job, Trained, tuple[State, Masks, list[Cycle]]]:
    """All cycles from the dense network, as a generator that yields each training as a Job, is sent its Trained, and returns
    (final state, final masks, one Cycle each). A cycle that is stopped or diverges is the last.

    original: the dense run's learning rates. first: the first cycle's prune, if it is known already. Batches depend on
    the seed and the cycle alone, so that all schedules that are compared see the same images in the same order.
    A weight that the first training left at 0 is not counted as removed by a prune, so that ALLR's d1 is 0 after a method
    that has reached the sparsity already. Raises BadInput for masks that do not fit the network, and for ALLR where the
    masks remove only zeros of a densely trained network, so that what it lost cannot be known.
    """
    recipe, prune, retrain = experiment.recipe, experiment.prune, experiment.retrain
    state, cycles, now = dense, [], first
    if now is not None:
        pruning.check_masks(now.masks, setup.weights(state))
    for cycle, n in enumerate(lengths(prune, retrain, len(original.lr))):
        before = setup.weights(state)
        if cycle > 0 or now is None:
            now = cut(setup, state, prune, cycle, recipe.seed, None if now is None else now.masks)
        masks, after = now.masks, now.of(state)
        alive, kept = _alive(before), _alive(zeroed(before, masks))
        removed = 1 - kept / alive if alive else 0.0
        extra = {k: v for k, v in state.params.items() if k not in before} if retrain.allr_norm == "all" else None
        drop = metrics.norm_drop(before, after.params, extra)
        factor = 1.0
        if retrain.allr_cycles == "every" or cycle == prune.cycles - 1:
            if cycle == 0 and recipe.method is None and retrain.schedule == "ALLR" and now.d1 is None:
                _check_damage(masks, removed)
            share = n / len(original.lr) if retrain.split else retrain.budget
            factor = allr_factor(drop, removed, share) if now.d1 is None else allr_factor(now.d1, 1.0, share)
        carried = retrain.optimizer == "keep" or (retrain.optimizer == "cycles" and cycle > 0)
        state = after if carried else after.fresh_optimizer()
        if n:
            curve, name = retraining(retrain, original, n, factor), (recipe.seed, "retrain", cycle)
            job = Job(state, curve, name, Masked(masks), experiment.evaluations, on_point)
            trained = yield from _retrained(setup, retrain, job)
        else:
            point = Point(0, *validate(setup, state), None, setup.sparsity(state.params))
            curve, trained = torch.zeros(1), Trained(state, (point,), 0, 0.0)
        state = trained.state
        cycles.append(Cycle(removed, drop, factor, curve[0].item(), curve.max().item(), trained))
        if trained.stopped or trained.diverged:
            break
    if retrain.recalibrate and not cycles[-1].trained.diverged:
        state = recalibrate(setup, state, (recipe.seed, "recalibrate"))
    assert now is not None  # there is a cycle at least
    return state, now.masks, cycles


def _alive(weights: Weights) -> float:
    """The share of the weights that are not 0."""
    return sum(int(w.count_nonzero()) for w in weights.values()) / sum(w.numel() for w in weights.values())


def _check_damage(masks: Masks, removed: float) -> None:
    """Raise BadInput if the first masks remove weights, but all of them were 0 before."""
    if not removed and not all(bool(m.all()) for m in masks.values()):
        raise BadInput(
            "ALLR measures what the prune took, but all that these masks remove is 0 in the network already; give the "
            "network as it was before the prune, or take LLR."
        )


def lengths(prune: Prune, retrain: Retrain, steps: int) -> list[int]:
    """How many iterations each cycle retrains for, after a first training of `steps` iterations: round(budget * steps), at
    least one unless the budget is 0. A split budget is shared by all cycles in equal parts, and the last has the rest."""
    n = max(1, round(retrain.budget * steps)) if retrain.budget else 0
    if not retrain.split:
        return [n] * prune.cycles
    each = n // prune.cycles
    return [each] * (prune.cycles - 1) + [n - each * (prune.cycles - 1)]


def _retrained(setup: Setup, retrain: Retrain, job: Job) -> Generator[Job, Trained, Trained]:
    """One cycle's training, as `job` says; with `freeze` only biases and normalisation learn, and several `copies` are
    averaged. If a copy diverges, the result is that copy."""
    order, (seed, _, cycle) = list(job.start.params), job.seed
    if retrain.freeze:
        job = replace(job, start=job.start.frozen(setup.prunable), method=Plain())
    copies = []
    for copy in range(retrain.copies):
        trained = yield replace(job, seed=(*job.seed, copy), on_point=None) if copy else job
        copies.append(trained)
        if trained.stopped or trained.diverged:
            break
    ends = [t.state for t in copies]
    if retrain.freeze:
        ends = [end.thawed(setup.prunable, order) for end in ends]
    steps, seconds = sum(t.steps for t in copies), sum(t.seconds for t in copies)
    if len(ends) == 1 or copies[-1].diverged:
        return replace(copies[-1], state=ends[-1], steps=steps, seconds=seconds)
    mean = replace(State.stacked(ends), buffers={}).map(lambda t: t.mean(0))
    state = recalibrate(setup, replace(mean, buffers=ends[0].buffers), (seed, "recalibrate", cycle))
    accuracy, loss = validate(setup, state)
    points = (*copies[0].points[:-1], replace(copies[0].points[-1], accuracy=accuracy, loss=loss))
    return Trained(state, points, steps, seconds, copies[-1].stopped)
