"""Figures: the same bytes for the same data, data and provenance beside them, readable by everybody."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from retrainlab import stats
from retrainlab.figures import presets, retraining, saving, style
from retrainlab.figures.sentences import Words


@pytest.fixture
def frame() -> pd.DataFrame:
    """Made-up results of a small grid: 3 seeds, 2 sparsities, 3 budgets, all schedules."""
    generator = np.random.default_rng(0)
    rows = [
        {
            "seed": s,
            "sparsity": p,
            "budget": b,
            "schedule": name,
            "acc": 0.9 - p / 5 + b / 9 + generator.normal(0, 0.01),
        }
        for s in range(3)
        for p in (0.8, 0.9)
        for b in (0.05, 0.1, 0.5)
        for name in style.SCHEDULES
    ]
    return pd.DataFrame(rows).assign(device="cpu, 2 cores", key="0123456789abcdef")


def budget_figure(frame: pd.DataFrame):
    table = stats.compared(frame, ["sparsity", "budget"], "acc", "schedule", "LLR")
    return retraining.budgets(table.assign(dense=0.97))


def save(figure, data, folder, results, settings=presets.preset("digits")):
    said = Words("name", "Six lines rise & fall <slowly>.", "", ())
    settings = replace(settings, output=folder)
    return saving.save(figure, data, said, "A caption", settings=settings, results=results)


def test_the_same_figure_gives_the_same_bytes(frame, tmp_path):
    for folder in ("a", "b"):
        save(budget_figure(frame), frame, tmp_path / folder, frame)
    for end in ("png", "svg", "csv", "json"):
        first, second = ((tmp_path / folder / f"name.{end}").read_bytes() for folder in ("a", "b"))
        assert first == second
        assert len(first) > 100
    assert not list((tmp_path / "a").glob(".*")), "no temporary file is left"


def test_the_csv_holds_the_numbers_and_the_json_where_they_come_from(frame, tmp_path):
    save(budget_figure(frame), frame, tmp_path, frame)
    again = pd.read_csv(tmp_path / "name.csv")
    np.testing.assert_allclose(again["acc"], frame["acc"], rtol=1e-5)
    about = json.loads((tmp_path / "name.json").read_text())
    assert about["alt"].startswith("Six lines")
    assert about["results"] == ["0123456789abcdef"] and about["devices"] == ["cpu, 2 cores"]
    assert {"retrainlab", "torch"} <= set(about["versions"])
    assert about["parameters"] == {}


def test_a_figure_of_other_settings_leaves_the_presets_own_alone(frame, tmp_path, monkeypatch, capsys):
    """Pitfall: a notebook tried out by hand overwrites the figures that the project holds."""
    monkeypatch.setattr(presets, "project", lambda: tmp_path)
    figures, own = tmp_path / "figures" / "digits", presets.asked("digits", sparsities=[0.5], seeds=2)
    for settings in (presets.asked("digits"), presets.asked("digits", seeds=5, sparsities=[0.8, 0.9, 0.95, 0.98])):
        save(budget_figure(frame), frame, "", frame, settings)
        assert capsys.readouterr().out == "" and (figures / "name.png").is_file()
    before = {path.name: path.read_bytes() for path in figures.iterdir()}
    save(budget_figure(frame), frame[:3], "", frame, own)
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == before
    there = tmp_path / "figures" / "own" / "digits"
    assert json.loads((there / "name.json").read_text())["parameters"] == {"seeds": 2, "sparsities": [0.5]}
    [line] = capsys.readouterr().out.splitlines()
    assert "Not the preset's own seeds, sparsities" in line and str(there) in line
    save(budget_figure(frame), frame[:3], tmp_path / "given", frame, own)
    assert (tmp_path / "given" / "name.json").is_file() and capsys.readouterr().out == "", (
        "an output that is given wins"
    )


def test_what_is_not_pruned_stands_in_the_caption_once(frame, tmp_path):
    words = "Neither pruned nor counted: other parameters."
    save(budget_figure(frame), frame, tmp_path, frame.assign(not_pruned=["", *[words] * (len(frame) - 1)]))
    assert json.loads((tmp_path / "name.json").read_text())["caption"] == f"A caption {words}"
    save(budget_figure(frame), frame, tmp_path, frame.assign(not_pruned=""))
    assert json.loads((tmp_path / "name.json").read_text())["caption"] == "A caption"


def test_a_shown_picture_has_alternative_text(frame, tmp_path):
    picture = save(budget_figure(frame), frame, tmp_path, frame)
    shown = picture._repr_html_()
    assert 'alt="Six lines rise &amp; fall &lt;slowly&gt;."' in shown
    assert "<figcaption>A caption</figcaption>" in shown


def test_budget_panels_show_percent_and_every_schedule(frame):
    figure = budget_figure(frame)
    top, bottom = figure.axes[0], figure.axes[2]
    assert top.get_title() == "Sparsity 80 %"
    assert top.get_ylabel() == "Test accuracy (%)" and "percentage points" in bottom.get_ylabel()
    _, labels = top.get_legend_handles_labels()
    assert [text for text in labels if text in style.SCHEDULES] == list(style.SCHEDULES)
    llr = frame[(frame["sparsity"] == 0.8) & (frame["schedule"] == "LLR")].groupby("budget")["acc"].mean()
    drawn = next(c for c in top.containers if c.get_label() == "LLR").lines[0].get_ydata()
    np.testing.assert_allclose(np.asarray(drawn, dtype=float), 100 * llr)


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


def test_saves_at_the_same_time_do_not_clash_and_leave_nothing_behind(tmp_path):
    """Pitfall: temporary files with fixed names, which the first to finish takes from under the others."""
    results = pd.DataFrame({"key": ["a"], "device": ["cpu"]})
    words = dict(
        settings=presets.asked("smoke", tmp_path), results=results, said=Words("fig", "a", "", ()), caption="c"
    )
    data = pd.DataFrame({"name": ["=1+1", "-x", "LLR"], "value": [-0.5, 1.0, 2.0]})
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: saving.save(retraining.Figure(figsize=(1, 1)), data, **words), range(24)))
    assert len(done) == 24
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fig.csv", "fig.json", "fig.png", "fig.svg"]
    assert (tmp_path / "fig.csv").read_text() == "name,value\n'=1+1,-0.5\n'-x,1\nLLR,2\n"
