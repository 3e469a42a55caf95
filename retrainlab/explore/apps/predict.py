"""Predict first: guess how the schedules will end, then let them race: the widgets of `predict`."""

import ipywidgets as widgets

from retrainlab.checks import BadInput
from retrainlab.explore.kit import controls, writing
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.racing import Racing
from retrainlab.explore.views import predict as views
from retrainlab.explore.views import race
from retrainlab.explore.views.predict import GUESS_HEADS, SCORED, SPARSITIES, Guess, Guesses
from retrainlab.explore.views.race import Settings
from retrainlab.keys import key


class Predict(Racing[Settings]):
    """The widgets and the guesses. The race stays hidden until it is asked for, even if it is stored."""

    stem, button, initial, stored_words = "predict", "Race", Settings(), ""
    shows = race

    def build(self) -> None:
        super().build()
        s = self.given
        self.guesses, self.revealed = Guesses(self.results), False
        self.seen: set[str] = set()  # the races that were shown, about which nobody can guess any more
        self.arrive(s.data)
        shares = writing.shares(self.with_stored("budget", (*race.BUDGETS, s.budget), s.model))
        sparsities = writing.shares(self.with_stored("sparsity", (*SPARSITIES, s.sparsity), s.model))
        self.inputs = {
            "sparsity": controls.choice("Weights removed", sparsities, s.sparsity),
            "budget": controls.choice("Budget", [(f"{words} of the dense run", b) for words, b in shares], s.budget),
        }
        self.go_to_stored(s.model)
        self.name = widgets.Text("", description="Your name", style=controls.LABEL, layout=widgets.Layout(width="auto"))
        places = range(1, len(s.schedules) + 1)
        self.places = {name: controls.choice(f"Place of {name}", places, i + 1) for i, name in enumerate(s.schedules)}
        for box in self.places.values():
            box.layout.width = "19em"
        self.gap = controls.number("Points, first to last", 5.0, 0.0, 100.0, 0.5)
        self.lock_in = widgets.Button(description="Lock in my guess")
        self.guessed, self.said, how = controls.Table(), controls.Status(), controls.Note()
        how.say(SCORED)
        inputs = controls.columns(self.inputs, ("sparsity", "budget", self.name, self.gap.row))
        places = controls.row(*self.places.values())
        self.lay_out(
            *(controls.title("1. Guess"), self.shelf, inputs, places, self.lock_in, self.said, how, self.guessed),
            *(controls.title("2. Race"), self.desk.where, self.desk.buttons, self.desk.status),
            *(*self.screen.charts, self.screen.table, self.screen.take),
        )
        self.watch(self.fresh, *self.inputs.values())
        self.press(self.lock_in, self.guess)
        self.press(self.desk.start, self.start)
        self.fresh()

    @property
    def about(self) -> str:
        """The name under which guesses about the race of these controls are kept."""
        return key("race", race.experiments(self.settings()), "")

    def fresh(self) -> None:
        """Prepare for another race, of which nothing is shown."""
        self.race, self.revealed = Live([]), False
        self.desk.worker.stop()
        self.desk.status.say("Guess first; the race stays hidden until you press Race.")
        self.said.say("")
        self.draw()

    def guess(self) -> None:
        """Keep what the widgets say as a guess."""
        try:
            if self.about in self.seen:
                raise BadInput("This race has been shown already; choose another sparsity or budget to guess again.")
            made = Guess.of(self.name.value, {s: box.value for s, box in self.places.items()}, self.gap.value)
        except BadInput as error:
            self.said.say(str(error))
            return
        self.guesses.add(self.about, made)
        self.said.say(f"Kept: {made.name} says {' > '.join(made.order)}, {made.gap:g} points apart.")
        self.draw()

    def begun(self) -> None:
        self.revealed = True

    def ended(self, settings: Settings, race: Live) -> str:
        return self.view().words if race is self.race else ""

    def view(self) -> View:
        if not self.revealed:
            return views.hidden(self.settings())
        return views.view(self.raced, self.race, self.guesses.all.get(self.about, []))

    def put(self, view: View) -> None:
        super().put(view)
        if any(curve.steps for curve in list(self.race.second.values())):
            self.seen.add(self.about)
        guesses = self.guesses.all.get(self.about, [])
        self.guessed.set("Guesses", GUESS_HEADS, views.table(guesses, self.race if self.revealed else None))


show = Predict.show
