"""Predict first: rank the schedules before they race, then see how right that was. A group's guesses share one table.

Guesses are kept beside the results that they are about, in `guesses.json` of the store, so that a meeting can go on after
a break.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from retrainlab import glossary
from retrainlab.checks import BadInput, check_number, settle
from retrainlab.explore.kit import chart, live, writing
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.views import race as race_view
from retrainlab.explore.views.race import Settings, code, diverged, experiments, measure, ranks, standing
from retrainlab.parsing import parsed, read_file
from retrainlab.paths import locked, set_aside, write_whole
from retrainlab.phrases import first_line, listed, percent
from retrainlab.study.results import Results

SPARSITIES = (0.8, 0.9, 0.95, 0.98)
INTRO = (
    "Rank the schedules by the accuracy that they end with, the best first, and guess how many percentage points lie "
    "between first and last. Keep the guess, and let the next one guess; then show the answer. Guesses stay in this browser."
)
SCORED = (
    "A guess is scored by Kendall's tau: +1 with all pairs of schedules in the right order, -1 with all of them the wrong "
    "way round, about 0 by luck. A schedule stands at an exact place if it came out there."
)
GUESS_HEADS = ("name", "order, the best first", "Kendall's tau", "exact places", "gap guessed (points)", "off by")
CSV_HEADS = ("name", "order", "kendall_tau", "exact_places", "gap_guessed", "gap_off")
EQUAL = "all equal"  # in place of a tau, which no order has then


@dataclass(frozen=True)
class Guess:
    """Who guesses, the schedules from best to worst, and the percentage points between first and last."""

    name: str
    order: tuple[str, ...]
    gap: float

    def __post_init__(self) -> None:
        settle(self)
        if len(set(self.order)) < len(self.order) or not all(isinstance(s, str) for s in self.order):
            raise BadInput(f"The guess's order is {self.order!r}, but must name each schedule once.")
        if not self.name.strip():
            raise BadInput("The guess has no name; type one, so that the table can tell whose it is.")
        check_number(self.gap, "gap between first and last in points", low=0, high=100)

    @staticmethod
    def of(name: str, places: Mapping[str, int], gap: float) -> "Guess":
        """A guess from the place of each schedule. Raises BadInput unless these are 1 to n, each once."""
        if sorted(places.values()) != list(range(1, len(places) + 1)):
            twice = next(p for p in places.values() if list(places.values()).count(p) > 1)
            sharing = " and ".join(s for s, p in places.items() if p == twice)
            raise BadInput(f"{sharing} share place {twice}; give each schedule a place of its own.")
        return Guess(name, tuple(sorted(places, key=lambda name: places[name])), gap)


@dataclass(frozen=True)
class Score:
    """What a guess was worth, as `scored` in guess.js says it, too.

    tau: Kendall's tau-b, from -1 to 1; None if all came out equal. exact: how many schedules, of so many, stand at a place
    that they had, those that came out equal having several. off: by how many points the gap was off.
    """

    tau: float | None
    exact: int
    of: int
    off: float

    @property
    def told(self) -> tuple[str, str]:
        """tau and the exact places as a table has them."""
        return EQUAL if self.tau is None else f"{self.tau:+.2f}", f"{self.exact} of {self.of}"


def score(guess: Guess, accuracies: Mapping[str, float]) -> Score:
    """What the guess was worth. accuracies: shares, by schedule; one without has diverged, and came last."""
    from scipy.stats import kendalltau  # takes half a second to load

    came = [accuracies.get(name, -math.inf) for name in guess.order]
    best, apart = sorted(came, reverse=True), sorted(set(came))  # scipy takes places, but no infinity
    places = [apart.index(value) for value in came]
    tau = float(kendalltau(range(len(came), 0, -1), places).statistic) if len(apart) > 1 else None
    exact = sum(own == there for own, there in zip(came, best))
    gap = 100 * (max(accuracies.values(), default=0) - min(accuracies.values(), default=0))
    return Score(tau, exact, len(came), abs(guess.gap - gap))


def scores(guesses: Sequence[Guess], race: Live) -> list[tuple[Guess, Score]]:
    """The guesses about a race that is over with what they were worth, the best first."""
    accuracies = ranks(standing(race), race)
    raced = sorted([*accuracies, *diverged(race)])
    made = [(g, score(g, accuracies)) for g in guesses if sorted(g.order) == raced]  # a file may say anything
    return sorted(made, key=lambda one: (-(one[1].tau or 0), one[1].off))


def table(guesses: Sequence[Guess], race: Live | None) -> list[tuple[str, ...]]:
    """The guesses as rows of GUESS_HEADS: the best first if the race is over, without scores if it is not, or is None."""
    if race is None or not race.whole:
        return [(g.name, " > ".join(g.order), "", "", f"{g.gap:g}", "") for g in guesses]
    return [(g.name, " > ".join(g.order), *s.told, f"{g.gap:g}", f"{s.off:.1f}") for g, s in scores(guesses, race)]


def words(guesses: Sequence[Guess], race: Live) -> str:
    """Who guessed best, and what came out."""
    of, made = ranks(standing(race), race), scores(guesses, race)
    came = ", ".join([f"{name} {percent(v)}" for name, v in of.items()] + [f"{n} diverged" for n in diverged(race)])
    best = [guess.name for guess, own in made if own.tau == made[0][1].tau]
    lead = f"{listed(best)} guessed best (Kendall's tau: {made[0][1].told[0]}). " if made else "Nobody had guessed. "
    far = 100 * (max(of.values(), default=0) - min(of.values(), default=0))
    gap = f"; {far:.1f} points from first to last, by {measure(race)} accuracy" if of else ""
    return f"{lead}It came out as: {came}{gap}."


class Guesses:
    """The guesses about every race, in a file of the store, which several kernels may share; in memory where that cannot be
    written.

    all: guesses by the race's name.
    """

    def __init__(self, results: Results):
        self.path = results.store.root / "guesses.json"
        self.all = self._kept()
        self._unwritten: list[tuple[str, Guess]] = []

    def add(self, race: str, guess: Guess) -> None:
        """Keep a guess, which replaces one of the same name; what others have added meanwhile is taken in."""
        self._unwritten.append((race, guess))
        self._put(race, guess)
        with suppress(OSError), locked(self.path):
            self.all = self._kept()
            for one in self._unwritten:
                self._put(*one)
            text = json.dumps({name: [asdict(g) for g in guesses] for name, guesses in self.all.items()}, indent=1)
            write_whole(self.path, lambda path: path.write_text(text + "\n"))
            self._unwritten.clear()

    def _put(self, race: str, guess: Guess) -> None:
        self.all[race] = [g for g in self.all.get(race, []) if g.name != guess.name] + [guess]

    def _kept(self) -> dict[str, list[Guess]]:
        """What the file says; a damaged one is set aside."""
        try:
            known = parsed(read_file(self.path))
            return {name: [Guess(**g) for g in guesses] for name, guesses in known.items()}
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            why = first_line(error)
            set_aside([self.path], self.path.parent / "damaged", why, "and the guesses begin anew")
            return {}


def guesses_csv(guesses: Sequence[Guess], race: Live) -> str:
    """The guesses about a race that is over as CSV."""
    rows = [(g.name, " > ".join(g.order), s.tau, s.exact, g.gap, s.off) for g, s in scores(guesses, race)]
    return writing.csv(CSV_HEADS, rows)


def hidden(settings: Settings) -> View:
    """What is shown before the race."""
    panel = chart.panel([], x=(0, 100), y=(0, 104), xlabel="Retraining step", ylabel="Validation accuracy (%)")
    alt = "The race is hidden until it is run: an empty frame of validation accuracy over steps."
    legend = [(s, chart.schedule(s)) for s in settings.schedules]
    return View([chart.chart([panel], alt, legend=legend)], "", code=code(settings))


def view(settings: Settings, race: Live, guesses: Sequence[Guess], caption: str = "") -> View:
    """The race as it stands; if it is over, with the guesses' words and numbers. caption: of the ranking."""
    shown = race_view.view(settings, race, caption or race_view.caption(settings, "What came out"))
    if not race.whole:
        return replace(shown, words="Stopped; press Race to run it again from the start, or choose another.")
    return replace(shown, words=words(guesses, race), csv=guesses_csv(guesses, race) if guesses else shown.csv)


