"""Gradual magnitude pruning: the smallest weights go step by step while the network trains.

Zhu & Gupta 2017, "To prune, or not to prune"; Gale, Elsen & Hooker 2019. What is masked is set to zero after every
step. All layers are ranked together unless `allocation` says otherwise (the source prunes each alike).
"""

import torch

from retrainlab import pruning
from retrainlab.methods.base import Tensors, member
from retrainlab.methods.sparsifier import Sparsifier, cubic, last_update


class Gmp(Sparsifier):
    """State: a mask for each prunable weight, as 1 and 0."""

    def _begin(self, w: Tensors) -> Tensors:
        self.tensors = {n: torch.ones_like(t) for n, t in w.items()}
        return {}

    def _after_step(self, w: Tensors, step: int) -> None:
        for i, (knobs, span) in enumerate(self.each):
            last = last_update(span.steps, knobs.interval, knobs.end)
            if (step + 1) % knobs.interval == 0 and step + 1 <= last:
                self._prune(w, i, cubic(step + 1, last, knobs.sparsity))
        self._mask(w)

    def _prune(self, w: Tensors, i: int, sparsity: float) -> None:
        before = {n: t.bool() for n, t in member(self.tensors, i).items()}
        masks = pruning.prune(
            member({n: w[n] for n in before}, i), sparsity, allocation=self.each[i][0].allocation, masks=before
        )
        for n, mask in masks.items():
            self.tensors[n][i] = mask

    def _mask(self, w: Tensors) -> None:
        for n, mask in self.tensors.items():
            w[n].masked_fill_(mask == 0, 0)

    def _finish(self, w: Tensors) -> None:
        """A run too short for its last update is pruned here."""
        for i, (knobs, _) in enumerate(self.each):
            self._prune(w, i, knobs.sparsity)
        self._mask(w)
