"""Seeded batches with augmentation: cropped, flipped and normalised on the device, a whole batch at once.

The same seed gives the same images in the same order with the same crops on every device, whether one training takes its
batches from `batches` or many take theirs from a `Feed`. Validation and test images are never augmented.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from retrainlab.data.dataset import Dataset, Split
from retrainlab.noise import stream

Seed = tuple[int | str, ...]


@dataclass(frozen=True)
class Draws:
    """The images of an epoch, in order, and what is done to each. index, int64 [N]: its place among the training images;
    shift, int64 [N, 2], and mirror, bool [N]: see `crop_and_flip`."""

    index: Tensor
    shift: Tensor
    mirror: Tensor

    @staticmethod
    def of(data: Dataset, batch_size: int, seed: Seed, epoch: int) -> "Draws":
        """All that `seed` draws for the whole batches of an epoch (from 0), on the CPU."""
        generator, count = stream(*seed, epoch), data.steps_per_epoch(batch_size) * batch_size
        pad, flip = data.augmentation.pad, data.augmentation.flip
        index = torch.randperm(len(data.train), generator=generator)[:count]
        shift = torch.randint(0, 2 * pad + 1, (count, 2), generator=generator)
        return Draws(index, shift, torch.rand(count, generator=generator) < (0.5 if flip else 0))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Draws":
        """The draws with `change(t)` in place of each tensor t."""
        return Draws(change(self.index), change(self.shift), change(self.mirror))

    def batch(self, data: Dataset, augment: bool) -> tuple[Tensor, Tensor]:
        """(images float32 [N, C, H, W], labels [N]), all at once, where the draws and the data lie."""
        images, (pad, flip) = data.train.images[self.index], (data.augmentation.pad, data.augmentation.flip)
        if augment and (pad > 0 or flip):
            images = crop_and_flip(images, pad, self.shift, self.mirror)
        return data.normalise(images), data.train.labels[self.index]


def crop_and_flip(images: Tensor, pad: int, shift: Tensor, flip: Tensor) -> Tensor:
    """Shift each image by its own offset within a zero border of `pad` pixels, then mirror where `flip`.

    images: [B, C, H, W]; shift: int64 [B, 2] in 0..2*pad, (pad, pad) changes nothing; flip: bool [B].
    """
    b, c, h, w = images.shape
    column = torch.arange(w, device=images.device).expand(b, w)
    column = torch.where(flip[:, None], w - 1 - column, column) + shift[:, 1:]
    row = torch.arange(h, device=images.device) + shift[:, :1]
    batch = torch.arange(b, device=images.device).view(b, 1, 1, 1)
    channel = torch.arange(c, device=images.device).view(1, c, 1, 1)
    return F.pad(images, (pad, pad, pad, pad))[batch, channel, row[:, None, :, None], column[:, None, None, :]]


def batches(
    data: Dataset, batch_size: int, steps: int, seed: Seed, augment: bool = True, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` training batches (images float32 [B, C, H, W], labels [B]), reshuffled each epoch, all from `seed`; without
    those before `first`. Each epoch's random numbers are drawn at once and moved to the device once."""
    per_epoch = data.steps_per_epoch(batch_size)
    for epoch in range(first // per_epoch, -(-steps // per_epoch)):
        draws = Draws.of(data, batch_size, seed, epoch).map(lambda t: t.to(data.device))
        for step in range(max(0, first - epoch * per_epoch), min(per_epoch, steps - epoch * per_epoch)):
            part = slice(step * batch_size, (step + 1) * batch_size)
            yield draws.map(lambda t: t[part]).batch(data, augment)  # noqa: B023


class Feed:
    """The batches of several seeds, one of each at once, picked by a counter on the device, so that a recorded step can
    make them."""

    def __init__(self, data: Dataset, batch_size: int, seeds: Sequence[Seed], augment: bool):
        self.data, self.batch_size, self.seeds, self.augment = data, batch_size, list(seeds), augment
        self.per_epoch = data.steps_per_epoch(batch_size)
        shape, empty = (len(self.seeds), self.per_epoch, batch_size), partial(torch.empty, device=data.device)
        shift = empty((*shape, 2), dtype=torch.int64)
        self.draws = Draws(empty(shape, dtype=torch.int64), shift, empty(shape, dtype=torch.bool))

    def fill(self, epoch: int) -> None:
        """Lay out what all seeds draw for an epoch; must be called before its first batch."""
        for i, seed in enumerate(self.seeds):
            own = Draws.of(self.data, self.batch_size, seed, epoch)
            for there, drawn in zip(vars(self.draws).values(), vars(own).values()):
                drawn = drawn.pin_memory() if self.data.device.type == "cuda" else drawn  # else the host waits here
                there[i].copy_(drawn.view_as(there[i]), non_blocking=True)

    def batch(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """(images float32 [S, B, C, H, W], labels [S, B]) of step `step`, int64 [1], counted over all epochs."""
        at = step % self.per_epoch
        images, labels = self.draws.map(lambda t: t.index_select(1, at).flatten(0, 2)).batch(self.data, self.augment)
        return images.unflatten(0, (len(self.seeds), -1)), labels.view(len(self.seeds), -1)


def clean_batches(data: Dataset, split: Split, batch_size: int = 1024) -> Iterator[tuple[Tensor, Tensor]]:
    """All of `split` in order, normalised and otherwise untouched, as (images float32, labels)."""
    for start in range(0, len(split), batch_size):
        part = slice(start, start + batch_size)
        yield data.normalise(split.images[part]), split.labels[part]
