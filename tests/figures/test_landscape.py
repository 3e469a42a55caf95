"""Figure 14: its table against hand counts, its picture, and words that are right whatever the data say."""

import io

import numpy as np
import pandas as pd
import pytest

from retrainlab import stats
from retrainlab.figures import landscape
from retrainlab.figures.sentences import landscape as sentences
from tests.helpers import made_figures

NAMES = ("", "second_", "average_")


def frames(gains: tuple[float, ...] = (0.0, 0.02, 0.04)) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One cell: the copies have 0.5 and 0.6 raw, 0.1 more recalibrated; the average the mean of the copies and each seed's
    gain, 0.1 more recalibrated."""
    gains = np.array(gains)
    seeds = range(len(gains))
    frame = pd.DataFrame({"seed": seeds, "sparsity": 0.9, "schedule": "LLR", "dense_test_accuracy": 0.9})
    for name, accuracy in zip(NAMES, (0.5, 0.6, 0.55 + gains)):
        frame[f"{name}test_accuracy"] = accuracy
        frame[f"recalibrated_{name}test_accuracy"] = accuracy + 0.1
    frame = frame.assign(**{name: 0.1 * i + gains for i, name in enumerate(landscape.WENT)})
    lines = pd.DataFrame(
        {"seed": seed, "budget": 0.1, "sparsity": 0.9, "schedule": "LLR", "place": place, "loss": seed + place}
        for seed in seeds
        for place in (0.0, 1.0, 2.0)
    )
    more = {"accuracy": 0.5, "recalibrated_accuracy": 0.6, "recalibrated_loss": 1.0}
    return frame, lines.assign(**more)


def test_the_table_by_hand():
    found = landscape.compared(*frames())
    gains = sentences.gains(found).set_index("gain")
    assert list(gains.index) == ["soup", "recalibrated", "raw"]
    for name, more in (("soup", 0.1), ("recalibrated", 0), ("raw", 0)):
        row = gains.loc[name]
        assert list(row[list(stats.ENDS)].astype(float)) == pytest.approx(
            stats.interval(np.array([0, 0.02, 0.04]) + more)
        )
        assert row["copies"] == pytest.approx(0.65 if name == "recalibrated" else 0.55)
        assert row["average"] == pytest.approx(row["copies"] + row["mean"])
        assert row["overall_mean"] == pytest.approx(row["mean"]), "there is one cell"
    assert list(gains["verdict"]) == ["better", "undecided", "undecided"] and (gains["n"] == 3).all()
    assert gains.loc["raw", landscape.WENT].tolist() == pytest.approx([0.1 * i + 0.02 for i in range(7)])
    along = sentences.along(found)
    assert list(along["place"]) == [0, 1, 2] and list(along["loss"]) == [1, 2, 3] and along["gain"].isna().all()


def test_what_averaging_adds_is_told_with_and_without_what_recalibrating_adds():
    said = sentences.answer(stats.as_saved(landscape.compared(*frames((0.019, 0.02, 0.021)))))
    assert said == (
        "Test accuracy of the average of two copies less the mean of theirs, over all cells, in points: the average "
        "recalibrated, the copies as they are: +12.0 (+11.8 to +12.2, better); both recalibrated: +2.0 (+1.8 to +2.2, "
        "better); both as they are: +2.0 (+1.8 to +2.2, better)."
    )
    worse = sentences.answer(stats.as_saved(landscape.compared(*frames((-0.019, -0.02, -0.021)))))
    assert "both recalibrated: -2.0 (-2.2 to -1.8, worse)" in worse and ": +8.0 (+7.8 to +8.2, better)" in worse


def test_counts_and_the_words_on_the_way_are_those_of_the_table():
    table = made_figures.table("fig14_landscape")
    alt, results, _ = sentences.landscape(table)
    gains = sentences.gains(table).set_index("gain")
    better, worse = (
        [(gains.loc[[name], "verdict"] == verdict).sum() for name in sentences.GAINS] for verdict in ("better", "worse")
    )
    told = f"better in {better[0]}, {better[1]} and {better[2]} of 4 cells, worse in {worse[0]}, {worse[1]} and {worse[2]};"
    assert f"these are {told} after Holm's correction for all 12 comparisons, better in" in results
    assert "the prune goes 80.0 % of the dense weights' norm" in results and "FT 1.0 %, LLR 34.3 %" in results
    assert "validation loss there from 6.70 to 2.30" in results and "falls all the way in 4 of 4 cells" in results
    assert (
        "rises at most 0.0171 above the straight line between its ends (LLR at sparsity 98 %" in results
        and results in alt
    )
    up = table.assign(recalibrated_loss=table["recalibrated_loss"].mask(table["place"] == 0.5, 9))
    assert "falls all the way in 0 of 4 cells" in sentences.landscape(up)[1]


def test_the_finding_names_who_went_least_and_furthest():
    found = sentences.finding(made_figures.table("fig14_landscape"))
    assert found == (
        "from FT 0.9 % to LLR 34.3 % of the norm; averaging two copies adds +2.0 points (better), +1.0 points (better) if "
        "all are recalibrated (corrected)"
    )


def test_two_seeds_tell_nothing():
    few = stats.as_saved(landscape.compared(*frames((0.0, 0.02))))
    assert sentences.answer(few) == "With fewer than 3 seeds nothing can be told."
    assert sentences.finding(few) == "with fewer than 3 seeds nothing can be told"
    assert "Holm" not in sentences.landscape(few)[1]


def test_the_picture_shows_both_lines_raw_and_recalibrated():
    table = made_figures.table("fig14_landscape")
    figure = landscape.landscape(table)
    figure.savefig(io.BytesIO())
    far, way, between, gains = figure.axes[4:]
    assert "98 %" in far.get_ylabel() and way.get_yscale() == "log"
    own = table[(table["sparsity"] == 0.98) & (table["schedule"] == "LLR")]
    line = sentences.along(own).set_index("place")
    drawn = {str(one.get_label()): np.asarray(one.get_ydata(), dtype=float) for one in way.lines}
    np.testing.assert_allclose(drawn["LLR"], line.loc[:1, "recalibrated_loss"])
    losses = [np.asarray(one.get_ydata(), dtype=float) for one in between.lines]
    after = line.loc[1:, "loss"]
    assert any(len(y) == 5 and np.allclose(y, after - (after.iloc[0] + after.iloc[-1]) / 2) for y in losses)
    assert [bar.get_height() for bar in far.patches] == pytest.approx(
        list(100 * sentences.cells(table).query("sparsity == 0.98")["distance_from_pruned"])
    )
    assert len(gains.containers) == 3 and gains.get_ylabel() == "Test accuracy (points)"


@pytest.mark.parametrize("lost", [["LLR"], ["FT"], ["LLR", "FT"]])
def test_schedules_that_diverged_on_every_seed_have_no_numbers(lost):
    """The first of the table, the last and all."""
    frame, lines = (pd.concat([part, part.assign(schedule="FT")], ignore_index=True) for part in frames())
    measured = [name for name in frame if name not in ("seed", "sparsity", "schedule", "dense_test_accuracy")]
    frame.loc[frame["schedule"].isin(lost), measured] = np.nan
    table = stats.as_saved(landscape.compared(frame, lines[~lines["schedule"].isin(lost)]))
    landscape.landscape(table).savefig(io.BytesIO(), format="png", dpi=20)
    alt, results, points = sentences.landscape(table)
    assert "nan" not in " ".join([alt, results, *points, sentences.finding(table)])
    if len(lost) == 2:
        assert results == "All runs diverged."
    else:
        assert (
            "the prune goes 62.0 %" in results and f"from {'FT' if lost == ['LLR'] else 'LLR'} 12.0 % to" in points[0]
        )


def test_copies_between_which_no_loss_is_finite_have_no_barrier_to_tell():
    frame, lines = frames()
    table = landscape.compared(frame.assign(barrier=np.nan, recalibrated_barrier=np.nan), lines)
    assert "Between two copies no loss was finite." in sentences.landscape(table)[1]
