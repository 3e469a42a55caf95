"""Names that look like HTML are text wherever they are shown: a page has the same elements with them as with plain ones."""

import json
import re
from html.parser import HTMLParser
from io import BytesIO, StringIO
from xml.etree import ElementTree

import pytest

pytest.importorskip("nbconvert")
pytest.importorskip("ipywidgets")

from matplotlib.figure import Figure

from retrainlab.claims import report
from retrainlab.explore.kit import chart, controls, pages
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.figures.blocks import safe
from retrainlab.figures.pages import Shown
from retrainlab.figures.saving import Picture
from retrainlab.figures.sentences import Words
from retrainlab.figures.slides import Evidence
from retrainlab.site import documents, make
from retrainlab.site.explorers import Explorer, Lacking
from retrainlab.site.figures import Drawn, Verdict
from retrainlab.site.figures import Figure as Drawing
from retrainlab.site.frame import Frame
from retrainlab.teaching.answers import _html
from tests.helpers import claimed

TAG = "<img src=x onerror=alert(1)>"
HOSTILE = f"\"'>{TAG}<!--<script>alert(2)</script><svg onload=alert(3)>&lt;b&gt;{{0}} $x$ [a](javascript:b)"
PLAIN = "plain"


class Bones(HTMLParser):
    """Every element of a page with the names of its attributes and what leads elsewhere; and its words."""

    def __init__(self, text: str):
        super().__init__()
        self.found, self.words = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        leads = [value for name, value in attrs if name in ("href", "src") and not value.startswith("#")]
        self.found.append((tag, sorted(name for name, _ in attrs), leads))

    def handle_comment(self, data):
        self.found.append(("comment", data))

    def handle_data(self, data):
        self.words += data


def same_bones(written) -> None:
    """The page of a hostile name has the bones of the page of a plain one, and shows the name; written: name -> HTML."""
    hostile, plain = Bones(written(HOSTILE)), Bones(written(PLAIN))
    assert hostile.found == plain.found and TAG in hostile.words


def explorer(name: str) -> Page:
    panel = chart.panel([], x=(0, 1), y=(0, 1), xlabel=name, ylabel=name)
    charts = [chart.chart([panel], name, legend=[(name, {"color": "#000"})])]
    seen = View(charts, name, (name, (name,), [(name,)]), name, name, {name: name})
    control = Control(name, [(name, 1)])
    return Page("race", name, [name], [control], [], lambda _: seen, devices=[name], data={name: name})


def figure(name: str) -> Drawing:
    about = {"caption": name, "devices": [name], "versions": {"torch": name}}
    shown = Shown("fig03_budgets", Words("fig03_budgets", name, name, (name,), name), 3, about)
    verdict = Verdict(name, name, name, [(name, name)])
    return Drawing("fig03_budgets", name, "A text.", [Drawn(shown, "digits", name, [verdict], 400.0)])


def test_an_exported_page():
    same_bones(lambda name: pages.html(explorer(name)))
    text = pages.html(explorer(HOSTILE))
    held = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1]
    assert "<" not in held and json.loads(held)["views"]["0"]["words"] == HOSTILE
    assert json.loads(held)["controls"][0]["label"] == HOSTILE


def test_the_pages_of_the_site():
    def explorers(name: str) -> str:
        own = Explorer(explorer(name), pages.data(explorer(name)), pages.computed(explorer(name), None))
        return make.explorer_page(Frame([own.entry]), own, [own])

    def figures(name: str) -> str:
        return make.figure_page(Frame([figure(name).entry]), figure(name), [figure(name)])

    def index(name: str) -> str:
        return make.index_page(Frame([figure(name).entry]), [], [figure(name)], [Lacking("race", why=name)])

    for page in (explorers, figures, index):
        same_bones(page)


def test_the_claims_of_any_data_set_and_those_that_a_stranger_wrote():
    same_bones(lambda name: report._html(report.page(claimed.verdicts(), name), name))
    same_bones(lambda name: documents.rendered(safe(name), []))
    stranger = Bones(
        documents.rendered(f"# {HOSTILE}\n\n{HOSTILE}\n\n| {HOSTILE} |\n|---|\n| {HOSTILE} |\n", [], own=False)
    )
    assert {tag for tag, *_ in stranger.found} <= {"h1", "p", "a", "div", "table", "thead", "tbody", "tr", "th", "td"}
    assert not any("javascript:" in lead for _, _, leads in stranger.found for lead in leads)


def test_widgets_and_what_a_notebook_shows():
    def widgets(name: str) -> str:
        line, table = controls.Note(), controls.Table()
        line.say(name)
        table.set(name, (name,), [(name,)])
        return line.value + table.value + controls.title(name).value

    image = BytesIO()
    Figure((1, 1)).savefig(image, format="png", dpi=10)
    shown = (
        widgets,
        lambda name: _html("digits", [[name, name, name]]),
        lambda name: Evidence(Picture(image.getvalue(), name, name), (name,))._repr_html_(),
    )
    for show in shown:
        same_bones(show)
    assert not controls.choice("a", [HOSTILE], HOSTILE).description_allow_html


def test_the_texts_of_a_picture():
    drawn, out = Figure(), StringIO()
    drawn.text(0.5, 0.5, HOSTILE, parse_math=False)
    drawn.savefig(out, format="svg", metadata={"Title": HOSTILE, "Description": HOSTILE, "Date": None})
    every = list(ElementTree.fromstring(out.getvalue()).iter())
    assert not {element.tag.rpartition("}")[2] for element in every} & {"img", "script"}
    assert not any(name.startswith("on") for element in every for name in element.attrib)
    assert HOSTILE in {element.text for element in every}
