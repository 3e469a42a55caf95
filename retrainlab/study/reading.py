"""Stored results as tables: a row for each experiment, its curves, its layers, its masks."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import chain
from typing import TypeVar

import pandas as pd
import torch

from retrainlab import storage
from retrainlab.checks import BadInput, listed
from retrainlab.config import MODELS, Experiment, Prune, Recipe, Retrain
from retrainlab.data.dataset import counts
from retrainlab.data.folders import printable
from retrainlab.influence import hidden
from retrainlab.layers import few, filters, prunable, uncounted
from retrainlab.models import build
from retrainlab.pruning import Masks, undivided
from retrainlab.study.result import Result
from retrainlab.study.results import Place, Results
from retrainlab.study.stages import common, network_of

T = TypeVar("T")


def rows(experiments: Sequence[Experiment], names: Sequence[str], results: Sequence[Result]) -> pd.DataFrame:
    """Results as a table with a row for each: every setting, then what was measured, then the key of its stored file.

    Columns have the names of the fields, but the first training's schedule, lr and warmup become dense_schedule, dense_lr
    and dense_warmup, and the retraining's lr initial_lr. Lists are written as text; bytes of a folder's name that are no
    text, as escapes. The column outcome is empty for a run that ended as it should; one that has diverged has NaN for
    what is not known of it; so has what an earlier version stored, of the bytes that it did not count. The column not_pruned
    is what the function of that name says.
    """
    if not experiments:
        return pd.DataFrame()
    measured = [
        {k: math.nan if x is None else x for k, x in r.scalars.items()} if r.outcome else r.scalars for r in results
    ]
    sizes = storage.ratios({})
    every = [[*has, *(name for name in sizes if name not in has)] for has in dict.fromkeys(map(tuple, measured))]
    parts = [
        _each(_of_recipe, [e.recipe for e in experiments]),
        _each(asdict, [e.prune for e in experiments]),
        _each(_of_retrain, [e.retrain for e in experiments]),
        pd.DataFrame(measured, columns=[*dict.fromkeys(chain(*every))]),
        pd.DataFrame({"outcome": [printable(r.outcome) for r in results]}),
        _each(
            lambda recipe, prune: {"not_pruned": not_pruned(common(recipe), prune)},
            [e.recipe for e in experiments],
            [e.prune for e in experiments],
        ),
        pd.DataFrame({"device": [printable(str(r.provenance.get("device", ""))) for r in results], "key": names}),
    ]
    return pd.concat(parts, axis="columns")


def _each(cells: Callable[..., dict], *nouns: Sequence[Recipe | Prune | Retrain]) -> pd.DataFrame:
    """The cells of each noun, or of those at one place of several lists, as a row. Of a large study many are one object, or
    equal; their cells are made once."""
    same = list(zip(*(map(id, column) for column in nouns)))
    there = dict(zip(same, zip(*nouns)))
    places = {noun: place for place, noun in enumerate(dict.fromkeys(there.values()))}
    distinct = [{k: str(v) if isinstance(v, tuple) else v for k, v in cells(*noun).items()} for noun in places]
    place_of = {ids: places[noun] for ids, noun in there.items()}
    return pd.DataFrame(distinct).take([place_of[ids] for ids in same]).reset_index(drop=True)


def _of_recipe(recipe: Recipe) -> dict:
    cells = asdict(recipe)
    cells |= cells.pop("sgd")
    cells["method"], cells["knobs"] = (m.name, str(m)) if (m := recipe.method) else ("dense", "")
    for field in ("schedule", "lr", "warmup"):
        cells[f"dense_{field}"] = cells.pop(field)
    return cells | {"data": printable(recipe.data)}


def _of_retrain(retrain: Retrain) -> dict:
    cells = asdict(retrain)
    cells["initial_lr"] = cells.pop("lr")
    del cells["sgd"]
    return cells | {"retraining_sgd": str(retrain.sgd or "")}


def layer_names(recipe: Recipe) -> tuple[str, ...]:
    """Names of the weights that pruning may touch, in the order of the network's layers."""
    return prunable(network_of(recipe), recipe.embeddings)


def not_pruned(recipe: Recipe, prune: Prune) -> str:
    """What a network's sparsity and speed-up leave out, in sentences: what is neither pruned nor counted, and what an n:m
    pattern, whole filters or neurons leave dense. Empty if there is nothing, as for single weights of our own networks."""
    if recipe.model in MODELS and prune.structure == "unstructured":
        return ""
    try:
        return _left_out(recipe, prune)
    except BadInput as error:  # what is stored was made elsewhere: the images or torchvision are not here
        return f"What is neither pruned nor counted cannot be told here: {error}"


