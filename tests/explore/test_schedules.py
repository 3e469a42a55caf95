"""The schedules as curves: numbers, words and picture, and widgets driven by setting values."""

import threading

import pytest
import torch

pytest.importorskip("ipywidgets")

from retrainlab import schedules
from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES, Recipe, Retrain
from retrainlab.explore.apps.schedules import Schedules
from retrainlab.explore.views import schedules as schedules_view
from retrainlab.explore.views.schedules import Settings
from retrainlab.study.results import Results


def made(settings: Settings) -> Schedules:
    return Schedules(settings, Results.at("nowhere"), "cpu")


def test_closing_closes_everything_inside():
    explorer = made(Settings(epochs=2))
    explorer.close()
    assert (
        explorer.screen.charts[0].comm is None
        and explorer.inputs["budget"].slider.comm is None
        and explorer.inputs["dense"].comm is None
    )


def test_curves_are_those_of_the_package():
    s = Settings(budget=0.4, damage=0.3, warmup=0.2, ramp="cosine", free="rex", free_lr=0.07)
    got = schedules_view.compute(s)
    original = schedules.dense(Recipe(lr=0.1), 930)
    assert got.d == 0.4 and s.steps == 372
    want = schedules.retraining(Retrain("ALLR", warmup=0.2, ramp="cosine"), original, 372, d=0.4)
    assert torch.equal(got.retraining["ALLR"], want)
    want = schedules.retraining(Retrain("rex", lr=0.07, warmup=0.2, ramp="cosine"), original, 372)
    assert torch.equal(got.retraining["rex"], want)
    assert list(got.retraining) == [*NAMED_SCHEDULES, "rex"]


@pytest.mark.parametrize(
    "dense, budget, words",
    [
        ("multistep", 0.1, "LRW is the same as FT here: the dense run ended with 7.48 epochs at 0.001"),
        ("multistep", 0.5, "LRW goes back to 0.01, FT stays at 0.001; up to a budget of 24.9 %"),
        ("linear", 0.1, "this dense run never keeps one learning rate"),
        ("constant", 1.0, "LRW is the same as FT here: the dense run ended with 30 epochs at 0.1"),
    ],
)
def test_words_say_how_lrw_relates_to_ft(dense, budget, words):
    settings = Settings(budget=budget, dense=dense)
    assert words in schedules_view.words(settings, schedules_view.compute(settings))


def test_words_say_what_the_budget_means():
    settings = Settings(budget=0.025)
    text = schedules_view.words(settings, schedules_view.compute(settings))
    assert "A budget of 2.5 % of a dense run of 30 epochs is 0.75 epochs: 23 steps after the dense run's 930." in text


@pytest.mark.parametrize("bad", [{"budget": 1.5}, {"budget": 0}, {"damage": 2}, {"peak": 0}, {"epochs": 0}])
def test_settings_that_make_no_sense_are_refused_in_a_sentence(bad):
    with pytest.raises(BadInput, match="must be"):
        Settings(**bad)


@pytest.mark.parametrize("value, top", [(0.1, 0.12), (0.099, 0.12), (1, 1.2), (0.97, 1), (0.5, 0.6)])
def test_an_axis_ends_at_a_round_number_above_the_data(value, top):
    assert schedules_view.ceiling(value) == pytest.approx(top)


def test_every_control_redraws_and_nothing_fails_at_the_ends_of_any_slider():
    explorer = made(Settings(epochs=2, steps_per_epoch=5))
    before = explorer.screen.charts[0].spec
    for pair in (
        explorer.inputs["budget"],
        explorer.inputs["peak"],
        explorer.inputs["warmup"],
        explorer.inputs["damage"],
        explorer.inputs["free_lr"],
    ):
        box = pair.row.children[0]
        for value in (box.min, box.max):
            box.value = value
            assert "budget of" in explorer.status.value
    assert explorer.screen.charts[0].spec != before
    for control in (explorer.inputs["dense"], explorer.inputs["ramp"], explorer.inputs["free"], explorer.inputs["log"]):
        for value in [o[1] if isinstance(o, tuple) else o for o in control.options]:
            control.value = value
    for box in explorer.inputs["shown"].boxes.values():
        box.value = False
    assert "no schedule is shown" not in explorer.screen.charts[0].spec["alt"]  # the free curve is still there
    explorer.inputs["free"].value = schedules_view.NO_FREE
    assert "no schedule is shown" in explorer.screen.charts[0].spec["alt"]


def test_moving_a_slider_back_gives_the_same_picture():
    explorer = made(Settings())
    first = explorer.screen.charts[0].spec
    explorer.inputs["budget"].slider.value = 40.0
    assert explorer.screen.charts[0].spec != first and "12 epochs" in explorer.status.value
    explorer.inputs["budget"].slider.value = 10.0
    assert explorer.screen.charts[0].spec == first


def test_the_drawn_steps_are_the_curves_and_the_python_makes_them():
    explorer = made(Settings(epochs=4, steps_per_epoch=10, budget=0.5, free="rex"))
    names = [entry["name"] for entry in explorer.screen.charts[0].spec["legend"]]
    lines = dict(zip(names, explorer.screen.charts[0].spec["panels"][1]["marks"]))
    scope = {}
    exec(explorer.screen.take.code, scope)
    assert names == list(scope["curves"]) == [*NAMED_SCHEDULES, "rex"]
    for name, curve in scope["curves"].items():
        x, y = lines[name]["x"], lines[name]["y"]
        held = [y[max(i for i, at in enumerate(x[:-1]) if at <= step / 10 + 1e-9)] for step in range(20)]
        assert held == pytest.approx(curve.tolist(), rel=1e-4)
    rows = explorer.screen.take.csv.splitlines()
    assert rows[0] == "schedule,iteration,lr" and len(rows) == 1 + 7 * 20


def test_callbacks_on_several_threads_end_with_the_last_picture():
    explorer = made(Settings(epochs=4))
    threads = [threading.Thread(target=explorer.draw) for _ in range(4)]
    explorer.inputs["damage"].slider.value = 0.2
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    want = made(Settings(epochs=4))
    want.inputs["damage"].slider.value = 0.2
    assert explorer.screen.charts[0].spec == want.screen.charts[0].spec
