"""Weights come back: plain state_dicts with zeros in place, from a run and from what is stored."""

import pytest
import safetensors.torch
import torch
from torch import nn

from retrainlab import Experiment, Prune, Recipe, Retrain, models, onnx_file, run
from retrainlab.checks import BadInput
from retrainlab.cli import main
from retrainlab.data.dataset import load
from retrainlab.models import build
from retrainlab.study import run_study
from retrainlab.study.results import Results

E = Experiment(Recipe(model="mlp", width=12, epochs=8), Prune(0.7), Retrain("LLR", 0.5))


def accuracy(weights) -> float:
    data = load("digits")
    model = build("mlp", shape=data.shape, classes=data.classes, width=12, seed=7)
    model.load_state_dict(weights, strict=True)
    with torch.no_grad():
        scores = model.eval()(data.normalise(data.test.images))
    return (scores.argmax(1) == data.test.labels).float().mean().item()


def share_of_zeros(weights) -> float:
    prunable = [w for name, w in weights.items() if name.endswith("weight")]
    return sum(int((w == 0).sum()) for w in prunable) / sum(w.numel() for w in prunable)


def test_a_run_that_keeps_its_network_gives_it_as_a_plain_state_dict():
    kept = run(E, keep=True)
    weights = kept.weights()
    assert accuracy(weights) == pytest.approx(kept.scalars["test_accuracy"], abs=1e-6)
    assert share_of_zeros(weights) == pytest.approx(kept.scalars["sparsity_achieved"], abs=1e-9)
    assert abs(kept.scalars["sparsity_achieved"] - 0.7) < 1e-3
    plain = run(E)
    assert plain.scalars["test_accuracy"] == kept.scalars["test_accuracy"]
    with pytest.raises(BadInput, match="keep=True"):
        plain.weights()


def test_tied_weights_have_all_their_names_and_non_persistent_buffers_none():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(2, 2), nn.Linear(2, 2)
            self.other.weight = self.one.weight
            self.norm = nn.BatchNorm1d(2)
            self.register_buffer("scratch", torch.zeros(3), persistent=False)

    model = Net()
    tensors = {n: torch.full_like(t, 3) for n, t in [*model.named_parameters(), *model.named_buffers()]}
    found = models.state_dict(model, tensors)
    assert list(found) == list(model.state_dict()) and "scratch" not in found
    assert all((t == 3).all() for t in found.values())
    model.load_state_dict(found, strict=True)


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_the_network_of_a_stored_result_is_written_by_its_name(ending, capsys, tmp_path):
    row = run_study([E], jobs=1, device="cpu").iloc[0]
    file = tmp_path / f"net{ending}"
    assert main(["weights", row["key"][:12], str(file), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith(f"{file}: 6 tensors of mlp on digits; sparsity 70 %, test accuracy")
    weights = safetensors.torch.load_file(file) if ending == ".safetensors" else torch.load(file, weights_only=True)
    assert accuracy(weights) == pytest.approx(row["test_accuracy"], abs=0.01)
    assert share_of_zeros(weights) == pytest.approx(row["sparsity_achieved"], abs=1e-9)


def test_the_network_of_a_stored_result_is_written_as_onnx(capsys, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="pip install 'retrainlab[onnx]'")
    row = run_study([E], jobs=1, device="cpu").iloc[0]
    file = tmp_path / "net.onnx"
    assert main(["weights", row["key"], str(file), "--device", "cpu"]) == 0
    assert "the whole network, whose scores ONNX Runtime finds as torch does" in capsys.readouterr().out
    data = load("digits")
    images = data.normalise(data.test.images).numpy()
    [scores] = runtime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"input": images})
    right = (torch.from_numpy(scores).argmax(1) == data.test.labels).float().mean().item()
    assert right == pytest.approx(row["test_accuracy"], abs=0.01)
    assert [path.name for path in tmp_path.glob("*net*")] == ["net.onnx"]


def test_nothing_is_written_of_a_network_that_onnx_does_not_hold(capsys, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="pip install 'retrainlab[onnx]'")
    key = run_study([E], jobs=1, device="cpu").iloc[0]["key"]
    monkeypatch.setattr(onnx_file, "ROUNDING", -1)
    assert main(["weights", key, str(tmp_path / "net.onnx"), "--device", "cpu"]) == 2
    assert "other scores than torch" in capsys.readouterr().err and not list(tmp_path.glob("*net*"))
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    assert main(["weights", key, str(tmp_path / "net.onnx")]) == 2
    assert "pip install 'retrainlab[onnx]'" in capsys.readouterr().err


def test_the_network_before_any_prune_is_written_as_it_is_stored(capsys, tmp_path):
    row = run_study([E], jobs=1, device="cpu").iloc[0]
    key = Results.at().key(E.recipe)
    assert main(["weights", key, str(tmp_path / "net.pt"), "--device", "cpu"]) == 0
    assert "before any prune" in capsys.readouterr().out
    weights = torch.load(tmp_path / "net.pt", weights_only=True)
    assert accuracy(weights) == pytest.approx(row["dense_test_accuracy"], abs=1e-6)


def test_what_cannot_be_written_is_refused_in_a_sentence(capsys, tmp_path):
    key = run_study([E], jobs=1, device="cpu").iloc[0]["key"]
    for arguments, words in (
        ([key, "net.txt"], "ends in .safetensors"),
        (["zzz", "net.pt"], "there is none"),
        ([key, str(tmp_path / "no" / "net.pt")], "cannot be written"),
    ):
        assert main(["weights", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*.pt"))
