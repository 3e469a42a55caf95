"""Tensors compared bit for bit: -0 is not 0, and a NaN equals itself."""

import torch


def bits(tensor: torch.Tensor) -> tuple:
    """Type, shape and bytes: what is equal only for tensors that are the same bit for bit."""
    return tensor.dtype, tensor.shape, tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same(a: dict, b: dict) -> bool:
    """Whether the tensors have the same names and bits."""
    return a.keys() == b.keys() and all(bits(a[name]) == bits(b[name]) for name in a)
