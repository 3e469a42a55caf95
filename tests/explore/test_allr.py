"""The anatomy of ALLR: its fast numbers against what a real pruning measures, and its sliders against the clock."""

import ast
import json
import time
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest
import torch

pytest.importorskip("ipywidgets")

from retrainlab import metrics, study
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Recipe, Retrain
from retrainlab.explore.apps.allr import Allr
from retrainlab.explore.kit import app, live
from retrainlab.explore.kit.anatomy import BINS, NORMS, Anatomy
from retrainlab.explore.views import allr
from retrainlab.explore.views.allr import Settings
from retrainlab.schedules import allr_factor
from retrainlab.study.results import Results
from retrainlab.study.stages import prepare, train_dense
from retrainlab.study.store import Store
from retrainlab.training.masked import zeroed
from retrainlab.training.state import State
from tests.helpers.pruning import prune

TINY = Recipe(width=4, epochs=2)


@pytest.fixture(scope="module")
def dense():
    return train_dense(TINY, "cpu").state, prepare(TINY, torch.device("cpu"))[0].prunable


@pytest.fixture(scope="module")
def network(dense):
    return Anatomy.of(*dense, peak=0.1)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(live, "recipe_of", lambda data, model, seed: replace(TINY, data=data, model=model, seed=seed))


# ---- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sparsity", [0.0, 0.001, 0.3, 0.5, 0.8, 0.9, 0.95, 0.995])
@pytest.mark.parametrize("budget", [0.005, 0.4, 1.0])
def test_the_sums_give_what_a_real_pruning_measures(dense, network, norm, sparsity, budget):
    state, prunable = dense
    masks = prune({name: state.params[name] for name in prunable}, sparsity)
    before = {name: state.params[name] for name in prunable}
    extra = {k: v for k, v in state.params.items() if k not in before} if norm == "all" else None
    kept = sum(int(m.sum()) for m in masks.values())
    size = sum(m.numel() for m in masks.values())
    got = network.factor(sparsity, budget, norm)
    assert network.count(sparsity) == size - kept and got.removed == 1 - kept / size
    drop = metrics.norm_drop(before, zeroed(before, masks), extra)
    assert got.drop == pytest.approx(drop, rel=1e-12)
    assert got.d == pytest.approx(allr_factor(drop, got.removed, budget), rel=1e-12)
    assert got.d1 == pytest.approx(drop / sqrt(got.removed) if kept < size else 0, rel=1e-12)
    assert got.d2 == budget and got.start == 0.1 * got.d
    assert got.decides == ("d1" if got.d1 > budget else "d2")


def test_damage_of_gaussian_and_laplace_weights_is_the_known_one():
    torch.manual_seed(0)
    known = {
        "normal": (0.146, 0.378, 0.662, 0.789, 0.871, 0.962),
        "laplace": (0.089, 0.258, 0.523, 0.671, 0.779, 0.920),
    }
    drawn = {"normal": torch.randn(400_000), "laplace": torch.distributions.Laplace(0.0, 1.0).sample((400_000,))}
    for name, weights in drawn.items():
        state = State({"w": weights, "bias": torch.ones(4)}, {}, {})
        some = Anatomy.of(state, ("w",), 0.1)
        got = [some.factor(s, 0.01, "prunable").d1 for s in (0.2, 0.5, 0.8, 0.9, 0.95, 0.99)]
        assert got == pytest.approx(known[name], abs=0.003)


def test_the_norm_over_all_parameters_lowers_d1(network):
    assert all(a < p for a, p in zip(network.damage["all"][1:], network.damage["prunable"][1:]))


def test_bars_hold_every_weight_and_those_that_go_are_the_smallest(dense, network):
    state, prunable = dense
    weights = torch.cat([state.params[n].flatten() for n in prunable])
    for sparsity in (0.0, 0.25, 0.9, 0.995):
        held, lost = network.bars(sparsity)
        gone = weights[weights.abs() <= (network.threshold(sparsity) or -1)]
        assert sum(held) == len(weights) and sum(lost) == len(gone)
        assert len(gone) == network.count(sparsity)  # no ties in this network
        inner = torch.histc(gone, BINS, network.edges[0].item(), network.edges[-1].item())
        assert sum(abs(a - b) for a, b in zip(inner.tolist(), lost)) <= 2  # an edge may round either way
    assert network.threshold(0.0) is None


