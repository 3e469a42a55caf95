"""Soft threshold reparameterisation: each layer learns the threshold under which its weights are zero.

Kusupati et al. 2020. The forward pass sees sign(w) relu(|w| - sigmoid(t)), with one t per layer; weight decay pulls t
from its low start towards 0 and so raises the threshold. The source decays weights and thresholds alike over hundreds
of thousands of iterations; here the thresholds' `decay` is a knob of its own, because in a short run a decay that moves
them would take the weights with it.
"""

import torch
from torch import Tensor

from retrainlab.methods.sparsifier import Sparsifier, over
from retrainlab.methods.table import STR
from retrainlab.training.method import Tensors


class Str(Sparsifier[STR]):
    """Learned besides: t of each layer, shape [M], as `WEIGHT:threshold`."""

    def _begin(self, w: Tensors) -> Tensors:
        knobs, some = self.each[0][0], next(iter(w.values()))
        self.tensors = {"decay": some.new_tensor([knobs.decay])}
        return {f"{n}:threshold": some.new_full((1,), knobs.t0) for n in w}

    def _effective(self, w: Tensors) -> Tensors:
        return {n: _soft(w[n], w[f"{n}:threshold"]) for n in self.prunable if f"{n}:threshold" in w}

    def _edit(self, w: Tensors, g: Tensors) -> Tensors:
        thresholds = [f"{n}:threshold" for n in self.prunable]
        return {t: g[t] + self.tensors["decay"] * w[t] for t in thresholds}

    def _finish(self, w: Tensors) -> None:
        for n in self.prunable:
            w[n].copy_(_soft(w[n], w[f"{n}:threshold"]))


def _soft(w: Tensor, t: Tensor) -> Tensor:
    return w.sign() * torch.relu(w.abs() - over(torch.sigmoid(t), w))
