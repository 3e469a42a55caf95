"""Budgeted iterative magnitude pruning: dense training, pruning and retraining for the price of one ordinary run.

Zimmer, Spiegel & Pokutta 2023. Of T epochs in all, T0 are dense training with a linear schedule to 0; in the rest the
network is pruned and retrained with ALLR in k cycles of equal length, the remainder to the last. ALLR measures a
cycle's length against T0. This module does not load torch.
"""

from dataclasses import replace

from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe, Retrain


def bimp(recipe: Recipe, sparsity: float, *, dense_epochs: int, cycles: int = 1, prune: Prune = Prune()) -> Experiment:
    """BIMP within `recipe.epochs` epochs, of which `dense_epochs` (at least 1, at least one fewer than all) are dense.

    recipe: its schedule becomes linear; its method must be None. prune: its sparsity and cycles are replaced.
    Raises BadInput for a method, and for a split that leaves one of the two phases without an epoch.
    """
    if not 1 <= dense_epochs < recipe.epochs:
        raise BadInput(
            f"BIMP's dense phase has {dense_epochs} of {recipe.epochs} epochs, but must have at least 1 and leave at "
            "least 1 for retraining; choose another split."
        )
    if recipe.method is not None:
        raise BadInput(f"BIMP starts with dense training, not with {recipe.method.name}; leave the method out.")
    rest = (recipe.epochs - dense_epochs) / dense_epochs
    return Experiment(
        replace(recipe, epochs=dense_epochs, schedule="linear"),
        replace(prune, sparsity=sparsity, cycles=cycles),
        Retrain("ALLR", budget=rest, split=True),
    )
