"""Explorers of a data set whose networks train for long: what is stored shows at once, and nothing trains unasked."""

import html
import re
from dataclasses import replace
from itertools import product

import pytest
import torch

pytest.importorskip("ipywidgets")

from retrainlab.config import Experiment, Recipe, Retrain
from retrainlab.explore.apps.allr import Allr
from retrainlab.explore.apps.budget import Budget
from retrainlab.explore.apps.compare import Compare
from retrainlab.explore.apps.predict import Predict
from retrainlab.explore.apps.race import Race
from retrainlab.explore.apps.schedules import Schedules
from retrainlab.explore.kit import cells, controls, costs, live, pages
from retrainlab.explore.views import allr, budget, compare, predict, race, schedules, stored
from retrainlab.phrases import share
from retrainlab.study import stages
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.store import Store
from retrainlab.training.engine import Engine
from tests.helpers import shelved

CPU = torch.device("cpu")
WHERE = f"computed on {shelved.DEVICE}"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    shelved.cifar10(store)
    return store


@pytest.fixture(autouse=True)
def no_images(tmp_path, monkeypatch):
    """Nothing of CIFAR-10 is here, and nothing may train."""
    monkeypatch.setenv("RETRAINLAB_DATA", str(tmp_path / "none"))
    monkeypatch.setattr(Engine, "train", lambda *_: pytest.fail("it trains"))


def text(widget) -> str:
    return html.unescape(re.sub("<.*?>", "", widget.value))


# ---- what is stored, and what training costs -------------------------------------------------------------------------


def test_cells_are_the_stored_runs_that_explorers_ask_for(store, tmp_path):
    results = Results.at(store)
    [cell] = cells.stored_cells(results, "cifar10")
    assert cell.model == "resnet20" and (cell.sparsity, cell.budget, cell.points) == (0.8926, shelved.BUDGET, 5)
    assert cell.epochs == pytest.approx(10) and cell.step == pytest.approx(2.6 / 3900)
    assert cell.seeds == (0, 1, 2) and cell.schedules == ("FT", "LRW", "SLR", "CLR", "LLR", "ALLR")
    assert cells.stored_cells(results, "cifar100") == () and cells.words("cifar100", ()) == ""
    assert cells.words("cifar10", [cell]) == (
        f"Stored for cifar10: resnet20 at 89.26 % with 10 epochs of retraining, 3 seeds, {WHERE}."
    )
    other, own = Results.at(Store(tmp_path)), live.recipe_of("cifar10", "resnet20", 0)
    for e in (Experiment(replace(own, lr=0.2)), Experiment(own, retrain=Retrain("LLR", copies=2))):
        other.put(e, Result({"recipe": {}}, {}, {}, {}))
        other.put(e, replace(shelved._result(replace(e, retrain=Retrain())), config=shelved.to_dict(e)))
    assert cells.stored_cells(other, "cifar10") == (), "of another recipe, or of another retraining"


def test_the_nearest_cell_is_of_the_same_network():
    def cell(model, sparsity, budget, points=5):
        return cells.Cell(model, sparsity, budget, 1, points, (), (0,), 1, (), 0.1)

    some = [cell("resnet20", s, b) for s in (0.8, 0.95) for b in (0.05, 0.2)] + [cell("resnet20", 0.95, 0.2, 40)]
    assert cells.nearest(some, "resnet20", 0.9, 0.11) == cell("resnet20", 0.95, 0.2, 40), "ratios count for budgets"
    assert cells.nearest(some, "resnet20", 0.7, 0.09) == cell("resnet20", 0.8, 0.05)
    assert cells.nearest(some, "resnet56", 0.7, 0.09) is None and cells.nearest([], "resnet20", 0.7, 0.09) is None
    assert cells.exact(0.054945, [0.1, 10 / 182]) == 10 / 182 and cells.exact(0.05, [10 / 182]) == 0.05


