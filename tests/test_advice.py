"""Advice against numbers worked out by hand and scipy's t."""

import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from retrainlab import advice
from retrainlab.advice import OUT, SAME, UNSURE, advise, words
from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES

BASE = (0.70, 0.90, 0.80, 0.85, 0.75)  # seeds differ far more than schedules do
NOISE = (0.001, -0.002, 0.002, 0.0, -0.001)
GAINS = {"FT": -0.10, "LRW": -0.10, "SLR": -0.001, "CLR": -0.0005, "LLR": 0.0, "ALLR": -0.02}
EPOCHS = 30


def made(gains=GAINS, seeds=5, budgets=(0.1,), sparsity=0.9, test=lambda schedule, seed, budget: 0.0) -> pd.DataFrame:
    """Validation accuracy: the seed's, the schedule's gain, and a little noise of its own for every schedule but LLR."""
    rows = []
    for budget in budgets:
        for place, (name, gain) in enumerate(gains.items()):
            for seed in range(seeds):
                own = NOISE[(seed + place) % 5] if name != "LLR" else 0.0
                values = (BASE[seed] + gain + own, BASE[seed] + test(name, seed, budget))
                rows.append((seed, sparsity, budget, name, *values, EPOCHS))
    return pd.DataFrame(rows, columns=list(advice.COLUMNS))


def values(frame: pd.DataFrame, schedule: str, column: str, budget: float = 0.1) -> np.ndarray:
    own = frame[(frame["schedule"] == schedule) & (frame["budget"] == budget)]
    return own.sort_values("seed")[column].to_numpy()


def t_interval(numbers, level: float) -> tuple[float, float]:
    return scipy_stats.t.interval(level, len(numbers) - 1, np.mean(numbers), scipy_stats.sem(numbers))


def other(found: advice.Advice, name: str) -> advice.Comparison:
    return next(c for c in found.others if c.schedule == name)


# ---- the choice ------------------------------------------------------------------------------------------------------


def test_the_highest_mean_validation_accuracy_is_chosen_and_its_test_accuracy_reported():
    frame = made(test=lambda name, seed, budget: 0.05 * (name == "ALLR") + 0.01 * seed)
    found = advise(frame, 0.9, 0.1)
    assert found.schedule == "LLR" and found.ties == () and found.seeds == (0, 1, 2, 3, 4) and found.of == 5
    assert found.validation == pytest.approx(0.8)
    tested = [0.70, 0.91, 0.82, 0.88, 0.79]
    assert found.test[0] == pytest.approx(0.82) and found.test[1:] == pytest.approx(t_interval(tested, 0.95))
    assert found.epochs == pytest.approx(3)


def test_no_choice_looks_at_test_accuracy():
    frame = made()
    turned = frame.assign(test_accuracy=np.random.default_rng(0).random(len(frame)))
    one, two = advise(frame, 0.9, 0.1), advise(turned, 0.9, 0.1)
    assert one.schedule == two.schedule and one.test != two.test
    assert [(c.difference, c.verdict) for c in one.others] == [(c.difference, c.verdict) for c in two.others]


def test_the_order_of_rows_and_other_sparsities_change_nothing():
    frame = pd.concat([made(), made({"FT": 0.1, "LLR": 0.0}, sparsity=0.5)])
    assert advise(frame.sample(frac=1, random_state=1), 0.9, 0.1) == advise(made(), 0.9, 0.1)


def test_of_equal_ones_the_first_in_the_usual_order_is_chosen_and_the_tie_is_told():
    frame = made({"LLR": 0.0, "ALLR": -0.1})
    twin = frame[frame["schedule"] == "LLR"].assign(schedule="SLR")
    found = advise(pd.concat([frame, twin]), 0.9, 0.1)
    assert (found.schedule, found.ties) == ("SLR", ("LLR",))
    assert other(found, "LLR").difference == (0, 0, 0) and other(found, "LLR").verdict == SAME
    assert "80.0 %, as LLR has;" in words(found) and "LLR equals it on every seed" in words(found)


def test_advice_is_frozen():
    with pytest.raises(FrozenInstanceError):
        advise(made(), 0.9, 0.1).schedule = "FT"


