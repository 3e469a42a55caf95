"""Two methods of the contest with one number of epochs: accuracy and sparsity over all steps.

CS, STR and DST reach a sparsity only by a search, which is made before they are compared.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from retrainlab.checks import BadInput, choice, number, settle
from retrainlab.config import Experiment, Recipe
from retrainlab.contest.entrants import ENTRANTS, GRID, Candidate, candidates
from retrainlab.contest.search import knob_of, searched
from retrainlab.explore.kit import chart, live, searching, writing
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.kit.searching import ROUNDS, Unfinished
from retrainlab.figures.presets import PRESETS
from retrainlab.phrases import percent, share
from retrainlab.study.results import Results
from retrainlab.study.stages import steps_of

DATA = ("digits", "fashion-mnist", "cifar10")  # those with a contest
MIDDLE = 1
LOOKS = {"color": chart.BLUE, "symbol": "o"}, {"color": chart.RED, "symbol": "D", "dash": "7 3"}
PAGE_METHODS = ("BIMP", "GMP", "DPF", "RigL", "Static", "Dense")  # none needs a search
PAGE_SPARSITIES = (0.8, 0.9, 0.95)
HEADS = ("method", "setting", "validation", "test", "sparsity reached", "epochs in all", "runs of search")


@dataclass(frozen=True)
class Settings:
    """What the widgets say. sparsity: share of the weights that is removed; pick: which of the contest's settings each
    method has."""

    first: str = choice("BIMP", ENTRANTS, "method")
    second: str = choice("GMP", ENTRANTS, "method")
    sparsity: float = number(0.9, above=0, high=0.995)
    seed: int = number(0, low=0)
    data: str = choice("digits", DATA, "data set with a contest")
    pick: tuple[int, int] = number((MIDDLE, MIDDLE), what="place of the setting", low=0, high=GRID - 1)

    def __post_init__(self) -> None:
        settle(self)
        if self.first == self.second:
            raise BadInput(f"Both methods are {self.first}: choose two that differ.")

    @property
    def names(self) -> tuple[str, str]:
        return self.first, self.second

    @property
    def recipe(self) -> Recipe:
        """The contest's, with the epochs that each method has in all."""
        return replace(PRESETS[self.data].contest, seed=self.seed)

    @property
    def tolerance(self) -> float:
        """How far off the sparsity that a search finds may be (a share), as while the contest tunes."""
        return 2 * PRESETS[self.data].tolerance


def chosen(settings: Settings) -> list[Candidate]:
    """The two methods, each with its picked setting."""
    s = settings
    return [candidates(name, s.recipe, s.sparsity)[place] for name, place in zip(s.names, s.pick)]


def experiments(settings: Settings) -> list[Experiment]:
    """One for each method, before any search."""
    return [c.experiment for c in chosen(settings)]


@dataclass
class Pair:
    """Two methods' experiments and how far they are.

    runs: how many runs each method's search took, 0 for none.
    """

    settings: Settings
    live: Live
    runs: list[int] = field(default_factory=lambda: [0, 0])

    def fill(self, results: Results) -> None:
        """Take what the store has of the methods whose sparsity has been found or needs no search."""
        there = live.stored(self.live.experiments, results, firsts=True)
        for i, e in enumerate(there.experiments):
            if self.runs[i] or not searched(e.recipe):
                self.live.take(i, there, i)


def sought(settings: Settings, run: Callable[[list[Experiment], int], Live]) -> Pair:
    """The pair after the search for each method that needs one (see `searching.sought`)."""
    return Pair(settings, *searching.sought(experiments(settings), run, settings.tolerance))


def known(settings: Settings, results: Results) -> Pair:
    """What the store has of the pair, without training; nothing of a method whose search is not all there."""
    try:
        pair = sought(settings, lambda tried, _: live.stored(tried, results, firsts=True))
    except Unfinished:
        pair = Pair(settings, Live(experiments(settings)))
    pair.fill(results)
    return pair


def steps_per_epoch(recipe: Recipe) -> int:
    """How many iterations an epoch has."""
    return steps_of(recipe)