def test_costs_follow_from_steps_and_the_speed_that_is_remembered_or_guessed(store, monkeypatch):
    recipe = live.recipe_of("cifar10", "resnet20", 0)
    monkeypatch.setattr(costs, "seconds_of", lambda *_: 0.5)
    costs.step.cache_clear()
    assert costs.seconds([recipe], CPU) == 182 * 390 * 0.5
    assert costs.seconds([Experiment(recipe, retrain=Retrain("LLR", 10 / 182))], CPU) == pytest.approx(10.1 * 390 * 0.5)
    [cell] = cells.stored_cells(Results.at(store), "cifar10")
    assert costs.words([recipe], CPU, [cell]).startswith("That takes about 9 h 51 min on cpu, ")
    there = f"; on {shelved.DEVICE}, where what is stored was computed, about 47 s."
    assert costs.words([recipe], CPU, [cell]).endswith(there)
    assert "Invented" not in costs.words([replace(recipe, model="resnet56")], CPU, [cell]), "of another network"
    monkeypatch.setattr(costs, "seconds_of", lambda *_: 0.0)
    costs.step.cache_clear()
    assert costs.step(recipe, CPU) == pytest.approx(6 * 40551040 * 128 / costs.rate("bfloat16", CPU))
    assert costs.seconds([live.recipe_of("digits", "resnet8", 0)], CPU) < costs.PATIENCE / 10
    costs.step.cache_clear()


def test_a_share_of_some_epochs_is_told_with_four_digits():
    told = {0.975: "97.5 %", 0.9: "90 %", 10 / 182: "5.495 %", 0.8926: "89.26 %", 1 / 128: "0.78125 %", 1.0: "100 %"}
    assert {part: share(part) for part in told} == told


def test_missing_images_are_told_with_how_to_get_them():
    assert costs.absent([Recipe()]) == ""
    assert "cifar10 is not here" in (words := costs.absent([Recipe(data="cifar10")])) and "data cifar10`" in words


def test_a_number_off_the_slider_s_steps_stays_what_it_is():
    """Pitfall: the browser moves a slider to its next step and tells that number, as if a reader had moved it."""
    control = controls.share("Budget", 0.1, 0.5, 100.0)
    controls.put(control, 10 / 182)
    assert control.value == 0.054945 and control.slider.value == 5.4945
    control.slider.value = 5.499999999999999  # what the browser answers
    assert control.value == 0.054945
    control.slider.value = 6.0
    assert control.value == 0.06 and control.box.value == 6.0
    control.box.value = 7.3
    assert control.value == 0.073 and control.slider.value == 7.3


# ---- pages -----------------------------------------------------------------------------------------------------------


def every(page) -> list:
    """All views of a page."""
    return [page.view(*(value for _, value in one)) for one in product(*(c.values for c in page.controls))]


def test_pages_show_what_is_stored_and_say_where_it_was_computed(store, tmp_path):
    results = Results.at(store)
    made = {name: page(results, "cifar10") for name, page in stored.PAGES.items()}
    assert {page.name for page in made.values()} == {f"{name}_cifar10" for name in stored.PAGES}
    for page in made.values():
        assert f"from stored results that were {WHERE}; this file" in pages.html(page, results) and page.needs == []
        for view in every(page):
            compile(view.code, "code", "exec")
            assert view.words.endswith(".") and "button" not in view.words and "Stopped" not in view.words
    races, [advice] = every(made["race"]), every(made["budget"])
    assert len(races) == 3 and all("first with 89." in view.words for view in races)
    assert "seeds=[0], evaluations=5" in races[0].code and "(trained on, too)" in races[0].table[1][2]
    assert advice.words.startswith("At 89.26 % sparsity and a budget of 5.495 % (10 epochs of retraining), take ALLR")
    [drawn] = every(made["draw"])
    best = max(drawn.data["curves"], key=lambda curve: curve["mean"])
    assert best["name"] == "ALLR" and best["mean"] == pytest.approx(shelved.LAST["ALLR"] + 0.0011, abs=2e-4), (
        "on test images"
    )
    assert made["draw"].data["measure"] == "test accuracy" and best["other"] == shelved.SEEN["ALLR"]
    assert "Not measured" not in advice.words and len(every(made["allr"])) == 13 * 6 * 2
    starts = every(made["start"])
    assert len(starts) == 100 and starts[80].words.startswith("53,667 of 268,336 weights are left (20 %")
    assert "from 99.8 % to 84.7 %" in starts[80].words and starts[0].table == starts[99].table
    assert starts[90].table[0] == "Retrained for 5.495 % of the first training, with 89.26 % removed"
    assert [row[1] for row in starts[90].table[2]] == ["ALLR", "LLR", "CLR", "SLR", "LRW", "FT"]
    assert "what each layer loses" in starts[90].charts[0]["alt"] and "seeds=[0], evaluations=5" in starts[90].code
    assert [page(Results.at(Store(tmp_path)), "cifar10") for page in stored.PAGES.values()] == [None] * len(
        stored.PAGES
    )