# ---- how sure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMED_SCHEDULES if n != "LLR"])
def test_differences_are_paired_and_at_bonferronis_level(name):
    frame = made()
    found = advise(frame, 0.9, 0.1)
    assert found.level == pytest.approx(0.99)
    differences = values(frame, name, "validation_accuracy") - values(frame, "LLR", "validation_accuracy")
    got = other(found, name)
    assert got.difference[0] == pytest.approx(differences.mean())
    assert got.difference[1:] == pytest.approx(t_interval(differences, 0.99), abs=1e-9)
    assert got.verdict == (OUT if name in ("FT", "LRW", "ALLR") else UNSURE)


def test_a_difference_that_95_percent_would_see_is_not_seen_once_corrected():
    """Differences -1, -2, -3, -4, -5 thousandths: mean -3, standard error sqrt(0.5); t(4) is 2.776 and 4.604."""
    gains = dict.fromkeys(("FT", "LRW", "SLR", "CLR", "LLR", "ALLR"), 0.0)
    frame = made(gains | {"FT": -0.5, "LRW": -0.5, "CLR": -0.5, "ALLR": -0.5})
    down = frame["schedule"] == "SLR"
    frame.loc[down, "validation_accuracy"] = [BASE[seed] - 0.001 * (seed + 1) for seed in frame.loc[down, "seed"]]
    _, low, high = other(advise(frame, 0.9, 0.1), "SLR").difference
    half = 4.604095 * math.sqrt(0.5) / 1000
    assert (low, high) == pytest.approx((-0.003 - half, -0.003 + half), abs=1e-7)
    assert -0.003 + 2.776 * math.sqrt(0.5) / 1000 < 0 < high
    two = frame[frame["schedule"].isin(["SLR", "LLR"])]
    assert advise(two, 0.9, 0.1).level == pytest.approx(0.95) and other(advise(two, 0.9, 0.1), "SLR").verdict == OUT


def test_the_best_schedule_is_ruled_out_in_fewer_than_5_of_100_studies():
    """Six schedules that are equal in truth: with the usual 95 % intervals one would be ruled out far more often."""
    generator, wrong = np.random.default_rng(0), 0
    frame = made(dict.fromkeys(NAMED_SCHEDULES, 0.0))
    for _ in range(300):
        accuracies = generator.normal(0.8, 0.01, len(frame))
        found = advise(frame.assign(validation_accuracy=accuracies), 0.9, 0.1)
        wrong += "FT" in found.judged(OUT)
    assert wrong / 300 < 0.05


def test_what_cannot_be_told_apart_is_listed():
    text = words(advise(made(), 0.9, 0.1))
    assert "The data cannot tell it from SLR and CLR; FT, LRW and ALLR are ruled out as the best" in text
    assert "99 % intervals, which is 95 % corrected for 5 comparisons by Bonferroni" in text
    assert "of 6 schedules" in text and "take LLR" in text and "(3 epochs of retraining)" in text


def test_a_clear_best_is_said_to_be():
    text = words(advise(made({"FT": -0.1, "LLR": 0.0}), 0.9, 0.1))
    assert (
        "Every other schedule is ruled out as the best: FT (validation accuracy seed by seed, 95 % intervals)" in text
    )


@pytest.mark.parametrize("seeds, count", [(1, "one seed"), (2, "2 seeds")])
def test_with_fewer_than_three_seeds_the_data_cannot_tell(seeds, count):
    found = advise(made(seeds=seeds, budgets=(0.1, 0.2)), 0.9, 0.1)
    assert not found.enough and {c.verdict for c in found.others} == {UNSURE} and not found.gain.sure
    assert f"From {count} the data cannot tell whether any schedule is better; it takes at least 3." in words(found)
    assert f"was measured for {count} only" in words(found) and "inf" not in words(found)
    if seeds == 1:
        assert found.test[1:] == (-math.inf, math.inf) and "one seed, so no interval" in words(found)


def test_one_image_less_on_every_seed_tells_nothing():
    """Pitfall: a spread of exactly 0, which accuracies in steps of one image have by chance, makes Student's t certain."""
    frame = made({"LLR": 0.0}, budgets=(0.1, 0.2), test=lambda name, seed, budget: 0.005 * (budget > 0.1))
    less = frame.assign(schedule="CLR", validation_accuracy=frame["validation_accuracy"] - 1 / 257)
    found = advise(pd.concat([frame, less]), 0.9, 0.1)
    assert other(found, "CLR").difference == (pytest.approx(-1 / 257), -math.inf, math.inf)
    assert other(found, "CLR").verdict == UNSURE and not found.gain.sure
    assert "(the same for every seed): the data cannot tell" in words(found) and "inf" not in words(found)


