"""Tiny trainings for one loop and for many members at once, and what tells two of them apart."""

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from retrainlab.config import SGD
from retrainlab.data.dataset import Augmentation, Dataset, Split
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.training import loop, masked, together
from retrainlab.training.state import Job, Setup, State
from retrainlab.training.ways import Way, mean_losses

BATCH = 8  # 5 steps an epoch
# width, height of an image and learning rate. A normalisation over few values divides by small deviations, and so makes
# rounding grow: the last maps have 2x2 pixels at least, but for resnet8.
NETWORKS = {
    "mlp": (12, 8, 0.1),
    "resnet8": (4, 8, 0.1),
    "resnet20": (2, 8, 0.01),
    "resnet56": (2, 8, 0.001),
    "resnet18": (2, 16, 0.01),
    "vgg16": (2, 32, 0.01),
    "wrn28-10": (1, 8, 0.01),
}


def images(shape, dtype=torch.float64, device="cpu") -> Dataset:
    """44 / 20 / 6 images in three classes that can be learned; mean and deviation make batches of `dtype`."""
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randint(0, 200, (3, *shape), generator=generator)

    def split(count):
        labels = torch.arange(count) % 3
        noise = torch.randint(0, 50, (count, *shape), generator=generator)
        return Split((pattern[labels] + noise).to(torch.uint8).to(device), labels.to(device))

    mean, std = (torch.full(shape[:1], value, dtype=dtype, device=device) for value in (120.0, 60.0))
    return Dataset("tiny", split(44), split(20), split(6), 3, mean, std, Augmentation(1, True))


def network(name="resnet8", seed=0, dtype=torch.float64, width=None, shape=None):
    wide, height, _ = NETWORKS[name]
    return build(name, shape=shape or (3, height, height), classes=3, width=width or wide, seed=seed).to(dtype)


def setup_of(model=None, data=None, sgd=SGD(), batch_size=BATCH) -> Setup:
    model = model or network()
    return Setup(model, data or images((3, 8, 8)), sgd, batch_size, prunable(model))


def dropout() -> Setup:
    """A network that draws random numbers as it trains."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.Flatten(), nn.Dropout(0.5)
        return setup_of(nn.Sequential(*layers, nn.Linear(4 * 36, 3)).double())


def masks_of(setup, seed=0, share=0.5):
    """Random masks; the first layer of member 1 is whole."""
    generator = torch.Generator().manual_seed(seed)
    params = dict(setup.model.named_parameters())
    masks = {name: (torch.rand(params[name].shape, generator=generator) < share) for name in setup.prunable}
    if seed == 1:
        masks[setup.prunable[0]][:] = True
    return {name: m.to(setup.data.device) for name, m in masks.items()}


def rates(steps, lr=0.1, place=0):
    """Of another slope for each place."""
    return torch.linspace(lr, lr / (2 + place), steps, dtype=torch.float64)


STEPS, SEEDS = (50, 20, 7), ((0, "t"), (0, "t"), (1, "t"))


def jobs_of(setup, make, *, name="resnet8", steps=STEPS, seeds=SEEDS, lr=0.1, **more) -> list[Job]:
    """Members that differ in all that they may; make(place) -> method, a `Masked` with zeros where its start has them."""
    out = []
    for i, (n, seed) in enumerate(zip(steps, seeds, strict=True)):
        method = make(i)
        some = next(setup.model.parameters())
        shape = setup.data.shape
        width = None if name in NETWORKS and shape[0] == 3 else 16
        start = State.of(network(name, i, some.dtype, width, shape).to(some.device), some.device)
        if isinstance(method, masked.Masked):
            start = masked.apply(start, method.masks)
        out.append(Job(start, rates(n, lr, i), seed, method, (5, 2, 1)[i % 3], **more))
    return out


def under_masks(setup):
    return lambda place: masked.Masked(masks_of(setup, place))


def train_together(setup, jobs, stop=None, forward=None, rebuild=0.0, **how):
    """forward: the network for many members in training, in place of the one that is found; rebuild: see `Way`; how: see
    `Way.of`."""
    way = replace(Way.of(setup.model, rank=setup.data.rank, **how), rebuild=rebuild)
    if forward is not None:
        way = replace(way, losses=partial(mean_losses, forward))
    out = dict(together.train(setup, jobs, stop, way))
    return [out[i] for i in range(len(jobs))]


def alone(setup, jobs, stop=lambda: None):
    """stop: makes one for each job."""
    return [loop.train(setup, job, stop()) for job in jobs]


def tensors(state: State) -> dict[str, torch.Tensor]:
    parts = {"params": state.params, "buffers": state.buffers, "momentum": state.momentum}
    return {f"{part}/{name}": t for part, group in parts.items() for name, t in group.items()}


def identical(a: State, b: State) -> bool:
    x, y = tensors(a), tensors(b)
    return list(x) == list(y) and all(torch.equal(x[name], y[name]) for name in x)


def assert_alike(mine, wanted, tolerance=1e-10):
    assert len(mine) == len(wanted)
    for m, w in zip(mine, wanted):
        x, y = tensors(m.state), tensors(w.state)
        assert list(x) == list(y)
        for name in x:
            torch.testing.assert_close(
                x[name], y[name], rtol=0, atol=tolerance, msg=lambda words, n=name: f"{n}: {words}"
            )
        assert (m.steps, m.stopped) == (w.steps, w.stopped)
        assert [(p.step, p.accuracy) for p in m.points] == [(p.step, p.accuracy) for p in w.points]
        assert [p.loss for p in m.points] == pytest.approx([p.loss for p in w.points], rel=0, abs=tolerance)
        assert m.points[0].train_loss is w.points[0].train_loss is None or m.steps == 0
        losses = [[p.train_loss for p in t.points[1:]] for t in (m, w)]
        assert losses[0] == pytest.approx(losses[1], rel=max(1e-6, tolerance))  # both sum in float32


def after(steps):
    calls = itertools.count()
    return lambda: next(calls) >= steps
