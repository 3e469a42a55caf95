"""The explorers without a browser: pictures and sentences from numbers, and callbacks driven by setting values."""

import ast
import json
import math
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("ipywidgets")

from retrainlab import schedules
from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES, SGD, Recipe
from retrainlab.explore.apps import schedules as schedules_app
from retrainlab.explore.apps import start as start_app
from retrainlab.explore.apps.start import FirstLook
from retrainlab.explore.kit import app, chart, controls, phrases, worker
from retrainlab.explore.kit.worker import Desk, Worker
from retrainlab.explore.views import schedules as schedules_view
from retrainlab.explore.views import start as start_view
from retrainlab.explore.views.schedules import Settings
from retrainlab.explore.views.start import Attempt
from retrainlab.study import plan
from retrainlab.study.result import Result
from retrainlab.study.store import Store

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [ROOT / "notebooks" / "start_here.ipynb", *sorted((ROOT / "notebooks").glob("explore_*.ipynb"))]
TINY = Recipe(width=4, epochs=1)


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_a_number_box_and_its_slider_follow_each_other():
    pair = controls.number("Budget", 10.0, 0.5, 100.0, 0.5)
    box, slider = pair.row.children
    slider.value = 9.99999998
    assert box.value == pair.value == 10
    box.value = 25
    assert slider.value == 25
    assert box.description == "Budget" and "retrainlab-number" in pair.row._dom_classes


def test_a_logarithmic_number_shows_three_digits_and_keeps_its_bounds():
    pair = controls.number("Rate", 0.1, 0.001, 1.0, 0.05, log=True)
    box, slider = pair.row.children
    slider.value = 10**-1.3
    assert box.value == pair.value == 0.0501
    box.value = 7
    assert slider.value == 1


def test_a_status_line_is_polite_and_escaped():
    status = controls.Status()
    status.say("1 < 2")
    assert status.value == "<p>1 &lt; 2</p>" and "retrainlab-status" in status._dom_classes


def test_a_worker_runs_one_thing_stops_it_and_tells_errors_in_a_sentence():
    worker, said, begun = Worker(), [], threading.Event()

    def work(stopped):
        begun.set()
        while not stopped():
            pass
        raise BadInput("Choose another.")

    assert worker.start(work, lambda: None, said.append)
    assert begun.wait(10) and not worker.start(work, lambda: None, said.append)
    worker.stop()
    assert worker.wait(10) and said == ["Choose another."]


