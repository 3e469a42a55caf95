"""The small widgets of the explorers: labelled numbers, lists and ticks, lines of words, a table, a chart, downloads.

Callbacks may run on any thread of the kernel, so nothing here assumes one, and nothing uses pyplot or captures output.
"""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import anywidget
import ipywidgets as widgets
import traitlets

from retrainlab.config import ALLOCATIONS, DATASETS, MODELS, NAMED_SCHEDULES, SCORES
from retrainlab.data.sources import content
from retrainlab.explore.kit.pages import WEB

LABEL = {"description_width": "13em"}


@dataclass(frozen=True)
class Number:
    """A number box, whose label names it to everybody, and a slider over the same range; `row` holds both.

    percent: whether the widgets say percent and `value` a share of 1.
    """

    box: widgets.Widget
    slider: widgets.Widget
    row: widgets.HBox
    percent: bool = False

    @property
    def value(self) -> float:
        return round(self.box.value / 100, 6) if self.percent else self.box.value


@dataclass(frozen=True)
class Ticks:
    """A checkbox for each name, in a row."""

    boxes: dict[str, widgets.Checkbox]
    row: widgets.HBox

    @property
    def value(self) -> tuple[str, ...]:
        """The names that are ticked."""
        return tuple(name for name, box in self.boxes.items() if box.value)


Control: TypeAlias = Number | Ticks | widgets.ValueWidget


def _short(x: float, digits: int) -> float:
    """x to a few digits: a slider's 9.99999998 is 10."""
    return x if isinstance(x, int) else float(f"{x:.{digits}g}")


def number(label: str, value: float, low: float, high: float, step: float, log: bool = False) -> Number:
    """A box and a slider from `low` to `high`, further if `value` lies beyond; whole if all four numbers are.

    log: whether the slider is logarithmic, with `step` in decades.
    """
    low, high, digits = min(low, value), max(high, value), 3 if log else 5
    whole = all(isinstance(x, int) for x in (value, low, high, step))
    plainly = {"continuous_update": True, "readout": False, "layout": widgets.Layout(flex="1 1 6em", min_width="6em")}
    named = {"description": label, "style": LABEL, "layout": widgets.Layout(width="19em", flex="0 0 auto")}
    if log:
        kind, ends = widgets.FloatLogSlider, {"min": math.log10(low), "max": math.log10(high)}
    else:
        kind, ends = widgets.IntSlider if whole else widgets.FloatSlider, {"min": low, "max": high}
    slider = kind(value=value, step=step, **ends, **plainly)
    text = widgets.BoundedIntText if whole else widgets.BoundedFloatText
    box = text(value=value, min=low, max=high, step=low if log else step, **named)

    def lead(_: object) -> None:
        """The box takes what the slider says, unless that is no more than the box's own value at the slider's next step,
        where the browser puts it."""
        x, start = (math.log10(box.value), math.log10(low)) if log else (box.value, low)
        near = start + round((x - start) / step) * step
        if not math.isclose(slider.value, 10**near if log else near, rel_tol=1e-9, abs_tol=1e-9):
            box.value = _short(slider.value, digits)

    slider.observe(lead, names="value")
    box.observe(lambda change: setattr(slider, "value", change["new"]), names="value")
    row = widgets.HBox([box, slider], layout=widgets.Layout(align_items="center"))
    row.add_class("retrainlab-number")
    return Number(box, slider, row)


def share(label: str, value: float, low: float, high: float, step: float = 0.5) -> Number:
    """A number that the widgets say in percent, as are `low`, `high` and `step`; its value is a share, as `value` is."""
    percent = _short(100 * value, 5)
    return replace(number(label, round(percent) if isinstance(step, int) else percent, low, high, step), percent=True)


def choice(label: str, options: Iterable, value) -> widgets.Dropdown:
    """A labelled drop-down list."""
    layout = widgets.Layout(width="auto", min_width="0")
    return widgets.Dropdown(options=list(options), value=value, description=label, style=LABEL, layout=layout)


def ticks(label: str, names: Iterable[str], chosen: Sequence[str]) -> Ticks:
    """A labelled row of checkboxes, those of `chosen` ticked."""
    small = {"indent": False, "layout": widgets.Layout(width="auto", margin="0 14px 0 0")}
    boxes = {name: widgets.Checkbox(name in chosen, description=name, **small) for name in names}
    return Ticks(boxes, row(title(label), *boxes.values()))


