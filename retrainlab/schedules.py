"""Learning-rate schedules as curves: a 1-D float64 tensor with one learning rate per iteration, in closed form.

A curve can be plotted, compared with its formula, drawn by a reader or stacked for many networks; nothing here knows an
optimiser or a model. Conventions, the same for every curve of `n` iterations with `w` warm-up iterations:

- the warm-up rises from 0 towards the peak and takes `w` steps, the first above 0, none at the peak;
- iteration `w` is the peak, taken once;
- a decay to 0 would reach 0 at iteration `n`, the one after the last: no step is wasted at 0.

Retraining schedules: FT (Han et al. 2015), LRW (Renda et al. 2020), SLR and CLR (Le & Hua 2021), LLR and ALLR (Zimmer,
Spiegel & Pokutta 2023, arXiv 2111.00843).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retrainlab.checks import BadInput, check_number, choose
from retrainlab.config import DENSE_SCHEDULES, FREE_SCHEDULES, NAMED_SCHEDULES, check_initial_lr, check_points


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


# ---- shapes: functions of progress, from 1 at the first step towards 0 (or a constant) -------------------------------


def _progress(m: int) -> Tensor:
    """0, 1/m, ..., (m-1)/m: the share of the decay that lies behind each step."""
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
    """(1 - t) / (1 - t/2), the reflected exponential; shape [m] (Chen et al. 2022)."""
    t = _progress(m)
    return (1 - t) / (1 - t / 2)


def stepped(m: int, milestones: Sequence[float], gamma: float) -> Tensor:
    """gamma to the power of how many `milestones` (shares of the run, in [0, 1]) have been reached; shape [m]."""
    steps = torch.arange(m)
    reached = torch.zeros(m, dtype=torch.float64)
    for share in milestones:
        reached += steps >= max(1, round(share * m))  # the first step is always the peak
    return gamma**reached


def ramp(w: int, shape: str = "linear") -> Tensor:
    """The warm-up towards 1: w values strictly between 0 and 1; the step after them is the peak. Shape [w]."""
    t = torch.arange(1, w + 1, dtype=torch.float64) / (w + 1)
    return t if shape == "linear" else (1 - torch.cos(math.pi * t)) / 2


def with_warmup(decay: Tensor, w: int, shape: str = "linear") -> Tensor:
    """Put a warm-up of w steps to the first value of `decay` before it; shape [w + len(decay)]."""
    return torch.cat([decay[0] * ramp(w, shape), decay])


def piecewise_linear(n: int, points: Sequence[tuple[float, float]]) -> Tensor:
    """The curve through control points (share of the run in [0, 1], learning rate >= 0); shape [n].

    Iteration i stands at share i/n; before the first and after the last point the curve is level.
    Raises BadInput unless the shares rise strictly within [0, 1] and no learning rate is negative.
    """
    check_points(points)
    x, y = (torch.tensor(v, dtype=torch.float64) for v in zip(*points))
    if len(points) == 1:
        return y.expand(n).clone()
    t = _progress(n)
    right = torch.searchsorted(x, t).clamp(1, len(points) - 1)
    share = ((t - x[right - 1]) / (x[right] - x[right - 1])).clamp(0, 1)
    return y[right - 1] + share * (y[right] - y[right - 1])


# ---- the dense run ---------------------------------------------------------------------------------------------------


def dense(
    name: str,
    n: int,
    lr: float,
    *,
    warmup: int = 0,
    milestones: Sequence[float] = (0.5, 0.75),
    gamma: float = 0.1,
    every: float = 0.3,
) -> DenseCurve:
    """The dense run's curve of n iterations with peak `lr`.

    name: constant | step (times gamma after each share `every`) | multistep (times gamma at each share in `milestones`)
    | cosine | linear, the last two to 0. Shares are of the whole run, its warm-up included, as recipes state them.
    Raises BadInput for an unknown name, or a warm-up that leaves no iteration for the rest.
    """
    choose(name, DENSE_SCHEDULES, "dense schedule")
    if not 0 <= warmup < n:
        raise BadInput(f"The warm-up takes {warmup} of {n} iterations, but must leave at least one; shorten it.")
    m = n - warmup
    if name == "step":
        milestones = [every * i for i in range(1, math.ceil(1 / every))]
    if name in ("step", "multistep"):
        first = round(min(milestones, default=1.0) * n)
        if warmup >= max(1, first):
            raise BadInput(
                f"The warm-up takes {warmup} iterations, but the learning rate is first reduced at iteration {first}; "
                "shorten the warm-up or move the first milestone."
            )
        shape = stepped(n, milestones, gamma)[warmup:]
    else:
        shape = {"constant": constant, "cosine": cosine, "linear": linear}[name](m)
    return DenseCurve(lr * torch.cat([ramp(warmup), shape]), warmup)


# ---- retraining ------------------------------------------------------------------------------------------------------


def ft(original: DenseCurve, n: int) -> Tensor:
    """Fine-tuning: the last learning rate of the dense run, n times (Han et al. 2015)."""
    return constant(n) * original.last


def lrw(original: DenseCurve, n: int, clamp: bool = False) -> Tensor:
    """Learning-rate rewinding: the last n iterations of the dense run again (Renda et al. 2020).

    Raises BadInput if n is longer than the dense run, unless `clamp` is set: then eta_max is held until the replay can
    start, and through the dense run's own warm-up.
    """
    missing = n - len(original.lr)
    if missing > 0 and not clamp:
        raise BadInput(
            f"LRW replays the last {n} iterations, but the dense run has only {len(original.lr)}; "
            "retrain for less, or set clamp to hold the peak learning rate until the replay can start."
        )
    if missing <= 0:
        return original.lr[-n:].clone()
    held = torch.full((missing + original.warmup,), original.peak, dtype=torch.float64)
    return torch.cat([held, original.decay])


def slr(original: DenseCurve, n: int, warmup: float = 0.1, shape: str = "linear") -> Tensor:
    """Scaled rewinding: the whole dense curve compressed into what the warm-up leaves (Le & Hua 2021).

    The dense run's own warm-up is replaced by its peak, eta_max.
    """
    w = int(warmup * n)
    curve = original.lr.clone()
    curve[: original.warmup] = original.peak
    index = (torch.arange(n - w) * len(curve)) // (n - w)
    return with_warmup(curve[index], w, shape)


def clr(original: DenseCurve, n: int, warmup: float = 0.1, shape: str = "linear") -> Tensor:
    """Cyclic restart: a cosine from eta_max to eta_min (Le & Hua 2021)."""
    w = int(warmup * n)
    return with_warmup(original.floor + (original.peak - original.floor) * cosine(n - w), w, shape)


def llr(original: DenseCurve, n: int, warmup: float = 0.1, shape: str = "linear") -> Tensor:
    """Linear restart: a line from eta_max to 0 (Zimmer et al. 2023)."""
    return allr(original, n, 1.0, warmup, shape)


def allr(original: DenseCurve, n: int, d: float, warmup: float = 0.1, shape: str = "linear") -> Tensor:
    """Adaptive linear restart: a line from d * eta_max to 0, with d in [0, 1] from `allr_factor` (Zimmer et al. 2023)."""
    w = int(warmup * n)
    return with_warmup(d * original.peak * linear(n - w), w, shape)


def allr_factor(relative_norm_drop: float, removed: float, budget: float) -> float:
    """ALLR's d = min(max(d1, d2), 1), with d1 = ||W - W_p|| / (||W|| sqrt(s)) and d2 = min(T_rt / T, 1).

    relative_norm_drop: ||W - W_p|| / ||W||; removed: s, the share of the weights W that this pruning step removed
    (0 gives d1 = 0); budget: T_rt / T, above 0. sqrt(s) is the most that removing the smallest share s can change the
    norm, so d1 lies in [0, 1]. (Zimmer et al. 2023, section 3.)
    """
    d1 = relative_norm_drop / math.sqrt(removed) if removed > 0 else 0.0
    d2 = min(budget, 1.0)
    return min(max(d1, d2), 1.0)


def retraining(
    name: str,
    original: DenseCurve,
    n: int,
    *,
    d: float = 1.0,
    lr: float | None = None,
    warmup: float = 0.1,
    shape: str = "linear",
    milestones: Sequence[float] = (0.5, 0.75),
    gamma: float = 0.1,
    points: Sequence[tuple[float, float]] = (),
    clamp: bool = False,
) -> Tensor:
    """The retraining curve of that name, n iterations long (n >= 1); shape [n], float64.

    FT, LRW, SLR, CLR, LLR and ALLR follow the dense run `original`; ALLR starts at d times its peak. The free ones
    (constant, stepped, cosine, linear, rex, cosine-to-0) have the initial value `lr`; cosine ends at the dense run's
    eta_min (or `lr` if that is lower), cosine-to-0 at 0. `points` draws the custom one, learning rates absolute.
    `warmup` is the share of n that rises to the peak; FT, LRW and custom take none.
    """
    choose(name, (*NAMED_SCHEDULES, *FREE_SCHEDULES), "retraining schedule")
    check_number(n, "number of retraining iterations", low=1, whole=True)
    match name:
        case "FT":
            return ft(original, n)
        case "LRW":
            return lrw(original, n, clamp)
        case "SLR":
            return slr(original, n, warmup, shape)
        case "CLR":
            return clr(original, n, warmup, shape)
        case "LLR":
            return llr(original, n, warmup, shape)
        case "ALLR":
            return allr(original, n, d, warmup, shape)
        case "custom":
            return piecewise_linear(n, points)
    check_initial_lr(name, lr)
    w = int(warmup * n)
    m = n - w
    match name:
        case "constant":
            decay = lr * constant(m)
        case "stepped":
            decay = lr * stepped(m, milestones, gamma)
        case "linear":
            decay = lr * linear(m)
        case "rex":
            decay = lr * rex(m)
        case "cosine-to-0":
            decay = lr * cosine(m)
        case "cosine":
            floor = min(original.floor, lr)
            decay = floor + (lr - floor) * cosine(m)
    return with_warmup(decay, w, shape)
