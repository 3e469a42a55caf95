"""Which schedule for a budget: the advice that stored results give, or what is missing for it.

The experiments are figure 3's, so that what that figure needed is here too.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd

from retrainlab import advice, stats, study
from retrainlab.advice import Advice
from retrainlab.checks import BadInput, choice, choose, number, settle
from retrainlab.config import DATASETS, MODELS, NAMED_SCHEDULES, Experiment, Prune, Recipe
from retrainlab.explore.kit import chart, live, writing
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.phrases import percent, share
from retrainlab.study.making import cost
from retrainlab.study.result import Result
from retrainlab.study.results import Results

Found = Mapping[Experiment, Result]
VALIDATION = {True: "mean validation", False: "mean validation (trained on, too)"}  # by whether images were held out
HEADS = ("schedule", VALIDATION[True], "mean test", "95 % interval", "difference", "its interval", "verdict")


@dataclass(frozen=True)
class Settings:
    """What the widgets say. model: the preset's if empty. sparsity (of the weights), budget (of the dense run): shares.
    seeds: how many, from 0 on."""

    data: str = choice("digits", DATASETS, "data set")
    model: str = ""
    sparsity: float = 0.95
    budget: float = number(0.1, what="budget (share of the dense run)", above=0, high=1)
    seeds: int = number(10, what="number of seeds", low=1)

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "model", self.model or live.preset_of(self.data).recipe.model)
        choose(self.model, MODELS, "model")
        Prune(self.sparsity)

    @property
    def recipe(self) -> Recipe:
        return live.recipe_of(self.data, self.model, 0)

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The preset's, and the one asked for."""
        return tuple(sorted({*live.preset_of(self.data).sparsities, self.sparsity}))

    @property
    def budgets(self) -> tuple[float, ...]:
        """The preset's, and the one asked for."""
        return tuple(sorted({*live.preset_of(self.data).budgets, self.budget}))

    @property
    def needed(self) -> tuple[float, ...]:
        """What the advice needs: the budget, and the next larger one if there is one."""
        return tuple(b for b in self.budgets if b >= self.budget)[:2]


def experiments(settings: Settings, budgets: Sequence[float] = ()) -> list[Experiment]:
    """Every schedule and seed at the sparsity. budgets: those that the advice needs if empty."""
    s, budgets = settings, budgets or settings.needed
    return study.grid(s.recipe, sparsities=[s.sparsity], budgets=budgets, schedules=NAMED_SCHEDULES, seeds=s.seeds)


def load(wanted: Sequence[Experiment], results: Results) -> dict[Experiment, Result]:
    """What the store has of them."""
    results = Results.at(results)  # the images may have changed since
    return {e: result for e in wanted if (result := results.of(e)) is not None}


def table(results: Found) -> pd.DataFrame:
    """The results as rows, as a study makes them."""
    return study.rows([*results], [""] * len(results), [*results.values()])


def missing(settings: Settings, found: Found) -> list[Experiment]:
    """What the advice needs and is not there, seed by seed."""
    return [e for e in experiments(settings) if e not in found]


def missing_words(settings: Settings, lacking: Sequence[Experiment], long: str = "") -> str:
    """What must be measured first, and how long that trains; empty for nothing. long: what to say of it if it takes long."""
    if not lacking:
        return ""
    parts = Counter(e.retrain.budget for e in lacking)
    whole, epochs = len(NAMED_SCHEDULES) * settings.seeds, sum(map(cost, lacking))
    counts = [f"{part} of {whole} at a budget of {share(budget)}" for budget, part in sorted(parts.items())]
    text = (
        f"Not measured yet at {share(settings.sparsity)} sparsity: {' and '.join(counts)}, about {epochs:.3g} epochs "
    )
    return text + (
        f"of retraining. {long}"
        if long
        else "of retraining, after the first training of each seed. The button below measures it; what is finished is kept."
    )


def picture(settings: Settings, frame: pd.DataFrame, found: Advice | None) -> dict:
    """Left: test accuracy against budget at the sparsity, with 95 % intervals; right: the other schedules' differences to
    the recommended one in the accuracy that the advice is by."""
    left, alt = _against_budget(settings, frame, settings.budget if found is None else found.budget)
    panels, columns = [left], [1.0]
    if found is not None and found.others:
        right, more = _differences(found)
        panels, columns, alt = [left, right], [0.56, 0.44], alt + more
    legend = [(name, chart.schedule(name)) for name in NAMED_SCHEDULES]
    return chart.chart(panels, alt, legend=legend, columns=columns)


