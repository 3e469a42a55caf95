"""Stores full of stand-in results: real records of a real study, whose numbers are drawn instead of trained for.

One run of a small mlp on the digits is trained; every other has its form, the name and settings of its own experiment, and
accuracies that rise with the budget and fall with the sparsity, with noise for each seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import torch

from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.keys import to_dict
from retrainlab.study import Results, grid
from retrainlab.study.making import Noun, Thing
from retrainlab.study.measured import Dense, Pruned
from retrainlab.study.result import Result
from retrainlab.study.store import Store
from retrainlab.training.engine import forced

RECIPE = Recipe(model="mlp", width=32, epochs=1)
SPARSITIES, BUDGETS = (0.5, 0.8, 0.9, 0.95, 0.98), (0.02, 0.05, 0.1, 0.25, 0.5)
SCHEDULES = ("FT", "SLR", "LLR", "ALLR")
A_SEED = len(SPARSITIES) * len(BUDGETS) * len(SCHEDULES)  # runs


def experiments(runs: int) -> list[Experiment]:
    """A grid of so many experiments; runs: a multiple of A_SEED."""
    return grid(RECIPE, sparsities=SPARSITIES, budgets=BUDGETS, schedules=SCHEDULES, seeds=runs // A_SEED)


def trained(folder: Path) -> tuple[Dense, Pruned, Result]:
    """What is stored of the one run that is trained, in a store of its own."""
    results, cpu = Results.at(folder), torch.device("cpu")
    one = Experiment(RECIPE, Prune(0.9), Retrain("LLR", budget=1.0))
    for _ in results.make([one], cpu, engine=forced("loop", cpu)):
        pass
    dense, masks, result = results.dense(RECIPE, cpu), results.masks(RECIPE, one.prune, cpu), results.of(one)
    assert dense and masks and result
    return dense, masks, result


def things(asked: Sequence[Experiment], forms: tuple[Dense, Pruned, Result]) -> Iterator[tuple[Noun, Thing]]:
    """Every first training, prune and result of the experiments, as if they had been made."""
    dense, masks, result = forms
    for recipe in dict.fromkeys(e.recipe for e in asked):
        yield recipe, replace(dense, result=replace(dense.result, config=to_dict(recipe)))
    for recipe, prune in dict.fromkeys((e.recipe, e.prune) for e in asked):
        yield (recipe, prune), replace(masks, result=replace(masks.result, config=to_dict(prune)))
    for place, e in enumerate(asked):
        yield e, replace(result, **drawn(e, result, Random(place)))


def drawn(e: Experiment, form: Result, chance: Random) -> dict:
    """The fields of a result in which an experiment differs from the one that is trained."""
    best = 0.97 - 0.1 * e.prune.sparsity**8 - 0.02 * (1 - e.retrain.budget) - 0.03 * (e.retrain.schedule == "FT")
    noise = Random(e.recipe.seed).gauss(0, 0.004)
    accuracy = best + noise + chance.gauss(0, 0.002)
    curve = [accuracy - 0.3 * chance.random() / (1 + i) for i in range(len(form.curves["step"]) - 1)] + [accuracy]
    losses = [2 * (1 - x) + 0.01 * chance.random() for x in curve]
    scalars = {
        "test_accuracy": accuracy,
        "test_loss": 2 * (1 - accuracy),
        "validation_accuracy": accuracy + chance.gauss(0, 0.002),
        "validation_loss": losses[-1],
        "dense_test_accuracy": 0.97 + noise,
        "pruned_validation_accuracy": curve[0],
        "recovery": accuracy / (0.97 + noise),
        "sparsity_achieved": e.prune.sparsity,
        "removed": e.prune.sparsity,
        "theoretical_speedup": 1 / (1 - e.prune.sparsity),
        "images_per_second": 6000 + 2000 * chance.random(),
    }
    curves = {"validation_accuracy": curve, "validation_loss": losses, "lr": [0.1 * chance.random() for _ in curve]}
    provenance = {"seconds": round(chance.random(), 3)}
    return {
        "config": to_dict(e),
        "scalars": form.scalars | scalars,
        "curves": form.curves | curves,
        "provenance": form.provenance | provenance,
    }


def fill(store: Store, asked: Sequence[Experiment], forms: tuple[Dense, Pruned, Result]) -> Iterator[int]:
    """Write all of them into the store; yields how many are written."""
    results = Results(store)
    for count, (noun, thing) in enumerate(things(asked, forms), 1):
        results.put(noun, thing)
        yield count
