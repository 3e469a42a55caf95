"""A study's file -> its experiments: the recipe, prune and retraining that all share, a grid of what differs, and filters.

    preset = "digits"          start from the recipe of that preset, in place of the defaults
    evaluations = 5            and all other fields of an Experiment, each of a noun's in its table
    [recipe]                   model = "mlp", ...; [recipe.sgd], [recipe.method] with its name
    [prune]                    score = "magnitude", ...
    [retrain]                  warmup = 0.1, ...; [retrain.sgd]
    [grid]                     what takes several values, by the names of the command line's options
    [[skip]] or [[only]]       values of the grid: a run that has all of a table's is left out, or alone is wanted

YAML has the same structure. The file is its user's own words, so references in it are imported when they are needed, as
those on the command line are; paths and modules are looked for from the current folder.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, fields
from functools import cache, partial
from pathlib import Path
from typing import Any, get_origin

from retrainlab.checks import BadInput, check_number, choose, fitting, shortened
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.data.folders import printable
from retrainlab.methods.table import METHODS
from retrainlab.recipes import RECIPES
from retrainlab.study import documents
from retrainlab.study.settings import DENSE, Place, Run, experiments, method_settings, places, told

NOUNS = {"recipe": Recipe, "prune": Prune, "retrain": Retrain}
FILTERS = ("skip", "only")
MOST = 10_000_000  # runs of a grid, whose list alone takes minutes
SEEDS = "seeds"  # in the grid: how many, as of `grids.grid`
LONGEST = 1000  # characters of what is said of a mistake
_EVALUATIONS = Experiment.__dataclass_fields__["evaluations"]
ENTRIES = ("preset", "evaluations", *NOUNS, "grid", *FILTERS)


def study(path: Path | str) -> list[Experiment]:
    """The experiments of a study's file, each once; nothing is imported, and no data are looked for.

    Raises BadInput with the file's name and the entry for whatever in it is not as it should be.
    """
    said = documents.read(Path(path))
    try:
        return _study(said)
    except BadInput as error:
        words = printable(" ".join(str(error).split()))
        raise BadInput(f"{path}: {words if len(words) < LONGEST else f'{words[:LONGEST]} ...'}") from None


def _study(said: Mapping[str, Any]) -> list[Experiment]:
    _check_names(said, ENTRIES, "")
    base = RECIPES[_at("preset", choose, said["preset"], RECIPES, "preset")] if "preset" in said else Recipe()
    settings: dict[Place, Any] = {}
    for noun, kind in NOUNS.items():
        settings |= _settings(noun, _table(said, noun, noun), kind)
    if "evaluations" in said:
        settings["experiment", "evaluations"] = _at("evaluations", fitting, _EVALUATIONS, said["evaluations"])
    axes = _axes(_table(said, "grid", "grid"))
    if twice := [name for name in axes if places()[name] in settings]:
        both = f"{'.'.join(places()[twice[0]])} and grid.{twice[0]}"
        raise BadInput(f"{both} are the same setting, for all runs and for each; leave one out.")
    skip, only = (_filters(said.get(name), name, axes) for name in FILTERS)
    found = experiments(settings, axes, base, partial(_wanted, skip, only))
    if not found:
        raise BadInput("The filters leave no run; take one of them out.")
    return found


def _settings(where: str, table: Mapping[str, Any], kind: type) -> dict[Place, Any]:
    """The values of a noun's table by their places, each as its field takes it."""
    known = {f.name: f for f in fields(kind) if f.init}
    _check_names(table, known, where)
    out: dict[Place, Any] = {}
    for name, value in table.items():
        entry = f"{where}.{name}"
        if name == "sgd":
            out |= _settings(entry, _table(table, name, entry), SGD)
        elif name == "method":
            out |= _method(entry, _table(table, name, entry))
        else:
            out[(*where.split("."), name)] = _at(entry, fitting, known[name], value)
    return out


