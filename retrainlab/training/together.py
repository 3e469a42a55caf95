"""The training loop for many members at once, which gives each what `loop.train` would, in less time.

Parameters, buffers, masks and momentum are stacked along a first dimension of slots and go through one forward and one
backward pass (see `stack`). Each member keeps its own learning rates, length, evaluations and order of images, and
leaves when it has finished or diverged. Between two points the host only starts steps, one call each if they are recorded.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from retrainlab.models import in_mode
from retrainlab.noise import states_of
from retrainlab.training.loop import now
from retrainlab.training.stack import Stack
from retrainlab.training.state import Job, Setup, Trained
from retrainlab.training.ways import Pace, Way, recorded


def train(
    setup: Setup, jobs: Sequence[Job], stop: Callable[[], bool] | None = None, way: Way | None = None
) -> Iterator[tuple[int, Trained]]:
    """Train all jobs at once; yields (place in `jobs`, Trained) as each ends, whose seconds are its equal share of the time.

    stop: asked before each step; once true, all end there. way: how steps are made for the network `setup.model`, by
    default by plain calls; what a recording takes does not count into the seconds. All must go on from the same step, and
    all or none have checkpoints kept. Members of a network that draws random numbers (`Setup.noisy`) must share one seed.
    Meanwhile no other thread may use `setup.model` (see `models.apart`).
    """
    data, per_epoch = setup.data, setup.data.steps_per_epoch(setup.batch_size)
    stack = Stack.of(setup, way or Way.of(setup.model, rank=data.rank), jobs)
    step, resume = jobs[0].step, jobs[0].resume
    if not resume:
        stack.pause(stack.members, 0)
    noise, pace = setup.noise(jobs[0].seed, resume.noise if resume else None), Pace(data.device)
    advance, halted, due, kept, clock = None, False, False, -1, now(data.device)
    with in_mode(setup.model, training=True):
        while True:
            ended = [m for m in stack.members if len(m.job.curve) == step or m.diverged]
            left = [m for m in stack.members if halted and m not in ended]
            paused = [m for m in stack.members if m.since and step in m.job.pauses and m not in ended + left]
            if ended or left or paused or due:
                seconds = now(data.device) - clock
                for m in stack.members:
                    m.seconds += seconds / len(stack.members)
                if paused:
                    stack.pause(paused, step)
                    ended += [m for m in paused if m.diverged]
                if due or (left and jobs[0].keep):
                    stack.keep([m for m in stack.members if m not in ended], step, states_of(noise))
                if jobs[0].keep:
                    yield from stack.end(ended, step)
                    yield from stack.left(left, step)
                else:
                    yield from stack.end(ended + left, step)
                if len(ended + left) == len(stack.members):
                    return
                if not due and (rest := stack.without(ended, step)) is not stack:  # which a checkpoint must not change
                    stack, advance = rest, None
                due, kept = False, step if due else kept
                clock = now(data.device)
            until = stack.next_point(step)
            while step < until and not (halted := stop is not None and stop()):
                if due := step > kept and stack.due():
                    break
                stack.turn(step // per_epoch)
                if advance is None:
                    before = now(data.device)
                    may = stack.way.recorded and stack.method.steady and not setup.noisy
                    advance = recorded(stack.step, stack.changed) if may else stack.step
                    clock += now(data.device) - before
                with noise:  # not around a yield: it would hold for whatever the caller does meanwhile
                    advance()
                with torch.no_grad():
                    stack.method.after_step(stack.params, step)
                    step += 1
                    if step % per_epoch == 0:
                        stack.method.after_epoch(stack.params, step // per_epoch - 1)
                for m in stack.members:
                    m.since += 1
                pace()
