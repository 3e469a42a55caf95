"""Figure 10: its table against hand counts, its picture, and words that are right whatever the data say."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from retrainlab import stats
from retrainlab.figures import scores, style
from retrainlab.figures.sentences import scores as sentences
from tests.helpers import made_figures


def study(*cells: tuple[float, str, str, float, list[float]]) -> pd.DataFrame:
    """A study's rows: (sparsity, score, schedule, budget, accuracies of seeds 0, 1, ...) each."""
    names = ["sparsity", "score", "schedule", "budget", "test_accuracy"]
    frame = pd.DataFrame(cells, columns=names).explode("test_accuracy").astype({"test_accuracy": float})
    frame["seed"] = frame.groupby(names[:4]).cumcount()
    return frame.reset_index(drop=True).assign(dense_test_accuracy=0.9 + 0.03 * frame["seed"].to_numpy())


def table(means: dict[str, dict[float, list[float]]], seeds: int = 5) -> pd.DataFrame:
    """Figure 10's as saved. means: by score and sparsity, straight after the prune, after LLR for 5 % and for 25 %; a
    thousandth lies between two seeds, in another order each time."""
    noise = 0.001 * (np.arange(seeds) - (seeds - 1) / 2)
    cells = [
        (sparsity, score, "LLR", budget, list(mean + np.roll(noise, i + len(score))))
        for score, own in means.items()
        for sparsity, values in own.items()
        for i, (budget, mean) in enumerate(zip((0, 0.05, 0.25), values))
    ]
    return stats.as_saved(scores.compared(study(*cells), "magnitude"))


def test_the_table_holds_leads_and_gains_paired_by_seed_and_leads_averaged_over_sparsities():
    values = {
        ("magnitude", "LLR", 0.0): [0.1, 0.3, 0.2],
        ("obs", "LLR", 0.0): [0.5, 0.6, 0.7],
        ("magnitude", "FT", 0.5): [0.4, 0.4, 0.5],
        ("obs", "FT", 0.5): [0.5, 0.4, 0.9],
    }
    cells = [(s, *key, [k * v for v in own]) for s, k in ((0.8, 1), (0.9, 0.5)) for key, own in values.items()]
    found = scores.compared(study(*cells), "magnitude").set_index(["sparsity", "schedule", "budget", "score"])
    assert found["dense"].unique() == pytest.approx([0.93])
    assert set(found.index.get_level_values("schedule")) == {"none", "FT"} and len(found) == 8

    def row(*place, kind: str) -> list[float]:
        return list(found.loc[place, [f"{kind}_{end}" for end in stats.ENDS]])

    start, end = (0.8, "none", 0.0, "obs"), (0.9, "FT", 0.5, "obs")
    assert row(*start, kind="difference") == pytest.approx(stats.interval([0.4, 0.3, 0.5]))
    assert row(*start, kind="overall") == pytest.approx(stats.interval(0.75 * np.array([0.4, 0.3, 0.5])))
    assert row(*end, kind="overall") == pytest.approx(stats.interval(0.75 * np.array([0.1, 0.0, 0.4])))
    assert row(*end, kind="gain") == pytest.approx(stats.interval(0.5 * np.array([0.0, -0.2, 0.2])))
    assert row(0.8, "FT", 0.5, "magnitude", kind="gain") == pytest.approx(stats.interval([0.3, 0.1, 0.3]))
    assert np.isnan(row(*start, kind="gain")).all() and np.isnan(row(0.8, "FT", 0.5, "magnitude", kind="overall")).all()


def test_a_better_prune_that_is_needless_in_the_end():
    said = table({"magnitude": {0.9: [0.5, 0.9, 0.95]}, "obs": {0.9: [0.6, 0.9, 0.95]}})
    assert sentences.best(said) == "obs"
    assert sentences.answer(said) == (
        "After the prune by obs, LLR is shown to help at every budget at sparsity 90 % (the interval of the gain excludes "
        "0; after Holm's correction for all 4, at every budget at sparsity 90 %)."
    )
    assert sentences.finding(said) == (
        "Optimal Brain Surgeon leads magnitude by +10.0 points, by +0.0 (undecided) after 5 % of LLR, which helps "
        "(uncorrected) at every budget at sparsity 90 %"
    )
    assert "After LLR its lead is, by budget, +0.0 (-0.3 to +0.3, undecided) at 5 %; " in sentences.scores(said)[1]


