"""A grid of experiments -> a tidy DataFrame: from the store what is there, and the rest on all cores.

Dense networks and masks are made once and shared by all experiments that start from them. Each result is written as
soon as it is done, so that Ctrl-C, a crash or a power cut loses only what was running; the same call goes on from there.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from itertools import count, product
from pathlib import Path

import pandas as pd

from retrainlab.config import Experiment, Prune, Recipe, Retrain, key
from retrainlab.data import load
from retrainlab.device import cores, describe, resolve
from retrainlab.errors import BadInput, check_number
from retrainlab.experiment import Result, check, original_curve, prune_dense, run, train_dense
from retrainlab.paths import store_root
from retrainlab.progress import Progress
from retrainlab.schedules import Original
from retrainlab.sources import fingerprint
from retrainlab.store import Store
from retrainlab.workers import Task, run_tasks


def grid(
    recipe: Recipe,
    *,
    sparsities: Iterable[float],
    budgets: Iterable[float],
    schedules: Iterable[str | Retrain],
    seeds: Iterable[int] | int = 5,
    prune: Prune = Prune(),
    evaluations: int = 5,
) -> list[Experiment]:
    """Every combination, each once. schedules: names, or Retrain objects whose budget is replaced; seeds: numbers, or
    how many."""
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    plans = [Retrain(s) if isinstance(s, str) else s for s in schedules]
    every = (
        Experiment(replace(recipe, seed=seed), replace(prune, sparsity=s), replace(plan, budget=b), evaluations)
        for seed, s, b, plan in product(seeds, list(sparsities), list(budgets), plans)
    )
    return list(dict.fromkeys(every))  # a repeated seed is no further replication


# ---- the work, one function a stage; each runs in a worker and leaves its result in the store --------------------------


def dense_key(recipe: Recipe, data: str) -> str:
    """The name of a stored dense run; data: the fingerprint of its data set."""
    return key("dense", [recipe], data)


def _pruned_key(recipe: Recipe, prune: Prune, data: str) -> str:
    return key("pruned", [recipe, prune], data)


def result_key(experiment: Experiment, data: str) -> str:
    """The name of a stored result; data: the fingerprint of its data set."""
    return key("result", [experiment], data)


def _make_dense(store: Store, device: str, recipe: Recipe, data: str) -> None:
    store.put_dense(dense_key(recipe, data), train_dense(recipe, device))


def _make_pruned(store: Store, device: str, recipe: Recipe, prune: Prune, data: str) -> None:
    dense = store.dense(dense_key(recipe, data), resolve(device))
    store.put_pruned(_pruned_key(recipe, prune, data), prune_dense(recipe, prune, dense, device))


def _make_result(store: Store, device: str, experiment: Experiment, data: str) -> None:
    recipe, prune = experiment.recipe, experiment.prune
    dense = store.dense(dense_key(recipe, data), resolve(device))
    pruned = store.pruned(_pruned_key(recipe, prune, data), resolve(device))
    store.put_result(result_key(experiment, data), run(experiment, device, dense=dense, pruned=pruned))


def _plan(experiments: Sequence[Experiment], store: Store, fresh: bool, marks: dict[tuple, str]) -> list[Task]:
    """What must be computed: missing experiments, and what they start from where it is missing too.

    What is stored is looked at, so that a damaged file is reported before any work starts.
    """
    tasks: dict[str, Task] = {}
    whole: set[str] = set()
    number = count()

    def add(kind: str, stage: int, name: str, work: Callable, args: tuple, cost: float, needs: Iterable[str]) -> None:
        if name in tasks or name in whole:
            return
        if not fresh and store.check(kind, name):
            whole.add(name)
            return
        waits = frozenset(n for n in needs if n in tasks)
        tasks[name] = Task((stage, -cost, next(number)), name, work, args, cost, waits)

    for e in experiments:
        data = marks[e.recipe.data, e.recipe.image_size]
        name = result_key(e, data)
        if not fresh and store.check("results", name):
            continue
        dense, pruned = dense_key(e.recipe, data), _pruned_key(e.recipe, e.prune, data)
        epochs = e.recipe.epochs
        add("dense", 0, dense, _make_dense, (e.recipe, data), epochs, ())
        add("pruned", 1, pruned, _make_pruned, (e.recipe, e.prune, data), 0.1, (dense,))
        cost = e.retrain.budget * epochs * e.prune.cycles + 0.1
        add("results", 2, name, _make_result, (e, data), cost, (dense, pruned))
    return list(tasks.values())


def run_study(
    experiments: Sequence[Experiment],
    *,
    store: Store | Path | str | None = None,
    jobs: int = 0,
    device: str = "auto",
    fresh: bool = False,
    progress: Callable[[float, float, str], None] | None = None,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """One row per experiment, in the order given: the configuration and every scalar of its result.

    store: where results are kept (a Store, or its folder). jobs: processes on a CPU, 0 for one per core; a GPU is used
    by this process alone. fresh: make everything anew, in place of what is stored. executor: any
    `concurrent.futures.Executor` instead of local processes. progress: see `progress.Progress`, the default.
    Raises BadInput before any work starts, and Stopped (a KeyboardInterrupt) on Ctrl-C with all finished results kept.
    """
    experiments = list(experiments)
    check_number(jobs, "number of jobs", low=0, whole=True)
    store = _opened(store)
    where = resolve(device)
    marks = _fingerprints(experiments)
    tasks = _plan(experiments, store, fresh, marks)
    if tasks:
        store.check_writable()
        for recipe, prune in {(replace(e.recipe, seed=0), e.prune) for e in experiments}:
            check(recipe, prune, where)
        workers = min(jobs or cores(), len(tasks)) if where.type == "cpu" else 1
        report = progress or Progress("study")
        words = describe(where)
        bound = [replace(t, args=(store, str(where), *t.args)) for t in tasks]
        try:
            run_tasks(
                bound,
                workers,
                lambda done, total, word: report(done, total, f"{word} on {words}"),
                str(store.root),
                executor,
            )
        finally:
            if hasattr(report, "close"):
                report.close()
    keys = [result_key(e, marks[e.recipe.data, e.recipe.image_size]) for e in experiments]
    return pd.DataFrame([row(e, k, store.result(k)) for e, k in zip(experiments, keys)])


def _fingerprints(experiments: Iterable[Experiment]) -> dict[tuple, str]:
    """Of each data set and image size, once: a folder of images takes a while."""
    return {of: fingerprint(*of) for of in {(e.recipe.data, e.recipe.image_size) for e in experiments}}


def _opened(store: Store | Path | str | None) -> Store:
    return store if isinstance(store, Store) else Store(Path(store) if store else store_root())


def row(experiment: Experiment, name: str, result: Result) -> dict:
    """A result as one row: every setting, then what was measured, then the key of its stored file.

    Columns have the nouns' names; the dense run's schedule, lr and warmup, and the retraining's lr, which others share,
    become dense_schedule, dense_lr, dense_warmup and initial_lr. Lists are written as text.
    """
    recipe, prune, retrain = (asdict(n) for n in (experiment.recipe, experiment.prune, experiment.retrain))
    recipe |= recipe.pop("sgd")
    for field in ("schedule", "lr", "warmup"):
        recipe[f"dense_{field}"] = recipe.pop(field)
    retrain["initial_lr"] = retrain.pop("lr")
    asked = {k: str(v) if isinstance(v, tuple) else v for k, v in (recipe | prune | retrain).items()}
    return asked | result.scalars | {"device": result.provenance["device"], "key": name}


def original(recipe: Recipe) -> Original:
    """The learning rates of the recipe's dense run, one per iteration."""
    data = load(recipe.data, all_train=recipe.all_train, image_size=recipe.image_size)
    return original_curve(recipe, data.steps_per_epoch(recipe.batch_size))


def curves(experiments: Sequence[Experiment], store: Store | Path | str | None = None) -> pd.DataFrame:
    """The retraining curves of stored experiments: one row per point, with seed, sparsity, budget and schedule."""
    store, marks = _opened(store), _fingerprints(experiments)
    rows = []
    for e in experiments:
        result = store.result(result_key(e, marks[e.recipe.data, e.recipe.image_size]))
        if result is None:
            raise BadInput("These experiments are not all in the store yet; run the study first.")
        head = {
            "seed": e.recipe.seed,
            "sparsity": e.prune.sparsity,
            "budget": e.retrain.budget,
            "schedule": e.retrain.schedule,
        }
        names = [n for n, v in result.curves.items() if isinstance(v, list)]
        rows += [head | dict(zip(names, values)) for values in zip(*(result.curves[n] for n in names))]
    return pd.DataFrame(rows)
