"""Convolutions as products of patches: the same numbers, and nothing passes between members."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrainlab.models import in_mode
from retrainlab.training.patches import convolution
from retrainlab.training.stacking import by_rules
from tests.helpers.members import SEEDS, alone, assert_alike, jobs_of, setup_of, train_together, under_masks
from tests.helpers.stacked import conv, images_of, row, tensors

MEMBERS, SICK = 4, 2
OTHERS = [0, 1, 3]


@pytest.fixture(autouse=True)
def repeated():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "padding", "size"),
    [
        ((3, 4), (3, 3), (1, 1), (1, 1), (6, 6)),
        ((16, 32), (3, 3), (2, 2), (1, 1), (8, 8)),
        ((5, 2), (1, 1), (2, 2), (0, 0), (7, 6)),
        ((2, 3), (2, 3), (3, 1), (2, 0), (9, 5)),
        ((1, 1), (4, 2), (1, 5), (0, 3), (6, 11)),
    ],
    ids=str,
)
def test_a_product_of_patches_is_a_convolution_in_groups(channels, kernel, stride, padding, size, bias):
    inputs, outputs = channels
    x = torch.randn(2, 3 * inputs, *size).double().to(memory_format=torch.channels_last).requires_grad_(True)
    weight = torch.randn(3, outputs, inputs, *kernel).double().requires_grad_(True)
    own = torch.randn(3, outputs).double().requires_grad_(True) if bias else None
    mine = convolution(x, weight, own, stride, padding)
    flat = None if own is None else own.flatten()
    wanted = F.conv2d(x, weight.flatten(0, 1), flat, stride=stride, padding=padding, groups=3)
    torch.testing.assert_close(mine, wanted, rtol=1e-12, atol=1e-12)
    assert mine.is_contiguous(memory_format=torch.channels_last)
    passed, given = torch.randn_like(wanted), [x, weight] + [own] * bias
    pairs = zip(torch.autograd.grad(mine, given, passed), torch.autograd.grad(wanted, given, passed), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# ---- a member that diverges ------------------------------------------------------------------------------------------


def inner():
    """An unfolded convolution, number 3, whose maps come from layers before it and go to layers behind it."""
    before, behind = (
        (conv(8, 8, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        (nn.BatchNorm2d(9), nn.ReLU(), conv(9, 4, 2)),
    )
    return row((8, 6, 6), *before, conv(8, 9, stride=2, padding=1), *behind).double()


def stem():
    """An unfolded convolution of few channels, of the images."""
    return row((3, 6, 6), conv(3, 9), nn.BatchNorm2d(9), nn.ReLU()).double()


class Race:
    """A network's members, of whom one can be made to diverge; `step` gives what a training step of all gives."""

    def __init__(self, model):
        self.model, self.shape = model, (model[0].in_channels, 6, 6)
        self.params, self.buffers = tensors(model, MEMBERS)
        self.images, self.loss_weights = images_of(self.shape, True, MEMBERS), torch.randn(MEMBERS, 4, 3).double()

    def spoil(self, what, value):
        tensor = {"images": self.images, "gradients": self.loss_weights, **self.params}[what]
        with torch.no_grad():
            tensor[SICK].view(-1)[1] = value

    def step(self, unfolded=True, compiled=False):
        """Scores, gradients and buffers by name."""
        forward, buffers = by_rules(self.model, unfolded), {name: b.clone() for name, b in self.buffers.items()}
        if compiled:
            forward = torch.compile(forward, dynamic=False, fullgraph=True, backend="aot_eager")
        with in_mode(self.model, training=True):
            scores = forward(self.params, buffers, self.images)
        found = torch.autograd.grad((scores * self.loss_weights).sum(), list(self.params.values()))
        return {"scores": scores.detach(), **dict(zip(self.params, found)), **buffers}


def assert_contained(sick, well, alone):
    """Others have what they have beside a healthy member; what of the sick one's is not finite without patches is not with
    them. alone: the step without patches."""
    assert all(torch.equal(sick[name][OTHERS], well[name][OTHERS]) for name in well)

    def finite(found, *names):
        return all(bool(found[name][SICK].isfinite().all()) for name in names)

    learned = [name for name in well if name.endswith(("weight", "bias"))]
    for names in (["scores"], [name for name in well if "running" in name], learned):
        assert finite(alone, *names) or not finite(sick, *names)


LAYERS = ("0.weight", "1.weight", "1.bias", "3.weight", "3.bias", "4.weight")
INNER = [(inner, what) for what in ("images", *LAYERS, "gradients")]
STEM = [(stem, what) for what in ("images", "0.weight", "0.bias", "1.weight", "gradients")]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.7e308], ids=str)
@pytest.mark.parametrize(("make", "what"), INNER + STEM)
def test_a_member_that_diverges_changes_no_other(make, what, value):
    """Pitfall: members packed into one dense weight, whose zeros pass NaN on."""
    race = Race(make())
    well = race.step()
    race.spoil(what, value)
    assert_contained(race.step(), well, race.step(unfolded=False))


@pytest.mark.parametrize("what", ["images", "gradients"])
def test_a_compiled_step_contains_a_member_that_diverges_too(what):
    torch._dynamo.reset()
    race = Race(inner())
    well = race.step(compiled=True)
    race.spoil(what, math.nan)
    assert_contained(race.step(compiled=True), well, race.step(unfolded=False))


def test_numbers_that_become_infinite_in_bfloat16_stay_with_their_member():
    """The largest numbers of float32 are finite until autocast rounds them, inside the convolution."""
    model = stem().float()
    race = Race(model)
    race.images = race.images.float()
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        well = race.step()
        race.spoil("images", torch.finfo(torch.float32).max)
        sick = race.step()
    assert race.images.isfinite().all() and not sick["scores"][SICK].isfinite().any()
    assert all(torch.equal(sick[name][OTHERS], well[name][OTHERS]) for name in well)


@pytest.mark.parametrize("seeds", [SEEDS[:1] * 4, [*SEEDS, SEEDS[2]]], ids=["shared images", "own images"])
def test_a_training_that_diverges_beside_others_ends_as_in_the_loop(seeds):
    setup = setup_of()
    calm = jobs_of(setup, under_masks(setup), steps=(12, 12, 12, 9), seeds=seeds)
    jobs = [calm[0], replace(calm[1], curve=torch.full((12,), 1e200, dtype=torch.float64)), *calm[2:]]
    mine, wanted = train_together(setup, jobs, unfolded=True), alone(setup, jobs)
    assert [t.diverged for t in mine] == [False, True, False, False] == [t.diverged for t in wanted]
    assert [t.steps for t in mine] == [t.steps for t in wanted]
    assert_alike(*([t for t in some if not t.diverged] for some in (mine, wanted)))
