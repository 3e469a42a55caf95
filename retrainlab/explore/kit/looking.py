"""Explorers of one trained network: they get the network that their controls ask for, and what pruning does to it."""

from contextlib import suppress
from typing import ClassVar

from retrainlab.checks import BadInput
from retrainlab.config import Prune, Recipe
from retrainlab.explore.kit import collapse, live
from retrainlab.explore.kit.app import Screen, Settings
from retrainlab.explore.kit.arriving import Arriving
from retrainlab.explore.kit.controls import Note
from retrainlab.explore.kit.worker import Stop
from retrainlab.study.collapse import Network
from retrainlab.study.making import Watch


class Looking(Arriving[Settings]):
    """An app with a `network`, which is read or trained in the background whenever the controls ask for another one.

    ready_words: the sentence when the network is there. stopped_words: that after its training was stopped.
    training: the share of the work that the training is, for the bar.
    """

    training: ClassVar[float] = 1.0

    ready_words: ClassVar[str]
    stopped_words: ClassVar[str]

    def build(self) -> None:
        super().build()
        self.network: Network | None = None
        self.sought: tuple[Recipe, Prune] | None = None
        self.looking, self.again = False, False
        self.search_note: Note = self.desk.status  # says that the network is looked for

    def ready(self) -> str:
        """The sentence when the network is there; empty to leave what stands there."""
        return self.ready_words

    def wanted(self) -> tuple[Recipe, Prune]:
        """The network that the controls ask for, and how it is pruned, whatever the sparsity."""
        data, model, seed = (self.inputs[name].value for name in ("data", "model", "seed"))
        how = {name: self.inputs[name].value for name in ("score", "allocation") if name in self.inputs}
        return live.recipe_of(data, model, seed), Prune(**how)

    def there(self) -> bool:
        """Whether `network` is that one, and complete."""
        return self.network is not None and (self.network.recipe, self.network.prune) == self.wanted()

    def look(self, pressed: bool = False) -> None:
        """Get the network that the controls ask for unless it is there, once nothing else runs. pressed: whether a reader
        has pressed the button for it."""
        wanted = self.wanted()
        if self.looking:
            if self.sought != wanted:
                self.desk.worker.stop()
                self.again = True
        elif self.there():
            if words := self.ready():
                self.desk.status.say(words)
        elif self.desk.worker.busy:
            self.search_note.say("The other network is looked at when the race is over.")
        else:
            self.looking, self.sought = True, wanted
            self.search_note.say("Looking for the trained network; if there is none yet, it is trained now.")
            self.desk.go(lambda stopped: self._look(*wanted, stopped, pressed), self.draw_network, self.looked)

    def _look(self, recipe: Recipe, prune: Prune, stopped: Stop, pressed: bool) -> str:
        def tell(share: float, words: str) -> None:
            self.desk.tell(
                self.training * share, "Training the network once ..." if words.startswith("Training") else words
            )

        try:
            if self.results.told(recipe) is None:
                self.allow([recipe], f"{recipe.model} trained on {recipe.data}, seed {recipe.seed}", pressed)
            found = collapse.trained(recipe, prune, self.results, self.desk.device, Watch(stop=stopped, tell=tell))
        except BadInput:
            if stopped():
                return self.stopped_words
            raise
        return self.found(found, stopped)

    def found(self, network: Network, stopped: Stop) -> str:
        """Take the network that was looked for; return the sentence to say then."""
        with self.lock:
            self.network = network
        return self.ready()

    def looked(self) -> None:
        """After a piece of work: show what came of it, and look again if the controls have moved on."""
        self.draw()
        with self.lock:
            self.looking = False
            again, self.again = self.again, False
            if again or self.sought != self.wanted():
                self.do(self.look)

    def draw_network(self) -> None:
        """Show the network, as far as it is there."""
        self.draw()


class Pruning(Looking[Settings]):
    """An app whose first screen, `pruning`, shows what pruning does to the network, measured at each whole percentage.

    halted_words: the sentence after measuring was stopped.
    """

    training = 0.5

    halted_words: ClassVar[str]

    def build(self) -> None:
        super().build()
        self.pruning = Screen(self.stem)
        self.screens.append(self.pruning)

    def there(self) -> bool:
        return self.network is not None and (self.network.whole or not self.network.measurable) and super().there()

    def found(self, network: Network, stopped: Stop) -> str:
        super().found(network, stopped)
        network.measure(stopped, lambda share: self.desk.tell(self.training + (1 - self.training) * share))
        with suppress(BadInput):  # a store that cannot be written: it is measured again next time
            network.keep(self.results)
        return self.halted_words if stopped() else self.ready()

    def begin(self) -> None:
        """Show frames without a network, so that nothing jumps later, and get the network."""
        self.watch(self.draw_network, self.inputs["sparsity"])
        self._show_pruned()
        self.draw()
        self.do(self.look)

    def draw_network(self) -> None:
        if self.network is not None:
            self.do(self._show_pruned)

    def _show_pruned(self) -> None:
        self.pruning.put(self.shows.pruned(self.network, self.inputs["sparsity"].value))
