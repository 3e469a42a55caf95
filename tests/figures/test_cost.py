"""What is missing and what that costs, against counts and sums by hand."""

import json

import pytest

from retrainlab import device
from retrainlab.checks import BadInput
from retrainlab.figures import cost, presets
from retrainlab.study import speed, stages
from retrainlab.study.machine import Machine
from retrainlab.training import engine

SMOKE, NETWORK = presets.preset("smoke"), "resnet8 of width 4 on digits, batch 32"


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Three saved figures, of which the last is of an earlier version, and a store with two of their results."""
    monkeypatch.setattr(cost, "project", lambda: tmp_path)
    for name, steps, results in (("a", 400, "1234"), ("b", 100, "3456"), ("c", None, "7")):
        about = {"results": [*results], "parameters": {}} | ({"steps": {NETWORK: steps}} if steps else {})
        (tmp_path / f"{name}.json").write_text(json.dumps(about))
    for key in "15":
        (tmp_path / "store" / "results").mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / "results" / f"{key}.json").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("names", "fresh", "steps", "unknown"),
    [
        ("a", False, 400 * 3 / 4, ""),
        ("b", False, 100 * 3 / 4, ""),
        ("ab", False, 400 * 3 / 4 + 100 * 1 / 4, ""),  # 3 and 4 are those of a
        ("ab", True, 400 + 100 * 2 / 4, ""),
        ("bc", False, 100 * 3 / 4, "c"),
        ("cd", False, 0, "cd"),
    ],
)
def test_what_is_missing_is_as_counted_by_hand(saved, names, fresh, steps, unknown):
    lacking = cost.missing(names, SMOKE, saved, saved / "store", fresh)
    assert lacking == cost.Missing({NETWORK: steps} if steps else {}, tuple(unknown))


def test_with_all_stored_nothing_is_missing(saved):
    for key in "1234":
        (saved / "store" / "results" / f"{key}.json").touch()
    assert cost.missing("a", SMOKE, saved, saved / "store") == cost.Missing({}, ())


def test_a_figure_that_reads_others_trains_nothing_of_its_own(saved):
    (saved / "d.json").write_text(json.dumps({"results": ["1", "2"], "steps": {}, "read": ["a.runs.csv"]}))
    assert cost.missing("d", SMOKE, saved, saved / "store") == cost.Missing({}, ())
    assert cost.missing("da", SMOKE, saved, saved / "store") == cost.missing("a", SMOKE, saved, saved / "store")


def test_a_figure_that_is_nowhere_yet_is_as_long_as_the_projects_own(saved):
    own = saved / "figures" / "smoke"
    own.mkdir(parents=True)
    (saved / "a.json").rename(own / "a.json")
    assert cost.missing("a", SMOKE, saved / "elsewhere", saved / "store").steps == {NETWORK: 300}
    half = presets.asked("smoke", precision="bfloat16")
    assert cost.missing("a", half, saved / "elsewhere", saved / "store").steps == {NETWORK: 400}, "none of it is stored"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"results": 3, "steps": {"x": 3}}',
        '{"results": ["1"], "steps": 3}',
        '{"results": [], "steps": {"x": 3}}',
    ],
)
def test_a_damaged_figure_is_an_unknown_one(saved, text):
    (saved / "a.json").write_text(text)
    assert cost.missing("a", SMOKE, saved, saved / "store") == cost.Missing({}, ("a",))


@pytest.fixture
def asked(monkeypatch):
    """A machine of 2 cores on which a step takes 3 ms; grows by whether a probe was allowed."""
    seen: list[bool] = []

    def fastest(setup, start, recipe, tell=None, steps=0.0):
        seen.append(tell is not None)
        return engine.Engine("batched", 8, seconds=0.003)

    monkeypatch.setattr(speed, "fastest", fastest)
    for module in (device, speed):
        monkeypatch.setattr(module, "cores", lambda: 2)
    return seen


@pytest.mark.parametrize(("jobs", "seconds"), [(0, 20_000 * 0.003 / 2), (1, 20_000 * 0.003), (4, 20_000 * 0.003 / 2)])
def test_the_time_is_steps_at_the_measured_speed_shared_by_the_workers_and_the_drawing(asked, jobs, seconds):
    lacking = cost.Missing({NETWORK: 20_000}, ())
    words = cost.sentence("ab", 5, SMOKE, Machine(jobs, "cpu"), lacking)
    least, most = (cost.duration(times * seconds + 2 * cost.DRAWING) for times in (1, 2))
    assert words == (
        f"smoke: 2 of 5 figures to make; about {least} to {most} on cpu, 2 cores (estimated from the speed measured here: "
        f"20,000 steps of {NETWORK}, 3 ms each; as much again at most for evaluations, pruning and methods; "
        f"{cost.DRAWING:g} s a figure to draw it)."
    )
    assert asked == [True]


def test_few_steps_are_worth_no_probe(asked):
    cost.sentence("a", 5, SMOKE, Machine(device="cpu"), cost.Missing({NETWORK: 999.0}, ()))
    assert asked == [False]


@pytest.mark.parametrize(
    ("steps", "unknown", "machine", "words"),
    [
        ({}, (), Machine(), "2 of 5 figures to make; nothing to train, about 12 s."),
        ({}, ("b",), Machine(), "2 of 5 figures to make; nothing to train, about 6 s; the cost of b is not known yet."),
        ({}, ("a", "b"), Machine(), "2 of 5 figures to make; the cost of these is not known yet."),
        (
            {NETWORK: 5.0, "mlp": 5.0},
            (),
            Machine(device="cpu"),
            "not known on cpu, 2 cores, nor how fast it trains mlp.",
        ),
        (
            {NETWORK: 5.0},
            ("a",),
            Machine(device="cpu", engine="loop"),
            f"trains {NETWORK}; the cost of a is not known yet.",
        ),
    ],
)
def test_what_cannot_be_told_is_said(asked, steps, unknown, machine, words):
    assert cost.sentence("ab", 5, SMOKE, machine, cost.Missing(steps, unknown)).endswith(words)


def test_images_that_are_not_here_leave_the_speed_unknown(asked, monkeypatch):
    def prepare(recipe, where):
        raise BadInput("No images.")

    monkeypatch.setattr(stages, "prepare", prepare)
    assert "not known" in cost.sentence("a", 5, SMOKE, Machine(device="cpu"), cost.Missing({NETWORK: 5.0}, ()))
