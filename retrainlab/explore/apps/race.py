"""Prune a network and race the retraining schedules from there, together in the fast engine: the widgets of `race`."""

from dataclasses import replace

from retrainlab.explore.kit import collapse, controls, live
from retrainlab.explore.kit.cells import exact
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.looking import Pruning
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.racing import Racing
from retrainlab.explore.views import race as views
from retrainlab.explore.views.race import Settings
from retrainlab.study.collapse import Network


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
            self.shelf,
            *(self.desk.where, controls.title("1. Prune"), *self.pruning.charts, self.pruning.note),
            *(controls.title("2. Retrain"), self.inputs["schedules"].row, self.desk.buttons, self.desk.status),
            *(*self.screen.charts, self.screen.table, self.screen.take),
        )
        self.watch(self.other_data, self.inputs["data"])
        self.watch(self.look, *(self.inputs[name] for name in ("model", "score", "allocation", "seed")))
        self.watch(
            self.show_stored, *(self.inputs[name] for name in ("model", "sparsity", "budget", "seed", "schedules"))
        )
        self.press(self.desk.start, self.start)
        self.arrive(self.given.data)
        self.go_to_stored(self.given.model)
        self.show_stored()
        self.begin()

    def settings(self) -> Settings:
        """What the controls say; sparsity and budget are those of what is stored where only rounding tells them apart."""
        said, preset = super().settings(), live.preset_of(self.inputs["data"].value)
        budget = exact(said.budget, [*preset.budgets, *(c.budget for c in self.cells)])
        return replace(said, budget=budget, sparsity=exact(said.sparsity, [c.sparsity for c in self.cells]))

    def other_data(self) -> None:
        """Go to another data set's network, and to what is stored of it if it trains for long."""
        data = self.inputs["data"].value
        with self.quietly():
            self.inputs["model"].value = live.preset_of(data).recipe.model
        before = self.cells
        self.arrive(data)
        self.go_to_stored(self.inputs["model"].value)
        if before and not self.cells and not self.desk.running:  # nobody has asked for the race that is on screen
            self.raced = self.settings()
            self.race = Live(views.experiments(self.raced))
            self.draw()
        self.show_stored()
        self.look()

    def show_stored(self) -> None:
        """Show at once what the store has of the race that the controls ask for, if it would take long."""
        if self.cells and (self.looking or not self.desk.worker.busy):
            settings = self.settings()
            if (race := self.stored(settings)).results:
                self.race, self.raced = race, settings
                self.draw()

    def ready(self) -> str:
        return views.words(self.race) if self.race.results else super().ready()

    def of(self, settings: Settings) -> Network | None:
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
