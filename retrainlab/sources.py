"""Where images come from: files and packages read into numpy arrays, with the official splits where there are some.

Nothing is downloaded by reading; what is missing is named with the command that gets it.
"""

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from retrainlab.config import DATASETS
from retrainlab.errors import BadInput, choose
from retrainlab.paths import command, data_root

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_SHA256 = "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f"
_FASHION_FILES = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]

Images = tuple[np.ndarray, np.ndarray]  # uint8 [N, C, H, W] and class numbers [N]


@dataclass(frozen=True)
class Source:
    """Training images, and the official validation and test images where the source has them."""

    train: Images
    validation: Images | None = None
    test: Images | None = None


def read(name: str, image_size: int | None = None) -> Source:
    """The images of a name of DATASETS, or of a folder in ImageFolder layout at `image_size` pixels (224 if None).

    Raises BadInput if they are not there, or are not what they should be.
    """
    if name == "digits":
        return _digits()
    if name == "fashion-mnist":
        return _fashion()
    if name in ("cifar10", "cifar100"):
        return _cifar(name)
    return _folder(name, image_size or 224)


def fingerprint(name: str, image_size: int | None = None) -> str:
    """What identifies the images for the store. Built-in data sets are checked against their published content when
    they are read, so that their name and the version of our splits suffice; a folder is hashed file by file."""
    if name in DATASETS:
        return f"{name}/1"
    return _hash_folder(name, image_size, signature(name))


def signature(name: str) -> tuple:
    """Changes whenever a folder's files do, without reading them; for a built-in data set, where it would be read."""
    if name == "digits":
        return ()
    if name in DATASETS:
        return (str(fashion_folder() if name == "fashion-mnist" else data_root()),)
    folder = _image_folder(name)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)


@lru_cache(maxsize=8)
def _hash_folder(name: str, image_size: int | None, _: tuple) -> str:
    digest = hashlib.sha256(f"{image_size}".encode())
    folder = _image_folder(name)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder)}:".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"folder/{digest.hexdigest()[:16]}"


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
        if all(any((folder / f"{stem}{end}").is_file() for end in ("", ".gz")) for stem in _FASHION_FILES):
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
            _idx(next(p for end in ("", ".gz") if (p := folder / f"{stem}{end}").is_file())) for stem in _FASHION_FILES
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
    except RuntimeError:
        raise BadInput(
            f"{name} is not here, or not whole: the folder {maker.base_folder} (from {maker.filename}) is wanted in "
            f"{_root()}; get it with `{command(f'data {name}')}`, or set RETRAINLAB_DATA to the folder that holds it."
        ) from None
    train, test = ((p.data.transpose(0, 3, 1, 2), np.array(p.targets)) for p in (train, test))
    return Source(train, test=test)


def _image_folder(name: str) -> Path:
    folder = Path(os.path.expanduser(name))  # which leaves a ~ of nobody's as it is
    if not folder.is_dir() or not any(p.is_dir() for p in folder.iterdir()):
        raise BadInput(
            f"There is no image folder {folder}: wanted is a folder with one folder of images per class, or with "
            "train/ (and validation/, test/) that hold them; or name a data set: " + ", ".join(DATASETS) + "."
        )
    return folder


def _folder(name: str, size: int) -> Source:
    """ImageFolder layout: classes under NAME/, or under NAME/train/ and, if present, NAME/validation/ and NAME/test/."""
    import torch
    from torchvision import datasets, transforms

    root = _image_folder(name)
    transform = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()])

    def images(folder: Path, classes: list[str] | None = None) -> tuple[Images, list[str]]:
        """The images of one part, their classes numbered as in training."""
        try:
            found = datasets.ImageFolder(str(folder), transform)
            pairs = [found[i] for i in range(len(found))]
        except OSError as error:
            raise BadInput(f"The images in {folder} cannot be read ({error}); remove what is no image.") from None
        classes = classes or found.classes
        if unknown := sorted(set(found.classes) - set(classes)):
            raise BadInput(f"{folder} has classes that training has not: {', '.join(unknown)}; rename or remove them.")
        number = [classes.index(c) for c in found.classes]
        return (torch.stack([x for x, _ in pairs]).numpy(), np.array([number[y] for _, y in pairs])), classes

    def part(*names: str) -> Images | None:
        folder = next((root / n for n in names if (root / n).is_dir()), None)
        return None if folder is None else images(folder, classes)[0]

    train, classes = images(root / "train" if (root / "train").is_dir() else root)
    return Source(train, part("validation", "val"), part("test"))


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
        if root is None or not (root / file).is_file():
            out[name] = command(f"data {name}")
    return out
