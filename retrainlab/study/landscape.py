"""Where an experiment's retraining goes: two copies are retrained from one pruned network on batches of their own, and
measured along the straight lines from the pruned network to the first copy, and from there to the second.

A store keeps no retrained weights. So the copies are measured while they are there, and the measures are kept as a result
beside the others, under a key of their own; dense networks and masks are those that other studies share. Each place on the
lines is measured twice, on validation images: raw, its BatchNorm statistics interpolated like its weights, and with these
recalibrated. The copies and their average, which lies halfway between them, are measured on test images, too.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import pandas as pd
import torch

from retrainlab import landscape, metrics
from retrainlab.checks import BadInput, listed
from retrainlab.config import Experiment, Retrain
from retrainlab.device import cores, describe, repeatable, resolve
from retrainlab.keys import key
from retrainlab.progress import Progress
from retrainlab.pruning import Masks, Weights
from retrainlab.study.courses import drive
from retrainlab.study.lacking import NotStored
from retrainlab.study.ledger import Part, Task
from retrainlab.study.machine import Machine
from retrainlab.study.making import cost, grouped
from retrainlab.study.measured import Dense, Pruned
from retrainlab.study.plan import Missing
from retrainlab.study.reading import rows, stored
from retrainlab.study.result import Result, record
from retrainlab.study.results import Place, Results
from retrainlab.study.run import QUICK
from retrainlab.study.serving import advance
from retrainlab.study.speed import engine_of
from retrainlab.study.stages import check_dense, check_lengths, common, dense_curve, prepare, while_retraining
from retrainlab.study.workers import run_tasks
from retrainlab.training import cycles
from retrainlab.training.engine import Engine
from retrainlab.training.loop import evaluate, recalibrate, validate
from retrainlab.training.state import Job, Setup, State, Trained

STEPS = 6  # from the network at one end of a line to that at the other; even, so that the average is measured
TESTED = {1.0: "", 1.5: "average_", 2.0: "second_"}  # place on the lines -> the start of its measures' names
HOW = ("", "recalibrated_")
CURVES = tuple(f"{how}{name}" for how in HOW for name in ("accuracy", "loss"))
MEASURES = (
    *(f"{how}{which}test_{name}" for how in HOW for which in TESTED.values() for name in ("accuracy", "loss")),
    *("validation_accuracy", "validation_loss", "dense_test_accuracy", "sparsity_achieved", "norm_drop"),
    *("distance_from_dense", "distance_from_pruned", "distance_between_copies", "sign_flips"),
    *("barrier", "recalibrated_barrier"),
)


def run_landscape(experiments: Sequence[Experiment], machine: Machine = Machine(), title: str = "") -> pd.DataFrame:
    """One row per experiment, in the order given: the configuration and MEASURES, taken from the store where it has them.

    Measures without a prefix are of the first copy, the experiment's own network; `second_` and `average_` of the others.
    The distance from the dense and the pruned weights is a norm relative to theirs, and the mean of both copies'; from the
    dense weights it counts what was pruned as well, and norm_drop is what the prune alone did. sign_flips: the share of the
    weights that stay, the mean of both copies. Barriers are of validation losses between the copies. title: of the
    progress line.

    Raises BadInput before any work starts for anything but one prune and one retraining of all weights; and as
    `study.run_study` does.
    """
    if machine.minutes:
        raise BadInput("A landscape cannot be left half-way: its copies are kept nowhere; leave minutes out.")
    experiments = listed(experiments, Experiment, "run_landscape's experiments")
    for experiment in experiments:
        _check(experiment)
    kept, where = Results.at(machine.store), resolve(machine.device)
    missing = [e for e in dict.fromkeys(experiments) if machine.fresh or _found(kept, e) is None]
    starts = dict.fromkeys(replace(e, retrain=Retrain(budget=0.0)) for e in missing)
    if missing and machine.stored_only:
        first = Missing.of(list(starts), kept)
        both = {_name(kept, e): replace(e, retrain=replace(e.retrain, copies=2)) for e in missing}
        raise NotStored(Missing(first.dense, first.pruned, both))
    if missing:
        kept.store.check_writable()
        machine.study(list(starts), title)  # dense networks and masks, by whatever engine and processes
        _make(missing, kept, where, machine, title)
    return rows(experiments, [_name(kept, e) for e in experiments], [stored(_found(kept, e)) for e in experiments])


def lines(experiments: Sequence[Experiment], store: Place = None) -> pd.DataFrame:
    """The measures along the lines of experiments that `run_landscape` has measured: a row per place, with seed, sparsity,
    budget and schedule. place: 0 is the pruned network, 1 the first copy, 2 the second; CURVES: on validation images."""
    kept, rows = Results.at(store), []
    for e in listed(experiments, Experiment, "lines' experiments"):
        head = dict(seed=e.recipe.seed, sparsity=e.prune.sparsity, budget=e.retrain.budget, schedule=e.retrain.schedule)
        curves = stored(_found(kept, e)).curves
        rows += [head | dict(zip(curves, values)) for values in zip(*curves.values())]
    return pd.DataFrame(rows, columns=["seed", "sparsity", "budget", "schedule", "place", *CURVES])


def _check(experiment: Experiment) -> None:
    prune, retrain = experiment.prune, experiment.retrain
    if prune.cycles != 1 or retrain.budget == 0 or retrain.copies != 1 or retrain.freeze or retrain.recalibrate:
        raise BadInput(
            "Where retraining goes is measured for one prune and one retraining of all weights; give cycles of 1, a budget "
            "above 0, copies of 1 (there are two in any case), and neither freeze nor recalibrate."
        )
    check_lengths(experiment)


def _name(results: Results, experiment: Experiment) -> str:
    """The name of what is stored: 16 hex digits."""
    return key(f"landscape, {STEPS} steps", [experiment], results.fingerprint(experiment.recipe))


def _found(results: Results, experiment: Experiment) -> Result | None:
    found = results.store.get("results", _name(results, experiment))
    return None if found is None else found.result


# ---- one experiment --------------------------------------------------------------------------------------------------


def _course(
    setup: Setup, experiment: Experiment, start: tuple[Dense, Pruned], engine: Engine
) -> Generator[Job, Trained, Result]:
    """Both copies' trainings, and what is measured of them."""
    (dense, pruned), lost = start, dict.fromkeys(MEASURES)
    copies: list[Trained] = []

    def result(outcome: str, scalars: dict, curves: dict) -> Result:
        steps = sum(copy.steps for copy in copies)
        spent = {"steps": steps, "total_steps": dense.result.scalars["steps"] + steps}
        seconds, told = sum(copy.seconds for copy in copies), dict(outcome=outcome, weights=dense.weights)
        return record(experiment, scalars | spent, curves, setup.data.device, seconds, engine, **told)

    if dense.result.outcome:
        return result(dense.result.outcome, lost, {})
    original = dense_curve(experiment.recipe, setup.data.steps_per_epoch(experiment.recipe.batch_size))
    job = next(cycles.run(setup, experiment, dense.state, original, pruned.cut))
    for seed in (job.seed, (*job.seed, 1)):  # as those of Retrain(copies=2)
        copies.append((yield replace(job, seed=seed)))
        if copies[-1].diverged:
            return result(f"diverged: retraining, copy {len(copies)}", lost, {})
    networks = [job.start, *(copy.state for copy in copies)]
    scalars, curves = _measured(setup, networks, (experiment.recipe.seed, "recalibrate", 0))
    scalars |= _went([setup.weights(state) for state in (dense.state, *networks)], pruned.masks)
    return result("", scalars | {"dense_test_accuracy": dense.result.scalars["test_accuracy"]}, curves)


