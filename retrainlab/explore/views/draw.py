"""Schedules drawn by control points, in numbers: `Settings` -> `experiments` -> `live.Live` -> `picture`, `board`, `words`.

A drawn curve may be tuned on validation accuracy, so test accuracy is shown only when it is asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

import pandas as pd

from retrainlab import schedules, stats, tables
from retrainlab.checks import BadInput, check_number, choose, settle
from retrainlab.config import DATASETS, MODELS, NAMED_SCHEDULES, Experiment, Prune, Recipe, Retrain
from retrainlab.explore.kit import chart, live, phrases
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.kit.phrases import percent
from retrainlab.explore.views.race import POINTS
from retrainlab.study.stages import dense_curve
from retrainlab.study.store import Store
from retrainlab.training import cycles

Points = tuple[tuple[float, float], ...]
FEWEST, MOST = 2, 8  # control points
GAP = 0.01  # share of the run that stays between neighbours
TOP = 0.25  # the largest learning rate that can be drawn: 2.5 times the peak of every preset
DRAWN = {"color": "#222222", "symbol": "*"}
OWN = "your own"


def _cosine(high: float, low: float, shares: Sequence[float]) -> Points:
    """Half a wave from `high` at the first share to `low` at the last."""
    first, length = shares[0], shares[-1] - shares[0]
    return tuple((x, round(low + (high - low) * (1 + math.cos(math.pi * (x - first) / length)) / 2, 4)) for x in shares)


# all have the same peak, so that they differ in shape alone
SHAPES: dict[str, Points] = {
    "LLR": ((0.0, 0.0), (0.1, 0.1), (1.0, 0.0)),
    "CLR": ((0.0, 0.0), *_cosine(0.1, 0.001, (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.0))),
    "SLR": ((0.0, 0.0), (0.1, 0.1), (0.55, 0.1), (0.56, 0.01), (0.77, 0.01), (0.78, 0.001), (1.0, 0.001)),
    "FT": ((0.0, 0.001), (1.0, 0.001)),
    "cosine to 0": _cosine(0.1, 0.0, (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)),
    "late drop": ((0.0, 0.0), (0.1, 0.1), (0.8, 0.1), (1.0, 0.0)),
    "triangle": ((0.0, 0.0), (0.5, 0.1), (1.0, 0.0)),
    "two cycles": ((0.0, 0.0), (0.1, 0.1), (0.5, 0.0), (0.6, 0.1), (1.0, 0.0)),
}


@dataclass(frozen=True)
class Settings:
    """What is raced. sparsity, budget (of the dense run, above 0 and at most 1): shares; seeds: how many, 1 to 10; points:
    2 to 8 pairs of share of the run and learning rate up to TOP; schedules: the named ones that race along."""

    data: str = "digits"
    model: str = "resnet8"
    sparsity: float = 0.95
    budget: float = 0.1
    seeds: int = 3
    points: tuple[tuple[float, float], ...] = SHAPES["LLR"]
    schedules: tuple[str, ...] = ("LLR", "ALLR", "CLR")

    def __post_init__(self) -> None:
        settle(self)
        choose(self.data, DATASETS, "data set")
        choose(self.model, MODELS, "model")
        check_number(self.seeds, "number of seeds", low=1, high=10, whole=True)
        check_number(self.budget, "budget (share of the dense run)", above=0, high=1)
        for name in self.schedules:
            choose(name, NAMED_SCHEDULES, "retraining schedule")
        check_number(len(self.points), "number of control points", low=FEWEST, high=MOST, whole=True)
        for _, lr in self.points:
            check_number(lr, "learning rate of a control point", low=0, high=TOP)
        _ = self.prune, self.retrains

    @property
    def recipe(self) -> Recipe:
        """Of seed 0."""
        return live.recipe_of(self.data, self.model, 0)

    @property
    def prune(self) -> Prune:
        return Prune(self.sparsity)

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


def experiments(s: Settings, retrains: Sequence[Retrain] = ()) -> list[Experiment]:
    """One for each curve and seed; those of a seed share the trained network, what is pruned and the batches."""
    recipes = [live.recipe_of(s.data, s.model, seed) for seed in range(s.seeds)]
    return [Experiment(recipe, s.prune, r, POINTS) for r in retrains or s.retrains for recipe in recipes]


# ---- control points --------------------------------------------------------------------------------------------------


def move(points: Points, place: int, share: float, lr: float) -> Points:
    """The points with one moved as near to (share, lr) as its neighbours, [0, 1] and [0, TOP] let it."""
    low = points[place - 1][0] + GAP if place else 0.0
    high = points[place + 1][0] - GAP if place < len(points) - 1 else 1.0
    x = round(min(max(round(share, 3), low), high), 6) if low <= high else points[place][0]
    return (*points[:place], (x, round(min(max(lr, 0.0), TOP), 4)), *points[place + 1 :])


def add(points: Points, place: int) -> tuple[Points, int]:
    """The points with one more on the curve, halfway to the next (from the last: to the one before), and its place."""
    if len(points) == MOST:
        raise BadInput(f"A drawn curve has at most {MOST} points; remove one first.")
    left = min(place, len(points) - 2)
    (x0, y0), (x1, y1) = points[left : left + 2]
    if x1 - x0 < 2 * GAP:
        raise BadInput("There is no room between this point and the next; choose another point to add one beside.")
    return (*points[: left + 1], (round((x0 + x1) / 2, 6), round((y0 + y1) / 2, 6)), *points[left + 1 :]), left + 1


def remove(points: Points, place: int) -> Points:
    """Without that point; BadInput where too few would be left."""
    if len(points) == FEWEST:
        raise BadInput(f"A drawn curve needs at least {FEWEST} points; add one first.")
    return points[:place] + points[place + 1 :]


@lru_cache(maxsize=256)
def curve(retrain: Retrain, recipe: Recipe) -> tuple[Sequence[float], Sequence[float]]:
    """Places in the run (percent) and learning rates. Empty for ALLR, which starts where the pruned network says."""
    if retrain.points:
        shares, rates = zip(*retrain.points)
        return (0.0, *(100 * x for x in shares), 100.0), (rates[0], *rates, rates[-1])
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
    names = ", ".join(f'"{r.schedule}"' for r in (retrains or s.retrains)[1:])
    return phrases.python(
        s.recipe,
        f"mine = {line((retrains or s.retrains)[0])}",
        f"experiments = study.grid(recipe, sparsities=[{s.sparsity!r}], budgets=[{s.budget!r}],",
        f"    schedules=[mine{', ' * bool(names)}{names}], seeds={s.seeds}, evaluations={POINTS})",
        "frame = study.run_study(experiments)",
        'print(frame.groupby("schedule")[["validation_accuracy", "test_accuracy"]].mean())',
    )


# ---- the race: its picture, the leaderboard, the words ---------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A curve that has been raced on all seeds; accuracies are shares, one for each seed, NaN where it has diverged."""

    name: str
    retrain: Retrain
    validation: tuple[float, ...]
    test: tuple[float, ...]

    @property
    def mean(self) -> float:
        return round(fmean(self.validation), 10)  # equal means tie, whatever the noise of their sums

    @property
    def lost(self) -> int:
        """The seeds on which it has diverged."""
        return sum(map(math.isnan, self.validation))


