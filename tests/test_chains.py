"""Which layers hand their channels straight to another: by hand, for each thing that may lie between."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrainlab.chains import Chain, chains
from retrainlab.models import build
from tests.helpers.networks import Classifier, Depthwise, Shuffled, Tied, TwoBranches, Untraceable, transformer

SHAPE = (3, 8, 8)


class Between(nn.Module):
    """Two convolutions, or Linear layers, with a function between."""

    def __init__(self, between, first=None, last=None):
        super().__init__()
        self.first, self.last = first or nn.Conv2d(3, 4, 3, padding=1), last or nn.Conv2d(4, 2, 1)
        self.norm, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.flat = nn.BatchNorm1d(4)
        self.act = nn.ReLU(inplace=True)
        self.between = between

    def forward(self, x):
        return self.last(self.between(self, self.first(x)))


STRAIGHT = Chain((), False, "last")
NORMED = Chain(("norm",), True, "last")


@pytest.mark.parametrize(
    ("between", "chain"),
    [
        (lambda m, x: x, STRAIGHT),
        (lambda m, x: m.norm(x), NORMED),
        (lambda m, x: m.act(m.norm(x)), NORMED),
        (lambda m, x: F.max_pool2d(F.relu(m.norm(x)), 2), NORMED),
        (lambda m, x: F.avg_pool2d(x, 3, 1, 1).clamp(0, 6), STRAIGHT),
        (lambda m, x: m.norm(F.relu(x)), Chain(("norm",), False, "last")),
        (lambda m, x: m.other(F.relu(m.norm(x))), Chain(("norm", "other"), True, "last")),
        (lambda m, x: F.dropout(F.relu_(x), training=False), STRAIGHT),
        (lambda m, x: F.adaptive_avg_pool2d(F.gelu(x), (2, 2)), STRAIGHT),
        (lambda m, x: x * torch.sigmoid(x), Chain()),  # read twice
        (lambda m, x: x + 1, Chain()),  # no function of this list
        (lambda m, x: m.norm(m.norm(x)), Chain()),  # normalisation that is used twice
        (lambda m, x: F.prelu(x, torch.ones(4)), Chain()),  # one slope for each channel
        (lambda m, x: x.flip(1), Chain()),
        (lambda m, x: F.softmax(x, 1), Chain()),
        (lambda m, x: torch.cat([F.relu(x)], 1), Chain()),
        (lambda m, x: m.norm(x) + x, Chain()),
        (lambda m, x: F.relu(m.norm(x)).transpose(2, 3), Chain(("norm",), True)),
        (lambda m, x: x.flatten(2).unflatten(2, (8, 8)), Chain()),
        (lambda m, x: x.mean(1, keepdim=True).expand(-1, 4, -1, -1), Chain()),
    ],
)
def test_what_may_lie_between_two_convolutions(between, chain):
    found = chains(Between(between), SHAPE)
    assert found == {"first": chain, "last": Chain()}


@pytest.mark.parametrize(
    ("between", "inputs", "chain"),
    [
        (lambda m, x: x.flatten(1), 256, Chain((), False, "last", 64)),
        (lambda m, x: torch.flatten(F.max_pool2d(m.norm(x), 4), start_dim=1), 16, Chain(("norm",), True, "last", 4)),
        (lambda m, x: nn.Flatten()(F.adaptive_avg_pool2d(x, 1)), 4, STRAIGHT),
        (lambda m, x: F.relu(x.flatten(1)), 256, Chain((), False, "last", 64)),
        (lambda m, x: x.mean((2, 3)), 4, STRAIGHT),
        (lambda m, x: x.mean(dim=[-1, -2]), 4, STRAIGHT),
        (lambda m, x: m.flat(x.mean((2, 3))), 4, Chain(("flat",), False, "last")),
        (lambda m, x: x.amax((2, 3)), 4, Chain()),
        (lambda m, x: x.mean((1, 2)), 8, Chain()),
        (lambda m, x: x.mean(0).flatten()[None], 256, Chain()),
        (lambda m, x: x.flatten(2).transpose(1, 2), 4, Chain()),
        (lambda m, x: x, 8, Chain()),  # along its columns
    ],
)
def test_what_may_lie_between_a_convolution_and_a_linear_layer(between, inputs, chain):
    assert chains(Between(between, last=nn.Linear(inputs, 2)), SHAPE)["first"] == chain


@pytest.mark.parametrize(
    ("between", "chain"),
    [
        (lambda m, x: F.relu(x), STRAIGHT),
        (lambda m, x: F.max_pool2d(x, 1), Chain()),  # over the features of a Linear layer
        (lambda m, x: m.norm(x), Chain()),  # which has other channels
        (lambda m, x: F.layer_norm(x, (4,)), Chain()),
        (lambda m, x: x.flatten(0, 2), Chain()),
    ],
)
def test_what_may_lie_between_two_linear_layers(between, chain):
    model = Between(between, nn.Linear(8, 4), nn.Linear(4, 2))
    assert chains(model, (4, 8, 8))["first"] == chain


def test_a_layer_that_is_used_twice_ends_a_chain_where_its_last_call_does():
    found = chains(Tied(SHAPE, 5), SHAPE)
    assert found["first"].target == "twice" and found["twice"].target in ("one", "other")


def test_chains_of_whole_networks():
    def targets(model):
        return {name: chain.target for name, chain in chains(model, SHAPE).items() if chain.target}

    assert targets(build("mlp", shape=SHAPE, classes=5)) == {"layer1": "layer2", "layer2": "classifier"}
    within = {f"blocks.{i}.conv1": f"blocks.{i}.conv2" for i in range(3)}
    assert targets(build("resnet8", shape=SHAPE, classes=5)) == within
    vgg = targets(build("vgg16", shape=SHAPE, classes=5, width=2))
    assert len(vgg) == 13 and vgg["features.40"] == "classifier"
    assert targets(TwoBranches(SHAPE, 5)) == {"hidden": "classifier"}
    assert targets(Untraceable(SHAPE, 5)) == {"first": "second", "second": "classifier"}
    mixed = {"features.0": "features.4", "features.4": "classifier.0"}
    assert targets(Classifier(SHAPE, 5)) == mixed | {"classifier.0": "classifier.3", "classifier.3": "classifier.6"}
    feed = {f"encoder.layers.encoder_layer_{i}.mlp.0": f"encoder.layers.encoder_layer_{i}.mlp.3" for i in (0, 1)}
    assert targets(transformer(SHAPE, 5)) == feed
    assert targets(Shuffled(SHAPE, 5)) == {"last": "classifier"}
    assert chains(Shuffled(SHAPE, 5), SHAPE)["point"] == Chain(("depth", "norm"), False)
    through = Chain(("blocks.0.1", "blocks.0.3", "blocks.0.4"), True, "blocks.0.6")
    assert chains(Depthwise(SHAPE, 5), SHAPE)["blocks.0.0"] == through


def test_nothing_is_changed_and_other_threads_see_nothing():
    """torch.fx would exchange what every module of the process does when it is called."""
    model = build("resnet8", shape=SHAPE, classes=5, width=4)
    before, call = {n: t.clone() for n, t in model.state_dict().items()}, nn.Module.__call__
    seen = []
    model.register_forward_hook(lambda *_: seen.append(nn.Module.__call__ is call))
    chains(model, SHAPE)
    assert seen == [True] and all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(m.training for m in model.modules())
