"""What a row of the README says of figures 1 to 9: against hand counts, and true whatever the data say."""

import math

import pandas as pd
import pytest
from scipy.stats import spearmanr

from retrainlab.figures import sentences
from retrainlab.figures.sentences import findings, phrases
from tests.helpers.made_figures import TABLES, table

FEW = "with fewer than 3 seeds nothing can be told"


@pytest.mark.parametrize("name", TABLES)
def test_every_figure_has_a_finding_that_fits_a_row(name):
    said = sentences.words(name, table(name)).finding
    assert 0 < len(said) <= 240 and not set(said) & set("\n|*`<[") and "nan" not in said and not said.endswith(".")
    assert sentences.FINDINGS.keys() == sentences.FIGURES.keys()


def compared(**others: tuple[float, str]) -> pd.DataFrame:
    """A table with a baseline LLR, and others with their difference on average and its verdict."""
    rows = [{"schedule": "LLR"}]
    for name, (mean, verdict) in others.items():
        rows += [{"schedule": name, "overall_mean": mean, "overall": verdict, "verdict": "undecided", "p": 0.5}] * 2
    return pd.DataFrame(rows).assign(same_as=math.nan)


def test_a_baseline_stands_against_each_schedule_by_the_verdict_on_average():
    three = compared(FT=(-0.125, "worse"), LRW=(-0.112, "worse"), SLR=(0.004, "undecided"), CLR=(0.02, "better"))
    assert findings.budgets(three) == (
        "LLR beats FT by 12.5 and LRW by 11.2 points; LLR loses to CLR by 2.0 points; undecided: SLR (on average, corrected)"
    )
    none = compared(SLR=(0.004, "undecided"), CLR=(0.02, "undecided"))
    assert findings.budgets(none) == "LLR against SLR and CLR: undecided (on average, corrected)"
    assert findings.budgets(none.assign(p=math.nan)) == FEW
    assert (
        phrases.standing("LLR", compared(FT=(0.1, "better")))
        == "LLR loses to FT by 10.0 points (on average, corrected)"
    )


def test_the_start_of_allr_is_one_share_or_a_span():
    made = table("fig01_schedules")
    assert findings.schedules(made) == "FT stays at 0.001; LLR goes back to 0.1, ALLR to 0.76 of that"
    own = (made["panel"] == "0.5") & (made["schedule"] == "ALLR")
    spread = made.assign(lr=made["lr"].mask(own, made["lr"] * 0.5 / 0.761))
    assert findings.schedules(spread).endswith("ALLR to 0.50 to 0.76 of that")


def test_curves_are_told_from_the_lowest_to_the_highest_end():
    made = table("fig02_recovery")
    assert findings.recovery(made) == "10.0 % after the prune, 94.0 % (ALLR) to 99.0 % (FT) 93 steps later (one seed)"
    level = made.assign(validation_accuracy=made["validation_accuracy"].where(made["step"] == 0, 0.5))
    assert "50.0 % (FT, LRW, SLR, CLR, LLR, ALLR) 93 steps later" in findings.recovery(level)


def test_cells_within_half_a_point_are_counted_and_the_worst_is_told():
    cells = pd.DataFrame({"best_accuracy": [0.9, 0.9, 0.9, math.nan], "allr_accuracy": [0.9, 0.905, 0.88, 0.5]})
    assert findings.best_lr(cells) == (
        "ALLR is within half a point of the best start in 2 of 4 cells, -2.0 at worst (not tested)"
    )
    assert findings.best_lr(cells.assign(best_accuracy=math.nan)) == "all runs diverged"


def test_the_contest_counts_corrected_verdicts_of_methods_and_not_of_controls():
    names, verdicts = ["GMP", "CS", "STR", "LC", "Static"], ["better", "worse", "worse", "undecided", "worse"]
    rows = pd.DataFrame({"entrant": names, "corrected": verdicts, "verdict": "worse", "p": 0.01, "same_as": math.nan})
    assert findings.contest(rows) == "BIMP is better in 2 of 4 comparisons, worse in 1, undecided in 1 (corrected)"
    assert findings.contest(rows.assign(p=math.nan)) == FEW


def test_the_best_split_is_told_by_sparsity_and_ties_are():
    rows = [(0.9, 0.5, 1, 0.8), (0.9, 0.25, 3, 0.8), (0.95, 0.5, 1, 0.7), (0.95, 0.25, 3, 0.6)]
    made = pd.DataFrame(rows, columns=["sparsity", "share", "cycles", "mean"])
    assert findings.splits(made) == (
        "highest mean (not tested): 50 % dense, 1 cycle and 25 % dense, 3 cycles at sparsity 90 %, "
        "50 % dense, 1 cycle at sparsity 95 %"
    )
    assert findings.splits(made[made["share"] == 0.5]) == "highest mean (not tested): 50 % dense, 1 cycle"
    assert findings.splits(made.assign(mean=math.nan)) == "all runs diverged"


def test_stability_is_told_with_scipys_correlation_and_the_methods_that_retraining_helps():
    made = table("fig07_stability")
    raw = made[made["what"] == "raw"]
    rho, p = spearmanr(raw["before"], raw["after"])
    assert findings.stability(made) == (
        f"rank correlation with the end: {rho:+.2f} (p {p:.2f}); retraining helps 1 of 5 (corrected)"
    )
    assert findings.stability(made.assign(n=2)).endswith(f"; {FEW}")
    assert "undefined" in findings.stability(made.assign(before=0.5))


def test_lengths_are_told_at_both_ends_and_dense_training_is_no_way_to_prune():
    rows = [
        (0.9, "one-shot", 10, 0.8),
        (0.9, "one-shot", 12, 0.99),
        (0.9, "one-shot", 16, 0.8),
        (0.9, "iterative, 3 cycles", 10, 0.7),
        (0.9, "iterative, 3 cycles", 16, 0.9),
        (0.9, "dense, not pruned", 16, 0.95),
    ]
    made = pd.DataFrame(rows, columns=["sparsity", "what", "epochs", "mean"])
    said = "highest mean (not tested): with 10 epochs one-shot; with 16 epochs iterative, 3 cycles"
    assert findings.lengths(made) == said
    assert findings.lengths(made.assign(mean=math.nan)) == "all runs diverged"


def test_ways_to_share_a_sparsity_are_spelt_out():
    made = pd.DataFrame(
        {
            "allocation": ["global", "erk", "random"],
            "sparsity": 0.9,
            "mean": [0.8, 0.9, 0.1],
            "conv.weight": [0.2, 0.9, 0.9],
            "classifier.weight": [0.99, 0.8, 0.9],
        }
    )
    assert findings.allocations(made) == (
        "highest mean at 90 % (not tested): Erdos-Renyi-kernel (ERK) (90.0 %), lowest: random (10.0 %); ranked together, "
        "most goes from classifier.weight, least from conv.weight"
    )
    assert findings.allocations(made[made["allocation"] != "global"]).endswith("lowest: random (10.0 %)")
    assert findings.allocations(made.assign(mean=math.nan)) == "all runs diverged"
