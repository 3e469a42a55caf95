"""The plan of a study: what is not in the store yet, cut into tasks for the workers.

Dense networks and masks are made once and shared by all experiments that start from them. Runs that an engine can train
together make one task, and each leaves its result in the store as soon as it is done.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from itertools import chain
from typing import TypeVar

import torch

from retrainlab.config import Experiment, Prune, Recipe
from retrainlab.layers import prunable
from retrainlab.phrases import share
from retrainlab.scores import UPDATES
from retrainlab.study.ledger import Part, Task
from retrainlab.study.making import Noun, Pair, Watch, cost, grouped, trained_as, work
from retrainlab.study.measured import belongs, check_momentum, lacks_momentum
from retrainlab.study.records import Stored
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.serving import Unfinished, advance
from retrainlab.study.sitting import Sitting, order
from retrainlab.study.stages import common, network_of, steps_of
from retrainlab.training.engine import Engine
from retrainlab.training.state import State

T = TypeVar("T")
N = TypeVar("N", bound=Noun)
WORTH_SENDING = 1.0  # seconds of work, beside which it is little to send a task to a worker
AT_ONCE = 16  # networks and masks that are held while it is seen what is missing
RECORD = 8192  # bytes of a record, about


@dataclass(frozen=True)
class Missing:
    """What must be computed, by key: experiments (`results`), and the dense networks and masks they start from where these
    are missing too; the results that were `found`, which need not be read again; and the `names` of all, in their order."""

    dense: dict[str, Recipe]
    pruned: dict[str, tuple[Recipe, Prune]]
    results: dict[str, Experiment]
    found: dict[str, Result] = field(default_factory=dict, compare=False)
    names: tuple[str, ...] = field(default=(), compare=False)

    @staticmethod
    def of(
        experiments: Sequence[Experiment], results: Results, fresh: bool = False, stored_only: bool = False
    ) -> "Missing":
        """What the store lacks of the experiments and of what they start from; each file is read, or known to the store's
        index as it is now, so that damaged ones are made anew with the rest. fresh: take all for missing. stored_only:
        nothing will be made, so that a dense network without the momentum that an experiment goes on from is missing, and
        not refused with BadInput."""
        names = tuple(map(results.key, experiments))
        out = Missing({}, {}, {}, {} if fresh else results.many(dict(zip(names, experiments))), names)
        shapes, key = cache(_shapes), cache(results.key)  # of what many experiments start from

        def fits(kind: str, recipe: Recipe, found: Stored) -> bool:
            own = {n: t.shape for n, t in found.tensors.items() if not n.startswith("momentum/")}
            return bool(found.result.outcome) or own == shapes(common(recipe))[kind]

        @lru_cache(maxsize=AT_ONCE)
        def whole(kind: str, name: str, recipe: Recipe) -> Stored | None:
            return None if fresh else results.store.get(kind, name, partial(fits, kind, recipe))

        @cache
        def paired(first: str, pair: str, recipe: Recipe) -> bool:
            dense, masks = whole("dense", first, recipe), whole("pruned", pair, recipe)
            return dense is not None and masks is not None and belongs(masks.pruned(), dense.dense())

        for name, e in zip(names, experiments):
            if name in out.found or name in out.results:
                continue
            out.results[name] = e
            first, pair = key(e.recipe), key((e.recipe, e.prune))
            dense = whole("dense", first, e.recipe)
            if dense and stored_only and lacks_momentum(e, dense.result):
                dense = None
            if dense is None:
                out.dense[first] = e.recipe
            else:
                check_momentum(e, dense.result)
            if dense is None or not paired(first, pair, e.recipe):
                out.pruned[pair] = e.recipe, e.prune
        return out

    @property
    def trained(self) -> list[Noun]:
        """All of it that trains: masks do not."""
        return [*self.dense.values(), *self.results.values()]

    def bytes(self) -> float:
        """About how many bytes it takes in the store: weights, momentum and buffers of dense runs, a byte for each weight of
        a mask (four more where a prune changes weights), and a record of everything."""

        @cache
        def sizes(recipe: Recipe) -> tuple[int, int]:
            model = network_of(recipe)
            weights = dict(model.named_parameters())
            buffers = sum(b.nbytes for b in model.buffers())
            masks = sum(weights[name].numel() for name in prunable(model, recipe.embeddings))
            return 2 * sum(w.nbytes for w in weights.values()) + buffers, masks

        tensors = sum(sizes(common(r))[0] for r in self.dense.values())
        tensors += sum(sizes(common(r))[1] * (5 if p.score in UPDATES else 1) for r, p in self.pruned.values())
        return tensors + RECORD * (len(self.dense) + len(self.pruned) + len(self.results))

    def epochs(self, recipe: Recipe) -> float:
        """How many epochs of training it takes, of the runs that share these `common` settings."""
        return work(noun for noun in self.trained if trained_as(noun) == recipe)


def _shapes(recipe: Recipe) -> dict[str, dict[str, torch.Size]]:
    """The shapes of a dense run's stored tensors, its momentum aside, and of its masks, by name."""
    model = network_of(recipe)
    state = State.of(model, "meta")
    params = {name: p.shape for name, p in state.params.items()}
    dense = {f"params/{name}": shape for name, shape in params.items()}
    dense |= {f"buffers/{name}": b.shape for name, b in state.buffers.items()}
    return {"dense": dense, "pruned": {name: params[name] for name in prunable(model, recipe.embeddings)}}


