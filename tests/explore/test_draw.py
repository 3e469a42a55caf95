"""Drawing a schedule: points that stay in order, the line that gives the curve back, a race, a fair leaderboard."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("ipywidgets")

from retrainlab import schedules
from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES, Recipe, Retrain
from retrainlab.explore.apps.draw import Draw
from retrainlab.explore.kit import board, live, pages
from retrainlab.explore.kit import points as points_of
from retrainlab.explore.kit.board import Entry
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.points import GAP, SHAPES, TOP
from retrainlab.explore.views import draw
from retrainlab.explore.views.draw import Settings
from retrainlab.study import making
from retrainlab.study.results import Results
from retrainlab.study.stages import dense_curve

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "explore_draw.ipynb"
FAST = Settings(budget=0.5, seeds=2, schedules=("LLR",))
ORIGINAL = dense_curve(Recipe(), 31)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(live, "recipe_of", lambda data, model, seed: Recipe(data, width=4, epochs=1, seed=seed))


@pytest.fixture
def explorer(tmp_path):
    explorer = Draw(FAST, Results.at(tmp_path), "cpu")
    yield explorer
    explorer.close()
    assert explorer.desk.worker.wait()


def said(explorer: Draw) -> str:
    return re.sub("<.*?>", "", explorer.desk.status.value)


def cells(explorer: Draw) -> list[list[str]]:
    rows = [re.findall("<td>(.*?)</td>", row) for row in explorer.screen.table.value.split("<tr>")]
    return [row for row in rows if row]


# ---- points ----------------------------------------------------------------------------------------------------------


def test_points_stay_in_order_and_within_bounds_wherever_they_are_moved():
    generator = torch.Generator().manual_seed(0)
    for points in SHAPES.values():
        for _ in range(200):
            place = int(torch.randint(len(points), (), generator=generator))
            share, lr = (torch.rand(2, generator=generator) * 3 - 1).tolist()
            points = points_of.move(points, place, share, lr)
            shares, rates = zip(*points)
            assert 0 <= shares[0] and shares[-1] <= 1 and all(b - a > GAP - 1e-9 for a, b in pairwise(shares))
            assert all(0 <= rate <= TOP for rate in rates)


@pytest.mark.parametrize(
    "place, to, want",
    [(1, (0.3, 0.05), (0.3, 0.05)), (1, (-1, -1), (0.01, 0.0)), (1, (2, 2), (0.99, TOP)), (0, (0.5, 0.1), (0.09, 0.1))],
)
def test_a_point_goes_as_far_as_its_neighbours_let_it(place, to, want):
    assert points_of.move(SHAPES["LLR"], place, *to)[place] == want


def test_neighbours_nearer_than_the_gap_leave_a_point_where_it_is():
    points = ((0.5, 0.1), (0.501, 0.1), (0.502, 0.1))
    assert points_of.move(points, 1, 0.9, 0.2) == ((0.5, 0.1), (0.501, 0.2), (0.502, 0.1))


def test_an_added_point_lies_on_the_curve_and_can_be_removed_again():
    points, place = points_of.add(SHAPES["LLR"], 1)
    assert points[place] == (0.55, 0.05) and place == 2
    for n in (50, 93):
        before, after = (schedules.piecewise_linear(n, p) for p in (SHAPES["LLR"], points))
        assert torch.allclose(before, after, atol=1e-6)
    assert points_of.remove(points, place) == SHAPES["LLR"]
    assert points_of.add(SHAPES["LLR"], 2)[1] == 2  # beside the last point: before it
    with pytest.raises(BadInput, match="no room"):
        points_of.add(SHAPES["SLR"], 2)
    with pytest.raises(BadInput, match="at most 8"):
        points_of.add(SHAPES["CLR"], 0)
    with pytest.raises(BadInput, match="at least 2"):
        points_of.remove(SHAPES["FT"], 0)


@pytest.mark.parametrize("name", ["LLR", "CLR", "SLR", "FT"])
def test_shapes_follow_the_schedules_they_are_named_after(name):
    n = 2000
    drawn, real = schedules.piecewise_linear(n, SHAPES[name]), schedules.retraining(Retrain(name), ORIGINAL, n)
    gap = (drawn - real).abs()
    assert gap.mean() < 0.001 and gap.quantile(0.98) < 0.003  # of a peak of 0.1; SLR's drops take a share of 0.01


@pytest.mark.parametrize("name", SHAPES)
def test_the_line_of_python_gives_the_drawn_curve_back(name):
    retrain = Settings(points=SHAPES[name]).drawn
    again = eval(draw.line(retrain), {"Retrain": Retrain})
    assert again == retrain
    want = schedules.piecewise_linear(93, SHAPES[name])
    assert torch.equal(schedules.retraining(again, ORIGINAL, 93), want)
    places, rates = draw.curve(retrain, Recipe())
    shares = [(place / 100, rate) for place, rate in zip(places, rates) if 0 < place < 100]
    assert torch.allclose(schedules.piecewise_linear(93, [(0, rates[0]), *shares, (1, rates[-1])]), want)


@pytest.mark.parametrize("name", ["FT", "LRW", "SLR", "CLR", "LLR"])
@pytest.mark.parametrize("budget", [0.05, 0.5, 1.0])
def test_named_curves_are_those_of_the_package(name, budget):
    places, rates = draw.curve(Retrain(name, budget), Recipe())
    n, whole = len(rates), dense_curve(Recipe(), round(len(rates) / budget / 30))
    assert places[0] == 0 and places[-1] < 100 and 200 <= n < 1000
    assert rates == schedules.retraining(Retrain(name), whole, n).tolist()


@pytest.mark.parametrize(
    "bad, words",
    [
        ({"points": [(0, 0.1)]}, "at least 2"),
        ({"points": [(i / 10, 0.1) for i in range(9)]}, "at most 8"),
        ({"points": [(0.5, 0.1), (0.5, 0.2)]}, "rise strictly"),
        ({"points": [(0, 0.1), (1, 0.3)]}, "at most 0.25"),
        ({"budget": 0}, "above 0"),
        ({"seeds": 0}, "at least 1"),
        ({"sparsity": 1.2}, "at most 1"),
        ({"schedules": ["LRR"]}, "did you mean"),
        ({"data": "digit"}, "did you mean 'digits'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_a_sentence(bad, words):
    with pytest.raises(BadInput, match=words):
        Settings(**bad)


def test_lists_of_a_notebook_are_the_same_settings():
    listed = Settings(points=[[0, 0], [0.1, 0.1], [1, 0]], schedules=["LLR", "ALLR", "CLR"])
    assert listed == Settings() and hash(listed) == hash(Settings())


# ---- the leaderboard -------------------------------------------------------------------------------------------------


ENTRIES = [
    Entry("LLR", Retrain("LLR"), (0.9, 0.92), (0.1, 0.1)),
    Entry("drawn 1", Settings().drawn, (0.95, 0.93), (0.2, 0.3)),
    Entry("CLR", Retrain("CLR"), (0.92, 0.9), (0.3, 0.3)),
]


def test_the_leaderboard_goes_by_validation_accuracy_and_hides_test_accuracy():
    rows = board.rows(ENTRIES, revealed=False)
    assert [row[:2] for row in rows] == [("1", "drawn 1"), ("2", "LLR"), ("2", "CLR")]
    assert rows[0] == ("1", "drawn 1", "94.0 %", "93.0 to 95.0 %", "2", "hidden")
    assert [row[-1] for row in board.rows(ENTRIES, revealed=True)] == ["25.0 %", "10.0 %", "30.0 %"]


def test_means_that_tie_but_for_noise_share_a_place():
    tied = [replace(ENTRIES[0], validation=v) for v in ((0.1, 0.2, 0.6), (0.3, 0.3, 0.3), (0.3, 0.3 + 1e-12, 0.3))]
    assert {row[0] for row in board.rows(tied, revealed=False)} == {"1"}


@pytest.mark.parametrize(
    "behind, said", [((0.01, 0.01, 0.01), False), ((0.01, 0.011, 0.01), True), ((0.01, 0.01), False)]
)
def test_the_first_two_are_told_apart_by_the_rule_of_all_verdicts(behind, said):
    """Pitfall: one image less on every seed has an interval of zero width."""
    first = tuple(0.9 + 0.01 * seed for seed, _ in enumerate(behind))
    second = tuple(a - d for a, d in zip(first, behind))
    entries = [replace(ENTRIES[0], validation=values) for values in (first, second)]
    race = Live(draw.experiments(FAST))
    for place in range(len(race.experiments)):
        race.second[place] = live.Curve()
        race.second[place].add(1, 0.9, 0.95, 0.1)
        race.results[place] = live.Result({}, {"sparsity_achieved": 0.95, "stopped": False}, {}, {})
    text = board.words(race, entries)
    assert ("Paired by seed the first is" in text) == said and ("cannot tell the first two apart" in text) != said


def test_the_csv_is_the_leaderboard_and_hides_as_much():
    [first, *_] = csv.DictReader(io.StringIO(board.csv(ENTRIES, False)))
    assert first["curve"] == "drawn 1" and first["points"] == "0:0 0.1:0.1 1:0" and first["seeds"] == "2"
    assert float(first["validation_accuracy_mean"]) == 0.94 and first["test_accuracy_mean"] == "hidden"
    [first, *_] = csv.DictReader(io.StringIO(board.csv(ENTRIES, True)))
    assert float(first["test_accuracy_mean"]) == 0.25
    assert board.csv([], True) == ""


def test_a_running_race_shows_the_mean_as_far_as_all_seeds_have_got():
    race = Live(draw.experiments(FAST))
    assert draw.means(race, [0, 1]) == []
    for place, accuracies in enumerate([(0.2, 0.4, 0.9), (0.4, 0.8)]):
        race.second[place] = live.Curve()
        for step, accuracy in enumerate(accuracies):
            race.second[place].add(step, accuracy, 0.95, 0.1)
    assert draw.means(race, [0, 1]) == [(0, [0.2, 0.4]), (1, [0.4, 0.8])]
    spec = draw.picture(FAST.retrains, FAST.recipe, race, "your curve", "drawn 1")
    [line] = [m for m in spec["panels"][1]["marks"] if m["kind"] == "line" and m["x"]]
    assert line["y"] == pytest.approx([30, 60]) and "drawn 1 60.0 %" in spec["alt"]
    scalars = {"validation_accuracy": 0.9, "test_accuracy": 0.8, "stopped": False}
    race.results[0] = live.Result({}, scalars, {}, {})
    assert board.finished(race, {}) == []  # of one seed only
    race.results[1] = live.Result({}, scalars | {"validation_accuracy": 0.7}, {}, {})
    assert [(e.name, e.mean) for e in board.finished(race, {FAST.points: "mine"})] == [("mine", pytest.approx(0.8))]


def test_a_curve_that_diverged_on_any_seed_is_last_and_has_no_mean():
    race = Live(draw.experiments(FAST))
    for place in range(4):
        lost = place == 1  # the second seed of the drawn curve
        value = None if lost else 0.9 - 0.1 * (place > 1)
        scalars = {"validation_accuracy": value, "test_accuracy": value, "dense_validation_accuracy": 0.95}
        scalars |= {"stopped": False, "sparsity_achieved": 0.9}
        race.results[place] = live.Result({}, scalars, {}, {}, "diverged: retraining, cycle 1, within 9 steps" * lost)
        race.second[place] = live.Curve([0, 9], [0.1, math.nan if lost else 0.9], [0.9] * 2, [0.1] * 2, 0, 9)
    entries = board.finished(race, {FAST.points: "mine"})
    assert [row[:4] for row in board.rows(entries, True)] == [
        ("1", "LLR", "80.0 %", "80.0 to 80.0 %"),
        ("", "mine", "diverged", "on 1 of 2 seeds"),
    ]
    text = board.words(race, entries)
    assert "LLR 80.0 %. " in text and "Left out, as they diverged: mine on 1 of 2 seeds. " in text
    spec = draw.picture(FAST.retrains, FAST.recipe, race, "mine", "mine")
    json.dumps(spec, allow_nan=False)
    assert "mine diverged" in spec["alt"] and not any("nan" in x for x in (text, spec["alt"], board.csv(entries, True)))
    assert board.words(race, entries[:1]) == "Nothing can be ranked: every curve diverged (mine on 1 of 2 seeds)."


# ---- the widgets -----------------------------------------------------------------------------------------------------


def test_dragging_boxes_and_buttons_all_move_the_same_points(explorer):
    explorer.screen.charts[0].moved = [1, 40.0, 0.2, 0]
    assert explorer.points[1] == (0.4, 0.2) and (explorer.point.value, explorer.share.value) == (2, 40)
    assert explorer.lr.value == 0.2 and explorer.shape.value == draw.OWN
    assert explorer.screen.charts[0].spec["handles"]["points"][1] == [40, 0.2] and "(0.4, 0.2)" in explorer.line.value

    explorer.share.value = 100  # clamped before the last point, and the box says so
    assert explorer.points[1] == (0.99, 0.2) and explorer.share.value == 99
    explorer.lr.value = 9
    assert explorer.lr.value == TOP == explorer.points[1][1]

    explorer.point.value = 3
    assert (explorer.share.value, explorer.lr.value) == (100, 0)
    explorer.lr.value = 0.05
    explorer.point.value = 2
    explorer.share.value = 50
    explorer.add.click()
    assert (explorer.point.value, explorer.share.value, explorer.lr.value) == (3, 75, 0.15)  # the new one is chosen
    explorer.remove.click()
    assert explorer.points == ((0.0, 0.0), (0.5, TOP), (1.0, 0.05)) and explorer.point.value == 2
    explorer.point.value = 1
    explorer.add.click()
    assert len(explorer.points) == 4 and explorer.point.options == (1, 2, 3, 4) and explorer.point.value == 2
    explorer.remove.click()
    assert len(explorer.points) == 3 and explorer.point.value == 1
    explorer.remove.click()
    explorer.remove.click()
    assert len(explorer.points) == 2 and "at least 2 points" in said(explorer)

    explorer.shape.value = "CLR"
    assert explorer.points == SHAPES["CLR"]
    explorer.add.click()
    assert "at most 8 points" in said(explorer) and explorer.points == SHAPES["CLR"]
    explorer.screen.charts[0].moved = [7, 200.0, -1, 1]
    explorer.screen.charts[0].moved = [8, 50.0, 0.1, 2]  # a point that is gone by now
    assert explorer.points[7] == (1.0, 0.0)
    explorer.shape.value = "CLR"  # again, since the points had left it
    assert explorer.points == SHAPES["CLR"]


def test_every_box_has_a_label_and_no_button_an_icon(explorer):
    boxes = (
        explorer.shape,
        explorer.point,
        explorer.share,
        explorer.lr,
        explorer.inputs["data"],
        explorer.inputs["model"],
    )
    assert all(box.description for box in boxes)
    buttons = (explorer.add, explorer.remove, explorer.reveal, explorer.desk.start, explorer.desk.stop)
    assert all(button.description and not button.icon for button in buttons)
    assert explorer.screen.charts[0].spec["handles"]["names"] == ["share of the run in percent", "learning rate"]


def test_a_race_its_leaderboard_and_the_second_one_from_the_store(explorer, tmp_path, monkeypatch):
    explorer.desk.start.click()
    assert explorer.desk.worker.wait() and explorer.race.whole, said(explorer)
    assert "mean of 2 seeds" in said(explorer) and "95.0 % of the weights" in said(explorer)
    assert {row[1] for row in cells(explorer)} == {"drawn 1", "LLR"}
    assert {row[4] for row in cells(explorer)} == {"2"} and {row[5] for row in cells(explorer)} == {"hidden"}
    assert "hidden" in explorer.screen.take.csv
    explorer.reveal.value = True
    assert all(row[5] != "hidden" for row in cells(explorer)) and "hidden" not in explorer.screen.take.csv
    for e in board.finished(explorer.race, explorer.names):
        both = [
            r.scalars for i, r in explorer.race.results.items() if explorer.race.experiments[i].retrain == e.retrain
        ]
        assert e.mean == pytest.approx(sum(s["validation_accuracy"] for s in both) / 2)

    # the seeds' curves: one batch order and one network for a seed, another for the next
    results, places = explorer.race.results, board.groups(explorer.race)
    drawn, llr = places[FAST.drawn], places[Retrain("LLR", 0.5)]
    for a, b in zip(drawn, llr):
        assert explorer.race.experiments[a].recipe == explorer.race.experiments[b].recipe
        for name in ("dense_validation_accuracy", "pruned_validation_accuracy", "steps"):
            assert results[a].scalars[name] == results[b].scalars[name]
    curves = results[drawn[0]].curves  # each point tells the learning rate of the next step, the last one its own
    want = schedules.piecewise_linear(results[drawn[0]].scalars["steps"], FAST.points)
    told = [(min(step, len(want) - 1), rate) for step, rate in zip(curves["step"], curves["lr"])]
    assert len(told) > 3 and all(rate == pytest.approx(want[step].item()) for step, rate in told)

    picture = explorer.screen.charts[0].spec
    monkeypatch.setattr(live, "run", lambda *a: pytest.fail("it was trained again"))
    again = Draw(FAST, Results.at(tmp_path), "cpu")
    again.desk.start.click()
    assert said(again).startswith("From the store.") and again.screen.charts[0].spec == picture
    assert cells(again) == [[*row[:5], "hidden"] for row in cells(explorer)]
    again.close()


def test_curves_keep_their_names_and_other_settings_have_a_board_of_their_own(explorer, monkeypatch):
    def run(race, *more):
        for place, e in enumerate(race.experiments):
            value = sum(lr for _, lr in e.retrain.points) or 0.15
            scalars = {"validation_accuracy": value, "test_accuracy": 0.5, "dense_validation_accuracy": 0.9}
            scalars |= {"stopped": False, "sparsity_achieved": 0.95}
            race.results[place] = live.Result({}, scalars, {}, {})
            race.second[place] = live.Curve([0, 9], [0.1, value], [0.95] * 2, [0.1] * 2, 0, 9)

    monkeypatch.setattr(live, "run", run)

    def race():
        explorer.desk.start.click()
        assert explorer.desk.worker.wait() and explorer.race.whole, said(explorer)
        return [(row[0], row[1]) for row in cells(explorer)]

    assert race() == [("1", "LLR"), ("2", "drawn 1")]
    explorer.screen.charts[0].moved = [2, 100.0, 0.2, 0]
    explorer.reveal.value = True
    assert race() == [("1", "drawn 2"), ("2", "LLR"), ("3", "drawn 1")]
    assert not explorer.reveal.value  # each race hides it again
    explorer.shape.value = "LLR"
    assert race() == [("1", "drawn 2"), ("2", "LLR"), ("3", "drawn 1")]
    explorer.inputs["budget"].slider.value = 25.0
    assert race() == [("1", "LLR"), ("2", "drawn 1")] and "budget 25 %" in explorer.screen.table.value
    explorer.inputs["budget"].slider.value = 50.0
    explorer.inputs["schedules"].boxes["LLR"].value = False
    assert len(race()) == 3 and "LLR" not in explorer.screen.take.code


def test_stop_keeps_the_picture_and_ranks_nothing(explorer, monkeypatch):
    real = making.run_together

    def stopped_halfway(*arguments):
        *others, calls = arguments

        def seen(place, point):
            calls.on_point(place, point)
            if point.step >= 4:
                explorer.desk.stop.click()

        return real(*others, replace(calls, on_point=seen))

    monkeypatch.setattr(making, "run_together", stopped_halfway)
    explorer.desk.start.click()
    assert explorer.desk.worker.wait()
    assert "Stopped; what there is stays on screen" in said(explorer) and not explorer.race.whole
    lines = [m for m in explorer.screen.charts[0].spec["panels"][1]["marks"] if m["kind"] == "line"]
    assert [len(m["x"]) > 2 for m in lines] == [True, True] and explorer.screen.charts[0].spec["panels"][1]["x"] == (
        0,
        16,
    )
    assert cells(explorer) == [] and explorer.screen.take.csv == "" and explorer.results.store.count()["results"] == 0
    assert not explorer.desk.start.disabled and explorer.desk.stop.disabled


def test_a_users_mistake_is_one_sentence_in_the_status_line(explorer, monkeypatch):
    def refuse(*_):
        raise BadInput("The data set is not there.")

    monkeypatch.setattr(live, "stored", refuse)
    explorer.desk.start.click()
    assert said(explorer) == "The data set is not there." and not explorer.names


def test_the_picture_can_be_json(explorer):
    json.dumps(explorer.screen.charts[0].spec, allow_nan=False)


# ---- the page and the notebook ---------------------------------------------------------------------------------------


def test_the_page_lists_what_it_needs_and_shows_it(tmp_path, monkeypatch):
    asked = []

    def stored(experiments, store):
        asked.extend(experiments)
        race = Live(list(experiments))
        for place in range(len(experiments)):
            scalars = {"validation_accuracy": 0.8, "test_accuracy": 0.7, "dense_validation_accuracy": 0.9}
            race.results[place] = live.Result({}, scalars | {"stopped": False, "sparsity_achieved": 0.95}, {}, {})
            race.second[place] = live.Curve([0, 9], [0.1, 0.8], [0.95] * 2, [0.1] * 2, 0, 9)
        return race

    monkeypatch.setattr(live, "stored", stored)
    page = draw.page(Results.at(tmp_path))
    text = pages.html(page)
    assert set(asked) == set(page.needs) and len(page.needs) == len(set(page.needs)) == 10 * 3 * 3
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert list(data["views"]) == ["0", "1", "2"] and set(data["data"]["shapes"]) == set(SHAPES)
    curves = {curve["name"]: curve for curve in data["views"]["1"]["data"]["curves"]}
    assert list(curves) == [*NAMED_SCHEDULES, "cosine to 0", "late drop", "triangle", "two cycles"]
    own = [Retrain("custom", points=SHAPES["triangle"]).points, curves["triangle"]["lr"]]
    assert own[1] == pytest.approx(np.interp(np.linspace(0, 1, 101), *zip(*own[0])), abs=1e-6)
    assert (curves["LLR"]["mean"], curves["LLR"]["other"], curves["LLR"]["seeds"]) == (0.8, 0.7, 3)
    assert data["views"]["1"]["code"].count(data["data"]["slot"]) == 1


def test_the_code_is_the_race():
    experiments = draw.experiments(FAST)
    source = draw.code(FAST).split("frame =")[0]
    made = {}
    exec(source, made)
    assert set(made["experiments"]) == set(experiments) and len(made["experiments"]) == len(experiments)


def test_the_notebook_is_thin_stripped_and_linked():
    notebook = json.loads(NOTEBOOK.read_text())
    assert NOTEBOOK.read_text() == json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in code) and len(code[1]["source"]) <= 6
    assert code[0]["metadata"]["tags"] == ["parameters"]
    given = {}
    exec("".join(code[0]["source"]), given)
    names = ("data", "model", "sparsity", "budget", "seeds", "points", "schedules")
    assert Settings(*(given[name] for name in names)) == Settings()
    text = "".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (NOTEBOOK.parent / link).is_file(), link
