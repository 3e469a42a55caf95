"""What a method may do: map raw parameters to the effective weights of the forward pass, and act at a few moments.

Training starts from what `begin` makes of the network's parameters. Each step is
`effective` -> forward -> `penalty` -> backward -> `edit_gradients` -> `masks` -> SGD -> `after_step`; each epoch ends with
`after_epoch`, and training with `finish`, after which the network is evaluated: a method is judged by what it leaves.

When many members train together, `Method.stacked` makes of their methods one that acts on parameters [M, ...].
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Self

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


class Method:
    """A method that does nothing; `params` are raw parameters by name.

    masks: bool, by name: where they are False, a weight that is 0 stays exactly 0, even if training diverges, because its
    gradient and decay are. They never change.

    steady: whether `effective`, `penalty` and `edit_gradients` do the same with the same tensors in every step, so that a
    step can be recorded and replayed; not so if they read a counter, or a value from the device. A method draws random
    numbers from a generator of its own (`noise.stream`), since torch's belongs to all threads.
    """

    steady: bool = False
    masks: Mapping[str, Tensor] = MappingProxyType({})

    @classmethod
    def stacked(cls, methods: Sequence[Self]) -> "Method":
        """One method for parameters [M, ...] that does to member i what `methods[i]`, all of this class, does to it; the sum
        of its penalty counts. A class whose formulas hold for stacked tensors can do this faster."""
        return SideBySide(methods)

    def same(self, other: "Method") -> bool:
        """Whether both always do the same with equal weights, gradients and steps."""
        return self is other

    def begin(self, params: Tensors) -> Tensors:
        """The parameters that a first training starts from, given the network's, which are not changed. Not called for
        retraining, which starts from weights that are masked already."""
        return params

    def effective(self, params: Tensors) -> Tensors:
        """The weights that the forward pass sees; differentiable in `params`."""
        return params

    def penalty(self, params: Tensors) -> Tensor | None:
        """A scalar added to the loss."""
        return None

    def edit_gradients(self, params: Tensors, gradients: Tensors) -> None:
        """Replace entries of `gradients`, to which weight decay is added later. Change no tensor in place: two parameters
        may share one gradient."""

    def after_step(self, params: Tensors, step: int) -> None:
        """Called after step `step` (from 0); may change `params` and the method's own state."""

    def after_epoch(self, params: Tensors, epoch: int) -> None:
        """Called after epoch `epoch` (from 0)."""

    def finish(self, params: Tensors) -> None:
        """Called once after the last step, before the final evaluation; may change `params`."""

    def state(self) -> Tensors:
        """What of its own a training changes, copied, for a checkpoint: its attributes that are tensors, dictionaries of
        tensors, generators or numbers; `masks` never change. A method whose state is of another kind says so here and in
        `restore`."""
        own: Tensors = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                own[name] = value.detach().clone()
            elif isinstance(value, dict) and name != "masks":
                own |= {f"{name}/{k}": t.detach().clone() for k, t in value.items() if isinstance(t, Tensor)}
            elif isinstance(value, torch.Generator):
                own[name] = value.get_state()
            elif isinstance(value, int | float):
                own[name] = torch.tensor(value, dtype=None if isinstance(value, int) else torch.float64)
        return own

    @torch.no_grad()
    def restore(self, state: Tensors) -> None:
        """Bring back what `state` gave of a method with the same settings; tensors are changed in place."""
        for name, saved in state.items():
            attribute, _, key = name.partition("/")
            value = vars(self)[attribute]
            if isinstance(value, dict):
                value.setdefault(key, torch.empty_like(saved)).copy_(saved)
            elif isinstance(value, Tensor):
                value.copy_(saved)
            elif isinstance(value, torch.Generator):
                value.set_state(saved.cpu())
            else:
                setattr(self, attribute, type(value)(saved.item()))


class Plain(Method):
    """Dense training: every weight as it is."""

    steady = True

    @classmethod
    def stacked(cls, methods: Sequence["Plain"]) -> "Plain":
        return cls()

    def same(self, other: Method) -> bool:
        return self is other or type(self) is type(other) is Plain


class SideBySide(Method):
    """Any methods, each applied to its own member, one after the other."""

    def __init__(self, methods: Sequence[Method]):
        self.methods = list(methods)
        self.steady = all(m.steady for m in methods)
        self.masks = stacked_masks(methods)

    def effective(self, params: Tensors) -> Tensors:
        parts = [method.effective(member(params, i)) for i, method in enumerate(self.methods)]
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def penalty(self, params: Tensors) -> Tensor | None:
        every = [method.penalty(member(params, i)) for i, method in enumerate(self.methods)]
        parts = [part for part in every if part is not None]
        return torch.stack(parts) if parts else None

    def edit_gradients(self, params: Tensors, gradients: Tensors) -> None:
        parts = [member(gradients, i) for i in range(len(self.methods))]
        for i, method in enumerate(self.methods):
            method.edit_gradients(member(params, i), parts[i])
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


def stacked_masks(methods: Sequence[Method]) -> Tensors:
    """The masks of all, [M, ...]; all True for those that have none of a name."""
    some = {name: mask for method in methods for name, mask in method.masks.items()}
    return {
        name: torch.stack([m.masks.get(name, torch.ones_like(mask)) for m in methods]) for name, mask in some.items()
    }


def stacked(methods: Sequence[Method]) -> Method:
    """One method for all members: as their class makes it, or side by side if their classes differ."""
    kinds = {type(m) for m in methods}
    return kinds.pop().stacked(methods) if len(kinds) == 1 else SideBySide(methods)
