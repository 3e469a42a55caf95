"""The contest: equal budgets by construction, equal grids, choices on validation alone."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from retrainlab import contest
from retrainlab.checks import BadInput
from retrainlab.config import Prune, Recipe, Retrain
from retrainlab.contest.entrants import GRID
from retrainlab.methods.bimp import bimp
from retrainlab.methods.table import GMP, SEARCHED
from retrainlab.study.run import run_study
from retrainlab.training.cycles import lengths

RECIPE = Recipe(width=4, epochs=4)
PER_EPOCH = 31  # of digits with batches of 32


def total(e) -> int:
    """Iterations of an experiment, from its nouns alone."""
    steps = e.recipe.epochs * PER_EPOCH
    return steps + e.retrain.copies * sum(lengths(e.prune, e.retrain, steps))


@pytest.mark.parametrize("epochs", [4, 7, 10, 30, 101])
@pytest.mark.parametrize("name", contest.ENTRANTS)
def test_every_candidate_has_exactly_the_same_total(name, epochs):
    grid = contest.candidates(name, replace(RECIPE, epochs=epochs), 0.9)
    assert len(grid) == GRID == len({c.setting for c in grid}) == len({c.experiment for c in grid})
    assert {total(c.experiment) for c in grid} == {epochs * PER_EPOCH}
    sparsity = 0.0 if name == "Dense" else 0.9
    assert {c.experiment.prune.sparsity for c in grid} == {sparsity}
    for c in grid:
        assert c.experiment.recipe.schedule == "linear"
        assert getattr(c.experiment.recipe.method, "sparsity", 0.9) == 0.9


@pytest.mark.parametrize(("dense", "cycles"), [(1, 1), (5, 3), (9, 4), (7, 2)])
def test_bimp_spends_its_total_with_the_remainder_in_the_last_cycle(dense, cycles):
    """Zimmer et al.: phase 2 is T - T0 epochs in k cycles; here 10 epochs of 31 iterations."""
    e = bimp(replace(RECIPE, epochs=10), 0.9, dense_epochs=dense, cycles=cycles)
    each = lengths(e.prune, e.retrain, dense * PER_EPOCH)
    rest = (10 - dense) * PER_EPOCH
    assert each == [rest // cycles] * (cycles - 1) + [rest - rest // cycles * (cycles - 1)]
    assert sum(each) + dense * PER_EPOCH == 10 * PER_EPOCH
    assert e.recipe.schedule == "linear" and e.retrain.schedule == "ALLR"
    assert e.prune == Prune(0.9, cycles=cycles)


def test_bimp_refuses_a_split_without_two_phases_and_a_method():
    for dense in (0, 4, 5):
        with pytest.raises(BadInput, match="dense phase"):
            bimp(RECIPE, 0.9, dense_epochs=dense)
    with pytest.raises(BadInput, match="not with GMP"):
        bimp(replace(RECIPE, method=GMP()), 0.9, dense_epochs=1)


def test_a_total_too_short_to_split_is_refused():
    with pytest.raises(BadInput, match="at least 4"):
        contest.candidates("BIMP", replace(RECIPE, epochs=3), 0.9)
    with pytest.raises(BadInput, match="did you mean 'BIMP'"):
        contest.candidates("BIMQ", RECIPE, 0.9)


def pretend(accuracy, seen, trained=lambda e: e.prune.sparsity):
    """A study of made-up results; accuracy(experiment) is that of validation, and test is its opposite; trained(experiment)
    is the sparsity before the hard prune."""

    def study(experiments):
        seen.append(list(experiments))
        rows = [
            {
                "seed": e.recipe.seed,
                "sparsity": e.prune.sparsity,
                "validation_accuracy": accuracy(e),
                "validation_loss": 1.0,
                "test_accuracy": 1 - accuracy(e),
                "trained_sparsity": trained(e),
            }
            for e in experiments
        ]
        return pd.DataFrame(rows)

    return study


@pytest.mark.parametrize(
    ("names", "sparsities", "words"), [((), (0.8, 0.9), "0 entrants and 2"), (("GMP",), [], "1 entrants and 0")]
)
def test_a_contest_of_nothing_is_refused_before_any_study(names, sparsities, words):
    seen = []
    with pytest.raises(BadInput, match=f"{words} sparsities; give it at least one of each"):
        contest.contest(RECIPE, sparsities, pretend(lambda e: 0.9, seen), names)
    assert not seen


def test_settings_are_chosen_on_validation_over_the_tuning_seeds_for_each_sparsity():
    def accuracy(e):
        if e.recipe.method is None:
            return 0.5
        best = 0.5 if e.prune.sparsity == 0.8 else 0.9
        odd = 0.6 if e.recipe.seed >= 2 else 0.0  # what other seeds would say
        return (
            0.9
            - abs(getattr(e.recipe.method, "end", 0) - best) / 2
            - odd * (getattr(e.recipe.method, "end", 0) == best)
        )

    seen = []
    chosen, rows, tuning, searches = contest.contest(
        RECIPE, (0.8, 0.95), pretend(accuracy, seen), ("GMP", "Dense"), contest.Rules(seeds=3, tuning_seeds=2)
    )
    ends = {(e.prune.sparsity, e.recipe.method.end) for name, e in chosen if name == "GMP"}
    assert ends == {(0.8, 0.5), (0.95, 0.9)}
    assert {e.recipe.seed for _, e in chosen} == {0, 1, 2} and len(chosen) == 3 * 2 + 3
    assert "test_accuracy" not in tuning and set(tuning["seed"]) == {0, 1}
    assert tuning.groupby(["entrant", "sparsity"])["setting"].nunique().eq(3).all()
    assert rows["entrant"].tolist() == [name for name, _ in chosen] and searches.empty


@pytest.mark.parametrize("able", [(-8.0, -5.0), (-8.0,), ()], ids=["two", "one", "none"])
def test_a_setting_that_misses_its_sparsity_is_taken_only_if_all_do(able):
    """The more t0, the better; but only with `able` does STR come to its sparsity."""
    study = pretend(
        lambda e: 0.9 + getattr(e.recipe.method, "t0", 0) / 100,
        [],
        lambda e: e.prune.sparsity - 0.1 * (getattr(e.recipe.method, "t0", -8.0) not in able),
    )
    chosen, _, tuning, _ = contest.contest(
        RECIPE, (0.9,), study, ("STR", "Dense"), contest.Rules(seeds=1, tuning_seeds=2)
    )
    assert {e.recipe.method.t0 for name, e in chosen if name == "STR"} == {max(able, default=-3.0)}
    assert tuning.groupby("setting")["reached"].first().sum() == len(able) + 3, "and Dense has nothing to reach"


def test_all_entrants_run_and_each_trains_for_the_total(tmp_path):
    """Those aside that must search for their knob, as in the smoke test of figure 5."""
    small = replace(RECIPE, model="mlp", width=16)

    def study(experiments):
        return run_study(experiments, store=tmp_path, jobs=1, progress=lambda *_: None)

    names = [name for name in contest.ENTRANTS if name not in SEARCHED]
    chosen, rows, _, searches = contest.contest(
        small, (0.7,), study, names, contest.Rules(seeds=1, tuning_seeds=1, tolerance=0.05, most=4)
    )
    assert rows["total_steps"].eq(4 * PER_EPOCH).all()
    pruned = rows[rows["entrant"] != "Dense"]
    assert (pruned["sparsity_achieved"] >= 0.7 - 1e-3).all() and (pruned["sparsity_achieved"] < 0.76).all()
    assert searches.empty
    again = contest.retrained(chosen, small, 0.7, 0.5)
    assert {(e.retrain.lr, e.retrain.sgd) for _, e in again} == {(RECIPE.lr, RECIPE.sgd)}
    assert [name for name, _ in again] == ["GMP", "GSM", "DPF", "DNW", "LC", "RigL", "Static", "IMP"]
    retrained = study([e for _, e in again])
    assert (abs(retrained["sparsity_achieved"] - 0.7) < 1e-3).all() and retrained["steps"].eq(2 * PER_EPOCH).all()


def test_splits_and_lengths_compare_equal_totals():
    plans = contest.splits(replace(RECIPE, epochs=10), (0.9,), (0.1, 0.5, 0.9), (1, 2, 4), 2)
    assert len(plans) == 2 * 3 * 3 and {total(e) for e in plans} == {10 * PER_EPOCH}
    rows = contest.lengths(replace(RECIPE, epochs=10), 0.9, (0.3, 0.5, 1.0), 3, 1)
    assert {t for _, t, _ in rows} == {13, 15, 20} and len(rows) == 4 * 3
    assert all(total(e) == epochs * PER_EPOCH for _, epochs, e in rows)
    assert len(contest.lengths(RECIPE, 0.9, (0.05, 0.1), 3, 1)) == 4, "both are one epoch: each run once"
    longer = [e.recipe.epochs for what, _, e in rows if what == "longer dense, one-shot"]
    assert longer == [10, 12, 17]
    assert all(
        e.retrain == Retrain(budget=0) and e.prune == Prune(0) for what, _, e in rows if what.startswith("dense")
    )


def test_a_setting_with_which_a_training_diverges_is_taken_only_if_all_do():
    """The larger the rate, the better, where it does not diverge: with the largest it does, on one seed of two."""

    def accuracy(e):
        wild = e.recipe.lr > 1.5 * RECIPE.lr and e.recipe.seed == 1
        return math.nan if wild or e.prune.sparsity == 0.8 and e.recipe.method else 0.5 + e.recipe.lr

    chosen, rows, tuning, _ = contest.contest(
        RECIPE, (0.8, 0.9), pretend(accuracy, []), ("DNW",), contest.Rules(seeds=2, tuning_seeds=2)
    )
    assert {e.recipe.lr for _, e in chosen if e.prune.sparsity == 0.9} == {RECIPE.lr}
    assert len(chosen) == 4, "at 0.8 every setting has diverged, and one of them stands for them"
    assert rows["validation_accuracy"].isna().tolist() == [True, True, False, False]
