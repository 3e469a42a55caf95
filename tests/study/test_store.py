"""What is stored is whole, readable, and what its key says; or it is refused in one sentence."""

import errno
import json
import math
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import retrainlab
from retrainlab import parsing
from retrainlab.checks import BadInput
from retrainlab.keys import SCHEMA
from retrainlab.paths import store_root
from retrainlab.study import older
from retrainlab.study import store as store_module
from retrainlab.study.measured import Dense
from retrainlab.study.older import Unfit
from retrainlab.study.store import Store
from retrainlab.training.state import State
from tests.helpers.refusals import said
from tests.helpers.stored import KEY, dense, pruned, result

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("RETRAINLAB_STORE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(store_module, "RENAMED", 0.0)
    return Store(tmp_path / "store")


def files(store: Store) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


# ---- there and back --------------------------------------------------------------------------------------------------


def test_a_result_comes_back_as_it_was(store):
    store.put(KEY, result())
    assert store.get("results", KEY).result == result()


def test_a_dense_network_comes_back_bit_for_bit(store):
    store.put(KEY, dense())
    back = store.get("dense", KEY).dense()
    assert back.result == result()
    for part in ("params", "buffers", "momentum"):
        first, again = getattr(dense().state, part), getattr(back.state, part)
        assert first.keys() == again.keys()
        for name, tensor in first.items():
            assert tensor.dtype == again[name].dtype and tensor.shape == again[name].shape
            assert tensor.numpy().tobytes() == again[name].numpy().tobytes()


def test_masks_come_back_as_they_were(store):
    store.put(KEY, pruned())
    back = store.get("pruned", KEY).pruned()
    assert back.result == result(0.2) and back.masks.keys() == pruned().masks.keys()
    assert all(m.dtype == torch.bool and torch.equal(m, back.masks[n]) for n, m in pruned().masks.items())


def test_a_network_without_buffers_comes_back(store):
    bare = replace(dense(), state=replace(dense().state, buffers={}))
    store.put(KEY, bare)
    assert store.get("dense", KEY).dense().state.buffers == {}


def test_tensors_that_are_views_are_stored(store):
    weight = torch.arange(6.0).view(2, 3)
    state = State({"a": weight.T, "b": torch.ones(1, 3).expand(2, 3)}, {}, {"a": weight[:, 1].clone()})
    store.put(KEY, Dense(state, result()))
    assert torch.equal(store.get("dense", KEY).dense().state.params["a"], weight.T)
    assert torch.equal(store.get("dense", KEY).dense().state.params["b"], torch.ones(2, 3))


def test_what_has_not_been_made_is_none(store):
    assert store.get("results", KEY) is None and store.get("dense", KEY) is None and store.get("pruned", KEY) is None
    assert store.count() == {"dense": 0, "pruned": 0, "results": 0}
    assert not store.root.exists()


def test_what_is_stored_again_takes_the_place_of_the_old(store):
    store.put(KEY, result(1.0))
    store.put(KEY, result(2.0))
    assert store.get("results", KEY).result == result(2.0) and files(store) == [f"results/{KEY}.json"]


def test_has_and_count_tell_what_is_there(store):
    store.put(KEY, dense())
    store.put(KEY, pruned())
    store.put(KEY, result())
    store.put("f" * 16, result())
    assert store.get("dense", KEY) and store.get("pruned", KEY) and store.get("results", KEY)
    assert store.count() == {"dense": 1, "pruned": 1, "results": 2}


def test_the_store_lies_where_it_is_told_to(tmp_path, monkeypatch):
    monkeypatch.setenv("RETRAINLAB_STORE", str(tmp_path / "here"))
    assert store_root() == tmp_path / "here"
    assert Store(str(tmp_path)).root == tmp_path


# ---- what lies on disk -----------------------------------------------------------------------------------------------


def test_on_disk_there_is_json_and_safetensors_and_nothing_else(store):
    store.put(KEY, dense())
    store.put(KEY, pruned())
    store.put(KEY, result())
    store.check_writable()
    assert files(store) == [
        f"dense/{KEY}.json",
        f"dense/{KEY}.safetensors",
        f"pruned/{KEY}.json",
        f"pruned/{KEY}.safetensors",
        f"results/{KEY}.json",
    ]
    for path in store.root.rglob("*.json"):
        record = json.loads(path.read_text())
        assert record["key"] == KEY and record["schema"] == SCHEMA
        assert {"config", "scalars", "curves", "provenance"} <= set(record)
    assert set(load_file(store.root / "pruned" / f"{KEY}.safetensors")) == {"conv.weight"}


def test_nothing_pickles_but_what_processes_tell_one_another_and_weights_for_torch():
    """A user's weights may be torch's own files, of which none but tensors are read."""
    pickles = re.compile(r"\bpickle\b|torch\.save|torch\.load\b|\bjoblib\b|\bshelve\b")
    package = Path(retrainlab.__file__).parent
    for path in package.rglob("*.py"):
        assert path.name in ("processes.py", "serving.py", "weights.py", "libraries.py") or not pickles.search(
            path.read_text()
        ), path
    for name in ("weights.py", "libraries.py"):
        found = re.findall(r"(?<!safetensors\.)torch\.load\b.*", (package / name).read_text())
        assert len(found) == 1 and "weights_only=True" in found[0]


def test_the_same_network_gives_the_same_bytes(tmp_path):
    """In every process: no order of a hash table comes into a file."""
    code = """
import sys
from retrainlab.study.store import Store
from tests.helpers.stored import KEY, dense
Store(sys.argv[1]).put(KEY, dense())
"""
    for seed in "12":
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, tmp_path / seed], cwd=ROOT, check=True, env=environment)
    assert len({Store(tmp_path / seed).path("dense", KEY, "safetensors").read_bytes() for seed in "12"}) == 1