def test_a_cell_that_lacks_a_run_is_on_no_page(tmp_path):
    some = Results.at(Store(tmp_path))
    some.store.forget("results", some.key(shelved.cifar10(some.store)[-1]))
    [cell] = cells.stored_cells(some, "cifar10")
    assert cell.runs == 17 and stored.race_page(some, "cifar10") is None


# ---- the explorers ---------------------------------------------------------------------------------------------------


def test_the_race_shows_the_stored_one_at_once_and_its_network_pruned(store):
    view = Race(race.Settings(data="cifar10"), Results.at(store), "cpu")
    assert view.desk.worker.wait() and view.settings() == view.raced
    assert (view.raced.model, view.raced.sparsity, view.raced.budget) == ("resnet20", 0.8926, shelved.BUDGET)
    assert view.race.whole and WHERE in text(view.shelf)
    assert "ALLR ends first with 89.2 % of the test images" in text(view.desk.status)
    assert "Validation images were trained on, too" in text(view.desk.status)
    first = view.screen.charts[0].spec["panels"][0]
    assert "trained on, too" in first["ylabel"] and len(first["marks"][1]["x"]) == 6
    rates = dict(zip(view.raced.schedules, view.screen.charts[0].spec["panels"][1]["marks"]))
    assert max(rates["LLR"]["y"]) == pytest.approx(0.1, rel=0.01) and len(rates["LLR"]["x"]) > 100, "not of six points"
    assert set(rates["SLR"]["y"][-2:]) == {0.001} and max(rates["ALLR"]["y"]) == pytest.approx(0.067, rel=0.01)
    assert "validation (trained on, too)" in text(view.screen.table)
    assert view.network.whole and len(view.network.layers(0.5)) == 20
    assert "goes from 99.8 % to" in text(view.pruning.note) and "were trained on, too" in text(view.pruning.note)

    view.inputs["seed"].slider.value = 1  # whose weights are not stored
    assert view.desk.worker.wait() and view.raced.seed == 1 and view.race.whole
    assert view.network.whole and view.network.scored is None and "goes from 99.8 %" in text(view.pruning.note)
    assert "resnet20 on cifar10, seed 1" in text(view.pruning.note) and "choose seed 0" in text(view.pruning.note)

    for what, value in (("budget", 50.0), ("seed", 7)):
        view.inputs[what].slider.value = value
        assert view.desk.worker.wait()
        view.desk.start.click()
        told = text(view.desk.status)
        assert not view.desk.worker.busy and told.startswith("Not stored: 6 of these 6 retrainings. That takes about")
        assert "cifar10 is not here" in told and "to train all the same" not in told.lower()
    view.close()


def test_the_race_goes_to_what_is_stored_when_the_data_set_is_chosen_and_back(store, monkeypatch):
    monkeypatch.setattr(Race, "look", lambda self, pressed=False: None)
    view = Race(race.Settings(), Results.at(store), "cpu")
    assert not view.cells and not view.race.results and view.settings() == race.Settings()
    view.inputs["data"].value = "cifar10"
    assert view.settings() == race.Settings("cifar10", sparsity=0.8926, budget=shelved.BUDGET) and view.race.whole
    view.inputs["data"].value = "digits"
    assert not view.cells and view.settings().model == "resnet8" and text(view.shelf).strip() == ""
    assert not view.race.results and view.raced == view.settings(), "the other data set's race is gone"
    view.close()


def test_a_network_that_is_asked_for_is_not_exchanged_for_the_stored_one(store):
    view = Allr(allr.Settings(data="cifar10", model="resnet56"), Results.at(store), "cpu")
    assert view.desk.worker.wait() and view.settings().model == "resnet56" and "resnet20" in text(view.shelf)
    assert text(view.desk.status).startswith("Not stored: resnet56 trained on cifar10, seed 0. That takes about")
    view.close()


