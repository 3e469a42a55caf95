"""Results go into one file and come back as they were; a file that is not whole changes nothing."""

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from retrainlab.checks import BadInput
from retrainlab.cli import main
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.keys import to_dict
from retrainlab.methods.table import METHODS
from retrainlab.study import nouns, seal
from retrainlab.study.archive import MANIFEST, Archive, shipped
from retrainlab.study.exports import Chosen, export, plan
from retrainlab.study.imports import take_in
from retrainlab.study.measured import LEFT_OUT, MOMENTUM, Dense, weights_of
from retrainlab.study.older import LEAST
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.store import Store
from tests.helpers.refusals import said
from tests.helpers.stored import dense, pruned

RUNS = [Experiment(Recipe(seed=seed), Prune(0.9), Retrain(name, 0.1)) for seed in (0, 1) for name in ("FT", "LLR")]


def ended(e: Experiment, accuracy: float, network: Dense) -> Result:
    scalars = dict.fromkeys(LEAST["results"][0], 0.9) | {"test_accuracy": accuracy, "stopped": False}
    about = {"device": "cuda, somewhere", "weights": network.weights}
    return Result(to_dict(e), scalars, {"step": [0, 3], "bytes": {"float32_dense": 12}}, about)


@pytest.fixture
def results(tmp_path) -> Results:
    """Two dense runs with their masks, and two results of each."""
    out = Results(Store(tmp_path / "own"))
    for e in RUNS:
        network = dense()
        about = network.result.provenance | {"weights": network.weights}
        network = replace(network, result=Result(to_dict(e.recipe), dict.fromkeys(LEAST["dense"][0], 0.5), {}, about))
        out.put(e.recipe, network)
        out.put(
            (e.recipe, e.prune),
            replace(pruned(), result=Result(to_dict(e.prune), dict.fromkeys(LEAST["pruned"][0], 0.5), {}, about)),
        )
        out.put(e, ended(e, 0.5 + 0.1 * e.recipe.seed, network))
    return out


@pytest.fixture
def file(results, tmp_path) -> Path:
    """All of it, with the weights of seed 0."""
    export(results.store, plan(results, Chosen(), [0]), path := tmp_path / "results.zip")
    return path


def everything(store: Store) -> dict[str, bytes]:
    return {str(p.relative_to(store.root)): p.read_bytes() for p in sorted(store.root.rglob("*")) if p.is_file()}


# ---- out and back ----------------------------------------------------------------------------------------------------


def test_what_was_exported_comes_back_in_another_store(results, file, tmp_path):
    there = Results(Store(tmp_path / "there"))
    taken = take_in(there.store, Archive(file))
    assert len(taken.new) == 8 and not (taken.there or taken.more or taken.other)
    for e in RUNS:
        assert there.of(e) == results.of(e)
        assert there.told(e.recipe).scalars == results.told(e.recipe).scalars
        assert there.told((e.recipe, e.prune)) == results.told((e.recipe, e.prune))
        whole = e.recipe.seed == 0
        assert (there.dense(e.recipe, torch.device("cpu")) is not None) == whole, "bare records are no networks"
        assert (there.masks(e.recipe, e.prune, torch.device("cpu")) is not None) == whole
    back, own = (r.dense(RUNS[0].recipe, torch.device("cpu")) for r in (there, results))
    assert weights_of(back.state.params) == weights_of(own.state.params)
    assert {n: b.dtype for n, b in back.state.buffers.items()} == {n: b.dtype for n, b in own.state.buffers.items()}
    assert all(not m.any() for m in back.state.momentum.values()) and back.result.provenance[MOMENTUM] == LEFT_OUT


def test_the_file_has_the_same_bytes_wherever_it_is_made(results, file, tmp_path):
    there = Results(Store(tmp_path / "there"))
    take_in(there.store, Archive(file))
    export(there.store, plan(there, Chosen(), [0]), again := tmp_path / "again.zip")
    assert again.read_bytes() == file.read_bytes()


def test_a_store_is_taken_in_as_a_file_is(results, file, tmp_path):
    there = Store(tmp_path / "there")
    take_in(there, Archive(file))
    taken = take_in(there, results.store)
    assert {kind for kind, _ in taken.more} == {"dense", "pruned"} and len(taken.more) == 2, "seed 1 gets its tensors"
    assert len(taken.there) == 6 and not (taken.new or taken.other)
    assert Results(there).dense(RUNS[-1].recipe, torch.device("cpu")) is not None


