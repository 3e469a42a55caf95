"""One forward pass for many members: a network whose parameters and buffers have a first dimension of members.

`by_rules` has a rule for each layer that networks for small images are made of; `vmapped` (torch.func.vmap) takes every
network, with more work around each call.

By the rules members lie side by side in the channels: feature maps are [B, M*C, H, W], a convolution is one convolution in
M groups, a normalisation one of M*C channels; vectors are [M, B, F] and a Linear layer one batched product. So M members
cost as many calls as one. Channels are last in memory (`torch.channels_last`): on a CPU normalisation of small maps takes a
fifth of the time then, and convolutions a little less; on a GPU a whole step takes half to three quarters of it.
"""

import math
import operator
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.func import functional_call, vmap

from retrainlab.training import patches
from retrainlab.training.layout import joined, rounded
from retrainlab.training.method import Tensors

Forward = Callable[[Tensors, Tensors, Tensor], Tensor]
"""(parameters [M, ...], buffers [M, ...], images) -> scores [M, B, K], in the mode that the network's modules are in.
images: [B, C, H, W] if all members see the same, or else [M, B, C, H, W]; `vmapped` takes inputs of other shapes, too.
Buffers change in place."""
FEW = 8
"""Input channels below which libraries compute a convolution in many groups slowly."""
SMALL = 4 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 0
"""Pixels of a map up to which a CPU computes a convolution in many groups slowly: in 0.2 to 0.9 of the time as patches with
AVX2 and no more; with AVX512 a whole step of such a network takes 1.1 to 1.2 times as long so."""
WIDE = 128
"""Output channels above which a convolution is work enough for a GPU one member after the other."""


class Unstackable(Exception):
    """`by_rules` has no rule for something in the network."""


def forward_of(model: nn.Module, unfolded: bool = False, rank: int = 4) -> Forward:
    """The network for many members: `by_rules` if there is a rule for each layer, or else `vmapped`. unfolded: see
    `by_rules`. rank: dimensions of a batch; rules are for images, which have four."""
    with suppress(Unstackable):
        if rank == 4:
            return by_rules(model, unfolded)
    return vmapped(model, rank)


