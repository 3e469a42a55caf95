"""The explorer of budgets without a browser: pictures and words from numbers, and real but tiny measurements."""

import json
import re
from dataclasses import replace

import pytest

pytest.importorskip("ipywidgets")

from retrainlab import advice, study
from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES, Experiment, Recipe
from retrainlab.explore.apps.budget import Budget
from retrainlab.explore.views import budget
from retrainlab.explore.views.budget import Settings
from retrainlab.figures import presets
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.store import Store
from tests.helpers.invented import invented

TINY = presets.Preset("digits", Recipe(width=4, epochs=1), seeds=3, sparsities=(0.5, 0.9), budgets=(0.25, 0.5))


@pytest.fixture
def tiny(monkeypatch):
    """Preset digits with a dense run of one epoch, and three schedules."""
    monkeypatch.setitem(presets.PRESETS, "digits", TINY)
    monkeypatch.setattr(budget, "NAMED_SCHEDULES", ("FT", "SLR", "LLR"))
    return Settings(sparsity=0.9, budget=0.25, seeds=3)


def put(results: dict[Experiment, Result], store: Store) -> None:
    for e, r in results.items():
        Results.at(store).put(e, r)


def test_runs_that_diverged_are_left_out_and_said_to_be(tiny):
    results = invented(tiny)
    lost = {"validation_accuracy": None, "test_accuracy": None}
    for e, r in results.items():
        if e.retrain.schedule == "FT" and e.recipe.seed == 0:
            results[e] = replace(r, scalars=r.scalars | lost, outcome="diverged: retraining, cycle 1, within 3 steps")
    shown = budget.view(tiny, results)
    json.dumps(shown.charts, allow_nan=False)
    assert f"{len(tiny.budgets)} of {len(results)} runs diverged and are left out." in shown.words
    every = {e: replace(r, scalars=r.scalars | lost, outcome="diverged: x") for e, r in results.items()}
    nothing = budget.view(tiny, every)
    json.dumps(nothing.charts, allow_nan=False)
    assert "nan" not in nothing.words + nothing.csv + shown.words + shown.csv


# ---- what is asked ---------------------------------------------------------------------------------------------------


def test_the_experiments_are_those_of_figure_3():
    preset = presets.preset("digits")
    figure = study.grid(
        preset.recipe,
        sparsities=preset.sparsities,
        budgets=preset.budgets,
        schedules=NAMED_SCHEDULES,
        seeds=preset.seeds,
    )
    assert set(budget.page(Results.at("nowhere")).needs) == set(figure)
    settings = Settings()
    assert set(budget.experiments(settings, settings.budgets)) == {e for e in figure if e.prune.sparsity == 0.95}
    fashion = Settings("fashion-mnist", seeds=3)
    assert fashion.recipe == presets.preset("fashion-mnist").recipe and Settings("cifar10").model == "resnet20"


def test_the_advice_needs_the_budget_and_the_next_larger_one():
    assert Settings(budget=0.1).needed == (0.1, 0.4) and Settings(budget=0.5).needed == (0.5,)
    assert Settings(budget=0.07).needed == (0.07, 0.1) and 0.07 in Settings(budget=0.07).budgets
    assert len(budget.missing(Settings(), {})) == 2 * 6 * 10