def question(settings: Settings, race: Live) -> View:
    """The race as an exported page shows it: the answer, and what a guess about it is scored against."""
    shown = view(settings, race, [], "What came out")
    came = ranks(standing(race), race) | dict.fromkeys(diverged(race))
    data = {"came": {name: came.get(name) for name in settings.schedules}}  # in an order that tells nothing
    return replace(shown, words=shown.words.removeprefix("Nobody had guessed. "), data=data)


def script_data() -> dict:
    """What the script of a page needs: the schedules' names, spelt out, and the words for scores."""
    long = {name: term.long for name, term in glossary.SCHEDULES.items()}
    return {"long": long, "heads": GUESS_HEADS, "columns": CSV_HEADS, "equal": EQUAL}


def page(results: Results) -> Page:
    """For readers without a kernel: races of one seed of digits to guess, with sparsity and budget to choose."""
    budgets, sparsities = (0.025, 0.05, 0.1, 0.25), (0.9, 0.95, 0.98)

    def view_of(sparsity: float, budget: float) -> View:
        settings = Settings(sparsity=sparsity, budget=budget)
        return question(settings, live.stored(experiments(settings), results))

    return Page(
        "predict",
        "Predict first",
        [INTRO, SCORED],
        [
            Control("Weights removed", writing.shares(sparsities), 1),
            Control("Budget (share of the dense run)", writing.shares(budgets), 1),
        ],
        [e for s in sparsities for b in budgets for e in experiments(Settings(sparsity=s, budget=b))],
        view_of,
        hidden=True,
        script="guess.js",
        data=script_data(),
    )
