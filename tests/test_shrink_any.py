"""Shrunken networks of every architecture: the masked one's outputs, smaller where it can be, and what cannot is named."""

import copy
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from retrainlab import metrics
from retrainlab.checks import BadInput
from retrainlab.influence import LAYERS, hidden
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.narrow import Narrow, rebuilt
from retrainlab.shrink import masked_copy, shrink
from tests.helpers.attentive import Attentive
from tests.helpers.networks import (
    Classifier,
    Depthwise,
    Encoder,
    Looking,
    Rotated,
    Shuffled,
    Tied,
    Tokens,
    TwoBranches,
    Untraceable,
    randomised,
    transformer,
)

SHAPE = (3, 8, 8)
OURS = {
    name: (lambda name=name, width=width: build(name, shape=SHAPE, classes=5, width=width))
    for name, width in (("mlp", 12), ("resnet8", 4), ("resnet18", 4), ("vgg16", 4), ("wrn28-10", 1))
}
OTHERS = {
    make.__name__: (lambda make=make: make(SHAPE, 5))
    for make in (Classifier, Depthwise, Encoder, Rotated, Shuffled, Tied, Tokens, TwoBranches, Untraceable, transformer)
}
NETWORKS = OURS | OTHERS | {"Attentive": lambda: Attentive(3, classes=5)}
GROUPED, TWICE = "its convolution is grouped", "it is used more than once"
SHARED, NEVER = (
    "it shares its weight with another layer",
    "it is never called, though another module may read its weight",
)
READ = "torch's encoder layer may read its weight itself"
LEFT = {
    "Encoder": {"encoder.linear1": READ, "encoder.linear2": READ},
    "Shuffled": {"depth": GROUPED},
    "Tied": {"twice": TWICE, "one": SHARED, "other": SHARED, "read": NEVER},
}


def tensors(model):
    return dict(model.named_parameters()), dict(model.named_buffers())


def masks_of(model, share, only=None, seed=0):
    """Whole rows of each layer, or of those named in `only`, at random."""
    generator = torch.Generator().manual_seed(seed)
    masks = {name: torch.ones_like(model.get_parameter(name), dtype=torch.bool) for name in prunable(model)}
    for name, mask in masks.items():
        if only is None or name in only:
            mask[torch.randperm(len(mask), generator=generator)[: int(share * len(mask))]] = False  # of one row, none
    return masks


def multiply_adds(model, shape=SHAPE):
    model = copy.deepcopy(model)
    params = dict(model.named_parameters())
    return metrics.multiply_adds(model, shape, {n: params[n].detach() for n in prunable(model)})[0]


