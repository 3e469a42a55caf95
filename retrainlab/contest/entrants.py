"""The contest: every method at one total of epochs, each with the best of its settings.

An entrant turns (a recipe of T epochs, a sparsity) into a grid of candidates, `GRID` of them for every entrant, each of
which trains for exactly T epochs in all. The best on validation, over the tuning seeds, is then run with every seed;
no choice sees a test image. A method with a knob first searches for the value that leads to the sparsity, and what that
costs is told. A setting with which a method misses the sparsity, or a training diverges, is chosen only if all do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import cast

import pandas as pd

from retrainlab.checks import BadInput, check_number, choose, listed, number, settle
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.contest.search import Study, reach, searched
from retrainlab.methods.bimp import bimp
from retrainlab.methods.table import METHODS, Entry, Variants, rates

GRID = 3


@dataclass(frozen=True)
class Candidate:
    """One setting of an entrant: in words, and as an experiment of exactly the recipe's epochs."""

    setting: str
    experiment: Experiment


def _dense_epochs(recipe: Recipe, share: float) -> int:
    """The share of all epochs, of which at least one is dense and one is left for retraining."""
    return min(max(1, round(share * recipe.epochs)), recipe.epochs - 1)


def _split(recipe: Recipe, sparsity: float, score: str) -> list[Candidate]:
    plans = [(_dense_epochs(recipe, share), cycles) for share, cycles in ((0.5, 1), (0.25, 1), (0.25, 3))]
    return [
        Candidate(
            f"{dense} of {recipe.epochs} epochs dense, cycles: {cycles}",
            bimp(recipe, sparsity, dense_epochs=dense, cycles=cycles, prune=Prune(score=score)),
        )
        for dense, cycles in plans
    ]


def _trained(variants: Variants, sparsity: float) -> list[Candidate]:
    """Training on a line to 0 for all epochs, then pruning by magnitude without retraining."""
    prune, none = Prune(sparsity), Retrain(budget=0.0)
    return [Candidate(words, Experiment(replace(r, schedule="linear"), prune, none)) for words, r in variants]


def _of_method(method: Entry, recipe: Recipe, sparsity: float) -> list[Candidate]:
    return _trained(method.variants(recipe, sparsity), sparsity)


ENTRANTS: dict[str, Callable[[Recipe, float], list[Candidate]]] = {
    "BIMP": lambda r, s: _split(r, s, "magnitude"),
    **{name: partial(_of_method, method) for name, method in METHODS.items()},
    "Random": lambda r, s: _split(r, s, "random"),
    "Dense": lambda r, s: _trained(rates(replace(r, method=None)), 0.0),
}


def candidates(name: str, recipe: Recipe, sparsity: float) -> list[Candidate]:
    """The settings that an entrant tries within `recipe.epochs` epochs (at least 4) in all. `Random` is BIMP with a random
    mask, `Static` a random mask from the start; `Dense` is not pruned."""
    choose(name, ENTRANTS, "entrant")
    if recipe.epochs < 4:
        raise BadInput(f"The contest has {recipe.epochs} epochs in all, but needs at least 4; give it more.")
    grid = ENTRANTS[name](recipe, sparsity)
    assert len(grid) == GRID
    return grid


def with_references(names: Sequence[str]) -> tuple[str, ...]:
    """The names and those that figure 5 compares with: BIMP and Dense."""
    return tuple(dict.fromkeys([*listed(names, str, "The contest's names"), "BIMP", "Dense"]))


@dataclass(frozen=True)
class Rules:
    """How a contest is run: the seeds, from 0 on, and how near a search must come (see `search.reach`)."""

    seeds: int = number(5, "of the final runs", "number of seeds", low=1)
    tuning_seeds: int = number(2, "by which settings are chosen", "number of tuning seeds", low=1)
    tolerance: float = number(0.005, "of the final searches; twice that while tuning", "tolerance", above=0, high=0.25)
    most: int = number(8, "rounds of a final search; half that while tuning", "most rounds", low=2)

    def __post_init__(self) -> None:
        settle(self)