def groups(race: Live) -> dict[Retrain, list[int]]:
    """The places of each curve's experiments, one for each seed."""
    out: dict[Retrain, list[int]] = {}
    for place, e in enumerate(race.experiments):
        out.setdefault(e.retrain, []).append(place)
    return out


def finished(race: Live, names: Mapping[Points, str]) -> list[Entry]:
    """The curves that have ended by themselves on all seeds. names: of the drawn ones."""
    out = []
    for retrain, places in groups(race).items():
        scalars = [r.scalars for p in places if (r := race.results.get(p)) is not None and not r.scalars["stopped"]]
        if len(scalars) == len(places):
            both = ("validation_accuracy", "test_accuracy")
            columns = [tuple(math.nan if s[name] is None else s[name] for s in scalars) for name in both]
            out.append(Entry(names.get(retrain.points, retrain.schedule), retrain, *columns))
    return out


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    """The best mean validation accuracy first; ties in the given order; last those that have diverged on any seed."""
    return sorted(entries, key=lambda e: (e.lost > 0, 0 if e.lost else -e.mean))


HEADS = ("place", "curve", "validation, mean", "lowest to highest", "seeds", "test, mean")


def board(entries: Sequence[Entry], revealed: bool) -> list[tuple[str, ...]]:
    """The leaderboard as words; without `revealed`, test accuracy is hidden."""

    def row(e: Entry) -> tuple[str, ...]:
        seeds = str(len(e.validation))
        if e.lost:
            return "", e.name, "diverged", f"on {e.lost} of {seeds} seeds", seeds, ""
        place = 1 + sum(other.mean > e.mean for other in entries)
        span = f"{100 * min(e.validation):.1f} to {percent(max(e.validation))}"
        return str(place), e.name, percent(e.mean), span, seeds, percent(fmean(e.test)) if revealed else "hidden"

    return [row(e) for e in ranked(entries)]


