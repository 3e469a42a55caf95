"""The race: its numbers from results and live points, its widgets driven by setting values, on tiny networks."""

import json
import math
import threading
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image

pytest.importorskip("ipywidgets")

from retrainlab import metrics, study
from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES, SCORES, Experiment, Prune, Recipe, Retrain
from retrainlab.device import repeatable
from retrainlab.explore.apps.race import Race, Settings
from retrainlab.explore.kit import collapse, live
from retrainlab.explore.kit.live import Curve, Live
from retrainlab.explore.views import race as race_view
from retrainlab.study.results import Results
from retrainlab.study.store import Store
from retrainlab.training import cycles
from retrainlab.training.state import Point
from tests.helpers.invented import fake

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    def recipe_of(data, model, seed):
        return Recipe(data=data, model=model, width=4, epochs=2, seed=seed)

    monkeypatch.setattr(live, "recipe_of", recipe_of)


def run(settings: Settings, store: Store) -> Live:
    out = live.stored(race_view.experiments(settings, 4), store)
    live.run(out, store, CPU, lambda: False)
    return out


# ---- live ------------------------------------------------------------------------------------------------------------


def test_a_live_run_gives_the_rows_of_a_study_and_the_store_has_them_then(tmp_path):
    settings = Settings(sparsity=0.9, budget=0.5, schedules=("FT", "LLR", "ALLR"))
    got, shares = run(settings, Store(tmp_path / "a")), []
    want = study.run_study(got.experiments, store=tmp_path / "b", jobs=1, engine="loop")
    for place, row in want.iterrows():
        scalars = got.results[place].scalars
        assert scalars["sparsity_achieved"] == row["sparsity_achieved"]
        assert scalars["test_accuracy"] == pytest.approx(row["test_accuracy"], abs=0.02)
        assert scalars["allr_factor"] == pytest.approx(row["allr_factor"], rel=1e-5)
    again = live.stored(got.experiments, Store(tmp_path / "a"))
    assert again.whole and again.second == got.second
    live.run(again, Store(tmp_path / "a"), CPU, lambda: False, lambda share, words: shares.append(share))
    assert shares == [], "nothing was left to do"


