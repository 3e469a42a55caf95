"""Anatomy of ALLR: how the damage of pruning and the budget make its first learning rate, for a trained network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from retrainlab.checks import BadInput, choice, choose, number, settle
from retrainlab.config import DATASETS, MODELS, Experiment, Recipe
from retrainlab.explore.kit import chart, live, writing
from retrainlab.explore.kit.anatomy import NORMS, SPARSITIES, Anatomy
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.views import race
from retrainlab.phrases import percent, share
from retrainlab.study.reading import layer_names
from retrainlab.study.results import Results
from retrainlab.study.stages import dense_curve_of

LOOKS = {"prunable": {"color": chart.BLUE}, "all": {"color": chart.GREEN, "dash": "7 4"}}
BOLD: dict[str, Any] = {"color": "#222222", "width": 6, "opacity": 0.4}
BUDGET = "Budget (% of the dense run)"


@dataclass(frozen=True)
class Settings:
    """What the widgets say. sparsity, budget: shares; norm: ALLR's, a key of NORMS; model: the preset's if empty."""

    sparsity: float = number(0.9, low=0, high=0.995)
    budget: float = number(0.1, what="budget (share of the dense run)", above=0, high=1)
    norm: str = choice("prunable", NORMS, "norm for ALLR")
    data: str = choice("digits", DATASETS, "data set")
    model: str = ""
    seed: int = number(0, low=0)

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "model", self.model or live.preset_of(self.data).recipe.model)
        choose(self.model, MODELS, "model")

    @property
    def recipe(self) -> Recipe:
        return live.recipe_of(self.data, self.model, self.seed)


def factors_picture(settings: Settings, anatomy: Anatomy) -> dict:
    """Left: d1 over sparsity for both norms, d2, and d for the chosen norm. Right: the first learning rate over the
    budget."""
    s, peak, damage = settings, anatomy.peak, anatomy.damage
    now = {norm: anatomy.factor(s.sparsity, s.budget, norm) for norm in NORMS}
    chosen, x = now[s.norm], [100 * share for share in SPARSITIES]
    left = [
        chart.line(x, [min(max(d1, s.budget), 1.0) for d1 in damage[s.norm]], BOLD),
        *(chart.line(x, damage[norm], LOOKS[norm]) for norm in NORMS),
        chart.level(s.budget, f"d2 = {s.budget:.3g}", right=s.budget < 0.5, above=s.budget < 0.1),
        chart.cut(100 * s.sparsity, f"d = {chosen.d:.2f}", right=s.sparsity > 0.5),
        chart.point(100 * s.sparsity, chosen.d, {"color": chart.RED}),
    ]
    # level at d1, then the budget's own line: three points are the whole curve
    starts = {norm: ([0, 100 * f.d1, 100], [peak * f.d1, peak * f.d1, peak]) for norm, f in now.items()}
    right = [
        chart.line(*starts[s.norm], BOLD),
        *(chart.line(*starts[norm], LOOKS[norm]) for norm in NORMS),
        chart.level(peak, f"eta_max = {peak:.3g}"),
        chart.cut(100 * s.budget, f"start = {chosen.start:.3g}", right=s.budget > 0.5),
        chart.point(100 * s.budget, chosen.start, {"color": chart.RED}),
    ]
    title = f"With {percent(s.sparsity)} removed"
    panels = [
        chart.panel(left, x=(0, 100), y=(0, 1.04), xlabel="Weights removed (%)", ylabel="d1, d2 and d"),
        chart.panel(right, x=(0, 100), y=(0, 1.2 * peak), xlabel=BUDGET, ylabel="ALLR starts at", title=title),
    ]
    some = ", ".join(f"{damage[s.norm][SPARSITIES.index(x)]:.2f} at {share(x)}" for x in (0.5, 0.8, 0.95))
    alt = (
        f"Left: d1 over the share of weights removed, norm over {NORMS[s.norm]}: {some}; d is the larger of d1 and d2 = "
        f"{s.budget:.3g}, and {chosen.d:.2f} at {percent(s.sparsity)}. Right: the learning rate that ALLR starts from over "
        f"the budget: level until the budget exceeds d1, then in proportion to it; {chosen.start:.3g} at "
        f"{percent(s.budget)}."
    )
    legend = [(f"d1, norm over {name}", LOOKS[norm]) for norm, name in NORMS.items()]
    legend.append((f"d, norm over {NORMS[s.norm]}", {"color": BOLD["color"], "width": BOLD["width"]}))
    return chart.chart(panels, alt, height=420, legend=legend)


def weights_picture(settings: Settings, anatomy: Anatomy) -> dict:
    """A histogram of the weights, with a logarithmic axis of counts, and which of them are removed."""
    held, lost = anatomy.bars(settings.sparsity)
    width = (anatomy.edges[1] - anatomy.edges[0]).item()
    x = [edge + width / 2 for edge in anatomy.edges[:-1].tolist()]
    threshold, far = anatomy.threshold(settings.sparsity), anatomy.edges[-1].item()
    floor = 0.5  # an empty bar has no height on a logarithmic axis
    some = [(at, n) for at, n in zip(x, lost) if n]
    marks = [
        chart.bars(x, [max(n, floor) for n in held], 0.9 * width, chart.BLUE, floor),
        chart.bars([at for at, _ in some], [n for _, n in some], 0.9 * width, chart.ORANGE, floor),
    ]
    if threshold is not None:
        marks += [chart.cut(-threshold, right=True), chart.cut(threshold, f"cut at {threshold:.3g}")]
    panel = chart.panel(
        marks,
        x=(-far - width, far + width),
        y=(floor, 2 * max(held)),
        xlabel="Weight after the dense run (the outermost bars hold all beyond)",
        ylabel="Weights",
        ylog=True,
    )
    size, count = len(anatomy.magnitudes), anatomy.count(settings.sparsity)
    where = "nothing is removed" if threshold is None else f"{count:,}, those within {threshold:.3g} of 0, are removed"
    alt = f"Histogram of {size:,} weights from {-far:.3g} to {far:.3g}; {where}."
    legend = [("stay", {"color": chart.BLUE, "width": 8}), ("removed", {"color": chart.ORANGE, "width": 8})]
    return chart.chart([panel], alt, height=300, legend=legend)


HEADS = ("norm over", "share of it removed", "d1", "d2", "d", "decided by", "start (d times eta_max)")


def table(settings: Settings, anatomy: Anatomy) -> list[tuple[str, ...]]:
    """ALLR's numbers for both norms."""
    rows = []
    for norm, name in NORMS.items():
        f = anatomy.factor(settings.sparsity, settings.budget, norm)
        chosen = " (chosen)" if norm == settings.norm else ""
        numbers = (f"{v:.3f}" for v in (f.d1, f.d2, f.d))
        rows.append((name + chosen, percent(f.drop), *numbers, f.decides, f"{f.start:.4g}"))
    return rows


