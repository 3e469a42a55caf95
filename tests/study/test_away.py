"""Work that is carried out elsewhere: what travels, who writes, and what a worker refuses."""

import pickle
import shutil
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

import pandas as pd
import pytest
import torch

from retrainlab.checks import BadInput, WorkerDied
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.study import away
from retrainlab.study.away import Order, Probed
from retrainlab.study.grids import grid
from retrainlab.study.making import starts_of
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.sitting import Sitting
from retrainlab.study.store import Store
from retrainlab.training.engine import Engine

CPU = torch.device("cpu")
RECIPE = Recipe(model="mlp", width=8, epochs=2)
EIGHT = grid(RECIPE, sparsities=(0.5, 0.9), budgets=(0.5, 1.0), schedules=("FT", "LLR"), seeds=1)


class Packed(Executor):
    """Does the work at once, as another process would see it: what goes there and back is pickled."""

    def __init__(self):
        self.sent, self.brought = [], []

    def submit(self, work, /, *args):
        self.sent.append(pickle.dumps((work, args)))
        future: Future = Future()
        try:
            work, args = pickle.loads(self.sent[-1])
            self.brought.append(pickle.dumps(work(*args)))
            future.set_result(pickle.loads(self.brought[-1]))
        except Exception as error:
            future.set_exception(error)
        return future


def go(store, **more) -> pd.DataFrame:
    return run_study(
        EIGHT, **dict(store=store, jobs=1, device="cpu", progress=lambda *_: None, engine="batched") | more
    )


def facts(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="images_per_second")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    root = tmp_path_factory.mktemp("local")
    return root, go(root)


def test_what_is_made_elsewhere_is_bit_for_bit_what_is_made_here(tmp_path, local, monkeypatch):
    """And only this process writes the store: a worker that tried to would find no folder of it."""
    executor = Packed()
    pd.testing.assert_frame_equal(facts(go(tmp_path, executor=executor)), facts(local[1]), check_exact=True)
    for kind in ("dense", "pruned"):
        for path in (local[0] / kind).glob("*.safetensors"):
            assert path.read_bytes() == (tmp_path / kind / path.name).read_bytes()
    assert not any(str(tmp_path).encode() in sent for sent in executor.sent), "no worker knows where the store is"
    before = len(executor.sent)
    go(tmp_path, executor=executor)
    assert len(executor.sent) == before, "all is there"


def test_a_stored_network_is_pruned_anew_for_a_retraining_with_another_optimiser(tmp_path, local):
    """Pitfall: nothing that is missing then trains as its first training did, not even the masks."""
    other = Experiment(RECIPE, Prune(0.7), Retrain(budget=0.5, sgd=SGD(0.5)))
    tables = []
    for name, more in {"here": {}, "there": {"executor": Packed()}}.items():
        shutil.copytree(local[0], tmp_path / name)
        asked = dict(store=tmp_path / name, jobs=1, device="cpu", engine="loop", progress=lambda *_: None) | more
        tables.append(facts(run_study([other], **asked)))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


class Spoiling(Packed):
    """The first of several results that are brought together has a number that is none."""

    def submit(self, work, /, *args):
        future = super().submit(work, *args)
        if work is away.make and len(things := future.result().things) > 1:
            things[0][1].scalars["test_loss"] = float("nan")
        return future


def test_a_number_that_is_none_costs_no_other_run_of_its_task(tmp_path, local):
    with pytest.raises(WorkerDied, match="brought NaN or infinity where numbers must be.*; 10 of 11 runs are kept"):
        go(tmp_path, executor=Spoiling())
    table = go(tmp_path, executor=(executor := Packed()))
    pd.testing.assert_frame_equal(facts(table), facts(local[1]), check_exact=True)
    orders = [args[0] for work, args in map(pickle.loads, executor.sent) if work is away.make]
    assert [len(order.nouns) for order in orders] == [1]