@pytest.mark.parametrize(
    "bad", [{"data": "digit"}, {"model": "resnet"}, {"budget": 0}, {"budget": 1.1}, {"sparsity": 2}, {"seeds": 0}]
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(BadInput):
        Settings(**bad)


# ---- pictures and words ----------------------------------------------------------------------------------------------


def test_a_view_shows_advice_table_and_numbers():
    settings = Settings(sparsity=0.9, budget=0.1, seeds=5)
    shown = budget.view(settings, invented(settings))
    found = advice.advise(budget.table(invented(settings)), 0.9, 0.1)
    assert shown.words == advice.words(found)
    caption, heads, rows = shown.table
    assert caption.startswith("90 % sparsity, budget 10 %, seeds: 5;") and all(len(row) == len(heads) for row in rows)
    assert len(rows) == 6 and rows[0][0] == found.schedule and rows[0][-1] == "recommended" and rows[-1][0] == "FT"
    assert rows[-1][-1] == advice.OUT
    lines = shown.csv.splitlines()
    assert len(lines) == 7 and all(line.count(",") == lines[0].count(",") for line in lines)
    numbers = dict(zip(lines[0].split(","), next(line for line in lines if ",FT," in line).split(",")))
    [ft] = [c for c in found.others if c.schedule == "FT"]
    assert float(numbers["validation_difference"]) == pytest.approx(ft.difference[0], abs=1e-5)
    assert float(numbers["test_high"]) == pytest.approx(ft.test[2], abs=1e-5)
    compile(shown.code, "code", "exec")
    assert "budgets=[0.1, 0.4]" in shown.code and "advise(frame, 0.9, 0.1)" in shown.code


def test_results_of_several_devices_are_said_to_be():
    settings = Settings(sparsity=0.9, budget=0.1, seeds=5)
    results = invented(settings)
    words = budget.view(settings, results).words
    on = {True: {"device": "cuda, A"}, False: {"device": "cpu, 2 cores"}}
    several = {e: replace(r, provenance=on[e.recipe.seed == 0]) for e, r in results.items()}
    told = "Not all runs were computed alike: on cpu, 2 cores and on cuda, A."
    assert budget.view(settings, several).words == f"{words} {told}" and "alike" not in words


def test_the_picture_marks_the_budget_and_leaves_out_what_is_far_below():
    settings = Settings(sparsity=0.9, budget=0.1, seeds=5)
    [spec] = budget.view(settings, invented(settings)).charts
    left, right = spec["panels"]
    assert [m["x"] for m in left["marks"] if m["kind"] == "cut"] == [10]
    assert [label for _, label in left["xticks"]] == ["2.5", "5", "10", "40"] and left["xlog"]
    assert sum(m["kind"] == "line" for m in left["marks"]) == sum(m["kind"] == "errors" for m in left["marks"]) == 6
    assert sum(m["kind"] == "point" for m in right["marks"]) == sum(m["kind"] == "errors" for m in right["marks"]) == 4
    assert right["xticks"][0][1].startswith("FT -") and right["xticks"][0][1].endswith("↓")
    for mark in right["marks"]:
        if mark["kind"] == "errors":
            assert right["y"][0] < mark["low"][0] and mark["high"][0] < right["y"][1]
    assert re.search(r"Left: .*FT 4.*45\.\d % at 10 %.*Right: .*FT -(29|30)\.\d", spec["alt"])


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_too_few_seeds_have_no_intervals_and_the_browser_no_infinity(seeds):
    settings = Settings(sparsity=0.9, budget=0.1, seeds=5)
    some = {e: r for e, r in invented(settings).items() if e.recipe.seed < seeds}
    shown = budget.view(settings, some)
    [spec] = shown.charts
    json.dumps(spec, allow_nan=False)
    assert len(spec["panels"]) == 1 + bool(seeds) and "inf" not in shown.csv and "nan" not in shown.csv
    assert f"{6 * (5 - seeds)} of 30 at a budget of 10 % and {6 * (5 - seeds)} of 30 at a budget of 40 %" in shown.words
    assert ("the data cannot tell" in shown.words) == bool(seeds)
    if seeds:
        assert not [m for m in spec["panels"][1]["marks"] if m["kind"] == "errors"]
        assert shown.words.startswith("From what there is so far.")


def test_a_budget_that_is_not_stored_is_answered_by_the_nearest_or_not_at_all():
    settings = Settings(sparsity=0.9, budget=0.1, seeds=5)
    stored = invented(settings)
    between = budget.view(replace(settings, budget=0.09), stored)
    assert "A budget of 9 % is not stored" in between.words and "30 of 30 at a budget of 9 %" in between.words
    outside = budget.view(replace(settings, budget=0.01), stored)
    assert "outside what is stored" in outside.words and outside.table[2] == [] and outside.csv == ""


def test_the_page_has_a_view_for_every_place_of_its_sliders(tiny, tmp_path):
    for sparsity in TINY.sparsities:
        put(invented(replace(tiny, sparsity=sparsity)), Store(tmp_path))
    page = budget.page(Results.at(tmp_path), tiny)
    assert page.name == "budget" and [c.start for c in page.controls] == [1, 0] and len(page.needs) == 2 * 2 * 3 * 3
    for _, sparsity in page.controls[0].values:
        for _, share in page.controls[1].values:
            shown = page.view(sparsity, share)
            assert "Not measured" not in shown.words and f"At {100 * sparsity:g} % sparsity" in shown.words
            json.dumps(shown.charts, allow_nan=False)


# ---- widgets ---------------------------------------------------------------------------------------------------------


def test_choices_change_what_is_shown(tiny, tmp_path):
    put(invented(tiny), Store(tmp_path))
    explorer = Budget(tiny, Results.at(tmp_path), "cpu")
    assert "At 90 % sparsity and a budget of 25 %" in explorer.screen.note.value and explorer.desk.start.disabled
    before = explorer.screen.charts[0].spec
    explorer.inputs["budget"].value = 0.5
    assert explorer.screen.charts[0].spec != before and "nothing longer is stored" in explorer.screen.note.value
    assert "budgets=[0.5]" in explorer.screen.take.code and ",0.5," in explorer.screen.take.csv
    explorer.inputs["sparsity"].value = 0.5
    assert "9 of 9 at a budget of 50 %" in explorer.screen.note.value and not explorer.desk.start.disabled
    assert explorer.screen.take.csv == "" and len(explorer.screen.charts[0].spec["panels"]) == 1
    explorer.inputs["data"].value = "fashion-mnist"
    assert explorer.settings() == Settings("fashion-mnist", "resnet8", 0.98, 0.1, 5)
    explorer.inputs["data"].value = "digits"
    explorer.inputs["seeds"].slider.value = 2
    explorer.inputs["sparsity"].value, explorer.inputs["budget"].value = 0.9, 0.25
    assert "From 2 seeds the data cannot tell" in explorer.screen.note.value
    explorer.close()


def test_every_control_has_a_label(tiny, tmp_path):
    explorer = Budget(tiny, Results.at(tmp_path), "cpu")
    controls = (
        explorer.inputs["data"],
        explorer.inputs["model"],
        explorer.inputs["sparsity"],
        explorer.inputs["budget"],
        explorer.inputs["seeds"].row.children[0],
    )
    assert all(control.description for control in controls)
    explorer.close()


def test_a_damaged_result_counts_as_missing(tiny, tmp_path):
    put(invented(tiny), Store(tmp_path))
    next((tmp_path / "results").glob("*.json")).write_text("{")
    with pytest.warns(UserWarning, match="Damaged"):
        explorer = Budget(tiny, Results.at(tmp_path), "cpu")
    assert "1 of " in explorer.screen.note.value
    explorer.close()


# ---- measuring -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writable", [True, False])
def test_what_is_missing_is_measured_and_kept(tiny, tmp_path, writable):
    settings = replace(tiny, seeds=2, budget=0.5)
    (tmp_path / "file").touch()
    store = Store(tmp_path if writable else tmp_path / "file")
    explorer = Budget(settings, Results.at(store), "cpu")
    assert "6 of 6 at a budget of 50 %" in explorer.screen.note.value
    explorer.desk.start.click()
    assert explorer.desk.worker.wait()
    assert "Measured: 6 of 6." in explorer.desk.status.value and explorer.desk.start.disabled
    assert (
        "From 2 seeds the data cannot tell" in explorer.screen.note.value
        and "Not measured" not in explorer.screen.note.value
    )
    assert len(explorer.found) == 6 and store.count()["results"] == (6 if writable else 0)
    assert all(abs(r.scalars["sparsity_achieved"] - 0.9) < 1e-3 for r in explorer.found.values())
    explorer.start()
    assert not explorer.desk.worker.busy, "nothing is left to do"
    if writable:
        frame = study.run_study(budget.experiments(settings), store=store, device="cpu")
        assert advice.words(advice.advise(frame, 0.9, 0.5)) in re.sub("<.*?>", "", explorer.screen.note.value)
        again = Budget(settings, Results.at(store), "cpu")
        assert again.screen.note.value == explorer.screen.note.value and again.desk.start.disabled
        again.close()
    explorer.close()


def test_stop_keeps_the_seeds_before(tiny, tmp_path):
    store, told = Store(tmp_path), []
    explorer = Budget(replace(tiny, budget=0.5), Results.at(store), "cpu")
    explorer.desk.tell = lambda share, words="": told.append((share, words))
    lacking = budget.missing(explorer.settings(), {})
    said = explorer._measure(lacking, lambda: bool(explorer.found))
    kept = explorer.found
    assert said.startswith("Stopped; 3 of 9 are measured and kept.")
    assert {e.recipe.seed for e in kept} == {0} and len(kept) == store.count()["results"] == 3
    others = [replace(e, evaluations=e.evaluations + 1) for e in kept]
    assert Results.at(store).work(kept) == 0
    assert Results.at(store).work(others) == pytest.approx(3 * 0.6), "its first training is there now"
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1 / 3)
    assert [words for _, words in told if words] == [
        "Seed 0 (1 of 3): Training the network first (once; it is kept) ...",
        "Seed 0 (1 of 3): Retraining ...",
    ]
    explorer.close()


def test_stopping_at_once_keeps_nothing_unfinished(tiny, tmp_path):
    explorer = Budget(tiny, Results.at(tmp_path), "cpu")
    real = explorer.desk.worker.start
    explorer.desk.worker.start = lambda work, *rest: real(lambda _: work(lambda: True), *rest)
    explorer.desk.start.click()
    assert explorer.desk.worker.wait() and "Stopped; 0 of 18 are measured" in explorer.desk.status.value
    assert Store(tmp_path).count() == {"dense": 0, "pruned": 0, "results": 0} and not explorer.desk.start.disabled
    explorer.close()
