"""The first explorer: pictures and sentences from numbers, and callbacks driven by setting values."""

import json
import math
from dataclasses import replace

import pytest
import torch

pytest.importorskip("ipywidgets")

from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES, Prune, Recipe
from retrainlab.device import resolve
from retrainlab.explore.apps.start import Start
from retrainlab.explore.kit import collapse, live
from retrainlab.explore.kit.worker import Worker
from retrainlab.explore.views import start
from retrainlab.explore.views.start import Attempt, Settings
from retrainlab.study.collapse import ORDER
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.store import Store

TINY = Recipe(width=4, epochs=1)
CPU = torch.device("cpu")
START = Worker.start


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(live, "recipe_of", lambda data, model, seed: TINY)


def test_every_schedule_is_explained_and_every_sparsity_measured_once():
    assert tuple(start.ABOUT) == NAMED_SCHEDULES
    assert sorted(ORDER) == list(range(100)) and ORDER[:25] == list(range(0, 100, 4))


def test_words_about_pruning():
    text = collapse.pruned_words(90, 1000, 0.922, 0.101, 10)
    assert text == (
        "100 of 1,000 weights are left (10 %, about 1 in 10). Validation accuracy goes from 92.2 % to 10.1 %, "
        "no better than guessing one of 10 classes."
    )
    assert collapse.pruned_words(20, 1000, 0.9, 0.9, 10).endswith("Validation accuracy is what it was: 90.0 %.")


def result(**scalars) -> Result:
    known = {
        "dense_validation_accuracy": 0.922,
        "pruned_validation_accuracy": 0.101,
        "validation_accuracy": 0.91,
        "sparsity_achieved": 0.9,
        "steps": 93,
        "stopped": False,
    }
    return Result({"retrain": {"budget": 0.1, "schedule": "LLR"}}, known | scalars, {}, {})


def test_words_about_an_outcome():
    assert start.outcome_words(result(), 93) == (
        "92.2 % → 10.1 % by pruning → 91.0 % after 93 steps (10 % of the dense run) with LLR. "
        "Checked: 90.0 % of the weights are still exactly 0."
    )
    assert "after 40 of 93 steps (stopped early) with LLR" in start.outcome_words(result(steps=40, stopped=True), 93)


def test_a_retraining_that_diverges_is_told_so():
    lost = replace(result(validation_accuracy=None), outcome="diverged: retraining, cycle 1, within 9 steps")
    assert start.outcome_words(lost, 93) == (
        "92.2 % → 10.1 % by pruning → diverged: retraining, cycle 1, within 9 steps, with LLR. Choose another schedule."
    )
    attempt = Attempt("LLR", 90, 0.025, 10, ((0, 0.1), (4, math.nan)), running=False)
    assert attempt.label.endswith(": diverged")
    spec = start.picture([attempt], 0.9)
    json.dumps(spec, allow_nan=False)
    assert "nan" not in spec["alt"] + start.csv([attempt])


def test_a_network_that_has_diverged_is_no_network_to_explore(tmp_path):
    recipe = Recipe(model="mlp", width=4, epochs=1, lr=1e30)
    for _ in ("trained", "stored"):
        with pytest.raises(BadInput, match="no trained network to show .diverged: the first training, within 31 steps"):
            collapse.trained(recipe, Prune(), Results.at(tmp_path), CPU)


def test_a_wrong_sparsity_is_an_error():
    collapse.check_sparsity(result(), 0.9, 1000)
    with pytest.raises(AssertionError, match="899 of 1000 weights are 0 at the end, not 900"):
        collapse.check_sparsity(result(sparsity_achieved=0.899), 0.9, 1000)


def test_labels_tell_plan_and_end():
    attempt = Attempt("LLR", 90, 0.025, 10, ((0, 0.1), (10, 0.914)), running=False)
    assert attempt.label == "LLR, 2.5 % at 90 %: 91.4 %"
    assert replace(attempt, planned=20).label.endswith("91.4 %, stopped")
    assert replace(attempt, running=True).label.endswith(": ...")


def test_the_picture_of_attempts_depends_on_the_last_eight_only():
    attempts = [Attempt("FT", s, 0.1, 10, ((0, 0.1), (10, s / 100)), False) for s in range(50, 60)]
    assert start.picture(attempts, 0.99) == start.picture(attempts[-8:], 0.99)
    assert "nothing has been retrained" in start.picture([], 0.99)["alt"]
    assert "50 %" not in start.picture(attempts, 0.99)["alt"] and "59.0 %" in start.picture(attempts, 0.99)["alt"]