def points(running: Live, place: int) -> list[tuple[int, float, float]]:
    """(step, accuracy, sparsity) of an experiment, shares: the first training, and behind it the retraining, or what the
    hard prune left where there is none."""
    recipe, out = running.experiments[place].recipe, []
    phases = (0, running.first.get(place)), (recipe.epochs * steps_per_epoch(recipe), running.second.get(place))
    for start, curve in phases:
        if curve is not None:
            out += [(start + s, a, z) for s, a, z in zip(curve.steps, curve.accuracy, curve.sparsity)]
    return out


def picture(pair: Pair) -> dict:
    """Left: validation accuracy over all steps; right: the share of weights that are 0. A vertical line marks where a
    first training ends and a retraining begins."""
    s, names, running, per_epoch = pair.settings, pair.settings.names, pair.live, steps_per_epoch(pair.settings.recipe)
    accuracy, sparsity, told = [], [], []
    cuts: dict[int, list[str]] = defaultdict(list)
    for place, (name, look) in enumerate(zip(names, LOOKS)):
        steps, shares, zeros = zip(*line) if (line := points(running, place)) else ((), (), ())
        accuracy.append(chart.line(steps, [100 * v for v in shares], look, offset=place))
        sparsity.append(chart.line(steps, [100 * v for v in zeros], look, offset=place))
        if running.diverged(place):
            told.append(f"{name} diverged")
        elif steps:
            told.append(f"{name} {percent(shares[-1])} accurate and {percent(zeros[-1])} sparse at step {steps[-1]}")
        e = running.experiments[place]
        if e.retrain.budget:
            cuts[e.recipe.epochs * per_epoch].append(name)
    total = s.recipe.epochs * per_epoch
    for step, those in cuts.items():
        label = f"{' and '.join(those)}: prune, then retrain"
        accuracy.append(chart.cut(step, label, chart.GREY, right=step > total / 2))
        sparsity.append(chart.cut(step, "", chart.GREY))
    sparsity.append(chart.level(100 * s.sparsity, f"asked: {percent(s.sparsity)}", right=True))
    frame: dict[str, Any] = {"x": (0, total), "y": (0, 104), "xlabel": f"Step ({per_epoch} are an epoch)"}
    panels = [
        chart.panel(accuracy, ylabel="Validation accuracy (%)", **frame),
        chart.panel(sparsity, ylabel="Weights that are 0 (%)", **frame),
    ]
    ends = "; ".join(told) or "nothing has been trained yet"
    alt = f"Left: validation accuracy over {total} steps. Right: sparsity. The last points: {ends}."
    return chart.chart(panels, alt, legend=list(zip(names, LOOKS)))


def table(pair: Pair) -> list[tuple[str, ...]]:
    """The results of each method; dots for what has not ended, no accuracies for what has diverged."""
    rows: list[tuple[str, ...]] = []
    for place, (name, candidate) in enumerate(zip(pair.settings.names, chosen(pair.settings))):
        e, result = pair.live.experiments[place], pair.live.results.get(place)
        setting = candidate.setting
        if pair.runs[place]:
            knob = knob_of(e.recipe).field
            setting += f", {knob} {getattr(e.recipe.method, knob):g}"
        numbers = ("...",) * 4
        if result is not None and not result.scalars["stopped"]:
            shares = (result.scalars[k] for k in ("validation_accuracy", "test_accuracy", "sparsity_achieved"))
            told = ("diverged", "", "") if result.outcome else map(percent, shares)
            numbers = (*told, f"{result.scalars['total_steps'] / steps_per_epoch(e.recipe):g}")
        rows.append((name, setting, *numbers, str(pair.runs[place] or ("..." if searched(e.recipe) else "none"))))
    return rows