def test_only_seeds_that_every_schedule_has_count():
    frame = made()
    part = frame[~((frame["schedule"] == "FT") & (frame["seed"] == 1))]
    found = advise(part, 0.9, 0.1)
    assert found == replace(advise(frame[frame["seed"] != 1], 0.9, 0.1), of=5)
    assert found.seeds == (0, 2, 3, 4) and found.validation == pytest.approx(np.mean([0.7, 0.8, 0.85, 0.75]))
    assert "1 of 5 seeds does not count, as not every schedule has it" in words(found)
    undefined = frame.copy()
    undefined.loc[(frame["schedule"] == "FT") & (frame["seed"] == 1), "validation_accuracy"] = None
    assert advise(undefined, 0.9, 0.1) == found


def test_schedules_without_a_common_seed_are_refused():
    frame = made({"FT": 0.0, "LLR": 0.0}, seeds=2)
    apart = frame[(frame["schedule"] == "FT") == (frame["seed"] == 0)]
    with pytest.raises(BadInput, match=r"no seed has every schedule \(FT, LLR\)"):
        advise(apart, 0.9, 0.1)


def test_one_schedule_alone_is_compared_with_nothing():
    found = advise(made({"LLR": 0.0}), 0.9, 0.1)
    assert found.others == () and "only LLR is stored" in words(found)


# ---- one more epoch --------------------------------------------------------------------------------------------------


def test_one_more_epoch_is_the_paired_slope_to_the_next_stored_budget():
    """From 3 to 6 epochs the test accuracy grows by 3, 6, 3, 6, 3 points: 1, 2, 1, 2, 1 an epoch."""
    frame = made(budgets=(0.1, 0.2, 0.5), test=lambda name, seed, budget: (0.03 + 0.03 * (seed % 2)) * (budget > 0.1))
    gain = advise(frame, 0.9, 0.1).gain
    assert (gain.budget, gain.epochs, gain.seeds) == (0.2, 6, 5)
    assert gain.per_epoch[0] == pytest.approx(0.014)
    assert gain.per_epoch[1:] == pytest.approx(t_interval([0.01, 0.02, 0.01, 0.02, 0.01], 0.95))
    assert gain.sure
    assert "Retraining for 6 epochs in place of 3 changes test accuracy by +1.40 points per epoch" in words(
        advise(frame, 0.9, 0.1)
    )


def test_a_slope_whose_interval_holds_0_tells_nothing():
    frame = made(budgets=(0.1, 0.2), test=lambda name, seed, budget: 0.01 * (-1) ** seed * (budget > 0.1))
    found = advise(frame, 0.9, 0.1)
    assert found.gain.per_epoch[1] < 0 < found.gain.per_epoch[2] and not found.gain.sure
    assert "the data cannot tell whether one more epoch would buy anything." in words(found)


def test_longer_retraining_may_cost_accuracy():
    frame = made(budgets=(0.1, 0.2), test=lambda name, seed, budget: -(0.01 + 0.001 * seed) * (budget > 0.1))
    found = advise(frame, 0.9, 0.1)
    assert found.gain.sure and found.gain.per_epoch[2] < 0 and "by -0.40 points" in words(found)


def test_beyond_the_longest_retraining_nothing_is_known():
    found = advise(made(budgets=(0.05, 0.1)), 0.9, 0.1)
    assert found.gain is None
    assert "What one more epoch would buy is not known: nothing longer is stored for it." in words(found)


def test_the_slope_uses_the_seeds_that_have_both():
    frame = made(budgets=(0.1, 0.2), test=lambda name, seed, budget: 0.03 * (budget > 0.1) * (1 + seed))
    part = frame[(frame["budget"] == 0.1) | (frame["seed"] > 1)]
    gain = advise(part, 0.9, 0.1).gain
    assert gain.seeds == 3 and gain.per_epoch[0] == pytest.approx(0.04)


# ---- what is asked ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked, used", [(0.1, 0.1), (0.12, 0.1), (0.15, 0.2), (math.sqrt(0.02), 0.1), (0.4, 0.4)])
def test_between_stored_budgets_the_nearest_by_ratio_is_used_and_said(asked, used):
    found = advise(made(budgets=(0.1, 0.2, 0.4)), 0.9, asked)
    assert (found.asked, found.budget) == (asked, used) and found.epochs == pytest.approx(30 * used)
    said = f"is not stored: this is about the nearest that is, {100 * used:g} %." in words(found)
    assert said == (asked != used)