def _method(where: str, table: Mapping[str, Any]) -> dict[Place, Any]:
    """The values of a method's table; without its name, which is in the grid then, they can be any method's."""
    name = table.get("name")
    name = None if name is None else _at(f"{where}.name", choose, name, [*METHODS, DENSE], "method")
    of = [entry.settings for other, entry in METHODS.items() if name in (None, other)]
    known = {f.name: f for settings in of for f in fields(settings) if f.init}
    _check_names(table, ["name", *known], where)
    out: dict[Place, Any] = {} if name is None else {("recipe", "method", "name"): name}
    for setting in table.keys() - {"name"}:
        out["recipe", "method", setting] = _at(f"{where}.{setting}", fitting, known[setting], table[setting])
    return out


def _axes(table: Mapping[str, Any]) -> dict[str, Sequence]:
    """The values of each axis of the grid. Raises BadInput for more combinations than anybody runs."""
    _check_names(table, [*places(), SEEDS], "grid", "setting")
    axes: dict[str, Sequence] = {n: _values(f"grid.{n}", n, value) for n, value in table.items() if n != SEEDS}
    if SEEDS in table:
        if "seed" in axes:
            raise BadInput(
                "grid.seed and grid.seeds set the same: their numbers, and how many there are; leave one out."
            )
        _at(f"grid.{SEEDS}", partial(check_number, low=1, high=MOST, whole=True), table[SEEDS], "number of seeds")
        axes["seed"] = range(table[SEEDS])
    if (runs := math.prod(map(len, axes.values()))) > MOST:
        raise BadInput(f"The grid has {runs:,} runs, but a study has at most {MOST:,}; name fewer values or seeds.")
    return axes


def _values(entry: str, name: str, value: object) -> list:
    """One value or several of a setting, each as its field takes it."""
    values = value if isinstance(value, list) else [value]
    f = None if name == "method" else _fields()[name]
    if f is not None and get_origin(f.type) is tuple and not all(isinstance(one, list) for one in values):
        values = [value]
    if not values:
        raise BadInput(f"{entry}: There is no value; give one at least.")
    if f is None:
        return [_at(entry, choose, one, [*METHODS, DENSE], "method") for one in values]
    return [_at(entry, fitting, f, one) for one in values]


@cache
def _fields() -> dict[str, Field]:
    """The field of each setting, by its name."""
    out = {name: f for kind in (Recipe, SGD, Prune, Retrain) for f, name in told(kind)}
    return out | {name: next(iter(owners.values())) for name, owners in method_settings().items()}


def _filters(said: object, where: str, axes: Mapping[str, Sequence]) -> list[dict[str, list]]:
    """Of each filter the values by name. Raises BadInput for one that no run of the grid has."""
    out = []
    for number, one in enumerate(said if isinstance(said, list) else [] if said is None else [said], 1):
        entry = f"{where} {number}"
        if not isinstance(one, Mapping) or not one:
            raise BadInput(f"{entry}: It must be names with values, such as schedule = 'FT'.")
        _check_names(one, axes, entry, "axis of the grid")
        own = {name: _values(f"{entry}, {name}", name, value) for name, value in one.items()}
        for name, values in own.items():
            if strange := [value for value in values if value not in axes[name]]:
                there = shortened([str(value) for value in axes[name]], 10)
                raise BadInput(f"{entry}, {name}: No run of the grid has {strange[0]!r}; it has {there}.")
        out.append(own)
    return out


def _wanted(skip: Sequence[Mapping[str, list]], only: Sequence[Mapping[str, list]], run: Run) -> bool:
    """Whether the filters let a combination through."""

    def fits(one: Mapping[str, list]) -> bool:
        return all(run[name] in values for name, values in one.items())

    return not any(map(fits, skip)) and (not only or any(map(fits, only)))


def _table(of: Mapping[str, Any], name: str, entry: str) -> Mapping[str, Any]:
    """The names with values under that name; none if it is not there."""
    found = of.get(name)
    if not isinstance(found, Mapping | None):
        raise BadInput(f"{entry}: It is {found!r}, but must be names with values.")
    return found or {}


def _check_names(table: Mapping[str, Any], allowed: Collection[str], where: str, what: str = "entry") -> None:
    for name in table:
        _at(where, choose, name, allowed, what)


def _at(entry: str, check: Callable, *arguments: Any) -> Any:
    """What the check returns; its BadInput is told with the entry, if any."""
    try:
        return check(*arguments)
    except BadInput as error:
        raise BadInput(f"{entry}: {error}" if entry else str(error)) from None
