"""Figures 5 to 9: what is drawn is what the data say."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import rgb_to_hsv, to_rgb

from retrainlab.figures import contest as plots
from retrainlab.figures import saving
from retrainlab.figures.sentences import contest as sentences
from tests.helpers import made_figures

NAMES = ["BIMP", "GMP", "STR", "Random"]


def cells(*columns, value=0.9, **levels) -> pd.DataFrame:
    """Every combination of levels, with a mean that differs from row to row."""
    index = pd.MultiIndex.from_product(levels.values(), names=levels.keys())
    frame = pd.DataFrame(index=index).reset_index()
    frame["mean"] = value - 0.01 * np.arange(len(frame))
    return frame.assign(low=frame["mean"] - 0.02, high=frame["mean"] + 0.02)


def contest():
    accuracy = cells(entrant=NAMES, sparsity=[0.8, 0.9, 0.95])
    return plots.contest(accuracy.assign(theoretical_speedup=5.0, images_per_second=8000.0, dense=0.97))


def splits():
    return plots.splits(cells(sparsity=[0.9, 0.95], share=[0.25, 0.5], cycles=[1, 3]), 8)


def stability():
    frame = cells(what=["raw", "recalibrated"], entrant=NAMES).rename(columns={"mean": "after"})
    return plots.stability(frame.assign(before=0.5, stability=0.6))


def lengths():
    return plots.lengths(cells(sparsity=[0.9, 0.95], what=["one-shot", "iterative"], epochs=[10, 12, 16]))


def where():
    ways = ["global", "erk", "random"]
    layers = cells(allocation=ways, layer=["conv.weight", "blocks.0.conv1.weight"]).rename(columns={"mean": "sparsity"})
    masks = {way: torch.arange(72).view(4, 2, 3, 3) % (i + 2) == 0 for i, way in enumerate(ways)}
    return plots.allocations(cells(allocation=ways, sparsity=[0.8, 0.9]), layers, masks, "blocks.0.conv1.weight")


FIGURES = [contest, splits, stability, lengths, where]


@pytest.mark.parametrize("make", FIGURES)
def test_every_figure_is_drawn_the_same_twice(make):
    first, second = saving.png(make()), saving.png(make())
    assert first == second and len(first) > 10_000


@pytest.mark.parametrize("make", FIGURES)
def test_every_axis_of_numbers_has_a_name(make):
    figure = make()
    figure.savefig(io.BytesIO())
    for ax in figure.axes:
        if len(ax.get_xticks()):
            assert ax.get_xlabel() or any(t.get_text() for t in ax.get_xticklabels()), ax.get_title()


@pytest.mark.parametrize("sparsities", [[0.9], [0.8, 0.9], [0.8, 0.9, 0.95]], ids=len)
def test_a_legend_is_no_wider_than_its_figure_however_few_panels_there_are(sparsities):
    ways = ["one-shot", "iterative, 3 cycles", "longer dense, one-shot", "dense, not pruned"]
    drawn = [
        plots.lengths(cells(sparsity=sparsities, what=ways, epochs=[10, 12])),
        plots.splits(cells(sparsity=sparsities, share=[0.25, 0.5], cycles=[1, 2, 3, 4]), 8),
    ]
    for figure in drawn:
        figure.savefig(io.BytesIO())
        [legend] = figure.legends
        there = legend.get_window_extent()
        assert 0 <= there.x0 and there.x1 <= figure.bbox.width and 0 < there.height < figure.bbox.height / 3
        assert len(legend.get_texts()) == 4


def test_the_contest_is_sorted_by_the_middle_sparsity_and_shows_its_means():
    figure = contest()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["Random", "STR", "GMP", "BIMP"]
    drawn = [c.lines[0].get_xydata()[0].tolist() for c in figure.axes[1].containers]
    np.testing.assert_allclose(drawn, [[80, 0], [83, 1], [86, 2], [89, 3]])


def test_controls_methods_and_bimp_differ_in_colour_and_mark():
    colours = {to_rgb(plots._kind(n).color) for n in ("BIMP", "GMP", "Random")}
    marks = {plots._kind(n).marker for n in ("BIMP", "GMP", "Random")}
    assert len(colours) == len(marks) == 3


def test_the_caption_names_the_colour_of_bimps_line():
    text = (Path(__file__).parents[2] / "notebooks" / "fig05_contest.ipynb").read_text()
    hue = 360 * rgb_to_hsv(to_rgb(plots._kind("BIMP").color))[0]
    assert "; orange line: BIMP;" in text and 20 < hue < 45


def test_what_is_said_of_the_contest_on_its_own_is_in_its_caption_too():
    table = made_figures.table("fig05_contest")
    _, results, points = sentences.contest(table)
    assert len(points) == 2 and all(point in results for point in points)
    few = sentences.contest(table.assign(p=np.nan))
    assert few[2] == (
        "Against BIMP, the other methods are not told apart: with fewer than 3 seeds nothing can be told.",
    )
    assert few[1].startswith(f"{few[2][0]} Searches that missed")


def test_a_masks_picture_says_how_much_is_kept():
    titles = [ax.get_title() for ax in where().axes]
    assert "global: 50 % kept" in titles and "erk: 33.3 % kept" in titles


def test_the_band_from_25_to_75_percent_is_marked():
    from matplotlib.patches import Rectangle

    for ax in splits().axes:
        [band] = [p for p in ax.patches if isinstance(p, Rectangle)]
        assert (band.get_x(), band.get_x() + band.get_width()) == (25, 75)
