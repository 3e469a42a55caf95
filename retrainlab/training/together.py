"""The training loop for many members at once, which gives each what `loop.train` would, in less time.

Parameters, buffers, masks and momentum are stacked along a first dimension of slots and go through one forward and one
backward pass (see `stacking`). Each member keeps its own learning rates, length, evaluations and order of images, and
leaves when it has finished or diverged. Members whose steps are equal, such as FT with two budgets, share a slot.
On a CUDA GPU a whole step can be recorded as one graph and launched at once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

import torch
import torch.nn.functional as F
from torch import Tensor

from retrainlab.data.dataset import batches
from retrainlab.models import in_mode
from retrainlab.training.loop import direction, finite, now, validate
from retrainlab.training.method import Tensors, member, stacked
from retrainlab.training.stacking import Forward, forward_of, laid_out
from retrainlab.training.state import Job, Point, Setup, State, Trained


def train(
    setup: Setup,
    jobs: Sequence[Job],
    stop: Callable[[], bool] | None = None,
    *,
    graph: bool = False,
    forward: Forward | None = None,
) -> Iterator[tuple[int, Trained]]:
    """Train all jobs at once; yields (place in `jobs`, Trained) as each ends, whose seconds are its equal share of the time.

    stop: asked before each step; once true, all end there. graph: record the step as a CUDA graph where the methods are
    steady and the network draws no random numbers; the recording does not count into the seconds. forward: the network for
    many members, `stacking.forward_of` if None. Members of a network that draws random numbers (`Setup.noisy`) must share
    one seed. Meanwhile no other thread may use `setup.model` (see `models.apart`).
    """
    data, longest = setup.data, max(len(job.curve) for job in jobs)
    stack = _Stack.of(setup, forward or forward_of(setup.model), jobs)
    images = {s: batches(data, setup.batch_size, longest, s, setup.augment) for s in stack.seeds}
    per_epoch = data.steps_per_epoch(setup.batch_size)
    stack.pause(stack.members, 0)
    noise = setup.noise(jobs[0].seed)
    graph = graph and not setup.noisy
    advance, step, clock = None, 0, now(data.device)
    with in_mode(setup.model, training=True):
        while True:
            ended = [m for m in stack.members if len(m.job.curve) == step or m.diverged]
            if len(ended) < len(stack.members) and stop is not None and stop():
                ended = list(stack.members)
            paused = [m for m in stack.members if 0 < step in m.job.pauses and m not in ended]
            if ended or paused:
                seconds = now(data.device) - clock
                for m in stack.members:
                    m.seconds += seconds / len(stack.members)
                stack.pause(paused, step)
                ended += [m for m in paused if m.diverged]
                yield from stack.end(ended, step)
                if len(ended) == len(stack.members):
                    return
                if (rest := stack.without(ended)) is not stack:
                    stack, advance = rest, None
                clock = now(data.device)
            stack.feed({seed: next(images[seed]) for seed in stack.seeds}, step)
            if advance is None:
                before = now(data.device)
                advance = _recorded(stack) if graph and stack.method.steady else stack.step
                clock += now(data.device) - before
            with noise:  # not around a yield: it would hold for whatever the caller does meanwhile
                advance()
            with torch.no_grad():
                stack.method.after_step(stack.params, step)
                step += 1
                if step % per_epoch == 0:
                    stack.method.after_epoch(stack.params, step // per_epoch - 1)


def in_slots(jobs: Sequence[Job]) -> list[list[int]]:
    """Places in `jobs` by slot, in each the longest first: jobs share a slot whose starts, methods and batches are equal and
    whose learning rates are the first of the longest's."""
    out: list[list[int]] = []
    for place in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].curve)):
        job = jobs[place]
        for slot in out:
            leader = jobs[slot[0]]
            alike = job.seed == leader.seed and torch.equal(job.curve, leader.curve[: len(job.curve)])
            if alike and _same_start(job, leader):
                slot.append(place)
                break
        else:
            out.append([place])
    return out


