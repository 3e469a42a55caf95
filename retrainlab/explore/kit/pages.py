"""An explorer as one HTML file for readers without a kernel: every view that its sliders can reach, made beforehand.

A module of `views` gives `page(results)`; `html` puts its views and the scripts of `web` into one file that loads nothing.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

from retrainlab.config import Experiment
from retrainlab.phrases import listed
from retrainlab.study.results import Results

WEB = Path(__file__).parents[1] / "web"


@dataclass(frozen=True)
class Control:
    """A slider, or with `choice` a drop-down list.

    values: pairs of words and what the page's `view` is given.
    start: the place of the value it starts at.
    """

    label: str
    values: Sequence[tuple[str, Any]]
    start: int = 0
    choice: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.start < len(self.values):
            raise ValueError(f"'{self.label}' starts at place {self.start} of {len(self.values)} values")


@dataclass(frozen=True)
class View:
    """What an explorer shows for its settings: all that crosses from numbers to widgets and pages.

    table: caption, headings, rows.
    csv: the numbers on screen.
    code: the view as Python.
    data: what the script of a page needs besides, as JSON knows it.
    """

    charts: Sequence[dict]
    words: str
    table: tuple[str, Sequence[str], Sequence[Sequence[str]]] | None = None
    csv: str = ""
    code: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """An explorer's page.

    name: of the file. intro: paragraphs.
    needs: the experiments that must be stored before `view` is called, with a value of each control.
    hidden: whether a view shows only when it is asked for.
    devices: where what it shows was computed; that of `needs` if empty.
    script, data: a script of `web` that is its own, and what that needs whatever is chosen, as JSON knows it.
    """

    name: str
    title: str
    intro: Sequence[str]
    controls: Sequence[Control]
    needs: Sequence[Experiment]
    view: Callable[..., View]
    hidden: bool = False
    devices: Sequence[str] = ()
    script: str = ""
    data: dict[str, Any] = field(default_factory=dict)


def html(page: Page, results: Results | None = None) -> str:
    """The page with all its views; raises BadInput where results are missing. results: what `needs` is looked up in, to tell
    where they were computed."""
    return (
        (WEB / "page.html")
        .read_text()
        .format(
            title=escape(page.title),
            intro="\n".join(f"<p>{escape(words)}</p>" for words in page.intro),
            computed=escape(computed(page, results)),
            data=data(page),
            style=style(),
            scripts=scripts(page),
        )
    )


def data(page: Page) -> str:
    """All views of the page, as JSON that can stand in HTML. Raises BadInput where results are missing."""
    views = {}
    for places in product(*(range(len(c.values)) for c in page.controls)):
        values = [control.values[i][1] for control, i in zip(page.controls, places)]
        views[",".join(map(str, places))] = asdict(page.view(*values))
    controls = [
        {"label": c.label, "words": [words for words, _ in c.values], "start": c.start, "choice": c.choice}
        for c in page.controls
    ]
    whole = {"name": page.name, "hidden": page.hidden, "data": page.data, "controls": controls, "views": views}
    return json.dumps(whole, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")  # no tag, no comment


def style() -> str:
    """The styles of every page."""
    return (WEB / "page.css").read_text()


def scripts(page: Page) -> str:
    """The scripts that show the page, as one module."""
    own = [page.script] if page.script else []
    return "\n".join((WEB / name).read_text() for name in ("chart.js", "take.js", *own, "page.js"))


def computed(page: Page, results: Results | None) -> str:
    """Where the page's results were computed, in words that end a sentence; empty where there are none."""
    found = [] if results is None else filter(None, map(results.of, page.needs))
    devices = sorted({*page.devices, *(str(result.provenance.get("device", "")) for result in found)} - {""})
    return f" that were computed on {listed(devices)}" if devices else ""
