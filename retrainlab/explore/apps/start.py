"""Prune a small trained network, watch its accuracy collapse, retrain it live under a schedule.

`FirstLook` ties the numbers and pictures of `recovery` to widgets; the slow work is done by one daemon thread.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ipywidgets as widgets

from retrainlab.checks import choose, settled
from retrainlab.config import NAMED_SCHEDULES, Experiment, Prune, Recipe, Retrain
from retrainlab.explore.kit import app, controls, worker
from retrainlab.explore.views.start import (
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
from retrainlab.study.stages import Dense, prepare, prune_dense, run
from retrainlab.study.store import Store
from retrainlab.training.state import Point

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

    def __init__(
        self, recipe: Recipe, store: Store, device: str, sparsity: int = 90, schedule: str = "LLR", budget: float = 0.1
    ):
        sparsity = settled(sparsity, int, "The sparsity in percent")
        Prune(sparsity / 100), Retrain(choose(schedule, NAMED_SCHEDULES, "schedule"), budget)  # BadInput now
        self.recipe, self.store = recipe, store
        self.lock, self.desk = threading.RLock(), worker.Desk("Retrain", device)
        self.dense: Dense | None = None
        self.classes = 0
        self.accuracies: dict[int, float] = {}
        self.attempts: list[Attempt] = []
        self.charts = (
            controls.Chart(spec=collapse_chart({}, 1.0, sparsity)),
            controls.Chart(spec=attempts_chart([], 1.0)),
        )
        self.said, self.take = controls.Status(), controls.Take(name="attempts")
        self.sparsity = controls.number("Weights removed (%)", sparsity, 0, 99, 1)
        self.schedule = controls.choice("Schedule", [(f"{s}: {ABOUT[s]}", s) for s in NAMED_SCHEDULES], schedule)
        budgets = [(f"{100 * b:g} % of the dense run", b) for b in sorted({*BUDGETS, budget})]
        self.budget = controls.choice("Budget", budgets, budget)
        self.zoom = controls.choice("Accuracy axis", (("from 0 %", False), ("the top 15 points", True)), False)
        self.clear = widgets.Button(description="Clear the picture", disabled=True)
        self.desk.start.disabled = True
        panel = widgets.Layout(flex="1 1 480px", max_width=f"{WIDTH}px", margin="0 16px 12px 0")
        left = [controls.title("1. Prune"), self.sparsity.row, self.charts[0], self.said, self.desk.where]
        right = [controls.title("2. Retrain"), self.schedule, self.budget, self.zoom, self.desk.buttons, self.clear]
        columns = [
            widgets.VBox(left, layout=panel),
            widgets.VBox([*right, self.desk.status, self.charts[1], self.take], layout=panel),
        ]
        self.box = controls.app("first-look", [widgets.HBox(columns, layout=widgets.Layout(flex_flow="row wrap"))])
        self.sparsity.slider.observe(lambda _: self.draw_collapse(), names="value")
        self.zoom.observe(lambda _: self.draw_attempts(), names="value")
        self.desk.start.on_click(lambda _: self.start_retraining())
        self.clear.on_click(lambda _: self.forget())

    def prepare(self) -> None:
        """Get or train the network and measure the collapse, in the background."""
        self.desk.status.say("Looking for the trained network; if there is none yet, it is trained now (seconds).")
        self.desk.go(self._prepare, self.draw_collapse, self._prepared)

    def _prepare(self, stopped: Callable[[], bool]) -> str:
        setup, original = prepare(self.recipe, self.desk.device)

        def on_point(point: Point) -> None:
            self.desk.tell(point.step / len(original.lr), "Training the network once ..." if point.step == 0 else "")

        dense = dense_network(self.recipe, self.store, str(self.desk.device), on_point, stopped)
        if stopped():
            return "Stopped; press Retrain to train the network from the start."
        with self.lock:
            self.dense, self.classes = dense, setup.data.classes
        for sparsity, accuracy in collapse(self.recipe, dense, str(self.desk.device), coarse_to_fine()):
            if stopped():
                return "Stopped; what was measured of the pruned network stays. Press Retrain to retrain it."
            with self.lock:
                self.accuracies[sparsity] = accuracy
            self.desk.tell(len(self.accuracies) / 100)
        return "Choose a schedule and a budget, then press Retrain."

    def _prepared(self) -> None:
        self.draw_attempts()

    def draw_collapse(self) -> None:
        with self.lock:
            if self.dense is None or not self.accuracies:
                return
            s, scalars = self.sparsity.value, self.dense.result.scalars
            level = scalars["validation_accuracy"]
            self.charts[0].spec = collapse_chart(self.accuracies, level, s)
            if s in self.accuracies:
                weights = scalars["prunable_weights"]
                self.said.say(pruned_words(s, weights, level, self.accuracies[s], self.classes))

    def draw_attempts(self) -> None:
        with self.lock:
            if self.dense is not None:
                level = self.dense.result.scalars["validation_accuracy"]
                self.charts[1].spec = attempts_chart(self.attempts, level, self.zoom.value)
                self.take.csv, self.take.code = attempts_csv(self.attempts), attempts_code(self.recipe, self.attempts)

    def start_retraining(self) -> None:
        """Retrain at the slider's sparsity; a second press while it runs does nothing."""
        if self.dense is None:  # its training was stopped, or failed
            self.prepare()
            return
        sparsity, schedule, budget = self.sparsity.value, self.schedule.value, self.budget.value
        steps = max(1, round(budget * self.dense.result.scalars["steps"]))
        attempt = Attempt(schedule, sparsity, budget, steps)
        self.desk.go(lambda stopped: self._retrain(attempt, stopped), self.draw_attempts, self._ended)

    def _retrain(self, attempt: Attempt, stopped: Callable[[], bool]) -> str:
        self.clear.disabled = True
        experiment = Experiment(
            self.recipe,
            Prune(attempt.sparsity / 100),
            Retrain(attempt.schedule, attempt.budget),
            evaluations=min(attempt.planned, 60),
        )
        with self.lock:
            self.attempts = [a for a in self.attempts if a.plan != attempt.plan][1 - KEPT :] + [attempt]
        self.desk.status.say(f"Retraining with {attempt.schedule} for {attempt.planned} steps ...")

        def on_point(point: Point) -> None:
            with self.lock:
                a = self.attempts[-1]
                self.attempts[-1] = replace(a, points=(*a.points, (point.step, point.accuracy)))
            self.desk.tell(point.step / attempt.planned)

        device = str(self.desk.device)
        pruned = prune_dense(self.recipe, experiment.prune, self.dense, device)
        result = run(experiment, device, dense=self.dense, pruned=pruned, on_point=on_point, stop=stopped)
        check_sparsity(result, experiment.prune.sparsity, self.dense.result.scalars["prunable_weights"])
        return outcome_words(result, attempt.planned)

    def _ended(self) -> None:
        with self.lock:
            self.attempts = [replace(a, running=False) for a in self.attempts if a.points]
        self.draw_attempts()
        self.clear.disabled = False

    def forget(self) -> None:
        """Clear the picture of attempts."""
        with self.lock:
            if not self.desk.worker.busy:
                self.attempts = []
        self.draw_attempts()

    def close(self) -> None:
        self.desk.end()
        app.close(self.box)


def show(
    sparsity: int = 90,
    schedule: str = "LLR",
    budget: float = 0.1,
    *,
    seed: int = 0,
    store: str = "",
    device: str = "auto",
) -> None:
    """Display it. sparsity in percent, budget as a share of the dense run: where the inputs start; store: folder of
    results, empty for the project's own."""
    recipe = Recipe(seed=seed)

    def make() -> FirstLook:
        place = Store(Path(store) if store else store_root())
        look = FirstLook(recipe, place, device, sparsity, schedule, budget)
        look.prepare()
        return look

    app.present("first-look", (sparsity, schedule, budget, recipe, store, device), make)
