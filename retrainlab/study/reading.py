"""Stored results as tables: a row for each experiment, its curves, its layers, its masks."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch

from retrainlab.checks import BadInput, listed
from retrainlab.config import MODELS, Experiment, Prune, Recipe
from retrainlab.data.dataset import load
from retrainlab.data.folders import printable
from retrainlab.data.sources import fingerprint
from retrainlab.layers import few, prunable, uncounted
from retrainlab.models import skeleton
from retrainlab.paths import store_root
from retrainlab.pruning import Masks, undivided
from retrainlab.study.plan import pruned_key, result_key
from retrainlab.study.result import Result
from retrainlab.study.stages import common
from retrainlab.study.store import Store

T = TypeVar("T")


def fingerprints(experiments: Iterable[Experiment]) -> dict[tuple, str]:
    """Of each data set and image size, once: a folder of images takes a while."""
    return {of: fingerprint(*of) for of in {(e.recipe.data, e.recipe.image_size) for e in experiments}}


def opened(store: Store | Path | str | None) -> Store:
    """The store of that folder; the project's own if it is empty."""
    return store if isinstance(store, Store) else Store(Path(store) if store else store_root())


def row(experiment: Experiment, name: str, result: Result) -> dict:
    """A result as one row: every setting, then what was measured, then the key of its stored file.

    Columns have the nouns' names; the dense run's schedule, lr and warmup, and the retraining's lr, which others share,
    become dense_schedule, dense_lr, dense_warmup and initial_lr. Lists are written as text, and of a folder's name what is
    no text as escapes. The column outcome is empty for a run that ended as it should; one that has diverged has NaN for
    what is not known of it. For `not_pruned` see there.
    """
    recipe, prune, retrain = (asdict(n) for n in (experiment.recipe, experiment.prune, experiment.retrain))
    recipe |= recipe.pop("sgd")
    recipe["method"], recipe["knobs"] = (m.name, str(m)) if (m := experiment.recipe.method) else ("dense", "")
    for field in ("schedule", "lr", "warmup"):
        recipe[f"dense_{field}"] = recipe.pop(field)
    retrain["initial_lr"] = retrain.pop("lr")
    retrain["retraining_sgd"] = str(experiment.retrain.sgd or "")
    del retrain["sgd"]
    recipe["data"] = printable(recipe["data"])
    asked = {k: str(v) if isinstance(v, tuple) else v for k, v in (recipe | prune | retrain).items()}
    measured = result.scalars
    if result.outcome:
        measured = {name: math.nan if x is None else x for name, x in measured.items()}
    words = {"outcome": result.outcome, "not_pruned": not_pruned(common(experiment.recipe), experiment.prune)}
    return asked | measured | words | {"device": result.provenance["device"], "key": name}


def layer_names(recipe: Recipe) -> tuple[str, ...]:
    """Of the weights that pruning may touch, in the order of the network's layers."""
    data = load(recipe.data, all_train=recipe.all_train, image_size=recipe.image_size)
    return prunable(skeleton(recipe.model, shape=data.shape, classes=data.classes, width=recipe.width))


@lru_cache(maxsize=64)
def not_pruned(recipe: Recipe, prune: Prune) -> str:
    """What to know of the network with its sparsity and its speed-up, in sentences: what is neither pruned nor counted, and
    what an n:m pattern or whole filters leave dense. Empty if there is nothing, as for single weights of our own
    networks."""
    if recipe.model in MODELS and prune.structure == "unstructured":
        return ""
    try:
        data = load(recipe.data, all_train=recipe.all_train, image_size=recipe.image_size)
        model = skeleton(recipe.model, shape=data.shape, classes=data.classes, width=recipe.width)
    except BadInput as error:  # what is stored was made elsewhere: the images or torchvision are not here
        return f"What is neither pruned nor counted cannot be told here: {error}"
    known = dict(model.named_parameters())
    weights = {name: known[name] for name in prunable(model)}
    left = undivided(weights, prune.m) if prune.structure == "n:m" else ()
    words = uncounted(model)
    if left:
        share = sum(weights[n].numel() for n in left) / sum(w.numel() for w in weights.values())
        words += (
            f" {prune.n}:{prune.m} leaves {few(left)} dense, {100 * share:.2g} % of the prunable weights, because {prune.m} "
            "does not divide their inputs."
        )
    if prune.structure == "filters":
        whole = {name for name, w in weights.items() if w.dim() != 4}
        share = sum(weights[n].numel() for n in whole) / sum(w.numel() for w in weights.values())
        if share > 0.05:
            words += (
                f" Whole filters are of convolutions: other layers, {100 * share:.2g} % of the prunable weights, stay."
            )
    return words.strip()


def curves(experiments: Sequence[Experiment], store: Store | Path | str | None = None) -> pd.DataFrame:
    """The retraining curves of stored experiments: one row per point, with seed, sparsity, budget and schedule."""
    experiments = listed(experiments, Experiment, "curves' experiments")
    store, marks = opened(store), fingerprints(experiments)
    rows = []
    for e in experiments:
        result = stored(store.result(result_key(e, marks[e.recipe.data, e.recipe.image_size])))
        head = {
            "seed": e.recipe.seed,
            "sparsity": e.prune.sparsity,
            "budget": e.retrain.budget,
            "schedule": e.retrain.schedule,
        }
        names = [n for n, v in result.curves.items() if isinstance(v, list)]
        rows += [head | dict(zip(names, values)) for values in zip(*(result.curves[n] for n in names))]
    return pd.DataFrame(rows)


def layers(experiments: Sequence[Experiment], store: Store | Path | str | None = None) -> pd.DataFrame:
    """The final sparsity of each layer of stored experiments: columns place (in `experiments`), layer, sparsity."""
    experiments = listed(experiments, Experiment, "layers' experiments")
    store, marks = opened(store), fingerprints(experiments)
    rows = []
    for place, e in enumerate(experiments):
        result = stored(store.result(result_key(e, marks[e.recipe.data, e.recipe.image_size])))
        own = result.curves["layer_sparsity"]
        rows += [{"place": place, "layer": name, "sparsity": share} for name, share in own.items()]
    return pd.DataFrame(rows)


def masks(experiment: Experiment, store: Store | Path | str | None = None) -> Masks:
    """The masks of a stored experiment's first cycle, on the CPU."""
    [mark] = fingerprints([experiment]).values()
    key = pruned_key(experiment.recipe, experiment.prune, mark)
    pruned = stored(opened(store).pruned(key, torch.device("cpu")))
    if pruned.result.outcome:
        raise BadInput(f"There are no masks ({pruned.result.outcome}); take a smaller learning rate or another seed.")
    return pruned.masks


def stored(thing: T | None) -> T:
    """The thing itself; raises BadInput if the store has none."""
    if thing is None:
        raise BadInput("These experiments are not all in the store yet; run the study first.")
    return thing
