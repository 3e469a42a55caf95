"""Packs: how many members make one, the weights they multiply with, and that nothing passes between their members."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from retrainlab.models import in_mode
from retrainlab.training.packs import block_diagonal, size
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


@pytest.mark.parametrize(
    ("members", "outputs", "each"),
    [
        (16, 16, 8),  # the stem of a CIFAR ResNet, and of a wide one
        (16, 32, 8),  # its first convolution with a stride
        (16, 64, 4),  # its second; the stem of ResNet-18 and VGG-16
        (16, 128, 1),  # wide enough by itself
        (64, 48, 4),  # 192 channels are closer to 256 than 384 are
        (40, 48, 5),  # 240 are closer still
        (40, 30, 8),
        (12, 32, 6),
        (10, 16, 5),
        (14, 2, 7),
        (4, 96, 4),
        (4, 97, 1),  # too many for the smallest pack
        (5, 77, 1),
        (8, 77, 4),
        *((members, 16, members) for members in range(4, 9)),
        *((members, 16, 1) for members in (1, 2, 3, 9, 11, 13, 22)),  # no divisor from 4 to 8
    ],
)
def test_as_many_members_are_packed_as_make_a_fast_pack(members, outputs, each):
    assert size(members, outputs) == each


def test_weights_of_a_pack_stand_on_the_diagonal():
    weight = torch.randn(6, 2, 5, 3, 1)
    dense = block_diagonal(weight, 3)
    packs = [[torch.block_diag(*(w[:, :, i, 0] for w in pack)) for i in range(3)] for pack in weight.split(3)]
    assert torch.equal(dense, torch.cat([torch.stack(pack, -1) for pack in packs])[..., None])
    assert dense.is_contiguous(memory_format=torch.channels_last)


def test_weights_that_are_not_finite_stay_in_their_own_blocks():
    """Pitfall: blocks cut out by a product with 0 and 1, which 0 * NaN passes."""
    weight = torch.ones(4, 2, 2, 3, 3)
    weight[1], weight[2] = math.nan, math.inf
    weight.requires_grad_(True)
    dense = block_diagonal(weight, 4)
    assert dense.isfinite().logical_not().sum() == 2 * weight[0].numel()
    passed = torch.full_like(dense, math.nan)
    passed[:2, :2] = 7
    (gradient,) = torch.autograd.grad(dense, weight, passed)
    assert (gradient[0] == 7).all() and gradient[1:].isnan().all()


# ---- a member that diverges ------------------------------------------------------------------------------------------


def inner():
    """A packed convolution, number 3, whose maps come from layers before it and go to layers behind it."""
    before, behind = (
        (conv(8, 8, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        (nn.BatchNorm2d(9), nn.ReLU(), conv(9, 4, 2)),
    )
    return row((8, 6, 6), *before, conv(8, 9, stride=2, padding=1), *behind).double()


def stem():
    """A packed convolution of few channels, of the images."""
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

    def step(self, packed=True, compiled=False):
        """Scores, gradients and buffers by name."""
        forward, buffers = by_rules(self.model, packed), {name: b.clone() for name, b in self.buffers.items()}
        if compiled:
            forward = torch.compile(forward, dynamic=False, fullgraph=True, backend="aot_eager")
        with in_mode(self.model, training=True):
            scores = forward(self.params, buffers, self.images)
        found = torch.autograd.grad((scores * self.loss_weights).sum(), list(self.params.values()))
        return {"scores": scores.detach(), **dict(zip(self.params, found)), **buffers}


def assert_contained(sick, well, alone):
    """Others have what they have beside a healthy member; what of the sick one's is not finite without packs is not with
    packs. alone: the step without packs."""
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
    """Pitfall: 0 * NaN is NaN in a product with blocks on a diagonal."""
    race = Race(make())
    well = race.step()
    race.spoil(what, value)
    assert_contained(race.step(), well, race.step(packed=False))


@pytest.mark.parametrize("what", ["images", "gradients"])
def test_a_compiled_step_contains_a_member_that_diverges_too(what):
    torch._dynamo.reset()
    race = Race(inner())
    well = race.step(compiled=True)
    race.spoil(what, math.nan)
    assert_contained(race.step(compiled=True), well, race.step(packed=False))


def test_maps_that_are_not_finite_are_seen_behind_weights_of_0():
    """Pitfall: NaN replaced by a number, which a pruned weight then turns into 0."""
    race = Race(inner())
    with torch.no_grad():
        race.params["3.weight"][SICK] = 0
    race.spoil("0.weight", math.nan)
    assert race.step()["scores"][SICK].isnan().all()


def test_a_gradient_that_is_not_finite_makes_the_whole_gradient_of_the_packed_weight_nan():
    race = Race(inner())
    race.spoil("gradients", math.inf)
    gradient = race.step()["3.weight"]
    assert gradient[SICK].isnan().all() and gradient[OTHERS].isfinite().all()


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
def test_a_training_that_diverges_in_a_pack_ends_as_in_the_loop(seeds):
    setup = setup_of()
    calm = jobs_of(setup, under_masks(setup), steps=(12, 12, 12, 9), seeds=seeds)
    jobs = [calm[0], replace(calm[1], curve=torch.full((12,), 1e200, dtype=torch.float64)), *calm[2:]]
    mine, wanted = train_together(setup, jobs, packed=True), alone(setup, jobs)
    assert [t.diverged for t in mine] == [False, True, False, False] == [t.diverged for t in wanted]
    assert [t.steps for t in mine] == [t.steps for t in wanted]
    assert_alike(*([t for t in some if not t.diverged] for some in (mine, wanted)))
