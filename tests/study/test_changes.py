"""One change at a time: experiments that differ from their base in the one field that they name, and dense runs that
differ in schedule and length alone."""

from dataclasses import fields, is_dataclass, replace

import pytest

from retrainlab.checks import BadInput
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.study import changes, grids

RECIPE = Recipe(epochs=30, sgd=SGD(weight_decay=2e-4))
CHANGED = {  # the one field, and its value
    "warm-up 0 %": ("retrain.warmup", 0.0),
    "warm-up 5 %": ("retrain.warmup", 0.05),
    "warm-up 20 %": ("retrain.warmup", 0.2),
    "warm-up 40 %": ("retrain.warmup", 0.4),
    "warm-up as a cosine": ("retrain.ramp", "cosine"),
    "momentum of the dense run": ("retrain.optimizer", "keep"),
    "BatchNorm recalibrated": ("retrain.recalibrate", True),
    "weight decay 0": ("retrain.sgd.weight_decay", 0.0),
    "weight decay 5 times": ("retrain.sgd.weight_decay", 1e-3),
    changes.PERP: ("retrain.freeze", True),
    "norm of all parameters": ("retrain.allr_norm", "all"),
    "d in the last cycle only": ("retrain.allr_cycles", "last"),
}


def leaves(noun, prefix: str = "") -> dict[str, object]:
    """Every field of the noun and of the nouns in it, by its path."""
    out = {}
    for f in fields(noun):
        value = getattr(noun, f.name)
        out |= leaves(value, f"{prefix}{f.name}.") if is_dataclass(value) else {f"{prefix}{f.name}": value}
    return out


def explicit(experiment: Experiment) -> Experiment:
    """The experiment with the optimiser that its retraining takes written out."""
    return replace(experiment, retrain=replace(experiment.retrain, sgd=experiment.retrain.sgd or experiment.recipe.sgd))


def different(one: Experiment, other: Experiment) -> dict[str, object]:
    """The fields in which the first differs from the second, with its values."""
    first, second = leaves(explicit(one)), leaves(explicit(other))
    assert first.keys() == second.keys()
    return {path: value for path, value in first.items() if value != second[path]}


def test_each_ingredient_differs_from_its_base_in_the_one_field_that_it_names():
    plan = changes.ingredients(RECIPE, sparsities=[0.9, 0.98], budgets=[0.05, 0.1], seeds=2)
    bases = {}
    for base, ingredient, e in plan:
        if ingredient == changes.BASE:
            bases[base, e.recipe.seed, e.prune.sparsity, e.retrain.budget] = e
    seen = set()
    for base, ingredient, e in plan:
        if ingredient not in ("", changes.BASE):
            path, value = CHANGED[ingredient]
            own = bases[base, e.recipe.seed, e.prune.sparsity, e.retrain.budget]
            assert different(e, own) == {path: pytest.approx(value)}, ingredient
            seen.add((ingredient, e.recipe.seed, e.prune.sparsity, e.retrain.budget))
    assert len(seen) == len(CHANGED) * 2 * 2 * 2 and len(plan) == len({*plan}) == len(seen) + 3 * 8 + 4


def test_the_bases_are_the_methods_with_their_defaults_and_the_prune_is_theirs():
    plan = changes.ingredients(RECIPE, sparsities=[0.9], budgets=[0.05], seeds=1)
    found = {(base, ingredient): e for base, ingredient, e in plan}
    recipe = replace(RECIPE, seed=0)
    assert found["LLR", "unchanged"] == Experiment(recipe, Prune(0.9), Retrain("LLR", budget=0.05))
    assert found["ALLR", "unchanged"] == Experiment(recipe, Prune(0.9), Retrain("ALLR", budget=0.05))
    assert found["ALLR, 3 cycles", "unchanged"] == Experiment(
        recipe, Prune(0.9, cycles=3), Retrain("ALLR", budget=0.05)
    )
    assert found["", ""] == Experiment(recipe, Prune(0.9), Retrain(budget=0.0)), "straight after the prune"


@pytest.mark.parametrize(
    ("epochs", "trained"), [(30, [1, 2, 3, 8, 15, 30]), (10, [1, 3, 5, 10]), (182, [2, 10, 19, 46, 91, 182])]
)
def test_a_budget_of_dense_training_is_rounded_up_to_whole_epochs_each_once(epochs, trained):
    """Pitfall: 0.1 of 30 epochs is 3.0000000000000004, and rounded up 4."""
    found = grids.dense(
        replace(RECIPE, epochs=epochs), schedules=["linear"], budgets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0), seeds=1
    )
    assert [e.recipe.epochs for e in found] == trained


def test_dense_runs_differ_in_schedule_length_and_seed_alone_and_are_not_pruned():
    found = grids.dense(RECIPE, schedules=["linear", "multistep"], budgets=[0.5, 1.0], seeds=2)
    whole = Experiment(RECIPE, Prune(0.0), Retrain(budget=0.0))
    assert len(found) == len({*found}) == 8
    for e in found:
        assert different(e, whole).keys() <= {"recipe.epochs", "recipe.schedule", "recipe.seed"}
    assert [e.recipe for e in found if e.recipe.epochs == 30 and e.recipe.schedule == "multistep"] == [
        replace(RECIPE, seed=seed) for seed in range(2)
    ], "the recipe's own run, which figures 1 to 4 start from"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"budgets": [0.0]}, "budget of dense training"),
        ({"schedules": ["linea"]}, "did you mean 'linear'"),
        ({"seeds": 0}, "number of seeds"),
    ],
)
def test_dense_runs_that_cannot_be_are_refused(given, words):
    with pytest.raises(BadInput, match=words):
        grids.dense(RECIPE, **{"schedules": ["linear"], "budgets": [0.5], "seeds": 1} | given)


def test_an_ingredient_needs_a_retraining():
    with pytest.raises(BadInput, match="budget of retraining"):
        changes.ingredients(RECIPE, sparsities=[0.9], budgets=[0.0], seeds=1)
