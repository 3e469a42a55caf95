"""A study's file: what it says is what the nouns and `grid` make of the same; whatever is wrong in it is named."""

import json
import sys
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from retrainlab.checks import BadInput
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.figures.presets import PRESETS
from retrainlab.keys import to_dict
from retrainlab.methods.table import GMP, METHODS, STR
from retrainlab.recipes import RECIPES
from retrainlab.study import described, documents
from retrainlab.study.grids import grid
from retrainlab.study.settings import method_settings, places
from tests.helpers import other_values


def study(said: dict) -> list[Experiment]:
    """The experiments of a file that says so, whichever way it is written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "read", lambda path: json.loads(json.dumps(said)))
        return described.study("study.toml")


def toml(said: dict, within: tuple = ()) -> str:
    """A dictionary as TOML, its tables after all else."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in said.items() if not tables(value)]
    for name, value in said.items():
        path = ".".join([*within, name])
        for one in value if isinstance(value, list) and tables(value) else [value] * tables(value):
            lines += [f"[[{path}]]" if isinstance(value, list) else f"[{path}]", toml(one, (*within, name))]
    return "\n".join(lines)


def tables(value: object) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict) for one in value))


WHOLE = {
    "preset": "fashion-mnist",
    "evaluations": 7,
    "recipe": {
        "lr": 0.05,
        "sgd": {"momentum": 0.8},
        "milestones": [0.25, 0.5],
        "method": {"name": "GMP", "interval": 5},
    },
    "prune": {"score": "my.own:score", "keep_first": True},
    "retrain": {"warmup": 0.2, "lr": 0.02, "sgd": {"weight_decay": 1e-05}},
    "grid": {
        "epochs": [4, 6],
        "seeds": 2,
        "sparsity": [0.5, 0.9],
        "budget": 0.5,
        "schedule": ["FT", "rex", "my.own:curve"],
    },
    "skip": [{"epochs": 4, "schedule": ["FT", "rex"]}, {"sparsity": 0.9, "seed": 1}],
    "only": [{"schedule": "FT"}, {"epochs": 4}],
}


def test_what_a_file_says_is_what_the_nouns_say(tmp_path):
    recipe = replace(PRESETS["fashion-mnist"].recipe, lr=0.05, milestones=(0.25, 0.5))
    recipe = replace(recipe, sgd=replace(recipe.sgd, momentum=0.8))
    plain = dict(budget=0.5, warmup=0.2, sgd=replace(recipe.sgd, weight_decay=1e-5))
    wanted = []
    for epochs, seed, sparsity in product((4, 6), (0, 1), (0.5, 0.9)):
        for schedule, lr in ("FT", None), ("rex", 0.02), ("my.own:curve", 0.02):
            skipped = (epochs == 4 and schedule != "my.own:curve") or (sparsity == 0.9 and seed == 1)
            if not skipped and (schedule == "FT" or epochs == 4):
                first = replace(recipe, epochs=epochs, seed=seed, method=GMP(sparsity, interval=5))
                prune = Prune(sparsity, score="my.own:score", keep_first=True)
                wanted.append(Experiment(first, prune, Retrain(schedule, lr=lr, **plain), 7))
    for name, text in ("a.toml", toml(WHOLE)), ("b.yaml", yaml.safe_dump(WHOLE)), ("c.yml", json.dumps(WHOLE)):
        (tmp_path / name).write_text(text)
        assert described.study(tmp_path / name) == wanted, name
    assert len(wanted) == 6 and "my" not in sys.modules, "references are not imported"


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(0, 9), min_size=1),
    st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=1),
    st.lists(st.sampled_from([0.05, 0.5]), min_size=1),
    st.lists(st.sampled_from(["FT", "LLR", "CLR"]), min_size=1),
    st.booleans(),
)
def test_a_grid_is_that_of_python(seeds, sparsities, budgets, schedules, method):
    recipe = Recipe(model="mlp", method=GMP() if method else None)
    wanted = grid(recipe, sparsities=sparsities, budgets=budgets, schedules=schedules, seeds=seeds)
    axes = {"schedule": schedules, "budget": budgets, "sparsity": sparsities, "seed": seeds}
    first = {"model": "mlp"} | ({"method": {"name": "GMP"}} if method else {})
    assert study({"recipe": first, "grid": axes}) == wanted


AXES = {"seed": [0, 1], "sparsity": [0.5, 0.9], "schedule": ["FT", "LLR"], "score": ["magnitude", "random"]}
SOME = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in AXES.items()})


