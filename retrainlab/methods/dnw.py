"""Discovering neural wirings: at each moment the network is its largest weights, and all weights learn.

Wortsman, Farhadi & Rastegari 2019, in the form for unstructured weights: every layer keeps the same share.
"""

from functools import lru_cache

import torch

from retrainlab import pruning
from retrainlab.methods.sparsifier import Sparsifier, straight_through
from retrainlab.methods.table import DNW
from retrainlab.training.method import Tensors, member


class Dnw(Sparsifier[DNW]):
    """No state: the mask is that of the moment. `params` are the dense weights until `finish`."""

    def _effective(self, w: Tensors) -> Tensors:
        return {n: straight_through(w[n], seen) for n, seen in self._largest(w).items()}

    def _largest(self, w: Tensors) -> Tensors:
        values = {n: w[n].detach() for n in self.prunable}
        sizes = tuple((n, v[0].numel()) for n, v in values.items())
        gone = []
        for i, (knobs, _) in enumerate(self.each):
            counts = _counts(sizes, knobs.sparsity)
            gone.append({n: pruning.smallest(v.abs(), counts[n]) for n, v in member(values, i).items()})
        return {n: v.masked_fill(torch.stack([g[n] for g in gone]), 0) for n, v in values.items()}

    def _finish(self, w: Tensors) -> None:
        for n, seen in self._largest(w).items():
            w[n].copy_(seen)


@lru_cache
def _counts(sizes: tuple[tuple[str, int], ...], sparsity: float) -> dict[str, int]:
    """How many weights of each layer go: the same share, round(S N) in all."""
    return pruning.allocate_uniform(
        {n: torch.zeros(size) for n, size in sizes}, round(sparsity * sum(s for _, s in sizes))
    )
