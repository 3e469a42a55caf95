"""The retraining schedules as curves that follow sliders. Nothing is trained: a schedule is a curve in closed form.

`Settings` -> `compute` -> `Curves` -> `Plot.draw` and `words`; `Explorer` ties these to widgets.
"""

import math
import threading
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from retrainlab import plots, schedules
from retrainlab.config import DENSE_SCHEDULES, FREE_SCHEDULES, NAMED_SCHEDULES
from retrainlab.errors import BadInput, check_number
from retrainlab.explore import parts
from retrainlab.schedules import Original

WIDTH, HEIGHT = 920, 400
NO_FREE = "none"
FREE = tuple(name for name in FREE_SCHEDULES if name != "custom")
_FREE_STYLE = {"color": "#de8f05", "linestyle": (0, (3, 1, 1, 1, 1, 1)), "marker": "*"}


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
        check_number(self.budget, "budget (share of the dense run)", above=0, high=1)
        check_number(self.damage, "damage d1", low=0, high=1)
        check_number(self.peak, "peak learning rate", above=0)
        check_number(self.free_lr, "initial value of the free curve", above=0)
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

    original: Original
    retraining: dict[str, Tensor]
    d: float
    plateau: int


def compute(settings: Settings) -> Curves:
    """All curves. Raises BadInput where a setting makes no sense."""
    s = settings
    original = schedules.dense(s.dense, s.epochs * s.steps_per_epoch, s.peak)
    d = schedules.allr_factor(s.damage, 1.0, s.budget)
    curves = {
        name: schedules.retraining(name, original, s.steps, d=d, warmup=s.warmup, shape=s.ramp)
        for name in NAMED_SCHEDULES
    }
    if s.free != NO_FREE:
        curves[s.free] = schedules.retraining(s.free, original, s.steps, lr=s.free_lr, warmup=s.warmup, shape=s.ramp)
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


