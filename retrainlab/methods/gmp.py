"""Gradual magnitude pruning: the smallest weights go step by step while the network trains.

Zhu & Gupta 2017, "To prune, or not to prune"; Gale, Elsen & Hooker 2019. What is masked is set to zero after every
step. All layers are ranked together unless `allocation` says otherwise (the source prunes the same share of each).
"""

from retrainlab.methods.gradual import Gradual
from retrainlab.methods.sparsifier import zero_masked
from retrainlab.training.method import Tensors


class Gmp(Gradual):
    """What is masked stays masked."""

    nested = True

    def _after_step(self, w: Tensors, step: int) -> None:
        super()._after_step(w, step)
        zero_masked(w, self.tensors)
