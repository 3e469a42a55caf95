"""Presets: the settings with which the figures are made, from a minute's smoke test to a GPU's day.

A notebook's parameters can override any of a preset's settings; its figure then does not go where the preset's own are.
This module does not load torch.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from retrainlab.checks import BadInput, check_number, choose, plain, settle
from retrainlab.config import DENSE_SCHEDULES, SGD, Recipe
from retrainlab.paths import project
from retrainlab.recipes import RECIPES


@dataclass(frozen=True)
class Preset:
    """What the figures need to know. A field's last word is the name of the notebook's parameter that overrides it."""

    name: str
    recipe: Recipe  # of figures 1 to 4 and 9 to 14; 4 chooses on validation images, and never trains on them
    output: str = ""  # the figures' folder; if empty, the function `folder` chooses one
    seeds: int = 5
    # figure 3: shares of weights removed, budgets as shares of the dense run, and what the differences are to
    sparsities: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98)
    budgets: tuple[float, ...] = (0.025, 0.05, 0.1, 0.25, 0.5)
    baseline: str = "LLR"
    # figure 4: its multiples are learning rates over the dense run's peak; figure 9 has its seeds, too
    map_seeds: int = 3
    map_sparsities: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.98)
    map_budgets: tuple[float, ...] = (0.025, 0.05, 0.1, 0.25)
    map_multiples: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 2.0, 4.0)
    # figures 1 and 2: the one sparsity that they show; the budgets of 1, and the budget, points and seed of 2
    curve_sparsity: float = 0.95
    curve_budgets: tuple[float, ...] = (0.05, 0.25, 0.5)
    recovery_budget: float = 0.1
    recovery_points: int = 31
    recovery_seed: int = 0
    # figures 5 to 8: the recipe whose epochs are their total; the entrants, all if empty; how far a search may be off
    contest: Recipe = field(default_factory=lambda: Recipe(width=8, epochs=8))
    contest_names: tuple[str, ...] = ()
    contest_sparsities: tuple[float, ...] = (0.8, 0.9, 0.95)
    tuning_seeds: int = 2
    tolerance: float = 0.005
    # figure 6: shares of the epochs that are dense
    split_shares: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75, 0.875)
    split_cycles: tuple[int, ...] = (1, 3)
    split_sparsities: tuple[float, ...] = (0.9, 0.95)  # of figure 8, too
    # figure 7: its sparsity, and the budget of its retraining
    stability_sparsity: float = 0.9
    stability_budget: float = 0.25
    # figure 8: epochs of retraining as multiples of the total; cycles of its iterative form
    extra: tuple[float, ...] = (0.25, 0.5, 1.0)
    length_cycles: int = 3
    # figure 9: the layer whose masks are shown is the convolution in the middle if empty
    where_sparsities: tuple[float, ...] = (0.9, 0.95, 0.98)
    where_budget: float = 0.1
    where_layer: str = ""
    # figure 10: scores, of which the first is what the others are compared with
    score_seeds: int = 5
    scores: tuple[str, ...] = ("magnitude", "obd", "obs", "random")
    score_sparsities: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98)
    score_budgets: tuple[float, ...] = (0.05, 0.1, 0.25)
    # figure 11: dense schedules, of which the first is what the others are compared with; shares of the recipe's epochs
    dense_schedules: tuple[str, ...] = ("linear", "cosine", "multistep", "constant")
    dense_budgets: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 1.0)
    # figure 12: sparsities, and budgets of a cycle's retraining
    ingredient_sparsities: tuple[float, ...] = (0.95, 0.98)
    ingredient_budgets: tuple[float, ...] = (0.05,)
    # figure 13: shares of single weights, n:m patterns, shares of filters, and the budget of LLR after each
    storage_sparsities: tuple[float, ...] = (0.5, 0.75, 0.875, 0.95, 0.98)
    storage_patterns: tuple[str, ...] = ("2:4", "1:4", "1:8")
    storage_filters: tuple[float, ...] = (0.25, 0.5, 0.75, 0.875)
    storage_budget: float = 0.1
    # figure 14: LRW would be FT, whose learning rate it has for so short a budget
    landscape_schedules: tuple[str, ...] = ("FT", "CLR", "LLR", "ALLR")
    landscape_sparsities: tuple[float, ...] = (0.9, 0.98)
    landscape_budget: float = 0.1
    landscape_seeds: int = 10
    precision: str = "float32"  # of all trainings
    stored_only: bool = (
        False  # figures train nothing unless that is asked for, as they take hours of a GPU and weeks of a CPU
    )

    def __post_init__(self) -> None:
        settle(self)
        for name in ("recipe", "contest"):
            object.__setattr__(self, name, replace(getattr(self, name), precision=self.precision))
        for what, names in (("Scores", self.scores), ("Dense schedules", self.dense_schedules)):
            if len(set(names)) < max(2, len(names)):
                raise BadInput(
                    f"{what} are compared with each other, but there are {list(names)}; give two, each once."
                )
        for name in self.dense_schedules:
            choose(name, DENSE_SCHEDULES, "dense schedule")
        for budget in self.score_budgets:
            check_number(budget, "budget after a score", above=0)


def _epochs(dense: int, *counts: int) -> tuple[float, ...]:
    """Numbers of epochs as shares of a dense run's."""
    return tuple(count / dense for count in counts)


