"""Progress: one line on stderr, calm in a log, never silent at the end; and no time left that is not to be trusted."""

import io
import sys

import pytest

from retrainlab import progress
from retrainlab.progress import CalmLines, Left, Progress, Stages, duration, span


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_durations_read_naturally():
    assert [duration(s) for s in (0.4, 59, 60, 200, 7500)] == ["0 s", "59 s", "1 min 00 s", "3 min 20 s", "2 h 05 min"]
    assert span(60) == "1 min 00 s to 2 min 00 s" and span(60, 5) == "1 min 05 s to 2 min 05 s"


def test_time_left_is_in_proportion_to_the_work_left(clock):
    out = io.StringIO()
    report = Progress("study", out)
    for seconds, done in ((0, 5), (10, 15), (20, 25)):
        clock[0] = float(seconds)
        report(done / 100, "1 of 4 runs")
    assert "25%, about 1 min 15 s left, 1 of 4 runs" in out.getvalue()


def estimates(*readings: tuple[float, float]) -> list[float | None]:
    """The times left after each reading (seconds, share of the work)."""
    left, out = Left(), []
    for now, share in readings:
        left.add(now, share)
        out.append(left.at(now))
    return out


def test_no_time_left_is_told_before_there_is_one_to_trust():
    """Pitfall: 2 h 37 min for a study of a minute, since a probe of 6 s counts as the first thousandth of the work."""
    steady = [(0, 0.0), (6, 0.0), *((6 + s, s / 60) for s in range(1, 61))]
    told = estimates(*steady)
    assert told[:5] == [None] * 5
    assert told[5:-1] == pytest.approx([66 - now for now, _ in steady[5:-1]])


def test_what_lasts_long_is_estimated_before_its_fiftieth_part():
    day = 86400
    assert estimates((0, 0.0), (1, 1 / day), (40, 40 / day))[-1] is None
    assert estimates((0, 0.0), (1, 1 / day), (61, 61 / day))[-1] == pytest.approx(day - 61)


def test_runs_that_advance_at_one_moment_are_one_advance():
    """Pitfall: eight that train at once tell a point each, one after the other, and the first pace is far too fast."""
    bursts = [(2 * i + 0.01 * member, (8 * i + member + 1) / 400) for i in range(50) for member in range(8)]
    told = {bursts[i]: left for i, left in enumerate(estimates(*bursts)) if i % 8 == 7}
    for (now, share), left in told.items():
        assert left is None and now < 4 or left == pytest.approx((1 - share) * 100, rel=0.02)


def test_the_pace_is_that_of_late():
    slow, fast = [(s, s / 400) for s in range(1, 101)], [(100 + s, 0.25 + s / 100) for s in range(1, 51)]
    assert 25 < estimates(*slow, *fast)[-1] < 35, "over all the work it would be 50 s"


def test_stages_are_on_one_bar_by_their_weights_and_said_when_they_begin():
    told = []
    stages = Stages(40, lambda *args: told.append(args))
    stages.stage("Training", 30)
    stages.tell(0.5)
    stages.stage("Retraining", 4)
    stages.tell(1.0)
    stages.stage("Retraining", 6)
    stages.tell(0.5, "nearly there")
    stages.tell(1.0)
    rising = [(0, "Training"), (15, ""), (30, "Retraining"), (34, ""), (37, "nearly there"), (40, "")]
    assert told == [(pytest.approx(done / 40), words) for done, words in rising]


def test_a_time_left_that_has_passed_is_no_longer_told():
    left = Left()
    for now in range(11):
        left.add(now, now / 20)
    assert left.at(15) == pytest.approx(5) and left.at(21) is None


def test_at_most_two_updates_a_second_but_always_the_last(clock):
    out = Terminal()
    report = Progress("study", out)
    for i in range(1, 101):
        clock[0] = 1 + i / 100
        report(i / 100, f"{i} runs")
    report.close()
    assert out.getvalue().count("\r") <= 4
    assert out.getvalue().endswith("\n")
    assert "100%, 2 s, 100 runs" in out.getvalue()


def test_a_shorter_line_wipes_the_longer_one_before(clock):
    out = Terminal()
    report = Progress("s", out)
    clock[0] = 1.0
    report(0.25, "a very long word")
    clock[0] = 2.0
    report(1.0, "end")
    first, second = out.getvalue().split("\r")[1:]
    assert len(second) >= len(first)


def test_a_line_is_no_longer_than_the_terminal_is_wide(clock):
    """Pitfall: a line that wraps cannot be rewritten, and fills the screen."""
    out = Terminal()
    Progress("s", out)(0.25, "word " * 40)
    assert len(out.getvalue()) == 80


def test_a_log_gets_few_lines_and_the_final_state(clock):
    out = io.StringIO()
    report = Progress("study", out)
    for i in range(1, 61):
        clock[0] = float(i)
        report(i / 60, f"{i} of 60 runs")
    report.close()
    lines = out.getvalue().splitlines()
    assert "\r" not in out.getvalue()
    assert len(set(lines)) == len(lines) == 7
    assert "100%, 1 min 00 s, 60 of 60 runs" in lines[-1]


def test_progress_goes_to_stderr_and_a_notebook_rewrites_its_line(capsys, monkeypatch):
    Progress("study")(1.0, "1 of 1 runs")
    assert capsys.readouterr().out == ""
    page = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stderr", page)
    Progress("study")(1.0, "1 of 1 runs")
    assert page.getvalue().startswith("\rstudy: 100%")


def test_a_stream_that_cannot_be_written_stops_no_work(monkeypatch):
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    closed = io.StringIO()
    reports = [Progress("study", Broken()), Progress("study", closed)]
    monkeypatch.setattr(sys, "stderr", None)
    closed.close()
    for report in [*reports, Progress("study")]:
        report(0.5, "1 of 2 runs")
        report.close()


def test_a_log_gets_ordinary_lines_whole(clock):
    out = io.StringIO()
    calm = CalmLines(out)
    for piece in ("one\ntwo", " and a half\n", "three\n"):
        calm.write(piece)
    assert out.getvalue() == "one\ntwo and a half\nthree\n"


def test_a_terminal_gets_everything_as_it_comes():
    out = Terminal()
    CalmLines(out).write("\r50%")
    assert out.getvalue() == "\r50%"
