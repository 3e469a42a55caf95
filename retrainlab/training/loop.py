"""The training loop: a starting point, a learning-rate curve, a method -> trained weights and curves.

Between evaluations the host never waits for the device: learning rates are known beforehand, and losses are summed on the
device. So only an evaluation notices that a training's numbers are no longer finite, and ends it.
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
from retrainlab.data.batches import batches, clean_batches
from retrainlab.data.dataset import Dataset, Split
from retrainlab.device import synchronise
from retrainlab.models import apart, in_mode
from retrainlab.noise import states_of
from retrainlab.training.masked import bits, keep
from retrainlab.training.method import Tensors
from retrainlab.training.state import Checkpoint, Job, Point, Setup, State, Trained


def finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no value in them is infinite or NaN; the host waits for the answer."""
    each = [t.isfinite().all() for t in tensors]
    return not each or bool(torch.stack(each).all())


@torch.no_grad()
def evaluate(model: nn.Module, params: Tensors, buffers: Tensors, data: Dataset, split: Split) -> tuple[float, float]:
    """(accuracy as a share, mean cross-entropy in nats) on `split`; changes no tensor.

    Both are NaN if the loss is not finite, since the largest of scores that are NaN would be class 0, the right one for some
    images; and if a running statistic is not finite, since scores under an infinite variance do not depend on the image.
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


def validate(setup: Setup, state: State) -> tuple[float, float]:
    """What `evaluate` gives on the validation images."""
    return evaluate(setup.model, state.params, state.buffers, setup.data, setup.data.validation)


@torch.no_grad()
def direction(params: Tensors, gradients: Tensors, momentum: Tensors, sgd: SGD, decayed: list[str]) -> list[Tensor]:
    """What SGD subtracts from each parameter w, before the factor of the learning rate; changes `momentum`.

    g += weight_decay w (for the names in `decayed`); v = mu v + g; then v, or g + mu v if Nesterov: `torch.optim.SGD` with
    dampening 0.
    """
    v = list(momentum.values())
    if sgd.weight_decay and decayed:  # not in place: two parameters may share one gradient tensor
        sums = torch._foreach_add([gradients[n] for n in decayed], [params[n] for n in decayed], alpha=sgd.weight_decay)
        gradients = gradients | dict(zip(decayed, sums))
    g = [gradients[name] for name in params]
    torch._foreach_mul_(v, sgd.momentum)
    torch._foreach_add_(v, g)
    return list(torch._foreach_add(g, v, alpha=sgd.momentum)) if sgd.nesterov else v


def train(setup: Setup, job: Job, stop: Callable[[], bool] | None = None) -> Trained:
    """Train one network as `job` says. A training that has diverged ends at its next evaluation. stop: asked before each
    step; training ends once it is true."""
    model, data, method, resume = apart(setup.model), setup.data, job.method, job.resume
    state = job.now.copy()
    params, buffers, momentum = state.params, state.buffers, state.momentum
    for p in params.values():
        p.requires_grad_(True)
    rates, pauses, decayed = job.curve.tolist(), job.pauses, setup.decayed(params)
    kept = {name: bits(mask, params[name]) for name, mask in method.masks.items()}
    per_epoch = data.steps_per_epoch(setup.batch_size)
    points = job.begin()

    def pause(step: int, train_loss: float | None, whole: bool) -> None:
        with torch.no_grad():
            effective = method.effective(params)
        measured = evaluate(model, effective, buffers, data, data.validation) if whole else (math.nan, math.nan)
        rate = rates[min(step, len(rates) - 1)]
        points.append(Point(step, *measured, train_loss, setup.sparsity(effective | buffers), rate))
        if job.on_point:
            job.on_point(points[-1])

    seconds, step, since = (resume.seconds, resume.step, resume.since) if resume else (0.0, 0, 0)
    loss_sum = torch.full((), resume.loss_sum if resume else 0.0, device=data.device)
    noise = setup.noise(job.seed, resume.noise if resume else None)

    def checkpoint() -> Checkpoint:
        own = State(params, buffers, momentum).copy()
        return Checkpoint(own, method.state(), states_of(noise), step, tuple(points), loss_sum.item(), since, seconds)

    if not resume:
        pause(0, None, finite(params.values()))
    clock = now(data.device)
    stopped = False
    with in_mode(model, training=True), noise:
        for images, labels in batches(data, setup.batch_size, len(rates), job.seed, setup.augment, step):
            if not points[-1].finite:
                break
            stopped = stop is not None and stop()
            if job.keep is not None and (stopped or job.keep.due()):
                seconds += now(data.device) - clock
                job.keep(checkpoint())
                clock = now(data.device)
            if stopped:
                break
            with setup.autocast():
                scores = functional_call(model, (method.effective(params), buffers), (images,))
                loss = F.cross_entropy(scores, labels)
            penalty = method.penalty(params)
            total = loss if penalty is None else loss + penalty
            gradients = dict(zip(params, torch.autograd.grad(total, list(params.values()))))
            with torch.no_grad():
                method.edit_gradients(params, gradients)
                gradients |= {name: keep(gradients[name], ones) for name, ones in kept.items()}
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
    if stopped and job.keep is not None:
        return Trained(state.map(Tensor.detach), tuple(points), step, seconds, stopped)
    whole = finite(params.values())  # before `finish`, which may turn NaN into numbers
    with torch.no_grad():
        method.finish(params)
    state = state.trimmed()
    if since or stopped:  # a point of the finished network, in place of one made just before the stop
        train_loss = loss_sum.item() / since if since else points.pop().train_loss
        pause(step, train_loss, whole)
    for p in params.values():
        p.requires_grad_(False)
    return Trained(state, tuple(points), step, seconds, stopped)


def now(device: torch.device) -> float:
    """Seconds on a clock, read when all work queued on the device is done."""
    synchronise(device)
    return time.perf_counter()


@torch.no_grad()
def recalibrate(setup: Setup, state: State, seed: tuple[int | str, ...], steps: int | None = None) -> State:
    """The same weights with BatchNorm's statistics measured anew: the plain average over `steps` training batches (one epoch
    if None), without augmentation. Evaluation never does this by itself."""
    model, data = apart(setup.model), setup.data
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # torch's word for a cumulative average
    buffers = {name: b.clone() for name, b in state.buffers.items()}
    for name, buffer in buffers.items():
        if (leaf := name.rpartition(".")[2]) in ("running_mean", "running_var", "num_batches_tracked"):
            buffer.fill_(leaf == "running_var")
    count = steps or data.steps_per_epoch(setup.batch_size)
    with in_mode(model, training=True), setup.noise(seed):
        for images, _ in batches(data, setup.batch_size, count, seed, augment=False):
            functional_call(model, (state.params, buffers), (images,))
    return replace(state, buffers=buffers)
