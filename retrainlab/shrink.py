"""Networks that are really smaller or really faster: removed filters taken out, 2:4 weights given to the GPU's kernels.

A removed filter leaves no zero behind: its channel is a constant after normalisation, beta - mean * gamma /
sqrt(var + eps). What reads such a channel loses it, and gains what the constant would have contributed; in a convolution
that depends on the position, because padding is zero and the constant is not. Residual streams keep their width.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured

from retrainlab import metrics
from retrainlab.checks import BadInput
from retrainlab.layers import prunable
from retrainlab.models import VGG, BasicBlock, ResNet
from retrainlab.pruning import Masks
from retrainlab.training.masked import zeroed
from retrainlab.training.method import Tensors

Size = tuple[int, int]


class Offset(nn.Module):
    """Adds what removed inputs contributed, [1, C, H, W], to a convolution's output [B, C, H, W]."""

    offset: Tensor

    def __init__(self, offset: Tensor):
        super().__init__()
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


class Spread(nn.Module):
    """Puts the channels that remain, [B, kept, H, W], in their places among constants: [B, C, H, W]."""

    places: Tensor
    constants: Tensor

    def __init__(self, kept: Tensor, constants: Tensor):
        super().__init__()
        self.register_buffer("places", kept.nonzero().squeeze(1))
        self.register_buffer("constants", constants.view(1, -1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        stream = self.constants.expand(len(x), -1, *x.shape[2:])
        return stream.index_copy(1, self.places, x)


def _copy(model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks) -> nn.Module:
    """A network in evaluation mode with copies of these tensors, masked."""
    own = copy.deepcopy(model).eval()
    tensors = zeroed(params, masks) | buffers
    own.load_state_dict({name: t.detach().clone() for name, t in tensors.items()}, assign=True)
    return own


@torch.no_grad()
def shrink(model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks, shape: tuple[int, int, int]) -> nn.Module:
    """A smaller dense network that computes what `model` computes in evaluation mode with its masked parameters.

    Filters whose weights are all zero go, with what the one layer that reads them has for them (Li et al. 2017); filters
    partly masked stay with their zeros, and each layer keeps at least one. shape: (channels, height, width) of the
    images, the only ones it is right for. It has tensors of its own, on the parameters' device and of their type, and is
    for inference: training would not reach the constants. Raises BadInput unless `model` is one of our ResNets or VGG.
    """
    if not isinstance(model, ResNet | VGG):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise BadInput(
            "Only our resnet8, resnet20, resnet56, resnet18 and vgg16 can be shrunk, but this network is a "
            f"{kind}; choose one of them."
        )
    small = _copy(model, params, buffers, masks)
    if isinstance(small, ResNet):
        _shrink_resnet(small, shape[1:])
    elif isinstance(small, VGG):
        _shrink_vgg(small, shape[1:])
    return small.eval()


def _shrink_resnet(model: ResNet, size: Size) -> None:
    model.add_module("norm", _around(model.norm, spread=_drop_filters(model.conv, model.norm)))
    for block in model.blocks:
        assert isinstance(block, BasicBlock)
        size = _strided(size, block.stride)
        kept, constants = _drop_filters(block.conv1, block.norm1)
        spread = _drop_filters(block.conv2, block.norm2)
        offset = _drop_inputs(block.conv2, kept, F.relu(constants), size)
        block.add_module("norm2", _around(block.norm2, offset, spread))
        if block.shortcut is not None:
            conv, norm = block.shortcut
            block.shortcut[1] = _around(norm, spread=_drop_filters(conv, norm))


def _shrink_vgg(model: VGG, size: Size) -> None:
    first, last = model.features[0], model.classifier
    assert isinstance(first, nn.Conv2d)
    kept, constants = torch.ones(first.in_channels, dtype=torch.bool, device=first.weight.device), first.weight[0, :0]
    for i, layer in enumerate(list(model.features)):
        if isinstance(layer, nn.Conv2d):
            remaining, values = _drop_filters(layer, model.features[i + 1])
            model.features[i + 1] = _around(model.features[i + 1], _drop_inputs(layer, kept, constants, size))
            kept, constants = remaining, F.relu(values)
        elif isinstance(layer, nn.MaxPool2d):  # of constants it makes the same constants
            size = _strided(size, 2)
    last.bias.add_(last.weight[:, ~kept] @ constants[~kept])
    last.weight = nn.Parameter(last.weight[:, kept])
    last.in_features = last.weight.shape[1]


def _drop_filters(conv: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Take the filters without weights out of both layers. Returns which of the C filters remain, and the constant that
    the channel of each would be after `norm` without its weights; both of shape [C]."""
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    kept = conv.weight.flatten(1).any(1)
    kept[0] |= ~kept.any()
    constants = norm(conv.weight.new_zeros(1, conv.out_channels, 1, 1)).flatten()
    conv.weight = nn.Parameter(conv.weight[kept])
    norm.weight, norm.bias = nn.Parameter(norm.weight[kept]), nn.Parameter(norm.bias[kept])
    norm.running_mean, norm.running_var = norm.running_mean[kept], norm.running_var[kept]
    conv.out_channels = norm.num_features = len(conv.weight)
    return kept, constants


def _drop_inputs(conv: nn.Conv2d, kept: Tensor, constants: Tensor, size: Size) -> Tensor | None:
    """Leave a convolution the inputs that are `kept` [C]; what the others, constant over images of `size`, gave to its
    output [1, filters, H, W], or None if nothing."""
    if kept.all():
        return None
    images = constants[~kept].view(1, -1, 1, 1).expand(-1, -1, *size)
    offset = F.conv2d(images, conv.weight[:, ~kept], None, conv.stride, conv.padding)
    conv.weight = nn.Parameter(conv.weight[:, kept])
    conv.in_channels = conv.weight.shape[1]
    return offset if offset.any() else None


def _around(norm: nn.Module, offset: Tensor | None = None, spread: tuple[Tensor, Tensor] | None = None) -> nn.Module:
    """`norm` with an offset before it and, if not all channels were kept, a spread after it."""
    before = [] if offset is None else [Offset(offset)]
    after = [] if spread is None or spread[0].all() else [Spread(*spread)]
    return nn.Sequential(*before, norm, *after) if before or after else norm


def _strided(size: Size, stride: int) -> Size:
    """The size after a 3x3 convolution with padding 1, or a pooling that rounds up, of that stride."""
    return (size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1


def speedup(
    model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks, images: Tensor, repeats: int = 20
) -> dict[str, float]:
    """What removing the masked filters is worth for a forward pass over `images` (float [B, C, H, W]).

    theoretical_speedup: multiply-adds of the dense network over those that the shrunken one executes, zeros included;
    measured_speedup: dense_seconds / shrunken_seconds, latencies (see `metrics.latency`) of the masked network, which is
    as slow as a dense one, and of the shrunken one, on the device of `images`. Raises BadInput as `shrink` does.
    """
    _, channels, height, width = images.shape
    shape = (channels, height, width)
    small = shrink(model, params, buffers, masks, shape)
    slow = metrics.latency(model, zeroed(params, masks), buffers, images, repeats)
    fast = metrics.latency(small, dict(small.named_parameters()), dict(small.named_buffers()), images, repeats)
    return {
        "theoretical_speedup": metrics.theoretical_speedup(_executed(model, shape), _executed(small, shape)),
        "measured_speedup": slow / fast,
        "dense_seconds": slow,
        "shrunken_seconds": fast,
    }


def _executed(model: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one image with all weights, zeros included."""
    model = copy.deepcopy(model).float()  # as the image that `multiply_adds` counts with
    weights = dict(model.named_parameters())
    return metrics.multiply_adds(model, shape, {name: weights[name] for name in prunable(model)})[0]


@torch.no_grad()
def semi_structured(
    model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks, dtype: torch.dtype = torch.float16
) -> nn.Module:
    """A copy in `dtype` (float16 or bfloat16) whose 2:4 Linear layers run on the GPU's sparse kernels, for inference.

    Convolutions and attention's projections, which n:m prunes too, have no such kernels in torch and stay dense, and so do
    Linear layers whose size is no multiple of 32x64.
    Raises BadInput where the parameters' device has no such kernels, or if no layer is left to convert.
    """
    device = next(iter(params.values())).device
    if not has_sparse_kernels(device):
        raise BadInput(
            "Kernels for 2:4 sparsity need an NVIDIA GPU of compute capability 8.0 or above, but this network is on "
            f"'{device}'; move it to such a GPU, or measure whole filters with `speedup`."
        )
    fast = _copy(model, params, buffers, masks).to(dtype)
    layers = [layer for layer in fast.modules() if type(layer) is nn.Linear and fits_2_of_4(layer.weight)]
    if not layers:
        raise BadInput(
            "No Linear layer of this network is both 2:4 sparse and a multiple of 32x64 in size; prune with the structure "
            "n:m, n=2 and m=4, in a network with such layers."
        )
    for layer in layers:
        layer.weight = nn.Parameter(to_sparse_semi_structured(layer.weight))
    return fast


def has_sparse_kernels(device: torch.device) -> bool:
    """Whether `device` computes with 2:4 weights: NVIDIA's Ampere (compute capability 8.0) and what came after it."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def fits_2_of_4(weight: Tensor) -> bool:
    """Whether a weight [outputs, inputs] has a size that 2:4 kernels take, and at most two of each four are not zero."""
    if weight.shape[0] % 32 or weight.shape[1] % 64:
        return False
    return bool((weight.reshape(-1, 4).count_nonzero(1) <= 2).all())
