"""The schedules as curves: sliders answer, even while the kernel is busy with a cell."""

import csv

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.xdist_group("browser")
BUDGET = "Budget (% of dense run)"


@pytest.fixture
def app(lab):
    return lab.show("explore_schedules", "schedules")


def test_sliders_and_number_boxes_move_the_picture(app):
    before = app.label()
    assert app.press(BUDGET, "ArrowRight") != before
    assert app.press(BUDGET, "ArrowLeft") == before
    app.set(BUDGET, 50)
    app.says("A budget of 50 %")
    assert "Right: 465 steps" in app.label()
    app.set(BUDGET, 10)
    app.says("A budget of 10 %")


def test_a_slider_answers_while_a_cell_runs(lab, app):
    lab.occupy(5)
    app.press(BUDGET, "ArrowRight")
    assert lab.busy, "the picture came after the cell had ended"
    app.press(BUDGET, "ArrowLeft")
    lab.wait_for_idle()


def test_keys_on_a_control_are_not_shortcuts_of_the_notebook(lab, app):
    before = lab.cells()
    dense = app.root.get_by_label("Dense schedule", exact=True)
    dense.focus()
    app.page.keyboard.press("l")  # in a notebook: line numbers
    app.says("this dense run never keeps one learning rate")
    app.page.keyboard.press("ArrowUp")  # in a notebook: the cell above
    expect(dense).to_have_value("cosine")
    for control in (dense, app.root.get_by_role("checkbox").first, app.button("Download CSV"), app.slider(BUDGET)):
        control.focus()
        for key in "bxdd":  # insert, cut, delete
            app.page.keyboard.press(key)
    assert lab.cells() == before and app.root.count() == 1
    app.choose("Dense schedule", "multistep")
    app.says("LRW is the same as FT here")


def test_the_numbers_on_screen_can_be_saved(app):
    with app.page.expect_download() as download:
        app.button("Download CSV").click()
    assert download.value.suggested_filename == "schedules.csv"
    rows = list(csv.DictReader(download.value.path().open()))
    assert {row["schedule"] for row in rows} == {"FT", "LRW", "SLR", "CLR", "LLR", "ALLR"}
    assert len(rows) == 6 * 93
