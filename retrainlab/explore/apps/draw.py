"""Draw a retraining schedule by its control points, and race it against those of the papers: the widgets of `draw`."""

from dataclasses import replace
from html import escape

import ipywidgets as widgets

from retrainlab.config import NAMED_SCHEDULES, Retrain
from retrainlab.explore.kit import board, controls
from retrainlab.explore.kit.board import Entry
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.points import SHAPES, TOP, Points, add, move, remove
from retrainlab.explore.kit.racing import Racing
from retrainlab.explore.views import draw as views
from retrainlab.explore.views.draw import OWN, Settings


class Draw(Racing[Settings]):
    """The widgets, the points that are drawn, and all that was raced."""

    stem, button, initial = "draw", "Race", Settings()
    shows = views

    def build(self) -> None:
        super().build()
        self.points, self.at = self.given.points, 0
        self.names: dict[Points, str] = {}
        self.boards: dict[tuple, dict[Retrain, Entry]] = {}
        self.shape = controls.choice("Start from", (OWN, *SHAPES), OWN)
        self.point = controls.choice("Point", (1,), 1)
        named = {"style": controls.LABEL, "layout": widgets.Layout(width="auto"), "min": 0}
        self.share = widgets.BoundedFloatText(0, max=100, step=1, description="Share of the run (%)", **named)
        self.lr = widgets.BoundedFloatText(0, max=TOP, step=0.005, description="Learning rate", **named)
        self.add, self.remove = (widgets.Button(description=w) for w in ("Add a point", "Remove the point"))
        self.inputs = controls.inputs(self.given, "data", "model", "sparsity", "budget", "seeds")
        self.inputs["schedules"] = controls.ticks("Race against", NAMED_SCHEDULES, self.given.schedules)
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
        self.watch(lambda: self.change(self.points, self.point.value - 1), self.point)
        self.watch(lambda: self.move(self.at, self.share.value / 100, self.lr.value), self.share, self.lr)
        self.press(self.add, lambda: self.change(*add(self.points, self.at)))
        self.press(self.remove, lambda: self.change(remove(self.points, self.at), max(0, self.at - 1)))
        self.watch(self.draw, *self.inputs.values(), self.reveal)
        self.press(self.desk.start, self.start)
        self.desk.status.say("Drag the points, or use the boxes or the arrow keys; then press Race.")
        self.change(self.points, 0)

    def settings(self) -> Settings:
        return replace(super().settings(), points=self.points)

    def change(self, points: Points, at: int) -> None:
        """Take these points and the place of the chosen one, and let all widgets show them."""
        self.points, self.at = points, at
        with self.quietly():
            self.point.options = tuple(range(1, len(points) + 1))
            self.point.value = at + 1
            self.share.value, self.lr.value = round(100 * points[at][0], 4), points[at][1]
            self.shape.value = next((name for name, shape in SHAPES.items() if shape == points), OWN)
        self.draw()

    def move(self, place: int, share: float, lr: float) -> None:
        """Choose a point, and move it as near to (share, lr) as it can go."""
        if place < len(self.points):  # a chart that is late may tell of a point that is gone
            self.change(move(self.points, place, share, lr), place)

    def dragged(self, change: dict) -> None:
        """A point was moved in the chart, by pointer or arrow keys."""
        place, x, y = change["new"][:3]
        self.do(lambda: self.move(place, x / 100, y))

    def start_from(self) -> None:
        """Take the points of the shape that is chosen."""
        if (shape := SHAPES.get(self.shape.value)) is not None:
            self.change(shape, min(self.at, len(shape) - 1))

    def begun(self) -> None:
        self.names.setdefault(self.raced.points, f"drawn {len(self.names) + 1}")
        self.reveal.value = False  # each new race is judged without it

    def ended(self, settings: Settings, race: Live) -> str:
        """Put what has finished on the leaderboard; return what the race shows, in words."""
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
