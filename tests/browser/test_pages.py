"""Exported pages with the network off: sliders, answers, the table and the CSV, and axe."""

import csv

import pytest
from axe_playwright_python.sync_playwright import Axe

from retrainlab import export
from retrainlab.config import Recipe
from retrainlab.explore.kit import live, pages
from retrainlab.explore.views import budget, race
from tests.helpers.invented import invented

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pages of tiny networks."""
    out = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "recipe_of", lambda data, model, seed: Recipe(data, model, width=4, epochs=1, seed=seed))
        patch.setattr(race, "BUDGETS", (0.1, 0.25, 0.5))
        export.make(["schedules", "race", "predict", "allr"], output=str(out), store=str(out / "store"), jobs=1)
    return out


@pytest.fixture
def opened(browser, folder):
    """Opens a page by its name, offline; fails on anything that the console calls an error."""
    contexts, errors = [], []

    def open_page(name: str, scheme: str = "light"):
        context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": 1150, "height": 1100})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: errors.append(request.url) if not request.url.startswith("file:") else None)
        page.goto((folder / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not [e for e in errors if not e.startswith(("data:", "blob:"))]


def serious(page) -> list[str]:
    violations = Axe().run(page).response["violations"]
    return [v["id"] for v in violations if v["impact"] in ("serious", "critical")]


def alt(page) -> str:
    return page.locator("svg.retrainlab-chart").first.get_attribute("aria-label")


@pytest.mark.parametrize("name", ["schedules", "race", "predict", "allr"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened, name, scheme):
    page = opened(name, scheme)
    if name == "predict":
        page.get_by_role("button", name="Show the answer").click()
    assert serious(page) == []


def test_sliders_work_by_keyboard_and_say_their_values(opened):
    page = opened("race")
    slider = page.get_by_label("Weights removed")
    before, words = alt(page), page.get_by_role("status").first.inner_text()
    slider.focus()
    slider.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "90 %" and page.locator("output").first.inner_text() == "90 %"
    assert alt(page) != before and page.get_by_role("status").first.inner_text() != words
    assert page.locator("tbody tr").count() == 6


def test_every_control_is_reached_by_tab(opened):
    page = opened("schedules")
    seen = []
    for _ in range(6):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
    assert seen[:5] == ["control-0", "control-1", "control-2", "Download CSV", "Copy as Python"]


def test_the_answer_hides_again_when_the_question_changes(opened):
    page = opened("predict")
    chart = page.locator("svg.retrainlab-chart").first
    assert not chart.is_visible()
    page.get_by_role("button", name="Show the answer").press("Enter")
    assert chart.is_visible()
    page.get_by_label("Budget").press("ArrowRight")
    assert not chart.is_visible() and page.get_by_role("button", name="Show the answer").is_visible()


def test_the_csv_and_the_python_are_those_of_the_view(opened, folder):
    page = opened("race")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(open(download.value.path())))
    settings = race.Settings(sparsity=0.95, budget=0.5)
    assert {row["schedule"] for row in rows} == set(settings.schedules)
    page.get_by_role("button", name="Copy as Python").click()
    text = page.locator("pre").inner_text()
    compile(text, "code", "exec")
    assert "sparsities=[0.95], budgets=[" in text
    page.get_by_label("Weights removed").press("Home")
    follows = page.locator("pre").inner_text()
    assert follows != text and "sparsities=[0.95]" not in follows, "the code is that of what is on screen"


def test_a_page_with_intervals_and_words_on_its_axes_is_drawn(opened, folder):

    settings = budget.Settings(sparsity=0.9, budget=0.1)
    shown = budget.view(settings, invented(settings))
    made = pages.Page("budget", "Budget", ["-"], [pages.Control("One", [("a", 1)])], [], lambda _: shown)
    (folder / "budget.html").write_text(pages.html(made))
    page = opened("budget")
    assert page.locator("svg.retrainlab-chart path").count() > 20 and serious(page) == []
