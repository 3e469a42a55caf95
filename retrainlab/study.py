"""A grid of experiments -> a tidy DataFrame: from the store what is there, and the rest on all cores.

Each result is written as soon as it is done, so that Ctrl-C, a crash or a power cut loses only what was running; the same
call goes on from there.
"""

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import product
from numbers import Integral
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch

from retrainlab.config import DATASETS, MODELS, Experiment, Prune, Recipe, Retrain
from retrainlab.data import load
from retrainlab.device import cores, describe, lack_of_memory_told, resolve
from retrainlab.engine import Engine, fastest, forced
from retrainlab.errors import BadInput, check_number
from retrainlab.experiment import alike, check, check_lengths, setting, while_retraining
from retrainlab.folders import printable
from retrainlab.methods.knobs import at
from retrainlab.models import few, prunable, skeleton, uncounted
from retrainlab.paths import store_root
from retrainlab.plan import Missing, pruned_key, result_key, tasks
from retrainlab.processes import Workers
from retrainlab.progress import Progress
from retrainlab.pruning import Masks, undivided
from retrainlab.result import Result
from retrainlab.settle import listed, plain, settled
from retrainlab.sources import content, fingerprint
from retrainlab.store import Store
from retrainlab.training import State
from retrainlab.workers import run_tasks

T = TypeVar("T")
WORTH_A_PROBE = 1000  # steps; with fewer, measuring which engine is fastest takes longer than it saves
QUICK = 12  # seconds of work that one process does sooner than others have started


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
    """Every combination, each once; one alone is a list of one. schedules: names, or Retrain objects whose budget is
    replaced; seeds: a list of numbers, or how many. A method that sparsifies during training does so to each of the
    sparsities, if it has one."""
    seeds = plain(seeds)
    if isinstance(seeds, Integral):
        check_number(seeds, "number of seeds", low=0, whole=True)
        seeds = range(seeds)
    seeds, sparsities = listed(seeds, int, "grid's seeds"), listed(sparsities, float, "grid's sparsities")
    budgets, schedules = listed(budgets, float, "grid's budgets"), listed(schedules, str | Retrain, "grid's schedules")
    for what, values in (("sparsities", sparsities), ("budgets", budgets)):
        distinct = sorted(set(values))
        if any(b - a < 1e-6 for a, b in zip(distinct, distinct[1:])):
            raise BadInput(f"Two of the {what} differ by less than a millionth: {distinct}; give each once.")
    plans = [Retrain(s) if isinstance(s, str) else s for s in schedules]
    every = (
        Experiment(
            replace(recipe, seed=seed, method=at(recipe.method, s)),
            replace(prune, sparsity=s),
            replace(plan, budget=b),
            evaluations,
        )
        for seed, s, b, plan in product(seeds, sparsities, budgets, plans)
    )
    return list(dict.fromkeys(every))  # a repeated seed is no further replication


@lack_of_memory_told()
def run_study(
    experiments: Sequence[Experiment],
    *,
    store: Store | Path | str | None = None,
    jobs: int = 0,
    device: str = "auto",
    engine: str = "auto",
    fresh: bool = False,
    progress: Callable[[float, float, str], None] | None = None,
    executor: Executor | None = None,
) -> pd.DataFrame:
    """One row per experiment, in the order given: the configuration and every scalar of its result.

    store: where results are kept (a Store, or its folder). jobs: processes on a CPU, 0 for one per core; a GPU is used
    by this process alone. engine: `loop`, `batched`, `graph`, or `auto` for the fastest (see `engine`). fresh: make
    everything anew, in place of what is stored. executor: any `concurrent.futures.Executor` instead of local processes.
    progress: see `progress.Progress`, the default.
    Raises BadInput before any work starts, and Stopped (a KeyboardInterrupt) on Ctrl-C with all finished results kept.
    """
    experiments = listed(experiments, Experiment, "run_study's experiments")
    fresh = settled(fresh, bool, "run_study's fresh")
    check_number(jobs, "number of jobs", low=0, whole=True)
    store = opened(store)
    where = resolve(device)
    marks = _fingerprints(experiments)
    if engine != "auto":
        forced(engine, where)
    missing = Missing.of(experiments, store, fresh, marks)
    if missing.results:
        store.check_writable()
        for recipe, prune in {(replace(e.recipe, seed=0), e.prune) for e in experiments}:
            check(recipe, prune, where)
        for e in {replace(e, recipe=replace(e.recipe, seed=0)) for e in experiments}:
            check_lengths(e)
        store.check_room(missing.bytes(where))
        for data, size in marks:
            if data not in DATASETS:
                print(f"study: {content(data, size)}", file=sys.stderr)
        report = progress or Progress("study")
        words = describe(where)
        try:
            engines, seconds = _engines(missing, engine, where, lambda word: report(0.0, 1.0, f"{word} on {words}"))
            count = min(jobs or cores(), len(missing.results)) if where.type == "cpu" else 1
            if not jobs and executor is None and 0 < seconds < QUICK:
                count = 1
            todo = tasks(missing, engines, count, marks)
            bound = [replace(t, args=(store, str(where), *t.args)) for t in todo]
            run_tasks(
                bound,
                min(count, len(bound)),
                lambda done, total, word: report(done, total, f"{word} on {words}"),
                str(store.root),
                executor,
            )
        finally:
            if hasattr(report, "close"):
                report.close()
    keys = [result_key(e, marks[e.recipe.data, e.recipe.image_size]) for e in experiments]
    results = [missing.found.get(key) or _stored(store.result(key)) for key in keys]
    _check_starts(experiments, results)
    return pd.DataFrame([row(e, key, result) for e, key, result in zip(experiments, keys, results)])


