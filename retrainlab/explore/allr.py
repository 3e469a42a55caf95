"""Anatomy of ALLR: how the damage of a prune and the budget make its first learning rate, on a trained network's weights.

The widgets and the page; what they show is made in `anatomy`. Nothing is retrained, so everything follows the sliders.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from retrainlab import plan
from retrainlab.config import DATASETS, MODELS, Recipe
from retrainlab.errors import BadInput
from retrainlab.experiment import original_curve, setting
from retrainlab.explore import chart, parts, racing
from retrainlab.explore.anatomy import (
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
from retrainlab.explore.pages import Control, Page, View
from retrainlab.explore.recovery import dense_network
from retrainlab.paths import store_root
from retrainlab.sources import fingerprint
from retrainlab.store import Store


class Explorer:
    """The widgets and the network; `lock` guards what two threads read and write."""

    def __init__(self, settings: Settings, store: Store, device: str):
        self.store, self.lock = store, threading.RLock()
        self.recipe: Recipe | None = None
        self.anatomy: Anatomy | None = None
        self.again = False  # whether the controls changed while a network was trained
        self.desk = parts.Desk("Get the network", device)
        s = settings
        self.sparsity = parts.number("Weights removed (%)", 100 * s.sparsity, 0.0, 99.5, 0.5)
        self.budget = parts.number("Budget (% of dense run)", 100 * s.budget, 0.5, 100.0, 0.5)
        self.norm = parts.choice("Norm over", [(name, norm) for norm, name in NORMS.items()], s.norm)
        self.data = parts.choice("Data set", DATASETS, s.data)
        self.model = parts.choice("Network", MODELS, s.model)
        self.seed = parts.number("Seed", s.seed, 0, 20, 1)
        self.charts, self.table, self.take = (chart.Chart(), chart.Chart()), parts.Table(), chart.Take(name="allr")
        self.note = parts.Status()
        controls = parts.row(
            parts.column(self.sparsity.row, self.budget.row, self.norm),
            parts.column(self.data, parts.about(self.data), self.model, self.seed.row),
        )
        shown = [self.charts[0], self.note, self.table, parts.title("Which weights go"), self.charts[1], self.take]
        self.box = parts.app("allr", [controls, self.desk.buttons, self.desk.status, self.desk.where, *shown])
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
        setup, original = setting(recipe, self.desk.device)

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
        parts.close(self.box)


def show(settings: Settings = Settings(), *, store: str = "", device: str = "auto") -> None:
    """Display it. store: folder of results, empty for the project's own; device: auto, cpu, cuda or cuda:N."""
    folder = Store(Path(store) if store else store_root())
    parts.present("allr", (settings, store, device), lambda: Explorer(settings, folder, device))


def page(store: Store) -> Page:
    """One network for digits: sparsity, budget and norm by controls."""
    sparsities = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
    budgets = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
    recipe = Settings().recipe

    @cache
    def anatomy() -> Anatomy:
        dense = store.dense(plan.dense_key(recipe, fingerprint(recipe.data, recipe.image_size)), torch.device("cpu"))
        if dense is None:
            raise BadInput("The page about ALLR needs the trained network, which is not in the store; make it first.")
        if dense.result.outcome:
            raise BadInput(
                f"The page about ALLR has no trained network ({dense.result.outcome}); choose another recipe."
            )
        setup, _ = setting(recipe, torch.device("cpu"))
        peak = original_curve(recipe, setup.data.steps_per_epoch(recipe.batch_size)).peak
        return Anatomy.of(dense.state, setup.prunable, peak)

    def view(sparsity: float, budget: float, norm: str) -> View:
        s, a = Settings(sparsity, budget, norm), anatomy()
        pictures = [factors_picture(s, a), weights_picture(s, a)]
        return View(pictures, words(s, a), ("ALLR's numbers", HEADS, table(s, a)), csv(s, a), code(s))

    intro = (
        "ALLR retrains on a line from d times the dense run's peak learning rate to 0. d is the larger of the damage d1, "
        "which pruning did to the norm of the weights, and of d2, the budget. Choose how much is pruned and how long the "
        "retraining is."
    )
    return Page(
        "allr",
        "Anatomy of ALLR",
        [intro],
        [
            Control("Weights removed", [(f"{100 * s:g} %", s) for s in sparsities], 9),
            Control("Budget (share of the dense run)", [(f"{100 * b:g} %", b) for b in budgets], 2),
            Control("Norm over", [(name, norm) for norm, name in NORMS.items()], choice=True),
        ],
        racing.experiments(racing.Settings(schedules=("LLR",))),
        view,
    )
