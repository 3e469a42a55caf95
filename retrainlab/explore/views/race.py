"""Prune a network and race the retraining schedules from there: Settings -> experiments -> Live -> View."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from retrainlab import schedules
from retrainlab.checks import BadInput, choice, choose, settle
from retrainlab.config import DATASETS, MODELS, NAMED_SCHEDULES, SCORES, Experiment, Prune, Recipe, Retrain
from retrainlab.explore.kit import chart, collapse, live, writing
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.views.schedules import stairs
from retrainlab.phrases import listed, percent, share
from retrainlab.study.collapse import Network
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.stages import dense_curve_of
from retrainlab.training import cycles

POINTS = 40  # of a curve in each cycle
BUDGETS = (0.025, 0.05, 0.1, 0.25, 0.5)
HEADS = ("place", "schedule", "validation", "test", "points behind")


@dataclass(frozen=True)
class Settings:
    """What the widgets say. model: the preset's if empty. sparsity (of the weights), budget (of the dense run, in each
    cycle): shares."""

    data: str = choice("digits", DATASETS, "data set")
    model: str = ""
    sparsity: float = 0.95
    score: str = choice("magnitude", SCORES, "pruning score")
    allocation: str = "global"
    budget: float = 0.1
    cycles: int = 1
    schedules: tuple[str, ...] = choice(NAMED_SCHEDULES, NAMED_SCHEDULES, "retraining schedule")
    seed: int = 0

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "model", self.model or live.preset_of(self.data).recipe.model)
        choose(self.model, MODELS, "model")
        if not self.schedules:
            raise BadInput("No schedule is chosen: tick at least one.")
        _ = self.prune, Retrain(self.schedules[0], self.budget)  # what they refuse is refused

    @property
    def recipe(self) -> Recipe:
        return live.recipe_of(self.data, self.model, self.seed)

    @property
    def prune(self) -> Prune:
        return Prune(self.sparsity, self.score, self.allocation, cycles=self.cycles)


def experiments(settings: Settings, points: int = POINTS) -> list[Experiment]:
    """One for each schedule; they share all else. points: of the curve of each."""
    s = settings
    return [Experiment(s.recipe, s.prune, Retrain(name, s.budget), evaluations=points) for name in s.schedules]


def trained_on(race: Live) -> bool:
    """Whether training saw the validation images, too, so that accuracy on them must not rank anything."""
    return bool(race.experiments) and all(e.recipe.all_train for e in race.experiments)


def standing(race: Live) -> list[tuple[str, float, float | None]]:
    """(schedule, validation accuracy, test accuracy or None until it has ended), the best first by `ranks`; ties in the
    given order. What has diverged is left out."""
    rows = []
    for place, e in enumerate(race.experiments):
        result, curve = race.results.get(place), race.second.get(place)
        if curve is None or not curve.accuracy or race.diverged(place):
            continue
        now, test = curve.accuracy[-1], None
        if result is not None:
            now = result.scalars["validation_accuracy"]
            test = None if result.scalars["stopped"] else result.scalars["test_accuracy"]
        rows.append((e.retrain.schedule, now, test))
    return sorted(rows, key=lambda row: -ranks(rows, race)[row[0]])


def ranks(rows: Sequence[tuple[str, float, float | None]], race: Live) -> dict[str, float]:
    """The accuracy by which schedules are ranked: on validation images, or on test images if the former were trained on, as
    soon as all have ended."""
    tests = {name: test for name, _, test in rows if test is not None}
    return tests if trained_on(race) and len(tests) == len(rows) else {name: value for name, value, _ in rows}


def measure(race: Live) -> str:
    """Which accuracy ranks a race that is over."""
    return "test" if trained_on(race) else "validation"


def diverged(race: Live) -> list[str]:
    """The schedules whose retraining has diverged."""
    return [e.retrain.schedule for i, e in enumerate(race.experiments) if race.diverged(i)]


def heads(race: Live) -> tuple[str, ...]:
    """HEADS, which say so if validation images were trained on."""
    return tuple(f"{h} (trained on, too)" if h == "validation" and trained_on(race) else h for h in HEADS)


def ranking(race: Live) -> list[tuple[str, ...]]:
    """The standing as rows of HEADS; then what has diverged, and what has not begun."""
    rows, lost = standing(race), diverged(race)
    out: list[tuple[str, ...]] = []
    of = ranks(rows, race)
    for name, value, test in rows:
        place = 1 + sum(other > of[name] for other in of.values())
        behind = f"{100 * (of[name] - of[rows[0][0]]):+.1f}" if place > 1 else ""
        out.append((str(place), name, percent(value), "..." if test is None else percent(test), behind))
    told = {name for name, *_ in rows} | set(lost)
    waiting = [e.retrain.schedule for e in race.experiments if e.retrain.schedule not in told]
    return [*out, *(("", name, what, "", "") for what, names in (("diverged", lost), ("", waiting)) for name in names)]


def picture(race: Live, dense: float | None, steps: int) -> dict:
    """Accuracy and learning rate over the steps of retraining. dense: accuracy before pruning, if known; steps: how many
    there are to be."""
    accuracy = [] if dense is None else [chart.level(100 * dense, f"dense: {percent(dense)}")]
    rates, legend = [], []
    for place, e in enumerate(race.experiments):
        name, look = e.retrain.schedule, chart.schedule(e.retrain.schedule)
        legend.append((name, look))
        if (curve := race.second.get(place)) is not None:
            points = list(zip(curve.steps, curve.accuracy, curve.lr))
            x, y, lr = zip(*points) if points else ((), (), ())
            broad = 3.2 if name in ("FT", "LLR") else 2
            accuracy.append(chart.line(x, [100 * v for v in y], look, offset=place, width=broad))
            if (exact := planned(e, race.results.get(place))) is not None:
                rates.append(stairs(exact, 1, look, offset=place, width=broad))
            else:
                rates.append(chart.line(x, lr, look, offset=place, width=broad, step=True))
    top = max((rate for mark in rates for rate in mark["y"] if rate is not None), default=0.1)
    frame: dict[str, Any] = {"x": (0, steps), "xlabel": "Retraining step"}
    label = "Validation images (trained on, too), accuracy (%)" if trained_on(race) else "Validation accuracy (%)"
    left = chart.panel(accuracy, y=(0, 104), ylabel=label, **frame)
    right = chart.panel(rates, y=(0, 1.08 * (top or 0.1)), ylabel="Learning rate", **frame)
    said = [f"{name} {percent(value)}" for name, value, _ in standing(race)]
    rows = "; ".join(said + [f"{name} diverged" for name in diverged(race)]) or "nothing has been retrained yet"
    seen = " (on images that were trained on, too)" if trained_on(race) else ""
    alt = f"Left: validation accuracy{seen} over {steps} steps of retraining; now, the best first: {rows}."
    alt += " Right: learning rates."
    return chart.chart([left, right], alt, legend=legend, columns=(0.56, 0.44))


def planned(e: Experiment, result: Result | None) -> Tensor | None:
    """Every learning rate, shape [steps], of a stored retraining whose curve has fewer points than the explorer asks for;
    None for others, whose points tell enough."""
    scalars = {} if result is None or e.evaluations >= POINTS or e.prune.cycles > 1 else result.scalars
    steps, factor = scalars.get("steps"), scalars.get("allr_factor")
    if not steps or factor is None or scalars.get("stopped"):
        return None
    return schedules.retraining(e.retrain, dense_curve_of(e.recipe), steps, factor)


def dense_accuracies(race: Live) -> list[float]:
    """The dense networks' validation accuracies, one for each result that tells it."""
    known = [r.scalars["dense_validation_accuracy"] for r in list(race.results.values())]
    return [accuracy for accuracy in known if accuracy is not None]


