"""Runs that are left at any time go on from what the store has of them, to the results and networks of undisturbed ones."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.methods.table import DPF, GMP
from retrainlab.study import checkpoints
from retrainlab.study.checkpoints import Checkpoints, files, left_over
from retrainlab.study.courses import Callbacks, drive
from retrainlab.study.making import Watch
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.stages import networks_together, prune_dense, train_dense, train_dense_together
from retrainlab.training.engine import Engine
from retrainlab.training.state import Job, State
from tests.helpers.bits import same
from tests.helpers.members import after, dropout, rates, tensors

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(model="mlp", width=12, epochs=2, batch_size=64)
CYCLES = Experiment(RECIPE, Prune(0.8, cycles=3), Retrain("LLR", budget=0.5, optimizer="cycles"), evaluations=2)
COPIES = Experiment(RECIPE, Prune(0.7), Retrain("CLR", budget=0.5, copies=3), evaluations=2)
ENGINES = pytest.mark.parametrize("engine", [Engine(), Engine("batched", 8, 1)], ids=str)
LOOP = Engine()


@pytest.fixture(scope="module")
def dense():
    return train_dense(RECIPE, "cpu")


def numbers(result):
    """All but how fast it was."""
    scalars = {name: x for name, x in result.scalars.items() if name != "images_per_second"}
    return result.config, scalars, result.curves, result.outcome


def in_sittings(make, root, keys, most):
    """What comes of runs that are stopped at random, and how often they were; make(callbacks) -> (place, what it is)."""
    out, stops, draw = {}, 0, random.Random(0)
    while len(out) < len(keys):
        assert stops < 200
        out |= dict(make(Callbacks(stop=after(draw.randint(1, most)), checkpoints=Checkpoints(root, keys))))
        stops += 1
    return out, stops - 1


@ENGINES
def test_cycles_and_copies_end_with_the_bits_of_undisturbed_ones(tmp_path, dense, engine):
    plans = [CYCLES, COPIES]
    starts = [(dense, prune_dense(RECIPE, e.prune, dense, "cpu")) for e in plans]
    wanted = dict(networks_together(plans, starts, "cpu", engine))

    def make(calls):
        return networks_together(plans, starts, "cpu", engine, calls)

    made, stops = in_sittings(make, tmp_path, ["a", "b"], 9)
    assert stops >= 8
    for place, (result, state) in wanted.items():
        assert numbers(made[place][0]) == numbers(result) and same(tensors(made[place][1]), tensors(state))


@ENGINES
def test_first_trainings_by_a_method_end_with_the_bits_of_undisturbed_ones(tmp_path, engine):
    recipes = [replace(RECIPE, method=GMP(0.9, 5)), replace(RECIPE, method=DPF(0.8, 4), seed=1)]
    wanted = dict(train_dense_together(recipes, "cpu", engine))
    made, stops = in_sittings(lambda c: train_dense_together(recipes, "cpu", engine, c), tmp_path, ["a", "b"], 9)
    assert stops >= 5
    for place, whole in wanted.items():
        assert numbers(made[place].result) == numbers(whole.result)
        assert same(tensors(made[place].state), tensors(whole.state))


def test_a_network_with_dropout_goes_on_from_disk(tmp_path):
    setup = dropout()
    job = Job(State.of(setup.model), rates(30), (0, "t"))

    def course():
        return (yield job)

    [(_, wanted)] = drive(setup, [course()], LOOP)
    made, stops = in_sittings(lambda calls: drive(setup, [course()], LOOP, calls), tmp_path, ["a"], 6)
    assert stops >= 4 and same(tensors(made[0].state), tensors(wanted.state)) and made[0].points == wanted.points


def left(root, dense, steps, key="a"):
    """The start of a run that is left after so many steps."""
    start = dense, prune_dense(RECIPE, CYCLES.prune, dense, "cpu")
    calls = Callbacks(stop=after(steps), checkpoints=Checkpoints(root, [key]))
    assert list(networks_together([CYCLES], [start], "cpu", LOOP, calls)) == []
    return start


def gone_on(start, root):
    """How many steps are made when that run goes on, about, and its result."""
    asked = []
    calls = Callbacks(stop=lambda: bool(asked.append(1)), checkpoints=Checkpoints(root, ["a"]))
    [(_, (result, _))] = networks_together([CYCLES], [start], "cpu", LOOP, calls)
    return len(asked), result


def test_what_has_ended_is_not_trained_again(tmp_path, dense):
    start = left(tmp_path, dense, 20)
    assert [file.name for _, file in files(tmp_path)] == ["a-0.safetensors", "a-1.safetensors"]
    asked, result = gone_on(start, tmp_path)
    assert 0 <= asked - (result.scalars["steps"] - 20) <= 4  # a stop is asked for before each round, too


def test_a_stop_between_two_cycles_keeps_the_first(tmp_path, dense):
    steps = dense.result.scalars["steps"] // 2  # of a cycle; a stop is asked for before each, and before the round
    start = left(tmp_path, dense, steps + 1)
    assert [file.name for _, file in files(tmp_path)] == ["a-0.safetensors"]
    asked, result = gone_on(start, tmp_path)
    assert result.scalars["steps"] == 3 * steps and 0 <= asked - 2 * steps <= 2


@pytest.mark.parametrize("kind", ["flipped", "cut", "text", "renamed", "foreign"])
def test_what_is_damaged_or_of_another_network_is_set_aside_and_its_training_begins_anew(tmp_path, dense, kind):
    start = left(tmp_path, dense, 7, "b" if kind == "renamed" else "a")
    [(_, file)] = files(tmp_path)
    content = file.read_bytes()
    if kind == "renamed":
        file.rename(checkpoints.path(tmp_path, "a-0"))
    elif kind == "foreign":
        other = train_dense(replace(RECIPE, seed=1), "cpu")
        start = other, prune_dense(RECIPE, CYCLES.prune, other, "cpu")
    else:
        flipped = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
        file.write_bytes({"flipped": flipped, "cut": content[:-9], "text": b"no checkpoint"}[kind])
    with pytest.warns(UserWarning, match="set aside in .*, and that training begins anew"):
        asked, result = gone_on(start, tmp_path)
    assert asked >= result.scalars["steps"] and len(list((tmp_path / "damaged").iterdir())) == 1
    wanted = next(networks_together([CYCLES], [start], "cpu", LOOP))[1][0]
    assert numbers(result) == numbers(wanted)


def test_where_no_checkpoint_can_be_written_a_word_says_so_once_and_the_runs_go_on(tmp_path, dense, monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)
    monkeypatch.setattr(checkpoints, "RARELY", 0)
    (tmp_path / "checkpoints").touch()
    start = dense, prune_dense(RECIPE, CYCLES.prune, dense, "cpu")
    with pytest.warns(UserWarning, match="No checkpoint can be written in .*; the runs go on without") as said:
        _, result = gone_on(start, tmp_path)
    assert len(said) == 1 and result.scalars["steps"] > 40 and not result.scalars["stopped"]


def test_a_short_study_writes_no_checkpoint(tmp_path):
    run_study([CYCLES], store=tmp_path, jobs=1, device="cpu", engine="loop", progress=lambda *_: None)
    assert not checkpoints.folder(tmp_path).exists()


def test_checkpoints_go_with_the_result_of_their_run_and_what_is_left_over_can_be_told(tmp_path, dense):
    results = Results.at(tmp_path)
    for key in (results.key(RECIPE), results.key(CYCLES), "0123456789abcdef"):
        for number in range(2):
            checkpoints.path(tmp_path, f"{key}-{number}").parent.mkdir(exist_ok=True)
            checkpoints.path(tmp_path, f"{key}-{number}").touch()
    assert len(list(files(tmp_path))) == 6 and left_over(tmp_path) == []
    results.put(RECIPE, dense)
    assert len(list(files(tmp_path))) == 4 and left_over(tmp_path) == []
    stale = checkpoints.path(tmp_path, f"{results.key(RECIPE)}-0")
    stale.touch()
    assert left_over(tmp_path) == [stale]


CHILD = """
import sys
from retrainlab.config import SGD, Recipe
from retrainlab.study import checkpoints, plan
from retrainlab.study.making import Watch
from retrainlab.study.results import Results
from retrainlab.training.engine import Engine
import torch

checkpoints.EVERY = 0.0
plan.carry_out(Results.at(sys.argv[1]), torch.device("cpu"), Engine(), None, [{recipe!r}])
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as Unix knows them")
def test_a_process_that_is_killed_loses_what_came_since_its_last_checkpoint(tmp_path):
    recipe, store = replace(RECIPE, epochs=30), tmp_path / "store"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", CHILD.format(recipe=recipe), str(store)], env=environment)
    deadline = time.monotonic() + 60
    while not list(files(store)) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.02)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    results, asked = Results.at(store), []
    [(key, file)] = files(store)
    with safe_open(file, framework="pt") as opened:
        step = json.loads(opened.metadata()["checkpoint"])["step"]
    watch = Watch(stop=lambda: bool(asked.append(1)))
    [dense] = results.make_task([recipe], torch.device("cpu"), LOOP, watch)
    assert key == results.key(recipe) and step > 0 and 0 <= len(asked) - (dense.result.scalars["steps"] - step) <= 2
    wanted = train_dense(recipe, "cpu")
    assert numbers(dense.result) == numbers(wanted.result) and same(tensors(dense.state), tensors(wanted.state))
    assert list(files(store)) == []
