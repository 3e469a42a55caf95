"""Modules of a user's, written where Python finds them, each under a name that no other test has."""

import itertools
import sys
from pathlib import Path

_numbers = itertools.count()

CODE = """
import torch
from torch import nn


def net(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, classes))


def table():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 3
    return torch.randn(400, 20, generator=generator) + 2 * labels[:, None], labels


def root(recipe, n, w):
    return (1 - torch.arange(n - w) / n) ** 0.5


def falling(retrain, original, n, d):
    return torch.linspace(original.peak, 0, n)


def largest_first(weights, generator, setup, state):
    return {name: -w.abs() for name, w in weights.items()}
"""


def written(folder: Path, monkeypatch, code: str = CODE) -> str:
    """The name of a new module with this code, in a folder that Python looks in."""
    name = f"of_a_user_{next(_numbers)}"
    (folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop(name, None)
    return name