def tasks(
    missing: Missing,
    engines: Mapping[Recipe, Engine],
    workers: int,
    results: Results,
    device: torch.device,
    sitting: Sitting | None = None,
) -> list[Task]:
    """Tasks that make all that is missing, the longest of each stage first; or, in a sitting, first trainings first, and
    then what is most telling (see `sitting.order`). engines: one for each `common` recipe."""
    out: list[Task] = []
    key_of: dict[Noun, str] = {}
    for kind in (missing.dense, missing.pruned, missing.results):
        key_of |= {noun: key for key, noun in kind.items()}
    task_of: dict[Noun, str] = {}
    first = _first_needed(missing) if sitting else {}

    def add(stage: int, nouns: Sequence[Noun], engine: Engine, needs: Iterable[Noun] = ()) -> None:
        parts = [Part(key_of[noun], noun, _words(noun), _name(noun)) for noun in nouns]
        size, waits = work(nouns), frozenset(task_of[need] for need in needs if need in task_of)
        args = (results, device, engine, sitting)
        rank = (min(stage, 1), min(map(first.__getitem__, nouns)), len(out)) if first else (stage, -size, len(out))
        out.append(Task.of(rank, carry_out, args, size, waits, parts))
        task_of.update(dict.fromkeys(nouns, parts[0].key))

    def in_turn(nouns: Sequence[N]) -> list[N]:
        return sorted(nouns, key=lambda noun: first[noun] if first else -cost(noun))

    for (shared, _), group in grouped(missing.dense.values(), lambda r: (trained_as(r), type(r.method))).items():
        for recipes in _portions(in_turn(group), min(engines[shared].members, -(-len(group) // workers))):
            add(0, recipes, engines[shared])
    for pair in missing.pruned.values():
        add(1, [pair], Engine(), [pair[0]])  # masks do not train, and their network may not either
    for shared, retrained in grouped(missing.results.values(), trained_as).items():
        engine = engines[shared]
        some = 1 if sitting else -(-len(retrained) // (8 * workers))
        size = max(engine.members, some) if engine.kind != "loop" else min(some, _short(engine, retrained))
        joined = _joined(grouped(retrained, lambda e: (e.recipe, e.prune)), engine.members)
        for together in [retrained] if sitting else joined:
            for experiments in _portions(in_turn(together), min(size, -(-len(retrained) // workers))):
                needs = {noun for e in experiments for noun in (e.recipe, (e.recipe, e.prune))}
                add(2, experiments, engine, needs)
    return out


def _first_needed(missing: Missing) -> dict[Noun, int]:
    """The place of each experiment in a sitting's order, and of what it starts from that of the first that needs it."""
    places: dict[Noun, int] = {}
    for place, e in enumerate(order(missing.results.values())):
        for noun in (e, (e.recipe, e.prune), e.recipe):
            places.setdefault(noun, place)
    return places


def _joined(groups: Mapping[Pair, list[Experiment]], members: int) -> list[list[Experiment]]:
    """Groups put together as far as an engine takes them all at once; those of one recipe, which see the same images,
    stand side by side."""
    out: list[list[Experiment]] = []
    for pair in chain(*grouped(groups, lambda pair: pair[0]).values()):
        if out and len(out[-1]) + len(groups[pair]) <= members:
            out[-1] += groups[pair]
        else:
            out.append(list(groups[pair]))
    return out


def _short(engine: Engine, experiments: Sequence[Experiment]) -> int:
    """How many runs, one after the other, make a task that is worth sending: 1 if the longest takes so long, or if that is
    not known."""
    seconds = (
        max(cost(e) * engine.seconds * steps_of(e.recipe) for e in experiments) if engine.seconds else WORTH_SENDING
    )
    return max(1, int(WORTH_SENDING / seconds))


def _portions(group: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Parts of nearly equal length, at most `size`."""
    count = -(-len(group) // size)
    for i in range(count):
        yield group[i * len(group) // count : (i + 1) * len(group) // count]


def _words(noun: Noun) -> str:
    """What a noun is, in words."""
    match noun:
        case Recipe() as recipe:
            return f"first training of {recipe.model}, seed {recipe.seed}"
        case (recipe, prune):
            return f"pruning of {recipe.model} to sparsity {prune.sparsity:g}, seed {recipe.seed}"
        case Experiment(recipe, prune, retrain):
            return (
                f"{retrain.schedule} at sparsity {prune.sparsity:g} and budget {retrain.budget:g}, seed {recipe.seed}"
            )


def _name(noun: Noun) -> str:
    """As `_words`, for lists of tasks."""
    match noun:
        case Recipe() as recipe:
            return f"dense seed {recipe.seed}"
        case (recipe, prune):
            return f"prune {share(prune.sparsity)} seed {recipe.seed}"
        case Experiment(recipe, prune, retrain):
            return f"retrain {retrain.schedule} {share(prune.sparsity)} {share(retrain.budget)} seed {recipe.seed}"


def carry_out(
    results: Results, device: torch.device, engine: Engine, sitting: Sitting | None, nouns: Sequence[Noun]
) -> None:
    """The work of a task, in a worker: make nouns of one kind together, keep each as it ends, and tell how far it is. Raises
    Unfinished if the sitting is over before that."""
    made, stop = 0, None
    if sitting is not None:
        engine, stop = engine.within(sitting.left), sitting.over
    watch = Watch(stop=stop, tell=lambda share, _: advance(share, made))
    for _ in results.make_task(nouns, device, engine, watch):
        made += 1
    if made < len(nouns):
        raise Unfinished(made)
