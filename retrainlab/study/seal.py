"""Checksums of what is stored: over a record and over tensors, each with its own name, however they are laid out on disk."""

import hashlib
import json
from collections.abc import Mapping

import torch


def of_record(record: dict) -> str:
    """SHA-256 of what a JSON record says, in hex; the order of its fields and its spaces do not matter. Raises ValueError
    for a number that is not finite, as one is that is too large."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_tensors(name: str, tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a file's name and of each tensor's name, type, shape and values, in hex. Tensors lie on the CPU."""
    out = hashlib.sha256(name.encode())
    for each, tensor in sorted(tensors.items()):
        out.update(json.dumps([each, str(tensor.dtype), list(tensor.shape)]).encode())
        out.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return out.hexdigest()