def _hidden(recipe: Recipe) -> tuple[str, ...]:
    """Names of the weights whose rows are hidden neurons."""
    there = counts(recipe.data, image_size=recipe.image_size)
    return hidden(build(recipe.model, shape=there.shape, classes=there.classes, width=recipe.width), there.shape)


@lru_cache(maxsize=64)
def _left_out(recipe: Recipe, prune: Prune) -> str:
    model = network_of(recipe)
    weights = {name: model.get_parameter(name) for name in prunable(model, recipe.embeddings)}
    if prune.structure == "n:m":
        left = undivided(weights, prune.m)
    elif prune.structure == "filters":
        left = tuple(name for name in weights if name not in filters(model, list(weights)))
    elif prune.structure == "neurons":
        neurons = _hidden(recipe)
        left = tuple(name for name in weights if name not in neurons)
    else:
        left = ()
    share = sum(weights[name].numel() for name in left) / sum(w.numel() for w in weights.values())
    words, percent = uncounted(model, recipe.embeddings), f"{100 * share:.2g} % of the prunable weights"
    if left and prune.structure == "n:m":
        words += (
            f" {prune.n}:{prune.m} leaves {few(left)} dense, {percent}, because {prune.m} does not divide their inputs."
        )
    elif share > 0.05:
        of = {"filters": "filters are of convolutions", "neurons": "neurons are of hidden Linear layers"}
        words += f" Whole {of[prune.structure]}: other layers, {percent}, stay."
    return words.strip()


def curves(experiments: Sequence[Experiment], store: Place = None) -> pd.DataFrame:
    """The retraining curves of stored experiments: one row per point, with seed, sparsity, budget and schedule."""
    rows = []
    for e, result in _results(experiments, store, "curves' experiments"):
        head = dict(seed=e.recipe.seed, sparsity=e.prune.sparsity, budget=e.retrain.budget, schedule=e.retrain.schedule)
        lists = {name: values for name, values in result.curves.items() if isinstance(values, list)}
        rows += [head | dict(zip(lists, values)) for values in zip(*lists.values())]
    return pd.DataFrame(rows)


def layers(experiments: Sequence[Experiment], store: Place = None) -> pd.DataFrame:
    """The final sparsity of each layer of stored experiments: columns place (in `experiments`), layer, sparsity."""
    return pd.DataFrame(
        {"place": place, "layer": name, "sparsity": share}
        for place, (_, result) in enumerate(_results(experiments, store, "layers' experiments"))
        for name, share in result.curves["layer_sparsity"].items()
    )


def sizes(experiments: Sequence[Experiment], store: Place = None) -> pd.DataFrame:
    """The bytes of stored experiments' networks in each encoding: columns place (in `experiments`), precision, encoding,
    gzipped, bytes. None of what has diverged, nor of what an earlier version stored, which did not count them."""
    rows = [
        (place, *name.removesuffix("_gzip").split("_"), name.endswith("_gzip"), size)
        for place, (_, result) in enumerate(_results(experiments, store, "sizes' experiments"))
        for name, size in result.curves.get("bytes", {}).items()
    ]
    return pd.DataFrame(rows, columns=["place", "precision", "encoding", "gzipped", "bytes"])


def masks(experiment: Experiment, store: Place = None) -> Masks:
    """The masks of a stored experiment's first cycle (True = stays), on the CPU. Raises BadInput if it has none, because
    its first training has diverged."""
    pruned = stored(Results.at(store).masks(experiment.recipe, experiment.prune, torch.device("cpu")))
    if pruned.result.outcome:
        raise BadInput(f"There are no masks ({pruned.result.outcome}); take a smaller learning rate or another seed.")
    return pruned.masks


def _results(experiments: Sequence[Experiment], store: Place, what: str) -> Iterator[tuple[Experiment, Result]]:
    kept, wanted = Results.at(store), listed(experiments, Experiment, what)
    names = [kept.key(e) for e in wanted]
    found = kept.many(dict(zip(names, wanted)))
    for name, e in zip(names, wanted):
        yield e, stored(found.get(name))


def stored(thing: T | None) -> T:
    """The thing itself; raises BadInput if the store has none."""
    if thing is None:
        raise BadInput("These experiments are not all in the store yet; run the study first.")
    return thing
