"""Iterative magnitude pruning: k times {prune to the next total sparsity, retrain}; one-shot is k = 1.

Han et al. 2015; Renda, Frankle & Carbin 2020; the schedules' part in Zimmer, Spiegel & Pokutta 2023.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

import torch

from retrainlab import metrics, pruning
from retrainlab.config import Prune, Recipe, Retrain
from retrainlab.data import stream
from retrainlab.methods.base import Method, Tensors
from retrainlab.pruning import Masks
from retrainlab.schedules import Original, allr_factor, retraining
from retrainlab.training import Job, Point, Setup, State, Trained, recalibrate

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Masked(Method):
    """The forward pass sees w where its mask is True and 0 elsewhere, so that no gradient reaches what is masked. A weight
    that starts at 0 there stays exactly 0, even if training diverges: its gradient, its decay and its momentum are all 0.

    Weights start at 0 there (see `apply`): what the forward pass sees is w itself, and only gradients need the mask.
    """

    steady = True

    def __init__(self, masks: Masks):
        self.removed = {name: ~m for name, m in masks.items() if not bool(m.all())}
        self.kept: Masks = {}  # all ones where a weight is kept, else all zeros; as wide as the gradients

    @classmethod
    def stacked(cls, methods: Sequence["Masked"]) -> "Masked":
        together = cls({})
        for name in {name: None for method in methods for name in method.removed}:
            some = next(method.removed[name] for method in methods if name in method.removed)
            parts = [method.removed.get(name, torch.zeros_like(some)) for method in methods]
            together.removed[name] = torch.stack(parts)
        return together

    def same(self, other: Method) -> bool:
        if not type(self) is type(other) is Masked or self.removed.keys() != other.removed.keys():
            return self is other
        return all(torch.equal(gone, other.removed[name]) for name, gone in self.removed.items())

    def edit_gradients(self, params: Tensors, gradients: Tensors) -> None:
        """Exactly 0 where masked, whatever the gradient was, NaN too: `masked_fill` by the bits, in a third of its time."""
        for name, gone in self.removed.items():
            g = gradients[name]
            whole = INTEGERS[g.element_size()]
            if name not in self.kept or self.kept[name].dtype != whole:
                self.kept[name] = gone.to(whole) - 1
            gradients[name] = g.view(whole).bitwise_and(self.kept[name]).view(g.dtype)


@dataclass(frozen=True)
class Cycle:
    """One prune-retrain cycle: share of the remaining weights removed, relative norm drop, ALLR's factor, the first and
    the largest learning rate, and the training, whose first point is straight after the prune."""

    removed: float
    norm_drop: float
    factor: float
    first_lr: float
    peak_lr: float
    trained: Trained


def prune_state(
    state: State, prune: Prune, prunable: tuple[str, ...], cycle: int, seed: int, masks: Masks | None = None
) -> Masks:
    """The masks of cycle `cycle` (from 0) for the weights of `state`."""
    return pruning.prune(
        {name: state.params[name] for name in prunable},
        prune.targets[cycle],
        score=prune.score,
        allocation=prune.allocation,
        structure=prune.structure,
        masks=masks,
        generator=stream(seed, "prune", cycle),
        dense=(*prunable[: prune.keep_first], *prunable[len(prunable) - prune.keep_last :]),
        n=prune.n,
        m=prune.m,
    )


def apply(state: State, masks: Masks) -> State:
    """Weights and their momentum, exactly 0 where masked."""

    def zero(tensors: Tensors) -> Tensors:
        return tensors | {name: tensors[name].masked_fill(~m, 0) for name, m in masks.items()}

    return replace(state, params=zero(state.params), momentum=zero(state.momentum))


def run(
    setup: Setup,
    dense: State,
    recipe: Recipe,
    prune: Prune,
    retrain: Retrain,
    original: Original,
    *,
    masks: Masks | None = None,
    evaluations: int = 5,
    on_point: Callable[[Point], None] | None = None,
) -> Generator[Job, Trained, tuple[State, Masks, list[Cycle]]]:
    """All cycles from the dense network, as a generator that asks for each training (yields a Job, is sent what came of
    it) and returns (final state, final masks, one Cycle each).

    original: the dense run's curve; a cycle retrains round(budget * its length) iterations, at least one. masks: those
    of the first cycle where they are already known. Batches depend on the seed and the cycle alone, so that all
    schedules that are compared see the same images in the same order.
    """
    n = max(1, round(retrain.budget * len(original.lr)))
    state, alive, cycles = dense, 1.0, []
    for cycle in range(prune.cycles):
        before = {name: state.params[name] for name in setup.prunable}
        if cycle > 0 or masks is None:
            masks = prune_state(state, prune, setup.prunable, cycle, recipe.seed, masks)
        kept = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
        removed = 1 - kept / alive if alive else 0.0
        alive = kept
        extra = {k: v for k, v in state.params.items() if k not in before} if retrain.allr_norm == "all" else None
        drop = metrics.norm_drop(before, masks, extra)
        factor = 1.0
        if retrain.allr_cycles == "every" or cycle == prune.cycles - 1:
            factor = allr_factor(drop, removed, retrain.budget)
        curve = retraining(
            retrain.schedule,
            original,
            n,
            d=factor,
            lr=retrain.lr,
            warmup=retrain.warmup,
            shape=retrain.ramp,
            points=retrain.points,
            clamp=retrain.clamp,
        )
        state = apply(state if retrain.optimizer == "keep" else state.fresh_optimizer(), masks)
        trained = yield Job(state, curve, (recipe.seed, "retrain", cycle), Masked(masks), evaluations, on_point)
        state = trained.state
        cycles.append(Cycle(removed, drop, factor, curve[0].item(), curve.max().item(), trained))
        if trained.stopped:
            break
    if retrain.recalibrate:
        state = recalibrate(setup, state, (recipe.seed, "recalibrate"))
    return state, masks, cycles
