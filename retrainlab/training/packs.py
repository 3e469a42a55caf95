"""A convolution of many members that takes several of them at a time.

cuDNN computes a convolution in many groups with a stride, or one of few input channels, group by group: one kernel for each
member. In a pack the weights of some members are the blocks on the diagonal of one dense weight whose other entries are 0.
That multiplies more numbers, but in fewer kernels, each of a size that suits tensor cores.

Nothing may pass between members through those zeros, and 0 * NaN is NaN. So before a pack maps that are not finite become 0,
and their member's weights become NaN instead, which reach its own maps alone. In the backward pass gradients that are not
finite become 0, and their member's weight gets a gradient of NaN.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SIZES = range(4, 9)
"""Numbers of members in a pack."""
BEST = 256
"""Output channels of a pack: of 128, 256 and 512 the fastest on an H100, with members of 16 -> 32 and 32 -> 64 channels."""
MOST = 384
"""Output channels above which a pack is taken to lose more by products with 0 than it saves in kernels: an estimate."""


def size(members: int, outputs: int) -> int:
    """How many of the members make a pack, where each has `outputs` output channels: of the divisors of `members` in SIZES
    the one that brings a pack closest to BEST channels, in proportion; 1 if none is left below MOST."""
    fit = [n for n in SIZES if members % n == 0 and n * outputs <= MOST]
    return min(fit, key=lambda n: abs(math.log(n * outputs / BEST)), default=1)


def convolution(
    convolve: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor | None, members_each: int
) -> Tensor:
    """Maps [B, M*I, H, W] and weights [M, O, I, h, w] -> [B, M*O, H', W'], `members_each` of the M members in a pack.

    convolve: (maps, weight, bias, groups=) -> maps, as `torch.nn.functional.conv2d`. bias: [M*O] or None. A member whose
    maps, weights or gradients are not finite, or above a quarter of the largest number of their type, changes no other
    member's; its own outputs, or the gradient of its weight, are NaN then.
    """
    members = len(weight)
    clean, sound = _Sound.apply(x, members)
    dense = block_diagonal(weight + _nan_unless(sound).to(weight.dtype), members_each)
    y = convolve(clean, dense, bias, groups=members // members_each)
    return _SoundGradient.apply(y, weight) if x.requires_grad else y


def block_diagonal(weight: Tensor, members_each: int) -> Tensor:
    """Weights [M, O, I, h, w] -> [M*O, members_each*I, h, w], input channels last in memory, for M/members_each groups."""
    blocks = weight.movedim(2, -1).unflatten(0, (-1, members_each)).movedim(1, -1)  # [pack, O, h, w, I, member]
    return torch.diag_embed(blocks, dim1=1, dim2=5).flatten(5).flatten(0, 2).movedim(-1, 1)


def _sound(maps: Tensor, members: int) -> tuple[Tensor, Tensor]:
    """Maps [B, M*C, H, W] with 0 in place of each member's of whom not all are sound; and whose are, [M]. A number close to
    the largest is not: rounded to bfloat16 it would be infinite."""
    each = maps.movedim(1, -1).unflatten(-1, (members, -1))  # [B, H, W, M, C]
    largest = torch.linalg.vector_norm(each, math.inf, (0, 1, 2)).amax(1)  # NaN if one is NaN
    sound = largest < torch.finfo(maps.dtype).max / 4
    return torch.where(sound[:, None], each, 0).flatten(-2).movedim(-1, 1), sound


def _nan_unless(sound: Tensor) -> Tensor:
    """[M] -> [M, 1, 1, 1, 1]: 0, or else NaN."""
    return torch.where(sound, 0.0, math.nan).view(-1, 1, 1, 1, 1)


class _Sound(torch.autograd.Function):
    """`_sound`, with the gradient as it comes: without a pass over the maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, members: int) -> tuple[Tensor, Tensor]:
        return _sound(x, members)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, of_sound: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class _SoundGradient(torch.autograd.Function):
    """(maps, weight) -> the same maps. Their gradient goes on where it is sound; where it is not, NaN goes to the weight."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight.shape, weight.dtype
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        shape, dtype = ctx.weight
        clean, sound = _sound(gradient, shape[0])
        return clean, _nan_unless(sound).to(dtype).expand(shape)