def csv(entries: Sequence[Entry], revealed: bool) -> str:
    """The leaderboard in shares, with the control points, the best first; no numbers for what has diverged."""
    measured = [f"validation_accuracy_{name}" for name in ("mean", "lowest", "highest")]
    rows = [
        (
            e.name,
            " ".join(f"{share:g}:{lr:g}" for share, lr in e.retrain.points),
            *(("",) * 3 if e.lost else (round(how(e.validation), 6) for how in (fmean, min, max))),
            len(e.validation),
            ("" if e.lost else round(fmean(e.test), 6)) if revealed else "hidden",
        )
        for e in ranked(entries)
    ]
    heads = ["curve", "points", *measured, "seeds", "test_accuracy_mean"]
    return tables.csv(pd.DataFrame(rows, columns=heads)) if rows else ""


def words(race: Live, entries: Sequence[Entry]) -> str:
    """What a race that is over shows, and that the sparsity was checked."""
    if not any(c.steps for c in race.second.values()):
        return "Stopped before the first step of retraining."
    if not race.whole:
        return "Stopped; what there is stays on screen, and nothing unfinished is stored."
    order, lost = [e for e in ranked(entries) if not e.lost], [e for e in entries if e.lost]
    n = len(entries[0].validation)
    left = ", ".join(f"{e.name} on {e.lost} of {n} seeds" for e in lost)
    if not order:
        return f"Nothing can be ranked: every curve diverged ({left})."
    told = ", ".join(f"{e.name} {percent(e.mean)}" for e in order)
    zeros = min(r.scalars["sparsity_achieved"] for r in race.results.values() if not r.outcome)
    text = f"Validation accuracy ({f'mean of {n} seeds' if n > 1 else 'one seed'}): {told}. "
    if n == 1:
        text += "One seed only: differences of a point or two may be luck. "
    elif len(order) > 1:
        pairs = [a - b for a, b in zip(order[0].validation, order[1].validation)]
        mean, low, high = stats.difference(pairs)
        if stats.verdict(pairs) == "undecided":
            text += f"{n} seeds cannot tell the first two apart (paired by seed). "
        else:
            text += (
                f"Paired by seed the first is {100 * mean:+.1f} points from the second (95 % {100 * low:+.1f} to "
                f"{100 * high:+.1f}, not corrected for choosing the best of {len(order)}). "
            )
    text += f"Left out, as they diverged: {left}. " if lost else ""
    return text + f"Checked in each: {percent(zeros)} of the weights are exactly 0."


def means(race: Live, places: Sequence[int]) -> list[tuple[int, list[float]]]:
    """Step and the accuracies of all seeds, as far as all have got; a seed that has diverged gets no further."""
    curves = [race.second.get(p) for p in places]
    if None in curves:
        return []
    points = [(steps[0][0], [a for _, a in steps]) for steps in zip(*(zip(c.steps, c.accuracy) for c in curves))]
    return [(step, shares) for step, shares in points if not any(map(math.isnan, shares))]


