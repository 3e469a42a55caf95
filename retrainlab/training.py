"""The training loop: a starting point, a learning-rate curve, a method -> trained weights and curves.

It knows tensors, networks and data; no pruning schedule, no store, no notebook. Inside an epoch it never waits for the
device: learning rates are known beforehand, losses are summed on the device, and only an evaluation reads them. So it is
an evaluation, too, that notices a training whose numbers are no longer finite, and ends it.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from retrainlab.config import SGD
from retrainlab.data import Dataset, Split, batches, clean_batches, stream
from retrainlab.device import synchronise
from retrainlab.methods.base import Method, Plain, Tensors
from retrainlab.models import apart, in_mode
from retrainlab.noise import Seeded
from retrainlab.stacked import has_noise


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
        """Tensors of its own, each in the plain order of memory."""
        parts = (self.params, self.buffers, self.momentum)
        plain = torch.contiguous_format
        return State(*({name: t.detach().clone(memory_format=plain) for name, t in part.items()} for part in parts))

    def settled(self) -> "State":
        """The same without the momentum of parameters that a method has removed."""
        return replace(self, momentum={name: self.momentum[name] for name in self.params})

    def frozen(self, names: Sequence[str]) -> "State":
        """The same network with some parameters among the buffers, where no training reaches them."""
        still = {name: self.params[name] for name in names}
        params, momentum = ({n: t for n, t in part.items() if n not in still} for part in (self.params, self.momentum))
        return State(params, self.buffers | still, momentum)

    def thawed(self, names: Sequence[str], order: Sequence[str]) -> "State":
        """Undoes `frozen`: parameters in `order`; what was frozen has a momentum of zero."""
        back = {name: self.buffers[name] for name in names}
        params, momentum = self.params | back, self.momentum | {n: torch.zeros_like(t) for n, t in back.items()}
        buffers = {name: b for name, b in self.buffers.items() if name not in back}
        return State({n: params[n] for n in order}, buffers, {n: momentum[n] for n in order})

    def fresh_optimizer(self) -> "State":
        """The same network with a momentum of zero."""
        return replace(self, momentum={name: torch.zeros_like(p) for name, p in self.params.items()})


@dataclass(frozen=True, eq=False)
class Setup:
    """What trainings that are compared share, on several threads too. model gives the architecture only, its tensors are not
    used; prunable: the names of the weights that pruning may touch (see `models`), which always decay; augment: random
    crops and flips in training; precision: see `Recipe`."""

    model: nn.Module
    data: Dataset
    sgd: SGD
    batch_size: int
    prunable: tuple[str, ...]
    augment: bool = True
    precision: str = "float32"

    def autocast(self) -> AbstractContextManager:
        """Where a step's forward pass and loss are computed."""
        half = self.precision == "bfloat16"
        return torch.autocast(self.data.device.type, torch.bfloat16, enabled=half, cache_enabled=False)

    @cached_property
    def noisy(self) -> bool:
        """Whether the network draws random numbers as it trains; raises as `stacked.has_noise` does."""
        return has_noise(self.model, self.data.shape)

    def noise(self, seed: tuple[int | str, ...]) -> AbstractContextManager:
        """What to be in while the network trains: its random numbers then are those of `seed` alone. Nothing where it draws
        none, since each operation takes longer inside."""
        return Seeded(stream(*seed, "noise").initial_seed()) if self.noisy else nullcontext()

    def decayed(self, params: Tensors) -> list[str]:
        """The names of those of `params` that weight decay acts on; never what a method learns besides the weights."""
        own = [name for name, _ in self.model.named_parameters() if name in params]
        return [name for name in own if self.sgd.decay_norm or name in self.prunable]

    def barely_evaluated(self) -> "Setup":
        """The same with 8 validation images: for measurements of the steps alone."""
        few = Split(self.data.validation.images[:8], self.data.validation.labels[:8])
        return replace(self, data=replace(self.data, validation=few))

    def sparsity(self, tensors: Tensors) -> float:
        """The share of zeros in the prunable weights among `tensors`."""
        weights = [tensors[name] for name in self.prunable]
        nonzero = torch.stack([w.count_nonzero() for w in weights]).sum().item()
        return 1 - nonzero / sum(w.numel() for w in weights)


@dataclass(frozen=True)
class Point:
    """One point of a curve: validation accuracy (share) and loss (nats) after `step` steps, both NaN where weights or
    scores are not finite; `train_loss` is the mean over the steps since the point before (None at the start); `sparsity`
    is that of the weights evaluated; `lr` is the learning rate of the step that comes next, or of the last."""

    step: int
    accuracy: float
    loss: float
    train_loss: float | None
    sparsity: float = 0.0
    lr: float = 0.0

    @property
    def finite(self) -> bool:
        """Whether both losses are numbers, neither infinite nor NaN."""
        return math.isfinite(self.loss) and math.isfinite(self.train_loss or 0.0)


@dataclass(frozen=True, eq=False)
class Job:
    """What is a training's own. It starts from `start`, which stays as it was, and makes one step for each learning
    rate of `curve` (1-D). Weights that stand among the buffers of `start` are not trained. seed names the stream of
    batches. evaluations: curve points, evenly spaced, besides the one at the start; on_point sees each as it is
    made."""

    start: State
    curve: Tensor
    seed: tuple[int | str, ...]
    method: Method = field(default_factory=Plain)
    evaluations: int = 5
    on_point: Callable[[Point], None] | None = None

    @property
    def pauses(self) -> set[int]:
        """The steps after which the network is evaluated, the start not among them."""
        n = len(self.curve)
        return {round(n * i / self.evaluations) for i in range(1, self.evaluations + 1)}


@dataclass(frozen=True)
class Trained:
    """state: where training ended; points: its curve; steps: how many were made; seconds: spent in them (data included,
    evaluations not, synchronised); stopped: whether `stop` ended it early."""

    state: State
    points: tuple[Point, ...]
    steps: int
    seconds: float
    stopped: bool = False

    @property
    def diverged(self) -> bool:
        """Whether its numbers were no longer finite at its last point, which ended it."""
        return not self.points[-1].finite


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
    return torch._foreach_add(g, v, alpha=sgd.momentum) if sgd.nesterov else v


def train(setup: Setup, job: Job, stop: Callable[[], bool] | None = None) -> Trained:
    """Train one network. stop is asked before each step and, if true, ends training there. A training that has diverged
    ends at its next evaluation."""
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
    state = state.settled()
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
