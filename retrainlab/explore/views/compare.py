"""What `compare` shows, without its widgets: two methods of the contest at one total of epochs.

`Settings` -> `experiments` -> `sought` (the search, for CS, STR and DST) -> `Pair` -> `picture`, `table`, `words`. The
entrants and their settings are those of the contest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

import pandas as pd

from retrainlab.checks import BadInput, check_number, choose, settle
from retrainlab.config import Experiment, Recipe
from retrainlab.contest.entrants import ENTRANTS, GRID, Candidate, candidates
from retrainlab.contest.search import reach, searched
from retrainlab.data.dataset import load
from retrainlab.explore.kit import chart, live, phrases
from retrainlab.explore.kit.live import Curve, Live
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.kit.phrases import percent
from retrainlab.figures.presets import PRESETS
from retrainlab.methods.table import entry
from retrainlab.study.store import Store

DATA = ("digits", "fashion-mnist", "cifar10")  # those with a contest
ROUNDS = 4  # of a search, as while the contest tunes
MIDDLE = 1
LOOKS = chart.SERIES[:2]
PARTS = ("first", "second", "results")  # of what is live
WIDTH, HEIGHT = 1060, 430


@dataclass(frozen=True)
class Settings:
    """What is compared. sparsity: a share; pick: which of the contest's settings of each method, 0 to 2."""

    first: str = "BIMP"
    second: str = "GMP"
    sparsity: float = 0.9
    seed: int = 0
    data: str = "digits"
    pick: tuple[int, int] = (MIDDLE, MIDDLE)

    def __post_init__(self) -> None:
        settle(self)
        for name in self.names:
            choose(name, ENTRANTS, "method")
        if self.first == self.second:
            raise BadInput(f"Both methods are {self.first}: choose two that differ.")
        check_number(self.sparsity, "sparsity", above=0, high=0.995)
        check_number(self.seed, "seed", low=0, whole=True)
        choose(self.data, DATA, "data set with a contest")
        for place in self.pick:
            check_number(place, "place of the setting", low=0, high=GRID - 1, whole=True)

    @property
    def names(self) -> tuple[str, str]:
        return self.first, self.second

    @property
    def recipe(self) -> Recipe:
        """The contest's, whose epochs are the total of both."""
        return contest_recipe(self.data, self.seed)

    @property
    def tolerance(self) -> float:
        """Of a search, a share: that of the contest's tuning."""
        return 2 * PRESETS[self.data].tolerance


def contest_recipe(data: str, seed: int) -> Recipe:
    """The data set's contest, whose epochs are the total of both."""
    return replace(PRESETS[data].contest, seed=seed)


def chosen(settings: Settings) -> list[Candidate]:
    """Each method's candidate."""
    s = settings
    return [candidates(name, s.recipe, s.sparsity)[place] for name, place in zip(s.names, s.pick)]


def experiments(settings: Settings) -> list[Experiment]:
    """One for each method, before any search."""
    return [c.experiment for c in chosen(settings)]


def turned(experiment: Experiment) -> bool:
    """Whether only a search reaches the sparsity."""
    return searched(experiment.recipe)


# ---- the search ------------------------------------------------------------------------------------------------------


class Unfinished(Exception):
    """A run that a search needs is missing: it was stopped, or is not stored."""


@dataclass
class Pair:
    """The two experiments, how far they are, and how many runs each method's search took."""

    settings: Settings
    live: Live
    runs: list[int] = field(default_factory=lambda: [0, 0])


def sought(settings: Settings, run: Callable[[list[Experiment], int], Live]) -> Pair:
    """The pair at its sparsity, those with a knob after a search of at most ROUNDS rounds of `run(experiments, round)`,
    which raises Unfinished to give up. What the search has of the two is in the pair already."""
    pair = Pair(settings, Live(experiments(settings)))
    seen: dict[Experiment, tuple[Live, int]] = {}
    turn = [i for i, e in enumerate(pair.live.experiments) if turned(e)]

    rounds = count(1)

    def study(tried: list[Experiment]) -> pd.DataFrame:
        came = run(tried, next(rounds))
        if not came.whole:
            raise Unfinished
        seen.update({e: (came, place) for place, e in enumerate(tried)})
        found = [came.results[i].scalars["trained_sparsity"] for i in range(len(tried))]
        return pd.DataFrame({"trained_sparsity": found})

    asked = [pair.live.experiments[i] for i in turn]
    found, rows = reach(asked, study, tolerance=settings.tolerance, most=ROUNDS)
    for i, e, runs in zip(turn, found, rows["runs"]):
        pair.live.experiments[i], pair.runs[i] = e, round(runs)
        came, place = seen[e]
        for part in PARTS:
            if place in getattr(came, part):
                getattr(pair.live, part)[i] = getattr(came, part)[place]
    return pair


