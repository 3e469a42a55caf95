"""The plan of a study: what is not in the store yet, cut into tasks for the workers.

Dense networks and masks are made once and shared by all experiments that start from them. Runs that an engine can train
together make one task, and each leaves its result in the store as soon as it is done.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TypeVar

import torch

from retrainlab.checks import BadInput
from retrainlab.config import PRECISIONS, Experiment, Prune, Recipe, key
from retrainlab.data.folders import printable
from retrainlab.data.sources import fingerprint
from retrainlab.device import resolve
from retrainlab.study.result import Result
from retrainlab.study.serving import advance
from retrainlab.study.stages import (
    Dense,
    Pruned,
    belongs,
    common,
    prepare,
    prune_dense,
    run_together,
    train_dense_together,
    while_retraining,
)
from retrainlab.study.store import Store, Stored, Unfit, state_of
from retrainlab.study.workers import Task
from retrainlab.training.engine import Engine
from retrainlab.training.state import Point

T = TypeVar("T")
RECORD = 8192  # bytes of a record, about
Marks = dict[tuple[str, int | None], str]
"""The fingerprint of each data set, by its name and image size."""


def dense_key(recipe: Recipe, data: str) -> str:
    """The name of a stored dense run; data: the fingerprint of its data set."""
    return key("dense", [recipe], data)


def pruned_key(recipe: Recipe, prune: Prune, data: str) -> str:
    """The name of stored masks."""
    return key("pruned", [recipe, prune], data)


def result_key(experiment: Experiment, data: str) -> str:
    """The name of a stored result; data: the fingerprint of its data set."""
    return key("result", [experiment], data)


def adopt_unsaid(experiment: Experiment, store: Store, data: str) -> bool:
    """Give what an earlier version computed in bfloat16, and stored as if in float32, the names of what it is: an
    experiment's result, dense run and masks. Whether anything got another name; nothing does in a store that is only read.
    """
    plain, half = (replace(experiment, recipe=replace(experiment.recipe, precision=p)) for p in PRECISIONS)
    dense, pruned, results = (
        (dense_key(plain.recipe, data), dense_key(half.recipe, data)),
        (pruned_key(plain.recipe, plain.prune, data), pruned_key(half.recipe, half.prune, data)),
        (result_key(plain, data), result_key(half, data)),
    )
    moved = False
    with suppress(BadInput, Unfit):
        first, masks = (store.read(*name, tensors=False) for name in (("dense", dense[0]), ("pruned", pruned[0])))
        if first is not None and first.result.unsaid_half:
            if masks is not None:
                store.rename("pruned", *pruned)
            store.rename("dense", *dense)
            moved = True
    with suppress(BadInput, Unfit):
        if (result := store.read("results", results[0])) is not None and result.result.unsaid_half:
            store.rename("results", *results)
            moved = True
    return moved


def cost(experiment: Experiment) -> float:
    """Of its retraining, in epochs; a little more for evaluations."""
    retrain = experiment.retrain
    cycles = 1 if retrain.split else experiment.prune.cycles
    return retrain.budget * experiment.recipe.epochs * cycles * retrain.copies + 0.1


@dataclass(frozen=True)
class Missing:
    """What must be computed, by name: experiments, and what they start from where that is missing too; and the results
    `found`, which need not be read again."""

    dense: dict[str, Recipe]
    pruned: dict[str, tuple[Recipe, Prune]]
    results: dict[str, Experiment]
    found: dict[str, Result] = field(default_factory=dict, compare=False)

    @staticmethod
    def of(experiments: Sequence[Experiment], store: Store, fresh: bool, marks: Marks) -> "Missing":
        """What is stored is looked at, so that a damaged file is made anew with the rest."""
        out = Missing({}, {}, {})
        whole: dict[str, Stored] = {}
        shapes = cache(_shapes)

        def lacks(kind: str, name: str, recipe: Recipe) -> bool:
            def fits(found: Stored) -> bool:
                own = {n: t.shape for n, t in found.tensors.items() if not n.startswith("momentum/")}
                return bool(found.result.outcome) or own == shapes(common(recipe))[kind]

            if fresh or name in getattr(out, kind):
                return True
            if name not in whole and (found := store.check(kind, name, fits)):
                whole[name] = found
            return name not in whole

        for e in experiments:
            data = marks[e.recipe.data, e.recipe.image_size]
            if (name := result_key(e, data)) in out.found or name in out.results:
                continue
            result = store.result(name)
            if (fresh or result is None) and adopt_unsaid(e, store, data):
                result = store.result(name)
            if not fresh and result is not None:
                out.found[name] = result
                continue
            out.results[name] = e
            dense, masks = dense_key(e.recipe, data), pruned_key(e.recipe, e.prune, data)
            if lacks("dense", dense, e.recipe):
                out.dense[dense] = e.recipe
            if dense in out.dense or lacks("pruned", masks, e.recipe) or not _of(whole[masks], whole[dense]):
                out.pruned[masks] = e.recipe, e.prune
        return out

    def bytes(self, device: torch.device) -> float:
        """About how many it takes in the store: of dense runs the weights, their momentum and the buffers, of masks one for
        each weight, and of everything a record."""
        of_dense, of_masks = {}, {}
        for recipe in {common(r) for r in [*self.dense.values(), *(r for r, _ in self.pruned.values())]}:
            setup = prepare(recipe, device)[0]
            weights = dict(setup.model.named_parameters())
            of_dense[recipe] = 2 * sum(w.nbytes for w in weights.values()) + sum(
                b.nbytes for b in setup.model.buffers()
            )
            of_masks[recipe] = sum(weights[name].numel() for name in setup.prunable)
        tensors = sum(of_dense[common(r)] for r in self.dense.values())
        tensors += sum(of_masks[common(r)] for r, _ in self.pruned.values())
        return tensors + RECORD * (len(self.dense) + len(self.pruned) + len(self.results))

    def epochs(self, recipe: Recipe) -> float:
        """Of training, for all whose recipe is `common`."""
        dense = sum(r.epochs for r in self.dense.values() if common(r) == recipe)
        return dense + sum(cost(e) for e in self.results.values() if common(while_retraining(e)) == recipe)


def _of(masks: Stored, dense: Stored) -> bool:
    return belongs(Pruned(masks.tensors, masks.result), Dense(state_of(dense.tensors), dense.result))


def _shapes(recipe: Recipe) -> dict[str, dict[str, torch.Size]]:
    """Of the stored tensors of a dense run, its momentum aside, and of its masks."""
    setup = prepare(recipe, torch.device("cpu"))[0]
    params = {name: p.shape for name, p in setup.model.named_parameters()}
    dense = {f"params/{name}": shape for name, shape in params.items()}
    dense |= {f"buffers/{name}": b.shape for name, b in setup.model.named_buffers()}
    return {"dense": dense, "pruned": {name: params[name] for name in setup.prunable}}


def tasks(missing: Missing, engines: Mapping[Recipe, Engine], workers: int, marks: Marks) -> list[Task]:
    """Tasks that make it all; engines: one for each `common` recipe. The arguments lack store and device, which come
    first."""
    out: list[Task] = []
    task_of: dict[str, str] = {}

    def add(stage: int, work: Callable, runs: dict, what: tuple, size: float, needs: Iterable[str]) -> None:
        name = next(iter(runs))
        waits = frozenset(task_of[need] for need in needs if need in task_of)
        words = _words(list(runs.values()))
        out.append(Task((stage, -size, len(out)), name, work, what, size, waits, len(runs), words))
        task_of.update(dict.fromkeys(runs, name))

    def mark(recipe: Recipe) -> str:
        return marks[recipe.data, recipe.image_size]

    for (shared, _), group in _grouped(missing.dense, lambda r: (common(r), type(r.method))).items():
        longest_first = dict(sorted(group.items(), key=lambda pair: -pair[1].epochs))
        for runs in _portions(longest_first, min(engines[shared].members, -(-len(group) // workers))):
            what = (engines[shared], list(runs.values()), mark(shared))
            add(0, _make_dense, runs, what, sum(r.epochs for r in runs.values()), ())
    for name, (recipe, prune) in missing.pruned.items():
        add(
            1,
            _make_pruned,
            {name: (recipe, prune)},
            (recipe, prune, mark(recipe)),
            0.1,
            [dense_key(recipe, mark(recipe))],
        )
    for shared, results in _grouped(missing.results, lambda e: common(while_retraining(e))).items():
        engine, data = engines[shared], mark(shared)
        size = 1 if engine.kind == "loop" else max(engine.members, -(-len(results) // (8 * workers)))
        for group in _joined(_grouped(results, lambda e: (e.recipe, e.prune)), engine.members):
            longest_first = dict(sorted(group.items(), key=lambda pair: -cost(pair[1])))
            for runs in _portions(longest_first, min(size, -(-len(results) // workers))):
                experiments = list(runs.values())
                needs = {dense_key(e.recipe, data) for e in experiments}
                needs |= {pruned_key(e.recipe, e.prune, data) for e in experiments}
                add(2, _make_results, runs, (engine, experiments, data), sum(map(cost, experiments)), needs)
    return out


def _grouped(items: dict[str, T], by: Callable[[T], Hashable]) -> dict[Hashable, dict[str, T]]:
    out: dict[Hashable, dict[str, T]] = {}
    for name, item in items.items():
        out.setdefault(by(item), {})[name] = item
    return out


def _joined(groups: dict[tuple[Recipe, Prune], dict[str, Experiment]], members: int) -> list[dict[str, Experiment]]:
    """Groups put together as far as an engine takes them all at once; those of one recipe, which see the same images,
    stand side by side."""
    out: list[dict[str, Experiment]] = []
    for same in _grouped({pair: pair for pair in groups}, lambda pair: pair[0]).values():
        for pair in same:
            if out and len(out[-1]) + len(groups[pair]) <= members:
                out[-1] |= groups[pair]
            else:
                out.append(dict(groups[pair]))
    return out


def _portions(group: dict[str, T], size: int) -> Iterator[dict[str, T]]:
    """Parts of nearly equal length, at most `size`."""
    pairs = list(group.items())
    count = -(-len(pairs) // size)
    for i in range(count):
        yield dict(pairs[i * len(pairs) // count : (i + 1) * len(pairs) // count])


def _words(runs: Sequence[Recipe | tuple[Recipe, Prune] | Experiment]) -> str:
    """What a task makes, for the reader: its first run, and how many more."""
    match runs[0]:
        case Recipe() as recipe:
            first = f"first training of {recipe.model}, seed {recipe.seed}"
        case (recipe, prune):
            first = f"pruning of {recipe.model} to sparsity {prune.sparsity:g}, seed {recipe.seed}"
        case Experiment(recipe, prune, retrain):
            first = (
                f"{retrain.schedule} at sparsity {prune.sparsity:g} and budget {retrain.budget:g}, seed {recipe.seed}"
            )
    return first if len(runs) == 1 else f"{first}, and {len(runs) - 1} made together with it"


# ---- the work; each function runs in a worker and leaves what it makes in the store ------------------------------------


def _check_unchanged(recipe: Recipe, data: str) -> None:
    """Raise BadInput if the images are no longer those under whose fingerprint `data` results are to be stored."""
    if fingerprint(recipe.data, recipe.image_size) != data:
        raise BadInput(
            f"{printable(recipe.data)} changed while the study ran, so its results would be of no one data set; what was "
            "finished is kept under the images as they were, and the same command starts with those of now."
        )


def _make_dense(store: Store, device: str, engine: Engine, recipes: Sequence[Recipe], data: str) -> None:
    _check_unchanged(recipes[0], data)
    meter = _Meter([r.epochs for r in recipes], [21] * len(recipes))
    for i, dense in train_dense_together(recipes, device, engine, on_point=meter):
        store.put_dense(dense_key(recipes[i], data), dense)
        meter.ended(i)


def _make_pruned(store: Store, device: str, recipe: Recipe, prune: Prune, data: str) -> None:
    _check_unchanged(recipe, data)
    dense = _there(store.dense(dense_key(recipe, data), resolve(device)), store)
    store.put_pruned(pruned_key(recipe, prune, data), prune_dense(recipe, prune, dense, device))


def _make_results(store: Store, device: str, engine: Engine, experiments: Sequence[Experiment], data: str) -> None:
    _check_unchanged(experiments[0].recipe, data)
    where = resolve(device)
    dense = {r: _there(store.dense(dense_key(r, data), where), store) for r in {e.recipe for e in experiments}}
    pairs = {(e.recipe, e.prune) for e in experiments}
    pruned = {pair: _there(store.pruned(pruned_key(*pair, data), where), store) for pair in pairs}
    starts = [(dense[e.recipe], pruned[e.recipe, e.prune]) for e in experiments]
    meter = _Meter([cost(e) for e in experiments], [(e.evaluations + 1) * e.prune.cycles for e in experiments])
    for i, result in run_together(experiments, starts, device, engine, on_point=meter):
        store.put_result(result_key(experiments[i], data), result)
        meter.ended(i)


def _there(thing: T | None, store: Store) -> T:
    """What the plan has found in the store, or a task before this one has put there."""
    if thing is None:
        raise BadInput(
            f"Files in the store {store.root} were changed or damaged while the study ran; give the same command again, "
            "which goes on from what is kept."
        )
    return thing


class _Meter:
    """Tells how far a task's runs are, by the points of their curves. costs, points: of each run, which makes fewer if it
    diverges; made: runs stored."""

    def __init__(self, costs: Sequence[float], points: Sequence[int]):
        self.costs, self.points = costs, points
        self.seen, self.made = [0] * len(costs), 0

    def ended(self, place: int) -> None:
        """One more run is stored, whatever points it has."""
        self.seen[place] = self.points[place]
        self.made += 1

    def __call__(self, place: int, _: Point) -> None:
        self.seen[place] += 1
        shares = (cost * min(1, seen / all_) for cost, seen, all_ in zip(self.costs, self.seen, self.points))
        advance(sum(shares) / sum(self.costs), self.made)
