"""Masks of bare tensors."""

from retrainlab import pruning, scores
from retrainlab.config import Prune


def prune(weights, sparsity, *, masks=None, generator=None, **how):
    """Masks as `pruning.prune` makes them; how: settings of a `Prune`, whose score must be one of tensors alone."""
    pattern = how.get("structure") == "n:m"
    settings = Prune(1 - how.get("n", 2) / how.get("m", 4) if pattern else sparsity, **how)
    found = scores.score(settings, weights, generator, None, None)
    return pruning.prune(weights, found, settings, sparsity, masks)
