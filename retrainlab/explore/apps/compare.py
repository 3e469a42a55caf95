"""Two methods side by side at one total of epochs: accuracy and sparsity over all steps, dense phase and retraining alike.

The widgets and the page; what they show is made in `pair`.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from retrainlab.checks import BadInput
from retrainlab.config import Experiment
from retrainlab.contest.entrants import ENTRANTS, candidates
from retrainlab.explore.kit import app, controls, live, worker
from retrainlab.explore.kit.live import Curve, Live
from retrainlab.explore.views.compare import (
    DATA,
    HEADS,
    MIDDLE,
    PARTS,
    ROUNDS,
    Pair,
    Settings,
    Unfinished,
    code,
    contest_recipe,
    csv,
    experiments,
    known,
    picture,
    share,
    sought,
    steps_per_epoch,
    table,
    turned,
    words,
)
from retrainlab.paths import store_root
from retrainlab.study.store import Store


class Compare:
    """The widgets and the pair that is shown; `lock` guards what two threads read and write."""

    def __init__(self, settings: Settings, store: Store, device: str):
        self.store, self.lock = store, threading.RLock()
        self.pair: Pair | None = None
        self.offering = False
        self.desk = worker.Desk("Run", device)
        s = settings
        self.names = [controls.choice(f"{w} method", ENTRANTS, n) for w, n in zip(("First", "Second"), s.names)]
        self.picks = [controls.choice(f"Setting of the {w}", [("", p)], p) for w, p in zip(("first", "second"), s.pick)]
        self.sparsity = controls.number("Weights removed (%)", 100 * s.sparsity, 0.5, 99.5, 0.5)
        self.data = controls.choice("Data set", DATA, s.data)
        self.seed = controls.number("Seed", s.seed, 0, 20, 1)
        self.chart, self.table, self.take = controls.Chart(), controls.Table(), controls.Take(name="compare")
        pairs = [widget for both in zip(self.names, self.picks) for widget in both]
        inputs = controls.row(
            controls.column(*pairs),
            controls.column(self.sparsity.row, self.data, controls.about(self.data), self.seed.row),
        )
        shown = [self.desk.buttons, self.desk.status, self.desk.where, self.chart, self.table, self.take]
        self.box = controls.app("compare", [inputs, *shown])
        self._offer(s.pick)
        for widget in (*self.names, self.data):
            widget.observe(lambda _: self.change(), names="value")
        for widget in (*self.picks, self.sparsity.slider, self.seed.slider):
            widget.observe(lambda _: self.look(), names="value")
        self.desk.start.on_click(lambda _: self.start())
        self.look()

    def settings(self) -> Settings:
        """What the widgets say; BadInput if it makes no sense."""
        return Settings(
            *(widget.value for widget in self.names),
            sparsity=round(self.sparsity.value / 100, 6),
            seed=self.seed.value,
            data=self.data.value,
            pick=tuple(widget.value for widget in self.picks),
        )

    def change(self) -> None:
        """Other methods or data have other settings to choose from: begin with the middle one."""
        self._offer((MIDDLE, MIDDLE))
        self.look()

    def _offer(self, pick: Sequence[int]) -> None:
        recipe = contest_recipe(self.data.value, 0)
        self.offering = True
        try:
            for name, widget, place in zip(self.names, self.picks, pick):
                options = tuple((c.setting, i) for i, c in enumerate(candidates(name.value, recipe, 0.9)))
                if widget.options != options:
                    widget.options = options
                    widget.value = place
        finally:
            self.offering = False

    def look(self) -> None:
        """Show what the store has, unless something runs: then when that has ended."""
        if self.offering or self.desk.worker.busy:
            return
        try:
            settings = self.settings()
            steps_per_epoch(settings.recipe)
            pair = known(settings, self.store)
        except BadInput as error:
            self.desk.status.say(str(error))
            return
        with self.lock:
            self.pair = pair
        self.draw()
        if pair.live.whole:
            self.desk.status.say(f"From the store. {words(pair)}")
            return
        left = [name for i, name in enumerate(settings.names) if i not in pair.live.results]
        self.desk.status.say(f"Not trained yet: {' and '.join(left)}. Press Run.")

    def start(self) -> None:
        """Train what is missing; a second press while it runs does nothing."""
        self.look()
        try:
            settings = self.settings()
        except BadInput:
            return  # `look` has told it
        with self.lock:
            if self.pair is None or self.pair.settings != settings or self.pair.live.whole:
                return
        self.desk.go(lambda stopped: self._run(settings, stopped), self.draw, self._ran)

    def _run(self, settings: Settings, stopped: Callable[[], bool]) -> str:
        per_epoch, turn = steps_per_epoch(settings.recipe), [turned(e) for e in experiments(settings)]
        runs = sum(1 + (2 + ROUNDS if t else 0) for t in turn)  # at most: a search begins with three at once
        before = 0

        def run(running: Live) -> None:
            def tell(*_: object) -> None:
                self.desk.tell((before + share(running, per_epoch)) / runs)

            live.run(running, self.store, self.desk.device, stopped, tell)

        def search(tried: list[Experiment], number: int) -> Live:
            nonlocal before
            came = live.stored(tried, self.store, firsts=True)
            self._watch(settings, came)
            count = f"{len(tried)} more run{'s' if len(tried) > 1 else ''}"
            self.desk.tell(before / runs, f"Searching for the sparsity: round {number} of at most {ROUNDS}, {count}.")
            run(came)
            before += len(tried)
            return came

        try:
            pair = sought(settings, search)
        except Unfinished:
            return "Stopped during the search; the runs that have ended are kept, and Run goes on from there."
        there = live.stored(pair.live.experiments, self.store, firsts=True)
        for part in PARTS:
            getattr(pair.live, part).update(getattr(there, part))
        with self.lock:
            self.pair = pair
        before = runs - len(turn)
        self.desk.tell(before / runs, f"Training {' and '.join(settings.names)} ...")
        run(pair.live)
        return words(pair)

    def _watch(self, settings: Settings, came: Live) -> None:
        """While a method's sparsity is searched for, its curve is that of the first run of the round."""
        with self.lock:
            for i, e in enumerate(experiments(settings)):
                for place, tried in enumerate(came.experiments):
                    if turned(e) and type(tried.recipe.method) is type(e.recipe.method):
                        self.pair.live.first[i] = came.first.setdefault(place, Curve())
                        break

    def _ran(self) -> None:
        """Show what was asked for meanwhile."""
        try:
            asked = self.settings()
        except BadInput as error:
            self.desk.status.say(str(error))
            return
        if self.pair is None or self.pair.settings != asked:
            self.look()

    def draw(self) -> None:
        """The pair as it stands."""
        with self.lock:
            if (pair := self.pair) is None:
                return
            per_epoch, s = steps_per_epoch(pair.settings.recipe), pair.settings
            self.chart.spec = picture(pair, per_epoch)
            caption = f"Both methods ({s.data}, {100 * s.sparsity:g} % removed, seed {s.seed})"
            self.table.set(caption, HEADS, table(pair, per_epoch))
            self.take.csv, self.take.code = csv(pair, per_epoch), code(pair.settings)

    def close(self) -> None:
        self.desk.end()
        app.close(self.box)


def show(settings: Settings = Settings(), *, store: str = "", device: str = "auto") -> None:
    """Display it. store: folder of results, empty for the project's own; device: auto, cpu, cuda or cuda:N."""
    folder = Store(Path(store) if store else store_root())
    app.present("compare", (settings, store, device), lambda: Compare(settings, folder, device))
