"""How one process makes what is missing: runs that train together, how much work each is, and what is told meanwhile."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from retrainlab.config import Experiment, Prune, Recipe
from retrainlab.progress import Tell
from retrainlab.study.checkpoints import Checkpoints
from retrainlab.study.courses import Callbacks
from retrainlab.study.measured import Dense, Pruned
from retrainlab.study.result import Result
from retrainlab.study.stages import (
    common,
    evaluations_of,
    prune_dense,
    run_together,
    train_dense_together,
    while_retraining,
)
from retrainlab.training.engine import Engine
from retrainlab.training.state import Point

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Pair = tuple[Recipe, Prune]
Noun = Recipe | Pair | Experiment
Thing = Dense | Pruned | Result


@dataclass(frozen=True)
class Watch:
    """What is called while results are made. on_point(noun, point): at each point of a curve; stop: before each step, ends
    all work once it returns True; tell(share of the work, words): says how far it is, and what begins, if anything.
    checkpoints: of nouns that are made together, by place; what is stopped is then no result, and goes on the next time."""

    on_point: Callable[[Recipe | Experiment, Point], None] = lambda noun, point: None
    stop: Callable[[], bool] | None = None
    tell: Tell = lambda share, words: None
    checkpoints: Checkpoints | None = None

    @property
    def stopped(self) -> bool:
        """Whether the work is to end."""
        return self.stop is not None and self.stop()


def recipe_of(noun: Noun) -> Recipe:
    """The recipe of the first training that a noun is, or starts from."""
    match noun:
        case Experiment(recipe) | (recipe, _):
            return recipe
    return noun


def trained_as(noun: Noun) -> Recipe:
    """The settings, in `common` with all that may train together with it, by which a noun trains, or that its masks have."""
    return common(while_retraining(noun) if isinstance(noun, Experiment) else recipe_of(noun))


def trained_epochs(noun: Noun) -> float:
    """Epochs of training that a noun is: of an experiment those of its retraining, of masks none."""
    match noun:
        case Recipe():
            return noun.epochs
        case Experiment(recipe, prune, retrain):
            cycles = 1 if retrain.split else prune.cycles
            return retrain.budget * recipe.epochs * cycles * retrain.copies
    return 0.0


def cost(noun: Noun) -> float:
    """How much work a noun is, in epochs of training: those that it trains, and but for a first training a little for
    evaluations."""
    return trained_epochs(noun) + (0.0 if isinstance(noun, Recipe) else 0.1)


def work(nouns: Iterable[Noun]) -> float:
    """How much work they all are, in epochs of training."""
    return sum(map(cost, nouns))


def grouped(items: Iterable[T], by: Callable[[T], K]) -> dict[K, list[T]]:
    """The items by what `by` says of them, in their order."""
    out: dict[K, list[T]] = {}
    for item in items:
        out.setdefault(by(item), []).append(item)
    return out


def made_of(
    nouns: Sequence[Noun],
    dense: Mapping[Recipe, Dense],
    pruned: Mapping[Pair, Pruned],
    device: torch.device,
    engine: Engine,
    watch: Watch,
) -> Iterator[tuple[Noun, Thing]]:
    """Make nouns of one kind from the networks and masks that they start from, on `device`; each as it ends."""
    recipes = [noun for noun in nouns if isinstance(noun, Recipe)]
    experiments = [noun for noun in nouns if isinstance(noun, Experiment)]
    if recipes:
        yield from first_trainings(recipes, device, engine, watch)
    for pair in (noun for noun in nouns if isinstance(noun, tuple)):
        yield pair, prune_dense(*pair, dense[pair[0]], str(device))
    if experiments:
        yield from retrainings(experiments, dense, pruned, device, engine, watch)


def starts_of(nouns: Sequence[Noun]) -> tuple[list[Recipe], list[Pair]]:
    """The first trainings, and the first prunes, that nouns start from."""
    recipes = [recipe_of(noun) for noun in nouns if not isinstance(noun, Recipe)]
    pairs = [(noun.recipe, noun.prune) for noun in nouns if isinstance(noun, Experiment)]
    return list(dict.fromkeys(recipes)), list(dict.fromkeys(pairs))


def first_trainings(
    recipes: Sequence[Recipe], device: torch.device, engine: Engine, watch: Watch
) -> Iterator[tuple[Recipe, Dense]]:
    """Train networks that have `common` settings together; each as it ends."""
    meter = Meter(recipes, watch)
    for place, made in train_dense_together(recipes, str(device), engine, meter.calls):
        meter.ended(place)
        yield recipes[place], made


def retrainings(
    experiments: Sequence[Experiment],
    dense: Mapping[Recipe, Dense],
    pruned: Mapping[Pair, Pruned],
    device: torch.device,
    engine: Engine,
    watch: Watch,
) -> Iterator[tuple[Experiment, Result]]:
    """Retrain together what has `common` settings `while_retraining`, each from its network and masks; each as it ends."""
    meter = Meter(experiments, watch)
    starts = [(dense[e.recipe], pruned[e.recipe, e.prune]) for e in experiments]
    for place, made in run_together(experiments, starts, str(device), engine, meter.calls):
        meter.ended(place)
        yield experiments[place], made


class Meter:
    """Tells how far runs are that train together, by their costs and the points of their curves."""

    def __init__(self, nouns: Sequence[Recipe | Experiment], watch: Watch):
        self.nouns, self.watch = nouns, watch
        self.costs = list(map(cost, nouns))
        self.points = [  # of each curve
            evaluations_of(n) + 1 if isinstance(n, Recipe) else (n.evaluations + 1) * n.prune.cycles for n in nouns
        ]
        self.seen = [0] * len(nouns)

    @property
    def calls(self) -> Callbacks:
        """What the runs are to call."""
        return Callbacks(self, self.watch.stop, self.watch.checkpoints)

    def __call__(self, place: int, point: Point) -> None:
        """One more point of the run at `place`."""
        self.watch.on_point(self.nouns[place], point)
        self.seen[place] += 1
        shares = (cost * min(1, seen / all_) for cost, seen, all_ in zip(self.costs, self.seen, self.points))
        self.watch.tell(sum(shares) / sum(self.costs), "")

    def ended(self, place: int) -> None:
        """The run at `place` is over, whatever points it has: fewer if it has diverged."""
        self.seen[place] = self.points[place]
