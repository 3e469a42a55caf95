"""The retraining schedules as curves that follow sliders. Nothing is trained: a schedule is a curve in closed form.

`Settings` -> `compute` -> `Curves` -> `picture` and `words`; `Explorer` ties these to widgets.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from retrainlab import schedules
from retrainlab.checks import check_number, choose, settle
from retrainlab.config import DENSE_SCHEDULES, FREE_SCHEDULES, NAMED_SCHEDULES, Recipe, Retrain
from retrainlab.explore.kit import chart
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.schedules import DenseCurve

WIDTH, HEIGHT = 920, 400
NO_FREE = "none"
FREE = tuple(name for name in FREE_SCHEDULES if name != "custom")


@dataclass(frozen=True)
class Settings:
    """What the sliders say. budget: share of the dense run, above 0 and at most 1; peak, free_lr: learning rates;
    warmup: share of the retraining; damage: ALLR's d1, in [0, 1]; free: one of FREE, or NO_FREE."""

    budget: float = 0.1
    dense: str = "multistep"
    peak: float = 0.1
    warmup: float = 0.1
    ramp: str = "linear"
    damage: float = 0.75
    free: str = NO_FREE
    free_lr: float = 0.1
    epochs: int = 30
    steps_per_epoch: int = 31

    def __post_init__(self) -> None:
        settle(self)
        check_number(self.budget, "budget (share of the dense run)", above=0, high=1)
        check_number(self.damage, "damage d1", low=0, high=1)
        check_number(self.peak, "peak learning rate", above=0)
        check_number(self.free_lr, "initial value of the free curve", above=0)
        choose(self.dense, DENSE_SCHEDULES, "dense schedule")
        choose(self.ramp, ("linear", "cosine"), "warm-up ramp")
        choose(self.free, (NO_FREE, *FREE), "free curve")
        check_number(self.warmup, "warm-up (share of the retraining)", low=0, high=0.5)
        check_number(self.epochs, "number of epochs", low=1, whole=True)
        check_number(self.steps_per_epoch, "number of steps per epoch", low=1, whole=True)

    @property
    def steps(self) -> int:
        """Iterations of the retraining."""
        return max(1, round(self.budget * self.epochs * self.steps_per_epoch))


@dataclass(frozen=True)
class Curves:
    """The dense run's curve, each retraining schedule's (shape [n]), ALLR's d, and how many iterations at its end the
    dense run kept its last learning rate."""

    original: DenseCurve
    retraining: dict[str, Tensor]
    d: float
    plateau: int


def compute(settings: Settings) -> Curves:
    """All curves. Raises BadInput where a setting makes no sense."""
    s = settings
    original = schedules.dense(Recipe(schedule=s.dense, lr=s.peak), s.epochs * s.steps_per_epoch)
    d = schedules.allr_factor(s.damage, 1.0, s.budget)
    how = dict(warmup=s.warmup, ramp=s.ramp)
    curves = {name: schedules.retraining(Retrain(name, **how), original, s.steps, d) for name in NAMED_SCHEDULES}
    if s.free != NO_FREE:
        curves[s.free] = schedules.retraining(Retrain(s.free, lr=s.free_lr, **how), original, s.steps)
    changes = (original.lr != original.last).nonzero()
    plateau = len(original.lr) - (int(changes[-1]) + 1 if len(changes) else 0)
    return Curves(original, curves, d, plateau)


def words(settings: Settings, curves: Curves) -> str:
    """What the budget means, where ALLR starts, and whether LRW differs from FT."""
    s, n = settings, settings.steps
    total = len(curves.original.lr)
    text = (
        f"A budget of {100 * s.budget:g} % of a dense run of {s.epochs} epochs is {s.budget * s.epochs:.3g} epochs: "
        f"{n:,} steps after the dense run's {total:,}. ALLR starts at d = min(max(d1, budget), 1) = {curves.d:.2f} times "
        f"the peak, {curves.d * s.peak:.3g}. "
    )
    lrw, ft = curves.retraining["LRW"], curves.retraining["FT"]
    last = f"{curves.original.last:.3g}"
    if torch.equal(lrw, ft):
        return text + (
            f"LRW is the same as FT here: the dense run ended with {curves.plateau / s.steps_per_epoch:.3g} epochs at "
            f"{last}, and the budget is no longer than that."
        )
    start = f"LRW goes back to {lrw[0].item():.3g}, FT stays at {last}"
    if curves.plateau > 1:
        return text + f"{start}; up to a budget of {100 * curves.plateau / total:.3g} % they would be the same."
    return text + f"{start}: this dense run never keeps one learning rate, so they differ for any budget."


def alt(settings: Settings, curves: Curves, shown: tuple[str, ...]) -> str:
    """The picture in words, from its numbers."""
    dense = curves.original.lr
    lines = [
        f"{name} starts at {c[0].item():.3g}, is at most {c.max().item():.3g} and ends at {c[-1].item():.3g}"
        for name, c in curves.retraining.items()
        if name in shown
    ]
    return (
        f"Learning rate against epoch. Left: the dense run, {settings.dense}, {settings.epochs} epochs, from "
        f"{dense[0].item():.3g} to {dense[-1].item():.3g}. Right: {settings.steps} steps of retraining: "
        f"{'; '.join(lines) or 'no schedule is shown'}."
    )


