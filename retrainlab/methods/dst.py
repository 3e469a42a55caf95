"""Dynamic sparse training: each output channel learns the threshold under which its weights are masked.

Liu, Xu, Shi, Cheung & So 2020. The mask is a step function of |w| - t, whose gradient is replaced by a long-tailed
estimate; the penalty alpha sum exp(-t) pushes thresholds up. A layer that would keep 1 % of its weights or fewer has
its thresholds set back to 0, as in the authors' code. Thresholds start at 0 and do not decay.
"""

import torch
from torch import Tensor

from retrainlab.methods.sparsifier import Sparsifier, over
from retrainlab.methods.table import DST
from retrainlab.training.method import Tensors


class _Step(torch.autograd.Function):
    """1 where x >= 0, else 0; the estimate of its derivative is 2 - 4|x| up to |x| = 0.4, 0.4 up to 1, and 0 beyond."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        far = x.abs()
        return gradient * torch.where(far <= 0.4, 2 - 4 * far, 0.4 * (far <= 1).to(x.dtype))


class Dst(Sparsifier[DST]):
    """Learned besides: t of each output channel, shape [M, C], as `WEIGHT:threshold`."""

    def _begin(self, w: Tensors) -> Tensors:
        self.tensors = {"alpha": next(iter(w.values())).new_tensor([self.each[0][0].alpha])}
        return {f"{n}:threshold": t.new_zeros(t.shape[:2]) for n, t in w.items()}

    def _effective(self, w: Tensors) -> Tensors:
        return {n: w[n] * _mask(w[n], w[f"{n}:threshold"]) for n in self.prunable if f"{n}:threshold" in w}

    def _penalty(self, w: Tensors) -> Tensor:
        return self.tensors["alpha"] * sum(torch.exp(-w[f"{n}:threshold"]).sum(1) for n in self.prunable)

    def _after_step(self, w: Tensors, step: int) -> None:
        for n in self.prunable:
            t = w[f"{n}:threshold"]
            t.mul_(over(_mask(w[n], t).flatten(1).mean(1) > 0.01, t))


def _mask(w: Tensor, t: Tensor) -> Tensor:
    return _Step.apply(w.abs() - over(t, w))
