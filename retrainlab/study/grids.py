"""Every combination of seeds, sparsities, budgets and schedules as a list of experiments."""

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
    for what, values in (("sparsities", sparsities), ("budgets", budgets)):
        distinct = sorted(set(values))
        if any(b - a < 1e-6 for a, b in pairwise(distinct)):
            raise BadInput(f"Two of the {what} differ by less than a millionth: {distinct}; give each once.")
    plans = [Retrain(s) if isinstance(s, str) else s for s in schedules]
    every = (
        Experiment(
            replace(recipe, seed=seed, method=at(recipe.method, s)),
            replace(prune, sparsity=s),
            replace(plan, budget=b),
            evaluations,
        )
        for seed, s, b, plan in product(seeds, sparsities, budgets, plans)
    )
    return list(dict.fromkeys(every))  # a repeated seed is no further replication
