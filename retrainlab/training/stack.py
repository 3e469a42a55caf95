"""Many members in training: their tensors, stacked, and one step of all of them.

Parameters, momentum and masks of all members lie in flat buffers [slots, P] (see `flat`). Members whose steps are equal
share a slot; one whose members have all ended goes on idly until the stack is built anew without it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter

import torch
import torch.nn.functional as F
from torch import Tensor

from retrainlab.data.batches import Feed, clean_batches
from retrainlab.models import in_mode
from retrainlab.training.flat import Flat
from retrainlab.training.layout import laid_out
from retrainlab.training.masked import bits
from retrainlab.training.method import Method, Tensors, stacked
from retrainlab.training.slots import Member, in_slots, same_start
from retrainlab.training.stacking import Forward
from retrainlab.training.state import Checkpoint, Job, Point, Setup, State, Trained
from retrainlab.training.ways import WARM_UP, Way, pays


class Stack:
    """Members in their slots. `step` reads and changes only tensors that stay where they are as long as the stack lasts, so
    that it can be recorded; which batch and which learning rates come next it knows from a counter on the device."""

    def __init__(self, setup: Setup, way: Way, slots: list[list[Member]], state: State, step: int = 0):
        """slots: of members in training. state: their tensors [slots, ...], taken over. step: how many steps were made."""
        self.setup, self.way, self.slots = setup, way, slots
        self.members = [m for slot in slots for m in slot]
        for i, slot in enumerate(slots):
            for m in slot:
                m.slot = i
        for i, m in enumerate(self.members):
            m.index = i
        self.leaders = [slot[0].job for slot in slots]
        self.method = stacked([job.method for job in self.leaders])
        masks, decayed = self.method.masks, setup.decayed(state.params)
        order = sorted(state.params, key=lambda name: (name not in decayed, name not in masks))
        self.weights, self.velocity, self.gradient = (
            Flat.of(tensors, order) for tensors in (state.params, state.momentum, state.params)
        )
        self.params, self.momentum = self.weights.views, self.velocity.views
        for p in self.params.values():
            p.requires_grad_(True)
        self.buffers = {name: laid_out(b) for name, b in state.buffers.items()}
        self.decaying = self.weights.length(decayed) if setup.sgd.weight_decay else 0
        every = {name: masks.get(name, torch.ones_like(p, dtype=torch.bool)) for name, p in state.params.items()}
        some, device = self.gradient.buffer, setup.data.device
        masked = self.weights.length(masks)
        self.kept = bits(Flat.of(every, order).buffer[:, :masked], some[:, :masked])
        rates = torch.nn.utils.rnn.pad_sequence([job.curve.to(some.dtype) for job in self.leaders])
        self.rates = -F.pad(rates, (0, 0, 0, WARM_UP)).to(device)  # negative, [steps, slots]
        self.made = torch.tensor([step], device=device)
        seeds = list({job.seed: None for job in self.leaders})
        self.batches, self.epoch = Feed(setup.data, setup.batch_size, seeds, setup.augment), -1
        self.seed_of = torch.tensor([seeds.index(job.seed) for job in self.leaders], device=device)
        self.slot_of = torch.tensor([m.slot for m in self.members], device=device)
        self.loss_sum = torch.zeros(len(self.members), device=device)

    @staticmethod
    def of(setup: Setup, way: Way, jobs: Sequence[Job]) -> "Stack":
        """Copies of the jobs' networks, stacked, after the steps that all of them were made for."""
        slots = [[Member.of(place, jobs[place]) for place in places] for places in in_slots(jobs)]
        stack = Stack(setup, way, slots, State.stacked([slot[0].job.now for slot in slots]), jobs[0].step)
        stack.loss_sum.copy_(torch.tensor([m.job.resume.loss_sum if m.job.resume else 0.0 for m in stack.members]))
        return stack

    @property
    def state(self) -> State:
        return State(self.params, self.buffers, self.momentum)

    def without(self, ended: Sequence[Member], step: int) -> "Stack":
        """The stack of the other members, of whom there must be some: this one, as long as it does not pay to leave out
        slots whose members have all ended."""
        self.members = [m for m in self.members if m not in ended]
        self.slots = [[m for m in slot if m not in ended] for slot in self.slots]
        live = [i for i, slot in enumerate(self.slots) if slot]
        left = [len(self.slots[i][0].job.curve) - step for i in live]
        acts = any(
            getattr(type(self.method), name) is not getattr(Method, name) for name in ("after_step", "after_epoch")
        )
        if not pays(left, len(self.slots), 0 if acts else self.way.rebuild):  # a method that acts counts its own steps
            return self
        sums = self.loss_sum[[m.index for m in self.members]]
        rest = Stack(
            self.setup, self.way, [self.slots[i] for i in live], self.state.map(lambda t: t.detach()[live]), step
        )
        rest.loss_sum.copy_(sums)
        return rest

    @property
    def changed(self) -> list[Tensor]:
        """All that a step changes."""
        return [self.weights.buffer, self.velocity.buffer, *self.buffers.values(), self.loss_sum, self.made]

    def next_point(self, step: int) -> int:
        """The first step after `step` at which a member is to be evaluated or ends."""
        return min(s for m in self.members for s in (*m.job.pauses, len(m.job.curve)) if s > step)

    def turn(self, epoch: int) -> None:
        """Lay out an epoch's batches, unless they lie there already; to be called before each step."""
        if epoch != self.epoch:
            self.batches.fill(epoch)
            self.epoch = epoch

    # ---- a step ------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One step of every slot, in place."""
        images, labels, rates = self.feed()
        losses = self.losses(images, labels)
        self.backward(losses)
        self.update(rates)

    def feed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of the next step: images [B, C, H, W] if all slots see the same, or else [slots, B, C, H, W]; labels [slots * B];
        and minus the learning rates, [1, slots]."""
        images, labels = self.batches.batch(self.made)
        rates = self.rates.index_select(0, self.made)
        if len(images) == 1:
            return images[0], labels[0].repeat(len(self.slots)), rates
        return images.index_select(0, self.seed_of), labels.index_select(0, self.seed_of).flatten(), rates

    def losses(self, images: Tensor, labels: Tensor) -> Tensor:
        """Each slot's mean loss, [slots]."""
        with self.setup.autocast():
            return self.way.losses(self.method.effective(self.params), self.buffers, images, labels)

    def backward(self, losses: Tensor) -> None:
        """Put every slot's gradient into `gradient`."""
        penalty = self.method.penalty(self.params)
        total = losses.sum() if penalty is None else losses.sum() + penalty.sum()
        gradients = dict(zip(self.params, torch.autograd.grad(total, list(self.params.values()))))
        with torch.no_grad():
            self.method.edit_gradients(self.params, gradients)
            self.gradient.fill(gradients)
            self.loss_sum += losses.detach()[self.slot_of]

    @torch.no_grad()
    def update(self, rates: Tensor) -> None:
        """SGD as in `loop.direction`, entry for entry, under the masks."""
        w, v, g, sgd = self.weights.buffer, self.velocity.buffer, self.gradient.buffer, self.setup.sgd
        g[:, : self.kept.shape[1]].view(self.kept.dtype).bitwise_and_(self.kept)  # as `masked.keep`
        g[:, : self.decaying].add_(w[:, : self.decaying], alpha=sgd.weight_decay)
        v.mul_(sgd.momentum).add_(g)
        w.addcmul_(g.add_(v, alpha=sgd.momentum) if sgd.nesterov else v, rates.view(-1, 1))
        self.made += 1

    # ---- points and ends ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def pause(self, members: Sequence[Member], step: int) -> None:
        """Evaluate some members, each as its method sees it now, and add a point to their curves."""
        own = {m.slot: m for m in reversed(members)}
        as_in = {i: i for i in own}
        if step == 0:  # many members of a study start as the same network
            as_in = {i: next(j for j in own if j == i or same_start(own[j].job, own[i].job)) for i in own}
        chosen = [own[i] for i in sorted(set(as_in.values()))]
        states = [self.state.map(itemgetter(m.slot)) for m in chosen]
        measured = dict(zip([m.slot for m in chosen], self._measured(chosen, states, whole(self.params))))
        self._add_points([(m, measured[as_in[m.slot]]) for m in members], step)

    @torch.no_grad()
    def end(self, members: Sequence[Member], step: int) -> list[tuple[int, Trained]]:
        """Finish some members and evaluate what their methods leave; the diverged ones have their last point already."""
        sound, states = whole(self.params), {}
        for m in members:
            state = self.state.map(itemgetter(m.slot)).copy()
            m.job.method.finish(state.params)
            states[m] = state.trimmed()
        left = [m for m in members if not m.diverged]
        stopped = {
            m: m in left and step < len(m.job.curve) for m in members
        }  # even if it has diverged since its last point
        if left:
            self._add_points(list(zip(left, self._measured(left, [states[m] for m in left], sound))), step)
        return [(m.place, Trained(states[m], tuple(m.points), step, m.seconds, stopped[m])) for m in members]

    def due(self) -> bool:
        """Whether the members' checkpoints are to be kept now."""
        keep = self.members[0].job.keep
        return keep is not None and keep.due()

    def keep(self, members: Sequence[Member], step: int, noise: Mapping[str, Tensor]) -> None:
        """Give some members' checkpoints to who keeps them; noise: where the random streams are, which all share."""
        sums = self.loss_sum.tolist()
        for m in members:
            state, own = self.state.map(itemgetter(m.slot)).copy(), m.job.method.state()
            assert m.job.keep is not None
            m.job.keep(Checkpoint(state, own, noise, step, tuple(m.points), sums[m.index], m.since, m.seconds))

    def left(self, members: Sequence[Member], step: int) -> list[tuple[int, Trained]]:
        """Members that were stopped and whose checkpoints are kept, as they are."""
        states = [self.state.map(itemgetter(m.slot)).copy() for m in members]
        return [(m.place, Trained(s, tuple(m.points), step, m.seconds, True)) for m, s in zip(members, states)]

    def _measured(
        self, members: Sequence[Member], states: Sequence[State], sound: list[bool]
    ) -> list[tuple[float, float, float]]:
        """`judged` of networks in the state of some members; sound: of each slot, whether it is finite."""
        seen = [
            replace(state, params=m.job.method.effective(state.params), momentum={})
            for m, state in zip(members, states)
        ]
        every = State.stacked(seen)
        return judged(self.setup, self.way.forward, every.params, every.buffers, [sound[m.slot] for m in members])

    def _add_points(self, measured: list[tuple[Member, tuple[float, float, float]]], step: int) -> None:
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