def known(settings: Settings, store: Store) -> Pair:
    """What the store has of the pair, without training. A search that is not all there leaves its method out."""

    def read(tried: list[Experiment], _: int) -> Live:
        return live.stored(tried, store, firsts=True)

    try:
        pair = sought(settings, read)
    except Unfinished:
        pair = Pair(settings, Live(experiments(settings)))
    there = live.stored(pair.live.experiments, store, firsts=True)
    for i, e in enumerate(there.experiments):
        if turned(e) and not pair.runs[i]:
            for part in PARTS:
                getattr(there, part).pop(i, None)
    pair.live = there
    return pair


# ---- pictures and words ----------------------------------------------------------------------------------------------


def steps_per_epoch(recipe: Recipe) -> int:
    """Iterations of an epoch of its data."""
    return load(recipe.data).steps_per_epoch(recipe.batch_size)


def joined(running: Live, place: int, per_epoch: int) -> tuple[list[int], list[float], list[float]]:
    """Steps, accuracies and sparsities (shares) of an experiment: the first training, and behind it the retraining, or
    what the hard prune left where there is none."""
    e, first = running.experiments[place], running.first.get(place, Curve())
    second = running.second.get(place)
    if second is None and place in running.results:
        second = Curve.of(running.results[place].curves)
    second = second or Curve()
    start = e.recipe.epochs * per_epoch
    points = list(zip(first.steps, first.accuracy, first.sparsity))
    points += [(start + step, *rest) for step, *rest in zip(second.steps, second.accuracy, second.sparsity)]
    steps, accuracy, sparsity = map(list, zip(*points)) if points else ([], [], [])
    return steps, accuracy, sparsity


def share(running: Live, per_epoch: int) -> float:
    """How many of the trainings are done, parts of one too; `per_epoch` steps are an epoch."""
    done = 0.0
    for place, e in enumerate(running.experiments):
        steps = joined(running, place, per_epoch)[0]
        total = e.recipe.epochs * (1 + e.retrain.budget) * per_epoch
        done += 1 if place in running.results else min(steps[-1] / total, 1) if steps else 0
    return done


def picture(pair: Pair, per_epoch: int) -> dict:
    """Left: validation accuracy over all steps; right: the share of weights that are 0. A line marks where a first
    training ends and a retraining begins. per_epoch: steps."""
    names, running = pair.settings.names, pair.live
    accuracy, sparsity, told, cuts = [], [], [], {}
    for place, (name, look) in enumerate(zip(names, LOOKS)):
        steps, shares, zeros = joined(running, place, per_epoch)
        accuracy.append(chart.line(steps, [100 * v for v in shares], look, offset=place))
        sparsity.append(chart.line(steps, [100 * v for v in zeros], look, offset=place))
        if running.diverged(place):
            told.append(f"{name} diverged")
        elif steps:
            told.append(f"{name} {percent(shares[-1])} accurate and {percent(zeros[-1])} sparse at step {steps[-1]}")
        e = running.experiments[place]
        if e.retrain.budget:
            cuts.setdefault(e.recipe.epochs * per_epoch, []).append(name)
    total = pair.settings.recipe.epochs * per_epoch
    for step, those in cuts.items():
        label = f"{' and '.join(those)}: prune, then retrain"
        accuracy.append(chart.cut(step, label, chart.GREY, right=step > total / 2))
        sparsity.append(chart.cut(step, "", chart.GREY))
    sparsity.append(chart.level(100 * pair.settings.sparsity, f"asked: {percent(pair.settings.sparsity)}", right=True))
    frame = {"x": (0, total), "y": (0, 104), "xlabel": f"Step ({per_epoch} are an epoch)"}
    panels = [
        chart.panel(accuracy, ylabel="Validation accuracy (%)", **frame),
        chart.panel(sparsity, ylabel="Weights that are 0 (%)", **frame),
    ]
    ends = "; ".join(told) or "nothing has been trained yet"
    alt = f"Left: validation accuracy over {total} steps. Right: sparsity. The last points: {ends}."
    return chart.chart(panels, alt, width=WIDTH, height=HEIGHT, legend=list(zip(names, LOOKS)))


HEADS = ("method", "setting", "validation", "test", "sparsity reached", "epochs in all", "runs of search")


def table(pair: Pair, per_epoch: int) -> list[tuple[str, ...]]:
    """Each method as words; dots for what has not ended, no accuracies for what has diverged."""
    rows = []
    for place, (name, candidate) in enumerate(zip(pair.settings.names, chosen(pair.settings))):
        e, result = pair.live.experiments[place], pair.live.results.get(place)
        setting = candidate.setting
        if pair.runs[place]:
            knob = entry(e.recipe.method).knob.field
            setting += f", {knob} {getattr(e.recipe.method, knob):g}"
        some = result.scalars if result is not None and not result.scalars["stopped"] else None
        numbers = ("...",) * 4
        if some and result.outcome:
            numbers = ("diverged", "", "", f"{some['total_steps'] / per_epoch:g}")
        elif some:
            shares = (percent(some[k]) for k in ("validation_accuracy", "test_accuracy", "sparsity_achieved"))
            numbers = (*shares, f"{some['total_steps'] / per_epoch:g}")
        rows.append((name, setting, *numbers, str(pair.runs[place] or ("..." if turned(e) else "none"))))
    return rows


