"""The smaller dense network that computes what a masked one does, without the filters and neurons that the mask removes.

What a removed unit leaves behind is not 0 but a constant, after biases, normalisation and activations, and at the border
of a convolution that pads it another one than within. `influence` finds all of them in one pass. Each layer that reads
constants loses these inputs and gains what they contributed; each that has rows of 0 loses the rows, and its outputs are
spread among constants again, unless the next layer reads just what is left (`chains`). The sums of residual blocks keep
their width.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from retrainlab import metrics
from retrainlab.chains import Chain, chains
from retrainlab.checks import BadInput
from retrainlab.device import out_of_memory
from retrainlab.influence import Calls, Layer, axis_of, channels_of, fixed, layers, poisoned
from retrainlab.layers import prunable
from retrainlab.narrow import Narrow, put, resize
from retrainlab.pruning import Masks
from retrainlab.training.masked import zeroed
from retrainlab.training.method import Tensors


@dataclass(frozen=True, eq=False)
class Small:
    """The smaller network, in evaluation mode, and what could not be made smaller though rows of it are 0, or it reads
    constants: names of layers -> why."""

    network: nn.Module
    left: dict[str, str]


def masked_copy(model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks) -> nn.Module:
    """The network in evaluation mode with copies of these tensors, masked."""
    kept = zeroed(params, masks) | buffers
    own = {id(t): kept[n].detach().clone() for n, t in model.named_buffers()}
    own |= {id(t): nn.Parameter(kept[n].detach().clone()) for n, t in model.named_parameters()}
    return copy.deepcopy(model, own).eval()  # what layers share stays shared


def cast(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The network itself, its floating tensors in `dtype`; complex ones stay complex, whose imaginary parts `Module.to`
    drops."""
    wide = torch.promote_types(dtype, torch.complex64)

    def moved(t: Tensor) -> Tensor:
        return t.to(device, wide if t.is_complex() else dtype if t.is_floating_point() else t.dtype)

    return model._apply(moved)


@torch.no_grad()
def shrink(model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks, shape: tuple[int, ...]) -> Small:
    """A smaller dense network that computes what `model` computes in evaluation mode with its masked parameters.

    Rows of weights that are all 0 go (filters, neurons), and so do the inputs that are constants because of it (Li et al.
    2017); rows partly masked stay, and each layer keeps one. shape: of the only images for which it is right. The network
    has tensors of its own and is for inference: training would not reach the constants. `narrow.rebuilt` makes it again
    from its `state_dict()`.
    Raises BadInput if the small network does not compute the same, as can be if a network looks at its numbers.
    """
    some = next(iter(params.values()))
    own = cast(masked_copy(model, params, buffers, masks), torch.device("cpu"), torch.float64)  # no GPU's rounding
    calls = poisoned(own, shape, _settled)
    bound = _bound(own, calls)
    for found in (chains(own, shape), {}):  # without chains should a network look at the width of what passes by
        plan = _plan(own, calls, bound, found)
        small = _narrowed(own, calls, plan, found)
        if _same(own, small, shape):
            losing = {n for n, layer in layers(own).items() if _loses(layer, calls.get(n, []))}
            losing -= {other for name in plan.ends for other in found[name].along}
            left = {n: why for n, why in bound.items() if n in losing}
            return Small(cast(small, some.device, some.dtype), left)
    raise BadInput(
        f"This {type(model).__qualname__} cannot be made smaller, because with fewer numbers it computes something else: it "
        "looks at them, or at the size of its batch; keep it masked."
    )


def _rows(layer: Layer) -> Tensor:
    """Which rows of a layer's weight are not all 0; boolean [outputs]."""
    return layer.weight.flatten(1).any(1)


def _bias(layer: Layer) -> Tensor:
    """A layer's bias, or as many zeros; [outputs]."""
    return layer.bias if layer.bias is not None else layer.weight.new_zeros(len(layer.weight))


def _settled(layer: Layer, output: Tensor) -> None:
    """Put in the output of a poisoned layer what rows of 0 give for any image."""
    dead = ~_rows(layer)
    along = output.movedim(axis_of(layer), -1)
    along[..., dead] = _bias(layer)[dead]


def _loses(layer: Layer, given: list[Tensor]) -> bool:
    """Whether a layer has rows of 0, or is given constants."""
    return not _rows(layer).all() or any(bool(fixed(layer, inputs).any()) for inputs in given)


def _bound(model: nn.Module, calls: Calls) -> dict[str, str]:
    """Names of the layers that must stay as they are -> why."""
    every, bound = layers(model), {}
    weights = [id(m.weight) for m in every.values()]
    readers = tuple(f"{n}." for n, m in model.named_modules() if isinstance(m, nn.TransformerEncoderLayer))
    for name, layer in every.items():
        if name not in calls:
            bound[name] = "it is never called, though another module may read its weight"
        elif len(calls[name]) > 1:
            bound[name] = "it is used more than once"
        elif weights.count(id(layer.weight)) > 1:
            bound[name] = "it shares its weight with another layer"
        elif not isinstance(layer, nn.Linear) and layer.groups > 1:
            bound[name] = "its convolution is grouped"
        elif name.startswith(readers):
            bound[name] = "torch's encoder layer may read its weight itself"
    return bound


def _one(kept: Tensor) -> Tensor:
    """`kept`, or the first alone if nothing is; boolean [n]."""
    return kept if kept.any() else torch.arange(len(kept), device=kept.device) == 0


