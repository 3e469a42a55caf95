"""The site in a browser, from a file and with the network off: what it scores, what can be dragged, who can read it."""

import csv
import itertools
import json
import math
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from scipy.stats import kendalltau

from retrainlab.config import NAMED_SCHEDULES
from retrainlab.explore.kit import points as kit
from retrainlab.explore.kit.pages import WEB
from retrainlab.explore.views.draw import FREE
from retrainlab.explore.views.predict import GUESS_HEADS, Guess, score
from tests.helpers import small_site

pytestmark = pytest.mark.xdist_group("browser")
PAGES = (
    "index",
    "start",
    "predict",
    "draw",
    "race_cifar10",
    "fig03_budgets",
    "claims",
    "session_1",
    "sheet",
)  # a kind each
QUICK = {"resultTypes": ["violations"]}
CONTRAST = QUICK | {"runOnly": ["color-contrast"]}  # all that another theme can change


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return small_site.build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def context(browser):
    context = browser.new_context(offline=True, viewport={"width": 1150, "height": 1000}, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def opened(context, site):
    """Opens pages by name, with nothing kept from before; fails on anything that the console calls an error."""
    errors, pages = [], []

    def open_page(name: str):
        page = context.new_page()
        pages.append(page)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield open_page
    for page in pages:
        page.evaluate("() => { try { localStorage.clear(); } catch { /* a page that closed it */ } }")
        page.close()
    assert not errors


def serious(page, options=QUICK) -> list[str]:
    found = Axe().run(page, options=options).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:100]}" for v in found if v["impact"] in ("serious", "critical")]


def check_phone(page) -> None:
    """Nothing is wider than a phone, and no type of a chart smaller than 11 pixels."""
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    sizes = page.locator("svg.retrainlab-chart:visible text").evaluate_all(
        """texts => texts.map((text) => { const svg = text.ownerSVGElement.closest("svg.retrainlab-chart");
          return text.getAttribute("font-size") * svg.clientWidth / svg.viewBox.baseVal.width; })"""
    )
    assert min(sizes, default=11) > 10.95, sizes


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_read_in_both_themes_and_on_a_phone(opened, name):
    page = opened(name)
    if name == "predict":
        page.get_by_role("button", name="Show the answer").click()
    assert serious(page) == []
    page.get_by_role("button", name="Dark").click()
    assert serious(page, CONTRAST) == []
    check_phone(page)
    page.set_viewport_size({"width": 1920, "height": 1080})
    assert page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)") > 22


def test_every_other_page_is_for_everybody_and_fits_a_phone(opened, site):
    others = sorted({path.stem for path in site.glob("*.html")} - {*PAGES})
    assert len(others) > 7
    for name in others:
        page = opened(name)
        if name.startswith("predict"):
            page.get_by_role("button", name="Show the answer").click()
        assert serious(page) == [], name
        check_phone(page)


def test_on_a_phone_a_table_of_sentences_is_cards_and_a_picture_wide_enough_to_read(opened):
    page = opened("claims")
    table = page.locator("table.wordy").first
    cell = table.locator("tbody td").nth(1)
    heading = table.locator("thead")
    expect(heading).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 800})
    expect(heading).to_be_hidden()
    assert 300 < cell.bounding_box()["width"] < 370
    label = cell.evaluate("n => getComputedStyle(n, '::before').content")
    assert label == '"claim: "'
    assert table.evaluate("n => n.parentNode.scrollWidth <= n.parentNode.clientWidth"), "it does not scroll sideways"
    page = opened("predict")
    page.get_by_label("Name").fill("Ann")
    page.get_by_role("button", name="Keep the guess").click()
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.locator("#more .wide").evaluate("n => n.scrollWidth <= n.clientWidth")
    page = opened("fig03_budgets")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.locator("figure img").first.bounding_box()["width"] == 792, "1.1 pixels for each of its 720 points"


def test_the_theme_is_kept_from_page_to_page(opened):
    page = opened("index")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(paper) != light
    page.get_by_text("Explorers", exact=True).click()
    page.get_by_role("navigation").get_by_role("link", name="predict", exact=True).click()
    assert page.evaluate(paper) != light and page.get_by_role("button", name="Light").is_visible()


def test_a_menu_closes_by_escape_and_when_something_else_is_meant(opened):
    page = opened("fig03_budgets")
    menu, links = page.locator("header details").nth(1), page.locator("header details").nth(1).get_by_role("list")
    menu.locator("summary").press("Enter")
    expect(links).to_be_visible()
    links.get_by_role("link").first.press("Escape")
    expect(links).to_be_hidden()
    assert menu.locator("summary").evaluate("n => n === document.activeElement")
    menu.locator("summary").click()
    page.locator("main h1").click(position={"x": 900, "y": 5})
    expect(links).to_be_hidden()


# ---- predict -----------------------------------------------------------------------------------------------------------


