"""Figure 12: its table against hand counts, its picture, and words that are right whatever the data say."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from retrainlab import stats
from retrainlab.figures import ingredients, style
from retrainlab.figures.sentences import ingredients as sentences
from retrainlab.study.changes import BASE, PERP
from tests.helpers import made_figures

NAME = "fig12_ingredients"


def frame(cells: list[tuple[float, float, str, str, list[float]]]) -> pd.DataFrame:
    """A study's rows: (sparsity, budget, base, ingredient, accuracies of seeds 0, 1, ...) each."""
    names = ["sparsity", "budget", "base", "ingredient"]
    out = pd.DataFrame(cells, columns=[*names, "test_accuracy"]).explode("test_accuracy", ignore_index=True)
    return out.assign(test_accuracy=out["test_accuracy"].astype(float), seed=out.groupby(names).cumcount())


TWO = [
    (0.9, 0.0, "", "", [0.1, 0.2, 0.3]),
    (0.9, 0.1, "LLR", BASE, [0.9, 0.8, 0.7]),
    (0.9, 0.1, "LLR", PERP, [0.5, 0.5, 0.6]),
    (0.9, 0.1, "LLR", "warm-up 0 %", [0.9, 0.9, 0.8]),
    (0.9, 0.1, "ALLR", BASE, [0.8, 0.8, 0.8]),
    (0.9, 0.1, "ALLR", "norm of all parameters", [0.7, 0.8, 0.6]),
]


def test_the_table_pairs_each_ingredient_with_its_own_base():
    found = ingredients.compared(frame(TWO)).set_index(["base", "ingredient"])
    assert len(found) == 5 and set(found["pruned"].round(9)) == {0.2}

    def ends(base, ingredient, kind):
        return [found.loc[(base, ingredient), f"{kind}_{end}"] for end in stats.ENDS]

    for kind in ("difference", "overall"):
        assert ends("LLR", "warm-up 0 %", kind) == pytest.approx(stats.interval([0.0, 0.1, 0.1]))
        assert ends("ALLR", "norm of all parameters", kind) == pytest.approx(stats.interval([-0.1, 0.0, -0.2]))
    assert ends("LLR", PERP, "kept") == pytest.approx(stats.interval([0.4 / 0.8, 0.3 / 0.6, 0.3 / 0.4]))
    assert found["kept_mean"].notna().sum() == 1
    assert found["p"].notna().sum() == 3, "no ingredient is compared with another's base"


def test_an_average_is_over_sparsities_and_budgets_seed_by_seed():
    more = [(0.95, b, *rest, [v - 0.1 * seed for seed, v in enumerate(own)]) for _, b, *rest, own in TWO[:3]]
    more[2][-1][0] += 0.3
    found = ingredients.compared(frame([*TWO[:3], *more]))
    perp = found[found["ingredient"] == PERP].set_index("sparsity")
    first, second = np.array([-0.4, -0.3, -0.1]), np.array([-0.1, -0.3, -0.1])
    assert perp.loc[0.95, "difference_mean"] == pytest.approx(second.mean())
    for sparsity in (0.9, 0.95):
        own = [perp.loc[sparsity, f"overall_{end}"] for end in stats.ENDS]
        assert own == pytest.approx(stats.interval((first + second) / 2))


def test_what_is_kept_of_no_gain_is_undefined_and_said_so():
    cells = [(s, b, base, what, [0.2, 0.8, 0.7] if what == BASE else own) for s, b, base, what, own in TWO]
    cells[0] = (0.9, 0.0, "", "", [0.2, 0.1, 0.1])
    found = stats.as_saved(ingredients.compared(frame(cells)))
    assert found["kept_mean"].isna().all()
    assert sentences.kept(found).endswith("is undefined: it gains nothing on some seed, or diverged.")


def test_what_is_kept_leaves_out_a_seed_that_diverged():
    cells = [(s, b, base, what, [np.nan, *own[1:]] if what == PERP else own) for s, b, base, what, own in TWO]
    found = ingredients.compared(frame(cells)).set_index("ingredient")
    assert found.loc[PERP, "kept_mean"] == pytest.approx((0.3 / 0.6 + 0.3 / 0.4) / 2)
    assert (found.loc[PERP, "n"], found.loc[PERP, "left_out"]) == (2, 1)


