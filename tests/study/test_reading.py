"""Stored results as tables: the table of many at once is that of each row by itself."""

import math
from copy import deepcopy
from dataclasses import asdict, replace

import pandas as pd
import pytest

from retrainlab import storage, study
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.keys import to_dict
from retrainlab.methods.table import GMP
from retrainlab.study.result import Result
from retrainlab.study.stages import common

RECIPE = Recipe(model="mlp", width=16)
PLAIN = [Experiment(replace(RECIPE, seed=seed), Prune(s), Retrain("FT")) for seed in range(2) for s in (0.5, 0.9)]
ODD = [
    Experiment(replace(RECIPE, width=None, method=GMP(0.5), sgd=SGD(0.8)), Prune(0.5), Retrain("constant", lr=0.1)),
    Experiment(Recipe(data="./imagés"), Prune(0.9), Retrain("custom", points=((0, 0.1), (1, 0)), sgd=SGD(0.5)), 7),
    Experiment(RECIPE, Prune(0.5, structure="neurons"), Retrain(copies=3)),
]
SCALARS = [
    {"test_accuracy": 0.5, "steps": 3, "stopped": False, "packed_bytes": 7},
    {"test_accuracy": None, "steps": 4, "stopped": True, "d1": 1.5},
    {"steps": 5, "measured_speedup": None, "test_accuracy": 1},
]


def one_row(experiment: Experiment, name: str, result: Result) -> dict:
    """The cells of one result, without a thought of others."""
    recipe, prune, retrain = (asdict(n) for n in (experiment.recipe, experiment.prune, experiment.retrain))
    recipe |= recipe.pop("sgd")
    recipe["method"], recipe["knobs"] = (m.name, str(m)) if (m := experiment.recipe.method) else ("dense", "")
    for field in ("schedule", "lr", "warmup"):
        recipe[f"dense_{field}"] = recipe.pop(field)
    retrain["initial_lr"] = retrain.pop("lr")
    retrain["retraining_sgd"] = str(experiment.retrain.sgd or "")
    del retrain["sgd"]
    asked = {k: str(v) if isinstance(v, tuple) else v for k, v in (recipe | prune | retrain).items()}
    measured = {k: math.nan if result.outcome and x is None else x for k, x in result.scalars.items()}
    lacking = {name: math.nan for name in storage.ratios({}) if name not in measured}
    words = {"outcome": result.outcome, "not_pruned": study.not_pruned(common(experiment.recipe), experiment.prune)}
    return asked | measured | lacking | words | {"device": result.provenance["device"], "key": name}


def results_of(experiments: list[Experiment], forms: list[dict]) -> list[Result]:
    outcomes = ["", "diverged: retraining"]
    return [
        Result(to_dict(e), forms[place % len(forms)], {}, {"device": f"cpu {place % 2}"}, outcomes[place % 2])
        for place, e in enumerate(experiments)
    ]


@pytest.mark.parametrize("forms", [SCALARS, SCALARS[:1], SCALARS[::-1]], ids=["three", "one", "backwards"])
@pytest.mark.parametrize(
    "experiments",
    [PLAIN, PLAIN + ODD, ODD + PLAIN, PLAIN[:1], PLAIN + PLAIN[::-1] + deepcopy(ODD + PLAIN)],
    ids=["plain", "all", "odd", "one", "again"],
)
def test_a_table_of_many_is_that_of_each_row_by_itself(experiments, forms):
    names, results = [f"{place:x}" for place in range(len(experiments))], results_of(experiments, forms)
    plainly = pd.DataFrame([one_row(*each) for each in zip(experiments, names, results, strict=True)])
    table = study.rows(experiments, names, results)
    pd.testing.assert_frame_equal(table[plainly.columns], plainly)
    assert sorted(table) == sorted(plainly)
    assert list(table.columns[-4:]) == ["outcome", "not_pruned", "device", "key"]


def test_a_table_of_nothing_has_no_rows():
    assert study.rows([], [], []).empty
