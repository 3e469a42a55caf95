"""A study: rows as asked for, nothing made twice, and nothing lost when it is stopped or killed."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import fields, replace
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from retrainlab.checks import BadInput, Stopped, WorkerDied
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.device import describe
from retrainlab.progress import Progress
from retrainlab.study import making, measured, reading, run, speed, stages
from retrainlab.study import results as results_module
from retrainlab.study.grids import grid
from retrainlab.study.reading import curves, layers, not_pruned, rows, sizes
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.store import Store
from retrainlab.training.engine import Engine
from tests.helpers import other_values
from tests.helpers.works import workers_of

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(width=4, epochs=1)
SCHEDULES = ("FT", "LRW", "SLR", "CLR", "LLR")
# one dense network, two masks, ten results
GRID = grid(RECIPE, sparsities=(0.5, 0.9), budgets=(1.0,), schedules=SCHEDULES, seeds=1, evaluations=2)
FEW = GRID[:2]


def quiet(share, word):
    pass


def go(experiments, store, **more):
    return run_study(experiments, **dict(store=store, jobs=1, device="cpu", engine="loop", progress=quiet) | more)


def facts(table: pd.DataFrame) -> pd.DataFrame:
    """All but how fast it was."""
    return table.drop(columns="images_per_second")


def files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.is_file()) if root.exists() else []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The store of the undisturbed study, and its table."""
    root = tmp_path_factory.mktemp("whole")
    return root, go(GRID, root)


@pytest.fixture
def made(monkeypatch):
    """What is computed in this process: (stage, first argument), in order."""
    calls = []

    def spy(module, name, short, nouns):
        real = getattr(module, name)

        def call(*args, **more):
            calls.extend((short, noun) for noun in nouns(args))
            return real(*args, **more)

        monkeypatch.setattr(module, name, call)

    spy(making, "train_dense_together", "train_dense", lambda args: args[0])
    spy(making, "run_together", "run", lambda args: args[0])
    for module in (making, results_module):
        spy(module, "prune_dense", "prune_dense", lambda args: args[:1])
    for name in ("train_dense", "prune_dense"):  # what `run` would make where it is not given
        monkeypatch.setattr(stages, name, lambda *args, **more: pytest.fail("made twice"))
    return calls


# ---- the grid --------------------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_once():
    made = grid(RECIPE, sparsities=(0.5, 0.9), budgets=(0.1, 1.0), schedules=("FT", "LLR"), seeds=3)
    wanted = {(seed, s, b, n) for seed in range(3) for s in (0.5, 0.9) for b in (0.1, 1.0) for n in ("FT", "LLR")}
    asked = [(e.recipe.seed, e.prune.sparsity, e.retrain.budget, e.retrain.schedule) for e in made]
    assert len(asked) == len(wanted) and set(asked) == wanted
    assert all(replace(e.recipe, seed=RECIPE.seed) == RECIPE for e in made)


def test_a_grid_takes_iterators_and_chosen_seeds():
    """Pitfall: iterators consumed twice leave nothing behind."""
    made = grid(
        RECIPE, sparsities=iter([0.5, 0.9]), budgets=iter([0.1, 1.0]), schedules=iter(["FT", "LLR"]), seeds=iter([4, 7])
    )
    assert len(made) == 16 and {e.recipe.seed for e in made} == {4, 7}


def test_sparsities_that_no_table_can_tell_apart_are_refused():
    with pytest.raises(BadInput, match="Two of the sparsities differ by less than a millionth"):
        grid(RECIPE, sparsities=[0.5, 0.5 + 1e-10], budgets=[1.0], schedules=["FT"])


def test_a_grid_keeps_a_plans_other_fields_and_the_pruning():
    plan = Retrain("linear", lr=0.3, budget=0.7, ramp="cosine")
    axes = dict(sparsities=[0.8], budgets=[0.2], schedules=[plan], seeds=1)
    (e,) = grid(RECIPE, prune=Prune(cycles=3), evaluations=9, **axes)
    assert e == Experiment(RECIPE, Prune(0.8, cycles=3), replace(plan, budget=0.2), 9)


# ---- the table -------------------------------------------------------------------------------------------------------