def whole(tensors: Tensors) -> list[bool]:
    """Of stacked tensors [M, ...]: whether no value of a member's is infinite or NaN; the host waits for the answer."""
    return torch.stack([t.isfinite().reshape(len(t), -1).all(1) for t in tensors.values()]).all(0).tolist()


@torch.no_grad()
def judged(
    setup: Setup, forward: Forward, weights: Tensors, buffers: Tensors, sound: Sequence[bool]
) -> list[tuple[float, float, float]]:
    """Of each of M members: accuracy and loss on the validation images as `loop.validate` has them, both NaN unless `sound`;
    and sparsity."""
    members, split = len(sound), setup.data.validation
    statistics = {n: b for n, b in buffers.items() if n.endswith(("running_mean", "running_var"))}
    fine = [a and b for a, b in zip(sound, whole(statistics))] if statistics else sound
    correct = torch.zeros(members, device=setup.data.device, dtype=torch.int64)
    loss = torch.zeros(members, device=setup.data.device, dtype=torch.float64)
    on_gpu = setup.data.device.type == "cuda"
    size = max(2 * setup.batch_size, 1024 // members) if on_gpu else 1024  # no more memory than a training step takes
    with in_mode(setup.model, training=False):
        for images, labels in clean_batches(setup.data, split, size):
            scores = forward(weights, buffers, images)
            correct += (scores.argmax(2) == labels).sum(1)
            losses = F.cross_entropy(scores.flatten(0, 1), labels.repeat(members), reduction="none")
            loss += losses.view(members, -1).sum(1)
    pairs = [(c / len(split), n / len(split)) for c, n in zip(correct.tolist(), loss.tolist())]
    pairs = [p if ok and math.isfinite(p[1]) else (math.nan, math.nan) for p, ok in zip(pairs, fine)]
    return [(*pair, sparsity) for pair, sparsity in zip(pairs, setup.sparsities(weights | buffers))]
