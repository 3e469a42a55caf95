"""What all explorers are made of: controls, the worker and its desk, one app of a kind, charts, thin notebooks."""

import ast
import json
import re
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("ipywidgets")

from retrainlab.checks import BadInput
from retrainlab.config import SGD, Recipe
from retrainlab.explore.kit import app, chart, controls, worker, writing
from retrainlab.explore.kit.pages import View
from retrainlab.explore.kit.worker import Desk, Worker
from retrainlab.explore.views.race import Settings
from retrainlab.study.results import Results

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [ROOT / "notebooks" / "start_here.ipynb", *sorted((ROOT / "notebooks").glob("explore_*.ipynb"))]


def test_a_number_box_and_its_slider_follow_each_other():
    pair = controls.number("Budget", 10.0, 0.5, 100.0, 0.5)
    box, slider = pair.row.children
    slider.value = 9.99999998
    assert box.value == pair.value == 10
    box.value = 25
    assert slider.value == 25
    assert box.description == "Budget" and "retrainlab-number" in pair.row._dom_classes


def test_a_logarithmic_number_shows_three_digits_and_keeps_its_bounds():
    pair = controls.number("Rate", 0.1, 0.001, 1.0, 0.05, log=True)
    box, slider = pair.row.children
    slider.value = 10**-1.3
    assert box.value == pair.value == 0.0501
    box.value = 7
    assert slider.value == 1


def test_a_status_line_is_polite_and_escaped():
    status = controls.Status()
    status.say("1 < 2")
    assert status.value == "<p>1 &lt; 2</p>" and "retrainlab-status" in status._dom_classes


def test_a_worker_runs_one_thing_stops_it_and_tells_errors_in_a_sentence():
    worker, said, begun = Worker(), [], threading.Event()

    def work(stopped):
        begun.set()
        while not stopped():
            pass
        raise BadInput("Choose another.")

    assert worker.start(work, lambda: None, said.append)
    assert begun.wait(10) and not worker.start(work, lambda: None, said.append)
    worker.stop()
    assert worker.wait(10) and said == ["Choose another."]


def test_a_worker_is_free_again_when_it_says_that_the_work_ended():
    worker, said, over = Worker(), [], threading.Event()

    def ended():
        if len(said) == 3 or not worker.start(lambda _: "more", lambda: None, said.append, ended):
            over.set()

    worker.start(lambda _: "once", lambda: None, said.append, ended)
    assert over.wait(10) and said == ["once", "more", "more"]