def test_rows_come_in_the_order_given_with_their_configuration(whole, made):
    root, table = whole
    order = [7, 0, 3, 3, 9]
    again = go([GRID[i] for i in order], root)
    assert not made
    pd.testing.assert_frame_equal(again, table.loc[order].reset_index(drop=True))
    for e, (_, r) in zip(GRID, table.iterrows(), strict=True):
        asked = (e.recipe.data, e.recipe.model, e.recipe.width, e.recipe.epochs, e.recipe.seed, e.prune.sparsity)
        assert asked == (r["data"], r["model"], r["width"], r["epochs"], r["seed"], r["sparsity"])
        assert (e.retrain.schedule, e.retrain.budget, e.prune.cycles) == (r["schedule"], r["budget"], r["cycles"])
    assert table["key"].nunique() == len(GRID)


def test_a_row_holds_every_scalar_of_its_stored_result(whole):
    root, table = whole
    for _, r in table.iterrows():
        for name, value in Store(root).get("results", r["key"]).result.scalars.items():
            assert r[name] == value
    assert (table["sparsity_achieved"] - table["sparsity"]).abs().max() < 1e-3


# ---- what has diverged ------------------------------------------------------------------------------------------------


def old(root: Path, kind: str, change) -> None:
    """Make every stored file of that kind what it was before outcomes and checksums were kept."""
    for path in (root / kind).glob("*.json"):
        stored = json.loads(path.read_text())
        for name in ("outcome", "sha256", "tensors"):
            stored.pop(name, None)
        change(stored["scalars"], stored["curves"])
        path.write_text(json.dumps(stored))


def test_an_old_result_of_a_run_that_diverged_is_no_accuracy_of_10_percent(tmp_path):
    """They are known by the losses that are missing: JSON has no NaN."""
    lost = ["test_accuracy", "validation_accuracy", "recovery"]
    [wild] = grid(RECIPE, sparsities=[0.5], budgets=[1.0], schedules=[Retrain("constant", lr=1e6)], seeds=1)
    fresh = go([FEW[0], wild], tmp_path)
    assert fresh["outcome"].tolist() == ["", "diverged: retraining, cycle 1, within 6 steps"]

    def guess(scalars, curves):
        if scalars["test_loss"] is None:
            scalars |= {"test_accuracy": 0.0988, "validation_accuracy": 0.1012, "recovery": 0.0}
        pairs = zip(curves["validation_accuracy"], curves["validation_loss"])
        curves["validation_accuracy"] = [0.1012 if loss is None else x for x, loss in pairs]

    old(tmp_path, "results", guess)
    again = go([FEW[0], wild], tmp_path)
    pd.testing.assert_frame_equal(again, fresh)
    assert again.loc[1, lost].isna().all() and again.loc[0, lost].notna().all()
    assert curves([wild], tmp_path)["validation_accuracy"].isna().tolist() == [False, True]


def test_an_old_result_that_starts_from_a_dense_run_that_diverged_has_no_number(tmp_path):
    """Its mask was lost, too: a rate of NaN times 0 is not 0."""
    [wild] = grid(replace(RECIPE, lr=1e6), sparsities=[0.5], budgets=[1.0], schedules=["ALLR"], seeds=1)
    table = go([wild], tmp_path)
    numbers = {"test_accuracy": 0.1, "dense_test_accuracy": 0.1, "validation_accuracy": 0.1, "sparsity_achieved": 0.0}
    points = {name: [None] * 3 for name in ("validation_loss", "train_loss", "lr")}
    points |= {
        "step": [0, 6, 12],
        "validation_accuracy": [0.1] * 3,
        "weight_sparsity": [0.5, 0.0, 0.0],
        "cycle": [0] * 3,
    }
    old(tmp_path, "results", lambda s, c: (s.update(numbers), c.update(points | {"layer_sparsity": {"w": 0.0}})))
    old(tmp_path, "dense", lambda s, c: s.update({"test_accuracy": 0.1, "validation_accuracy": 0.1, "sparsity": 0.0}))
    again = go([wild], tmp_path)
    assert again["outcome"].tolist() == ["diverged: the first training"]
    assert again[[*numbers]].isna().all(axis=None) and layers([wild], tmp_path).empty
    [path] = (tmp_path / "dense").glob("*.json")
    dense = Store(tmp_path).get("dense", path.stem).dense()
    assert dense.result.outcome == table["outcome"].item() and dense.result.scalars["test_accuracy"] is None