def test_weights_that_are_all_zero_break_nothing():
    zeros = Anatomy.of(State({"w": torch.zeros(100), "b": torch.zeros(3)}, {}, {}), ("w",), 0.1)
    for sparsity in (0.0, 0.9):
        settings = Settings(sparsity)
        assert zeros.factor(sparsity, 0.1, "all").d == 0.1
        json.dumps([allr.factors_picture(settings, zeros), allr.weights_picture(settings, zeros)], allow_nan=False)


# ---- what is shown ---------------------------------------------------------------------------------------------------


def test_the_curves_meet_the_point_and_the_cut(network):
    settings = Settings(0.5, 0.3, "all")
    spec = allr.factors_picture(settings, network)
    left, right = spec["panels"]
    f = network.factor(0.5, 0.3, "all")
    bold = left["marks"][0]
    assert bold["x"][50] == 50 and bold["y"][50] == pytest.approx(f.d, rel=1e-4)
    assert [m["x"] for m in left["marks"] if m["kind"] == "cut"] == [50]
    assert next(m for m in left["marks"] if m["kind"] == "point")["y"] == f.d
    budgets, starts = right["marks"][0]["x"], right["marks"][0]["y"]
    for budget in (0.05, 0.2, 0.5, 0.8, 1.0):  # three points draw the whole curve
        want = network.factor(0.5, budget, "all").start
        i = next(i for i in range(2) if budgets[i] <= 100 * budget <= budgets[i + 1])
        share = (100 * budget - budgets[i]) / (budgets[i + 1] - budgets[i])
        assert starts[i] + share * (starts[i + 1] - starts[i]) == pytest.approx(want, rel=1e-3)
    cuts = [m["x"] for m in allr.weights_picture(settings, network)["panels"][0]["marks"] if m["kind"] == "cut"]
    assert cuts == [-network.threshold(0.5), network.threshold(0.5)]


def test_words_and_table_say_which_decides(network):
    text = allr.words(Settings(0.95, 0.05), network)
    assert "so the damage decides" in text and "with all parameters, at" in text
    d1 = network.factor(0.95, 0.05, "prunable").d1
    assert f"d1 = {d1:.3f}" in text and f"starts at {d1:.3f} of the peak 0.1" in text
    text = allr.words(Settings(0.2, 1.0), network)
    assert (
        "so the budget decides" in text and "ALLR starts at 1.000 of the peak 0.1, 0.1; the other norm changes" in text
    )
    assert allr.words(Settings(0.0), network).startswith(
        "Nothing is removed, so d1 = 0, not above the budget's d2 = 0.1"
    )
    rows = allr.table(Settings(0.95, 0.05, "all"), network)
    assert [len(row) for row in rows] == [len(allr.HEADS)] * 2 and rows[1][0] == "all parameters (chosen)"
    assert rows[0][5] == "d1"


def test_csv_has_the_sliders_sparsity_too(network):
    lines = allr.csv(Settings(0.915, 0.1), network).splitlines()
    row = next(line for line in lines if line.startswith("91.5,"))
    numbers = dict(zip(lines[0].split(","), map(float, row.split(","))))
    assert numbers["d_all"] == pytest.approx(network.factor(0.915, 0.1, "all").d, rel=1e-4)
    assert len(lines) == 1 + len(allr.SPARSITIES) + 1