def test_nan_is_not_written(store):
    bad = replace(result(), scalars={"test_loss": float("nan")})
    with pytest.raises(ValueError):
        store.put(KEY, bad)
    assert store.get("results", KEY) is None


# ---- damage ----------------------------------------------------------------------------------------------------------


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _no_text(path):
    path.write_bytes(b"\xff\xfe\x00\x80")


def _folder(path):
    path.unlink()
    path.mkdir()


def _edit(**changes):
    def edit(path):
        record = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in record.items() if v is not ...}))

    return edit


DAMAGE = {
    "truncated": _cut,
    "empty": lambda path: path.write_text(""),
    "no text": _no_text,
    "a list": lambda path: path.write_text("[1, 2]"),
    "a number": lambda path: path.write_text("3"),
    "a folder": _folder,
    "nested deeply": lambda path: path.write_text("[" * 100_000 + "]" * 100_000),
    "without its key": _edit(key=...),
    "without scalars": _edit(scalars=...),
    "with another field": _edit(extra=1),
    "under a wrong key": _edit(key="f" * 16),
    "of another schema": _edit(schema=SCHEMA + 1),
    "with another number": lambda path: path.write_text(path.read_text().replace("0.333333", "0.333334")),
    "with another checksum": _edit(sha256="0" * 64),
    "with a checksum of another type": _edit(sha256=[1]),
}


def reader(store: Store, kind: str):
    return lambda key: store.get(kind, key)


def filled(store: Store) -> None:
    store.put(KEY, dense())
    store.put(KEY, pruned())
    store.put(KEY, result())


def unsealed(store: Store) -> None:
    """The files as an earlier version wrote them: without checksums, and with all that it measured."""
    filled(store)
    for path in store.root.rglob("*.safetensors"):
        save_file(load_file(path), path)
    for kind, (scalars, curves) in older.LEAST.items():
        path = store.root / kind / f"{KEY}.json"
        if path.exists():
            record = json.loads(path.read_text())
            record = {k: v for k, v in record.items() if k not in ("sha256", "tensors")}
            record["config"] |= {"retrain": {}}
            record["scalars"] |= dict.fromkeys(scalars, 0.5) | ({"parameters": 8} if kind == "dense" else {})
            record["curves"] = dict.fromkeys(curves, [0, 0.5])
            path.write_text(json.dumps(record, indent=1))