def _same_start(a: Job, b: Job) -> bool:
    parts = [(getattr(a.start, part), getattr(b.start, part)) for part in ("params", "buffers", "momentum")]
    return a.method.same(b.method) and all(torch.equal(x[name], y[name]) for x, y in parts for name in x)


@dataclass(eq=False)
class _Member:
    """A job in training: its place among the jobs, its slot, its index in `_Stack.loss_sum`, its points and seconds so far,
    and the number of steps since the last point."""

    place: int
    job: Job
    slot: int = 0
    index: int = 0
    points: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    since: int = 0

    @property
    def diverged(self) -> bool:
        return bool(self.points) and not self.points[-1].finite


class _Stack:
    """Members in their slots. `step` reads and changes only tensors that stay where they are as long as the stack lasts, so
    that it can be recorded."""

    def __init__(self, setup: Setup, forward: Forward, slots: list[list[_Member]], state: State):
        self.setup, self.forward, self.slots = setup, forward, slots
        self.members = [m for slot in slots for m in slot]
        for i, slot in enumerate(slots):
            for m in slot:
                m.slot = i
        for i, m in enumerate(self.members):
            m.index = i
        self.state = state.map(laid_out)
        self.params, self.buffers, self.momentum = self.state.params, self.state.buffers, self.state.momentum
        for p in self.params.values():
            p.requires_grad_(True)
        leaders = [slot[0].job for slot in slots]
        self.method = stacked([job.method for job in leaders])
        self.decayed, self.seeds = setup.decayed(self.params), list({job.seed: None for job in leaders})
        some = next(iter(self.params.values()))
        rates = [job.curve.to(some.dtype) for job in leaders]
        self.rates = -torch.nn.utils.rnn.pad_sequence(rates).to(some.device)  # negative, [steps, slots]
        self.rate = self.rates[0].clone()
        self.each_rate = [self.rate.view(-1, *[1] * (p.dim() - 1)).expand_as(p) for p in self.params.values()]
        self.slot_of = torch.tensor([m.slot for m in self.members], device=some.device)
        self.loss_sum = torch.zeros(len(self.members), device=some.device)
        self.images = self.labels = torch.empty(0)  # until the first batch

    @staticmethod
    def of(setup: Setup, forward: Forward, jobs: Sequence[Job]) -> "_Stack":
        """Copies of the jobs' starts, stacked."""
        slots = [[_Member(place, jobs[place]) for place in places] for places in in_slots(jobs)]
        return _Stack(setup, forward, slots, State.stacked([slot[0].job.start for slot in slots]))

    def without(self, ended: Sequence[_Member]) -> "_Stack":
        """The stack of the other members, of whom there must be some: this one, as long as no slot is empty."""
        self.members = [m for m in self.members if m not in ended]
        self.slots = [[m for m in slot if m not in ended] for slot in self.slots]
        kept = [i for i, slot in enumerate(self.slots) if slot]
        if len(kept) == len(self.slots):
            return self
        sums = self.loss_sum[[m.index for m in self.members]]
        state = self.state.map(lambda t: t.detach()[kept])
        rest = _Stack(self.setup, self.forward, [self.slots[i] for i in kept], state)
        rest.loss_sum.copy_(sums)
        return rest

    def feed(self, batch: dict[tuple, tuple[Tensor, Tensor]], step: int) -> None:
        """Lay out the images, labels and learning rates of the next step; batch: one for each of `seeds`."""
        if len(batch) == 1:
            images, labels = batch[self.seeds[0]]
            labels = labels.repeat(len(self.slots))
        else:
            own = [batch[slot[0].job.seed] for slot in self.slots]
            images, labels = torch.stack([x for x, _ in own]), torch.cat([y for _, y in own])
        if not len(self.images):
            self.images, self.labels = torch.empty_like(images), torch.empty_like(labels)
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.rate.copy_(self.rates[step])
        for m in self.members:
            m.since += 1

    def step(self) -> None:
        """One step of every slot, in place."""
        with self.setup.autocast():
            scores = self.forward(self.method.effective(self.params), self.buffers, self.images)
            losses = F.cross_entropy(scores.flatten(0, 1), self.labels, reduction="none")
        losses = losses.unflatten(0, (len(self.rate), -1)).mean(1)
        penalty = self.method.penalty(self.params)
        total = losses.sum() if penalty is None else losses.sum() + penalty.sum()
        found = torch.autograd.grad(total, list(self.params.values()))
        gradients = {n: laid_out(g) for n, g in zip(self.params, found)}
        with torch.no_grad():
            self.method.edit_gradients(self.params, gradients)
            update = direction(self.params, gradients, self.momentum, self.setup.sgd, self.decayed)
            torch._foreach_addcmul_(list(self.params.values()), update, self.each_rate)
            self.loss_sum += losses.detach()[self.slot_of]

    @torch.no_grad()
    def pause(self, members: Sequence[_Member], step: int) -> None:
        """Evaluate some members, each as its method sees it now, and add a point to their curves."""
        slots = sorted({m.slot for m in members})
        as_in = {i: i for i in slots}
        if step == 0:  # many members of a study start as the same network
            starts = [slot[0].job for slot in self.slots]
            as_in = {i: next(j for j in slots if j == i or _same_start(starts[j], starts[i])) for i in slots}
        parts = {i: (member(self.params, i), member(self.buffers, i)) for i in sorted(set(as_in.values()))}
        measured = {i: self._evaluate(self.slots[i][0], *p, finite(p[0].values())) for i, p in parts.items()}
        self._add_points([(m, measured[as_in[m.slot]]) for m in members], step)

    def _evaluate(self, m: _Member, params: Tensors, buffers: Tensors, whole: bool) -> tuple[float, float, float]:
        effective = m.job.method.effective(params)
        measured = validate(self.setup, State(effective, buffers, {})) if whole else (math.nan, math.nan)
        return *measured, self.setup.sparsity(effective | buffers)

    def _add_points(self, measured: list[tuple[_Member, tuple[float, float, float]]], step: int) -> None:
        sums = self.loss_sum.tolist()
        for m, (accuracy, loss, sparsity) in measured:
            if m.since:
                train_loss = sums[m.index] / m.since
            else:  # the start; or a stop right after a point, which this one replaces
                train_loss = m.points.pop().train_loss if m.points else None
            rate = m.job.curve[min(step, len(m.job.curve) - 1)].item()
            m.points.append(Point(step, accuracy, loss, train_loss, sparsity, rate))
            m.since = 0
            self.loss_sum[m.index] = 0
            if m.job.on_point:
                m.job.on_point(m.points[-1])

    @torch.no_grad()
    def end(self, members: Sequence[_Member], step: int) -> list[tuple[int, Trained]]:
        """Finish some members and evaluate what their methods leave; the diverged ones have their last point already."""
        out = []
        for m in members:
            state = self.state.map(itemgetter(m.slot)).copy()
            whole, stopped = finite(state.params.values()), step < len(m.job.curve) and not m.diverged
            m.job.method.finish(state.params)
            state = state.trimmed()
            if not m.diverged:
                self._add_points([(m, self._evaluate(m, state.params, state.buffers, whole))], step)
            out.append((m.place, Trained(state, tuple(m.points), step, m.seconds, stopped)))
        return out


def _recorded(stack: _Stack) -> Callable[[], None]:
    """The stack's step as one CUDA graph. The steps that warm it up are undone."""
    changed = [*stack.params.values(), *stack.buffers.values(), *stack.momentum.values(), stack.loss_sum]
    before = [t.detach().clone() for t in changed]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            stack.step()
    torch.cuda.current_stream().wait_stream(side)
    with torch.no_grad():
        for tensor, old in zip(changed, before):
            tensor.copy_(old)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        stack.step()
    return graph.replay