@dataclass(frozen=True, eq=False)
class _Plan:
    """What of each layer stays, as booleans [outputs] and [inputs] under its name; and the layers whose channels need not be
    spread, with the one that reads them."""

    rows: Tensors
    inputs: Tensors
    ends: dict[str, str]


def _plan(model: nn.Module, calls: Calls, bound: dict[str, str], found: dict[str, Chain]) -> _Plan:
    """What can go from the masked network. The layers named in `bound` stay, unless a chain in `found` leads through."""
    whole = layers(model)
    rows = {n: _one(_rows(m)) for n, m in whole.items() if n not in bound}
    inputs = {n: _one(~fixed(whole[n], calls[n][0])) for n in rows}
    paths = {n: c for n, c in found.items() if n in rows and c.target in rows}
    for name, chain in paths.items():
        for middle in whole.keys() & set(chain.along):  # what a depthwise filter of 0 is given matters to nobody
            rows[name] = _one(rows[name] & _rows(whole[middle]))
    ends = {n: c.target for n, c in paths.items() if c.target and not rows[n].all()}
    for name, end in ends.items():
        inputs[end] = rows[name].repeat_interleave(found[name].block)
    return _Plan(rows, inputs, ends)


def _narrowed(model: nn.Module, calls: Calls, plan: _Plan, found: dict[str, Chain]) -> nn.Module:
    """A copy of the masked network of which only that is left which the plan keeps."""
    small = copy.deepcopy(model)
    whole = layers(small)
    for name, kept in plan.rows.items():
        layer, chain, inputs = whole[name], found.get(name, Chain()), plan.inputs[name]
        spread: tuple[Tensor | None, Tensor | None] = None, None
        constants = _bias(layer)
        along = [small.get_submodule(other) for other in chain.along]
        if name in plan.ends:
            for other in along:
                _thin(other, kept)
        elif not kept.all() and chain.at_once:  # normalisation of few channels is cheaper
            constants = along[0](constants.view(1, -1, *[1] * (layer.weight.dim() - 2))).flatten()
            _thin(along[0], kept)
            put(small, along[0], Narrow(along[0], None, None, kept.nonzero().flatten(), constants))
        elif not kept.all():
            spread = kept.nonzero().flatten(), constants.clone()
        read = None if name in plan.ends.values() or inputs.all() else inputs.nonzero().flatten()
        offset = _cut(layer, kept, inputs, calls[name][0])
        if any(part is not None for part in (read, offset, *spread)):
            put(small, layer, Narrow(layer, read, offset, *spread))
    return small.eval()


def _cut(layer: Layer, rows: Tensor, inputs: Tensor, given: Tensor) -> Tensor | None:
    """Leave a layer some rows and inputs only. What the other inputs, constants in `given`, contributed goes to its bias if
    it is the same at all positions, and is else returned: an offset of the output's shape."""
    axis, weight = axis_of(layer), layer.weight[rows]
    bias, offset = _bias(layer)[rows], None
    if not inputs.all():
        part = copy.deepcopy(layer)
        resize(part, {"weight": weight[:, ~inputs], "bias": bias})
        added = part(given.index_select(axis, (~inputs).nonzero().flatten()))
        each = channels_of(part, added)
        if torch.allclose(each, each[:, :1], 0, 1e-14 * float(each.abs().max())):
            bias = each[:, 0]
        else:
            offset = added - bias.view(-1, *[1] * (added.dim() - 2)) if axis == 1 else added - bias
    tensors = {"weight": weight[:, inputs]}
    if layer.bias is not None or bias.any():
        tensors["bias"] = bias
    resize(layer, tensors)
    return offset


def _thin(layer: nn.Module, kept: Tensor) -> None:
    """Leave BatchNorm, or a depthwise convolution, some channels only."""
    resize(layer, {n: t[kept] for n, t in layer.state_dict().items() if t.dim()})


def _same(own: nn.Module, small: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether two networks give the same outputs for some random images, but for rounding."""
    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).to(next(own.parameters()))
    try:
        found, wanted = small(images), own(images)
    except Exception as error:  # whatever a network says to sizes that it did not expect
        if out_of_memory(error):
            raise
        return False
    scale = float(wanted.nan_to_num(0, 0, 0).abs().max())
    return found.shape == wanted.shape and torch.allclose(found, wanted, 0, 1e-8 * scale, equal_nan=True)


def speedup(
    model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks, images: Tensor, repeats: int = 20
) -> dict[str, float]:
    """How much faster a forward pass over `images` (float [B, ...]) is without the masked filters.

    theoretical_speedup: multiply-adds of the dense network over those of the shrunken one, zeros included.
    measured_speedup: dense_seconds / shrunken_seconds, the `metrics.latency` of the masked network, which is as slow as a
    dense one, and of the shrunken one, on the device of `images`. Raises BadInput as `shrink` does.
    """
    shape = tuple(images.shape[1:])
    small = shrink(model, params, buffers, masks, shape).network
    slow = metrics.latency(model, zeroed(params, masks), buffers, images, repeats)
    fast = metrics.latency(small, dict(small.named_parameters()), dict(small.named_buffers()), images, repeats)
    return {
        "theoretical_speedup": metrics.theoretical_speedup(executed(model, shape), executed(small, shape)),
        "measured_speedup": slow / fast,
        "dense_seconds": slow,
        "shrunken_seconds": fast,
    }


def executed(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds of one image, those with weights of 0 included."""
    model = copy.deepcopy(model).float()  # as the image that `multiply_adds` counts with
    weights = dict(model.named_parameters())
    return metrics.multiply_adds(model, shape, {name: weights[name] for name in prunable(model)})[0]
