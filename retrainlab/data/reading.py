"""A folder of images, as `folders.find` has found it: its pixels, its fingerprint, and what is in it in words."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from retrainlab.checks import BadInput
from retrainlab.data import pixels
from retrainlab.data.folders import SPLITS, Found, printable, some

if TYPE_CHECKING:
    import numpy as np

    Images = tuple[np.ndarray, np.ndarray]  # uint8 [N, C, H, W] and class numbers [N]


@dataclass(frozen=True)
class Augmentation:
    """pad: pixels of zero padding before a random crop back to size; flip: mirror each image with probability 1/2."""

    pad: int = 0
    flip: bool = False


@dataclass(frozen=True)
class Source:
    """Training images, and the official validation and test images where the source has them."""

    train: "Images"
    validation: "Images | None" = None
    test: "Images | None" = None


@dataclass(frozen=True)
class Counts:
    """How many images each split of a data set has, in how many classes, and their shape (channels, height, width): what the
    steps of a recipe and the size of its network follow from. Nothing is read for those of a data set that has a name."""

    train: int
    validation: int
    test: int
    classes: int
    shape: tuple[int, ...]

    def all_train(self) -> "Counts":
        """With the validation images among those trained on, too."""
        return replace(self, train=self.train + self.validation)

    def words(self) -> str:
        """As `Folder.content` says it."""
        channels, height, width = self.shape
        return (
            f"{self.classes} classes; {self.train:,} train, {self.validation:,} validation, {self.test:,} test images; "
            f"{height} x {width} pixels; mode {'L' if channels == 1 else 'RGB'}"
        )


def steps_per_epoch(name: str, images: int, batch_size: int) -> int:
    """Whole batches in an epoch of so many training images of the data set `name`; the images left over change with every
    epoch's order. BadInput if there is none."""
    if batch_size > images:
        raise BadInput(
            f"The batch size is {batch_size}, but {name} has {images} training images; give a batch size of at most that."
        )
    return images // batch_size


