"""Networks that run faster on a GPU's kernels for 2:4 sparsity, with the same number of weights stored."""

import torch
from torch import Tensor, nn
from torch.sparse import to_sparse_semi_structured

from retrainlab.checks import BadInput
from retrainlab.pruning import Masks
from retrainlab.shrink import cast, masked_copy
from retrainlab.training.method import Tensors


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
            f"'{device}'; move it to such a GPU, or measure whole filters with `shrink.speedup`."
        )
    fast = cast(masked_copy(model, params, buffers, masks), device, dtype)
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
