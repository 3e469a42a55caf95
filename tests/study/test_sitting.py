"""A sitting: what comes first in it, when it ends, and that the same command goes on from there."""

import itertools
import random
from dataclasses import replace

import pandas as pd
import pytest

from retrainlab import cli
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.study import checkpoints, sitting
from retrainlab.study.landscape import run_landscape
from retrainlab.study.ledger import Task
from retrainlab.study.machine import Machine
from retrainlab.study.plan import Missing, tasks
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.sitting import Sitting, order
from retrainlab.study.workers import run_tasks
from retrainlab.training.engine import Engine
from tests.helpers.works import leave, note

RECIPE = Recipe(model="mlp", width=12, epochs=4)


def experiment(schedule, budget, sparsity, seed=0, **more):
    return Experiment(replace(RECIPE, seed=seed), Prune(sparsity), Retrain(schedule, budget=budget, **more))


class Clock:
    """In place of the module `time`: goes on by a step each time it is read."""

    def __init__(self, step=0.0):
        self.now, self.step = 1000.0, step

    def monotonic(self):
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(sitting, "time", clock := Clock())
    return clock


# ---- what comes first ------------------------------------------------------------------------------------------------


def test_the_most_telling_cells_come_first_each_with_all_its_seeds():
    axes = itertools.product(("LRW", "constant", "SLR", "FT", "CLR", "ALLR", "LLR"), (0.3, 0.1), (0.95, 0.8), (2, 0))
    given = [experiment(*one, **({"lr": 0.1} if one[0] == "constant" else {})) for one in axes]
    told = [(e.retrain.schedule, e.retrain.budget, e.prune.sparsity, e.recipe.seed) for e in order(given)]
    cells = [(n, b, s) for b, s in itertools.product((0.1, 0.3), (0.95, 0.8)) for n in ("LLR", "FT")]
    for name in ("ALLR", "CLR", "SLR", "LRW", "constant"):
        cells += [(name, b, s) for b, s in itertools.product((0.1, 0.3), (0.95, 0.8))]
    assert told == [(*cell, seed) for cell in cells for seed in (2, 0)]


def test_seeds_that_are_asked_for_apart_stand_together_and_none_is_lost():
    given = [experiment("FT", 0.1, s, seed, copies=c) for seed in (0, 1) for s in (0.5, 0.9) for c in (1, 2)]
    random.Random(0).shuffle(given)
    ordered = order(given + given[:3])
    assert sorted(map(str, ordered)) == sorted(map(str, given))
    cells = [(e.prune.sparsity, e.retrain.copies) for e in ordered]
    assert [cell for cell, _ in itertools.groupby(cells)] == list(dict.fromkeys(cells))


def test_tasks_of_a_sitting_are_first_trainings_and_then_the_cells_in_their_order(tmp_path):
    given = [
        experiment(n, b, s, seed) for n in ("SLR", "LLR") for b in (0.5, 0.25) for s in (0.9, 0.8) for seed in (0, 1)
    ]
    results = Results.at(tmp_path)
    missing = Missing.of(given, results)
    engines = {replace(RECIPE, epochs=Recipe().epochs): Engine("batched", 4, 1)}
    made = []
    todo = tasks(missing, engines, 1, results, None, Sitting(1))
    run_tasks([replace(task, work=made.extend, args=()) for task in todo], 1, lambda *_: None, "here")
    assert made[:2] == [RECIPE, replace(RECIPE, seed=1)] and len(made) == 2 + 4 + 16
    assert [n for n in made if isinstance(n, Experiment)] == order(given)
    begun = made.index(order(given)[0])
    assert set(made[2:begun]) == {(e.recipe, e.prune) for e in order(given)[:4]}  # the masks that four runs need


# ---- its end ---------------------------------------------------------------------------------------------------------


def test_work_stops_20_seconds_or_a_tenth_of_the_time_before_the_end(clock):
    nine, short = Sitting(9), Sitting(0.5)
    assert (nine.left, short.left) == (520, 27) and not nine.over()
    clock.now += 519.9
    assert not nine.over()
    clock.now += 0.1
    assert nine.over() and not nine.spent() and short.spent()
    clock.now += 20
    assert nine.spent()


def test_what_has_come_of_a_sitting_is_told_in_a_sentence(clock):
    nine = Sitting(9)
    clock.now += 531
    kept = "Stopped after 8 min 51 s of 9 minutes: 12 of 18 runs are finished and kept in STORE"
    assert (
        nine.words(12, 18, 6, "STORE")
        == f"{kept}, 6 go on from their checkpoints; the same command goes on from there."
    )
    assert (
        nine.words(12, 18, 1, "STORE") == f"{kept}, 1 goes on from its checkpoint; the same command goes on from there."
    )
    assert nine.words(12, 18, 0, "STORE") == f"{kept}; the same command goes on from there."


