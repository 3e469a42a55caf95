"""The small widgets of the explorers: a labelled number with its slider, a status line, buttons with a worker thread.

Callbacks may run on any thread of the kernel, so nothing here assumes one, and nothing uses pyplot or captures output.
"""

import html
import math
import resource
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields

import ipywidgets as widgets
import torch
from IPython.display import display

from retrainlab.device import cores, describe, memory, resolve
from retrainlab.engine import out_of_memory
from retrainlab.errors import BadInput
from retrainlab.progress import Left, duration
from retrainlab.sources import content

LABEL = {"description_width": "13em"}
FRAME = 0.1 if cores() > 2 else 0.2  # seconds from one drawing to the next while something runs
# of the time, at most, that drawing takes in the kernel; less on two cores, where the browser draws on those that train
SHARE = 0.1 if cores() > 2 else 0.02

# ---- numbers and words -----------------------------------------------------------------------------------------------


def percent(share: float) -> str:
    """`92.2 %` for 0.922."""
    return f"{100 * share:.1f} %"


def digits(share: float) -> str:
    """Six digits for a CSV; empty for NaN."""
    return "" if math.isnan(share) else f"{share:.6g}"


def short(noun: object) -> str:
    """A dataclass as Python that makes it again: the fields that are not at their defaults."""
    plain = type(noun)()
    given = {f.name: getattr(noun, f.name) for f in fields(noun) if f.init}
    told = [f"{name}={value!r}" for name, value in given.items() if value != getattr(plain, name)]
    return f"{type(noun).__name__}({', '.join(told)})"


def python(recipe: object, *lines: str) -> str:
    """A few lines of Python after the imports and the recipe that they need."""
    names = ", ".join(["Experiment", "Prune", "Recipe", "Retrain", "study"])
    text = "\n".join([f"recipe = {short(recipe)}", *lines, ""])
    more = [f"from retrainlab.config import {name}" for name in ("SGD",) if f"{name}(" in text]
    return "\n".join([f"from retrainlab import {names}", *more, "", text])


def device_words(device: torch.device) -> str:
    """Which device computes, its memory, and how much of it is taken now."""
    if device.type == "cuda":
        return f"{describe(device)}, {torch.cuda.memory_allocated(device) / 2**30:.2f} GiB of it in use"
    unit = 2**30 if sys.platform == "darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return ", ".join(filter(None, [describe(device), memory(), f"this kernel has used up to {peak:.2f} GiB"]))


@dataclass(frozen=True)
class Number:
    """A number box, whose label names it to everybody, and a slider over the same range. Watch `slider`, read `value`."""

    slider: widgets.Widget
    row: widgets.HBox
    digits: int = 5

    @property
    def value(self) -> float:
        return _short(self.slider.value, self.digits)


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


def choice(label: str, options: Iterable, value) -> widgets.Dropdown:
    """A labelled drop-down list."""
    layout = widgets.Layout(width="auto", min_width="0")
    return widgets.Dropdown(options=list(options), value=value, description=label, style=LABEL, layout=layout)


def boxes(names: Iterable[str], chosen: Iterable[str]) -> dict[str, widgets.Checkbox]:
    """A checkbox for each name, those of `chosen` ticked."""
    small = {"indent": False, "layout": widgets.Layout(width="auto", margin="0 14px 0 0")}
    chosen = set(chosen)
    return {name: widgets.Checkbox(name in chosen, description=name, **small) for name in names}


def ticked(boxes: dict[str, widgets.Checkbox]) -> tuple[str, ...]:
    """The names of those that are ticked."""
    return tuple(name for name, box in boxes.items() if box.value)


def row(*children: widgets.Widget) -> widgets.HBox:
    """Widgets side by side, in more lines where the page is narrow."""
    return widgets.HBox(
        children, layout=widgets.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 12px")
    )


def column(*children: widgets.Widget, wide: str = "28em") -> widgets.VBox:
    """Widgets below one another, about `wide`."""
    layout = widgets.Layout(flex=f"1 1 {wide}", min_width="20em", max_width="38em", margin="0 16px 0 0")
    return widgets.VBox(children, layout=layout)


class Status(widgets.HTML):
    """A line of words that screen readers read out when it changes: `chart.js` makes what holds it a live region, which must
    stay while its content is replaced."""

    def __init__(self) -> None:
        super().__init__("<p></p>")
        self.add_class("retrainlab-status")

    def say(self, text: str) -> None:
        self.value = f"<p>{html.escape(text)}</p>"


class Note(widgets.HTML):
    """A line of words that is not read out by itself."""

    def say(self, text: str) -> None:
        self.value = f"<p>{html.escape(text)}</p>"


def about(data: widgets.Dropdown) -> Note:
    """A line that says what is in the data set that is chosen."""
    note = Note()
    widgets.dlink((data, "value"), (note, "value"), lambda name: f"<p>{html.escape(content(name))}</p>")
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


# ---- one explorer of a kind ------------------------------------------------------------------------------------------

_shown: dict[str, tuple[Hashable, object]] = {}
_showing = threading.Lock()