def words(pair: Pair) -> str:
    """Who is ahead and by how much, how sparse both are, and what the search cost."""
    if not pair.live.whole:
        return "Stopped; what there is stays on screen, and nothing unfinished is stored."
    s = pair.settings
    lost = [f"{name} {r.outcome}" for i, name in enumerate(s.names) if (r := pair.live.results[i]).outcome]
    ends = {name: r.scalars for i, name in enumerate(s.names) if not (r := pair.live.results[i]).outcome}
    if lost:
        left = [f"{name} ends at {percent(some['validation_accuracy'])}" for name, some in ends.items()]
        return f"Nothing can be compared: {'; '.join([*lost, *left])}. Choose another setting or seed."
    best, other = sorted(ends, key=lambda name: -ends[name]["validation_accuracy"])
    lead = 100 * (ends[best]["validation_accuracy"] - ends[other]["validation_accuracy"])
    top, low = (percent(ends[name]["validation_accuracy"]) for name in (best, other))
    text = f"{best} ends at {top}, {lead:.1f} points ahead of {other} with {low}"
    if not lead:
        text = f"{s.first} and {s.second} both end at {top}"
    text += f", after {s.recipe.epochs} epochs each. "
    zeros = [f"{percent(some['sparsity_achieved'])} of {name}'s weights" for name, some in ends.items()]
    text += f"Exactly 0 are {' and '.join(zeros)}. "
    for name, runs, some in zip(s.names, pair.runs, ends.values()):
        if runs:
            off = abs(some["trained_sparsity"] - s.sparsity) > s.tolerance
            near = f", and came no nearer than {percent(some['trained_sparsity'])} before the hard prune" if off else ""
            text += f"The search for {name}'s sparsity took {runs} runs{near}. "
    return text + "One seed only: differences of a point or two may be luck."


def csv(pair: Pair, per_epoch: int) -> str:
    """Every point of both curves."""
    rows = [
        f"{name},{step},{phrases.digits(accuracy)},{zeros:.6g}"
        for place, name in enumerate(pair.settings.names)
        for step, accuracy, zeros in zip(*joined(pair.live, place, per_epoch))
    ]
    return "\n".join(["method,step,validation_accuracy,sparsity", *rows, ""]) if rows else ""


def code(settings: Settings) -> str:
    """The comparison as Python."""
    s = settings
    lines = ["from retrainlab.contest import candidates"]
    turn = [turned(e) for e in experiments(s)]
    lines += ["from retrainlab.contest.search import reach"] * any(turn)
    lines += ["", f"plans = {list(zip(s.names, s.pick))!r}"]
    lines.append(f"experiments = [candidates(name, recipe, {s.sparsity!r})[i].experiment for name, i in plans]")
    if any(turn):
        i = turn.index(True)
        those = "experiments" if all(turn) else f"experiments[{i}:{i + 1}]"
        lines.append(f"{those}, searches = reach({those}, study.run_study, tolerance={s.tolerance!r}, most={ROUNDS})")
    lines.append("frame = study.run_study(experiments)")
    lines.append('print(frame[["validation_accuracy", "test_accuracy", "sparsity_achieved", "total_steps"]])')
    return phrases.python(s.recipe, *lines)


def page(store: Store) -> Page:
    """Two of six methods, none of which needs a search, on one seed of digits."""
    names, sparsities = ("BIMP", "GMP", "DPF", "RigL", "Static", "Dense"), (0.8, 0.9, 0.95)

    def view(first: str, second: str, sparsity: float) -> View:
        try:
            settings = Settings(first, second, sparsity)
        except BadInput as error:
            empty = chart.panel([], x=(0, 1), y=(0, 104), xlabel="Step")
            return View([chart.chart([empty, empty], str(error), width=WIDTH, height=HEIGHT)], str(error))
        pair = known(settings, store)
        if not pair.live.whole:
            raise BadInput(f"The page needs the runs of {first} and {second}, which are not in the store; make them.")
        per_epoch = steps_per_epoch(settings.recipe)
        rows = "Both methods", HEADS, table(pair, per_epoch)
        return View([picture(pair, per_epoch)], words(pair), rows, csv(pair, per_epoch), code(settings))

    pairs = [Settings(name, "Dense", s) for s in sparsities for name in names if name != "Dense"]
    options = [(name, name) for name in names]
    return Page(
        "compare",
        "Methods side by side",
        [
            "Two ways to a sparse network that reads handwritten digits, with the same number of epochs in all: BIMP "
            "trains, prunes and retrains; GMP, DPF and RigL make it sparse while they train it; Static is a random mask "
            "from the start, and Dense is not pruned. Choose two, and how much is removed."
        ],
        [
            Control("First method", options, 0, True),
            Control("Second method", options, 1, True),
            Control("Weights removed", [(f"{100 * s:g} %", s) for s in sparsities], 1),
        ],
        list(dict.fromkeys(e for settings in pairs for e in experiments(settings))),
        view,
    )
