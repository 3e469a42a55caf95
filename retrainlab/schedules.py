"""Learning-rate schedules as curves: a 1-D float64 tensor with one learning rate per iteration, in closed form.

Each name of `config` has its function in one of two tables, DENSE and RETRAINING. Conventions of every curve of `n`
iterations, of which `w` are its warm-up:

- the warm-up rises from 0 towards the peak, in `w` values strictly between the two; iteration `w` is the peak;
- a decay to 0 would reach 0 at iteration `n`, the one after the last, so that no iteration is wasted at 0.

Shapes (`constant`, `linear`, `cosine`, `rex`, `stepped`) are functions of the share t of the decay that lies behind, from 1
at t = 0. Retraining schedules: FT (Han et al. 2015), LRW (Renda et al. 2020), SLR and CLR (Le & Hua 2021), LLR and ALLR
(Zimmer, Spiegel & Pokutta 2023, arXiv 2111.00843).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retrainlab import importing
from retrainlab.checks import BadInput, check_number, is_reference
from retrainlab.config import Recipe, Retrain, check_points


@dataclass(frozen=True)
class DenseCurve:
    """The dense run's curve: `lr` of shape [N], whose first `warmup` iterations are its warm-up."""

    lr: Tensor
    warmup: int = 0

    @property
    def decay(self) -> Tensor:
        """The part after the warm-up, shape [N - warmup]."""
        return self.lr[self.warmup :]

    @property
    def peak(self) -> float:
        """eta_max, the largest learning rate after the warm-up."""
        return self.decay.max().item()

    @property
    def floor(self) -> float:
        """eta_min, the smallest learning rate after the warm-up."""
        return self.decay.min().item()

    @property
    def last(self) -> float:
        """The learning rate with which the dense run ended."""
        return self.lr[-1].item()


def _progress(m: int) -> Tensor:
    """t = 0, 1/m, ..., (m-1)/m; shape [m]."""
    return torch.arange(m, dtype=torch.float64) / m


def constant(m: int) -> Tensor:
    """1 throughout; shape [m]."""
    return torch.ones(m, dtype=torch.float64)


def linear(m: int) -> Tensor:
    """1 - t; shape [m] (Li, Yumer & Ramanan 2020)."""
    return 1 - _progress(m)


def cosine(m: int) -> Tensor:
    """(1 + cos(pi t)) / 2; shape [m] (Loshchilov & Hutter 2017)."""
    return (1 + torch.cos(math.pi * _progress(m))) / 2


def rex(m: int) -> Tensor:
    """(1 - t) / (1 - t / 2), the reflected exponential; shape [m] (Chen et al. 2022)."""
    t = _progress(m)
    return (1 - t) / (1 - t / 2)


def stepped(m: int, milestones: Sequence[float], gamma: float) -> Tensor:
    """gamma to the power of the number of `milestones` (shares of the run) reached; shape [m]."""
    steps = torch.arange(m)
    reached = torch.zeros(m, dtype=torch.float64)
    for share in milestones:
        reached += steps >= max(1, round(share * m))  # the first step is always the peak
    return gamma**reached


def ramp(w: int, shape: str = "linear") -> Tensor:
    """The warm-up towards 1: w rising values strictly between 0 and 1, `linear` or `cosine`; shape [w]."""
    t = torch.arange(1, w + 1, dtype=torch.float64) / (w + 1)
    return t if shape == "linear" else (1 - torch.cos(math.pi * t)) / 2


