"""Prune a network and race the retraining schedules from there, together in the fast engine: the widgets of `race`."""

from retrainlab.explore.kit import collapse, controls
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.looking import Pruning
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.racing import Racing
from retrainlab.explore.views import race as views
from retrainlab.explore.views.race import Settings


class Race(Pruning[Settings], Racing[Settings]):
    """The widgets, the network and the race that is shown."""

    stem, button, initial = "race", "Retrain", Settings()
    shows = views
    ready_words = "Tick the schedules to race, choose a budget, then press Retrain."
    stopped_words = "Stopped; choose a network, or press Retrain to train this one."
    halted_words = "Stopped."

    def build(self) -> None:
        super().build()
        names = ("data", "model", "score", "sparsity", "allocation", "budget", "cycles", "schedules", "seed")
        self.inputs = controls.inputs(self.given, *names)
        self.search_note, self.race = self.pruning.note, Live(views.experiments(self.given))
        self.lay_out(
            controls.columns(
                self.inputs, ("data", "model", "score", "seed"), ("sparsity", "allocation", "budget", "cycles")
            ),
            *(self.desk.where, controls.title("1. Prune"), *self.pruning.charts, self.pruning.note),
            *(controls.title("2. Retrain"), self.inputs["schedules"].row, self.desk.buttons, self.desk.status),
            *(*self.screen.charts, self.screen.table, self.screen.take),
        )
        self.watch(self.look, *(self.inputs[name] for name in ("data", "model", "score", "allocation", "seed")))
        self.press(self.desk.start, self.start)
        self.begin()

    def ready(self) -> str:
        return views.words(self.race) if self.race.results else super().ready()

    def of(self, settings: Settings) -> collapse.Network | None:
        """The network, if it is that of these settings."""
        return self.network if self.network is not None and self.network.recipe == settings.recipe else None

    def ended(self, settings: Settings, race: Live) -> str:
        if (network := self.of(settings)) is not None:
            for result in race.results.values():
                if not (result.scalars["stopped"] or result.outcome):
                    collapse.check_sparsity(result, settings.sparsity, network.weights)
        return views.words(race)

    def over(self) -> None:
        self.again |= self.race.whole  # it has trained the network, if there was none
        self.looked()

    def view(self) -> View:
        return views.view(self.raced, self.race, network=self.of(self.raced))


show = Race.show