def test_experiments_that_differ_in_a_field_differ_in_a_column():
    """Otherwise a study of that switch is a table of rows that look the same."""
    changes = {"recipe": other_values.RECIPE, "prune": other_values.PRUNE, "retrain": other_values.RETRAIN}
    base = Experiment(Recipe(data="./images"), Prune(0.5), Retrain("linear", lr=0.1))
    assert {f.name for f in fields(Recipe)} == set(changes["recipe"])

    def asked(e):
        return rows([e], ["key"], [Result({}, {}, {}, {"device": "cpu"})]).iloc[0].to_dict()

    alike = [
        f"{noun}.{name}"
        for noun, values in changes.items()
        for name, value in values.items()
        if asked(replace(base, **{noun: replace(getattr(base, noun), **{name: value})})) == asked(base)
    ]
    assert alike == []


def test_no_experiments_are_an_empty_table(tmp_path):
    assert len(go([], tmp_path / "store")) == 0 and not files(tmp_path)


def test_experiments_may_come_from_an_iterator(whole):
    """Pitfall: iterators consumed twice leave nothing behind."""
    root, table = whole
    pd.testing.assert_frame_equal(go(iter(GRID), root), table)


def test_curves_are_those_stored_one_row_a_point(whole):
    root, table = whole
    points = curves(GRID, root)
    assert len(points) == 3 * len(GRID)
    first = points[(points["schedule"] == "LLR") & (points["sparsity"] == 0.9)]
    stored = Store(root).get("results", table.loc[9, "key"]).result.curves
    assert first["step"].tolist() == stored["step"]
    assert first["validation_accuracy"].tolist() == stored["validation_accuracy"]
    with pytest.raises(BadInput, match="run the study first"):
        curves([replace(GRID[0], evaluations=1)], root)


def test_sizes_are_those_stored_one_row_a_file(whole):
    root, table = whole
    found = sizes(GRID, root)
    assert list(found) == ["place", "precision", "encoding", "gzipped", "bytes"] and len(found) == 12 * len(GRID)
    for place, own in found.groupby("place"):
        exact = own[own["precision"] == "float32"]
        assert exact["bytes"].min() == table.loc[place, "packed_bytes"]
        original = exact[(exact["encoding"] == "dense") & ~exact["gzipped"]]
        assert original["bytes"].item() == table.loc[place, "unpacked_bytes"]
        half = own[own["precision"] == "bfloat16"]["bytes"].min()
        assert original["bytes"].item() / half == table.loc[place, "compression_ratio_bfloat16"]


# ---- nothing is made twice -------------------------------------------------------------------------------------------


def test_dense_networks_and_masks_are_made_once_and_shared(tmp_path, made):
    more = [*FEW, replace(FEW[0], prune=Prune(0.7)), replace(FEW[0], recipe=replace(RECIPE, seed=1)), FEW[0]]
    go(more, tmp_path)
    stages = [name for name, _ in made]
    assert [stages.count(name) for name in ("train_dense", "prune_dense", "run")] == [2, 3, 4]
    assert Store(tmp_path).count() == {"dense": 2, "pruned": 3, "results": 4}


def test_what_is_stored_is_not_computed_again(tmp_path, made):
    first = go(FEW, tmp_path)
    made.clear()
    calls = []
    again = go(FEW, tmp_path, progress=lambda *a: calls.append(a))
    assert not made and not calls
    pd.testing.assert_frame_equal(again, first)
    go([*FEW, GRID[2]], tmp_path)
    assert made == [("run", GRID[2])]


def test_a_missing_dense_network_is_made_again_for_new_experiments_only(tmp_path, made):
    go(FEW, tmp_path)
    for path in (tmp_path / "dense").iterdir():
        path.unlink()
    made.clear()
    go(FEW, tmp_path)
    assert not made
    go([GRID[2]], tmp_path)
    assert [name for name, _ in made] == ["train_dense", "prune_dense", "run"], "masks go with their network"


def test_fresh_makes_everything_anew_with_the_same_bits(tmp_path, made):
    first = go(FEW, tmp_path)
    made.clear()
    again = go(FEW, tmp_path, fresh=True)
    assert [name for name, _ in made] == ["train_dense", "prune_dense", "run", "run"]
    pd.testing.assert_frame_equal(facts(again), facts(first), check_exact=True)
    assert Store(tmp_path).count() == {"dense": 1, "pruned": 1, "results": 2}


