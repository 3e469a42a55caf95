"""Figures 1 to 4: what is drawn is what the data say, readable by everybody."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from retrainlab.figures import retraining, style
from tests.helpers.made_figures import budget_figure


def test_budget_panels_show_percent_and_every_schedule(frame):
    figure = budget_figure(frame)
    top, bottom = figure.axes[0], figure.axes[2]
    assert top.get_title() == "Sparsity 80 %"
    assert top.get_ylabel() == "Test accuracy (%)" and "percentage points" in bottom.get_ylabel()
    _, labels = top.get_legend_handles_labels()
    assert [text for text in labels if text in style.SCHEDULES] == list(style.SCHEDULES)
    llr = frame[(frame["sparsity"] == 0.8) & (frame["schedule"] == "LLR")].groupby("budget")["test_accuracy"].mean()
    drawn = next(c for c in top.containers if c.get_label() == "LLR").lines[0].get_ydata()
    np.testing.assert_allclose(np.asarray(drawn, dtype=float), 100 * llr)


def test_a_long_curve_is_thinned_to_its_ends_its_peak_and_its_jumps():
    stepped = [0.1] * 3500 + [0.01] * 2500
    assert retraining.thinned(stepped) == sorted({*range(0, 6000, 6), 3499, 3500, 5999})
    ramp = [i / 2503 for i in range(2504)] + [1 - i / 9 for i in range(1, 10)]  # its peak is no third place
    assert {2503, 2504, 2512} <= {*retraining.thinned(ramp)} and 2503 % 3
    assert retraining.thinned([0.1] * 1000) == list(range(1000)), "a short one stays as it is"


def test_schedules_differ_in_colour_line_and_marker():
    styles = [style.style(name) for name in style.SCHEDULES]
    assert len({s["marker"] for s in styles}) == 6
    assert len({to_rgb(s["color"]) for s in styles}) == 6
    assert len({(str(s["linestyle"]), to_rgb(s["color"])) for s in styles}) == 6


@pytest.mark.parametrize("name", style.SCHEDULES)
def test_lines_stand_out_from_white(name):
    """Contrast of at least 2 : 1 by WCAG's formula (thick lines with markers)."""
    assert 1.05 / (retraining._luminance(to_rgb(style.style(name)["color"])) + 0.05) >= 2


def overlapping(figure) -> list[tuple[str, str]]:
    """Pairs of axis titles and labels whose boxes overlap, and texts that leave the figure."""
    figure.savefig(io.BytesIO(), format="png")
    texts = [
        t for ax in figure.axes if ax.get_visible() for t in (ax.title, ax.xaxis.label, ax.yaxis.label) if t.get_text()
    ]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts]
    clashes = [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[i + 1 :] if x.overlaps(y)]
    width, height = figure.canvas.get_width_height()
    outside = [(a, "edge") for a, x in boxes if x.x0 < 0 or x.y0 < 0 or x.x1 > width or x.y1 > height]
    return clashes + outside


def test_no_text_overlaps_or_is_cut_off(frame):
    cells = [(s, b, 0.1, 0.07, 0.95, 0.94) for s in (0.5, 0.8, 0.9) for b in (0.05, 0.1)]
    columns = ["sparsity", "budget", "best_lr", "allr_lr", "best_accuracy", "allr_accuracy"]
    curves = [(p, s, e, 0.1) for p in ("dense", 0.05, 0.5) for s in style.SCHEDULES for e in range(5)]
    names = ["schedule", "step", "lr", "validation_accuracy"]
    points = [(s, i, 0.1, 0.5) for s in style.SCHEDULES for i in range(9)]
    figures = [
        budget_figure(frame),
        retraining.best_lr(pd.DataFrame(cells, columns=columns)),
        retraining.schedules(pd.DataFrame(curves, columns=["panel", "schedule", "epoch", "lr"])),
        retraining.recovery(pd.DataFrame(points, columns=names).assign(dense=0.97), "t"),
    ]
    for figure in figures:
        assert overlapping(figure) == []


def test_a_schedule_without_a_look_is_an_error_and_not_left_out():
    rows = pd.DataFrame({"schedule": ["LLR", "FT", "LLR"], "mean": [1.0, 2.0, 3.0]})
    assert [(name, len(part)) for name, part in style.by_schedule(rows)] == [("FT", 1), ("LLR", 2)]
    with pytest.raises(ValueError, match="mine"):
        style.by_schedule(rows.assign(schedule=["LLR", "mine", "FT"]))
