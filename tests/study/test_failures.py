"""Why runs have failed: it is kept until they are made, can be listed, and goes with what else is left over."""

import os
import re
import socket
import subprocess
import sys

import pytest

from retrainlab import doctor
from retrainlab.cli import main
from retrainlab.study import claims, failures
from retrainlab.study.failures import LONGEST, every, left_over, path, write
from retrainlab.study.store import Store
from tests.helpers.stored import KEY, result

OTHER = "fedcba9876543210"


def test_the_last_reason_is_kept_with_when_and_where(tmp_path):
    write(tmp_path, KEY, "FT, seed 0", "at first")
    write(tmp_path, KEY, "FT, seed 0", "x" * 9000)
    [(key, failure)] = every(tmp_path)
    assert (key, failure.words, failure.reason, failure.host) == (
        KEY,
        "FT, seed 0",
        "x" * LONGEST,
        socket.gethostname(),
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", failure.time)
    failures.remove(tmp_path, KEY)
    failures.remove(tmp_path, KEY)
    assert not list(every(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 10_000, '{"words": 1}', "\xff"])
def test_a_damaged_reason_is_passed_over(tmp_path, text):
    write(tmp_path, KEY, "FT", "a reason")
    path(tmp_path, OTHER).write_text(text, "latin-1")
    assert [key for key, _ in every(tmp_path)] == [KEY]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_in_the_place_of_a_reason_is_not_waited_for(tmp_path):
    write(tmp_path, KEY, "FT", "a reason")
    os.mkfifo(path(tmp_path, OTHER))
    assert [key for key, _ in every(tmp_path)] == [KEY]


def test_a_store_that_cannot_be_written_keeps_no_reason(tmp_path):
    (tmp_path / "failures").touch()
    write(tmp_path, KEY, "FT", "a reason")
    assert not list(every(tmp_path))


def test_what_failed_is_listed_and_is_left_over_once_it_is_made(tmp_path, capsys):
    store, where = Store(tmp_path), ["--store", str(tmp_path)]
    assert main(["results", "failures", *where]) == 0 and capsys.readouterr().out == "No run has failed.\n"
    write(tmp_path, KEY, "LLR at sparsity 0.9, seed 0", "its worker was killed\nby SIGKILL" + "!" * 500)
    write(tmp_path, OTHER, "FT\x1b[2J", "memory ran out")
    assert main(["results", "failures", *where]) == 0
    head, first, second, words = capsys.readouterr().out.splitlines()
    assert head.split() == ["key", "run", "why", "when", "(UTC)", "on"] and "\x1b" not in second
    assert KEY in first and "LLR at sparsity 0.9, seed 0" in first and r"its worker was killed\nby SIGKILL!" in first
    assert "memory ran out" in second and socket.gethostname() in second and len(first) < 300
    assert words == f"2 runs; the command of their study tries them again. All of each reason: {tmp_path / 'failures'}"
    store.put(KEY, result())
    assert left_over(tmp_path) == [path(tmp_path, KEY)]
    assert main(["results", "failures", *where]) == 0 and KEY not in capsys.readouterr().out


def test_what_is_left_over_goes_and_what_somebody_is_at_stays(tmp_path, capsys):
    Store(tmp_path).put(KEY, result())
    write(tmp_path, KEY, "FT", "made meanwhile")
    write(tmp_path, OTHER, "LLR", "not made")
    with claims.Claims(tmp_path) as alive:
        alive.take("run")
        dead = tmp_path / "claims" / "owners" / "dead"
        dead.write_text((dead.parent / alive.id).read_text().replace(f"pid={os.getpid()}", f"pid={gone()}"))
        (tmp_path / "claims" / "other-0").write_text("dead")
        (tmp_path / "claims" / "third-4").write_text("gone")
        left = ["other-0", "third-4", "dead"]
        assert [each.name for each in claims.left_over(tmp_path)] == left
        found = {f.what: f for f in doctor._under_way(Store(tmp_path))}
        assert found["claims of work"].found.startswith("3 files of processes that are gone")
        assert (found["failed runs"].found, found["failed runs"].good) == ("LLR", False)
        for flag, words in (
            (["--dry-run"], "4 files would be removed"),
            ([], "4 files removed"),
            ([], "0 files removed"),
        ):
            assert main(["results", "gc", "--store", str(tmp_path), *flag]) == 0 and words in capsys.readouterr().out
        assert claims.holds(tmp_path, alive.id, "run") and not claims.left_over(tmp_path)
    assert [key for key, _ in every(tmp_path)] == [OTHER]


def gone() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    return child.pid
