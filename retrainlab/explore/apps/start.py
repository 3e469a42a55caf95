"""Prune a small trained network, watch its accuracy collapse, retrain it live under a schedule: the widgets of `start`."""

from dataclasses import replace

import ipywidgets as widgets

from retrainlab.config import NAMED_SCHEDULES, Prune, Recipe
from retrainlab.explore.kit import collapse, controls
from retrainlab.explore.kit.looking import Pruning
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.worker import Stop
from retrainlab.explore.views import start as views
from retrainlab.explore.views.race import BUDGETS
from retrainlab.explore.views.start import Attempt, Settings
from retrainlab.phrases import share
from retrainlab.study.collapse import Network
from retrainlab.study.stages import prune_dense, run
from retrainlab.training.state import Point


class Start(Pruning[Settings]):
    """The widgets, the network and the attempts to mend it."""

    stem, button, initial = "start", "Retrain", Settings()
    shows = views
    ready_words = "Choose a schedule and a budget, then press Retrain."
    stopped_words = "Stopped; press Retrain to train the network from the start."
    halted_words = "Stopped; what was measured of the pruned network stays. Press Retrain to retrain it."

    def build(self) -> None:
        super().build()
        self.attempts: list[Attempt] = []
        budgets = [(f"{share(b)} of the dense run", b) for b in sorted({*BUDGETS, self.given.budget})]
        named = [(f"{name}: {views.ABOUT[name]}", name) for name in NAMED_SCHEDULES]
        self.inputs = {
            "sparsity": controls.share("Weights removed (%)", self.given.sparsity, 0, 99, 1),
            "schedule": controls.choice("Schedule", named, self.given.schedule),
            "budget": controls.choice("Budget", budgets, self.given.budget),
        }
        self.zoom = controls.choice("Accuracy axis", (("from 0 %", False), ("the top 15 points", True)), False)
        self.clear = widgets.Button(description="Clear the picture", disabled=True)
        panel = widgets.Layout(flex="1 1 480px", max_width=f"{views.WIDTH}px", margin="0 16px 12px 0")
        left = [self.inputs["sparsity"].row, *self.pruning.charts, self.pruning.note, self.desk.where]
        right = [self.inputs["schedule"], self.inputs["budget"], self.zoom, self.desk.buttons, self.clear]
        shown = [self.desk.status, *self.screen.charts, self.screen.take]
        columns = [
            widgets.VBox([controls.title("1. Prune"), *left], layout=panel),
            widgets.VBox([controls.title("2. Retrain"), *right, *shown], layout=panel),
        ]
        self.lay_out(widgets.HBox(columns, layout=widgets.Layout(flex_flow="row wrap")))
        self.watch(self.draw, self.zoom)
        self.press(self.desk.start, self.start)
        self.press(self.clear, self.forget)
        self.begin()

    def wanted(self) -> tuple[Recipe, Prune]:
        return self.given.recipe, Prune()

    def view(self) -> View:
        level = 1.0 if self.network is None else self.network.level
        return views.view(self.attempts, self.given.recipe, level, self.zoom.value)

    def start(self) -> None:
        """Retrain at the slider's sparsity; a second press while it runs does nothing."""
        if (network := self.network) is None:  # its training was stopped, or failed
            self.look()
            return
        asked = self.settings()
        steps = max(1, round(asked.budget * network.steps))
        attempt = Attempt(asked.schedule, asked.percent, asked.budget, steps)
        self.desk.go(lambda stopped: self._retrain(network, attempt, stopped), self.draw, self.over)

    def _retrain(self, network: Network, attempt: Attempt, stopped: Stop) -> str:
        self.clear.disabled = True
        with self.lock:
            self.attempts = [a for a in self.attempts if a.plan != attempt.plan][1 - views.KEPT :] + [attempt]
        self.desk.status.say(f"Retraining with {attempt.schedule} for {attempt.planned} steps ...")

        def on_point(point: Point) -> None:
            with self.lock:
                a = self.attempts[-1]
                self.attempts[-1] = replace(a, points=(*a.points, (point.step, point.accuracy)))
            self.desk.tell(point.step / attempt.planned)

        experiment, device = attempt.experiment(network.recipe), str(self.desk.device)
        pruned = prune_dense(network.recipe, experiment.prune, network.dense, device)
        result = run(experiment, device, dense=network.dense, pruned=pruned, on_point=on_point, stop=stopped)
        collapse.check_sparsity(result, experiment.prune.sparsity, network.weights)
        return views.outcome_words(result, attempt.planned)

    def over(self) -> None:
        """Act after an attempt, which stays in the picture if it has any points."""
        with self.lock:
            self.attempts = [replace(a, running=False) for a in self.attempts if a.points]
        self.draw()
        self.clear.disabled = False

    def forget(self) -> None:
        """Clear the picture of attempts."""
        if not self.desk.worker.busy:
            self.attempts = []
        self.draw()


show = Start.show
