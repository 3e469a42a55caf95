"""`retrainlab pack` and `unpack`: what is written is what is stated, every bit comes back, and nothing is half written."""

import gzip
import json
from collections import OrderedDict

import pytest
import safetensors.torch
import torch

from retrainlab import Experiment, Prune, Recipe, Retrain, study
from retrainlab.cli import main
from retrainlab.models import build
from retrainlab.study.results import Results
from retrainlab.training.engine import Engine
from tests.helpers.bits import same

SETTINGS = ["--width", "4", "--epochs", "2", "--sparsity", "0.8", "--budget", "0.5", "--jobs", "1"]
EXPERIMENT = Experiment(Recipe(width=4, epochs=2), Prune(0.8), Retrain("LLR", 0.5))


def refused(arguments, capsys) -> str:
    """The one sentence of a command that must end with exit code 2, and leave no file behind."""
    assert main(list(map(str, arguments))) == 2
    error = capsys.readouterr().err
    assert error.startswith("retrainlab: ") and "Traceback" not in error and error.count("\n") == 1
    return error


def said(arguments, capsys) -> str:
    assert main(list(map(str, arguments))) == 0
    return capsys.readouterr().out


@pytest.fixture
def network(tmp_path):
    """A pruned mlp's tensors, and the file of them."""
    tensors = {name: t.clone() for name, t in build("mlp", shape=(1, 8, 8), classes=10).state_dict().items()}
    for name, t in tensors.items():
        if t.dim() > 1:
            tensors[name] = t.masked_fill(t.abs() < t.abs().quantile(0.9), 0)
    safetensors.torch.save_file(tensors, tmp_path / "net.safetensors")
    torch.save(OrderedDict(tensors), tmp_path / "net.pt")
    return tensors


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".pth"])
def test_weights_are_packed_and_come_back_bit_for_bit(network, ending, capsys, tmp_path):
    given = tmp_path / ("net.safetensors" if ending == ".safetensors" else "net.pt")
    words = said(["pack", tmp_path / "net.packed", "--weights", given], capsys)
    size = (tmp_path / "net.packed").stat().st_size
    assert words.startswith(f"{tmp_path / 'net.packed'}: {size:,} bytes (bitmask, gzipped), ")
    said(["unpack", tmp_path / "net.packed", tmp_path / f"back{ending}"], capsys)
    back = tmp_path / f"back{ending}"
    read = safetensors.torch.load_file if ending == ".safetensors" else lambda p: torch.load(p, weights_only=True)
    assert same(read(back), network)
    build("mlp", shape=(1, 8, 8), classes=10).load_state_dict(read(back))
    if ending == ".safetensors":
        assert f"({back.stat().st_size:,} bytes)" in words, "the ratio is to what unpack writes"
        assert f" {back.stat().st_size / size:.2f} times smaller" in words
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_network_of_an_experiment_is_packed_in_as_many_bytes_as_its_result_says(capsys, tmp_path):
    words = said(["pack", tmp_path / "net.packed", *SETTINGS], capsys)
    [row] = study.run_study([EXPERIMENT], jobs=1).to_dict("records")
    size = (tmp_path / "net.packed").stat().st_size
    assert size == row["packed_bytes"] and f": {size:,} bytes" in words and "stored result" not in words
    assert f" {row['compression_ratio']:.2f} times smaller than the network as it was" in words
    said(["unpack", tmp_path / "net.packed", tmp_path / "net.safetensors"], capsys)
    assert (tmp_path / "net.safetensors").stat().st_size == row["unpacked_bytes"]
    result, state = Results.at("").network(EXPERIMENT, torch.device("cpu"), Engine())
    assert same(safetensors.torch.load_file(tmp_path / "net.safetensors"), state.params | state.buffers)
    assert result.scalars["test_accuracy"] == row["test_accuracy"]
    words = said(["pack", tmp_path / "half.packed", "--half", *SETTINGS], capsys)
    size = (tmp_path / "half.packed").stat().st_size
    assert size == row["unpacked_bytes"] / row["compression_ratio_bfloat16"] and "rounded to bfloat16" in words
    said(["unpack", tmp_path / "half.packed", tmp_path / "half.safetensors"], capsys)
    half = safetensors.torch.load_file(tmp_path / "half.safetensors")
    assert same(
        half, {n: t.bfloat16() if t.is_floating_point() else t for n, t in (state.params | state.buffers).items()}
    )


def test_a_result_of_another_number_of_bytes_is_told(capsys, tmp_path):
    study.run_study([EXPERIMENT], jobs=1)
    [path] = (tmp_path / "store" / "results").glob("*.json")
    record = json.loads(path.read_text())
    del record["sha256"]
    record["curves"]["bytes"] = {name: 99 for name in record["curves"]["bytes"]}
    path.write_text(json.dumps(record))
    words = said(["pack", tmp_path / "net.packed", *SETTINGS], capsys)
    assert f": {(tmp_path / 'net.packed').stat().st_size:,} bytes" in words
    assert "The stored result says 99 bytes: another engine or machine has made it" in words


