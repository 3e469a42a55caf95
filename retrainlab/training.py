"""The training loop: a starting point, a learning-rate curve, a method -> trained weights and curves.

It knows tensors, networks and data; no pruning schedule, no store, no notebook. Inside an epoch it never waits for the
device: learning rates are known beforehand, losses are summed on the device, and only an evaluation reads them.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from retrainlab.config import SGD
from retrainlab.data import Dataset, Split, batches, clean_batches, stream
from retrainlab.device import seeded, synchronise
from retrainlab.methods.base import Method, Tensors
from retrainlab.models import in_mode


@dataclass(frozen=True)
class State:
    """All that training changes: parameters, buffers (BatchNorm's statistics) and momentum, by name."""

    params: Tensors
    buffers: Tensors
    momentum: Tensors

    @staticmethod
    def of(model: nn.Module, device: torch.device | str = "cpu") -> "State":
        """The network's own tensors, copied to `device`, with a momentum of zero."""
        params = {name: p.detach().clone().to(device) for name, p in model.named_parameters()}
        buffers = {name: b.detach().clone().to(device) for name, b in model.named_buffers()}
        return State(params, buffers, {name: torch.zeros_like(p) for name, p in params.items()})

    def copy(self) -> "State":
        parts = (self.params, self.buffers, self.momentum)
        return State(*({name: t.detach().clone() for name, t in part.items()} for part in parts))

    def fresh_optimizer(self) -> "State":
        """The same network with a momentum of zero."""
        return replace(self, momentum={name: torch.zeros_like(p) for name, p in self.params.items()})


@dataclass(frozen=True)
class Point:
    """One point of a curve: validation accuracy (share) and loss (nats) after `step` steps; `train_loss` is the mean
    over the steps since the point before (None at the start)."""

    step: int
    accuracy: float
    loss: float
    train_loss: float | None


@dataclass(frozen=True)
class Trained:
    """state: where training ended; points: its curve; steps: how many were made; seconds: spent in them (data included,
    evaluations not, synchronised); stopped: whether `stop` ended it early."""

    state: State
    points: tuple[Point, ...]
    steps: int
    seconds: float
    stopped: bool = False


@torch.no_grad()
def evaluate(model: nn.Module, params: Tensors, buffers: Tensors, data: Dataset, split: Split) -> tuple[float, float]:
    """(accuracy as a share, mean cross-entropy in nats) on `split`; leaves every tensor bit for bit as it was."""
    correct = torch.zeros((), device=data.device)
    loss = torch.zeros((), device=data.device, dtype=torch.float64)
    with in_mode(model, training=False):
        for images, labels in clean_batches(data, split):
            scores = functional_call(model, (params, buffers), (images,))
            correct += (scores.argmax(1) == labels).sum()
            loss += F.cross_entropy(scores, labels, reduction="sum")
    return correct.item() / len(split), loss.item() / len(split)


@torch.no_grad()
def sgd_step(params: Tensors, gradients: Tensors, momentum: Tensors, lr: float, sgd: SGD, decayed: list[str]) -> None:
    """One step of SGD in place: g += wd w (for the names in `decayed`); v = mu v + g; w -= lr (v, or g + mu v if
    Nesterov). `torch.optim.SGD` with dampening 0; momentum starts at zero."""
    p, v = list(params.values()), list(momentum.values())
    if sgd.weight_decay and decayed:  # not in place: two parameters may share one gradient tensor
        sums = torch._foreach_add([gradients[n] for n in decayed], [params[n] for n in decayed], alpha=sgd.weight_decay)
        gradients = gradients | dict(zip(decayed, sums))
    g = [gradients[name] for name in params]
    torch._foreach_mul_(v, sgd.momentum)
    torch._foreach_add_(v, g)
    if sgd.nesterov:
        torch._foreach_add_(p, torch._foreach_add(g, v, alpha=sgd.momentum), alpha=-lr)
    else:
        torch._foreach_add_(p, v, alpha=-lr)


def train(
    model: nn.Module,
    start: State,
    data: Dataset,
    curve: Tensor,
    *,
    sgd: SGD,
    batch_size: int,
    seed: tuple[int | str, ...],
    prunable: tuple[str, ...],
    method: Method | None = None,
    augment: bool = True,
    evaluations: int = 5,
    on_point: Callable[[Point], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train from `start` with one step for each learning rate of `curve` (1-D); `start` stays as it was.

    model gives the architecture only; its tensors are not used. seed names the stream of batches. prunable: the names
    of Conv and Linear weights, which always decay. evaluations: curve points, evenly spaced, besides the one at the
    start. on_point sees each point as it is made; stop is asked before each step and, if true, ends training there.
    """
    method = method or Method()
    state = start.copy()
    params, buffers, momentum = state.params, state.buffers, state.momentum
    for p in params.values():
        p.requires_grad_(True)
    rates = curve.tolist()
    n = len(rates)
    per_epoch = data.steps_per_epoch(batch_size)
    pauses = {round(n * i / evaluations) for i in range(1, evaluations + 1)}
    decayed = [name for name in params if sgd.decay_norm or name in prunable]
    points: list[Point] = []

    def pause(step: int, train_loss: float | None) -> None:
        with torch.no_grad():
            effective = method.effective(params)
        accuracy, loss = evaluate(model, effective, buffers, data, data.validation)
        points.append(Point(step, accuracy, loss, train_loss))
        if on_point:
            on_point(points[-1])

    pause(0, None)
    seconds, step, since = 0.0, 0, 0
    loss_sum = torch.zeros((), device=data.device)
    clock = _now(data.device)
    stopped = False
    with in_mode(model, training=True), seeded(data.device, stream(*seed, "noise").initial_seed()):
        for images, labels in batches(data, batch_size, n, seed, augment):
            if stop is not None and stop():
                stopped = True
                break
            scores = functional_call(model, (method.effective(params), buffers), (images,))
            loss = F.cross_entropy(scores, labels)
            penalty = method.penalty(params)
            total = loss if penalty is None else loss + penalty
            gradients = dict(zip(params, torch.autograd.grad(total, list(params.values()))))
            with torch.no_grad():
                method.edit_gradients(params, gradients)
                sgd_step(params, gradients, momentum, rates[step], sgd, decayed)
                method.after_step(params, step)
                loss_sum += loss.detach()
                step, since = step + 1, since + 1
                if step % per_epoch == 0:
                    method.after_epoch(params, step // per_epoch - 1)
            if step in pauses and step < n:
                seconds += _now(data.device) - clock
                pause(step, loss_sum.item() / since)
                loss_sum, since = torch.zeros_like(loss_sum), 0
                clock = _now(data.device)
    seconds += _now(data.device) - clock
    with torch.no_grad():
        method.finish(params)
    if since or stopped:  # the last point is that of the finished network; one made at the very stop is replaced
        train_loss = loss_sum.item() / since if since else points.pop().train_loss
        pause(step, train_loss)
    for p in params.values():
        p.requires_grad_(False)
    return Trained(state, tuple(points), step, seconds, stopped)


def _now(device: torch.device) -> float:
    synchronise(device)
    return time.perf_counter()


@torch.no_grad()
def recalibrate(
    model: nn.Module,
    state: State,
    data: Dataset,
    *,
    batch_size: int,
    seed: tuple[int | str, ...],
    steps: int | None = None,
) -> State:
    """The same weights with BatchNorm's statistics measured anew: the plain average over `steps` training batches.

    steps: one epoch if None. Images are not augmented. An explicit step: evaluation never does this by itself.
    """
    buffers = {name: b.clone() for name, b in state.buffers.items()}
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for name in buffers:
        leaf = name.rpartition(".")[2]
        if leaf in ("running_mean", "num_batches_tracked"):
            buffers[name].zero_()
        elif leaf == "running_var":
            buffers[name].fill_(1)
    momenta = [m.momentum for m in norms]
    try:
        for m in norms:
            m.momentum = None  # torch's word for a cumulative average
        with in_mode(model, training=True), seeded(data.device, stream(*seed, "noise").initial_seed()):
            for images, _ in batches(data, batch_size, steps or data.steps_per_epoch(batch_size), seed, augment=False):
                functional_call(model, (state.params, buffers), (images,))
    finally:
        for m, momentum in zip(norms, momenta):
            m.momentum = momentum
    return replace(state, buffers=buffers)
