"""The command line's options for an experiment: one for each field of the nouns that has a help text, and back.

Their names are those of `study.settings`, which makes the experiments. This module loads no torch.
"""

import argparse
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast, get_args

from retrainlab.checks import BadInput, choose
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.methods.table import METHODS, SEARCHED
from retrainlab.study import settings
from retrainlab.study.machine import Machine
from retrainlab.study.settings import DENSE, LISTS, method_settings, places, told


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
    values = {name: value for name, value in vars(options).items() if name in places() and value is not None}
    _check_method(values)
    axes = {name: values.pop(name) for name in LISTS}
    axes = {name: value if isinstance(value, list) else [value] for name, value in axes.items()}
    if "custom" in axes["schedule"]:
        raise BadInput(
            "A drawn schedule needs control points, which a study's file takes, and Python: Retrain('custom', "
            "points=[(0, 0.1), (1, 0)])."
        )
    return settings.experiments({places()[name]: value for name, value in values.items()}, axes)


def strays(options: argparse.Namespace, many: bool, also_machine: bool = False) -> list[str]:
    """Which options of `add_experiment` have other values than their defaults; those of the machine only if asked for."""
    add_experiment(parser := argparse.ArgumentParser(), many)
    usual = vars(parser.parse_args([]))
    names = usual if also_machine else places()
    return [_flag(name) for name, value in vars(options).items() if name in names and value != usual[name]]


def _add(group: argparse._ArgumentGroup, kind: type, many: bool) -> None:
    for f, option in told(kind):
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


def _add_method(group: argparse._ArgumentGroup) -> None:
    knobs = [_flag(entry.knob.field) for entry in METHODS.values() if entry.knob]
    whose, which = (f"{', '.join(several[:-1])} and {several[-1]}" for several in (SEARCHED, knobs))
    group.add_argument(
        "--method",
        help=f"{', '.join(METHODS)}; dense training if left out, or dense. Its sparsity is --sparsity; "
        f"{whose} reach theirs only through {which} (search.reach in Python finds them)",
    )
    for option, owners in method_settings().items():
        some = next(iter(owners.values()))
        defaults = ", ".join(f"{name} {f.default}" for name, f in owners.items())
        help = f"{some.metadata['help']} (default: {defaults})"
        group.add_argument(_flag(option), type=cast(type, some.type), help=help)


def _check_method(values: Mapping[str, object]) -> None:
    """Raise BadInput for a method that there is not, and for settings of others, which are named as their options."""
    name = choose(str(values.get("method", DENSE)), [*METHODS, DENSE], "method")
    owners = ((option, owners) for option, owners in method_settings().items() if option in values)
    if stray := [_flag(option) for option, its in owners if name not in its]:
        whose = "dense training, without --method," if name == DENSE else name
        raise BadInput(f"Leave {', '.join(stray)} out: {whose} has no such setting.")