FIELDS: dict[str, Callable[..., Control]] = {
    "data": lambda value: choice("Data set", DATASETS, value),
    "model": lambda value: choice("Network", MODELS, value),
    "sparsity": lambda value: share("Weights removed (%)", value, 0.0, 99.5),
    "score": lambda value: choice("Pruning score", SCORES, value),
    "allocation": lambda value: choice("Shared among layers", ALLOCATIONS, value),
    "budget": lambda value: share("Budget (% of dense run)", value, 0.5, 100.0),
    "cycles": lambda value: number("Cycles", value, 1, 5, 1),
    "seed": lambda value: number("Seed", value, 0, 20, 1),
    "seeds": lambda value: number("Seeds", value, 1, 10, 1),
    "schedules": lambda value: ticks("Schedules", NAMED_SCHEDULES, value),
}


def inputs(settings: object, *names: str) -> dict[str, Control]:
    """The usual control for each of these fields of `settings`, which starts at its value there."""
    return {name: FIELDS[name](getattr(settings, name)) for name in names}


def put(control: Number | widgets.ValueWidget, value: Any) -> None:
    """Set a number or a list to a value, as `value` tells it."""
    if isinstance(control, Number):
        control.box.value = _short(100 * value, 5) if control.percent else value
    else:
        control.value = value


def observe(control: Control, react: Callable[[dict], None]) -> None:
    """Call react(change) when a reader changes the control."""
    if isinstance(control, Number):
        control = control.slider
    for part in control.boxes.values() if isinstance(control, Ticks) else [control]:
        part.observe(react, names="value")


def columns(inputs: Mapping[str, Control], *groups: Sequence[str | widgets.Widget]) -> widgets.HBox:
    """Columns of controls, by name or as they are, side by side; under the data set stands what is in it."""
    out = []
    for group in groups:
        shown: list[widgets.Widget] = []
        for part in group:
            control = inputs[part] if isinstance(part, str) else part
            shown.append(control.row if isinstance(control, Number | Ticks) else control)
            if part == "data":
                shown.append(about(control))
        layout = widgets.Layout(flex="1 1 28em", min_width="20em", max_width="38em", margin="0 16px 0 0")
        out.append(widgets.VBox(shown, layout=layout))
    return row(*out)


def row(*children: widgets.Widget) -> widgets.HBox:
    """Widgets side by side, in more lines where the page is narrow."""
    layout = widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 12px")
    return widgets.HBox(children, layout=layout)


class Note(widgets.HTML):
    """A line of words that screen readers do not read out by themselves."""

    def say(self, text: str) -> None:
        self.value = f"<p>{html.escape(text)}</p>"


class Status(Note):
    """A line of words that screen readers read out when it changes: `chart.js` makes its element a live region, which must
    stay while its content is replaced."""

    def __init__(self) -> None:
        super().__init__("<p></p>")
        self.add_class("retrainlab-status")


def about(data: widgets.Dropdown) -> Note:
    """A line that says what is in the data set that is chosen."""
    note = Note()
    note.say(content(data.value))
    data.observe(lambda change: note.say(content(change["new"])), names="value")
    return note


class Table(widgets.HTML):
    """Rows of words under headings, with a caption."""

    def set(self, caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        head = "".join(f'<th scope="col">{html.escape(words)}</th>' for words in heads)
        lines = ("".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) for cells in rows)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        top = f"<caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        self.value = f"<table>{top}<tbody>{body}</tbody></table>"


def title(text: str) -> widgets.HTML:
    """A short bold line over a group of controls."""
    return widgets.HTML(f"<b>{html.escape(text)}</b>")


class Chart(anywidget.AnyWidget):
    """A chart on the page.

    spec: the chart, as `chart.chart` makes it.
    moved: [place, x, y, time] of the handle that a reader has moved last.
    """

    _esm = (WEB / "chart.js").read_text() + "\nexport default { render: renderChart };\n"
    spec = traitlets.Dict().tag(sync=True)
    moved: traitlets.List = traitlets.List().tag(sync=True)


class Take(anywidget.AnyWidget):
    """Two buttons: the numbers on screen as CSV (`csv`, saved as `name`.csv), and the view as Python (`code`)."""

    _esm = (WEB / "take.js").read_text() + "\nexport default { render: renderTake };\n"
    name = traitlets.Unicode("retrainlab").tag(sync=True)
    csv = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
