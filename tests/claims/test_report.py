"""Verdicts as a table, lines, a page and files; and the figure of them."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from retrainlab import stats
from retrainlab.checks import BadInput
from retrainlab.claims import beside, report, rule, table
from retrainlab.cli import main
from retrainlab.figures import claims as drawing
from retrainlab.figures import presets, provenance, sentences
from tests.helpers import claimed

DIGITS = presets.preset("digits")


@pytest.fixture(scope="module")
def found():
    return claimed.verdicts()


@pytest.fixture(scope="module")
def frame(found):
    return stats.as_saved(report.frame(found))


def written(folder):
    for name, runs in claimed.runs().items():
        (folder / f"{name}.runs.csv").write_text(stats.to_csv(runs))
    return folder


def test_a_row_for_each_part_with_all_that_was_found(found, frame):
    judged = [j for v in found for j in v.parts]
    rows = frame[frame["says"].notna()]
    assert len(rows) == len(judged) == 25 and len(frame) == 26  # C7 has none
    np.testing.assert_allclose(rows["mean"], [j.mean for j in judged], rtol=1e-5)
    assert [*rows["state"]] == [j.state for j in judged]
    assert frame.iloc[-1][["claim", "verdict"]].tolist() == ["C7", rule.NOT_TESTED]


def test_a_line_for_each_claim(found):
    assert report.lines(found) == [
        "C1  supported     of 5 parts 5 hold",
        "C2  supported     of 2 parts 2 hold",
        "C3  supported     of 5 parts 5 hold",
        "C4  contradicted  of 3 parts 2 hold and 1 fails",
        "C5  supported     of 8 parts 8 hold",
        "C6  supported     of 2 parts 2 hold",
        "C7  not tested    no runs of figure 14",
    ]


def test_the_page_has_every_claim_and_part_once_and_links_to_their_figures(found):
    page = report.page(found, "What digits says")
    for v in found:
        assert page.count(v.claim.statement) == page.count(v.claim.against) == 1
        for judged in v.parts:
            assert page.count(f"| {judged.part.says} |") == 1
    assert set(re.findall(r"\]\((.*?)\.png\)", page)) == {j.part.figure for v in found for j in v.parts}
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {6, 10}, "two tables whose rows are all as wide as their heads"


def test_the_values_are_the_parts_own(found):
    values = report.values(found)
    [part] = [j.part for v in found for j in v.parts if j.part.says == "BIMP is at least as good as GMP"]
    assert tuple(values[values["says"] == part.says]["value"]) == part.values
    assert set(values["claim"]) == {"C1", "C2", "C3", "C4", "C5", "C6"}


def test_the_command_prints_a_line_a_claim_and_writes_four_files(tmp_path, capsys):
    written(tmp_path)
    assert main(["claims", "--preset", "digits", "--figures", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()] == [[f"C{i}", "supported"] for i in range(1, 8)]
    assert str(tmp_path) in err
    contents = {end: (tmp_path / f"claims.{end}").read_bytes() for end in report.ENDS}
    about = json.loads(contents["json"])
    assert [c["verdict"] for c in about["claims"]] == ["supported"] * 7 and about["rule"] == report.RULE
    assert len(about["claims"][0]["parts"][0]["values"]) == 10
    assert len(pd.read_csv(tmp_path / "claims.csv")) == 29
    html = contents["html"].decode()
    assert html.count("<table>") == 2 and "BIMP is at least as good as GMP" in html and "src=" not in html
    assert main(["claims", "--figures", str(tmp_path)]) == 0
    assert contents == {end: (tmp_path / f"claims.{end}").read_bytes() for end in report.ENDS}, "the same bytes again"


def test_without_runs_nothing_is_written(tmp_path, capsys):
    assert main(["claims", "--preset", "smoke", "--figures", str(tmp_path / "none")]) == 2
    assert "run make figures PRESET=smoke first" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    with pytest.raises(BadInput):
        report.make(DIGITS, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_runs_of_another_preset_are_not_judged_by_this_ones_settings(tmp_path, capsys):
    """Pitfall: what counts as the last plateau, or as fewer than all epochs, is the preset's."""
    written(tmp_path)
    (tmp_path / "fig03_budgets.json").write_text('{"preset": "cifar10"}')
    assert main(["claims", "--preset", "digits", "--figures", str(tmp_path)]) == 2
    assert f"fig03_budgets in {tmp_path} is of preset cifar10, not digits; give" in capsys.readouterr().err
    assert main(["claims", "--preset", "cifar10", "--figures", str(tmp_path)]) == 0


