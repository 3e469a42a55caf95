"""The command line's options for an experiment: one for each field of the nouns that has a help text, and back.

Retraining has a schedule, a learning rate and a warm-up of its own, so the dense run's are told apart by name; so is a
method's allocation from that of the prune. This module loads no torch.
"""

import argparse
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any, TypeVar, cast, get_args

from retrainlab.checks import BadInput, choose, is_reference
from retrainlab.config import FREE_SCHEDULES, SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.methods.knobs import Knobs
from retrainlab.methods.table import METHODS, SEARCHED
from retrainlab.study.machine import Machine

DENSE_NAMES = {"schedule": "dense_schedule", "lr": "dense_lr", "warmup": "dense_warmup"}
Noun = TypeVar("Noun", Recipe, SGD, Prune, Retrain)
LISTS = ("seed", "sparsity", "budget", "schedule")  # options of which a study takes several values


def add_machine(parser: argparse._ActionsContainer, study: bool = True, sitting: bool = False) -> None:
    """Options of every command that may train. study: also those that only studies have; sitting: also how long it may take,
    and a cluster that does it, for what can stop and go on."""
    for f in fields(Machine):
        left_out = (() if study else ("engine", "fresh", "stored_only")) + (() if sitting else ("minutes", "scheduler"))
        if f.name not in left_out:
            how: dict = {"action": "store_true"} if bool in (f.type, *get_args(f.type)) else {"type": f.type}
            parser.add_argument(_flag(f.name), default=f.default, help=f.metadata["help"], **how)


def machine(options: argparse.Namespace) -> Machine:
    """The machine that the options of `add_machine` describe."""
    asked = vars(options)
    return Machine(**{f.name: asked[f.name] for f in fields(Machine) if f.name in asked})


def add_experiment(parser: argparse.ArgumentParser, many: bool, sitting: bool = True) -> None:
    """An option for each field of the nouns. many: seeds, sparsities, budgets and schedules are lists. sitting: see
    `add_machine`."""
    dense = parser.add_argument_group("dense run")
    _add(dense, Recipe, many)
    _add(dense, SGD, many)
    _add_method(parser.add_argument_group("method that sparsifies during training"))
    _add(parser.add_argument_group("pruning"), Prune, many)
    _add(parser.add_argument_group("retraining"), Retrain, many)
    add_machine(parser.add_argument_group("machine"), sitting=sitting)


def experiments(options: argparse.Namespace) -> list[Experiment]:
    """The experiments that the options of `add_experiment` describe."""
    from retrainlab.study.grids import grid

    values = {name: getattr(options, name) for name in LISTS}
    axes = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    if "custom" in axes["schedule"]:
        raise BadInput(
            "A drawn schedule needs control points, which Python takes: Retrain('custom', points=[(0, 0.1), (1, 0)])."
        )
    one = argparse.Namespace(**vars(options) | {name: axis[0] for name, axis in axes.items()})
    recipe = _noun(Recipe, one, sgd=_noun(SGD, one), method=_method(one))
    free = [
        s for s in axes["schedule"] if s in FREE_SCHEDULES or is_reference(s)
    ]  # without one, a stray --lr is for Retrain to refuse
    plans = [
        _noun(Retrain, one, schedule=schedule, lr=one.lr if schedule in free or not free else None)
        for schedule in axes["schedule"]
    ]
    seeds, sparsities, budgets = axes["seed"], axes["sparsity"], axes["budget"]
    return grid(recipe, sparsities=sparsities, budgets=budgets, schedules=plans, seeds=seeds, prune=_noun(Prune, one))


def _told(kind: type) -> Iterator[tuple[Field, str]]:
    """The fields of a noun that have a help text, with the names of their options."""
    names = DENSE_NAMES if kind is Recipe else {}
    return ((f, names.get(f.name, f.name)) for f in fields(kind) if "help" in f.metadata)


def _noun(kind: type[Noun], options: argparse.Namespace, **given: object) -> Noun:
    """The noun that the options describe, but for the fields that are given."""
    asked: dict[str, Any] = {field.name: getattr(options, option) for field, option in _told(kind)}
    return kind(**asked | given)


def _add(group: argparse._ArgumentGroup, kind: type, many: bool) -> None:
    for f, option in _told(kind):
        default: Any = f.default
        kinds = (f.type, *get_args(f.type))
        how: dict = {"type": next((k for k in (float, int, str) if k in kinds), None)}
        if bool in kinds:
            how = {"action": argparse.BooleanOptionalAction}
        elif many and option in LISTS:
            how["nargs"], default = "+", [default]
        elif isinstance(default, tuple):
            how["nargs"] = "+"
        group.add_argument(_flag(option), default=default, help=f.metadata["help"], **how)


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _method_options() -> dict[str, dict[str, Field]]:
    """For each option of a method, the methods that have it, with the field of their settings that it sets."""
    out: dict[str, dict[str, Field]] = {}
    for name, entry in METHODS.items():
        for f in fields(entry.settings):
            if "help" in f.metadata and f.name != "sparsity":  # which is that of the prune
                out.setdefault("order" if f.name == "allocation" else f.name, {})[name] = f
    return out


def _add_method(group: argparse._ArgumentGroup) -> None:
    knobs = [_flag(entry.knob.field) for entry in METHODS.values() if entry.knob]
    whose, which = (f"{', '.join(several[:-1])} and {several[-1]}" for several in (SEARCHED, knobs))
    group.add_argument(
        "--method",
        help=f"{', '.join(METHODS)}; dense training if left out. Its sparsity is --sparsity; "
        f"{whose} reach theirs only through {which} (search.reach in Python finds them)",
    )
    for option, owners in _method_options().items():
        some = next(iter(owners.values()))
        defaults = ", ".join(f"{name} {f.default}" for name, f in owners.items())
        help = f"{some.metadata['help']} (default: {defaults})"
        group.add_argument(_flag(option), type=cast(type, some.type), help=help)


def _method(options: argparse.Namespace) -> Knobs | None:
    """The method that the options describe."""
    name = choose(options.method, METHODS, "method") if options.method else None
    asked = {option: owners for option, owners in _method_options().items() if getattr(options, option) is not None}
    if stray := [_flag(option) for option, owners in asked.items() if name not in owners]:
        whose = name or "dense training, without --method,"
        raise BadInput(f"Leave {', '.join(stray)} out: {whose} has no such setting.")
    if name is None:
        return None
    return METHODS[name].settings(**{owners[name].name: getattr(options, option) for option, owners in asked.items()})
