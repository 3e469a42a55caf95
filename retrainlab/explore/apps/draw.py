"""Draw a retraining schedule by its control points, and race it against those of the papers: the widgets of `draw`."""

from collections.abc import Callable
from dataclasses import replace
from html import escape

import ipywidgets as widgets

from retrainlab.config import NAMED_SCHEDULES, Experiment, Retrain
from retrainlab.explore.kit import board, controls
from retrainlab.explore.kit.board import Entry
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.points import SHAPES, TOP, Points, add, move, remove
from retrainlab.explore.kit.racing import Racing
from retrainlab.explore.views import draw as views
from retrainlab.explore.views.draw import OWN, Settings
from retrainlab.study.results import Results


class Draw(Racing[Settings]):
    """The widgets, the points that are drawn, and all that was raced."""

    stem, button, initial = "draw", "Race", Settings()

    def __init__(self, settings: Settings, results: Results, device: str):
        super().__init__(settings, results, device)
        self.points, self.at, self.syncing = settings.points, 0, False
        self.names: dict[Points, str] = {}
        self.boards: dict[tuple, dict[Retrain, Entry]] = {}
        self.shape = controls.choice("Start from", (OWN, *SHAPES), OWN)
        self.point = controls.choice("Point", (1,), 1)
        named = {"style": controls.LABEL, "layout": widgets.Layout(width="auto"), "min": 0}
        self.share = widgets.BoundedFloatText(0, max=100, step=1, description="Share of the run (%)", **named)
        self.lr = widgets.BoundedFloatText(0, max=TOP, step=0.005, description="Learning rate", **named)
        self.add, self.remove = (widgets.Button(description=w) for w in ("Add a point", "Remove the point"))
        self.inputs = controls.inputs(settings, "data", "model", "sparsity", "budget", "seeds")
        self.inputs["schedules"] = controls.ticks("Race against", NAMED_SCHEDULES, settings.schedules)
        self.reveal = widgets.ToggleButton(False, layout=widgets.Layout(width="16em"))
        self.line = widgets.HTML()
        points = (self.shape, self.point, self.share, self.lr, controls.row(self.add, self.remove))
        columns = controls.columns(self.inputs, points, ("data", "model", "sparsity", "budget", "seeds"))
        self.lay_out(
            *(controls.title("1. Draw"), columns, *self.screen.charts, self.line),
            *(controls.title("2. Race"), self.inputs["schedules"].row),
            *(self.desk.where, self.desk.buttons, self.desk.status),
            *(controls.title("3. Leaderboard"), self.reveal, self.screen.table, self.screen.take),
        )
        self.screen.charts[0].observe(self.dragged, names="moved")
        self.watch(self.start_from, self.shape)
        self.watch(lambda: self.change(lambda: (self.points, self.point.value - 1)), self.point)
        self.watch(lambda: self.change(self._typed), self.share, self.lr)
        self.press(self.add, lambda: self.change(lambda: add(self.points, self.at)))
        self.press(self.remove, lambda: self.change(lambda: (remove(self.points, self.at), max(0, self.at - 1))))
        self.watch(self.draw, *self.inputs.values(), self.reveal)
        self.press(self.desk.start, self.start)
        self.desk.status.say("Drag the points, or use the boxes or the arrow keys; then press Race.")
        self.change(lambda: (self.points, 0))

    def settings(self) -> Settings:
        return replace(super().settings(), points=self.points)

    # ---- 1. draw ----

    def change(self, make: Callable[[], tuple[Points, int]]) -> None:
        """Take the points and the place of the chosen one that `make` returns, and let all widgets show them. Raises
        BadInput as `make` does."""
        if self.syncing:  # a widget that is being told, not one that a reader has changed
            return
        self.points, self.at = make()
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
        if place < len(self.points):
            self.do(lambda: self.change(lambda: (move(self.points, place, x / 100, y), place)))

    def start_from(self) -> None:
        """Take the points of the shape that is chosen."""
        if (name := self.shape.value) != OWN:
            self.change(lambda: (SHAPES[name], min(self.at, len(SHAPES[name]) - 1)))

    def _typed(self) -> tuple[Points, int]:
        return move(self.points, self.at, self.share.value / 100, self.lr.value), self.at

    # ---- 2. race ----

    def experiments(self, settings: Settings) -> list[Experiment]:
        return views.experiments(settings)

    def begun(self) -> None:
        self.names.setdefault(self.raced.points, f"drawn {len(self.names) + 1}")
        self.reveal.value = False  # each new race is judged without it

    def ended(self, settings: Settings, race: Live) -> str:
        """Put on the leaderboard what has finished; what the race shows, in words."""
        entries = board.finished(race, self.names)
        self.boards.setdefault(settings.conditions, {}).update({e.retrain: e for e in entries})
        return board.words(race, entries)

    def view(self) -> View:
        name = self.names.get(self.raced.points, "")
        entries = list(self.boards.get(self.raced.conditions, {}).values())
        return views.view(self.settings(), self.race, self.raced, name, entries, self.reveal.value)

    def put(self, view: View) -> None:
        super().put(view)
        self.line.value = f"<code>{escape(view.words)}</code>"
        self.reveal.description = "Hide test accuracy" if self.reveal.value else "Reveal test accuracy"


show = Draw.show
