"""A narrow layer by hand: what it reads, what it adds and where it puts its outputs."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrainlab.narrow import Narrow, put, resize


def numbers(*values):
    return torch.tensor(values)


def test_a_linear_layer_reads_adds_and_spreads_along_the_last_dimension():
    layer = nn.Linear(2, 2)
    resize(layer, {"weight": numbers([1.0, 2.0], [3.0, 4.0]), "bias": numbers(0.0, 10.0)})
    narrow = Narrow(layer, numbers(2, 0), numbers([100.0, 200.0]), numbers(0, 2), numbers(-1.0, -2.0, -3.0))
    out = narrow(numbers([[1.0, 9.0, 2.0]]).expand(4, 5, 3))  # [4, 5 tokens, 3]: reads 2, then 1
    assert out.shape == (4, 5, 3)
    assert torch.equal(out, numbers(1 * 2 + 2 * 1 + 100.0, -2, 3 * 2 + 4 * 1 + 10 + 200.0).expand(4, 5, 3))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_convolution_does_along_the_first(dimensions):
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    layer = kind(1, 1, 1, bias=False)
    resize(layer, {"weight": torch.full([1, 1, *[1] * dimensions], 2.0)})
    size = (5, 4, 3)[:dimensions]
    offset = torch.arange(5.0).view(1, 1, 5, *[1] * (dimensions - 1)).expand(1, 1, *size)
    narrow = Narrow(layer, numbers(1), offset, numbers(1), numbers(7.0, 8.0))
    images = torch.randn(6, 3, *size)
    out = narrow(images)
    assert torch.equal(out[:, 1:], 2 * images[:, 1:2] + offset) and out[:, 0].eq(7).all()


def test_a_norm_only_spreads():
    norm = nn.BatchNorm2d(2).eval()
    narrow = Narrow(norm, None, None, numbers(2, 0), numbers(5.0, 6.0, 7.0))
    images = torch.randn(4, 2, 3, 3)
    out = narrow(images)
    assert torch.equal(out[:, [2, 0]], norm(images)) and out[:, 1].eq(6).all()
    assert set(narrow.state_dict()) == {f"layer.{n}" for n in norm.state_dict()} | {"places", "constants"}


@pytest.mark.parametrize(
    ("layer", "tensors", "sizes"),
    [
        (nn.Linear(5, 4), {"weight": torch.ones(3, 2), "bias": torch.ones(3)}, dict(in_features=2, out_features=3)),
        (
            nn.Conv2d(5, 4, 3),
            {"weight": torch.ones(3, 2, 3, 3), "bias": torch.ones(3)},
            dict(in_channels=2, out_channels=3),
        ),
        (nn.Conv2d(6, 6, 3, groups=6), {"weight": torch.ones(6, 1, 3, 3)}, dict(in_channels=6, out_channels=6)),
        (
            nn.BatchNorm2d(5, affine=False),
            {"running_mean": torch.ones(3), "running_var": torch.ones(3)},
            dict(num_features=3),
        ),
        (nn.BatchNorm1d(5), {"weight": torch.ones(3), "running_mean": torch.ones(3)}, dict(num_features=3)),
    ],
)
def test_a_layer_knows_its_new_sizes(layer, tensors, sizes):
    resize(layer, tensors)
    assert {name: getattr(layer, name) for name in sizes} == sizes
    assert all(torch.equal(layer.state_dict()[name], t) for name, t in tensors.items())
    assert {n for n, _ in layer.named_parameters()} >= tensors.keys() & {"weight", "bias"}


def test_a_layer_without_a_bias_can_get_one():
    layer = nn.Conv2d(2, 2, 1, bias=False)
    resize(layer, {"weight": torch.zeros(2, 2, 1, 1), "bias": numbers(3.0, 4.0)})
    assert torch.equal(layer(torch.ones(1, 2, 1, 1)).flatten(), numbers(3.0, 4.0)) and "bias" in layer.state_dict()


def test_a_module_is_replaced_wherever_it_stands():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Sequential(nn.ReLU())})
    model["b"].append(model["a"])
    new = nn.Identity()
    put(model, model["a"], new)
    assert model["a"] is new and model["b"][1] is new


def test_copies_and_other_types_go_on():
    narrow = Narrow(nn.Linear(2, 1), numbers(0, 2), None, numbers(1), numbers(7.0, 0.0)).double()
    images = torch.randn(4, 3).double()
    out = copy.deepcopy(narrow)(images)
    assert narrow.read.dtype == torch.int64 and out.dtype == torch.float64
    assert torch.equal(out[:, 1:], F.linear(images[:, [0, 2]], narrow.layer.weight, narrow.layer.bias))
