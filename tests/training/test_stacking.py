"""Every stacked rule gives what the network gives to each member alone: scores, gradients, statistics."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from retrainlab.checks import BadInput
from retrainlab.config import MODELS
from retrainlab.models import ResNet, WideBlock, build, in_mode
from retrainlab.noise import has_noise
from retrainlab.training import layout, patches, stacking
from retrainlab.training.flat import Flat
from retrainlab.training.stacking import Unstackable, by_rules, forward_of, vmapped
from tests.helpers.stacked import MEMBERS, Net, assert_alike, conv, gradients, images_of, line, one_by_one, row, tensors

FEW, ODD, MANY = (3, 6, 6), (5, 6, 6), (8, 6, 6)  # channels: one convolution for each member, or one in groups
MODES = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
IMAGES = pytest.mark.parametrize("own", [False, True], ids=["shared images", "own images"])


@pytest.fixture(autouse=True)
def repeated():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# ---- rules -----------------------------------------------------------------------------------------------------------


def gated(s, x):
    """Squeeze and excitation: maps times one number for each channel."""
    x = s.conv(x)
    return s.fc((x * s.sigmoid(s.gate(F.relu(s.squeeze(s.pool(x)))))).mean((2, 3)))


def summed(s, x):
    x = s.conv(x)
    y = torch.add(x, F.relu(x)) * torch.relu(s.more(x))
    y += x
    return s.fc((y + x).flatten(1))


def shortcut(s, x):
    x = s.conv(x)
    return s.fc(F.relu(F.pad(x[:, :, ::2, 1::2], (0, 0, 0, 0, 1, 2))).mean((2, 3)))


def bordered(s, x):
    return s.fc(F.pad(s.conv(F.pad(x, (1, 2))), (0, 1, -1, 2)).flatten(1))


def twice(layer):
    return layer, nn.ReLU(), layer


RULES = {
    "convolution": (FEW, lambda: row(FEW, conv(3, 4))),
    "convolution without a bias": (FEW, lambda: row(FEW, conv(3, 4, bias=False))),
    "an odd number of channels": (ODD, lambda: row(ODD, conv(5, 5), conv(5, 9), conv(9, 4, 1))),
    "many channels": (MANY, lambda: row(MANY, conv(8, 9), conv(9, 8))),
    "many channels without a bias": (MANY, lambda: row(MANY, conv(8, 9, bias=False), conv(9, 4, bias=False))),
    "stride and padding": (FEW, lambda: row(FEW, conv(3, 8, stride=2, padding=2), conv(8, 4, padding=(0, 2)))),
    "dilation": (FEW, lambda: row(FEW, conv(3, 8, dilation=(1, 2)), conv(8, 4, 2, dilation=2, padding=1))),
    "same padding": (FEW, lambda: row(FEW, conv(3, 8, 5, padding="same"), conv(8, 4, padding="same"))),
    "groups of few channels": ((4, 6, 6), lambda: row((4, 6, 6), conv(4, 6, groups=2), conv(6, 4, groups=2))),
    "groups of many channels": (MANY, lambda: row(MANY, conv(8, 16, groups=4), conv(16, 16, groups=16))),
    "normalisation": (FEW, lambda: row(FEW, conv(3, 4), nn.BatchNorm2d(4, momentum=0.3, eps=0.1), nn.ReLU())),
    "normalisation of images": (FEW, lambda: row(FEW, nn.BatchNorm2d(3), conv(3, 4))),
    "linear": (FEW, lambda: row(FEW, nn.Flatten(), nn.Linear(108, 5), nn.ReLU(), nn.Linear(5, 4, bias=False))),
    "torch.flatten": (FEW, lambda: Net(lambda s, x: s.fc(torch.flatten(s.conv(x), 1)), conv=conv(3, 2), fc=line(32))),
    "flattened images": (FEW, lambda: Net(lambda s, x: s.fc(torch.flatten(x, 1).flatten(1)), fc=line(108))),
    "mean": (FEW, lambda: Net(lambda s, x: s.fc(s.conv(x).mean((2, 3))), conv=conv(3, 4), fc=line(4))),
    "mean of images": (FEW, lambda: Net(lambda s, x: s.fc(x.mean([2, 3])), fc=line(3))),
    "pooling": (FEW, lambda: row(FEW, conv(3, 8), nn.MaxPool2d(3, 2, ceil_mode=True), nn.AvgPool2d(2, 1))),
    "pooling to a size": (FEW, lambda: row(FEW, conv(3, 8), nn.AdaptiveAvgPool2d((1, 2)))),
    "pooling of images": (FEW, lambda: row(FEW, nn.AvgPool2d(2), nn.MaxPool2d(2, 1), conv(3, 4, 2))),
    "pointwise modules": (
        FEW,
        lambda: row(FEW, nn.Hardswish(), conv(3, 8), nn.SiLU(), nn.GELU(), conv(8, 8), nn.ReLU6(), nn.Sigmoid()),
    ),
    "more pointwise modules": (
        FEW,
        lambda: row(FEW, nn.Hardsigmoid(), conv(3, 8), nn.Identity(), nn.ReLU(inplace=True), conv(8, 2)),
    ),
    "sums and products": (FEW, lambda: Net(summed, conv=conv(3, 4), more=conv(4, 4, padding=1), fc=line(64))),
    "a gate": (
        FEW,
        lambda: Net(
            gated,
            conv=conv(3, 8),
            pool=nn.AdaptiveAvgPool2d(1),
            squeeze=conv(8, 2, 1),
            gate=conv(2, 8, 1),
            sigmoid=nn.Sigmoid(),
            fc=line(8),
        ),
    ),
    "shortcut": (FEW, lambda: Net(shortcut, conv=conv(3, 4), fc=line(7))),
    "shortcut of images": (FEW, lambda: Net(shortcut, conv=nn.Identity(), fc=line(6))),
    "border": (FEW, lambda: Net(bordered, conv=conv(3, 8), fc=line(8 * 40))),
    "a layer used twice": (FEW, lambda: row(FEW, *twice(conv(3, 3, padding=1)))),
    "a normalisation used twice": (FEW, lambda: row(FEW, conv(3, 4), *twice(nn.BatchNorm2d(4)), nn.BatchNorm2d(4))),
}


@MODES
@IMAGES
@pytest.mark.parametrize("rule", RULES)
def test_a_stacked_rule_gives_each_member_what_it_gives_alone(rule, own, training):
    shape, make = RULES[rule]
    model = make().double()
    assert_alike(model, by_rules(model), shape, own, training)


STRIDED = {
    "strides": (MANY, lambda: row(MANY, conv(8, 9, stride=2, padding=1), nn.ReLU(), conv(9, 4, 2, stride=(1, 2)))),
    "strides without a bias": (MANY, lambda: row(MANY, conv(8, 9, stride=3, bias=False), conv(9, 4, 1))),
    "strides in groups": (MANY, lambda: row(MANY, conv(8, 16, stride=2, padding=1, groups=4))),
}


@IMAGES
@pytest.mark.parametrize("rule", RULES | STRIDED)
def test_patches_change_no_rule(rule, own):
    shape, make = (RULES | STRIDED)[rule]
    model = make().double()
    assert_alike(model, by_rules(model, unfolded=True), shape, own, members=10)


@IMAGES
@pytest.mark.parametrize("name", MODELS)
def test_patches_change_none_of_our_networks(name, own):
    model = build(name, shape=(3, 8, 8), classes=3, width=1 if name == "wrn28-10" else 2).double()
    assert_alike(model, by_rules(model, unfolded=True), (3, 8, 8), own, members=4)


class Strides(TorchDispatchMode):
    """The strides of convolutions with a kernel of one pixel."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ == "convolution" and args[1].shape[2:] == (1, 1):
            self.seen.append(tuple(args[3]))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("members", [1, 3])