def test_what_is_chosen_brings_what_it_starts_from(results):
    names = plan(results, Chosen(schedule=("LLR",), seed=(1,))).names
    [e] = [e for e in RUNS if (e.recipe.seed, e.retrain.schedule) == (1, "LLR")]
    starts = ("dense", results.key(e.recipe)), ("pruned", results.key((e.recipe, e.prune)))
    assert set(names) == {*starts, ("results", results.key(e))}
    assert len(plan(results, Chosen(sparsity=(0.9 + 1e-9,), budget=(0.1,), data=("digits",))).names) == 8
    with pytest.raises(BadInput, match="no results that fit"):
        plan(results, Chosen(model=("resnet20",)))


def test_what_is_known_is_left_out(results, file, tmp_path):
    kept = Results(Store(tmp_path / "own", (Archive(file),)))
    with pytest.raises(BadInput, match="nothing to export"):
        plan(kept, Chosen(), known=Archive(file).names())
    more = replace(RUNS[0], retrain=Retrain("CLR", 0.1))
    kept.put(more, ended(more, 0.7, dense()))
    assert plan(kept, Chosen(), known=Archive(file).names()).names == (("results", kept.key(more)),)


def test_other_numbers_of_one_name_are_both_kept(results, file, tmp_path):
    e = RUNS[0]
    own = replace(results.of(e), scalars=results.of(e).scalars | {"test_accuracy": 0.123})
    there = Results(Store(tmp_path / "there"))
    there.put(e, own)
    before = everything(there.store)
    taken = take_in(there.store, Archive(file))
    assert taken.other == (("results", there.key(e)),) and "both are kept" in taken.words(there.store)
    assert there.of(e) == own and before.items() <= everything(there.store).items()
    [other] = (there.store.root / "conflicts" / "results").iterdir()
    assert json.loads(other.read_text())["scalars"]["test_accuracy"] == 0.5
    assert take_in(there.store, Archive(file)).other == taken.other and len(list(other.parent.iterdir())) == 1


def test_how_fast_a_run_was_is_no_conflict(results, file, tmp_path):
    there = Results(Store(tmp_path / "there"))
    slow = results.of(RUNS[0])
    there.put(RUNS[0], replace(slow, scalars=slow.scalars | {"images_per_second": 0.1}))
    assert ("results", there.key(RUNS[0])) in take_in(there.store, Archive(file)).there


@pytest.mark.parametrize("method", [None, *METHODS])
def test_settings_are_nouns_again(method):
    knobs = METHODS[method].settings() if method else None
    prune = Prune(0.95, cycles=1 if knobs else 2)
    e = Experiment(Recipe(method=knobs, milestones=(0.3, 0.6)), prune, Retrain("LLR", 0.2), 7)
    assert nouns.experiment_of(json.loads(json.dumps(to_dict(e)))) == e
    for other in ({"recipe": {}}, to_dict(e) | {"recipe": {"colour": 1}}, to_dict(e) | {"prune": 3}):
        with pytest.raises(ValueError):
            nouns.experiment_of(other)


# ---- under a store ---------------------------------------------------------------------------------------------------


def test_a_study_reads_a_file_under_an_empty_store_and_writes_nothing(results, file, tmp_path):
    kept = Results(Store(tmp_path / "empty", (Archive(file),)))
    assert kept.of(RUNS[0]) == results.of(RUNS[0]) and kept.told(RUNS[-1].recipe) is not None
    assert kept.dense(RUNS[0].recipe, torch.device("cpu")) and not kept.dense(RUNS[-1].recipe, torch.device("cpu"))
    assert kept.store.get("results", "f" * 16) is None and not kept.store.root.exists()


def test_the_stores_own_goes_before_the_file(results, file, tmp_path):
    kept = Results(Store(tmp_path / "there", (Archive(file),)))
    own = replace(results.of(RUNS[0]), provenance={"device": "here"})
    kept.put(RUNS[0], own)
    assert kept.of(RUNS[0]) == own


def test_a_damaged_file_under_a_store_is_named_and_not_used(file, tmp_path):
    file.write_bytes(file.read_bytes()[:-40])
    kept = Results(Store(tmp_path / "there", (Archive(file),)))
    with pytest.warns(UserWarning, match="results.zip is damaged .* restore it"):
        assert kept.of(RUNS[0]) is None


def test_retraining_from_kept_momentum_is_refused_where_there_is_none(tmp_path):
    e = Experiment(Recipe(width=4, epochs=1), Prune(0.5), Retrain("FT", 0.1))
    run_study([e], store=tmp_path / "own", jobs=1)
    own, there = Results(Store(tmp_path / "own")), Store(tmp_path / "there")
    export(own.store, plan(own, Chosen(), []), file := tmp_path / "x.zip")
    take_in(there, Archive(file))
    kept = replace(e, retrain=Retrain("FT", 0.2, optimizer="keep"))
    assert said(lambda: run_study([kept], store=there, jobs=1)).startswith(
        "The dense network comes from a file of results"
    )
    fresh = replace(e, retrain=Retrain("FT", 0.2))
    numbers = [run_study([fresh], store=s, jobs=1).loc[0, "test_loss"] for s in (there, own.store)]
    assert numbers[0] == numbers[1], "all else goes on from it bit for bit"


