"""What is measured: sparsity, multiply-adds, stability, recovery, norms, latency. Accuracy is `training.loop.evaluate`.

Sparsity counts zeros over *prunable* weights (see `layers.prunable`), never biases or normalisation.
"""

import math
import time

import torch
from torch import Tensor, nn
from torch.func import functional_call

from retrainlab.device import synchronise
from retrainlab.models import in_mode
from retrainlab.products import Product, Products
from retrainlab.pruning import Weights


def layer_sparsity(weights: Weights) -> dict[str, float]:
    """The share of zeros in each of the prunable weights given."""
    return {name: 1 - int(w.count_nonzero()) / w.numel() for name, w in weights.items()}


def sparsity(weights: Weights) -> float:
    """Zeros over all the prunable weights given, from exact counts; in [0, 1]."""
    total = sum(w.numel() for w in weights.values())
    return (total - sum(int(w.count_nonzero()) for w in weights.values())) / total


def multiply_adds(model: nn.Module, shape: tuple[int, ...], weights: Weights) -> tuple[int, int]:
    """(dense, non-zero) multiply-adds of one image of `shape` (channels, height, width) with these prunable weights.

    A weight is used once for each position of its layer's output (in attention: for each token), padding included.
    Products of two activations, such as attention's own (QK^T and AV), have no weight and are not counted.
    """
    found: list[Product] = []
    own = dict(model.named_parameters())
    with torch.no_grad(), in_mode(model, training=False), Products(own, found.append):
        model(next(iter(own.values())).new_zeros(1, *shape))
    seen = [(weights[product.name][product.rows], product.count) for product in found if product.name in weights]
    dense = sum(count * w.numel() for w, count in seen)
    return dense, sum(count * int(w.count_nonzero()) for w, count in seen)


def theoretical_speedup(dense: int, nonzero: int) -> float:
    """Dense multiply-adds over non-zero ones; infinite for an empty network. A mask alone makes nothing faster."""
    return dense / nonzero if nonzero else math.inf


def stability(before: float, after: float) -> float:
    """Pruning stability: 1 - (before - after) / before, of accuracies (Bartoldson et al. 2020); nan if before is 0."""
    return 1 - (before - after) / before if before else math.nan


def recovery(lost: float, regained: float) -> float:
    """Accuracy regained by retraining over accuracy lost by pruning, in all cycles; nan if nothing was lost."""
    return regained / lost if lost > 0 else math.nan


def norm_drop(before: Weights, after: Weights, extra: Weights | None = None) -> float:
    """||W - W_p|| / ||W||, in float64: W are the weights `before` the prune, W_p those `after` it; the parameters `extra`,
    which are not pruned, count into ||W|| as well."""
    removed = sum((w.double() - after[name].double()).square().sum() for name, w in before.items())
    total = sum(w.double().square().sum() for w in [*before.values(), *(extra or {}).values()])
    return math.sqrt(float(removed) / float(total)) if float(total) else 0.0


@torch.no_grad()
def latency(model: nn.Module, params: dict, buffers: dict, images: Tensor, repeats: int = 20) -> float:
    """Measured seconds of a forward pass over `images` (float [B, C, H, W]): the median of `repeats`."""
    times = []
    with in_mode(model, training=False):
        for _ in range(repeats + 3):
            synchronise(images.device)
            start = time.perf_counter()
            functional_call(model, (params, buffers), (images,))
            synchronise(images.device)
            times.append(time.perf_counter() - start)
    return float(torch.tensor(times[3:]).median())