_ALL = (
    Preset(
        "smoke",
        RECIPES["smoke"],
        seeds=2,
        sparsities=(0.5, 0.9),
        budgets=(0.25, 0.5),
        map_seeds=1,
        map_sparsities=(0.5, 0.9),
        map_budgets=(0.25, 0.5),
        map_multiples=(0.5, 1.0),
        curve_sparsity=0.9,
        curve_budgets=(0.25, 0.5, 1.0),
        recovery_budget=0.25,
        recovery_points=10,
        contest=Recipe(model="mlp", width=16, epochs=4),
        contest_names=("BIMP", "GMP", "STR", "Dense"),
        contest_sparsities=(0.9,),
        tuning_seeds=1,
        tolerance=0.2,
        split_shares=(0.5,),
        split_cycles=(1, 2),
        split_sparsities=(0.9,),
        stability_budget=0.5,
        extra=(0.5, 1.0),
        where_sparsities=(0.5, 0.9),
        where_budget=0.25,
        score_sparsities=(0.9,),
        score_seeds=2,
        score_budgets=(0.25, 0.5),
        dense_schedules=("linear", "constant"),
        dense_budgets=(0.25, 1.0),
        ingredient_sparsities=(0.9,),
        ingredient_budgets=(0.25,),
        storage_sparsities=(0.5, 0.9),
        storage_patterns=("2:4",),
        storage_filters=(0.5,),
        storage_budget=0.25,
        landscape_schedules=("FT", "LLR"),
        landscape_sparsities=(0.9,),
        landscape_budget=0.25,
        landscape_seeds=2,
    ),
    Preset(
        "digits",
        RECIPES["digits"],
        seeds=10,
        budgets=(0.025, 0.05, 0.1, 0.4),
        map_seeds=10,
        map_sparsities=(0.5, 0.9, 0.98),
        map_budgets=(0.025, 0.1, 0.25),
        map_multiples=(0.25, 0.5, 1.0, 2.0, 4.0),
        contest_sparsities=(0.9, 0.95),
        score_budgets=(0.05, 0.1),
    ),
    Preset(
        "fashion-mnist",
        RECIPES["fashion-mnist"],
        sparsities=(0.9, 0.98),
        budgets=(0.05, 0.1, 0.4),
        map_seeds=5,
        map_sparsities=(0.5, 0.98),
        map_budgets=(0.05, 0.25),
        map_multiples=(0.5, 1.0, 2.0, 4.0),
        contest=replace(RECIPES["fashion-mnist"], epochs=8),  # so that an eighth of them is one
        contest_names=("BIMP", "GMP", "GSM", "DPF", "DNW", "LC", "Dense"),  # the others search for a sparsity
        contest_sparsities=(0.9,),
        tuning_seeds=1,
        split_sparsities=(0.9,),
        where_sparsities=(0.9, 0.98),
        score_seeds=3,
        scores=("magnitude", "obd", "random"),
        score_sparsities=(0.9, 0.98),
        score_budgets=(0.05, 0.1),
        dense_budgets=(0.1, 0.5, 1.0),
        ingredient_sparsities=(0.98,),
        storage_patterns=("2:4",),
        storage_sparsities=(0.5, 0.9, 0.98),
        storage_filters=(0.5, 0.75),
        landscape_seeds=5,
    ),
    Preset(
        "cifar10",
        RECIPES["cifar10"],
        seeds=3,
        sparsities=(0.8, 0.8926, 0.95, 0.98),  # 0.8926: that of Renda, Frankle & Carbin, as 10 and 90 epochs are
        budgets=_epochs(182, 5, 10, 20, 45),
        map_sparsities=(0.8, 0.8926, 0.95, 0.98),
        map_budgets=_epochs(182, 5, 10, 20),
        curve_sparsity=0.8926,
        curve_budgets=_epochs(182, 10, 45, 90),
        recovery_budget=10 / 182,
        where_sparsities=(0.8926, 0.95, 0.98),
        where_budget=10 / 182,
        score_seeds=3,
        score_sparsities=(0.8926, 0.98),
        score_budgets=_epochs(182, 5, 10),
        ingredient_sparsities=(0.8926, 0.98),
        ingredient_budgets=_epochs(182, 5),
        storage_budget=10 / 182,
        landscape_sparsities=(0.8926, 0.98),
        landscape_budget=10 / 182,
        landscape_seeds=3,
        precision="bfloat16",
        stored_only=True,
        contest=Recipe(data="cifar10", model="resnet20", epochs=100, batch_size=128, sgd=SGD(weight_decay=2e-4)),
    ),
)
PRESETS = {preset.name: preset for preset in _ALL}


def preset(name: str) -> Preset:
    """The preset of that name; BadInput names the nearest right one."""
    return PRESETS[choose(name, PRESETS, "preset")]


def asked(name: str, output: str = "", **own: Any) -> Preset:
    """The preset of that name with a notebook's own settings, by field; what is empty or 0 stays as the preset has it.

    Raises BadInput for an unknown preset, and for a setting of the wrong kind.
    """
    given = {what: value for what, value in own.items() if plain(value) not in (0, "", [], ())}
    return replace(preset(name), output=output, **given)


def changed(settings: Preset) -> dict[str, object]:
    """The fields, `output` aside, in which the settings differ from the preset of their name, with their values."""
    known, aside = vars(preset(settings.name)), ("output", "recipe", "contest")  # recipes differ in precision alone
    return {name: value for name, value in vars(settings).items() if name not in aside and value != known[name]}


ENDS = ("png", "svg", "csv", "runs.csv", "json")
"""Of the files of a figure NAME: the picture twice, its numbers, its runs, and its words with where it comes from."""


def folder(settings: Preset) -> Path:
    """Where figures go: to the output that is asked for, or else to figures/PRESET for the preset's own settings and to
    figures/own/PRESET, which git ignores, for others."""
    own = "own" if changed(settings) else ""
    return Path(settings.output or project() / "figures" / own / settings.name)
