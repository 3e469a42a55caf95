"""What an explorer writes: numbers as CSV, settings as Python, the options of a control."""

import io
import math
from collections.abc import Iterable, Sequence
from csv import writer
from dataclasses import fields
from typing import Any

from retrainlab import tables
from retrainlab.phrases import share


def shares(values: Iterable[float]) -> list[tuple[str, float]]:
    """Options of a control for shares: `2.5 %` and 0.025."""
    return [(share(value), value) for value in values]


def csv(heads: Sequence[str], rows: Iterable[Sequence[object]], digits: int = 6) -> str:
    """Rows under headings as CSV. Floats have `digits` digits; None, NaN and infinity are empty. Fast enough for every move
    of a slider, which a DataFrame is not."""

    def cell(value: object) -> object:
        if isinstance(value, float):
            return f"{value:.{digits}g}" if math.isfinite(value) else ""
        return tables.harmless(value)

    out = io.StringIO()
    writer(out, lineterminator="\n").writerows([heads, *(map(cell, row) for row in rows)])
    return out.getvalue()


def stopped_words(begun: bool) -> str:
    """That a race was stopped; begun: whether any of it has retrained at all."""
    if not begun:
        return "Stopped before the first step of retraining."
    return "Stopped; what there is stays on screen, and nothing unfinished is stored."


def short(noun: Any) -> str:
    """A dataclass as Python that makes it again: the fields that are not at their defaults."""
    plain = type(noun)()
    given = {f.name: getattr(noun, f.name) for f in fields(noun) if f.init}
    told = [f"{name}={value!r}" for name, value in given.items() if value != getattr(plain, name)]
    return f"{type(noun).__name__}({', '.join(told)})"


def python(recipe: object, *lines: str) -> str:
    """A few lines of Python after the imports and the recipe that they need."""
    text = "\n".join([f"recipe = {short(recipe)}", *lines, ""])
    more = "from retrainlab.config import SGD\n" if "SGD(" in text else ""
    return f"from retrainlab import Experiment, Prune, Recipe, Retrain, study\n{more}\n{text}"
