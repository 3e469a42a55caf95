"""Draw a retraining schedule by its control points, and race it against the schedules of the papers.

`Draw` ties the numbers, pictures and words of `drawing` to widgets.
"""

import threading
from collections.abc import Callable
from html import escape
from pathlib import Path

import ipywidgets as widgets

from retrainlab.checks import BadInput
from retrainlab.config import DATASETS, MODELS, NAMED_SCHEDULES, Retrain
from retrainlab.explore.kit import app, controls, live, worker
from retrainlab.explore.kit.live import Live
from retrainlab.explore.views.draw import (
    HEADS,
    OWN,
    SHAPES,
    TOP,
    Entry,
    Points,
    Settings,
    add,
    board,
    code,
    csv,
    experiments,
    finished,
    line,
    move,
    page,
    picture,
    remove,
    words,
)
from retrainlab.paths import store_root
from retrainlab.study.store import Store

__all__ = ["Draw", "Settings", "page", "show"]


class Draw:
    """The widgets, the points that are drawn, the race that is shown and all that was raced; `lock` guards what two
    threads read and write."""

    def __init__(self, settings: Settings, store: Store, device: str):
        s, self.store, self.lock = settings, store, threading.RLock()
        self.points, self.at, self.syncing = s.points, 0, False
        self.race, self.raced = Live([]), s
        self.names: dict[Points, str] = {}
        self.boards: dict[tuple, dict[Retrain, Entry]] = {}
        self.desk = worker.Desk("Race", device)
        self.shape = controls.choice("Start from", (OWN, *SHAPES), OWN)
        self.point = controls.choice("Point", (1,), 1)
        named = {"style": controls.LABEL, "layout": widgets.Layout(width="auto"), "min": 0}
        self.share = widgets.BoundedFloatText(0, max=100, step=1, description="Share of the run (%)", **named)
        self.lr = widgets.BoundedFloatText(0, max=TOP, step=0.005, description="Learning rate", **named)
        self.add, self.remove = (widgets.Button(description=w) for w in ("Add a point", "Remove the point"))
        self.data, self.model = (
            controls.choice("Data set", DATASETS, s.data),
            controls.choice("Network", MODELS, s.model),
        )
        self.sparsity = controls.number("Weights removed (%)", 100 * s.sparsity, 0.0, 99.5, 0.5)
        self.budget = controls.number("Budget (% of dense run)", 100 * s.budget, 0.5, 100.0, 0.5)
        self.seeds = controls.number("Seeds", s.seeds, 1, 10, 1)
        self.boxes = controls.boxes(NAMED_SCHEDULES, s.schedules)
        self.reveal = widgets.ToggleButton(False, layout=widgets.Layout(width="16em"))
        self.chart, self.line, self.table = controls.Chart(), widgets.HTML(), controls.Table()
        self.take = controls.Take(name="drawn")
        inputs = controls.row(
            controls.column(self.shape, self.point, self.share, self.lr, controls.row(self.add, self.remove)),
            controls.column(
                self.data, controls.about(self.data), self.model, self.sparsity.row, self.budget.row, self.seeds.row
            ),
        )
        schedules = controls.row(controls.title("Race against"), *self.boxes.values())
        self.box = controls.app(
            "draw",
            [
                *(controls.title("1. Draw"), inputs, self.chart, self.line, controls.title("2. Race"), schedules),
                *(self.desk.where, self.desk.buttons, self.desk.status),
                *(controls.title("3. Leaderboard"), self.reveal, self.table, self.take),
            ],
        )
        self.chart.observe(self.dragged, names="moved")
        self.shape.observe(lambda _: self.start_from(), names="value")
        self.point.observe(lambda _: self.change(lambda: (self.points, self.point.value - 1)), names="value")
        for box in (self.share, self.lr):
            box.observe(lambda _: self.change(self._typed), names="value")
        self.add.on_click(lambda _: self.change(lambda: add(self.points, self.at)))
        self.remove.on_click(lambda _: self.change(lambda: (remove(self.points, self.at), max(0, self.at - 1))))
        numbers = (self.sparsity.slider, self.budget.slider, self.seeds.slider)
        for widget in (self.data, self.model, *numbers, *self.boxes.values(), self.reveal):
            widget.observe(lambda _: self.draw(), names="value")
        self.desk.start.on_click(lambda _: self.start())
        self.desk.status.say("Drag the points, or use the boxes or the arrow keys; then press Race.")
        self.change(lambda: (self.points, 0))

    def settings(self) -> Settings:
        """What the widgets say; BadInput if it makes no sense."""
        sparsity, budget = (round(number.value / 100, 6) for number in (self.sparsity, self.budget))
        data, model, named = self.data.value, self.model.value, controls.ticked(self.boxes)
        return Settings(data, model, sparsity, budget, self.seeds.value, self.points, named)

    # ---- 1. draw ----

    def change(self, make: Callable[[], tuple[Points, int]]) -> None:
        """Take the points and the place of the chosen one that `make` returns, and let all widgets show them."""
        with self.lock:
            if self.syncing:  # a widget that is being told, not one that a reader has changed
                return
            try:
                self.points, self.at = make()
            except BadInput as error:
                self.desk.status.say(str(error))
                return
            self.syncing = True
            try:
                self.point.options = tuple(range(1, len(self.points) + 1))
                self.point.value = self.at + 1
                self.share.value, self.lr.value = round(100 * self.points[self.at][0], 4), self.points[self.at][1]
                self.shape.value = next((name for name, points in SHAPES.items() if points == self.points), OWN)
            finally:
                self.syncing = False
            self.draw()

    def dragged(self, change: dict) -> None:
        """A point was moved in the chart, by pointer or arrow keys."""
        place, x, y = change["new"][:3]
        with self.lock:
            if place < len(self.points):
                self.change(lambda: (move(self.points, place, x / 100, y), place))

    def start_from(self) -> None:
        if (name := self.shape.value) != OWN:
            self.change(lambda: (SHAPES[name], min(self.at, len(SHAPES[name]) - 1)))

    def _typed(self) -> tuple[Points, int]:
        return move(self.points, self.at, self.share.value / 100, self.lr.value), self.at

    # ---- 2. race ----

    def start(self) -> None:
        """Race, or show the stored race; a second press while it runs does nothing."""
        with self.lock:
            if self.desk.worker.busy:
                return
            try:
                settings = self.settings()
                race = live.stored(experiments(settings), self.store)
            except BadInput as error:
                self.desk.status.say(str(error))
                return
            self.names.setdefault(settings.points, f"drawn {len(self.names) + 1}")
            self.race, self.raced = race, settings
            self.reveal.value = False  # each new race is judged without it
            if race.whole:
                self.desk.status.say(f"From the store. {self.enter(settings, race)}")
                self.draw()
                return
        self.desk.go(lambda stopped: self._run(settings, race, stopped), self.draw)

    def _run(self, settings: Settings, race: Live, stopped: Callable[[], bool]) -> str:
        live.run(race, self.store, self.desk.device, stopped, self.desk.tell)
        return self.enter(settings, race)

    def enter(self, settings: Settings, race: Live) -> str:
        """Put on the leaderboard what has finished; what the race shows, in words."""
        with self.lock:
            entries = finished(race, self.names)
            self.boards.setdefault(settings.conditions, {}).update({e.retrain: e for e in entries})
        return words(race, entries)

    def draw(self) -> None:
        """The curve, the race and the leaderboard as they stand."""
        with self.lock:
            try:
                s = self.settings()
            except BadInput as error:
                self.desk.status.say(str(error))
                return
            raced, revealed = self.names.get(self.raced.points, ""), self.reveal.value
            self.chart.spec = picture(s.retrains, s.recipe, self.race, "Your curve", raced, grips=True)
            self.line.value = f"<code>{escape(line(s.drawn))}</code>"
            self.take.code = code(s)
            self.reveal.description = "Hide test accuracy" if revealed else "Reveal test accuracy"
            data, model, sparsity, budget, seeds = self.raced.conditions
            entries = list(self.boards.get(self.raced.conditions, {}).values())
            about = f"{data}, {model}, {100 * sparsity:g} % removed, budget {100 * budget:g} %, seeds: {seeds}"
            self.table.set(f"Leaderboard ({about})", HEADS, board(entries, revealed))
            self.take.csv = csv(entries, revealed)

    def close(self) -> None:
        self.desk.end()
        app.close(self.box)


def show(settings: Settings = Settings(), *, store: str = "", device: str = "auto") -> None:
    """Display it. store: folder of results, empty for the project's own; device: auto, cpu, cuda or cuda:N."""
    folder = Store(Path(store) if store else store_root())
    app.present("draw", (settings, store, device), lambda: Draw(settings, folder, device))