def present(name: str, settings: Hashable, make: Callable[[], object]) -> object:
    """Display the explorer of that name, and return it. A cell that runs again with the same settings shows the same
    explorer as it is, whatever it is doing; with others it stops and closes the one before."""
    with _showing:
        before, explorer = _shown.get(name, (None, None))
        if explorer is None or before != settings:
            if explorer is not None:
                del _shown[name]  # it is gone even if the next cannot be made
                explorer.close()
            explorer = make()
            _shown[name] = settings, explorer
    display(explorer.box)
    return explorer


def close(box: widgets.Widget) -> None:
    """Close a widget and all that it holds, so that neither kernel nor page keeps them."""
    for child in getattr(box, "children", ()):
        close(child)
    for own in (getattr(box, "layout", None), getattr(box, "style", None)):
        if own is not None:
            own.close()
    box.close()


# ---- one piece of work at a time -------------------------------------------------------------------------------------


class Worker:
    """At most one piece of work in a daemon thread, and a second thread that draws while it runs."""

    def __init__(self):
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.busy = False

    def start(
        self,
        work: Callable[[Callable[[], bool]], str],
        draw: Callable[[], None],
        settle: Callable[[str], None],
        ended: Callable[[], None] = lambda: None,
    ) -> bool:
        """Run work(stopped) unless something runs already, and draw() while it does: each FRAME, or as seldom as it must
        be to take no more than SHARE of the time. Say whether it was started.

        `stopped` tells whether `stop` was called. When it is over, settle(sentence) is called with what the work returned,
        or with its error; then, when the next can start, ended().
        """
        with self._lock:
            if self.busy:
                return False
            self.busy = True
            stop, done = threading.Event(), threading.Event()

            def run() -> None:
                try:
                    sentence = work(stop.is_set)
                except BadInput as error:
                    sentence = str(error)
                except Exception as error:
                    sentence = f"It went wrong: {type(error).__name__}: {error}"
                    if out_of_memory(error):
                        sentence = "Memory ran out; a smaller network or fewer seeds take less."
                done.set()
                try:
                    settle(sentence)
                finally:
                    self.busy = False
                ended()

            def watch() -> None:
                pause = FRAME
                while not done.wait(pause):
                    start = time.thread_time()
                    with suppress(Exception):  # a frame that fails is one frame less; the last is drawn by `settle`
                        draw()
                    spent = time.thread_time() - start
                    pause = max(FRAME - spent, spent * (1 - SHARE) / SHARE)

            self._stop = stop
            self._thread = threading.Thread(target=run, daemon=True, name="retrainlab")
            self._thread.start()
            threading.Thread(target=watch, daemon=True, name="retrainlab-draw").start()
            return True

    def stop(self) -> None:
        """Ask the work to end; it does so at its next step."""
        self._stop.set()

    def wait(self, seconds: float = 60) -> bool:
        """Wait for the work to end, `ended` included; say whether it has."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()


class Desk:
    """Start and Stop, a progress bar with the time left, a status line, the device: what every explorer that trains has.

    start: the word on the button. `go` begins work unless some runs already; `tell` is for the work to say how far it is.
    """

    def __init__(self, start: str, device: str):
        self.device, self.worker = resolve(device), Worker()
        self.start = widgets.Button(description=start, button_style="primary")
        self.stop = widgets.Button(description="Stop", disabled=True)
        self.bar = widgets.IntProgress(0, 0, 1000, description="Progress", layout=widgets.Layout(flex="1 1 16em"))
        self.left, self.status, self.where = widgets.Label(""), Status(), Note()
        self.stop.on_click(lambda _: self.worker.stop())
        self.buttons = row(self.start, self.stop, self.bar, self.left)
        self.left_over, self.share, self.running = Left(), 0.0, False
        self.where.say(f"Computes on {device_words(self.device)}.")

    def go(
        self,
        work: Callable[[Callable[[], bool]], str],
        draw: Callable[[], None],
        ended: Callable[[], None] | None = None,
    ) -> bool:
        """Do work(stopped) in the background, which returns the sentence to say at its end."""

        def over(sentence: str) -> None:
            self.running = False
            try:
                draw()
            finally:
                self.bar.value, self.left.value = 0, ""
                self.start.disabled, self.stop.disabled = False, True
                self.where.say(f"Computes on {device_words(self.device)}.")
                if sentence:
                    self.status.say(sentence)

        def begin(stopped: Callable[[], bool]) -> str:
            self.left_over, self.share, self.running = Left(), 0.0, True
            self.start.disabled, self.stop.disabled = True, False
            return work(stopped)

        def frame() -> None:
            self.follow()
            draw()

        return self.worker.start(begin, frame, over, ended or (lambda: None))

    def tell(self, share: float, words: str = "") -> None:
        """share: of the work, 0 to 1, from 0 again in each stage; words: for the status line, if they are to change. The bar
        follows with the next drawing, since a message for each point would cost more than the point."""
        self.left_over.add(time.monotonic(), share)
        self.share = share
        if words:
            self.status.say(words)

    def follow(self) -> None:
        """Show how far it is."""
        left = self.left_over.at(time.monotonic())
        self.bar.value = round(1000 * self.share)
        self.left.value = f"about {duration(left)} left" if left else ""

    def end(self) -> None:
        """Stop what runs."""
        self.worker.stop()
