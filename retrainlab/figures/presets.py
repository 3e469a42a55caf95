"""Presets: the settings with which the figures are made, from a minute's smoke test to a GPU's day.

A notebook's parameters can override any of a preset's settings; its figure then does not go where the preset's own are.
This module does not load torch.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from retrainlab.checks import choose, settle
from retrainlab.config import SGD, Recipe
from retrainlab.paths import project


@dataclass(frozen=True)
class Preset:
    """What the figures need to know. A field's last word is the name of the notebook's parameter that overrides it.

    Sparsities and budgets are shares; the map's multiples are learning rates over the dense run's peak. recovery and curves:
    the sparsity, the budgets and the seed that figures 1 and 2 show; baseline: what figure 3's differences are to.

    contest: the recipe whose epochs are the total of figures 5 to 8; contest_names: the entrants, all if empty;
    tolerance: of the searches for a sparsity; split: the dense shares, cycles and sparsities of figure 6; stability: the
    sparsity and the retraining budget of figure 7; extra: retraining lengths of figure 8, as multiples of the total;
    length_cycles: of its iterative form; where: sparsities, retraining budget and shown layer (the convolution in the
    middle if empty) of figure 9, which has `map_seeds` seeds; precision: of all trainings.
    """

    recipe: Recipe
    seeds: int = 5
    sparsities: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98)
    budgets: tuple[float, ...] = (0.025, 0.05, 0.1, 0.25, 0.5)
    baseline: str = "LLR"
    map_seeds: int = 3
    map_sparsities: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.98)
    map_budgets: tuple[float, ...] = (0.025, 0.05, 0.1, 0.25)
    map_multiples: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 2.0, 4.0)
    curve_sparsity: float = 0.95
    curve_budgets: tuple[float, ...] = (0.05, 0.25, 0.5)
    recovery_budget: float = 0.1
    recovery_points: int = 31
    recovery_seed: int = 0
    contest: Recipe = field(default_factory=lambda: Recipe(width=8, epochs=8))
    contest_names: tuple[str, ...] = ()
    contest_sparsities: tuple[float, ...] = (0.8, 0.9, 0.95)
    tuning_seeds: int = 2
    tolerance: float = 0.005
    split_shares: tuple[float, ...] = (0.125, 0.25, 0.5, 0.75, 0.875)
    split_cycles: tuple[int, ...] = (1, 3)
    split_sparsities: tuple[float, ...] = (0.9, 0.95)
    stability_sparsity: float = 0.9
    stability_budget: float = 0.25
    extra: tuple[float, ...] = (0.25, 0.5, 1.0)
    length_cycles: int = 3
    where_sparsities: tuple[float, ...] = (0.9, 0.95, 0.98)
    where_budget: float = 0.1
    where_layer: str = ""
    precision: str = "float32"

    def __post_init__(self) -> None:
        settle(self)
        for name in ("recipe", "contest"):
            object.__setattr__(self, name, replace(getattr(self, name), precision=self.precision))


PRESETS = {
    "smoke": Preset(
        Recipe(width=4, epochs=4),
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
        contest=Recipe(width=4, epochs=4),
        contest_names=("BIMP", "GMP", "STR", "Dense"),
        contest_sparsities=(0.9,),
        tuning_seeds=1,
        tolerance=0.05,
        split_shares=(0.5,),
        split_cycles=(1, 2),
        split_sparsities=(0.9,),
        stability_budget=0.5,
        extra=(0.5, 1.0),
        where_sparsities=(0.5, 0.9),
        where_budget=0.25,
    ),
    "digits": Preset(Recipe()),
    "fashion-mnist": Preset(
        Recipe(data="fashion-mnist", width=8, epochs=10, batch_size=128, sgd=SGD(weight_decay=5e-4)),
        seeds=3,
        contest=Recipe(data="fashion-mnist", width=8, epochs=10, batch_size=128, sgd=SGD(weight_decay=5e-4)),
    ),
    "cifar10": Preset(
        # Renda, Frankle & Carbin (2020): 182 epochs, learning rate divided by 10 at epochs 91 and 136.
        Recipe(
            data="cifar10",
            model="resnet20",
            epochs=182,
            batch_size=128,
            milestones=(91 / 182, 136 / 182),
            sgd=SGD(weight_decay=2e-4),
            all_train=False,
        ),
        seeds=3,
        contest=Recipe(data="cifar10", model="resnet20", epochs=100, batch_size=128, sgd=SGD(weight_decay=2e-4)),
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name; BadInput names the nearest right one."""
    return PRESETS[choose(name, PRESETS, "preset")]


def asked(name: str, **own: object) -> Preset:
    """The preset of that name with a notebook's own settings, by field; what is empty or 0 stays as the preset has it.
    Raises BadInput for an unknown preset, and for a setting of the wrong kind."""
    return replace(preset(name), **{what: value for what, value in own.items() if _given(value)})


def _given(value: object) -> bool:
    return len(value) > 0 if isinstance(value, Collection) else value != 0


def changed(name: str, settings: Preset) -> dict[str, object]:
    """The fields in which the settings differ from the preset of that name; the recipes' precision is told by its own."""
    known = preset(name)
    names = [f.name for f in fields(Preset) if f.name not in ("recipe", "contest")]
    return {n: value for n in names if (value := getattr(settings, n)) != getattr(known, n)}


def folder(name: str, settings: Preset) -> Path:
    """Where figures go: figures/PRESET for the preset's own settings, figures/own/PRESET, which git ignores, for others."""
    return project() / "figures" / (Path("own") / name if changed(name, settings) else name)
