"""How fast a method trains: images per second of its whole loop, one network at a time, measured once and kept.

Batches and augmentation count, evaluations do not, and the device is synchronised. Methods take turns, round after round,
so that a machine that slows down slows all of them; the median over the rounds counts.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import torch

from retrainlab.checks import listed
from retrainlab.config import Recipe
from retrainlab.device import describe, repeatable, resolve
from retrainlab.keys import key
from retrainlab.methods.make import make
from retrainlab.methods.sparsifier import Span
from retrainlab.study.result import record
from retrainlab.study.results import Results
from retrainlab.study.stages import prepare
from retrainlab.training.loop import train
from retrainlab.training.state import Job, State

STEPS = 64  # at least, and two epochs, so that what a method does at intervals is measured too
ROUNDS = 3


def images_per_second(
    recipes: Sequence[Recipe], results: Results, device: str = "auto", fresh: bool = False
) -> list[float]:
    """Images per second of training by each recipe, whatever its seed.

    All are measured in turns, each once, unless all are stored in `results` already; fresh: measure in any case.
    """
    recipes, where = listed(recipes, Recipe, "images_per_second's recipes"), resolve(device)
    on = describe(where)
    names = [key("throughput", [replace(r, seed=0)], f"{results.fingerprint(r)} on {on}") for r in recipes]
    distinct = dict(zip(names, recipes))
    stored = {name: known.result for name in distinct if (known := results.store.get("results", name))}
    if fresh or len(stored) < len(distinct):
        with repeatable(where):
            rates = _measured(list(distinct.values()), where)
        for (name, recipe), rate in zip(distinct.items(), rates):
            stored[name] = record(recipe, {"images_per_second": rate}, {}, where, 0.0)
            results.store.put(name, stored[name])
    return [stored[name].scalars["images_per_second"] for name in names]


def _measured(recipes: Sequence[Recipe], where: torch.device) -> list[float]:
    setups = [prepare(recipe, where)[0].barely_evaluated() for recipe in recipes]
    rates: list[list[float]] = [[] for _ in recipes]
    for _ in range(ROUNDS):
        for recipe, setup, own in zip(recipes, setups, rates):
            per_epoch = setup.data.steps_per_epoch(recipe.batch_size)
            span = Span(setup.prunable, max(STEPS, 2 * per_epoch), per_epoch)
            method, start = make(recipe.method, State.of(setup.model, where), span)
            curve = torch.full((span.steps,), recipe.lr / 10, dtype=torch.float64)
            trained = train(setup, Job(start, curve, ("throughput",), method, evaluations=1))
            own.append(span.steps * recipe.batch_size / trained.seconds)
    return [median(own) for own in rates]
