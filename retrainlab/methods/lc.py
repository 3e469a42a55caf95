"""Learning-compression: train towards the nearest sparse network, find the nearest sparse network, and so on.

Carreira-Perpinan & Idelbayev 2018, quadratic penalty. L step: some epochs of SGD on L(w) + mu/2 ||w - theta||^2. C
step: theta = the (1-S)N largest of w, the rest 0. After each C step mu grows, up to 1/eta_max: the source keeps eta
below 1/mu instead. The source starts from a trained network; here the share `start` of the run is ordinary training.
The last C step is the pruning by magnitude after the training (`Prune`).
"""

import math

import torch

from retrainlab.methods.sparsifier import Sparsifier, keep_largest, over
from retrainlab.methods.table import LC
from retrainlab.training.method import Tensors


class Lc(Sparsifier[LC]):
    """State: theta of each prunable weight; mu, shape [M], 0 until the first C step."""

    def _begin(self, w: Tensors) -> Tensors:
        self.tensors = {n: torch.zeros_like(t) for n, t in w.items()}
        self.tensors["mu"] = next(iter(w.values())).new_zeros(1)
        return {}

    def _edit(self, w: Tensors, g: Tensors) -> Tensors:
        return {n: g[n] + over(self.tensors["mu"], w[n]) * (w[n] - self.tensors[n]) for n in self.prunable}

    def _after_epoch(self, w: Tensors, epoch: int) -> None:
        for i, (knobs, span) in enumerate(self.each):
            since = epoch + 1 - round(knobs.start * span.epochs)
            if since >= 0 and since % knobs.epochs_per_step == 0:
                self._compress(w, i, knobs, 1 / span.peak if span.peak else math.inf)

    def _compress(self, w: Tensors, i: int, knobs: LC, most: float) -> None:
        masks = keep_largest({n: w[n][i : i + 1].abs() for n in self.prunable}, [knobs.sparsity])
        for n, mask in masks.items():
            self.tensors[n][i : i + 1] = w[n][i : i + 1] * mask
        mu = self.tensors["mu"]
        mu[i] = torch.where(mu[i] > 0, mu[i] * knobs.growth, knobs.mu0).clamp(max=most)
