"""What `first_look` shows, without its widgets: the numbers, the sentences and the pictures of a collapse and a recovery."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from retrainlab.checks import BadInput
from retrainlab.config import Prune, Recipe
from retrainlab.device import repeatable, resolve
from retrainlab.explore.kit import chart, phrases
from retrainlab.explore.kit.phrases import percent
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.stages import Dense, prepare, train_dense
from retrainlab.study.store import Store
from retrainlab.training import cycles, masked
from retrainlab.training.loop import evaluate
from retrainlab.training.state import Point

WIDTH, HEIGHTS = 560, (330, 430)
KEPT = 8  # attempts that stay in the picture

# ---- the numbers -----------------------------------------------------------------------------------------------------


def dense_network(
    recipe: Recipe, store: Store, device: str, on_point: Callable[[Point], None], stop: Callable[[], bool]
) -> Dense:
    """The trained network, from the store that the figures use or else trained now and stored there if that is whole
    and the store can be written. Raises BadInput for one that has diverged."""
    results = Results.at(store)
    dense = results.dense(recipe, resolve(device))
    if dense is None:
        dense = train_dense(recipe, device, on_point, stop)
        if not stop():
            try:
                results.put(recipe, dense)
            except BadInput:
                pass  # a store that is only read, as on a shared machine: it is trained again next time
    if dense.result.outcome:
        raise BadInput(f"There is no trained network to show ({dense.result.outcome}); choose another seed or network.")
    return dense


def coarse_to_fine() -> list[int]:
    """Every sparsity from 0 to 99 %: the 25 multiples of four first, so that the curve is soon seen whole."""
    return sorted(range(100), key=lambda s: (s % 4 > 0, s))


def collapse(
    recipe: Recipe, dense: Dense, device: str, sparsities: Sequence[int], allocation: str = "global"
) -> Iterator[tuple[int, float]]:
    """(sparsity in percent, validation accuracy straight after pruning the network to it, as a share), one by one."""
    where = resolve(device)
    with repeatable(where):
        setup, _ = prepare(recipe, where)
        model, data = setup.model, setup.data
        for percentage in sparsities:
            masks = cycles.prune_state(
                dense.state, Prune(percentage / 100, allocation=allocation), setup.prunable, 0, recipe.seed
            )
            state = masked.apply(dense.state, masks)
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
        if self.points and math.isnan(self.points[-1][1]):
            end, early = "diverged", ""
        else:
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
    """A finished or stopped retraining in words, or one that has diverged."""
    s, retrain = result.scalars, result.config["retrain"]
    if result.outcome:
        return (
            f"{percent(s['dense_validation_accuracy'])} → {percent(s['pruned_validation_accuracy'])} by pruning → "
            f"{result.outcome}, with {retrain['schedule']}. Choose another schedule."
        )
    share = f"{100 * retrain['budget']:g} % of the dense run"
    steps = f"{s['steps']} of {planned} steps (stopped early)" if s["stopped"] else f"{s['steps']} steps ({share})"
    return (
        f"{percent(s['dense_validation_accuracy'])} → {percent(s['pruned_validation_accuracy'])} by pruning → "
        f"{percent(s['validation_accuracy'])} after {steps} with {retrain['schedule']}. "
        f"Checked: {percent(s['sparsity_achieved'])} of the weights are still exactly 0."
    )


# ---- the pictures ----------------------------------------------------------------------------------------------------


def collapse_chart(accuracies: dict[int, float], dense: float, sparsity: int) -> dict:
    """Validation accuracy straight after pruning against sparsity, with a marker. accuracies: shares by sparsity in
    percent, those known so far; dense: before pruning."""
    known = sorted(accuracies)
    marks = [
        *([chart.level(100 * dense, f"dense: {percent(dense)}")] if accuracies else []),
        chart.line(known, [100 * accuracies[s] for s in known], {"color": chart.BLUE}, width=2.4),
        chart.cut(sparsity, color=chart.RED),
    ]
    if sparsity in accuracies:
        marks.append(chart.point(sparsity, 100 * accuracies[sparsity], {"color": chart.RED}))
    frame = {"xlabel": "Weights removed (%)", "ylabel": "Validation accuracy (%)"}
    alt = collapse_alt(accuracies, dense, sparsity)
    return chart.chart([chart.panel(marks, x=(0, 100), y=(0, 108), **frame)], alt, width=WIDTH, height=HEIGHTS[0])


def attempts_chart(attempts: Sequence[Attempt], dense: float, zoom: bool = False) -> dict:
    """Validation accuracy against retraining step: the last attempt bold, those before thin. dense: the accuracy before
    pruning, as a share; zoom: show only the 15 points below it."""
    attempts = attempts[-KEPT:]
    marks, legend = [chart.level(100 * dense)], []
    for attempt in attempts:
        last, look = attempt is attempts[-1], chart.schedule(attempt.schedule)
        steps, shares = [s for s, _ in attempt.points], [100 * share for _, share in attempt.points]
        marks.append(chart.line(steps, shares, look, width=3 if last else 1.3, opacity=1 if last else 0.7))
        legend.append((attempt.label, look))
    y = (100 * dense - 15, 100 * dense + 1) if zoom else (0, 108)
    x = (0, max((a.planned for a in attempts), default=100))
    panel = chart.panel(marks, x=x, y=y, xlabel="Retraining step", ylabel="Validation accuracy (%)")
    return chart.chart([panel], attempts_alt(attempts), width=WIDTH, height=HEIGHTS[1], legend=legend)


def collapse_alt(accuracies: dict[int, float], dense: float, sparsity: int) -> str:
    """The first picture in words, from its numbers; accuracies are shares by sparsity in percent."""
    if not accuracies:
        return "An empty frame for validation accuracy straight after pruning: the trained network is not there yet."
    some = [s for s in (0, 20, 40, 60, 80, 90, 99, sparsity) if s in accuracies]
    pairs = ", ".join(f"{percent(accuracies[s])} at {s} %" for s in sorted(set(some)))
    return f"Validation accuracy straight after pruning against weights removed: {pairs}. Dense: {percent(dense)}."


def attempts_alt(attempts: Sequence[Attempt]) -> str:
    """The second picture in words, from its numbers."""
    lines = [f"{a.label}, from {percent(a.points[0][1])}" for a in attempts[-KEPT:] if a.points]
    listed = "; ".join(lines) or "nothing has been retrained yet"
    return f"Validation accuracy against retraining step, a line for each attempt (schedule, budget at sparsity): {listed}."


def attempts_csv(attempts: Sequence[Attempt]) -> str:
    """The points of every attempt."""
    rows = [
        f"{a.schedule},{a.sparsity},{a.budget:g},{step},{phrases.digits(share)}"
        for a in attempts
        for step, share in a.points
    ]
    return "\n".join(["schedule,sparsity_percent,budget,step,validation_accuracy", *rows, ""]) if rows else ""


def attempts_code(recipe: Recipe, attempts: Sequence[Attempt]) -> str:
    """The attempts as Python."""
    plans = [
        f"    Experiment(recipe, Prune({a.sparsity / 100!r}), Retrain({a.schedule!r}, {a.budget!r}))," for a in attempts
    ]
    return phrases.python(
        recipe, "frame = study.run_study([", *plans, "])", "print(frame[['schedule', 'test_accuracy']])"
    )