def test_a_worker_whose_images_or_code_differ_is_refused(tmp_path, local, monkeypatch):
    kept = Results(Store(local[0]))
    noun = EIGHT[0]
    recipes, pairs = starts_of([noun])
    starts = [kept.dense(r, CPU) for r in recipes], [kept.masks(*p, CPU) for p in pairs]
    order = Order("study", (noun,), (kept.key(noun),), "cpu", Probed(Engine()), 10.0)
    [(place, thing)] = away.make(order, *starts).things
    assert place == 0 and thing.scalars["test_loss"] == kept.of(noun).scalars["test_loss"]
    monkeypatch.setattr("retrainlab.study.results.fingerprint", lambda *_: "of other images")
    with pytest.raises(BadInput, match="has other images of digits, or other code, than this machine"):
        away.make(order, *starts)


def test_what_a_sitting_leaves_unfinished_goes_on_elsewhere_from_its_checkpoint(tmp_path, local, monkeypatch):
    """Step after step: a worker stops after ten, and brings what it has come to."""
    executor, steps = Packed(), []
    real = away.Watch

    def watch(stop, **more):
        steps.clear()
        return real(stop=lambda: (steps.append(1), len(steps) > 40)[1] or stop(), **more)

    monkeypatch.setattr(away, "Watch", watch)
    for _ in range(40):
        table = go(tmp_path, executor=executor, minutes=Sitting(10), engine="loop")
        if len(table) == len(EIGHT):
            break
    else:
        pytest.fail("it does not go on")
    wanted = go(tmp_path / "loop", engine="loop")
    pd.testing.assert_frame_equal(facts(table), facts(wanted), check_exact=True)


class Waiting(Packed):
    """Does one thing after the other, and knows how many it was given at once at most."""

    def __init__(self):
        super().__init__()
        self.thread, self.open, self.most = ThreadPoolExecutor(1), [], 0

    def submit(self, work, /, *args):
        real = super().submit
        self.open = [future for future in self.open if not future.done()]
        self.open.append(self.thread.submit(lambda: real(work, *args).result()))
        self.most = max(self.most, len(self.open))
        return self.open[-1]


@pytest.mark.parametrize("more, most", [({}, 2), ({"minutes": 10}, 1)], ids=["without limit", "sitting"])
def test_no_task_of_a_sitting_waits_for_a_worker(tmp_path, more, most):
    """Pitfall: a task is told how long it has; one that waits until another has used up this time begins with all of it."""
    table = go(tmp_path, executor=(executor := Waiting()), engine="loop", **more)
    assert len(table) == len(EIGHT) and executor.most == most


def test_a_study_that_is_not_wanted_any_more_stops_in_its_workers(local):
    kept = Results(Store(local[0]))
    order = Order("gone", (RECIPE,), (kept.key(RECIPE),), "cpu", Probed(Engine("batched", 8, 1)), 10.0)
    away.stop("gone")
    brought = away.make(order, [], [])
    assert brought.things == ()
    again = away.make(replace(order, study="wanted", files=brought.files), [], [])
    assert again.things[0][1].weights == kept.dense(RECIPE, CPU).weights


def test_threads_of_one_worker_make_one_thing_after_the_other(local):
    """Pitfall: threads share torch's settings and its memory."""
    kept, inside, most = Results(Store(local[0])), [], []
    real = away.made_of

    def watched(*args):
        inside.append(1)
        most.append(len(inside))
        yield from real(*args)
        inside.pop()

    probed = Probed(Engine("batched", 8, 1))
    recipes = [replace(RECIPE, seed=seed) for seed in range(3)]
    orders = [Order("study", (r,), (kept.key(r),), "cpu", probed, 10.0) for r in recipes]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as threads:
        patch.setattr(away, "made_of", watched)
        brought = list(threads.map(lambda order: away.make(order, [], []), orders))
    assert set(most) == {1} and brought[0].things[0][1].weights == kept.dense(RECIPE, CPU).weights


def test_what_a_script_defines_cannot_be_sent(tmp_path):
    own = [replace(e, retrain=replace(e.retrain, schedule="__main__:mine")) for e in EIGHT[:1]]
    with pytest.raises(BadInput, match="Other processes cannot import what a notebook or a script defines"):
        run_study(own, store=tmp_path, device="cpu", executor=Packed())