def test_one_pixel_of_few_channels_is_never_seen_with_a_stride(members):
    """Pitfall: the gradient of such a weight ends the process, or changes what lies beside it in memory."""
    shape = (4, 6, 7)
    for few in ({}, {"bias": False}, {"padding": "valid"}):
        model = row(shape, conv(4, 6, 1, stride=(2, 1), **few), conv(6, 2, 1, stride=3)).double()
        with Strides() as strides:
            assert_alike(model, by_rules(model), shape, own=members > 1, members=members)
        alone = 2 * members
        assert sorted(strides.seen[alone:]) == [(1, 1)] * (len(strides.seen) - alone) and len(strides.seen) > alone


@IMAGES
@pytest.mark.parametrize("rule", ["convolution", "groups of many channels", "normalisation of images", "shortcut"])
def test_one_member_is_stacked_too(rule, own):
    shape, make = RULES[rule]
    model = make().double()
    assert_alike(model, by_rules(model), shape, own, members=1)


@IMAGES
@pytest.mark.parametrize("name", MODELS)
def test_our_networks_can_be_stacked(name, own):
    model = build(name, shape=(3, 8, 8), classes=3, width=1 if name == "wrn28-10" else 2).double()
    assert_alike(model, by_rules(model), (3, 8, 8), own, training=False)