class Plot:
    """One figure with two panels; `draw` moves its lines. Not for two threads at once."""

    def __init__(self) -> None:
        self.canvas = parts.Canvas(WIDTH, HEIGHT, strip=(0, 0.895, 1, 0.105))
        figure = self.canvas.figure
        place = {"left": 0.085, "right": 0.985, "bottom": 0.135, "top": 0.815, "wspace": 0.09}
        self.left, self.right = figure.subplots(1, 2, gridspec_kw=place)
        parts.plain(self.left, "Epoch of the dense run", "Learning rate")
        parts.plain(self.right, "Epoch of retraining").tick_params(labelleft=False)
        (self.dense,) = self.left.plot([], [], color="0.15", linewidth=2)
        self.end = Rectangle((0, 0), 0, 1, transform=self.left.get_xaxis_transform(), color="0.9")
        self.left.add_patch(self.end)
        styles = {name: plots.style(name) for name in NAMED_SCHEDULES} | {NO_FREE: _FREE_STYLE}
        self.lines = {}
        for name, look in styles.items():
            width = 3 if name in ("FT", "LLR") else 2  # the broad ones show behind those that can cover them
            (self.lines[name],) = self.right.plot([], [], **look | {"markersize": 6, "linewidth": width})
        self.log: bool | None = None

    def draw(self, settings: Settings, curves: Curves, shown: tuple[str, ...], log: bool) -> bytes:
        """The picture as PNG; shown: names of the retraining schedules to draw."""
        per_epoch = settings.steps_per_epoch
        self.dense.set_data(*stairs(curves.original.lr, per_epoch))
        length = settings.steps / per_epoch
        self.end.set(x=settings.epochs - length, width=length)
        self.left.set_xlim(0, settings.epochs)
        self.right.set_xlim(0, length)
        self.left.title.set_text(f"Dense run; grey: its last {length:.3g} epochs")
        self.right.title.set_text(f"Retraining for {length:.3g} epochs ({100 * settings.budget:g} %)")
        top, legend = curves.original.peak, []
        for place, (name, line) in enumerate(self.lines.items()):
            name = settings.free if name == NO_FREE else name
            line.set_visible(name in shown and name in curves.retraining)
            if line.get_visible():
                curve = curves.retraining[name]
                top = max(top, curve.max().item())
                line.set_data(*stairs(curve, per_epoch))
                every = max(2, 2 * (len(curve) // 7))
                line.set_markevery((2 * (len(curve) * place // 50), every))  # staggered, so that none hides another
                legend.append((line, name))
        self._scale(ceiling(top), log)
        return self.canvas.png(legend, ncols=7)

    def _scale(self, top: float, log: bool) -> None:
        for axes in (self.left, self.right):
            if log != self.log:
                axes.set_yscale("log" if log else "linear")
                axes.tick_params(which="minor", left=False)
                if not log:
                    axes.yaxis.set_major_locator(MaxNLocator(5))
            axes.set_ylim(top / 5000 if log else 0, top)
        self.log = log


def stairs(curve: Tensor, per_epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the step function that holds value i from iteration i to i + 1; x in epochs, two points a step."""
    n = len(curve)
    return np.repeat(np.arange(n + 1), 2)[1:-1] / per_epoch, np.repeat(curve.numpy(), 2)


class Explorer:
    """The widgets. Every change reads them all, draws, and says what is seen."""

    def __init__(self, epochs: int = 30, steps_per_epoch: int = 31, log: bool = False):
        self.fixed = {"epochs": epochs, "steps_per_epoch": steps_per_epoch}
        Settings(**self.fixed)  # BadInput now rather than in a callback
        self.lock = threading.Lock()
        self.plot = Plot()
        self.budget = parts.number("Budget (% of dense run)", 10.0, 0.5, 100.0, 0.5)
        self.peak = parts.number("Peak learning rate", 0.1, 0.001, 1.0, 0.05, log=True)
        self.warmup = parts.number("Warm-up (% of budget)", 10, 0, 50, 1)
        self.damage = parts.number("ALLR's damage d1", 0.75, 0.0, 1.0, 0.01)
        self.free_lr = parts.number("Free curve starts at", 0.1, 0.001, 1.0, 0.05, log=True)
        self.dense = parts.choice("Dense schedule", DENSE_SCHEDULES, "multistep")
        self.ramp = parts.choice("Warm-up ramp", ("linear", "cosine"), "linear")
        self.free = parts.choice("Free curve", (NO_FREE, *FREE), NO_FREE)
        self.axis = parts.choice("Learning-rate axis", (("linear", False), ("logarithmic", True)), log)
        small = {"indent": False, "layout": widgets.Layout(width="auto", margin="0 14px 0 0")}
        self.boxes = {name: widgets.Checkbox(True, description=name, **small) for name in NAMED_SCHEDULES}
        self.picture, self.status = parts.Picture(WIDTH, HEIGHT), parts.Status()
        numbers = (self.budget, self.peak, self.warmup, self.damage, self.free_lr)
        column = widgets.Layout(flex="1 1 28em", min_width="20em", max_width="38em", margin="0 16px 0 0")
        controls = widgets.HBox(
            [
                widgets.VBox([n.row for n in numbers], layout=column),
                widgets.VBox([self.dense, self.ramp, self.free, self.axis], layout=column),
            ],
            layout=widgets.Layout(flex_flow="row wrap"),
        )
        show = widgets.HBox([parts.title("Show"), *self.boxes.values()])
        show.layout = widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 14px")
        self.box = parts.app("curves", [controls, show, self.picture, self.status])
        for widget in (*(n.slider for n in numbers), self.dense, self.ramp, self.free, self.axis, *self.boxes.values()):
            widget.observe(self.redraw, names="value")
        self.redraw()

    def settings(self) -> Settings:
        return Settings(
            budget=self.budget.value / 100,
            dense=self.dense.value,
            peak=self.peak.value,
            warmup=self.warmup.value / 100,
            ramp=self.ramp.value,
            damage=self.damage.value,
            free=self.free.value,
            free_lr=self.free_lr.value,
            **self.fixed,
        )

    def redraw(self, _change=None) -> None:
        with self.lock:
            try:
                settings = self.settings()
                curves = compute(settings)
            except BadInput as error:
                self.status.say(str(error))
                return
            shown = (*(name for name, box in self.boxes.items() if box.value), settings.free)
            self.picture.set(self.plot.draw(settings, curves, shown, self.axis.value), alt(settings, curves, shown))
            self.status.say(words(settings, curves))

    def close(self) -> None:
        self.box.close()


def show(epochs: int = 30, steps_per_epoch: int = 31, log: bool = False) -> None:
    """Display the explorer for a dense run of `epochs` times `steps_per_epoch` iterations; log: start on a log axis."""
    parts.present("curves", Explorer(epochs, steps_per_epoch, log))
