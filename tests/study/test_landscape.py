"""Where retraining goes: the copies are those of other studies, the lines end where these do, and nothing is made twice."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from retrainlab import Experiment, Prune, Recipe, Retrain, study
from retrainlab.checks import BadInput
from retrainlab.study import landscape
from retrainlab.study.landscape import lines, run_landscape
from retrainlab.study.machine import Machine
from retrainlab.study.results import Results
from retrainlab.training.engine import Engine

RECIPE = Recipe(width=4, epochs=1)
EXPERIMENTS = [Experiment(RECIPE, Prune(0.8), Retrain(name, budget=0.5), evaluations=1) for name in ("FT", "LLR")]
CPU = torch.device("cpu")


def at(store, engine: str = "loop", fresh: bool = False) -> Machine:
    return Machine(1, "cpu", str(store), engine, fresh)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Lines of three places."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landscape, "STEPS", 2)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[str, pd.DataFrame]:
    """A store, and what was measured into it."""
    store = str(tmp_path_factory.mktemp("store"))
    return store, run_landscape(EXPERIMENTS, at(store))


@pytest.fixture(scope="module")
def ends(whole) -> dict:
    """LLR's dense, pruned, first, second and averaged network, made by other ways: the second is what the average lacks."""
    kept, llr = Results.at(whole[0]), EXPERIMENTS[1]
    twice = replace(llr, retrain=replace(llr.retrain, copies=2))
    (one, first), (soup, average) = (kept.network(e, CPU, Engine()) for e in (llr, twice))
    dense, pruned = kept.dense(RECIPE, CPU), kept.masks(RECIPE, llr.prune, CPU)

    def flat(params: dict) -> np.ndarray:
        return np.concatenate([params[name].double().numpy().ravel() for name in pruned.masks])

    weights = {"dense": flat(dense.state.params), "pruned": flat(pruned.cut.of(dense.state).params)}
    weights |= {"first": flat(first.params), "second": 2 * flat(average.params) - flat(first.params)}
    return weights | {"one": one.scalars, "soup": soup.scalars, "masks": flat(pruned.masks) > 0}


def test_the_first_copy_is_the_experiments_own_network_and_the_average_that_of_two_copies(whole, ends):
    row = whole[1].iloc[1]
    for name in ("test_accuracy", "test_loss", "validation_accuracy", "validation_loss", "dense_test_accuracy"):
        assert row[name] == pytest.approx(ends["one"][name], abs=1e-6)
    for name in ("sparsity_achieved", "norm_drop"):
        assert row[name] == ends["one"][name]
    assert row["recalibrated_average_test_accuracy"] == ends["soup"]["test_accuracy"]
    assert row["recalibrated_average_test_loss"] == pytest.approx(ends["soup"]["test_loss"], abs=1e-6)
    assert (row["steps"], row["total_steps"]) == (ends["soup"]["steps"], ends["soup"]["total_steps"])
    assert row["second_test_loss"] != row["test_loss"] and row["average_test_loss"] != row["second_test_loss"]


def test_distances_and_flips_are_those_of_the_weights(whole, ends):
    row, norm = whole[1].iloc[1], np.linalg.norm
    dense, pruned, copies = ends["dense"], ends["pruned"], [ends["first"], ends["second"]]
    assert row["distance_from_pruned"] == pytest.approx(
        np.mean([norm(c - pruned) for c in copies]) / norm(pruned), 1e-4
    )
    assert row["distance_from_dense"] == pytest.approx(np.mean([norm(c - dense) for c in copies]) / norm(dense), 1e-4)
    assert row["distance_between_copies"] == pytest.approx(norm(copies[1] - copies[0]) / norm(copies[0]), 1e-4)
    stay = ends["masks"]
    turned = [np.mean(np.sign(c[stay]) != np.sign(pruned[stay])) for c in copies]
    assert row["sign_flips"] == pytest.approx(np.mean(turned)) and 0 < row["sign_flips"] < 0.5


def test_the_lines_end_where_the_networks_are(whole, ends):
    found = lines(EXPERIMENTS, whole[0])
    assert len(found) == 2 * 5 and set(found["schedule"]) == {"FT", "LLR"}
    own = found[found["schedule"] == "LLR"].set_index("place")
    assert own.loc[0, "accuracy"] == ends["one"]["pruned_validation_accuracy"]
    assert own.loc[1, "loss"] == pytest.approx(ends["one"]["validation_loss"], abs=1e-6)
    assert own.loc[1.5, "recalibrated_loss"] == pytest.approx(ends["soup"]["validation_loss"], abs=1e-6)
    row, after = whole[1].iloc[1], own.loc[1:, "recalibrated_loss"]
    middle = after.loc[1.5] - (after.iloc[0] + after.iloc[-1]) / 2
    assert row["recalibrated_barrier"] == pytest.approx(max(0, middle))
    both = found.pivot(index="place", columns="schedule", values="loss")
    assert both.loc[0].nunique() == 1, "all start from one pruned network"


