"""The index beside a store's results: with it and without it the same is read, whatever happens to files and index."""

import json
import multiprocessing
import os
import pickle
import random
import shutil
import sqlite3
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.keys import to_dict
from retrainlab.study import index, records
from retrainlab.study import store as stores
from retrainlab.study.older import Unfit
from retrainlab.study.result import Result
from retrainlab.study.store import Store

KEYS = [f"{number:016x}" for number in range(12)]


def a_result(number: int) -> Result:
    """A result that differs from all others in every part."""
    e = Experiment(Recipe(model="mlp", seed=number), Prune(0.5), Retrain(budget=1 + number), 1 + number)
    scalars = {"none": None, "test_accuracy": number / 8, "steps": number, "stopped": number == 1, "é": -1e-300}
    scalars |= {"zero": -0.0, "most": 2**63 - 1, "least": 1 - 2**63, "a\nb": 10.0}
    curves = {"step": [0, number], "validation_loss": [1.5, 1 / 3], "train_loss": [None, 2.5], "bytes": {"a": number}}
    provenance = {"device": "cpu", "seconds": 0.5 * number, "note": "1],[2", "revision": None, "cores": 1 + number}
    return Result(to_dict(e), scalars, curves, provenance)


def plainly(store: Store) -> dict[str, dict]:
    """What the files say, read one by one."""
    out = {}
    for kind, key in store.names():
        try:
            found = store.read(kind, key)
        except Unfit:
            continue
        if found is not None:
            out[key] = asdict(found.result)
    return out


def told(store: Store) -> dict[str, dict]:
    return {key: asdict(found) for key, found in store.results().items()}


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """An empty store that has an index from the first result on, of files as young as a tick of the clock."""
    monkeypatch.setattr(stores, "MANY", 1)
    monkeypatch.setattr(index, "YOUNG", 0)
    monkeypatch.setattr(index, "WAIT", 0.05)
    return Store(tmp_path / "store")