def test_long_training_waits_for_a_second_press(store, monkeypatch):
    monkeypatch.setattr(costs, "absent", lambda _: "")
    view, made = Allr(allr.Settings(data="cifar10", seed=5), Results.at(store), "cpu"), []
    monkeypatch.setattr("retrainlab.explore.kit.collapse.prepare", lambda *_: made.append("trains"))
    assert view.desk.worker.wait() and text(view.desk.status).endswith("press 'Get the network'.") and not made
    view.inputs["sparsity"].slider.value = 50
    view.desk.start.click()
    assert view.desk.worker.wait() and made == ["trains"]
    view.close()


def test_allr_shows_the_stored_weights_and_says_which_seed_has_some(store):
    view = Allr(allr.Settings(data="cifar10"), Results.at(store), "cpu")
    assert view.desk.worker.wait() and len(view.anatomy.weights) == 268336 and view.anatomy.peak == 0.1
    assert view.settings().sparsity == 0.8926 and "resnet20" in text(view.screen.table)
    view.inputs["seed"].slider.value = 2
    assert view.desk.worker.wait() and "not the weights" in text(view.desk.status)
    assert "seed 0" in text(view.desk.status)
    view.close()


def test_the_advice_is_by_test_accuracy_and_says_so(store):
    view = Budget(budget.Settings(data="cifar10"), Results.at(store), "cpu")
    told = text(view.screen.note)
    assert view.settings() == budget.Settings("cifar10", "", 0.8926, shelved.BUDGET, 3) and WHERE in text(view.shelf)
    assert "take ALLR: of 6 schedules it has the highest mean test accuracy, 89.3 %" in told, "not FT, by validation"
    assert "No image was held out for this choice" in told and "FT and LRW are ruled out" in told
    assert "Not measured yet" in told and "That takes about" in told and "cifar10 is not here" in told
    assert "button below" not in told
    view.desk.start.click()
    assert not view.desk.worker.busy and "Not stored: 18 of the runs" in text(view.screen.note)
    view.close()


def test_the_schedules_take_the_dense_run_and_the_damage_of_the_data_set(store):
    view = Schedules(schedules.Settings(), Results.at(store), "cpu")
    assert view.settings() == schedules.Settings() and not view.cells
    view.inputs["data"].value = "cifar10"
    now = view.settings()
    assert (now.epochs, now.steps_per_epoch, now.milestones) == (182, 390, (91 / 182, 136 / 182))
    assert now.budget == shelved.BUDGET and now.damage == round(0.63 / 0.8926**0.5, 4) and now.steps == 3900
    assert WHERE in text(view.shelf) and "10 epochs: 3,900 steps after the dense run's 70,980" in text(view.status)
    original = stages.dense_curve_of(live.recipe_of("cifar10", "resnet20", 0))
    assert torch.equal(schedules.compute(now).original.lr, original.lr)
    scope: dict = {}
    exec(view.screen.take.code, scope)
    assert torch.equal(scope["original"].lr, original.lr)
    view.inputs["budget"].slider.value = 100.0
    assert len(view.screen.take.csv.splitlines()) < 6 * 2 * schedules.LINES
    view.inputs["data"].value = "digits"
    assert (view.settings().epochs, view.settings().steps_per_epoch) == (30, 31)
    view.close()


def test_two_methods_are_not_trained_for_hours_unasked(store):
    view = Compare(compare.Settings(data="cifar10"), Results.at(store), "cpu")
    view.desk.start.click()
    assert not view.desk.worker.busy and text(view.desk.status).startswith(
        "Not stored: 2 of these 2 runs on cifar10. That"
    )
    view.close()


def test_predict_offers_what_is_stored_and_reveals_it_at_once(store):
    view = Predict(race.Settings(data="cifar10"), Results.at(store), "cpu")
    assert (0.8926 in dict(view.inputs["sparsity"].options).values()) and view.settings().budget == shelved.BUDGET
    assert not view.race.results
    view.desk.start.click()
    assert not view.desk.worker.busy and view.race.whole and "It came out as: ALLR 89.2 %" in text(view.desk.status)
    guess = predict.Guess("Ann", ("ALLR", "LLR", "CLR", "SLR", "FT", "LRW"), 3.7)
    made = predict.score(guess, race.ranks(race.standing(view.race), view.race))
    assert (made.tau, made.exact, made.off) == pytest.approx((13 / 15, 4, 0.03)), "LRW is before FT"
    view.close()
