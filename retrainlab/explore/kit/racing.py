"""Explorers that run experiments while somebody watches, or show at once what the store has of them."""

from collections.abc import Callable
from typing import ClassVar

from retrainlab.config import Experiment
from retrainlab.explore.kit import live
from retrainlab.explore.kit.app import App, Settings
from retrainlab.explore.kit.live import Live
from retrainlab.study.results import Results


class Racing(App[Settings]):
    """An app with a `race` of experiments, made for the settings `raced`.

    stored_words: what begins the sentence about a race that the store has whole.
    """

    stored_words: ClassVar[str] = "From the store. "

    def __init__(self, settings: Settings, results: Results, device: str):
        super().__init__(settings, results, device)
        self.race, self.raced = Live([]), settings

    def experiments(self, settings: Settings) -> list[Experiment]:
        """What is raced for these settings."""
        raise NotImplementedError

    def ended(self, settings: Settings, race: Live) -> str:
        """Take a race that is over; what to say about it."""
        raise NotImplementedError

    def begun(self) -> None:
        """Prepare for another race, which is `race` already."""

    def over(self) -> None:
        """After a race, when the next thing can start."""

    def start(self) -> None:
        """Race, or show the stored race; a second press while it runs does nothing."""
        if self.desk.worker.busy:
            return
        settings = self.settings()
        race = live.stored(self.experiments(settings), self.results)
        self.race, self.raced = race, settings
        self.begun()
        if race.whole:
            self.desk.status.say(f"{self.stored_words}{self.ended(settings, race)}")
        self.draw()
        if not race.whole:
            self.desk.go(lambda stopped: self._run(settings, race, stopped), self.draw, self.over)

    def _run(self, settings: Settings, race: Live, stopped: Callable[[], bool]) -> str:
        live.run(race, self.results, self.desk.device, stopped, self.desk.tell)
        with self.lock:
            return self.ended(settings, race)
