"""What no image can change: the poisoned pass against two real images; which neurons are hidden, against brute force."""

import pytest
import torch
from torch import nn

from retrainlab.checks import BadInput
from retrainlab.influence import fixed, hidden, layers, poisoned
from retrainlab.models import apart, build
from retrainlab.shrink import shrink
from tests.helpers.attentive import Attentive
from tests.helpers.networks import (
    Classifier,
    Depthwise,
    Encoder,
    Shuffled,
    Tied,
    Tokens,
    TwoBranches,
    Untraceable,
    randomised,
    transformer,
)

SHAPE = (3, 8, 8)


NETWORKS = {
    "mlp": lambda: build("mlp", shape=SHAPE, classes=5, width=9),
    "resnet8": lambda: build("resnet8", shape=SHAPE, classes=5, width=4),
    "vgg16": lambda: build("vgg16", shape=SHAPE, classes=5, width=4),
    "two branches": lambda: TwoBranches(SHAPE, 5),
    "shuffled": lambda: Shuffled(SHAPE, 5),
    "untraceable": lambda: Untraceable(SHAPE, 5),
    "classifier": lambda: Classifier(SHAPE, 5),
    "tied": lambda: Tied(SHAPE, 5),
    "attention": lambda: Attentive(3, classes=5),
    "depthwise": lambda: Depthwise(SHAPE, 5),
    "tokens": lambda: Tokens(SHAPE, 5),
    "encoder": lambda: Encoder(SHAPE, 5),
    "transformer": lambda: transformer(SHAPE, 5),
}
HIDDEN = {
    "mlp": ["layer1", "layer2"],
    "two branches": ["hidden"],
    "untraceable": ["first", "second"],
    "classifier": ["classifier.0", "classifier.3"],
    "tied": ["first", "twice", "one"],
    "tokens": ["first"],
    "encoder": ["encoder.linear1"],
    "transformer": [f"encoder.layers.encoder_layer_{i}.mlp.0" for i in (0, 1)],
}


@torch.no_grad()
def given(model, images):
    """(layer, call) -> what each convolution and Linear layer is given for these images."""
    own, seen = apart(model).eval(), {}

    def note(layer, inputs, output):
        name = next(n for n, m in own.named_modules() if m is layer)
        seen[name, sum(n == name for n, _ in seen)] = inputs[0].clone()

    for layer in own.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    own(images)
    return seen


def same_for_all_images(model):
    """(layer, call, channel) of what is the same for each of some random images."""
    images = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(1)).double()
    found = set()
    for (name, call), x in given(model, images).items():
        layer = model.get_submodule(name)
        channels = x.movedim(1 if isinstance(layer, nn.Conv2d) else -1, 0).reshape(
            x.shape[1 if isinstance(layer, nn.Conv2d) else -1], len(x), -1
        )
        found |= {(name, call, c) for c, values in enumerate(channels) if (values - values[:1]).abs().max() < 1e-12}
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_hidden_layers_by_hand(name):
    model = NETWORKS[name]()
    assert list(hidden(model, SHAPE)) == [f"{layer}.weight" for layer in HIDDEN.get(name, [])]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_layer_is_hidden_if_the_output_of_a_silent_unit_is_a_constant_that_is_read_later(name, lively):
    model = randomised(NETWORKS[name]()).double()
    before, found = same_for_all_images(model), []
    called = [model.get_submodule(n) for n, _ in given(model, torch.zeros(1, *SHAPE).double())]
    owners = {id(m.weight): m for m in called if type(m) is nn.Linear}
    for weight_name, weight in model.named_parameters():
        if id(weight) in owners:
            kept = weight.data.clone()
            weight.data[0] = 0
            if same_for_all_images(model) - before:
                found.append(weight_name)
            weight.data.copy_(kept)
    assert tuple(found) == hidden(model, SHAPE)


@pytest.mark.parametrize("name", NETWORKS)
def test_constants_are_those_of_every_image(name, lively):
    """Half of the rows of each layer are 0; what stays finite is what each real image gives, and nothing else does."""
    model = randomised(NETWORKS[name]()).double()
    generator = torch.Generator().manual_seed(3)
    *called, _ = [name for name, _ in given(model, torch.zeros(1, *SHAPE).double())]
    for layer_name, layer in layers(model).items():
        if layer_name in called:
            layer.weight.data[torch.randperm(len(layer.weight), generator=generator)[: len(layer.weight) // 2]] = 0

    def constant_rows(layer, output):
        rows = ~layer.weight.flatten(1).any(1)
        where = (slice(None), rows) if isinstance(layer, nn.Conv2d) else (..., rows)
        bias = torch.zeros(len(rows)).double() if layer.bias is None else layer.bias
        output[where] = bias[rows].view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else bias[rows]

    calls = poisoned(model, SHAPE, constant_rows)
    real = given(model, torch.randn(1, *SHAPE).double())
    found = set()
    for layer_name, several in calls.items():
        for call, x in enumerate(several):
            rows = fixed(model.get_submodule(layer_name), x)
            found |= {(layer_name, call, int(c)) for c in rows.nonzero()}
            finite = x.isfinite()
            assert (x[finite] - real[layer_name, call][finite]).abs().max() < 1e-12 if finite.any() else True
    assert found == same_for_all_images(model)


def test_nothing_that_is_asked_changes_and_no_mode_either():
    model = randomised(NETWORKS["two branches"]()).train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    hidden(model, SHAPE)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items()) and model.training
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid]
    + [nn.Softplus, nn.Mish, nn.PReLU, nn.Softsign, nn.Hardshrink, lambda: nn.Threshold(0, 1), lambda: nn.MaxPool2d(2)]
    + [lambda: nn.AvgPool2d(2), lambda: nn.AdaptiveMaxPool2d(1), lambda: nn.Softmax(1), nn.Dropout],
)
def test_no_activation_or_pooling_hides_what_an_image_can_influence(activation):
    assert activation().eval()(torch.full((1, 4, 8, 8), torch.nan)).isnan().all()


class Quantised(nn.Module):
    """Looks rows up by whole numbers, of which NaN is none."""

    def __init__(self):
        super().__init__()
        self.conv, self.rows, self.head = nn.Conv2d(3, 4, 3), nn.Embedding(10, 4), nn.Linear(4, 5)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.head(x + self.rows((9 * x.sigmoid()).long()).mean(1))


def test_a_network_that_takes_no_nan_is_refused_in_one_sentence():
    """Pitfall: the smaller network is measured last, so that any other error would lose a study's training."""
    model, words = Quantised(), r"In this Quantised .* takes no image of NaN in float32 \(index out of range"
    with pytest.raises(BadInput, match=words):
        hidden(model, SHAPE)
    tensors = dict(model.named_parameters()), dict(model.named_buffers())
    with pytest.raises(BadInput, match=words.replace("32", "64")):
        shrink(model, *tensors, {}, SHAPE)
