"""Gradual magnitude pruning: the smallest weights go step by step while the network trains.

Zhu & Gupta 2017, "To prune, or not to prune"; Gale, Elsen & Hooker 2019. At iteration t = interval, 2 interval, ... the
sparsity becomes s_t = S (1 - (1 - t/t_n)^3) (Zhu & Gupta's eq. 1, with s_i = 0 and t_0 = 0), where t_n is the multiple of
the interval nearest to the share `end` of the run. What is masked is set to zero after every step. All layers are ranked
together unless `allocation` says otherwise (the source prunes the same share of each).
"""

import torch

from retrainlab import pruning
from retrainlab.config import Prune
from retrainlab.methods.sparsifier import Sparsifier, zero_masked
from retrainlab.methods.table import DPF, GMP
from retrainlab.training.method import Tensors, member


class Gmp(Sparsifier[GMP | DPF]):
    """State: masks, as 1 and 0."""

    nested = True  # what is masked stays masked and 0, and no mask is made after t_n

    def _begin(self, w: Tensors) -> Tensors:
        self.tensors = {n: torch.ones_like(t) for n, t in w.items()}
        return {}

    def _after_step(self, w: Tensors, step: int) -> None:
        for i, (knobs, span) in enumerate(self.each):
            t, most = step + 1, span.steps // knobs.interval
            last = knobs.interval * max(1, min(round(knobs.end * span.steps / knobs.interval), most))
            if t % knobs.interval == 0 and (t <= last or not self.nested):
                self._prune(w, i, knobs.sparsity * (1 - (1 - min(t, last) / last) ** 3))
        if self.nested:
            zero_masked(w, self.tensors)

    def _prune(self, w: Tensors, i: int, sparsity: float) -> None:
        before = {n: t.bool() for n, t in member(self.tensors, i).items()} if self.nested else None
        weights, prune = member({n: w[n] for n in self.tensors}, i), Prune(allocation=self.each[i][0].allocation)
        for n, mask in pruning.prune(weights, pruning.magnitude(weights), prune, sparsity, before).items():
            self.tensors[n][i] = mask

    def _finish(self, w: Tensors) -> None:
        """Prune once more, so that no mask is old and a run too short for an update is pruned all the same."""
        for i, (knobs, _) in enumerate(self.each):
            self._prune(w, i, knobs.sparsity)
        zero_masked(w, self.tensors)
