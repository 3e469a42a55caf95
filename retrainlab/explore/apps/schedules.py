"""The retraining schedules as curves: every change of a control draws them at once."""

from dataclasses import replace

from retrainlab.config import DENSE_SCHEDULES, NAMED_SCHEDULES
from retrainlab.device import resolve
from retrainlab.explore.kit import controls, worker
from retrainlab.explore.kit.arriving import Arriving
from retrainlab.explore.kit.cells import exact
from retrainlab.explore.kit.pages import View
from retrainlab.explore.views import schedules as views
from retrainlab.explore.views.schedules import FREE, NO_FREE, RAMPS, Settings


class Schedules(Arriving[Settings]):
    """The explorer of curves. It trains nothing, so its desk is not shown."""

    stem, initial = "schedules", Settings()

    def build(self) -> None:
        super().build()
        s, screen = self.given, self.screen
        self.status = screen.note
        axes = (("linear", False), ("logarithmic", True))
        self.inputs = controls.inputs(s, "data", "budget") | {
            "peak": controls.number("Peak learning rate", s.peak, 0.001, 1.0, 0.05, log=True),
            "warmup": controls.share("Warm-up (% of budget)", s.warmup, 0, 50, 1),
            "damage": controls.number("ALLR's damage d1", s.damage, 0.0, 1.0, 0.01),
            "free_lr": controls.number("Free curve starts at", s.free_lr, 0.001, 1.0, 0.05, log=True),
            "dense": controls.choice("Dense schedule", DENSE_SCHEDULES, s.dense),
            "ramp": controls.choice("Warm-up ramp", RAMPS, s.ramp),
            "free": controls.choice("Free curve", (NO_FREE, *FREE), s.free),
            "log": controls.choice("Learning-rate axis", axes, s.log),
            "shown": controls.ticks("Show", NAMED_SCHEDULES, s.shown),
        }
        numbers, choices = ("budget", "peak", "warmup", "damage", "free_lr"), ("data", "dense", "ramp", "free", "log")
        inputs = controls.columns(self.inputs, numbers, choices), self.inputs["shown"].row
        where = controls.Note()
        where.say(f"Nothing is trained here; the other explorers would compute on {worker.device_words(resolve())}.")
        self.lay_out(*inputs, self.shelf, *screen.charts, screen.note, screen.take, where)
        self.watch(self.other_data, self.inputs["data"])
        self.watch(self.draw, *(control for name, control in self.inputs.items() if name != "data"))
        if s.data != Settings.data:
            self.do(self.other_data)
        self.draw()

    def settings(self) -> Settings:
        """What the controls say; the budget is a stored one where only rounding tells them apart."""
        said = super().settings()
        return replace(said, budget=exact(said.budget, [c.budget for c in self.cells]))

    def other_data(self) -> None:
        """Take another data set's dense run, and what is stored of it if its networks train for long."""
        data = self.inputs["data"].value
        self.arrive(data)
        self.given = views.of_data(self.settings(), data, self.cells, self.results)
        with self.quietly():
            for name in ("budget", "peak", "damage", "dense"):
                controls.put(self.inputs[name], getattr(self.given, name))
        self.draw()

    def view(self) -> View:
        return views.view(self.settings())


show = Schedules.show
