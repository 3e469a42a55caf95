"""What GMP and DPF have in common: masks by magnitude that follow Zhu & Gupta's curve and are made anew at intervals."""

import torch

from retrainlab import pruning
from retrainlab.config import Prune
from retrainlab.methods.sparsifier import Sparsifier, cubic, last_update, zero_masked
from retrainlab.methods.table import DPF, GMP
from retrainlab.training.method import Tensors, member


class Gradual(Sparsifier[GMP | DPF]):
    """State: a mask for each prunable weight, as 1 and 0. nested: what is masked stays so, and no mask is made after the
    sparsity is reached."""

    nested: bool

    def _begin(self, w: Tensors) -> Tensors:
        self.tensors = {n: torch.ones_like(t) for n, t in w.items()}
        return {}

    def _after_step(self, w: Tensors, step: int) -> None:
        for i, (knobs, span) in enumerate(self.each):
            last = last_update(span.steps, knobs.interval, knobs.end)
            if (step + 1) % knobs.interval == 0 and (step + 1 <= last or not self.nested):
                self._prune(w, i, cubic(step + 1, last, knobs.sparsity))

    def _prune(self, w: Tensors, i: int, sparsity: float) -> None:
        before = {n: t.bool() for n, t in member(self.tensors, i).items()} if self.nested else None
        weights = member({n: w[n] for n in self.tensors}, i)
        masks = pruning.prune(
            weights, pruning.magnitude(weights), Prune(allocation=self.each[i][0].allocation), sparsity, before
        )
        for n, mask in masks.items():
            self.tensors[n][i] = mask

    def _finish(self, w: Tensors) -> None:
        """Once more, so that no mask is old, and a run too short for an update is pruned all the same."""
        for i, (knobs, _) in enumerate(self.each):
            self._prune(w, i, knobs.sparsity)
        zero_masked(w, self.tensors)
