"""Explorers of one trained network: they get the one that their controls ask for, and what pruning does to it."""

from collections.abc import Callable
from typing import ClassVar

from retrainlab.checks import BadInput
from retrainlab.config import Recipe
from retrainlab.explore.kit import collapse, live
from retrainlab.explore.kit.app import App, Settings
from retrainlab.explore.kit.collapse import Network
from retrainlab.explore.kit.pages import View
from retrainlab.study.making import Watch
from retrainlab.study.results import Results


class Looking(App[Settings]):
    """An app with a `network`: it is read, or trained, in the background, and another one when the controls ask for that.

    stopped_words: what is said when its training was stopped.
    """

    stopped_words: ClassVar[str]

    def __init__(self, settings: Settings, results: Results, device: str):
        super().__init__(settings, results, device)
        self.network: Network | None = None
        self.sought: tuple[Recipe, str] | None = None
        self.looking, self.again = False, False
        self.about = self.desk.status  # where is said that the network is looked for

    def ready(self) -> str:
        """What is said when the network is there; nothing if empty."""
        raise NotImplementedError

    def wanted(self) -> tuple[Recipe, str]:
        """The network that the controls ask for, and the allocation of its pruning."""
        data, model, seed = (self.inputs[name].value for name in ("data", "model", "seed"))
        allocation = self.inputs.get("allocation")
        return live.recipe_of(data, model, seed), "global" if allocation is None else allocation.value

    def there(self) -> bool:
        """Whether that network is there, with all that is to be known of it."""
        return self.network is not None and (self.network.recipe, self.network.allocation) == self.wanted()

    def look(self) -> None:
        """Get the network that the controls ask for, unless it is there; after what runs now, if something does."""
        wanted = self.wanted()
        if self.looking:
            if self.sought != wanted:
                self.desk.worker.stop()
                self.again = True
        elif self.there():
            if words := self.ready():
                self.desk.status.say(words)
        elif self.desk.worker.busy:
            self.about.say("The other network is looked at when the race is over.")
        else:
            self.looking, self.sought = True, wanted
            self.about.say("Looking for the trained network; if there is none yet, it is trained now.")
            self.desk.go(lambda stopped: self._look(*wanted, stopped), self.draw_network, self.looked)

    def _look(self, recipe: Recipe, allocation: str, stopped: Callable[[], bool]) -> str:
        def tell(share: float, words: str) -> None:
            self.desk.tell(share, "Training the network once ..." if words else "")

        try:
            found = collapse.trained(recipe, self.results, self.desk.device, Watch(stop=stopped, tell=tell))
        except BadInput:
            if stopped():
                return self.stopped_words
            raise
        return self.found(Network(recipe, allocation, *found), stopped)

    def found(self, network: Network, stopped: Callable[[], bool]) -> str:
        """Take the network that was looked for; what to say then."""
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
        """Show what there is of the network."""
        self.draw()


class Pruning(Looking[Settings]):
    """An app whose first picture, `pruning`, is what pruning does to the network; its accuracy is measured at each sparsity.

    halted_words: what is said when measuring was stopped.
    """

    halted_words: ClassVar[str]

    def __init__(self, settings: Settings, results: Results, device: str):
        super().__init__(settings, results, device)
        self.pruning = self.new_screen()

    def there(self) -> bool:
        return self.network is not None and len(self.network.accuracies) == len(collapse.ORDER) and super().there()

    def found(self, network: Network, stopped: Callable[[], bool]) -> str:
        super().found(network, stopped)
        network.measure(stopped)
        return self.halted_words if stopped() else self.ready()

    def pruned(self) -> View:
        """What pruning does to the network, as far as it is there."""
        raise NotImplementedError

    def draw_network(self) -> None:
        self.do(lambda: self.pruning.put(self.pruned()) if self.network is not None else None)
