"""The settings of experiments by the names that the command line has for them, and all combinations of several values.

Retraining has a schedule, a learning rate and a warm-up of its own, so the dense run's are told apart by name; so is a
method's allocation from that of the prune. This module loads no torch.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import Field, fields, replace
from functools import cache
from itertools import product
from typing import Any

from retrainlab.checks import BadInput, choose, is_reference
from retrainlab.config import FREE_SCHEDULES, SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.methods.knobs import Knobs, at
from retrainlab.methods.table import METHODS
from retrainlab.study.grids import check_apart

DENSE_NAMES = {"schedule": "dense_schedule", "lr": "dense_lr", "warmup": "dense_warmup"}
LISTS = ("seed", "sparsity", "budget", "schedule")  # what studies most often compare
DENSE = "dense"  # in place of a method's name: the first training has none
Place = tuple[str, ...]  # where in an experiment a setting lies, such as recipe, sgd, momentum
Run = Mapping[str, Any]  # the values of one combination, by name


def told(kind: type) -> Iterator[tuple[Field, str]]:
    """The fields of a noun that have a help text, with the names of their settings."""
    names = DENSE_NAMES if kind is Recipe else {}
    return ((f, names.get(f.name, f.name)) for f in fields(kind) if "help" in f.metadata)


@cache
def method_settings() -> dict[str, dict[str, Field]]:
    """For each setting of a method the methods that have it, with the field that it sets. Their sparsity, which is that of
    the prune, is not among them."""
    out: dict[str, dict[str, Field]] = {}
    for name, entry in METHODS.items():
        for f in fields(entry.settings):
            if "help" in f.metadata and f.name != "sparsity":
                out.setdefault("order" if f.name == "allocation" else f.name, {})[name] = f
    return out


@cache
def places() -> dict[str, Place]:
    """Where in an experiment each setting lies, by its name."""
    out: dict[str, Place] = {"method": ("recipe", "method", "name")}
    for where, kind in ((("recipe",), Recipe), (("recipe", "sgd"), SGD), (("prune",), Prune), (("retrain",), Retrain)):
        out |= {name: (*where, f.name) for f, name in told(kind)}
    for name, owners in method_settings().items():
        out[name] = "recipe", "method", next(iter(owners.values())).name
    return out


def experiments(
    settings: Mapping[Place, Any],
    axes: Mapping[str, Sequence],
    base: Recipe = Recipe(),
    keep: Callable[[Run], bool] = lambda run: True,
) -> list[Experiment]:
    """Every combination of the axes' values, each once; those of LISTS vary fastest, schedules first, as in `grids.grid`.

    settings: those of all combinations, by place. axes: values of others by name, which can be hashed. base: the recipe that
    has all else, but for its width where the network is another. keep: whether a combination is wanted; of others nothing
    is made, so that they need not be possible.
    A learning rate of retraining goes only to schedules that take one, control points only to `custom`, a method's setting
    only to the methods that have it, unless none of them does. A method that is told its sparsity, and for which none is
    set, is told that of the prune. What is left out of retraining's own sgd is as in the recipe's.
    Raises BadInput, with the values at which it is raised where there are several.
    """
    names = [*(name for name in axes if name not in LISTS), *(name for name in LISTS if name in axes)]
    for name, what in (("sparsity", "sparsities"), ("budget", "budgets")):
        check_apart(what, axes.get(name, ()))
    make = _Making(settings, axes, base)
    runs = (dict(zip(names, values)) for values in product(*(axes[name] for name in names)))
    return list(dict.fromkeys(make.experiment(run) for run in runs if keep(run)))


class _Making:
    """Makes the experiment of a combination; nouns that several share are made once."""

    def __init__(self, settings: Mapping[Place, Any], axes: Mapping[str, Sequence], base: Recipe):
        self.settings, self.axes, self.base = settings, axes, base
        self.made: dict[tuple, Any] = {}

    def experiment(self, run: Run) -> Experiment:
        methods, schedules = (self._values(name) for name in ("method", "schedule"))
        prune = self._noun("prune", run, lambda own: Prune(**own))
        sparsity = prune.sparsity
        recipe = self._noun("recipe", run, lambda own: _recipe(own, self.base, methods, sparsity), sparsity)
        retrain = self._noun("retrain", run, lambda own: _retrain(own, recipe.sgd, schedules), recipe.sgd)
        try:
            return Experiment(recipe, prune, retrain, **_nested(self.settings, "experiment"))
        except BadInput as error:
            raise self._at(run, error) from None

    def _noun(self, kind: str, run: Run, make: Callable[[dict[str, Any]], Any], *given: object) -> Any:
        """What `make` makes of the settings that lie there; given: all else on which it depends."""
        own = {name: value for name, value in run.items() if places()[name][0] == kind}
        key = kind, tuple(own.values()), given
        if key not in self.made:
            try:
                self.made[key] = make(_nested({**self.settings, **{places()[n]: v for n, v in own.items()}}, kind))
            except BadInput as error:
                raise self._at(own, error) from None
        return self.made[key]

    def _values(self, name: str) -> Sequence:
        """All values that a setting takes."""
        return self.axes.get(name) or [self.settings.get(places()[name])]

    def _at(self, run: Run, error: BadInput) -> BadInput:
        """The error, with the values that belong to it where there are several; a seed is no reason."""
        several = [f"{name} {value}" for name, value in run.items() if name != "seed" and len({*self.axes[name]}) > 1]
        return BadInput(f"{error} (At {', '.join(several)}.)") if several else error


def _nested(settings: Mapping[Place, Any], kind: str) -> dict[str, Any]:
    """The settings that lie in a noun, by field; those of sgd and method are dictionaries of their own."""
    out: dict[str, Any] = {}
    for (first, *path), value in settings.items():
        if first == kind:
            *within, name = path
            (out.setdefault(within[0], {}) if within else out)[name] = value
    return out


def _recipe(own: dict[str, Any], base: Recipe, methods: Sequence[str | None], sparsity: float) -> Recipe:
    if own.get("model", base.model) != base.model:
        own = {"width": None} | own
    sgd, method = replace(base.sgd, **own.pop("sgd", {})), _method(own.pop("method", {}), methods, sparsity)
    return replace(base, **own, sgd=sgd, method=method)


def _retrain(own: dict[str, Any], sgd: SGD, schedules: Sequence[str | None]) -> Retrain:
    if own.get("sgd") is not None:
        own["sgd"] = replace(sgd, **own["sgd"])
    for name, takes in (("lr", _takes_lr), ("points", _takes_points)):
        if any(map(takes, schedules)) and not takes(own.get("schedule")):
            own.pop(name, None)
    return Retrain(**own)


def _takes_lr(schedule: str | None) -> bool:
    return is_reference(schedule) or (schedule in FREE_SCHEDULES and schedule != "custom")


def _takes_points(schedule: str | None) -> bool:
    return schedule == "custom"


def _method(own: dict[str, Any], methods: Sequence[str | None], sparsity: float) -> Knobs | None:
    name = own.pop("name", None)
    known = _fields_of(name)
    if stray := [n for n in own if n not in known and not any(n in _fields_of(other) for other in methods)]:
        whose = "dense training, without a method," if name in (None, DENSE) else name
        raise BadInput(f"Leave {', '.join(stray)} out: {whose} has no such setting.")
    if name in (None, DENSE):
        return None
    knobs = METHODS[name].settings(**{n: value for n, value in own.items() if n in known})
    return knobs if "sparsity" in own else at(knobs, sparsity)


def _fields_of(method: str | None) -> Collection[str]:
    """Names of the settings that a method has. Raises BadInput for one that there is not."""
    if method in (None, DENSE):
        return ()
    entry = METHODS[choose(str(method), [*METHODS, DENSE], "method")]
    return [f.name for f in fields(entry.settings) if f.init]
