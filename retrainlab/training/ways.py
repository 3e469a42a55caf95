"""How the steps of many members are made: called, recorded as a CUDA graph, or compiled before they are recorded; and when
members that have ended are left out."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from retrainlab import models
from retrainlab.checks import BadInput
from retrainlab.device import recording
from retrainlab.models import apart, in_mode
from retrainlab.noise import Seeded, stream
from retrainlab.paths import compiled_folder
from retrainlab.training.method import Tensors
from retrainlab.training.stacking import Forward, Unstackable, by_rules, evaluation_of, forward_of, vmapped

Losses = Callable[[Tensors, Tensors, Tensor, Tensor], Tensor]
"""(weights [M, ...], buffers [M, ...], images, labels [M*B]) -> each member's mean cross-entropy in nats, [M]."""


@dataclass(frozen=True, eq=False)
class Way:
    """forward: the network for many members in evaluation mode; losses: in training mode. recorded: whether steps are
    recorded as one CUDA graph, where the methods are steady and the network draws no random numbers. rebuild: what it
    costs to make steps for fewer members, as a number of one member's steps."""

    forward: Forward
    losses: Losses
    recorded: bool = False
    rebuild: float = 0.0

    @staticmethod
    def of(
        model: nn.Module, *, recorded: bool = False, compiled: bool = False, unfolded: bool = False, rank: int = 4
    ) -> "Way":
        """The way for this network; compiled: by torch.compile, anew for each number of members; unfolded, rank: see
        `forward_of`."""
        with in_mode(model, training=True):
            losses = partial(mean_losses, forward_of(model, unfolded, rank))
        with in_mode(model, training=False):
            forward = evaluation_of(model, unfolded, rank)
        return Way(forward, compile_(losses) if compiled else losses, recorded)


def stackable(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether many members of the network can be trained at once, and draw the noise that each draws alone: tried on two
    inputs of this shape, and known of the kit's own networks. Not so for torch's LSTM and GRU, for a network that looks at
    its numbers, and for dropout of what lies otherwise in memory when it is stacked."""
    if type(model).__module__ == models.__name__:
        return True
    with suppress(Unstackable):
        if len(shape) == 3:
            by_rules(model)
            return True
    trial = apart(model).train()
    start = torch.randn(2, *shape, generator=stream("stackable")).to(next(model.parameters()))
    params = {name: p.detach().requires_grad_() for name, p in trial.named_parameters()}
    buffers = {name: b.clone() for name, b in trial.named_buffers()}
    twice = [{name: torch.stack([t.detach()] * 2) for name, t in some.items()} for some in (params, buffers)]
    try:
        with torch.enable_grad():
            both = {name: p.requires_grad_() for name, p in twice[0].items()}
            with Seeded(0):
                together = vmapped(trial, start.dim())(both, twice[1], start)
            torch.autograd.grad(together.sum(), list(both.values()), allow_unused=True)
        with torch.no_grad(), Seeded(0):
            alone = functional_call(trial, (params, buffers), (start,))
    except (RuntimeError, ValueError, TypeError):  # what vmap raises for what it cannot do
        return False
    return bool(torch.allclose(together[1], alone, rtol=1e-3, atol=1e-4))


def mean_losses(forward: Forward, weights: Tensors, buffers: Tensors, images: Tensor, labels: Tensor) -> Tensor:
    """Losses of the network `forward`."""
    scores = forward(weights, buffers, images)
    losses = F.cross_entropy(scores.flatten(0, 1), labels, reduction="none")
    return losses.unflatten(0, (len(scores), -1)).mean(1)


def compile_(losses: Losses) -> Losses:
    """The same compiled, for shapes that do not change; what Inductor makes is kept in the user's cache folder. Raises
    BadInput when it is called, if it cannot be compiled."""
    if (folder := compiled_folder()) is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, NUMBERS)
    compiled = torch.compile(losses, dynamic=False, fullgraph=True)

    def call(weights: Tensors, buffers: Tensors, images: Tensor, labels: Tensor) -> Tensor:
        try:
            return compiled(weights, buffers, images, labels)
        except torch._dynamo.exc.TorchDynamoException as error:  # there is no compiler, or the network is too unusual
            why = str(getattr(error, "inner_exception", error)).strip().partition("\n")[0]
            raise BadInput(f"The steps of this network cannot be compiled here ({why}); use --engine graph.") from error

    return call


NUMBERS = 64  # of members or shapes that one process compiles for
WARM_UP = 3  # steps before a recording


def recorded(step: Callable[[], None], changed: Sequence[Tensor]) -> Callable[[], None]:
    """A step as one CUDA graph. The steps that warm it up are undone: `changed` are all tensors that a step changes.

    Other threads may use the device meanwhile, but record nothing.
    """
    with recording, torch.cuda.device_of(changed[0]):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # left even where a recording that failed has not left it
            before = [t.detach().clone() for t in changed]
            for _ in range(WARM_UP):
                step()
            with torch.no_grad():
                for tensor, old in zip(changed, before):
                    tensor.copy_(old)
            del before  # a recording can use no memory that is taken
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                step()
        torch.cuda.current_stream().wait_stream(side)
    return graph.replay


class Pace:
    """Keeps the host less than two stretches of steps ahead of a GPU, so that a stop ends what is computed now and leaves
    nothing waiting; on a CPU there is nothing to wait for."""

    STRETCH = 8

    def __init__(self, device: torch.device):
        self.device, self.steps, self.marks = device, 0, list[torch.cuda.Event]()

    def __call__(self) -> None:
        """To be called after each step."""
        self.steps += 1
        if self.device.type == "cuda" and self.steps % self.STRETCH == 0:
            self.marks.append(torch.cuda.Event(blocking=True))
            self.marks[-1].record(torch.cuda.current_stream(self.device))
            if len(self.marks) > 1:
                self.marks.pop(0).synchronize()


def pays(left: Sequence[int], slots: int, rebuild: float) -> bool:
    """Whether to leave slots out now whose members have ended, to make the fewest member-steps until all have.

    left: steps that each of the other slots still has to make, at least 1. slots: in all, with those that have ended; each
    costs a member-step in every step as long as it is not left out. rebuild: what leaving out costs, in member-steps.
    """
    ends = sorted(set(left))
    live = [sum(n >= end for n in left) for end in ends]
    least = dict.fromkeys([slots, *live], 0.0)  # the fewest member-steps from a stretch on, by the slots before it
    for count, start, end in reversed(list(zip(live, [0, *ends], ends))):
        keeping = {w: w * (end - start) + rest for w, rest in least.items()}
        leaving = rebuild + keeping[count]
        least = {w: min(keeping[w], leaving) if w > count else keeping[w] for w in least}
    return slots > live[0] and leaving < keeping[slots]