@settings(deadline=None, max_examples=30)
@given(st.lists(SOME.filter(bool), max_size=3), st.lists(SOME.filter(bool), max_size=2))
def test_filters_leave_what_looking_at_each_run_leaves(skip, only):
    def has(e: Experiment, values: dict) -> bool:
        own = {
            "seed": e.recipe.seed,
            "sparsity": e.prune.sparsity,
            "schedule": e.retrain.schedule,
            "score": e.prune.score,
        }
        return values.items() <= own.items()

    every = study({"grid": AXES})
    left = [e for e in every if not any(has(e, one) for one in skip) and (not only or any(has(e, one) for one in only))]
    said = {"grid": AXES, "skip": skip} | ({"only": only} if only else {})
    if left:
        assert len(every) == 16 and study(said) == left
    else:
        with pytest.raises(BadInput, match="leave no run"):
            study(said)


BESIDE = {"prune": {"sparsity": 0.5}, "retrain": {"schedule": "linear", "lr": 0.1}}
NOUNS = [("recipe", other_values.RECIPE), ("prune", other_values.PRUNE), ("retrain", other_values.RETRAIN)]
EACH = [(noun, name, value) for noun, values in NOUNS for name, value in values.items()]


@pytest.mark.parametrize(("noun", "name", "value"), [one for one in EACH if one[1] not in ("sgd", "method")])
def test_every_field_can_be_set_for_all_runs_and_for_each(noun, name, value):
    beside = {"recipe": {}} | BESIDE | ({"recipe": {"data": "./pictures"}} if name == "image_size" else {})
    [found] = study(beside | {noun: beside[noun] | {name: value}})
    assert getattr(getattr(found, noun), name) == value
    [option] = [option for option, place in places().items() if place == (noun, name)]
    rest = {n: v for n, v in beside[noun].items() if n != name}
    assert study(beside | {noun: rest, "grid": {option: [value] if isinstance(value, tuple) else value}}) == [found]


def test_no_field_with_a_help_text_is_forgotten_above():
    for kind, values in (Recipe, other_values.RECIPE), (Prune, other_values.PRUNE), (Retrain, other_values.RETRAIN):
        assert {f.name for f in fields(kind) if "help" in f.metadata} <= values.keys()
    assert {f.name for f in fields(Experiment) if "help" in f.metadata} == {"evaluations"}


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_of_sgd_and_of_a_method_can_be_set(method):
    sgd = {"momentum": 0.5, "nesterov": True, "weight_decay": 0.25, "decay_norm": False}
    assert sgd.keys() == {f.name for f in fields(SGD)}
    own = {f.name: f.default for f in fields(METHODS[method].settings) if f.init}
    own |= {name: value + 1 for name, value in own.items() if type(value) is int}
    own |= {"sparsity": 0.5} if "sparsity" in own else {}
    [found] = study({"recipe": {"sgd": sgd, "method": {"name": method} | own}})
    assert found.recipe == Recipe(sgd=SGD(**sgd), method=METHODS[method].settings(**own))
    axes = {option: own[of[method].name] for option, of in method_settings().items() if method in of}
    own = {"sparsity": 0.5} if "sparsity" in own else {}
    assert study({"recipe": {"sgd": sgd, "method": own}, "grid": {"method": method} | axes}) == [found]


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(),
        Experiment(Recipe(method=STR(t0=-3.0), width=4), Prune(0.5), Retrain("custom", points=[(0, 0.1), (1, 0)])),
        Experiment(Recipe(data="./a", image_size=8), Prune(0.5, structure="n:m"), Retrain(sgd=SGD(0.5)), 2),
        Experiment(Recipe(model="a.b:c", method=GMP(0.5)), Prune(0.9, score="a:b"), Retrain("a:b", lr=0.1)),
    ],
    ids=lambda e: e.retrain.schedule,
)
def test_the_settings_of_a_stored_result_are_a_study_file_of_its_run(experiment, tmp_path):
    (tmp_path / "one.yaml").write_text(json.dumps(to_dict(experiment), indent=1))
    assert described.study(tmp_path / "one.yaml") == [experiment]


def test_presets_are_those_of_the_figures_and_a_width_belongs_to_its_network():
    assert {name: preset.recipe for name, preset in PRESETS.items()} == RECIPES
    for name, recipe in RECIPES.items():
        assert [e.recipe for e in study({"preset": name})] == [recipe]
    widths = [e.recipe.width for e in study({"preset": "smoke", "grid": {"model": ["resnet8", "mlp"]}})]
    assert widths == [4, None], "an mlp of 4 hidden units is none that anybody asked for"


def test_what_is_skipped_need_not_be_possible():
    axes = {"structure": ["unstructured", "n:m"], "sparsity": [0.5, 0.9], "schedule": ["FT", "LRW"], "budget": [0.5, 2]}
    skip = [{"structure": "n:m", "sparsity": 0.9}, {"schedule": "LRW", "budget": 2}]
    assert len(study({"grid": axes, "skip": skip})) == 16 - 4 - 3
    with pytest.raises(BadInput, match=r"0\.5, not 0\.9.*\(At structure n:m, sparsity 0\.9\.\)"):
        study({"grid": axes, "skip": skip[1:]})
    with pytest.raises(BadInput, match=r"LRW replays.*\(At .*sparsity 0\.5, budget 2\.0, schedule LRW\.\)"):
        study({"grid": axes, "skip": skip[:1]})


