"""Two methods side by side at one total of epochs: what is stored shows at once, the rest is trained while one watches."""

from collections.abc import Sequence
from dataclasses import replace

from retrainlab.config import Experiment
from retrainlab.contest.entrants import ENTRANTS, candidates
from retrainlab.contest.search import searched
from retrainlab.explore.kit import controls, costs, live
from retrainlab.explore.kit.arriving import Arriving
from retrainlab.explore.kit.live import Curve, Live
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.searching import ROUNDS, Unfinished
from retrainlab.explore.kit.worker import Stop
from retrainlab.explore.views import compare as views
from retrainlab.explore.views.compare import DATA, MIDDLE, Pair, Settings, experiments
from retrainlab.progress import Stages


class Compare(Arriving[Settings]):
    """The explorer of two methods, and the `pair` that it shows."""

    stem, initial = "compare", Settings()

    def build(self) -> None:
        super().build()
        self.pair: Pair | None = None
        s, desk, screen = self.given, self.desk, self.screen
        self.inputs = controls.inputs(s, "seed") | {
            "first": controls.choice("First method", ENTRANTS, s.first),
            "second": controls.choice("Second method", ENTRANTS, s.second),
            "sparsity": controls.share("Weights removed (%)", s.sparsity, 0.5, 99.5),
            "data": controls.choice("Data set", DATA, s.data),
        }
        self.names = self.inputs["first"], self.inputs["second"]
        self.picks = [controls.choice(f"Setting of the {w}", [("", p)], p) for w, p in zip(("first", "second"), s.pick)]
        pairs = [widget for both in zip(self.names, self.picks) for widget in both]
        inputs = controls.columns(self.inputs, pairs, ("sparsity", "data", "seed"))
        self.lay_out(inputs, desk.buttons, desk.status, desk.where, *screen.charts, screen.table, screen.take)
        self._offer(s.pick)
        self.watch(self.change, *self.names, self.inputs["data"])
        self.watch(self.look, *self.picks, self.inputs["sparsity"], self.inputs["seed"])
        self.press(desk.start, self.start)
        self.do(self.look)

    def settings(self) -> Settings:
        return replace(super().settings(), pick=tuple(widget.value for widget in self.picks))

    def change(self) -> None:
        """Offer the settings of other methods or data, and begin with the middle one."""
        self._offer((MIDDLE, MIDDLE))
        self.look()

    def _offer(self, pick: Sequence[int]) -> None:
        recipe = Settings(data=self.inputs["data"].value).recipe
        with self.quietly():
            for name, widget, place in zip(self.names, self.picks, pick):
                options = tuple((c.setting, i) for i, c in enumerate(candidates(name.value, recipe, 0.9)))
                if widget.options != options:
                    widget.options = options
                    widget.value = place

    def look(self) -> None:
        """Show what the store has, unless something runs: then `_ran` does it."""
        if self.desk.worker.busy:
            return
        pair = views.known(self.settings(), self.results)
        view = views.view(pair)  # before the pair is taken: what makes no sense is told here
        self.pair = pair
        self.put(view)
        if pair.live.whole:
            self.desk.status.say(f"From the store. {views.words(pair)}")
            return
        left = [name for i, name in enumerate(pair.settings.names) if i not in pair.live.results]
        what_next = costs.absent([e.recipe for e in pair.live.experiments]) or "Press Run."
        self.desk.status.say(f"Not trained yet: {' and '.join(left)}. {what_next}")

    def start(self) -> None:
        """Train what is missing; a second press while it runs does nothing."""
        self.look()
        settings = self.settings()
        if self.pair is not None and self.pair.settings == settings and not self.pair.live.whole:
            missing = [e for i, e in enumerate(self.pair.live.experiments) if i not in self.pair.live.results]
            self.allow(self.lacking(missing), f"{len(missing)} of these 2 runs on {settings.data}")
            self.desk.go(lambda stopped: self._run(settings, stopped), self.draw, lambda: self.do(self._ran))

    def _run(self, settings: Settings, stopped: Stop) -> str:
        turn = [searched(e.recipe) for e in experiments(settings)]
        runs = sum(1 + (2 + ROUNDS if t else 0) for t in turn)  # at most: a search begins with three at once
        stages = Stages(runs, self.desk.tell)

        def run(running: Live, words: str, weight: float) -> None:
            stages.stage(words, weight)
            live.run(running, self.results, self.desk.device, stopped, lambda share, _: stages.tell(share))

        def search(tried: list[Experiment], number: int) -> Live:
            came = live.stored(tried, self.results, firsts=True)
            self._watch(settings, came)
            count = f"{len(tried)} more run{'s' if len(tried) > 1 else ''}"
            run(came, f"Searching for the sparsity: round {number} of at most {ROUNDS}, {count}.", len(tried))
            return came

        try:
            pair = views.sought(settings, search)
        except Unfinished:
            return "Stopped during the search; the runs that have ended are kept, and Run goes on from there."
        pair.fill(self.results)
        with self.lock:
            self.pair = pair
        run(pair.live, f"Training {' and '.join(settings.names)} ...", runs - sum(pair.runs))
        return views.words(pair)

    def _watch(self, settings: Settings, came: Live) -> None:
        """Show as the curve of a method whose sparsity is searched for that of the first run of the round."""
        methods = [type(tried.recipe.method) for tried in came.experiments]
        with self.lock:
            for i, e in enumerate(experiments(settings)):
                if self.pair is not None and searched(e.recipe) and (method := type(e.recipe.method)) in methods:
                    self.pair.live.first[i] = came.first.setdefault(methods.index(method), Curve())

    def _ran(self) -> None:
        """Show what the controls have asked for while something ran."""
        if self.pair is None or self.pair.settings != self.settings():
            self.look()

    def view(self) -> View | None:
        return None if self.pair is None else views.view(self.pair)


show = Compare.show
