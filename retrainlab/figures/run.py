"""Run the figure notebooks through papermill: notebooks/figNN_*.ipynb -> figures/PRESET/, those that something changed for.

The notebooks stay as they are; what they print while they compute is shown live, their figures are the output.
"""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab.checks import BadInput, Failed, choose, listed
from retrainlab.config import PRECISIONS
from retrainlab.figures import cost, made, notebooks, presets, sources
from retrainlab.paths import make_writable, project, store_root
from retrainlab.progress import duration
from retrainlab.study.machine import Machine

if TYPE_CHECKING:
    from retrainlab.study.lacking import NotStored

CELL_TIMEOUT = 30 * 24 * 3600  # seconds; a preset for a GPU may train for days in one cell


def available() -> dict[str, Path]:
    """Figure notebooks by name, in order: fig01_schedules, ..."""
    return {path.stem: path for path in sorted((project() / "notebooks").glob("fig*.ipynb"))}


def select(names: Sequence[str]) -> list[str]:
    """Full names for what the user called `fig03` or `fig03_budgets`; those of all where none is named. They are in
    the figures' order, since the last reads what others save."""
    known, names = available(), listed(names, str, "figures' names")
    if not names:
        return list(known)
    short = {full.split("_")[0]: full for full in known}
    wanted = {short.get(name) or choose(name, known, "figure") for name in names}
    return [name for name in known if name in wanted]


def make(
    names: Sequence[str] = (),
    preset: str = "digits",
    machine: Machine = Machine(),
    *,
    precision: str = "",
    output: str = "",
    dry_run: bool = False,
) -> list[Path]:
    """Run the notebooks of `names` (all if none) one after the other, but for figures that are up to date (see `made`),
    unless the machine makes all fresh; figures go to `output`, or figures/PRESET. If the machine trains nothing, or
    leaves that to a preset that says so, it is told what figures lack, and what that costs. dry_run: only say which would be
    made, why, and what that costs.

    Returns the paths of the PNGs. Raises BadInput before any notebook runs, or when one does; KeyboardInterrupt on Ctrl-C;
    and Failed after the last one, with a sentence for each that failed. What was executed of these is in OUTPUT/failed/.
    """
    if precision:
        choose(precision, PRECISIONS, "precision")
    settings = presets.asked(preset, output, precision=precision)
    precision = settings.precision
    machine = _allowed(machine, settings)
    folder, store = presets.folder(settings).resolve(), Path(machine.store) if machine.store else store_root()
    own = {"preset": preset, "precision": precision, "device": machine.device}
    known = available()
    chosen = {name: made.Asked(known[name], folder, store, own) for name in select(names)}
    reasons = _reasons(chosen.values(), machine.fresh)
    if not reasons:
        print(f"{_counted(chosen)} in {_shown(folder)}/, all up to date: nothing to make.")
        return [folder / f"{name}.png" for name in chosen]
    given = asdict(machine) | {"preset": preset, "precision": precision, "output": str(folder)}
    for name in ("minutes", "scheduler"):  # a notebook draws whole studies, and computes where it runs
        del given[name]
    for name in reasons:
        if unknown := given.keys() - notebooks.parameters(known[name]):
            raise BadInput(f"The notebook {name} has no parameter {', '.join(sorted(unknown))}; restore it from git.")
    lacks = _lacking({name: known[name] for name in reasons}, given) if machine.stored_only else {}
    chosen = {name: one for name, one in chosen.items() if name not in lacks}
    reasons = {name: reason for name, reason in reasons.items() if name not in lacks}
    if not dry_run:
        make_writable(folder, [f"{name}.{end}" for name in reasons for end in presets.ENDS])
    lacking = {} if machine.stored_only else reasons
    missing = cost.missing(lacking, settings, folder, store, machine.fresh)
    words = cost.sentence(reasons, len(chosen), settings, machine, missing)
    if dry_run:
        print("\n".join([words, *(f"  {name}: {reason}" for name, reason in reasons.items())]))
        _tell(lacks, {}, settings, machine)
        return []
    print(words, file=sys.stderr, flush=True)
    begin = time.monotonic()
    refused: dict[str, str] = {}
    failed = _execute(reasons, chosen, given, refused)
    if shaken := {
        name: reason
        for name, reason in _reasons(one for name, one in chosen.items() if name not in failed).items()
        if chosen[name].record.exists()  # made, or up to date, before others changed what it is made from
    }:
        failed |= _execute(shaken, chosen, given | {"fresh": False}, refused)
    there = [folder / f"{name}.png" for name in chosen if name not in failed | refused]
    now = "" if len(reasons) == len(chosen) else f" ({len(reasons.keys() - (failed | refused).keys())} made now)"
    print(f"{_counted(there)} in {_shown(folder)}/{now}, {duration(time.monotonic() - begin)}.")
    _tell(lacks, refused, settings, machine)
    if failed:
        raise Failed("\n".join([f"{len(failed)} of {len(reasons)} figures failed.", *failed.values()]))
    return there


