"""Results of CIFAR-10 that no training made: ten epochs of retraining at 89.26 %, as a GPU would have left them."""

import numpy as np
import torch

from retrainlab.config import NAMED_SCHEDULES, Experiment, Prune, Recipe, Retrain
from retrainlab.explore.kit import live
from retrainlab.keys import to_dict
from retrainlab.models import build
from retrainlab.study.collapse import COLLAPSE
from retrainlab.study.measured import Dense, weights_of
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.store import Store
from retrainlab.training.state import State

DEVICE, SPARSITY, BUDGET, SEEDS, STEPS = "cuda, Invented 1000, 8 GiB", 0.8926, 10 / 182, 3, 70980
LAST = {"FT": 0.855, "LRW": 0.855, "SLR": 0.887, "CLR": 0.8915, "LLR": 0.892, "ALLR": 0.8921}  # test accuracies
SEEN = {"FT": 0.99, "LRW": 0.99, "SLR": 0.93, "CLR": 0.93, "LLR": 0.94, "ALLR": 0.94}  # of images that were trained on


def cifar10(store: Store, model: str = "resnet20") -> list[Experiment]:
    """Fill the store with results of all schedules and three seeds, and dense networks, of which only seed 0 has weights."""
    results, out = Results.at(store), []
    for seed in range(SEEDS):
        recipe = live.recipe_of("cifar10", model, seed)
        state = _weights(recipe)
        dense = _dense(recipe, state, weights_of(state.params))
        if seed:
            store.write("dense", results.key(recipe), dense.result, None)
        else:
            results.put(recipe, dense)
        for name in NAMED_SCHEDULES:
            out.append(Experiment(recipe, Prune(SPARSITY), Retrain(name, BUDGET)))
            results.put(out[-1], _result(out[-1]))
    return out


def _weights(recipe: Recipe) -> State:
    state = State.of(build(recipe.model, shape=(3, 32, 32), classes=10, width=recipe.width, seed=recipe.seed))
    return State(state.params, state.buffers, {name: torch.zeros_like(p) for name, p in state.params.items()})


def _curves(count: int, first: float, last: float) -> dict:
    share = np.linspace(0, 1, count)
    accuracies = [round(float(x), 4) for x in first + (last - first) * share**0.3]
    return {
        "step": [round(float(x)) for x in 3900 * share],
        "validation_accuracy": accuracies,
        "validation_loss": [0.3] * count,
        "train_loss": [None, *[0.3] * (count - 1)],
        "weight_sparsity": [SPARSITY] * count,
        "lr": [round(0.1 * (1 - float(x)), 4) for x in share],
    }


def _dense(recipe: Recipe, state: State, weights: str) -> Dense:
    scalars = {"test_accuracy": 0.92, "test_loss": 0.3, "validation_accuracy": 0.998, "validation_loss": 0.01}
    scalars |= {"parameters": sum(p.numel() for p in state.params.values()), "steps": STEPS, "sparsity": 0.0}
    scalars |= {"prunable_weights": 268336, "multiply_adds": 40551040, "images_per_second": 1e5}
    curve = {str(s): round(0.998 - 0.9 * (s / 100) ** 8, 4) for s in range(100)}
    told = {"device": DEVICE, "seconds": 80.0, "weights": weights, COLLAPSE: DEVICE}
    return Dense(state, Result(to_dict(recipe), scalars, _curves(21, 0.1, 0.998) | {COLLAPSE: curve}, told))


def _result(e: Experiment) -> Result:
    name, seed = e.retrain.schedule, e.recipe.seed
    own = 0.001 * seed + 0.0001 * ((seed + NAMED_SCHEDULES.index(name)) % 3)
    scalars = {"test_accuracy": LAST[name] + own, "test_loss": 0.4, "validation_accuracy": SEEN[name], "stopped": False}
    scalars |= {"dense_test_accuracy": 0.92, "dense_validation_accuracy": 0.998, "pruned_validation_accuracy": 0.3}
    scalars |= {"sparsity_achieved": SPARSITY, "norm_drop": 0.63, "removed": SPARSITY, "allr_factor": 0.67}
    scalars |= {"steps": 3900, "total_steps": STEPS + 3900, "peak_lr": 0.1, "validation_loss": 0.2}
    curves = _curves(6, 0.3, SEEN[name]) | {"cycle": [0] * 6, "layer_sparsity": {}}
    return Result(to_dict(e), scalars, curves, {"device": DEVICE, "seconds": 2.6})
