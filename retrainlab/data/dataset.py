"""Images as tensors on the device: load(name) -> Dataset with clean splits.

Images stay uint8 until a batch of them is used (see `batches`). The splits never change: they follow from a fixed shuffle
(by hash of the index) within each class, whatever the seed and the versions of the libraries.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from retrainlab.checks import BadInput
from retrainlab.data import sources
from retrainlab.data.folders import printable
from retrainlab.data.given import Given
from retrainlab.data.reading import Augmentation, Counts, Folder, steps_per_epoch
from retrainlab.data.sources import BuiltIn
from retrainlab.paths import data_root


@dataclass(frozen=True)
class Split:
    """images: uint8 [N, C, H, W], or inputs of any other kind, float32 [N, ...]; labels: int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """Three splits on one device. mean, std: float32 [C], of each channel over the training images, in units of 0..255; None
    for inputs that a network takes as they are."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    mean: Tensor | None
    std: Tensor | None
    augmentation: Augmentation

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an image; of other inputs, all dimensions of one."""
        return tuple(self.train.images.shape[1:])

    @property
    def rank(self) -> int:
        """Dimensions of a batch: 4 for images."""
        return self.train.images.dim()

    @property
    def device(self) -> torch.device:
        return self.train.images.device

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float32 of the same shape, zero mean and unit variance over the training split; other inputs
        stay as they are."""
        if self.mean is None or self.std is None:
            return images
        return (images.float() - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Whole batches in an epoch (see `reading.steps_per_epoch`)."""
        return steps_per_epoch(self.name, len(self.train), batch_size)

    @property
    def counts(self) -> Counts:
        return Counts(len(self.train), len(self.validation), len(self.test), self.classes, self.shape)


def stratified(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` items in which every class has its share (largest remainders rounded up); sorted."""
    hashes = [hashlib.blake2b(i.to_bytes(8, "big"), digest_size=8).digest() for i in range(len(labels))]
    order = np.argsort(hashes)  # a shuffle that no version of any library changes
    classes, sizes = np.unique(labels, return_counts=True)
    exact = count * sizes / len(labels)
    take = np.floor(exact).astype(int)
    take[np.argsort(take - exact, kind="stable")[: count - take.sum()]] += 1
    ordered = labels[order]
    return np.sort(np.concatenate([order[ordered == c][:k] for c, k in zip(classes, take)]))


def load(name: str, device: str = "cpu", *, all_train: bool = False, image_size: int | None = None) -> Dataset:
    """The data set `name` on `device`, kept for the next call as long as its files stay as they are.

    name: that of a data set in `sources.SETS`, or the path of a folder in ImageFolder layout (`image_size` pixels square;
    validation and test images that it does not have, 15 % each, are split off training). all_train: train on the
    validation images, too. Raises BadInput when the files are not there, with what is wanted where, and how to get it.
    """
    source = sources.source(name, image_size)
    return _load(source, printable(name), device, all_train, str(source.where() or data_root()))


@lru_cache(maxsize=4)
def _load(source: BuiltIn | Folder | Given, shown: str, device: str, all_train: bool, where: str) -> Dataset:
    """where: makes a data set that lies elsewhere another one; a folder's `Found` changes whenever a file of it does."""
    read = source.read()
    images, labels = read.train
    rest = np.arange(len(labels))
    held = []
    for given, count in zip((read.test, read.validation), source.held_out):
        if given is None:
            index = rest[stratified(labels[rest], count)]
            rest = np.setdiff1d(rest, index)
            given = images[index], labels[index]
        held.append(given)
    seen = images[rest], labels[rest]
    if all_train:
        seen = np.concatenate([seen[0], held[1][0]]), np.concatenate([seen[1], held[1][1]])
    test, validation, train = (
        Split(torch.from_numpy(np.ascontiguousarray(x)).to(device), torch.from_numpy(y.astype(np.int64)).to(device))
        for x, y in (*held, seen)
    )
    if not len(train) or not len(validation) or not len(test):
        raise BadInput(f"{shown} has too few images ({len(labels)}) to split off validation and test images; add some.")
    classes = int(labels.max()) + 1
    if train.images.is_floating_point():
        return Dataset(shown, train, validation, test, classes, None, None, source.augmentation)
    pixels = train.images.transpose(0, 1).flatten(1)
    mean = torch.stack([channel.double().mean() for channel in pixels])
    std = torch.stack([channel.double().std(correction=0) for channel in pixels])
    if (std == 0).any():
        raise BadInput(f"A colour channel of {shown} is constant over all training images, so it cannot be normalised.")
    return Dataset(shown, train, validation, test, classes, mean.float(), std.float(), source.augmentation)


def counts(name: str, *, all_train: bool = False, image_size: int | None = None) -> Counts:
    """What `load` would find, without reading an image of a data set that has a name: they need not be here."""
    source = sources.source(name, image_size)
    if isinstance(source, BuiltIn):
        return source.holds.all_train() if all_train else source.holds
    return load(name, all_train=all_train, image_size=image_size).counts
