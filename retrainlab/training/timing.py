"""How long a step takes: in the loop, and with more and more members at once; measured in some seconds."""

from functools import cached_property

import torch

from retrainlab.device import out_of_memory, repeatable
from retrainlab.training import loop, masked, together
from retrainlab.training.state import Job, Setup, State
from retrainlab.training.ways import Way

LADDERS = {"cpu": (2, 4, 8, 16, 32), "cuda": (1, 4, 16, 64)}  # numbers of members that the probe tries
NOISE = 1.1  # the probe ends at a number of members whose time is this many times the best
SLOW = 0.25  # seconds: beside steps that are longer the time of calls, which batching saves, is nothing on a CPU


class Trial:
    """Short trainings of a network under masks, from `start`, to time their steps."""

    def __init__(self, setup: Setup, start: State, *, unfolded: bool = False, compiled: bool = False):
        self.setup, self.on_gpu = setup.barely_evaluated(), setup.data.device.type == "cuda"
        params = setup.weights(start)
        kept = {n: torch.arange(w.numel(), device=w.device).view_as(w) % 10 == 0 for n, w in params.items()}
        self.method, self.start = masked.Masked(kept), masked.apply(start, kept)
        self.unfolded, self.compiled = unfolded, compiled

    @cached_property
    def way(self) -> Way:
        how = dict(recorded=self.on_gpu, compiled=self.compiled, unfolded=self.unfolded)
        return Way.of(self.setup.model, **how, rank=self.setup.data.rank)

    def _job(self, i: int, steps: int) -> Job:
        curve = torch.full((steps,), 1e-4 * (i + 1), dtype=torch.float64)  # all differ, so that none share a slot
        return Job(self.start, curve, ("probe",), self.method, evaluations=1)

    def single(self, steps: int) -> float:
        """Seconds of a step in the loop."""
        return loop.train(self.setup, self._job(0, steps)).seconds / steps

    def many(self, members: int, steps: int) -> float:
        """Seconds of a member's step, with that many members at once; no recording or compiling counts."""
        jobs = [self._job(i, steps) for i in range(members)]
        done = together.train(self.setup, jobs, way=self.way)
        return sum(trained.seconds for _, trained in done) / steps / members

    def seconds(self, members: int) -> float:
        """The same on a GPU, of the better of two tries."""
        with repeatable(self.setup.data.device):
            return min(self.many(members, 50) for _ in range(2))


def probe(setup: Setup, start: State) -> dict[int, float]:
    """Seconds per member-step of the loop (at 0) and of each number of members worth trying."""
    trial = Trial(setup, start)
    device = setup.data.device.type
    with repeatable(setup.data.device):
        trial.single(1)
        first = trial.single(2)
        if device == "cpu" and first > SLOW:
            return {0: first}
        steps = 50 if trial.on_gpu else max(3, min(20, round(0.05 / first)))
        times = {0: min(trial.single(steps) for _ in range(3))}
        waits = 0  # how many numbers of members were tried since the best
        for members in LADDERS[device]:
            try:
                trial.many(members, 1)
                rounds = 3 if members * steps * first < 0.5 else 2 if members * steps * first < 1 else 1
                times[members] = min(trial.many(members, steps) for _ in range(rounds))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) and members != LADDERS[device][0]:
                    raise
                break  # no more fit; or, with the fewest, this network cannot be stacked at all
            best = min(times.values())
            waits = waits + 1 if times[members] > best else 0
            if members >= 4 and (waits > 1 or times[members] > NOISE * best):
                break
    return times
