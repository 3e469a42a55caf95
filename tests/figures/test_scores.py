"""Figure 10: its table against hand counts, its picture, and words that are right whatever the data say."""

import io
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from retrainlab import stats
from retrainlab.figures import scores, style
from retrainlab.figures.sentences import scores as sentences
from tests.helpers import made_figures

ROOT = Path(__file__).parents[2]


def rows(levels: dict[tuple[str, str, float], list[float]], sparsity: float = 0.9) -> list[dict]:
    """A study's rows: accuracies of seeds 0, 1, ... by score, schedule and budget."""
    return [
        {
            "sparsity": sparsity,
            "score": score,
            "schedule": schedule,
            "budget": budget,
            "seed": seed,
            "test_accuracy": value,
        }
        for (score, schedule, budget), values in levels.items()
        for seed, value in enumerate(values)
    ]


def table(obs: dict[float, float], magnitude: dict[float, float], seeds: int = 5) -> pd.DataFrame:
    """Figure 10's as saved, of two scores with these mean accuracies by budget of LLR; obs differs from seed to seed."""
    noise = 0.001 * (np.arange(seeds) - (seeds - 1) / 2)
    levels = {("magnitude", "LLR", b): list(np.full(seeds, value)) for b, value in magnitude.items()}
    levels |= {("obs", "LLR", b): list(value + np.roll(noise, i)) for i, (b, value) in enumerate(obs.items())}
    frame = pd.DataFrame(rows(levels)).assign(dense_test_accuracy=0.98)
    return stats.as_saved(scores.compared(frame, "magnitude"))


def test_the_table_holds_leads_and_gains_paired_by_seed_and_averaged_over_sparsities():
    low = {("magnitude", "LLR", 0.0): [0.1, 0.3, 0.2], ("magnitude", "FT", 0.5): [0.4, 0.4, 0.5]}
    high = {("obs", "LLR", 0.0): [0.5, 0.6, 0.7], ("obs", "FT", 0.5): [0.5, 0.4, 0.9]}
    lower = {key: [value / 2 for value in values] for key, values in (low | high).items()}
    frame = pd.DataFrame(rows(low | high, 0.8) + rows(lower, 0.9)).assign(dense_test_accuracy=[0.9, 0.96, 0.99] * 8)
    found = scores.compared(frame, "magnitude").set_index(["sparsity", "schedule", "budget", "score"])
    assert found["dense"].unique() == pytest.approx([0.95])
    assert set(found.index.get_level_values("schedule")) == {"none", "FT"}
    start, end = found.loc[(0.8, "none", 0.0, "obs")], found.loc[(0.9, "FT", 0.5, "obs")]
    three = ["mean", "low", "high"]

    def row(values: pd.Series, kind: str) -> list[float]:
        return list(values[[f"{kind}{name}" for name in three]])

    assert row(start, "difference_") == pytest.approx(stats.interval([0.4, 0.3, 0.5]))
    assert row(start, "overall_") == pytest.approx(stats.interval(0.75 * np.array([0.4, 0.3, 0.5])))
    assert row(end, "overall_") == pytest.approx(stats.interval(0.75 * np.array([0.1, 0.0, 0.4])))
    assert row(end, "gain_") == pytest.approx(stats.interval(0.75 * np.array([0.0, -0.2, 0.2])))
    base = found.loc[(0.9, "FT", 0.5, "magnitude")]
    assert row(base, "gain_") == pytest.approx(stats.interval(0.75 * np.array([0.3, 0.1, 0.3])))
    assert np.isnan(base["overall_mean"]) and np.isnan(start["gain_mean"])


def test_a_better_prune_that_pays_for_nothing():
    said = table({0: 0.6, 0.05: 0.9, 0.25: 0.95}, {0: 0.5, 0.05: 0.9, 0.25: 0.95})
    assert sentences.answer(said) == (
        "After the best prune, that by obs, LLR is shown to help at every budget (30.0 to 35.0 points); against magnitude "
        "it is then undecided at every budget."
    )
    assert sentences.finding(said) == (
        "no: LLR for 5 % adds 30.0 points to Optimal Brain Surgeon, the best straight after the prune, and takes its lead "
        "over magnitude from +10.0 to +0.0 (undecided)"
    )


def test_a_better_prune_that_pays_and_needs_no_retraining():
    said = table({0: 0.9, 0.05: 0.8, 0.1: 0.9, 0.25: 0.95}, {0: 0.5, 0.05: 0.9, 0.1: 0.8, 0.25: 0.9})
    assert sentences.answer(said) == (
        "After the best prune, that by obs, LLR is shown to help at 25 %, is shown to harm at 5 %, is not shown to help at "
        "10 % (-10.0 to 5.0 points); against magnitude it is then shown to be better at 10 % and 25 %, shown to be worse at "
        "5 %."
    )
    assert sentences.finding(said) == (
        "retraining harms: LLR for 5 % adds -10.0 points to Optimal Brain Surgeon, the best straight after the prune, and "
        "takes its lead over magnitude from +40.0 to -10.0 (worse)"
    )
    alone = table({0: 0.9, 0.05: 0.9}, {0: 0.5, 0.05: 0.9})
    assert sentences.finding(alone).startswith("undecided: LLR for 5 % adds 0.0 points")


def test_where_the_baseline_is_best_nothing_is_said_of_a_lead():
    said = table({0: 0.3, 0.05: 0.9}, {0: 0.5, 0.05: 0.9})
    said["gain"] = said["gain"].mask(said["budget"] > 0, "better")  # all its seeds gain the same, which tells nothing
    assert sentences.best(said) == ("magnitude", pytest.approx(0.5))
    assert (
        sentences.answer(said)
        == "After the best prune, that by magnitude, LLR is shown to help at every budget (40.0 points)."
    )
    assert "against" not in str(sentences.scores(said)) and "lead" not in sentences.finding(said)


def test_two_seeds_tell_nothing():
    said = table({0: 0.6, 0.05: 0.9}, {0: 0.5, 0.05: 0.9}, seeds=2)
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


def test_the_row_of_the_readme_is_what_its_table_says():
    """Of both files as git has them: a user's command may have rewritten the table since."""

    def tracked(path: str) -> str:
        done = subprocess.run(["git", "show", f":{path}"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
        return done.stdout if done.returncode == 0 else pytest.skip("there is no git here, or no such file in it")

    saved = stats.read_saved(io.StringIO(tracked("figures/digits/fig10_scores.csv")))
    [row] = re.findall(r"^\| \[10\]\(.*", tracked("README.md"), re.M)
    assert row.split(" | ")[-1] == f"{sentences.finding(saved)} |"
