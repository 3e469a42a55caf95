"""The widgets of `schedules`."""

import threading

from retrainlab.checks import BadInput
from retrainlab.config import DENSE_SCHEDULES, NAMED_SCHEDULES
from retrainlab.device import resolve
from retrainlab.explore.kit import app, controls, worker
from retrainlab.explore.views.schedules import FREE, NO_FREE, Settings, code, compute, csv, picture, words


class Schedules:
    """The widgets. Every change reads them all, draws, and says what is seen."""

    def __init__(self, settings: Settings, log: bool = False):
        self.fixed = {"epochs": settings.epochs, "steps_per_epoch": settings.steps_per_epoch}
        s, self.lock = settings, threading.Lock()
        self.budget = controls.number("Budget (% of dense run)", 100 * s.budget, 0.5, 100.0, 0.5)
        self.peak = controls.number("Peak learning rate", s.peak, 0.001, 1.0, 0.05, log=True)
        self.warmup = controls.number("Warm-up (% of budget)", round(100 * s.warmup), 0, 50, 1)
        self.damage = controls.number("ALLR's damage d1", s.damage, 0.0, 1.0, 0.01)
        self.free_lr = controls.number("Free curve starts at", s.free_lr, 0.001, 1.0, 0.05, log=True)
        self.dense = controls.choice("Dense schedule", DENSE_SCHEDULES, s.dense)
        self.ramp = controls.choice("Warm-up ramp", ("linear", "cosine"), s.ramp)
        self.free = controls.choice("Free curve", (NO_FREE, *FREE), s.free)
        self.axis = controls.choice("Learning-rate axis", (("linear", False), ("logarithmic", True)), log)
        self.boxes = controls.boxes(NAMED_SCHEDULES, NAMED_SCHEDULES)
        self.chart, self.status, self.take = controls.Chart(), controls.Status(), controls.Take(name="schedules")
        numbers = (self.budget, self.peak, self.warmup, self.damage, self.free_lr)
        inputs = controls.row(
            controls.column(*(n.row for n in numbers)), controls.column(self.dense, self.ramp, self.free, self.axis)
        )
        show = controls.row(controls.title("Show"), *self.boxes.values())
        where = controls.Note()
        where.say(f"Nothing is trained here; the other explorers would compute on {worker.device_words(resolve())}.")
        self.box = controls.app("schedules", [inputs, show, self.chart, self.status, self.take, where])
        for widget in (*(n.slider for n in numbers), self.dense, self.ramp, self.free, self.axis, *self.boxes.values()):
            widget.observe(self.redraw, names="value")
        self.redraw()

    def settings(self) -> Settings:
        return Settings(
            budget=self.budget.value / 100,
            dense=self.dense.value,
            peak=self.peak.value,
            warmup=self.warmup.value / 100,
            ramp=self.ramp.value,
            damage=self.damage.value,
            free=self.free.value,
            free_lr=self.free_lr.value,
            **self.fixed,
        )

    def redraw(self, _change=None) -> None:
        with self.lock:
            try:
                settings = self.settings()
                curves = compute(settings)
            except BadInput as error:
                self.status.say(str(error))
                return
            shown = (*controls.ticked(self.boxes), settings.free)
            self.chart.spec = picture(settings, curves, shown, self.axis.value)
            self.take.csv, self.take.code = csv(curves, shown), code(settings)
            self.status.say(words(settings, curves))

    def close(self) -> None:
        app.close(self.box)


def show(settings: Settings = Settings(), log: bool = False) -> None:
    """Display the explorer; log: start on a logarithmic axis."""
    app.present("schedules", (settings, log), lambda: Schedules(settings, log))