def gone(store: Store, kind: str, *, word: str = "") -> None:
    """The damaged file counts as not made, is set aside with one warning, and can be made anew."""
    path = store.path(kind, KEY)
    with pytest.warns(UserWarning, match="Damaged") as caught:
        assert reader(store, kind)(KEY) is None
    [warning] = caught
    assert str(path) in str(warning.message) and str(store.root / "damaged") in str(warning.message)
    assert word in str(warning.message)
    assert not path.exists() and not store.path(kind, KEY, "safetensors").exists()
    assert any(p.name.startswith(f"{KEY}-") for p in (store.root / "damaged").iterdir())
    assert not store.get(kind, KEY), "and no second warning"
    filled(store)
    assert reader(store, kind)(KEY) is not None


@pytest.mark.parametrize("kind", ["results", "dense", "pruned"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_record_that_is_damaged_is_set_aside_with_a_word_and_can_be_made_anew(store, damage, kind):
    filled(store)
    DAMAGE[damage](store.path(kind, KEY))
    if damage == "with another number" and kind == "pruned":
        store.path(kind, KEY).write_text(store.path(kind, KEY).read_text().replace("0.2", "0.3"))
    gone(store, kind)


@pytest.mark.parametrize("damage", ["truncated", "empty", "no text", "a folder", "missing"])
@pytest.mark.parametrize("kind", ["dense", "pruned"])
def test_tensors_that_are_damaged_are_set_aside_with_their_record(store, damage, kind):
    filled(store)
    path = store.path(kind, KEY, "safetensors")
    Path.unlink(path) if damage == "missing" else DAMAGE[damage](path)
    gone(store, kind, word=path.name)


@pytest.mark.parametrize("kind", ["results", "dense", "pruned"])
def test_every_flipped_bit_that_changes_what_is_said_is_noticed(store, kind):
    """One bit of each byte in turn, in a record and in its tensors: the same is read, or nothing."""
    filled(store)
    whole = store.read(kind, KEY)
    for path in {"results": [store.path(kind, KEY)]}.get(
        kind, [store.path(kind, KEY), store.path(kind, KEY, "safetensors")]
    ):
        before, noticed = path.read_bytes(), 0
        for place in range(len(before)):
            flipped = bytearray(before)
            flipped[place] ^= 1 << place % 7
            path.write_bytes(flipped)
            try:
                found = store.read(kind, KEY)
                assert found.result == whole.result
                assert all(torch.equal(t, found.tensors[n]) for n, t in whole.tensors.items())
            except Unfit:
                noticed += 1
        path.write_bytes(before)
        assert noticed > 0.6 * len(before)


@pytest.mark.parametrize("kind", ["dense", "pruned"])
@pytest.mark.parametrize("what", ["tensors", "both"])
def test_another_seeds_files_under_a_name_are_noticed(store, kind, what):
    other = "f" * 16
    filled(store)
    state = replace(dense().state, params={n: p + 1 for n, p in dense().state.params.items()})
    store.put(other, replace(dense(), state=state))
    store.put(other, replace(pruned(), masks={n: ~m for n, m in pruned().masks.items()}))
    for end in ("safetensors", "json")[: 1 + (what == "both")]:
        store.path(kind, KEY, end).write_bytes(store.path(kind, other, end).read_bytes())
    gone(store, kind)


@pytest.mark.parametrize("kind", ["dense", "pruned"])
@pytest.mark.parametrize("change", ["renamed", "reshaped", "of another type", "left out"])
def test_tensors_that_are_not_those_of_their_record_are_noticed(store, kind, change):
    filled(store)
    path = store.path(kind, KEY, "safetensors")
    tensors = load_file(path)
    name = sorted(tensors)[-1]
    tensor = tensors.pop(name)
    others = {"renamed": {f"{name}s": tensor}, "reshaped": {name: tensor.flatten()[None]}, "left out": {}}
    save_file(tensors | others.get(change, {name: tensor.to(torch.float16)}), path)
    gone(store, kind)


def test_weights_that_are_nan_are_noticed_unless_their_run_is_recorded_as_diverged(store):
    bad = replace(dense(), state=replace(dense().state, params={"w": torch.tensor([1.0, math.nan])}, momentum={}))
    store.put(KEY, bad)
    gone(store, "dense", word="NaN")
    store.put(KEY, replace(bad, result=replace(bad.result, outcome="diverged: the first training")))
    assert store.get("dense", KEY).dense().state.params["w"].isnan().any()


def test_a_record_moved_to_another_key_is_set_aside(store):
    store.put("f" * 16, result())
    store.path("results", "f" * 16).rename(store.path("results", KEY))
    gone(store, "results", word="another result")


HOSTILE = {
    "text for a number": {"scalars": {"test_accuracy": "0.9"}},
    "a list for a number": {"scalars": {"test_accuracy": [0.9]}},
    "no scalars": {"scalars": ...},
    "NaN": {"scalars": {"test_accuracy": math.nan}},
    "a huge number": {"scalars": {"steps": 10**400}},
    "infinity": {"scalars": {"steps": math.inf}},
    "a lacking scalar": {"scalars": {"test_accuracy": ...}},
    "curves that are a list": {"curves": [1, 2]},
    "a curve of texts": {"curves": {"step": ["0", "1"]}},
    "a curve that is a number": {"curves": {"step": 3}},
    "curves of different lengths": {"curves": {"step": [1], "lr": [1, 2]}},
    "a config that is a text": {"config": "recipe"},
    "a recipe that is a number": {"config": {"recipe": 3}},
    "a device that is a number": {"provenance": {"device": 3}},
    "a device that is missing": {"provenance": {"device": ...}},
    "a revision that is a list": {"provenance": {"revision": []}},
}


@pytest.mark.parametrize("kind", ["results", "dense", "pruned"])
@pytest.mark.parametrize("change", HOSTILE)
def test_a_record_without_checksum_whose_content_is_of_the_wrong_kind_is_set_aside(store, change, kind):
    unsealed(store)
    path = store.path(kind, KEY)
    record = json.loads(path.read_text())
    name = next(iter(older.LEAST[kind][0]))
    for part, changes in HOSTILE[change].items():
        if isinstance(changes, dict):
            if part == "scalars":
                changes = dict.fromkeys([name], *changes.values())
            changes = {k: v for k, v in (record[part] | changes).items() if v is not ...}
        record[part] = {} if changes is ... else changes
    path.write_text(json.dumps(record))
    gone(store, kind)


def test_files_of_an_earlier_version_are_read_and_get_checksums_when_they_are_written_anew(store):
    unsealed(store)
    assert not any(store.read(kind, KEY).sealed for kind in ("results", "dense", "pruned"))
    assert store.get("results", KEY).result.scalars["test_accuracy"] == 0.5
    assert all(torch.equal(t, dense().state.params[n]) for n, t in store.get("dense", KEY).dense().state.params.items())
    assert store.get("pruned", KEY) and store.get("dense", KEY)
    filled(store)
    assert all(store.read(kind, KEY).sealed for kind in ("results", "dense", "pruned"))


def test_a_measured_rate_of_an_earlier_version_is_read(store):
    unsealed(store)
    path = store.path("results", KEY)
    record = json.loads(path.read_text())
    record |= {"config": {"data": "digits"}, "scalars": {"images_per_second": 9.0}, "curves": {}}
    path.write_text(json.dumps(record))
    assert store.get("results", KEY).result.scalars == {"images_per_second": 9.0}


def test_a_record_without_its_checksum_still_knows_its_tensors(store):
    """A pair may be written half by an earlier version: each file is held to what it knows itself."""
    filled(store)
    _edit(sha256=..., tensors=...)(store.path("dense", KEY))
    gone(store, "dense", word="lacks")


def test_a_damaged_file_that_cannot_be_moved_counts_as_not_made(store, monkeypatch):
    store.put(KEY, result())
    _cut(store.path("results", KEY))

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.warns(UserWarning, match="left where it is .Read-only file system"):
        assert store.get("results", KEY) is None
    assert store.path("results", KEY).exists()


@pytest.mark.parametrize("kind", ["results", "dense", "pruned"])
def test_a_file_that_one_may_not_read_is_not_called_damaged(store, kind, monkeypatch):
    filled(store)
    mine = store.path(kind, KEY, "json" if kind == "results" else "safetensors")
    real = open

    def guarded(path, *args, **more):
        if Path(path) == mine:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **more)

    monkeypatch.setattr(parsing, "open", guarded, raising=False)
    text = said(lambda: reader(store, kind)(KEY))
    assert str(mine) in text and "cannot be read (Permission denied)" in text and "chmod" in text
    assert "delete" not in text and mine.exists() and not (store.root / "damaged").exists()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_umask_says_who_may_read_what_is_stored(store, umask, mode):
    before = os.umask(umask)
    try:
        filled(store)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in store.root.rglob("*.*")} == {mode}


