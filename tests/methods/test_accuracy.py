"""On digits, at 90 %, with settings chosen on validation, every method trains to within 3 points of GMP."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from retrainlab.config import SGD, Prune, Recipe
from retrainlab.data.dataset import Split
from retrainlab.methods.table import CS, DNW, DPF, DST, GMP, GSM, LC, STR, RigL, Static
from retrainlab.study.stages import prepare, train_dense_together
from retrainlab.training import cycles, masked
from retrainlab.training.engine import Engine
from retrainlab.training.loop import evaluate

CPU = torch.device("cpu")
RECIPE = Recipe(schedule="linear")  # resnet8, 30 epochs
ENTRANTS = {
    "GMP": replace(RECIPE, method=GMP(0.9, end=0.9)),
    "GSM": replace(RECIPE, method=GSM(0.9), lr=0.05, sgd=SGD(0.98, weight_decay=0.01)),
    "DPF": replace(RECIPE, method=DPF(0.9), sgd=SGD(weight_decay=5e-4)),
    "DNW": replace(RECIPE, method=DNW(0.9), lr=0.2),
    "CS": replace(RECIPE, method=CS(s0=-0.0247)),
    "STR": replace(RECIPE, method=STR(t0=-8.0, decay=0.0115)),
    "DST": replace(RECIPE, method=DST(alpha=9e-4)),
    "LC": replace(RECIPE, method=LC(0.9, growth=3.0)),
    "RigL": replace(RECIPE, method=RigL(0.9, drop=0.1)),
    "Static": replace(RECIPE, method=Static(0.9), lr=0.2),
}


CLOSE = (
    "GMP",
    "GSM",
    "DNW",
    "LC",
)  # whose seeds differ by so much that one could be 3 points off, and what all are held to


@cache
def accuracy(name: str) -> float:
    """Of one seed, or the mean of two, after the hard prune to 90 %, on all 797 images that were not trained on."""
    recipes = [replace(ENTRANTS[name], seed=seed) for seed in range(1 + (name in CLOSE))]
    setup, _ = prepare(recipes[0], CPU)
    held = setup.data.validation, setup.data.test
    every = Split(torch.cat([s.images for s in held]), torch.cat([s.labels for s in held]))
    out = []
    for i, dense in train_dense_together(recipes, "cpu", Engine("batched", 2, 1)):
        masks = cycles.prune_state(setup, dense.state, Prune(0.9), 0, recipes[i].seed)
        state = masked.apply(dense.state, masks)
        out.append(evaluate(setup.model, state.params, state.buffers, setup.data, every)[0])
    return sum(out) / len(out)


@pytest.mark.xdist_group("gmp")
@pytest.mark.parametrize("name", [n for n in ENTRANTS if n != "GMP"])
def test_it_trains_to_within_3_points_of_gmp(name):
    assert accuracy("GMP") > 0.95
    assert accuracy(name) > accuracy("GMP") - 0.03
