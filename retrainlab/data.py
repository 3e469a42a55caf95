"""Images as tensors on the device: load(name) -> Dataset with clean splits, and seeded batches with augmentation.

Images stay uint8 until a batch is used; then they are cropped, flipped and normalised there, a whole batch at once.
Validation and test images are never augmented, and the splits never change: they follow from a fixed shuffle (by hash
of the index) within each class, whatever the seed and the versions of the libraries.
"""

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from retrainlab.config import DATASETS
from retrainlab.errors import BadInput, choose
from retrainlab.paths import data_root

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_SHA256 = "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f"


@dataclass(frozen=True)
class Split:
    """images: uint8 [N, C, H, W]; labels: int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Augmentation:
    """pad: pixels of zero padding before a random crop back to size; flip: mirror each image with probability 1/2."""

    pad: int = 0
    flip: bool = False


@dataclass(frozen=True)
class Dataset:
    """Three splits on one device. mean, std: float [C], per channel over the training images, in units of 0..255."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    mean: Tensor
    std: Tensor
    augmentation: Augmentation

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return tuple(self.train.images.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.train.images.device

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> float32 of the same shape, zero mean and unit variance over the training split."""
        return (images.float() - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Whole batches in an epoch; the images left over change with every epoch's order. BadInput if there is none."""
        if batch_size > len(self.train):
            raise BadInput(
                f"The batch size is {batch_size}, but {self.name} has {len(self.train)} training images; "
                "give a batch size of at most that."
            )
        return len(self.train) // batch_size


# ---- seeded streams --------------------------------------------------------------------------------------------------


def stream(*name: int | str) -> torch.Generator:
    """A CPU generator of its own for everything named differently: stream(seed, "batches", epoch).

    It lives on the CPU so that every device sees the same batches.
    """
    digest = hashlib.sha256("/".join(map(str, name)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _fixed_order(count: int) -> np.ndarray:
    """A shuffle of range(count) that no version of any library changes: by hash of the index."""
    return np.argsort([hashlib.blake2b(i.to_bytes(8, "big"), digest_size=8).digest() for i in range(count)])


def stratified(labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` items in which every class has its share (largest remainders rounded up); sorted."""
    order = _fixed_order(len(labels))
    classes, sizes = np.unique(labels, return_counts=True)
    exact = count * sizes / len(labels)
    take = np.floor(exact).astype(int)
    take[np.argsort(take - exact, kind="stable")[: count - take.sum()]] += 1
    ordered = labels[order]
    return np.sort(np.concatenate([order[ordered == c][:k] for c, k in zip(classes, take)]))


# ---- batches ---------------------------------------------------------------------------------------------------------


def crop_and_flip(images: Tensor, pad: int, shift: Tensor, flip: Tensor) -> Tensor:
    """Shift each image by its own offset within a zero border of `pad` pixels, then mirror where `flip`.

    images: [B, C, H, W]; shift: int64 [B, 2] in 0..2*pad, (pad, pad) changes nothing; flip: bool [B].
    """
    b, c, h, w = images.shape
    padded = F.pad(images, (pad, pad, pad, pad))
    column = torch.arange(w, device=images.device).expand(b, w)
    column = torch.where(flip[:, None], w - 1 - column, column) + shift[:, 1:]
    row = torch.arange(h, device=images.device) + shift[:, :1]
    batch = torch.arange(b, device=images.device).view(b, 1, 1, 1)
    channel = torch.arange(c, device=images.device).view(1, c, 1, 1)
    return padded[batch, channel, row[:, None, :, None], column[:, None, None, :]]


def batches(
    data: Dataset, batch_size: int, steps: int, seed: tuple[int | str, ...], augment: bool = True
) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` training batches (images float32 [B, C, H, W], labels [B]), reshuffled each epoch, all from `seed`.

    The same seed gives the same images in the same order with the same crops on every device. Each epoch's random
    numbers are drawn at once and moved to the device once.
    """
    per_epoch = data.steps_per_epoch(batch_size)
    split, (pad, flip) = data.train, (data.augmentation.pad, data.augmentation.flip)
    augment = augment and (pad > 0 or flip)
    for epoch in range(-(-steps // per_epoch)):
        generator = stream(*seed, epoch)
        order = torch.randperm(len(split), generator=generator)[: per_epoch * batch_size].to(data.device)
        shift = torch.randint(0, 2 * pad + 1, (len(order), 2), generator=generator).to(data.device)
        mirror = (torch.rand(len(order), generator=generator) < (0.5 if flip else 0)).to(data.device)
        for step in range(min(per_epoch, steps - epoch * per_epoch)):
            part = slice(step * batch_size, (step + 1) * batch_size)
            images = split.images[order[part]]
            if augment:
                images = crop_and_flip(images, pad, shift[part], mirror[part])
            yield data.normalise(images), split.labels[order[part]]


def clean_batches(data: Dataset, split: Split, batch_size: int = 1024) -> Iterator[tuple[Tensor, Tensor]]:
    """All of `split` in order, normalised and otherwise untouched, as (images float32, labels)."""
    for start in range(0, len(split), batch_size):
        part = slice(start, start + batch_size)
        yield data.normalise(split.images[part]), split.labels[part]


# ---- loading ---------------------------------------------------------------------------------------------------------


def fingerprint(name: str, image_size: int | None = None) -> str:
    """What identifies the images for the store. Built-in data sets are checked against their published content when
    they are loaded, so that their name and the version of our splits suffice; a folder is hashed file by file."""
    if name in DATASETS:
        return f"{name}/1"
    digest = hashlib.sha256(f"{image_size}".encode())
    folder = _image_folder(name)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder)}:".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"folder/{digest.hexdigest()[:16]}"


@lru_cache(maxsize=4)
def load(name: str, device: str = "cpu", *, all_train: bool = False, image_size: int | None = None) -> Dataset:
    """The data set `name` on `device`, kept for the next call.

    name: `digits` (1,797 images of 8x8, embedded in scikit-learn: 1,000 / 257 / 540), `fashion-mnist`
    (55,000 / 5,000 / 10,000 of 28x28), `cifar10`, `cifar100` (45,000 / 5,000 / 10,000 of 32x32), or the path of a
    folder in ImageFolder layout (`image_size` pixels square). all_train adds the validation images to training.
    Raises BadInput when the files are not there, with what is wanted where and the command that gets it.
    """
    if name == "digits":
        data = _digits()
    elif name == "fashion-mnist":
        data = _from_official(name, *_fashion(), validation=5000, augmentation=Augmentation(2, True))
    elif name in ("cifar10", "cifar100"):
        data = _from_official(name, *_cifar(name), validation=5000, augmentation=Augmentation(4, True))
    else:
        data = _folder(name, image_size or 224)
    if all_train:
        both = (data.train, data.validation)
        data = replace(data, train=Split(torch.cat([s.images for s in both]), torch.cat([s.labels for s in both])))
    pixels = data.train.images.transpose(0, 1).flatten(1)
    mean = torch.stack([channel.double().mean() for channel in pixels])
    std = torch.stack([channel.double().std(correction=0) for channel in pixels])
    if (std == 0).any():
        raise BadInput(f"A colour channel of {name} is constant over all training images, so it cannot be normalised.")
    parts = {
        part: Split(split.images.to(device), split.labels.to(device))
        for part in ("train", "validation", "test")
        for split in [getattr(data, part)]
    }
    return replace(data, mean=mean.float().to(device), std=std.float().to(device), **parts)


def _split(images: np.ndarray, labels: np.ndarray, index: np.ndarray) -> Split:
    return Split(
        torch.from_numpy(np.ascontiguousarray(images[index])), torch.from_numpy(labels[index].astype(np.int64))
    )


def _dataset(name: str, train: Split, validation: Split, test: Split, augmentation: Augmentation) -> Dataset:
    classes = int(train.labels.max()) + 1
    return Dataset(name, train, validation, test, classes, torch.empty(0), torch.empty(0), augmentation)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images * 15).astype(np.uint8)[:, None]  # 0..16 -> 0..240, exactly
    test = stratified(bunch.target, 540)
    rest = np.setdiff1d(np.arange(len(images)), test)
    validation = rest[stratified(bunch.target[rest], 257)]
    train = np.setdiff1d(rest, validation)
    splits = (_split(images, bunch.target, index) for index in (train, validation, test))
    return _dataset("digits", *splits, Augmentation(1, False))


def _from_official(name: str, train: tuple, test: tuple, validation: int, augmentation: Augmentation) -> Dataset:
    images, labels = train
    held = stratified(labels, validation)
    rest = np.setdiff1d(np.arange(len(labels)), held)
    return _dataset(
        name,
        _split(images, labels, rest),
        _split(images, labels, held),
        _split(*test, np.arange(len(test[1]))),
        augmentation,
    )


def _idx(path: Path) -> np.ndarray:
    """Read one (gzipped) file of MNIST's IDX format: 0, 0, type 8 (bytes), rank, big-endian sizes, then the bytes."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        raw = file.read()
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def fashion_folder() -> Path | None:
    """The folder with Fashion-MNIST's four files: torchvision's place under the data root, or Debian's package."""
    for folder in (data_root() / "FashionMNIST" / "raw", DEBIAN_FASHION):
        if all(any((folder / f"{stem}{end}").is_file() for end in ("", ".gz")) for stem in _FASHION_FILES):
            return folder
    return None


_FASHION_FILES = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]


def _fashion() -> tuple[tuple, tuple]:
    folder = fashion_folder()
    if folder is None:
        raise BadInput(
            f"Fashion-MNIST is not here: its files {', '.join(f + '.gz' for f in _FASHION_FILES)} are wanted in "
            f"{data_root() / 'FashionMNIST' / 'raw'} or {DEBIAN_FASHION}; get them with `retrainlab data fashion-mnist` "
            "or, on Debian, `apt install dataset-fashion-mnist`."
        )
    try:
        arrays = [
            _idx(next(p for end in ("", ".gz") if (p := folder / f"{stem}{end}").is_file())) for stem in _FASHION_FILES
        ]
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise BadInput(
            f"A file of Fashion-MNIST in {folder} cannot be read ({error}); delete it and get it again."
        ) from None
    if hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest() != FASHION_SHA256:
        raise BadInput(f"The files in {folder} are not those of Fashion-MNIST; delete them and get them again.")
    return (arrays[0][:, None], arrays[1]), (arrays[2][:, None], arrays[3])


def _cifar(name: str) -> tuple[tuple, tuple]:
    from torchvision import datasets

    maker = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    try:
        parts = [maker(str(data_root()), train=train) for train in (True, False)]
    except RuntimeError:
        raise BadInput(
            f"{name} is not here: the folder {maker.base_folder} (from {maker.filename}) is wanted in {data_root()}; "
            f"get it with `retrainlab data {name}`, or set RETRAINLAB_DATA to the folder that holds it."
        ) from None
    return tuple((p.data.transpose(0, 3, 1, 2), np.array(p.targets)) for p in parts)


def _image_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir() or not any(p.is_dir() for p in folder.iterdir()):
        raise BadInput(
            f"There is no image folder {folder}: wanted is a folder with one folder of images per class, or with train/ "
            "(and validation/, test/) that hold them; or name a data set: " + ", ".join(DATASETS) + "."
        )
    return folder


def _folder(name: str, size: int) -> Dataset:
    """ImageFolder layout: classes under NAME/, or under NAME/train/ and, if present, NAME/validation/ and NAME/test/.

    What is not there is split off the training images, 15 % each.
    """
    from torchvision import datasets, transforms

    root = _image_folder(name)
    transform = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()])

    def read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
        try:
            images = datasets.ImageFolder(str(folder), transform)
            pairs = [images[i] for i in range(len(images))]
        except OSError as error:
            raise BadInput(f"The images in {folder} cannot be read: {error}") from None
        return torch.stack([p[0] for p in pairs]).numpy(), np.array([p[1] for p in pairs])

    def part(*names: str) -> Path | None:
        return next((root / n for n in names if (root / n).is_dir()), None)

    images, labels = read(part("train") or root)
    rest = np.arange(len(labels))
    held = {}
    for what, folder in (("test", part("test")), ("validation", part("validation", "val"))):
        if folder is not None:
            held[what] = _split(*(pair := read(folder)), np.arange(len(pair[1])))
            continue
        index = rest[stratified(labels[rest], round(0.15 * len(labels)))]
        held[what] = _split(images, labels, index)
        rest = np.setdiff1d(rest, index)
    return _dataset(name, _split(images, labels, rest), held["validation"], held["test"], Augmentation(size // 8, True))


def download(name: str) -> Path:
    """Fetch a data set from its public home through torchvision; return the data root. BadInput without a network."""
    choose(name, [d for d in DATASETS if d != "digits"], "data set to download")
    from torchvision import datasets

    maker = {"fashion-mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    try:
        maker(str(data_root()), download=True)
    except Exception as error:  # torchvision raises whatever its transport does
        raise BadInput(
            f"{name} could not be fetched ({type(error).__name__}: {error}); on a machine with a network run "
            f"`retrainlab data {name}` and copy its {data_root()} here."
        ) from None
    return data_root()


def missing() -> dict[str, str]:
    """For each data set that is not here, the command that gets it; read from the file names alone."""
    out = {}
    if fashion_folder() is None:
        out["fashion-mnist"] = "retrainlab data fashion-mnist"
    for name, folder in (("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")):
        if not (data_root() / folder).is_dir():
            out[name] = f"retrainlab data {name}"
    return out
