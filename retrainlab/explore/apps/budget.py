"""Which schedule for a budget: `Budget` ties the advice of `recommending` to widgets, and measures what is missing."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from retrainlab.checks import BadInput
from retrainlab.config import DATASETS, MODELS, Experiment
from retrainlab.explore.kit import app, controls, worker
from retrainlab.explore.views.budget import (
    Results,
    Settings,
    experiments,
    load,
    measure,
    missing,
    page,
    preset_of,
    view,
)
from retrainlab.paths import store_root
from retrainlab.study.result import Result
from retrainlab.study.store import Store

__all__ = ["Budget", "Settings", "page", "show"]


class Budget:
    """The widgets, and the results that were read or made so far; `lock` guards what two threads read and write."""

    def __init__(self, settings: Settings, store: Store, device: str):
        self.store, self.lock = store, threading.RLock()
        self.results: dict[Experiment, Result] = {}
        self.settling, self.drawn = False, -1
        self.desk = worker.Desk("Measure it now", device)
        s = settings
        self.data = controls.choice("Data set", DATASETS, s.data)
        self.model = controls.choice("Network", MODELS, s.model)
        self.sparsity = controls.choice("Weights removed", _options(s.sparsities), s.sparsity)
        self.budget = controls.choice("Budget (of dense run)", _options(s.budgets), s.budget)
        self.seeds = controls.number("Seeds", s.seeds, 1, max(10, s.seeds), 1)
        self.chart, self.table, self.take = controls.Chart(), controls.Table(), controls.Take(name="budget")
        self.note = controls.Status()
        inputs = controls.row(
            controls.column(self.data, controls.about(self.data), self.model, self.seeds.row),
            controls.column(self.sparsity, self.budget),
        )
        measuring = (self.desk.buttons, self.desk.status, self.desk.where)
        self.box = controls.app("budget", [inputs, self.note, self.chart, self.table, self.take, *measuring])
        self.data.observe(lambda _: self.other_data(), names="value")
        for widget in (self.model, self.sparsity, self.budget, self.seeds.slider):
            widget.observe(lambda _: self.look(), names="value")
        self.desk.start.on_click(lambda _: self.start())
        self.look()

    def settings(self) -> Settings:
        """What the widgets say."""
        return Settings(self.data.value, self.model.value, self.sparsity.value, self.budget.value, self.seeds.value)

    def other_data(self) -> None:
        """The other data set's network, sparsities, budgets and seeds, as its preset has them."""
        with self.lock:
            preset, self.settling = preset_of(self.data.value), True
            self.model.value = preset.recipe.model
            self.seeds.slider.value = preset.seeds
            for widget, values in ((self.sparsity, preset.sparsities), (self.budget, preset.budgets)):
                value = widget.value
                widget.options = _options(values)
                widget.value = value if value in values else values[len(values) // 2]
            self.settling = False
        self.look()

    def look(self) -> None:
        """Read what is stored for what the widgets say, and show it."""
        with self.lock:
            if self.settling:
                return
            settings = self.settings()
            try:
                unread = [e for e in experiments(settings, settings.budgets) if e not in self.results]
                self.results |= load(unread, self.store)
            except BadInput as error:
                self.note.say(str(error))
                return
            self.draw()

    def draw(self) -> None:
        """What there is."""
        with self.lock:
            settings = self.settings()
            wanted = experiments(settings, settings.budgets)
            shown = view(settings, {e: self.results[e] for e in wanted if e in self.results})
            self.chart.spec = shown.charts[0]
            self.table.set(*shown.table)
            self.take.csv, self.take.code = shown.csv, shown.code
            self.note.say(shown.words)
            self.drawn = len(self.results)
            if not self.desk.running:
                self.desk.start.disabled = not missing(settings, self.results)

    def follow(self) -> None:
        """Draw if there is anything new."""
        with self.lock:
            if self.drawn != len(self.results):
                self.draw()

    def start(self) -> None:
        """Measure what is missing; a second press while it runs does nothing."""
        with self.lock:
            lacking = missing(self.settings(), self.results)
        if lacking:
            self.desk.go(lambda stopped: self._measure(lacking, stopped), self.follow, self.draw)

    def _measure(self, lacking: Sequence[Experiment], stopped: Callable[[], bool]) -> str:
        done = 0

        def keep(results: Results) -> None:
            nonlocal done
            with self.lock:
                self.results |= results
                done += len(results)

        measure(lacking, self.store, self.desk, stopped, keep)
        if done < len(lacking):
            return f"Stopped; {done} of {len(lacking)} are measured and kept. Press again for the rest."
        return f"Measured: {done} of {done}."

    def close(self) -> None:
        self.desk.end()
        app.close(self.box)


def _options(values: Sequence[float]) -> list[tuple[str, float]]:
    return [(f"{100 * x:.4g} %", x) for x in values]


def show(settings: Settings = Settings(), *, store: str = "", device: str = "auto") -> None:
    """Display it. store: folder of results, empty for the project's own; device: auto, cpu, cuda or cuda:N."""
    folder = Store(Path(store) if store else store_root())
    app.present("budget", (settings, store, device), lambda: Budget(settings, folder, device))
