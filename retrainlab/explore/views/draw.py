"""Draw a schedule by control points and race it: Settings -> experiments -> Live -> View."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

import numpy as np

from retrainlab import schedules
from retrainlab.checks import check_number, choice, number, settle
from retrainlab.config import DATASETS, MODELS, NAMED_SCHEDULES, Experiment, Prune, Recipe, Retrain
from retrainlab.explore.kit import board, chart, live, writing
from retrainlab.explore.kit.board import HEADS, Entry, groups
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.kit.points import FEWEST, GAP, MOST, SHAPES, TOP, Points
from retrainlab.explore.views import race as race_view
from retrainlab.explore.views.race import POINTS, steps
from retrainlab.phrases import percent, share
from retrainlab.study.results import Results
from retrainlab.study.stages import dense_curve, dense_curve_of

OWN = "your own"


@dataclass(frozen=True)
class Settings:
    """What the widgets say. points: 2 to 8 pairs of share of the run and learning rate up to TOP; schedules: the named ones
    that race along."""

    data: str = choice("digits", DATASETS, "data set")
    model: str = choice("resnet8", MODELS, "model")
    sparsity: float = 0.95
    budget: float = number(0.1, what="budget (share of the dense run)", above=0, high=1)
    seeds: int = number(3, what="number of seeds", low=1, high=10)
    points: Points = SHAPES["LLR"]
    schedules: tuple[str, ...] = choice(("LLR", "ALLR", "CLR"), NAMED_SCHEDULES, "retraining schedule")

    def __post_init__(self) -> None:
        settle(self)
        check_number(len(self.points), "number of control points", low=FEWEST, high=MOST, whole=True)
        for _, lr in self.points:
            check_number(lr, "learning rate of a control point", low=0, high=TOP)
        Prune(self.sparsity), self.retrains

    @property
    def recipe(self) -> Recipe:
        """The first training of seed 0."""
        return live.recipe_of(self.data, self.model, 0)

    @property
    def drawn(self) -> Retrain:
        return Retrain("custom", self.budget, points=self.points)

    @property
    def retrains(self) -> list[Retrain]:
        """The drawn curve, then the named ones."""
        return [self.drawn, *(Retrain(name, self.budget) for name in self.schedules)]

    @property
    def conditions(self) -> tuple:
        """What curves must share to be ranked together."""
        return self.data, self.model, self.sparsity, self.budget, self.seeds


def experiments(s: Settings, retrains: Sequence[Retrain] = (), points: int = POINTS) -> list[Experiment]:
    """One for each curve and seed; those of a seed share the trained network, its mask and the batches. points: of the
    curves of accuracy."""
    recipes = [live.recipe_of(s.data, s.model, seed) for seed in range(s.seeds)]
    return [Experiment(recipe, Prune(s.sparsity), r, points) for r in retrains or s.retrains for recipe in recipes]


@lru_cache(maxsize=256)
def curve(retrain: Retrain, recipe: Recipe) -> tuple[Sequence[float], Sequence[float]]:
    """Places in the run (percent) and learning rates there. Empty for ALLR, whose start depends on the pruned network."""
    if retrain.points:
        shares, lrs = zip(*retrain.points)
        return (0.0, *(100 * x for x in shares), 100.0), (lrs[0], *lrs, lrs[-1])
    if retrain.schedule == "ALLR":
        return (), ()
    original = dense_curve(recipe, math.ceil(200 / (retrain.budget * recipe.epochs)))
    n = round(retrain.budget * len(original.lr))
    rates = schedules.retraining(retrain, original, n).tolist()
    return [100 * i / n for i in range(n)], rates


def line(retrain: Retrain) -> str:
    """The curve as one line of Python."""
    points = f", points={retrain.points!r}" if retrain.points else ""
    return f'Retrain("{retrain.schedule}", budget={retrain.budget!r}{points})'


def code(s: Settings, retrains: Sequence[Retrain] = ()) -> str:
    """The race as Python."""
    mine, *others = retrains or s.retrains
    names = ", ".join(["mine", *(f'"{r.schedule}"' for r in others)])
    return writing.python(
        s.recipe,
        f"mine = {line(mine)}",
        f"experiments = study.grid(recipe, sparsities=[{s.sparsity!r}], budgets=[{s.budget!r}],",
        f"    schedules=[{names}], seeds={s.seeds}, evaluations={POINTS})",
        "frame = study.run_study(experiments)",
        'print(frame.groupby("schedule")[["validation_accuracy", "test_accuracy"]].mean())',
    )


def means(race: Live, places: Sequence[int]) -> list[tuple[int, list[float]]]:
    """Steps and the accuracies of all seeds there, as far as all have come; a seed that has diverged comes no further."""
    if not all(p in race.second for p in places):
        return []
    curves = [race.second[p] for p in places]
    points = [(steps[0][0], [a for _, a in steps]) for steps in zip(*(zip(c.steps, c.accuracy) for c in curves))]
    return [(step, shares) for step, shares in points if not any(map(math.isnan, shares))]


def view(settings: Settings, race: Live, raced: Settings, name: str, entries: Sequence[Entry], revealed: bool) -> View:
    """The curve that is drawn, the race as it stands, and the leaderboard.

    raced, name: the settings of the race, and the name of the drawn curve in it.
    entries: the curves raced under the same conditions.
    revealed: whether test accuracy is shown.
    """
    shown = picture(settings.retrains, settings.recipe, race, "Your curve", name, grips=True)
    shares = f"{share(raced.sparsity)} removed, budget {share(raced.budget)}"
    caption = f"Leaderboard ({raced.data}, {raced.model}, {shares}, seeds: {raced.seeds})"
    table = caption, HEADS, board.rows(entries, revealed)
    return View([shown], line(settings.drawn), table, board.csv(entries, revealed), code(settings))


def picture(retrains: Sequence[Retrain], recipe: Recipe, race: Live, own: str, raced: str, grips: bool = False) -> dict:
    """Left: learning rates; right: the race, its mean over seeds.

    own, raced: the drawn curve's name at the left and at the right.
    grips: whether its control points can be dragged.
    """
    first, *others = retrains
    rates = [chart.line(*curve(r, recipe), look(r), width=1.8) for r in reversed(others)]
    rates.append(chart.line(*curve(first, recipe), look(first), width=3.4, marks=0 if grips else 8))
    left = chart.panel(rates, x=(0, 100), y=(0, TOP), xlabel="Share of the run (%)", ylabel="Learning rate", title=own)
    legend = {own if r.points else r.schedule: look(r) for r in (*retrains, *groups(race))}
    right, over, ends = _accuracies(race, raced)
    told = "; ".join(f"{lr:g} at {share(part)}" for part, lr in first.points) or first.schedule
    alt = (
        f"Left: learning rate over the share of the run; {own}: {told}. Right: validation accuracy{over}; "
        f"{'at the last point: ' + ', '.join(ends) if ends else 'nothing has been raced yet'}."
    )
    handles, names = None, ["share of the run in percent", "learning rate"]
    if grips:
        handles = {"panel": 0, "points": [[100 * share, lr] for share, lr in first.points], "names": names}
    return chart.chart([left, right], alt, legend=list(legend.items()), handles=handles)


def look(r: Retrain) -> dict:
    """Colour, dashes and symbol of a curve."""
    return {"color": "#222222", "symbol": "*"} if r.points else chart.schedule(r.schedule)


def _accuracies(race: Live, raced: str) -> tuple[dict, str, list[str]]:
    """The panel of the race; in words, over how many seeds its means go, and where each curve ends."""
    marks, ends = [], []
    for offset, (r, places) in enumerate(groups(race).items()):
        points = means(race, places)
        x, values = [step for step, _ in points], [[100 * v for v in seeds] for _, seeds in points]
        if offset == 0 and len(places) > 1:
            marks.append(chart.band(x, map(min, values), map(max, values), look(r)["color"]))
        marks.append(chart.line(x, map(fmean, values), look(r), offset=offset, width=3.4 if offset == 0 else 2))
        name = raced if r.points else r.schedule
        if any(map(race.diverged, places)):
            ends.append(f"{name} diverged")
        elif points:
            ends.append(f"{name} {fmean(values[-1]):.1f} %")
    if dense := race_view.dense_accuracies(race):
        marks.append(chart.level(100 * fmean(dense), f"dense: {percent(fmean(dense))}"))
    seeds = max(map(len, groups(race).values()), default=0)
    over = f", mean of {seeds} seeds" if seeds > 1 else ""
    title = f"Race of {raced}{over}{' (band: its range)' * (seeds > 1)}" if seeds else "No race yet"
    labels = {"xlabel": "Retraining step", "ylabel": "Validation accuracy (%)", "title": title}
    return chart.panel(marks, x=(0, steps(race)), y=(0, 104), **labels), over, ends


SHOWN = 3  # stored curves, the nearest
SLOT = "THE_POINTS"  # in a page's code
BASE = "LLR"  # what a page's code races against
FREE = {
    "cosine to 0": {"color": "#7a5195", "symbol": "D", "dash": "2 3"},
    "late drop": {"color": "#8c510a", "symbol": "s", "dash": "8 3 2 3"},
    "triangle": {"color": "#555555", "symbol": "^", "dash": "6 3"},
    "two cycles": {"color": "#b5367a", "symbol": "*", "dash": "1 3"},
}
"""The shapes that are no named schedule, and how a page shows them."""
HOW_FAR = (
    "The distance of two curves is how far their learning rates lie apart on average over the run, as a share of the dense "
    "run's peak."
)


def stored_curves(settings: Settings) -> dict[Retrain, str]:
    """Every curve that the page knows results of, by what it is: the named schedules, and shapes drawn beforehand."""
    named = {Retrain(name, settings.budget): name for name in NAMED_SCHEDULES}
    return named | {Retrain("custom", settings.budget, points=SHAPES[name]): name for name in FREE}


def at_percents(retrain: Retrain, recipe: Recipe, d: float) -> list[float]:
    """Learning rates of a curve at 0, 1, ..., 100 % of the run. d: ALLR's factor."""
    if retrain.points:
        places, lrs = np.array(retrain.points).T
        return np.interp(np.linspace(0, 1, 101), places, lrs).round(6).tolist()
    original = dense_curve(recipe, math.ceil(200 / (retrain.budget * recipe.epochs)))
    n = round(retrain.budget * len(original.lr))
    rates = schedules.retraining(retrain, original, n, d).tolist()
    return [float(f"{rates[min(n - 1, round(i * n / 100))]:.5g}") for i in range(101)]


