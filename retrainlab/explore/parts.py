"""The small widgets of the explorers: a labelled number with its slider, a picture, a status line, a worker thread.

Callbacks may run on any thread of the kernel, so nothing here assumes one, and nothing uses pyplot or captures output.
"""

import base64
import html
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO

import ipywidgets as widgets
import numpy as np
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from PIL import Image

from retrainlab.errors import BadInput

_SHARPNESS = 1.5  # image pixels per pixel of the page
_drawing = threading.Lock()  # matplotlib's caches are shared by all figures
LABEL = {"description_width": "13em"}

# ---- drawing ---------------------------------------------------------------------------------------------------------


class Canvas:
    """A figure of width x height page pixels that is made once and drawn often.

    A legend is drawn only when it changes; in between, `strip` (left, bottom, width, height as shares of the figure)
    is copied from before, since a legend costs as much as all the rest.
    """

    def __init__(self, width: int, height: int, strip: tuple[float, float, float, float] = (0, 0, 1, 1)):
        self.figure = Figure(figsize=(width / 100, height / 100), dpi=100 * _SHARPNESS, facecolor="w")
        self.canvas = FigureCanvasAgg(self.figure)
        self.strip = strip
        self._legend: tuple | None = None
        self._pixels = None

    def png(self, legend: Iterable[tuple] = (), **options) -> bytes:
        """The figure as PNG. legend: pairs of artist and label; options: matplotlib's for a legend."""
        legend = tuple(legend)
        with _drawing:
            if legend != self._legend:
                self._legend, self._pixels = legend, self._draw_legend(legend, options) if legend else None
            self.canvas.draw()
            if self._pixels is not None:
                self.canvas.restore_region(self._pixels)
            out = BytesIO()
            Image.fromarray(np.asarray(self.canvas.buffer_rgba())).convert("RGB").save(out, "png", compress_level=1)
        return out.getvalue()

    def _draw_legend(self, legend: tuple, options: dict):
        left, bottom, width, height = self.strip
        artist = self.figure.legend(
            *zip(*legend),
            bbox_to_anchor=self.strip,
            **{"loc": "center", "frameon": False, "fontsize": 10, "handlelength": 3, "columnspacing": 1.4} | options,
        )
        self.canvas.draw()
        artist.remove()
        return self.canvas.copy_from_bbox(
            Bbox.from_bounds(left, bottom, width, height).transformed(self.figure.transFigure)
        )


def plain(axes: Axes, xlabel: str, ylabel: str = "") -> Axes:
    """The explorers' look: a light grid, readable sizes, whatever the user's matplotlib is set to.

    Titles and labels have fixed places: to search for free ones would take a fifth of the time of a drawing.
    """
    size = axes.get_window_extent().size / _SHARPNESS
    axes.set_xlabel(xlabel, fontsize=11)
    axes.set_ylabel(ylabel, fontsize=11)
    axes.set_title("", fontsize=12, y=1.02)
    axes.xaxis.set_label_coords(0.5, -30 / size[1])
    axes.yaxis.set_label_coords(-50 / size[0], 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=10, color="0.5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.4")
    return axes


def percent(share: float) -> str:
    """`92.2 %` for 0.922."""
    return f"{100 * share:.1f} %"


# ---- widgets ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number:
    """A number box, whose label names it to everybody, and a slider over the same range. Watch `slider`, read `value`."""

    slider: widgets.Widget
    row: widgets.HBox

    @property
    def value(self) -> float:
        return _short(self.slider.value)


def _short(x: float) -> float:
    """x to three digits: a slider's 9.99999998 is 10."""
    return x if isinstance(x, int) else float(f"{x:.3g}")


def number(label: str, value: float, low: float, high: float, step: float, log: bool = False) -> Number:
    """A linked pair for low <= value <= high, whole if all four numbers are; with `log`, `step` is in decades."""
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
    widgets.link((slider, "value"), (box, "value"), transform=(_short, lambda x: x))
    row = widgets.HBox([box, slider], layout=widgets.Layout(align_items="center"))
    row.add_class("retrainlab-number")
    return Number(slider, row)


def choice(label: str, options: Iterable, value) -> widgets.Dropdown:
    """A labelled drop-down list."""
    layout = widgets.Layout(width="auto", min_width="0")
    return widgets.Dropdown(options=list(options), value=value, description=label, style=LABEL, layout=layout)


class Picture(widgets.HTML):
    """An image of fixed size with alternative text; it is replaced without a blank frame."""

    def __init__(self, width: int, height: int):
        self.size = f'width="{width}" height="{height}"'
        super().__init__()

    def set(self, png: bytes, alt: str) -> None:
        source = base64.b64encode(png).decode()
        self.value = (
            f'<img alt="{html.escape(alt)}" {self.size} style="max-width: 100%; height: auto; border-radius: 4px" '
            f'src="data:image/png;base64,{source}">'
        )


class Status(widgets.HTML):
    """A line of words that screen readers read out when it changes."""

    def say(self, text: str) -> None:
        self.value = f'<p role="status" aria-live="polite">{html.escape(text)}</p>'


def title(text: str) -> widgets.HTML:
    """A short bold line over a group of controls."""
    return widgets.HTML(f"<b>{html.escape(text)}</b>")


_LOOK = """<style>
.retrainlab { max-width: 1180px; }
.retrainlab .widget-html-content p { margin: 2px 0 6px; line-height: 1.45; max-width: 75ch; }
.retrainlab .widget-html { height: auto; }
</style>"""

# ipywidgets gives a slider's handle no name, so it takes that of the number box beside it.
_NAMES = """<script>
(() => {
  let tries = 0;
  const timer = setInterval(() => {
    const rows = [...document.querySelectorAll('.retrainlab-number')];
    for (const row of rows) {
      const label = row.querySelector('label'), handle = row.querySelector('.noUi-handle');
      if (label && handle) handle.setAttribute('aria-label', label.textContent + ', slider');
    }
    const named = rows.length && rows.every(row => row.querySelector('.noUi-handle[aria-label]'));
    if (named || ++tries > 150) clearInterval(timer);
  }, 200);
})();
</script>"""


def app(name: str, children: Iterable[widgets.Widget]) -> widgets.VBox:
    """The explorer's outermost box, of CSS classes `retrainlab` and `retrainlab-NAME`."""
    box = widgets.VBox([widgets.HTML(_LOOK), *children])
    box.add_class("retrainlab")
    box.add_class(f"retrainlab-{name}")
    return box


# ---- one explorer of a kind, one worker of an explorer ---------------------------------------------------------------

_shown: dict[str, object] = {}
_showing = threading.Lock()


def present(name: str, explorer) -> None:
    """Display the explorer's `box`, and close the one of that name that a cell showed before."""
    with _showing:
        before, _shown[name] = _shown.get(name), explorer
    if before is not None:
        before.close()
    display(explorer.box)
    display(HTML(_NAMES))


class Worker:
    """At most one piece of work in a daemon thread, and a second thread that draws while it runs."""

    def __init__(self):
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.busy = False

    def start(
        self, work: Callable[[Callable[[], bool]], str], draw: Callable[[], None], ended: Callable[[str], None]
    ) -> bool:
        """Run work(stopped) unless something runs already; draw() ten times a second; say whether it was started.

        `stopped` tells whether `stop` was called. When it is over and the next can start, ended(sentence) is called
        with what the work returned, or with its error.
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
                done.set()
                self.busy = False
                ended(sentence)

            def watch() -> None:
                pause = 0.1
                while not done.wait(pause):
                    start = time.monotonic()
                    draw()
                    pause = max(0.03, 0.1 - (time.monotonic() - start))

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