def test_what_is_measured_is_kept_and_nothing_is_trained_again(whole, monkeypatch):
    store, first = whole

    def fail(*given):
        raise AssertionError("it trains")

    monkeypatch.setattr(landscape, "drive", fail)
    pd.testing.assert_frame_equal(run_landscape(EXPERIMENTS, at(store)), first)
    with pytest.raises(AssertionError, match="it trains"):
        run_landscape(EXPERIMENTS, at(store, fresh=True))


def test_other_studies_do_not_take_it_for_a_result(whole):
    assert Results.at(whole[0]).of(EXPERIMENTS[0]) is None
    with pytest.raises(BadInput, match="run the study first"):
        study.curves(EXPERIMENTS, whole[0])
    with pytest.raises(BadInput, match="run the study first"):
        lines([replace(EXPERIMENTS[0], evaluations=2)], whole[0])


def test_copies_that_train_side_by_side_are_measured_alike(whole):
    store, first = whole
    again = run_landscape([replace(e, evaluations=2) for e in EXPERIMENTS], at(store, "batched"))
    for name in ("test_loss", "recalibrated_average_test_loss", "distance_from_pruned", "barrier"):
        np.testing.assert_allclose(again[name], first[name], atol=2e-3, err_msg=name)


def test_a_dense_network_that_was_removed_is_made_again(whole, tmp_path):
    run_landscape(EXPERIMENTS[:1], at(tmp_path))
    for path in (tmp_path / "dense").iterdir():
        path.unlink()
    again = run_landscape(EXPERIMENTS, at(tmp_path))
    measures = list(landscape.MEASURES)
    pd.testing.assert_frame_equal(again[measures], whole[1][measures], check_exact=True)


def test_each_experiment_is_in_one_task_and_tasks_are_as_many_for_each_process(tmp_path, monkeypatch):
    many = [replace(EXPERIMENTS[1], recipe=replace(RECIPE, seed=s), evaluations=e) for s in range(3) for e in (1, 2, 3)]
    given = []
    monkeypatch.setattr(Machine, "study", lambda *a: None)
    monkeypatch.setattr(landscape, "run_tasks", lambda tasks, workers, *_: given.append((tasks, workers)))
    monkeypatch.setattr(landscape, "engine_of", lambda *a: Engine("batched", 3, 2, seconds=100.0))
    with pytest.raises(BadInput, match="run the study first"):
        run_landscape(many, Machine(2, "cpu", str(tmp_path)))
    [(tasks, workers)] = given
    assert [part.noun for task in tasks for part in task.parts] == many and workers == 2
    assert [task.runs for task in tasks] == [2, 2, 2, 3] and len({task.key for task in tasks}) == 4


def test_what_diverges_has_no_numbers_and_says_so(tmp_path):
    wild = replace(EXPERIMENTS[0], retrain=Retrain("constant", budget=0.5, lr=1e12))
    [row] = run_landscape([wild], at(tmp_path)).to_dict("records")
    assert row["outcome"] == "diverged: retraining, copy 1"
    assert all(math.isnan(row[name]) for name in landscape.MEASURES)
    lost = replace(EXPERIMENTS[0], recipe=replace(RECIPE, lr=1e12))
    [row] = run_landscape([lost], at(tmp_path)).to_dict("records")
    assert row["outcome"].startswith("diverged: the first training") and math.isnan(row["sign_flips"])
    assert lines([wild, lost], tmp_path).empty
    assert row["steps"] == 0 and row["total_steps"] > 0


@pytest.mark.parametrize(
    "other",
    [
        {"prune": Prune(0.8, cycles=2)},
        {"retrain": Retrain("LLR", budget=0.0)},
        {"retrain": Retrain("LLR", copies=2)},
        {"retrain": Retrain("LLR", freeze=True)},
        {"retrain": Retrain("LLR", recalibrate=True)},
    ],
    ids=lambda other: str(*other),
)
def test_anything_but_one_prune_and_one_retraining_is_refused_before_any_work(other, tmp_path):
    with pytest.raises(BadInput, match="one prune and one retraining of all weights; give"):
        run_landscape([EXPERIMENTS[0], replace(EXPERIMENTS[0], **other)], at(tmp_path / "store"))
    assert not (tmp_path / "store").exists()
