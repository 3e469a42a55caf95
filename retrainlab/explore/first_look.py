"""Prune a small trained network, watch its accuracy collapse, retrain it live under a schedule.

`FirstLook` ties the numbers and pictures of `recovery` to widgets; the slow work is done by one daemon thread.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from retrainlab.config import NAMED_SCHEDULES, Experiment, Prune, Recipe, Retrain
from retrainlab.device import resolve
from retrainlab.experiment import Dense, prune_dense, run, setting
from retrainlab.explore import chart, parts
from retrainlab.explore.recovery import (
    KEPT,
    WIDTH,
    Attempt,
    attempts_chart,
    attempts_code,
    attempts_csv,
    check_sparsity,
    coarse_to_fine,
    collapse,
    collapse_chart,
    dense_network,
    outcome_words,
    pruned_words,
)
from retrainlab.paths import store_root
from retrainlab.store import Store
from retrainlab.training import Point

BUDGETS = (0.025, 0.05, 0.1, 0.25, 0.5)
ABOUT = {
    "FT": "the dense run's last, small rate",
    "LRW": "replay the end of the dense run",
    "SLR": "the whole dense schedule, compressed",
    "CLR": "a cosine, from the largest rate down",
    "LLR": "a line, from the largest rate to 0",
    "ALLR": "LLR, started lower the less the prune hurt",
}


class FirstLook:
    """Widgets and the little they share: the network, its accuracy by sparsity, the attempts; `lock` guards them."""

    def __init__(self, recipe: Recipe, store: Store, device: str):
        self.recipe, self.store, self.device = recipe, store, device
        self.lock, self.worker = threading.RLock(), parts.Worker()
        self.dense: Dense | None = None
        self.classes = 0
        self.accuracies: dict[int, float] = {}
        self.attempts: list[Attempt] = []
        self.charts = chart.Chart(), chart.Chart()
        self.statuses, self.take = (parts.Status(), parts.Status()), chart.Take(name="attempts")
        self.sparsity = parts.number("Weights removed (%)", 90, 0, 99, 1)
        self.schedule = parts.choice("Schedule", [(f"{s}: {ABOUT[s]}", s) for s in NAMED_SCHEDULES], "LLR")
        self.budget = parts.choice("Budget", [(f"{100 * b:g} % of the dense run", b) for b in BUDGETS], 0.1)
        self.zoom = parts.choice("Accuracy axis", (("from 0 %", False), ("the top 15 points", True)), False)
        self.retrain = widgets.Button(description="Retrain", button_style="primary", disabled=True)
        self.stop = widgets.Button(description="Stop", disabled=True)
        self.clear = widgets.Button(description="Clear the picture", disabled=True)
        self.bar = widgets.IntProgress(0, 0, 100, description="Progress", layout=widgets.Layout(width="auto"))
        self.bar.style.description_width = parts.LABEL["description_width"]
        buttons = widgets.HBox([self.retrain, self.stop, self.clear], layout=widgets.Layout(flex_flow="row wrap"))
        panel = widgets.Layout(flex="1 1 480px", max_width=f"{WIDTH}px", margin="0 16px 12px 0")
        left = [parts.title("1. Prune"), self.sparsity.row, self.charts[0], self.statuses[0]]
        right = [parts.title("2. Retrain"), self.schedule, self.budget, buttons, self.bar, self.zoom]
        columns = [
            widgets.VBox(left, layout=panel),
            widgets.VBox([*right, self.charts[1], self.statuses[1], self.take], layout=panel),
        ]
        self.box = parts.app("first-look", [widgets.HBox(columns, layout=widgets.Layout(flex_flow="row wrap"))])
        self.sparsity.slider.observe(lambda _: self.draw_collapse(), names="value")
        self.zoom.observe(lambda _: self.draw_attempts(), names="value")
        self.retrain.on_click(lambda _: self.start_retraining())
        self.stop.on_click(lambda _: self.worker.stop())
        self.clear.on_click(lambda _: self.forget())

    def prepare(self) -> None:
        """Get or train the network and measure the collapse, in the background."""
        self.statuses[0].say("Looking for the trained network; if there is none yet, it is trained now (seconds).")
        self.statuses[1].say("Retraining can start as soon as the network is there.")
        self.worker.start(self._prepare, self.draw_collapse, self._prepared)

    def _prepare(self, stopped: Callable[[], bool]) -> str:
        setup, original = setting(self.recipe, resolve(self.device))
        self.bar.max = len(original.lr)

        def on_point(point: Point) -> None:
            self.bar.value = point.step
            if point.step:
                self.statuses[0].say(f"Training the network once: {100 * point.step / self.bar.max:.0f} %.")

        dense = dense_network(self.recipe, self.store, self.device, on_point, stopped)
        if stopped():
            return ""
        with self.lock:
            self.dense, self.classes = dense, setup.data.classes
        self.bar.max, self.bar.value = 100, 0
        for sparsity, accuracy in collapse(self.recipe, dense, self.device, coarse_to_fine()):
            if stopped():
                return ""
            with self.lock:
                self.accuracies[sparsity] = accuracy
            self.bar.value = len(self.accuracies)
        return "Choose a schedule and a budget, then press Retrain."

    def _prepared(self, sentence: str) -> None:
        if len(self.accuracies) < 100:  # stopped, or an error
            self.statuses[0].say(sentence)
            return
        self.draw_collapse()
        self.draw_attempts()
        self.statuses[1].say(sentence)
        self.retrain.disabled = False

    def draw_collapse(self) -> None:
        with self.lock:
            if self.dense is None or not self.accuracies:
                return
            s, scalars = self.sparsity.value, self.dense.result.scalars
            level = scalars["validation_accuracy"]
            self.charts[0].spec = collapse_chart(self.accuracies, level, s)
            if s in self.accuracies:
                weights = scalars["prunable_weights"]
                self.statuses[0].say(pruned_words(s, weights, level, self.accuracies[s], self.classes))

    def draw_attempts(self) -> None:
        with self.lock:
            if self.dense is not None:
                level = self.dense.result.scalars["validation_accuracy"]
                self.charts[1].spec = attempts_chart(self.attempts, level, self.zoom.value)
                self.take.csv, self.take.code = attempts_csv(self.attempts), attempts_code(self.recipe, self.attempts)

    def start_retraining(self) -> None:
        """Retrain at the slider's sparsity; a second press while it runs does nothing."""
        if self.dense is None:
            return
        sparsity, schedule, budget = self.sparsity.value, self.schedule.value, self.budget.value
        steps = max(1, round(budget * self.dense.result.scalars["steps"]))
        attempt = Attempt(schedule, sparsity, budget, steps)
        self.worker.start(lambda stopped: self._retrain(attempt, stopped), self.draw_attempts, self._ended)

    def _retrain(self, attempt: Attempt, stopped: Callable[[], bool]) -> str:
        self.retrain.disabled = self.clear.disabled = True
        self.stop.disabled = False
        experiment = Experiment(
            self.recipe,
            Prune(attempt.sparsity / 100),
            Retrain(attempt.schedule, attempt.budget),
            evaluations=min(attempt.planned, 60),
        )
        with self.lock:
            self.attempts = [a for a in self.attempts if a.plan != attempt.plan][1 - KEPT :] + [attempt]
        self.bar.max, self.bar.value = attempt.planned, 0
        self.statuses[1].say(f"Retraining with {attempt.schedule} for {attempt.planned} steps ...")

        def on_point(point: Point) -> None:
            with self.lock:
                a = self.attempts[-1]
                self.attempts[-1] = replace(a, points=(*a.points, (point.step, point.accuracy)))
            self.bar.value = point.step

        pruned = prune_dense(self.recipe, experiment.prune, self.dense, self.device)
        result = run(experiment, self.device, dense=self.dense, pruned=pruned, on_point=on_point, stop=stopped)
        check_sparsity(result, experiment.prune.sparsity, self.dense.result.scalars["prunable_weights"])
        return outcome_words(result, attempt.planned)

    def _ended(self, sentence: str) -> None:
        with self.lock:
            self.attempts = [replace(a, running=False) for a in self.attempts if a.points]
        self.draw_attempts()
        self.statuses[1].say(sentence)
        self.stop.disabled = True
        self.retrain.disabled = self.clear.disabled = False

    def forget(self) -> None:
        """Clear the picture of attempts."""
        with self.lock:
            if not self.worker.busy:
                self.attempts = []
        self.draw_attempts()

    def close(self) -> None:
        self.worker.stop()
        parts.close(self.box)


def show(store: str = "", device: str = "auto", seed: int = 0, recipe: Recipe | None = None) -> None:
    """Display it. store: folder of results, empty for the project's own; recipe: what is trained, digits if None."""
    recipe = replace(recipe or Recipe(), seed=seed)

    def make() -> FirstLook:
        look = FirstLook(recipe, Store(Path(store) if store else store_root()), device)
        look.prepare()
        return look

    parts.present("first-look", (recipe, store, device), make)
