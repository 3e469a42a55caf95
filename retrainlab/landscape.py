"""Where retraining goes: how far, through how many signs, and what lies on the straight line between two networks.

Functions of tensors by name. Weights that a mask holds at 0 in both networks add nothing to any of these numbers.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from retrainlab import metrics
from retrainlab.pruning import Masks, Weights


def distance(start: Weights, end: Weights) -> float:
    """||end - start|| / ||start||, in float64; 0 if `start` is 0 throughout."""
    return metrics.norm_drop(start, end)


def flips(start: Weights, end: Weights, masks: Masks) -> float:
    """The share of the weights that stay (True in `masks`) that are on the other side of 0 at the end; one that is 0 at
    either time has no sign to change."""
    stay = sum(int(mask.sum()) for mask in masks.values())
    turned = sum(int((start[name].sign() * end[name].sign())[mask].lt(0).sum()) for name, mask in masks.items())
    return turned / stay if stay else 0.0


def interpolate(start: dict[str, Tensor], end: dict[str, Tensor], t: float) -> dict[str, Tensor]:
    """(1 - t) start + t end, exact at both ends; 0.5 is the average. Whole numbers, such as BatchNorm's counts of batches,
    stay those of `start`."""
    return {name: (1 - t) * own + t * end[name] if own.is_floating_point() else own for name, own in start.items()}


def barrier(losses: Sequence[float]) -> float:
    """How far a loss rises above the straight line between its values at both ends, from evenly spaced places between two
    networks; 0 if it does nowhere, NaN if one is not finite (Entezari, Sedghi, Saukh & Neyshabur 2022)."""
    return max(above_ends(losses)) if all(map(math.isfinite, losses)) else math.nan


def above_ends(losses: Sequence[float]) -> list[float]:
    """The losses, at evenly spaced places, less the straight line between the first and the last; 0 at both ends."""
    first, last, steps = losses[0], losses[-1], len(losses) - 1
    between = (loss - ((steps - i) * first + i * last) / steps for i, loss in enumerate(losses[1:-1], 1))
    return [0.0, *between, 0.0]
