"""Soft threshold reparameterisation: each layer learns the threshold under which its weights are zero.

Kusupati et al. 2020. The forward pass sees sign(w) relu(|w| - sigmoid(t)), with one t per layer; weight decay pulls t
from its low start towards 0 and so raises the threshold. The source decays weights and thresholds alike over hundreds
of thousands of iterations; here the thresholds' `decay` is a knob of its own, because in a short run a decay that moves
them would take the weights with it.
"""

import torch

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
        lows = {n: over(torch.sigmoid(w[t]), w[n]) for n in self.prunable if (t := f"{n}:threshold") in w}
        return {n: w[n].sign() * torch.relu(w[n].abs() - low) for n, low in lows.items()}

    def _edit(self, w: Tensors, g: Tensors) -> Tensors:
        thresholds = [f"{n}:threshold" for n in self.prunable]
        return {t: g[t] + self.tensors["decay"] * w[t] for t in thresholds}