def _check_starts(experiments: Sequence[Experiment], results: Sequence[Result]) -> None:
    """Warn where rows of one recipe do not start from one dense network, whose differences would be no paired ones."""
    starts: dict[Recipe, set[str]] = {}
    for e, result in zip(experiments, results):
        starts.setdefault(e.recipe, set()).update(filter(None, [result.provenance.get("weights")]))
    several = [recipe for recipe, found in starts.items() if len(found) > 1]
    if several:
        first = f"the first training of {several[0].model}, seed {several[0].seed}, was made more than once"
        words = f"Some rows start from other networks than their neighbours: {first}; fresh makes all anew."
        warnings.warn(words, stacklevel=3)


def workers(jobs: int = 0, device: str = "auto") -> AbstractContextManager[Workers | None]:
    """Processes for several studies one after the other, given to each as its `executor`: `with workers() as pool:`. None
    where a study works in this process: one job, or a GPU."""
    check_number(jobs, "number of jobs", low=0, whole=True)
    count = (jobs or cores()) if resolve(device).type == "cpu" else 1
    return Workers(count) if count > 1 else nullcontext()


def _engines(
    missing: Missing, kind: str, where: torch.device, tell: Callable[[str], None]
) -> tuple[dict[Recipe, Engine], float]:
    """An engine for each network, data set and batch size; and the seconds that one process would take, 0 if unknown."""
    out, seconds = {}, []
    wanted = [*missing.dense.values(), *map(while_retraining, missing.results.values())]
    for recipe in dict.fromkeys(map(alike, wanted)):
        setup, original = setting(recipe, where)
        steps = missing.epochs(recipe) * len(original.lr) / recipe.epochs
        if kind != "auto":
            out[recipe] = forced(kind, where)
        else:
            worth = tell if steps >= WORTH_A_PROBE else None
            out[recipe] = fastest(setup, State.of(setup.model, where), recipe, worth)
        seconds.append(steps * out[recipe].seconds)
    return out, sum(seconds) if all(seconds) else 0.0


def _fingerprints(experiments: Iterable[Experiment]) -> dict[tuple, str]:
    """Of each data set and image size, once: a folder of images takes a while."""
    return {of: fingerprint(*of) for of in {(e.recipe.data, e.recipe.image_size) for e in experiments}}


def opened(store: Store | Path | str | None) -> Store:
    """The store of that folder; the project's own if it is empty."""
    return store if isinstance(store, Store) else Store(Path(store) if store else store_root())


def row(experiment: Experiment, name: str, result: Result) -> dict:
    """A result as one row: every setting, then what was measured, then the key of its stored file.

    Columns have the nouns' names; the dense run's schedule, lr and warmup, and the retraining's lr, which others share,
    become dense_schedule, dense_lr, dense_warmup and initial_lr. Lists are written as text, and of a folder's name what is
    no text as escapes. The column outcome is empty for a run that ended as it should; one that has diverged has NaN for
    what is not known of it. For `not_pruned` see there.
    """
    recipe, prune, retrain = (asdict(n) for n in (experiment.recipe, experiment.prune, experiment.retrain))
    recipe |= recipe.pop("sgd")
    recipe["method"], recipe["knobs"] = (m.name, str(m)) if (m := experiment.recipe.method) else ("dense", "")
    for field in ("schedule", "lr", "warmup"):
        recipe[f"dense_{field}"] = recipe.pop(field)
    retrain["initial_lr"] = retrain.pop("lr")
    retrain["retraining_sgd"] = str(experiment.retrain.sgd or "")
    del retrain["sgd"]
    recipe["data"] = printable(recipe["data"])
    asked = {k: str(v) if isinstance(v, tuple) else v for k, v in (recipe | prune | retrain).items()}
    measured = result.scalars
    if result.outcome:
        measured = {name: math.nan if x is None else x for name, x in measured.items()}
    words = {"outcome": result.outcome, "not_pruned": not_pruned(alike(experiment.recipe), experiment.prune)}
    return asked | measured | words | {"device": result.provenance["device"], "key": name}


