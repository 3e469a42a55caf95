"""The explorers' pages of the site: those that stored results suffice for, and what the others lack."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from retrainlab import export
from retrainlab.checks import BadInput
from retrainlab.figures.pages import FOLDERS
from retrainlab.site.frame import Entry

if TYPE_CHECKING:
    from retrainlab.config import Experiment
    from retrainlab.explore.kit.pages import Page
    from retrainlab.study.results import Results

ORDER = ("start", "predict", "race", "draw", "budget", "allr", "compare", "schedules")
ABOUT = {
    "start": "Prune a trained network with a slider, and see what retraining brings back.",
    "predict": "Rank the schedules before the answer is shown, alone or in a group.",
    "race": "All schedules side by side, after the same prune.",
    "draw": "Draw a schedule by dragging points; the nearest stored curves say what such a one reached.",
    "budget": "Which schedule for a budget, and how sure that is.",
    "allr": "Where ALLR starts, and why.",
    "compare": "Two methods with one total of epochs.",
    "schedules": "All schedules as curves of the learning rate.",
}


@dataclass(frozen=True)
class Explorer:
    """A page with all its views as JSON. computed: where, in words that end a sentence."""

    page: "Page"
    data: str
    computed: str

    @property
    def stem(self) -> str:
        return self.page.name.partition("_")[0]

    @property
    def where(self) -> str:
        """The data set."""
        of = self.page.name.removeprefix(self.stem).strip("_") or "digits"
        return FOLDERS.get(of, of)

    @property
    def entry(self) -> Entry:
        short = self.stem if self.page.name == self.stem else f"{self.stem}, {self.where}"
        return Entry(self.page.name, self.page.title, short, "Explorers", ABOUT[self.stem])


@dataclass(frozen=True)
class Lacking:
    """A page that is left out. missing: those of its runs, of so many, that are not stored; why: where it is for another
    reason."""

    name: str
    missing: Sequence["Experiment"] = ()
    of: int = 0
    why: str = ""

    @property
    def words(self) -> str:
        return f"{self.name}: {self.why or f'{len(self.missing)} of its {self.of} runs are not stored'}"


def ready(results: "Results", tell: Callable[[float, str], None]) -> tuple[list[Explorer], list[Lacking]]:
    """The pages whose runs are all stored, with their views, and the others. tell: told which is made."""
    from retrainlab.explore.kit import pages

    found, lacking = [], []
    made = export.every(ORDER, results)
    for place, name in enumerate(sorted(made, key=lambda n: (ORDER.index(n.partition("_")[0]), n))):
        tell(place / len(made), name)
        page = made[name]
        if missing := [e for e in page.needs if results.of(e) is None]:
            lacking.append(Lacking(name, missing, len(page.needs)))
            continue
        try:
            found.append(Explorer(page, pages.data(page), pages.computed(page, results)))
        except BadInput as error:
            lacking.append(Lacking(name, why=str(error)))
    return found, lacking
