"""The sheet: formulas that a browser draws, pointers that lead to the lines that compute them, one page of A4."""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from retrainlab import glossary
from retrainlab.figures import printing
from retrainlab.teaching import formulas, sheet
from retrainlab.teaching.mathml import math

ROOT = Path(__file__).parents[2]
FORMULAS = [formula for group in formulas.GROUPS.values() for formula in group]
CHILDREN = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "msqrt": 1}


def text(tex: str) -> str:
    return "".join(ElementTree.fromstring(math(tex)).itertext())


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda formula: formula.name)
def test_pointers_lead_to_the_lines_that_compute(formula):
    for line in formula.lines:
        path, _, number = line.place.rpartition(":")
        assert line.words in (ROOT / path).read_text(encoding="utf-8").splitlines()[int(number) - 1]


def test_a_pointer_without_its_line_is_an_error():
    """Pitfall: a pointer to a line that has moved on."""
    with pytest.raises(ValueError, match="0 lines of ft hold 'the peak'"):
        _ = formulas.Line(formulas.schedules.ft, "the peak").place
    with pytest.raises(ValueError, match="2 lines"):
        _ = formulas.Line(formulas.schedules.clr, "original").place


def test_tex_becomes_the_elements_that_it_stands_for():
    found = ElementTree.fromstring(math(r"\eta_{w+j}^2 = \frac{1 - a}{\sqrt{b}}"))
    tags = [e.tag for e in found.iter()]
    assert [tags.count(tag) for tag in ("msubsup", "mfrac", "msqrt", "mi")] == [1, 1, 1, 5]
    assert text(r"\eta_{w+j}^2 = \frac{1 - a}{\sqrt{b}}") == "ηw+j2=1−ab"
    assert text(r"\text{a b} \le \| W \|") == "a b≤‖W‖" and text(r"\bar{x}") == "x\u0304"


@pytest.mark.parametrize("tex", [f.tex for f in FORMULAS] + [tex for tex, _ in formulas.SYMBOLS])
def test_every_formula_is_well_formed(tex):
    for element in ElementTree.fromstring(math(tex)).iter():
        assert len(element) == CHILDREN.get(element.tag, len(element))


@pytest.mark.parametrize("tex", [r"\frac{1}{2", r"\foo", "a_", "}", r"\bar{ab}"])
def test_tex_that_is_not_known_is_an_error(tex):
    with pytest.raises(ValueError, match="missing|not known"):
        math(tex)


def test_every_named_schedule_has_its_formula_and_all_symbols_are_told():
    assert glossary.SCHEDULES.keys() <= {formula.name for formula in FORMULAS}
    told = {
        letter
        for tex, _ in formulas.SYMBOLS
        for letter in re.findall(r"[A-Za-z]", re.sub(r"\\text\{\w+\}|\\\w+", "", tex))
    }
    used = {letter for f in FORMULAS for letter in re.findall(r"[A-Za-z]", re.sub(r"\\text\{[^}]*\}|\\\w+", "", f.tex))}
    assert used - {"i", "n", "N", "d", "x"} <= told, "i, n and N are told in words, d is a formula"


def test_the_html_loads_nothing_and_links_to_the_works():
    page = sheet.html()
    assert not re.findall(r"<(?:script|link|img|iframe)|url\(|@import|src=", page)
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == sum(bool(f.source) for f in FORMULAS) and all(link.startswith("https://") for link in links)
    assert page.count("<math") == len(FORMULAS) + len(formulas.SYMBOLS)


@pytest.mark.skipif(not any(map(shutil.which, printing.BROWSERS)), reason="no Chromium, Chrome or Edge is on the path")
@pytest.mark.xdist_group("browser")
def test_the_pdf_is_one_page_of_a4(tmp_path):
    made = sheet.make(tmp_path)
    assert [path.name for path in made] == ["sheet.html", "sheet.pdf"]
    pdf = made[1].read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 1
    [box] = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert [round(float(side)) for side in box] == [595, 842]


def test_without_a_browser_the_html_is_made_and_a_sentence_says_what_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(printing.shutil, "which", lambda name: None)
    assert [path.name for path in sheet.make(tmp_path)] == ["sheet.html"]
    assert "The sheet's PDF was left out: no browser that prints" in capsys.readouterr().err