# ---- files that are not whole ----------------------------------------------------------------------------------------


def rewritten(file: Path, change) -> Path:
    """The file with other members: change(name, content) -> (name, content) or None to leave one out."""
    with zipfile.ZipFile(file) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            if (pair := change(name, content)) is not None:
                new.writestr(*pair)
    return file


def without(name: str):
    return lambda n, c: None if n == name else (n, c)


def with_manifest(file: Path, change) -> Path:
    def each(name, content):
        return (name, json.dumps(change(json.loads(content)))) if name == MANIFEST else (name, content)

    return rewritten(file, each)


def forged(file: Path, change) -> Path:
    """The file with a changed record whose checksums in the manifest are right."""
    sums: dict[str, dict] = {}

    def each(name, content):
        if name == MANIFEST:
            found = json.loads(content)
            return name, json.dumps(found | {"files": sums})
        content = change(name, content)
        sums[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        return name, content

    return rewritten(file, each)


def claiming(file: Path) -> Path:
    """The file with a member whose header claims 8 GiB."""
    raw, size = bytearray(file.read_bytes()), (2**33 - 2**32 - 1).to_bytes(4, "little")
    at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b".safetensors"))
    raw[at + 24 : at + 28] = size
    file.write_bytes(raw)
    return file


def flipped(file: Path, name: str) -> Path:
    raw = bytearray(file.read_bytes())
    raw[raw.index(name.encode()) + len(name) + 20] ^= 4
    file.write_bytes(raw)
    return file


def first(file: Path, kind: str, end: str) -> str:
    return next(n for n in zipfile.ZipFile(file).namelist() if n.startswith(kind) and n.endswith(end))