def test_one_folder_at_two_sizes_is_stored_under_the_names_that_a_study_looks_for(tmp_path):
    for name, first in (("cat", 0), ("dog", 40)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(10):
            Image.linear_gradient("L").rotate(first + i).save(tmp_path / "pets" / name / f"{i}.png")
    recipes = [Recipe(str(tmp_path / "pets"), "mlp", 4, 1, batch_size=4, image_size=size) for size in (6, 8)]
    raced = [Experiment(r, Prune(0.5), Retrain("FT", 1), evaluations=1) for r in recipes]
    live.run(Live(raced), Store(tmp_path / "store"), CPU, lambda: False)
    assert live.stored(raced, Store(tmp_path / "store")).whole


def test_curves_of_several_cycles_share_one_axis_and_tell_their_rates(tmp_path):
    got = run(Settings(sparsity=0.9, budget=0.5, cycles=2, schedules=("LLR",)), Store(tmp_path))
    curve, n = got.second[0], 31  # half of two epochs of 31 steps
    assert curve.steps[0] == 0 and curve.steps[-1] == 2 * n and sorted(curve.steps) == curve.steps
    assert curve.steps.count(n) == 2, "the end of the first cycle, and the start of the second, pruned once more"
    assert curve.sparsity[-1] == pytest.approx(0.9, abs=1e-3) and curve.sparsity[0] < 0.75
    assert max(curve.lr) == pytest.approx(0.1, rel=0.3) and curve.lr[-1] < 0.01


def test_progress_rises_through_all_stages_to_all_of_the_work(tmp_path):
    told = []
    got = live.stored(race_view.experiments(Settings(budget=0.5), 4), Store(tmp_path))
    live.run(got, Store(tmp_path), CPU, lambda: False, lambda share, words: told.append((share, words)))
    begins = [i for i, (_, words) in enumerate(told) if words]
    assert [told[i][1].split()[0] for i in begins] == ["Training", "Retraining"]
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    first = 2 / (
        2 + len(got.experiments) * 1.1
    )  # epochs of the first training; each retraining has one, and a little more
    assert shares[begins[1]] == pytest.approx(first)


def test_stop_stores_nothing_unfinished_and_keeps_the_points(tmp_path):
    store, settings = Store(tmp_path), Settings(budget=1.0, schedules=("FT", "LLR"))
    got = live.stored(race_view.experiments(settings, 20), store)
    live.run(got, store, CPU, lambda: len(got.second.get(0, Curve()).steps) > 3)
    assert not got.whole and store.count() == {"dense": 1, "pruned": 1, "results": 0}
    assert 3 < len(got.second[0].steps) < 20
    assert "Stopped; what there is stays on screen" in race_view.words(got)


def test_a_stop_during_the_first_training_stores_nothing(tmp_path):
    store = Store(tmp_path)
    got = live.stored(race_view.experiments(Settings(), 4), store)
    live.run(got, store, CPU, lambda: True)
    assert store.count() == {"dense": 0, "pruned": 0, "results": 0} and race_view.words(got).startswith(
        "Stopped before"
    )


def test_a_store_that_cannot_be_written_is_no_obstacle(tmp_path):
    (tmp_path / "file").write_text("in the way")
    got = run(Settings(schedules=("LLR",)), Store(tmp_path / "file"))
    assert got.whole


def test_an_old_result_without_rates_has_gaps():
    curve = Curve.of({"step": [0, 5], "validation_accuracy": [0.1, 0.9], "weight_sparsity": [0.9, 0.9]})
    assert curve.lr == [None, None] and curve.steps == [0, 5]


def test_a_point_at_the_very_stop_replaces_the_one_before():
    curve = Curve()
    for point in (Point(0, 0.1, 2.0, None), Point(5, 0.5, 1.0, 1.0), Point(5, 0.6, 1.0, 1.0)):
        curve.add(point.step, point.accuracy, point.sparsity, point.lr)
    assert curve.steps == [0, 5] and curve.accuracy == [0.1, 0.6]


def test_two_threads_at_work_leave_torch_as_it_was():
    threads, inside = torch.get_num_threads(), threading.Barrier(2)

    def work(pause):
        with repeatable(CPU):
            inside.wait()
            time.sleep(pause)
            assert torch.get_num_threads() == 1

    both = [threading.Thread(target=work, args=(pause,)) for pause in (0.01, 0.1)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    with repeatable(CPU):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads


# ---- the pictures and words ------------------------------------------------------------------------------------------


def test_the_ranking_shares_places_and_counts_what_is_behind():
    rows = race_view.ranking(fake({"FT": 0.8, "LRW": 0.9, "LLR": 0.9, "ALLR": 0.875}))
    assert [row[:2] for row in rows] == [("1", "LRW"), ("1", "LLR"), ("3", "ALLR"), ("4", "FT")]
    assert [row[4] for row in rows] == ["", "", "-2.5", "-10.0"]
    assert rows[0][2:4] == ("90.0 %", "89.0 %")


def test_the_words_name_the_winners_the_gap_and_the_checked_sparsity():
    text = race_view.words(fake({"FT": 0.8, "LRW": 0.9, "LLR": 0.9}))
    assert text.startswith(
        "LRW and LLR end first with 90.0 % of the validation images, 10.0 points before FT; the dense"
    )
    assert "the dense network had 98.0 %" in text and "Checked in each: 95.0 % of the weights are exactly 0." in text
    assert race_view.words(fake({"FT": 0.9, "LLR": 0.9})).startswith(
        "All end equal, with 90.0 % of the validation images; the"
    )
    assert "ends first with 90.0 % of the validation images; the dense" in race_view.words(fake({"LLR": 0.9}))


def test_a_race_of_stored_and_new_results_says_on_which_devices_they_were_computed():
    race = fake({"FT": 0.8, "LLR": 0.9})
    before = race_view.words(race)
    for place, device in enumerate(("cuda, A", "cpu, 2 cores")):
        race.results[place] = replace(race.results[place], provenance={"device": device})
    told = " Not all runs were computed alike: on cpu, 2 cores and on cuda, A."
    assert race_view.words(race) == before + told and "alike" not in before


def test_what_has_diverged_is_ranked_nowhere_and_its_curve_ends_in_a_gap():
    """Pitfall: JSON.parse knows no NaN, and a sort by NaN is no order."""
    race = fake({"FT": math.nan, "LRW": 0.8, "CLR": math.nan, "LLR": 0.9})
    rows = race_view.ranking(race)
    assert [row[:3] for row in rows] == [
        ("1", "LLR", "90.0 %"),
        ("2", "LRW", "80.0 %"),
        ("", "FT", "diverged"),
        ("", "CLR", "diverged"),
    ]
    spec = race_view.picture(race, race_view.dense_accuracies(race)[0], 10)
    json.dumps(spec, allow_nan=False)
    assert [m["y"] for m in spec["panels"][0]["marks"] if m["kind"] == "line"][0] == [10, None]
    assert "LLR 90.0 %; LRW 80.0 %; FT diverged; CLR diverged" in spec["alt"]
    text = race_view.words(race)
    assert text.startswith("LLR ends first with 90.0 % of the validation images, 10.0 points before LRW")
    assert "FT and CLR diverged" in text
    assert "nan" not in text + race_view.csv(race) and "FT,10,0,\n" in race_view.csv(race)
    assert "Nothing can be ranked: FT diverged" in race_view.words(fake({"FT": math.nan}))
    race.results.pop(0)
    assert race_view.ranking(race)[2][:3] == ("", "FT", "diverged"), "as soon as its curve has ended"


def test_a_dense_run_that_diverges_ends_the_race_without_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr(
        live, "recipe_of", lambda data, model, seed: Recipe(data, model="mlp", width=4, epochs=1, lr=1e30)
    )
    shares, store = [], Store(tmp_path)
    race = live.stored(race_view.experiments(Settings(schedules=("LLR", "ALLR")), 4), store)
    live.run(race, store, CPU, lambda: False, lambda share, words: shares.append(share))
    assert race.whole and race_view.diverged(race) == ["LLR", "ALLR"] and shares[-1] == 1
    assert race_view.dense_accuracies(race) == [] and [row[2] for row in race_view.ranking(race)] == ["diverged"] * 2
    json.dumps(race_view.picture(race, None, 10), allow_nan=False)
    again = live.stored(race.experiments, store, firsts=True)
    assert again.whole and math.isnan(again.first[0].accuracy[-1])


def test_a_test_accuracy_shows_only_when_its_training_is_over():
    assert {row[3] for row in race_view.ranking(fake({"FT": 0.8, "LLR": 0.9}, ended=False))} == {"..."}


def test_the_picture_holds_the_points_and_its_words_the_order():
    spec = race_view.picture(fake({"FT": 0.8, "LLR": 0.9}), 0.98, 10)
    left, right = spec["panels"]
    lines = [mark for mark in left["marks"] if mark["kind"] == "line"]
    assert [line["y"] for line in lines] == [[10, 80], [10, 90]] and left["x"] == (0, 10)
    assert all(mark["y"] == [0.1, 0] for mark in right["marks"])
    assert "LLR 90.0 %; FT 80.0 %" in spec["alt"] and [e["name"] for e in spec["legend"]] == ["FT", "LLR"]


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"schedules": ()}, "No schedule is chosen"),
        ({"schedules": ("ALR",)}, "did you mean 'ALLR'"),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"model": "resnet9"}, "did you mean 'resnet8'"),
        ({"sparsity": 1.5}, "sparsity is 1.5"),
        ({"budget": -1}, "budget"),
        ({"cycles": 0}, "number of cycles"),
        ({"allocation": "layers"}, "There is no allocation"),
        ({"score": "obb"}, "did you mean 'obs'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_a_sentence(bad, words):
    with pytest.raises(BadInput, match=words):
        Settings(**bad)


# ---- the widgets -----------------------------------------------------------------------------------------------------


@pytest.fixture
def view(tmp_path):
    view = Race(Settings(sparsity=0.9, budget=0.5), Results.at(tmp_path), "cpu")
    assert view.desk.worker.wait()
    return view


@pytest.mark.xdist_group("race")
def test_prune_race_store_stop_and_errors(view, tmp_path, monkeypatch):
    assert len(view.network.accuracies) == 100 and "10 % " in view.pruning.note.value.replace("(10 %", "10 % ")

    # the layers' bars are the masks' exact shares
    recipe = view.network.recipe
    masks = cycles.prune_state(view.network.scored.setup, view.network.dense.state, Prune(0.9), 0, 0)
    shares = metrics.layer_sparsity(masks)
    bars = view.pruning.charts[0].spec["panels"][1]["marks"][0]["y"]
    assert bars == pytest.approx([100 * s for s in shares.values()], rel=1e-4)

    view.desk.start.click()
    assert view.desk.worker.wait() and view.race.whole and "Checked in each: 90.0 %" in view.desk.status.value
    assert view.screen.table.value.count("<tr>") == 7 and len(view.screen.take.csv.splitlines()) > 6 * 5
    first = view.screen.charts[0].spec
    assert Results.at(tmp_path).dense(recipe, CPU)
    assert Store(tmp_path).count()["results"] == 6

    # once more: from the store, at once, and the same picture
    view.desk.start.click()
    assert (
        "From the store." in view.desk.status.value
        and not view.desk.worker.busy
        and view.screen.charts[0].spec == first
    )

    # no schedule: a sentence, and what was shown stays
    for box in view.inputs["schedules"].boxes.values():
        box.value = False
    view.desk.start.click()
    assert "No schedule is chosen" in view.desk.status.value and view.screen.charts[0].spec == first

    # stopped: what there is stays
    view.inputs["schedules"].boxes["LLR"].value = True
    view.inputs["seed"].slider.value = 0
    view.inputs["budget"].slider.value = 100.0
    real = view.desk.worker.start
    monkeypatch.setattr(view.desk.worker, "start", lambda work, *rest: real(lambda _: work(lambda: True), *rest))
    view.desk.start.click()
    assert view.desk.worker.wait() and "Stopped" in view.desk.status.value and Store(tmp_path).count()["results"] == 6


@pytest.mark.xdist_group("race")
def test_another_network_is_looked_at_even_when_asked_for_in_mid_race(view):
    view.desk.start.click()
    view.inputs["allocation"].value = "uniform"  # while it races
    view.inputs["sparsity"].slider.value = 50.0
    for _ in range(100):
        if (
            not view.desk.worker.busy
            and view.network.scored.prune.allocation == "uniform"
            and len(view.network.accuracies) == 100
        ):
            break
        view.desk.worker.wait()
        time.sleep(0.05)
    assert view.network.scored.prune.allocation == "uniform" and view.race.whole
    assert "Checked in each: 90.0 %" in view.desk.status.value, "the outcome stays on screen"
    bars = view.pruning.charts[0].spec["panels"][1]["marks"][0]["y"]
    assert bars == pytest.approx([50] * len(bars), abs=1)


@pytest.mark.xdist_group("race")
@pytest.mark.parametrize("score", SCORES)
def test_what_is_shown_straight_after_the_prune_is_what_a_study_finds(score, tmp_path):
    """Pitfall: a score that changes the weights that stay is shown by its masks alone."""
    settings = Settings(sparsity=0.6, score=score, allocation="erk", budget=0.5, schedules=("LLR",))
    view = Race(settings, Results.at(tmp_path), "cpu")
    assert view.desk.worker.wait(120) and view.settings() == settings
    assert "choose a budget, then press Retrain" in view.desk.status.value
    [experiment] = race_view.experiments(settings)
    row = study.run_study([experiment], store=tmp_path, jobs=1, engine="loop").iloc[0]
    assert view.network.accuracies[60] == pytest.approx(row["pruned_validation_accuracy"], abs=1e-9)
    bars = view.pruning.charts[0].spec["panels"][1]["marks"][0]["y"]
    masks = study.masks(experiment, tmp_path)
    removed = [100 * float((~masks[name]).float().mean()) for name in view.network.scored.setup.prunable]
    assert bars == pytest.approx(removed, rel=1e-4)


@pytest.mark.xdist_group("race")
def test_another_score_is_looked_at_and_told_of(view):
    before = dict(view.network.accuracies)
    view.inputs["score"].value = "random"
    assert view.desk.worker.wait() and view.network.scored.prune == Prune(score="random")
    assert len(view.network.accuracies) == 100 and view.network.accuracies != before
    assert "removed by random" in race_view.caption(view.settings())


@pytest.mark.xdist_group("race")
def test_the_python_of_a_race_asks_for_its_own_experiments(view):
    settings = replace(view.settings(), score="obd", cycles=2, schedules=("FT", "ALLR"))
    text = race_view.code(settings).split("frame =")[0]
    scope = {}
    exec(text, scope)
    assert scope["experiments"] == race_view.experiments(settings)


def test_a_data_set_that_is_not_here_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("RETRAINLAB_DATA", str(tmp_path))
    view = Race(Settings(data="cifar10"), Results.at(tmp_path), "cpu")
    assert view.desk.worker.wait() and "cifar10" in view.desk.status.value and view.network is None
    view.desk.start.click()
    assert view.desk.worker.wait()
    assert "cifar10" in view.desk.status.value and "Traceback" not in view.desk.status.value


def test_every_schedule_is_raced_by_default():
    assert tuple(e.retrain.schedule for e in race_view.experiments(Settings())) == NAMED_SCHEDULES


@pytest.mark.xdist_group("race")
def test_a_network_that_cannot_be_had_is_looked_for_once(view, monkeypatch, tmp_path):
    monkeypatch.setenv("RETRAINLAB_DATA", str(tmp_path))
    looks, real = [], view._look
    monkeypatch.setattr(view, "_look", lambda *asked: looks.append(asked[0].data) or real(*asked))
    view.inputs["data"].value = "cifar10"
    time.sleep(0.5)
    assert view.desk.worker.wait() and looks == ["cifar10"] and "cifar10" in view.desk.status.value


@pytest.mark.xdist_group("race")
def test_a_score_that_takes_hours_is_refused_where_nobody_could_stop_it(view, monkeypatch):
    monkeypatch.setattr(collapse, "MOST", 1e6)
    view.inputs["score"].value = "obs"
    assert view.desk.worker.wait() and "ten minutes to hours for resnet8 on a CPU" in view.desk.status.value
    view.desk.status.say("")
    view.desk.start.click()
    assert view.desk.worker.wait() and "ten minutes to hours for resnet8 on a CPU" in view.desk.status.value
    assert not view.race.results
    view.inputs["score"].value = "obd"
    assert view.desk.worker.wait() and view.network.scored.prune.score == "obd"


@pytest.mark.xdist_group("race")
def test_a_closed_race_looks_for_nothing(view, monkeypatch):
    view.close()
    monkeypatch.setattr(view.desk.worker, "start", lambda *_: pytest.fail("it was closed"))
    view.network = None
    view.look()


@pytest.mark.xdist_group("race")
def test_half_percents_are_pruned_as_asked_and_told_of_the_nearest_known(view):
    view.inputs["sparsity"].slider.value = 94.5
    level = view.pruning.charts[0].spec["panels"][1]["marks"][1]
    assert level["label"] == "all: 94.5 %" and view.pruning.note.value.startswith("<p>At 94 %: ")
    view.inputs["sparsity"].slider.value = 99.5
    assert view.pruning.note.value.startswith("<p>At 99 %: ") and "1 %" in view.pruning.note.value


def test_no_level_is_shown_that_nobody_knows():
    waiting = Live(race_view.experiments(Settings()))
    marks = race_view.view(Settings(), waiting).charts[0]["panels"][0]["marks"]
    assert not [mark for mark in marks if mark["kind"] == "level"]


def test_the_caption_says_whose_numbers_these_are():
    told = race_view.caption(Settings(sparsity=0.975, budget=0.025, cycles=2, seed=3))
    assert told == "Ranking (digits, resnet8, 97.5 % removed by magnitude, global, budget 2.5 %, 2 cycles, seed 3)"