def caption(settings: Settings, what: str = "Ranking") -> str:
    """A table's caption, which tells all settings."""
    s = settings
    how = f"{share(s.sparsity)} removed by {s.score}, {s.allocation}, budget {share(s.budget)}"
    cycles = f", {s.cycles} cycles" if s.cycles > 1 else ""
    return f"{what} ({s.data}, {s.model}, {how}{cycles}, seed {s.seed})"


def steps(race: Live, dense: int = 0) -> int:
    """How many steps the retraining has, as far as it is known. dense: steps of the first training, if the race may not
    tell them."""
    dense = max([dense, *(curve.last for curve in list(race.first.values()))])  # copies: the race may be adding to them
    first, planned = next(iter(race.experiments), None), 0
    if dense and first is not None:
        planned = sum(cycles.lengths(first.prune, first.retrain, dense))
    return max([planned, *(curve.steps[-1] for curve in list(race.second.values()) if curve.steps)]) or 100


def pruned(network: Network | None, sparsity: float) -> View:
    """Left: accuracy straight after pruning over sparsity (of the network, if there is one); right: the share that is
    removed from each layer at the chosen sparsity."""
    place = round(100 * sparsity, 4)
    left, alt = collapse.panel(network, place, "Straight after pruning (%)")
    layers = {} if network is None else network.layers(sparsity)
    shares, every = [100 * share for share in layers.values()], max(1, len(layers) // 8)
    named = list(enumerate(name.removesuffix(".weight").replace("blocks.", "") for name in layers))[::every]
    right = chart.panel(
        [chart.bars(range(len(layers)), shares, 0.7, chart.BLUE), chart.level(place, f"all: {place:g} %", above=True)],
        x=(-0.6, max(1, len(layers)) - 0.4),
        y=(0, 104),
        xlabel="Layer",
        ylabel="Removed from it (%)",
        xticks=named,
    )
    if layers:
        alt += f" Right: what each layer loses: {', '.join(f'{name} {shares[i]:.0f} %' for i, name in named)}."
    picture = chart.chart([left, right], alt, height=320, columns=(0.44, 0.56))
    return View([picture], "" if network is None else collapse.words(network, place))


def words(race: Live) -> str:
    """What a race that is over shows, and that the sparsity was checked."""
    rows, lost = standing(race), diverged(race)
    if not race.whole:
        return writing.stopped_words(bool(rows or lost))
    why = f"{listed(lost)} diverged (the loss or the weights were no longer finite)." if lost else ""
    if not rows:
        return f"Nothing can be ranked: {why}"
    ended = [r.scalars for r in race.results.values() if not r.outcome]
    zeros = min(s["sparsity_achieved"] for s in ended)
    of, last = ranks(rows, race), rows[-1][0]
    top, low = of[rows[0][0]], of[last]
    best = [name for name, value in of.items() if value == top]
    first = f"{listed(best)} end{'s' if len(best) == 1 else ''} first"
    lead = "All end equal," if len(rows) == len(best) > 1 else first
    lead += f" with {percent(top)} of the {measure(race)} images"
    gap = f", {100 * (top - low):.1f} points before {last}" if len(rows) > len(best) else ""
    dense, pruned = (percent(ended[0][f"{what}_validation_accuracy"]) for what in ("dense", "pruned"))
    before = f"{dense}, straight after the first prune it was {pruned}."
    if trained_on(race):
        before = (
            f"{percent(ended[0]['dense_test_accuracy'])}. Validation images were trained on, too: the dense network had "
            f"{dense} of them, straight after the first prune it was {pruned}."
        )
    return (
        f"{lead}{gap}; the dense network had {before} Checked in each: {percent(zeros)} of "
        f"the weights are exactly 0. One seed only: differences of a point or two may be luck."
        f"{f' Left out: {why}' if lost else ''}{race.mixed}"
    )


def csv(race: Live) -> str:
    """Every point of every curve; empty if there is none."""
    rows = [
        (e.retrain.schedule, step, None if lr is None else f"{lr:.8g}", accuracy)
        for place, e in enumerate(race.experiments)
        if (curve := race.second.get(place)) is not None
        for step, lr, accuracy in zip(curve.steps, curve.lr, curve.accuracy)
    ]
    return writing.csv(("schedule", "step", "lr", "validation_accuracy"), rows) if rows else ""


def code(settings: Settings, points: int = POINTS) -> str:
    """The race as Python. points: of the curves."""
    s = settings
    return writing.python(
        s.recipe,
        f"experiments = study.grid(recipe, sparsities=[{s.sparsity!r}], budgets=[{s.budget!r}],",
        f"    schedules={list(s.schedules)!r}, seeds=[{s.seed}], evaluations={points},",
        f"    prune=Prune(score={s.score!r}, allocation={s.allocation!r}, cycles={s.cycles}))",
        "frame = study.run_study(experiments)",
        'print(frame[["schedule", "validation_accuracy", "test_accuracy", "sparsity_achieved"]])',
    )


def view(settings: Settings, race: Live, about: str = "", network: Network | None = None) -> View:
    """The race as it stands, with its words as if it were over.

    about: the table's caption; one that tells all settings if empty.
    network: the dense network, if it is known.
    """
    dense, length = dense_accuracies(race), 0
    if network is not None:
        dense, length = [*dense, network.level], network.steps
    shown = picture(race, dense[0] if dense else None, steps(race, length))
    points = max((e.evaluations for e in race.experiments), default=POINTS)
    table = about or caption(settings), heads(race), ranking(race)
    return View([shown], words(race), table, csv(race), code(settings, points))


def page(results: Results) -> Page:
    """For readers without a kernel: races of one seed of digits, with sparsity and budget to choose."""
    sparsities, budgets = (0.8, 0.9, 0.95, 0.98), BUDGETS

    def view_of(sparsity: float, budget: float) -> View:
        settings = Settings(sparsity=sparsity, budget=budget)
        return view(settings, live.stored(experiments(settings), results), "Ranking")

    return Page(
        "race",
        "Prune and retrain: a race of schedules",
        [
            "A network that reads handwritten digits was pruned by magnitude and then retrained with six schedules, which "
            "share all else. Choose how much was pruned and how long the retraining was."
        ],
        [
            Control("Weights removed", writing.shares(sparsities), 2),
            Control("Budget (share of the dense run)", writing.shares(budgets), 2),
        ],
        [e for s in sparsities for b in budgets for e in experiments(Settings(sparsity=s, budget=b))],
        view_of,
    )