def test_a_guess_is_scored_as_scipy_and_the_notebook_do(opened):
    page = opened("index")
    names, generator = ("FT", "LRW", "SLR", "LLR"), np.random.default_rng(0)
    races = [dict(zip(names, generator.permutation(4) / 4)) for _ in range(3)]
    races += [{"FT": 0.5, "LRW": 0.5, "SLR": 0.9, "LLR": 0.9}, {"FT": None, "LRW": 0.5, "SLR": None, "LLR": 0.7}]
    races.append(dict.fromkeys(names, 0.5))
    asked = [(list(order), came) for came in races for order in itertools.permutations(names)]
    script = (WEB / "guess.js").read_text()
    made = page.evaluate(f"asked => {{ {script}\nreturn asked.map(([order, came]) => scored(order, came)); }}", asked)
    for (order, came), got in zip(asked, made):
        values = [-math.inf if came[name] is None else came[name] for name in order]
        ranks = np.unique(values, return_inverse=True)[1]  # scipy takes no infinity
        tau = kendalltau([4, 3, 2, 1], ranks).statistic
        assert got["tau"] is None if math.isnan(tau) else got["tau"] == pytest.approx(tau)
        own = score(Guess("a", tuple(order), 7), {name: value for name, value in came.items() if value is not None})
        assert (own.tau, own.exact) == (got["tau"] if got["tau"] is None else pytest.approx(tau), got["exact"])
        best = [sorted(values, reverse=True)[place] for place in range(4)]
        assert got["exact"] == sum(own == there for own, there in zip(values, best))
        assert abs(7 - got["gap"]) == pytest.approx(own.off)


def order(page) -> list[str]:
    return page.locator(".ranking li").evaluate_all("items => items.map((item) => item.dataset.name)")


def test_a_ranking_is_made_by_keys_mouse_and_buttons(opened):
    page = opened("predict")
    assert order(page) == [*NAMED_SCHEDULES], "an order that tells nothing"
    grip = page.get_by_role("button", name="LLR linear")
    grip.press("ArrowUp")
    grip.press("ArrowUp")
    assert order(page) == ["FT", "LRW", "LLR", "SLR", "CLR", "ALLR"] and grip.evaluate(
        "n => n === document.activeElement"
    )
    assert page.locator("#more [role=status]").inner_text() == "LLR is at place 3 of 6."
    page.get_by_role("button", name="Move FT down").click()
    assert order(page)[:2] == ["LRW", "FT"]
    one, other = (page.get_by_role("button", name=name).bounding_box() for name in ("ALLR adaptive", "LRW learning"))
    page.mouse.move(one["x"] + 20, one["y"] + 9)
    page.mouse.down()
    page.mouse.move(other["x"] + 20, other["y"] + 2, steps=6)
    page.mouse.up()
    assert order(page) == ["ALLR", "LRW", "FT", "LLR", "SLR", "CLR"]


def test_a_groups_guesses_are_kept_scored_and_exported(opened):
    page = opened("predict")
    keep, said = page.get_by_role("button", name="Keep the guess"), page.locator("#more [role=status]")
    keep.click()
    assert "no name" in said.inner_text()
    page.get_by_label("Name").fill("=Ann, the first")
    page.get_by_role("button", name="Move ALLR up").click()  # ... LLR and CLR behind it
    keep.click()
    assert "Kept: =Ann, the first says FT > LRW > SLR > CLR > ALLR > LLR." in said.inner_text()
    assert order(page) == [*NAMED_SCHEDULES], "the next one starts from the same list"
    page.reload()
    expect(page.get_by_role("cell", name="=Ann, the first")).to_be_visible()
    assert "of 6" not in page.locator("#more").inner_text()
    page.get_by_role("button", name="Show the answer").click()
    row = page.locator("#more tbody tr").inner_text().split("\t")
    came = [small_site.ENDS[name] for name in ("FT", "LRW", "SLR", "CLR", "ALLR", "LLR")]
    tau = kendalltau([6, 5, 4, 3, 2, 1], came).statistic
    assert page.locator("#more th").all_inner_texts() == [*GUESS_HEADS]
    assert row[2] == f"{tau:+.2f}" and row[3] == "0 of 6" and row[5] == "18.0"
    page.get_by_label("Name").fill("Bob")
    keep.click()
    assert "shown already" in said.inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the guesses").click()
    [line] = csv.DictReader(open(download.value.path()))
    asked = "Weights removed: 95 %; Budget (share of the dense run): 5 %"
    assert line["name"] == "'=Ann, the first" and float(line["kendall_tau"]) == pytest.approx(tau)
    assert (line["asked"], line["exact_places"], float(line["gap_off"])) == (asked, "0", pytest.approx(18))
    assert "predict_guesses.csv is saved" in said.inner_text()
    page.get_by_label("Weights removed").press("ArrowRight")
    assert said.inner_text() == "", "what was said of another question is gone"


def test_guesses_stay_while_the_page_is_open_where_nothing_can_be_kept(opened):
    page = opened("predict")
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('closed'); } });")
    page.reload()
    page.get_by_label("Name").fill("Ann")
    page.get_by_role("button", name="Keep the guess").click()
    assert "only until the page is closed" in page.locator("#more [role=status]").inner_text()
    assert page.get_by_role("cell", name="Ann").is_visible()


