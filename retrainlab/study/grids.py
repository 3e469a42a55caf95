"""Every combination of seeds, sparsities, budgets and schedules as a list of experiments."""

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise, product
from numbers import Integral

from retrainlab.checks import BadInput, check_number, listed, plain
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.methods.knobs import at


def grid(
    recipe: Recipe,
    *,
    sparsities: Iterable[float],
    budgets: Iterable[float],
    schedules: Iterable[str | Retrain],
    seeds: Iterable[int] | int = 5,
    prune: Prune = Prune(),
    evaluations: int = 5,
) -> list[Experiment]:
    """Every combination of the lists, each once, as experiments.

    Of each list one value alone may be given. schedules: names, or Retrain objects whose budget is replaced. seeds: their
    numbers, or how many. A method that is told its sparsity is told each of the sparsities.
    """
    seeds = plain(seeds)
    if isinstance(seeds, Integral):
        check_number(seeds, "number of seeds", low=0, whole=True)
        seeds = range(seeds)
    seeds, sparsities = listed(seeds, int, "grid's seeds"), listed(sparsities, float, "grid's sparsities")
    budgets, schedules = listed(budgets, float, "grid's budgets"), listed(schedules, str | Retrain, "grid's schedules")
    check_apart("sparsities", sparsities)
    check_apart("budgets", budgets)
    plans = [Retrain(s) if isinstance(s, str) else s for s in schedules]
    methods = {s: at(recipe.method, s) for s in sparsities}
    recipes = {
        (seed, method): replace(recipe, seed=seed, method=method) for seed in seeds for method in methods.values()
    }
    prunes = {s: replace(prune, sparsity=s) for s in sparsities}
    retrains = [replace(plan, budget=b) for b, plan in product(budgets, plans)]
    every = (
        Experiment(recipes[seed, methods[s]], prunes[s], retrain, evaluations)
        for seed, s, retrain in product(seeds, sparsities, retrains)
    )
    return list(dict.fromkeys(every))  # a repeated seed is no further replication


def check_apart(what: str, values: Iterable[float]) -> None:
    """Raise BadInput if two of the values are nearly, but not quite, the same. what: they are."""
    distinct = sorted(set(values))
    if any(b - a < 1e-6 for a, b in pairwise(distinct)):
        raise BadInput(f"Two of the {what} differ by less than a millionth: {distinct}; give each once.")


def dense(recipe: Recipe, *, schedules: Iterable[str], budgets: Iterable[float], seeds: int = 5) -> list[Experiment]:
    """Dense training alone, neither pruned nor retrained, with every schedule within every budget, each once.

    schedules: names of `config.DENSE_SCHEDULES`, each compressed into the budget. budgets: shares of the recipe's epochs,
    above 0; epochs are whole, so that a budget is rounded up, and two that are close together may be one. All runs of a
    seed start from the same weights and see the same batches in the same order (Li, Yumer & Ramanan 2020).
    """
    budgets, schedules = listed(budgets, float, "dense's budgets"), listed(schedules, str, "dense's schedules")
    check_number(seeds, "number of seeds", low=1, whole=True)
    for budget in budgets:
        check_number(budget, "budget of dense training (share of the recipe's epochs)", above=0)
    every = (
        Experiment(replace(recipe, epochs=epochs, schedule=name, seed=seed), Prune(0.0), Retrain(budget=0.0))
        for seed, epochs, name in product(range(seeds), [whole_epochs(recipe, b) for b in budgets], schedules)
    )
    return list(dict.fromkeys(every))


def whole_epochs(recipe: Recipe, budget: float) -> int:
    """The budget, a share of the recipe's epochs, rounded up to whole epochs."""
    return max(1, math.ceil(round(budget * recipe.epochs, 6)))
