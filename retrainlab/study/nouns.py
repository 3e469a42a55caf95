"""The nouns of a stored record, from the settings that it says: back from `keys.to_dict`.

References to a user's code are `importing.Told`, so that no record, wherever it comes from, makes anything be imported.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any, TypeVar

from retrainlab.checks import BadInput, is_reference
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.importing import OBJECT, Told
from retrainlab.keys import references
from retrainlab.methods.table import METHODS
from retrainlab.study.result import Result

Noun = TypeVar("Noun", Recipe, Prune, Retrain, Experiment, SGD)


def recipe_of(config: Mapping[str, Any]) -> Recipe:
    """The recipe of a dense run's settings. Raises ValueError for settings that are none, such as a method's that this
    version does not know; earlier versions had fewer fields, which have their defaults."""
    own = _known(Recipe, config)
    if (sgd := config.get("sgd")) is not None:
        own["sgd"] = SGD(**_known(SGD, sgd))
    if (method := config.get("method")) is not None:
        settings = {name: value for name, value in dict(method).items() if name != "name"}
        try:
            own["method"] = METHODS[method["name"]].settings(**settings)
        except (LookupError, TypeError, BadInput) as error:
            raise ValueError(f"a method that this version does not know ({error})") from None
    return Recipe(**own)


def noun_of(kind: str, config: Mapping[str, Any]) -> Recipe | Experiment:
    """The noun of a record's settings; kind: `dense` or `results`. Raises ValueError."""
    return recipe_of(config) if kind == "dense" else experiment_of(config)


def allowing(noun: Recipe | Experiment, allowed: Sequence[str]) -> Recipe | Experiment:
    """The same, whose references a user has written, too, and so may be imported. Raises BadInput if it has others."""
    if any(name.startswith(OBJECT) for name in references(noun).values()):
        raise BadInput(
            "This network was an object of another process, of which results keep no weights; ask there for "
            "advise(..., keep=True), and save answer.weights()."
        )
    if others := [name for name in references(noun).values() if name not in allowed]:
        raise BadInput(
            f"This result was made with code of its own, {', '.join(others)}, which is not imported for a file's sake; "
            f"if you trust it, add --allow {' '.join(others)}."
        )
    if isinstance(noun, Recipe):
        return replace(noun, model=str(noun.model), data=str(noun.data), schedule=str(noun.schedule))
    recipe = allowing(noun.recipe, allowed)
    assert isinstance(recipe, Recipe)
    prune, retrain = (
        replace(noun.prune, score=str(noun.prune.score)),
        replace(noun.retrain, schedule=str(noun.retrain.schedule)),
    )
    return replace(noun, recipe=recipe, prune=prune, retrain=retrain)


def prune_of(config: Mapping[str, Any]) -> Prune:
    """The prune of a mask's settings. Raises ValueError."""
    return Prune(**_known(Prune, config))


def retrain_of(config: Mapping[str, Any]) -> Retrain:
    """The retraining of a result's settings. Raises ValueError."""
    own = _known(Retrain, config)
    if (sgd := own.get("sgd")) is not None:
        own["sgd"] = SGD(**_known(SGD, sgd))
    return Retrain(**own)


def experiment_of(config: Mapping[str, Any]) -> Experiment:
    """The experiment of a result's settings. Raises ValueError."""
    try:
        nouns = recipe_of(config["recipe"]), prune_of(config["prune"]), retrain_of(config["retrain"])
        return Experiment(*nouns, config["evaluations"])
    except (LookupError, TypeError) as error:
        raise ValueError(f"no experiment's settings ({error})") from None


def experiments_of(results: Iterable[Result]) -> Iterator[Experiment | None]:
    """The experiment of each result, None for settings that are none; what many of them share is made once."""
    ways = (recipe_of, prune_of, retrain_of, lambda evaluations: evaluations)
    recipe, prune, retrain, evaluations = (cache(lambda text, of=of: of(json.loads(text))) for of in ways)
    for result in results:
        try:
            texts = result.settings
            nouns = recipe(texts["recipe"]), prune(texts["prune"]), retrain(texts["retrain"])
            yield Experiment(*nouns, evaluations(texts["evaluations"]))
        except (LookupError, TypeError, ValueError):
            yield None


def _known(kind: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the fields that are set when a noun is made; ValueError for names that are no fields."""
    if not isinstance(config, Mapping):
        raise ValueError("settings that are no names with values")
    names = {f.name for f in fields(kind) if f.init}
    if unknown := sorted(config.keys() - names):
        raise ValueError(f"settings that this version does not know: {', '.join(unknown)}")
    return {name: Told(value) if is_reference(value) else value for name, value in config.items()}
