"""Progress: one line, calm in a log, never silent at the end."""

import io

import pytest

from retrainlab import progress
from retrainlab.progress import CalmLines, Progress, duration


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_durations_read_naturally():
    assert [duration(s) for s in (0.4, 59, 60, 200, 7500)] == ["0 s", "59 s", "1 min 00 s", "3 min 20 s", "2 h 05 min"]


def test_time_left_is_in_proportion_to_the_work_left(clock):
    out = io.StringIO()
    report = Progress("study", out)
    clock[0] = 30.0
    report(25, 100, "1 of 4 runs")
    assert "25%, about 1 min 30 s left" in out.getvalue()


def test_at_most_two_updates_a_second_but_always_the_last(clock):
    out = io.StringIO()
    report = Progress("study", out)
    for i in range(1, 101):
        clock[0] = 1 + i / 100
        report(i, 100, f"{i} runs")
    report.close()
    assert out.getvalue().count("\r") <= 4
    assert out.getvalue().endswith("\n")
    assert "100 runs, 100%" in out.getvalue()


def test_a_shorter_line_wipes_the_longer_one_before(clock):
    out = io.StringIO()
    report = Progress("s", out)
    clock[0] = 1.0
    report(1, 4, "a very long word")
    clock[0] = 2.0
    report(4, 4, "end")
    first, second = out.getvalue().split("\r")[1:]
    assert len(second) >= len(first)


def test_a_log_gets_few_lines_and_the_final_state(clock):
    out = io.StringIO()
    report = Progress("study", CalmLines(out, every=10))
    for i in range(1, 61):
        clock[0] = float(i)
        report(i, 60, f"{i} of 60 runs")
    report.close()
    lines = out.getvalue().splitlines()
    assert "\r" not in out.getvalue()
    assert 5 <= len(lines) <= 8
    assert "60 of 60 runs, 100%" in lines[-1]


def test_a_log_gets_ordinary_lines_whole(clock):
    out = io.StringIO()
    calm = CalmLines(out)
    for piece in ("one\ntwo", " and a half\n", "three\n"):
        calm.write(piece)
    assert out.getvalue() == "one\ntwo and a half\nthree\n"


def test_a_terminal_gets_everything_as_it_comes():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    CalmLines(out).write("\r50%")
    assert out.getvalue() == "\r50%"
