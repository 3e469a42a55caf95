"""Training under a mask: what is pruned is 0 and stays exactly 0."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from retrainlab.pruning import Masks
from retrainlab.training.method import Method, Tensors
from retrainlab.training.state import State

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Masked(Method):
    """Trains the weights whose mask is True; the others start at 0 (see `begin` and `apply`) and stay exactly 0, even if
    training diverges, because their gradient, decay and momentum are 0."""

    steady = True

    def __init__(self, masks: Masks):
        self.masks = {name: m for name, m in masks.items() if not bool(m.all())}
        self.bits: Tensors = {}  # all ones where a weight stays, else all zeros; as wide as the gradients

    @classmethod
    def stacked(cls, methods: Sequence["Masked"]) -> "Masked":
        together = Masked({})
        for name, some in {name: mask for method in methods for name, mask in method.masks.items()}.items():
            parts = [method.masks.get(name, torch.ones_like(some)) for method in methods]
            together.masks[name] = torch.stack(parts)
        return together

    def same(self, other: Method) -> bool:
        if not isinstance(other, Masked) or self.masks.keys() != other.masks.keys():
            return False
        return all(torch.equal(mask, other.masks[name]) for name, mask in self.masks.items())

    def begin(self, params: Tensors) -> Tensors:
        return zeroed(params, self.masks)

    def edit_gradients(self, params: Tensors, gradients: Tensors) -> None:
        """Make gradients exactly 0 where masked, even if they are NaN: as `masked_fill` does, in a third of its time."""
        for name, mask in self.masks.items():
            g = gradients[name]
            whole = INTEGERS[g.element_size()]
            if name not in self.bits or self.bits[name].dtype != whole:
                self.bits[name] = torch.empty_like(g, dtype=whole).copy_(mask).neg_()
            gradients[name] = g.view(whole).bitwise_and(self.bits[name]).view(g.dtype)


def zeroed(tensors: Tensors, masks: Masks) -> Tensors:
    """The tensors, with copies that are exactly 0 where masked in place of those that have a mask."""
    return tensors | {name: tensors[name].detach().masked_fill(~mask, 0) for name, mask in masks.items()}


def apply(state: State, masks: Masks) -> State:
    """The state with weights and momentum exactly 0 where masked."""
    return replace(state, params=zeroed(state.params, masks), momentum=zeroed(state.momentum, masks))
