"""Saving figures: the same bytes for the same data, data, words and provenance beside them."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd

from retrainlab.figures import presets, retraining, saving
from retrainlab.figures.sentences import Words
from tests.helpers.made_figures import budget_figure


def save(figure, data, folder, results, settings=presets.preset("digits")):
    said = Words("name", "Six lines rise & fall <slowly>.", "", (), "")
    settings = replace(settings, output=folder)
    return saving.save(figure, data, said, "A caption", settings=settings, results=results)


def small() -> retraining.Figure:
    """An empty figure, where it does not matter what is drawn."""
    return retraining.Figure(figsize=(1, 1))


def test_the_same_figure_gives_the_same_bytes(frame, tmp_path):
    for folder in ("a", "b"):
        save(budget_figure(frame), frame, tmp_path / folder, frame)
    for end in presets.ENDS:
        first, second = ((tmp_path / folder / f"name.{end}").read_bytes() for folder in ("a", "b"))
        assert first == second
        assert len(first) > 100
    assert not list((tmp_path / "a").glob(".*")), "no temporary file is left"


def test_the_csv_holds_the_numbers_and_the_json_where_they_come_from(frame, tmp_path):
    save(small(), frame, tmp_path, frame)
    again = pd.read_csv(tmp_path / "name.csv")
    np.testing.assert_allclose(again["test_accuracy"], frame["test_accuracy"], rtol=1e-5)
    about = json.loads((tmp_path / "name.json").read_text())
    assert about["alt"].startswith("Six lines")
    assert about["results"] == ["0123456789abcdef"] and about["devices"] == ["cpu, 2 cores"]
    assert {"retrainlab", "torch"} <= set(about["versions"])
    assert about["parameters"] == {}


def test_runs_that_were_searched_for_the_shown_ones_are_told_too(frame, tmp_path):
    """Their keys; the devices, and what is said of them, are those of the rows that are shown."""
    searched = pd.concat([frame, frame[:2].assign(key=["a", "b"], device="cuda, A")])
    save(small(), frame, tmp_path, saving.Searched(frame, searched))
    about = json.loads((tmp_path / "name.json").read_text())
    assert about["results"] == ["0123456789abcdef", "a", "b"]
    assert about["devices"] == ["cpu, 2 cores"] and about["steps"] == {}, "this frame has no steps"


def test_a_figure_of_other_settings_leaves_the_presets_own_alone(frame, tmp_path, monkeypatch, capsys):
    """Pitfall: a notebook tried out by hand overwrites the figures that the project holds."""
    monkeypatch.setattr(presets, "project", lambda: tmp_path)
    figures, own = tmp_path / "figures" / "digits", presets.asked("digits", sparsities=[0.5], seeds=2)
    for settings in (presets.asked("digits"), presets.asked("digits", seeds=10, sparsities=[0.8, 0.9, 0.95, 0.98])):
        save(small(), frame, "", frame, settings)
        assert capsys.readouterr().out == "" and (figures / "name.png").is_file()
    before = {path.name: path.read_bytes() for path in figures.iterdir()}
    save(small(), frame[:3], "", frame, own)
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == before
    there = tmp_path / "figures" / "own" / "digits"
    assert json.loads((there / "name.json").read_text())["parameters"] == {"seeds": 2, "sparsities": [0.5]}
    [line] = capsys.readouterr().out.splitlines()
    assert "Not the preset's own seeds, sparsities" in line and str(there) in line
    save(small(), frame[:3], tmp_path / "given", frame, own)
    assert (tmp_path / "given" / "name.json").is_file() and capsys.readouterr().out == "", (
        "an output that is given wins"
    )


def test_what_is_not_pruned_stands_in_the_caption_once(frame, tmp_path):
    words = "Neither pruned nor counted: other parameters."
    save(small(), frame, tmp_path, frame.assign(not_pruned=["", *[words] * (len(frame) - 1)]))
    assert json.loads((tmp_path / "name.json").read_text())["caption"] == f"A caption {words}"
    save(small(), frame, tmp_path, frame.assign(not_pruned=""))
    assert json.loads((tmp_path / "name.json").read_text())["caption"] == "A caption"


def test_runs_of_several_devices_are_told_in_the_caption(frame, tmp_path):
    devices = ["cuda, A", *["cpu, 2 cores"] * (len(frame) - 1)]
    save(small(), frame, tmp_path, frame.assign(device=devices))
    about = json.loads((tmp_path / "name.json").read_text())
    assert about["caption"] == "A caption Not all runs were computed alike: on cpu, 2 cores and on cuda, A."
    assert about["devices"] == ["cpu, 2 cores", "cuda, A"]


def test_a_shown_picture_has_alternative_text(frame, tmp_path):
    picture = save(small(), frame, tmp_path, frame)
    shown = picture._repr_html_()
    assert 'alt="Six lines rise &amp; fall &lt;slowly&gt;."' in shown
    assert "<figcaption>A caption</figcaption>" in shown


def test_saves_at_the_same_time_do_not_clash_and_leave_nothing_behind(tmp_path):
    """Pitfall: temporary files with fixed names, which the first to finish takes from under the others."""
    results = pd.DataFrame({"seed": [0], "test_accuracy": [0.5], "device": ["cpu"], "key": ["a"]})
    words = dict(
        settings=presets.asked("smoke", tmp_path), results=results, said=Words("fig", "a", "", (), ""), caption="c"
    )
    data = pd.DataFrame({"name": ["=1+1", "-x", "LLR"], "value": [-0.5, 1.0, 2.0]})
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: saving.save(retraining.Figure(figsize=(1, 1)), data, **words), range(24)))
    assert len(done) == 24
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fig.csv", "fig.json", "fig.png", "fig.runs.csv", "fig.svg"]
    assert (tmp_path / "fig.csv").read_text() == "name,value\n'=1+1,-0.5\n'-x,1\nLLR,2\n"


def test_the_runs_are_saved_with_what_tells_them_apart_and_what_they_reached(frame, tmp_path):
    """Of a study's columns those before `test_accuracy` are settings, those behind `key` the figure's own.

    Pitfall: a study of one level of what a claim compares, such as a smoke test's, had no column of it; nor did one of a
    single budget say whether that is a short one.
    """
    first = frame.assign(recalibrate=False, test_loss=0.5, steps=range(len(frame)), key="k", entrant="BIMP")
    settings = ["recalibrate", "seed", "sparsity", "schedule", "budget"]  # one budget
    study = first[first["budget"] == 0.1][[*settings, "test_accuracy", "test_loss", "steps", "device", "key"]]
    study = study.assign(what=["A", "B"] * (len(study) // 2), share=0.5)
    found = saving.runs(study)
    assert list(found) == ["seed", "sparsity", "schedule", "budget", "what", "share", "test_accuracy", "test_loss"]
    assert len(found) == len(study) and found["test_accuracy"].equals(study["test_accuracy"])
    save(small(), frame, tmp_path, study)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "name.runs.csv"), found.reset_index(drop=True), rtol=1e-5)


def test_the_seed_is_among_the_runs_columns_where_there_is_but_one(frame):
    assert list(saving.runs(frame[frame["seed"] == 0])) == ["seed", "sparsity", "budget", "schedule", "test_accuracy"]


def test_a_figure_of_others_runs_says_which_files_it_looked_for_and_whence_these_come(frame, tmp_path):
    (tmp_path / "one.json").write_text('{"devices": ["cpu"], "results": ["b", "a"]}')
    save(budget_figure(frame), frame, tmp_path, saving.Read(["one", "absent"], frame, ["more.md"]))
    about = json.loads((tmp_path / "name.json").read_text())
    assert about["read"] == ["one.runs.csv", "one.json", "absent.runs.csv", "absent.json"]
    assert about["results"] == ["a", "b"] and about["devices"] == ["cpu"] and about["written"] == ["more.md"]


def test_the_claims_figure_looks_for_every_figure_that_a_claim_is_tested_on():
    from retrainlab.claims.table import CLAIMS, COLUMNS

    assert set(COLUMNS) == {name for c in CLAIMS for name in c.figures}
    notebook = presets.project() / "notebooks" / "fig15_claims.ipynb"
    assert "saving.Read(list(table.COLUMNS), " in notebook.read_text()
