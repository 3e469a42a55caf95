"""Random numbers of a network (initialisation, dropout) and of its batches, which depend on a seed and nothing else.

torch draws from one generator for the whole process, so that what one thread draws depends on what others do meanwhile.
`Seeded` is a dispatch mode, which torch keeps for each thread by itself: inside it every operation that draws is given a
generator of its own, and torch's own are neither read nor changed.
"""

import copy
import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from retrainlab.checks import BadInput


class Seeded(TorchDispatchMode):
    """Inside this context, what torch draws on this thread comes from generators of `seed`, one for each device, which go
    on where they were when it is entered again. A generator function must not yield inside: its caller would draw from them.

    On a CPU these are the numbers that `torch.manual_seed(seed)` would give. Raises BadInput for an operation that draws
    and takes no generator (attention with dropout in one fused kernel).
    """

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed
        self.generators: dict[torch.device, torch.Generator] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True loads torch._dynamo, for seconds; nothing here is compiled

    @property
    def drew(self) -> bool:
        """Whether any random number has been drawn."""
        fresh = {d: torch.Generator(d).manual_seed(self.seed) for d in self.generators}
        return any(not torch.equal(g.get_state(), fresh[d].get_state()) for d, g in self.generators.items())

    def set_states(self, states: Mapping[str, Tensor]) -> None:
        """Go on where another was, whose `states_of` these are."""
        for device, state in states.items():
            self._generator(torch.device(device)).set_state(state.cpu())

    def __torch_dispatch__(self, func: OpOverload, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if func._can_decompose():  # made of others, which come here in turn
            with self:
                return func.decompose(*args, **kwargs)
        given = dict(zip((a.name for a in func._schema.arguments), args)) | kwargs
        device = _device(given)
        if device.type == "meta" or given.get("generator") is not None:
            return func(*args, **kwargs)
        if (other := _with_generator(func)) is not None:
            return other(**given | {"generator": self._generator(device)})
        if func is torch.ops.aten.native_dropout.default:
            return _dropout(**given, generator=self._generator(device))
        rates = {a.name for a in func._schema.arguments} & {"dropout_p", "dropout"}
        if rates and not any(given.get(name) for name in rates):
            return func(*args, **kwargs)
        raise BadInput(
            f"The network draws random numbers with {func._schema.name.removeprefix('aten::')}, which takes no generator, "
            "so that they would not be the seed's own; choose a network without dropout in its attention or recurrence."
        )

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self.generators:
            self.generators[device] = torch.Generator(device).manual_seed(self.seed)
        return self.generators[device]


def states_of(noise: AbstractContextManager) -> dict[str, Tensor]:
    """Where the generators of a `Seeded` are, by device, each uint8 on the CPU; nothing for any other context."""
    return {str(d): g.get_state() for d, g in noise.generators.items()} if isinstance(noise, Seeded) else {}


@cache
def _with_generator(func: OpOverload) -> OpOverload | None:
    """The overload of an operation that takes a generator besides its arguments, or None."""
    names = {a.name for a in func._schema.arguments}
    if "generator" in names:
        return func
    others = (getattr(func.overloadpacket, name) for name in func.overloadpacket.overloads())
    found = (o for o in others if {a.name for a in o._schema.arguments} == names | {"generator"})
    return next(found, None)


def _device(given: dict[str, Any]) -> torch.device:
    """The device on which an operation draws, always with its index."""
    tensors = (value for value in given.values() if isinstance(value, Tensor))
    return next((t.device for t in tensors), None) or torch.empty(0, device=given.get("device")).device


def _dropout(input: Tensor, p: float, train: bool | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`native_dropout`, a fused kernel of GPUs that takes no generator, in several operations."""
    if train is False:
        return input.clone(), torch.ones_like(input, dtype=torch.bool)
    kept = torch.empty_like(input, dtype=torch.bool).bernoulli_(1 - p, generator=generator)
    return input * kept * (1 / (1 - p) if p < 1 else 0.0), kept


def stream(*name: int | str) -> torch.Generator:
    """A generator for each name, such as stream(seed, "batches", epoch); on the CPU, so that every device sees the same."""
    digest = hashlib.sha256("/".join(map(str, name)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def has_noise(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether the network draws random numbers as it trains, tried on two images of `shape` (channels, height, width);
    only members of one seed can then be trained together. Raises BadInput if it draws as it is evaluated, too."""
    trial = copy.deepcopy(model).cpu()
    images = torch.zeros(2, *shape, dtype=next(trial.parameters()).dtype)

    def draws(training: bool) -> bool:
        with torch.no_grad(), Seeded(0) as noise:
            trial.train(training)(images)
        return noise.drew

    if not draws(training=True):
        return False
    if draws(training=False):
        raise BadInput(
            "The network draws random numbers when it is evaluated, too, so that no measurement could be repeated; let it "
            "draw only where `self.training` is true."
        )
    return True