def test_a_worker_is_free_again_when_it_says_that_the_work_ended():
    worker, said, over = Worker(), [], threading.Event()

    def ended():
        if len(said) == 3 or not worker.start(lambda _: "more", lambda: None, said.append, ended):
            over.set()

    worker.start(lambda _: "once", lambda: None, said.append, ended)
    assert over.wait(10) and said == ["once", "more", "more"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 7")])
def test_lack_of_memory_is_told_in_a_sentence(error):
    def work(_):
        raise error

    worker, said = Worker(), []
    worker.start(work, lambda: None, said.append)
    assert worker.wait(10) and said[0].startswith("Memory ran out; ")


def test_a_cell_that_runs_again_shows_the_same_explorer_and_other_settings_close_it(monkeypatch):
    class Fake:
        closed = False
        box = None

        def close(self):
            self.closed = True

    monkeypatch.setattr(app, "_shown", {})
    first = app.present("fake", ("a", 1), Fake)
    assert app.present("fake", ("a", 1), Fake) is first and not first.closed
    second = app.present("fake", ("a", 2), Fake)
    assert second is not first and first.closed and not second.closed
    assert app.present("other", ("a", 2), Fake) is not second and not second.closed


def test_closing_closes_everything_inside():
    explorer = schedules_app.Schedules(Settings(epochs=2))
    explorer.close()
    assert explorer.chart.comm is None and explorer.budget.slider.comm is None and explorer.dense.comm is None


def test_a_table_has_a_caption_headings_and_escaped_cells():
    table = controls.Table()
    table.set("Who & what", ("a", "b"), [("<1>", 2)])
    assert "<caption>Who &amp; what</caption>" in table.value and table.value.count('<th scope="col">') == 2
    assert "<td>&lt;1&gt;</td><td>2</td>" in table.value


@pytest.mark.parametrize("cost, most", [(0.0, 14), (0.1, 3)])
def test_drawing_takes_a_tenth_of_the_time_at_most(cost, most):
    worker, draws = Worker(), []

    def draw():
        draws.append(1)
        end = time.thread_time() + cost
        while time.thread_time() < end:
            pass

    worker.start(lambda stopped: time.sleep(1.3) or "", draw, lambda _: None)
    assert worker.wait(10) and 1 <= len(draws) <= most


def test_desk_says_how_far_it_is_and_is_ready_again_at_the_end():
    desk, seen = Desk("Go", "cpu"), []

    def work(stopped):
        desk.tell(0.5, "Half of it ...")
        desk.follow()
        seen.extend([desk.bar.value, desk.start.disabled, desk.stop.disabled])
        return "Done."

    assert desk.go(work, lambda: None) and desk.worker.wait(10)
    assert seen == [500, True, False]
    assert desk.bar.value == 0 and not desk.start.disabled and desk.stop.disabled and "Done." in desk.status.value
    assert "cpu" in desk.where.value and "GiB" in desk.where.value


def test_the_data_control_says_what_is_in_the_set_that_is_chosen():
    data = controls.choice("Data set", ("digits", "cifar10"), "digits")
    note = controls.about(data)
    assert "digits: 10 classes; 1,000 train, 257 validation, 540 test images; 8 x 8 pixels; mode L." in note.value
    data.value = "cifar10"
    assert "cifar10: 10 classes; 45,000 train" in note.value


def test_python_for_a_recipe_runs_and_makes_that_recipe():
    recipe = replace(Recipe(model="mlp", seed=3), sgd=SGD(weight_decay=5e-4))
    scope = {}
    exec(phrases.python(recipe, "again = recipe"), scope)
    assert scope["again"] == recipe


# ---- curves ----------------------------------------------------------------------------------------------------------


def test_curves_are_those_of_the_package():
    s = Settings(budget=0.4, damage=0.3, warmup=0.2, ramp="cosine", free="rex", free_lr=0.07)
    got = schedules_view.compute(s)
    original = schedules.dense("multistep", 930, 0.1)
    assert got.d == 0.4 and s.steps == 372
    want = schedules.retraining("ALLR", original, 372, d=0.4, warmup=0.2, shape="cosine")
    assert torch.equal(got.retraining["ALLR"], want)
    want = schedules.retraining("rex", original, 372, lr=0.07, warmup=0.2, shape="cosine")
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
    explorer = schedules_app.Schedules(Settings(epochs=2, steps_per_epoch=5))
    before = explorer.chart.spec
    for pair in (explorer.budget, explorer.peak, explorer.warmup, explorer.damage, explorer.free_lr):
        box = pair.row.children[0]
        for value in (box.min, box.max):
            box.value = value
            assert "budget of" in explorer.status.value
    assert explorer.chart.spec != before
    for control in (explorer.dense, explorer.ramp, explorer.free, explorer.axis):
        for value in [o[1] if isinstance(o, tuple) else o for o in control.options]:
            control.value = value
    for box in explorer.boxes.values():
        box.value = False
    assert "no schedule is shown" not in explorer.chart.spec["alt"]  # the free curve is still there
    explorer.free.value = schedules_view.NO_FREE
    assert "no schedule is shown" in explorer.chart.spec["alt"]


def test_moving_a_slider_back_gives_the_same_picture():
    explorer = schedules_app.Schedules(Settings())
    first = explorer.chart.spec
    explorer.budget.slider.value = 40.0
    assert explorer.chart.spec != first and "12 epochs" in explorer.status.value
    explorer.budget.slider.value = 10.0
    assert explorer.chart.spec == first


def test_the_drawn_steps_are_the_curves_and_the_python_makes_them():
    explorer = schedules_app.Schedules(Settings(epochs=4, steps_per_epoch=10, budget=0.5, free="rex"))
    names = [entry["name"] for entry in explorer.chart.spec["legend"]]
    lines = dict(zip(names, explorer.chart.spec["panels"][1]["marks"]))
    scope = {}
    exec(explorer.take.code, scope)
    assert names == list(scope["curves"]) == [*NAMED_SCHEDULES, "rex"]
    for name, curve in scope["curves"].items():
        x, y = lines[name]["x"], lines[name]["y"]
        held = [y[max(i for i, at in enumerate(x[:-1]) if at <= step / 10 + 1e-9)] for step in range(20)]
        assert held == pytest.approx(curve.tolist(), rel=1e-4)
    rows = explorer.take.csv.splitlines()
    assert rows[0] == "schedule,iteration,lr" and len(rows) == 1 + 7 * 20


def test_callbacks_on_several_threads_end_with_the_last_picture():
    explorer = schedules_app.Schedules(Settings(epochs=4))
    threads = [threading.Thread(target=explorer.redraw) for _ in range(4)]
    explorer.damage.slider.value = 0.2
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    want = schedules_app.Schedules(Settings(epochs=4))
    want.damage.slider.value = 0.2
    assert explorer.chart.spec == want.chart.spec


# ---- the first look --------------------------------------------------------------------------------------------------


def test_every_schedule_is_explained_and_every_sparsity_measured_once():
    assert tuple(start_app.ABOUT) == NAMED_SCHEDULES
    order = start_view.coarse_to_fine()
    assert sorted(order) == list(range(100)) and order[:25] == list(range(0, 100, 4))


def test_words_about_pruning():
    text = start_view.pruned_words(90, 1000, 0.922, 0.101, 10)
    assert text == (
        "100 of 1,000 weights are left (10 %, about 1 in 10). Validation accuracy goes from 92.2 % to 10.1 %, "
        "no better than guessing one of 10 classes."
    )
    assert start_view.pruned_words(20, 1000, 0.9, 0.9, 10).endswith("Validation accuracy is what it was: 90.0 %.")


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
    assert start_view.outcome_words(result(), 93) == (
        "92.2 % → 10.1 % by pruning → 91.0 % after 93 steps (10 % of the dense run) with LLR. "
        "Checked: 90.0 % of the weights are still exactly 0."
    )
    assert "after 40 of 93 steps (stopped early) with LLR" in start_view.outcome_words(
        result(steps=40, stopped=True), 93
    )


def test_a_retraining_that_diverges_is_told_so():
    lost = replace(result(validation_accuracy=None), outcome="diverged: retraining, cycle 1, within 9 steps")
    assert start_view.outcome_words(lost, 93) == (
        "92.2 % → 10.1 % by pruning → diverged: retraining, cycle 1, within 9 steps, with LLR. Choose another schedule."
    )
    attempt = Attempt("LLR", 90, 0.025, 10, ((0, 0.1), (4, math.nan)), running=False)
    assert attempt.label.endswith(": diverged")
    spec = start_view.attempts_chart([attempt], 0.9)
    json.dumps(spec, allow_nan=False)
    assert "nan" not in spec["alt"] + start_view.attempts_csv([attempt])


def test_a_network_that_has_diverged_is_no_network_to_explore(tmp_path):
    recipe = Recipe(model="mlp", width=4, epochs=1, lr=1e30)
    for _ in ("trained", "stored"):
        with pytest.raises(BadInput, match="no trained network to show .diverged: the first training, within 31 steps"):
            start_view.dense_network(recipe, Store(tmp_path), "cpu", lambda _: None, lambda: False)


def test_a_chart_has_gaps_where_there_are_no_numbers():
    """Pitfall: NaN in JSON stops the browser."""
    look, bad = {"color": "k"}, float("nan")
    marks = [chart.point(1, bad, look), chart.level(bad), chart.cut(float("inf")), chart.point(1, 2, look)]
    marks += [chart.line([0, 1], [bad, 2], look), chart.band([0, 1], [0, bad], [1, 1], "k")]
    marks += [chart.errors([0, 1], [-float("inf"), 0], [1, 1], "k")]
    panel = chart.panel(marks, x=(0, 1), y=(0, 1), xlabel="")
    assert [m["kind"] for m in panel["marks"]] == ["point", "line", "band", "errors"]
    assert panel["marks"][1]["y"] == [None, 2] and panel["marks"][2]["x"] == [0] and panel["marks"][3]["x"] == [1]


def test_a_wrong_sparsity_is_an_error():
    start_view.check_sparsity(result(), 0.9, 1000)
    with pytest.raises(AssertionError, match="899 of 1000 weights are 0 at the end, not 900"):
        start_view.check_sparsity(result(sparsity_achieved=0.899), 0.9, 1000)


def test_labels_tell_plan_and_end():
    attempt = Attempt("LLR", 90, 0.025, 10, ((0, 0.1), (10, 0.914)), running=False)
    assert attempt.label == "LLR, 2.5 % at 90 %: 91.4 %"
    assert replace(attempt, planned=20).label.endswith("91.4 %, stopped")
    assert replace(attempt, running=True).label.endswith(": ...")


def test_the_picture_of_attempts_depends_on_the_last_eight_only():
    attempts = [Attempt("FT", s, 0.1, 10, ((0, 0.1), (10, s / 100)), False) for s in range(50, 60)]
    assert start_view.attempts_chart(attempts, 0.99) == start_view.attempts_chart(attempts[-8:], 0.99)
    assert "nothing has been retrained" in start_view.attempts_chart([], 0.99)["alt"]
    assert "50 %" not in start_view.attempts_alt(attempts) and "59.0 %" in start_view.attempts_alt(attempts)


@pytest.fixture
def look(tmp_path):
    """A tiny network, trained or from the store, its collapse measured."""
    look = FirstLook(TINY, Store(tmp_path), "cpu")
    look.prepare()
    assert look.desk.worker.wait()
    return look


@pytest.mark.xdist_group("first-look")
def test_prune_retrain_and_stop(look, tmp_path):
    assert len(look.accuracies) == 100 and not look.desk.start.disabled and look.desk.stop.disabled
    assert look.accuracies[0] == look.dense.result.scalars["validation_accuracy"]

    before = look.charts[0].spec
    look.sparsity.slider.value = 50
    assert look.charts[0].spec != before and "(50 %, about 1 in 2)" in look.said.value

    look.budget.value = 0.5
    for schedule in ("FT", "LLR", "FT"):
        look.schedule.value = schedule
        look.desk.start.click()
        assert look.desk.worker.wait() and not look.desk.start.disabled and look.desk.stop.disabled
        assert f"with {schedule}" in look.desk.status.value and "50.0 % of the weights" in look.desk.status.value
    assert [a.schedule for a in look.attempts] == ["LLR", "FT"]  # the same plan again takes the place of the first
    assert all(len(a.points) == 17 and a.points[-1][0] == a.planned == 16 for a in look.attempts)
    line = look.charts[1].spec["panels"][0]["marks"][-1]
    assert line["x"] == [s for s, _ in look.attempts[-1].points] and len(line["y"]) == 17
    assert len(look.take.csv.splitlines()) == 1 + 2 * 17
    compile(look.take.code, "code", "exec")

    look.clear.click()
    assert look.attempts == [] and "nothing has been retrained" in look.charts[1].spec["alt"]

    # stopped before its first step: what there is, is kept
    real = look.desk.worker.start
    look.desk.worker.start = lambda work, *rest: real(lambda _: work(lambda: True), *rest)
    look.desk.start.click()
    assert look.desk.worker.wait() and "after 0 of 16 steps (stopped early)" in look.desk.status.value
    assert "stopped" in look.attempts[-1].label

    # the figures' own key: a second look trains nothing
    assert Store(tmp_path).check("dense", plan.dense_key(TINY, "digits/1"))
    again = FirstLook(TINY, Store(tmp_path), "cpu")
    again.prepare()
    assert again.desk.worker.wait() and again.accuracies == look.accuracies
    assert "Training" not in again.desk.status.value


def test_a_users_mistake_is_one_sentence(tmp_path):
    for bad, words in (
        ({"device": "tpu"}, "There is no device"),
        ({"schedule": "LR"}, "There is no schedule 'LR'"),
        ({"budget": -1.0}, "budget"),
        ({"sparsity": 200}, "sparsity is 2"),
    ):
        with pytest.raises(BadInput, match=words):
            FirstLook(TINY, Store(tmp_path), **({"device": "cpu"} | bad))
    look = FirstLook(replace(TINY, batch_size=10_000), Store(tmp_path), "cpu")
    look.prepare()
    assert look.desk.worker.wait() and "batch" in look.desk.status.value
    look.start_retraining()  # nothing to retrain yet: the network is tried again
    assert look.desk.worker.wait() and look.attempts == [] and "batch" in look.desk.status.value


def test_closing_during_the_dense_run_ends_it_and_stores_nothing(tmp_path):
    look = FirstLook(TINY, Store(tmp_path), "cpu")
    real = look.desk.worker.start
    look.desk.worker.start = lambda work, *rest: real(lambda _: work(lambda: True), *rest)
    look.prepare()
    look.close()
    assert look.desk.worker.wait() and Store(tmp_path).count()["dense"] == 0 and look.dense is None


# ---- the notebooks and the source ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_thin_stripped_and_linked(path):
    nbformat = pytest.importorskip("nbformat")
    notebook = json.loads(path.read_text())
    nbformat.validate(notebook)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    assert all(len(c["source"]) <= 8 for c in code[1:])
    assert code[0]["metadata"]["tags"] == ["parameters"]
    text = "\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
    levels = [len(m) for m in re.findall(r"^(#+) ", text, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:]))
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (path.parent / link).is_file(), link