# ---- draw and start ----------------------------------------------------------------------------------------------------


def nearest(page) -> dict[str, float]:
    rows = page.locator("#view tbody tr").evaluate_all(
        "rows => rows.map((r) => [...r.cells].map((c) => c.textContent))"
    )
    return {row[0]: float(row[1]) for row in rows}


def drawn(page) -> list[tuple[float, float]]:
    """The points as the code has them."""
    page.get_by_role("button", name="Copy as Python").click()
    text = page.get_by_label("The view as Python").inner_text()
    return list(eval(re.search(r"points=(\(\(.*?\)\))", text)[1]))


def test_points_are_dragged_and_the_nearest_curves_follow(opened, site):
    page = opened("draw")
    assert nearest(page)["triangle"] == 0
    data = json.loads(re.search(r'id="data">(.*?)</script>', (site / "draw.html").read_text(), re.S)[1])
    curves = {c["name"]: np.array(c["lr"]) for c in data["views"]["1"]["data"]["curves"]}
    assert set(curves) == {*NAMED_SCHEDULES, *FREE}
    top = page.get_by_role("slider", name="Control point 2")
    place = top.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 180, y + 4, steps=5)
    page.mouse.up()
    own = drawn(page)
    assert own[1][0] < 0.25 and own[0] == (0, 0) and own[2] == (1, 0)
    mine = np.interp(np.linspace(0, 1, 101), *zip(*own))
    far = {name: np.abs(lr - mine).mean() / 0.1 for name, lr in curves.items()}
    found = nearest(page)
    assert list(found) == sorted(far, key=far.get)[:3] and found == pytest.approx({n: far[n] for n in found}, rel=0.01)
    first = next(iter(found))
    assert f"nearest stored curve is {first}" in page.locator("#view p[role=status]").inner_text()
    page.wait_for_timeout(600)
    before = float(top.get_attribute("aria-valuenow"))
    top.press("ArrowUp")
    expect(top).not_to_have_attribute("aria-valuenow", str(before))
    assert drawn(page)[1][1] == pytest.approx(before + kit.TOP / 100, abs=1e-4)


def test_a_finger_drags_points_and_ranks(browser, site):
    """Pitfall: a browser takes a finger that moves for a scroll, unless it is told not to."""
    context = browser.new_context(offline=True, has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    page = context.new_page()
    touch = context.new_cdp_session(page)

    def drag(what, right, down):
        what.scroll_into_view_if_needed()
        box = what.bounding_box()
        x, y = box["x"] + min(box["width"] / 2, 20), box["y"] + box["height"] / 2
        for step in range(9):
            at = [{"x": x + right * step / 8, "y": y + down * step / 8}]
            touch.send("Input.dispatchTouchEvent", {"type": "touchMove" if step else "touchStart", "touchPoints": at})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    page.goto((site / "predict.html").as_uri())
    drag(page.get_by_role("button", name="ALLR adaptive"), 0, -110)
    assert order(page).index("ALLR") < 4
    page.goto((site / "draw.html").as_uri())
    point = page.get_by_role("slider", name="Control point 2")
    drag(point, -70, -40)
    page.wait_for_function("n => n.getAttribute('aria-valuenow') > 0.13", arg=point.element_handle())
    context.close()


def test_points_move_are_added_and_removed_by_the_rules_of_the_kit(opened):
    page = opened("draw")
    script, rules = (WEB / "drawing.js").read_text(), {"gap": kit.GAP, "top": kit.TOP, "most": kit.MOST}
    points, generator = kit.SHAPES["two cycles"], np.random.default_rng(1)
    asked = [(int(generator.integers(5)), *generator.uniform(-0.2, [1.2, 0.4]).round(4).tolist()) for _ in range(40)]
    call = "return asked.map(([i, x, y]) => moved(points, i, x, y, rules));"
    made = page.evaluate(
        f"([points, asked, rules]) => {{ {script}\n{call} }}", [[list(p) for p in points], asked, rules]
    )
    for (place, x, y), got in zip(asked, made):
        assert np.array(got) == pytest.approx(np.array(kit.move(points, place, x, y)), abs=1.01e-3)
    page.get_by_role("button", name="Add a point").click()
    assert len(drawn(page)) == 4
    for _ in range(3):
        page.get_by_role("button", name="Remove the point moved last").click()
    assert len(drawn(page)) == 2 and "needs 2 points" in page.locator("#more").inner_text()


def test_the_slider_prunes_and_the_table_follows(opened):
    page = opened("start")
    slider, said = page.locator("#control-0"), page.locator("#view p[role=status]")
    assert "472 of 4,724 weights are left (10 %" in said.inner_text()
    slider.press("Home")
    assert "4,724 of 4,724" in said.inner_text() and "80 % removed" in page.locator("#view caption").inner_text()