# ---- writing ---------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """Not an Exception, as Ctrl-C is none."""


def crash(*args, **kwargs):
    raise Crash


@pytest.mark.parametrize("moment", ["replace", "fsync"])
@pytest.mark.parametrize("before", [False, True])
def test_a_crash_while_writing_leaves_the_old_file_whole_and_no_temporary(store, monkeypatch, moment, before):
    if before:
        store.put(KEY, result(1.0))
    monkeypatch.setattr(os, moment, crash)
    with pytest.raises(Crash):
        store.put(KEY, result(2.0))
    monkeypatch.undo()
    assert files(store) == ([f"results/{KEY}.json"] if before else [])
    found = store.get("results", KEY)
    assert (found and found.result) == (result(1.0) if before else None)


def test_a_crash_while_tensors_are_filled_in_leaves_no_half_file(store, monkeypatch):
    def half(tensors, path, about):
        Path(path).write_bytes(b"half")
        raise Crash

    monkeypatch.setattr(store_module, "save_file", half)
    with pytest.raises(Crash):
        store.put(KEY, dense())
    assert files(store) == [] and not store.get("dense", KEY)


def test_a_crash_between_weights_and_record_leaves_nothing_that_is_taken_for_whole(store, monkeypatch):
    monkeypatch.setattr(Path, "write_text", crash)
    with pytest.raises(Crash):
        store.put(KEY, dense())
    assert store.get("dense", KEY) is None