@pytest.fixture
def look(tmp_path):
    """A tiny network, trained or from the store, its collapse measured."""
    look = Start(Settings(), Results.at(tmp_path), "cpu")
    assert look.desk.worker.wait()
    return look


@pytest.mark.xdist_group("start")
def test_prune_retrain_and_stop(look, tmp_path):
    assert len(look.network.accuracies) == 100 and not look.desk.start.disabled and look.desk.stop.disabled
    assert look.network.accuracies[0] == look.network.dense.result.scalars["validation_accuracy"]

    before = look.pruning.charts[0].spec
    look.inputs["sparsity"].slider.value = 50
    assert look.pruning.charts[0].spec != before and "(50 %, about 1 in 2)" in look.pruning.note.value

    look.inputs["budget"].value = 0.5
    for schedule in ("FT", "LLR", "FT"):
        look.inputs["schedule"].value = schedule
        look.desk.start.click()
        assert look.desk.worker.wait() and not look.desk.start.disabled and look.desk.stop.disabled
        assert f"with {schedule}" in look.desk.status.value and "50.0 % of the weights" in look.desk.status.value
    assert [a.schedule for a in look.attempts] == ["LLR", "FT"]  # the same plan again takes the place of the first
    assert all(len(a.points) == 17 and a.points[-1][0] == a.planned == 16 for a in look.attempts)
    line = look.screen.charts[0].spec["panels"][0]["marks"][-1]
    assert line["x"] == [s for s, _ in look.attempts[-1].points] and len(line["y"]) == 17
    assert len(look.screen.take.csv.splitlines()) == 1 + 2 * 17
    compile(look.screen.take.code, "code", "exec")

    look.clear.click()
    assert look.attempts == [] and "nothing has been retrained" in look.screen.charts[0].spec["alt"]

    # stopped before its first step: what there is, is kept
    real = look.desk.worker.start
    look.desk.worker.start = lambda work, *rest: real(lambda _: work(lambda: True), *rest)
    look.desk.start.click()
    assert look.desk.worker.wait() and "after 0 of 16 steps (stopped early)" in look.desk.status.value
    assert "stopped" in look.attempts[-1].label

    # the figures' own key: a second look trains nothing
    assert Results.at(tmp_path).dense(TINY, resolve("cpu"))
    again = Start(Settings(), Results.at(tmp_path), "cpu")
    assert again.desk.worker.wait() and again.network.accuracies == look.network.accuracies
    assert "Training" not in again.desk.status.value


def test_no_explorer_is_shown_for_a_seed_below_0():
    with pytest.raises(BadInput, match="The seed is -1"):
        start.Settings(seed=-1)


def test_a_users_mistake_is_one_sentence(tmp_path, monkeypatch):
    for bad, words in (
        ({"schedule": "LR"}, "There is no schedule 'LR'"),
        ({"budget": -1.0}, "budget"),
        ({"sparsity": 2.0}, "sparsity is 2"),
    ):
        with pytest.raises(BadInput, match=words):
            Settings(**bad)
    with pytest.raises(BadInput, match="There is no device"):
        Start(Settings(), Results.at(tmp_path), "tpu")
    monkeypatch.setattr(live, "recipe_of", lambda data, model, seed: replace(TINY, batch_size=10_000))
    look = Start(Settings(), Results.at(tmp_path), "cpu")
    assert look.desk.worker.wait() and "batch" in look.desk.status.value
    look.desk.start.click()  # nothing to retrain yet: the network is tried again
    assert look.desk.worker.wait() and look.attempts == [] and "batch" in look.desk.status.value


def stopped_at_once(self, work, *rest):
    return START(self, lambda _: work(lambda: True), *rest)


def test_closing_during_the_dense_run_ends_it_and_stores_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Worker, "start", stopped_at_once)
    look = Start(Settings(), Results.at(tmp_path), "cpu")
    look.close()
    assert look.desk.worker.wait() and Store(tmp_path).count()["dense"] == 0 and look.network is None


def test_a_stopped_first_training_can_be_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Worker, "start", stopped_at_once)
    look = Start(Settings(), Results.at(tmp_path), "cpu")
    assert look.desk.worker.wait() and "press Retrain to train the network" in look.desk.status.value
    monkeypatch.undo()
    monkeypatch.setattr(live, "recipe_of", lambda data, model, seed: TINY)
    look.desk.start.click()
    assert look.desk.worker.wait() and len(look.network.accuracies) == 100
