"""The retraining schedules as curves: every change of a control draws them at once."""

from retrainlab.config import DENSE_SCHEDULES, NAMED_SCHEDULES
from retrainlab.device import resolve
from retrainlab.explore.kit import controls, worker
from retrainlab.explore.kit.app import App
from retrainlab.explore.kit.pages import View
from retrainlab.explore.views import schedules as views
from retrainlab.explore.views.schedules import FREE, NO_FREE, RAMPS, Settings


class Schedules(App[Settings]):
    """The explorer of curves. It trains nothing, so its desk is not shown."""

    stem, initial = "schedules", Settings()

    def build(self) -> None:
        s, screen = self.given, self.screen
        self.status = screen.note
        axes = (("linear", False), ("logarithmic", True))
        self.inputs = controls.inputs(s, "budget") | {
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
        numbers, choices = ("budget", "peak", "warmup", "damage", "free_lr"), ("dense", "ramp", "free", "log")
        inputs = controls.columns(self.inputs, numbers, choices), self.inputs["shown"].row
        where = controls.Note()
        where.say(f"Nothing is trained here; the other explorers would compute on {worker.device_words(resolve())}.")
        self.lay_out(*inputs, *screen.charts, screen.note, screen.take, where)
        self.watch(self.draw, *self.inputs.values())
        self.draw()

    def view(self) -> View:
        return views.view(self.settings())


show = Schedules.show
