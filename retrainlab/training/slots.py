"""Jobs that are trained together, in slots: those whose steps are equal, such as FT with two budgets, share one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from retrainlab.training.state import Job, Point


def in_slots(jobs: Sequence[Job]) -> list[list[int]]:
    """Places in `jobs`, which were all made for as many steps, by slot, in each the longest first: jobs share a slot whose
    networks are now equal, whose methods and batches are, and whose learning rates are the first of the longest's."""
    out: list[list[int]] = []
    for place in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].curve)):
        job = jobs[place]
        for slot in out:
            leader = jobs[slot[0]]
            alike = job.seed == leader.seed and torch.equal(job.curve, leader.curve[: len(job.curve)])
            if alike and same_start(job, leader):
                slot.append(place)
                break
        else:
            out.append([place])
    return out


def same_start(a: Job, b: Job) -> bool:
    """Whether both go on from the same network, with methods that do the same."""
    parts = [(getattr(a.now, part), getattr(b.now, part)) for part in ("params", "buffers", "momentum")]
    return a.method.same(b.method) and all(torch.equal(x[name], y[name]) for x, y in parts for name in x)


@dataclass(eq=False)
class Member:
    """A job in training: its place among the jobs, its slot, its index in `Stack.loss_sum`, its points and seconds so far,
    and the number of steps since the last point."""

    place: int
    job: Job
    slot: int = 0
    index: int = 0
    points: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    since: int = 0

    @staticmethod
    def of(place: int, job: Job) -> "Member":
        """A member that goes on where its job is."""
        member = Member(place, job, points=job.begin())
        if job.resume:
            member.seconds, member.since = job.resume.seconds, job.resume.since
        return member

    @property
    def diverged(self) -> bool:
        return bool(self.points) and not self.points[-1].finite
