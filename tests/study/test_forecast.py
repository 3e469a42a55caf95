"""What a study costs, said before it is made: counted against the study itself, and the store stays as it was."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from retrainlab import device
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.study import forecast, speed
from retrainlab.study.grids import grid
from retrainlab.study.machine import Machine
from retrainlab.study.run import run_study
from retrainlab.training.engine import Engine

RECIPE = Recipe(model="mlp", width=4, epochs=2)  # 62 steps
GRID = grid(RECIPE, sparsities=(0.5, 0.9), budgets=(0.5,), schedules=("FT", "LLR"), seeds=2)
ON = Machine(jobs=1, device="cpu")


def lines(experiments, machine=ON) -> dict[str, str]:
    """What is told, by the word before the colon; not how much is free, which others change."""
    told = re.sub("[0-9,]+ MB are free", "", forecast.told(experiments, machine)).splitlines()
    return {name: words for name, _, words in (line.partition(": ") for line in told)}


def files(root: Path) -> dict[Path, tuple[bytes, int]]:
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


@pytest.fixture
def asked(monkeypatch):
    """A machine of 2 cores on which a step of an mlp takes 3 ms, and one of any other network has not been measured."""
    seen = []

    def fastest(setup, start, recipe, tell=None, steps=0.0):
        seen.append((recipe, tell is not None))
        return Engine(seconds=0.003 if recipe.model == "mlp" else 0.0)

    monkeypatch.setattr(speed, "fastest", fastest)
    for module in (device, speed):
        monkeypatch.setattr(module, "cores", lambda: 2)
    return seen


def test_runs_and_training_are_those_that_the_store_lacks(tmp_path):
    store = tmp_path / "store"
    empty = lines(GRID)
    assert empty["8 runs"] == "0 stored, 8 to make, which need 2 first trainings and 4 prunes that are not stored."
    assert empty["Training"] == "8 runs, 12 member-epochs, 4 of them in 2 first trainings."
    assert empty["Time"] == "not measured for fewer than 1,000 steps of a network." and not store.exists()
    run_study(GRID[:1], jobs=1, device="cpu", engine="loop", progress=lambda share, word: None)
    kept = files(store)
    some = lines([*GRID, GRID[0]])  # seed 0 at 0.5 with FT is there
    assert some["8 runs"] == "1 stored, 7 to make, which need 1 first training and 3 prunes that are not stored."
    assert some["Training"] == "7 runs, 9 member-epochs, 2 of them in 1 first training."
    assert "1 run: 1 stored, 0 to make; all are in" in forecast.told(GRID[:1], ON)
    assert "1 run: 0 stored, 1 to make" in forecast.told(GRID[:1], replace(ON, fresh=True))
    [path] = (store / "results").iterdir()
    path.write_text("{")
    [dense] = (store / "dense").glob("*.safetensors")
    dense.write_bytes(dense.read_bytes()[:-1])
    hurt = files(store)
    assert lines(GRID) == empty and files(store) == hurt, "what is damaged is missing, and stays where it is"
    assert kept.keys() == hurt.keys()


def test_the_size_is_about_what_the_study_then_takes(tmp_path):
    recipe = Recipe(model="mlp", width=256, epochs=1)
    wide = grid(recipe, sparsities=(0.9,), budgets=(0.0,), schedules=("FT",), seeds=2)
    told = lines(wide)["Size"]
    assert told.startswith("about ") and f" MB in {tmp_path / 'store'}, where " in told
    run_study(wide, jobs=1, device="cpu", engine="loop", progress=lambda share, word: None)
    size = sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert float(told.split()[1]) == pytest.approx(size / 1e6, rel=0.2)


@pytest.mark.parametrize(("jobs", "count"), [(1, 1), (0, 2), (5, 2)])
def test_the_time_is_steps_at_the_measured_speed_shared_by_the_processes(asked, jobs, count):
    recipe = Recipe(model="mlp", epochs=100)  # 31 steps an epoch
    runs = grid(recipe, sparsities=(0.9,), budgets=(0.1,), schedules=("FT", "LLR"), seeds=3)
    steps = 31 * (3 * 100 + 6 * 10.1)  # a tenth of an epoch a run for its evaluations
    least, most = (device_time(times * steps * 0.003 / count) for times in (1, 2))
    processes = " in 2 processes" if count == 2 else ""
    assert lines(runs, Machine(jobs, "cpu"))["Time"].startswith(
        f"about {least} to {most} on cpu, 2 cores{processes}, by the speed measured here ("
    )
    assert [allowed for _, allowed in asked] == [True]


def device_time(seconds: float) -> str:
    return forecast.span(seconds).split(" to ")[0]


def test_each_network_is_told_apart(asked):
    recipes = Recipe(model="mlp", epochs=100), Recipe(model="resnet8", width=2, epochs=1)
    told = lines([Experiment(recipe, Prune(0.5), Retrain(budget=0)) for recipe in recipes])["Time"]
    assert "3,103 steps of mlp on digits: 3 ms each, 34 steps of resnet8 on digits: too few to measure" in told
    assert [allowed for _, allowed in asked] == [True, False]


def test_an_engine_that_is_asked_for_is_not_measured(asked):
    assert "with --engine loop, without which it is" in lines(GRID, replace(ON, engine="loop"))["Time"] and not asked


def test_images_that_are_not_here_leave_the_time_open_and_nothing_else(asked):
    told = lines([Experiment(Recipe(data="cifar10", model="resnet20", epochs=182, batch_size=128))])
    assert told["1 run"].startswith("0 stored, 1 to make") and "200 member-epochs" in told["Training"]
    assert told["Time"].startswith("known once the images of cifar10 are here (")
    assert told["Time"].endswith("retrainlab data cifar10).")
    assert 2 < float(told["Size"].split()[1]) < 3 and not asked  # 270,000 weights, with momentum


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        (Experiment(Recipe(model="mlp", batch_size=5000)), "1000 training images"),
        (Experiment(Recipe(model="torchvision/resnet1")), "did you mean 'resnet1"),
        (Experiment(Recipe(data="./no/folder")), "no/folder"),
        (Experiment(Recipe(model="no_such_module:model")), "no module no_such_module"),
    ],
)
def test_what_a_study_would_refuse_is_refused(experiment, words):
    with pytest.raises(BadInput, match=words):
        forecast.told([experiment], ON)