def test_a_better_prune_that_makes_retraining_needless_here_and_harmful_there():
    obs = {0.8: [0.9, 0.9, 0.9], 0.9: [0.8, 0.7, 0.8], 0.95: [0.7, 0.7, 0.9]}
    said = table({"magnitude": {s: [0.2, 0.5, 0.6] for s in obs}, "obs": obs})
    assert sentences.answer(said) == (
        "After the prune by obs, LLR is shown to help at some budgets at sparsity 95 %, at none at 80 % and 90 % (the "
        "interval of the gain excludes 0; after Holm's correction for all 12, at some budgets at sparsity 95 %, at none at "
        "80 % and 90 %) and harms at some budgets at sparsity 90 %."
    )
    assert sentences.finding(said) == (
        "Optimal Brain Surgeon leads magnitude by +60.0 points, by +26.7 (better) after 5 % of LLR, which helps "
        "(uncorrected) at some budgets at sparsity 95 %, at none at 80 % and 90 % and harms at some budgets at sparsity 90 %"
    )
    assert "obs is best, by sparsity 90.0 % at 80 %, 80.0 % at 90 %, 70.0 % at 95 %; on" in sentences.scores(said)[0]


def test_where_the_baseline_is_best_nothing_is_said_of_its_lead():
    said = table({"magnitude": {0.9: [0.5, 0.9, 0.95]}, "obs": {0.9: [0.3, 0.9, 0.9]}})
    assert (
        sentences.finding(said)
        == "magnitude is best after the prune, before LLR, which helps (uncorrected) at every budget at sparsity 90 %"
    )
    alt, results, _ = sentences.scores(said)
    assert (
        "Straight after the prune magnitude is best, by sparsity 50.0 % at 90 %. " in alt
        and "its lead" not in alt + results
    )
    assert "After LLR for 25 %, on average against magnitude: obs -5.0 (-5.3 to -4.7, worse)." in results


def test_two_seeds_tell_nothing():
    said = table({"magnitude": {0.9: [0.5, 0.9, 0.95]}, "obs": {0.9: [0.6, 0.9, 0.95]}}, seeds=2)
    assert sentences.answer(said) == "With fewer than 3 seeds nothing can be told."
    assert sentences.finding(said) == "with fewer than 3 seeds nothing can be told"


def test_the_picture_shows_every_mean_as_the_share_of_errors_and_names_both_axes():
    made = made_figures.table("fig10_scores")
    figure = scores.scores(made)
    figure.savefig(io.BytesIO())
    assert [ax.get_title() for ax in figure.axes] == [
        f"{schedule}, sparsity {s} %" for schedule in ("FT", "LLR") for s in (80, 90, 95, 98)
    ]
    ax = figure.axes[-1]
    line = next(c for c in ax.containers if c.get_label() == "obs").lines[0]
    own = made[(made["sparsity"] == 0.98) & (made["score"] == "obs") & made["schedule"].isin(("none", "LLR"))]
    np.testing.assert_allclose(np.asarray(line.get_ydata(), dtype=float), 100 * (1 - own.sort_values("budget")["mean"]))
    assert list(np.round(np.asarray(line.get_xdata(), dtype=float))) == [0, 1, 2, 3]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "5", "10", "25"]
    assert "90" in [t.get_text() for t in figure.axes[4].get_yticklabels()], "accuracies, not errors"
    assert ax.get_ylim()[0] > ax.get_ylim()[1], "better is up"
    assert figure.axes[0].get_ylabel() == "Test accuracy (%)" and "Budget (%" in ax.get_xlabel()


def test_scores_differ_in_colour_line_and_marker():
    looks = style.SCORES.values()
    assert len({look.marker for look in looks}) == len({to_rgb(look.color) for look in looks}) == len(looks) == 4
    assert len({str(look.dashes) for look in looks}) == 4
