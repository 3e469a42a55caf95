"""A trained network as ALLR sees it: the damage d1, d2 and d, fast enough to follow sliders.

The magnitudes are sorted once, and everything is read from sums that are already there. Source: Zimmer et al. 2023, "How I
Learned to Stop Worrying and Love Retraining", arXiv 2111.00843, section 3.
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
BINS = 81


@dataclass(frozen=True)
class Factor:
    """ALLR's numbers (Zimmer et al. 2023, section 3).

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
        """Which of d1 and d2 makes d."""
        return "d1" if self.d1 > self.d2 else "d2"


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A trained network as ALLR sees it when it is pruned at once, everywhere by magnitude.

    magnitudes: of the N prunable weights, sorted [N].
    gone: sum of squares of the i smallest magnitudes, for i from 0 to N, float64 [N + 1].
    totals: ||W||^2 for each of NORMS.
    peak: the dense run's largest learning rate, eta_max.
    weights: the prunable weights with their signs, sorted [N].
    edges: of the histogram's bars, the outermost of which hold all beyond [BINS + 1].
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
        others = [p for name, p in state.params.items() if name not in set(prunable)]
        total = gone[-1].item()
        totals = {"prunable": total, "all": total + sum(float(p.detach().double().square().sum()) for p in others)}
        far = magnitudes[math.ceil(0.999 * len(magnitudes)) - 1].item() or 1.0
        return Anatomy(magnitudes, gone, totals, peak, weights, torch.linspace(-far, far, BINS + 1))

    def count(self, sparsity: float) -> int:
        """How many weights go, as `pruning.prune` counts."""
        return round(sparsity * len(self.magnitudes))

    def threshold(self, sparsity: float) -> float | None:
        """The largest magnitude that goes; None if nothing does."""
        count = self.count(sparsity)
        return self.magnitudes[count - 1].item() if count else None

    def factor(self, sparsity: float, budget: float, norm: str) -> Factor:
        """From the sums, what `metrics.norm_drop` of the pruned network and `schedules.allr_factor` give."""
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
        """How many weights each bar holds, and how many of them go."""
        places = torch.searchsorted(self.weights, self.edges)
        places[0], places[-1] = 0, len(self.weights)
        threshold = self.threshold(sparsity)
        if threshold is None:
            return places.diff().tolist(), [0] * BINS
        ends = torch.tensor([-threshold, threshold])
        low = torch.searchsorted(self.weights, ends[:1]).item()
        high = torch.searchsorted(self.weights, ends[1:], right=True).item()
        return places.diff().tolist(), places.clamp(low, high).diff().tolist()