@MODES
@pytest.mark.parametrize(
    ("members", "inputs", "size", "how", "unfolds"),
    [
        (5, 32, 2, dict(padding=1), True),
        (4, 33, 5, dict(stride=2), True),
        (4, 32, 3, dict(stride=2, padding=1, bias=False), True),
        (3, 32, 2, dict(padding=1), False),  # too few members
        (4, 31, 2, dict(padding=1), False),  # too few channels
        (4, 32, 3, dict(padding=1), False),  # 9 pixels
        (4, 32, 2, dict(padding=1, groups=2), False),
        (4, 32, 5, dict(dilation=2), False),
        (4, 32, 2, dict(padding="same"), False),
    ],
    ids=str,
)
def test_on_a_cpu_a_convolution_that_makes_small_maps_is_a_product(
    monkeypatch, members, inputs, size, how, unfolds, training
):
    calls, real = [], patches.convolution
    monkeypatch.setattr(patches, "convolution", lambda *args: (calls.append(1), real(*args))[1])
    shape = (3, size, size)
    model = row(shape, conv(3, inputs, 1), nn.BatchNorm2d(inputs), conv(inputs, 34, **how)).double()
    monkeypatch.setattr(stacking, "SMALL", 0)  # as where there is AVX512
    assert_alike(model, by_rules(model), shape, own=False, training=training, members=members)
    assert not calls
    monkeypatch.setattr(stacking, "SMALL", 4)
    assert_alike(model, by_rules(model), shape, own=False, training=training, members=members)
    assert bool(calls) == unfolds


class Maps(TorchDispatchMode):
    """The operations that read or make maps [batch, channels, side, side] whose channels are not last in memory."""

    VIEWS = ("permute", "slice", "split")

    def __init__(self, batch):
        super().__init__()
        self.batch, self.seen, self.strays = batch, 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        for t in (*args, *(out if isinstance(out, list | tuple) else [out])) if name not in self.VIEWS else ():
            if isinstance(t, torch.Tensor) and t.dim() == 4 and len(t) == self.batch and t.shape[2] == t.shape[3]:
                self.seen += 1
                if not t.is_contiguous(memory_format=torch.channels_last):
                    self.strays.append(name)
        return out


def strays(name, shape, own, half=False, unfolded=False):
    """Those of a step of four members in training mode, whose weights' gradients must be laid out as weights are, too."""
    model = build(name, shape=shape, classes=3, width=1 if name == "wrn28-10" else 8)
    model = model if half else model.double()
    params, buffers = ({n: layout.laid_out(t) for n, t in part.items()} for part in tensors(model, 4))
    images = images_of(shape, own, 4, count=5).to(next(iter(params.values())).dtype)
    with Maps(5) as maps, in_mode(model, training=True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half, cache_enabled=False):
            scores = by_rules(model, unfolded)(params, buffers, images)
        found = gradients(scores, params)
    assert maps.seen > 100
    assert unfolded or all(layout.laid_out(g).data_ptr() == g.data_ptr() for g in found if g.dim() == 5)
    return maps.strays