def picture(retrains: Sequence[Retrain], recipe: Recipe, race: Live, own: str, raced: str, grips: bool = False) -> dict:
    """Left: learning rates; right: the race, its mean over seeds. own, raced: the drawn curve's name at the left and at the
    right; grips: its control points can be dragged."""

    def look(r: Retrain) -> dict:
        return DRAWN if r.points else chart.schedule(r.schedule)

    rates, accuracy, ends, legend = [], [], [], {}
    for r in reversed(retrains):  # the first on top of the others
        x, y = curve(r, recipe)
        broad = {"width": 3.4, "marks": 0 if grips else 8} if r == retrains[0] else {"width": 1.8}
        rates.append(chart.line(x, y, look(r), **broad))
    for offset, (r, places) in enumerate(groups(race).items()):
        points = means(race, places)
        steps, values = [s for s, _ in points], [[100 * v for v in seeds] for _, seeds in points]
        if offset == 0 and len(places) > 1:
            accuracy.append(chart.band(steps, map(min, values), map(max, values), look(r)["color"]))
        accuracy.append(chart.line(steps, map(fmean, values), look(r), offset=offset, width=3.4 if offset == 0 else 2))
        name = raced if r.points else r.schedule
        if any(map(race.diverged, places)):
            ends.append(f"{name} diverged")
        elif points:
            ends.append(f"{name} {fmean(values[-1]):.1f} %")
    for r in (*retrains, *groups(race)):
        legend.setdefault(own if r.points else r.schedule, look(r))
    known = [r.scalars["dense_validation_accuracy"] for r in list(race.results.values())]
    if dense := [share for share in known if share is not None]:
        accuracy.append(chart.level(100 * fmean(dense), f"dense: {percent(fmean(dense))}"))
    seeds = max(map(len, groups(race).values()), default=0)
    over = f", mean of {seeds} seeds" if seeds > 1 else ""
    title = f"Race of {raced}{over}{' (band: its range)' * (seeds > 1)}" if seeds else "No race yet"
    left = chart.panel(rates, x=(0, 100), y=(0, TOP), xlabel="Share of the run (%)", ylabel="Learning rate", title=own)
    right = chart.panel(
        accuracy,
        x=(0, length(race)),
        y=(0, 104),
        xlabel="Retraining step",
        ylabel="Validation accuracy (%)",
        title=title,
    )
    first = "; ".join(f"{lr:g} at {100 * share:g} %" for share, lr in retrains[0].points) or retrains[0].schedule
    alt = (
        f"Left: learning rate over the share of the run; {own}: {first}. Right: validation accuracy{over}; "
        f"{'at the last point: ' + ', '.join(ends) if ends else 'nothing has been raced yet'}."
    )
    names = ["share of the run in percent", "learning rate"]
    points = [[100 * share, lr] for share, lr in retrains[0].points]
    handles = {"panel": 0, "points": points, "names": names} if grips else None
    return chart.chart([left, right], alt, width=1060, height=430, legend=list(legend.items()), handles=handles)


def length(race: Live) -> int:
    """Steps of the whole retraining, as far as they are known."""
    if not race.second:
        return 100
    dense = max((c.last for c in list(race.first.values())), default=0)  # a copy: the race may be adding to it
    planned = sum(cycles.lengths(race.experiments[0].prune, race.experiments[0].retrain, dense))
    return max(planned, 1, *(c.last for c in list(race.second.values())))


def page(store: Store) -> Page:
    """Schedules of the papers and curves drawn beforehand, each beside LLR: shapes by a list, budgets by a slider."""
    drawn, budgets = ("late drop", "triangle", "two cycles"), (0.05, 0.1, 0.25)
    shapes = ("LLR", "CLR", "SLR", "FT", *drawn)

    def retrains(shape: str, budget: float) -> list[Retrain]:
        one = Retrain("custom", budget, points=SHAPES[shape]) if shape in drawn else Retrain(shape, budget)
        return list(dict.fromkeys([one, Retrain("LLR", budget)]))

    def view(shape: str, budget: float) -> View:
        s, both = Settings(budget=budget), retrains(shape, budget)
        race = live.stored(experiments(s, both), store)
        entries = finished(race, {SHAPES[shape]: shape})
        return View(
            [picture(both, s.recipe, race, shape, shape)],
            f"{words(race, entries)} As Python: {line(both[0])}",
            ("Accuracy", HEADS, board(entries, revealed=True)),
            csv(entries, revealed=True),
            code(s, both),
        )

    return Page(
        "draw",
        "Draw your own schedule",
        [
            "A retraining schedule can be any curve. These were drawn with a few control points or taken from the papers; "
            "each is raced against LLR on the same networks, with the same images in the same order. With a kernel, the "
            "notebook lets you drag the points yourself."
        ],
        [
            Control("Shape", [(shape, shape) for shape in shapes], shapes.index("two cycles"), True),
            Control("Budget (share of the dense run)", [(f"{100 * b:g} %", b) for b in budgets], 1),
        ],
        list(
            dict.fromkeys(e for x in shapes for b in budgets for e in experiments(Settings(budget=b), retrains(x, b)))
        ),
        view,
    )
