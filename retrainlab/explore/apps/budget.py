"""Which schedule for a budget: the advice of the stored results follows the controls, and what is missing is measured."""

from collections.abc import Sequence

from retrainlab.config import Experiment
from retrainlab.explore.kit import controls, costs, live
from retrainlab.explore.kit.arriving import Arriving
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.worker import Stop
from retrainlab.explore.kit.writing import shares
from retrainlab.explore.views import budget as views
from retrainlab.explore.views.budget import Settings, experiments, load, missing
from retrainlab.progress import Stages
from retrainlab.study.making import Watch, grouped
from retrainlab.study.result import Result
from retrainlab.study.results import Results


class Budget(Arriving[Settings]):
    """The explorer of advice; `found` has the results that were read or made so far."""

    stem, button, initial = "budget", "Measure it now", Settings()

    def build(self) -> None:
        super().build()
        self.found: dict[Experiment, Result] = {}
        self.drawn = -1
        s, screen, desk = self.given, self.screen, self.desk
        self.status = screen.note
        self.arrive(s.data)
        sparsities, budgets = (
            self.with_stored(*of, s.model) for of in (("sparsity", s.sparsities), ("budget", s.budgets))
        )
        self.inputs = controls.inputs(s, "data", "model", "seeds") | {
            "sparsity": controls.choice("Weights removed", shares(sparsities), s.sparsity),
            "budget": controls.choice("Budget (of dense run)", shares(budgets), s.budget),
        }
        self.go_to_stored(s.model)
        inputs = controls.columns(self.inputs, ("data", "model", "seeds"), ("sparsity", "budget"))
        shown = screen.note, *screen.charts, screen.table, screen.take
        self.lay_out(inputs, self.shelf, *shown, desk.buttons, desk.status, desk.where)
        self.watch(self.other_data, self.inputs["data"])
        self.watch(self.look, *(control for name, control in self.inputs.items() if name != "data"))
        self.press(desk.start, self.start)
        self.do(self.look)

    def other_data(self) -> None:
        """Offer another data set's network, sparsities, budgets and seeds, as its preset has them."""
        preset = live.preset_of(self.inputs["data"].value)
        self.arrive(self.inputs["data"].value)
        with self.quietly():
            self.inputs["model"].value = preset.recipe.model
            self.inputs["seeds"].slider.value = preset.seeds
            for name, values in (("sparsity", preset.sparsities), ("budget", preset.budgets)):
                control, all_ = self.inputs[name], self.with_stored(name, values, preset.recipe.model)
                value = control.value
                control.options = shares(all_)
                control.value = value if value in all_ else values[len(values) // 2]
        self.go_to_stored(preset.recipe.model)
        self.look()

    def look(self) -> None:
        """Read what is stored for what the controls say, and show it."""
        settings = self.settings()
        self.found |= load([e for e in experiments(settings, settings.budgets) if e not in self.found], self.results)
        self.draw()

    def view(self) -> View:
        settings = self.settings()
        wanted = experiments(settings, settings.budgets)
        return views.view(settings, {e: self.found[e] for e in wanted if e in self.found}, None, self.cost(settings))

    def cost(self, settings: Settings) -> str:
        """What it costs to measure what is missing, if that takes long."""
        lacking = self.lacking(missing(settings, self.found))
        if not self.long(lacking):
            return ""
        return f"{costs.words(lacking, self.desk.device, self.cells)} {costs.absent(lacking)}".strip()

    def put(self, view: View) -> None:
        """Show a view; the button can be pressed if anything is missing."""
        super().put(view)
        self.drawn = len(self.found)
        if not self.desk.running:
            self.desk.start.disabled = not missing(self.settings(), self.found)

    def follow(self) -> None:
        """Draw if more has been found."""
        if self.drawn != len(self.found):
            self.draw()

    def start(self) -> None:
        """Measure what is missing; a second press while it runs does nothing."""
        if lacking := missing(self.settings(), self.found):
            self.allow(self.lacking(lacking), f"{len(lacking)} of the runs that this advice needs")
            self.desk.go(lambda stopped: self._measure(lacking, stopped), self.follow, self.draw)

    def _measure(self, lacking: Sequence[Experiment], stopped: Stop) -> str:
        results, seeds = Results.at(self.results), grouped(lacking, lambda e: e.recipe.seed)
        work = {seed: results.work(some) for seed, some in seeds.items()}
        stages = Stages(sum(work.values()), self.desk.tell)
        for number, (seed, some) in enumerate(sorted(seeds.items()), 1):  # one by one, so that Stop keeps those before
            if stopped():
                break
            lead = f"Seed {seed} ({number} of {len(seeds)}): "

            def tell(share: float, words: str, lead=lead) -> None:
                stages.tell(share, words and lead + words)

            stages.stage("", work[seed])
            for noun, made in results.make(some, self.desk.device, Watch(stop=stopped, tell=tell)):
                if isinstance(noun, Experiment) and isinstance(made, Result) and not made.scalars["stopped"]:
                    with self.lock:
                        self.found[noun] = made
        done = sum(e in self.found for e in lacking)
        if done < len(lacking):
            return f"Stopped; {done} of {len(lacking)} are measured and kept. Press again for the rest."
        return f"Measured: {done} of {done}."


show = Budget.show
