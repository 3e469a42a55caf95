"""The small widgets of the explorers: a labelled number with its slider, a status line, buttons with a worker thread.

Callbacks may run on any thread of the kernel, so nothing here assumes one, and nothing uses pyplot or captures output.
"""

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import anywidget
import ipywidgets as widgets
import traitlets

from retrainlab.config import ALLOCATIONS, DATASETS, MODELS, NAMED_SCHEDULES
from retrainlab.data.sources import content
from retrainlab.explore.kit.pages import WEB

LABEL = {"description_width": "13em"}


@dataclass(frozen=True)
class Number:
    """A number box, whose label names it to everybody, and a slider over the same range; `row` holds both.

    digits: how many of a fraction's are kept.
    percent: whether `value` is a share of 1 where the widgets say percent.
    """

    slider: widgets.Widget
    row: widgets.HBox
    digits: int = 5
    percent: bool = False

    @property
    def value(self) -> float:
        """What the widgets say."""
        shown = _short(self.slider.value, self.digits)
        return round(shown / 100, 6) if self.percent else shown


@dataclass(frozen=True)
class Ticks:
    """A checkbox for each name, in a row; `value` is the names that are ticked."""

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
    """A linked pair from `low` to `high`, further if `value` lies beyond; whole if all four numbers are; with `log`, `step`
    is in decades."""
    low, high, digits = min(low, value), max(high, value), 3 if log else 5
    plainly = {"continuous_update": True, "readout": False, "layout": widgets.Layout(flex="1 1 6em", min_width="6em")}
    limits = {"min": low, "max": high}
    named = {"description": label, "style": LABEL, "layout": widgets.Layout(width="19em", flex="0 0 auto")}
    if log:
        powers = {"min": math.log10(low), "max": math.log10(high)}
        slider = widgets.FloatLogSlider(value=value, base=10, step=step, **powers, **plainly)
        box = widgets.BoundedFloatText(value, step=low, **limits, **named)
    elif all(isinstance(x, int) for x in (value, low, high, step)):
        slider = widgets.IntSlider(value, step=step, **limits, **plainly)
        box = widgets.BoundedIntText(value, step=step, **limits, **named)
    else:
        slider = widgets.FloatSlider(value, step=step, **limits, **plainly)
        box = widgets.BoundedFloatText(value, step=step, **limits, **named)
    widgets.link((slider, "value"), (box, "value"), transform=(lambda x: _short(x, digits), lambda x: x))
    row = widgets.HBox([box, slider], layout=widgets.Layout(align_items="center"))
    row.add_class("retrainlab-number")
    return Number(slider, row, digits)


def share(label: str, value: float, low: float, high: float, step: float = 0.5) -> Number:
    """A number in percent, from `low` to `high`, whose value is a share, as `value` is."""
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


def observe(control: Control, react: Callable[[dict], None]) -> None:
    """Call react(change) when a reader changes the control."""
    if isinstance(control, Ticks):
        parts = list(control.boxes.values())
    else:
        parts = [control.slider if isinstance(control, Number) else control]
    for part in parts:
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
        out.append(column(*shown))
    return row(*out)


def row(*children: widgets.Widget) -> widgets.HBox:
    """Widgets side by side, in more lines where the page is narrow."""
    return widgets.HBox(
        children, layout=widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 12px")
    )


def column(*children: widgets.Widget, wide: str = "28em") -> widgets.VBox:
    """Widgets below one another, about `wide`."""
    layout = widgets.Layout(flex=f"1 1 {wide}", min_width="20em", max_width="38em", margin="0 16px 0 0")
    return widgets.VBox(children, layout=layout)


class Note(widgets.HTML):
    """A line of words that is not read out by itself."""

    def say(self, text: str) -> None:
        """Show it."""
        self.value = f"<p>{html.escape(text)}</p>"


class Status(Note):
    """A line of words that screen readers read out when it changes: `chart.js` makes what holds it a live region, which must
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
        def line(kind: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{kind}>{html.escape(str(c))}</{kind}>" for c in cells) + "</tr>"

        head = line('th scope="col"', heads).replace('</th scope="col">', "</th>")
        body = "".join(line("td", cells) for cells in rows)
        self.value = (
            f"<table><caption>{html.escape(caption)}</caption><thead>{head}</thead><tbody>{body}</tbody></table>"
        )


def title(text: str) -> widgets.HTML:
    """A short bold line over a group of controls."""
    return widgets.HTML(f"<b>{html.escape(text)}</b>")


_LOOK = """<style>
.retrainlab { max-width: 1180px; }
.retrainlab .widget-html-content p { margin: 2px 0 6px; line-height: 1.45; max-width: 110ch; }
.retrainlab .retrainlab-status .widget-html-content p { min-height: 2.9em; }
.retrainlab .widget-html { height: auto; }
.retrainlab table { border-collapse: collapse; line-height: 1.5; margin: 4px 0 8px; font-variant-numeric: tabular-nums; }
.retrainlab caption { text-align: left; font-weight: 600; padding-bottom: 2px; }
.retrainlab th, .retrainlab td { padding: 1px 12px 1px 0; text-align: left; }
</style>"""


def app(name: str, children: Iterable[widgets.Widget]) -> widgets.VBox:
    """The explorer's outermost box, of CSS classes `retrainlab` and `retrainlab-NAME`."""
    box = widgets.VBox([widgets.HTML(_LOOK), *children])
    box.add_class("retrainlab")
    box.add_class(f"retrainlab-{name}")
    return box


class Chart(anywidget.AnyWidget):
    """The chart on the page. `spec`: what `chart` made; `moved`: [point, x, y, time] of a point that a reader moves."""

    _esm = (WEB / "chart.js").read_text() + "\nexport default { render: renderChart };\n"
    spec = traitlets.Dict().tag(sync=True)
    moved: traitlets.List = traitlets.List().tag(sync=True)


class Take(anywidget.AnyWidget):
    """Two buttons: the numbers on screen as CSV (`csv`, saved as NAME.csv), and the view as Python (`code`)."""

    _esm = (WEB / "take.js").read_text() + "\nexport default { render: renderTake };\n"
    name = traitlets.Unicode("retrainlab").tag(sync=True)
    csv = traitlets.Unicode("").tag(sync=True)
    code = traitlets.Unicode("").tag(sync=True)
