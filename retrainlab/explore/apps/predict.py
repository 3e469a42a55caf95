"""The widgets of `predict`."""

import threading
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets

from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES, key
from retrainlab.explore.kit import app, chart, controls, live, worker
from retrainlab.explore.kit.live import Live
from retrainlab.explore.views.predict import (
    BUDGETS,
    GUESS_HEADS,
    SPARSITIES,
    Guess,
    Guesses,
    guesses_csv,
    race_chart,
    table,
    words,
)
from retrainlab.explore.views.race import HEADS, Settings, caption, code, csv, experiments, ranking
from retrainlab.paths import store_root
from retrainlab.study.store import Store


class Predict:
    """The widgets. The race stays hidden until it is asked for, even if it is stored."""

    def __init__(self, settings: Settings, store: Store, device: str):
        self.settings, self.store, self.lock = settings, store, threading.RLock()
        self.guesses, self.race, self.revealed = Guesses(store), Live([]), False
        self.seen: set[str] = set()  # the races that were shown, about which nobody can guess any more
        self.desk = worker.Desk("Race", device)
        self.sparsity = controls.choice(
            "Weights removed",
            [(f"{100 * s:g} %", s) for s in sorted({*SPARSITIES, settings.sparsity})],
            settings.sparsity,
        )
        self.budget = controls.choice(
            "Budget",
            [(f"{100 * b:g} % of the dense run", b) for b in sorted({*BUDGETS, settings.budget})],
            settings.budget,
        )
        self.name = widgets.Text("", description="Your name", style=controls.LABEL, layout=widgets.Layout(width="auto"))
        places = range(1, len(settings.schedules) + 1)
        self.places = {s: controls.choice(f"Place of {s}", places, i + 1) for i, s in enumerate(settings.schedules)}
        self.gap = controls.number("Points, first to last", 5.0, 0.0, 100.0, 0.5)
        self.lock_in = widgets.Button(description="Lock in my guess")
        self.chart, self.take = controls.Chart(), controls.Take(name="guesses")
        self.table, self.ranking, self.said = controls.Table(), controls.Table(), controls.Status()
        for box in self.places.values():
            box.layout.width = "19em"
        inputs = controls.row(controls.column(self.sparsity, self.budget, self.name, self.gap.row))
        self.box = controls.app(
            "predict",
            [
                *(
                    controls.title("1. Guess"),
                    inputs,
                    controls.row(*self.places.values()),
                    self.lock_in,
                    self.said,
                    self.table,
                ),
                *(
                    controls.title("2. Race"),
                    self.desk.where,
                    self.desk.buttons,
                    self.desk.status,
                    self.chart,
                    self.ranking,
                ),
                self.take,
            ],
        )
        for widget in (self.sparsity, self.budget):
            widget.observe(lambda _: self.fresh(), names="value")
        self.lock_in.on_click(lambda _: self.guess())
        self.desk.start.on_click(lambda _: self.start())
        self.fresh()

    def asked(self) -> Settings:
        """The race that the widgets describe."""
        s = self.settings
        return Settings(
            s.data, s.model, self.sparsity.value, s.allocation, self.budget.value, s.cycles, s.schedules, s.seed
        )

    @property
    def about(self) -> str:
        """The name of that race among the guesses."""
        return key("race", experiments(self.asked()), "")

    def fresh(self) -> None:
        """Another race: nothing of it is shown."""
        with self.lock:
            self.race, self.revealed = Live([]), False
            self.desk.worker.stop()
            self.desk.status.say("Guess first; the race stays hidden until you press Race.")
            self.said.say("")
            self.draw()

    def guess(self) -> None:
        with self.lock:
            try:
                if self.about in self.seen:
                    raise BadInput(
                        "This race has been shown already; choose another sparsity or budget to guess again."
                    )
                made = Guess.of(self.name.value, {s: box.value for s, box in self.places.items()}, self.gap.value)
            except BadInput as error:
                self.said.say(str(error))
                return
            self.guesses.add(self.about, made)
            self.said.say(f"Kept: {made.name} says {' > '.join(made.order)}, {made.gap:g} points apart.")
            self.draw()

    def start(self) -> None:
        with self.lock:
            if self.desk.worker.busy:
                return
            settings = self.asked()
            try:
                self.race = race = live.stored(experiments(settings), self.store)
            except BadInput as error:
                self.desk.status.say(str(error))
                return
            self.revealed = True
            self.take.csv = ""
            self.take.code = code(settings)
            if race.whole:
                self.draw()
                self.desk.status.say(words(self.guesses.all.get(self.about, []), race))
                return
        self.desk.go(lambda stopped: self._run(race, stopped), self.draw)

    def _run(self, race: Live, stopped: Callable[[], bool]) -> str:
        live.run(race, self.store, self.desk.device, stopped, self.desk.tell)
        if race is not self.race:
            return ""
        if not race.whole:
            return "Stopped; press Race to run it again from the start, or choose another."
        return words(self.guesses.all.get(self.about, []), race)

    def draw(self) -> None:
        with self.lock:
            guesses = self.guesses.all.get(self.about, [])
            self.table.set("Guesses", GUESS_HEADS, table(guesses, self.race if self.revealed else Live([None])))
            if self.revealed:
                if any(curve.steps for curve in list(self.race.second.values())):
                    self.seen.add(self.about)
                self.chart.spec = race_chart(self.race)
                self.ranking.set(caption(self.asked(), "What came out"), HEADS, ranking(self.race))
                self.take.csv = guesses_csv(guesses, self.race) if self.race.whole else csv(self.race)
            else:
                self.chart.spec = chart.chart(
                    [
                        chart.panel(
                            [], x=(0, 100), y=(0, 104), xlabel="Retraining step", ylabel="Validation accuracy (%)"
                        )
                    ],
                    "The race is hidden until it is run: an empty frame of validation accuracy over steps.",
                    width=1060,
                    height=430,
                    legend=[(s, chart.schedule(s)) for s in self.settings.schedules],
                )
                self.ranking.value, self.take.csv, self.take.code = "", "", code(self.asked())

    def close(self) -> None:
        self.desk.end()
        app.close(self.box)


def show(settings: Settings = Settings(schedules=NAMED_SCHEDULES), *, store: str = "", device: str = "auto") -> None:
    """Display it. store: folder of results, empty for the project's own; device: auto, cpu, cuda or cuda:N."""
    folder = Store(Path(store) if store else store_root())
    app.present("predict", (settings, store, device), lambda: Predict(settings, folder, device))
