"""Where images come from: files and packages read into numpy arrays, with the official splits where there are some.

Nothing is downloaded by reading; what is missing is named with the command that gets it.
"""

import gzip
import hashlib
import os.path
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrainlab.checks import BadInput, choose
from retrainlab.config import DATASETS
from retrainlab.data import folders, reading
from retrainlab.data.folders import Found, Images
from retrainlab.paths import command, data_root

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_SHA256 = "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f"
_FASHION_FILES = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]

CONTENT = {  # of the built-in data sets, in the words of `reading.words`
    "digits": "10 classes; 1,000 train, 257 validation, 540 test images; 8 x 8 pixels; mode L",
    "fashion-mnist": "10 classes; 55,000 train, 5,000 validation, 10,000 test images; 28 x 28 pixels; mode L",
    "cifar10": "10 classes; 45,000 train, 5,000 validation, 10,000 test images; 32 x 32 pixels; mode RGB",
    "cifar100": "100 classes; 45,000 train, 5,000 validation, 10,000 test images; 32 x 32 pixels; mode RGB",
}


@dataclass(frozen=True)
class Source:
    """Training images, and the official validation and test images where the source has them."""

    train: Images
    validation: Images | None = None
    test: Images | None = None


def read(name: str, image_size: int | None, there: Found | str) -> Source:
    """The images of a name of DATASETS, or of a folder at `image_size` pixels (224 if None); there: its `signature`.

    Raises BadInput if they are not there, or are not what they should be.
    """
    if isinstance(there, Found):
        return Source(*reading.read(there, image_size))
    return {"digits": _digits, "fashion-mnist": _fashion}.get(name, lambda: _cifar(name))()


def signature(name: str) -> Found | str:
    """What is there under that name, which changes whenever a folder's files do: all that is read of a folder, without
    reading it; for a built-in data set, where it would be read."""
    if name not in DATASETS:
        return folders.find(name)
    if name == "digits":
        return ""
    return str(fashion_folder() if name == "fashion-mnist" else data_root())


def fingerprint(name: str, image_size: int | None = None) -> str:
    """What identifies the images for the store. Built-in data sets are checked against their published content when
    they are read, so that their name and the version of our splits suffice; a folder is hashed file by file."""
    return f"{name}/1" if name in DATASETS else reading.fingerprint(folders.find(name), image_size)


def content(name: str, image_size: int | None = None) -> str:
    """What is in a data set, in a sentence: classes, splits, counts, sizes, modes, and what of a folder is not read."""
    return f"{name}: {CONTENT[name]}." if name in DATASETS else reading.words(folders.find(name), image_size)


def _root() -> Path:
    if (root := data_root()) is None:
        raise BadInput("There is no home directory to keep data sets in; set RETRAINLAB_DATA to a folder for them.")
    return root


def _digits() -> Source:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Source(((bunch.images * 15).astype(np.uint8)[:, None], bunch.target))  # 0..16 -> 0..240, exactly


def _idx(path: Path) -> np.ndarray:
    """Read one (gzipped) file of MNIST's IDX format: 0, 0, type 8 (bytes), rank, big-endian sizes, then the bytes."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        raw = file.read()
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def fashion_folder() -> Path | None:
    """The folder with Fashion-MNIST's four files: torchvision's place under the data root, or Debian's package."""
    root = data_root()
    for folder in ([root / "FashionMNIST" / "raw"] if root else []) + [DEBIAN_FASHION]:
        if all(any(os.path.isfile(folder / f"{stem}{end}") for end in ("", ".gz")) for stem in _FASHION_FILES):
            return folder
    return None


def _fashion() -> Source:
    folder = fashion_folder()
    if folder is None:
        raise BadInput(
            f"Fashion-MNIST is not here: its files {', '.join(f + '.gz' for f in _FASHION_FILES)} are wanted in "
            f"{_root() / 'FashionMNIST' / 'raw'} or {DEBIAN_FASHION}; get them with "
            f"`{command('data fashion-mnist')}` or, on Debian, `apt install dataset-fashion-mnist`."
        )
    try:
        arrays = [
            _idx(next(p for end in ("", ".gz") if os.path.isfile(p := folder / f"{stem}{end}")))
            for stem in _FASHION_FILES
        ]
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise BadInput(
            f"A file of Fashion-MNIST in {folder} cannot be read ({error}); delete it and get it again."
        ) from None
    if hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest() != FASHION_SHA256:
        raise BadInput(f"The files in {folder} are not those of Fashion-MNIST; delete them and get them again.")
    return Source((arrays[0][:, None], arrays[1]), test=(arrays[2][:, None], arrays[3]))


def _cifar(name: str) -> Source:
    from torchvision import datasets

    maker = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    try:
        train, test = (maker(str(_root()), train=part) for part in (True, False))
    except (RuntimeError, OSError):
        raise BadInput(
            f"{name} is not here, or not whole, or may not be read: the folder {maker.base_folder} (from "
            f"{maker.filename}) is wanted in {_root()}; get it with `{command(f'data {name}')}`, or set RETRAINLAB_DATA "
            "to the folder that holds it."
        ) from None
    train, test = ((p.data.transpose(0, 3, 1, 2), np.array(p.targets)) for p in (train, test))
    return Source(train, test=test)


def download(name: str) -> Path:
    """Fetch a data set from its public home through torchvision; return the data root. BadInput without a network."""
    choose(name, [d for d in DATASETS if d != "digits"], "data set to download")
    from torchvision import datasets

    maker = {"fashion-mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    root = _root()
    try:
        maker(str(root), download=True)
    except Exception as error:  # torchvision raises whatever its transport does
        raise BadInput(
            f"{name} could not be fetched ({type(error).__name__}: {error}); on a machine with a network run "
            f"`retrainlab data {name}` and copy its {root} here."
        ) from None
    return root


def missing() -> dict[str, str]:
    """For each data set that is not here, the command that gets it; read from the file names alone."""
    out, root = {}, data_root()
    if fashion_folder() is None:
        out["fashion-mnist"] = command("data fashion-mnist")
    for name, file in (("cifar10", "cifar-10-batches-py/data_batch_1"), ("cifar100", "cifar-100-python/train")):
        if root is None or not os.path.isfile(root / file):
            out[name] = command(f"data {name}")
    return out
