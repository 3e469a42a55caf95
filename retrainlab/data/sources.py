"""Where images come from: files and packages read into arrays, with the official splits where there are some.

`BUILT_IN` has one record for each data set that has a name; any other name is that of a folder of images. Nothing is
downloaded by reading; what is missing is named with the command that gets it. Importing this module loads neither torch
nor numpy; docs/extending.md says how to add a data set.
"""

import gzip
import hashlib
import os.path
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab import importing
from retrainlab.checks import BadInput, choose, is_reference
from retrainlab.data import folders
from retrainlab.data.given import Given
from retrainlab.data.reading import Augmentation, Counts, Folder, Source
from retrainlab.paths import command, data_root

if TYPE_CHECKING:
    import numpy as np

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_SHA256 = "ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f"
_FASHION_FILES = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]


@dataclass(frozen=True)
class BuiltIn:
    """A data set that has a name.

    holds: what `dataset.load` finds in it, known without reading. read: its images, or BadInput if they are not here or are
    not what they should be. where: the folder or package they are in, None if they are not here, from the names of files
    alone. held_out: how many test and validation images to split off training, where the source has none of its own.
    downloads: the class of torchvision.datasets that fetches it; empty if it needs no download.
    """

    name: str
    holds: Counts
    read: Callable[[], Source]
    where: Callable[[], Path | str | None]
    held_out: tuple[int, int]
    augmentation: Augmentation
    downloads: str = ""

    def content(self) -> str:
        """What is in it, in a sentence."""
        return f"{self.name}: {self.holds.words()}."

    def fingerprint(self) -> str:
        """The name and the version of our splits: reading checks the images against their published content."""
        return f"{self.name}/1"


def source(name: str, image_size: int | None = None) -> BuiltIn | Folder | Given:
    """The data set of that name, the folder of images with that path, or what a reference stands for; nothing is read yet.

    image_size: pixels square of a folder's images, 224 if None. Raises BadInput for what is neither.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if is_reference(name):
        return Given(name, importing.fingerprint(name))
    root = os.path.abspath(os.path.expanduser(name))
    if not os.path.isdir(root):
        raise BadInput(
            f"There is no image folder {folders.printable(root)}: wanted is a folder with one folder of images per class, "
            "or with train/ (and validation/, test/) that hold them; or name a data set: " + ", ".join(BUILT_IN) + "."
        )
    return Folder(folders.find(root), image_size)


def fingerprint(name: str, image_size: int | None = None) -> str:
    """What identifies the images for the store; of a folder it follows every image's content."""
    return source(name, image_size).fingerprint()


def content(name: str, image_size: int | None = None) -> str:
    """What is in a data set, in a sentence."""
    return source(name, image_size).content()


def download(name: str) -> Path:
    """Fetch a data set from its public home through torchvision; return the data root. BadInput without a network."""
    choose(name, [known.name for known in BUILT_IN.values() if known.downloads], "data set to download")
    from torchvision import datasets

    root = _root()
    try:
        getattr(datasets, BUILT_IN[name].downloads)(str(root), download=True)
    except Exception as error:  # torchvision raises whatever its transport does
        raise BadInput(
            f"{name} could not be fetched ({type(error).__name__}: {error}); on a machine with a network run "
            f"`retrainlab data {name}` and copy its {root} here."
        ) from None
    return root


def missing() -> dict[str, str]:
    """For each data set that is not here, the command that gets it."""
    return {name: command(f"data {name}") for name, known in BUILT_IN.items() if known.where() is None}


def _root() -> Path:
    if (root := data_root()) is None:
        raise BadInput("There is no home directory to keep data sets in; set RETRAINLAB_DATA to a folder for them.")
    return root


def _digits() -> Source:
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Source(((bunch.images * 15).astype(np.uint8)[:, None], bunch.target))  # 0..16 -> 0..240, exactly


def _idx(path: Path) -> "np.ndarray":
    """Read one (gzipped) file of MNIST's IDX format: 0, 0, type 8 (bytes), rank, big-endian sizes, then the bytes."""
    import numpy as np

    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
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
        images, labels, test_images, test_labels = arrays = [
            _idx(next(p for end in ("", ".gz") if os.path.isfile(p := folder / f"{stem}{end}")))
            for stem in _FASHION_FILES
        ]
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise BadInput(
            f"A file of Fashion-MNIST in {folder} cannot be read ({error}); delete it and get it again."
        ) from None
    if hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest() != FASHION_SHA256:
        raise BadInput(f"The files in {folder} are not those of Fashion-MNIST; delete them and get them again.")
    return Source((images[:, None], labels), test=(test_images[:, None], test_labels))


def _read_cifar(name: str) -> Source:
    import numpy as np
    from torchvision import datasets

    maker = getattr(datasets, name.upper())
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


def _cifar(name: str, classes: int, file: str) -> BuiltIn:
    """file: one of the data set's, below the data root."""

    def where() -> Path | None:
        root = data_root()
        return root if root is not None and os.path.isfile(root / file) else None

    return BuiltIn(
        name,
        Counts(45_000, 5_000, 10_000, classes, (3, 32, 32)),
        read=partial(_read_cifar, name),
        where=where,
        held_out=(0, 5000),
        augmentation=Augmentation(4, True),
        downloads=name.upper(),
    )


SETS = (
    BuiltIn(
        "digits",
        Counts(1_000, 257, 540, 10, (1, 8, 8)),
        read=_digits,
        where=lambda: "in scikit-learn",
        held_out=(540, 257),
        augmentation=Augmentation(1, False),
    ),
    BuiltIn(
        "fashion-mnist",
        Counts(55_000, 5_000, 10_000, 10, (1, 28, 28)),
        read=_fashion,
        where=fashion_folder,
        held_out=(0, 5000),
        augmentation=Augmentation(2, True),
        downloads="FashionMNIST",
    ),
    _cifar("cifar10", 10, "cifar-10-batches-py/data_batch_1"),
    _cifar("cifar100", 100, "cifar-100-python/train"),
)
BUILT_IN = {one.name: one for one in SETS}
