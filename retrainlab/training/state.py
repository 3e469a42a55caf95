"""What a training is made of: the state it changes, what trainings share, what one asks for, and what comes of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from retrainlab.config import SGD
from retrainlab.data.dataset import Dataset, Split
from retrainlab.layers import frozen
from retrainlab.noise import Seeded, has_noise, stream
from retrainlab.training.method import Method, Plain, Tensors
from retrainlab.training.ways import stackable


@dataclass(frozen=True)
class State:
    """All that training changes, by name: parameters, buffers (such as BatchNorm's statistics) and momentum."""

    params: Tensors
    buffers: Tensors
    momentum: Tensors

    @staticmethod
    def of(model: nn.Module, device: torch.device | str = "cpu") -> "State":
        """The network's own tensors, copied to `device`, with a momentum of zero. Parameters that are frozen
        (`requires_grad` False) stand among the buffers, where no training reaches them."""
        every = {name: p.detach().clone().to(device) for name, p in model.named_parameters()}
        still = {name: every[name] for name in frozen(model)}
        params = {name: p for name, p in every.items() if name not in still}
        buffers = {name: b.detach().clone().to(device) for name, b in model.named_buffers()} | still
        return State(params, buffers, {name: torch.zeros_like(p) for name, p in params.items()})

    @staticmethod
    def stacked(states: Sequence["State"]) -> "State":
        """One state for all, whose tensors have a first dimension of members."""
        parts = ([getattr(state, f.name) for state in states] for f in fields(State))
        return State(*({name: torch.stack([own[name] for own in part]) for name in part[0]} for part in parts))

    def map(self, change: Callable[[Tensor], Tensor]) -> "State":
        """The state that has `change(t)` in place of each tensor t."""
        parts = (self.params, self.buffers, self.momentum)
        return State(*({name: change(t) for name, t in part.items()} for part in parts))

    def copy(self) -> "State":
        """The same with tensors of its own, each contiguous."""
        return self.map(lambda t: t.detach().clone(memory_format=torch.contiguous_format))

    def trimmed(self) -> "State":
        """The same without the momentum of parameters that a method has taken out of `params`."""
        return replace(self, momentum={name: self.momentum[name] for name in self.params})

    def frozen(self, names: Sequence[str]) -> "State":
        """The same network with some parameters among the buffers, where no training reaches them."""
        still = {name: self.params[name] for name in names}
        params, momentum = ({n: t for n, t in part.items() if n not in still} for part in (self.params, self.momentum))
        return State(params, self.buffers | still, momentum)

    def thawed(self, names: Sequence[str], order: Sequence[str]) -> "State":
        """Undo `frozen`: the parameters in `order`, those that were frozen with a momentum of zero."""
        back = {name: self.buffers[name] for name in names}
        params, momentum = self.params | back, self.momentum | {n: torch.zeros_like(t) for n, t in back.items()}
        buffers = {name: b for name, b in self.buffers.items() if name not in back}
        return State({n: params[n] for n in order}, buffers, {n: momentum[n] for n in order})

    def fresh_optimizer(self) -> "State":
        """The same network with a momentum of zero."""
        return replace(self, momentum={name: torch.zeros_like(p) for name, p in self.params.items()})


@dataclass(frozen=True, eq=False)
class Setup:
    """What trainings that are compared share: network, data and optimiser. Threads may share it, too.

    model: only its architecture counts, its tensors are not used. prunable: names of the weights that pruning may touch (see
    `layers.prunable`), which always decay. augment, precision: see `Recipe`.
    """

    model: nn.Module
    data: Dataset
    sgd: SGD
    batch_size: int
    prunable: tuple[str, ...]
    augment: bool = True
    precision: str = "float32"

    def autocast(self) -> AbstractContextManager:
        """The context for a step's forward pass and loss: torch's autocast, on if `precision` asks for it."""
        half = self.precision == "bfloat16"
        return torch.autocast(self.data.device.type, torch.bfloat16, enabled=half, cache_enabled=False)

    @cached_property
    def noisy(self) -> bool:
        """Whether the network draws random numbers as it trains; raises as `noise.has_noise` does."""
        return has_noise(self.model, self.data.shape)

    @cached_property
    def stackable(self) -> bool:
        """Whether many networks of this kind can be trained at once; else each is trained alone (see `ways.stackable`)."""
        return stackable(self.model, self.data.shape)

    def noise(self, seed: tuple[int | str, ...], states: Mapping[str, Tensor] | None = None) -> AbstractContextManager:
        """The context in which all that the network draws comes from `seed` alone; it does nothing for a network that draws
        no random numbers, since each operation takes longer inside. states: of a checkpoint's, where it is to go on; those
        of devices that are not used here count for nothing."""
        if not self.noisy:
            return nullcontext()
        noise, here = Seeded(stream(*seed, "noise").initial_seed()), (torch.device("cpu"), self.data.device)
        if states:
            noise.set_states({name: s for name, s in states.items() if torch.device(name) in here})
        return noise

    def decayed(self, params: Tensors) -> list[str]:
        """The names in `params` of parameters that decay; those that a method adds to the network's never do."""
        own = [name for name, _ in self.model.named_parameters() if name in params]
        return [name for name in own if self.sgd.decay_norm or name in self.prunable]

    def barely_evaluated(self) -> "Setup":
        """The same with 8 validation images only, to time steps and not evaluations."""
        few = Split(self.data.validation.images[:8], self.data.validation.labels[:8])
        return replace(self, data=replace(self.data, validation=few))

    def weights(self, state: State) -> Tensors:
        """The weights that pruning may touch, by name, in the order of the layers."""
        return {name: state.params[name] for name in self.prunable}

    def sparsity(self, tensors: Tensors) -> float:
        """The share of zeros in the prunable weights among `tensors`."""
        return self.sparsities({name: tensors[name][None] for name in self.prunable})[0]

    def sparsities(self, tensors: Tensors) -> list[float]:
        """The same for each of M members, of `tensors` [M, ...]."""
        weights = [tensors[name].flatten(1) for name in self.prunable]
        nonzero = torch.stack([w.count_nonzero(1) for w in weights]).sum(0).tolist()
        return [1 - count / sum(w.shape[1] for w in weights) for count in nonzero]


@dataclass(frozen=True)
class Point:
    """One point of a training's curve, after `step` steps.

    accuracy, loss: on the validation images, as a share and in nats; NaN where weights or scores are not finite.
    train_loss: the mean in nats over the steps since the point before; None at the start. sparsity: of the prunable weights.
    lr: the learning rate of the next step, at the end of the last one.
    """

    step: int
    accuracy: float
    loss: float
    train_loss: float | None
    sparsity: float = 0.0
    lr: float = 0.0

    @property
    def finite(self) -> bool:
        """Whether neither loss is infinite or NaN."""
        return math.isfinite(self.loss) and math.isfinite(self.train_loss or 0.0)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training under way, after `step` steps: all that it has changed. From here it goes on to the bits that it would have
    had undisturbed; with another engine, device or version of torch to the same up to the rounding of sums, but that a
    network with dropout draws other numbers on another kind of device.

    Its batches are none of it, for they follow from seed and step. state: raw parameters, before `Method.finish`. method:
    `Method.state`. noise: see `noise.states_of`. points: those so far. loss_sum: over the `since` steps after the last
    point, in nats. seconds: what the steps have taken.
    """

    state: State
    method: Tensors
    noise: Mapping[str, Tensor]
    step: int
    points: tuple[Point, ...]
    loss_sum: float
    since: int
    seconds: float


class Keep(Protocol):
    """What keeps a training's checkpoints: it is given one whenever it is `due`, and when `stop` ends the training."""

    def due(self) -> bool:
        """Whether to make one now; asked before each step."""

    def __call__(self, checkpoint: Checkpoint) -> None: ...


@dataclass(frozen=True, eq=False)
class Job:
    """One training to be made.

    start: is not changed; parameters that stand among its buffers are not trained. curve: the learning rate of each step,
    1-D. seed: what batches and noise are drawn from. evaluations: how many points, evenly spaced, follow the one at the
    start. on_point: called with each point as it is made, and at once with those of `resume`, from which the training goes
    on. keep: gets its checkpoints; a training that `stop` ends is then left as it is, neither finished nor evaluated.
    """

    start: State
    curve: Tensor
    seed: tuple[int | str, ...]
    method: Method = field(default_factory=Plain)
    evaluations: int = 5
    on_point: Callable[[Point], None] | None = None
    resume: Checkpoint | None = None
    keep: Keep | None = None

    @property
    def step(self) -> int:
        """How many steps were made already."""
        return self.resume.step if self.resume else 0

    @property
    def now(self) -> State:
        """The network after them."""
        return self.resume.state if self.resume else self.start

    def begin(self) -> list[Point]:
        """Bring the method to where it was, tell the points so far, and return them."""
        points = list(self.resume.points) if self.resume else []
        if self.resume:
            self.method.restore(self.resume.method)
        if self.on_point:
            for point in points:
                self.on_point(point)
        return points

    @property
    def pauses(self) -> set[int]:
        """The numbers of steps after which the network is evaluated, 0 not among them."""
        n = len(self.curve)
        return {round(n * i / self.evaluations) for i in range(1, self.evaluations + 1)}


@dataclass(frozen=True)
class Trained:
    """A training that has ended.

    state: the network at the end. seconds: what the steps took, with the loading of images, without evaluations. stopped:
    whether `stop` ended it before its last step; a training whose checkpoints are kept then has the points made so far.
    """

    state: State
    points: tuple[Point, ...]
    steps: int
    seconds: float
    stopped: bool = False

    @property
    def diverged(self) -> bool:
        """Whether it ended because its numbers were no longer finite."""
        return not self.points[-1].finite