BROKEN = {
    "a flipped bit of a record": (lambda f: flipped(f, first(f, "results", "json")), "cannot be read"),
    "a flipped bit of weights": (lambda f: flipped(f, first(f, "dense", "safetensors")), "cannot be read"),
    "another content": (
        lambda f: rewritten(f, lambda n, c: (n, c.replace(b"0.5", b"0.9") if n.startswith("results") else c)),
        "not that of its checksum",
    ),
    "another content, with its sum": (
        lambda f: forged(f, lambda n, c: c.replace(b"0.5", b"0.9") if n.startswith("results") else c),
        "not that of its checksum",
    ),
    "a missing member": (lambda f: rewritten(f, without(first(f, "results", "json"))), "is missing"),
    "a path out of the store": (
        lambda f: rewritten(f, lambda n, c: ("../" + n, c) if n.startswith("results") else (n, c)),
        "which is no name of a result",
    ),
    "an absolute path": (
        lambda f: rewritten(f, lambda n, c: ("/" + n, c) if n.startswith("results") else (n, c)),
        "which is no name of a result",
    ),
    "a huge declared size": (claiming, "which it cannot be"),
    "a newer schema": (lambda f: with_manifest(f, lambda m: m | {"schema": 99}), "a newer version of retrainlab"),
    "a newer format": (lambda f: with_manifest(f, lambda m: m | {"version": 2}), "a newer version of retrainlab"),
    "no manifest": (lambda f: rewritten(f, without(MANIFEST)), "no manifest.json"),
    "a manifest of something else": (lambda f: with_manifest(f, lambda m: []), "manifest.json is damaged"),
    "a member that nothing lists": (
        lambda f: with_manifest(f, lambda m: m | {"files": dict(list(m["files"].items())[1:])}),
        "not in its manifest",
    ),
    "half a file": (lambda f: f.write_bytes(f.read_bytes()[: f.stat().st_size // 2]) and f, "no zip file"),
    "a text": (lambda f: f.write_text("results") and f, "no zip file"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_file_that_is_not_whole_is_refused_in_a_sentence_and_changes_nothing(how, file, results, tmp_path, capsys):
    there = Store(tmp_path / "there")
    there.put("0" * 16, dense())
    before, (breaking, words) = everything(there), BROKEN[how]
    breaking(file)
    assert main(["results", "import", str(file), "--store", str(there.root)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "nothing was changed" in error and words in error, error
    assert everything(there) == before
    assert main(["results", "verify", str(file)]) == 1 and "damaged" in capsys.readouterr().out


def resealed(file: Path, name: str, change: Callable[[dict], object]) -> Path:
    """One of its records is changed, and has a seal that fits, as all sums do."""

    def changed(member: str, content: bytes) -> bytes:
        if member != name:
            return content
        record = {k: v for k, v in json.loads(content).items() if k != "sha256"}
        change(record)
        return json.dumps({"sha256": seal.of_record(record)} | record).encode()

    return forged(file, changed)


def test_a_record_under_anothers_name_is_refused(file, tmp_path):
    name = first(file, "results", "json")
    other = resealed(file, name, lambda record: record["config"]["recipe"].update(seed=5))
    words = said(lambda: take_in(Store(tmp_path / "there"), Archive(other)))
    assert f"the settings of {name.removesuffix('.json')} are not those of its name" in words


@pytest.mark.parametrize("kind", LEAST)
def test_a_record_that_lacks_what_tables_need_is_refused(file, tmp_path, kind):
    name = first(file, "results" if kind == "throughput" else kind, "json")
    lost = sorted(LEAST[kind][0])[0]

    def lose(record: dict) -> None:
        del record["scalars"][lost]
        if kind == "throughput":
            del record["config"]["retrain"]

    words = said(lambda: take_in(Store(tmp_path / "there"), Archive(resealed(file, name, lose))))
    assert words.endswith(f" is not taken in, and nothing was changed: {name.removesuffix('.json')} lacks {lost}.")


# ---- the commands ----------------------------------------------------------------------------------------------------


def test_commands_list_show_verify_and_collect(results, file, capsys):
    where, key = ["--store", str(results.store.root)], results.key(RUNS[0])
    assert main(["results", "ls", "--data", "digits", "--seed", "0", *where]) == 0
    out = capsys.readouterr().out
    assert len({len(line) for line in out.splitlines()[:-1]}) == 1
    assert "2 results." in out and key in out and "cuda, somewhere" in out and str(results.store.root) in out
    assert main(["results", "show", key[:10], *where]) == 0
    assert f"results/{key}" in capsys.readouterr().out
    assert main(["results", "show", "zz", *where]) == 2
    assert main(["results", "verify", *where]) == 0
    path = results.store.path("results", key)
    path.write_text(path.read_text().replace("0.5", "0.6"))
    capsys.readouterr()
    assert main(["results", "verify", *where]) == 1
    assert f"damaged: results/{key}" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="Damaged"):
        assert results.of(RUNS[0]) is None
    old = results.store.root / "dense" / ".x.json.12345678.tmp"
    old.write_text("half")
    os.utime(old, (0, 0))
    stale = results.store.root / "checkpoints" / f"{results.key(RUNS[0].recipe)}-0.safetensors"  # of a finished run
    stale.parent.mkdir()
    stale.touch()
    for flag, words in (["--dry-run"], "3 files would be removed"), ([], "3 files removed"), ([], "0 files removed"):
        assert main(["results", "gc", *where, *flag]) == 0 and words in capsys.readouterr().out
    assert len(everything(results.store)) == 11


def test_export_says_its_size_before_it_writes(results, tmp_path, capsys):
    path = tmp_path / "out.zip"
    asked = ["results", "export", str(path), "--store", str(results.store.root), "--weights", "0", "1"]
    assert main(asked) == 0
    out, error = capsys.readouterr()
    told = float(error.split("at most ")[1].split()[0]) * 1e6
    assert "4 results, 2 dense runs (2 with tensors), 2 prunes (2 with tensors)" in error and str(path) in out
    with zipfile.ZipFile(path) as made:
        assert sum(i.file_size for i in made.infolist() if i.filename != MANIFEST) <= told + 5e3
    assert main(["results", "export", str(tmp_path / "no" / "x.zip")]) == 2
    capsys.readouterr()
    one = ["--seed", "0", "--schedule", "LLR", "--store", str(results.store.root)]
    assert main(["results", "export", str(tmp_path / "one.zip"), "--weights", "0", *one]) == 0
    assert "1 result, 1 dense run (1 with tensors), 1 prune (1 with tensors)" in capsys.readouterr().err


def test_what_comes_with_the_project_is_whole():
    for archive in shipped():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert sum(1 for _ in archive.every()) == len(archive.names()) > 0


def test_a_folder_or_a_pipe_in_the_place_of_a_file_under_a_store_is_named_and_not_used(tmp_path):
    """Pitfall: a pipe that nobody writes to is waited for."""
    (tmp_path / "folder.zip").mkdir()
    os.mkfifo(tmp_path / "pipe.zip")
    for name in ("folder.zip", "pipe.zip"):
        with pytest.warns(UserWarning, match="is damaged .* and not used"):
            assert Store(tmp_path / "store", (Archive(tmp_path / name),)).get("results", "0" * 16) is None