def _against_budget(settings: Settings, frame: pd.DataFrame, budget: float) -> tuple[dict, str]:
    """Test accuracy against budget, and the same in words; budget: the one that is marked."""
    budgets = [100 * b for b in settings.budgets]
    marks, ends, told = [chart.cut(100 * budget, share(budget))], [], []
    if not frame.empty:
        if math.isfinite(dense := 100 * frame.groupby("seed")["dense_test_accuracy"].first().mean()):
            marks.append(chart.level(dense, f"dense: {dense:.1f} %", right=True, above=True))
            ends.append(dense)
        means = stats.summary(frame, ["schedule", "budget"], "test_accuracy").sort_values("budget")
        means = means[means["n"] > 0]  # without a schedule that always diverged
        named = [(name, own) for name in NAMED_SCHEDULES if len(own := means[means["schedule"] == name])]
        for place, (name, own) in enumerate(named):
            mean, low, high = (100 * own[end] for end in ("mean", "low", "high"))
            # side by side, so that no interval hides another
            x, look = 100 * own["budget"] * (1 + 0.02 * (place - (len(NAMED_SCHEDULES) - 1) / 2)), chart.schedule(name)
            marks += [chart.line(x, mean, look, marks=len(x)), chart.errors(x, low, high, look["color"])]
            ends += filter(math.isfinite, [*mean, *low, *high])
            told.append(f"{name} " + ", ".join(f"{m:.1f} % at {share(b)}" for m, b in zip(mean, own["budget"])))
    bottom, top = min(ends, default=0), max(ends, default=100)
    room = max(0.5, 0.06 * (top - bottom))
    panel = chart.panel(
        marks,
        x=(0.8 * budgets[0], 1.25 * budgets[-1]),
        y=(max(0, bottom - room), min(100, top) + room),
        xlabel="Budget (% of the dense run)",
        ylabel="Test accuracy (%)",
        title=f"{share(settings.sparsity)} sparsity: mean and 95 % interval",
        xlog=True,
        xticks=[(b, f"{b:.4g}") for b in budgets],
    )
    return panel, f"Left: test accuracy against budget. {'; '.join(told) or 'Nothing is measured yet'}."


def _differences(found: Advice) -> tuple[dict, str]:
    """Differences of the other schedules to the recommended one, and the same in words. The axis leaves out what is ruled
    out and far below, which has an arrow; with too few seeds there are no intervals."""
    rows = {c.schedule: [100 * x for x in c.difference] for c in found.others}
    if not found.enough:
        rows = {name: [mean, math.inf, math.inf] for name, (mean, *_) in rows.items()}
    reach = {name: max(abs(x) for x in values if math.isfinite(x)) for name, values in rows.items()}
    close = [reach[c.schedule] for c in found.others if c.verdict != advice.OUT]
    limit = max(0.5, 3 * (max(close) if close else min(reach.values())))
    shown = [name for name in rows if reach[name] <= limit]
    ends = [0.0, *(x for name in shown for x in rows[name] if math.isfinite(x))]
    room = max(0.1, 0.08 * (max(ends) - min(ends)))
    marks, ticks, told = [chart.level(0, f"{found.schedule}, recommended", above=True)], [], []
    for place, (name, (mean, low, high)) in enumerate(rows.items()):
        ticks.append((place, f"{name} {mean:+.1f}{'' if name in shown else ' ↓'}"))
        told.append(f"{name} {mean:+.1f}{_span(low, high, ' ({:+.1f} to {:+.1f})')}")
        if name in shown:
            look = chart.schedule(name)
            marks.append(chart.point(place, mean, look))
            if math.isfinite(low):
                marks.append(chart.errors([place], [low], [high], look["color"]))
    panel = chart.panel(
        marks,
        x=(-0.6, len(rows) - 0.4),
        y=(min(ends) - room, max(ends) + room),
        xlabel=f"Schedule and its mean difference (points){'; ↓: far below' if len(shown) < len(rows) else ''}",
        ylabel=f"{found.by.capitalize()}, difference (points)",
        title=f"Others to {found.schedule}{f', {100 * found.level:.3g} % intervals' if found.enough else ''}",
        xticks=ticks,
    )
    return panel, f" Right: differences in {found.by} to {found.schedule}, in points: {'; '.join(told)}."


def _span(low: float, high: float, form: str) -> str:
    return form.format(low, high) if math.isfinite(low) else ""


