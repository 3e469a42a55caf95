"""What a method may do: map raw parameters to the effective weights of the forward pass, and act at a few moments.

The base class does nothing at any of them. Training starts from what `begin` makes of the network's parameters. The
loop in `training` calls, in every step,
`effective` -> forward -> `penalty` -> backward -> `edit_gradients` -> SGD -> `after_step`; after every epoch
`after_epoch`; once at the end `finish`, and only then evaluates. So a method that binarises or prunes at the end is
always judged by what it leaves behind.

Members that train together, each with a method of its own, see stacked tensors: `Method.stacked` makes of their methods
one that acts on parameters [M, ...].
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class Method:
    """`params` are raw parameters by name, changed in place where a moment says so.

    steady: whether `effective`, `penalty` and `edit_gradients` do the same with the same tensors in every step, so that
    a step can be recorded once and replayed; a method that reads a counter, or a value from the device, is not.

    A method that needs random numbers takes them from a generator of its own (`noise.stream`), never from torch's: that
    one belongs to all threads.
    """

    steady: bool = False

    @classmethod
    def stacked(cls, methods: Sequence[Self]) -> "Method":
        """One method for parameters [M, ...] that does to member i what `methods[i]`, all of this class, does to it. Its
        penalty may have any shape: its sum counts. A class whose formulas hold for stacked tensors does it better."""
        return SideBySide(methods)

    def same(self, other: "Method") -> bool:
        """Whether both, given equal weights, gradients and steps, always do the same."""
        return self is other

    def begin(self, params: Tensors) -> Tensors:
        """The parameters that training starts from, given the network's, which stay as they are. Called once, for a method
        that trains from a network of its own; retraining starts from weights that are masked already."""
        return params

    def effective(self, params: Tensors) -> Tensors:
        """The weights that the forward pass sees; differentiable in `params`."""
        return params

    def penalty(self, params: Tensors) -> Tensor | None:
        """A scalar added to the loss."""
        return None

    def edit_gradients(self, params: Tensors, gradients: Tensors) -> None:
        """Replace entries of `gradients` before the SGD step (weight decay is added after); two parameters may share one
        gradient tensor, so do not change it in place."""

    def after_step(self, params: Tensors, step: int) -> None:
        """Called after step `step` (from 0); may change `params` and the method's own state."""

    def after_epoch(self, params: Tensors, epoch: int) -> None:
        """Called after epoch `epoch` (from 0)."""

    def finish(self, params: Tensors) -> None:
        """Called once after the last step, before the final evaluation: make `params` what the method promises."""


class Plain(Method):
    """Every weight as it is: dense training."""

    steady = True

    @classmethod
    def stacked(cls, methods: Sequence["Plain"]) -> "Plain":
        return cls()

    def same(self, other: Method) -> bool:
        return self is other or type(self) is type(other) is Plain


class SideBySide(Method):
    """Any methods, each at work on its own member, one after the other."""

    def __init__(self, methods: Sequence[Method]):
        self.methods = list(methods)
        self.steady = all(m.steady for m in methods)

    def effective(self, params: Tensors) -> Tensors:
        parts = [method.effective(member(params, i)) for i, method in enumerate(self.methods)]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def penalty(self, params: Tensors) -> Tensor | None:
        every = [method.penalty(member(params, i)) for i, method in enumerate(self.methods)]
        parts = [part for part in every if part is not None]
        return torch.stack(parts) if parts else None

    def edit_gradients(self, params: Tensors, gradients: Tensors) -> None:
        parts = []
        for i, method in enumerate(self.methods):
            parts.append(member(gradients, i))
            method.edit_gradients(member(params, i), parts[-1])
        gradients |= {name: torch.stack([part[name] for part in parts]) for name in gradients}

    def after_step(self, params: Tensors, step: int) -> None:
        for i, method in enumerate(self.methods):
            method.after_step(member(params, i), step)

    def after_epoch(self, params: Tensors, epoch: int) -> None:
        for i, method in enumerate(self.methods):
            method.after_epoch(member(params, i), epoch)


def member(tensors: Tensors, i: int) -> Tensors:
    """Member i of stacked tensors, as views."""
    return {name: t[i] for name, t in tensors.items()}


def stacked(methods: Sequence[Method]) -> Method:
    """One method for all members: that of their class if they have one class, or else side by side."""
    kinds = {type(m) for m in methods}
    return kinds.pop().stacked(methods) if len(kinds) == 1 else SideBySide(methods)
