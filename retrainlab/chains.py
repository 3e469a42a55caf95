"""Which layers hand their channels to another, one by one, with nothing between that mixes them or reads them besides.

The network runs once, and every operation on a tensor is noted: no case for any architecture, and no path is followed but
the one that its images take.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from retrainlab.influence import axis_of, layers
from retrainlab.models import apart

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_POINTWISE = frozenset(
    "relu relu6 leaky_relu hardtanh hardswish hardsigmoid hardshrink softshrink elu celu selu gelu silu mish sigmoid tanh "
    "softplus softsign logsigmoid tanhshrink threshold clamp dropout alpha_dropout contiguous clone".split()
)
_SPATIAL = frozenset(
    f"{kind}{d}d"
    for d in (1, 2, 3)
    for kind in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "dropout")
)


@dataclass(frozen=True)
class Chain:
    """Where the output channels of a layer go.

    along: names of the layers on the way that work on each channel alone, BatchNorm and depthwise convolutions. at_once:
    whether the first of them is BatchNorm and nothing stands before it. target: name of the layer that alone reads the
    channels at the end; None if there is none. block: how many neighbouring inputs of the target each channel is (more
    than 1 if maps are flattened).
    """

    along: tuple[str, ...] = ()
    at_once: bool = False
    target: str | None = None
    block: int = 1


@dataclass(frozen=True, eq=False)
class _Step:
    """One operation that reads a tensor: its name, arguments, keywords and result."""

    name: str
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    out: Any


class _Notes(TorchFunctionMode):
    """Notes each operation under each tensor that it reads, and keeps all of them, so that no two have the same address."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: dict[int, list[_Step]] = {}
        self.kept: list[Any] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if any(True for _ in _tensors(out)):  # not sizes and the like
            self.note(_Step(function.__name__.strip("_"), args, kwargs or {}, out))
        return out

    def note(self, step: _Step) -> None:
        self.kept.append(step)
        for tensor in {id(t): t for t in _tensors((step.args, step.keywords))}.values():
            self.readers.setdefault(id(tensor), []).append(step)


def _tensors(things: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(things, Tensor):
        yield things
    elif isinstance(things, list | tuple | dict):
        for thing in things.values() if isinstance(things, dict) else things:
            yield from _tensors(thing)


@torch.no_grad()
def chains(model: nn.Module, shape: tuple[int, ...]) -> dict[str, Chain]:
    """The chain of each of `layers(model)` that is called, in evaluation mode and for images of `shape` (channels, height,
    width)."""
    own, notes = apart(model).eval(), _Notes()
    outputs: dict[str, Tensor] = {}
    for name, layer in layers(own).items():
        layer.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
    with notes:
        result = own(next(own.parameters()).new_zeros(1, *shape))
    notes.note(_Step("returned", (result,), {}, None))
    named = {id(m.weight): name for name, m in layers(own).items()}
    alone = {id(m.running_mean): n for n, m in own.named_modules() if type(m) in NORMS and m.running_mean is not None}
    alone |= {id(m.weight): n for n, m in layers(own).items() if is_depthwise(m)}
    alone = {place: name for place, name in alone.items() if len(notes.readers.get(place, [])) == 1}
    return {n: _follow(notes, t, axis_of(layers(own)[n]), (named, alone)) for n, t in outputs.items()}


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a layer is a convolution with a filter for each channel."""
    return (
        isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and 1 < layer.groups == layer.in_channels == layer.out_channels
    )


def _follow(notes: _Notes, tensor: Tensor, axis: int, names: tuple[dict[int, str], dict[int, str]]) -> Chain:
    """The chain that starts with a layer's output, whose channels lie along `axis`."""
    (named, alone), chain = names, Chain()
    axis, first = axis % tensor.dim(), True
    steps = notes.readers.get(id(tensor), []).copy()
    while steps:
        step = steps.pop(0)
        if steps and step.out is not tensor:  # read by several
            return chain
        convolves, normalises = step.name in ("linear", "conv1d", "conv2d", "conv3d"), step.name == "batch_norm"
        reads = step.args[1] if len(step.args) > 1 else step.keywords.get("running_mean" if normalises else "weight")
        if convolves and id(reads) not in alone:
            ends = step.args[0] is tensor and axis == (tensor.dim() - 1 if step.name == "linear" else 1)
            return Chain(chain.along, chain.at_once, named.get(id(reads)) if ends else None, chain.block)
        if not isinstance(step.out, Tensor) or not step.args or step.args[0] is not tensor:
            return chain
        if convolves or normalises:
            if id(reads) not in alone or axis != 1 or chain.block > 1:
                return chain
            chain = Chain((*chain.along, alone[id(reads)]), chain.at_once or (first and normalises), None, chain.block)
        elif not _keeps_channels(step, tensor, axis):
            return chain
        elif step.name == "flatten":
            chain = Chain(chain.along, chain.at_once, None, chain.block * tensor[0, 0].numel())
        if step.out is not tensor:
            tensor, steps = step.out, notes.readers.get(id(step.out), []).copy()
        first = False
    return chain


def _keeps_channels(step: _Step, tensor: Tensor, axis: int) -> bool:
    """Whether an operation computes each channel of its result from the same channel of `tensor` alone (or, if it flattens,
    a block of neighbours from each channel)."""
    others = [*step.args[1:], *step.keywords.values()]
    if any(True for _ in _tensors(others)):
        return False
    if step.name in _POINTWISE:
        return True
    if axis != 1:
        return False
    if step.name == "flatten":
        return others in ([1], [1, -1])
    if step.name == "mean":
        over = others[0] if others and isinstance(others[0], tuple | list) else others[:1]
        return bool(over) and all(isinstance(d, int) and d % tensor.dim() > 1 for d in over)
    return step.name in _SPATIAL and tensor.dim() > 2
