"""An explorer as one HTML file for readers without a kernel: every view that its sliders can reach, made beforehand.

An explorer module gives `page(store)`; `html` puts its views, the charts' script and a little of its own into one file
that loads nothing from anywhere.
"""

import html as escape
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from retrainlab.config import Experiment

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Control:
    """A slider over `values`, or with `choice` a drop-down list: pairs of words and what the page's `view` is given.
    start: the place of the value it starts at."""

    label: str
    values: Sequence[tuple[str, Any]]
    start: int = 0
    choice: bool = False


@dataclass(frozen=True)
class View:
    """What a page shows for one setting of its controls: charts, a sentence, a table (caption, headings, rows), the numbers
    as CSV and the view as Python."""

    charts: Sequence[dict]
    words: str
    table: tuple[str, Sequence[str], Sequence[Sequence[str]]] | None = None
    csv: str = ""
    code: str = ""


@dataclass(frozen=True)
class Page:
    """name: of the file. intro: paragraphs. needs: the experiments that must be stored before `view` is called with a
    value of each control."""

    name: str
    title: str
    intro: Sequence[str]
    controls: Sequence[Control]
    needs: Sequence[Experiment]
    view: Callable[..., View]
