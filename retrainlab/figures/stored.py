"""Which figures can be drawn from what is stored alone: what a notebook asks its store for, found without a kernel; and in
words what the others lack, with what it costs on this device."""

import json
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from io import StringIO
from pathlib import Path

from retrainlab.data import sources
from retrainlab.device import describe, resolve
from retrainlab.figures import cost
from retrainlab.figures.presets import Preset
from retrainlab.figures.provenance import trained
from retrainlab.paths import command
from retrainlab.progress import Progress, span
from retrainlab.study.lacking import NotStored, epochs, joined, words
from retrainlab.study.machine import Machine
from retrainlab.study.plan import Missing
from retrainlab.study.stages import steps_of


def lacking(notebook: Path, given: Mapping[str, object]) -> NotStored | None:
    """What the notebook's studies lack. given: its parameters, with `stored_only`, so that nothing is trained.

    Its cells run here, but for the last, which draws and saves, until a study lacks runs. None if none does, if it asks for
    no study (what reads other figures' files), or if it fails in another way: its kernel will say so.
    """
    code = _code(notebook)
    if "Machine(" not in "".join(code):
        return None
    names: dict[str, object] = {"__name__": "__main__"}
    with redirect_stdout(StringIO()):
        try:
            exec(code[0], names)
            names |= given
            for cell in code[1:-1]:
                exec(cell, names)
        except NotStored as error:
            return error
        except Exception:
            return None
    return None


def lacking_of(notebooks: Mapping[str, Path], given: Mapping[str, object]) -> dict[str, NotStored]:
    """What those notebooks lack, by their names, that lack something; see `lacking`."""
    out, progress = {}, Progress("figures")
    for place, (name, path) in enumerate(notebooks.items()):
        progress(place / len(notebooks), f"what {name} needs of the store")
        if lack := lacking(path, given):
            out[name] = lack
    progress.close()
    return out


def _code(notebook: Path) -> list[str]:
    """The code cells, parameters first."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def told(lacks: Mapping[str, NotStored], settings: Preset, machine: Machine) -> Iterator[str]:
    """A line for each figure with what it lacks, and one for all with how to make it. The time is estimated from the speed
    that is remembered of this device, or measured now where the images are here."""
    together = joined(lack.missing for lack in lacks.values())
    speeds = cost.speeds(steps(together), settings, machine)
    for name, lack in lacks.items():
        yield f"  {name}: {words(lack.missing, lack.more)}{_time(lack.missing, speeds, machine)}"
    more = any(lack.more for lack in lacks.values())
    yield f"Together, each run once: {words(together, more)}{_time(together, speeds, machine)}."
    if speeds:
        each = "; ".join(f"{1e3 * seconds:.2g} ms a step of {what}" for what, seconds in speeds.items())
        yield f"(Estimated for {describe(resolve(machine.device))} from {each}; evaluations take as long again at most.)"
    for data in {settings.recipe.data, settings.contest.data} & sources.missing().keys():
        yield f"How long that takes here is told once the images of {data} are here: {sources.missing()[data]}."
    yield (
        f"Train it with {command(f'figures --preset {settings.name} --compute')}, best on a GPU; what is finished is kept, "
        "and the same command goes on from there."
    )


def steps(missing: Missing) -> dict[str, float]:
    """Training steps of one network, all together, by what is trained."""
    out: dict[str, float] = {}
    for recipe, count in epochs(missing).items():
        what = trained(asdict(recipe))
        out[what] = out.get(what, 0.0) + count * steps_of(recipe)
    return out


def _time(missing: Missing, speeds: Mapping[str, float], machine: Machine) -> str:
    """`; about 2 h to 4 h`, or nothing where a speed is not known."""
    counts = steps(missing)
    if not counts or counts.keys() - speeds.keys():
        return ""
    return f"; about {span(cost.seconds(counts, speeds, machine))}"
