"""The search for a knob: on sparsities known in closed form, and on real training."""

import math
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.contest.search import WIDE, following, proposals, reach, with_knob
from retrainlab.methods.knobs import Knob
from retrainlab.methods.table import CS, DST, GMP, METHODS, STR, entry
from retrainlab.study.run import run_study

RECIPE = Recipe(width=4, epochs=3, schedule="linear")


def experiment(method, sparsity=0.9, seed=0) -> Experiment:
    return Experiment(replace(RECIPE, method=method, seed=seed), Prune(sparsity), Retrain(budget=0))


def pretend(formula, calls):
    """A study that trains nothing: the sparsity is a formula of the knob."""

    def study(experiments):
        calls.append(list(experiments))
        knobs = [getattr(e.recipe.method, entry(e.recipe.method).knob.field) for e in experiments]
        return pd.DataFrame({"trained_sparsity": [formula(k) for k in knobs]})

    return study


def logistic(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("method", "formula"),
    [
        (CS(s0=0.0), lambda s0: logistic(-20 * s0)),
        (CS(s0=0.2), lambda s0: logistic(1 - 4 * s0)),
        (STR(decay=1e-2), lambda d: logistic(2 * math.log(d / 0.02))),
        (STR(decay=1.0), lambda d: logistic(5 * math.log(d / 0.02))),
        (DST(alpha=5e-6), lambda a: min(0.97, 0.1 + 0.8 * logistic(math.log(a / 1e-3)))),
        (DST(alpha=0.05), lambda a: a / (a + 1e-4)),
    ],
)
def test_every_reachable_target_is_found_within_the_tolerance(method, formula):
    targets = (0.5, 0.8, 0.95) if isinstance(method, DST) else (0.5, 0.8, 0.9, 0.95, 0.98)
    found, table = reach([experiment(method, s) for s in targets], pretend(formula, []), most=30)
    knob = entry(method).knob.field
    if method == DST(alpha=5e-6):  # its sparsity ends at 0.9
        assert table["reached"].tolist() == [True, True, False]
        found, targets = found[:2], targets[:2]
    for e, target in zip(found, targets):
        assert formula(getattr(e.recipe.method, knob)) == pytest.approx(target, abs=0.005)
        assert e.prune.sparsity == target


def test_the_table_counts_every_training_once():
    calls = []
    experiments = [experiment(CS(), s, seed) for s in (0.8, 0.9) for seed in (0, 1)]
    _, table = reach(experiments, pretend(lambda s0: logistic(-20 * s0), calls))
    made = [e for call in calls for e in call]
    each = Counter((e.recipe.seed, e.recipe.method) for e in made)
    assert set(each.values()) == {1}, "what one target tried the other knows"
    assert table["runs"].sum() == len(made) and table["epochs"].sum() == 3 * len(made)
    assert table["reached"].all() and set(table["seed"]) == {0, 1}


def test_a_target_out_of_reach_gives_the_closest_run_and_says_so():
    found, table = reach([experiment(STR())], pretend(lambda d: 0.3, []))
    assert not table["reached"].any() and table["sparsity_trained"].tolist() == [0.3]
    assert METHODS["STR"].knob.low <= found[0].recipe.method.decay <= METHODS["STR"].knob.high


def test_the_same_search_again_asks_for_the_same_runs():
    """So that all of them come from the store."""
    first, second = [], []
    for calls in (first, second):
        reach([experiment(DST(), s) for s in (0.8, 0.9)], pretend(lambda a: a / (a + 1e-4), calls))
    assert first == second


def test_the_next_knob_is_where_a_line_in_the_logit_meets_the_target():
    knob = Knob("s0", 1, 1.0, -10, 10)
    tried = [(0.0, logistic(-1.0)), (2.0, logistic(3.0))]
    assert following(tried, 0.5, knob) == pytest.approx(0.5)
    assert following(tried, logistic(2.9), knob) == pytest.approx(1.8), "kept off the ends by a tenth"
    assert following([*tried, (0.5, logistic(0.1))], 0.5, knob) == pytest.approx(0.5 * 0.9)
    assert following(tried, logistic(4.0), knob) == pytest.approx(2.5), "onward along the line"
    assert following(tried, logistic(9.0), knob) == pytest.approx(3.0), "one step at most"
    assert following(tried, logistic(-3.0), knob) == pytest.approx(-1.0)
    assert following([(1.0, 0.5)], 0.9, knob) == 2.0, "one step, when nothing else is known"
    falling = Knob("s0", -1, 1.0, -10, 10)
    assert following([(1.0, 0.5)], 0.9, falling) == 0.0
    assert following([(9.5, 0.5)], 0.9, knob) == 10.0, "never out of the range"
    bumpy = [(0.0, 0.2), (1.0, 0.8), (2.0, 0.3), (3.0, 0.6)]
    assert following(bumpy, 0.5, knob) == pytest.approx(0.5), "the first crossing, where sparsity falls again"


def test_no_search_is_an_empty_table_with_its_columns():
    found, table = reach([], pretend(lambda _: 0.5, []))
    assert found == [] and table.empty and {"method", "what", "runs"} - {"what"} <= set(table.columns)


