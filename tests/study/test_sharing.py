"""What several processes share: who makes what, what is left when one is lost, and what waits for another."""

import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from retrainlab.checks import BadInput, WorkerDied
from retrainlab.study import failures, processes, workers
from retrainlab.study.ledger import IN_A_ROW, Ledger, Part, Task
from retrainlab.study.sharing import Sharing
from retrainlab.study.store import Store
from retrainlab.study.workers import run_tasks
from tests.helpers.said import says
from tests.helpers.works import make_runs


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes runs of those names on two workers, which load no torch; those in one string are one task."""
    lean = "\n".join(line for line in processes.START.splitlines() if "torch" not in line)
    monkeypatch.setattr(processes, "START", lean)

    def make(*names: str) -> None:
        todo = []
        for i, together in enumerate(names):
            lacking = [n for n in together.split() if not (tmp_path / "results" / f"{n}.json").exists()]
            if parts := [Part(name, name, f"run {name}") for name in lacking]:
                todo.append(Task.of((0, 0.0, i), make_runs, (tmp_path,), 1.0, frozenset(), parts))
        store = Store(tmp_path)
        with store.claims() as claims:
            run_tasks(todo, 2, lambda *_: None, str(tmp_path), sharing=Sharing(store, claims, " ".join(names).split()))

    return make


def test_a_study_goes_on_without_a_worker_that_is_killed(make, tmp_path):
    make("a", "once", "b", "c")
    assert names(tmp_path) == ["a", "b", "c", "once"]
    assert Counter(begun(tmp_path)) == {"a": 1, "b": 1, "c": 1, "once": 2}
    assert not list(failures.every(tmp_path))


def test_a_run_that_kills_its_worker_twice_fails_alone_and_its_reason_is_kept(make, tmp_path):
    for _ in range(2):
        with pytest.raises(WorkerDied) as died:
            make("a", "deadly", "b", "c")
        says("a run kills its worker twice", str(died.value), tmp_path)
        assert names(tmp_path) == ["a", "b", "c"]
        [(key, failure)] = failures.every(tmp_path)
        assert (key, failure.words, failure.host) == ("deadly", "run deadly", socket.gethostname())
        assert failure.reason == "its worker was killed by SIGKILL, twice; out of memory?"
    assert Counter(begun(tmp_path)) == {"a": 1, "b": 1, "c": 1, "deadly": 4}


def test_of_a_task_that_fails_only_what_it_had_not_made_is_tried_again_and_has_failed(make, tmp_path):
    with pytest.raises(WorkerDied, match="run deadly, and 1 made together with it .*; 2 of 4 runs are kept in "):
        make("a deadly b", "c")
    assert names(tmp_path) == ["a", "c"]
    assert Counter(begun(tmp_path)) == {"a": 1, "c": 1, "deadly": 2}
    assert [key for key, _ in failures.every(tmp_path)] == ["b", "deadly"]


def test_a_study_whose_workers_die_whatever_they_are_given_ends_early(make, tmp_path):
    with pytest.raises(WorkerDied) as died:
        make(*(f"deadly{i}" for i in range(9)))
    says("every worker is killed", str(died.value), tmp_path)
    assert IN_A_ROW <= len(list(failures.every(tmp_path))) < 9
    make("a")
    assert names(tmp_path) == ["a"]


def names(root: Path) -> list[str]:
    return sorted(path.stem for path in (root / "results").glob("*.json"))


def begun(root: Path) -> list[str]:
    return (root / "begun").read_text().split()


# ---- what is whose ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path):
    """Two studies of the runs a, b, c and d in one store."""
    store = Store(tmp_path)
    with store.claims() as one, store.claims() as other:
        yield Sharing(store, one, "abcd"), Sharing(store, other, "abcd")


def task(keys: str, needs: str = "") -> Task:
    parts = [Part(key, key, f"run {key}") for key in keys]
    return Task.of((len(needs), 0.0, ord(keys[0])), make_runs, (), 8.0, frozenset(needs), parts)


def keys(task: Task | None) -> str:
    return "".join(part.key for part in task.parts) if task else ""


def put(sharing: Sharing, key: str) -> None:
    """Keep the result of a run."""
    make_runs(sharing.root, [key])


def test_a_study_takes_what_no_other_has_and_finds_what_others_have_made(two):
    one, other = two
    first = one.take(task("ab"))
    assert (keys(first.mine), first.there, first.elsewhere, first.others) == ("ab", 0, None, "")
    second = other.take(task("abcd"))
    assert (keys(second.mine), second.there, keys(second.elsewhere)) == ("cd", 0, "ab")
    assert second.others.startswith("process ") and second.mine.cost == second.elsewhere.cost == 4.0
    put(one, "a")
    one.release(first.mine)
    third = other.take(second.elsewhere)
    assert (keys(third.mine), third.there, third.elsewhere) == ("b", 1, None), "a is made, b was left"
    other.release(third.mine)
    assert other.claims.held.keys() == {"c", "d"}


def test_what_was_there_before_is_to_be_made_anew_and_what_is_new_is_there(two):
    put(two[0], "a")
    later = Sharing(two[0].store, two[0].claims, "ab")
    assert two[0].there("a") and not later.there("a") and keys(later.take(task("ab")).mine) == "ab"
    put(later, "a")
    assert later.there("a") and not later.there("b") and not later.there("of no plan")


def test_what_another_has_taken_from_a_task_that_went_well_is_left_of_it(two):
    mine = two[0].take(task("abc")).mine
    put(two[0], "b")
    assert keys(two[0].rest(mine)) == "ac"
    put(two[0], "a"), put(two[0], "c")
    assert two[0].rest(mine) is None


def test_a_claim_that_cannot_be_written_is_one_sentence(two, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("retrainlab.study.claims.write_new", full)
    with pytest.raises(BadInput, match="is full .No space left on device.; make room and give the same command again"):
        two[0].take(task("ab"))


# ---- how far it is ---------------------------------------------------------------------------------------------------


def test_a_task_that_is_made_in_several_pieces_is_done_when_all_are():
    told: list = []
    whole, then = task("abcd"), task("e", needs="a")
    ledger = Ledger([whole, then], lambda share, words: told.append((share, words)))
    assert [ledger.ready.pop(), ledger.ready, ledger.open] == [whole, [], 2]
    mine, elsewhere = whole.only(whole.parts[1:2]), whole.only(whole.parts[2:])
    ledger.there(whole, 1)
    ledger.split(whole, mine, elsewhere, "process 1 on x")
    assert told[-1] == (2.0 / 16, "1 of 5 runs") and ledger.elsewhere == [elsewhere] and not ledger.ready
    ledger.hear(mine, 0.5, 0)
    ledger.end(mine)
    assert (
        told[-1] == (4.0 / 16, "2 of 5 runs, waiting for 2 by process 1 on x") and not ledger.ready and ledger.open == 2
    )
    ledger.elsewhere.clear()
    ledger.there(elsewhere, 1)
    rest = elsewhere.only(elsewhere.parts[1:])
    ledger.split(elsewhere, rest, None, "")
    lost = rest.only(rest.parts)
    ledger.lose(rest, lost)
    assert ledger.elsewhere == [lost] and ledger.open == 2 and not ledger.ready, "another took it meanwhile"
    ledger.elsewhere.clear()
    ledger.there(lost, 1)
    ledger.split(lost, None, None, "")
    assert ledger.ready == [then] and ledger.open == 1
    ledger.end(ledger.ready.pop())
    assert told[-1] == (1.0, "5 of 5 runs") and ledger.open == 0 and ledger.done == ledger.total


@pytest.mark.parametrize("way", ["made", "left"])
def test_a_study_waits_for_what_another_is_at_and_makes_what_it_leaves(two, monkeypatch, tmp_path, way):
    monkeypatch.setattr(workers, "POLL", 0.05)
    words: list[str] = []
    taken = two[1].take(task("bc")).mine

    def other() -> None:
        while not any("waiting for 2 by process" in word for word in words):
            time.sleep(0.01)
        if way == "made":
            put(two[1], "b"), put(two[1], "c")
        two[1].release(taken)

    beside = threading.Thread(target=other)
    beside.start()
    todo = [replace(task("abc"), args=(tmp_path,)), replace(task("d", needs="a"), args=(tmp_path,))]
    run_tasks(todo, 1, lambda _, word: words.append(word), "here", sharing=two[0])
    beside.join()
    assert words[-1] == "4 of 4 runs" and Counter(begun(tmp_path)) == dict.fromkeys("abcd", 1)
    assert begun(tmp_path)[-1] == "d", "what needs it comes after all of its pieces"
    assert two[0].claims.held == {}
