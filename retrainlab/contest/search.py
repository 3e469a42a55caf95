"""Reach a sparsity that only a knob decides: a bracketed search in which every run is an ordinary, stored result.

A method with a `Knob` in `methods.table` cannot be told its sparsity, which rises or falls with the knob's value. The
search brackets the target, then interpolates. All experiments search at once, so that their runs train together; what was
tried is in the store, and the same search made again trains nothing.
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

Study = Callable[[list[Experiment]], pd.DataFrame]
"""`study.run_study` with its options: a row for each experiment."""
Tried = Sequence[tuple[float, float]]
"""(value of the knob, sparsity) of the runs so far that have not diverged."""

FALL = 0.05  # in the logit: what is less is noise
WIDE = 4  # values that are tried at once where sparsity does not rise steadily


def following(tried: Tried, target: float, knob: Knob) -> float:
    """The value to try next, on a line in the logit of the sparsity through two of the runs.

    It lies between the first neighbours that bracket the target (sparsity may fall again beyond), at least a tenth of the
    way from both, or halfway after 8 runs; but halfway between neighbours before them whose sparsity falls although it
    should rise, for they may hide a peak. Where nothing brackets the target it lies beyond the last run, by at most a step.
    """
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
    """The values to try next: that of `following`; and, if sparsity has fallen where it should rise, the middles of the
    gaps whose better end is nearest to the target, up to WIDE values. There it jumps, and any run may hit."""
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
    experiments: Sequence[Experiment], study: Study, *, tolerance: float = 0.005, most: int = 8
) -> tuple[list[Experiment], pd.DataFrame]:
    """Turn each experiment's knob until its training alone leaves `prune.sparsity` of the weights at 0.

    experiments: with a method that has a knob; the value in its settings is tried first. Those that differ in nothing but
    that value and the sparsity asked for are trained alike, and so share their runs.
    tolerance: how far the sparsity may be off, a share. most: rounds of runs, at least 1.
    Returns the experiments with the values found, and a row for each: method, seed, sparsity (asked for), knob (the value),
    sparsity_trained (before the hard prune), runs and epochs (of training; shared ones in equal parts), reached (whether
    within the tolerance). A run that has diverged is taken only if all have: sparsity_trained is NaN then.
    Raises BadInput for a method without a knob.
    """
    experiments = listed(experiments, Experiment, "reach's experiments")
    check_number(tolerance, "tolerance of the search", above=0, high=0.5)
    check_number(most, "most rounds of a search", low=1, whole=True)
    alike = [with_knob(e, knob_of(e.recipe).low).recipe for e in experiments]
    sharing = {recipe: [e for e, other in zip(experiments, alike) if other == recipe] for recipe in alike}
    tried: dict[Recipe, dict[float, float]] = {recipe: {} for recipe in sharing}
    for _ in range(most):
        runs: dict[tuple[Recipe, float], Experiment] = {}
        for e, recipe in zip(experiments, alike):
            for value in _next(e, tried[recipe], sharing[recipe], tolerance):
                if value not in tried[recipe]:
                    runs.setdefault((recipe, value), with_knob(e, value))
        if not runs:
            break
        frame = study(list(runs.values()))
        for (recipe, value), sparsity in zip(runs, frame["trained_sparsity"].astype(float)):
            tried[recipe][value] = sparsity
    rows, found = [], []
    for e, recipe in zip(experiments, alike):
        value, miss = _closest(tried[recipe], e)
        found.append(with_knob(e, value))
        made = len(tried[recipe]) / len(sharing[recipe])
        asked = (recipe.method.name if recipe.method else "", recipe.seed, e.prune.sparsity)
        rows.append((*asked, value, tried[recipe][value], made, made * recipe.epochs, miss <= tolerance))
    columns = ["method", "seed", "sparsity", "knob", "sparsity_trained", "runs", "epochs", "reached"]
    return found, pd.DataFrame(rows, columns=columns)


def _next(e: Experiment, tried: dict[float, float], sharing: Sequence[Experiment], tolerance: float) -> list[float]:
    """The values to try next. At first that of the experiment, with a step to both sides if all that share runs have the
    same. Then those of `proposals`, in place of one that has diverged the middle between it and the nearest that has not;
    none if the sparsity is reached, or if all have diverged: nothing tells then where to look."""
    knob = knob_of(e.recipe)
    if not tried:
        value, *others = {getattr(x.recipe.method, knob.field): None for x in [e, *sharing]}
        steps = [] if others else [-knob.stride, knob.stride]
        return [value, *(knob.value(knob.scale(value) + step) for step in steps)]
    known = {value: sparsity for value, sparsity in tried.items() if not math.isnan(sparsity)}
    if not known or _closest(tried, e)[1] <= tolerance:
        return []
    out = []
    for value in proposals(list(known.items()), e.prune.sparsity, knob):
        if value in tried and value not in known:
            at = knob.scale(value)
            value = knob.value((at + min(map(knob.scale, known), key=lambda v: abs(v - at))) / 2)
        out.append(value)
    return out


def _closest(tried: dict[float, float], e: Experiment) -> tuple[float, float]:
    """(value, how far its sparsity was off) of the best run; infinitely far for one that has diverged."""
    miss = {v: math.inf if math.isnan(s) else abs(s - e.prune.sparsity) for v, s in tried.items()}
    return min(miss.items(), key=lambda run: run[1])


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
    recipe = experiment.recipe
    method = having(recipe.method, knob_of(recipe).field, value)
    return replace(experiment, recipe=replace(recipe, method=method))
