"""One change at a time: what retraining is made of, as experiments that differ from their base in one ingredient alone."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from retrainlab.checks import check_number, listed
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain

BASE = "unchanged"  # what the changes are compared with, where the ingredients' names stand
PERP = "only biases and normalisation"
LLR, ALLR, CYCLES = "LLR", "ALLR", "ALLR, 3 cycles"


@dataclass(frozen=True)
class Change:
    """A retraining under the name of its ingredient, and the base that it is compared with."""

    base: str
    ingredient: str
    retrain: Retrain
    cycles: int = 1


def changes(sgd: SGD) -> tuple[Change, ...]:
    """The three bases, each followed by its changes; sgd: the recipe's, which retraining takes too unless it is changed.

    Warm-up (ALLR's authors have 10 %, in their code as a cosine), the dense run's momentum, BatchNorm's statistics,
    weight decay, all weights or biases and normalisation alone (PERP, Zimmer et al. 2023); and ALLR's norm and cycles.
    """
    llr, allr = Retrain(LLR), Retrain(ALLR)
    decay = sgd.weight_decay
    return (
        Change(LLR, BASE, llr),
        *(Change(LLR, f"warm-up {100 * share:g} %", replace(llr, warmup=share)) for share in (0.0, 0.05, 0.2, 0.4)),
        Change(LLR, "warm-up as a cosine", replace(llr, ramp="cosine")),
        Change(LLR, "momentum of the dense run", replace(llr, optimizer="keep")),
        Change(LLR, "BatchNorm recalibrated", replace(llr, recalibrate=True)),
        Change(LLR, "weight decay 0", replace(llr, sgd=replace(sgd, weight_decay=0.0))),
        Change(LLR, "weight decay 5 times", replace(llr, sgd=replace(sgd, weight_decay=5 * decay))),
        Change(LLR, PERP, replace(llr, freeze=True)),
        Change(ALLR, BASE, allr),
        Change(ALLR, "norm of all parameters", replace(allr, allr_norm="all")),
        Change(CYCLES, BASE, allr, 3),
        Change(CYCLES, "d in the last cycle only", replace(allr, allr_cycles="last"), 3),
    )


def ingredients(
    recipe: Recipe, *, sparsities: Iterable[float], budgets: Iterable[float], seeds: int = 5
) -> list[tuple[str, str, Experiment]]:
    """Every change and base at every sparsity and budget (a share of the dense run for each cycle), as (base, ingredient,
    experiment); and for each sparsity, with two empty names, the network straight after the prune in one cycle."""
    sparsities = listed(sparsities, float, "ingredients' sparsities")
    budgets = listed(budgets, float, "ingredients' budgets")
    check_number(seeds, "number of seeds", low=1, whole=True)
    for budget in budgets:
        check_number(budget, "budget of retraining (share of the dense run)", above=0)
    out = []
    for seed, sparsity in product(range(seeds), sparsities):
        own = replace(recipe, seed=seed)
        out.append(("", "", Experiment(own, Prune(sparsity), Retrain(budget=0.0))))
        out += [
            (c.base, c.ingredient, Experiment(own, Prune(sparsity, cycles=c.cycles), replace(c.retrain, budget=budget)))
            for budget, c in product(budgets, changes(recipe.sgd))
        ]
    return out