def layer_names(recipe: Recipe) -> tuple[str, ...]:
    """Of the weights that pruning may touch, in the order of the network's layers."""
    data = load(recipe.data, all_train=recipe.all_train, image_size=recipe.image_size)
    return prunable(skeleton(recipe.model, shape=data.shape, classes=data.classes, width=recipe.width))


@lru_cache(maxsize=64)
def not_pruned(recipe: Recipe, prune: Prune) -> str:
    """What to know of the network with its sparsity and its speed-up, in sentences: what is neither pruned nor counted, and
    what an n:m pattern or whole filters leave dense. Empty if there is nothing, as for single weights of our own
    networks."""
    if recipe.model in MODELS and prune.structure == "unstructured":
        return ""
    try:
        data = load(recipe.data, all_train=recipe.all_train, image_size=recipe.image_size)
        model = skeleton(recipe.model, shape=data.shape, classes=data.classes, width=recipe.width)
    except BadInput as error:  # what is stored was made elsewhere: the images or torchvision are not here
        return f"What is neither pruned nor counted cannot be told here: {error}"
    known = dict(model.named_parameters())
    weights = {name: known[name] for name in prunable(model)}
    left = undivided(weights, prune.m) if prune.structure == "n:m" else ()
    words = uncounted(model)
    if left:
        share = sum(weights[n].numel() for n in left) / sum(w.numel() for w in weights.values())
        words += (
            f" {prune.n}:{prune.m} leaves {few(left)} dense, {100 * share:.2g} % of the prunable weights, because {prune.m} "
            "does not divide their inputs."
        )
    if prune.structure == "filters":
        whole = {name for name, w in weights.items() if w.dim() != 4}
        share = sum(weights[n].numel() for n in whole) / sum(w.numel() for w in weights.values())
        if share > 0.05:
            words += (
                f" Whole filters are of convolutions: other layers, {100 * share:.2g} % of the prunable weights, stay."
            )
    return words.strip()


def curves(experiments: Sequence[Experiment], store: Store | Path | str | None = None) -> pd.DataFrame:
    """The retraining curves of stored experiments: one row per point, with seed, sparsity, budget and schedule."""
    experiments = listed(experiments, Experiment, "curves' experiments")
    store, marks = opened(store), _fingerprints(experiments)
    rows = []
    for e in experiments:
        result = _stored(store.result(result_key(e, marks[e.recipe.data, e.recipe.image_size])))
        head = {
            "seed": e.recipe.seed,
            "sparsity": e.prune.sparsity,
            "budget": e.retrain.budget,
            "schedule": e.retrain.schedule,
        }
        names = [n for n, v in result.curves.items() if isinstance(v, list)]
        rows += [head | dict(zip(names, values)) for values in zip(*(result.curves[n] for n in names))]
    return pd.DataFrame(rows)


def layers(experiments: Sequence[Experiment], store: Store | Path | str | None = None) -> pd.DataFrame:
    """The final sparsity of each layer of stored experiments: columns place (in `experiments`), layer, sparsity."""
    experiments = listed(experiments, Experiment, "layers' experiments")
    store, marks = opened(store), _fingerprints(experiments)
    rows = []
    for place, e in enumerate(experiments):
        result = _stored(store.result(result_key(e, marks[e.recipe.data, e.recipe.image_size])))
        own = result.curves["layer_sparsity"]
        rows += [{"place": place, "layer": name, "sparsity": share} for name, share in own.items()]
    return pd.DataFrame(rows)


def masks(experiment: Experiment, store: Store | Path | str | None = None) -> Masks:
    """The masks of a stored experiment's first cycle, on the CPU."""
    [mark] = _fingerprints([experiment]).values()
    key = pruned_key(experiment.recipe, experiment.prune, mark)
    pruned = _stored(opened(store).pruned(key, torch.device("cpu")))
    if pruned.result.outcome:
        raise BadInput(f"There are no masks ({pruned.result.outcome}); take a smaller learning rate or another seed.")
    return pruned.masks


def _stored(thing: T | None) -> T:
    if thing is None:
        raise BadInput("These experiments are not all in the store yet; run the study first.")
    return thing
