"""What can be set of a method that sparsifies during training, and what of it a search may turn to reach a sparsity.

The settings of each method stand in `methods.table`. This module does not load torch.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from retrainlab.checks import settle


@dataclass(frozen=True)
class Knobs:
    """The settings of a method: each method derives a frozen dataclass of its own, whose fields are checked when made.

    name: that class's name, so that stored settings say whose they are. A field `sparsity` is the share of all prunable
    weights that ends at zero; a method without one reaches a sparsity only through a `Knob`. A class attribute
    `revision` counts how often the meaning of the settings has changed since results were first stored.
    """

    name: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", type(self).__name__)
        settle(self, f"{self.name}'s ")


def having(knobs: Knobs, name: str, value: float) -> Knobs:
    """The same settings with another value of the field `name`."""
    change: dict[str, Any] = {name: value}
    return replace(knobs, **change)


def at(knobs: Knobs | None, sparsity: float) -> Knobs | None:
    """The same settings for another sparsity; unchanged where a knob decides it."""
    return having(knobs, "sparsity", sparsity) if knobs and hasattr(knobs, "sparsity") else knobs


@dataclass(frozen=True)
class Knob:
    """The field of a method's settings that a search turns; sparsity rises with sign * value.

    step: how far the search goes while it knows nothing, a factor if `log`, else a difference; low, high: its range.
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