def _counted(figures: Sized) -> str:
    """`1 figure`, `2 figures`."""
    return f"{len(figures)} figure{'s' * (len(figures) != 1)}"


def _shown(folder: Path) -> Path:
    """A folder as a reader knows it: inside the project by its place there."""
    return folder.relative_to(project()) if folder.is_relative_to(project()) else folder


def _reasons(figures: Iterable[made.Asked], fresh: bool = False) -> dict[str, str]:
    """Why each of these figures is to be made, without those that need not be."""
    modules = sources.texts()
    found = {one.name: "all is made fresh" if fresh else made.why(one, modules) for one in figures}
    return {name: reason for name, reason in found.items() if reason}


def _allowed(machine: Machine, settings: presets.Preset) -> Machine:
    """The machine, which trains nothing if the preset says so and it does not itself say otherwise."""
    if machine.stored_only is not None:
        return machine
    if settings.stored_only and machine.fresh:
        raise BadInput(
            f"Figures of {settings.name} train nothing unless that is asked for; give --compute with --fresh."
        )
    return replace(machine, stored_only=settings.stored_only)


def _lacking(asked: Mapping[str, Path], given: dict) -> "dict[str, NotStored]":
    from retrainlab.figures.stored import lacking_of  # which loads torch

    return lacking_of(asked, given)


def _tell(
    lacks: "Mapping[str, NotStored]", refused: Mapping[str, str], settings: presets.Preset, machine: Machine
) -> None:
    """Print what figures lack, and why others refused to be drawn."""
    if lacks or refused:
        print("Not drawn, as nothing is trained here:")
        print("".join(f"  {sentence}\n" for sentence in refused.values()), end="")
    if lacks:
        from retrainlab.figures.stored import told

        print("\n".join(told(lacks, settings, machine)))


def _execute(
    reasons: Mapping[str, str], figures: Mapping[str, made.Asked], given: dict, refused: dict[str, str]
) -> dict[str, str]:
    """Run these notebooks, and record what each figure was made from; returns a sentence for each that failed. refused: gets
    one for each that refuses what it finds, as it may where nothing is trained; else that ends all."""
    failed: dict[str, str] = {}
    for number, (name, reason) in enumerate(reasons.items(), 1):
        one, start = figures[name], time.monotonic()
        print(f"[{number}/{len(reasons)}] {name} ({reason})", file=sys.stderr, flush=True)
        begun, seen = made.before(one, sources.texts()), made.beside(one)
        made.forget(one)
        try:
            notebooks.execute(one.notebook, given, one.folder / "failed" / f"{name}.ipynb", CELL_TIMEOUT, live=True)
            made.keep(one, begun, seen)
        except (Failed, BadInput) as error:
            stored_only = isinstance(error, BadInput) and given["stored_only"]
            if (
                isinstance(error, BadInput) and not failed and not stored_only
            ):  # else it may lack what others failed to save
                raise
            (refused if stored_only else failed)[name] = f"{name}: {error}"
        end = "not drawn" if name in refused else "failed" if name in failed else f"{_shown(one.folder)}/{name}.png"
        print(f"      {end}  ({duration(time.monotonic() - start)})", flush=True)
    return failed