def test_only_methods_with_a_knob_are_searched():
    with pytest.raises(BadInput, match="CS, STR, DST"):
        reach([experiment(GMP())], pretend(lambda _: 0.5, []))


@pytest.mark.parametrize("method", [CS(s0=-0.05), STR(t0=-5.0), DST(alpha=2e-3)], ids=lambda m: m.name)
def test_real_training_reaches_its_sparsity_and_a_second_search_trains_nothing(method, tmp_path):
    def study(experiments):
        return run_study(experiments, store=tmp_path, jobs=1, progress=lambda *_: None)

    [found], table = reach([experiment(method, 0.7)], study, tolerance=0.02)
    assert table["reached"].all()
    trained = run_study([found], store=tmp_path, jobs=1, progress=lambda *_: None)["trained_sparsity"]
    assert trained.item() == table["sparsity_trained"].item() == pytest.approx(0.7, abs=0.02)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json")}
    again, same = reach([experiment(method, 0.7)], study, tolerance=0.02)
    assert again == [found] and same.equals(table)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.json")} == before


def test_with_knob_changes_the_knob_alone():
    changed = with_knob(experiment(STR(t0=-3.0)), 0.5)
    assert changed.recipe.method == STR(t0=-3.0, decay=0.5)
    assert replace(changed, recipe=RECIPE) == replace(experiment(STR(t0=-3.0)), recipe=RECIPE)


@pytest.mark.parametrize("top", [0.006, 0.012, 0.02, 0.03])
@pytest.mark.parametrize("target", [0.85, 0.9, 0.95])
def test_a_peak_between_runs_is_looked_for_where_sparsity_falls_beyond_it(top, target):
    """As DST's does when whole layers start over: up to `top` it rises, beyond it falls to 0.7."""

    def formula(alpha):
        return min(0.97, 0.97 * logistic(3 * math.log(alpha / top) + 4)) if alpha <= top else 0.7

    found, table = reach([experiment(DST(alpha=2e-3), target)], pretend(formula, []), most=12)
    assert table["reached"].all()
    assert formula(found[0].recipe.method.alpha) == pytest.approx(target, abs=0.005)


def test_a_fall_that_is_noise_does_not_keep_the_search():
    knob = METHODS["STR"].knob
    noisy = [(0.001, 0.3), (0.002, 0.299), (0.004, 0.5), (0.008, 0.95)]
    assert 0.004 < following(noisy, 0.9, knob) < 0.008


def test_where_sparsity_jumps_several_knobs_are_tried_at_once():
    knob = Knob("s0", 1, 1.0, -10, 10)
    steady = [(0.0, 0.2), (1.0, 0.5), (2.0, 0.9)]
    assert proposals(steady, 0.7, knob) == [following(steady, 0.7, knob)]
    jumps = [(0.0, 0.2), (1.0, 0.5), (2.0, 0.45), (3.0, 0.88), (4.0, 0.6), (5.0, 0.1)]
    first = following(jumps, 0.9, knob)
    assert proposals(jumps, 0.9, knob)[:3] == [first, 2.5, 3.5], "on both sides of the run that came nearest"
    close = [(0.0, 0.5), (0.02, 0.4), (0.04, 0.45)]
    assert proposals(close, 0.9, knob) == [following(close, 0.9, knob)], "no gap is worth a run"


def test_a_sparsity_that_jumps_about_its_trend_is_reached():
    """As DST's does near its end, where each run loses other layers: within 3 points of a line, by no rule."""

    def formula(seed):
        def jumping(alpha):
            noise = math.sin(1e6 * alpha + seed) * 0.03
            return 0.95 + noise + 0.02 * math.log(alpha / 0.01) if alpha < 0.02 else 0.6

        return jumping

    reached = []
    for seed in range(20):
        calls = []
        _, table = reach([experiment(DST(alpha=2e-3), 0.95)], pretend(formula(seed), calls))
        reached += table["reached"].tolist()
        assert max(map(len, calls)) <= WIDE and len(calls) <= 8
    assert sum(reached) >= 18


# ---- runs that diverge -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [math.nan, None], ids=str)
@pytest.mark.parametrize("wall", [0.028, 0.03, 0.045])
def test_a_run_that_diverges_is_not_chosen_and_the_search_goes_on_on_this_side_of_it(wall, lost):
    """None: as a frame has it in which nothing is known."""
    calls = []
    study = pretend(lambda decay: logistic(2 * math.log(decay / 0.02)) if decay < wall else lost, calls)
    [found], table = reach([experiment(STR(decay=0.025), 0.65)], study, most=12)
    assert table["reached"].all() and found.recipe.method.decay < 0.03
    assert len({e for call in calls for e in call}) == sum(map(len, calls)), "none is made twice"


def test_where_every_run_diverges_the_search_gives_up_with_the_knob_it_was_given():
    calls = []
    found, table = reach([experiment(STR(decay=0.5))], pretend(lambda _: None, calls))
    assert found == [experiment(STR(decay=0.5))] and len(calls) == 1
    assert not table["reached"].any() and table["sparsity_trained"].isna().all()
