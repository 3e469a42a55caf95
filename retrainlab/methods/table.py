"""The methods that sparsify during training: what can be set of each, and one table of them.

Defaults are those of the papers where these do not depend on the length of the training (docs/methods.md tells which).
Shares of the run lie in [0, 1]; intervals are iterations. This module does not load torch; docs/extending.md says how to
add a method.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from retrainlab.checks import BadInput, choice, number
from retrainlab.config import ALLOCATIONS, Recipe
from retrainlab.methods.knobs import Knob, Knobs, Sparse, at, having


def _interval(default: int) -> Any:
    return number(default, "iterations between updates of the mask", low=1)


def _end() -> Any:
    return number(0.75, "share of the run at which its sparsity is reached, or updates end", above=0, high=1)


def _allocation(default: str) -> Any:
    return choice(default, ALLOCATIONS, help=f"how it shares its sparsity out among layers: {', '.join(ALLOCATIONS)}")


@dataclass(frozen=True)
class GMP(Sparse):
    """Gradual magnitude pruning: masks grow every `interval` iterations until the share `end` of the run."""

    interval: int = _interval(32)
    end: float = _end()
    allocation: str = _allocation("global")


@dataclass(frozen=True)
class GSM(Sparse):
    """Global sparse momentum. Its momentum is the recipe's: the source takes 0.98."""


@dataclass(frozen=True)
class DPF(Sparse):
    """Dynamic pruning with feedback: masks anew every `interval` iterations, on GMP's curve until the share `end`."""

    interval: int = _interval(16)
    end: float = _end()
    allocation: str = _allocation("global")


@dataclass(frozen=True)
class DNW(Sparse):
    """Discovering neural wirings: the largest weights of each moment in the forward pass, a gradient for all."""


@dataclass(frozen=True)
class CS(Knobs):
    """Continuous sparsification: gates start at `s0`, are pushed down by `penalty` and harden until `final_beta`."""

    revision: ClassVar[int] = 1  # at 0 the penalty was on sigmoid(beta m) alone
    s0: float = number(0.0, "where gates start; lower is sparser")
    penalty: float = number(1e-8, "on open gates", low=0)
    final_beta: float = number(200.0, "how hard gates are at last", low=1)


@dataclass(frozen=True)
class STR(Knobs):
    """Soft threshold reparameterisation: thresholds sigmoid(t) start at t = `t0` and grow as `decay` pulls t to 0."""

    t0: float = number(-8.0, "where thresholds start, before the sigmoid")
    decay: float = number(1e-2, "of the thresholds; higher is sparser", low=0)


@dataclass(frozen=True)
class DST(Knobs):
    """Dynamic sparse training: a threshold per output channel, pushed up by `alpha`."""

    alpha: float = number(5e-6, "penalty on low thresholds; higher is sparser", low=0)


@dataclass(frozen=True)
class LC(Sparse):
    """Learning-compression: from the share `start` of the run on, L steps of `epochs_per_step` epochs and C steps in
    turn, mu from `mu0` by the factor `growth` after each."""

    mu0: float = number(0.03, "first weight of the distance to the sparse network", above=0)
    growth: float = number(2.0, "factor of that weight after each C step", low=1)
    start: float = number(0.25, "share of the run before the first C step", low=0, high=1)
    epochs_per_step: int = number(1, "epochs of an L step", low=1)


@dataclass(frozen=True)
class RigL(Sparse):
    """Rigged lottery: a random mask that every `interval` iterations until the share `end` drops a share of its smallest
    weights (`drop`, annealed by a cosine) and grows as many where the gradient is largest."""

    revision: ClassVar[int] = 1  # at 0 a weight that was dropped and grown in one update started at 0 again
    interval: int = _interval(32)
    end: float = _end()
    drop: float = number(0.3, "share of a layer's weights that moves at first", low=0, high=1)


@dataclass(frozen=True)
class Static(Sparse):
    """A control: a random mask from the start, and dense training within it."""

    allocation: str = _allocation("erk")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.allocation == "lamp":
            raise BadInput("A random mask has no magnitudes for LAMP; use erk, uniform or global.")