def piecewise_linear(n: int, points: Sequence[tuple[float, float]]) -> Tensor:
    """The curve through control points (share of the run, learning rate), level before the first and after the last; shape
    [n]. Iteration i stands at share i/n. Raises BadInput as `config.check_points` does."""
    check_points(points)
    x, y = (torch.tensor(v, dtype=torch.float64) for v in zip(*points))
    if len(points) == 1:
        return y.expand(n).clone()
    t = _progress(n)
    right = torch.searchsorted(x, t).clamp(1, len(points) - 1)
    share = ((t - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
    return y[right - 1] + share * (y[right] - y[right - 1])


EVERY = tuple(0.3 * i for i in (1, 2, 3))  # shares of the run after which `step` reduces the learning rate


def reduced(milestones: Sequence[float], gamma: float, n: int, w: int) -> Tensor:
    """`stepped` over a run of n iterations, without the first w; shape [n - w]. Raises BadInput if the warm-up of w
    iterations reaches the first milestone."""
    first = round(min(milestones, default=1.0) * n)
    if w >= max(1, first):
        raise BadInput(
            f"The warm-up takes {w} iterations, but the learning rate is first reduced at iteration {first}; "
            "shorten the warm-up or move the first milestone."
        )
    return stepped(n, milestones, gamma)[w:]


DENSE: dict[str, Callable[[Recipe, int, int], Tensor]] = {
    "constant": lambda recipe, n, w: constant(n - w),
    "step": lambda recipe, n, w: reduced(EVERY, recipe.gamma, n, w),
    "multistep": lambda recipe, n, w: reduced(recipe.milestones, recipe.gamma, n, w),
    "cosine": lambda recipe, n, w: cosine(n - w),
    "linear": lambda recipe, n, w: linear(n - w),
}
"""(recipe, iterations n, of which w are its warm-up) -> what comes after the warm-up as a share of the peak, [n - w]."""


def dense(recipe: Recipe, n: int) -> DenseCurve:
    """The dense run's curve of n iterations, from the recipe's schedule, lr, warmup, milestones and gamma; shares are of the
    whole run, its warm-up included. Raises BadInput as `reduced` does, and for a user's schedule that gives none."""
    w = int(recipe.warmup * n)
    if is_reference(recipe.schedule):
        after = _of_user(recipe.schedule, (recipe, n, w), n - w)
        if not after.any():
            raise BadInput(f"{recipe.schedule} gives learning rates of 0 throughout, with which nothing is trained.")
    else:
        after = DENSE[recipe.schedule](recipe, n, w)
    return DenseCurve(recipe.lr * torch.cat([ramp(w), after]), w)


Curve = Callable[[Retrain, DenseCurve, int, float], Tensor]
"""(settings, dense run, iterations n, ALLR's d) -> learning rates, shape [n]."""


def warmed(decay: Curve) -> Curve:
    """The curve with a warm-up of `retrain.warmup` of its iterations to the first value of `decay`, which has the rest."""

    def curve(retrain: Retrain, original: DenseCurve, n: int, d: float) -> Tensor:
        w = int(retrain.warmup * n)
        after = decay(retrain, original, n - w, d)
        return torch.cat([after[0] * ramp(w, retrain.ramp), after])

    return curve


def ft(retrain: Retrain, original: DenseCurve, n: int, d: float) -> Tensor:
    """Fine-tuning: the last learning rate of the dense run, n times (Han et al. 2015)."""
    return constant(n) * original.last


def lrw(retrain: Retrain, original: DenseCurve, n: int, d: float) -> Tensor:
    """Learning-rate rewinding: the last n iterations of the dense run again (Renda et al. 2020).

    Raises BadInput if n is longer than the dense run, unless `retrain.clamp` is set: then eta_max is held until the
    replay can start, and through the dense run's own warm-up.
    """
    missing = n - len(original.lr)
    if missing > 0 and not retrain.clamp:
        raise BadInput(
            f"LRW replays the last {n} iterations, but the dense run has only {len(original.lr)}; "
            "retrain for less, or set clamp to hold the peak learning rate until the replay can start."
        )
    if missing <= 0:
        return original.lr[-n:].clone()
    held = torch.full((missing + original.warmup,), original.peak, dtype=torch.float64)
    return torch.cat([held, original.decay])


def slr(retrain: Retrain, original: DenseCurve, m: int, d: float) -> Tensor:
    """Scaled rewinding: the dense curve, with the peak for its warm-up, compressed into m iterations (Le & Hua 2021)."""
    curve = original.lr.clone()
    curve[: original.warmup] = original.peak
    return curve[(torch.arange(m) * len(curve)) // m]


def clr(retrain: Retrain, original: DenseCurve, m: int, d: float) -> Tensor:
    """Cyclic restart: a cosine from eta_max to eta_min (Le & Hua 2021)."""
    return original.floor + (original.peak - original.floor) * cosine(m)


def llr(retrain: Retrain, original: DenseCurve, m: int, d: float) -> Tensor:
    """Linear restart: a line from eta_max to 0 (Zimmer et al. 2023)."""
    return original.peak * linear(m)


def allr(retrain: Retrain, original: DenseCurve, m: int, d: float) -> Tensor:
    """Adaptive linear restart: a line from d * eta_max to 0, with d in [0, 1] from `allr_factor` (Zimmer et al. 2023)."""
    return d * original.peak * linear(m)


def initial(retrain: Retrain) -> float:
    """The initial learning rate; `Retrain` sees to it that a free schedule has one."""
    assert retrain.lr is not None
    return retrain.lr


def cosine_to_floor(retrain: Retrain, original: DenseCurve, m: int, d: float) -> Tensor:
    """A cosine from `retrain.lr` to the dense run's eta_min, or level if that is higher."""
    floor = min(original.floor, initial(retrain))
    return floor + (initial(retrain) - floor) * cosine(m)


RETRAINING: dict[str, Curve] = {
    "FT": ft,
    "LRW": lrw,
    "SLR": warmed(slr),
    "CLR": warmed(clr),
    "LLR": warmed(llr),
    "ALLR": warmed(allr),
    "constant": warmed(lambda retrain, original, m, d: initial(retrain) * constant(m)),
    "stepped": warmed(lambda retrain, original, m, d: initial(retrain) * stepped(m, (0.5, 0.75), 0.1)),
    "cosine": warmed(cosine_to_floor),
    "linear": warmed(lambda retrain, original, m, d: initial(retrain) * linear(m)),
    "rex": warmed(lambda retrain, original, m, d: initial(retrain) * rex(m)),
    "cosine-to-0": warmed(lambda retrain, original, m, d: initial(retrain) * cosine(m)),
    "custom": lambda retrain, original, n, d: piecewise_linear(n, retrain.points),
}


def allr_factor(relative_norm_drop: float, removed: float, budget: float) -> float:
    """ALLR's d = min(max(d1, d2), 1), d1 = ||W - W_p|| / (||W|| sqrt(s)), d2 = T_rt / T (Zimmer et al. 2023, section 3).

    relative_norm_drop: ||W - W_p|| / ||W||. removed: s, the share of the weights W that this pruning step removed (0 gives
    d1 = 0). budget: T_rt / T, above 0. Removing the smallest share s changes the norm by at most sqrt(s), so d1 <= 1.
    """
    d1 = relative_norm_drop / math.sqrt(removed) if removed > 0 else 0.0
    return min(max(d1, budget), 1.0)


def retraining(retrain: Retrain, original: DenseCurve, n: int, d: float = 1.0) -> Tensor:
    """The learning rates of one cycle's retraining; shape [n], float64.

    original: the dense run's curve, which FT, LRW, SLR, CLR, LLR and ALLR follow. d: ALLR's factor in [0, 1].
    Raises BadInput for n below 1, for a user's schedule that gives no such curve, and as `lrw` does.
    """
    check_number(n, "number of retraining iterations", low=1, whole=True)
    if is_reference(retrain.schedule):
        return _of_user(retrain.schedule, (retrain, original, n, d), n)
    return RETRAINING[retrain.schedule](retrain, original, n, d)


def _of_user(name: str, settings: Sequence[Any], n: int) -> Tensor:
    """The curve of n iterations that a user's function gives, which is called as those in DENSE or RETRAINING are. Raises
    BadInput for a function that fails, or gives no such curve."""
    own = importing.called(name)
    try:
        curve = torch.as_tensor(own(*settings), dtype=torch.float64, device="cpu")
    except Exception as error:  # whatever the user's code raises
        raise BadInput(f"The schedule {name} fails ({type(error).__name__}: {error}); mend it.") from error
    if curve.shape != (n,) or not curve.isfinite().all() or (curve < 0).any():
        ends = f", from {curve.min():g} to {curve.max():g}" if curve.numel() else ""
        raise BadInput(
            f"{name} must give {n} finite numbers of at least 0, one for each iteration, but gives a tensor of shape "
            f"{tuple(curve.shape)}{ends}."
        )
    return curve
