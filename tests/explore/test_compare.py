"""Methods side by side: what is shown against the results that are stored, the search, and the widgets."""

import ast
import json
import threading
import time
from dataclasses import replace
from math import exp
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("ipywidgets")

from retrainlab import contest, study
from retrainlab.checks import BadInput
from retrainlab.config import Recipe
from retrainlab.contest.search import reach
from retrainlab.explore.apps.compare import Compare
from retrainlab.explore.kit.app import _shown
from retrainlab.explore.kit.live import Curve, Live
from retrainlab.explore.kit.searching import Unfinished
from retrainlab.explore.views import compare
from retrainlab.explore.views.compare import Pair, Settings
from retrainlab.figures.presets import PRESETS
from retrainlab.phrases import percent
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.store import Store

TINY = Recipe(width=4, epochs=4)
PER_EPOCH = 31


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(PRESETS, "digits", replace(PRESETS["digits"], contest=TINY, tolerance=0.01))


def quiet(experiments, store):
    return study.run_study(experiments, store=store, jobs=1, device="cpu", engine="batched", progress=lambda *_: None)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store with BIMP, GMP and Dense, each with its middle setting."""
    store = Store(tmp_path_factory.mktemp("store"))
    plans = [contest.candidates(name, TINY, 0.9)[1].experiment for name in ("BIMP", "GMP", "Dense")]
    return store, quiet(plans, store)


# ---- what is compared ------------------------------------------------------------------------------------------------


def test_the_experiments_are_the_contests():
    settings = Settings("BIMP", "RigL", 0.8, seed=3, pick=(2, 0))
    recipe = replace(TINY, seed=3)
    want = [
        contest.candidates("BIMP", recipe, 0.8)[2].experiment,
        contest.candidates("RigL", recipe, 0.8)[0].experiment,
    ]
    assert compare.experiments(settings) == want
    assert all(e.recipe.epochs * (1 + e.retrain.budget) == 4 for e in want)


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"second": "BIMP"}, "Both methods are BIMP: choose two that differ."),
        ({"first": "GPM"}, "GMP"),
        ({"sparsity": 1.0}, "sparsity"),
        ({"data": "cifar100"}, "data set with a contest"),
        ({"pick": (3, 0)}, "setting"),
    ],
)
def test_settings_that_make_no_sense_are_refused(bad, words):
    with pytest.raises(BadInput, match=words):
        Settings(**bad)


# ---- what is shown ---------------------------------------------------------------------------------------------------


def test_curves_are_those_stored_one_behind_the_other(filled):
    store, frame = filled
    both = compare.known(Settings(), Results.at(store))
    assert both.live.whole and both.runs == [0, 0]
    bimp, gmp = (list(map(list, zip(*compare.points(both.live, i)))) for i in (0, 1))
    assert bimp[0] == sorted(bimp[0]) and bimp[0][0] == 0 and bimp[0][-1] == gmp[0][-1] == 4 * PER_EPOCH
    phase = both.live.experiments[0].recipe.epochs * PER_EPOCH
    place = bimp[0].index(phase)
    assert bimp[0][place : place + 2] == [phase, phase]  # before and after the prune
    assert bimp[2][place] == 0 and bimp[2][place + 1] == pytest.approx(0.9, abs=1e-3)
    assert bimp[1][place] == frame["dense_validation_accuracy"][0]
    assert bimp[1][place + 1] == frame["pruned_validation_accuracy"][0]
    assert bimp[1][-1] == frame["validation_accuracy"][0] and gmp[1][-1] == frame["validation_accuracy"][1]
    assert gmp[2] == sorted(gmp[2]) and gmp[2][0] == 0 and gmp[2][-1] == pytest.approx(0.9, abs=1e-3)

    left, right = compare.picture(both)["panels"]
    assert [m["x"] for m in left["marks"] if m["kind"] == "cut"] == [phase]
    assert left["marks"][0]["y"][-1] == pytest.approx(100 * bimp[1][-1], rel=1e-4)
    assert right["marks"][1]["y"][-1] == pytest.approx(90, abs=0.1)
    rows = compare.table(both)
    assert [row[0] for row in rows] == ["BIMP", "GMP"] and [row[1] for row in rows][1] == "end 0.75"
    assert rows[0][3] == percent(frame["test_accuracy"][0]) and rows[0][4:] == ("90.0 %", "4", "none")
    assert len(compare.csv(both).splitlines()) == 1 + len(bimp[0]) + len(gmp[0])


def result(validation: float, **more) -> Result:
    scalars = {
        "validation_accuracy": validation,
        "test_accuracy": 0.5,
        "sparsity_achieved": 0.9,
        "trained_sparsity": 0.9,
        "total_steps": 4 * PER_EPOCH,
        "stopped": False,
    }
    curves = {"step": [0], "validation_accuracy": [validation], "weight_sparsity": [0.9]}
    return Result({}, scalars | more, curves, {})


def pair_of(settings: Settings, *results: Result, runs=(0, 0)) -> Pair:
    running = Live(compare.experiments(settings), results=dict(enumerate(results)))
    return Pair(settings, running, list(runs))


def test_words_say_who_is_ahead_and_by_how_much():
    text = compare.words(pair_of(Settings(), result(0.9), result(0.915)))
    assert text == (
        "GMP ends at 91.5 %, 1.5 points ahead of BIMP with 90.0 %, after 4 epochs each. Exactly 0 are 90.0 % of BIMP's "
        "weights and 90.0 % of GMP's weights. One seed only: differences of a point or two may be luck."
    )
    assert "BIMP and GMP both end at 90.0 %" in compare.words(pair_of(Settings(), result(0.9), result(0.9)))
    assert compare.words(pair_of(Settings(), result(0.9))).startswith("Stopped")
    assert compare.words(pair_of(Settings(), result(0.9), result(0.9, stopped=True))).startswith("Stopped")


def test_methods_that_were_computed_on_two_devices_are_said_to_be():
    pair = [
        replace(result(a), provenance={"device": device}) for a, device in ((0.9, "cpu, 2 cores"), (0.8, "cuda, A"))
    ]
    told = " Not all runs were computed alike: on cpu, 2 cores and on cuda, A."
    assert compare.words(pair_of(Settings(), *pair)).endswith(f"may be luck.{told}")
    assert compare.words(pair_of(Settings(), pair[0], pair[0])).endswith("may be luck.")


def test_a_method_that_diverged_has_no_accuracy_beside_the_other():
    lost = {"validation_accuracy": None, "test_accuracy": None, "sparsity_achieved": None, "trained_sparsity": None}
    wild = replace(result(0.1, **lost), outcome="diverged: the first training, within 9 steps")
    both = pair_of(Settings(), result(0.9), wild)
    text = compare.words(both)
    assert "GMP diverged: the first training, within 9 steps; BIMP ends at 90.0 %" in text
    assert [row[2:6] for row in compare.table(both)] == [("90.0 %", "50.0 %", "90.0 %", "4"), ("diverged", "", "", "4")]
    both.live.first[1] = Curve([0, 9], [0.1, float("nan")], [0.0] * 2, [0.1] * 2)
    spec = compare.picture(both)
    json.dumps(spec, allow_nan=False)
    assert "GMP diverged" in spec["alt"] and "nan" not in spec["alt"] + compare.csv(both)


def test_words_and_table_tell_what_a_search_cost_and_missed():
    settings = Settings("BIMP", "CS")
    both = pair_of(settings, result(0.9), result(0.8, trained_sparsity=0.7), runs=(0, 6))
    assert (
        "The search for CS's sparsity took 6 runs, and came no nearer than 70.0 % before the hard prune."
        in compare.words(both)
    )
    row = compare.table(both)[1]
    assert row[1] == "learning rate 0.1, s0 -0.05" and row[-1] == "6"
    assert compare.table(pair_of(settings, result(0.9)))[1][2:] == ("...",) * 5


def test_pictures_of_nothing_and_of_one_cut_for_both():
    spec = compare.picture(Pair(Settings("BIMP", "Random"), Live(compare.experiments(Settings("BIMP", "Random")))))
    assert "nothing has been trained yet" in spec["alt"]
    (cut,) = [m for m in spec["panels"][0]["marks"] if m["kind"] == "cut"]
    assert cut["label"].startswith("BIMP and Random")


# ---- the search ------------------------------------------------------------------------------------------------------


def pretend(experiments, _round) -> Live:
    """Runs whose sparsity is known: it rises with the knob as the logistic function of 20 * (-0.05 - s0) does."""
    done = Live(list(experiments))
    for i, e in enumerate(experiments):
        zeros = 1 / (1 + exp(-20 * (-0.05 - e.recipe.method.s0)))
        done.results[i] = result(0.9, trained_sparsity=zeros)
        done.first[i] = Curve([0, 124], [0.1, 0.9], [0, zeros], [0.1, 0])
    return done


def test_the_search_ends_where_the_packages_own_does():
    settings, rounds = Settings("CS", "GMP", 0.9), []

    def run(experiments, number):
        rounds.append((number, len(experiments)))
        return pretend(experiments, number)

    got = compare.sought(settings, run)
    start = compare.experiments(settings)

    def oracle(tried):
        done = pretend(tried, 0)
        return pd.DataFrame(
            {"trained_sparsity": [done.results[i].scalars["trained_sparsity"] for i in range(len(tried))]}
        )

    found, rows = reach(start[:1], oracle, tolerance=0.02, most=4)
    assert got.live.experiments == [found[0], start[1]] and got.runs == [rows["runs"][0], 0]
    assert rounds[0] == (1, 3) and len(rounds) <= 4 and sum(n for _, n in rounds) == got.runs[0]
    assert set(got.live.results) == set(got.live.first) == {0}
    assert abs(got.live.results[0].scalars["trained_sparsity"] - 0.9) <= 0.02


def test_a_search_that_is_stopped_is_unfinished():
    with pytest.raises(Unfinished):
        compare.sought(Settings("CS", "GMP"), lambda experiments, _: Live(list(experiments)))


@pytest.mark.parametrize("names", [("STR", "GMP"), ("BIMP", "CS"), ("CS", "DST"), ("GSM", "LC")])
def test_the_code_is_python_that_names_what_it_uses(names):
    text = compare.code(Settings(*names))
    ast.parse(text)
    assert (
        ("reach(" in text)
        == ("from retrainlab.contest.search import reach" in text)
        == any(n in text for n in ("CS", "STR"))
    )


# ---- the widgets -----------------------------------------------------------------------------------------------------


def test_what_is_stored_shows_at_once_and_other_settings_do_not(filled):
    store, frame = filled
    app = Compare(Settings(), Results.at(store), "cpu")
    assert app.desk.status.value.count("From the store.") == 1 and not app.desk.worker.busy
    assert (
        percent(frame["test_accuracy"][1]) in app.screen.table.value
        and app.screen.take.csv
        and "candidates" in app.screen.take.code
    )
    app.desk.start.click()
    assert not app.desk.worker.busy
    app.picks[1].value = 2
    assert "Not trained yet: GMP. Press Run." in app.desk.status.value and "end 0.9" in app.screen.table.value
    app.names[0].value = "GMP"
    assert "Both methods are GMP: choose two that differ." in app.desk.status.value
    app.desk.start.click()
    assert not app.desk.worker.busy and "Both methods are GMP" in app.desk.status.value
    app.names[0].value = "Dense"
    assert [words for words, _ in app.picks[0].options] == [f"learning rate {lr}" for lr in ("0.05", "0.1", "0.2")]
    assert app.settings() == Settings("Dense", "GMP", pick=(1, 2))
    app.picks[1].value = 1
    assert "From the store." in app.desk.status.value and "0.0 % of Dense&#x27;s weights" in app.desk.status.value
    app.inputs["data"].value = "cifar10"
    assert "cifar" in app.desk.status.value.lower()
    app.close()


def test_a_run_gives_the_results_of_a_study_and_is_kept(tmp_path, filled):
    _, frame = filled
    store = Store(tmp_path)
    app = Compare(Settings(), Results.at(store), "cpu")
    assert "Not trained yet: BIMP and GMP." in app.desk.status.value
    shares, tell = [], app.desk.tell
    app.desk.tell = lambda share, words="": shares.append(share) or tell(share, words)
    app.desk.start.click()
    assert app.desk.worker.wait() and "points ahead" in app.desk.status.value or "both end" in app.desk.status.value
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == pytest.approx(1)
    got = [app.pair.live.results[i].scalars["test_accuracy"] for i in (0, 1)]
    assert got == pytest.approx(list(frame["test_accuracy"][:2]), abs=0.02)
    seen = app.screen.charts[0].spec
    again = Compare(Settings(), Results.at(store), "cpu")
    assert "From the store." in again.desk.status.value and again.screen.charts[0].spec == seen
    again.close()
    app.close()


def test_a_search_runs_before_its_method_and_goes_on_from_the_store(tmp_path):
    store, settings = Store(tmp_path), Settings("STR", "Dense", 0.5)
    app = Compare(settings, Results.at(store), "cpu")
    assert "Not trained yet: STR and Dense" in app.desk.status.value
    said = []
    app.desk.status.observe(lambda change: said.append(change["new"]), names="value")
    app.desk.start.click()
    assert app.desk.worker.wait()
    assert any("Searching for the sparsity: round 1 of at most 4, 3 more runs." in text for text in said)
    runs = app.pair.runs
    assert 3 <= runs[0] <= 6 and runs[1] == 0 and f"took {runs[0]} runs" in app.desk.status.value
    assert store.count()["results"] == runs[0] + 1
    assert f", decay {app.pair.live.experiments[0].recipe.method.decay:g}" in app.screen.table.value
    again = Compare(settings, Results.at(store), "cpu")
    assert "From the store." in again.desk.status.value and again.pair.runs == runs
    again.close()
    app.close()


@pytest.mark.parametrize("first", ["BIMP", "CS"])
def test_stop_ends_all_within_a_second_and_stores_nothing_unfinished(tmp_path, monkeypatch, first):
    monkeypatch.setitem(PRESETS, "digits", replace(PRESETS["digits"], contest=replace(TINY, epochs=400)))
    store = Store(tmp_path)
    app, begun = Compare(Settings(first, "GMP"), Results.at(store), "cpu"), threading.Event()
    real = Curve.add

    def add(curve, *point):
        real(curve, *point)
        begun.set()

    monkeypatch.setattr(Curve, "add", add)
    app.desk.start.click()
    assert begun.wait(20)
    start = time.monotonic()
    app.desk.stop.click()
    assert app.desk.worker.wait(10) and time.monotonic() - start < 1
    assert "Stopped" in app.desk.status.value and store.count()["results"] == 0
    assert app.pair.live.first[0].steps
    app.close()


# ---- the page and the notebook ---------------------------------------------------------------------------------------


def test_the_page_shows_what_is_stored(filled):
    store, _ = filled
    page = compare.page(Results.at(store))
    assert len(page.needs) == len(set(page.needs)) == 5 * 3 + 1
    view = page.view("BIMP", "GMP", 0.9)
    both = compare.known(Settings(), Results.at(store))
    assert view.words == compare.words(both) and view.charts == [compare.picture(both)] and len(view.table[2]) == 2
    json.dumps(view.charts, allow_nan=False)
    assert page.view("Dense", "Dense", 0.9).words == "Both methods are Dense: choose two that differ."
    with pytest.raises(BadInput, match="not in the store"):
        page.view("BIMP", "RigL", 0.9)
    first, second, sparsity = ([value for _, value in control.values] for control in page.controls)
    for a in first:
        for b in second:
            for s in sparsity:
                assert a == b or all(e in page.needs for e in compare.experiments(Settings(a, b, s)))


def test_the_notebook_shows_the_explorer(filled):
    path = Path(__file__).parents[2] / "notebooks" / "explore_compare.ipynb"
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells)
    assert cells[0]["metadata"]["tags"] == ["parameters"] and len(cells[1]["source"]) <= 6
    names = {"__name__": "notebook"}
    exec("".join(cells[0]["source"]), names)
    names["store"] = str(filled[0].root)
    names["device"] = "cpu"
    exec("".join(cells[1]["source"]), names)
    assert names["settings"] == Settings()
    app = _shown.pop("compare")[1]
    assert "From the store." in app.desk.status.value
    app.close()