@pytest.mark.parametrize("bad", [{"sparsity": 1.0}, {"budget": 0}, {"norm": "some"}, {"data": "mnist"}, {"seed": -1}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(BadInput):
        Settings(**bad)


# ---- the widgets -----------------------------------------------------------------------------------------------------


def test_sliders_follow_at_once_and_the_code_gives_the_same_numbers(tmp_path, tiny, monkeypatch, capsys):
    explorer = Allr(Settings(), Results.at(tmp_path), "cpu")
    assert explorer.desk.worker.wait() and "Move the sliders" in explorer.desk.status.value
    seen = set()
    times = []
    for value in (10.0, 50.0, 80.5, 99.5, 0.0, 95.0):
        start = time.perf_counter()
        explorer.inputs["sparsity"].slider.value = value
        times.append(time.perf_counter() - start)
        seen.add(
            (explorer.screen.charts[0].spec["alt"], explorer.screen.charts[1].spec["alt"], explorer.screen.note.value)
        )
    assert len(seen) == 6 and sorted(times)[3] < 0.03, times
    for value in (0.5, 100.0, 5.0):
        explorer.inputs["budget"].slider.value = value
    explorer.inputs["norm"].value = "all"
    now = explorer.settings()
    assert now == Settings(0.95, 0.05, "all") and "all parameters" in explorer.screen.note.value

    # the experiment that the button hands out measures what is on screen
    monkeypatch.setenv("RETRAINLAB_STORE", str(tmp_path))
    made = {}
    exec(explorer.screen.take.code, made)
    for norm, row in zip(NORMS, made["frame"].itertuples()):
        f = explorer.anatomy.factor(0.95, 0.05, norm)
        assert (row.norm_drop, row.removed) == (pytest.approx(f.drop, rel=1e-9), f.removed)
        assert row.allr_factor == pytest.approx(f.d, rel=1e-9) and row.allr_norm == norm
    assert "allr_factor" in capsys.readouterr().out

    # another network takes the place of the first; the one that is there is not trained again
    before = explorer.anatomy
    explorer.inputs["seed"].slider.value = 1
    assert explorer.desk.worker.wait() and explorer.anatomy is not before and explorer.network.recipe.seed == 1
    explorer.desk.start.click()
    assert not explorer.desk.worker.busy
    explorer.close()


def test_a_change_while_a_network_is_trained_ends_it_and_trains_the_next(tmp_path, tiny):
    explorer = Allr(Settings(), Results.at(tmp_path), "cpu")
    explorer.inputs["seed"].slider.value = 2
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (explorer.network is None or explorer.network.recipe.seed != 2):
        time.sleep(0.02)
    assert explorer.network.recipe.seed == 2
    explorer.close()


def test_stop_ends_the_training_and_stores_nothing(tmp_path, tiny):
    explorer = Allr(Settings(), Results.at(tmp_path), "cpu")
    explorer.desk.worker.stop()
    assert explorer.desk.worker.wait(5) and "Stopped." in explorer.desk.status.value
    assert explorer.anatomy is None and Store(tmp_path).count()["dense"] == 0
    explorer.inputs["budget"].slider.value = 50.0  # nothing to draw: nothing happens
    explorer.close()


def test_a_device_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(BadInput, match="There is no device"):
        Allr(Settings(), Results.at(tmp_path), "tpu")


# ---- the page and the notebook ---------------------------------------------------------------------------------------


def test_every_view_of_the_page_is_made_from_the_store(tmp_path, tiny):
    store = Store(tmp_path)
    page = allr.page(Results.at(store))
    first = [control.values[control.start][1] for control in page.controls]
    with pytest.raises(BadInput, match="not in the store"):
        page.view(*first)
    (need,) = page.needs
    assert isinstance(need, Experiment) and need.recipe == Settings().recipe
    short = replace(need, retrain=Retrain(budget=0.0))
    study.run_study([short], store=store, jobs=1, device="cpu", engine="loop", progress=lambda *_: None)
    page = allr.page(Results.at(store))
    for control in page.controls:
        for _, value in control.values:
            chosen = [value if c is control else c.values[c.start][1] for c in page.controls]
            view = page.view(*chosen)
            json.dumps(view.charts, allow_nan=False)
            assert len(view.charts) == 2 and view.words.endswith(".") and len(view.table[2]) == 2
            ast.parse(view.code)
    assert len(json.dumps(view.charts)) + len(view.csv) < 25_000  # a page holds 156 of them


def test_the_notebook_shows_the_explorer(tmp_path, tiny):
    path = Path(__file__).parents[2] / "notebooks" / "explore_allr.ipynb"
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells)
    assert cells[0]["metadata"]["tags"] == ["parameters"] and len(cells[1]["source"]) <= 6
    names = {"__name__": "notebook"}
    exec("".join(cells[0]["source"]), names)
    names["store"] = str(tmp_path)
    names["device"] = "cpu"
    exec("".join(cells[1]["source"]), names)
    assert names["settings"] == Settings()
    explorer = app._shown.pop("allr")[1]
    explorer.close()
    assert explorer.desk.worker.wait()
