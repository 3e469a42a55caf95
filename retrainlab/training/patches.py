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
        (_, height, width, *_), kernel, (vertical, horizontal), padding = ctx.how
        every = []  # pixels whose row and column leave the same rest when divided by the stride are seen at the same offsets
        for a in range(vertical):
            rows = _seen(a, kernel[0], vertical, padding[0])
            parts = [(rows, _seen(b, kernel[1], horizontal, padding[1])) for b in range(horizontal)]
            every.append(
                [_summed(gradient, *part, (-(-height // vertical), -(-width // horizontal))) for part in parts]
            )
        out = torch.stack([torch.stack(row, 3) for row in every], 2).flatten(3, 4).flatten(1, 2)
        return out[:, :height, :width], None, None, None


def _seen(rest: int, kernel: int, stride: int, padding: int) -> list[Pair]:
    """Along one side: (offset, n) for each offset at which window q + n sees pixel q * stride + rest."""
    return [(i, (rest + padding - i) // stride) for i in range(kernel) if (rest + padding - i) % stride == 0]


def _summed(gradient: Tensor, rows: list[Pair], columns: list[Pair], size: Pair) -> Tensor:
    """What windows [B, H', W', M, h, w, I] pass to pixels [B, *size, M, I] that they see at these offsets."""
    parts = [_shifted(gradient[:, :, :, :, i, j], (down, right), size) for i, down in rows for j, right in columns]
    if not parts:  # the kernel is smaller than the stride
        return gradient.new_zeros(len(gradient), *size, gradient.shape[3], gradient.shape[6])
    return sum(parts[1:], start=parts[0])


def _shifted(t: Tensor, by: Pair, size: Pair) -> Tensor:
    """[B, H', W', M, I] -> [B, *size, M, I] with pixel q + by at q, or 0 where there is none."""
    slices, border = [], []
    for n, length, there in zip(by, size, t.shape[1:3]):
        first = min(max(n, 0), there)
        last = max(min(n + length, there), first)
        before = min(max(-n, 0), length)
        slices.append(slice(first, last))
        border.append((before, length - before - (last - first)))
    part = t[:, slices[0], slices[1]]
    (top, bottom), (left, right) = border
    return F.pad(part, (0, 0, 0, 0, left, right, top, bottom)) if top or bottom or left or right else part
