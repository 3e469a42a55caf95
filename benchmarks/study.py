"""A whole study of retrainings, and a race of schedules, beside the usual loop.

One pruned network, untrained in place of a dense one, is retrained with every schedule and several seeds of batches, for
5 % of a dense run of 100 epochs; it is evaluated at the start and five times after, and on the test images at the end. The
race is the same with one seed, from the prune to the ranking.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from cases import CIFAR, SPARSITY, Case, images
from usual import loaders
from usual import retrain as usual_retrain

from retrainlab.config import NAMED_SCHEDULES, SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.data.dataset import load
from retrainlab.device import repeatable
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.study.stages import dense_curve
from retrainlab.training import cycles
from retrainlab.training.engine import Engine, fastest
from retrainlab.training.loop import evaluate, now
from retrainlab.training.slots import in_slots
from retrainlab.training.state import Setup, State

RECIPES = {
    "cpu": Recipe(epochs=100),
    "cuda": Recipe(
        data="cifar10", model="resnet20", epochs=100, batch_size=128, sgd=SGD(weight_decay=2e-4), precision="bfloat16"
    ),
}
BUDGET, SEEDS, EVALUATIONS = 0.05, 3, 5
PART = 351  # steps at most of the usual loop that are made; the others take it as long


@dataclass(frozen=True)
class Done:
    """What came of some retrainings. accuracies: on the validation images, in the order of the experiments."""

    seconds: float
    runs: int
    slots: int
    steps: int
    accuracies: tuple[float, ...]


def prepared(recipe: Recipe, device: torch.device) -> Setup:
    """An untrained network and the data: on a GPU random images in CIFAR-10's numbers and size."""
    if device.type == "cuda":
        data = images((3, 32, 32), CIFAR, str(device))
    else:
        data = load(recipe.data, str(device))
    model = build(recipe.model, shape=data.shape, classes=data.classes, width=recipe.width).to(device)
    return Setup(model, data, recipe.sgd, recipe.batch_size, prunable(model), recipe.augment, recipe.precision)


def retrained(setup: Setup, recipe: Recipe, seeds: int, engine: Engine) -> Done:
    """Prune the network and retrain it with every schedule and so many seeds, each run evaluated and tested."""
    start = State.of(setup.model, setup.data.device)
    began = now(setup.data.device)
    original = dense_curve(recipe, setup.data.steps_per_epoch(recipe.batch_size))
    plans = [Retrain(name, budget=BUDGET) for name in NAMED_SCHEDULES]
    asked = [
        Experiment(replace(recipe, seed=seed), Prune(SPARSITY), plan, EVALUATIONS)
        for seed in range(seeds)
        for plan in plans
    ]
    cut = cycles.cut(setup, start, asked[0].prune, 0, 0)
    courses = [cycles.run(setup, experiment, start, original, cut) for experiment in asked]
    jobs = [next(course) for course in courses]
    accuracies, steps = [0.0] * len(jobs), 0
    for place, trained in engine.train(setup, jobs):
        try:
            courses[place].send(trained)
        except StopIteration as end:
            state, _, _ = end.value
            evaluate(setup.model, state.params, state.buffers, setup.data, setup.data.test)
        accuracies[place], steps = trained.points[-1].accuracy, steps + trained.steps
    return Done(now(setup.data.device) - began, len(jobs), len(in_slots(jobs)), steps, tuple(accuracies))


def usual_seconds(setup: Setup, done: Done, workers: int) -> float:
    """What those runs would take in the usual loop with so many workers, from one part of one run that is made."""
    data, device = setup.data, setup.data.device
    pair = loaders(data, setup.batch_size, workers)
    masks = cycles.prune_state(setup, State.of(setup.model, device), Prune(SPARSITY), 0, 0)
    each = done.steps // done.runs
    part = min(PART, each)

    def made(steps: int):
        options = dict(sgd=setup.sgd, device=device, evaluations=1)
        return usual_retrain(copy.deepcopy(setup.model), masks, *pair, [1e-3] * steps, **options)

    made(8)  # starts the workers
    one = made(part)
    evaluation = (one.seconds - one.in_steps) / 2
    tested = len(data.test) / len(data.validation)
    return done.runs * (each * one.in_steps / part + (EVALUATIONS + 1 + tested) * evaluation)


def study(device: torch.device, workers: Sequence[int]) -> Iterator[dict]:
    """Every schedule with three seeds at 5 of 100 epochs, and a race of one seed; what there is after each part.

    workers: numbers of the usual loop's for which its time is told, the usual number first."""
    recipe = RECIPES[device.type]
    with repeatable(device):
        setup = prepared(recipe, device)
        steps = SEEDS * len(NAMED_SCHEDULES) * BUDGET * recipe.epochs * setup.data.steps_per_epoch(recipe.batch_size)
        began = now(device)
        engine = fastest(setup, State.of(setup.model, device), recipe, lambda word: print(word, flush=True), steps)
        out = {
            "case": str(Case(recipe.model, setup.data.shape, recipe.batch_size, recipe.width)),
            "images": [len(part) for part in (setup.data.train, setup.data.validation, setup.data.test)],
            "precision": recipe.precision,
            "engine": str(engine),
            "probe_seconds": now(device) - began,
        }
        print(f"{out['case']}: {engine}, after {out['probe_seconds']:.1f} s of trying", flush=True)
        done = retrained(setup, recipe, SEEDS, engine)
        out |= {"runs": done.runs, "slots": done.slots, "member_steps": done.steps, "seconds": done.seconds}
        print(f"{done.runs} runs in {done.slots} slots, {done.steps} steps: {done.seconds:.1f} s", flush=True)
        yield out
        race = retrained(setup, recipe, 1, engine)
        first = max(zip(race.accuracies, NAMED_SCHEDULES))[1]
        out["race"] = {"runs": race.runs, "slots": race.slots, "seconds": race.seconds, "first": first}
        print(f"a race of {race.runs} in {race.slots} slots: {race.seconds:.1f} s, ranking included", flush=True)
        yield out
    for place, count in enumerate(dict.fromkeys(workers)):
        theirs = usual_seconds(setup, done, count)
        times = theirs / done.seconds
        print(f"the usual loop with {count} workers: {theirs:.0f} s, {times:.1f} times as long", flush=True)
        if place == 0:
            out |= {"usual_seconds": theirs, "times_usual": times, "workers": count}
        if theirs <= out.get("best_seconds", theirs):
            out |= {"best_seconds": theirs, "times_best": times, "best_workers": count}
        yield out
