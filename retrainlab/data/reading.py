"""A folder of images: reading, fingerprint and words, all from what `folders.find` has found."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from retrainlab.checks import BadInput
from retrainlab.data import pixels
from retrainlab.data.folders import SIZE, SPLITS, Found, printable, some

if TYPE_CHECKING:
    import numpy as np

    from retrainlab.data.folders import Images


def read(found: Found, size: int | None) -> "dict[str, Images]":
    """The images of each split, `size` pixels square (224 if None): the shorter side resized to it, then the centre.

    Raises BadInput that names the images that cannot be read right, once all have been tried, or says that they do not fit
    into memory.
    """
    import numpy as np
    from torchvision import transforms

    size = size or SIZE
    _check_memory(found, size)
    resize = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()])
    bad = dict(found.bad)
    out: dict[str, Images] = {}
    for part in found.parts:
        images = np.empty((len(part.files), 3, size, size), np.uint8)
        for place, file in enumerate(part.files):
            try:
                images[place] = _read(found.path(file), size, resize)
            except Exception as error:  # a damaged file: PIL's decoders raise whatever they like
                bad[file.name] = pixels.reason(error)
        out[part.split] = images, np.array([file.label for file in part.files])
    if bad:
        raise BadInput(f"In {printable(found.root)}, {_bad_words(sorted(bad.items()))}; mend or remove what is named.")
    return out


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


def _gib(found: Found, size: int) -> float:
    return len(found.files) * 3 * size**2 / 2**30


def _check_memory(found: Found, size: int) -> None:
    from retrainlab.device import memory_gib

    need, have = 5 * _gib(found, size), memory_gib()  # 5: with the copies that splits and statistics make
    if have and need > have:
        raise BadInput(
            f"{len(found.files):,} images at {size} x {size} take about {need:,.1f} GiB to read, and this machine has "
            f"{have:.1f}: give a smaller image size, or fewer images."
        )


@dataclass(frozen=True)
class _Look:
    """A file's content hash and its header. kind: PIL's mode and (width, height); revised: the first version of the reader
    may have converted it otherwise."""

    digest: bytes
    kind: tuple[str, tuple[int, int]] | None = None
    revised: bool = False


@lru_cache(maxsize=8)
def _looks(found: Found) -> list[_Look]:
    return [_look(found.path(file)) for file in found.files]


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


def fingerprint(found: Found, size: int | None) -> str:
    """A hash of what is read: the content of each image, with its split, class and name, and the image size. It is the one
    that results were first stored under wherever the first version of the reader read the same."""
    digest = hashlib.sha256(f"{size}".encode())
    for part in found.parts:
        if part.folder not in ("", part.split, "val"):  # names that stood for no split then
            digest.update(f"{part.split} is ".encode() + os.fsencode(part.folder) + b":")
    for file, look in sorted(zip(found.files, _looks(found)), key=lambda pair: pair[0].name.split(os.sep)):
        digest.update(os.fsencode(file.name) + b":" + look.digest + (b"revised" if look.revised else b""))
    return f"folder/{digest.hexdigest()[:16]}"


def words(found: Found, size: int | None) -> str:
    """What was found, in a sentence: classes, splits, counts, sizes, modes, and what is not read."""
    return f"{printable(found.root)}: {'; '.join(_facts(found, size or SIZE))}."


def _facts(found: Found, size: int) -> Iterator[str]:
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
    yield f"read at {size} x {size} ({_gib(found, size):.2f} GiB)"
    if copies := len(found.files) - len({look.digest for look in _looks(found)}):
        yield f"{copies:,} {'file is a copy' if copies == 1 else 'files are copies'} of another"
    if found.other:
        yield f"not read: {some(found.other)}"
    if found.bad:
        yield _bad_words(found.bad)