@pytest.mark.parametrize("half", [False, True], ids=["float64", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in MODELS if name != "mlp"])
def test_maps_and_gradients_keep_their_channels_last_in_memory(monkeypatch, name, half):
    """Else each operation would first copy them. The images are copied once."""
    monkeypatch.setattr(stacking, "SMALL", 0)  # the gradient of a product comes in the product's order
    assert strays(name, (3, 8, 8), False, half) == ["clone"]
    assert strays(name, (8, 8, 8), True, half) == []
    assert strays(name, (3, 8, 8), True, half, unfolded=True) == []


def test_maps_of_images_of_one_channel_are_laid_out_anew_once(monkeypatch):
    """One channel is first and last in memory, so that torch may take either order for the output of the convolution."""
    monkeypatch.setattr(stacking, "SMALL", 0)
    assert strays("resnet8", (1, 8, 8), own=False) == ["convolution", "clone"]


class Copies(TorchDispatchMode):
    """Copies made of tensors of some size, and the weights that convolutions see."""

    def __init__(self, numel):
        super().__init__()
        self.numel, self.made, self.weights = numel, [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in ("clone", "_to_copy", "copy_") and args[0].numel() == self.numel:
            self.made.append(name)
        if name == "convolution":
            self.weights.append(args[1])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("half", "copies"), [(False, ["clone"]), (True, ["_to_copy"])], ids=["float32", "bfloat16"])
def test_weights_that_lie_apart_are_copied_once(half, copies):
    """As in a flat buffer, in which a member's parameters lie one after the other."""
    model = row(MANY, conv(8, 5))
    params, _ = tensors(model)
    apart = Flat.of({name: p.detach() for name, p in params.items()}, list(params)).views
    images = images_of(MANY, own=True).float()
    with Copies(params["0.weight"].numel()) as seen, torch.autocast("cpu", torch.bfloat16, enabled=half):
        scores = by_rules(model)(apart, {}, images)
    assert seen.made == copies
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in seen.weights)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        assert torch.equal(scores, by_rules(model)(params, {}, images))


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_a_network_of_torchvision_can_be_stacked():
    model = build("torchvision/resnet18", shape=(3, 32, 32), classes=3).double()
    assert_alike(model, by_rules(model), (3, 32, 32), own=False, members=2)


def test_the_images_of_one_member_change_no_other_members_scores():
    model = build("resnet8", shape=(3, 8, 8), classes=3, width=2).double()
    params, buffers = tensors(model)
    images = images_of((3, 8, 8), own=True)
    changed = images.clone()
    changed[1] += torch.randn_like(changed[1])
    before, after = (by_rules(model)(params, {n: b.clone() for n, b in buffers.items()}, x) for x in (images, changed))
    assert [torch.equal(a, b) for a, b in zip(before, after)] == [True, False, True]


@pytest.mark.parametrize("way", [by_rules, vmapped])
def test_a_forward_pass_in_evaluation_mode_changes_no_tensor(way):
    """Pitfall: "pruned" accuracy measured after a training-mode pass that refreshed BatchNorm."""
    model = build("resnet8", shape=(3, 8, 8), classes=3, width=2).double()
    params, buffers = tensors(model)
    before = {name: t.detach().clone() for name, t in (params | buffers).items()}
    for training in (False, True):
        with torch.no_grad(), in_mode(model, training):
            way(model)(params, buffers, images_of((3, 8, 8), own=False))
        changed = {name for name, t in (params | buffers).items() if not torch.equal(t, before[name])}
        assert changed == (set(buffers) if training else set())


# ---- compiled --------------------------------------------------------------------------------------------------------


