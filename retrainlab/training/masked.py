"""Training under a mask: what is pruned is 0 and stays exactly 0."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from retrainlab.pruning import Masks
from retrainlab.training.method import Method, Tensors, stacked_masks
from retrainlab.training.state import State

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Masked(Method):
    """Trains the weights whose mask is True; the others start at 0 (see `begin` and `apply`) and stay there."""

    steady = True

    def __init__(self, masks: Masks):
        self.masks = {name: m for name, m in masks.items() if not bool(m.all())}

    @classmethod
    def stacked(cls, methods: Sequence["Masked"]) -> "Masked":
        together = Masked({})
        together.masks = stacked_masks(methods)
        return together

    def same(self, other: Method) -> bool:
        if not isinstance(other, Masked) or self.masks.keys() != other.masks.keys():
            return False
        return all(torch.equal(mask, other.masks[name]) for name, mask in self.masks.items())

    def begin(self, params: Tensors) -> Tensors:
        return zeroed(params, self.masks)


def zeroed(tensors: Tensors, masks: Mapping[str, Tensor]) -> Tensors:
    """The tensors, with copies that are exactly 0 where masked in place of those that have a mask."""
    return tensors | {name: tensors[name].detach().masked_fill(~mask, 0) for name, mask in masks.items()}


def apply(state: State, masks: Masks) -> State:
    """The state with weights and momentum exactly 0 where masked."""
    return replace(state, params=zeroed(state.params, masks), momentum=zeroed(state.momentum, masks))


def bits(mask: Tensor, like: Tensor) -> Tensor:
    """Integers as wide as the entries of `like`: all ones where the mask is True, else all zeros."""
    return torch.empty_like(like, dtype=INTEGERS[like.element_size()]).copy_(mask).neg_()


def keep(t: Tensor, kept: Tensor) -> Tensor:
    """`t` with exactly 0 where `bits` are zeros, even in place of NaN: as `masked_fill` makes it, in a third of its time."""
    return t.view(kept.dtype).bitwise_and(kept).view(t.dtype)