# ---- what a contest tries of each ------------------------------------------------------------------------------------

Variants = list[tuple[str, Recipe]]
"""Three variants of a recipe, each with what distinguishes it, in words."""


def rates(recipe: Recipe) -> Variants:
    """Half the recipe's learning rate, the recipe's, and twice as much."""
    rates = [factor * recipe.lr for factor in (0.5, 1.0, 2.0)]
    return [(f"learning rate {lr:g}", replace(recipe, lr=lr)) for lr in rates]


def _settings(field: str, values: tuple[float, ...], words: str) -> Callable[[Recipe], Variants]:
    """The recipe with one setting of its method at each of the values."""
    return lambda recipe: [(f"{words} {v:g}", replace(recipe, method=having(recipe.method, field, v))) for v in values]


def _decays(*values: float) -> Callable[[Recipe], Variants]:
    """The recipe with each of the values as weight decay."""
    return lambda recipe: [
        (f"weight decay {v:g}", replace(recipe, sgd=replace(recipe.sgd, weight_decay=v))) for v in values
    ]


def _gsm(recipe: Recipe) -> Variants:
    """Three weight decays, because weights without a gradient must decay within the run; with the paper's momentum, under
    which a step is five times as long as under 0.9, at half the learning rate."""
    recipe = replace(recipe, lr=recipe.lr / 2, sgd=replace(recipe.sgd, momentum=0.98))
    return _decays(0.003, 0.01, 0.02)(recipe)


# ---- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A method that sparsifies during training.

    settings: the class of its settings. maker: `MODULE:CLASS` in retrainlab/methods, a `Method` that is made from the
    settings and a `Span`. knob: what a search turns, None for a method with a sparsity of its own. grid: the variants of a
    recipe that a contest tries. start: the settings in that recipe, the defaults if None.
    """

    settings: type[Knobs]
    maker: str
    knob: Knob | None = None
    grid: Callable[[Recipe], Variants] = rates
    start: Knobs | None = None

    def variants(self, recipe: Recipe, sparsity: float) -> Variants:
        """What a contest tries of the method at a sparsity."""
        return self.grid(replace(recipe, method=at(self.start or self.settings(), sparsity)))


ENTRIES = (
    Entry(GMP, "gmp:Gmp", grid=_settings("end", (0.5, 0.75, 0.9), "end")),
    Entry(GSM, "gsm:Gsm", grid=_gsm),
    Entry(DPF, "dpf:Dpf", grid=_decays(1e-4, 2e-4, 5e-4)),
    Entry(DNW, "dnw:Dnw"),
    Entry(CS, "cs:Cs", Knob("s0", -1, 0.05, -10.0, 10.0), start=CS(s0=-0.05)),
    Entry(STR, "str_:Str", Knob("decay", 1, 2.0, 1e-6, 10.0, log=True), _settings("t0", (-8.0, -5.0, -3.0), "t from")),
    # beyond 0.05 whole layers start over, and sparsity falls again
    Entry(DST, "dst:Dst", Knob("alpha", 1, 3.0, 1e-9, 0.05, log=True), start=DST(alpha=2e-3)),
    Entry(LC, "lc:Lc", grid=_settings("growth", (1.5, 2.0, 3.0), "growth of mu")),
    Entry(RigL, "rigl:Rigl", grid=_settings("drop", (0.1, 0.3, 0.5), "drop")),
    Entry(Static, "static:Static"),
)
METHODS: dict[str, Entry] = {entry.settings.__name__: entry for entry in ENTRIES}
SEARCHED = tuple(name for name, entry in METHODS.items() if entry.knob)


def entry(knobs: Knobs) -> Entry:
    """The record of the method with these settings. Raises BadInput for settings that are in no record."""
    found = METHODS.get(knobs.name)
    if found is None or found.settings is not type(knobs):
        raise BadInput(f"There is no method for {knobs!r}; enter it in METHODS of methods/table.py.")
    return found
