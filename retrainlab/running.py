"""`retrainlab run | study`: experiments from options or a file into the store, and their table."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab import tables
from retrainlab.checks import BadInput
from retrainlab.config import Experiment
from retrainlab.options import add_experiment, experiments, machine, strays
from retrainlab.paths import target

if TYPE_CHECKING:
    import pandas as pd


def add(command: Callable[[str, Callable, str], argparse.ArgumentParser]) -> None:
    """Add the parsers of these commands; command: makes one from its name, its function and its help text."""
    run = command("run", _run, "run one experiment: train, prune, retrain")
    add_experiment(run, many=False)
    study = command("study", _study, "run a grid of experiments and print its table")
    study.add_argument(
        "file", nargs="?", metavar="FILE", help="a study in TOML or YAML, in place of the options for experiments"
    )
    add_experiment(study, many=True)
    study.add_argument(
        "--csv",
        metavar="FILE",
        help="write every row, with all that was measured, to this file; - is stdout, in place of the table",
    )
    study.add_argument(
        "--dry-run",
        action="store_true",
        help="only say how many runs there are, how many of them are missing, and what these cost",
    )


def _run(options: argparse.Namespace) -> None:
    asked = experiments(options)
    from retrainlab.report import report

    frame = machine(options).study(asked, "study")
    if len(frame):  # a sitting may be too short for it, which has been said
        print(report(frame))


def _study(options: argparse.Namespace) -> None:
    asked = _described(options) if options.file is not None else experiments(options)
    if options.dry_run:
        from retrainlab.study import forecast

        print(forecast.told(asked, machine(options)))
        return
    table = target(options.csv, "The table") if options.csv and options.csv != "-" else None

    from retrainlab.report import report

    frame = machine(options).study(asked, "study")
    if table is not None and len(frame):
        _write(frame, table)
    if options.csv == "-":
        print(tables.csv(frame), end="")
    elif len(frame):
        print(report(frame))


def _write(frame: "pd.DataFrame", table: Path) -> None:
    try:
        tables.write(frame, table)
    except OSError as error:
        raise BadInput(f"The table cannot be written to {table} ({error.strerror}); name another file.") from None


def _described(options: argparse.Namespace) -> list[Experiment]:
    """The experiments of a study's file, beside which no option may describe others."""
    if stray := strays(options, many=True):
        raise BadInput(f"Leave {', '.join(stray)} out: {options.file} says what is to be run; write it there.")
    from retrainlab.study import described

    return described.study(options.file)