def assert_compiled_alike(model, forward, own=True, training=True):
    """One graph without a break gives the same scores, gradients and buffers in place."""
    torch._dynamo.reset()
    params, buffers = tensors(model, members=4)
    images, wanted_buffers = images_of((3, 8, 8), own, members=4), {name: b.clone() for name, b in buffers.items()}
    with in_mode(model, training):
        wanted = forward(params, wanted_buffers, images)
        compiled = torch.compile(forward, dynamic=False, fullgraph=True, backend="aot_eager")
        scores = compiled(params, buffers, images)
    torch.testing.assert_close(scores, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients(scores, params), gradients(wanted, params), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(buffers, wanted_buffers, rtol=1e-10, atol=1e-10)


PARTS = {  # of which all our networks are made
    "mlp": lambda: build("mlp", shape=(3, 8, 8), classes=3, width=6),
    "resnet": lambda: ResNet((3, 8, 8), 3, 2, blocks=(1, 1)),
    "vgg": lambda: row((3, 8, 8), conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),
    "wide": lambda: row((3, 8, 8), conv(3, 4), WideBlock(4, 4, 1), WideBlock(4, 8, 2)),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_forward_pass_can_be_compiled_whole(part):
    model = PARTS[part]().double()
    assert_compiled_alike(model, by_rules(model, unfolded=True))


@pytest.mark.parametrize("unfolded", [False, True])
def test_evaluation_can_be_compiled_whole(unfolded):
    model = PARTS["vgg"]().double()
    assert_compiled_alike(model, by_rules(model, unfolded), own=unfolded, training=False)


def test_vmapped_can_be_compiled_whole():
    model = PARTS["vgg"]().double()
    assert_compiled_alike(model, vmapped(model))


# ---- what has no rule ------------------------------------------------------------------------------------------------


def sized(s, x):
    return s.fc(x.reshape(x.shape[0], -1))


def joined(s, x):
    return s.fc(torch.cat([s.conv(x), x], 1).flatten(1))


def doubled(s, x):
    scores = s.fc(x.flatten(1))
    return scores + scores


def in_place(s, x):
    return s.fc(F.relu(s.conv(x), inplace=True).flatten(1))


def branching(s, x):
    return s.fc(x.flatten(1)) if bool(x.shape[0] > 1) else s.fc(x.flatten(1)) * 2


UNSTACKABLE = {
    "dropout": lambda: row(FEW, conv(3, 2), nn.Dropout(0.5)),
    "another padding": lambda: row(FEW, conv(3, 2, padding=1, padding_mode="reflect")),
    "normalisation in groups": lambda: row(FEW, conv(3, 4), nn.GroupNorm(2, 4)),
    "normalisation without weights": lambda: row(FEW, conv(3, 4), nn.BatchNorm2d(4, affine=False)),
    "normalisation without statistics": lambda: row(FEW, conv(3, 4), nn.BatchNorm2d(4, track_running_stats=False)),
    "another flattening": lambda: row(FEW, conv(3, 4), nn.Flatten(2)),
    "a constant": lambda: Net(lambda s, x: s.fc(x.flatten(1) + 1), fc=line(108)),
    "a sum of one value": lambda: Net(doubled, fc=line(108)),
    "joined channels": lambda: Net(joined, conv=conv(3, 3, 1), fc=line(216)),
    "a bare parameter": lambda: Net(lambda s, x: s.fc(x.flatten(1)) + s.b, fc=line(108), b=nn.Parameter(torch.ones(3))),
    "a mean that keeps": lambda: Net(lambda s, x: s.fc(x.mean((2, 3), keepdim=True).flatten(1)), fc=line(3)),
    "a mean from behind": lambda: Net(lambda s, x: s.fc(s.conv(x).mean((-1, -2))), conv=conv(3, 2), fc=line(2)),
    "a border of twos": lambda: Net(lambda s, x: s.fc(F.pad(x, (1, 1), value=2.0).flatten(1)), fc=line(144)),
    "some of the channels": lambda: Net(lambda s, x: s.fc(s.conv(x)[:, :1].flatten(1)), conv=conv(3, 2), fc=line(16)),
    "a function in place": lambda: Net(in_place, conv=conv(3, 2), fc=line(32)),
    "the size of a batch": lambda: Net(sized, fc=line(108)),
    "a branch": lambda: Net(branching, fc=line(108)),
}


@pytest.mark.parametrize("what", UNSTACKABLE)
def test_a_network_that_no_rule_takes_goes_another_way(what):
    model = UNSTACKABLE[what]().double()
    with pytest.raises(Unstackable):
        by_rules(model)
    for own in (False, True):
        assert_alike(model, forward_of(model), FEW, own, training=what != "dropout")


def test_scores_that_no_parameter_makes_are_unstackable():
    with pytest.raises(Unstackable, match="do not depend"):
        by_rules(Net(lambda s, x: torch.flatten(x, 1), unused=line(2)))


def tied():
    net = Net(
        lambda s, x: s.fc(s.b(s.a(x)).flatten(1)), a=conv(3, 3, bias=False), b=conv(3, 3, bias=False), fc=line(12)
    )
    net.b.weight = net.a.weight
    return net


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(
            lambda: Net(lambda s, x: s.fc(s.conv(x).mean(3).mean(2)), conv=conv(3, 2), fc=line(2)),
            id="a mean over one dimension",
        ),
        pytest.param(
            lambda: Net(lambda s, x: s.fc(s.conv(x)[:].mean((2, 3))), conv=conv(3, 2), fc=line(2)), id="a slice"
        ),
        pytest.param(
            lambda: Net(lambda s, x: s.fc(s.conv(x)[:, :, 0, 0]), conv=conv(3, 2), fc=line(2)), id="a pixel of each map"
        ),
        pytest.param(
            lambda: Net(lambda s, x: s.fc((x + s.conv(x)).mean((2, 3))), conv=conv(3, 3, padding=1), fc=line(3)),
            id="maps and images added",
        ),
        pytest.param(tied, id="weights of two layers"),
    ],
)
def test_a_network_without_a_rule_for_a_layer_is_still_right(make):
    model = make().double()
    for own in (False, True):
        assert_alike(model, forward_of(model), FEW, own)