def test_a_setting_goes_to_those_that_have_it():
    said = {"recipe": {"method": {"interval": 5}}, "grid": {"method": ["GMP", "dense", "STR"]}}
    assert [e.recipe.method for e in study(said)] == [GMP(interval=5), None, STR()]
    said = {"retrain": {"lr": 0.1, "points": [[0, 0.1]]}, "grid": {"schedule": ["LLR", "linear", "custom"]}}
    assert [(e.retrain.lr, e.retrain.points) for e in study(said)] == [(None, ()), (0.1, ()), (None, ((0.0, 0.1),))]


REFUSED = {
    "There is no entry 'recipes': did you mean 'recipe'? Allowed: preset": {"recipes": {}},
    "recipe: There is no entry 'epoch': did you mean 'epochs'": {"recipe": {"epoch": 3}},
    "recipe: It is 3, but must be names with values.": {"recipe": 3},
    "recipe.sgd: There is no entry 'momentun'": {"recipe": {"sgd": {"momentun": 0}}},
    "retrain.sgd.momentum: The momentum is 2.0": {"retrain": {"sgd": {"momentum": 2}}},
    "recipe.lr: It is '0.1', but must be a number.": {"recipe": {"lr": "0.1"}},
    "recipe.epochs: The number of epochs is -1": {"recipe": {"epochs": -1}},
    "recipe.augment: It is 1, but must be True or False.": {"recipe": {"augment": 1}},
    "There is no model 'resnet2O': did you mean 'resnet20'": {"recipe": {"model": "resnet2O"}},
    "preset: There is no preset 'digit': did you mean 'digits'": {"preset": "digit"},
    "evaluations: The number of evaluations is 0": {"evaluations": 0},
    "recipe.method.name: There is no method 'GNP': did you mean 'GMP'": {"recipe": {"method": {"name": "GNP"}}},
    "recipe.method: There is no entry 'penalty'": {"recipe": {"method": {"name": "GMP", "penalty": 1.0}}},
    "Leave interval out: dense training, without a method,": {"recipe": {"method": {"interval": 3}}},
    "grid: There is no setting 'sparsities': did you mean 'sparsity'": {"grid": {"sparsities": [0.5]}},
    "grid.sparsity: There is no value": {"grid": {"sparsity": []}},
    "grid.sparsity: It is '0.5', but must be a number": {"grid": {"sparsity": [0.9, "0.5"]}},
    "grid.schedule: There is no retraining schedule 'ALR'": {"grid": {"schedule": ["FT", "ALR"]}},
    "Two of the budgets differ by less than a millionth": {"grid": {"budget": [0.1, 0.10000001]}},
    "grid.seeds: The number of seeds is 0": {"grid": {"seeds": 0}},
    "grid.seed and grid.seeds": {"grid": {"seeds": 1, "seed": 1}},
    "grid.seeds: The number of seeds is 1000000000000000000000": {"grid": {"seeds": 10**21}},
    "The grid has 16,000,000 runs, but a study has at most 10,000,000; ": {
        "grid": {"seeds": 8_000_000, "sparsity": [0.5, 0.9]}
    },
    "prune.sparsity and grid.sparsity": {"prune": {"sparsity": 0.5}, "grid": {"sparsity": 0.5}},
    "skip 2: There is no axis of the grid 'sparsity'": {
        "grid": {"seed": [0, 1]},
        "skip": [{"seed": 1}, {"sparsity": 0.5}],
    },
    "only 1, seed: No run of the grid has 2; it has 0, 1.": {"grid": {"seed": [0, 1]}, "only": {"seed": 2}},
    "skip 1: It must be names with values": {"grid": {"seed": 1}, "skip": [{}]},
    "The filters leave no run": {"grid": {"seed": 1}, "skip": {"seed": 1}},
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_mistake_is_one_sentence_with_the_file_and_the_entry(words):
    with pytest.raises(BadInput) as error:
        study(REFUSED[words])
    assert str(error.value).startswith(f"study.toml: {words}") and len(str(error.value)) < described.LONGEST


def test_what_is_said_of_a_mistake_is_short_and_has_no_control_characters():
    with pytest.raises(BadInput) as error:
        study({"recipe": {"data": ["\x1b[31m" * 10_000]}})
    assert len(str(error.value)) < described.LONGEST + 50 and str(error.value).isprintable()


def test_a_file_is_read_where_it_lies(tmp_path):
    with pytest.raises(BadInput, match=r"no\.toml cannot be read \(No such file"):
        described.study(Path(tmp_path / "no.toml"))
