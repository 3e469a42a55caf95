"""What a method may do: map raw parameters to the effective weights of the forward pass, and act at a few moments.

The base class is the method that does nothing: dense training. The loop in `training` calls, in every step,
`effective` -> forward -> `penalty` -> backward -> `edit_gradients` -> SGD -> `after_step`; after every epoch
`after_epoch`; once at the end `finish`, and only then evaluates. So a method that binarises or prunes at the end is
always judged by what it leaves behind.
"""

from torch import Tensor

Tensors = dict[str, Tensor]


class Method:
    """Dense training. `params` are raw parameters by name, changed in place where a moment says so."""

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