def words(pair: Pair) -> str:
    """Which method is ahead and by how much, how sparse both are, and what the search cost."""
    if not pair.live.whole:
        return writing.stopped_words(begun=True)
    s = pair.settings
    ends = {name: pair.live.results[i] for i, name in enumerate(s.names)}
    reached = {name: r.scalars["validation_accuracy"] for name, r in ends.items()}
    if any(r.outcome for r in ends.values()):
        lost_first = sorted(ends, key=lambda name: not ends[name].outcome)
        said = "; ".join(f"{name} {ends[name].outcome or f'ends at {percent(reached[name])}'}" for name in lost_first)
        return f"Nothing can be compared: {said}. Choose another setting or seed."
    best, other = sorted(reached, key=lambda name: -reached[name])
    top, low = reached[best], reached[other]
    text = f"{best} ends at {percent(top)}, {100 * (top - low):.1f} points ahead of {other} with {percent(low)}"
    if top == low:
        text = f"{s.first} and {s.second} both end at {percent(top)}"
    zeros = [f"{percent(r.scalars['sparsity_achieved'])} of {name}'s weights" for name, r in ends.items()]
    text += f", after {s.recipe.epochs} epochs each. Exactly 0 are {' and '.join(zeros)}. "
    for (name, r), runs in zip(ends.items(), pair.runs):
        if runs:
            nearest = r.scalars["trained_sparsity"]
            off = abs(nearest - s.sparsity) > s.tolerance
            near = f", and came no nearer than {percent(nearest)} before the hard prune" if off else ""
            text += f"The search for {name}'s sparsity took {runs} runs{near}. "
    return f"{text}One seed only: differences of a point or two may be luck.{pair.live.mixed}"


def csv(pair: Pair) -> str:
    """Every point of both curves; empty if there is none."""
    rows = [(name, *p) for place, name in enumerate(pair.settings.names) for p in points(pair.live, place)]
    return writing.csv(("method", "step", "validation_accuracy", "sparsity"), rows) if rows else ""


def code(settings: Settings) -> str:
    """The comparison as Python."""
    s = settings
    turn = [i for i, e in enumerate(experiments(s)) if searched(e.recipe)]
    search, those = [], f"experiments[{turn[0]}:{turn[0] + 1}]" if len(turn) == 1 else "experiments"
    if turn:
        search = [f"{those}, searches = reach({those}, study.run_study, tolerance={s.tolerance!r}, most={ROUNDS})"]
    return writing.python(
        s.recipe,
        "from retrainlab.contest import candidates",
        *(["from retrainlab.contest.search import reach"] if turn else []),
        "",
        f"plans = {list(zip(s.names, s.pick))!r}",
        f"experiments = [candidates(name, recipe, {s.sparsity!r})[i].experiment for name, i in plans]",
        *search,
        "frame = study.run_study(experiments)",
        'print(frame[["validation_accuracy", "test_accuracy", "sparsity_achieved", "total_steps"]])',
    )


def view(pair: Pair, caption: str = "") -> View:
    """All that is shown. caption: of the table; one that tells the settings if empty."""
    s = pair.settings
    caption = caption or f"Both methods ({s.data}, {share(s.sparsity)} removed, seed {s.seed})"
    return View([picture(pair)], words(pair), (caption, HEADS, table(pair)), csv(pair), code(s))


def page(results: Results) -> Page:
    """For readers without a kernel: two of six methods on one seed of digits."""

    def show_one(first: str, second: str, sparsity: float) -> View:
        try:
            settings = Settings(first, second, sparsity)
        except BadInput as error:
            empty = chart.panel([], x=(0, 1), y=(0, 104), xlabel="Step")
            return View([chart.chart([empty, empty], str(error))], str(error))
        pair = known(settings, results)
        if not pair.live.whole:
            raise BadInput(f"The page needs the runs of {first} and {second}, which are not in the store; make them.")
        return view(pair, "Both methods")

    pairs = [Settings(name, "Dense", s) for s in PAGE_SPARSITIES for name in PAGE_METHODS if name != "Dense"]
    options = list(zip(PAGE_METHODS, PAGE_METHODS))
    return Page(
        "compare",
        "Methods side by side",
        [
            "Two ways to a sparse network that reads handwritten digits, with the same number of epochs in all: BIMP "
            "trains, prunes and retrains; three others make it sparse while they train it: GMP prunes a little at a time, "
            "DPF lets pruned weights come back, RigL drops weights and grows others. Static trains within a random mask "
            "from the start, and Dense is not pruned. Choose two, and how much is removed."
        ],
        [
            Control("First method", options, 0, True),
            Control("Second method", options, 1, True),
            Control("Weights removed", writing.shares(PAGE_SPARSITIES), 1),
        ],
        list(dict.fromkeys(e for settings in pairs for e in experiments(settings))),
        show_one,
    )
