"""What the settings of all methods have in common, and which of them a search may turn to reach a sparsity.

The settings of each method stand in `methods.table`. This module does not load torch.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from retrainlab.checks import number, settle


@dataclass(frozen=True)
class Knobs:
    """The settings of a method: each method derives a frozen dataclass of its own, whose fields are checked when made.

    name: that class's name, so that stored settings say whose they are. A class attribute `revision` counts how often the
    meaning of the settings has changed since results were first stored. A method whose settings are not `Sparse` reaches a
    sparsity only through a `Knob`.
    """

    words: ClassVar[str] = "the settings of a method, such as GMP(0.9) from retrainlab.methods.table"
    name: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", type(self).__name__)
        settle(self, f"{self.name}'s ")


@dataclass(frozen=True)
class Sparse(Knobs):
    """The settings of a method that is told its sparsity."""

    sparsity: float = number(0.9, "share of the prunable weights that ends at zero", low=0, high=1)


def having(knobs: Knobs | None, name: str, value: float) -> Knobs | None:
    """The same settings, if any, with another value of the field `name`."""
    change: dict[str, Any] = {name: value}
    return knobs and replace(knobs, **change)


def at(knobs: Knobs | None, sparsity: float) -> Knobs | None:
    """The same settings for another sparsity; unchanged where a knob decides it."""
    return replace(knobs, sparsity=sparsity) if isinstance(knobs, Sparse) else knobs


@dataclass(frozen=True)
class Knob:
    """The field of a method's settings that a search turns.

    sign: 1 if sparsity rises with the value, -1 if it falls. step: how far the search goes while it knows nothing, a
    factor if `log`, else a difference. low, high: the range of values.
    """

    field: str
    sign: int
    step: float
    low: float
    high: float
    log: bool = False

    def scale(self, value: float) -> float:
        """The value on a scale where sparsity rises with it and steps are differences."""
        return self.sign * (math.log(value) if self.log else value)

    @property
    def stride(self) -> float:
        """A step on that scale."""
        return math.log(self.step) if self.log else self.step

    def value(self, scaled: float) -> float:
        """Undoes `scale`, within the range; six digits, so that a stored knob reads well."""
        raw = math.exp(self.sign * scaled) if self.log else self.sign * scaled
        return float(f"{min(max(raw, self.low), self.high):.6g}")