def test_a_file_is_never_seen_half_written(store, monkeypatch):
    """The final name appears only by a rename of a whole file in the same folder."""
    seen, real = [], os.replace

    def watched(source, target):
        whole = json.loads(Path(source).read_text()) if str(target).endswith(".json") else load_file(source)
        seen.append((Path(source).parent == Path(target).parent, Path(target).exists(), bool(whole)))
        return real(source, target)

    monkeypatch.setattr(os, "replace", watched)
    store.put(KEY, dense())
    assert seen == [(True, False, True)] * 2


def test_a_temporary_that_a_killed_writer_left_is_no_result(store):
    store.put(KEY, result())
    (store.root / "results" / f".{'f' * 16}.json.12345678.tmp").write_text("{")
    assert store.count()["results"] == 1 and not store.get("results", "f" * 16)


def test_a_store_that_cannot_be_written_is_one_sentence_with_a_way_out(tmp_path):
    (tmp_path / "file").write_text("x")
    store = Store(tmp_path / "file" / "store")
    for write in (store.check_writable, lambda: store.put(KEY, result()), lambda: store.put(KEY, dense())):
        text = said(write)
        assert str(store.root) in text and "RETRAINLAB_STORE" in text and "--store" in text


def test_reading_a_store_below_a_file_is_no_traceback(tmp_path):
    (tmp_path / "file").write_text("x")
    store = Store(tmp_path / "file" / "store")
    assert not store.get("results", KEY) and store.count()["results"] == 0
    try:
        assert store.get("results", KEY) is None
    except BadInput as error:
        assert str(store.root) in str(error)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_is_one_sentence(tmp_path):
    (tmp_path / "store").mkdir(mode=0o500)
    assert str(tmp_path / "store") in said(Store(tmp_path / "store").check_writable)


def test_a_full_disk_is_one_sentence(store, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert "No space left on device" in said(lambda: store.put(KEY, result()))


def test_checking_that_it_can_be_written_leaves_no_file(store):
    store.check_writable()
    assert files(store) == []


def test_what_killed_writers_left_goes_when_a_study_starts(store):
    filled(store)
    left = [store.root / place / f".{KEY}.json.0123abcd.tmp" for place in (".", "dense", "pruned", "results")]
    outside = store.root.parent / "outside"
    outside.mkdir()
    (store.root / "checkpoints").symlink_to(outside)
    for path in (*left, outside / ".x.json.0123abcd.tmp"):
        path.write_text("{")
        os.utime(path, (0, 0))
    (store.root / "dense" / ".y.json.0123abcd.tmp").write_text("{")  # as somebody may be writing it now
    store.check_writable()
    assert not any(path.exists() for path in left) and len(files(store)) == 6
    assert (outside / ".x.json.0123abcd.tmp").exists()
