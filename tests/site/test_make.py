"""The site as a folder of files: whole, linked, loading nothing from elsewhere, and open about what it lacks."""

import json
import re
from html.parser import HTMLParser

import pytest

pytest.importorskip("nbconvert")

from retrainlab.checks import BadInput
from retrainlab.cli import main
from retrainlab.config import NAMED_SCHEDULES
from retrainlab.site import explorers, make
from retrainlab.study import run
from tests.helpers import small_site

PAGES = {"index", "start", "predict", "draw", "fig03_budgets", "fig04_best_lr", "claims", "glossary"}
PAGES |= {"references", *(f"{name}_cifar10" for name in ("predict", "race"))}


class Found(HTMLParser):
    """The ids of a page, what it links to, and what it loads."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.loads = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.add(value)
            elif name == "href" and tag == "a":
                self.links.add(value)
            elif name in ("src", "href", "srcset"):
                self.loads.add(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_study", lambda *_, **__: pytest.fail("it trains"))
        return small_site.build_site(tmp_path_factory.mktemp("site"))


def test_every_page_is_there_and_every_link_leads_somewhere(site):
    found = {path.name: Found(path.read_text()) for path in site.glob("*.html")}
    assert PAGES <= {name.removesuffix(".html") for name in found}
    for name, page in found.items():
        for link in page.links | page.loads:
            if re.match("https?:", link):
                assert link in page.links, f"{name} loads {link}"
                continue
            file, _, anchor = link.partition("#")
            if file and file not in found:
                assert (site / file).is_file(), f"{name}: {link}"
            elif anchor:
                assert anchor in found[file or name].ids, f"{name}: {link}"


def test_every_page_has_the_same_nav_to_all_others(site):
    names = {path.name for path in site.glob("*.html")}
    for path in site.glob("*.html"):
        text = path.read_text()
        nav = re.search(r"<nav.*?</nav>", text, re.S)[0]
        assert {link for link in Found(nav).links} == names, path.name
        assert (
            'class="skip" href="#main"' in text and "<b>ALLR</b> adaptive LLR" in text and 'id="word-sparsity"' in text
        )
        assert not re.search(r"@import|url\(", text)


def test_a_figure_has_its_words_and_the_verdicts_of_its_claims(site):
    text = (site / "fig03_budgets.html").read_text()
    assert 'src="figures/digits/fig03_budgets.svg"' in text and "A caption of fig03_budgets." in text
    assert re.search(r'Claim C1</a>, <span class="verdict">\w+</span> on digits', text)
    assert 'href="fig04_best_lr.html"' in text and "<svg" in (site / "figures/digits/fig03_budgets.svg").read_text()


def test_what_the_store_lacks_is_said_and_how_to_make_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "run_study", lambda *_, **__: pytest.fail("it trains"))
    monkeypatch.setattr(explorers, "ORDER", ("race", "compare"))
    (tmp_path / "figures").mkdir()
    arguments = ["--output", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert main(["site", *arguments, "--figures", str(tmp_path / "figures")]) == 0
    out = capsys.readouterr().out
    assert (
        "race: 120 of its 120 runs are not stored" in out and "export race compare" in out and "That takes about" in out
    )
    index = (tmp_path / "out" / "index.html").read_text()
    assert "race: 120 of its 120 runs are not stored" in index and "glossary.html" in index


def test_sessions_and_formulas_are_in_it_once_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(explorers, "ORDER", ())
    cells = [
        ("markdown", "# Session 1: one\n\nSee [words](../docs/glossary.md) and [host.md](host.md)."),
        ("markdown", r"It is $$d_1 = \|W\| / \sqrt{s}$$ here."),
        ("code", "x = 1 < 2"),
    ]
    notebook = {"cells": [{"cell_type": kind, "source": [text]} for kind, text in cells]}
    for name, text in {
        "session_1.ipynb": json.dumps(notebook),
        "sheet.html": "<main><math><mi>budget</mi></math></main>",
    }.items():
        (tmp_path / name).write_text(text)
    make.make(str(tmp_path / "out"), str(tmp_path / "store"), str(tmp_path / "figures"), str(tmp_path))
    session, sheet, index = (
        (tmp_path / "out" / f"{name}.html").read_text() for name in ("session_1", "sheet", "index")
    )
    assert "<h1>Session 1: one</h1>" in session and 'href="glossary.html">words</a> and host.md.' in session
    assert "$$" not in session and "<msqrt>" in session and "<mo>‖</mo>" in session
    assert "<code>x = 1 &lt; 2</code>" in session and "<math><mi>budget</mi></math>" in sheet
    assert index.count('href="session_1.html"') == index.count('href="sheet.html"') == 2, "in the nav and below"


def test_pages_of_an_earlier_site_go_and_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(explorers, "ORDER", ())
    (tmp_path / "figures").mkdir()
    (tmp_path / "race.html").write_text(f"<!DOCTYPE html>\n<head>{make.MARK}")
    (tmp_path / "own.html").write_text("<p>mine</p>")
    made = make.make(str(tmp_path), str(tmp_path / "store"), str(tmp_path / "figures"))
    assert {path.name for path in tmp_path.glob("*.html")} == {path.name for path in made} | {"own.html"}
    assert (tmp_path / "index.html").read_text().count(make.MARK) == 1


def test_the_slider_has_a_view_for_every_percentage(site):
    data = json.loads(re.search(r'id="data">(.*?)</script>', (site / "start.html").read_text(), re.S)[1])
    assert list(data["views"]) == [str(percent) for percent in range(100)]
    words, table = data["views"]["86"]["words"], data["views"]["86"]["table"]
    assert words.startswith("661 of 4,724 weights are left (14 %") and "90 % removed" in table[0]
    assert [row[1] for row in table[2]] == sorted(NAMED_SCHEDULES, key=lambda name: -small_site.ENDS[name])
    assert data["views"]["0"]["csv"] == data["views"]["99"]["csv"] and data["views"]["0"]["csv"].count("\n") == 101


def test_damaged_claims_and_sessions_are_refused_before_anything_is_written(tmp_path):
    places = {"figures/digits/claims.json": "claims --preset digits", "teach/session_1.ipynb": "teach"}
    for name, again in places.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text('{"claims": [{}], "cells": []}')
        folders = [str(tmp_path / folder) for folder in ("out", "store", "figures", "teach")]
        with pytest.raises(BadInput, match=f"{path.name} is .*make it again: .*{again}"):
            make.make(*folders)
        assert not list((tmp_path / "out").iterdir())
        path.unlink()


def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        make.make(str(tmp_path / "file" / "site"))
