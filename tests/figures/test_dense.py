"""Figure 11: its table against hand counts, its picture, and words that are right whatever the data say."""

import io

import numpy as np
import pandas as pd
import pytest

from retrainlab import stats
from retrainlab.figures import dense, style
from retrainlab.figures.sentences import dense as sentences
from tests.helpers import made_figures

NOISE = np.array([[1, -1, 0], [0, 1, -1], [-1, 0, 1], [-1, 1, 0]]) / 1000  # of each schedule, by seed


def study(means: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """A study's rows of three seeds: the mean accuracy of each schedule after 1 and after 30 of 30 epochs."""
    rows = [
        (epochs, name, seed, mean + NOISE[place, seed])
        for place, (name, own) in enumerate(means.items())
        for epochs, mean in zip((1, 30), own)
        for seed in range(3)
    ]
    return dense.named(pd.DataFrame(rows, columns=["epochs", "dense_schedule", "seed", "test_accuracy"]), 30)


def table(means: dict[str, tuple[float, float]]) -> pd.DataFrame:
    return stats.as_saved(dense.compared(study(means), "linear"))


def test_the_table_pairs_by_seed_at_each_length_and_over_all_of_them():
    rows = [
        (1, "linear", [0.5, 0.7]),
        (1, "cosine", [0.4, 0.8]),
        (15, "linear", [0.9, 0.9]),
        (15, "cosine", [0.7, 1.0]),
    ]
    frame = pd.DataFrame(rows, columns=["epochs", "dense_schedule", "test_accuracy"]).explode("test_accuracy")
    frame = frame.astype({"test_accuracy": float}).assign(seed=[0, 1] * 4, schedule="LLR", budget=0.0)
    found = dense.compared(dense.named(frame, 30), "linear").set_index(["epochs", "schedule"])
    assert list(found["budget"]) == [0.033, 0.033, 0.5, 0.5], "the share that was trained, not the retraining's budget"
    assert found.loc[(1, "linear"), "mean"] == pytest.approx(0.6) and found.loc[(15, "cosine"), "mean"] == 0.85

    def ends(row, kind):
        return [row[f"{kind}_{end}"] for end in stats.ENDS]

    assert ends(found.loc[(1, "cosine")], "difference") == pytest.approx(stats.interval([-0.1, 0.1]))
    assert ends(found.loc[(15, "cosine")], "difference") == pytest.approx(stats.interval([-0.2, 0.1]))
    assert ends(found.loc[(15, "cosine")], "overall") == pytest.approx(stats.interval([-0.15, 0.1]))
    assert np.isnan(ends(found.loc[(1, "linear")], "difference")).all()


def test_linear_that_beats_one_loses_to_one_and_is_level_with_one():
    means = {"linear": (0.8, 0.95), "constant": (0.5, 0.9), "cosine": (0.8, 0.95), "multistep": (0.9, 0.97)}
    said = table(means)
    assert sentences.finding(said) == (
        "linear beats constant by 17.5 points; linear loses to multistep by 6.0 points; undecided: cosine (on average, "
        "corrected)"
    )
    alt, results, points = sentences.dense(said)
    assert "Worse than linear, of the budgets: constant in 2 of 2; better: multistep in 2 of 2 (the interval" in results
    assert "after Holm's correction for all 6 comparisons, worse: constant in 2 of 2; better: multistep in 2" in results
    assert (
        "constant -17.5 (-17.9 to -17.1), worse; cosine +0.0 (" in results
        and "(corrected for 3 comparisons)" in results
    )
    assert points[1] == (
        "After 1 epoch (3.3 % of the recipe's): multistep 90.0 %, linear 80.0 %, cosine 80.0 %, constant 50.0 %."
    )
    assert "After 30 epochs (100 % of the recipe's): multistep 97.0 %, linear 95.0 %" in alt


def test_two_seeds_tell_nothing():
    frame = made_figures.dense_frame(2)
    said = stats.as_saved(dense.compared(frame, "linear"))
    assert sentences.finding(said) == "with fewer than 3 seeds nothing can be told"
    assert sentences.dense(said)[1].startswith("With fewer than 3 seeds nothing can be told. On average")


def test_the_picture_shows_every_mean_over_the_share_that_was_trained():
    made = made_figures.table("fig11_dense")
    figure = dense.dense(made)
    figure.savefig(io.BytesIO())
    top, bottom = figure.axes
    for name in ("linear", "cosine", "multistep", "constant"):
        [line] = [c.lines[0] for c in top.containers if c.get_label() == name]
        own = made[made["schedule"] == name]
        np.testing.assert_allclose(np.asarray(line.get_ydata(), float), 100 * (1 - own["mean"]))
        np.testing.assert_allclose(np.asarray(line.get_xdata(), float), 100 * own["budget"], rtol=0.05)
    [line] = [c.lines[0] for c in bottom.containers if c.get_label() == "constant"]
    own = made[made["schedule"] == "constant"]
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), 100 * own["difference_mean"])
    assert "linear" not in {c.get_label() for c in bottom.containers}
    assert [t.get_text() for t in bottom.get_xticklabels()] == ["3.3", "10", "100"]
    assert top.get_ylim()[0] > top.get_ylim()[1], "better is up"
    assert "recipe" in bottom.get_xlabel() and "linear" in bottom.get_ylabel()


def test_one_seed_can_be_drawn():
    figure = dense.dense(stats.as_saved(dense.compared(made_figures.dense_frame(1), "linear")))
    figure.savefig(io.BytesIO())
    assert all(np.isfinite(ax.get_ylim()).all() for ax in figure.axes)


def test_dense_schedules_differ_in_colour_line_and_marker():
    looks = style.DENSE.values()
    assert len({look.color for look in looks}) == len({look.marker for look in looks}) == len(style.DENSE) == 5
    assert len({str(look.dashes) for look in looks}) >= 4


def test_a_schedule_that_diverged_on_every_seed_is_not_drawn_and_is_told():
    """Pitfall: where there is no accuracy, the error is the smallest that has a logarithm, and the picture says 99.9 %."""
    frame = study({"linear": (0.5, 0.9), "constant": (0.4, 0.8)})
    frame.loc[frame["schedule"] == "constant", "test_accuracy"] = np.nan
    found = stats.as_saved(dense.compared(frame, "linear"))
    drawn = {c.get_label(): c.lines[0].get_ydata() for c in dense.dense(found).axes[0].containers}
    assert np.isnan(np.asarray(drawn["constant"], float)).all() and drawn["linear"] == pytest.approx([50, 10])
    assert "constant none, undecided" in sentences.dense(found)[1]
    nothing = stats.as_saved(dense.compared(frame.assign(test_accuracy=np.nan), "linear"))
    dense.dense(nothing).savefig(io.BytesIO(), format="png", dpi=20)
    assert "nan" not in " ".join(sentences.dense(nothing)[:2])