def test_the_words_are_those_of_the_numbers():
    made = made_figures.table(NAME)
    own = made[made["ingredient"] == PERP].iloc[0]
    alt, results, points = sentences.ingredients(made)
    mean = f"{PERP} {100 * own['overall_mean']:+.1f} ({100 * own['overall_low']:+.1f} to "
    assert mean in alt and mean in results and "norm of all parameters (ALLR)" in alt
    assert results.startswith("In points, on average over 2 cells, shown after Holm's correction for 12 comparisons: ")
    assert sentences.finding(made) == f"harms: {PERP}; undecided: 11 of 12"
    assert f"{100 * own['kept_mean']:.1f} % (" in points[1] and "at sparsity 95 % and budget 5 % and " in points[1]
    turned = made.assign(overall=made["overall"].replace({"worse": "better"}))
    assert sentences.finding(turned).startswith(f"helps: {PERP}; undecided: 11")
    nothing = made.assign(overall=made["overall"].replace({"worse": "undecided"}))
    assert sentences.finding(nothing) == "undecided: 12 of 12"
    assert "for 12 comparisons: none. Undecided: 12." in sentences.ingredients(nothing)[1]


def test_one_cell_is_no_average_and_two_seeds_tell_nothing():
    one = stats.as_saved(ingredients.compared(made_figures.ingredients_frame(sparsities=(0.9,))))
    assert "In points, at sparsity 90 % and budget 5 %" in sentences.ingredients(one)[0]
    figure = ingredients.ingredients(one)
    figure.savefig(io.BytesIO())
    [box] = [legend.get_window_extent() for legend in figure.legends]
    assert len(figure.axes) == 1 and 0 <= box.x0 < box.x1 <= figure.canvas.get_width_height()[0], "nothing is cut off"
    few = stats.as_saved(ingredients.compared(made_figures.ingredients_frame(2)))
    assert sentences.finding(few) == "with fewer than 3 seeds nothing can be told"
    assert sentences.ingredients(few)[1].startswith("With fewer than 3 seeds nothing can be told. With only biases")


def test_the_picture_has_a_row_for_each_ingredient_and_a_colour_for_each_verdict():
    made = made_figures.table(NAME)
    figure = ingredients.ingredients(made)
    figure.savefig(io.BytesIO())
    assert [ax.get_title() for ax in figure.axes] == [
        "Sparsity 95 %, budget 5 %",
        "Sparsity 98 %, budget 5 %",
        "Average",
    ]
    labels = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    changed = made[made["ingredient"] != BASE].drop_duplicates(["base", "ingredient"])
    assert [x for x in labels if not x.startswith("against ")] == list(changed["ingredient"])
    assert [x for x in labels if x.startswith("against ")] == ["against LLR", "against ALLR", "against ALLR, 3 cycles"]
    row = labels.index(PERP)
    for ax, value in zip(figure.axes, made.loc[made["ingredient"] == PERP, "difference_mean"]):
        points = {
            (round(float(x), 6), y): to_rgb(c.lines[0].get_color())
            for c in ax.containers
            for x, y in zip(c.lines[0].get_xdata(), c.lines[0].get_ydata())
        }
        assert len(points) == 12, "no ingredient is lost"
        assert points[round(100 * value, 6), row] == to_rgb(style.VERDICTS["worse"].color)
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1], "the first row is on top"


def test_one_seed_can_be_drawn():
    figure = ingredients.ingredients(stats.as_saved(ingredients.compared(made_figures.ingredients_frame(1))))
    figure.savefig(io.BytesIO())
    assert np.isfinite(figure.axes[0].get_xlim()).all()


@pytest.mark.parametrize("lost", [("", ""), ("LLR", BASE), ("LLR", PERP)])
def test_what_diverged_on_every_seed_keeps_nothing_of_a_gain(lost):
    cells = [(*cell[:4], [np.nan] * 3 if cell[2:4] == lost else cell[4]) for cell in TWO]
    table = stats.as_saved(ingredients.compared(frame(cells)))
    assert table["kept_mean"].isna().all()
    ingredients.ingredients(table).savefig(io.BytesIO(), format="png", dpi=20)
    alt, results, _ = sentences.ingredients(table)
    assert "is undefined" in results and "+nan" not in alt + results