def test_what_one_precision_made_is_never_served_as_the_others(tmp_path, made):
    """Dense network, masks and results of each are its own, whichever came first; and a row says which it is."""
    half = [replace(e, recipe=replace(e.recipe, precision="bfloat16")) for e in FEW[:1]]
    first = go(half, tmp_path)
    both = go([*FEW[:1], *half], tmp_path)
    assert [stage for stage, _ in made] == ["train_dense", "prune_dense", "run"] * 2
    pd.testing.assert_frame_equal(first, both[1:].reset_index(drop=True))
    assert list(both["precision"]) == ["float32", "bfloat16"]
    assert both["test_loss"].nunique() == 2 and Store(tmp_path).count() == {"dense": 2, "pruned": 2, "results": 2}


# ---- what a study says of how it computes ----------------------------------------------------------------------------


@pytest.fixture
def said(capsys):
    """What studies have said since the last call, without their progress; what is said once counts from here."""
    run._say.cache_clear()
    yield lambda: [line for line in capsys.readouterr().err.splitlines() if "%" not in line]
    run._say.cache_clear()


@pytest.fixture
def saving(monkeypatch):
    """A machine on which bfloat16 is known to take that share of float32's time; which networks it was asked for."""
    record, asked = {"bfloat16": 0.42}, []
    monkeypatch.setattr(
        speed, "fastest", lambda setup, start, recipe, told, steps: (told and told("trying"), Engine())[1]
    )
    monkeypatch.setattr(speed, "record_of", lambda setup, recipe: (asked.append(recipe), record)[1])
    monkeypatch.setattr(speed, "WORTH_A_PROBE", 1)
    return record, asked


SAVES = (
    "study: resnet8: bfloat16 would take about 0.42 of the time "
    "(--precision bfloat16; other results, with keys of their own)"
)


def test_a_study_says_once_and_on_a_line_of_its_own_what_bfloat16_would_save(tmp_path, said, saving):
    go(FEW[:1], tmp_path, engine="auto", progress=Progress("study"))
    assert said() == [SAVES]
    go(FEW, tmp_path, engine="auto", progress=Progress("study"))
    assert said() == [] and len(saving[1]) == 2, "a search is many studies"


@pytest.mark.parametrize("known", [{}, {"bfloat16": 0.8}, {"bfloat16": 5.4}], ids=str)
def test_a_study_says_nothing_of_bfloat16_where_it_would_save_little(tmp_path, said, saving, known):
    saving[0].clear()
    saving[0].update(known)
    go(FEW[:1], tmp_path, engine="auto")
    assert said() == [] and saving[1]


def test_a_study_says_nothing_of_bfloat16_where_there_is_little_work_or_an_engine_is_asked_for(
    tmp_path, said, saving, monkeypatch
):
    go(FEW[:1], tmp_path, engine="loop")
    monkeypatch.setattr(speed, "WORTH_A_PROBE", 10**6)
    go(FEW[1:], tmp_path, engine="auto")
    assert said() == [] and not saving[1]


def test_rows_that_were_not_computed_alike_are_told_in_one_sentence(tmp_path, said):
    half = [replace(e, recipe=replace(e.recipe, precision="bfloat16")) for e in FEW]
    go(half, tmp_path)
    go(FEW, tmp_path)
    assert said() == []
    go([*FEW, *half], tmp_path)
    assert said() == ["study: Not all runs were computed alike: in bfloat16 and in float32."]
    store = Store(tmp_path)
    name = Results.at(store).key(FEW[0])
    found = store.get("results", name).result
    store.put(name, replace(found, provenance=found.provenance | {"device": "cuda, A"}))
    table = go(FEW, tmp_path)
    assert said() == [f"study: Not all runs were computed alike: on {describe(torch.device('cpu'))} and on cuda, A."]
    assert list(table["device"]) == ["cuda, A", describe(torch.device("cpu"))]