@dataclass(frozen=True)
class Folder:
    """A folder of images, with the attributes of a `sources.BuiltIn`. image_size: pixels square, 224 if None."""

    found: Found
    image_size: int | None

    @property
    def size(self) -> int:
        """Pixels square."""
        return self.image_size or 224

    def where(self) -> str:
        return self.found.root

    @property
    def held_out(self) -> tuple[int, int]:
        """15 % of the training images each."""
        count = round(0.15 * len(self.found.parts[0].files))
        return count, count

    @property
    def augmentation(self) -> Augmentation:
        """Crops from a border of an eighth of the size, and flips."""
        return Augmentation(self.size // 8, True)

    def read(self) -> Source:
        """The images, their shorter side resized to the size, then cut to the centre.

        Raises BadInput that names the images that cannot be read right, once all have been tried, or says that they do not
        fit into memory.
        """
        import numpy as np
        from torchvision import transforms

        from retrainlab.device import memory_gib

        size, found = self.size, self.found
        need, have = 5 * self._gib, memory_gib()  # 5: with the copies that splits and statistics make
        if have and need > have:
            raise BadInput(
                f"{len(found.files):,} images at {size} x {size} take about {need:,.1f} GiB to read, and this machine has "
                f"{have:.1f}: give a smaller image size, or fewer images."
            )
        resize = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()])
        bad = dict(found.bad)
        out: dict[str, Images] = {}
        for part in found.parts:
            images = np.empty((len(part.files), 3, size, size), np.uint8)
            for place, file in enumerate(part.files):
                try:
                    images[place] = _read(os.path.join(found.root, file.name), size, resize)
                except Exception as error:  # a damaged file: PIL's decoders raise whatever they like
                    bad[file.name] = pixels.reason(error)
            out[part.split] = images, np.array([file.label for file in part.files])
        if bad:
            words = _bad_words(sorted(bad.items()))
            raise BadInput(f"In {printable(found.root)}, {words}; mend or remove what is named.")
        return Source(**out)

    def fingerprint(self) -> str:
        """A hash of what is read: the content of each image, with its split, class and name, and the image size. It is the
        one that results were first stored under wherever the first version of the reader read the same."""
        digest = hashlib.sha256(f"{self.image_size}".encode())
        for part in self.found.parts:
            if part.folder not in ("", part.split, "val"):  # names that stood for no split then
                digest.update(f"{part.split} is ".encode() + os.fsencode(part.folder) + b":")
        looks = zip(self.found.files, _looks(self.found))
        for file, look in sorted(looks, key=lambda pair: pair[0].name.split(os.sep)):
            digest.update(os.fsencode(file.name) + b":" + look.digest + (b"revised" if look.revised else b""))
        return f"folder/{digest.hexdigest()[:16]}"

    def content(self) -> str:
        """What is in it, in a sentence: classes, splits, counts, sizes, modes, and what is not read."""
        return f"{printable(self.found.root)}: {'; '.join(self._facts())}."

    @property
    def _gib(self) -> float:
        return len(self.found.files) * 3 * self.size**2 / 2**30

    def _facts(self) -> Iterator[str]:
        found = self.found
        yield f"{len(found.classes)} classes ({some(found.classes)})"
        counts = []
        for part in found.parts:
            where = f" in {printable(part.folder)}/" if part.folder else ""
            counts.append(f"{len(part.files):,} {part.split} images{where}")
            if lacking := [c for i, c in enumerate(found.classes) if i not in {f.label for f in part.files}]:
                counts[-1] += f" (none of {some(lacking)})"
        yield ", ".join(counts)
        if off := [split for split in SPLITS if split not in {part.split for part in found.parts}]:
            yield f"{' and '.join(off)} split off train, 15 % each"
        kinds = [look.kind for look in _looks(found) if look.kind]
        sizes = sorted({shape for _, shape in kinds}, key=lambda shape: (shape[0] * shape[1], shape))
        if sizes:
            yield " to ".join(f"{w:,} x {h:,}" for w, h in dict.fromkeys((sizes[0], sizes[-1]))) + " pixels"
            modes = Counter(mode for mode, _ in kinds).most_common()
            yield "mode " + ", ".join(f"{mode} ({n:,})" if len(modes) > 1 else mode for mode, n in modes)
        yield f"read at {self.size} x {self.size} ({self._gib:.2f} GiB)"
        if copies := len(found.files) - len({look.digest for look in _looks(found)}):
            yield f"{copies:,} {'file is a copy' if copies == 1 else 'files are copies'} of another"
        if found.other:
            yield f"not read: {some(found.other)}"
        if found.bad:
            yield _bad_words(found.bad)


def _read(path: str, size: int, resize: Callable) -> "np.ndarray":
    from PIL import Image

    if os.path.getsize(path) == 0:
        raise ValueError("empty")
    with open(path, "rb") as stream, Image.open(stream) as image:
        width, height = image.size
        if size**2 * max(image.size) // min(image.size) > pixels.MOST_PIXELS:
            raise ValueError(f"{width:,} x {height:,} pixels: too long to be resized")
        return resize(pixels.rgb(image)).numpy()


def _bad_words(bad: Sequence[tuple[str, str]]) -> str:
    names = some([f"{name} ({why})" for name, why in bad])
    return f"{len(bad):,} {'file' if len(bad) == 1 else 'files'} cannot be used: {names}"


@dataclass(frozen=True)
class _Look:
    """A file's content hash and its header. kind: PIL's mode and (width, height); revised: the first version of the reader
    may have converted it otherwise."""

    digest: bytes
    kind: tuple[str, tuple[int, int]] | None = None
    revised: bool = False


@lru_cache(maxsize=8)
def _looks(found: Found) -> list[_Look]:
    return [_look(os.path.join(found.root, file.name)) for file in found.files]


def _look(path: str) -> _Look:
    from PIL import Image

    digest = b"unreadable"
    try:
        with open(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
            stream.seek(0)
            with Image.open(stream) as image:
                return _Look(digest, (image.mode, image.size), not pixels.ordinary(image))
    except Exception:  # `read` says what is wrong, of all such files together
        return _Look(digest)
