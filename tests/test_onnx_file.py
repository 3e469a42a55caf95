"""A network as ONNX: another program finds its scores, and a file that does not hold the network is not kept."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from retrainlab import onnx_file
from retrainlab.onnx_file import content
from tests.helpers.networks import Looking, randomised, transformer
from tests.helpers.refusals import said

onnx = pytest.importorskip("onnx", reason="pip install 'retrainlab[onnx]'")
SHAPE = (3, 8, 8)


def inputs(count: int) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(count))


def test_another_program_finds_the_scores_that_torch_finds_for_any_number_of_inputs():
    """By onnx's own evaluator, which is not the runtime that the file was checked with."""
    from onnx.reference import ReferenceEvaluator

    model = randomised(transformer(SHAPE, 3)).train()
    with torch.no_grad():
        for weight in (p for p in model.parameters() if p.dim() > 1):
            weight[weight.abs() < weight.abs().median()] = 0
    file = onnx.load_from_string(content(model, inputs(5)))
    assert model.training and [i.name for i in file.graph.input] == ["input"]
    for count in (1, 7):
        found = ReferenceEvaluator(file).run(None, {"input": inputs(count).numpy()})[0]
        with torch.no_grad():
            wanted = model.eval()(inputs(count)).numpy()
        assert np.allclose(found, wanted, atol=1e-5)
        model.train()
    held = [onnx.numpy_helper.to_array(t) for t in file.graph.initializer]
    zeros = sum(int((t == 0).sum()) for t in held if t.ndim > 1)
    assert zeros >= sum(int((p == 0).sum()) for p in model.parameters() if p.dim() > 1)


def test_a_file_that_gives_other_scores_is_refused(monkeypatch):
    """Pitfall: an exporter that writes the network as it trains, or leaves a layer out."""
    import onnxruntime

    class Other(onnxruntime.InferenceSession):
        def run(self, *asked):
            return [1.001 * x for x in super().run(*asked)]

    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    monkeypatch.setattr(onnxruntime, "InferenceSession", Other)
    assert "other scores than torch: they differ by" in said(lambda: content(plain, inputs(4)))
    nn.init.constant_(plain[1].weight, torch.nan)
    assert "other scores than torch" in said(lambda: content(plain, inputs(4)))


def test_a_network_that_cannot_be_written_is_refused_without_pages_of_log(capfd):
    words = said(lambda: content(Looking(SHAPE, 3), inputs(4)))
    assert "torch cannot write this network as ONNX" in words and "data-dependent" in words
    assert capfd.readouterr().err == ""


def test_without_the_packages_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None if name == "onnxscript" else sys)
    assert "onnxscript cannot be found; pip install 'retrainlab[onnx]'" in said(onnx_file.needed)