def as_stored_before(root: Path, half: list[Experiment], plain: list[Experiment]) -> None:
    """Leave in the store what a version would have that neither knew checksums nor wrote the precision into keys."""
    results = Results.at(root)
    for h, p in zip(half, plain):
        names = {
            "dense": (results.key(h.recipe), results.key(p.recipe)),
            "pruned": (results.key((h.recipe, h.prune)), results.key((p.recipe, p.prune))),
            "results": (results.key(h), results.key(p)),
        }
        for kind, (new, old) in names.items():
            if not (path := root / kind / f"{new}.json").exists():
                continue
            record = json.loads(path.read_text())
            record = {name: x for name, x in record.items() if name not in ("sha256", "tensors", "outcome")}
            record["config"].get("recipe", record["config"]).pop("precision", None)
            if "engine" in record["provenance"]:
                record["provenance"]["engine"] = "graph, up to 16 at once, bfloat16"
            path.unlink()
            path.with_name(f"{old}.json").write_text(json.dumps(record | {"key": old}))
            if kind != "results":
                save_file(load_file(path.with_suffix(".safetensors")), path.with_name(f"{old}.safetensors"))
                path.with_suffix(".safetensors").unlink()


@pytest.mark.parametrize("first", ["bfloat16", "float32"])
def test_what_an_earlier_version_made_in_bfloat16_is_found_as_that_and_never_as_float32(tmp_path, made, first):
    plain = FEW[:1]
    half = [replace(e, recipe=replace(e.recipe, precision="bfloat16")) for e in plain]
    wanted = {"bfloat16": go(half, tmp_path / "old"), "float32": go(plain, tmp_path / "new")}
    as_stored_before(tmp_path / "old", half, plain)
    made.clear()
    for precision in (first, *{"bfloat16", "float32"} - {first}):
        table = go({"bfloat16": half, "float32": plain}[precision], tmp_path / "old")
        pd.testing.assert_frame_equal(facts(table), facts(wanted[precision]))
    assert [stage for stage, _ in made] == ["train_dense", "prune_dense", "run"], "what was made in float32 alone"
    assert Store(tmp_path / "old").count() == {"dense": 2, "pruned": 2, "results": 2}


def test_two_jobs_give_the_same_bits_as_one(tmp_path, whole):
    """Pitfall: seed from pid and time."""
    root, one = whole
    both = go(FEW, tmp_path, jobs=2)
    pd.testing.assert_frame_equal(facts(both), facts(one[:2]), check_exact=True)
    for kind in ("dense", "pruned"):
        for path in (tmp_path / kind).glob("*.safetensors"):
            assert path.read_bytes() == (root / kind / path.name).read_bytes()


def test_any_executor_can_be_given_and_stays_open(tmp_path, whole, made):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        table = go(FEW, tmp_path, executor=executor)
        assert executor.submit(int, "3").result() == 3
    assert not made, "all is made elsewhere"
    pd.testing.assert_frame_equal(facts(table), facts(whole[1][:2]), check_exact=True)


def test_an_executor_of_threads_is_refused(tmp_path):
    with ThreadPoolExecutor(1) as executor, pytest.raises(BadInput, match="give an executor of processes"):
        go(FEW, tmp_path, executor=executor)
    assert not files(tmp_path)


def test_without_a_store_the_default_one_is_used(tmp_path):
    go(FEW[:1], None)
    assert Store(tmp_path / "store").count() == {"dense": 1, "pruned": 1, "results": 1}


def test_progress_rises_to_the_whole_and_is_closed(tmp_path):
    class Watch:
        seen, closed = [], False

        def __call__(self, share, word):
            self.seen.append((share, word))

        def close(self):
            self.closed = True

    watch = Watch()
    go(FEW, tmp_path, progress=watch)
    shares = [share for share, _ in watch.seen]
    assert len(shares) >= 5 and shares == sorted(shares) and shares[0] == 0 and shares[-1] == pytest.approx(1)
    assert shares.count(1) == 1 and {w.split()[0] for _, w in watch.seen} == set("01234")
    assert watch.seen[0][1].startswith("0 of 4") and watch.seen[-1][1].startswith("4 of 4") and watch.closed