def test_no_explorer_uses_pyplot():
    for path in (ROOT / "retrainlab" / "explore").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert not any("pyplot" in n for n in names), path


def test_the_time_left_is_that_of_the_stage_once_it_is_known(monkeypatch):
    desk, shown = Desk("Go", "cpu"), []
    now = [0.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    for seconds, share in ((0, 0.0), (10, 0.1), (20, 0.2), (30, 0.3), (31, 0.0), (31, 0.1), (35, 0.5)):
        now[0] = float(seconds)
        desk.tell(share)
        desk.follow()
        shown.append(desk.left.value)
    assert shown == ["", "", "about 1 min 20 s left", "about 1 min 10 s left", "", "", "about 5 s left"]


def test_a_stopped_first_training_can_be_made_again(tmp_path):
    look = FirstLook(TINY, Store(tmp_path), "cpu")
    real = look.desk.worker.start
    look.desk.worker.start = lambda work, *rest: real(lambda _: work(lambda: True), *rest)
    look.prepare()
    assert look.desk.worker.wait() and "press Retrain to train the network" in look.desk.status.value
    look.desk.worker.start = real
    look.desk.start.click()
    assert look.desk.worker.wait() and len(look.accuracies) == 100


def test_an_explorer_that_cannot_be_made_leaves_no_closed_one_behind(monkeypatch):
    class Fake:
        closed, box = False, None

        def close(self):
            self.closed = True

    def refuse():
        raise BadInput("There is no such device.")

    monkeypatch.setattr(app, "_shown", {})
    first = app.present("fake", "a", Fake)
    with pytest.raises(BadInput):
        app.present("fake", "b", refuse)
    assert first.closed and app.present("fake", "a", Fake) is not first


def test_a_number_beyond_its_range_widens_it():
    assert controls.number("Seed", 42, 0, 20, 1).value == 42
    assert controls.number("Sparsity", 99.87, 0.0, 99.5, 0.5).value == 99.87


def test_a_drawing_that_fails_ends_neither_the_work_nor_the_desk():
    desk = Desk("Go", "cpu")

    def draw():
        if desk.running:
            raise RuntimeError("dictionary changed size during iteration")

    assert desk.go(lambda stopped: time.sleep(0.3) or "Done.", draw) and desk.worker.wait(10)
    assert "Done." in desk.status.value and not desk.start.disabled and desk.stop.disabled
