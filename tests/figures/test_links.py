"""Figure notebooks lead to their explorers and to the figures beside them, and from the first notebook one gets to all."""

import re
from pathlib import Path

import nbformat
import pytest

from retrainlab.claims.table import CLAIMS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
FIGURES = sorted(path.stem for path in NOTEBOOKS.glob("fig*.ipynb"))
EXPLORERS = sorted(path.stem for path in NOTEBOOKS.glob("explore_*.ipynb"))
LINK = re.compile(r"\[([^][]*)\]\(([\w-]+)\.ipynb\)")


def cells(name: str) -> list[str]:
    """The texts of a notebook's markdown cells."""
    return [
        c.source for c in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells if c.cell_type == "markdown"
    ]


def links(name: str) -> list[str]:
    """The notebooks that a notebook's text leads to, in order."""
    return [target for text in cells(name) for _, target in LINK.findall(text)]


def number(figure: str) -> int:
    return int(figure[3:5])


def beside(figure: str, figures: list[str]) -> str:
    """The end of a figure's line of links: the figures before and after it in `figures`."""
    place = figures.index(figure)
    near = {"before": figures[:place][-1:], "next": figures[place + 1 :][:1]}
    return f"Figures: {', '.join(f'[{number(f)}]({f}.ipynb) {where}' for where, fs in near.items() for f in fs)}."


def claimed(figure: str) -> str:
    """What a figure's line of links says of the claims that are tested on its runs, with a space behind it."""
    own = [claim.name for claim in CLAIMS if figure in claim.figures]
    return f"Claim{'s' * (len(own) > 1)}: [{', '.join(own)}](fig15_claims.ipynb). " if own else ""


def test_the_figures_beside_one_follow_from_the_list():
    three = ["fig01_a", "fig02_b", "fig11_c"]
    assert beside("fig01_a", three) == "Figures: [2](fig02_b.ipynb) next."
    assert beside("fig02_b", three) == "Figures: [1](fig01_a.ipynb) before, [11](fig11_c.ipynb) next."
    assert beside("fig11_c", three) == "Figures: [2](fig02_b.ipynb) before."


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figures_first_text_ends_with_links_to_its_explorers_its_claims_and_the_figures_beside_it(figure):
    line, end = cells(figure)[0].split("\n\n")[-1], f"{claimed(figure)}{beside(figure, FIGURES)}"
    wanted = f"the last line is {line!r}, but should be: Explore: [NAME](explore_NAME.ipynb). {end}"
    assert line.startswith("Explore: ") and line.endswith(f". {end}"), wanted
    explorers = LINK.findall(line.partition(". ")[0])
    assert explorers and all(target == f"explore_{words}" in EXPLORERS for words, target in explorers)


def test_figures_and_explorers_lead_to_each_other():
    """An explorer's text may speak of a figure, which then links back; and every explorer is some figure's,
    but for that of a network of the reader's."""
    for explorer in EXPLORERS:
        assert [f for f in FIGURES if f in links(explorer) and explorer not in links(f)] == [], explorer
    assert {target for figure in FIGURES for target in links(figure)} >= set(EXPLORERS) - {"explore_own"}


def test_the_first_notebook_and_the_readme_lead_to_all_figures_in_order_and_to_all_explorers():
    start = links("start_here")
    readme = re.findall(r"\]\(notebooks/([\w-]+)\.ipynb\)", (ROOT / "README.md").read_text())
    for found in (start, readme):
        assert [name for name in found if name in FIGURES] == FIGURES
        assert set(EXPLORERS) <= set(found)