def _measured(setup: Setup, networks: Sequence[State], seed: tuple[int | str, ...]) -> tuple[dict, dict]:
    """Scalars and curves of the lines from each network to the next."""
    scalars: dict[str, float] = {}
    curves: dict[str, list[float]] = {name: [] for name in ("place", *CURVES)}
    for step in range((len(networks) - 1) * STEPS + 1):
        place, line = step / STEPS, min(step // STEPS, len(networks) - 2)
        start, end = networks[line : line + 2]
        params = landscape.interpolate(start.params, end.params, place - line)
        raw = State(params, landscape.interpolate(start.buffers, end.buffers, place - line), {})
        curves["place"].append(place)
        for how, state in zip(HOW, (raw, recalibrate(setup, raw, seed))):
            for name, value in zip(("accuracy", "loss"), validate(setup, state)):
                curves[f"{how}{name}"].append(value)
            if place in TESTED:
                test = evaluate(setup.model, state.params, state.buffers, setup.data, setup.data.test)
                for name, value in zip(("accuracy", "loss"), test):
                    scalars[f"{how}{TESTED[place]}test_{name}"] = value
    scalars |= {f"validation_{name}": curves[name][STEPS] for name in ("accuracy", "loss")}
    return scalars | {f"{how}barrier": landscape.barrier(curves[f"{how}loss"][STEPS:]) for how in HOW}, curves


def _went(weights: Sequence[Weights], masks: Masks) -> dict[str, float]:
    """How far the copies went; weights: of the dense and the pruned network and of both copies."""
    dense, pruned, first, second = weights

    def mean(measure: Callable[[Weights], float]) -> float:
        return (measure(first) + measure(second)) / 2

    return {
        "sparsity_achieved": metrics.sparsity(first),
        "norm_drop": landscape.distance(dense, pruned),
        "distance_from_dense": mean(lambda copy: landscape.distance(dense, copy)),
        "distance_from_pruned": mean(lambda copy: landscape.distance(pruned, copy)),
        "distance_between_copies": landscape.distance(first, second),
        "sign_flips": mean(lambda copy: landscape.flips(pruned, copy, masks)),
    }


# ---- many at once ----------------------------------------------------------------------------------------------------


def _make(
    experiments: Sequence[Experiment], results: Results, where: torch.device, machine: Machine, title: str
) -> None:
    """Measure experiments on all cores, and keep each as it ends."""
    progress, on = Progress(title), describe(where)
    count = min(machine.jobs or cores(), len(experiments)) if where.type == "cpu" else 1
    todo: list[Task] = []
    seconds = 0.0
    try:
        for alike in grouped(experiments, lambda e: common(while_retraining(e))).values():
            setup, _ = prepare(recipe := while_retraining(alike[0]), where)
            steps = 2 * sum(map(cost, alike)) * setup.data.steps_per_epoch(setup.batch_size)
            engine = engine_of(setup, recipe, machine.engine, steps, lambda w: progress(0.0, f"{w} on {on}"), steps)
            seconds += steps * engine.seconds
            parts = min(len(alike), count * -(-len(alike) // (engine.members * count)))  # as many for each process
            for i in range(parts):
                some = alike[i * len(alike) // parts : (i + 1) * len(alike) // parts]
                rank, args = (0, -float(len(some)), len(todo)), (results, where, engine)
                runs = [Part(_name(results, e), e, _words(e)) for e in some]
                todo.append(Task.of(rank, carry_out, args, float(len(some)), frozenset(), runs))
        if not machine.jobs and 0 < seconds < QUICK:
            count = 1
        place = str(results.store.root)
        run_tasks(todo, min(count, len(todo)), lambda share, words: progress(share, f"{words} on {on}"), place)
    finally:
        progress.close()


def _words(e: Experiment) -> str:
    return f"{e.retrain.schedule} at sparsity {e.prune.sparsity:g}, seed {e.recipe.seed}"


def carry_out(results: Results, where: torch.device, engine: Engine, experiments: Sequence[Experiment]) -> None:
    """The work of a task, in a worker: measure experiments that train together, keep each, and tell how far it is."""
    results.check_unchanged(experiments[0].recipe)
    recipes = list(dict.fromkeys(e.recipe for e in experiments))
    made = results.make(recipes, where, engine=engine)  # stored, but for what was removed meanwhile
    dense = {noun: network for noun, network in made if isinstance(network, Dense)}
    with repeatable(where):
        setup, courses = prepare(while_retraining(experiments[0]), where)[0], []
        for e in experiments:
            check_dense(setup, dense[e.recipe])
            start = dense[e.recipe], results.masks_of((e.recipe, e.prune), dense[e.recipe], where)
            courses.append(_course(setup, e, start, engine))
        for count, (place, result) in enumerate(drive(setup, courses, engine), 1):
            results.store.put(_name(results, experiments[place]), result)
            advance(count / len(experiments), count)