def test_a_folder_that_cannot_be_written_ends_in_a_sentence(tmp_path, capsys):
    (written(tmp_path) / "claims.csv").mkdir()
    assert main(["claims", "--figures", str(tmp_path)]) == 2
    assert f"The claims cannot be written to {tmp_path} (Is a directory); copy" in capsys.readouterr().err


# ---- the figure ------------------------------------------------------------------------------------------------------


def test_distances_are_in_smallest_differences_on_the_claims_side():
    rows = [
        ("A", "above", -0.5, 1.0, 0.5, 1.5, 0.5),
        ("B", "below", 0.5, 0.2, 0.1, 0.3, 0.1),
        ("C", "exactly", 0.0, 0.0, 0.0, 0.0, np.nan),
    ]
    invented = pd.DataFrame(rows, columns=["says", "side", "boundary", "mean", "low", "high", "smallest"])
    got = drawing.distances(invented.assign(claim="C1", state="holds"))
    np.testing.assert_allclose(got[["mean", "low", "high"]].iloc[:2], [[3, 2, 4], [3, 2, 4]])
    assert got.iloc[2][["mean", "low", "high"]].isna().all()


def test_the_figure_has_a_mark_for_each_tested_part(frame):
    [axes] = drawing.claims(frame).axes
    marks = sum(len(container.lines[0].get_xdata()) for container in axes.containers)
    assert marks == frame["p"].notna().sum() == 24
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert len(labels) == 25 + 7 and labels[0] == "C1  supported" and labels[-1] == "C7  not tested"
    assert [text.get_text() for text in axes.texts] == ["holds, without a test"]
    failing = {label: c for c in axes.containers if (label := c.get_label())}["fails"]
    assert (failing.lines[0].get_xdata() < 0).all()


def test_what_the_figure_says(frame):
    said = sentences.words("fig15_claims", frame)
    told = "Supported: C1, C2, C3, C5 and C6; contradicted: C4; not tested: C7."
    assert said.points == (told, "Of 25 parts: holds: 24, fails: 1, open: 0.") and told in said.alt
    failing = "C4: that with less than all epochs a line to 0 is better than steps fails (-1.0"
    assert said.results.startswith(f"{told} {failing}") and said.results.count("fails") == 1


# ---- two tables ------------------------------------------------------------------------------------------------------


def test_two_tables_of_the_same_runs_do_not_differ(found):
    assert beside.sentences(found, found) == [
        "Verdicts that differ: none, of 7.",
        "Parts that differ: none, of 25.",
        "Means are 0.00 smallest differences apart on average, and 0.00 at most.",
    ]


def test_what_differs_between_two_tables_is_named_and_measured(found):
    runs = claimed.runs(contest=claimed.contest(GMP=3.0))
    other = table.verdicts(runs, DIGITS)
    turned, states, means = beside.sentences(found, other)
    differing = "C4 (contradicted, supported), C5 (supported, contradicted) and C7 (not tested, supported)"
    assert turned == f"Verdicts that differ: {differing}, of 7."
    assert "C5: that BIMP is at least as good as GMP (holds, fails)" in states and states.endswith(", of 25.")
    [gmp] = [(a, b) for _, a, b in beside.pairs(found, other) if a.part.says.endswith("GMP")]
    assert f"and {abs(gmp[0].mean - gmp[1].mean) / gmp[0].smallest:.2f} at most" in means


def test_the_command_says_how_far_another_folder_is(tmp_path, capsys):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        written(tmp_path / name)
    about = {"devices": ["another CPU"], "versions": {"torch": "2.14.1"}}
    (tmp_path / "other" / "fig03_budgets.json").write_text(json.dumps(about))
    paths = [str(tmp_path / name) for name in ("one", "other")]
    assert main(["claims", "--figures", paths[0], "--beside", paths[1]]) == 0
    assert "Verdicts that differ: none, of 7." in (told := capsys.readouterr()).out and beside.NAME in told.err
    record = json.loads((tmp_path / "one" / beside.NAME).read_text())
    assert record["sentences"][0] == "Verdicts that differ: none, of 7."
    assert record["of"] == provenance.digest((tmp_path / "one" / "claims.json").read_text())
    assert (record["devices"], record["torch"]) == (["another CPU"], ["2.14.1"])
    assert main(["claims", "--figures", paths[1], "--beside", paths[0]]) == 0
    record = json.loads((tmp_path / "other" / beside.NAME).read_text())
    assert (record["devices"], record["torch"]) == (["unknown"], ["unknown"]), "no figure there says it"
    assert main(["claims", "--figures", paths[0], "--beside", str(tmp_path / "none")]) == 2