def told(entry: Entry, rates: Sequence[float], points: Sequence[tuple[int, list[float]]], seen: bool) -> dict:
    """A stored curve as the page's script has it. rates: its learning rates, at 101 places of the run; points: of `means`;
    seen: whether validation images were trained on, so that it is told by its test accuracy; accuracies, shares, but percent
    over its steps, are None where it has diverged on a seed."""
    by, other = (entry.test, entry.validation) if seen else (entry.validation, entry.test)

    def share(of: Sequence[float], which: Callable[[Sequence[float]], float]) -> float | None:
        return None if entry.lost else round(which(of), 5)

    return {
        "name": entry.name,
        "look": FREE.get(entry.name) or look(entry.retrain),
        "lr": list(rates),
        "steps": [step for step, _ in points],
        "accuracy": [round(100 * fmean(seeds), 2) for _, seeds in points],
        **{n: share(by, f) for n, f in (("mean", fmean), ("low", min), ("high", max))},
        "other": share(other, fmean),
        "seeds": len(entry.validation),
    }


def near_view(settings: Settings, results: Results, points: int = POINTS) -> View:
    """An empty chart of a curve to draw, and all stored curves at the settings' budget, for the page's script. points: of
    their accuracies."""
    s, known = settings, stored_curves(settings)
    race = live.stored(experiments(s, list(known), points), results)
    names = {retrain.points: name for retrain, name in known.items() if retrain.points}
    places, curves = groups(race), []
    for entry in board.finished(race, names):
        own = [race.results[p].scalars.get("allr_factor") for p in places[entry.retrain]]
        d = fmean([x for x in own if x is not None] or [1.0])
        rates, ends = at_percents(entry.retrain, s.recipe, d), means(race, places[entry.retrain])
        curves.append(told(entry, rates, ends, s.recipe.all_train))
    empty = picture([s.drawn], s.recipe, Live([]), "Your curve", "", grips=True)
    left, right = empty["panels"]
    level = [chart.level(100 * fmean(dense), "dense")] if (dense := race_view.dense_accuracies(race)) else []
    right |= {"marks": level, "x": (0, steps(race)), "title": "Nearest stored curves (means)"}
    if s.recipe.all_train:
        right |= {"ylabel": "Validation images (trained on, too), accuracy (%)"}
    words = f"{HOW_FAR} What your own curve would reach, only training tells: copy it as Python."
    code_of = code(s, [s.drawn, Retrain(BASE, s.budget)]).replace(repr(s.points), SLOT)
    return View([empty | {"panels": [left | {"marks": []}, right]}], words, None, "", code_of, {"curves": curves})


