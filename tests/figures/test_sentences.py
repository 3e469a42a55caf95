"""What is said of figures: from the saved table alone, ties and all, against scipy and hand counts."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from retrainlab import stats
from retrainlab.figures import run, sentences
from retrainlab.figures.sentences import phrases
from tests.helpers.made_figures import DRAW, TABLES, budgets_frame, table


def test_every_figure_has_words_and_a_table_to_try_them_on():
    assert list(sentences.FIGURES) == list(run.available()) == list(TABLES) == list(DRAW)


@pytest.mark.parametrize("name", TABLES)
def test_whoever_reads_the_saved_table_gets_the_same_words(name, tmp_path):
    saved = table(name)
    (tmp_path / "table.csv").write_text(stats.to_csv(saved))
    again = stats.read_saved(tmp_path / "table.csv")
    pd.testing.assert_frame_equal(saved, again, check_exact=True)
    assert sentences.words(name, saved) == sentences.words(name, again)
    said = sentences.words(name, saved)
    assert len(said.alt) > 80 and len(said.points) >= 2 and "nan" not in f"{said}"


@pytest.mark.parametrize("name", TABLES)
def test_the_noise_of_float_sums_changes_no_word(name):
    generator, made = np.random.default_rng(0), TABLES[name]()
    for column in made.select_dtypes("float"):
        made[column] *= 1 + generator.uniform(-1e-14, 1e-14, len(made))
    assert sentences.words(name, stats.as_saved(made)) == sentences.words(name, table(name))


def test_means_that_tie_but_for_noise_have_the_ranks_of_ties():
    """Pitfall: 0.9 and 0.9 + 1e-12 get two ranks, and the correlation another digit."""
    before, after = [0.1, 0.5, 0.5, 0.8, 0.9], [0.95, 0.94, 0.93, 0.93, 0.93]
    noise = 1e-12 * np.array([0, 1, -1, 1, -1])
    points = pd.DataFrame({"what": "raw", "entrant": list("ABCDE"), "before": before + noise, "after": after - noise})
    found = sentences.contest.ranks(stats.as_saved(points.assign(stability=points["before"])))
    assert set(found["correlation"]) == {spearmanr(before, after)[0]}
    assert spearmanr(points["before"], points["after"])[0] != spearmanr(before, after)[0], "noise matters to scipy"


def test_a_run_under_two_names_is_counted_once():
    said = sentences.words("fig03_budgets", table("fig03_budgets"))
    assert "LRW is the same run as FT in 16 of 20 cells, counted once." in said.results
    assert "LRW in" not in said.results.split(". LRW is")[0] or " of 4" in said.results
    assert "Holm's correction for all 84 comparisons" in said.results and said.results.count(" of 20") >= 2


def test_counts_are_those_of_the_table():
    saved = table("fig03_budgets")
    said = sentences.words("fig03_budgets", saved).results
    own = saved[saved["schedule"] == "FT"]
    assert f"Worse than LLR, of the cells: FT in {(own['verdict'] == 'worse').sum()} of 20" in said
    assert f"worse: FT in {(own['corrected'] == 'worse').sum()} of 20" in said.split("after Holm's")[1]
    turned = saved.assign(verdict=saved["verdict"].replace("worse", "better"))
    assert "Worse than LLR, of the cells: none; better: FT in" in sentences.words("fig03_budgets", turned).alt


def test_too_few_seeds_are_said_to_tell_nothing():
    frame = budgets_frame().query("seed < 2")
    few = stats.compared(frame, ["sparsity", "budget"], "test_accuracy", "schedule", "LLR").assign(dense=0.9)
    few = stats.as_saved(few.merge(stats.overall(frame, "test_accuracy", "schedule", "LLR"), how="left"))
    said = sentences.words("fig03_budgets", few).results
    assert said.startswith("With fewer than 3 seeds nothing can be told.") and "Holm" not in said


def test_accuracies_are_ranked_and_what_diverged_comes_last():
    names, shares = ["A", "B", "C", "D"], [0.5, math.nan, 0.9, 0.5]
    assert phrases.accuracies(names, shares) == "C 90.0 %, A 50.0 %, D 50.0 %, B none"


def test_the_words_are_those_of_the_numbers():
    assert sentences.words("fig01_schedules", table("fig01_schedules")).points[-1] == (
        "ALLR starts at d times that: d is 0.76 at every budget here."
    )
    recovery = sentences.words("fig02_recovery", table("fig02_recovery"))
    assert "from 98.0 % to 10.0 %. After 93 steps: FT 99.0 %, LRW 98.0 %" in recovery.alt
    lrs = sentences.words("fig04_best_lr", table("fig04_best_lr"))
    assert (
        "-6.0 to +0.0 percentage points, -3.0 on average" in lrs.alt
        and "within half a point in 4 of 16" in lrs.points[0]
    )
    stability = sentences.words("fig07_stability", table("fig07_stability"))
    assert "for GMP, GSM, DPF, DNW, IMP (interval above 0); after Holm's correction for GMP." in stability.results
    assert "10.0 % (global), 20.0" not in sentences.words("fig09_where", table("fig09_where")).alt
    assert "20.0 % (global), 30.0 % (uniform)" in sentences.words("fig09_where", table("fig09_where")).alt


def test_ways_that_are_one_by_construction_are_told_as_one():
    """Pitfall: that two lines of figure 8 meet at its shortest total is taken for a finding."""
    rows = [
        (sparsity, what, epochs, mean, mean - 0.01, mean + 0.01)
        for sparsity in (0.9, 0.95)
        for what, epochs, mean in [
            ("one-shot", 10, sparsity),
            ("longer dense, one-shot", 10, sparsity),
            ("iterative, 3 cycles", 10, 0.7),
            ("one-shot", 16, 0.9),
            ("longer dense, one-shot", 16, 0.9),
            ("iterative, 3 cycles", 16, 0.8),
        ]
    ]
    table = pd.DataFrame(rows, columns=["sparsity", "what", "epochs", "mean", "low", "high"])
    told = "With 10 epochs one-shot and longer dense, one-shot are the same runs, by construction."
    assert sentences.words("fig08_lengths", table).points[-1] == told
    table.loc[table.index[1], "high"] = 1.0
    assert told not in sentences.words("fig08_lengths", table).points
