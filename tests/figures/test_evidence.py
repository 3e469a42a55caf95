"""docs/evidence.md says what the results that come with the project say: against hand computations, and as git has it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from retrainlab import stats
from retrainlab.cli import main
from retrainlab.figures import evidence, presets, published
from retrainlab.figures.style import SCHEDULES
from retrainlab.study import Results
from tests.helpers.tracked import tracked

ROOT = Path(__file__).parents[2]
DENSE = (0.9191, 0.9214, 0.9192)
LLR = (0.8917, 0.8925, 0.8922)


@pytest.fixture
def rows() -> pd.DataFrame:
    """Ten epochs of every schedule on three seeds: LRW is FT, the others lie a little below LLR."""
    out = []
    for place, name in enumerate(SCHEDULES):
        for seed, llr in enumerate(LLR):
            own = {"LLR": llr, "FT": llr - 0.037 - 0.001 * seed, "LRW": llr - 0.037 - 0.001 * seed}
            value = own.get(name, llr - 0.0001 * place * (seed - 0.5))
            loss = 1 - own.get(name, value)
            out.append((seed, 0.8926, 10 / 182, name, value, loss, loss, DENSE[seed], 10, "a GPU"))
    names = "seed sparsity budget schedule test_accuracy test_loss validation_loss dense_test_accuracy length device"
    return pd.DataFrame(out, columns=names.split())


def numbers(text: str, start: str) -> list[float]:
    """The numbers of the first line of a table that starts so."""
    [line, *_] = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [float(x) for x in re.findall(r"[-+]?\d+\.\d+", line.split("|", 2)[2])]


def test_the_published_trials_have_the_published_means():
    """As the paper's data have them, to the digits that were published."""
    means = {n: round(100 * float(np.mean(published.accuracies("FT", n))), 2) for n in published.RIGHT["FT"]}
    assert means == {10: 84.66, 30: 86.97, 50: 87.52, 70: 87.94, 90: 88.38, 182: 88.38}
    assert round(100 * published.DENSE[0], 2) == 91.71
    for own in published.RIGHT.values():
        assert all(len(right) == 3 and max(right) < published.TESTED for right in own.values())


def test_differences_to_published_trials_are_those_of_scipys_welch_test(rows):
    text = evidence.beside(rows)
    ft = rows.loc[rows["schedule"] == "FT", "test_accuracy"]
    test = scipy_stats.ttest_ind(ft, published.accuracies("FT", 10), equal_var=False)
    apart, low, high, p = numbers(text, "FT, 10 epochs")[5:]
    interval = test.confidence_interval(0.95)
    assert [low, high] == pytest.approx([100 * interval.low, 100 * interval.high], abs=0.006)
    assert p == pytest.approx(test.pvalue, abs=6e-4)
    assert apart == pytest.approx(100 * (ft.mean() - np.mean(published.accuracies("FT", 10))), abs=0.006)
    mean, deviation, count = published.DENSE
    dense = scipy_stats.ttest_ind_from_stats(
        np.mean(DENSE), np.std(DENSE, ddof=1), 3, mean, deviation, count, equal_var=False
    )
    assert numbers(text, "dense, 182 epochs")[-1] == pytest.approx(dense.pvalue, abs=6e-4)
    assert "| FT, 90 epochs | not trained yet | | 88.38 % (0.39) | 3 |" in text


def test_verdicts_follow_the_corrected_p_values(rows):
    """Ours shifted far up: what lies 5 points above is higher, what is below as far is lower."""
    for shift, word in ((0.05, "higher"), (-0.1, "lower")):
        moved = rows.assign(test_accuracy=rows["test_accuracy"] + shift)
        [line] = [line for line in evidence.beside(moved).splitlines() if line.startswith("| FT, 10 epochs")]
        assert line.endswith(f"| {word} |")


def test_fewer_than_three_seeds_show_nothing():
    apart, low, high, p = stats.welch([0.9, 0.91], 0.8, 0.01, 100)
    assert apart == pytest.approx(0.105) and (low, high) == (-np.inf, np.inf) and np.isnan(p)


def test_schedules_are_compared_with_llr_on_the_same_seeds(rows):
    text = evidence.schedules(rows)
    ft = rows.loc[rows["schedule"] == "FT", "test_accuracy"].to_numpy() - np.array(LLR)
    half = scipy_stats.t.ppf(0.975, 2) * ft.std(ddof=1) / np.sqrt(3)
    wanted = [100 * x for x in (ft.mean(), ft.mean() - half, ft.mean() + half)]
    assert numbers(text, "FT")[-3:] == pytest.approx(wanted, abs=0.006)
    assert "| LRW |" in text and "worse (the same run as FT)" in text
    assert re.search(r"\| LLR \| 89\.21 % \([\d.]+ to [\d.]+\) \| 89\.17 to 89\.25 \| \| \|", text)


def test_how_far_a_choice_of_images_moves_an_accuracy():
    """Against drawing 8,000 of 10,000 images, of which 84.66 % are named rightly, again and again."""
    images = np.arange(10_000) < 8466
    draw = np.random.default_rng(0)
    means = [draw.permutation(images)[:8000].mean() for _ in range(2000)]
    assert evidence._by_choice(0.8466) == pytest.approx(np.std(means), rel=0.05)


def test_the_evidence_of_this_project_is_what_its_results_say():
    """Of the pages as git has them, and of no store but the files of results that come with the project."""

    if tracked("README.md") is None:
        pytest.skip("there is no git here, or no README in it")
    made = evidence.pages(tracked)
    assert {path: tracked(path) for path in made} == made, "run `make words`, and add the pages to git with the results"


def test_the_dense_recipe_is_the_published_one():
    recipe = presets.preset("cifar10").recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.gamma, recipe.all_train) == (182, 128, 0.1, 0.1, True)
    assert [round(share * 182) for share in recipe.milestones] == [91, 136]
    assert (recipe.sgd.weight_decay, recipe.sgd.decay_norm, recipe.sgd.nesterov) == (2e-4, True, False)


def test_the_command_on_the_page_tells_what_the_page_does(tmp_path, capsys):
    """Without images, and with nothing but the results that come with the project."""
    [block] = re.findall(r"```\nretrainlab (study .*?)```", (ROOT / "docs" / "evidence.md").read_text(), re.S)
    assert main([*block.replace("\\\n", " ").split(), "--store", str(tmp_path / "none")]) == 0
    told = capsys.readouterr().out
    rows = evidence.runs(Results.at(tmp_path / "none"))
    for name, own in rows[rows["length"] == evidence.SHORT].groupby("schedule")["test_accuracy"]:
        assert re.search(rf" {name} +{100 * own.mean():.2f} ", told), name
    assert not (tmp_path / "none").exists()
