"""Shrunken networks: the same outputs as the masked ones, from fewer weights, whatever the architecture."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

from retrainlab import metrics, shrink
from retrainlab.layers import prunable
from retrainlab.models import build, in_mode
from retrainlab.narrow import Narrow
from tests.helpers.pruning import prune

NETWORKS = [
    ("resnet8", 8, (3, 9, 7)),
    ("resnet8", 4, (1, 8, 8)),
    ("resnet20", 6, (3, 12, 5)),
    ("resnet18", 4, (3, 13, 10)),
    ("vgg16", 4, (3, 11, 6)),
    ("vgg16", 3, (1, 15, 16)),
]


class Case:
    """A network whose normalisation is not trivial, masks, and some images."""

    def __init__(self, name, width, shape, dtype=torch.float64, seed=0):
        self.model, self.shape = build(name, shape=shape, classes=5, width=width, seed=seed).to(dtype), shape
        self.generator = torch.Generator().manual_seed(seed)
        self.params = {n: p.detach() for n, p in self.model.named_parameters()}
        self.buffers = dict(self.model.named_buffers())
        self.images = self.normal(12, *shape)
        self.masks = {}
        self.params["classifier.bias"].copy_(self.normal(5))
        self.normalise()

    def normal(self, *size):
        return torch.randn(size, generator=self.generator).to(next(self.model.parameters()).dtype)

    def normalise(self):
        """Scales of both signs and any shifts; statistics near those of the masked network, and any for what it removes.
        Drawn until the images matter to each class: deep and narrow networks are often deaf to them."""

        def near(norm, inputs):
            var, mean = torch.var_mean(inputs[0], (0, 2, 3))
            none = var < 1e-12
            n = norm.num_features
            norm.weight.copy_(self.normal(n).sign() * (0.5 + self.normal(n).abs()))
            norm.bias.copy_(self.normal(n) * 0.5 + 0.5)
            norm.running_mean.copy_(torch.where(none, 0, mean) + torch.where(none, 1, var.sqrt() / 2) * self.normal(n))
            norm.running_var.copy_(torch.where(none, 1, var) * (0.5 + self.normal(n).abs()))

        norms = [m for m in self.model.modules() if isinstance(m, nn.BatchNorm2d)]
        for _ in range(50):
            hooks = [norm.register_forward_pre_hook(near) for norm in norms]
            outputs = self.outputs()
            for hook in hooks:
                hook.remove()
            if outputs.std(0).min() > 0.001 * outputs.abs().max():
                break
        return self

    @property
    def weights(self):
        return {name: self.params[name] for name in prunable(self.model)}

    def prune(self, sparsity, **choices):
        self.masks = prune(self.weights, sparsity, **{"structure": "filters", "allocation": "uniform"} | choices)
        return self.normalise()

    def remove(self, **filters):
        """Mask the given filters, {layer with __ for dots: indices}."""
        for layer, gone in filters.items():
            name = layer.replace("__", ".") + ".weight"
            self.masks[name] = torch.ones_like(self.params[name], dtype=torch.bool)
            self.masks[name][gone] = False
        return self.normalise()

    def set(self, norm, weight, bias, mean, var):
        def numbers(values):
            return torch.tensor(values, dtype=torch.float64)

        self.params |= {f"{norm}.weight": numbers(weight), f"{norm}.bias": numbers(bias)}
        self.buffers |= {f"{norm}.running_mean": numbers(mean), f"{norm}.running_var": numbers(var)}

    def shrink(self):
        return shrink.shrink(self.model, self.params, self.buffers, self.masks, self.shape).network

    @torch.no_grad()
    def outputs(self, dtype=None):
        """Of the masked network, in evaluation mode; computed in `dtype` if given."""
        dtype = dtype or self.images.dtype
        tensors = self.params | {n: self.params[n] * m for n, m in self.masks.items()} | self.buffers
        tensors = {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()}
        with in_mode(self.model, training=False):
            return functional_call(self.model, tensors, (self.images.to(dtype),))


def most(case):
    """The sparsity at which every convolution keeps a single filter."""
    filters = [len(w) for w in case.weights.values() if w.dim() == 4]
    return (sum(filters) - len(filters)) / sum(filters)


@torch.no_grad()
def distance(small, case):
    """The largest difference of the outputs, relative to the largest output; images must matter to each class."""
    expected = case.outputs()
    assert expected.std(0).min() > 0.001 * expected.abs().max()
    return float((small(case.images) - expected).abs().max() / expected.abs().max())


def size(model):
    return sum(p.numel() for p in model.parameters())


def multiply_adds(model, shape):
    model = copy.deepcopy(model).float()
    params = dict(model.named_parameters())
    return metrics.multiply_adds(model, shape, {n: params[n].detach() for n in prunable(model)})[0]


def parts(small, kind):
    return [m for m in small.modules() if isinstance(m, kind)]


def added(small, part):
    """What the layers of the small network hold besides their weights: `offset`, `read`, `places` or `constants`."""
    every = [getattr(m, part) for m in parts(small, Narrow)]
    return [tensor for tensor in every if tensor is not None]


# ---- the same outputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.8])
@pytest.mark.parametrize(("name", "width", "shape"), NETWORKS)
def test_outputs_are_those_of_the_masked_network(name, width, shape, sparsity, allocation):
    case = Case(name, width, shape).prune(min(sparsity, most(Case(name, width, shape))), allocation=allocation)
    small = case.shrink()
    assert distance(small, case) < 1e-10
    assert size(small) < size(case.model) and multiply_adds(small, shape) < multiply_adds(case.model, shape)


@pytest.mark.parametrize(("name", "width", "shape"), [*NETWORKS, ("resnet56", 4, (3, 8, 6))])
def test_outputs_are_the_same_with_one_filter_in_every_layer(name, width, shape):
    case = Case(name, width, shape)
    small = case.prune(most(case)).shrink()
    assert {c.out_channels for c in parts(small, nn.Conv2d)} == {1}
    assert distance(small, case) < 1e-10


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "width", "shape"), NETWORKS)
def test_outputs_are_the_same_whichever_filters_go(name, width, shape, seed):
    case = Case(name, width, shape, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    assert distance(case.prune(0.5, score="random", allocation="global", generator=generator).shrink(), case) < 1e-10


@pytest.mark.parametrize("sparsity", [0, 0.5, 0.7])
@pytest.mark.parametrize(("name", "width", "shape"), NETWORKS)
def test_outputs_are_the_same_in_single_precision(name, width, shape, sparsity):
    case = Case(name, width, shape, torch.float32)
    small = case.prune(min(sparsity, most(case))).shrink()
    rounding = (case.outputs() - case.outputs(torch.float64)).abs().max() / case.outputs().abs().max()
    assert distance(small, case) < max(1e-5, 2 * rounding) < 1e-4  # some of these networks are ill-conditioned
    assert {t.dtype for t in small.state_dict().values()} <= {torch.float32, torch.int64}


@pytest.mark.parametrize(("name", "width", "shape"), NETWORKS)
def test_without_sparsity_the_network_is_as_it_was(name, width, shape):
    case = Case(name, width, shape)
    for masks in ({}, case.prune(0).masks):
        case.masks = masks
        small = case.shrink()
        state = small.state_dict()
        assert state.keys() == case.model.state_dict().keys()
        assert all(torch.equal(state[n], t) for n, t in (case.params | case.buffers).items())
        assert torch.equal(small(case.images), case.outputs())


def test_partly_masked_filters_stay_with_their_zeros():
    case = Case("resnet8", 4, (1, 8, 8)).prune(0.8, structure="unstructured", allocation="uniform")
    case.masks["blocks.1.conv1.weight"][2] = False
    small = case.shrink()
    gone = sum(int((~m.flatten(1).any(1)).sum()) for m in case.masks.values() if m.dim() == 4)
    assert sum(c.out_channels for c in parts(small, nn.Conv2d)) == 4 * 3 + 8 * 2 + 16 * 2 - gone
    assert small.blocks[1].conv1.out_channels < 8 and small.blocks[2].conv2.weight.eq(0).any()
    assert distance(small, case) < 1e-10


@pytest.mark.parametrize(
    "layer", ["conv", "blocks__0__conv1", "blocks__2__conv2", "blocks__2__conv1", "blocks__2__shortcut__0"]
)
def test_a_layer_without_any_filter_keeps_one(layer):
    case = Case("resnet18", 4, (1, 8, 8)).remove(**{layer: slice(None)})
    small = case.shrink()
    assert small.get_submodule(layer.replace("__", ".")).out_channels == 1
    with torch.no_grad():
        assert torch.allclose(small(case.images), case.outputs(), rtol=1e-10, atol=1e-10)


def test_weights_that_are_zero_already_go_without_a_mask():
    case = Case("vgg16", 4, (1, 8, 8))
    case.params["features.3.weight"] = case.params["features.3.weight"].clone()
    case.params["features.3.weight"][1] = 0
    small = case.shrink()
    assert small.features[3].out_channels == 3 and distance(small, case) < 1e-10


# ---- the constants ---------------------------------------------------------------------------------------------------


def test_the_offset_by_hand():
    """A removed channel that is 2 everywhere, read with weights of 1: padding takes its part away at the border."""
    case = Case("resnet8", 2, (1, 3, 4)).remove(blocks__0__conv1=[0])
    case.set("blocks.0.norm1", weight=[3, 1], bias=[5, 1], mean=[4, 1], var=[16 - 1e-5, 1])  # 5 - 4 * 3 / sqrt(16) = 2
    case.params["blocks.0.conv2.weight"] = torch.ones(2, 2, 3, 3).double()
    case.params["blocks.0.conv2.weight"][1] = -0.5
    [offset] = added(case.shrink(), "offset")
    by_hand = torch.tensor([[8.0, 12, 12, 8], [12, 18, 18, 12], [8, 12, 12, 8]]).double()
    torch.testing.assert_close(offset, torch.stack([by_hand, -0.5 * by_hand])[None], rtol=0, atol=1e-12)


def test_the_constants_by_hand():
    case = Case("resnet8", 2, (1, 3, 4)).remove(conv=[1])
    case.set("norm", weight=[1, 3], bias=[1, -5], mean=[1, 4], var=[1, 16 - 1e-5])
    small = case.shrink()
    assert small.norm.places.tolist() == [0]
    assert small.norm.constants[1].item() == pytest.approx(-8, abs=1e-12)
    stem = small.norm(small.conv(case.images))
    assert stem.shape == (12, 2, 3, 4) and torch.allclose(stem[:, 1], torch.tensor(-8.0).double())


@pytest.mark.parametrize("part", ["offset", "constants"])
@pytest.mark.parametrize(("name", "width", "shape"), NETWORKS)
def test_who_ignores_a_constant_is_found_out(name, width, shape, part):
    """A removed filter's channel is not zero: beta - mean * gamma / sqrt(var + eps)."""
    case = Case(name, width, shape).prune(0.5)
    small = case.shrink()
    found = added(small, part)
    assert bool(found) == (part == "offset" or not name.startswith("vgg"))  # a VGG has no stream to spread into
    for constant in found:
        before = constant.clone()
        constant.zero_()
        assert distance(small, case) > 1e-6
        constant.copy_(before)
    assert distance(small, case) < 1e-10


