"""Intervals and paired differences against scipy and hand counts."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from retrainlab import stats
from retrainlab.errors import BadInput


def test_interval_is_students_t():
    values = [0.91, 0.93, 0.90, 0.94, 0.92]
    mean, low, high = stats.interval(values)
    expected = scipy_stats.t.interval(0.95, 4, np.mean(values), scipy_stats.sem(values))
    assert mean == pytest.approx(np.mean(values))
    assert (low, high) == pytest.approx(expected)


def test_interval_covers_the_mean_95_times_in_100():
    generator = np.random.default_rng(0)
    samples = generator.normal(3, 2, (4000, 5))
    covered = [low <= 3 <= high for _, low, high in map(stats.interval, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)


def test_one_value_says_nothing_about_its_spread():
    assert stats.interval([0.5]) == (0.5, -math.inf, math.inf)


def frame() -> pd.DataFrame:
    base = {0: 0.50, 1: 0.70, 2: 0.90}  # seeds differ far more than schedules do
    rows = [
        {"budget": b, "seed": s, "schedule": name, "acc": base[s] + gain + 0.001 * s * (name != "LLR")}
        for b in (0.1, 0.2)
        for s in base
        for name, gain in (("LLR", 0.0), ("FT", -0.05), ("CLR", -0.0005))
    ]
    return pd.DataFrame(rows)


def test_paired_differences_do_not_see_what_seeds_share():
    out = stats.paired(frame(), ["budget"], "acc", "schedule", "LLR").set_index(["budget", "schedule"])
    ft = out.loc[(0.1, "FT")]
    assert ft["mean"] == pytest.approx(-0.049)
    assert ft["high"] - ft["low"] < 0.006
    assert ft["verdict"] == "worse"
    assert out.loc[(0.2, "CLR"), "verdict"] == "undecided"
    assert "LLR" not in out.index.get_level_values("schedule")


def test_paired_differences_match_seeds_whatever_the_order_of_rows():
    mixed = frame().sample(frac=1, random_state=3)
    a = stats.paired(frame(), ["budget"], "acc", "schedule", "LLR").sort_values(["budget", "schedule"])
    b = stats.paired(mixed, ["budget"], "acc", "schedule", "LLR").sort_values(["budget", "schedule"])
    pd.testing.assert_frame_equal(a.reset_index(drop=True), b.reset_index(drop=True))


def test_summary_counts_seeds_and_keeps_the_order_of_groups():
    out = stats.summary(frame(), ["budget", "schedule"], "acc")
    assert list(out["schedule"][:3]) == ["LLR", "FT", "CLR"]
    assert set(out["n"]) == {3}
    assert out["mean"][0] == pytest.approx(0.7)


def test_an_unknown_baseline_is_named_with_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'LLR'"):
        stats.paired(frame(), ["budget"], "acc", "schedule", "LRL")


def test_a_missing_partner_is_not_counted():
    part = frame()
    part = part[~((part["schedule"] == "FT") & (part["seed"] == 2))]
    out = stats.paired(part, ["budget"], "acc", "schedule", "LLR").set_index(["budget", "schedule"])
    assert out.loc[(0.1, "FT"), "n"] == 2 and out.loc[(0.1, "CLR"), "n"] == 3
