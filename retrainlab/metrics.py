"""What is measured: sparsity, multiply-adds, stability, recovery, norms, latency. Accuracy is `training.loop.evaluate`.

Sparsity counts zeros over *prunable* weights (see `layers.prunable`), never biases or normalisation.
"""

import math
import time
from inspect import signature

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

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


class _Uses(TorchFunctionMode):
    """Notes each product with a weight, as (name, which of its rows, at how many positions): of layers, and of attention,
    which reads a layer's weight without calling the layer."""

    def __init__(self, model: nn.Module):
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.seen: list[tuple[str, slice, int]] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function in (F.linear, F.conv1d, F.conv2d, F.conv3d):
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            self._add(weight, out.numel() // len(weight))
        elif function is F.multi_head_attention_forward:
            self._attention(**signature(function).bind(*args, **(kwargs or {})).arguments)
        return out

    def _add(self, weight: Tensor | None, positions: int, rows: slice = slice(None)) -> None:
        if id(weight) in self.names:
            self.seen.append((self.names[id(weight)], rows, positions))

    def _attention(self, query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, **more) -> None:
        # in_proj_weight holds the projections of queries, keys and values one below the other; each has its own tokens
        width = embed_dim_to_check
        for i, (name, tokens) in enumerate((("q", query), ("k", key), ("v", value))):
            positions = tokens.numel() // tokens.shape[-1]
            self._add(more.get(f"{name}_proj_weight"), positions)
            self._add(more.get("in_proj_weight"), positions, slice(i * width, (i + 1) * width))
        self._add(more["out_proj_weight"], query.numel() // width)


def multiply_adds(model: nn.Module, shape: tuple[int, int, int], weights: Weights) -> tuple[int, int]:
    """(dense, non-zero) multiply-adds of one image of `shape` (channels, height, width) with these prunable weights.

    A weight is used once for each position of its layer's output (in attention: for each token), padding included.
    Products of two activations, such as attention's own (QK^T and AV), have no weight and are not counted.
    """
    uses = _Uses(model)
    some = next(model.parameters())
    with torch.no_grad(), in_mode(model, training=False), uses:
        model(some.new_zeros(1, *shape))
    seen = [(weights[name][rows], positions) for name, rows, positions in uses.seen if name in weights]
    dense = sum(positions * w.numel() for w, positions in seen)
    return dense, sum(positions * int(w.count_nonzero()) for w, positions in seen)


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
    """||W - W_p|| / ||W||, in float64: W are the weights `before`, W_p the same under `masks`; the parameters `extra`, which
    are not pruned, count into ||W|| as well."""
    removed = sum(w.double().masked_fill(masks[name], 0).square().sum() for name, w in before.items())
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
