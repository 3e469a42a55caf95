"""Anatomy of ALLR: how the damage of a prune and the budget make its first learning rate, on a trained network's weights.

Nothing is retrained, so everything follows the sliders.
"""

from collections.abc import Callable
from dataclasses import replace

from retrainlab.config import Recipe
from retrainlab.explore.kit import controls
from retrainlab.explore.kit.app import App
from retrainlab.explore.kit.pages import View
from retrainlab.explore.views import allr as views
from retrainlab.explore.views.allr import NORMS, Anatomy, Settings
from retrainlab.explore.views.start import dense_network
from retrainlab.study.stages import prepare
from retrainlab.study.store import Store

READY = "Move the sliders: nothing has to be trained for this."


class Allr(App[Settings]):
    """The explorer of ALLR, and the network that it shows: its `recipe` and its `anatomy`."""

    stem, button, initial, charts = "allr", "Get the network", Settings(), 2

    def __init__(self, settings: Settings, store: Store, device: str):
        super().__init__(settings, store, device)
        self.recipe: Recipe | None = None
        self.anatomy: Anatomy | None = None
        self.again = False  # whether the inputs changed while a network was trained
        self.inputs = controls.inputs(settings, "sparsity", "budget", "data", "model", "seed")
        self.inputs["norm"] = controls.choice("Norm over", [(n, norm) for norm, n in NORMS.items()], settings.norm)
        factors, network = ("sparsity", "budget", "norm"), ("data", "model", "seed")
        desk, screen = self.desk, self.screen
        shown = screen.charts[0], screen.note, screen.table, controls.title("Which weights go"), screen.charts[1]
        inputs = controls.columns(self.inputs, factors, network)
        self.lay_out(inputs, desk.buttons, desk.status, desk.where, *shown, screen.take)
        self.watch(self.draw, *(self.inputs[name] for name in factors))
        self.watch(self.look, *(self.inputs[name] for name in network))
        self.press(desk.start, self.look)
        self.do(self.look)

    def look(self) -> None:
        """Get the network that the controls ask for, unless it is there; instead of the one that is trained now."""
        wanted = self.settings().recipe
        if self.recipe == wanted and not self.desk.worker.busy:
            self.desk.status.say(READY)
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
        return READY

    def _looked(self) -> None:
        with self.lock:
            again, self.again = self.again, False
        if again:
            self.do(self.look)

    def view(self) -> View | None:
        if self.anatomy is None or self.recipe is None:
            return None
        r = self.recipe
        return views.view(replace(self.settings(), data=r.data, model=r.model, seed=r.seed), self.anatomy)


show = Allr.show
