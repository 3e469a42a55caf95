"""What the methods that sparsify during training have in common.

Each is written once, for M members whose tensors are stacked along a first dimension; one member alone is M = 1. A
member's state besides its weights, such as masks, stands in `tensors` and is only ever changed in place, so that its own
method and the stacked one always see the same. What it learns besides its weights (gates, thresholds) are further
parameters, named `WEIGHT:what`; `finish` bakes them into the weights and removes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from retrainlab import pruning
from retrainlab.config import Prune
from retrainlab.methods.knobs import Knobs
from retrainlab.noise import stream
from retrainlab.pruning import Masks
from retrainlab.training.layout import laid_out
from retrainlab.training.method import Method, Tensors, member

K = TypeVar("K", bound=Knobs)


@dataclass(frozen=True)
class Span:
    """The training ahead, as a method knows it.

    prunable: names of the weights that it may prune. steps: in all; per_epoch: in an epoch. seed: of the method's own
    random numbers. peak: the largest learning rate, 0 if unknown.
    """

    prunable: tuple[str, ...]
    steps: int
    per_epoch: int
    seed: int = 0
    peak: float = 0.0

    @property
    def epochs(self) -> int:
        """Number of epochs, one that is cut short included."""
        return -(-self.steps // self.per_epoch)


class Sparsifier(Method, Generic[K]):
    """A method with settings of the class K.

    Subclasses fill in `_begin`, `_effective`, `_penalty`, `_edit`, `_after_step`, `_after_epoch` and `_finish`. These get
    tensors [M, ...] of the prunable weights and of what is learned besides, by name.
    """

    steady = True

    def __init__(self, knobs: K, span: Span):
        self.each: list[tuple[K, Span]] = [(knobs, span)]
        self.tensors: Tensors = {}
        self.alone = True

    @classmethod
    def stacked(cls, methods: Sequence[Self]) -> Self:
        together = cls.__new__(cls)
        together.each = [pair for m in methods for pair in m.each]
        together.tensors = {k: laid_out(torch.cat([m.tensors[k] for m in methods])) for k in methods[0].tensors}
        together.alone = False
        for i, m in enumerate(methods):
            m.tensors = {k: t[i : i + 1] for k, t in together.tensors.items()}
        return together

    def begin(self, params: Tensors) -> Tensors:
        begun = self._begin({name: params[name][None] for name in self.prunable})
        return params | member(begun, 0)

    def effective(self, params: Tensors) -> Tensors:
        own = self._effective(self._mine(params))
        return {n: p for n, p in params.items() if ":" not in n} | (member(own, 0) if self.alone else own)

    def penalty(self, params: Tensors) -> Tensor | None:
        penalty = self._penalty(self._mine(params))
        return penalty[0] if self.alone and penalty is not None else penalty

    def edit_gradients(self, params: Tensors, gradients: Tensors) -> None:
        edited = self._edit(self._mine(params), self._mine(gradients))
        gradients |= member(edited, 0) if self.alone else edited

    def after_step(self, params: Tensors, step: int) -> None:
        self._after_step(self._mine(params), step)

    def after_epoch(self, params: Tensors, epoch: int) -> None:
        self._after_epoch(self._mine(params), epoch)

    def finish(self, params: Tensors) -> None:
        self._finish(self._mine(params))
        for name in [n for n in params if ":" in n]:
            del params[name]

    @property
    def prunable(self) -> tuple[str, ...]:
        return self.each[0][1].prunable

    def _mine(self, tensors: Tensors) -> Tensors:
        own = {n: t for n, t in tensors.items() if n in self.prunable or ":" in n}
        return {n: t[None] for n, t in own.items()} if self.alone else own

    def _begin(self, w: Tensors) -> Tensors:
        """Weights that training starts from, where they are not `w`, and further parameters; may set up `tensors`."""
        return {}

    def _effective(self, w: Tensors) -> Tensors:
        """Weights that the forward pass sees, where they are not `w`."""
        return {}

    def _penalty(self, w: Tensors) -> Tensor | None:
        """Added to each member's loss; shape [M]."""
        return None

    def _edit(self, w: Tensors, g: Tensors) -> Tensors:
        """Gradients that are to take the place of those in `g`."""
        return {}

    def _after_step(self, w: Tensors, step: int) -> None: ...

    def _after_epoch(self, w: Tensors, epoch: int) -> None: ...

    def _finish(self, w: Tensors) -> None:
        """Makes `w` what the method promises: what the forward pass sees, unless a subclass says otherwise."""
        for n, seen in self._effective(w).items():
            w[n].copy_(seen)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w: Tensor, seen: Tensor) -> Tensor:
        return seen.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def straight_through(w: Tensor, seen: Tensor) -> Tensor:
    """`seen` in the forward pass; its gradient goes to `w` unchanged (Bengio, Leonard & Courville 2013)."""
    return _StraightThrough.apply(w, seen)


def over(values: Tensor, like: Tensor) -> Tensor:
    """`values`, of shape [M] or [M, C], shaped to be broadcast over the other dimensions of `like`."""
    return values.reshape(*values.shape, *[1] * (like.dim() - values.dim()))


def zero_masked(w: Tensors, masks: Tensors) -> None:
    """Set to exactly 0 in place, NaN too, each weight whose mask is 0."""
    for name, mask in masks.items():
        w[name].masked_fill_(mask == 0, 0)


def random_masks(weights: Tensors, sparsity: float, allocation: str, seed: int) -> Masks:
    """Random masks, the same for the same seed."""
    scores = pruning.random(weights, stream(seed, "mask"))
    return pruning.prune(weights, scores, Prune(allocation=allocation), sparsity)


def keep_largest(scores: Tensors, sparsities: Sequence[float]) -> Tensors:
    """Masks that drop each member's round(S N) weights of smallest score, all layers ranked together.

    scores: [M, ...], by name. sparsities: M shares S of a member's N weights.
    """
    flat = torch.cat([s.flatten(1) for s in scores.values()], 1)
    gone = torch.stack([pruning.smallest(row, round(s * len(row))) for row, s in zip(flat, sparsities)])
    parts = gone.logical_not_().split([s[0].numel() for s in scores.values()], 1)
    return {name: part.view_as(s) for (name, s), part in zip(scores.items(), parts)}