def rows(found: Advice) -> list[tuple[str, ...]]:
    """The table in words: the recommended schedule, then the others by the mean accuracy that it is by."""
    out: list[tuple[str, ...]] = []
    for c in sorted(found.compared, key=lambda c: (c.schedule != found.schedule, -found.mean(c))):
        test, low, high = (100 * x for x in c.test)
        accuracies = percent(c.validation), f"{test:.1f} %", _span(low, high, "{:.1f} to {:.1f}")
        mean, low, high = (100 * x for x in c.difference)
        difference = f"{mean:+.2f}" if c.schedule != found.schedule else "", _span(low, high, "{:+.2f} to {:+.2f}")
        out.append((c.schedule, *accuracies, *difference, c.verdict))
    return out


def csv(found: Advice) -> str:
    """The table as numbers; accuracies and differences are shares, what is not known is empty."""
    where = f"{found.sparsity:.10g}", f"{found.budget:.10g}"
    test = "mean_test_accuracy", "test_low", "test_high"
    difference = f"{found.by.split()[0]}_difference", "difference_low", "difference_high"
    heads = "sparsity", "budget", "schedule", "seeds", "mean_validation_accuracy", *test, *difference, "verdict"
    numbers = ((c.schedule, len(found.seeds), c.validation, *c.test, *c.difference, c.verdict) for c in found.compared)
    return writing.csv(heads, [(*where, *row) for row in numbers])


def code(settings: Settings) -> str:
    """The advice as Python."""
    s = settings
    return writing.python(
        s.recipe,
        "from retrainlab import advice",
        "",
        f"experiments = study.grid(recipe, sparsities=[{s.sparsity!r}], budgets={list(s.needed)!r},",
        f"    schedules={list(NAMED_SCHEDULES)!r}, seeds={s.seeds})",
        "frame = study.run_study(experiments)  # what is stored is not computed again",
        f"print(advice.words(advice.advise(frame, {s.sparsity!r}, {s.budget!r})))",
    )


def view(settings: Settings, results: Found, lacking: Sequence[Experiment] | None = None, long: str = "") -> View:
    """All that is shown, from the results that there are; those at other sparsities do no harm. lacking: of which is said
    that they are missing, by default all that are; long: what to say of them if they take long."""
    s, own = settings, {e: r for e, r in results.items() if e.prune.sparsity == settings.sparsity}
    frame, found, words = table(own), None, []
    lacking = missing(s, own) if lacking is None else lacking
    if own:
        try:
            found = advice.advise(frame, s.sparsity, s.budget)
            words = ["From what there is so far."] * bool(lacking) + [advice.words(found)]
        except BadInput as error:
            words = [str(error)]
        if lost := int((frame["outcome"] != "").sum()):
            words.append(f"{lost} of {len(frame)} runs diverged and are left out.")
        words.append(stats.mixed(frame))
    text, shown = " ".join(filter(None, [*words, missing_words(s, lacking, long)])), [picture(s, frame, found)]
    if found is None:
        return View(shown, text, ("No advice yet", HEADS, []), "", code(s))
    caption = (
        f"{share(s.sparsity)} sparsity, budget {share(found.budget)}, seeds: {len(found.seeds)}; differences "
        f"in points of {found.by}, {100 * found.level:.3g} % intervals"
    )
    return View(
        shown, text, (caption, (HEADS[0], VALIDATION[found.held_out], *HEADS[2:]), rows(found)), csv(found), code(s)
    )


def page(results: Results, start: Settings = Settings()) -> Page:
    """For readers without a kernel: the sparsities and budgets of a preset, from the settings `start` on."""

    @lru_cache(maxsize=len(start.sparsities))
    def known(sparsity: float) -> Found:
        return load(experiments(replace(start, sparsity=sparsity), start.budgets), results)

    def show_one(sparsity: float, budget: float) -> View:
        return view(replace(start, sparsity=sparsity, budget=budget), known(sparsity))

    removed, budgets = start.sparsities, start.budgets
    return Page(
        "budget",
        "Which schedule for my budget?",
        [
            "A network is trained, pruned in one go by global magnitude, and retrained for a share of the first training's "
            "length. Choose how much is removed and how much retraining you can pay for.",
            "The recommended schedule has the highest mean validation accuracy; its test accuracy is only reported. The "
            "sentences say how sure that is, and when the data cannot tell.",
            advice.LIMITS,
        ],
        [
            Control("Weights removed", writing.shares(removed), removed.index(start.sparsity)),
            Control("Budget (share of the dense run)", writing.shares(budgets), budgets.index(start.budget)),
        ],
        study.grid(start.recipe, sparsities=removed, budgets=budgets, schedules=NAMED_SCHEDULES, seeds=start.seeds),
        show_one,
    )
