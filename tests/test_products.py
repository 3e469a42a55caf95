"""The vectors that weights are multiplied with: with them, each layer's outputs come out again."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrainlab.products import CONVOLUTIONS, Product, Products, patches
from tests.helpers.attentive import Attentive


def draw(*shape):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5


CASES = [
    dict(stride=1, padding=1, dilation=1, groups=1),
    dict(stride=2, padding=0, dilation=2, groups=1),
    dict(stride=3, padding=2, dilation=1, groups=2),
    dict(stride=2, padding=1, dilation=1, groups=4),  # depthwise
    dict(stride=1, padding="same", dilation=2, groups=2),
    dict(stride=1, padding="valid", dilation=1, groups=1),
]


@pytest.mark.parametrize("dimensions", (1, 2, 3))
@pytest.mark.parametrize("how", CASES)
def test_patches_times_filters_are_the_convolution(dimensions, how):
    sizes = (3, 2, 3)[:dimensions]
    images, weight = draw(2, 4, *(9, 8, 7)[:dimensions]), draw(8, 4 // how["groups"], *sizes)
    out = CONVOLUTIONS[dimensions - 1](images, weight, **how)
    vectors = patches(images, weight, None, **how)
    assert vectors.shape == (how["groups"], out.numel() // 8, weight[0].numel())
    rows = weight.flatten(1).unflatten(0, (how["groups"], -1))
    own = (vectors @ rows.mT).movedim(0, 1).flatten(1)  # [images * positions, filters]
    torch.testing.assert_close(own.unflatten(0, (2, *out.shape[2:])).movedim(-1, 1), out)


def test_patches_of_each_dimension_have_its_own_stride_and_padding():
    images, weight = draw(2, 3, 8, 7), draw(2, 3, 3, 2)
    how = dict(stride=(2, 1), padding=(0, 2), dilation=(1, 3))
    out = F.conv2d(images, weight, **how)
    own = patches(images, weight, **how)[0] @ weight.flatten(1).T
    torch.testing.assert_close(own.unflatten(0, (2, *out.shape[2:])).movedim(-1, 1), out)


def test_patches_are_those_of_unfold():
    images, weight = draw(2, 3, 6, 5), draw(4, 3, 3, 3)
    torch.testing.assert_close(patches(images, weight, padding=1)[0], F.unfold(images, 3, padding=1).mT.flatten(0, 1))


def products_of(model, images) -> list[Product]:
    found = []
    with torch.no_grad(), Products(dict(model.named_parameters()), found.append):
        model.eval()(images)
    return found


def outputs(model, images) -> dict:
    """What the network's layers give, by name."""
    seen = {}
    for name, layer in model.named_modules():
        layer.register_forward_hook(lambda _, __, out, name=name: seen.setdefault(name, out))
    model.eval()(images)
    return seen


def test_attention_is_a_product_for_each_projection_and_one_for_what_comes_out():
    """Pitfall: attention reads the weights of its layers without calling them, so that hooks see none of them."""
    torch.manual_seed(0)
    model, images = Attentive().double(), draw(2, 3, 8, 8)
    seen, found = outputs(model, images), products_of(model, images)
    for attention in ("among", "looks"):
        layer = getattr(model, attention)
        [last] = [p for p in found if p.name == f"{attention}.out_proj.weight"]
        own = F.linear(last.vectors()[0], layer.out_proj.weight, layer.out_proj.bias)
        whole = seen[attention][0]
        torch.testing.assert_close(own, whole.transpose(0, 1).flatten(0, 1))
    packed = [p for p in found if p.name == "among.in_proj_weight"]
    assert [(p.rows.start, p.rows.stop) for p in packed] == [(0, 8), (8, 16), (16, 24)]
    assert all(torch.equal(p.vectors(), packed[0].vectors()) for p in packed)
    assert {p.name for p in found if p.name.startswith("looks")} == {
        *(f"looks.{letter}_proj_weight" for letter in "qkv"),
        "looks.out_proj.weight",
    }
    raw = model.raw(images).transpose(1, 2)
    [keys] = [p for p in found if p.name == "looks.k_proj_weight"]
    torch.testing.assert_close(keys.vectors()[0].unflatten(0, (4, 2)).transpose(0, 1), raw)


def test_only_the_weights_that_are_given_are_seen_each_time_they_are_used():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 2))
    found = []
    with Products({"a": shared.weight}, found.append):
        model(draw(3, 4).float())
    assert [(p.name, p.count) for p in found] == [("a", 3), ("a", 3)]