# ---- bad input comes before any work ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "more", "words"),
    [
        (lambda: FEW, dict(jobs=-1), "number of jobs is -1"),
        (lambda: FEW, dict(jobs=True), "number of jobs is True"),
        (lambda: FEW, dict(jobs=1.5), "number of jobs is 1.5"),
        (lambda: FEW, dict(device="gpu"), "There is no device 'gpu'"),
        (lambda: FEW, dict(executor=4), "executor is int"),
        (lambda: FEW, dict(client="tcp://node1:8786"), "client is str"),
        (lambda: FEW, dict(client=4, executor=4), "leave one of them out"),
        (lambda: FEW, dict(stored_only="no"), "stored_only is 'no'"),
        (lambda: [*FEW, Experiment(replace(RECIPE, data="cifar10"))], {}, "cifar10 is not here"),
        (lambda: [*FEW, Experiment(replace(RECIPE, data="no/such/folder"))], {}, "There is no image folder"),
        (lambda: [*FEW, Experiment(replace(RECIPE, batch_size=1001))], {}, "1000 training images"),
        (lambda: [*FEW, Experiment(replace(RECIPE, model="torchvision/resnet8O", width=None))], {}, "resnet8O"),
        (lambda: [*FEW, replace(FEW[0], prune=Prune(1.0, keep_first=True))], {}, "kept dense"),
        (lambda: [*FEW, replace(FEW[0], prune=Prune(0.99, structure="filters"))], {}, "filters"),
        (
            lambda: [*FEW, replace(FEW[0], retrain=Retrain("custom", points=((0.5, 0.1), (0.2, 0.1))))],
            {},
            "must rise strictly",
        ),
        (
            lambda: [*FEW, Experiment(RECIPE, Prune(0.9, cycles=3), Retrain("LRW", budget=92 / 31, split=True))],
            {},
            "replays the last 32 iterations, but the dense run has only 31",
        ),
    ],
    ids=(
        "jobs jobs-bool jobs-half device executor client both stored "
        "data folder batch model sparsity filters points remainder"
    ).split(),
)
def test_bad_input_comes_before_any_work_and_nothing_is_written(tmp_path, made, ask, more, words):
    with pytest.raises(BadInput, match=words):
        go(ask(), tmp_path / "store", **more)
    assert not made and not files(tmp_path / "store")


def test_a_store_that_cannot_be_written_is_told_before_any_work(tmp_path, made):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="cannot be written"):
        go(FEW, tmp_path / "file" / "store")
    assert not made


@pytest.mark.parametrize("kind", ["results", "pruned", "dense"])
def test_what_is_damaged_in_the_store_is_made_anew_and_the_table_is_the_same(tmp_path, made, kind):
    """One digit or one bit is enough: in a result by itself, in what a missing result starts from as well."""
    table = go(FEW, tmp_path)
    result = tmp_path / "results" / f"{table.loc[0, 'key']}.json"
    [path] = [result] if kind == "results" else (tmp_path / kind).glob("*.safetensors")
    content = bytearray(path.read_bytes())
    place = content.index(b'"test_accuracy": 0.') + 19 if kind == "results" else len(content) - 9
    content[place] ^= 1
    path.write_bytes(content)
    if kind != "results":
        result.unlink()
    made.clear()
    with pytest.warns(UserWarning, match="checksum.; set aside in"):
        again = go(FEW, tmp_path)
    pd.testing.assert_frame_equal(facts(table), facts(again))
    assert len(list((tmp_path / "damaged").iterdir())) == (1 if kind == "results" else 2)
    assert len(made) == {"results": 1, "pruned": 2, "dense": 3}[kind]