@pytest.mark.parametrize(("name", "width", "shape"), NETWORKS)
def test_who_takes_an_offset_for_the_same_at_every_position_is_found_out(name, width, shape):
    case = Case(name, width, shape).prune(0.5)
    small = case.shrink()
    first = added(small, "offset")[0]
    height, columns = first.shape[2:]
    first.copy_(first[:, :, height // 2, columns // 2, None, None].expand_as(first).clone())
    assert distance(small, case) > 1e-6


def test_a_constant_that_the_relu_cuts_off_needs_no_offset():
    case = Case("resnet8", 4, (1, 8, 8)).remove(blocks__0__conv1=[1, 2])
    case.set("blocks.0.norm1", weight=[1, 1, 1, 1], bias=[1, -9, -9, 1], mean=[0, 0, 0, 0], var=[1, 1, 1, 1])
    small = case.shrink()
    assert not added(small, "offset") and small.blocks[0].conv2.in_channels == 2
    assert distance(small, case) < 1e-10


def test_where_no_filter_goes_nothing_is_added():
    small = Case("resnet18", 4, (1, 8, 8)).remove(blocks__1__conv2=[0]).shrink()
    assert len(added(small, "places")) == 1 and not added(small, "offset")
    assert isinstance(small.blocks[1].norm2, Narrow) and isinstance(small.norm, nn.BatchNorm2d)


# ---- smaller ---------------------------------------------------------------------------------------------------------


def test_weights_of_a_small_resnet_by_hand():
    case = Case("resnet8", 4, (1, 8, 8)).remove(conv=[0], blocks__0__conv1=[0, 3], blocks__1__conv2=range(5))
    stem = 9 * 1 * 3 + 2 * 3
    block0 = 9 * (3 * 2 + 2 * 4) + 2 * (2 + 4)  # the stem's first channel is a constant
    block1 = 9 * (4 * 8 + 8 * 3) + 2 * (8 + 3)
    block2 = 9 * (6 * 16 + 16 * 16) + 2 * (16 + 16)  # the shortcut adds nothing to the first two channels of block 1
    small = case.shrink()
    assert size(small) == stem + block0 + block1 + block2 + 16 * 5 + 5
    by_hand = 9 * (64 * (3 + 3 * 2 + 2 * 4) + 16 * (4 * 8 + 8 * 3) + 4 * (6 * 16 + 16 * 16)) + 16 * 5
    assert multiply_adds(small, (1, 8, 8)) == by_hand and distance(small, case) < 1e-10


def test_weights_of_a_small_vgg_by_hand():
    widths = [1, 2, 2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16]
    case = Case("vgg16", 2, (1, 8, 8)).remove(features__0=[0], features__7=[1, 2], features__40=range(12))
    widths[1], widths[3], widths[13] = 1, 2, 4
    convs = sum(9 * a * b + 2 * b for a, b in zip(widths, widths[1:]))
    small = case.shrink()
    assert size(small) == convs + 4 * 5 + 5
    assert small.classifier.in_features == 4 and distance(small, case) < 1e-10


def test_projections_shrink():
    small = Case("resnet18", 4, (1, 8, 8)).remove(blocks__2__shortcut__0=[1, 2, 3]).shrink()
    assert small.blocks[2].shortcut[0].weight.shape == (5, 4, 1, 1)


def test_layers_say_their_new_sizes():
    small = Case("vgg16", 4, (1, 8, 8)).prune(0.5).shrink()
    for layer in parts(small, nn.Conv2d):
        assert (layer.out_channels, layer.in_channels) == layer.weight.shape[:2]
    for norm in parts(small, nn.BatchNorm2d):
        assert {norm.num_features} == {len(t) for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)}


# ---- manners ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "vgg16"])
def test_nothing_that_was_given_changes(name):
    case = Case(name, 4, (1, 8, 8), torch.float32).prune(0.5)  # whose dictionaries hold the network's own tensors
    case.model.train()
    given = (case.params, case.buffers, case.masks, case.model.state_dict(), {"images": case.images})
    before = [{n: t.clone() for n, t in tensors.items()} for tensors in given]
    noise = torch.get_rng_state()
    small = case.shrink()
    with torch.no_grad():
        for tensor in small.state_dict().values():  # they are its own
            tensor.fill_(7)
    shrink.speedup(case.model, case.params, case.buffers, case.masks, case.images, repeats=1)
    assert all(torch.equal(a[n], b[n]) for a, b in zip(given, before) for n in b)
    assert all(a.keys() == b.keys() for a, b in zip(given, before))
    assert torch.equal(noise, torch.get_rng_state())
    assert all(m.training for m in case.model.modules()) and not any(m.training for m in small.modules())


def test_a_shrunken_network_is_plain_enough_to_copy_and_save(tmp_path):
    case = Case("resnet8", 4, (1, 8, 8)).prune(0.5)
    small = case.shrink()
    torch.save(small, tmp_path / "small.pt")
    for other in (copy.deepcopy(small), torch.load(tmp_path / "small.pt", weights_only=False)):
        assert distance(other, case) < 1e-10


# ---- how much faster -------------------------------------------------------------------------------------------------


def test_speedup_measures_the_masked_network_against_the_shrunken(monkeypatch):
    case = Case("resnet8", 4, (1, 8, 8), torch.float32).prune(0.5)
    timed = []

    def latency(model, params, buffers, images, repeats):
        timed.append((functional_call(model.eval(), (params, buffers), (images,)), params, repeats))
        return [3.0, 2.0][len(timed) - 1]

    monkeypatch.setattr(metrics, "latency", latency)
    found = shrink.speedup(case.model, case.params, case.buffers, case.masks, case.images, 7)
    small = case.shrink()
    assert found == {
        "theoretical_speedup": multiply_adds(case.model, case.shape) / multiply_adds(small, case.shape),
        "measured_speedup": 1.5,
        "dense_seconds": 3.0,
        "shrunken_seconds": 2.0,
    }
    assert all(torch.allclose(scores, case.outputs(), rtol=1e-4, atol=1e-4) for scores, _, _ in timed)
    assert [sum(p.numel() for p in params.values()) for _, params, _ in timed] == [size(case.model), size(small)]
    assert [repeats for _, _, repeats in timed] == [7, 7]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_speedup_really_runs(dtype):
    case = Case("vgg16", 4, (1, 8, 8), dtype).prune(0.5)
    found = shrink.speedup(case.model, case.params, case.buffers, case.masks, case.images, repeats=3)
    assert found["theoretical_speedup"] > 2 and 0 < found["shrunken_seconds"] < 10
    assert found["measured_speedup"] == found["dense_seconds"] / found["shrunken_seconds"]
    assert {p.dtype for p in case.model.parameters()} == {dtype}


def test_zeros_that_stay_are_executed():
    case = Case("resnet8", 4, (1, 8, 8), torch.float32).prune(0.5, structure="n:m", allocation="global")
    found = shrink.speedup(case.model, case.params, case.buffers, case.masks, case.images, repeats=1)
    assert found["theoretical_speedup"] == 1
