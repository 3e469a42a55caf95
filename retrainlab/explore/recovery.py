"""What `first_look` shows, without its widgets: the numbers, the sentences and the pictures of a collapse and a recovery."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retrainlab import plan, plots
from retrainlab.config import Prune, Recipe
from retrainlab.device import repeatable, resolve
from retrainlab.errors import BadInput
from retrainlab.experiment import Dense, setting, train_dense
from retrainlab.explore import parts
from retrainlab.explore.parts import percent
from retrainlab.methods import imp
from retrainlab.result import Result
from retrainlab.sources import fingerprint
from retrainlab.store import Store
from retrainlab.training import Point, evaluate

WIDTH, HEIGHTS = 560, (330, 430)
KEPT = 8  # attempts that stay in the picture

# ---- the numbers -----------------------------------------------------------------------------------------------------


def dense_network(
    recipe: Recipe, store: Store, device: str, on_point: Callable[[Point], None], stop: Callable[[], bool]
) -> Dense:
    """The trained network, from the store that the figures use or else trained now and stored there if that is whole
    and the store can be written."""
    name = plan.dense_key(recipe, fingerprint(recipe.data, recipe.image_size))
    dense = store.dense(name, resolve(device))
    if dense is None:
        dense = train_dense(recipe, device, on_point, stop)
        if not stop():
            try:
                store.put_dense(name, dense)
            except BadInput:
                pass  # a store that is only read, as on a shared machine: it is trained again next time
    return dense


def coarse_to_fine() -> list[int]:
    """Every sparsity from 0 to 99 %: the 25 multiples of four first, so that the curve is soon seen whole."""
    return sorted(range(100), key=lambda s: (s % 4 > 0, s))


def collapse(recipe: Recipe, dense: Dense, device: str, sparsities: Sequence[int]) -> Iterator[tuple[int, float]]:
    """(sparsity in percent, validation accuracy straight after pruning the network to it, as a share), one by one."""
    where = resolve(device)
    with repeatable(where):
        setup, _ = setting(recipe, where)
        model, data = setup.model, setup.data
        for percentage in sparsities:
            masks = imp.prune_state(dense.state, Prune(percentage / 100), setup.prunable, 0, recipe.seed)
            state = imp.apply(dense.state, masks)
            yield percentage, evaluate(model, state.params, state.buffers, data, data.validation)[0]


@dataclass(frozen=True)
class Attempt:
    """One retraining: its plan (sparsity in percent, budget as a share, planned steps), the points (step, accuracy as a
    share) so far, and whether it goes on."""

    schedule: str
    sparsity: int
    budget: float
    planned: int
    points: tuple[tuple[int, float], ...] = ()
    running: bool = True

    @property
    def label(self) -> str:
        end = "..." if self.running or not self.points else percent(self.points[-1][1])
        early = "" if self.running or not self.points or self.points[-1][0] == self.planned else ", stopped"
        return f"{self.schedule}, {100 * self.budget:g} % at {self.sparsity} %: {end}{early}"

    @property
    def plan(self) -> tuple:
        return self.schedule, self.sparsity, self.budget


def check_sparsity(result: Result, sparsity: float, weights: int) -> None:
    """Raise AssertionError unless exactly round(sparsity * weights) weights ended at 0."""
    achieved = result.scalars["sparsity_achieved"]
    zeros, wanted = round(achieved * weights), round(sparsity * weights)
    if zeros != wanted:
        raise AssertionError(f"{zeros} of {weights} weights are 0 at the end, not {wanted}")


# ---- the sentences ---------------------------------------------------------------------------------------------------


def pruned_words(sparsity: int, weights: int, dense: float, accuracy: float, classes: int) -> str:
    """What pruning to `sparsity` percent leaves, and does; accuracies are shares."""
    removed = round(sparsity / 100 * weights)
    left = weights - removed
    ratio = f", about 1 in {weights / left:.3g}" if sparsity >= 50 else ""
    text = f"{left:,} of {weights:,} weights are left ({100 - sparsity} %{ratio}). Validation accuracy "
    if round(1000 * accuracy) == round(1000 * dense):
        return text + f"is what it was: {percent(accuracy)}."
    guess = f", no better than guessing one of {classes} classes" if accuracy < 1.3 / classes else ""
    return text + f"goes from {percent(dense)} to {percent(accuracy)}{guess}."


def outcome_words(result: Result, planned: int) -> str:
    """A finished or stopped retraining in words."""
    s, retrain = result.scalars, result.config["retrain"]
    share = f"{100 * retrain['budget']:g} % of the dense run"
    steps = f"{s['steps']} of {planned} steps (stopped early)" if s["stopped"] else f"{s['steps']} steps ({share})"
    return (
        f"{percent(s['dense_validation_accuracy'])} → {percent(s['pruned_validation_accuracy'])} by pruning → "
        f"{percent(s['validation_accuracy'])} after {steps} with {retrain['schedule']}. "
        f"Checked: {percent(s['sparsity_achieved'])} of the weights are still exactly 0."
    )


# ---- the pictures ----------------------------------------------------------------------------------------------------


class CollapsePlot:
    """Validation accuracy straight after pruning against sparsity, with a marker. Not for two threads at once."""

    def __init__(self) -> None:
        self.canvas = parts.Canvas(WIDTH, HEIGHTS[0])
        place = {"left": 0.135, "right": 0.97, "bottom": 0.16, "top": 0.95}
        axes = self.canvas.figure.subplots(gridspec_kw=place)
        parts.plain(axes, "Weights removed (%)", "Validation accuracy (%)").set(xlim=(0, 100), ylim=(0, 108))
        self.level = axes.axhline(100, **plots.LEVEL)
        self.name = axes.text(2, 0, "", fontsize=10, va="top")
        (self.curve,) = axes.plot([], [], color="#0173b2", linewidth=2.2)
        self.line = axes.axvline(0, color="#d55e00", linewidth=1)
        (self.marker,) = axes.plot([], [], "o", color="#d55e00", markersize=10)

    def draw(self, accuracies: dict[int, float], dense: float, sparsity: int) -> bytes:
        """accuracies: shares by sparsity in percent, those known so far."""
        known = sorted(accuracies)
        self.curve.set_data(known, [100 * accuracies[s] for s in known])
        self.level.set_ydata([100 * dense] * 2)
        self.name.set(text=f"dense: {percent(dense)}", y=100 * dense - 2)
        self.line.set_xdata([sparsity] * 2)
        here = [sparsity] if sparsity in accuracies else []
        self.marker.set_data(here, [100 * accuracies[s] for s in here])
        return self.canvas.png()


class AttemptsPlot:
    """Validation accuracy against retraining step: the last attempt bold, those before thin."""

    def __init__(self) -> None:
        self.canvas = parts.Canvas(WIDTH, HEIGHTS[1], strip=(0, 0, 1, 0.26))
        place = {"left": 0.135, "right": 0.97, "bottom": 0.38, "top": 0.96}
        self.axes = self.canvas.figure.subplots(gridspec_kw=place)
        parts.plain(self.axes, "Retraining step", "Validation accuracy (%)")
        self.level = self.axes.axhline(100, **plots.LEVEL)
        self.lines = [self.axes.plot([], [])[0] for _ in range(KEPT)]

    def draw(self, attempts: Sequence[Attempt], dense: float, zoom: bool = False) -> bytes:
        """dense: the accuracy before pruning, as a share; zoom: show only the 15 points below it."""
        self.axes.set_ylim((100 * dense - 15, 100 * dense + 1) if zoom else (0, 108))
        self.level.set_ydata([100 * dense] * 2)
        attempts = attempts[-KEPT:]
        legend = []
        for line in self.lines:
            line.set_data([], [])
        for line, attempt in zip(self.lines, attempts):
            last = attempt is attempts[-1]
            line.set(**plots.style(attempt.schedule) | {"linewidth": 2.8 if last else 1.2})
            line.set(markersize=6 if last else 4, markevery=max(1, len(attempt.points) // 8))
            line.set_data([step for step, _ in attempt.points], [100 * share for _, share in attempt.points])
            legend.append((line, attempt.label))
        self.axes.set_xlim(0, max((a.planned for a in attempts), default=100))
        return self.canvas.png(
            legend,
            ncols=2,
            fontsize=8.5,
            title_fontsize=8.5,
            title="schedule, budget at sparsity: accuracy",
            handlelength=2.6,
        )


def collapse_alt(accuracies: dict[int, float], dense: float, sparsity: int) -> str:
    """The first picture in words, from its numbers; accuracies are shares by sparsity in percent."""
    some = [s for s in (0, 20, 40, 60, 80, 90, 99, sparsity) if s in accuracies]
    pairs = ", ".join(f"{percent(accuracies[s])} at {s} %" for s in sorted(set(some)))
    return f"Validation accuracy straight after pruning against weights removed: {pairs}. Dense: {percent(dense)}."


def attempts_alt(attempts: Sequence[Attempt]) -> str:
    """The second picture in words, from its numbers."""
    lines = [f"{a.label}, from {percent(a.points[0][1])}" for a in attempts[-KEPT:] if a.points]
    listed = "; ".join(lines) or "nothing has been retrained yet"
    return f"Validation accuracy against retraining step, a line for each attempt (schedule, budget at sparsity): {listed}."
