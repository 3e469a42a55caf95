"""Anatomy of ALLR: how the damage of a prune and the budget make its first learning rate, on a trained network's weights.

Nothing is retrained, so everything follows the sliders.
"""

from dataclasses import replace

from retrainlab.checks import BadInput
from retrainlab.explore.kit import collapse, controls, live
from retrainlab.explore.kit.anatomy import NORMS, Anatomy
from retrainlab.explore.kit.looking import Looking
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.worker import Stop
from retrainlab.explore.views import allr as views
from retrainlab.explore.views.allr import Settings
from retrainlab.study.collapse import Network


class Allr(Looking[Settings]):
    """The explorer of ALLR; `anatomy` is that of its network."""

    stem, button, initial, charts = "allr", "Get the network", Settings(), 2
    ready_words = "Move the sliders: nothing has to be trained for this."
    stopped_words = "Stopped. Press 'Get the network' to train it from the start."

    def build(self) -> None:
        super().build()
        self.anatomy: Anatomy | None = None
        self.inputs = controls.inputs(self.given, "sparsity", "budget", "data", "model", "seed")
        self.inputs["norm"] = controls.choice("Norm over", [(n, norm) for norm, n in NORMS.items()], self.given.norm)
        factors, network = ("sparsity", "budget", "norm"), ("data", "model", "seed")
        desk, screen = self.desk, self.screen
        inputs = controls.columns(self.inputs, factors, network)
        shown = screen.charts[0], screen.note, screen.table, controls.title("Which weights go"), screen.charts[1]
        self.lay_out(inputs, self.shelf, desk.buttons, desk.status, desk.where, *shown, screen.take)
        self.watch(self.draw, *(self.inputs[name] for name in factors))
        self.watch(self.other_data, self.inputs["data"])
        self.watch(self.look, *(self.inputs[name] for name in network if name != "data"))
        self.press(desk.start, lambda: self.look(pressed=True))
        self.arrive(self.given.data)
        self.go_to_stored(self.given.model)
        self.do(self.look)

    def other_data(self) -> None:
        """Go to another data set's network, and to what is stored of it if it trains for long."""
        data = self.inputs["data"].value
        with self.quietly():
            self.inputs["model"].value = live.preset_of(data).recipe.model
        self.arrive(data)
        self.go_to_stored(self.inputs["model"].value)
        self.look()

    def found(self, network: Network, stopped: Stop) -> str:
        if network.scored is None:
            raise BadInput(collapse.unknown_words(network))
        anatomy = Anatomy.of(network.dense.state, network.prunable, network.peak)
        with self.lock:
            self.anatomy = anatomy
            return super().found(network, stopped)

    def view(self) -> View | None:
        if self.network is None or self.anatomy is None:
            return None
        r = self.network.recipe
        return views.view(replace(self.settings(), data=r.data, model=r.model, seed=r.seed), self.anatomy)


show = Allr.show
