"""One thing is a list of one, a path is a text, numbers are numbers whoever made them; all else is refused by name."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from retrainlab import contest, export, study
from retrainlab.checks import BadInput, check_number, listed, parameters, settled
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.explore.views import compare, race
from retrainlab.figures import run
from retrainlab.figures.presets import PRESETS, Preset


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0.5, [0.5]),
        (1, [1.0]),
        (np.float64(0.5), [0.5]),
        (np.array(0.5), [0.5]),
        (np.array([0.25, 0.5]), [0.25, 0.5]),
        (pd.Series([0.25, 0.5]), [0.25, 0.5]),
        (torch.tensor([0.25, 0.5]), [0.25, 0.5]),
        ((x / 4 for x in (1, 2)), [0.25, 0.5]),
        (range(2), [0.0, 1.0]),
        ((), []),
    ],
)
def test_what_holds_numbers_is_a_list_of_them(value, wanted):
    out = listed(value, float, "shares")
    assert out == wanted and all(type(x) is float for x in out)


@pytest.mark.parametrize(
    "value",
    ["0.5", "0.5 0.9", ["0.5"], b"1", None, [None], True, [True], {0.5}, {0.5: 1}, [[0.5]], np.array([[0.5]]), ...],
    ids=str,
)
def test_what_is_no_list_of_numbers_is_refused_by_name(value):
    with pytest.raises(BadInput, match="^The sweep's shares (is|has) .* must be .*[.]$"):
        listed(value, float, "The sweep's shares")


def test_a_lone_name_is_not_a_list_of_letters():
    assert listed("LLR", str, "names") == ["LLR"] and listed(("FT", np.str_("LLR")), str, "names") == ["FT", "LLR"]


def test_a_refusal_says_what_is_wrong_and_what_is_allowed():
    def said(*of) -> str:
        with pytest.raises(BadInput) as caught:
            settled(*of)
        return str(caught.value)

    assert said("0.5", list[float], "It") == "It is '0.5', but must be a number, or a list of such."
    assert said([1, "2"], list[int], "It") == "It has the entry '2', but each entry must be a whole number."
    assert said("true", bool, "It") == "It is 'true', but must be True or False."
    assert said({1}, list[int], "It") == "It is {1}, which has no order, but must be a list."
    assert said(5, str | Retrain, "It") == "It is 5, but must be a text or Retrain(...)."
    assert said([0.5], list[tuple[float, float]], "It") == "It has the entry 0.5, but each entry must be a pair."


def test_a_path_is_a_text_with_a_slash():
    assert Recipe(data=Path("images")).data == "./images" and Recipe(data=Path("a/b")).data == "a/b"
    assert Recipe(data=Path("images")) == Recipe(data="./images")
    assert settled(Path("/tmp/x"), str, "store") == "/tmp/x"


@pytest.mark.parametrize("kind", [np.int64, np.int8, np.uint32])
def test_numpys_numbers_are_numbers_wherever_one_is_checked(kind):
    check_number(kind(2), "number of jobs", low=0, whole=True)
    check_number(np.float32(0.5), "share", low=0, high=1)
    with pytest.raises(BadInput):
        check_number(np.bool_(True), "share")


def test_one_of_each_is_a_grid_of_one():
    """Pitfall: a text is taken letter by letter."""
    wanted = [Experiment(Recipe(seed=3), Prune(0.5), Retrain("LLR", 0.1))]
    assert study.grid(Recipe(), sparsities=0.5, budgets=0.1, schedules="LLR", seeds=[3]) == wanted
    assert study.grid(Recipe(), sparsities=0.5, budgets=0.1, schedules=Retrain("LLR"), seeds=[3]) == wanted
    series = dict(sparsities=pd.Series([0.5]), budgets=np.array(0.1), schedules=pd.Series(["LLR"]))
    assert study.grid(Recipe(), **series, seeds=np.array([3])) == wanted
    assert len(study.grid(Recipe(), **series, seeds=np.int64(4))) == 4


@pytest.mark.parametrize(
    ("axis", "value", "words"),
    [
        ("sparsities", "0.5", "grid's sparsities is '0.5'"),
        ("sparsities", [0.5, math.nan], "sparsity is nan"),
        ("budgets", None, "grid's budgets is None"),
        ("schedules", "LL", "There is no retraining schedule 'LL'"),
        ("schedules", [3], "grid's schedules has the entry 3"),
        ("seeds", "3", "grid's seeds is '3'"),
        ("seeds", True, "number of seeds is True"),
        ("seeds", -1, "number of seeds is -1"),
        ("seeds", 2.5, "grid's seeds is 2.5"),
    ],
)
def test_a_grid_refuses_by_name(axis, value, words):
    axes = dict(sparsities=[0.5], budgets=[0.1], schedules=["LLR"], seeds=1) | {axis: value}
    with pytest.raises(BadInput, match=words):
        study.grid(Recipe(), **axes)


def test_a_study_takes_one_experiment_and_refuses_what_is_none(tmp_path):
    e = Experiment(Recipe(width=4, epochs=1), retrain=Retrain(budget=0.0))
    quietly = dict(store=tmp_path, jobs=np.int64(1), progress=lambda *_: None)
    assert len(study.run_study(e, **quietly)) == len(study.curves(e, tmp_path)) == 1
    for wrong in (Recipe(), "digits", [e, Prune()]):
        with pytest.raises(BadInput, match=r"run_study's experiments .* must be Experiment\(...\)"):
            study.run_study(wrong, **quietly)
    with pytest.raises(BadInput, match="run_study's fresh is 'true', but must be True or False"):
        study.run_study(e, fresh="true", **quietly)


def test_names_of_figures_pages_and_entrants_may_stand_alone():
    assert run.select("fig03") == ["fig03_budgets"]
    assert contest.with_references("GMP") == ("GMP", "BIMP", "Dense")
    with pytest.raises(BadInput, match="There is no page 'rac': did you mean 'race'"):
        export.make("rac")


def test_a_contests_lists_may_be_one_thing_and_no_text():
    recipe = replace(PRESETS["smoke"].contest, epochs=8)
    both = [contest.splits(recipe, *axes, 1) for axes in ((0.9, 0.5, 3), ([0.9], [0.5], [3]))]
    assert both[0] == both[1] and len(both[0]) == 1
    assert contest.lengths(recipe, 0.9, 0.5, 3, 1) == contest.lengths(recipe, 0.9, [0.5], 3, 1)
    for wrong in (("0.9", 0.5, 3), (0.9, "half", 3), (0.9, 0.5, 1.5)):
        with pytest.raises(BadInput, match="splits' (sparsities|shares|cycles) is"):
            contest.splits(recipe, *wrong, 1)
    with pytest.raises(BadInput, match="The contest's names has the entry 3"):
        contest.contest(recipe, 0.9, None, names=[3])


def test_explorers_and_presets_settle_what_they_are_given():
    assert race.Settings(schedules="LLR").schedules == ("LLR",)
    assert race.Settings(sparsity=np.float64(0.5), seed=np.int64(1)) == race.Settings(sparsity=0.5, seed=1)
    assert compare.Settings(pick=np.array([0, 2])).pick == (0, 2)
    for wrong in (dict(seed="1"), dict(sparsity="0.9"), dict(schedules=3)):
        with pytest.raises(BadInput, match=f"Settings's {next(iter(wrong))} is"):
            race.Settings(**wrong)
    assert replace(PRESETS["smoke"], sparsities=0.5, contest_names="GMP").sparsities == (0.5,)
    with pytest.raises(BadInput, match="Preset's budgets is '0.1'"):
        Preset("own", Recipe(), budgets="0.1")


def test_a_notebooks_parameters_are_brought_to_the_types_of_their_cell():
    names: dict = {}
    cell = "sparsities: list[float] = []; names: list[str] = []; fresh: bool = False; seed: int = 0; store: str = ''"
    exec(cell, names)
    names |= dict(sparsities=0.5, names="GMP", store=Path("store"))
    parameters(names)
    assert (names["sparsities"], names["names"], names["store"]) == ([0.5], ["GMP"], "./store")
    for wrong in (dict(sparsities="0.5"), dict(fresh="true"), dict(seed=1.5), dict(names=None)):
        with pytest.raises(BadInput, match=f"^The parameter {next(iter(wrong))} is "):
            parameters(names | wrong)
