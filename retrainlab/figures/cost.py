"""What figures cost before they are made: the training steps that are missing, at the speed measured on this device.

A saved figure says how many steps all its runs take (`steps`), also one that was made elsewhere, as those in the project
were; how fast this device takes them is what the engine remembers, or measures now as it would when the first figure trains.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from retrainlab.checks import BadInput, shortened
from retrainlab.figures import presets
from retrainlab.figures.made import stored
from retrainlab.figures.provenance import described, texts, trained
from retrainlab.paths import project
from retrainlab.phrases import listed
from retrainlab.progress import duration, span
from retrainlab.study.machine import Machine

DRAWING = 6.0  # seconds for a kernel to start and to draw a figure whose results are stored, about


@dataclass(frozen=True)
class Missing:
    """What is to be trained. steps: of one network, all together, by what is trained; unknown: figures of which no saved
    one says how many they are."""

    steps: dict[str, float]
    unknown: tuple[str, ...]


def missing(
    names: Collection[str], settings: presets.Preset, folder: Path, store: Path, fresh: bool = False
) -> Missing:
    """What is to be trained for these figures. folder: where they are saved, or else that of the preset in the project is
    asked. A result that several figures share counts for the first; a figure's steps are taken to be shared out evenly
    among its results. fresh: all of them, stored or not; so it is where the saved figure is of another precision."""
    total: dict[str, float] = {}
    counted: set[str] = set()
    unknown, own = [], presets.changed(settings)
    for name in names:
        both = (described(f, name) for f in (folder, project() / "figures" / settings.name))
        about = next((one for one in both if texts(one, "results") and isinstance(one.get("steps"), dict)), {})
        counts = about.get("steps", {})
        if not counts and not texts(about, "read"):  # what reads other figures trains nothing of its own
            unknown.append(name)
            continue
        if not counts:
            continue
        keys = texts(about, "results")
        anew = fresh or about.get("parameters") != own
        new = {key for key, digest in stored(store, keys).items() if anew or not digest} - counted
        counted |= new
        for what, count in counts.items():
            if isinstance(count, int):
                total[what] = total.get(what, 0.0) + count * len(new) / len(keys)
    return Missing({what: count for what, count in total.items() if count}, tuple(unknown))


def speeds(wanted: Mapping[str, float], settings: presets.Preset, machine: Machine) -> dict[str, float]:
    """Seconds of a step on this device by what is trained, as far as it is one of the preset's networks and its images are
    here: what is remembered, or measured now (a few seconds a network) where there is much to train."""
    from retrainlab.device import resolve
    from retrainlab.progress import Progress
    from retrainlab.study.speed import engine_of
    from retrainlab.study.stages import common, prepare

    out, progress = {}, Progress(settings.name)
    for recipe in map(common, (settings.recipe, settings.contest)):
        count = wanted.get(what := trained(asdict(recipe)), 0.0)
        if not count or what in out or machine.engine != "auto":
            continue
        try:
            setup, _ = prepare(recipe, resolve(machine.device))
        except BadInput:  # the notebook will say so
            continue
        if step := engine_of(setup, recipe, "auto", count, lambda words: progress(0.0, words)).seconds:
            out[what] = step
    progress.close()
    return out


def seconds(steps: Mapping[str, float], known: Mapping[str, float], machine: Machine) -> float:
    """How long training takes here. steps: of one network, by what is trained; known: seconds of a step of each."""
    from retrainlab.device import resolve
    from retrainlab.study.speed import at_once

    together = at_once(machine.jobs, resolve(machine.device))
    return sum(count * known[what] for what, count in steps.items()) / together


def sentence(todo: Collection[str], chosen: int, settings: presets.Preset, machine: Machine, lacking: Missing) -> str:
    """How many figures are to be made and what that takes on this device, with where the number comes from. lacking: what
    `missing` says of them."""
    begin = f"{settings.name}: {len(todo)} of {chosen} figures to make"
    some = "these" if len(lacking.unknown) == len(todo) else shortened(lacking.unknown, 3)
    beside = f"; the cost of {some} is not known yet" if lacking.unknown else ""
    drawing = DRAWING * (len(todo) - len(lacking.unknown))
    if not lacking.steps:
        return f"{begin}; nothing to train, about {duration(drawing)}{beside}." if drawing else f"{begin}{beside}."

    from retrainlab.device import describe, resolve

    where, known = describe(resolve(machine.device)), speeds(lacking.steps, settings, machine)
    if strange := [what for what in lacking.steps if what not in known]:
        return f"{begin}; how long it takes is not known on {where}, nor how fast it trains {listed(strange)}{beside}."
    trained_in = seconds(lacking.steps, known, machine)
    parts = [f"{count:,.0f} steps of {what}, {1e3 * known[what]:.2g} ms each" for what, count in lacking.steps.items()]
    return (
        f"{begin}; about {span(trained_in, drawing)} on {where} (estimated from the speed measured here: "
        f"{'; '.join(parts)}; as much again at most for evaluations, pruning and methods; {DRAWING:g} s a figure to draw it)"
        f"{beside}."
    )
