"""The rigged lottery: train within a sparse mask that moves weights to where the gradient is largest.

Evci, Gale, Menick, Castro & Elsen 2020. Every `interval` iterations each layer drops the share (drop/2)(1 + cos(pi t /
t_end)) of its weights, the smallest, and grows as many where the dense gradient is largest; what is grown starts at 0,
unless it was dropped a moment before: then it stays as it is, as in the authors' code. The mask starts random with
Erdos-Renyi-kernel densities. Unlike the source the SGD step is made in those iterations too, and the momentum of a weight
that comes back is what is left of it, not 0.
"""

import math

import torch

from retrainlab import pruning
from retrainlab.methods.sparsifier import Sparsifier, random_masks, zero_masked
from retrainlab.methods.table import RigL
from retrainlab.training.method import Tensors, member


class Rigl(Sparsifier[RigL]):
    """State: masks, as 1 and 0, and under `WEIGHT:gradient` the dense gradient of the step before an update."""

    def _begin(self, w: Tensors) -> Tensors:
        knobs, span = self.each[0]
        masks = random_masks(member(w, 0), knobs.sparsity, "erk", span.seed)
        self.tensors = {n: m[None].to(w[n].dtype) for n, m in masks.items()}
        self.tensors |= {f"{n}:gradient": torch.zeros_like(t) for n, t in w.items()}
        return {n: t * self.tensors[n] for n, t in w.items()}

    def _edit(self, w: Tensors, g: Tensors) -> Tensors:
        for n in self.prunable:
            self.tensors[f"{n}:gradient"].copy_(g[n])
        return {n: g[n] * self.tensors[n] for n in self.prunable}

    def _after_step(self, w: Tensors, step: int) -> None:
        for i, (knobs, span) in enumerate(self.each):
            end = knobs.end * span.steps
            if (step + 1) % knobs.interval == 0 and step + 1 < end:
                share = knobs.drop / 2 * (1 + math.cos(math.pi * (step + 1) / end))
                for n in self.prunable:
                    self._move(w, n, i, share)
        zero_masked(w, {n: self.tensors[n] for n in self.prunable})

    def _move(self, w: Tensors, n: str, i: int, share: float) -> None:
        """Drop and grow in one layer of one member; what stays masked is set to 0 by the caller."""
        mask, weights, gradient = self.tensors[n][i], w[n][i], self.tensors[f"{n}:gradient"][i]
        before = mask.bool()
        count = round(share * int(before.sum()))
        kept = before & ~pruning.smallest(weights.abs().masked_fill(~before, torch.inf), count)
        grown = pruning.smallest(gradient.abs().neg().masked_fill(kept, torch.inf), count)
        weights.masked_fill_(grown & ~before, 0)
        mask.copy_(kept | grown)
