"""Courses: runs as generators that ask for what is to be trained, so that many are carried out together."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from retrainlab.study.checkpoints import Checkpoints
from retrainlab.training.engine import Engine
from retrainlab.training.state import Job, Point, Setup, Trained

T = TypeVar("T")


@dataclass(frozen=True)
class Callbacks:
    """What is called while runs are carried out together. on_point(place of the run, point): with each point of every curve
    as it is made; stop: before each step, all end once it is true; checkpoints: keeps what has not ended then, and gets it
    now and then before. Without checkpoints, what is stopped ends with the steps made so far."""

    on_point: Callable[[int, Point], None] = lambda place, point: None
    stop: Callable[[], bool] | None = None
    checkpoints: Checkpoints | None = None


def drive(
    setup: Setup, courses: Sequence[Generator[Job, Any, T]], engine: Engine, calls: Callbacks = Callbacks()
) -> Iterator[tuple[int, T]]:
    """Carry courses out together: each yields a Job when it wants something trained, is sent what came of it, and at last
    returns its result. Yields (place in `courses`, result) as each ends; with checkpoints, a course that is stopped yields
    nothing, and goes on the next time. `calls.on_point` is for who makes the courses."""
    stop, checkpoints = calls.stop, calls.checkpoints
    if checkpoints is not None:
        courses = [checkpoints.kept(place, course) for place, course in enumerate(courses)]
    jobs: list[tuple[int, Job]] = []
    came: Iterable[tuple[int, Trained | None]] = enumerate([None] * len(courses))  # what starts a generator
    while True:
        for place, trained in came:
            if checkpoints is not None and trained is not None and trained.stopped:
                jobs.clear()
                break
            try:
                jobs.append((place, courses[place].send(trained)))
            except StopIteration as end:
                yield place, end.value
        if not jobs or checkpoints is not None and stop is not None and stop():
            break
        now, jobs = jobs, []
        came = ((now[i][0], trained) for i, trained in engine.train(setup, [job for _, job in now], stop))
    if checkpoints is not None:
        checkpoints.flush()
