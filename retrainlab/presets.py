"""Presets: the settings with which the figures are made, from a minute's smoke test to a GPU's day.

A notebook's parameters can override any of a preset's lists. This module does not load torch.
"""

from dataclasses import dataclass, field

from retrainlab.config import SGD, Recipe
from retrainlab.errors import choose
from retrainlab.settle import settle


@dataclass(frozen=True)
class Preset:
    """What the figures need to know. Sparsities and budgets are shares; the map's learning rates are multiples of the
    dense run's peak. recovery and curves: the sparsity and the budgets that figures 1 and 2 show.

    contest: the recipe whose epochs are the total of figures 5 to 8; contest_names: the entrants, all if empty;
    tolerance: of the searches for a sparsity; split: the dense shares, cycles and sparsities of figure 6; stability: the
    sparsity and the retraining budget of figure 7; extra: retraining lengths of figure 8, as multiples of the total;
    where: sparsities and retraining budget of figure 9, which has `map_seeds` seeds.
    """

    recipe: Recipe
    seeds: int = 5
    sparsities: tuple[float, ...] = (0.8, 0.9, 0.95, 0.98)
    budgets: tuple[float, ...] = (0.025, 0.05, 0.1, 0.25, 0.5)
    map_seeds: int = 3
    map_sparsities: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95, 0.98)
    map_budgets: tuple[float, ...] = (0.025, 0.05, 0.1, 0.25)
    map_lrs: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 2.0, 4.0)
    curve_sparsity: float = 0.95
    curve_budgets: tuple[float, ...] = (0.05, 0.25, 0.5)
    recovery_budget: float = 0.1
    recovery_points: int = 31
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
    where_sparsities: tuple[float, ...] = (0.9, 0.95, 0.98)
    where_budget: float = 0.1

    def __post_init__(self) -> None:
        settle(self)


PRESETS = {
    "smoke": Preset(
        Recipe(width=4, epochs=4),
        seeds=2,
        sparsities=(0.5, 0.9),
        budgets=(0.25, 0.5),
        map_seeds=1,
        map_sparsities=(0.5, 0.9),
        map_budgets=(0.25, 0.5),
        map_lrs=(0.5, 1.0),
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