@pytest.fixture
def full(store) -> Store:
    for number, key in enumerate(KEYS):
        store.put(key, a_result(number))
    time.sleep(0.02)
    assert told(store) == plainly(store) and len(plainly(store)) == len(KEYS)
    return store


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of the files that are read."""
    seen, usual = [], Store.read
    monkeypatch.setattr(
        Store, "read", lambda self, kind, key, *more: [seen.append(key), usual(self, kind, key, *more)][1]
    )
    return seen


def test_a_second_reading_opens_no_file_and_a_changed_one_is_read_again(full, reads):
    before = plainly(full)
    reads.clear()
    assert told(full) == before and not reads
    full.put(KEYS[3], a_result(77))
    full.forget("results", KEYS[4])
    again = told(full)
    assert reads == [KEYS[3]] and again == plainly(full)
    assert again[KEYS[3]] == asdict(a_result(77)) and KEYS[4] not in again


def test_results_from_the_index_are_results_like_others(full):
    for key, found in full.results().items():
        read = full.read("results", key)
        assert read is not None and found == read.result and found.config == read.result.config
        assert repr(found.scalars) == repr(read.result.scalars)  # order and kinds, too: 1, 1.0 and True are equal
        assert repr(found.provenance) == repr(read.result.provenance)
        assert pickle.loads(pickle.dumps(found)) == found
        assert replace(found, outcome="x") == replace(read.result, outcome="x")
        assert {name: json.loads(text) for name, text in found.settings.items()} == read.result.config
        assert {name: json.loads(text) for name, text in read.result.settings.items()} == read.result.config
        with pytest.raises(AttributeError, match="no 'nonsense'"):
            found.nonsense  # noqa: B018


def test_what_is_asked_for_is_what_is_given(full):
    assert full.results([KEYS[2], "f" * 16, KEYS[5]]).keys() == {KEYS[2], KEYS[5]}
    assert full.results([]) == {}


def test_few_are_found_without_a_look_at_all_files(store, monkeypatch):
    monkeypatch.undo()
    for number, key in enumerate(KEYS):
        store.put(key, a_result(number))
    monkeypatch.setattr(index, "states", lambda folder: pytest.fail("all were looked at"))
    assert store.results([KEYS[2], "f" * 16]) == {KEYS[2]: a_result(2)}


def flipped(path: Path, chance: random.Random) -> None:
    """Flip a bit of a file in place."""
    if size := path.stat().st_size:
        with open(path, "r+b") as file:
            file.seek(place := chance.randrange(size))
            bits = file.read(1)[0] ^ (1 << chance.randrange(8))
            file.seek(place)
            file.write(bytes([bits]))


def happening(store: Store, other: Store, chance: random.Random) -> None:
    """Let something happen to a file of the store, or to its index."""
    key, beside = chance.choice(KEYS), store.root / index.FILE
    path = store.path("results", key)
    match chance.randrange(11):
        case 0 | 1 | 2:
            store.put(key, a_result(100 + chance.randrange(900)))
        case 3:
            store.forget("results", key)
        case 4 if path.exists():
            flipped(path, chance)
        case 5:  # as a tool that copies a store does, with the times of what is copied
            shutil.copy2(other.path("results", key), path)
        case 6 if path.exists():  # other content of the same size, time and number
            before, record = (
                path.stat(),
                json.loads(records.text("results", key, a_result(100 + chance.randrange(900)))),
            )
            text = (json.dumps(record, indent=1) + "\n").encode()
            with open(path, "r+b") as file:
                file.write(text if len(text) == before.st_size else file.read())
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        case 7 if path.exists():
            os.utime(path, (chance.randrange(2**31), chance.randrange(2**31)))
        case 8:
            beside.unlink(missing_ok=True)
        case 9 if beside.exists():
            flipped(beside, chance)
        case 10 if beside.exists():
            os.truncate(beside, chance.randrange(beside.stat().st_size + 1))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_the_same_is_read_with_and_without_an_index(store, tmp_path, seed):
    chance, other = random.Random(seed), Store(tmp_path / "other")
    for number, key in enumerate(KEYS):
        for each in (store, other):
            each.put(key, a_result(chance.randrange(1000) + 10 * number))
    for _ in range(40):
        for _ in range(chance.randrange(1, 4)):
            happening(store, other, chance)
        if chance.random() < 0.5:
            time.sleep(0.006)  # a tick, after which files are old enough to be kept
        assert told(store) == plainly(store)


@pytest.mark.parametrize("end", [0, 1, 100, 4096, 5000, -1])
def test_a_cut_off_index_is_made_anew(full, reads, end):
    path = full.root / index.FILE
    os.truncate(path, end if end >= 0 else path.stat().st_size - 1)
    assert told(full) == plainly(full)
    assert told(full) == plainly(full)
    reads.clear()
    assert told(full) and not reads


def test_a_row_that_was_changed_by_hand_is_no_row(full):
    with sqlite3.connect(full.root / index.FILE) as file:
        changed = file.execute("UPDATE results SET said = substr(said, 1, length(said) - 1) || x'7F'").rowcount
    file.close()
    assert changed == len(KEYS) and told(full) == plainly(full)
    with sqlite3.connect(full.root / index.FILE) as file:  # one row under the name of another
        [row] = file.execute("SELECT digest, said FROM results WHERE key = ?", [KEYS[1]])
        file.execute("UPDATE results SET digest = ?, said = ? WHERE key = ?", [*row, KEYS[2]])
    file.close()
    assert told(full) == plainly(full)


def test_a_change_of_what_reads_records_makes_all_rows_anew(full, reads, monkeypatch):
    told(full)
    assert not reads
    monkeypatch.setattr(index, "version", lambda: 7)
    told(full)
    told(full)
    assert sorted(reads) == KEYS


def test_an_index_that_others_hold_stops_nobody(full):
    full.put(KEYS[0], a_result(50))
    file = sqlite3.connect(full.root / index.FILE, isolation_level=None)
    file.execute("BEGIN EXCLUSIVE")
    try:
        assert told(full) == plainly(full)
    finally:
        file.close()
    assert told(full) == plainly(full)


def test_where_no_index_can_be_written_files_are_read(store, monkeypatch):
    for number, key in enumerate(KEYS):
        store.put(key, a_result(number))
    (store.root / index.FILE).mkdir()
    assert told(store) == plainly(store)
    (store.root / index.FILE).rmdir()

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index, "write_whole", refused)
    assert told(store) == plainly(store) and not (store.root / index.FILE).exists()


def test_an_index_that_may_only_be_read_is_read(full, reads, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(index.os, "utime", refused)
    full.put(KEYS[0], a_result(50))
    assert told(full)[KEYS[0]] == asdict(a_result(50)) and reads == [KEYS[0]]


def test_a_store_that_is_only_read_gets_no_index(store):
    for number, key in enumerate(KEYS):
        store.put(key, a_result(number))
    time.sleep(0.02)
    assert told(replace(store, only_read=True)) == plainly(store) and not (store.root / index.FILE).exists()


def test_an_index_leads_to_no_file_elsewhere(full, tmp_path):
    """Pitfall: SQLite carries out what a journal beside a file says."""
    mine, link = tmp_path / "mine.sqlite", full.root / index.FILE
    with sqlite3.connect(mine) as file:
        file.execute("CREATE TABLE notes (text)")
    file.close()
    before = mine.read_bytes()
    (full.root / f"{index.FILE}-journal").symlink_to(mine)
    assert told(full) == plainly(full)
    link.unlink()
    link.symlink_to(mine)
    assert told(full) == plainly(full)
    assert mine.read_bytes() == before and not (full.root / f"{index.FILE}-journal").is_symlink()
    link.unlink(missing_ok=True)
    os.mkfifo(link)
    assert told(full) == plainly(full)


def test_rows_go_with_their_files(full):
    for key in KEYS[:5]:
        full.forget("results", key)
    told(full)
    with sqlite3.connect(full.root / index.FILE) as file:
        assert {key for (key,) in file.execute("SELECT key FROM results")} == {*KEYS[5:]}
    file.close()


def test_files_that_may_still_change_unseen_are_not_kept(store, reads, monkeypatch):
    monkeypatch.setattr(index, "YOUNG", 60_000_000_000)
    store.put(KEYS[0], a_result(1))
    time.sleep(0.02)
    assert told(store) and told(store) and reads == [KEYS[0]] * 2


def test_what_an_index_cannot_hold_is_read_from_its_file(store):
    odd = replace(a_result(1), config={"other": 1}, outcome="a\nb \ud800")
    store.put(KEYS[0], odd)
    store.put(KEYS[1], replace(odd, config=a_result(2).config))
    old = json.loads(records.text("results", KEYS[2], a_result(3)))
    del old["sha256"]  # an earlier version's, of which too little is known here
    store.path("results", KEYS[2]).write_text(json.dumps(old))
    time.sleep(0.02)
    assert told(store) == told(store) == plainly(store)


def busy(root: Path, seed: int) -> None:
    """What a process does that writes and reads."""
    store, chance = Store(root), random.Random(seed)
    for _ in range(40):
        store.put(chance.choice(KEYS), a_result(chance.randrange(1000)))
        found = store.results()
        assert all(one == a_result(one.scalars["steps"]) for one in found.values())
        if chance.random() < 0.1:
            (root / index.FILE).unlink(missing_ok=True)


def test_several_processes_read_and_write_at_once(store):
    """Each sees whole results only, and in the end all see the same."""
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=busy, args=(store.root, seed)) for seed in range(2)]
    for other in others:
        other.start()
    busy(store.root, 2)
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    time.sleep(0.02)
    assert told(store) == told(store) == plainly(store)