def words(settings: Settings, anatomy: Anatomy) -> str:
    """Which of d1 and d2 decides, with the numbers."""
    s = settings
    f = anatomy.factor(s.sparsity, s.budget, s.norm)
    text = "Nothing is removed, so d1 = 0"
    if count := anatomy.count(s.sparsity):
        text = (
            f"The {count:,} smallest of {len(anatomy.magnitudes):,} weights hold {percent(f.drop)} of the norm over "
            f"{NORMS[s.norm]}, of at most sqrt(s) = {percent(math.sqrt(f.removed))}: d1 = {f.d1:.3f}"
        )
    above, decides = ("above", "damage") if f.decides == "d1" else ("not above", "budget")
    [other] = set(NORMS) - {s.norm}
    there = anatomy.factor(s.sparsity, s.budget, other)
    same = "the other norm changes nothing" if there.d == f.d else f"with {NORMS[other]}, at {there.start:.3g}"
    return (
        f"{text}, {above} the budget's d2 = {f.d2:.3g}, so the {decides} decides. ALLR starts at {f.d:.3f} of the peak "
        f"{anatomy.peak:.3g}, {f.start:.3g}; {same}."
    )


def csv(settings: Settings, anatomy: Anatomy) -> str:
    """d1, d and the first learning rate over sparsity, at the budget that is chosen."""
    rows = []
    for sparsity in sorted({*SPARSITIES, settings.sparsity}):
        one, two = (anatomy.factor(sparsity, settings.budget, norm) for norm in NORMS)
        rows.append((100 * sparsity, one.d1, two.d1, settings.budget, one.d, two.d, one.start, two.start))
    d1, d, start = ([f"{name}_{norm}" for norm in NORMS] for name in ("d1", "d", "start"))
    return writing.csv(["sparsity_percent", *d1, "d2", *d, *start], rows, 5)


def code(settings: Settings) -> str:
    """The view as Python that retrains with both norms."""
    s = settings
    return writing.python(
        s.recipe,
        f'plans = [Retrain("ALLR", {s.budget!r}, allr_norm=norm) for norm in {tuple(NORMS)!r}]',
        f"frame = study.run_study([Experiment(recipe, Prune({s.sparsity!r}), plan) for plan in plans])",
        'print(frame[["allr_norm", "norm_drop", "removed", "allr_factor", "peak_lr"]])',
    )


def view(settings: Settings, anatomy: Anatomy, caption: str = "") -> View:
    """All that is shown. caption: of the table; one that names the network if empty."""
    s, a = settings, anatomy
    caption = caption or f"ALLR's numbers ({s.data}, {s.model}, seed {s.seed})"
    pictures = [factors_picture(s, a), weights_picture(s, a)]
    return View(pictures, words(s, a), (caption, HEADS, table(s, a)), csv(s, a), code(s))


def page(results: Results) -> Page:
    """For readers without a kernel: one network of digits, with sparsity, budget and norm to choose."""
    return page_of(Settings(), results, race.experiments(race.Settings(schedules=("LLR",))))


def page_of(start: Settings, results: Results, needs: Sequence[Experiment]) -> Page:
    """The page of the network of `start`, which is there once `needs` are."""
    budgets = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
    sparsities = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)

    @cache
    def anatomy() -> Anatomy:
        dense = results.dense(start.recipe, torch.device("cpu"))
        if dense is None:
            raise BadInput("The page about ALLR needs the trained network, which is not in the store; make it first.")
        if lost := dense.result.outcome:
            raise BadInput(f"The page about ALLR has no trained network ({lost}); choose another recipe.")
        return Anatomy.of(dense.state, layer_names(start.recipe), dense_curve_of(start.recipe).peak)

    def view_of(sparsity: float, budget: float, norm: str) -> View:
        return view(replace(start, sparsity=sparsity, budget=budget, norm=norm), anatomy(), "ALLR's numbers")

    return Page(
        "allr",
        "Anatomy of ALLR",
        [
            "ALLR retrains on a line from d times the dense run's peak learning rate to 0. d is the larger of the damage "
            "d1, which pruning did to the norm of the weights, and of d2, the budget. Choose how much is pruned and how "
            "long the retraining is."
        ],
        [
            Control("Weights removed", writing.shares(sparsities), sparsities.index(0.9)),
            Control("Budget (share of the dense run)", writing.shares(budgets), budgets.index(0.1)),
            Control("Norm over", [(name, norm) for norm, name in NORMS.items()], choice=True),
        ],
        needs,
        view_of,
    )