@MODES
@IMAGES
def test_vmapped_takes_what_can_be_stacked(own, training):
    model = build("resnet8", shape=(3, 8, 8), classes=3, width=2).double()
    assert_alike(model, vmapped(model), (3, 8, 8), own, training)


# ---- noise -----------------------------------------------------------------------------------------------------------


class Drop(nn.Module):
    """Noise without a layer of its own."""

    def forward(self, x):
        return F.dropout(x, 0.5, self.training)


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), Drop()], ids=str)
def test_a_network_with_a_random_layer_has_noise(layer):
    model = nn.Sequential(conv(1, 2), nn.Sequential(layer)).eval()
    before = torch.get_rng_state()
    assert has_noise(model, (1, 8, 8)) and not layer.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_draws_as_it_is_evaluated_is_refused():
    """Pitfall: `F.dropout(x)` without the module's mode, which is always on."""
    model = nn.Sequential(conv(1, 2), nn.FractionalMaxPool2d(2, output_size=3))
    with pytest.raises(BadInput, match="when it is evaluated"):
        has_noise(model, (1, 8, 8))


@pytest.mark.parametrize("name", MODELS)
def test_our_networks_have_no_noise(name):
    assert not has_noise(build(name, shape=(3, 8, 8), classes=3, width=1), (3, 8, 8))


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d])
def test_the_noise_of_all_members_is_that_of_each_alone(layer):
    model = row(FEW, layer(0.5), conv(3, 2), layer(0.3)).double().train()
    params, _ = tensors(model)
    images = images_of(FEW, own=False)
    torch.manual_seed(5)
    together = forward_of(model)(params, {}, images)
    after = torch.random.get_rng_state()
    for i in range(MEMBERS):
        torch.manual_seed(5)
        alone = one_by_one(model, {name: p[i : i + 1] for name, p in params.items()}, {}, images)
        torch.testing.assert_close(together[i : i + 1], alone)
        assert torch.equal(torch.random.get_rng_state(), after)


def test_networks_are_taken_apart_on_several_threads_at_once():
    """Pitfall: torch.fx patches every module of the process while it traces; two traces left the patch behind."""
    whole = nn.Linear(2, 2)
    models = [build("resnet20", shape=(3, 8, 8), classes=3, width=2, seed=seed) for seed in range(8)]
    before = nn.Module.__call__
    with ThreadPoolExecutor(8) as pool:
        taken = [pool.submit(by_rules, model) for model in models]
        used = [pool.submit(lambda: [whole(torch.ones(1, 2)) for _ in range(200)]) for _ in range(4)]
        assert all(callable(future.result()) for future in taken)
        assert all(torch.equal(out, whole(torch.ones(1, 2))) for future in used for out in future.result())
    assert nn.Module.__call__ is before
