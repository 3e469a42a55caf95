"""The rule: its tests are scipy's, its power is statsmodels' and what simulations find, and where nothing is true few tables
say anything."""

import math

import numpy as np
import pytest
from scipy.stats import nct, t, ttest_1samp, ttest_rel
from statsmodels.stats.power import TTestPower

from retrainlab import stats
from retrainlab.checks import BadInput
from retrainlab.claims import rule
from retrainlab.claims.rule import CONTRADICTED, FAILS, HOLDS, NOT_TESTED, OPEN, SUPPORTED, UNDECIDED, Part, judge

TESTS = 30  # parts of a table, about as many as the claims have


def parts_of(values, boundary=0.0, side="above"):
    """A part for each row of the values."""
    return [Part("it is so", "fig03_budgets", tuple(row), boundary, side) for row in values]


@pytest.fixture
def generator():
    return np.random.default_rng(0)


def test_a_test_of_two_schedules_is_scipys_paired_t_test(generator):
    one, other = generator.normal(90, 3, (2, 10))
    [part] = parts_of([one - other])
    assert rule.p_value(part) == pytest.approx(ttest_rel(one, other).pvalue, rel=1e-6)
    [part] = parts_of([one - other], boundary=-0.5)
    assert rule.p_value(part) == pytest.approx(ttest_1samp(one - other, -0.5).pvalue, rel=1e-6)


def test_p_values_are_corrected_for_all_tests_together(generator):
    parts = parts_of(generator.normal(1, 1, (5, 6)))
    assert [j.p for j in judge(parts)] == pytest.approx(stats.holm([rule.p_value(p) for p in parts]))
    assert judge(parts)[0].p > judge(parts[:1])[0].p


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("tests", [1, TESTS])
def test_the_smallest_difference_is_found_with_the_stated_power(n, tests):
    """The closed form: the test statistic has a noncentral t distribution."""
    alpha, shift = rule.ALPHA / tests, rule.effect(n, tests) * math.sqrt(n)
    critical = t.ppf(1 - alpha / 2, n - 1)
    assert nct.sf(critical, n - 1, shift) == pytest.approx(rule.POWER, abs=1e-6)
    if n > 3:  # its other tail is no number there
        assert TTestPower().power(rule.effect(n, tests), n, alpha) == pytest.approx(rule.POWER, abs=1e-6)


@pytest.mark.parametrize("boundary", [0.0, -rule.MARGIN])
@pytest.mark.parametrize("n", [3, 10])
def test_at_most_one_in_twenty_tables_says_anything_where_nothing_is_true(generator, n, boundary):
    """Means on their boundaries, in 1,000 studies; 0.065 is three standard errors above 0.05."""
    wrong = 0
    for _ in range(1000):
        seeds = generator.normal(0, 1, n)  # what all differences of a seed share
        values = boundary + seeds + generator.normal(0, 1, (TESTS, n))
        wrong += any(state != OPEN for state in rule.states(parts_of(values, boundary)))
    assert wrong / 1000 <= 0.065


@pytest.mark.parametrize("side", ["above", "below"])
def test_a_planted_difference_is_found_with_the_stated_power(generator, side):
    """One part of a table is as far from its boundary as is said to be found, the others on it."""
    n, sign = 10, 1 if side == "above" else -1
    shift, found = rule.effect(n, TESTS), []
    for _ in range(1000):
        values = generator.normal(0, 1, (TESTS, n))
        values[0] += sign * shift
        found.append(rule.states(parts_of(values, side=side))[0])
    assert found.count(HOLDS) / 1000 == pytest.approx(rule.POWER, abs=0.04)
    assert FAILS not in found


def test_the_smallest_difference_grows_with_the_spread(generator):
    values = generator.normal(0, 1, 10)
    one, other = judge(parts_of([values, 2 * values]))
    assert one.smallest == pytest.approx(np.std(values, ddof=1) * rule.effect(10, 2))
    assert other.smallest == pytest.approx(2 * one.smallest)


CLEAR = (5.0, 5.1, 4.9, 5.2, 4.8)


@pytest.mark.parametrize(
    ("values", "boundary", "side", "state"),
    [
        (CLEAR, 0.0, "above", HOLDS),
        (CLEAR, 6.0, "above", FAILS),
        (CLEAR, 0.0, "below", FAILS),
        (CLEAR, 6.0, "below", HOLDS),
        ((-0.2, -0.3, -0.25, -0.2, -0.3), -0.5, "above", HOLDS),  # worse, but as good within the margin
        ((1.0, -1.0, 2.0, -2.0, 0.5), 0.0, "above", OPEN),
        (CLEAR[:2], 0.0, "above", OPEN),  # too few seeds
        ((), 0.0, "above", OPEN),
        ((1.0, 1.0, 1.0), 0.0, "above", OPEN),  # equal differences may be one image by chance
        ((0.0, 0.0), 0.0, "exactly", HOLDS),
        ((0.0, 7e-6), 0.0, "exactly", HOLDS),  # one training by two engines: Pitfall: a claim contradicted by rounding
        ((0.0, 2e-3), 0.0, "exactly", FAILS),
        ((), 0.0, "exactly", OPEN),
    ],
)
def test_states(values, boundary, side, state):
    part = Part("it is so", "fig03_budgets", values, boundary, side)
    [judged] = judge([part])
    assert judged.state == state == rule.states([part])[0]
    assert judged.n == len(values)
    assert math.isnan(judged.p) == math.isnan(rule.p_value(part)) == (side == "exactly" or len(values) < stats.SEEDS)


def test_what_is_not_tested_counts_for_nothing_in_the_correction(generator):
    tested = parts_of(generator.normal(1, 1, (3, 6)))
    more = [*tested, *parts_of([[1.0, 2.0]]), *parts_of([[0.0] * 6], side="exactly")]
    assert [(j.p, j.smallest) for j in judge(more)[:3]] == [(j.p, j.smallest) for j in judge(tested)]


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        ([HOLDS, HOLDS], SUPPORTED),
        ([HOLDS, OPEN], UNDECIDED),
        ([HOLDS, FAILS, OPEN], CONTRADICTED),
        ([OPEN], UNDECIDED),
        ([], NOT_TESTED),
    ],
)
def test_verdicts(states, verdict):
    assert rule.verdict(states) == verdict


def test_an_unknown_side_is_refused():
    with pytest.raises(BadInput, match="did you mean 'above'"):
        Part("it is so", "fig03_budgets", CLEAR, 0.0, "abov")
