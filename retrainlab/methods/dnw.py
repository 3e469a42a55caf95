"""Discovering neural wirings: at each moment the network is its largest weights, and all weights learn.

Wortsman, Farhadi & Rastegari 2019, in the form for unstructured weights: every layer keeps the same share.
"""

from functools import lru_cache

import torch

from retrainlab import pruning
from retrainlab.methods.sparsifier import Sparsifier, straight_through
from retrainlab.methods.table import DNW
from retrainlab.training.method import Tensors


class Dnw(Sparsifier[DNW]):
    """No state: the mask follows from the weights. These are dense until `finish`."""

    def _effective(self, w: Tensors) -> Tensors:
        sizes = tuple((n, w[n][0].numel()) for n in self.prunable)
        counts = [_counts(sizes, knobs.sparsity) for knobs, _ in self.each]
        out = {}
        for n in self.prunable:
            values = w[n].detach()
            gone = [pruning.smallest(v.abs(), count[n]) for v, count in zip(values, counts)]
            out[n] = straight_through(w[n], values.masked_fill(torch.stack(gone), 0))
        return out


@lru_cache
def _counts(sizes: tuple[tuple[str, int], ...], sparsity: float) -> dict[str, int]:
    """How many weights of each layer go: the same share, round(S N) in all."""
    count = round(sparsity * sum(size for _, size in sizes))
    return pruning.allocate_uniform({n: torch.zeros(size) for n, size in sizes}, count)
