"""A grid of experiments -> a tidy DataFrame: from the store what is there, and the rest on all cores.

Dense networks and masks are made once and shared by all experiments that start from them. Each result is written as
soon as it is done, so that Ctrl-C, a crash or a power cut loses only what was running; the same call goes on from there.
"""

import heapq
import multiprocessing
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import count, product
from pathlib import Path

import pandas as pd
import torch

from retrainlab.config import Experiment, Prune, Recipe, Retrain, key
from retrainlab.data import fingerprint, load
from retrainlab.device import cores, describe, resolve
from retrainlab.errors import BadInput, check_number
from retrainlab.experiment import Result, original_curve, prune_dense, run, setting, train_dense
from retrainlab.paths import store_root
from retrainlab.progress import Progress
from retrainlab.schedules import Original
from retrainlab.store import Store


class Stopped(KeyboardInterrupt):
    """A study was stopped by the user; its sentence says what is kept."""

    def _render_traceback_(self) -> list[str]:
        return [f"retrainlab: {self}"]


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
    """Every combination. schedules: names, or Retrain objects whose budget is replaced; seeds: numbers, or how many."""
    seeds = range(seeds) if isinstance(seeds, int) else seeds
    plans = [Retrain(s) if isinstance(s, str) else s for s in schedules]
    return [
        Experiment(replace(recipe, seed=seed), replace(prune, sparsity=s), replace(plan, budget=b), evaluations)
        for seed, s, b, plan in product(seeds, list(sparsities), list(budgets), plans)
    ]


# ---- the work, one function a stage; each runs in a worker and leaves its result in the store --------------------------


def _dense_key(recipe: Recipe, data: str) -> str:
    return key("dense", [recipe], data)


def _pruned_key(recipe: Recipe, prune: Prune, data: str) -> str:
    return key("pruned", [recipe, prune], data)


def _result_key(experiment: Experiment, data: str) -> str:
    return key("result", [experiment], data)


def _make_dense(store: Store, device: str, recipe: Recipe, data: str) -> None:
    store.put_dense(_dense_key(recipe, data), train_dense(recipe, device))


def _make_pruned(store: Store, device: str, recipe: Recipe, prune: Prune, data: str) -> None:
    dense = store.dense(_dense_key(recipe, data), resolve(device))
    store.put_pruned(_pruned_key(recipe, prune, data), prune_dense(recipe, prune, dense, device))


def _make_result(store: Store, device: str, experiment: Experiment, data: str) -> None:
    recipe, prune = experiment.recipe, experiment.prune
    dense = store.dense(_dense_key(recipe, data), resolve(device))
    pruned = store.pruned(_pruned_key(recipe, prune, data), resolve(device))
    store.put_result(_result_key(experiment, data), run(experiment, device, dense=dense, pruned=pruned))


@dataclass(order=True)
class _Task:
    """Ordered by stage, then longest first; `needs` are the keys of tasks that must be done before."""

    rank: tuple[int, float, int]
    key: str = field(compare=False)
    work: Callable = field(compare=False)
    args: tuple = field(compare=False)
    cost: float = field(compare=False)
    needs: frozenset[str] = field(compare=False)


def _plan(experiments: Sequence[Experiment], store: Store, fresh: bool, data: dict[tuple, str]) -> list[_Task]:
    """What must be computed: missing experiments, and what they start from where it is missing too."""
    tasks: dict[str, _Task] = {}
    number = count()

    def add(kind: str, stage: int, name: str, work: Callable, args: tuple, cost: float, needs: Iterable[str]) -> None:
        if name not in tasks and (fresh or not store.has(kind, name)):
            waits = frozenset(n for n in needs if n in tasks)
            tasks[name] = _Task((stage, -cost, next(number)), name, work, args, cost, waits)

    for e in experiments:
        mark = data[e.recipe.data, e.recipe.image_size]
        name = _result_key(e, mark)
        if not fresh and store.has("results", name):
            continue
        dense, pruned = _dense_key(e.recipe, mark), _pruned_key(e.recipe, e.prune, mark)
        epochs = e.recipe.epochs
        add("dense", 0, dense, _make_dense, (e.recipe, mark), epochs, ())
        add("pruned", 1, pruned, _make_pruned, (e.recipe, e.prune, mark), 0.1, (dense,))
        cost = e.retrain.budget * epochs * e.prune.cycles + 0.1
        add("results", 2, name, _make_result, (e, mark), cost, (dense, pruned))
    return list(tasks.values())