def test_no_frame_is_drawn_after_the_end():
    worker, seen, drawing = Worker(), [], threading.Event()

    def draw():
        drawing.set()
        time.sleep(0.3)
        seen.append("frame")

    assert worker.start(lambda _: str(drawing.wait(10)), draw, lambda _: seen.append("end"))
    assert worker.wait(10)
    time.sleep(0.5)
    assert seen == ["frame", "end"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 7")])
def test_lack_of_memory_is_told_in_a_sentence(error):
    def work(_):
        raise error

    worker, said = Worker(), []
    worker.start(work, lambda: None, said.append)
    assert worker.wait(10) and said[0].startswith("Memory ran out; ")


def test_a_cell_that_runs_again_shows_the_same_explorer_and_other_settings_close_it(monkeypatch):
    class Fake:
        closed = False
        box = None

        def close(self):
            self.closed = True

    monkeypatch.setattr(app, "_shown", {})
    first = app.present("fake", ("a", 1), Fake)
    assert app.present("fake", ("a", 1), Fake) is first and not first.closed
    second = app.present("fake", ("a", 2), Fake)
    assert second is not first and first.closed and not second.closed
    assert app.present("other", ("a", 2), Fake) is not second and not second.closed


EMPTY = chart.chart([chart.panel([], x=(0, 1), y=(0, 1), xlabel="")], "Nothing.")


class Echo(app.App[Settings]):
    """Shows what its controls say."""

    stem, initial = "echo", Settings()

    def build(self):
        self.inputs = controls.inputs(self.given, "sparsity", "schedules", "seed")
        self.lay_out(controls.columns(self.inputs, ("sparsity", "seed")), *self.screen.charts, self.screen.note)
        self.watch(self.draw, *self.inputs.values())
        self.draw()

    def view(self):
        s = self.settings()
        return View([EMPTY], f"{s.sparsity}, {s.seed}", ("A table", ("a",), [("b",)]), "csv", "code")


@pytest.fixture
def echo(tmp_path):
    return Echo(Settings(data="cifar10"), Results.at(tmp_path), "cpu")


def test_an_app_reads_its_controls_and_keeps_what_has_none(echo):
    assert echo.settings() == Settings(data="cifar10")
    echo.inputs["sparsity"].slider.value = 33.3
    echo.inputs["schedules"].boxes["FT"].value = False
    assert echo.settings() == Settings(data="cifar10", sparsity=0.333, schedules=Settings().schedules[1:])


def test_a_view_crosses_to_the_screen_and_its_csv_waits_while_something_runs(echo):
    echo.inputs["seed"].slider.value = 7
    screen = echo.screen
    assert (screen.note.value, screen.take.csv, screen.take.code) == ("<p>0.95, 7</p>", "csv", "code")
    assert "A table" in screen.table.value
    echo.desk.running, screen.take.csv = True, "before"
    echo.put(View([EMPTY], "", None, "long", "other"))
    assert (screen.table.value, screen.take.csv, screen.take.code) == ("", "before", "other")


def test_what_is_refused_is_a_sentence_and_the_picture_stays(echo):
    for box in echo.inputs["schedules"].boxes.values():
        box.value = False
    assert "No schedule is chosen" in echo.status.value and "0.95" in echo.screen.note.value


def test_a_closed_app_leaves_no_widget_and_begins_nothing(echo):
    echo.close()
    parts = (echo.box, echo.screen.take, echo.screen.charts[0], echo.inputs["seed"].slider, echo.desk.status)
    assert not any(part.comm for part in parts)
    assert not echo.desk.go(lambda stopped: "", lambda: None)


def test_a_table_has_a_caption_headings_and_escaped_cells():
    table = controls.Table()
    table.set("Who & what", ("a", "b"), [("<1>", 2)])
    assert "<caption>Who &amp; what</caption>" in table.value and table.value.count('<th scope="col">') == 2
    assert "<td>&lt;1&gt;</td><td>2</td>" in table.value


@pytest.mark.parametrize("cost, most", [(0.0, 14), (0.1, 3)])
def test_drawing_takes_a_tenth_of_the_time_at_most(cost, most):
    worker, draws = Worker(), []

    def draw():
        draws.append(1)
        end = time.thread_time() + cost
        while time.thread_time() < end:
            pass

    worker.start(lambda stopped: time.sleep(1.3) or "", draw, lambda _: None)
    assert worker.wait(10) and 1 <= len(draws) <= most


def test_desk_says_how_far_it_is_and_is_ready_again_at_the_end():
    desk, seen = Desk("Go", "cpu"), []

    def work(stopped):
        desk.tell(0.5, "Half of it ...")
        desk.follow()
        seen.extend([desk.bar.value, desk.start.disabled, desk.stop.disabled])
        return "Done."

    assert desk.go(work, lambda: None) and desk.worker.wait(10)
    assert seen == [500, True, False]
    assert desk.bar.value == 0 and not desk.start.disabled and desk.stop.disabled and "Done." in desk.status.value
    assert "cpu" in desk.where.value and "GiB" in desk.where.value


def test_the_data_control_says_what_is_in_the_set_that_is_chosen():
    data = controls.choice("Data set", ("digits", "cifar10"), "digits")
    note = controls.about(data)
    assert "digits: 10 classes; 1,000 train, 257 validation, 540 test images; 8 x 8 pixels; mode L." in note.value
    data.value = "cifar10"
    assert "cifar10: 10 classes; 45,000 train" in note.value


def test_python_for_a_recipe_runs_and_makes_that_recipe():
    recipe = replace(Recipe(model="mlp", seed=3), sgd=SGD(weight_decay=5e-4))
    scope = {}
    exec(writing.python(recipe, "again = recipe"), scope)
    assert scope["again"] == recipe


def test_a_chart_has_gaps_where_there_are_no_numbers():
    """Pitfall: NaN in JSON stops the browser."""
    look, bad = {"color": "k"}, float("nan")
    marks = [chart.point(1, bad, look), chart.level(bad), chart.cut(float("inf")), chart.point(1, 2, look)]
    marks += [chart.line([0, 1], [bad, 2], look), chart.band([0, 1], [0, bad], [1, 1], "k")]
    marks += [chart.errors([0, 1], [-float("inf"), 0], [1, 1], "k")]
    panel = chart.panel(marks, x=(0, 1), y=(0, 1), xlabel="")
    assert [m["kind"] for m in panel["marks"]] == ["point", "line", "band", "errors"]
    assert panel["marks"][1]["y"] == [None, 2] and panel["marks"][2]["x"] == [0] and panel["marks"][3]["x"] == [1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_thin_stripped_and_linked(path):
    nbformat = pytest.importorskip("nbformat")
    notebook = json.loads(path.read_text())
    nbformat.validate(notebook)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
    assert all(len(c["source"]) <= 8 for c in code[1:])
    assert code[0]["metadata"]["tags"] == ["parameters"]
    text = "\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
    levels = [len(m) for m in re.findall(r"^(#+) ", text, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 1 for a, b in zip(levels, levels[1:]))
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (path.parent / link).is_file(), link


def test_no_explorer_uses_pyplot():
    for path in (ROOT / "retrainlab" / "explore").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert not any("pyplot" in n for n in names), path


def test_the_time_left_is_that_of_the_work_once_it_is_known(monkeypatch):
    desk, shown, now = Desk("Go", "cpu"), [], [0.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])

    def work(readings):
        for seconds, share in readings:
            now[0] = float(seconds)
            desk.tell(share)
            desk.follow()
            shown.append(desk.left.value)
        return ""

    for readings in (((0, 0.0), (10, 0.1), (20, 0.2), (30, 0.3)), ((31, 0.0), (31, 0.1), (35, 0.5))):
        assert desk.go(lambda stopped, readings=readings: work(readings), lambda: None) and desk.worker.wait(10)
    assert shown == ["", "", "about 1 min 20 s left", "about 1 min 10 s left", "", "", "about 5 s left"]


def test_an_explorer_that_cannot_be_made_leaves_no_closed_one_behind(monkeypatch):
    class Fake:
        closed, box = False, None

        def close(self):
            self.closed = True

    def refuse():
        raise BadInput("There is no such device.")

    monkeypatch.setattr(app, "_shown", {})
    first = app.present("fake", "a", Fake)
    with pytest.raises(BadInput):
        app.present("fake", "b", refuse)
    assert first.closed and app.present("fake", "a", Fake) is not first


def test_a_number_beyond_its_range_widens_it():
    assert controls.number("Seed", 42, 0, 20, 1).value == 42
    assert controls.number("Sparsity", 99.87, 0.0, 99.5, 0.5).value == 99.87


def test_a_drawing_that_fails_ends_neither_the_work_nor_the_desk():
    desk = Desk("Go", "cpu")

    def draw():
        if desk.running:
            raise RuntimeError("dictionary changed size during iteration")

    assert desk.go(lambda stopped: time.sleep(0.3) or "Done.", draw) and desk.worker.wait(10)
    assert "Done." in desk.status.value and not desk.start.disabled and desk.stop.disabled
