"""Explorers that run experiments while somebody watches, or show at once what the store has of them."""

from typing import ClassVar

from retrainlab.explore.kit import live
from retrainlab.explore.kit.app import Settings
from retrainlab.explore.kit.arriving import Arriving
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.worker import Stop


class Racing(Arriving[Settings]):
    """An app with a `race` of experiments, those of the settings `raced`.

    stored_words: the first words about a race that the store has whole.
    """

    stored_words: ClassVar[str] = "From the store. "

    def build(self) -> None:
        super().build()
        self.race, self.raced = Live([]), self.given

    def ended(self, settings: Settings, race: Live) -> str:
        """Take a race that is over; return what to say about it."""
        raise NotImplementedError

    def begun(self) -> None:
        """Prepare for a new race, which is `race` already."""

    def over(self) -> None:
        """Act after a race, when the next work can start."""

    def start(self) -> None:
        """Race, or show the stored race; a second press while it runs does nothing."""
        if self.desk.worker.busy:
            return
        settings = self.settings()
        race = self.stored(settings)
        if not race.whole:
            count = len(race.experiments)
            missing = [e for i, e in enumerate(race.experiments) if i not in race.results]
            self.allow(self.lacking(missing), f"{count - len(race.results)} of these {count} retrainings")
        self.race, self.raced = race, settings
        self.begun()
        if race.whole:
            self.desk.status.say(f"{self.stored_words}{self.ended(settings, race)}")
        self.draw()
        if not race.whole:
            self.desk.go(lambda stopped: self._run(settings, race, stopped), self.draw, self.over)

    def stored(self, settings: Settings) -> Live:
        """What the store has of a race; of long ones also with other numbers of points."""
        return live.stored(self.shows.experiments(settings), self.results, False, [c.points for c in self.cells])

    def _run(self, settings: Settings, race: Live, stopped: Stop) -> str:
        live.run(race, self.results, self.desk.device, stopped, self.desk.tell)
        with self.lock:
            return self.ended(settings, race)
