"""The race: pictures that follow it, Stop, what is kept, and that nothing jumps or waits while it runs."""

import csv
import re
import time

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.xdist_group("browser")
SPARSITY, BUDGET = "Weights removed (%)", "Budget (% of dense run)"
ENDED = re.compile("ends? first with")


@pytest.fixture
def app(lab):
    """Ready to race."""
    app = lab.show("explore_race", "race")
    expect(app.button("Retrain")).to_be_enabled(timeout=60_000)
    return app


@pytest.fixture
def racing(app):
    """In the middle of a race that would go on for long."""
    app.set(BUDGET, 100)
    app.watch(1)
    app.button("Retrain").click()
    grows(app)
    yield app
    if app.button("Stop").is_enabled():
        app.button("Stop").click()
    expect(app.button("Retrain")).to_be_enabled()


def grows(app):
    """Wait until the race's chart tells of some new points."""
    app.page.wait_for_function("count => window.seen.length >= count", arg=len(app.seen()) + 3)


def test_the_slider_prunes(app):
    before = app.label()
    assert app.press(SPARSITY, "ArrowLeft") != before
    assert app.press(SPARSITY, "ArrowRight") == before


def test_another_score_prunes_otherwise_and_the_first_is_there_again(app):
    before = app.label()
    for score, compare in (("random", "not_to_have_attribute"), ("magnitude", "to_have_attribute")):
        app.choose("Pruning score", score)
        getattr(expect(app.chart()), compare)("aria-label", before, timeout=60_000)


def test_a_race_is_seen_while_it_runs_and_is_kept(app):
    app.set(BUDGET, 25)
    app.watch(1)
    bar, progress, places, tables = app.root.locator(".progress-bar"), set(), {str(app.places())}, set()
    app.button("Retrain").click()
    app.says("Retraining ...")
    while not app.status(ENDED).count():
        progress.add(bar.evaluate("node => node.style.width"))
        places.add(str(app.places()))
        tables.add(str(app.rows()))
    places.add(str(app.places()))
    rows = app.rows()
    assert len(app.seen()) > 5 and len(progress) > 3 and len(tables) > 3
    assert len(places) == 1, "nothing jumps"
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert {row[1] for row in rows} == {"FT", "LRW", "SLR", "CLR", "LLR", "ALLR"}
    assert all(row[3].endswith("%") for row in rows), "test accuracies"
    assert "nothing has been retrained" not in app.label(1)

    app.button("Retrain").click()
    app.says("From the store. ", seconds=5)
    assert app.rows() == rows

    with app.page.expect_download() as download:
        app.button("Download CSV").click()
    points = list(csv.DictReader(download.value.path().open()))
    assert {point["schedule"] for point in points} == {row[1] for row in rows}
    best = [float(point["validation_accuracy"]) for point in points if point["schedule"] == rows[0][1]]
    assert f"{100 * best[-1]:.1f} %" == rows[0][2] and len(best) > 30

    app.button("Copy as Python").click()
    app.says("Copied")
    code = app.page.evaluate("navigator.clipboard.readText()")
    assert code == app.root.get_by_label("The view as Python").text_content()
    compile(code, "the view", "exec")
    assert "budgets=[0.25]" in code


def test_stop_ends_a_race_at_once(racing):
    start = time.monotonic()
    racing.button("Stop").click()
    racing.says("Stopped; what there is stays on screen")
    assert time.monotonic() - start < 3
    expect(racing.button("Retrain")).to_be_enabled()
    assert "nothing has been retrained" not in racing.label(1)


def test_sliders_answer_in_mid_race_and_another_cell_run_changes_nothing(lab, racing):
    shown = racing.box(SPARSITY).input_value()
    for key in ("ArrowLeft", "ArrowRight"):
        racing.press(SPARSITY, key, seconds=10)
    racing.press(SPARSITY, "ArrowLeft")
    lab.run_all()
    expect(racing.button("Stop")).to_be_enabled()
    assert float(racing.box(SPARSITY).input_value()) == float(shown) - 0.5
    racing.watch(1)
    grows(racing)
    racing.button("Stop").click()
    racing.says("Stopped")
    expect(racing.button("Retrain")).to_be_enabled()
    told, rows = racing.label(1), racing.rows()
    lab.run_all()
    racing.says("Stopped")
    assert (racing.label(1), racing.rows()) == (told, rows)
    assert lab.complaints() == []
    racing.set(SPARSITY, float(shown))


def test_two_explorers_answer_at_once(lab, racing):
    other = lab.show("explore_schedules", "schedules")
    for key in ("ArrowRight", "ArrowLeft"):
        other.press(BUDGET, key)
    lab.open("explore_race")
    expect(racing.button("Stop")).to_be_enabled()
    racing.watch(1)
    grows(racing)
    racing.press(SPARSITY, "ArrowLeft")
    racing.press(SPARSITY, "ArrowRight")


def test_an_error_is_one_sentence_in_place(lab, app):
    boxes = [app.root.get_by_role("checkbox", name=row[1], exact=True) for row in app.rows()]
    for box in boxes:
        box.uncheck()
    app.button("Retrain").click()
    app.says("No schedule is chosen")
    assert lab.complaints() == []
    for box in boxes:
        box.check()
