"""A sitting: a study that must end within some minutes, such as those of a borrowed GPU: when it stops, and what is first.

Every run that is finished is kept, and what is under way has checkpoints, so that the same command goes on from there, here
or where a copy of the store lies.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from retrainlab.checks import check_number
from retrainlab.config import Experiment
from retrainlab.progress import duration

T = TypeVar("T")
MARGIN = 20.0  # seconds kept free at the end, or a tenth of the time if that is less
SOONEST = ("LLR", "FT", "ALLR", "CLR", "SLR", "LRW")  # schedules, the most telling first; the first two are one rank


@dataclass(frozen=True)
class Sitting:
    """minutes: that it has, above 0. began: when, in seconds as `time.monotonic` counts them, which no setting of the
    clock changes, and which all processes of a machine share. Several studies can share one sitting.

    Work stops MARGIN seconds, or a tenth of the time, before the end: a step or an evaluation that is under way then ends as
    it would, and what is unfinished is written. Where one takes longer than that, processes are ended when the time is
    over, and this process, or a GPU's, ends when it is through.
    """

    minutes: float
    began: float = field(default_factory=lambda: time.monotonic())

    def __post_init__(self) -> None:
        check_number(self.minutes, "number of minutes", above=0)

    @staticmethod
    def of(minutes: "float | Sitting") -> "Sitting | None":
        """The sitting of so many minutes that begins now; none if they are 0. Raises BadInput for what is no such number."""
        if isinstance(minutes, Sitting):
            return minutes
        check_number(minutes, "number of minutes", low=0)
        return Sitting(minutes) if minutes else None

    @property
    def left(self) -> float:
        """Seconds until work stops."""
        return self.began + 60 * self.minutes - min(MARGIN, 6 * self.minutes) - time.monotonic()

    def over(self) -> bool:
        """Whether work is to stop."""
        return self.left <= 0

    def spent(self) -> bool:
        """Whether all of the time is over."""
        return time.monotonic() >= self.began + 60 * self.minutes

    def words(self, finished: int, all: int, going_on: int, place: str) -> str:
        """What has come of it, in a sentence. finished: of `all` runs. going_on: others, or first trainings, that have a
        checkpoint. place: where all of that is kept."""
        told = f"{finished} of {all} runs are finished and kept in {place}"
        if going_on:
            told += f", {going_on} go on from their checkpoints" if going_on > 1 else ", 1 goes on from its checkpoint"
        took = duration(time.monotonic() - self.began)
        return f"Stopped after {took} of {self.minutes:g} minutes: {told}; the same command goes on from there."


def order(experiments: Iterable[Experiment]) -> list[Experiment]:
    """The experiments, the most telling first, so that a study that ends at any time has told as much as it could.

    All seeds of a cell come before the next. LLR and FT come before ALLR, then CLR, SLR, LRW and all others; among these
    shorter budgets before longer ones; and then sparsities, schedules and all else in the order given.
    """
    given = list(dict.fromkeys(experiments))
    sparsities, cells = _places(e.prune.sparsity for e in given), _places(map(_cell, given))

    def rank(e: Experiment) -> tuple:
        schedule = SOONEST.index(e.retrain.schedule) if e.retrain.schedule in SOONEST else len(SOONEST)
        return max(1, schedule), e.retrain.budget, sparsities[e.prune.sparsity], schedule, cells[_cell(e)]

    return sorted(given, key=rank)


def _places(things: Iterable[T]) -> dict[T, int]:
    """The place of each thing among those that differ, in their order."""
    return {one: place for place, one in enumerate(dict.fromkeys(things))}


def _cell(e: Experiment) -> Experiment:
    """What is the same for all seeds."""
    return replace(e, recipe=replace(e.recipe, seed=0))
