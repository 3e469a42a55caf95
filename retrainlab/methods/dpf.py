"""Dynamic pruning with feedback: the gradient is taken at the pruned weights and given to the dense ones.

Lin, Stich, Barba, Dmitriev & Jaggi 2020. Every weight keeps its dense shadow, whatever the mask, and may come back at
the next update of the mask. All layers are ranked together unless `allocation` says otherwise. Pruned once more at the
end, so that the last mask is not up to `interval` - 1 iterations old.
"""

import torch

from retrainlab import pruning
from retrainlab.methods.base import Tensors, member
from retrainlab.methods.sparsifier import Sparsifier, cubic, last_update, straight_through


class Dpf(Sparsifier):
    """State: a mask for each prunable weight, as 1 and 0. `params` are the dense shadow until `finish`."""

    def _begin(self, w: Tensors) -> Tensors:
        self.tensors = {n: torch.ones_like(t) for n, t in w.items()}
        return {}

    def _effective(self, w: Tensors) -> Tensors:
        return {n: straight_through(w[n], w[n] * mask) for n, mask in self.tensors.items()}

    def _after_step(self, w: Tensors, step: int) -> None:
        for i, (knobs, span) in enumerate(self.each):
            if (step + 1) % knobs.interval == 0:
                last = last_update(span.steps, knobs.interval, knobs.end)
                self._prune(w, i, cubic(step + 1, last, knobs.sparsity))

    def _prune(self, w: Tensors, i: int, sparsity: float) -> None:
        weights = member({n: w[n] for n in self.tensors}, i)
        for n, mask in pruning.prune(weights, sparsity, allocation=self.each[i][0].allocation).items():
            self.tensors[n][i] = mask

    def _finish(self, w: Tensors) -> None:
        for i, (knobs, _) in enumerate(self.each):
            self._prune(w, i, knobs.sparsity)
        for n, mask in self.tensors.items():
            w[n].masked_fill_(mask == 0, 0)