def test_a_network_that_has_diverged_is_not_packed(capsys, tmp_path):
    wild = ["--schedule", "constant", "--lr", "1e30"]
    assert main(["pack", str(tmp_path / "net.packed"), *SETTINGS, *wild]) == 2
    assert "There is no network to pack (diverged: retraining, cycle 1" in capsys.readouterr().err
    assert not (tmp_path / "net.packed").exists()


def test_zeros_with_a_sign_are_told(network, capsys, tmp_path):
    """Pitfall: a mask by product leaves -0 for every negative weight, and the file is twice as large."""
    w = next(t for t in network.values() if t.dim() > 1)
    torch.save({"fc.weight": -w}, tmp_path / "minus.pt")
    count = int((w == 0).sum())
    words = said(["pack", tmp_path / "net.packed", "--weights", tmp_path / "minus.pt"], capsys)
    assert f"{count:,} of its weights are -0" in words and "masked_fill" in words
    said(["unpack", tmp_path / "net.packed", tmp_path / "back.pt"], capsys)
    assert same(torch.load(tmp_path / "back.pt"), {"fc.weight": -w})


def test_what_is_there_is_replaced_and_a_link_stays_one(network, capsys, tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    said(["pack", tmp_path / "link", "--weights", tmp_path / "net.pt"], capsys)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "old").read_bytes()[:2] == b"\x1f\x8b"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["pack", "no/folder/net.packed", "--weights", "net.pt"], ["The packed file cannot be written", "net.packed"]),
        (["pack", "net.packed", "--weights", "none.pt"], ["none.pt cannot be read (No such file"]),
        (["pack", "net.packed", "--weights", "folder.pt"], ["folder.pt cannot be read (Is a directory"]),
        (["pack", "net.packed", "--weights", "net.txt"], ["net.txt must be a file whose name ends in .safetensors, .pt"]),
        (["pack", "net.packed", "--weights", "text.pt"], ["text.pt is damaged, or no file of weights"]),
        (["pack", "net.packed", "--weights", "text.safetensors"], ["text.safetensors is damaged, or no file of weights"]),
        (["pack", "net.packed", "--weights", "module.pt"], ["module.pt is damaged", "weights (Weights only load failed);"]),
        (["pack", "net.packed", "--weights", "nested.pt"], ["nested.pt holds no tensors by name", "state_dict()"]),
        (["pack", "net.packed", "--weights", "numbered.pt"], ["numbered.pt holds no tensors by name"]),
        (["pack", "net.packed", "--weights", "complex.pt"], ["'w' is of type complex128"]),
        (["pack", "net.packed", "--weights", "net.pt", "--epochs", "3", "--batch-size", "8"],
         ["Leave --epochs, --batch-size out", "--weights"]),
        (["pack", "net.packed", "--sparsity", "2"], ["2.0", "at most 1"]),
        (["unpack", "net.safetensors", "back.pt"], ["net.safetensors holds tensors, but was not written by"]),
        (["unpack", "text.pt", "back.pt"], ["text.pt is damaged, or was not written by"]),
        (["unpack", "none", "back.pt"], ["none cannot be read (No such file"]),
        (["unpack", "cut", "back.pt"], ["cut is damaged, or was not written by"]),
        (["unpack", "flipped", "back.pt"], ["flipped is damaged, or was not written by"]),
        (["unpack", "newer", "back.pt"], ["newer was packed by a newer version"]),
        (["unpack", "whole", "back.onnx"], ["back.onnx must be a file whose name ends in"]),
        (["unpack", "whole", "no/back.pt"], ["The weights cannot be written to"]),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_sentence_and_leaves_no_file(arguments, words, network, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("text.pt", "text.safetensors", "net.txt"):
        (tmp_path / name).write_text("a text")
    (tmp_path / "folder.pt").mkdir()
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    torch.save({"state_dict": network}, "nested.pt")
    torch.save({0: torch.ones(2)}, "numbered.pt")
    torch.save({"w": torch.ones(2, dtype=torch.complex128)}, "complex.pt")
    said(["pack", "whole", "--weights", "net.pt"], capsys)
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    plain = bytearray(gzip.decompress(content))
    plain[-1] ^= 1
    (tmp_path / "flipped").write_bytes(plain)
    (tmp_path / "newer").write_bytes(gzip.decompress(content).replace(b'"packed":"1"', b'"packed":"2"'))
    before = sorted(path.name for path in tmp_path.iterdir())
    sentence = refused(arguments, capsys)
    assert all(word in sentence for word in words), sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_what_cannot_be_written_leaves_the_old_file_as_it_was(network, capsys, tmp_path, monkeypatch):
    (tmp_path / "net.packed").write_text("old")

    def full(path, fill):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("retrainlab.weights.write_whole", full)
    assert "No space left" in refused(["pack", tmp_path / "net.packed", "--weights", tmp_path / "net.pt"], capsys)
    assert (tmp_path / "net.packed").read_text() == "old"
