"""A network of the reader's own, from a reference to sparse weights: the widgets of `own`."""

from collections.abc import Iterable
from functools import partial

import ipywidgets as widgets
from torch import Tensor

from retrainlab.adopt.answer import Answer
from retrainlab.checks import BadInput
from retrainlab.config import DENSE_SCHEDULES, Experiment, Recipe
from retrainlab.data.sources import BUILT_IN
from retrainlab.explore.kit import controls
from retrainlab.explore.kit.app import App, Screen
from retrainlab.explore.kit.live import Curve, Live
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.worker import Stop
from retrainlab.explore.views import own as views
from retrainlab.explore.views.own import Settings, Taken
from retrainlab.study.making import Watch
from retrainlab.training.state import Point


class OwnNetwork(App[Settings]):
    """The widgets, the network that was taken in, and what came of its retrainings."""

    stem, button, initial = "own", "Prune and retrain", Settings()
    shows = views

    def build(self) -> None:
        super().build()
        self.taken: Taken | None = None
        self.raced, self.curves = self.given, Live([])
        self.answer: Answer | None = None
        self.layers = Screen(self.stem)
        self.screens.append(self.layers)
        s = self.given
        self.inputs = {
            "model": self._words("Network", s.model, views.NETWORKS),
            "data": self._words("Data", s.data, BUILT_IN),
            "checkpoint": self._words("Checkpoint (a file)", s.checkpoint, ()),
            "dense": self._words("Was trained with", s.dense, DENSE_SCHEDULES),
            "peak": controls.number("Peak learning rate", s.peak, 0.001, 1.0, 0.05, log=True),
            "epochs": controls.number("Epochs", s.epochs, 1, 200, 1),
            "batch_size": controls.number("Images in a batch", s.batch_size, 2, 256, 1),
        } | controls.inputs(s, "sparsity", "budget", "schedules", "seeds")
        self.take = widgets.Button(description="Take it in")
        self.which = controls.choice("Retrained with", s.schedules, s.schedules[0])
        self.file = self._words("File", "sparse.safetensors", ())
        self.save, self.saved = widgets.Button(description="Save the network", disabled=True), controls.Status()
        naming, how = ("model", self.inputs["data"], "checkpoint"), ("dense", "peak", "epochs", "batch_size")
        desk, screen = self.desk, self.screen
        self.lay_out(
            *(controls.title("1. The network"), controls.columns(self.inputs, naming, how), self.take, desk.where),
            *(
                controls.title("2. What may be pruned"),
                self.inputs["sparsity"].row,
                *self.layers.charts,
                self.layers.note,
            ),
            *(controls.title("3. Retrain"), controls.columns(self.inputs, ("budget",), ("seeds",))),
            *(self.inputs["schedules"].row, desk.buttons, desk.status, *screen.charts, screen.note, screen.table),
            screen.take,
            *(controls.title("4. Take the weights"), controls.row(self.which, self.file, self.save), self.saved),
        )
        self.watch(self.draw_layers, self.inputs["sparsity"])
        self.press(self.take, self.look)
        self.press(desk.start, self.start)
        self.press(self.save, self.write)
        self.layers.put(views.pruned(None, s.sparsity))
        self.draw()
        self.do(self.look)

    @staticmethod
    def _words(label: str, value: str, suggested: Iterable[str]) -> widgets.Combobox:
        """A line to type in, with suggestions."""
        look = {"style": controls.LABEL, "layout": widgets.Layout(width="auto", min_width="0")}
        return widgets.Combobox(value, options=[*suggested], description=label, ensure_option=False, **look)

    def look(self) -> None:
        """Take in the network that the controls name; a second press while something runs does nothing."""
        settings = self.settings()
        if not self.desk.worker.busy:
            self.desk.status.say("Taking the network in; without a checkpoint it is trained first ...")
            self.desk.go(partial(self._look, settings), lambda: None, self.draw_layers)

    def _look(self, settings: Settings, stopped: Stop) -> str:
        watch = Watch(stop=stopped, tell=lambda share, _: self.desk.tell(share))
        taken = views.take_in(settings, str(self.desk.device), watch)
        with self.lock:
            self.taken, self.answer, self.curves = taken, None, Live([])
            self.save.disabled = True
        return "Choose how much to remove and how long to retrain, then press 'Prune and retrain'."

    def draw_layers(self) -> None:
        """Show what each layer loses, and what may be pruned."""
        self.do(lambda: self.layers.put(views.pruned(self.taken, self.inputs["sparsity"].value)))

    def start(self) -> None:
        """Prune and retrain; a second press while something runs does nothing."""
        if self.desk.worker.busy:
            return
        settings = self.settings()
        if self.taken is None or self.taken.of != views.named(settings):
            raise BadInput("The network that these controls name is not taken in yet; press 'Take it in' first.")
        self.raced, self.answer, self.curves = settings, None, Live(views.experiments(settings, self.taken))
        self.save.disabled = True
        self.desk.status.say("Retraining ...")
        self.draw()
        self.desk.go(partial(self._retrain, self.taken, settings, self.curves), self.draw)

    def _retrain(self, taken: Taken, settings: Settings, curves: Live, stopped: Stop) -> str:
        places = {e: place for place, e in enumerate(curves.experiments)}

        def on_point(noun: Recipe | Experiment, point: Point) -> None:
            if isinstance(noun, Experiment) and noun in places:
                curve = curves.second.setdefault(places[noun], Curve())
                curve.add(point.step, point.accuracy, point.sparsity, point.lr)

        watch = Watch(on_point, stopped, lambda share, _: self.desk.tell(share))
        s = settings
        try:
            answer = taken.net.advise(
                s.sparsity, s.budget, s.schedules, s.seeds, keep=True, store=self.results, watch=watch
            )
        except BadInput:
            if stopped():
                return "Stopped; what there is stays on screen, and what had ended is kept in the store."
            raise
        with self.lock:
            self.answer = answer
            self.which.options, self.which.value = list(s.schedules), answer.schedule
            self.save.disabled = False
        return f"{len(answer.table)} retrainings have ended; choose one below to save its network."

    def write(self) -> None:
        """Write the network that is chosen, of the first seed; ONNX takes some seconds."""
        if self.taken is not None and self.answer is not None:
            weights, file = self.answer.weights(self.which.value), self.file.value
            self.saved.say(f"Writing {file} ...")
            self.desk.go(partial(self._write, self.taken, weights, file), lambda: None)

    def _write(self, taken: Taken, weights: dict[str, Tensor], file: str, stopped: Stop) -> str:
        try:
            self.saved.say(taken.net.write(weights, file))
        except BadInput as error:
            self.saved.say(str(error))
        return ""

    def view(self) -> View:
        return views.view(self.raced, self.taken, self.curves, self.answer)


show = OwnNetwork.show
