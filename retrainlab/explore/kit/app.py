"""What every explorer is: controls that say its `Settings`, and a `View` of what they ask for; one of a kind on the page."""

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import ipywidgets as widgets
from IPython.display import display

from retrainlab.checks import BadInput
from retrainlab.explore.kit import controls
from retrainlab.explore.kit.pages import WEB, View
from retrainlab.explore.kit.worker import Desk
from retrainlab.study.results import Results

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


class Screen:
    """The widgets that show a `View`: `charts`, its words as `note`, `table`, and `take`, which saves NAME.csv."""

    def __init__(self, name: str, charts: int = 1):
        self.charts = tuple(controls.Chart() for _ in range(charts))
        self.note, self.table, self.take = controls.Status(), controls.Table(), controls.Take(name=name)

    def put(self, view: View, csv: bool = True) -> None:
        """Show a view; csv: its CSV too, which is too long to cross to the page with every frame of a race."""
        for chart, spec in zip(self.charts, view.charts, strict=True):
            chart.spec = spec
        self.note.say(view.words)
        if view.table is None:
            self.table.value = ""
        else:
            self.table.set(*view.table)
        self.take.code = view.code
        if csv:
            self.take.csv = view.csv


class App(Generic[Settings]):
    """An explorer on the page, with its results, its lock, its desk (Start, Stop, how far the work is) and its screen.

    A subclass's `build` makes the `inputs` for fields of its Settings, says what to `watch` and `press`, and lays all out;
    its `view` is what they ask for, which `draw` puts on the `screen`. What a reader does holds the lock, and a BadInput
    becomes a sentence in `status` (see `do`).

    stem: the name of its modules, of its CSS class `retrainlab-STEM`, and of its CSV file.
    button: the word that starts its work.
    initial: the settings that it starts with unless told otherwise.
    shows: the module of `views` that knows what it runs and shows.
    charts: how many a view has.
    """

    stem: ClassVar[str]
    button: ClassVar[str] = "Run"
    initial: ClassVar[Any]
    shows: Any
    charts: ClassVar[int] = 1

    def __init__(self, settings: Settings, results: Results, device: str):
        self.results, self.given, self.lock, self.quiet = results, settings, threading.RLock(), False
        self.desk = Desk(self.button, device)
        self.status: controls.Status = self.desk.status
        self.inputs: dict[str, Any] = {}  # a control for each field of Settings
        self.screen, self.box = Screen(self.stem, self.charts), widgets.VBox()
        self.screens = [self.screen]
        self.build()

    def build(self) -> None:
        """Make the explorer of the settings `given`."""

    @classmethod
    def show(cls, settings: Settings | None = None, *, store: str = "", device: str = "auto") -> None:
        """Display it, the only one of its kind.

        settings: where its controls start; None for those of `initial`.
        store: a folder of results; empty for the project's own.
        device: auto, cpu, cuda or cuda:N.
        """
        start = cls.initial if settings is None else settings
        present(cls.stem, (start, store, device), lambda: cls(start, Results.at(store), device))

    def lay_out(self, *parts: widgets.Widget) -> None:
        """Put the widgets into the explorer's box, from top to bottom."""
        self.box.children = widgets.HTML(f"<style>{(WEB / 'app.css').read_text()}</style>"), *parts
        self.box.add_class("retrainlab").add_class(f"retrainlab-{self.stem}")

    def settings(self) -> Settings:
        """What the controls say, and what was given where there is none. Raises BadInput if it makes no sense."""
        return replace(self.given, **{name: control.value for name, control in self.inputs.items()})

    def view(self) -> View | None:
        """What is to be shown; None for nothing yet. Raises BadInput for what cannot be shown."""
        raise NotImplementedError

    def put(self, view: View) -> None:
        """Show a view on the screen, with its CSV unless something runs."""
        self.screen.put(view, csv=not self.desk.running)

    def draw(self) -> None:
        """Show what there is to show; what is refused is told in the status line."""
        self.do(lambda: None if (view := self.view()) is None else self.put(view))

    def do(self, action: Callable[[], object]) -> None:
        """Act under the lock; what is refused is told in the status line."""
        with self.lock:
            try:
                action()
            except BadInput as error:
                self.status.say(str(error))

    def watch(self, action: Callable[[], object], *sources: controls.Control) -> None:
        """Act whenever a reader changes one of these controls."""
        for source in sources:
            controls.observe(source, lambda _: self.do(lambda: self.quiet or action()))

    @contextmanager
    def quietly(self) -> Iterator[None]:
        """While the explorer itself sets controls, nothing that watches them acts. The lock must be held."""
        self.quiet = True
        try:
            yield
        finally:
            self.quiet = False

    def press(self, button: widgets.Button, action: Callable[[], object]) -> None:
        """Act whenever a reader presses this button."""
        button.on_click(lambda _: self.do(action))

    def close(self) -> None:
        """End what runs, and close every widget, also what is nowhere on the page."""
        self.desk.end()
        for screen in self.screens:
            close(*screen.charts, screen.note, screen.table, screen.take)
        close(self.box, self.desk.buttons, self.desk.status, self.desk.where)


_shown: dict[str, tuple[Hashable, Any]] = {}
_showing = threading.Lock()


def present(name: str, settings: Hashable, make: Callable[[], Any]) -> Any:
    """Display the explorer of that name, and return it: the one that is there if its settings are the same, whatever it is
    doing; or else a new one, for which the one before is stopped and closed."""
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


def close(*boxes: widgets.Widget) -> None:
    """Close widgets and all that they hold, so that neither kernel nor page keeps them."""
    for box in boxes:
        own = [part for name in ("layout", "style") if (part := getattr(box, name, None)) is not None]
        close(*getattr(box, "children", ()), *own)
        box.close()