def evaluation_of(model: nn.Module, unfolded: bool = False, rank: int = 4) -> Forward:
    """The network for many members in evaluation mode, for images that all of them see: `forward_of` on a GPU. One member
    after the other on a CPU, whose grouped convolutions take twice the time, and where the network has torch's own
    attention, whose fast kernel for evaluation vmap does not know."""
    on_cpu = next(model.parameters()).device.type == "cpu"
    if not on_cpu and not any(isinstance(m, nn.MultiheadAttention) for m in model.modules()):
        return forward_of(model, unfolded, rank)

    def forward(params: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
        rows = range(len(next(iter(params.values()))))
        own = [({n: p[i] for n, p in params.items()}, {n: b[i] for n, b in buffers.items()}) for i in rows]
        return torch.stack([functional_call(model, parts, (images,)) for parts in own])

    return forward


def vmapped(model: nn.Module, rank: int = 4) -> Forward:
    """The network under vmap, for batches of that rank. A random layer draws for all what each alone would draw."""

    def forward(params: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
        def one(p: Tensors, b: Tensors, x: Tensor) -> Tensor:
            return functional_call(model, (p, b), (x,))

        return vmap(one, in_dims=(0, 0, None if images.dim() == rank else 0), randomness="same")(
            params, buffers, images
        )

    return forward


_tracing = threading.Lock()


class _Tracer(fx.Tracer):
    """Traces its own thread alone: torch.fx patches torch for the whole process meanwhile, so that calls of other threads
    come here, too."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> object:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: object, parameter_proxy_cache: dict) -> object:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def by_rules(model: nn.Module, unfolded: bool = False) -> Forward:
    """The network with a stacked rule in place of each layer. Raises Unstackable where there is none. unfolded: whether
    convolutions with a stride, or of few channels, are products of patches (see `patches`), which suits a GPU; on a
    CPU with AVX2 those that make very small maps always are."""
    try:
        with _tracing:  # two at once would undo each other's patches in the wrong order
            graph = _Tracer().trace(model)
    except Exception as error:  # a network's own Python code met symbolic values
        raise Unstackable(f"{type(model).__name__} cannot be traced: {error}") from error
    modules, known = dict(model.named_modules()), dict(model.named_parameters())
    program: list[tuple[str, Callable, tuple[str, ...]]] = []
    split: set[str] = set()  # values that differ between members even where the images do not
    source = result = ""
    for node in graph.nodes:
        if node.op == "placeholder":
            source = node.name
            continue
        if node.op == "output":
            result = node.args[0].name
            continue
        if not set(node.kwargs.items()) <= _HARMLESS:
            raise Unstackable(f"{node.target} with {dict(node.kwargs)}")
        inputs = tuple(n.name for n in node.all_input_nodes)
        module = modules[node.target] if node.op == "call_module" else None
        if module is not None and any(f"{node.target}.{name}" not in known for name, _ in module.named_parameters()):
            raise Unstackable(f"weights that {node.target} shares with another layer")
        if len(split.intersection(inputs)) not in (0, len(inputs)):
            raise Unstackable(f"{node.target} of images and maps")
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear) or split.intersection(inputs):
            split.add(node.name)
        program.append((node.name, _rule(node, module, node.name in split), inputs))
    if result not in split:
        raise Unstackable("the scores do not depend on the parameters")

    norms = [
        str(n.target) for n in graph.nodes if n.op == "call_module" and isinstance(modules[n.target], nn.BatchNorm2d)
    ]
    most = max(map(norms.count, norms), default=0)
    counted = [[name for name in dict.fromkeys(norms) if norms.count(name) > i] for i in range(most)]

    def forward(params: Tensors, buffers: Tensors, images: Tensor) -> Tensor:
        shared = images.dim() == 4
        call = _Call(len(next(iter(params.values()))), shared, unfolded, buffers | params, buffers)
        side = images if shared else images.permute(1, 3, 4, 0, 2).flatten(3).movedim(-1, 1)
        values = {source: side.contiguous(memory_format=torch.channels_last)}
        for name, rule, inputs in program:
            values[name] = rule(call, *(values[i] for i in inputs))
        for each in counted:  # all in one call
            trained = [buffers[f"{name}.num_batches_tracked"] for name in each if modules[name].training]
            if trained:
                torch._foreach_add_(trained, 1)
        return values[result]

    return forward


@dataclass(frozen=True)
class _Call:
    """What a rule, (call, stacked inputs) -> stacked output, is told of a forward pass."""

    members: int
    shared: bool  # whether all members see the same images
    unfolded: bool
    params: Tensors  # and the buffers, since weights that are not trained stand there
    buffers: Tensors


_UNCHANGED = (  # layers that treat each channel by itself
    *(nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Identity),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
)
_POINTWISE = (F.relu, torch.relu, operator.add, torch.add, operator.mul, operator.iadd)
_HARMLESS = {
    ("inplace", False),
    ("mode", "constant"),
    ("value", None),
}  # keywords with which F.relu and F.pad are called


def _rule(node: fx.Node, module: nn.Module | None, split: bool) -> Callable[..., Tensor]:
    """(call, stacked inputs) -> stacked output, for one node of the network; raises Unstackable if there is no rule. split:
    whether its output differs between members even where the images do not."""
    target = node.target
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            raise Unstackable(f"padding with {module.padding_mode}")
        return partial(_convolution, str(target), module)
    if isinstance(module, nn.BatchNorm2d):
        if not (module.affine and module.track_running_stats) or module.momentum is None:
            raise Unstackable("a normalisation without weights, running statistics or momentum")
        return partial(_normalisation, str(target), module, module.momentum)
    if isinstance(module, nn.Linear):
        return partial(_linear, str(target), module)
    if isinstance(module, _UNCHANGED):
        return lambda call, x: module(x)
    if (isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)) or (
        target in (torch.flatten, "flatten") and node.args[1:] == (1,)
    ):
        return lambda call, x: x if x.dim() == 3 else _vectors(split, call, x)
    if target == "mean" and node.args[1:] in (((2, 3),), ([2, 3],)):
        return partial(_mean, split)
    if callable(target) and target in _POINTWISE:
        if len(node.all_input_nodes) != len(node.args):
            raise Unstackable(f"{target} with a constant")
        return lambda call, *inputs: target(*inputs)
    if target is F.pad and len(node.args) == 2:
        border = tuple(cast(list[int], node.args[1]))
        if len(border) not in (2, 4, 6):
            raise Unstackable(f"padding by {border}")
        return partial(_pad, border, split)
    if target is operator.getitem and _is_spatial(node.args[1]):
        _, _, rows, columns = node.args[1]
        return partial(_slice, rows, columns)
    raise Unstackable(f"{node.op} {target if module is None else type(module).__name__}")


def _is_spatial(index: object) -> TypeGuard[tuple[slice, ...]]:
    """Whether it takes a part of each map, and all images and channels."""
    slices = isinstance(index, tuple) and len(index) == 4 and all(isinstance(i, slice) for i in index)
    return slices and cast(tuple, index)[:2] == (slice(None), slice(None))


def _convolution(name: str, module: nn.Conv2d, call: _Call, x: Tensor) -> Tensor:
    inputs, groups, stride = module.in_channels, module.groups, cast(patches.Pair, module.stride)
    if inputs < FEW and max(stride) > 1 and module.kernel_size == (1, 1) and module.padding in ((0, 0), "valid"):
        # oneDNN 3.12 writes past its memory for the gradient of such a weight, with channels last on a CPU with AVX2
        x, stride = _slice(slice(None, None, stride[0]), slice(None, None, stride[1]), call, x), (1, 1)
    convolve = partial(F.conv2d, stride=stride, padding=module.padding, dilation=module.dilation)
    weight = rounded(call.params[f"{name}.weight"])
    bias = call.params[f"{name}.bias"].flatten() if module.bias is not None else None
    if x.shape[1] == inputs and groups == 1:  # one member, or the same images for all
        return convolve(x, joined(weight), bias)
    x = x.repeat(1, call.members, 1, 1) if x.shape[1] == inputs else x
    if _unfolds(module, call, x):
        each = None if bias is None else bias.view(call.members, -1)
        return patches.convolution(x, weight, each, stride, cast(patches.Pair, module.padding))
    if inputs < FEW:  # one convolution for each member takes less time
        biases = [None] * call.members if bias is None else call.params[f"{name}.bias"]
        own = zip(x.split(inputs, 1), weight, biases)
        return torch.cat([convolve(part, w, b, groups=groups) for part, w, b in own], 1)
    return convolve(x, joined(weight), bias, groups=groups * call.members)


def _unfolds(module: nn.Conv2d, call: _Call, x: Tensor) -> bool:
    """Whether libraries compute it in many groups slowly, and `patches` knows it."""
    if module.groups > 1 or set(module.dilation) != {1} or isinstance(module.padding, str):
        return False
    if call.unfolded:
        return (module.in_channels < FEW or max(module.stride) > 1) and module.out_channels <= WIDE
    if x.device.type != "cpu" or call.members < 4 or module.in_channels < 32:
        return False
    how = zip(x.shape[2:], module.padding, module.kernel_size, module.stride)
    return math.prod([(size + 2 * p - kernel) // stride + 1 for size, p, kernel, stride in how]) <= SMALL


def _normalisation(name: str, module: nn.BatchNorm2d, momentum: float, call: _Call, x: Tensor) -> Tensor:
    if x.shape[1] == module.num_features and call.members > 1:
        x = x.repeat(1, call.members, 1, 1)
    weight, bias = (call.params[f"{name}.{part}"].flatten() for part in ("weight", "bias"))
    mean, variance = (call.buffers[f"{name}.{part}"].flatten() for part in ("running_mean", "running_var"))
    x = x.contiguous(memory_format=torch.channels_last)
    return F.batch_norm(x, mean, variance, weight, bias, module.training, momentum, module.eps)


def _linear(name: str, module: nn.Linear, call: _Call, x: Tensor) -> Tensor:
    """x: [B, F] of all members, or [M, B, F]."""
    weight = call.params[f"{name}.weight"].transpose(1, 2)
    x = x.expand(call.members, *x.shape) if x.dim() == 2 else x
    if module.bias is None:
        return torch.bmm(x, weight)
    return torch.baddbmm(call.params[f"{name}.bias"][:, None], x, weight)


def _vectors(split: bool, call: _Call, x: Tensor) -> Tensor:
    """[B, M*C, ...] -> [M, B, F]; or [B, C, ...] -> [B, F], where members do not differ yet."""
    if split or not call.shared:
        return x.unflatten(1, (call.members, -1)).transpose(0, 1).flatten(2)
    return x.flatten(1)


def _mean(split: bool, call: _Call, x: Tensor) -> Tensor:
    return _vectors(split, call, x.movedim(1, -1).mean((1, 2)))


def _pad(border: tuple[int, ...], split: bool, call: _Call, x: Tensor) -> Tensor:
    if len(border) < 6 or (call.shared and not split):
        return F.pad(x, border)
    maps = x.movedim(1, -1).unflatten(-1, (call.members, -1))  # [B, H, W, M, C]
    return F.pad(maps, (*border[4:], 0, 0, *border[:4])).flatten(-2).movedim(-1, 1)


def _slice(rows: slice, columns: slice, call: _Call, x: Tensor) -> Tensor:
    return x.movedim(1, -1)[:, rows, columns].movedim(-1, 1)  # so that its gradient is laid out like x
