"""The order in which the tensors of many members lie in memory, which is that in which `stacking` computes."""

import torch
from torch import Tensor


def in_memory(t: Tensor) -> Tensor:
    """A stacked tensor [M, ...] as a view whose dimensions come in the order of memory in which `stacking.by_rules` is
    fastest: input channels last for the weight of a convolution, [M, O, I, H, W], else as they are."""
    return t.movedim(2, -1) if t.dim() == 5 else t


def as_used(t: Tensor) -> Tensor:
    """Undo `in_memory`."""
    return t.movedim(-1, 2) if t.dim() == 5 else t


def laid_out(t: Tensor) -> Tensor:
    """A stacked tensor [M, ...] that lies as `in_memory` says; copied only if it lies otherwise."""
    return as_used(in_memory(t).contiguous())


def joined(weight: Tensor) -> Tensor:
    """[M, O, I, h, w] -> [M*O, I, h, w], input channels last in memory; a copy only where members lie apart."""
    return in_memory(weight).flatten(0, 1).movedim(-1, 1)


def rounded(weight: Tensor) -> Tensor:
    """The weight as autocast rounds it in a convolution, but before members that lie apart are joined: one copy, not two."""
    kind = weight.device.type
    rounds = weight.dtype == torch.float32 and torch.is_autocast_enabled(kind)
    return weight.to(torch.get_autocast_dtype(kind)) if rounds else weight
