"""Training under a mask: what is pruned is 0 and stays exactly 0."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from retrainlab.pruning import Masks
from retrainlab.training.method import Method, Tensors
from retrainlab.training.state import State

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Masked(Method):
    """The forward pass sees w where its mask is True and 0 elsewhere, so that no gradient reaches what is masked. A
    weight that starts at 0 there stays exactly 0, even if training diverges: its gradient, its decay and its momentum
    are all 0.

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
        """Exactly 0 where masked, whatever the gradient was, NaN too: `masked_fill` by the bits, in a third of its
        time."""
        for name, gone in self.removed.items():
            g = gradients[name]
            whole = INTEGERS[g.element_size()]
            if name not in self.kept or self.kept[name].dtype != whole:
                self.kept[name] = torch.empty_like(g, dtype=whole).copy_(gone).sub_(1)
            gradients[name] = g.view(whole).bitwise_and(self.kept[name]).view(g.dtype)


def apply(state: State, masks: Masks) -> State:
    """Weights and their momentum, exactly 0 where masked."""

    def zero(tensors: Tensors) -> Tensors:
        return tensors | {name: tensors[name].masked_fill(~m, 0) for name, m in masks.items()}

    return replace(state, params=zero(state.params), momentum=zero(state.momentum))
