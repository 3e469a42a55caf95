"""Reach a sparsity that only a knob decides: a bracketed search in which every run is an ordinary, stored result.

A method with a `Knob` in `methods.table` has no target of its own. Sparsity rises with the knob; the search brackets the
target, then interpolates. All experiments search at once, so that their runs train together; what was tried is in the
store, and the same search made again trains nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pandas as pd

from retrainlab.checks import BadInput, check_number, listed
from retrainlab.config import Experiment, Recipe
from retrainlab.methods.knobs import Knob, having
from retrainlab.methods.table import SEARCHED, entry

Tried = Sequence[tuple[float, float]]
"""(knob, sparsity) of the runs so far that have not diverged."""


FALL = 0.05  # in the logit: what is less is noise
WIDE = 4  # knobs that are tried at once where sparsity does not rise steadily
COLUMNS = ["method", "seed", "sparsity", "knob", "sparsity_trained", "runs", "epochs", "reached"]


def following(tried: Tried, target: float, knob: Knob) -> float:
    """The knob to try next, by a line in the logit of the sparsity: between the first neighbours that bracket the target
    (sparsity may fall again beyond), kept off both by a tenth (halfway, after 8 runs); halfway between neighbours before
    them whose sparsity falls although it should rise, for they hide a peak; or onward from the last, one step at most."""
    points, goal, step = _scaled(tried, knob), _logit(target), knob.stride
    for (a, low), (b, high) in pairwise(points):
        if low < goal <= high:
            share = 0.5 if len(points) > 8 else min(max((goal - low) / (high - low), 0.1), 0.9)
            return knob.value(a + (b - a) * share)
        if high + FALL < low < goal and b - a > step / 8:
            return knob.value((a + b) / 2)
    upward = points[-1][1] < goal
    (a, low), (b, high) = (points[-2:] if upward else points[:2]) if len(points) > 1 else points * 2
    slope = (high - low) / (b - a) if b > a else 0.0
    way = abs(goal - (high if upward else low)) / slope if slope > 0 else step
    way = min(max(way, step / 4), step)
    return knob.value(b + way if upward else a - way)


def proposals(tried: Tried, target: float, knob: Knob) -> list[float]:
    """The knobs to try next: that of `following`; and, if sparsity has fallen where it should rise, the middles of the
    gaps whose better end is nearest to the target, up to WIDE knobs. There it jumps, and any run may hit."""
    gaps, goal = list(pairwise(_scaled(tried, knob))), _logit(target)
    steady = not any(high + FALL < low for (_, low), (_, high) in gaps)
    near = sorted(
        (min(abs(goal - low), abs(goal - high)), a, b) for (a, low), (b, high) in gaps if b - a > knob.stride / 32
    )
    middles = [] if steady else [knob.value((a + b) / 2) for _, a, b in near]
    return list(dict.fromkeys([following(tried, target, knob), *middles]))[:WIDE]


def _scaled(tried: Tried, knob: Knob) -> list[tuple[float, float]]:
    """The runs in order, on the scales of the search: knob, and logit of the sparsity."""
    return sorted((knob.scale(value), _logit(sparsity)) for value, sparsity in tried)


def _logit(share: float) -> float:
    share = min(max(share, 1e-4), 1 - 1e-4)
    return math.log(share / (1 - share))


def reach(
    experiments: Sequence[Experiment],
    study: Callable[[list[Experiment]], pd.DataFrame],
    *,
    tolerance: float = 0.005,
    most: int = 8,
) -> tuple[list[Experiment], pd.DataFrame]:
    """Turn each experiment's knob until its training alone leaves `prune.sparsity` of the weights at 0.

    experiments: with a method that has a knob; its settings are the first try. Those that differ in nothing but the
    knob and the sparsity they seek are trained alike, and so search in common: what one has tried, all know.
    study: runs a list of experiments and returns a row for each, `run_study` with its options.
    tolerance: how far the sparsity may be off, a share. most: rounds of runs, at least 1.
    Returns the experiments with their final knobs, and a row for each: method, seed, sparsity (asked), knob,
    sparsity_trained (that of the training alone), runs and epochs (of training, its equal share of the common search),
    reached (whether within the tolerance). A run that has diverged is never the one that is found, unless all have:
    sparsity_trained is NaN then. Raises BadInput for another method.
    """
    experiments = listed(experiments, Experiment, "reach's experiments")
    check_number(tolerance, "tolerance of the search", above=0, high=0.5)
    check_number(most, "most rounds of a search", low=1, whole=True)
    alike = [with_knob(e, knob_of(e.recipe).low).recipe for e in experiments]
    together = {recipe: [e for e, other in zip(experiments, alike) if other == recipe] for recipe in alike}
    tried: dict[Recipe, dict[float, float]] = {recipe: {} for recipe in together}
    for _ in range(most):
        runs: dict[tuple[Recipe, float], Experiment] = {}
        for e, recipe in zip(experiments, alike):
            known = tried[recipe]
            if not known:
                values = _first(e, together[recipe])
            elif _closest(known, e)[1] > tolerance:
                values = _next(known, e.prune.sparsity, knob_of(recipe))
            else:
                values = []
            for value in values:
                if value not in known:
                    runs.setdefault((recipe, value), with_knob(e, value))
        if not runs:
            break
        frame = study(list(runs.values()))
        for (recipe, value), sparsity in zip(runs, frame["trained_sparsity"].astype(float)):
            tried[recipe][value] = sparsity
    rows, found = [], []
    for e, recipe in zip(experiments, alike):
        known = tried[recipe]
        value, miss = _closest(known, e)
        found.append(with_knob(e, value))
        runs_each = len(known) / len(together[recipe])
        said = (recipe.method.name if recipe.method else "", recipe.seed, e.prune.sparsity)
        rows.append((*said, value, known[value], runs_each, runs_each * recipe.epochs, miss <= tolerance))
    return found, pd.DataFrame(rows, columns=COLUMNS)


def _first(e: Experiment, together: Sequence[Experiment]) -> list[float]:
    """The knob given; and, if all who search in common (`together`) give the same, its neighbours on both sides."""
    knob = knob_of(e.recipe)
    value = getattr(e.recipe.method, knob.field)
    if any(getattr(x.recipe.method, knob.field) != value for x in together):
        return [value]
    return [value, *(knob.value(knob.scale(value) + way * knob.stride) for way in (-1, 1))]


def _next(tried: dict[float, float], target: float, knob: Knob) -> list[float]:
    """The knobs to try next, from the runs that have not diverged; in place of one that did, the middle between it and the
    nearest of those. None if all have diverged: nothing tells then where to look."""
    known = {value: sparsity for value, sparsity in tried.items() if not math.isnan(sparsity)}
    out = []
    for value in proposals(list(known.items()), target, knob) if known else ():
        if value in tried and value not in known:
            at = knob.scale(value)
            value = knob.value((at + min((knob.scale(v) for v in known), key=lambda v: abs(v - at))) / 2)
        out.append(value)
    return out


def _closest(tried: dict[float, float], e: Experiment) -> tuple[float, float]:
    """(knob, how far its sparsity was off) of the best run; infinitely far for one that has diverged."""
    miss = {v: math.inf if math.isnan(s) else abs(s - e.prune.sparsity) for v, s in tried.items()}
    value = min(miss, key=lambda v: miss[v])
    return value, miss[value]


def searched(recipe: Recipe) -> bool:
    """Whether the recipe's method reaches a sparsity only by a search."""
    return recipe.method is not None and entry(recipe.method).knob is not None


def knob_of(recipe: Recipe) -> Knob:
    """What a search turns of the recipe's method. Raises BadInput if it has no knob."""
    knob = entry(recipe.method).knob if recipe.method else None
    if knob is None:
        raise BadInput(f"Only {', '.join(SEARCHED)} reach a sparsity by a search, not {recipe.method}; leave it out.")
    return knob


def with_knob(experiment: Experiment, value: float) -> Experiment:
    """The experiment with another value of its method's knob."""
    recipe, field = experiment.recipe, knob_of(experiment.recipe).field
    return replace(experiment, recipe=replace(recipe, method=having(recipe.method, field, value)))
