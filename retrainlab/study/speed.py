"""How fast this device trains what a study lacks: an engine for each network, and the steps it is to make."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import torch

from retrainlab.config import Recipe
from retrainlab.device import cores
from retrainlab.progress import Tell
from retrainlab.study.making import trained_as
from retrainlab.study.plan import Missing
from retrainlab.study.sitting import Sitting
from retrainlab.study.stages import prepare
from retrainlab.training.engine import LONG, Engine, fastest, forced, record_of
from retrainlab.training.half import hint
from retrainlab.training.state import Setup, State

WORTH_A_PROBE = 1000  # steps; with fewer, measuring which engine is fastest takes longer than it saves


@dataclass(frozen=True)
class Pace:
    """How one network is to be trained. steps: of one member, all together. hint: what bfloat16 would save where there is
    some work and it would save much, else empty."""

    engine: Engine
    steps: float
    hint: str = ""

    @property
    def seconds(self) -> float:
        """How long one process takes for the steps; 0 if it is not known."""
        return self.steps * self.engine.seconds


def paces(
    missing: Missing,
    kind: str,
    where: torch.device,
    tell: Tell,
    sitting: Sitting | None = None,
    elsewhere: Callable[[Recipe, float, float, Tell], Engine] | None = None,
) -> dict[Recipe, Pace]:
    """The pace of each network, data set and batch size that is missing, by their `common` recipe. kind: the engine asked
    for, `auto` for the fastest. tell: hears of a probe. elsewhere: says the engine where others compute, for a recipe, its
    steps and those of them for which compiling may be tried. Raises BadInput for images that are not here."""
    out = {}
    for recipe in dict.fromkeys(map(trained_as, missing.trained)):
        setup, original = prepare(recipe, where)
        steps = missing.epochs(recipe) * len(original.lr) / recipe.epochs
        worth_trying = sitting is None or sitting.left > 5 * LONG  # what compiling gives
        compiled = steps if worth_trying else 0.0
        if elsewhere is not None:
            engine = elsewhere(recipe, steps, compiled, tell)
        else:
            engine = engine_of(setup, recipe, kind, steps, partial(tell, 0.0), compiled)
        words = (
            hint(record_of(setup, recipe)) if elsewhere is None and kind == "auto" and steps >= WORTH_A_PROBE else ""
        )
        out[recipe] = Pace(engine, steps, words and f"{recipe.model}: {words}")
    return out


def total(paces: Collection[Pace]) -> float:
    """How many seconds one process takes for all of them; 0 if that of one is not known."""
    seconds = [pace.seconds for pace in paces]
    return sum(seconds) if all(seconds) else 0.0


def engine_of(
    setup: Setup, recipe: Recipe, kind: str, steps: float, tell: Callable[[str], None], compiled: float = 0.0
) -> Engine:
    """The engine of that kind; or if it is `auto` the fastest, as it is remembered, or by a probe that is announced to
    `tell` where the steps are worth it. compiled: steps for which it is tried whether compiling them pays."""
    if kind != "auto":
        return forced(kind, setup.data.device)
    start = State.of(setup.model, setup.data.device)
    return fastest(setup, start, recipe, tell if steps >= WORTH_A_PROBE else None, compiled)


def at_once(jobs: int, where: torch.device) -> int:
    """How many processes have a core each. jobs: as many are asked for, one per core if 0; a GPU is used by one alone."""
    return min(jobs or cores(), cores()) if where.type == "cpu" else 1
