"""What a saved figure says of where it comes from: versions, and how much training its runs are. Loads no torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab.config import SGD, Recipe
from retrainlab.parsing import parsed, read_file

if TYPE_CHECKING:
    import pandas as pd

LIBRARIES = ("retrainlab", "torch", "numpy", "matplotlib", "seaborn")
FIRST_TRAINING = sorted(
    {f.name for f in (*fields(Recipe), *fields(SGD))} - {"sgd", "schedule", "lr", "warmup"}
    | {"knobs", "dense_schedule", "dense_lr", "dense_warmup"}
)
"""The columns of a study's rows by which its first trainings differ."""


def versions() -> dict[str, str]:
    """The versions of the libraries on which a figure's bytes depend."""
    return {library: metadata.version(library) for library in LIBRARIES}


def trained(of: Mapping) -> str:
    """What is trained, in words, by the settings on which the time of a step depends: those of a recipe or a row."""
    wide = f" of width {of['width']:g}" if _given(of["width"]) else ""
    size = f" at {of['image_size']:g} pixels" if _given(of["image_size"]) else ""
    return f"{of['model']}{wide} on {of['data']}{size}, batch {of['batch_size']}"


def steps(rows: "pd.DataFrame") -> dict[str, int]:
    """Training steps of a study's rows by what is `trained`, those of a first training that several share counted once;
    empty for a table that does not have them."""
    if not {"steps", "total_steps", *FIRST_TRAINING} <= set(rows):
        return {}
    own = rows.drop_duplicates("key").assign(trained=lambda frame: [trained(row) for _, row in frame.iterrows()])
    first = own.assign(steps=own["total_steps"] - own["steps"]).drop_duplicates(FIRST_TRAINING)
    both = own.groupby("trained")["steps"].sum() + first.groupby("trained")["steps"].sum()
    return {str(name): int(count) for name, count in both.items()}


def described(folder: Path, name: str) -> dict:
    """What a saved figure's NAME.json says; empty if there is none that can be read."""
    try:
        about = parsed(read_file(folder / f"{name}.json"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def texts(about: Mapping, field: str) -> list[str]:
    """The texts in a list of `described`: `results` are keys of results, `read` files of other figures beside it,
    `written` its own of other names, `devices` where its runs were computed. What leads out of a folder is left out."""
    names = about.get(field)
    own = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return own if field == "devices" else [name for name in own if Path(name).name == name]


def digest(text: str) -> str:
    """Of a file's text: 16 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def number(figure: str) -> int:
    """3 for fig03_budgets."""
    return int(figure.partition("_")[0].removeprefix("fig"))


def _given(number: float | None) -> bool:
    """Whether a setting has a value: in a table NaN may stand for None."""
    return number is not None and number == number
