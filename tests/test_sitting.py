"""One command on a borrowed machine: what it computes first, and that all of it comes home."""

import io
import os
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import sitting

from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.figures.presets import preset
from retrainlab.study.archive import Archive, shipped
from retrainlab.study.imports import take_in
from retrainlab.study.results import Results
from retrainlab.study.store import Store

TINY = [Experiment(Recipe(width=4, epochs=1), Prune(0.5), Retrain(name, 0.1)) for name in ("FT", "LLR")]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Sittings of two short runs, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sitting, "parts", lambda settings: iter([sitting.Part("two runs", TINY)]))
    monkeypatch.delenv("RETRAINLAB_DATA", raising=False)


def test_published_cells_come_first_with_all_their_seeds():
    first, second, *others = sitting.parts(preset("cifar10"))
    cells = {(e.retrain.schedule, round(182 * e.retrain.budget), e.prune.sparsity) for e in first.experiments}
    assert cells == {(name, epochs, 0.8926) for name in ("FT", "LLR") for epochs in (10, 30, 90)}
    assert {e.recipe.seed for e in first.experiments} == {0, 1, 2} and len(first.experiments) == 18
    high = {(e.retrain.schedule, round(182 * e.retrain.budget), e.prune.sparsity) for e in second.experiments}
    assert high == {(name, 10, sparsity) for name in ("FT", "LLR") for sparsity in (0.95, 0.98)}
    assert {e.recipe for p in (first, second) for e in p.experiments} <= {e.recipe for e in others[0].experiments}
    assert [part.name for part in sitting.parts(preset("smoke"))] == ["figure 3", "figure 4"]


def test_what_the_project_ships_is_known_to_the_first_part(tmp_path):
    assert shipped(), "results/ holds what a GPU has computed"
    results, first = Results(Store(tmp_path, shipped())), next(sitting.parts(preset("cifar10")))
    there = [e for e in first.experiments if results.of(e) is not None]
    assert {round(182 * e.retrain.budget) for e in there} >= {10} and len(there) >= 6


def test_a_sitting_brings_home_what_is_new_and_no_more(tiny, capsys):
    asked = ["--minutes", "2", "--preset", "smoke", "--device", "cpu", "--output"]
    assert sitting.main([*asked, "first.zip"]) == 0
    assert "two runs: 2 of 2 runs are there" in capsys.readouterr().err
    home = Results(Store(Path("home")))
    taken = take_in(home.store, Archive(Path("first.zip")))
    assert sorted(kind for kind, _ in taken.new) == ["dense", "pruned", "results", "results"]
    assert all(home.of(e) is not None for e in TINY) and home.store.get("dense", home.key(TINY[0].recipe))
    assert sitting.main([*asked, "second.zip", "--store", "elsewhere", "--results", "first.zip"]) == 0
    assert "Nothing is new" in capsys.readouterr().out and not Path("second.zip").exists()


def archive(path: str, member: str) -> str:
    with tarfile.open(path, "w:gz") as out:
        info = tarfile.TarInfo(member)
        info.size = 3
        out.addfile(info, io.BytesIO(b"abc"))
    return path


def test_data_may_be_a_folder_or_an_archive(tiny):
    assert sitting.unpacked(".", Path("out")) == Path(".")
    assert sitting.unpacked(archive("data.tar.gz", "cifar-10-batches-py/x"), Path("out")) == Path("out")
    assert Path("out/cifar-10-batches-py/x").read_bytes() == b"abc"
    for bad in (archive("bad.tar.gz", "../outside"), "nothing.tar.gz"):
        with pytest.raises(BadInput, match="is no folder of data sets and no tar archive"):
            sitting.unpacked(bad, Path("out"))
    assert not os.path.exists("outside")


@pytest.mark.parametrize(
    "wrong", [["--minutes", "0"], ["--minutes", "1", "--preset", "mnist"], ["--minutes", "1", "--results", "none.zip"]]
)
def test_bad_input_is_one_sentence_before_any_work(tiny, wrong, capsys):
    assert sitting.main([*wrong, "--output", "new.zip"]) == 2
    assert (
        capsys.readouterr().err.count("\n") == 1 and not Path("new.zip").exists() and not Path("sitting-store").exists()
    )
