"""Prune a network and race the retraining schedules from there, together in the fast engine.

`Race` ties the numbers, pictures and words of `racing` to widgets. What is stored shows at once; the rest trains while its
curves grow.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retrainlab import metrics
from retrainlab.checks import BadInput
from retrainlab.config import ALLOCATIONS, DATASETS, MODELS, NAMED_SCHEDULES, Prune, Recipe, Retrain
from retrainlab.explore.kit import app, controls, live, worker
from retrainlab.explore.kit.live import Live
from retrainlab.explore.views.race import (
    HEADS,
    Settings,
    caption,
    code,
    csv,
    dense_accuracy,
    experiments,
    nearest,
    page,
    picture,
    prune_picture,
    ranking,
    words,
)
from retrainlab.explore.views.start import check_sparsity, coarse_to_fine, collapse, dense_network, pruned_words
from retrainlab.paths import store_root
from retrainlab.study.stages import Dense, prepare
from retrainlab.study.store import Store
from retrainlab.training import cycles

__all__ = ["Race", "Settings", "page", "show"]


@dataclass
class Network:
    """A trained network and what pruning does to it; filled in while it is looked at."""

    recipe: Recipe
    allocation: str
    dense: Dense
    prunable: Sequence[str]
    classes: int
    accuracies: dict[int, float] = field(default_factory=dict)

    @property
    def level(self) -> float:
        return self.dense.result.scalars["validation_accuracy"]

    def layers(self, sparsity: float) -> dict[str, float]:
        """The share that each layer loses."""
        prune = Prune(sparsity, allocation=self.allocation)
        masks = cycles.prune_state(self.dense.state, prune, self.prunable, 0, self.recipe.seed)
        return metrics.layer_sparsity(masks)


class Race:
    """The widgets, the network and the race that is shown; `lock` guards what two threads read and write."""

    def __init__(self, settings: Settings, store: Store, device: str):
        self.store, self.lock = store, threading.RLock()
        self.network: Network | None = None
        self.race, self.raced = Live(experiments(settings)), settings
        self.desk = worker.Desk("Retrain", device)
        s = settings
        self.data = controls.choice("Data set", DATASETS, s.data)
        self.model = controls.choice("Network", MODELS, s.model)
        self.sparsity = controls.number("Weights removed (%)", 100 * s.sparsity, 0.0, 99.5, 0.5)
        self.allocation = controls.choice("Shared among layers", ALLOCATIONS, s.allocation)
        self.budget = controls.number("Budget (% of dense run)", 100 * s.budget, 0.5, 100.0, 0.5)
        self.cycles = controls.number("Cycles", s.cycles, 1, 5, 1)
        self.seed = controls.number("Seed", s.seed, 0, 20, 1)
        self.boxes = controls.boxes(NAMED_SCHEDULES, s.schedules)
        self.charts, self.table, self.take = (
            (controls.Chart(), controls.Chart()),
            controls.Table(),
            controls.Take(name="race"),
        )
        self.note = controls.Status()
        inputs = controls.row(
            controls.column(self.data, controls.about(self.data), self.model, self.allocation, self.seed.row),
            controls.column(self.sparsity.row, self.budget.row, self.cycles.row),
        )
        schedules = controls.row(controls.title("Schedules"), *self.boxes.values())
        self.box = controls.app(
            "race",
            [
                *(inputs, self.desk.where, controls.title("1. Prune"), self.charts[0], self.note),
                *(controls.title("2. Retrain"), schedules, self.desk.buttons, self.desk.status),
                *(self.charts[1], self.table, self.take),
            ],
        )
        self.sparsity.slider.observe(lambda _: self.draw_prune(), names="value")
        for widget in (self.data, self.model, self.allocation, self.seed.slider):
            widget.observe(lambda _: self.look(), names="value")
        self.desk.start.on_click(lambda _: self.start())
        self.preparing, self.closed, self.sought = False, False, None
        self.charts[0].spec = prune_picture({}, 1.0, 100 * s.sparsity, {})  # a frame, so that nothing jumps
        self.draw()
        self.look()

    def settings(self) -> Settings:
        """What the widgets say; BadInput if it makes no sense."""
        return Settings(
            data=self.data.value,
            model=self.model.value,
            sparsity=round(self.sparsity.value / 100, 6),
            allocation=self.allocation.value,
            budget=round(self.budget.value / 100, 6),
            cycles=self.cycles.value,
            schedules=controls.ticked(self.boxes),
            seed=self.seed.value,
        )

    # ---- 1. prune ----

    def look(self) -> None:
        """Get the network that the widgets ask for, unless it is there; after what runs now, if something does."""
        wanted = self.wanted()
        with self.lock:
            if self.closed:
                return
            if self.network is not None and (self.network.recipe, self.network.allocation) == wanted:
                if len(self.network.accuracies) == 100:
                    return
            elif self.preparing:
                self.desk.worker.stop()
            elif self.desk.worker.busy:
                self.note.say("The other network is looked at when the race is over.")
            if not self.desk.worker.busy:
                self.preparing, self.sought = True, wanted
                self.note.say("Looking for the trained network; if there is none yet, it is trained now.")
                self.desk.go(lambda stopped: self._look(*wanted, stopped), self.draw_prune, self._looked)

    def _look(self, recipe: Recipe, allocation: str, stopped: Callable[[], bool]) -> str:
        setup, original = prepare(recipe, self.desk.device)

        def tell(point) -> None:
            self.desk.tell(point.step / len(original.lr), "Training the network once ...")

        dense = dense_network(recipe, self.store, str(self.desk.device), tell, stopped)
        if stopped():
            return "Stopped; choose a network, or press Retrain to train this one."
        with self.lock:
            self.network = Network(recipe, allocation, dense, setup.prunable, setup.data.classes)
        self.draw_prune()
        order = coarse_to_fine()
        for sparsity, accuracy in collapse(recipe, dense, str(self.desk.device), order, allocation):
            if stopped():
                return "Stopped."
            with self.lock:
                self.network.accuracies[sparsity] = accuracy
        if self.race.results:
            return ""
        return "Tick the schedules to race, choose a budget, then press Retrain."

    def _looked(self) -> None:
        self.preparing = False
        self.draw()
        if self.sought != self.wanted():
            self.look()  # the widgets have moved on

    def _raced(self) -> None:
        have = self.network and (self.network.recipe, self.network.allocation)
        if self.race.whole and have != self.wanted():
            self.look()  # the race has trained it
        else:
            self._looked()

    def wanted(self) -> tuple[Recipe, str]:
        """The network and the allocation that the widgets ask for."""
        return live.recipe_of(self.data.value, self.model.value, self.seed.value), self.allocation.value

    def draw_prune(self) -> None:
        with self.lock:
            if (network := self.network) is None:
                return
            s, near = self.sparsity.value, nearest(self.sparsity.value)
            self.charts[0].spec = prune_picture(network.accuracies, network.level, s, network.layers(s / 100))
            if near in network.accuracies:
                weights = network.dense.result.scalars["prunable_weights"]
                told = pruned_words(near, weights, network.level, network.accuracies[near], network.classes)
                self.note.say(told if near == s else f"At {near} %: {told}")

    # ---- 2. retrain ----

    def start(self) -> None:
        """Race, or show the stored race; a second press while it runs does nothing."""
        try:
            settings = self.settings()
            race = live.stored(experiments(settings), self.store)
        except BadInput as error:
            self.desk.status.say(str(error))
            return
        if self.desk.worker.busy:
            return
        self.race, self.raced = race, settings
        self.take.csv, self.take.code = "", code(settings)
        if race.whole:
            self.draw()
            self.desk.status.say(f"From the store. {words(race)}")
            return
        self.desk.go(lambda stopped: self._run(settings, race, stopped), self.draw, self._raced)

    def _run(self, settings: Settings, race: Live, stopped: Callable[[], bool]) -> str:
        live.run(race, self.store, self.desk.device, stopped, self.desk.tell)
        for result in race.results.values():
            ended = not (result.scalars["stopped"] or result.outcome)
            if ended and self.network is not None and self.network.recipe == settings.recipe:
                check_sparsity(result, settings.sparsity, self.network.dense.result.scalars["prunable_weights"])
        return words(race)

    def draw(self) -> None:
        """The race as it stands."""
        with self.lock:
            race, settings = self.race, self.raced
            level = dense_accuracy(race)
            if level is None and self.network is not None and self.network.recipe == settings.recipe:
                level = self.network.level
            steps = max((curve.steps[-1] for curve in list(race.second.values()) if curve.steps), default=0)
            self.charts[1].spec = picture(race, level, max(steps, self.planned(settings)))
            self.table.set(caption(settings), HEADS, ranking(race))
            if not self.desk.running:
                self.take.csv = csv(race)

    def planned(self, settings: Settings) -> int:
        """The steps of all cycles."""
        if self.network is None:
            return 100
        total = self.network.dense.result.scalars["steps"]
        return sum(
            cycles.lengths(Prune(settings.sparsity, cycles=settings.cycles), Retrain(budget=settings.budget), total)
        )

    def close(self) -> None:
        self.closed = True
        self.desk.end()
        app.close(self.box)


def show(settings: Settings = Settings(), *, store: str = "", device: str = "auto") -> None:
    """Display it. store: folder of results, empty for the project's own; device: auto, cpu, cuda or cuda:N."""
    folder = Store(Path(store) if store else store_root())
    app.present("race", (settings, store, device), lambda: Race(settings, folder, device))
