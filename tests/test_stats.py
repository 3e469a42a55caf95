"""Intervals and paired differences against scipy and hand counts."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from retrainlab import stats
from retrainlab.checks import BadInput


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
    mean, low, high = stats.interval([])
    assert math.isnan(mean) and (low, high) == (-math.inf, math.inf)


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


# ---- verdicts --------------------------------------------------------------------------------------------------------


def runs(differences: dict[str, list[float]], **more) -> pd.DataFrame:
    """A row for each schedule and seed, with differences to `base`, whose accuracy is the seed's own."""
    rows = [
        {"cell": 0, "seed": seed, "schedule": name, "acc": 0.5 + seed / 10 + d}
        for name, values in ({"base": [0.0] * len(next(iter(differences.values())))} | differences).items()
        for seed, d in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(**more)


def judged(frame: pd.DataFrame) -> pd.DataFrame:
    return stats.paired(frame, ["cell"], "acc", "schedule", "base").set_index("schedule")


@pytest.mark.parametrize("seeds", [1, 2])
def test_no_verdict_from_fewer_than_three_seeds(seeds):
    out = judged(runs({"FT": [-0.3, -0.3001][:seeds]})).loc["FT"]
    assert (out["verdict"], out["corrected"]) == ("undecided", "undecided") and math.isnan(out["p"])


def test_one_image_less_on_every_seed_tells_nothing():
    """Pitfall: a spread of exactly 0, which accuracies in steps of one image have by chance, makes Student's t certain."""
    out = judged(runs({"FT": [-1 / 270] * 5, "same": [0.0] * 5}))
    assert tuple(out.loc["FT", ["low", "high", "p", "verdict"]]) == (-math.inf, math.inf, 1, "undecided")
    assert tuple(out.loc["same", ["mean", "low", "high", "p", "verdict"]]) == (0, 0, 0, 1, "undecided")


def test_p_values_are_scipys_and_agree_with_the_intervals():
    generator = np.random.default_rng(1)
    for _ in range(50):
        values = generator.normal(0.01, 0.01, 5).round(4)
        expected = scipy_stats.ttest_1samp(values, 0).pvalue
        out = judged(runs({"FT": list(values)})).loc["FT"]
        assert out["p"] == pytest.approx(expected, abs=1e-6)
        assert (out["verdict"] != "undecided") == (out["p"] < 0.05)


def test_holms_correction_is_the_step_down_rule():
    """Literally: the i-th smallest of m is compared with 0.05 / (m - i + 1), up to the first that fails."""
    generator = np.random.default_rng(2)
    for _ in range(100):
        p = generator.uniform(0, 0.05, 6) ** 2
        left, rejected = sorted(range(6), key=lambda i: p[i]), set()
        while left and p[left[0]] <= 0.05 / len(left):
            rejected.add(left.pop(0))
        assert set(np.flatnonzero(stats.holm(p) <= 0.05)) == rejected
    np.testing.assert_allclose(stats.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(stats.holm([0.5, math.nan, 0.04]), [0.5, math.nan, 0.08])


def test_of_twenty_equal_cells_one_is_worse_by_its_interval_and_none_once_corrected():
    generator = np.random.default_rng(3)
    cells = [runs({"FT": list(generator.normal(0, 0.01, 5))}, cell=i) for i in range(40)]
    out = stats.paired(pd.concat(cells), ["cell"], "acc", "schedule", "base")
    assert (out["verdict"] != "undecided").any() and (out["corrected"] == "undecided").all()
    sure = runs({"FT": [-0.1, -0.1001, -0.1, -0.0999, -0.1]}, cell=99)
    out = stats.paired(pd.concat([*cells, sure]), ["cell"], "acc", "schedule", "base").set_index("cell")
    assert out.loc[99, "corrected"] == "worse"


def test_one_run_under_two_names_is_found_by_its_losses_and_counts_once():
    """FT and LRW have one accuracy and one loss; SLR has the accuracy by chance, base and ALLR are one run, too."""
    same, small = [-0.1, -0.11, -0.12, -0.1, -0.1], [-0.1, -0.2, -0.3, -0.1, -0.1]
    frame = runs({"FT": same, "LRW": same, "SLR": same, "CLR": small, "ALLR": [0.0] * 5})
    losses = {"FT": 0.1, "LRW": 0.1, "SLR": 0.2, "CLR": 0.3, "base": 0.4, "ALLR": 0.4}
    frame["test_loss"] = frame["schedule"].map(losses) + frame["seed"] / 7
    out = judged(frame)
    assert dict(out["same_as"]) == {"FT": "", "LRW": "FT", "SLR": "", "CLR": "", "ALLR": "base"}
    family = stats.holm(out.loc[["FT", "SLR", "CLR"], "p"])
    assert list(out.loc[["FT", "SLR", "CLR"], "corrected"] == "worse") == list(family <= 0.05)
    assert (
        out.loc["LRW", "corrected"] == out.loc["FT", "corrected"] == "worse"
        and out.loc["ALLR", "corrected"] == "undecided"
    )
    assert set(judged(frame.drop(columns="test_loss"))["same_as"]) == {""}, "accuracies alone are easily equal"


def test_the_average_over_cells_is_paired_by_seed():
    cells = [runs({"FT": [-0.1, -0.2, -0.1]}, cell=0), runs({"FT": [0.1, 0.0, 0.04]}, cell=1)]
    [out] = stats.overall(pd.concat(cells), "acc", "schedule", "base").to_dict("records")
    expected = stats.interval([0.0, -0.1, -0.03])
    assert (out["overall_mean"], out["overall_low"], out["overall_high"]) == pytest.approx(expected)
    assert out["overall"] == "undecided"
    uneven = pd.concat(cells).assign(acc=lambda rows: rows["acc"] + rows["cell"] / 4)
    out = stats.overall(uneven.query("seed < 2 or schedule != 'FT' or cell == 0"), "acc", "schedule", "base")
    assert out["overall_mean"].item() == pytest.approx(-0.05), (
        "seed 2, which lacks a cell, is not compared over other cells"
    )
    lacking = pd.concat(cells).query("seed < 2 or schedule != 'FT' or cell == 0")
    lacking.loc[(lacking["seed"] == 0) & (lacking["cell"] == 1), "acc"] = math.nan
    assert stats.overall(lacking, "acc", "schedule", "base")["overall_mean"].notna().all()


# ---- runs that diverged ----------------------------------------------------------------------------------------------


def test_what_diverged_is_left_out_of_means_and_pairs_and_counted():
    part = frame()
    part.loc[(part["schedule"] == "FT") & (part["seed"] == 2), "acc"] = math.nan
    part.loc[(part["schedule"] == "LLR") & (part["seed"] == 0) & (part["budget"] == 0.2), "acc"] = None
    means = stats.summary(part, ["budget", "schedule"], "acc").set_index(["budget", "schedule"])
    assert tuple(means.loc[(0.1, "FT"), ["n", "left_out"]]) == (2, 1)
    assert means.loc[(0.1, "FT"), "mean"] == pytest.approx((0.45 + 0.651) / 2)
    out = stats.paired(part, ["budget"], "acc", "schedule", "LLR").set_index(["budget", "schedule"])
    assert [tuple(out.loc[(b, "FT"), ["n", "left_out"]]) for b in (0.1, 0.2)] == [(2, 1), (1, 2)]
    assert tuple(out.loc[(0.2, "CLR"), ["n", "left_out"]]) == (2, 1)


def test_a_schedule_that_always_diverged_has_no_mean_and_no_verdict():
    part = frame()
    part.loc[part["schedule"] == "FT", "acc"] = math.nan
    means = stats.summary(part, ["schedule"], "acc").set_index("schedule")
    assert math.isnan(means.loc["FT", "mean"]) and tuple(means.loc["FT", ["n", "left_out"]]) == (0, 6)
    out = stats.paired(part, ["budget"], "acc", "schedule", "LLR").set_index(["budget", "schedule"])
    assert tuple(out.loc[(0.1, "FT"), ["n", "left_out", "verdict", "corrected"]]) == (0, 3, "undecided", "undecided")


def test_a_sentence_names_the_runs_that_are_left_out():
    rows = frame().assign(sparsity=0.98, outcome="")
    assert stats.left_out(rows) == "" and stats.left_out(rows.drop(columns="outcome")) == ""
    rows.loc[[0, 1], "outcome"] = "diverged at step 3"
    assert stats.left_out(rows) == (
        " 2 of 18 runs diverged and are left out: LLR at sparsity 98 %, budget 10 %, seed 0; "
        "FT at sparsity 98 %, budget 10 %, seed 0."
    )
    assert stats.left_out(rows.assign(outcome="diverged")).endswith("; 14 more.")
    one = stats.left_out(rows.rename(columns={"schedule": "entrant"}).assign(outcome=[None] * 17 + ["diverged"]))
    assert one == " 1 of 18 runs diverged and is left out: CLR at sparsity 98 %, budget 20 %, seed 2."


# ---- as it is saved --------------------------------------------------------------------------------------------------


def test_a_saved_table_is_saved_the_same_again():
    generator = np.random.default_rng(4)
    values = generator.normal(0, 1, 500) * 10.0 ** generator.integers(-12, 9, 500)
    once = stats.as_saved(pd.DataFrame({"value": values, "name": "a"}))
    pd.testing.assert_frame_equal(once, stats.as_saved(once), check_exact=True)
    assert list(once["value"]) == [float(f"{x:.6g}") for x in values]


def test_one_column_to_group_by_is_a_list_of_one():
    """Pitfall: a text is taken letter by letter."""
    frame = pd.DataFrame({"seed": [0, 1, 0, 1] * 2, "budget": [1, 1, 2, 2] * 2, "way": ["a"] * 4 + ["b"] * 4})
    frame["value"] = [0.1, 0.2, 0.3, 0.5, 0.2, 0.3, 0.4, 0.7]
    pd.testing.assert_frame_equal(stats.summary(frame, "budget", "value"), stats.summary(frame, ["budget"], "value"))
    both = [stats.paired(frame, by, "value", "way", "a") for by in ("budget", ["budget"])]
    pd.testing.assert_frame_equal(*both)


def test_a_run_that_stands_twice_is_no_second_seed():
    """Pitfall: two overlapping tables put together halve the interval."""
    rows = [
        {"schedule": s, "seed": i, "key": f"{s}{i}", "acc": 0.9 + i / 100} for s in ("FT", "LLR") for i in (0, 1, 2, 0)
    ]
    for refused in (
        lambda f: stats.summary(f, ["schedule"], "acc"),
        lambda f: stats.overall(f, "acc", "schedule", "LLR"),
    ):
        with pytest.raises(BadInput, match="Some runs stand twice, and would count as so many seeds"):
            refused(pd.DataFrame(rows))


def test_runs_of_several_precisions_are_not_taken_together_without_a_word():
    rows = [
        {"schedule": s, "precision": p, "seed": seed, "test_accuracy": 0.9}
        for s in ("FT", "LLR") for p in ("float32", "bfloat16") for seed in range(3)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    with pytest.raises(BadInput, match="computed in bfloat16, float32; take those of one"):
        stats.summary(frame, ["schedule"], "test_accuracy")
    with pytest.raises(BadInput, match="computed in bfloat16, float32"):
        stats.paired(frame.assign(where=0), ["where"], "test_accuracy", "schedule", "LLR")
    assert len(stats.paired(frame, ["precision"], "test_accuracy", "schedule", "LLR")) == 2
    ft = frame[frame["schedule"] == "FT"].assign(where=0)
    assert len(stats.paired(ft, ["where"], "test_accuracy", "precision", "float32")) == 1
    with pytest.raises(BadInput, match="stand twice for one schedule and seed"):
        stats.paired(frame.drop(columns="precision").assign(where=0), ["where"], "test_accuracy", "schedule", "LLR")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({}, ""),
        ({"precision": ["float32"] * 3, "device": ["cpu, 2 cores"] * 3}, ""),
        (
            {"precision": ["float32"] * 3, "device": ["cuda, A", "cpu, 2 cores", "cuda, A"]},
            "Not all runs were computed alike: on cpu, 2 cores and on cuda, A.",
        ),
        (
            {"precision": ["float32", "bfloat16", "float32"], "device": ["cuda, A", "cuda, A", None]},
            "Not all runs were computed alike: in bfloat16 and in float32.",
        ),
        (
            {"precision": ["float32", "bfloat16", "float32"], "device": ["b", "c", "a"]},
            "Not all runs were computed alike: in bfloat16 and in float32; on a and on b and on c.",
        ),
    ],
)
def test_runs_that_were_not_computed_alike_are_told_in_one_sentence(columns, words):
    assert stats.mixed(pd.DataFrame({"seed": [0, 1, 2]} | columns)) == words


def test_runs_of_several_devices_may_be_taken_together():
    rows = [
        {"schedule": s, "device": ("cpu", "cuda")[seed % 2], "seed": seed, "test_accuracy": 0.9}
        for s in ("FT", "LLR") for seed in range(3)
    ]  # fmt: skip
    assert list(stats.summary(pd.DataFrame(rows), ["schedule"], "test_accuracy")["n"]) == [3, 3]


@pytest.mark.parametrize("effect, n", [(1.0, 10), (0.8, 15), (0.5, 34), (0.3, 90), (0.2, 199)])
def test_seeds_needed_are_those_of_the_tables_of_power(effect, n):
    """Paired t test, two-sided, 5 %, power 0.8: the tables of Cohen (1988), as G*Power has them."""
    values = np.array([effect - 1, effect, effect + 1])  # deviation 1
    assert stats.seeds_needed(values / 100) == n


def test_seeds_needed_have_bounds():
    assert stats.seeds_needed([0.0, 0.0, 0.0]) is None and stats.seeds_needed([0.001, -0.001, 0.0]) is None
    assert stats.seeds_needed([0.01, 0.01]) == stats.SEEDS == stats.seeds_needed([1.0, 1.0001, 0.9999])
    assert stats.seeds_needed([0.02, 0.04, 0.03], level=0.99) > stats.seeds_needed([0.02, 0.04, 0.03])
