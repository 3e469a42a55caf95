"""What is claimed beside the schedules (C4 to C7): dense training within a budget, the contest, stability, later work."""

import pandas as pd

from retrainlab.claims.effects import Values, difference, means, rank_correlations, values
from retrainlab.claims.rule import MARGIN, Part
from retrainlab.claims.schedules import Runs
from retrainlab.figures.presets import Preset
from retrainlab.phrases import share
from retrainlab.study.changes import BASE, LLR, PERP

FIG5, FIG6, FIG7, FIG8 = "fig05_contest", "fig06_split", "fig07_stability", "fig08_lengths"
FIG11, FIG12, FIG14 = "fig11_dense", "fig12_ingredients", "fig14_landscape"
RIVALS = ("GMP", "GSM", "DPF", "DNW", "CS", "STR", "DST", "LC")
MODERATE = 0.5  # a rank correlation that would let the one be told from the other
BAND = (0.25, 0.75)  # shares of the epochs that are dense
NONE = pd.Series(dtype=float)


def within_a_budget(runs: Runs, settings: Preset) -> list[Part]:
    """C4: a linear schedule for dense training within a budget."""
    frame = runs[FIG11]
    short = frame[frame["epochs"] < settings.recipe.epochs]
    names = {"multistep": "steps", "constant": "a constant rate", "cosine": "a cosine"}
    boundaries = {"multistep": 0.0, "constant": 0.0, "cosine": -MARGIN}
    said = {0.0: "better than", -MARGIN: "at least as good as"}
    return [
        Part(
            f"with less than all epochs a line to 0 is {said[boundary]} {names[name]}",
            FIG11,
            difference(short, "dense_schedule", "linear", name),
            boundary,
        )
        for name, boundary in boundaries.items()
    ]


def contest(runs: Runs, settings: Preset) -> list[Part]:
    """C5: BIMP against methods that sparsify during training."""
    frame = runs[FIG5]
    return [
        Part(f"BIMP is at least as good as {name}", FIG5, difference(frame, "entrant", "BIMP", name), -MARGIN)
        for name in RIVALS
        if name in set(frame["entrant"])
    ]


def stability(runs: Runs, settings: Preset) -> list[Part]:
    """C6: avoiding the drop does not pay."""
    frame = runs[FIG7]
    correlations = rank_correlations(frame, "pruned_validation_accuracy", "test_accuracy")
    stable = frame[frame["entrant"].isin(RIVALS)].assign(entrant="all")
    before, after = (means(stable, "entrant", f"{when}validation_accuracy") for when in ("pruned_", ""))
    return [
        Part(
            f"accuracies straight after the prune and after retraining correlate by less than {MODERATE:g} over methods",
            FIG7,
            correlations,
            MODERATE,
            "below",
            "rank correlation",
        ),
        Part(
            "retraining raises the validation accuracy of the methods that sparsify during training",
            FIG7,
            values((after - before).get("all", NONE)),
        ),
    ]


def later_work(runs: Runs, settings: Preset) -> list[Part]:
    """C7: lengths, splits, soups, and biases and normalisation alone."""
    lengths, splits, soups = runs[FIG8], runs[FIG6], runs[FIG14]
    longer = lengths[lengths["in_all"] > lengths["in_all"].min()]  # at the shortest both are one run
    inside = splits["share"].between(*BAND)
    middle, ends = (means(part.assign(what="all"), "what") for part in (splits[inside], splits[~inside]))
    copies = (soups["recalibrated_test_accuracy"] + soups["recalibrated_second_test_accuracy"]) / 2
    gain = soups["recalibrated_average_test_accuracy"] - copies
    average = means(soups.assign(gain=gain, what="gain"), "what", "gain")
    return [
        Part(
            "a longer dense run lifts one-shot pruning",
            FIG8,
            difference(longer, "what", "longer dense, one-shot", "one-shot"),
        ),
        Part(
            f"BIMP with {share(BAND[0])} to {share(BAND[1])} of its epochs dense is better than with less or more",
            FIG6,
            values((middle - ends).get("all", NONE)),
        ),
        Part(
            "the average of two retrained copies is better than they are, all of them recalibrated",
            FIG14,
            values(average.get("gain", NONE)),
        ),
        Part(
            "retraining biases and normalisation alone regains more than half of what LLR does",
            FIG12,
            _regained(runs[FIG12]),
            0.5,
            unit="share of LLR's gain",
        ),
    ]


def _regained(frame: pd.DataFrame) -> Values:
    """What PERP gains in test accuracy since the prune as a share of what LLR gains, over all cells, for each seed."""
    pruned = means(frame[frame["base"].isna()].assign(what="pruned"), "what")
    both = means(frame[(frame["base"] == LLR) & frame["ingredient"].isin((PERP, BASE))], "ingredient")
    if not {PERP, BASE} <= {*both} or pruned.empty:
        return ()
    gains = both.sub(pruned["pruned"], axis=0)
    return values((gains[PERP] / gains[BASE]).where(gains[BASE] > 0))