def script_data(recipe: Recipe) -> dict:
    """What the page's script needs whatever is chosen. recipe: of the first training."""
    names = ("test accuracy", "validation accuracy (trained on, too)")
    measure, other = names if recipe.all_train else ("validation accuracy", "test accuracy")
    return {
        "shapes": SHAPES,
        "start": "triangle",
        "own": OWN,
        "rules": {"gap": GAP, "top": TOP, "fewest": FEWEST, "most": MOST},
        "peak": dense_curve_of(recipe).peak,
        "shown": SHOWN,
        "slot": SLOT,
        "measure": measure,
        "heads": ("curve", "distance", f"{measure}, mean", "lowest to highest", "seeds", f"{other}, mean"),
    }


INTRO = (
    "A retraining schedule can be any curve. Draw one: the page shows which stored curves are nearest to it, and what they "
    "reached. The notebook trains yours."
)


def page(results: Results) -> Page:
    """For readers without a kernel: a curve to draw, beside the stored curves nearest to it and what they reached."""
    budgets = (0.05, 0.1, 0.25)
    of = [Settings(budget=budget) for budget in budgets]
    return Page(
        "draw",
        "Draw your own schedule",
        [INTRO, "The stored curves are those of three networks of digits with 95 % of the weights removed."],
        [Control("Budget (share of the dense run)", writing.shares(budgets), 1)],
        [e for s in of for e in experiments(s, list(stored_curves(s)))],
        lambda budget: near_view(Settings(budget=budget), results),
        script="drawing.js",
        data=script_data(Settings().recipe),
    )