# ---- running it ------------------------------------------------------------------------------------------------------


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
    store = store if isinstance(store, Store) else Store(Path(store) if store else store_root())
    where = resolve(device)
    data = {(e.recipe.data, e.recipe.image_size): "" for e in experiments}
    for name, size in data:
        data[name, size] = fingerprint(name, size)
    tasks = _plan(experiments, store, fresh, data)
    if tasks:
        store.check_writable()
        for recipe in {_comparable(t.args[0]) for t in tasks}:
            setting(recipe, where)  # BadInput here rather than in a worker
        workers = min(jobs or cores(), len(tasks)) if where.type == "cpu" else 1
        _run_tasks(tasks, store, str(where), workers, progress or Progress("study"), executor)
    keys = [_result_key(e, data[e.recipe.data, e.recipe.image_size]) for e in experiments]
    return pd.DataFrame([row(e, k, store.result(k)) for e, k in zip(experiments, keys)])


def _comparable(noun: Recipe | Experiment) -> Recipe:
    return replace(noun.recipe if isinstance(noun, Experiment) else noun, seed=0)


def _run_tasks(
    tasks: list[_Task],
    store: Store,
    device: str,
    workers: int,
    progress: Callable[[float, float, str], None],
    executor: Executor | None,
) -> None:
    """Run all tasks in order of rank, each after those it needs, a few more in flight than there are workers."""
    own = executor is None
    pool = executor or (_processes(workers) if workers > 1 else _Inline())
    in_flight = 1 if isinstance(pool, _Inline) else 2 * workers
    waiting: dict[str, set[str]] = {t.key: set(t.needs) for t in tasks}
    dependents: dict[str, list[_Task]] = defaultdict(list)
    for task in tasks:
        for need in task.needs:
            dependents[need].append(task)
    ready = [t for t in tasks if not t.needs]
    heapq.heapify(ready)
    running: dict[Future, _Task] = {}
    device_words = describe(torch.device(device))
    total, done, finished = sum(t.cost for t in tasks), 0.0, 0
    try:
        while ready or running:
            while ready and len(running) < in_flight:
                task = heapq.heappop(ready)
                running[pool.submit(task.work, store, device, *task.args)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                future.result()
                done, finished = done + task.cost, finished + 1
                share_done = total if finished == len(tasks) else done
                progress(share_done, total, f"{finished} of {len(tasks)} runs on {device_words}")
                for next_task in dependents[task.key]:
                    waiting[next_task.key].discard(task.key)
                    if not waiting[next_task.key]:
                        heapq.heappush(ready, next_task)
    except KeyboardInterrupt:
        _stop(pool, own)
        raise Stopped(
            f"Stopped: {finished} of {len(tasks)} runs are finished and kept in {store.root}; the same command goes on "
            "from there."
        ) from None
    except BrokenProcessPool:
        raise RuntimeError(
            f"A worker process ended unexpectedly (out of memory?); {finished} of {len(tasks)} runs are kept. "
            "Try again with fewer --jobs."
        ) from None
    except BaseException:
        _stop(pool, own)
        raise
    finally:
        if own:
            pool.shutdown(wait=True, cancel_futures=True)
        if hasattr(progress, "close"):
            progress.close()


class _Inline(Executor):
    """Runs each task at once in this process: one job, or a GPU."""

    def submit(self, work: Callable, /, *args) -> Future:
        future: Future = Future()
        try:
            future.set_result(work(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def _processes(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (os.getpid(),))


def _start_worker(parent: int) -> None:
    """One torch thread; Ctrl-C is the parent's to handle; if the parent is killed, end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _stop(pool: Executor, own: bool) -> None:
    """End what is running now: its result would come too late to matter, and the store keeps whole files only."""
    if own and isinstance(pool, ProcessPoolExecutor):
        for process in list((pool._processes or {}).values()):
            process.terminate()


def row(experiment: Experiment, name: str, result: Result) -> dict:
    """A result as one row: what was asked, then what was measured, then the key of its stored file."""
    recipe, prune, retrain = experiment.recipe, experiment.prune, experiment.retrain
    asked = {
        "data": recipe.data,
        "model": recipe.model,
        "width": recipe.width,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "dense_schedule": recipe.schedule,
        "dense_lr": recipe.lr,
        "seed": recipe.seed,
        "sparsity": prune.sparsity,
        "score": prune.score,
        "allocation": prune.allocation,
        "structure": prune.structure,
        "cycles": prune.cycles,
        "schedule": retrain.schedule,
        "budget": retrain.budget,
        "initial_lr": retrain.lr,
        "optimizer": retrain.optimizer,
    }
    return asked | result.scalars | {"device": result.provenance["device"], "key": name}


def original(recipe: Recipe) -> Original:
    """The learning rates of the recipe's dense run, one per iteration."""
    data = load(recipe.data, all_train=recipe.all_train, image_size=recipe.image_size)
    return original_curve(recipe, data.steps_per_epoch(recipe.batch_size))


def curves(experiments: Sequence[Experiment], store: Store | Path | str | None = None) -> pd.DataFrame:
    """The retraining curves of stored experiments: one row per point, with seed, sparsity, budget and schedule."""
    store = store if isinstance(store, Store) else Store(Path(store) if store else store_root())
    rows = []
    for e in experiments:
        result = store.result(_result_key(e, fingerprint(e.recipe.data, e.recipe.image_size)))
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
