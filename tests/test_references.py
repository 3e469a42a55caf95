"""What is named by author and year has an entry in docs/references.md, and texts link to it."""

import calendar
import json
import re
from pathlib import Path

import pytest

from retrainlab import references

ROOT = Path(__file__).parent.parent
REFERENCES = ROOT / "docs" / "references.md"
TEXTS = [
    path
    for pattern in ("*.md", "docs/*.md", "benchmarks/*.md", "notebooks/*.ipynb", "teach/*.md", "teach/*.ipynb")
    for path in sorted(ROOT.glob(pattern))
    if path != REFERENCES
]
NAME = r"[A-Z][a-z]+(?:[A-Z][a-z]+)?(?:-[A-Z][a-z]+)?"  # Han, LeCun, Carreira-Perpinan
OTHERS = rf"(?:, {NAME}(?: {NAME})?)*(?:,? (?:&|and) {NAME}(?: {NAME})?)?(?: et al\.)?"
YEAR = r"(?:19|20)\d\d"
CITED = re.compile(
    rf"\b({NAME}){OTHERS}(?:, [A-Z][A-Za-z]*[A-Z])?,? \(?({YEAR})\b"
)  # a venue may stand before the year
LINK = re.compile(r"\[([^][]*)\]\(([^)]*)\)")
ENTRY = re.compile(rf'^- <a id="([a-z-]+-{YEAR}[a-z]?)"></a>\*\*(.+?)\.\*\* (.*?)(?=^- |\Z)', re.M | re.S)
ADDRESSES = {
    "arXiv": "https://arxiv.org/abs/",
    "doi": "https://doi.org/",
    "JSTOR": "https://www.jstor.org/stable/",
    "proceedings": "https://proceedings.neurips.cc/paper/",
}
MONTHS = set(calendar.month_name)


def prose(path: Path) -> str:
    """What a reader reads of a text, on one line: markdown without blocks of code, the markdown cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return " ".join(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S).split())


def cited(text: str) -> set[str]:
    """The works that a text names by author and year, as han-2015."""
    return {f"{name.lower()}-{year}" for name, year in CITED.findall(text) if name not in MONTHS}


def linked(path: Path) -> list[tuple[str, str]]:
    """The words and the anchors of a text's links to the references."""
    out = []
    for words, target in LINK.findall(prose(path)):
        file, _, anchor = target.partition("#")
        if anchor and file.endswith("references.md") and (path.parent / file).resolve() == REFERENCES:
            out.append((words, anchor))
    return out


def entries() -> dict[str, tuple[str, str]]:
    """Authors and year, and the rest, of each entry by its anchor."""
    text = REFERENCES.read_text(encoding="utf-8")
    found = {anchor: (" ".join(who.split()), " ".join(rest.split())) for anchor, who, rest in ENTRY.findall(text)}
    assert len(found) == text.count("<a id=") == len(re.findall("^- ", text, re.M)), "each entry has its form, once"
    return found


def in_the_package() -> set[str]:
    """The works that docstrings and comments name."""
    files = (ROOT / "retrainlab").rglob("*.py")
    return set().union(*(cited(" ".join(re.sub(r"^\s*#", "", f.read_text(), flags=re.M).split())) for f in files))


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("Han et al. 2015 (section 3.4); Renda, Frankle & Carbin 2020", {"han-2015", "renda-2020"}),
        ("(Zimmer, Spiegel & Pokutta, ICLR 2023) of LeCun, Denker & Solla 1989", {"zimmer-2023", "lecun-1989"}),
        ("Blalock, Gonzalez Ortiz, Frankle & Guttag (2020)", {"blalock-2020"}),
        ("Carreira-Perpinan & Idelbayev 2018; In Holm 1979", {"carreira-perpinan-2018", "holm-1979"}),
        ("Torch-Pruning 1.6.1 (September 2025), of 2,000 steps, Figure 3 and ICLR 2023", set()),
    ],
)
def test_works_are_found_by_author_and_year(text, works):
    assert cited(text) == works


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_every_author_and_year_is_a_link_to_its_entry(path):
    known = entries()
    for words, anchor in linked(path):
        assert anchor in known, f"{path.name}: [{words}] leads to #{anchor}, which docs/references.md does not have"
        assert anchor.rstrip("bcd") in cited(words), f"{path.name}: [{words}] leads to #{anchor}, another work"
    bare = LINK.sub(" ", prose(path))
    assert not cited(bare), f"{path.name}: link these to docs/references.md"
    assert not re.findall(rf"{NAME} et al\.", bare), f"{path.name}: give the year, and a link to docs/references.md"


def test_every_work_that_the_package_names_has_an_entry():
    assert in_the_package() <= {anchor.rstrip("bcd") for anchor in entries()}


def test_every_entry_is_cited():
    anchors = {anchor for path in TEXTS for _, anchor in linked(path)}
    assert {a for a in entries() if a not in anchors and a.rstrip("bcd") not in in_the_package()} == set()


def test_entries_are_sorted_and_each_has_authors_a_title_and_an_address():
    known = entries()
    assert list(known) == sorted(known, key=lambda anchor: anchor.rpartition("-")[::2])
    for anchor, (who, rest) in known.items():
        assert cited(who) == {anchor.rstrip("bcd")}, anchor
        title, [(name, target)] = re.match(r"\*.+?\*", rest), LINK.findall(rest)
        kind, _, number = name.partition(" ")
        assert title and target.startswith(ADDRESSES[kind]), anchor
        assert target == ADDRESSES[kind] + number or kind == "proceedings", anchor
        if kind == "arXiv":  # 1506.02626 is of June 2015, so before what was printed
            assert re.fullmatch(r"\d{4}\.\d{4,5}", number) and 2000 + int(number[:2]) <= int(anchor.rstrip("bcd")[-4:])


def test_the_package_reads_the_address_of_every_entry():
    wanted = {anchor: LINK.findall(rest)[0][1] for anchor, (_, rest) in entries().items()}
    assert references.addresses() == wanted
