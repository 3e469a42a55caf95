"""Explorers that start from what is stored of data whose networks train for long, and ask before they train for long."""

from collections.abc import Iterable, Sequence

import torch

from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Recipe
from retrainlab.explore.kit import cells, controls, costs, live
from retrainlab.explore.kit.app import App, Settings
from retrainlab.explore.kit.cells import Cell


class Arriving(App[Settings]):
    """An app with `cells`: what the store holds of the data set that is chosen, if a network of it trains for long here.

    shelf: the line that says so.
    """

    def build(self) -> None:
        super().build()
        self.cells: tuple[Cell, ...] = ()
        self.shelf = controls.Note()
        self.told: tuple[Recipe | Experiment, ...] = ()  # of which the reader knows the cost

    def arrive(self, data: str) -> None:
        """Find out what is stored of a data set, if its networks train for long, and say it."""
        usual = live.recipe_of(data, live.preset_of(data).recipe.model, 0)
        self.cells = cells.stored_cells(self.results, data) if self.long([usual]) else ()
        self.shelf.say(cells.words(data, self.cells))

    def with_stored(self, name: str, values: Iterable[float], model: str) -> list[float]:
        """Sparsities or budgets to choose from, with those that are stored of a network. name: that of a cell's field."""
        return sorted({*values, *(getattr(c, name) for c in self.cells if c.model == model)})

    def go_to_stored(self, model: str) -> None:
        """Move the controls to the nearest sparsity and budget that are stored of a network, and to its seeds."""
        asked = {name: self.inputs[name].value for name in ("sparsity", "budget")}
        if (cell := cells.nearest(self.cells, model, **asked)) is not None:
            with self.quietly():
                for name, value in vars(cell).items():
                    if name in self.inputs and name != "schedules":
                        controls.put(self.inputs[name], len(cell.seeds) if name == "seeds" else value)

    def lacking(self, missing: Sequence[Experiment]) -> list[Recipe | Experiment]:
        """What has to be trained for missing experiments, first the networks whose weights are not stored; nothing is looked
        up, nor returned, if all of it trains soon in any case."""
        recipes = list(dict.fromkeys(e.recipe for e in missing))
        if not self.long([*recipes, *missing]):
            return []
        return [*(r for r in recipes if self.results.dense(r, torch.device("cpu")) is None), *missing]

    def long(self, lacking: Sequence[Recipe | Experiment]) -> bool:
        """Whether training them takes longer than an explorer does without asking."""
        return costs.seconds(lacking, self.desk.device) > costs.PATIENCE

    def allow(self, lacking: Sequence[Recipe | Experiment], what: str, pressed: bool = True) -> None:
        """Raise BadInput unless they train soon, or the reader knows their cost and has pressed the button all the same.

        what: that they are, in words, which are not stored.
        """
        if not self.long(lacking):
            return
        text = f"Not stored: {what}. {costs.words(lacking, self.desk.device, self.cells)}"
        if absent := costs.absent(lacking):
            raise BadInput(f"{text} {absent}")
        if not pressed or self.told != tuple(lacking):
            self.told = tuple(lacking)
            raise BadInput(f"{text} To train all the same, press '{self.button}'{' again' * pressed}.")
        self.told = ()
