"""Run the figure notebooks through papermill: notebooks/figNN_*.ipynb -> figures/PRESET/.

The notebooks stay as they are; what they print while they compute is shown live, their figures are the output.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from retrainlab.checks import BadInput, Failed, choose, listed
from retrainlab.config import PRECISIONS
from retrainlab.figures import notebooks, presets
from retrainlab.paths import make_writable, project
from retrainlab.progress import duration
from retrainlab.study.machine import Machine

CELL_TIMEOUT = 30 * 24 * 3600  # seconds; a preset for a GPU may train for days in one cell


def available() -> dict[str, Path]:
    """Figure notebooks by name, in order: fig01_schedules, ..."""
    return {path.stem: path for path in sorted((project() / "notebooks").glob("fig*.ipynb"))}


def select(names: Sequence[str]) -> list[str]:
    """Full names for what the user called `fig03` or `fig03_budgets`; those of all figures where none is named."""
    known, names = available(), listed(names, str, "figures' names")
    if not names:
        return list(known)
    short = {full.split("_")[0]: full for full in known}
    return list(dict.fromkeys(short.get(name) or choose(name, known, "figure") for name in names))


def make(
    names: Sequence[str] = (),
    preset: str = "digits",
    machine: Machine = Machine(),
    *,
    precision: str = "float32",
    output: str = "",
) -> list[Path]:
    """Run the notebooks of `names` (all if none) one after the other; their figures go to `output`, or figures/PRESET.

    Returns the paths of the PNGs. Raises BadInput before any notebook runs, or when one does; KeyboardInterrupt on Ctrl-C;
    and Failed after the last one, with a sentence for each that failed. What was executed of these is in OUTPUT/failed/.
    """
    choose(precision, PRECISIONS, "precision")
    folder = presets.folder(presets.asked(preset, output, precision=precision)).resolve()
    chosen, given = select(names), asdict(machine) | {"preset": preset, "precision": precision, "output": str(folder)}
    for name in chosen:
        if unknown := given.keys() - notebooks.parameters(available()[name]):
            raise BadInput(f"The notebook {name} has no parameter {', '.join(sorted(unknown))}; restore it from git.")
    make_writable(folder, [f"{name}.{end}" for name in chosen for end in presets.ENDS])
    shown = folder.relative_to(project()) if folder.is_relative_to(project()) else folder
    begin, failed = time.monotonic(), {}
    for number, name in enumerate(chosen, 1):
        start = time.monotonic()
        print(f"[{number}/{len(chosen)}] {name}", file=sys.stderr, flush=True)
        keep = folder / "failed" / f"{name}.ipynb"
        try:
            notebooks.execute(available()[name], given, keep, CELL_TIMEOUT, live=True)
        except Failed as error:
            failed[name] = f"{name}: {error}"
        end = "failed" if name in failed else f"{shown}/{name}.png"
        print(f"      {end}  ({duration(time.monotonic() - start)})", flush=True)
    made = [folder / f"{name}.png" for name in chosen if name not in failed]
    print(f"{len(made)} figures in {shown}/, {duration(time.monotonic() - begin)}.")
    if failed:
        raise Failed("\n".join([f"{len(failed)} of {len(chosen)} figures failed.", *failed.values()]))
    return made