def ceiling(value: float) -> float:
    """The next round number at least 2 % above `value`, for an axis that holds still while a slider moves a little."""
    power = 10.0 ** math.floor(math.log10(1.02 * value))
    return next(m * power for m in (1, 1.2, 1.5, 2, 3, 4, 6, 8, 10) if m * power >= 1.02 * value)


def picture(settings: Settings, curves: Curves, shown: tuple[str, ...], log: bool) -> dict:
    """The chart; shown: names of the retraining schedules to draw; log: on a logarithmic axis."""
    per_epoch, length = settings.steps_per_epoch, settings.steps / settings.steps_per_epoch
    lines, legend, top = [], [], curves.original.peak
    for place, (name, curve) in enumerate(curves.retraining.items()):
        if name in shown:
            top = max(top, curve.max().item())
            look = chart.schedule(name)
            # the broad ones show behind those that can cover them; symbols are staggered
            lines.append(_stairs(curve, per_epoch, look, width=3.2 if name in ("FT", "LLR") else 2, offset=3 * place))
            legend.append((name, look))
    top = ceiling(top)
    frame = {"y": (top / 5000 if log else 0, top), "ylog": log}
    dense = [
        chart.span(settings.epochs - length, settings.epochs),
        _stairs(curves.original.lr, per_epoch, {"color": "#222222"}, marks=0),
    ]
    left = chart.panel(
        dense,
        x=(0, settings.epochs),
        xlabel="Epoch of the dense run",
        ylabel="Learning rate",
        title=f"Dense run; grey: its last {length:.3g} epochs",
        **frame,
    )
    title = f"Retraining for {length:.3g} epochs ({100 * settings.budget:g} %)"
    right = chart.panel(lines, x=(0, length), xlabel="Epoch of retraining", title=title, **frame)
    return chart.chart([left, right], alt(settings, curves, shown), width=WIDTH, height=HEIGHT, legend=legend)


def _stairs(curve: Tensor, per_epoch: int, look: dict, **more) -> dict:
    """The step function that holds value i from iteration i to i + 1; x in epochs. Equal neighbours become one step."""
    values = curve.tolist()
    corners = [i for i, v in enumerate(values) if i == 0 or v != values[i - 1]]
    if len(corners) > 200:
        corners = corners[:: len(corners) // 200 + 1]
    x, y = [i / per_epoch for i in corners], [values[i] for i in corners]
    return chart.line([*x, len(values) / per_epoch], [*y, values[-1]], look, step=True, **more)


def csv(curves: Curves, shown: tuple[str, ...]) -> str:
    """The retraining curves shown, a line for each iteration."""
    lines = [f"{name},{i},{lr:.8g}" for name, c in curves.retraining.items() if name in shown for i, lr in enumerate(c)]
    return "\n".join(["schedule,iteration,lr", *lines, ""])


def code(settings: Settings) -> str:
    """The view as Python."""
    s = settings
    lines = [
        "from retrainlab import Recipe, Retrain, schedules",
        "",
        f"original = schedules.dense(Recipe(schedule={s.dense!r}, lr={s.peak!r}), {s.epochs * s.steps_per_epoch})",
        f"d = schedules.allr_factor({s.damage!r}, 1.0, {s.budget!r})",
        f"how = dict(warmup={s.warmup!r}, ramp={s.ramp!r})",
        f"names = {list(NAMED_SCHEDULES)!r}",
        f"curves = {{name: schedules.retraining(Retrain(name, **how), original, {s.steps}, d) for name in names}}",
    ]
    if s.free != NO_FREE:
        lines.append(
            f"curves[{s.free!r}] = schedules.retraining(Retrain({s.free!r}, lr={s.free_lr!r}, **how), original, {s.steps})"
        )
    return "\n".join(lines) + "\n"


def page(_store: object) -> Page:
    """The schedules as curves by sliders; nothing is trained."""
    budgets, shown = (0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0), NAMED_SCHEDULES

    def view(dense: str, budget: float, damage: float) -> View:
        settings = Settings(budget=budget, dense=dense, damage=damage)
        curves = compute(settings)
        return View(
            [picture(settings, curves, shown, False)], words(settings, curves), code=code(settings), csv=summary(curves)
        )

    return Page(
        "schedules",
        "The schedules as curves",
        ["A retraining schedule is a curve: which learning rate each step uses. Nothing has to be trained to see it."],
        [
            Control(
                "Dense schedule", [(name, name) for name in DENSE_SCHEDULES], DENSE_SCHEDULES.index("multistep"), True
            ),
            Control("Budget (share of the dense run)", [(f"{100 * b:g} %", b) for b in budgets], 2),
            Control("ALLR's damage d1", [(f"{d:g}", d) for d in (0.0, 0.25, 0.5, 0.75, 1.0)], 3),
        ],
        [],
        view,
    )


def summary(curves: Curves) -> str:
    """Start, largest and last learning rate of each retraining schedule."""
    rows = [f"{n},{c[0]:.8g},{c.max():.8g},{c[-1]:.8g},{len(c)}" for n, c in curves.retraining.items()]
    return "\n".join(["schedule,first_lr,largest_lr,last_lr,iterations", *rows, ""])
