"""What is measured: sparsity, multiply-adds, stability, recovery, norms, latency. Accuracy itself is `training.evaluate`.

One definition each: sparsity counts zeros over *prunable* weights (Conv and Linear), never biases or normalisation.
"""

import math
import time

import torch
from torch import Tensor, nn
from torch.func import functional_call

from retrainlab.device import synchronise
from retrainlab.models import in_mode
from retrainlab.pruning import Masks, Weights


def layer_sparsity(weights: Weights) -> dict[str, float]:
    """The share of zeros in each of the prunable weights given."""
    return {name: 1 - int(w.count_nonzero()) / w.numel() for name, w in weights.items()}


def sparsity(weights: Weights) -> float:
    """Zeros over all the prunable weights given, from exact counts; in [0, 1]."""
    total = sum(w.numel() for w in weights.values())
    return (total - sum(int(w.count_nonzero()) for w in weights.values())) / total


def multiply_adds(model: nn.Module, shape: tuple[int, int, int], weights: Weights) -> tuple[int, int]:
    """(dense, non-zero) multiply-adds of one image of `shape` in the Conv and Linear layers whose `weights` are given.

    A weight is used once for each position of its layer's real output, padding included; a grouped convolution's weight
    has its own group's inputs only, so groups count themselves. Layers that another module computes for them (the
    projections inside torch's attention) are not counted.
    """
    positions: dict[str, int] = {}

    def count(name: str):
        def hook(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
            channels = out.shape[1] if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) else out.shape[-1]
            positions[name] = positions.get(name, 0) + out[0].numel() // channels

        return hook

    layers = dict(model.named_modules())
    hooks = [layers[name.removesuffix(".weight")].register_forward_hook(count(name)) for name in weights]
    some = next(model.parameters())
    try:
        with torch.no_grad(), in_mode(model, training=False):
            model(some.new_zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
    dense = sum(positions.get(name, 0) * w.numel() for name, w in weights.items())
    return dense, sum(positions.get(name, 0) * int(w.count_nonzero()) for name, w in weights.items())


def theoretical_speedup(dense: int, nonzero: int) -> float:
    """Dense multiply-adds over non-zero ones; infinite for an empty network. A mask alone makes nothing faster."""
    return dense / nonzero if nonzero else math.inf


def stability(before: float, after: float) -> float:
    """Pruning stability: 1 - (before - after) / before, of accuracies (Bartoldson et al. 2020); nan if before is 0."""
    return 1 - (before - after) / before if before else math.nan


def recovery(lost: float, regained: float) -> float:
    """Accuracy regained by retraining over accuracy lost by pruning, in all cycles; nan if nothing was lost."""
    return regained / lost if lost > 0 else math.nan


def norm_drop(before: Weights, masks: Masks, extra: Weights | None = None) -> float:
    """||W - W_p|| / ||W|| of masking `before`; `extra` are unpruned parameters to count into ||W|| as well. Float64."""
    removed = sum(w.double().masked_fill(masks[name], 0).square().sum() for name, w in before.items())
    total = sum(w.double().square().sum() for w in [*before.values(), *(extra or {}).values()])
    return math.sqrt(float(removed) / float(total)) if float(total) else 0.0


@torch.no_grad()
def latency(model: nn.Module, params: dict, buffers: dict, images: Tensor, repeats: int = 20) -> float:
    """Measured seconds of a forward pass over `images` (float [B, C, H, W]): the median of `repeats`, synchronised.

    A measured speed-up is a ratio of these and is always labelled so, apart from the theoretical one.
    """
    times = []
    with in_mode(model, training=False):
        for _ in range(repeats + 3):
            synchronise(images.device)
            start = time.perf_counter()
            functional_call(model, (params, buffers), (images,))
            synchronise(images.device)
            times.append(time.perf_counter() - start)
    return float(torch.tensor(times[3:]).median())
