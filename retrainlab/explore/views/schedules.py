"""The retraining schedules as curves that follow sliders. Nothing is trained: a schedule is a curve in closed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from retrainlab import schedules
from retrainlab.checks import choice, number, settle
from retrainlab.config import (
    DATASETS,
    DENSE_SCHEDULES,
    FREE_SCHEDULES,
    NAMED_SCHEDULES,
    Experiment,
    Prune,
    Recipe,
    Retrain,
)
from retrainlab.explore.kit import chart, live, writing
from retrainlab.explore.kit.cells import Cell, nearest
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.phrases import share
from retrainlab.schedules import DenseCurve
from retrainlab.study.results import Results
from retrainlab.study.stages import steps_of

NO_FREE = "none"
FREE = tuple(name for name in FREE_SCHEDULES if name != "custom")
RAMPS = ("linear", "cosine")
LINES = 4000  # of a curve's CSV, or up to twice as many


@dataclass(frozen=True)
class Settings:
    """What the widgets say. log: whether the axis of learning rates is logarithmic; shown: which of the named schedules are
    drawn, besides the free one; data: whose dense run it is (see `of_data`); milestones: of the dense schedule multistep."""

    budget: float = number(0.1, what="budget (share of the dense run)", above=0, high=1)
    dense: str = choice("multistep", DENSE_SCHEDULES, "dense schedule")
    peak: float = number(0.1, what="peak learning rate", above=0)
    warmup: float = number(0.1, what="warm-up (share of the retraining)", low=0, high=0.5)
    ramp: str = choice("linear", RAMPS, "warm-up ramp")
    damage: float = number(0.75, what="damage d1", low=0, high=1)
    free: str = choice(NO_FREE, (NO_FREE, *FREE), "free curve")
    free_lr: float = number(0.1, what="initial value of the free curve", above=0)
    epochs: int = number(30, what="number of epochs", low=1)
    steps_per_epoch: int = number(31, what="number of steps per epoch", low=1)
    log: bool = False
    shown: tuple[str, ...] = choice(NAMED_SCHEDULES, NAMED_SCHEDULES, "retraining schedule")
    data: str = choice("digits", DATASETS, "data set")
    milestones: tuple[float, ...] = (0.5, 0.75)

    def __post_init__(self) -> None:
        settle(self)

    @property
    def recipe(self) -> Recipe:
        """The settings of the dense run that its curve follows from."""
        return Recipe(schedule=self.dense, lr=self.peak, milestones=self.milestones)

    @property
    def steps(self) -> int:
        """Iterations of the retraining."""
        return max(1, round(self.budget * self.epochs * self.steps_per_epoch))


@dataclass(frozen=True)
class Curves:
    """What is drawn and told.

    original: the dense run's learning rates; retraining: those of each retraining schedule, shape [n].
    d: ALLR's.
    """

    original: DenseCurve
    retraining: dict[str, Tensor]
    d: float

    def of(self, settings: Settings) -> dict[str, Tensor]:
        """The retraining schedules that are drawn."""
        return {name: c for name, c in self.retraining.items() if name in (*settings.shown, settings.free)}


def compute(settings: Settings) -> Curves:
    """The learning rates of the dense run and of every retraining schedule."""
    s = settings
    original = schedules.dense(s.recipe, s.epochs * s.steps_per_epoch)
    d = schedules.allr_factor(s.damage, 1.0, s.budget)
    plans = [Retrain(name, warmup=s.warmup, ramp=s.ramp) for name in NAMED_SCHEDULES]
    if s.free != NO_FREE:
        plans.append(Retrain(s.free, lr=s.free_lr, warmup=s.warmup, ramp=s.ramp))
    return Curves(original, {plan.schedule: schedules.retraining(plan, original, s.steps, d) for plan in plans}, d)


def of_data(settings: Settings, data: str, cells: Sequence[Cell], results: Results) -> Settings:
    """The settings with the dense run of a data set's preset, and the budget and ALLR's damage of its cell nearest to what
    the preset shows of its curves, if there is one. No image is read for a data set that has a name."""
    preset = live.preset_of(data)
    recipe = replace(preset.recipe, data=data)
    s = replace(settings, data=data, dense=recipe.schedule, peak=recipe.lr, milestones=recipe.milestones)
    s = replace(s, epochs=recipe.epochs, steps_per_epoch=steps_of(recipe))
    cell = nearest(cells, recipe.model, preset.curve_sparsity, s.budget)
    if cell is None or "ALLR" not in cell.schedules:
        return s
    own = live.recipe_of(data, cell.model, cell.seeds[0]), Prune(cell.sparsity), Retrain("ALLR", cell.budget)
    known = {} if (found := results.of(Experiment(*own, cell.points))) is None else found.scalars
    drop, removed = known.get("norm_drop"), known.get("removed")
    damage = s.damage if drop is None or not removed else schedules.allr_factor(drop, removed, 0.0)
    return replace(s, budget=cell.budget, damage=round(damage, 4))


def words(settings: Settings, curves: Curves) -> str:
    """What the budget means, where ALLR starts, and whether LRW differs from FT."""
    s, total = settings, len(curves.original.lr)
    text = (
        f"A budget of {share(s.budget)} of a dense run of {s.epochs} epochs is {s.budget * s.epochs:.3g} epochs: "
        f"{s.steps:,} steps after the dense run's {total:,}. ALLR starts at d = min(max(d1, budget), 1) = "
        f"{curves.d:.2f} times the peak, {curves.d * s.peak:.3g}. "
    )
    lrw, last = curves.retraining["LRW"], f"{curves.original.last:.3g}"
    others = (curves.original.lr != curves.original.last).nonzero()
    plateau = total - (int(others[-1]) + 1 if len(others) else 0)  # iterations that kept the last learning rate
    if torch.equal(lrw, curves.retraining["FT"]):
        return text + (
            f"LRW is the same as FT here: the dense run ended with {plateau / s.steps_per_epoch:.3g} epochs at "
            f"{last}, and the budget is no longer than that."
        )
    start = f"LRW goes back to {lrw[0].item():.3g}, FT stays at {last}"
    if plateau > 1:
        return text + f"{start}; up to a budget of {100 * plateau / total:.3g} % they would be the same."
    return text + f"{start}: this dense run never keeps one learning rate, so they differ for any budget."


def ceiling(value: float) -> float:
    """The next round number at least 2 % above `value`, for an axis that holds still while a slider moves a little."""
    power = 10.0 ** math.floor(math.log10(1.02 * value))
    return next(m * power for m in (1, 1.2, 1.5, 2, 3, 4, 6, 8, 10) if m * power >= 1.02 * value)


def picture(settings: Settings, curves: Curves) -> dict:
    """Left: the dense run, with the part that LRW replays in grey; right: the retraining schedules that are shown."""
    s, length = settings, settings.steps / settings.steps_per_epoch
    dense, drawn = curves.original.lr, curves.of(s)
    lines, legend, told = [], [], []
    for name, c in drawn.items():
        look, place = chart.schedule(name), list(curves.retraining).index(name)
        # the broad ones show behind those that can cover them; symbols are staggered
        broad = 3.2 if name in ("FT", "LLR") else 2
        lines.append(stairs(c, s.steps_per_epoch, look, width=broad, offset=3 * place))
        legend.append((name, look))
        told.append(f"{name} starts at {c[0]:.3g}, is at most {c.max():.3g} and ends at {c[-1]:.3g}")
    top = ceiling(max([curves.original.peak, *(c.max().item() for c in drawn.values())]))
    frame: dict[str, Any] = {"y": (top / 5000 if s.log else 0, top), "ylog": s.log}
    left = chart.panel(
        [chart.span(s.epochs - length, s.epochs), stairs(dense, s.steps_per_epoch, {"color": "#222222"}, marks=0)],
        x=(0, s.epochs),
        xlabel="Epoch of the dense run",
        ylabel="Learning rate",
        title=f"Dense run; grey: its last {length:.3g} epochs",
        **frame,
    )
    title = f"Retraining for {length:.3g} epochs ({share(s.budget)})"
    right = chart.panel(lines, x=(0, length), xlabel="Epoch of retraining", title=title, **frame)
    alt = (
        f"Learning rate against epoch. Left: the dense run, {s.dense}, {s.epochs} epochs, from {dense[0]:.3g} to "
        f"{dense[-1]:.3g}. Right: {s.steps} steps of retraining: {'; '.join(told) or 'no schedule is shown'}."
    )
    return chart.chart([left, right], alt, width=920, height=400, legend=legend)


def stairs(curve: Tensor, per_epoch: int, look: dict, **more) -> dict:
    """The step function that holds value i from iteration i to i + 1, over epochs. Equal neighbours become one step."""
    values = curve.tolist()
    corners = [i for i, v in enumerate(values) if i == 0 or v != values[i - 1]]
    if len(corners) > 200:
        corners = corners[:: len(corners) // 200 + 1]
    x, y = [i / per_epoch for i in corners], [values[i] for i in corners]
    return chart.line([*x, len(values) / per_epoch], [*y, values[-1]], look, step=True, **more)


def csv(settings: Settings, curves: Curves) -> str:
    """The retraining curves that are shown, a line for each iteration, or for each k-th of a long one."""
    every = max(1, settings.steps // LINES)
    rows = [
        (name, every * i, lr) for name, c in curves.of(settings).items() for i, lr in enumerate(c[::every].tolist())
    ]
    return writing.csv(("schedule", "iteration", "lr"), rows, 8)


def code(settings: Settings) -> str:
    """The curves as Python."""
    s = settings
    told = f"schedule={s.dense!r}, lr={s.peak!r}"
    told += f", milestones={s.milestones!r}" if s.milestones != Recipe.milestones else ""
    lines = [
        "from retrainlab import Recipe, Retrain, schedules",
        "",
        f"original = schedules.dense(Recipe({told}), {s.epochs * s.steps_per_epoch})",
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


def view(settings: Settings) -> View:
    """All that is shown."""
    curves = compute(settings)
    return View([picture(settings, curves)], words(settings, curves), csv=csv(settings, curves), code=code(settings))


def short(settings: Settings) -> View:
    """All that is shown, with a CSV of a line for each curve: every iteration would make a page too large."""
    curves = compute(settings)
    rows = [(n, c[0].item(), c.max().item(), c[-1].item(), len(c)) for n, c in curves.retraining.items()]
    heads = "schedule", "first_lr", "largest_lr", "last_lr", "iterations"
    csv = writing.csv(heads, rows, 8)
    return View([picture(settings, curves)], words(settings, curves), csv=csv, code=code(settings))


def page(_results: object) -> Page:
    """For readers without a kernel: dense schedule, budget and ALLR's damage to choose."""

    budgets = (0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0)

    def show_one(dense: str, budget: float, damage: float) -> View:
        return short(Settings(budget=budget, dense=dense, damage=damage))

    return Page(
        "schedules",
        "The schedules as curves",
        ["A retraining schedule is a curve: which learning rate each step uses. Nothing has to be trained to see it."],
        [
            Control("Dense schedule", [(n, n) for n in DENSE_SCHEDULES], DENSE_SCHEDULES.index("multistep"), True),
            Control("Budget (share of the dense run)", writing.shares(budgets), 2),
            Control("ALLR's damage d1", [(f"{d:g}", d) for d in (0.0, 0.25, 0.5, 0.75, 1.0)], 3),
        ],
        [],
        show_one,
    )
