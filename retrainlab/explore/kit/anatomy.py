"""A trained network as ALLR sees it: the damage d1, d2 and d, fast enough to follow sliders.

The magnitudes are sorted and summed once; all else is read from those sums. Source: Zimmer et al. 2023, "How I Learned to
Stop Worrying and Love Retraining", arXiv 2111.00843, section 3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from retrainlab.schedules import allr_factor
from retrainlab.training.state import State

NORMS = {"prunable": "prunable weights", "all": "all parameters"}
SPARSITIES = tuple(round(i / 100, 2) for i in range(100)) + (0.995,)  # of the curves
BINS = 81  # of the histogram


@dataclass(frozen=True)
class Factor:
    """ALLR's numbers for one prune and budget.

    drop: share of the norm that pruning takes, ||W - W_p|| / ||W||.
    removed: share s of the weights that it takes.
    d1, d2, d: damage, budget and the larger of them, in [0, 1].
    start: the first learning rate, d * eta_max.
    """

    drop: float
    removed: float
    d1: float
    d2: float
    d: float
    start: float

    @property
    def decides(self) -> str:
        """Which of d1 and d2 is d."""
        return "d1" if self.d1 > self.d2 else "d2"


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A trained network as ALLR sees it when it is pruned at once, everywhere by magnitude.

    weights: the N prunable weights, sorted [N]; magnitudes: the same without signs, sorted [N].
    gone: sum of squares of the i smallest magnitudes, for i from 0 to N, float64 [N + 1].
    totals: ||W||^2 for each of NORMS.
    peak: the dense run's largest learning rate, eta_max.
    edges: edges of the histogram's bars, the outermost of which hold all weights beyond [BINS + 1].
    """

    magnitudes: Tensor
    gone: Tensor
    totals: dict[str, float]
    peak: float
    weights: Tensor
    edges: Tensor

    @staticmethod
    def of(state: State, prunable: Sequence[str], peak: float) -> "Anatomy":
        """Sort a network's weights; prunable: the names of the parameters that pruning may touch."""
        weights = torch.cat([state.params[name].detach().flatten().cpu() for name in prunable]).sort().values
        magnitudes = weights.abs().sort().values
        gone = torch.cat([torch.zeros(1, dtype=torch.float64), magnitudes.double().square().cumsum(0)])
        others = [p.detach().double() for name, p in state.params.items() if name not in set(prunable)]
        total = gone[-1].item()
        totals = {"prunable": total, "all": total + sum(p.square().sum().item() for p in others)}
        far = magnitudes[math.ceil(0.999 * len(magnitudes)) - 1].item() or 1.0
        return Anatomy(magnitudes, gone, totals, peak, weights, torch.linspace(-far, far, BINS + 1))

    def count(self, sparsity: float) -> int:
        """How many weights are removed, as `pruning` counts them."""
        return round(sparsity * len(self.magnitudes))

    def threshold(self, sparsity: float) -> float | None:
        """The largest magnitude that is removed; None if nothing is."""
        count = self.count(sparsity)
        return self.magnitudes[count - 1].item() if count else None

    def factor(self, sparsity: float, budget: float, norm: str) -> Factor:
        """What `metrics.norm_drop` of the pruned network and `schedules.allr_factor` give, but from the sums.

        sparsity, budget: shares. norm: a key of NORMS.
        """
        size, count = len(self.magnitudes), self.count(sparsity)
        removed = 1 - (size - count) / size
        total = self.totals[norm]
        drop = math.sqrt(self.gone[count].item() / total) if total else 0.0
        d = allr_factor(drop, removed, budget)
        return Factor(drop, removed, allr_factor(drop, removed, 0.0), min(budget, 1.0), d, d * self.peak)

    @cached_property
    def damage(self) -> dict[str, list[float]]:
        """d1 at each of SPARSITIES, by norm."""
        return {norm: [self.factor(s, 0.0, norm).d1 for s in SPARSITIES] for norm in NORMS}

    def bars(self, sparsity: float) -> tuple[list[int], list[int]]:
        """How many weights each bar holds, and how many of them are removed."""
        places = torch.searchsorted(self.weights, self.edges)
        places[0], places[-1] = 0, len(self.weights)
        threshold = self.threshold(sparsity)
        if threshold is None:
            return places.diff().tolist(), [0] * BINS
        low = torch.searchsorted(self.weights, -threshold).item()
        high = torch.searchsorted(self.weights, threshold, right=True).item()
        return places.diff().tolist(), places.clamp(low, high).diff().tolist()
