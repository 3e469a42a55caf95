"""Anatomy of ALLR: how the damage of a prune and the budget make its first learning rate, on a trained network's weights.

The widgets and the page; what they show is made in `anatomy`. Nothing is retrained, so everything follows the sliders.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from retrainlab.config import DATASETS, MODELS, Recipe
from retrainlab.explore.kit import app, controls, worker
from retrainlab.explore.views.allr import (
    HEADS,
    NORMS,
    Anatomy,
    Settings,
    code,
    csv,
    factors_picture,
    table,
    weights_picture,
    words,
)
from retrainlab.explore.views.start import dense_network
from retrainlab.paths import store_root
from retrainlab.study.stages import prepare
from retrainlab.study.store import Store


class Allr:
    """The widgets and the network; `lock` guards what two threads read and write."""

    def __init__(self, settings: Settings, store: Store, device: str):
        self.store, self.lock = store, threading.RLock()
        self.recipe: Recipe | None = None
        self.anatomy: Anatomy | None = None
        self.again = False  # whether the inputs changed while a network was trained
        self.desk = worker.Desk("Get the network", device)
        s = settings
        self.sparsity = controls.number("Weights removed (%)", 100 * s.sparsity, 0.0, 99.5, 0.5)
        self.budget = controls.number("Budget (% of dense run)", 100 * s.budget, 0.5, 100.0, 0.5)
        self.norm = controls.choice("Norm over", [(name, norm) for norm, name in NORMS.items()], s.norm)
        self.data = controls.choice("Data set", DATASETS, s.data)
        self.model = controls.choice("Network", MODELS, s.model)
        self.seed = controls.number("Seed", s.seed, 0, 20, 1)
        self.charts, self.table, self.take = (
            (controls.Chart(), controls.Chart()),
            controls.Table(),
            controls.Take(name="allr"),
        )
        self.note = controls.Status()
        inputs = controls.row(
            controls.column(self.sparsity.row, self.budget.row, self.norm),
            controls.column(self.data, controls.about(self.data), self.model, self.seed.row),
        )
        shown = [self.charts[0], self.note, self.table, controls.title("Which weights go"), self.charts[1], self.take]
        self.box = controls.app("allr", [inputs, self.desk.buttons, self.desk.status, self.desk.where, *shown])
        for widget in (self.sparsity.slider, self.budget.slider, self.norm):
            widget.observe(lambda _: self.draw(), names="value")
        for widget in (self.data, self.model, self.seed.slider):
            widget.observe(lambda _: self.look(), names="value")
        self.desk.start.on_click(lambda _: self.look())
        self.look()

    def settings(self) -> Settings:
        """What the widgets say."""
        return Settings(
            sparsity=round(self.sparsity.value / 100, 6),
            budget=round(self.budget.value / 100, 6),
            norm=self.norm.value,
            data=self.data.value,
            model=self.model.value,
            seed=self.seed.value,
        )

    def look(self) -> None:
        """Get the network that the widgets ask for, unless it is there; instead of the one that is trained now."""
        wanted = self.settings().recipe
        with self.lock:
            if self.recipe == wanted and not self.desk.worker.busy:
                self.desk.status.say("Move the sliders: nothing has to be trained for this.")
            elif not self.desk.go(lambda stopped: self._look(wanted, stopped), self.draw, self._looked):
                self.desk.worker.stop()
                self.again = True

    def _look(self, recipe: Recipe, stopped: Callable[[], bool]) -> str:
        self.desk.status.say("Looking for the trained network; if there is none yet, it is trained now.")
        setup, original = prepare(recipe, self.desk.device)

        def tell(point) -> None:
            self.desk.tell(point.step / len(original.lr), "Training the network once ...")

        dense = dense_network(recipe, self.store, str(self.desk.device), tell, stopped)
        if stopped():
            return "Stopped. Press 'Get the network' to train it from the start."
        anatomy = Anatomy.of(dense.state, setup.prunable, original.peak)
        with self.lock:
            self.recipe, self.anatomy = recipe, anatomy
        return "Move the sliders: nothing has to be trained for this."

    def _looked(self) -> None:
        with self.lock:
            again, self.again = self.again, False
        if again:
            self.look()

    def draw(self) -> None:
        """What the sliders say, for the network that is there."""
        with self.lock:
            if self.anatomy is None or self.recipe is None:
                return
            r = self.recipe
            settings = replace(self.settings(), data=r.data, model=r.model, seed=r.seed)
            self.charts[0].spec = factors_picture(settings, self.anatomy)
            self.charts[1].spec = weights_picture(settings, self.anatomy)
            self.table.set(f"ALLR's numbers ({r.data}, {r.model}, seed {r.seed})", HEADS, table(settings, self.anatomy))
            self.note.say(words(settings, self.anatomy))
            self.take.csv, self.take.code = csv(settings, self.anatomy), code(settings)

    def close(self) -> None:
        self.desk.end()
        app.close(self.box)


def show(settings: Settings = Settings(), *, store: str = "", device: str = "auto") -> None:
    """Display it. store: folder of results, empty for the project's own; device: auto, cpu, cuda or cuda:N."""
    folder = Store(Path(store) if store else store_root())
    app.present("allr", (settings, store, device), lambda: Allr(settings, folder, device))
