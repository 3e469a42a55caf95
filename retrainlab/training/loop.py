"""The training loop: a starting point, a learning-rate curve, a method -> trained weights and curves.

It knows tensors, networks and data; no pruning schedule, no store, no notebook. Inside an epoch it never waits for the
device: learning rates are known beforehand, losses are summed on the device, and only an evaluation reads them. So it is
an evaluation, too, that notices a training whose numbers are no longer finite, and ends it.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from retrainlab.config import SGD
from retrainlab.data.dataset import Dataset, Split, batches, clean_batches
from retrainlab.device import synchronise
from retrainlab.models import apart, in_mode
from retrainlab.training.method import Tensors
from retrainlab.training.state import Job, Point, Setup, State, Trained


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether nothing in them is infinite or NaN; the host waits for the answer."""
    each = [t.isfinite().all() for t in tensors]
    return not each or bool(torch.stack(each).all())


@torch.no_grad()
def evaluate(model: nn.Module, params: Tensors, buffers: Tensors, data: Dataset, split: Split) -> tuple[float, float]:
    """(accuracy as a share, mean cross-entropy in nats) on `split`; leaves every tensor bit for bit as it was.

    Both are NaN if the loss is not finite: the largest of scores that are NaN is class 0, which some images are. So they
    are if a running statistic is not: under an infinite variance scores are finite, and tell nothing of the image.
    Meanwhile no other thread may use the same `model` (see `models.apart`).
    """
    if not finite(b for name, b in buffers.items() if name.endswith(("running_mean", "running_var"))):
        return math.nan, math.nan
    correct = torch.zeros((), device=data.device)
    loss = torch.zeros((), device=data.device, dtype=torch.float64)
    with in_mode(model, training=False):
        for images, labels in clean_batches(data, split):
            scores = functional_call(model, (params, buffers), (images,))
            correct += (scores.argmax(1) == labels).sum()
            loss += F.cross_entropy(scores, labels, reduction="sum")
    mean = loss.item() / len(split)
    return (correct.item() / len(split), mean) if math.isfinite(mean) else (math.nan, math.nan)


@torch.no_grad()
def direction(params: Tensors, gradients: Tensors, momentum: Tensors, sgd: SGD, decayed: list[str]) -> list[Tensor]:
    """What SGD subtracts from the parameters, learning rate times: g += wd w (for the names in `decayed`); v = mu v + g;
    v, or g + mu v if Nesterov. `torch.optim.SGD` with dampening 0. Changes `momentum`."""
    v = list(momentum.values())
    if sgd.weight_decay and decayed:  # not in place: two parameters may share one gradient tensor
        sums = torch._foreach_add([gradients[n] for n in decayed], [params[n] for n in decayed], alpha=sgd.weight_decay)
        gradients = gradients | dict(zip(decayed, sums))
    g = [gradients[name] for name in params]
    torch._foreach_mul_(v, sgd.momentum)
    torch._foreach_add_(v, g)
    return list(torch._foreach_add(g, v, alpha=sgd.momentum)) if sgd.nesterov else v


def train(setup: Setup, job: Job, stop: Callable[[], bool] | None = None) -> Trained:
    """Train one network as `job` says. stop: asked before each step; training ends once it is true. A training that has
    diverged ends at its next evaluation."""
    model, data, method = apart(setup.model), setup.data, job.method
    state = job.start.copy()
    params, buffers, momentum = state.params, state.buffers, state.momentum
    for p in params.values():
        p.requires_grad_(True)
    rates, pauses, decayed = job.curve.tolist(), job.pauses, setup.decayed(params)
    per_epoch = data.steps_per_epoch(setup.batch_size)
    points: list[Point] = []

    def pause(step: int, train_loss: float | None, whole: bool) -> None:
        with torch.no_grad():
            effective = method.effective(params)
        measured = evaluate(model, effective, buffers, data, data.validation) if whole else (math.nan, math.nan)
        rate = rates[min(step, len(rates) - 1)]
        points.append(Point(step, *measured, train_loss, setup.sparsity(effective | buffers), rate))
        if job.on_point:
            job.on_point(points[-1])

    pause(0, None, finite(params.values()))
    seconds, step, since = 0.0, 0, 0
    loss_sum, noise = torch.zeros((), device=data.device), setup.noise(job.seed)
    clock = now(data.device)
    stopped = False
    with in_mode(model, training=True), noise:
        for images, labels in batches(data, setup.batch_size, len(rates), job.seed, setup.augment):
            if not points[-1].finite:
                break
            if stop is not None and stop():
                stopped = True
                break
            with setup.autocast():
                scores = functional_call(model, (method.effective(params), buffers), (images,))
                loss = F.cross_entropy(scores, labels)
            penalty = method.penalty(params)
            total = loss if penalty is None else loss + penalty
            gradients = dict(zip(params, torch.autograd.grad(total, list(params.values()))))
            with torch.no_grad():
                method.edit_gradients(params, gradients)
                update = direction(params, gradients, momentum, setup.sgd, decayed)
                torch._foreach_add_(list(params.values()), update, alpha=-rates[step])
                method.after_step(params, step)
                loss_sum += loss.detach()
                step, since = step + 1, since + 1
                if step % per_epoch == 0:
                    method.after_epoch(params, step // per_epoch - 1)
            if step in pauses and step < len(rates):
                seconds += now(data.device) - clock
                pause(step, loss_sum.item() / since, finite(params.values()))
                loss_sum, since = torch.zeros_like(loss_sum), 0
                clock = now(data.device)
    seconds += now(data.device) - clock
    whole = finite(params.values())  # before `finish`, which may make numbers of what is none
    with torch.no_grad():
        method.finish(params)
    state = state.trimmed()
    if since or stopped:  # the last point is that of the finished network; one made at the very stop is replaced
        train_loss = loss_sum.item() / since if since else points.pop().train_loss
        pause(step, train_loss, whole)
    for p in params.values():
        p.requires_grad_(False)
    return Trained(state, tuple(points), step, seconds, stopped)


def now(device: torch.device) -> float:
    """Seconds on a clock that is read when all queued work is done."""
    synchronise(device)
    return time.perf_counter()


@torch.no_grad()
def recalibrate(setup: Setup, state: State, seed: tuple[int | str, ...], steps: int | None = None) -> State:
    """The same weights with BatchNorm's statistics measured anew: the plain average over `steps` training batches.

    steps: one epoch if None. Images are not augmented. An explicit step: evaluation never does this by itself.
    """
    model, data = apart(setup.model), setup.data
    buffers = {name: b.clone() for name, b in state.buffers.items()}
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # torch's word for a cumulative average
    for name in buffers:
        leaf = name.rpartition(".")[2]
        if leaf in ("running_mean", "num_batches_tracked"):
            buffers[name].zero_()
        elif leaf == "running_var":
            buffers[name].fill_(1)
    count = steps or data.steps_per_epoch(setup.batch_size)
    with in_mode(model, training=True), setup.noise(seed):
        for images, _ in batches(data, setup.batch_size, count, seed, augment=False):
            functional_call(model, (state.params, buffers), (images,))
    return replace(state, buffers=buffers)
