"""Networks that are smaller or faster in fact: without the filters that a mask removes, or with a GPU's kernels for 2:4.

The channel of a removed filter is not 0 after normalisation but the constant beta - mean * gamma / sqrt(var + eps). The
layer that reads it loses this input and gains what the constant contributed to its output; in a convolution that depends
on the position, because padding is 0 and the constant is not. The sums of residual blocks keep their width.
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
"""(height, width)"""


class Offset(nn.Module):
    """Adds what removed inputs contributed, [1, C, H, W], to the output of a convolution, [B, C, H, W]."""

    offset: Tensor

    def __init__(self, offset: Tensor):
        super().__init__()
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


class Spread(nn.Module):
    """Puts the channels that are kept, [B, kept, H, W], in their places among constants: [B, C, H, W]."""

    places: Tensor
    constants: Tensor

    def __init__(self, kept: Tensor, constants: Tensor):
        super().__init__()
        self.register_buffer("places", kept.nonzero().squeeze(1))
        self.register_buffer("constants", constants.view(1, -1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.constants.expand(len(x), -1, *x.shape[2:]).index_copy(1, self.places, x)


def _copy(model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks) -> nn.Module:
    """The network in evaluation mode with copies of these tensors, masked."""
    own = copy.deepcopy(model).eval()
    own.load_state_dict({n: t.detach().clone() for n, t in (zeroed(params, masks) | buffers).items()}, assign=True)
    return own


@torch.no_grad()
def shrink(model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks, shape: tuple[int, int, int]) -> nn.Module:
    """A smaller dense network that computes what `model` computes in evaluation mode with its masked parameters.

    Filters whose weights are all 0 go, with the inputs of the layer that reads them (Li et al. 2017); filters partly masked
    stay, and each layer keeps at least one. shape: (channels, height, width) of the only images for which it is right. It
    has tensors of its own and is for inference: training would not reach the constants.
    Raises BadInput unless `model` is one of our ResNets or VGG.
    """
    small = _copy(model, params, buffers, masks)
    if isinstance(small, ResNet):
        _shrink_resnet(small, shape[1:])
    elif isinstance(small, VGG):
        _shrink_vgg(small, shape[1:])
    else:
        raise BadInput(
            "Only our resnet8, resnet20, resnet56, resnet18 and vgg16 can be shrunk, but this network is a "
            f"{type(model).__module__}.{type(model).__qualname__}; choose one of them."
        )
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
    """Take the filters whose weights are all 0 out of both layers. Returns which of the C filters are kept, and the constant
    that each channel is after `norm` if its filter is 0; both of shape [C]."""
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
    """Take the inputs that are not `kept` [C] out of a convolution. Returns what they, constant over maps of `size`,
    contributed to its output, [1, filters, H, W], or None if nothing."""
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
    """The size after a 3x3 convolution of that stride with padding 1, or after a pooling that rounds up."""
    return (size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1


def speedup(
    model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks, images: Tensor, repeats: int = 20
) -> dict[str, float]:
    """How much faster a forward pass over `images` (float [B, C, H, W]) is without the masked filters.

    theoretical_speedup: multiply-adds of the dense network over those of the shrunken one, zeros included.
    measured_speedup: dense_seconds / shrunken_seconds, the `metrics.latency` of the masked network, which is as slow as a
    dense one, and of the shrunken one, on the device of `images`. Raises BadInput as `shrink` does.
    """
    shape = (images.shape[1], images.shape[2], images.shape[3])
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
    """Multiply-adds of one image, those with weights of 0 included."""
    model = copy.deepcopy(model).float()  # as the image that `multiply_adds` counts with
    weights = dict(model.named_parameters())
    return metrics.multiply_adds(model, shape, {name: weights[name] for name in prunable(model)})[0]


@torch.no_grad()
def semi_structured(
    model: nn.Module, params: Tensors, buffers: Tensors, masks: Masks, dtype: torch.dtype = torch.float16
) -> nn.Module:
    """A copy in `dtype` (float16 or bfloat16) whose 2:4 Linear layers run on the GPU's sparse kernels, for inference.

    What else n:m prunes stays dense, because torch has no such kernels for it: convolutions, attention's projections and
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
    layers = [m for m in fast.modules() if type(m) is nn.Linear and fits_2_of_4(m.weight)]
    if not layers:
        raise BadInput(
            "No Linear layer of this network is both 2:4 sparse and a multiple of 32x64 in size; prune with the structure "
            "n:m, n=2 and m=4, in a network with such layers."
        )
    for layer in layers:
        layer.weight = nn.Parameter(to_sparse_semi_structured(layer.weight))
    return fast


def has_sparse_kernels(device: torch.device) -> bool:
    """Whether `device` has kernels for 2:4 weights, as NVIDIA GPUs of compute capability 8.0 (Ampere) and above have."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def fits_2_of_4(weight: Tensor) -> bool:
    """Whether a weight [outputs, inputs] has a size that 2:4 kernels take, and at most two of each four are not zero."""
    fits = weight.shape[0] % 32 == weight.shape[1] % 64 == 0
    return fits and bool((weight.reshape(-1, 4).count_nonzero(1) <= 2).all())
