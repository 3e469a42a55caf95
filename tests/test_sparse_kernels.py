"""Which layers run on a GPU's kernels for 2:4 sparsity, and that they compute the same."""

import pytest
import torch
from torch.func import functional_call

from retrainlab import sparse_kernels
from retrainlab.checks import BadInput
from retrainlab.layers import prunable
from retrainlab.models import build
from tests.helpers.pruning import prune


def two_of_four(device="cpu"):
    """An MLP of 64 -> 192 -> 64 -> 10 whose first two layers have sizes for the kernels, its tensors, masks at 2:4."""
    model = build("mlp", shape=(1, 8, 8), classes=10, width=192).to(device)
    params = {n: p.detach().clone() for n, p in model.named_parameters()}
    return model, params, {}, prune({n: params[n] for n in prunable(model)}, 0.5, structure="n:m")


def test_a_device_without_kernels_is_refused_in_one_sentence():
    with pytest.raises(BadInput) as caught:
        sparse_kernels.semi_structured(*two_of_four())
    assert str(caught.value) == (
        "Kernels for 2:4 sparsity need an NVIDIA GPU of compute capability 8.0 or above, but this network is on 'cpu'; "
        "move it to such a GPU, or measure whole filters with `shrink.speedup`."
    )


@pytest.mark.parametrize(("capability", "has"), [((7, 5), False), ((8, 0), True), ((9, 0), True), ((12, 0), True)])
def test_kernels_start_with_ampere(monkeypatch, capability, has):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert sparse_kernels.has_sparse_kernels(torch.device("cuda", 0)) is has
    assert not sparse_kernels.has_sparse_kernels(torch.device("cpu"))


@pytest.mark.parametrize(
    ("size", "zeros", "fits"),
    [
        ((32, 64), [0, 1], True),
        ((32, 64), [0, 1, 2], True),
        ((32, 64), [3], False),
        ((32, 64), [], False),
        ((16, 64), [0, 1], False),
        ((32, 32), [0, 1], False),
        ((96, 192), [1, 3], True),
    ],
)
def test_which_weights_the_kernels_take(size, zeros, fits):
    weight = torch.ones(size)
    for place in zeros:
        weight[:, place::4] = 0
    assert sparse_kernels.fits_2_of_4(weight) is fits
    if fits:
        weight[5, 8:12] = 1
        assert not sparse_kernels.fits_2_of_4(weight)


def test_only_layers_that_fit_are_converted(monkeypatch):
    """Without a GPU: what would be handed to torch's kernels."""
    monkeypatch.setattr(sparse_kernels, "has_sparse_kernels", lambda device: True)
    handed = []
    monkeypatch.setattr(
        sparse_kernels, "to_sparse_semi_structured", lambda weight: handed.append(weight.clone()) or weight
    )
    model, params, buffers, masks = two_of_four()
    before = {n: p.clone() for n, p in params.items()}
    fast = sparse_kernels.semi_structured(model, params, buffers, masks)
    expected = [(params[n] * masks[n]).half() for n in ("layer1.weight", "layer2.weight")]
    assert len(handed) == 2 and all(torch.equal(a, b) for a, b in zip(handed, expected))
    assert fast.classifier.weight.dtype == torch.float16 and not fast.training
    assert all(torch.equal(params[n], before[n]) for n in before) and model.layer1.weight.dtype == torch.float32
    dense = {n: torch.ones_like(m) for n, m in masks.items()}
    with pytest.raises(BadInput, match="No Linear layer of this network is both 2:4 sparse and a multiple of 32x64"):
        sparse_kernels.semi_structured(model, params, buffers, dense)


@pytest.mark.skipif(
    not (torch.cuda.is_available() and sparse_kernels.has_sparse_kernels(torch.device("cuda"))),
    reason="needs an NVIDIA GPU of compute capability 8.0 or above",
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sparse_kernels_compute_the_same(dtype):
    model, params, buffers, masks = two_of_four("cuda")
    fast = sparse_kernels.semi_structured(model, params, buffers, masks, dtype)
    assert type(fast.layer1.weight.data).__name__.startswith("SparseSemiStructured")
    images = torch.randn(64, 1, 8, 8, device="cuda")
    masked = params | {n: params[n] * m for n, m in masks.items()}
    with torch.no_grad():
        expected = functional_call(model, (masked, buffers), (images,))
        assert (fast(images.to(dtype)).float() - expected).abs().max() < 0.05 * expected.abs().max()