@pytest.mark.parametrize("kind", ["pruned", "dense"])
@pytest.mark.parametrize("change", ["renamed", "reshaped", "left out"])
def test_tensors_without_a_checksum_that_are_not_their_networks_are_made_anew(tmp_path, kind, change):
    """An earlier version's files are held to the network that they are to be used for."""
    table = go(FEW, tmp_path)
    for path in tmp_path.rglob("*.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in record.items() if k not in ("sha256", "tensors", "outcome")}))
    for path in tmp_path.rglob("*.safetensors"):
        tensors = load_file(path)
        if path.parent.name == kind:
            name = sorted(n for n in tensors if not n.startswith("momentum"))[3]
            tensor = tensors.pop(name)
            tensors |= {"renamed": {f"{name}x": tensor}, "reshaped": {name: tensor[None]}, "left out": {}}[change]
        save_file(tensors, path)
    (tmp_path / "results" / f"{table.loc[0, 'key']}.json").unlink()
    with pytest.warns(UserWarning, match="not those of its network"):
        pd.testing.assert_frame_equal(facts(go(FEW, tmp_path)), facts(table))


def test_masks_go_with_the_dense_network_they_were_made_from(tmp_path, made):
    """Pitfall: a dense run that is made anew may differ in its last bits, and masks of the lost one would be put on it."""
    go(FEW[:1], tmp_path)
    [tensors] = (tmp_path / "dense").glob("*.safetensors")
    key, store = tensors.stem, Store(tmp_path)
    dense = store.get("dense", key).dense()
    other = replace(dense.state, params={n: p * 1.01 for n, p in dense.state.params.items()})
    weights = {"weights": measured.weights_of(other.params)}
    moved = replace(dense.result, provenance=dense.result.provenance | weights)
    store.put(key, replace(dense, state=other, result=moved))
    made.clear()
    with pytest.warns(UserWarning, match="Some rows start from other networks"):
        go(FEW, tmp_path)
    assert [stage for stage, _ in made] == ["prune_dense", "run"]
    [masks] = (tmp_path / "pruned").glob("*.json")
    assert json.loads(masks.read_text())["provenance"]["weights"] == weights["weights"]


def test_a_store_that_is_too_full_is_told_before_any_work(tmp_path, made, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with pytest.raises(BadInput, match="has room for 0.0 MB"):
        go(FEW, tmp_path)
    assert not made


def test_a_disk_that_fills_up_ends_a_study_in_a_sentence_and_what_is_finished_stays(tmp_path, monkeypatch):
    real, puts = Store.put, []

    def full(store, key, thing):
        puts.append(type(thing))
        if puts.count(Result) > 1:
            monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        real(store, key, thing)

    monkeypatch.setattr(Store, "put", full)
    with pytest.raises(BadInput, match="is full .No space left.; make room and give the same command again"):
        go(FEW, tmp_path)
    assert Store(tmp_path).count() == {"dense": 1, "pruned": 1, "results": 1}
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_run_that_fails_keeps_what_is_finished(tmp_path, monkeypatch):
    real = making.run_together

    def fails(asked, *args, **more):
        if FEW[1] in asked:
            raise RuntimeError("broken")
        return real(asked, *args, **more)

    monkeypatch.setattr(making, "run_together", fails)
    with pytest.raises(RuntimeError, match="broken"):
        go(FEW, tmp_path)
    assert Store(tmp_path).count() == {"dense": 1, "pruned": 1, "results": 1}


# ---- stopped and killed ----------------------------------------------------------------------------------------------


def test_ctrl_c_in_one_process_raises_stopped_and_keeps_what_is_finished(tmp_path, made, whole):
    def press(share, word):
        if word.startswith("3 of"):
            raise KeyboardInterrupt

    with pytest.raises(Stopped) as stopped:
        go(FEW, tmp_path, progress=press)
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert "3 of 4 runs are finished" in str(stopped.value) and str(tmp_path) in str(stopped.value)
    assert stopped.value._render_traceback_() == [f"retrainlab: {stopped.value}"]
    made.clear()
    table = go(FEW, tmp_path)
    assert len(made) == 1
    pd.testing.assert_frame_equal(facts(table), facts(whole[1][:2]), check_exact=True)


CHILD = """
import psutil, signal, sys
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.study.run import run_study
from retrainlab.checks import Stopped

def report(share, word):
    print(*(p.pid for p in psutil.Process().children()), flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    run_study({experiments!r}, store=sys.argv[1], jobs=2, device="cpu", progress=report)
except Stopped as stopped:
    print(stopped)
    sys.exit(7)
"""


def alive(pid: int) -> bool:
    """Whether it runs; a process that has ended and waits to be collected does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals as Unix knows them")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_study_that_is_killed_goes_on_from_there_to_the_same_table(tmp_path, whole, made, name):
    """And its workers end with it."""
    script, store = tmp_path / "child.py", tmp_path / "store"
    script.write_text(CHILD.format(experiments=GRID))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, str(script), str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        workers = set()
        for line in child.stdout:
            workers |= set(map(int, line.split()))
            if list((store / "results").glob("[!.]*.json")):
                break
        child.send_signal(getattr(signal, name))
        words, _ = child.communicate(timeout=30)
    finally:
        child.kill()
    deadline = time.monotonic() + 15
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(map(alive, workers))
    if name == "SIGINT":
        assert child.returncode == 7
        assert "Stopped: " in words and "are finished and kept in" in words and "goes on from there" in words
    kept = Store(store).count()["results"]
    assert 0 < kept < len(GRID)
    table = go(GRID, store)
    assert [n for n, _ in made].count("run") == len(GRID) - kept
    pd.testing.assert_frame_equal(facts(table), facts(whole[1]), check_exact=True)


def test_a_worker_that_dies_loses_no_run(tmp_path, whole):
    dead = []

    def kill_one(share, word):
        if word.startswith("1 of") and not dead:
            dead.append(workers_of(psutil.Process())[0])
            dead[0].kill()

    table = go(FEW, tmp_path, jobs=2, progress=kill_one)
    assert dead
    pd.testing.assert_frame_equal(facts(table), facts(whole[1][:2]), check_exact=True)


def test_lack_of_memory_is_told_in_a_sentence_and_what_is_finished_is_kept(tmp_path, monkeypatch):
    def runs_out(*args, **more):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(making, "run_together", runs_out)
    words = "Failed: FT at sparsity 0.5 and budget 1, seed 0 .memory ran out.* LRW at .* 2 of 4 runs are kept in"
    with pytest.raises(WorkerDied, match=words):
        go(FEW, tmp_path)
    assert Store(tmp_path).count()["dense"] == 1


# ---- what is not pruned ----------------------------------------------------------------------------------------------


def test_a_row_says_what_of_its_network_is_not_pruned(monkeypatch):
    """Pitfall: 90.00 % sparse and 9 times faster, of a network a third of which was neither pruned nor counted."""
    assert not_pruned(Recipe(), Prune()) == "" == not_pruned(Recipe(), Prune(0.5, structure="filters"))
    transformer = not_pruned(Recipe(model="torchvision/vit_b_16"), Prune())
    assert transformer == (
        "Neither pruned nor counted: other parameters (class_token, encoder.pos_embedding), 0.18 % of all weights; "
        "the products within attention (QK^T and AV), which have no weights."
    )
    few = "2:4 leaves conv.weight dense, 0.19 % of the prunable weights, because 4 does not divide their inputs."
    assert not_pruned(Recipe(), Prune(0.5, structure="n:m")) == few  # 144 of 76,944
    assert not_pruned(Recipe(model="mlp", width=12), Prune(0.5, structure="n:m")) == ""
    assert not_pruned(Recipe(model="mlp"), Prune(0.5, structure="neurons")) == ""  # 1,000 of 110,200 stay
    monkeypatch.setattr(reading, "hidden", lambda model, shape: ("layer2.weight",))
    few = "Whole neurons are of hidden Linear layers: other layers, 89 % of the prunable weights, stay."
    assert not_pruned(Recipe(model="mlp", width=24), Prune(0.5, structure="neurons")) == few  # all but 192 of 1,808
    assert not_pruned(Recipe(data="./no/such", model="torchvision/vit_b_16"), Prune()).startswith("What is neither")


def test_what_could_not_be_told_of_a_network_is_told_once_its_images_are_here(monkeypatch):
    """Pitfall: the failure is remembered for as long as the notebook runs."""
    recipe, prune = Recipe(model="mlp", width=10), Prune(0.5, structure="n:m")

    def missing(*given, **more):
        raise BadInput("There are no images.")

    with monkeypatch.context() as patch:
        patch.setattr(reading, "network_of", missing)
        assert not_pruned(recipe, prune).endswith("cannot be told here: There are no images.")
    assert not_pruned(recipe, prune).startswith("2:4 leaves ")


def test_n_of_m_that_prunes_nothing_is_refused_before_any_work(tmp_path):
    recipe = Recipe(model="resnet8", width=2, epochs=1)
    [e] = grid(
        recipe, sparsities=[0.5], budgets=[1], schedules=["FT"], seeds=1, prune=Prune(0.5, structure="n:m", n=8, m=16)
    )
    with pytest.raises(BadInput, match="would prune no layer: 16 divides the inputs of no layer"):
        go([e], tmp_path)
    assert not list(files(tmp_path))


def test_lack_of_memory_before_the_first_run_is_told_in_a_sentence(tmp_path):
    """A network that no machine can hold."""
    wide = [replace(e, recipe=replace(RECIPE, model="mlp", width=10**12)) for e in FEW]
    with pytest.raises(WorkerDied, match="Memory ran out; a smaller width"):
        go(wide, tmp_path)