def test_no_task_begins_when_the_time_is_over_and_what_an_unfinished_one_has_made_counts(clock, tmp_path):
    told, nine = [], Sitting(9)

    def tell(share, words):
        told.append((share, words))
        clock.now += 200

    def task(i, work, *args):
        return Task((0, 0.0, i), str(i), work, args, 1.0, frozenset(), 2)

    todo = [task(0, note, tmp_path / "0"), task(1, leave), task(2, note, tmp_path / "2")]
    run_tasks(todo, 1, tell, "here", nine)
    assert (tmp_path / "0").exists() and not (tmp_path / "2").exists()
    assert told[-1] == (1 / 3, "3 of 6 runs")


@pytest.mark.parametrize("minutes", [-1, float("nan"), float("inf"), "long", None])
def test_minutes_that_are_none_are_refused(minutes):
    with pytest.raises(BadInput, match="minutes"):
        Machine(minutes=minutes)
    with pytest.raises(BadInput, match="number of minutes"):
        run_study([], minutes=minutes)


def test_several_studies_can_share_a_sitting(clock, tmp_path):
    nine = Sitting(9)
    assert Sitting.of(nine) is nine and Sitting.of(0) is None and Sitting.of(9) == nine
    clock.now += 600
    assert len(run_study(GRID, store=tmp_path, jobs=1, device="cpu", progress=lambda *_: None, minutes=nine)) == 0
    assert Results.at(tmp_path).store.count()["dense"] == 0


def test_what_builds_on_whole_studies_takes_no_minutes():
    machine = Machine(device="cpu", minutes=1)
    with pytest.raises(BadInput, match="leave minutes out"), machine.studies("figure 5"):
        pass
    with pytest.raises(BadInput, match="leave minutes out"):
        run_landscape([], machine)


def test_a_sitting_makes_nothing_fresh():
    with pytest.raises(BadInput, match="begin anew in every sitting; leave fresh or minutes out"):
        run_study([experiment("FT", 0.1, 0.5)], minutes=1, fresh=True)


# ---- studies ---------------------------------------------------------------------------------------------------------

GRID = [experiment(n, 0.5, s, seed) for n in ("LLR", "SLR") for s in (0.8, 0.95) for seed in (0, 1)]


def go(store, **more):
    how = dict(store=store, jobs=1, device="cpu", engine="batched", progress=lambda *_: None) | more
    return run_study(GRID, **how)


def facts(table):
    return table.drop(columns="images_per_second")


def test_sittings_lead_to_the_table_of_an_undisturbed_study(tmp_path, monkeypatch, capsys):
    """Each reading of the clock takes 2 seconds of a minute, so that they end after some 20 steps."""
    whole = go(tmp_path / "whole")
    monkeypatch.setattr(sitting, "time", Clock(2.0))
    tables = []
    while not tables or len(tables[-1]) < len(GRID):
        tables.append(go(tmp_path / "store", minutes=1))
        assert len(tables) < 20
    words = capsys.readouterr().err.strip().splitlines()
    assert 3 <= len(tables) == len(words) + 1 and len(tables[0]) == 0
    assert "0 of 8 runs are finished" in words[0] and "2 go on from their checkpoints" in words[0]
    counts = [len(t) for t in tables]
    assert counts == sorted(counts)
    pd.testing.assert_frame_equal(facts(tables[-1]), facts(whole), check_exact=True)
    assert list(checkpoints.files(tmp_path / "store")) == []


ASKED = "--model mlp --width 12 --epochs 12 --sparsity 0.9 --budget 0.2 --schedule LLR SLR --device cpu --jobs 1"


def test_a_command_stops_before_its_minutes_are_over_and_the_same_command_goes_on(tmp_path, capsys):
    """In seconds of the real clock."""
    command = ["study", *ASKED.split(), "--store"]
    csv = tmp_path / "table.csv"
    assert cli.main([*command, str(tmp_path / "store"), "--minutes", "0.002", "--csv", str(csv)]) == 0
    told = capsys.readouterr()
    assert "of 0.002 minutes: " in told.err and "the same command goes on from there." in told.err
    assert csv.exists() == bool(told.out)
    assert cli.main([*command, str(tmp_path / "store"), "--csv", str(csv)]) == 0
    assert cli.main([*command, str(tmp_path / "whole"), "--csv", str(tmp_path / "whole.csv")]) == 0
    mine, wanted = (facts(pd.read_csv(path)) for path in (csv, tmp_path / "whole.csv"))
    pd.testing.assert_frame_equal(mine, wanted, check_exact=True)
