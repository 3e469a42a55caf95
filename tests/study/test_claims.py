"""Claims of work: one alone has what several want, whoever dies, stands still, or has a wrong clock."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from retrainlab.study import claims
from retrainlab.study.claims import Claims, holds, who

ROOT = Path(__file__).parents[2]
CHILD = """
import sys, time
from pathlib import Path
from retrainlab.study import claims
claims.PATIENCE = 0.6
root = Path(sys.argv[1])
mine = claims.Claims(root)
print(mine.id, repr(mine.take("key")), flush=True)
sys.stdin.readline()
print(claims.holds(root, mine.id, "key"), repr(mine.take("other")), flush=True)
mine.close()
"""


@pytest.fixture
def child(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    one = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], env=environment, text=True, **pipes)
    one.id = one.stdout.readline().split()[0]
    yield one
    one.kill()
    one.communicate()


def left(root: Path) -> list[str]:
    """What is in the folder of claims, owners included."""
    return sorted(p.name for p in (root / "claims").rglob("*") if p.is_file())


def test_of_several_that_want_the_same_one_alone_has_it(tmp_path):
    several, barrier, won = [Claims(tmp_path) for _ in range(6)], threading.Barrier(6), []

    def grab(one: Claims) -> None:
        for i in range(20):
            barrier.wait(10)
            if not one.take(str(i)):
                won.append(i)

    threads = [threading.Thread(target=grab, args=[one]) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(20))
    for one in several:
        one.close()
    assert left(tmp_path) == []


def test_what_is_given_up_can_be_had_and_what_is_held_is_named(tmp_path):
    with Claims(tmp_path) as one, Claims(tmp_path) as two:
        assert one.take("a") == "" and one.take("a") == ""
        assert two.take("a") == one.id and who(tmp_path, one.id).startswith(f"process {os.getpid()} on ")
        assert holds(tmp_path, one.id, "a") and not holds(tmp_path, two.id, "a")
        one.release(["a", "never had"])
        assert two.take("a") == "" and one.take("a") == two.id
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "before, place", [(["alive"], "owner_of"), (["gone"], "write_new"), (["gone"] * 2, "write_new")]
)
def test_who_begins_anew_while_another_still_looks_at_the_old_claims_has_it_alone(tmp_path, monkeypatch, before, place):
    """Pitfall: numbers begin anew once all claims are given up, and look then like those that were seen before."""
    with Claims(tmp_path) as slow, Claims(tmp_path) as other, Claims(tmp_path) as new:
        if before == ["alive"]:
            other.take("key")
        else:
            for number, owner in enumerate(before):
                (tmp_path / "claims" / f"key-{number}").write_text(owner)
        real = getattr(claims, place)

        def late(*asked):
            monkeypatch.undo()
            if before != ["alive"]:
                assert other.take("key") == ""
            other.release(["key"])
            found = real(*asked) if place == "owner_of" else None
            assert new.take("key") == ""
            return real(*asked) if place == "write_new" else found

        monkeypatch.setattr(claims, place, late)
        assert slow.take("key") == new.id and holds(tmp_path, new.id, "key")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_in_the_place_of_a_claim_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.1)
    with Claims(tmp_path) as mine:
        os.mkfifo(tmp_path / "claims" / "key-0")
        assert mine.take("key") == "-" and who(tmp_path, "../key-0") == "another process"
        time.sleep(0.2)
        assert mine.take("key") == ""


def test_the_claim_of_a_killed_process_is_had_at_once(tmp_path, child):
    with Claims(tmp_path) as mine:
        assert mine.take("key") == child.id
        child.kill()
        child.wait()
        assert mine.take("key") == "" and holds(tmp_path, mine.id, "key")
    assert left(tmp_path) == []


def test_a_process_that_stood_still_has_lost_its_claims_and_goes_on(tmp_path, child, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.6)
    with Claims(tmp_path) as mine:
        assert mine.take("key") == child.id
        time.sleep(0.9)
        assert mine.take("key") == child.id, "its count has risen"
        child.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + 20
        while mine.take("key") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert holds(tmp_path, mine.id, "key")
        child.send_signal(signal.SIGCONT)
        assert child.communicate("\n")[0].split() == ["False", "''"]
    assert left(tmp_path) == []


FOREIGN = "filelock/2\npid=1\nhost=elsewhere\nmode=lease\ntoken=aa\nduration={}\n"


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A claim of a process on another host."""
    monkeypatch.setattr(claims, "PATIENCE", 0.4)
    owner = tmp_path / "claims" / "owners" / "abcdef"
    owner.parent.mkdir(parents=True)
    owner.write_text(FOREIGN.format(claims.PATIENCE))
    (tmp_path / "claims" / "key-0").write_text(owner.name)
    return owner


@pytest.mark.parametrize("clock", [0, 2**31, None], ids=["set back", "ahead", "right"])
def test_an_owner_elsewhere_is_dead_when_its_file_has_not_changed_for_long_whatever_its_clock(tmp_path, foreign, clock):
    """Pitfall: to compare another host's time with one's own."""
    with Claims(tmp_path) as mine:
        for i in range(6):  # longer than PATIENCE, all in all
            assert mine.take("key") == "abcdef"
            os.utime(foreign, None if clock is None else (clock - i, clock - i))
            time.sleep(0.1)
        assert who(tmp_path, "abcdef") == "process 1 on elsewhere"
        mine.take("key")
        time.sleep(0.6)
        assert mine.take("key") == ""


def test_a_claim_whose_writer_was_killed_before_its_name_was_in_it_is_had_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE", 0.2)
    with Claims(tmp_path) as mine:
        (tmp_path / "claims" / "key-3").touch()
        assert mine.take("key") == "-"
        time.sleep(0.3)
        assert mine.take("key") == "" and "key-4" in left(tmp_path)


def test_claims_of_an_owner_that_is_gone_are_cleared_away(tmp_path):
    with Claims(tmp_path) as mine:
        (tmp_path / "claims" / "key-0").write_text("gone")
        (tmp_path / "claims" / "no claim").touch()
        mine.tidy()
        assert left(tmp_path) == sorted([mine.id, "no claim"])
