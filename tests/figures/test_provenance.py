"""What a saved figure says of the training behind it, against sums by hand."""

from dataclasses import asdict

import pandas as pd
import pytest

from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.figures import provenance
from retrainlab.methods.table import GMP
from retrainlab.study import reading
from retrainlab.study.result import Result

NETWORK = "resnet8 of width 4 on digits, batch 32"


def rows(*runs: tuple[Experiment, int, int]) -> pd.DataFrame:
    """A study's rows of these experiments, with steps of retraining and in total."""
    results = [Result({}, {"steps": own, "total_steps": total}, {}, {"device": "none"}) for _, own, total in runs]
    return reading.rows([e for e, _, _ in runs], [str(e) for e, _, _ in runs], results)


def test_steps_of_a_first_training_that_several_share_count_once():
    one, other = Recipe(width=4), Recipe(width=4, seed=1)
    longer, sparse = Recipe(width=4, epochs=40), Recipe(width=4, method=GMP(0.9))
    llr, ft = Retrain("LLR"), Retrain("FT")
    runs = [
        (Experiment(one, Prune(0.9), llr), 10, 110),
        (Experiment(one, Prune(0.9), ft), 20, 120),
        (Experiment(one, Prune(0.9), ft), 20, 120),  # the same run again
        (Experiment(one, Prune(0.5), ft), 20, 120),
        (Experiment(other, Prune(0.9), llr), 10, 110),
        (Experiment(longer, Prune(0.9), llr), 10, 150),
        (Experiment(sparse, Prune(0.9), llr), 10, 110),
        (Experiment(Recipe(), Prune(0.9), llr), 7, 77),
    ]
    first = 100 + 100 + 140 + 100
    retraining = 10 + 20 + 20 + 10 + 10 + 10
    assert provenance.steps(rows(*runs)) == {NETWORK: first + retraining, "resnet8 on digits, batch 32": 77}


def test_a_table_without_steps_has_none():
    assert provenance.steps(pd.DataFrame({"key": ["a"], "device": ["cpu"]})) == {}


@pytest.mark.parametrize("value", [None, float("nan")])
def test_what_is_trained_is_told_alike_by_a_recipe_and_by_a_row(value):
    assert provenance.trained(asdict(Recipe())) == "resnet8 on digits, batch 32"
    folder = {"model": "resnet18", "data": "my images", "batch_size": 8, "width": value}
    assert provenance.trained(folder | {"image_size": 64.0}) == "resnet18 on my images at 64 pixels, batch 8"
    assert provenance.trained(asdict(Recipe(width=4))) == NETWORK