@torch.no_grad()
def distance(small, model, masks, images=None):
    """The largest difference to the masked network's outputs, over the largest of these."""
    images = torch.randn(7, *SHAPE, generator=torch.Generator().manual_seed(5)) if images is None else images
    images = images.to(next(model.parameters()))
    expected = masked_copy(model, *tensors(model), masks)(images)
    assert expected.std(0).max() > 1e-4 * expected.abs().max()
    return float((small(images) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("share", [0.25, 0.5, 0.6])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_those_of_the_masked_network_whatever_rows_are_gone(name, share, lively):
    """In every layer: the last one, depthwise ones, and attention's projections as well."""
    for seed in range(3):
        model = randomised(NETWORKS[name](), seed).double()
        masks = masks_of(model, share, seed=seed)
        small = shrink(model, *tensors(model), masks, SHAPE)
        assert distance(small.network, model, masks) < 1e-12
        assert small.left == LEFT.get(name, {}) or name == "Attentive"
        assert multiply_adds(small.network.float()) < multiply_adds(model.float())


@pytest.mark.parametrize("name", NETWORKS)
def test_in_single_precision_outputs_differ_by_rounding(name, lively):
    model = randomised(NETWORKS[name]())
    masks = masks_of(model, 0.5)
    small = shrink(model, *tensors(model), masks, SHAPE)
    assert distance(small.network, model, masks) < 1e-5
    assert {p.dtype for p in small.network.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", NETWORKS)
def test_with_one_row_in_every_hidden_layer(name):
    model = randomised(NETWORKS[name]()).double()
    masks = masks_of(model, 1, hidden(model, SHAPE))
    small = shrink(model, *tensors(model), masks, SHAPE)
    with torch.no_grad():
        images = torch.randn(3, *SHAPE).double()
        torch.testing.assert_close(small.network(images), masked_copy(model, *tensors(model), masks)(images))
    for weight in hidden(model, SHAPE):
        layer = small.network.get_submodule(weight.removesuffix(".weight"))
        layer = layer.layer if isinstance(layer, Narrow) else layer
        assert layer.out_features == 1 or weight.removesuffix(".weight") in small.left


@pytest.mark.parametrize("name", NETWORKS)
def test_without_zeros_nothing_changes(name):
    model = randomised(NETWORKS[name]())
    small = shrink(model, *tensors(model), {}, SHAPE)
    before, after = model.state_dict(), small.network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(after[n], t) for n, t in before.items())
    assert not small.left and not small.network.training


# ---- neurons ---------------------------------------------------------------------------------------------------------


def test_a_small_perceptron_is_a_plain_one():
    model = randomised(build("mlp", shape=SHAPE, classes=5, width=12))
    masks = masks_of(model, 0.5, ("layer1.weight", "layer2.weight"))
    small = shrink(model, *tensors(model), masks, SHAPE).network
    assert [(m.in_features, m.out_features) for m in small.children()] == [(192, 6), (6, 2), (2, 5)]
    assert all(type(m) is nn.Linear for m in small.children())
    kept = masks["layer1.weight"].any(1)
    assert torch.equal(small.layer1.weight, model.layer1.weight[kept])
    constant = model.layer1.bias[~kept].relu()  # what a neuron without weights says
    rows = masks["layer2.weight"].any(1)
    by_hand = model.layer2.bias[rows] + model.layer2.weight[rows][:, ~kept] @ constant
    torch.testing.assert_close(small.layer2.bias, by_hand)


def test_a_small_classifier_reads_a_convolution_through_flatten():
    model = randomised(Classifier(SHAPE, 5))
    masks = masks_of(model, 0.5, [n for n in prunable(model) if not n.startswith("classifier.6")])
    small = shrink(model, *tensors(model), masks, SHAPE).network
    sizes = [tuple(m.weight.shape[:2]) for m in small.modules() if isinstance(m, LAYERS)]
    assert sizes == [(3, 3), (4, 3), (6, 4 * 4), (5, 6), (5, 5)]
    assert [type(m) for m in small.classifier] == [type(m) for m in model.classifier]


def test_a_depthwise_convolution_loses_the_channels_that_either_it_or_the_layer_before_has_lost():
    model = randomised(Depthwise(SHAPE, 5))
    masks = masks_of(model, 0, ())
    masks["blocks.0.0.weight"][:4] = masks["blocks.0.3.weight"][2:6] = False
    small = shrink(model, *tensors(model), masks, SHAPE)
    first, depth, last = (small.network.blocks[0][i] for i in (0, 3, 6))
    assert first.weight.shape == (6, 6, 1, 1) and depth.weight.shape == (6, 1, 3, 3) and depth.groups == 6
    last = last.layer if isinstance(last, Narrow) else last
    assert last.weight.shape == (6, 6, 1, 1) and not small.left
    assert small.network.blocks[0][1].num_features == small.network.blocks[0][4].num_features == 6
    assert torch.equal(first.weight, model.blocks[0][0].weight[6:])
    assert distance(small.network, model, masks) < 1e-5


def test_a_small_feed_forward_part_has_no_detour():
    model = randomised(transformer(SHAPE, 5))
    names = hidden(model, SHAPE)
    small = shrink(model, *tensors(model), masks_of(model, 0.5, names), SHAPE).network
    assert not any(isinstance(m, Narrow) for m in small.modules())
    assert [small.get_submodule(n.removesuffix(".weight")).out_features for n in names] == [6, 6]


def test_constants_that_differ_between_tokens_are_an_offset_and_others_are_folded():
    model = randomised(Tokens(SHAPE, 5)).double()
    masks = masks_of(model, 0.5, ("patches.weight",))
    small = shrink(model, *tensors(model), masks, SHAPE).network
    assert small.first.offset.shape == (1, 4, 10) and small.first.read.tolist() == small.patches.places.tolist()
    gone = ~masks["patches.weight"].flatten(1).any(1)
    constant = model.patches.bias[gone] + model.places[..., gone]
    by_hand = constant @ model.first.weight[:, gone].T
    torch.testing.assert_close(small.first.offset, by_hand)


# ---- what cannot be ----------------------------------------------------------------------------------------------------


def test_a_network_that_looks_at_its_numbers_is_refused_in_one_sentence():
    model = randomised(Looking(SHAPE, 5))
    with pytest.raises(BadInput) as caught:
        shrink(model, *tensors(model), masks_of(model, 0.5), SHAPE)
    assert str(caught.value) == (
        "This Looking cannot be made smaller, because with fewer numbers it computes something else: it looks at them, "
        "or at the size of its batch; keep it masked."
    )


class Sized(Untraceable):
    """A perceptron that insists on the width between its layers."""

    def forward(self, x):
        x = self.first(x.flatten(1)).relu()
        assert x.shape[1] == 10
        return self.classifier(self.second(x).relu())


def test_a_network_that_expects_a_width_gets_it():
    model = randomised(Sized(SHAPE, 5))
    masks = masks_of(model, 0.5)
    small = shrink(model, *tensors(model), masks, SHAPE).network
    assert isinstance(small.first, Narrow) and small.first.layer.out_features == 5
    assert distance(small, model, masks) < 1e-6


# ---- saved and built again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_small_network_is_built_again_from_its_tensors_alone(name, tmp_path):
    model = randomised(NETWORKS[name]())
    small = shrink(model, *tensors(model), masks_of(model, 0.5), SHAPE).network
    other = randomised(NETWORKS[name](), seed=9)
    state = {n: t for n, t in small.state_dict().items() if n != "other.weight"}  # safetensors saves no tensor twice
    save_file(state, tmp_path / "small.safetensors")
    loaded = load_file(tmp_path / "small.safetensors")
    again = rebuilt(other, loaded | {"other.weight": loaded["one.weight"]} if name == "Tied" else loaded)
    images = torch.randn(3, *SHAPE)
    with torch.no_grad():
        assert torch.equal(again(images), small(images))
    assert not again.training and again.state_dict().keys() == small.state_dict().keys()


@pytest.mark.parametrize("spoil", ["missing", "strange", "of another network"])
def test_tensors_of_another_network_are_refused(spoil):
    model = randomised(NETWORKS["resnet8"]())
    state = shrink(model, *tensors(model), masks_of(model, 0.5), SHAPE).network.state_dict()
    if spoil == "missing":
        del state["classifier.layer.bias"]
    elif spoil == "strange":
        state["more.weight"] = torch.zeros(3)
    else:
        state = NETWORKS["mlp"]().state_dict()
    with pytest.raises(
        BadInput, match="not those of a smaller copy of this network: .* is missing, or not of it; give the state_dict"
    ):
        rebuilt(model, state)


def test_what_the_documents_show_works(tmp_path, monkeypatch):
    """The block of docs/using.md, word by word, with a network whose rows have been masked."""
    page = (Path(__file__).parents[1] / "docs" / "using.md").read_text()
    [block] = [b for b in re.findall(r"```python\n(.*?)```", page, re.S) if "import shrink" in b]
    monkeypatch.chdir(tmp_path)
    model = randomised(build("mlp", shape=(1, 8, 8), classes=10))
    masked = masked_copy(model, *tensors(model), masks_of(model, 0.8, ("layer1.weight", "layer2.weight")))
    save_file(masked.state_dict(), "net.safetensors")
    names: dict = {}
    exec(block, names)
    images = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(names["again"](images), masked(images), rtol=1e-5, atol=1e-5)
    assert names["again"].layer1.out_features == 60 and names["small"].left == {}
