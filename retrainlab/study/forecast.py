"""What a study costs before it is made: which runs are missing, how long they take here, and how much room in the store."""

from collections.abc import Sequence
from dataclasses import replace

from retrainlab.checks import shortened
from retrainlab.config import Experiment, Recipe
from retrainlab.data import sources
from retrainlab.data.folders import printable
from retrainlab.device import describe, resolve
from retrainlab.phrases import listed
from retrainlab.progress import Progress, span
from retrainlab.study import lacking
from retrainlab.study.machine import Machine
from retrainlab.study.plan import Missing
from retrainlab.study.results import Results
from retrainlab.study.speed import WORTH_A_PROBE, Pace, at_once, paces, total
from retrainlab.study.stages import check_all


def told(experiments: Sequence[Experiment], machine: Machine) -> str:
    """A line each on the runs, their training, the time that it takes and their size, without training anything or writing
    to the store. How fast this device is is remembered, or measured now (a few seconds a network) where there is much to
    train. Raises BadInput for what a study would refuse before it trains; images that are not here are none of that."""
    store = replace(Results.at(machine.store).store, only_read=True)
    missing = Missing.of(experiments, Results.at(store), machine.fresh)
    runs, there = len({*experiments}), len(missing.found)
    first = f"{_count(runs, 'run')}: {there:,} stored, {len(missing.results):,} to make"
    if not missing.results:
        return f"{first}; all are in {store.root}."
    made = f"{_count(len(missing.dense), 'first training')} and {_count(len(missing.pruned), 'prune')}"
    size = f"about {missing.bytes() / 1e6:,.1f} MB in {store.root}, where {store.room() / 1e6:,.0f} MB are free"
    return "\n".join(
        [
            f"{first}, which need {made} that are not stored.",
            f"Training: {lacking.words(missing)}.",
            f"Time: {_time(missing, machine)}.",
            f"Size: {size}.",
            "Nothing was trained, and the store is as it was.",
        ]
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _time(missing: Missing, machine: Machine) -> str:
    where = resolve(machine.device)
    absent = {e.recipe.data for e in missing.results.values()} & sources.missing().keys()
    check_all([e for e in missing.results.values() if e.recipe.data not in absent], where)
    if absent:
        how = "; ".join(sources.missing()[data] for data in sorted(absent))
        return f"known once the images of {listed(sorted(absent))} are here ({how})"
    progress, on = Progress("study"), describe(where)
    try:
        paced = paces(missing, machine.engine, where, lambda share, words: progress(share, f"{words} on {on}"))
    finally:
        progress.close()
    known = total([pace for pace in paced.values() if pace.seconds])
    if not known:
        few = f"for fewer than {WORTH_A_PROBE:,} steps of a network"
        return f"not measured {few if machine.engine == 'auto' else f'with --engine {machine.engine}, without which it is'}"
    count = min(at_once(machine.jobs, where), len(missing.results))
    steps = [_steps(recipe, pace) for recipe, pace in paced.items()]
    processes = f" in {count} processes" if count > 1 else ""
    return (
        f"about {span(known / count)} on {on}{processes}, by the speed measured here ({shortened(steps, 5)}; as much again "
        "at most for evaluations, pruning and methods)"
    )


def _steps(recipe: Recipe, pace: Pace) -> str:
    """How many steps of a network, and how long each takes."""
    each = f"{1e3 * pace.engine.seconds:.2g} ms each" if pace.seconds else "too few to measure"
    return f"{pace.steps:,.0f} steps of {recipe.model} on {printable(recipe.data)}: {each}"
