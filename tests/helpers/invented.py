"""Results that no training made, for the explorers' pictures and words."""

import math

import numpy as np

from retrainlab.config import NAMED_SCHEDULES, Experiment, Prune, Recipe, Retrain
from retrainlab.explore.kit.live import Curve, Live
from retrainlab.explore.views import budget
from retrainlab.study.result import Result


def fake(accuracies: dict[str, float], ended: bool = True) -> Live:
    """A race whose schedules have come to these accuracies; NaN for one that has diverged."""

    def result(value):
        lost = math.isnan(value)
        scalars = {
            "validation_accuracy": None if lost else value,
            "test_accuracy": None if lost else value - 0.01,
            "stopped": not ended,
            "dense_validation_accuracy": 0.98,
            "pruned_validation_accuracy": 0.1,
            "sparsity_achieved": 0.95,
        }
        return Result({}, scalars, {}, {}, "diverged: retraining, cycle 1, within 10 steps" * lost)

    experiments = [Experiment(Recipe(), Prune(0.95), Retrain(name)) for name in accuracies]
    curves = {i: Curve([0, 10], [0.1, a], [0.95] * 2, [0.1, 0.0]) for i, a in enumerate(accuracies.values())}
    return Live(experiments, {}, curves, {i: result(a) for i, a in enumerate(accuracies.values())})


def result(e: Experiment, validation: float, test: float) -> Result:
    scalars = {"validation_accuracy": validation, "test_accuracy": test, "dense_test_accuracy": 0.98, "stopped": False}
    return Result({}, scalars, {"step": [], "validation_accuracy": [], "weight_sparsity": []}, {"device": "none"})


def invented(settings: budget.Settings) -> dict[Experiment, Result]:
    """FT far below, the others close; accuracies grow with the budget."""
    out = {}
    for e in budget.experiments(settings, settings.budgets):
        seed, name = e.recipe.seed, e.retrain.schedule
        own = np.random.default_rng([seed, NAMED_SCHEDULES.index(name)]).normal(0, 0.002)
        value = 0.7 + 0.02 * seed + 0.2 * e.retrain.budget - 0.3 * (name == "FT") + 0.001 * (name == "LLR") + own
        out[e] = result(e, value, value - 0.01)
    return out
