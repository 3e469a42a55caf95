"""The settings of the methods that sparsify during training, one frozen dataclass each; defaults are the sources' where
a source's default does not depend on the length of its runs (docs/methods.md tells which). This module does not load
torch.

`sparsity` is the share of all prunable weights that ends at zero. CS, STR and DST have none: they reach a sparsity
only through a knob, see `search`. Shares of the run lie in [0, 1]; intervals are iterations.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from retrainlab.checks import BadInput, check_number, choose, settle

ORDERS = ("global", "uniform", "erk", "lamp")


def _name(of: str) -> str:
    """A field that says in stored settings whose they are."""
    return field(default=of, init=False, repr=False)


@dataclass(frozen=True)
class _Settings:
    def __post_init__(self) -> None:
        settle(self)
        for what, bounds in _BOUNDS.items():
            if hasattr(self, what):
                check_number(getattr(self, what), f"{self.name}'s {what}", **bounds)
        if hasattr(self, "allocation"):
            choose(self.allocation, ORDERS, "allocation")


_BOUNDS: dict[str, dict] = {
    "sparsity": {"low": 0, "high": 1},
    "interval": {"low": 1, "whole": True},
    "end": {"above": 0, "high": 1},
    "s0": {},
    "penalty": {"low": 0},
    "final_beta": {"low": 1},
    "t0": {},
    "decay": {"low": 0},
    "alpha": {"low": 0},
    "mu0": {"above": 0},
    "growth": {"low": 1},
    "start": {"low": 0, "high": 1},
    "epochs_per_step": {"low": 1, "whole": True},
    "drop": {"low": 0, "high": 1},
}


@dataclass(frozen=True)
class GMP(_Settings):
    """Gradual magnitude pruning: masks grow every `interval` iterations until the share `end` of the run."""

    sparsity: float = 0.9
    interval: int = 32
    end: float = 0.75
    allocation: str = "global"
    name: str = _name("GMP")


@dataclass(frozen=True)
class GSM(_Settings):
    """Global sparse momentum. Its momentum is the recipe's: the source takes 0.98."""

    sparsity: float = 0.9
    name: str = _name("GSM")


@dataclass(frozen=True)
class DPF(_Settings):
    """Dynamic pruning with feedback: masks anew every `interval` iterations, on GMP's curve until the share `end`."""

    sparsity: float = 0.9
    interval: int = 16
    end: float = 0.75
    allocation: str = "global"
    name: str = _name("DPF")


@dataclass(frozen=True)
class DNW(_Settings):
    """Discovering neural wirings: the largest weights of each moment in the forward pass, a gradient for all."""

    sparsity: float = 0.9
    name: str = _name("DNW")


@dataclass(frozen=True)
class CS(_Settings):
    """Continuous sparsification: gates start at `s0`, are pushed down by `penalty` and harden until `final_beta`."""

    revision: ClassVar[int] = 1  # at 0 the penalty was on sigmoid(beta m) alone
    s0: float = 0.0
    penalty: float = 1e-8
    final_beta: float = 200.0
    name: str = _name("CS")


@dataclass(frozen=True)
class STR(_Settings):
    """Soft threshold reparameterisation: thresholds sigmoid(t) start at t = `t0` and grow as `decay` pulls t to 0."""

    t0: float = -8.0
    decay: float = 1e-2
    name: str = _name("STR")


@dataclass(frozen=True)
class DST(_Settings):
    """Dynamic sparse training: a threshold per output channel, pushed up by `alpha`."""

    alpha: float = 5e-6
    name: str = _name("DST")


@dataclass(frozen=True)
class LC(_Settings):
    """Learning-compression: from the share `start` of the run on, L steps of `epochs_per_step` epochs and C steps in
    turn, mu from `mu0` by the factor `growth` after each."""

    sparsity: float = 0.9
    mu0: float = 0.03
    growth: float = 2.0
    start: float = 0.25
    epochs_per_step: int = 1
    name: str = _name("LC")


@dataclass(frozen=True)
class Static(_Settings):
    """A control: a random mask from the start, and dense training within it."""

    sparsity: float = 0.9
    allocation: str = "erk"
    name: str = _name("Static")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.allocation == "lamp":
            raise BadInput("A random mask has no magnitudes for LAMP; use erk, uniform or global.")


@dataclass(frozen=True)
class RigL(_Settings):
    """Rigged lottery: a random mask that every `interval` iterations until the share `end` drops a share of its smallest
    weights (`drop`, annealed by a cosine) and grows as many where the gradient is largest."""

    revision: ClassVar[int] = 1  # at 0 a weight that was dropped and grown in one update started at 0 again
    sparsity: float = 0.9
    interval: int = 32
    end: float = 0.75
    drop: float = 0.3
    name: str = _name("RigL")


Knobs = GMP | GSM | DPF | DNW | CS | STR | DST | LC | Static | RigL
KNOBS: dict[str, type] = {k.__name__: k for k in (GMP, GSM, DPF, DNW, CS, STR, DST, LC, Static, RigL)}


def at(knobs: Knobs | None, sparsity: float) -> Knobs | None:
    """The same settings for another sparsity; unchanged where a knob decides it."""
    return replace(knobs, sparsity=sparsity) if hasattr(knobs, "sparsity") else knobs
