"""A convolution of many members as one batched product of the patches of their maps and their weights (im2col).

cuDNN computes a convolution in many groups group by group, one kernel for each member, where it has a stride, few input
channels, or another number of output than input channels. A batched product is one kernel for all, and nothing passes
between members. With a stride of 2 the patches of 3x3 take little more than twice the memory of the maps.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]
WHOLE = 8
"""The numbers in a patch are filled up to a multiple of this, which is how many a tensor core reads at once."""


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    """Maps [B, M*I, H, W] and weights [M, O, I, h, w] -> maps [B, M*O, H', W'], channels last in memory. bias: [M, O] or
    None. Under autocast it is computed as a product is."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        x = x.to(torch.get_autocast_dtype(kind))
    members, outputs, _, *kernel = weight.shape
    windows = _Windows.apply(x.movedim(1, -1).unflatten(-1, (members, -1)), (kernel[0], kernel[1]), stride, padding)
    size = windows.shape[:3]  # B, H', W'
    patches = windows.flatten(0, 2).flatten(2).transpose(0, 1)  # [M, N, h*w*I]
    matrices = weight.movedim(2, -1).flatten(2).transpose(1, 2)  # [M, h*w*I, O]
    if more := -patches.shape[2] % WHOLE:
        patches, matrices = F.pad(patches, (0, more)), F.pad(matrices, (0, 0, 0, more))
    y = torch.bmm(patches, matrices) if bias is None else torch.baddbmm(bias[:, None], patches, matrices)
    return y.transpose(0, 1).reshape(*size, members * outputs).contiguous().movedim(-1, 1)


class _Windows(torch.autograd.Function):
    """Maps [B, H, W, M, I] -> what a convolution sees at each place, [B, H', W', M, h, w, I]. torch has the same, but its
    gradient adds in an order that is not always the same."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
        (h, w), (down, right) = kernel, padding
        ctx.how = x.shape, kernel, stride, padding
        padded = F.pad(x, (0, 0, 0, 0, right, right, down, down))
        seen = padded.unfold(1, h, stride[0]).unfold(2, w, stride[1])  # [B, H', W', M, I, h, w]
        return seen.movedim(4, -1).contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        shape, kernel, stride, padding = ctx.how
        out = gradient.new_zeros(shape)
        for i in range(kernel[0]):
            to_rows, of_rows = _places(i, stride[0], padding[0], shape[1], gradient.shape[1])
            for j in range(kernel[1]):
                to_columns, of_columns = _places(j, stride[1], padding[1], shape[2], gradient.shape[2])
                out[:, to_rows, to_columns] += gradient[:, of_rows, of_columns, :, i, j]
        return out, None, None, None


def _places(offset: int, stride: int, padding: int, size: int, windows: int) -> tuple[slice, slice]:
    """Along one side of the maps: the pixels that windows see at an offset, and which windows those are; some lie beyond."""
    first = max(0, -(-(padding - offset) // stride))
    start = stride * first + offset - padding
    count = max(0, min(windows - first, -(-(size - start) // stride)))
    return slice(start, start + stride * count, stride), slice(first, first + count)