def contest(
    recipe: Recipe,
    sparsities: Sequence[float],
    study: Study,
    names: Sequence[str] = tuple(ENTRANTS),
    rules: Rules = Rules(),
) -> tuple[list[tuple[str, Experiment]], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tune and run every entrant at each sparsity.

    recipe: its epochs, at least 4, are the total of each entrant. sparsities: shares in [0, 1].
    Returns the chosen (entrant, experiment) of every seed; their rows of the study, with the columns `entrant` and
    `setting` in front; the validation accuracies that the settings were chosen by; and the searches, one row each.
    Raises BadInput without a name or a sparsity, before any study.
    """
    names = listed(names, str, "The contest's names")
    sparsities = listed(sparsities, float, "The contest's sparsities")
    if not (names and sparsities):
        raise BadInput(
            f"The contest has {len(names)} entrants and {len(sparsities)} sparsities; give it at least one of each."
        )
    each = dict.fromkeys((n, s) for n in names for s in (sparsities if n != "Dense" else sparsities[:1]))
    flat = [(n, s, c) for n, s in each for c in candidates(n, recipe, s)]
    first, searches = _reached([c.experiment for *_, c in flat], study, 2 * rules.tolerance, rules.most // 2)
    missed = set(searches.index[~searches["reached"].astype(bool)])
    frame = study([_seeded(e, seed) for e in first for seed in range(rules.tuning_seeds)])
    tuning = pd.DataFrame(
        {"entrant": n, "sparsity": s, "setting": c.setting, "reached": place not in missed}
        for place, (n, s, c) in enumerate(flat)
        for _ in range(rules.tuning_seeds)
    ).join(frame[["seed", "validation_accuracy", "validation_loss"]])
    chosen = _best(tuning)
    final = [
        (n, c.setting, _seeded(e, seed))
        for (n, s, c), e in zip(flat, first)
        if chosen[n, s] == c.setting
        for seed in range(rules.seeds)
    ]
    runs, more = _reached([e for *_, e in final], study, rules.tolerance, rules.most)
    rows = study(runs)
    rows.insert(0, "entrant", [n for n, *_ in final])
    rows.insert(1, "setting", [words for _, words, _ in final])
    searches = pd.concat([searches.assign(what="tuning"), more.assign(what="final")], ignore_index=True)
    return list(zip(rows["entrant"], runs)), rows, tuning, searches


def _seeded(experiment: Experiment, seed: int) -> Experiment:
    return replace(experiment, recipe=replace(experiment.recipe, seed=seed))


def _reached(
    experiments: list[Experiment], study: Study, tolerance: float, most: int
) -> tuple[list[Experiment], pd.DataFrame]:
    """All experiments, those whose method has a knob with the value that a search found; and the searches, a row each,
    under the experiments' places."""
    turning = {i: e for i, e in enumerate(experiments) if searched(e.recipe)}
    found, table = reach(list(turning.values()), study, tolerance=tolerance, most=most)
    turned = dict(zip(turning, found))
    return [turned.get(i, e) for i, e in enumerate(experiments)], table.set_axis(list(turning))


def _best(tuning: pd.DataFrame) -> dict[tuple[str, float], str]:
    """The best setting for each entrant and sparsity: one that has diverged with no seed before all others, then one that
    has reached the sparsity, then the highest mean validation accuracy, then the lowest mean loss."""
    groups = tuning.assign(diverged=tuning["validation_accuracy"].isna()).groupby(
        ["entrant", "sparsity", "setting"], sort=False, as_index=False
    )
    means = groups.mean(numeric_only=True).round({"validation_accuracy": 9})
    means["diverged"] = means["diverged"] > 0
    by = ["diverged", "reached", "validation_accuracy", "validation_loss"]
    ranked = means.sort_values(by, ascending=[True, False, False, True], kind="stable")
    best = ranked.groupby(["entrant", "sparsity"], sort=False)["setting"].first()
    return cast(dict[tuple[str, float], str], best.to_dict())


# ---- comparisons beside the contest, also at equal totals ------------------------------------------------------------


def retrained(
    chosen: Sequence[tuple[str, Experiment]], recipe: Recipe, sparsity: float, budget: float
) -> list[tuple[str, Experiment]]:
    """The contest's networks trained by a method, and the dense ones (as `IMP`), each pruned hard and then retrained
    alike, on a line from `recipe`'s peak to 0 with its optimiser, for `budget` times the training: pairs of entrant and
    experiment."""
    prune, retrain = Prune(sparsity), Retrain("linear", budget=budget, lr=recipe.lr, sgd=recipe.sgd)
    return [
        ("IMP" if name == "Dense" else name, replace(e, prune=prune, retrain=retrain))
        for name, e in chosen
        if name == "Dense" or e.prune.sparsity == sparsity and e.retrain.budget == 0
    ]


def splits(
    recipe: Recipe, sparsities: Sequence[float], shares: Sequence[float], cycles: Sequence[int], seeds: int
) -> list[Experiment]:
    """BIMP within `recipe.epochs` epochs for every sparsity, dense share (rounded to epochs), number of cycles and seed."""
    sparsities, shares = listed(sparsities, float, "splits' sparsities"), listed(shares, float, "splits' shares")
    cycles = listed(cycles, int, "splits' cycles")
    check_number(seeds, "number of seeds", low=1, whole=True)
    dense = dict.fromkeys(_dense_epochs(recipe, share) for share in shares)
    return [
        bimp(replace(recipe, seed=seed), sparsity, dense_epochs=epochs, cycles=k)
        for seed, sparsity, epochs, k in product(range(seeds), sparsities, dense, cycles)
    ]


def lengths(
    recipe: Recipe, sparsity: float, extra: Sequence[float], cycles: int, seeds: int
) -> list[tuple[str, int, Experiment]]:
    """Four ways to spend totals of `recipe.epochs` times 1 + each of `extra`, as (way, epochs in all, experiment): one-shot
    and iterative pruning, retrained with LLR for all the rest; one-shot with a longer dense run and the shortest
    retraining; and dense training alone."""
    recipe = replace(recipe, schedule="linear")
    check_number(seeds, "number of seeds", low=1, whole=True)
    rests = sorted({max(1, round(share * recipe.epochs)) for share in listed(extra, float, "lengths' extra")})
    out = []
    for seed, rest in product(range(seeds), rests):
        own, total = replace(recipe, seed=seed), recipe.epochs + rest
        longer = replace(own, epochs=total - rests[0])
        llr = Retrain("LLR", budget=rest / own.epochs, split=True)
        short = Retrain("LLR", budget=rests[0] / longer.epochs)
        out += [
            ("one-shot", total, Experiment(own, Prune(sparsity), llr)),
            (f"iterative, {cycles} cycles", total, Experiment(own, Prune(sparsity, cycles=cycles), llr)),
            ("longer dense, one-shot", total, Experiment(longer, Prune(sparsity), short)),
            ("dense, not pruned", total, Experiment(replace(own, epochs=total), Prune(0.0), Retrain(budget=0.0))),
        ]
    return out
