"""A schedule drawn by its control points, by mouse and by keyboard."""

import pytest
from playwright.sync_api import expect

from .lab import NOTEBOOKS

pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not (NOTEBOOKS / "explore_draw.ipynb").exists(), reason="there is no such explorer"),
]


def test_control_points_follow_the_mouse_and_the_arrow_keys(lab):
    app = lab.show("explore_draw", "draw")
    points = app.chart().locator("circle[role=slider]")
    expect(points).to_have_count(3)
    point = points.nth(1)
    place = point.bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    app.page.mouse.move(x, y)
    app.page.mouse.down()
    app.page.mouse.move(x + 80, y - 30, steps=8)
    app.page.mouse.up()
    for _ in range(8):  # it never jumps back to where the kernel still has it
        at = point.bounding_box()
        assert abs(at["x"] + at["width"] / 2 - x - 80) < 5 and abs(at["y"] + at["height"] / 2 - y + 30) < 5
        app.page.wait_for_timeout(50)
    app.page.wait_for_function(
        """([x, y]) => [...document.querySelectorAll(".retrainlab-draw circle[role=slider]")].some((point) => {
          const at = point.getBoundingClientRect();
          return Math.hypot(at.x + at.width / 2 - x, at.y + at.height / 2 - y) < 5; })""",
        arg=[x + 80, y - 30],
    )
    for key in ("ArrowUp", "ArrowLeft"):
        told = point.get_attribute("aria-valuetext")
        point.press(key)
        expect(point).not_to_have_attribute("aria-valuetext", told)
    app.page.wait_for_timeout(600)
    before = float(point.get_attribute("aria-valuenow"))
    for _ in range(10):
        point.press("ArrowUp")
    app.page.wait_for_timeout(600)
    after = float(point.get_attribute("aria-valuenow"))
    assert after - before == pytest.approx(10 * float(point.get_attribute("aria-valuemax")) / 100, abs=1e-3), (
        "none lost"
    )
    assert lab.complaints() == []
