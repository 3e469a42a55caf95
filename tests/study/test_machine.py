"""The options of a machine: what a study gets of them, and what several studies share."""

import pandas as pd
import pytest

from retrainlab import Experiment, Recipe
from retrainlab.checks import BadInput
from retrainlab.study import run
from retrainlab.study.machine import Machine

FIRST, SECOND, THIRD = (Experiment(Recipe(seed=seed)) for seed in range(3))


@pytest.fixture
def calls(monkeypatch):
    """What `run_study` was asked for, in place of any study; its rows have the seed for a key."""
    seen = []

    def study(experiments, **options):
        seen.append((experiments, options))
        return pd.DataFrame({"key": [e.recipe.seed for e in experiments]})

    monkeypatch.setattr(run, "run_study", study)
    return seen


def test_a_study_gets_every_option_of_the_machine(calls):
    Machine(2, "cpu", "here", "loop", True).study([FIRST], "figure 1")
    [(experiments, options)] = calls
    assert experiments == [FIRST] and options.pop("progress").title == "figure 1" and options.pop("executor") is None
    assert options == {
        "jobs": 2,
        "device": "cpu",
        "engine": "loop",
        "store": "here",
        "fresh": True,
        "stored_only": False,
        "minutes": 0.0,
    }


def test_of_several_studies_fresh_makes_each_experiment_anew_once(calls):
    """Pitfall: a search that asks again for what it has just made anew makes it anew again."""
    with Machine(jobs=1, device="cpu", fresh=True).studies("figure 5") as study:
        study([FIRST, SECOND])
        study([SECOND, THIRD])
        study([FIRST])
    assert [(asked, options["fresh"]) for asked, options in calls] == [
        ([FIRST, SECOND], True),
        ([FIRST, SECOND], False),
        ([THIRD], True),
        ([SECOND, THIRD], False),
        ([FIRST], False),
    ]


def test_without_fresh_nothing_is_made_anew(calls):
    with Machine(jobs=1, device="cpu").studies("figure 5") as study:
        study([FIRST])
    assert [options["fresh"] for _, options in calls] == [False]


def test_several_studies_share_their_processes(calls):
    with Machine(jobs=2, device="cpu").studies("figure 5") as study:
        study([FIRST])
        study([SECOND])
    [one, other] = [options["executor"] for _, options in calls]
    assert one is other is not None


def test_all_runs_that_were_asked_for_are_told_once(calls):
    """Pitfall: a caller adds a column to its rows, and they no longer are those of the study."""
    with Machine(jobs=1, device="cpu").studies("figure 5") as study:
        study([FIRST, SECOND]).insert(0, "entrant", ["A", "B"])
        study([SECOND, THIRD])
        assert study.rows().to_dict("list") == {"key": [0, 1, 2]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"jobs": -1}, "number of jobs"),
        ({"engine": "loops"}, "did you mean 'loop'"),
        ({"fresh": "yes"}, "fresh is 'yes'"),
    ],
)
def test_options_that_cannot_be_are_refused(given, words):
    with pytest.raises(BadInput, match=words):
        Machine(**given)
