"""One glossary: the README, its own page, the explorers and the notebooks say the same of a term."""

import json
import re
from pathlib import Path

import pytest

from retrainlab import glossary
from retrainlab.config import NAMED_SCHEDULES
from retrainlab.explore.views import start
from retrainlab.methods.table import METHODS

ROOT = Path(__file__).parent.parent
TERMS = [term for terms in glossary.GROUPS.values() for term in terms]


def test_every_named_schedule_has_its_words_and_a_hint():
    assert tuple(glossary.SCHEDULES) == NAMED_SCHEDULES
    assert all(term.long and term.words and term.hint for term in glossary.SCHEDULES.values())
    assert start.ABOUT == glossary.hints()


@pytest.mark.parametrize("name", ["explore_schedules", "fig01_schedules", "slides_retraining"])
def test_notebooks_say_of_the_schedules_what_the_glossary_says(name):
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    wanted = glossary.rows() if name.startswith("slides") else glossary.lines(glossary.SCHEDULES.values())
    assert "\n".join(wanted) in text


def test_the_page_has_every_term_once_with_its_sources():
    page = glossary.page()
    for term in TERMS:
        [line] = [line for line in page.splitlines() if line.startswith(f"- **{term.name}**")]
        assert term.words in line and all(f"(references.md#{anchor})" in line for anchor in term.sources)
    assert page.count("\n- **") == len(TERMS)


def test_the_page_begins_with_what_is_done_and_has_no_words_for_developers():
    page = glossary.page()
    read = page.partition("<!--")[0]
    assert page.partition("\n## ")[2].startswith("The three steps\n\n- **dense run**")
    assert not re.search(r"`make|\.py|README", read)


def test_every_method_that_sparsifies_has_a_sentence_with_the_sources_of_the_methods_page():
    terms = {term.name: term for term in glossary.GROUPS["Methods that sparsify during training"]}
    text = (ROOT / "docs" / "methods.md").read_text().partition("## While training")[2].partition("\n## ")[0]
    rows = {name: source for name, source in re.findall(r"^\| (\w+) \| ([^|]*) \|", text, re.M) if name != "method"}
    assert rows.keys() == {*METHODS} and {*METHODS} <= terms.keys()
    for name, source in rows.items():
        assert terms[name].sources == tuple(re.findall(r"references\.md#([\w-]+)", source)), name


def test_a_term_is_a_sentence_without_its_ends():
    for term in TERMS:
        assert not term.words.endswith(".") and "|" not in term.words and "\n" not in term.words


def test_works_are_named_as_the_references_have_them():
    references = (ROOT / "docs" / "references.md").read_text()
    known = dict(re.findall(r'<a id="([^"]+)"></a>\*\*(.+?)\.\*\*', references, re.S))
    for anchor, words in glossary.WORKS.items():
        who, _, year = words.rpartition(" ")
        authors = known[anchor]
        assert authors.startswith(who.removesuffix(" et al.").split(" & ")[0]) and authors.endswith(year), anchor
    assert {anchor for term in TERMS for anchor in term.sources} <= glossary.WORKS.keys()