@pytest.mark.parametrize("budget", [0.099, 0.401, 5])
def test_outside_the_stored_budgets_there_is_no_advice(budget):
    with pytest.raises(BadInput, match="outside what is stored at sparsity 90 %, 10 % to 40 %"):
        advise(made(budgets=(0.1, 0.4)), 0.9, budget)


@pytest.mark.parametrize("arguments", [(1.2, 0.1), (0.9, 0), (0.9, math.nan), (-0.1, 0.1)])
def test_impossible_questions_are_refused(arguments):
    with pytest.raises(BadInput, match="must be"):
        advise(made(), *arguments)


def test_an_unknown_sparsity_is_refused_with_those_there_are():
    with pytest.raises(BadInput, match="Nothing is stored at sparsity 80 %; stored: 90 %"):
        advise(made(), 0.8, 0.1)


def test_results_that_are_not_one_networks_are_refused():
    with pytest.raises(BadInput, match="more than one network"):
        advise(pd.concat([made(), made()]), 0.9, 0.1)
    with pytest.raises(BadInput, match="more than one network"):
        advise(pd.concat([made(seeds=2), made().query("seed > 1").assign(epochs=10)]), 0.9, 0.1)
    with pytest.raises(BadInput, match="no column seed, epochs"):
        advise(made().drop(columns=["seed", "epochs"]), 0.9, 0.1)


def test_a_row_without_retraining_is_no_budget():
    frame = pd.concat([made(), made(budgets=(0.0,))])
    assert advise(frame, 0.9, 0.1) == advise(made(), 0.9, 0.1)


def test_words_are_at_most_four_sentences():
    for frame, budget in ((made(budgets=(0.1, 0.2)), 0.12), (made(), 0.1), (made(seeds=1), 0.1)):
        assert 2 <= words(advise(frame, 0.9, budget)).count(". ") + 1 <= 4


def test_advice_needs_no_torch():
    code = "import sys; import retrainlab.advice; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_results_of_two_precisions_give_no_advice():
    """Pitfall: half of the seeds in bfloat16 count as so many seeds of one network."""
    frame = made()
    halves = frame.assign(precision=["bfloat16" if seed % 2 else "float32" for seed in frame["seed"]])
    with pytest.raises(BadInput, match="computed in bfloat16, float32; take those of one"):
        advise(halves, 0.9, 0.1)
    assert advise(halves.assign(precision="bfloat16"), 0.9, 0.1) == advise(frame, 0.9, 0.1)


# ---- nothing held out ------------------------------------------------------------------------------------------------


def test_where_the_validation_images_were_trained_on_the_choice_is_by_test_accuracy_and_said_to_flatter():
    """Pitfall: a schedule is chosen by the accuracy on images that it was trained on."""
    frame = made(test=lambda name, seed, budget: 0.05 * (name == "ALLR") + 0.001 * seed * (name == "CLR"))
    held, seen = advise(frame.assign(all_train=False), 0.9, 0.1), advise(frame.assign(all_train=True), 0.9, 0.1)
    assert held == advise(frame, 0.9, 0.1) and held.schedule == "LLR" and held.held_out
    assert seen.schedule == "ALLR" and not seen.held_out and seen.validation == pytest.approx(0.78, abs=1e-3)
    less = values(frame, "CLR", "test_accuracy") - values(frame, "ALLR", "test_accuracy")
    assert other(seen, "CLR").difference[0] == pytest.approx(less.mean())
    assert other(seen, "CLR").difference[1:] == pytest.approx(t_interval(less, seen.level))
    text = words(seen)
    assert "take ALLR: of 6 schedules it has the highest mean test accuracy, 85.0 %" in text and advice.UNHELD in text
    assert "(test accuracy seed by seed" in text and "validation accuracy" not in text.replace(advice.UNHELD, "")
    assert "held out" not in words(held)


def test_results_with_and_without_held_out_images_give_no_advice():
    frame = made()
    with pytest.raises(BadInput, match="more than one network"):
        advise(frame.assign(all_train=frame["seed"] > 1), 0.9, 0.1)
