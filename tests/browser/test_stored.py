"""CIFAR-10 from stored results, without its images, a GPU or a network: the race, the advice, and the exported pages."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from retrainlab.explore.kit import pages
from retrainlab.explore.views import stored
from retrainlab.study.archive import shipped
from retrainlab.study.results import Results
from retrainlab.study.store import Store
from tests.helpers import shelved

pytestmark = pytest.mark.xdist_group("browser")
BUDGET, COST = "Budget (% of dense run)", "Not stored: 6 of these 6 retrainings. That takes about"


@pytest.fixture(scope="module")
def filled(server):
    """The server's store, in which CIFAR-10's invented results lie."""
    shelved.cifar10(Store(server.store))


def test_the_race_on_cifar10_is_there_as_soon_as_it_is_chosen(lab, filled):
    app = lab.show("explore_race", "race")
    expect(app.button("Retrain")).to_be_enabled(timeout=60_000)
    app.choose("Data set", "cifar10")
    app.says("ALLR ends first with 89.2 % of the test images")
    assert app.root.get_by_text("Stored for cifar10: resnet20 at 89.26 % with 10 epochs").count() == 1
    assert app.box(BUDGET).input_value() == "5.4945" and app.box("Weights removed (%)").input_value() == "89.26"
    assert [row[1] for row in app.rows()] == ["ALLR", "LLR", "CLR", "SLR", "LRW", "FT"]
    expect(app.chart()).to_have_attribute("aria-label", re.compile("Dense: 99.8 %.*what each layer loses: conv"))
    assert "on images that were trained on, too" in app.label(1)
    before = app.label()
    assert app.press("Weights removed (%)", "ArrowLeft") != before, "masks from the weights alone"

    app.set(BUDGET, 50)
    app.button("Retrain").click()
    app.says(COST)
    app.says("cifar10 is not here")
    expect(app.button("Stop")).to_be_disabled()
    assert app.violations() == [] and lab.complaints() == []
    app.choose("Data set", "digits")
    expect(app.root.get_by_text("Stored for cifar10")).to_have_count(0)


def test_the_advice_on_cifar10_is_there_as_soon_as_it_is_chosen(lab, filled):
    app = lab.show("explore_budget", "budget")
    app.choose("Data set", "cifar10")
    app.says("take ALLR: of 6 schedules it has the highest mean test accuracy")
    app.says("No image was held out for this choice")
    assert app.rows()[0][0] == "ALLR" and app.box("Seeds").input_value() == "3"
    assert app.violations() == [] and lab.complaints() == []


@pytest.mark.parametrize("name", stored.PAGES)
def test_pages_of_cifar10_need_no_network_and_fit_a_telephone(browser, tmp_path, name):
    shelved.cifar10(store := Store(tmp_path / "store"))
    page = stored.PAGES[name](results := Results.at(store), "cifar10")
    path = tmp_path / f"{page.name}.html"
    path.write_text(pages.html(page, results))
    context = browser.new_context(offline=True, viewport={"width": 390, "height": 844})
    shown = context.new_page()
    shown.goto(path.as_uri())
    if name == "predict":
        shown.get_by_role("button", name="Show the answer").click()
    assert shown.locator("tbody tr").count() == {"allr": 2, "draw": 3, "schedules": 0}.get(name, 6)
    assert shown.locator("svg.retrainlab-chart path").count() >= 6
    assert shelved.DEVICE in shown.locator("footer").inner_text()
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is wider than the page"
    found = Axe().run(shown).response["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    context.close()


@pytest.mark.parametrize(("name", "rows"), [("race", 6), ("budget", 6), ("start", 6)])
def test_pages_of_the_shipped_results_need_no_network(browser, tmp_path, name, rows):
    results = Results(Store(tmp_path / "empty", shipped()))
    page = stored.PAGES[name](results, "cifar10")
    path = tmp_path / f"{page.name}.html"
    path.write_text(pages.html(page, results))
    context = browser.new_context(offline=True)
    shown = context.new_page()
    shown.goto(path.as_uri())
    assert shown.locator("tbody tr").count() == rows and "H100" in shown.locator("footer").inner_text()
    assert "LLR" in shown.locator("tbody tr").first.inner_text()
    context.close()
