"""A folder of images: one walk says which files are read, as which class of which split; reading, fingerprint and words
all follow it.

Classes are folders, either in the folder itself or in folders that have a split's name. Links are followed. What is hidden,
and what systems leave behind, is neither a class nor an image; what cannot be told, or read right, is refused by name.
"""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from retrainlab import pixels
from retrainlab.config import DATASETS
from retrainlab.errors import BadInput, shortened

SIZE = 224  # pixels, where none are asked for
SPLITS = {  # the names in use for each, in any case
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's list
LITTER = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini")

Images = tuple[np.ndarray, np.ndarray]  # uint8 [N, C, H, W] and class numbers [N]


@dataclass(frozen=True)
class File:
    """An image. name: below the folder, with its split and class; stamp: changes whenever the file does."""

    name: str
    label: int
    stamp: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A split that the folder has: the name of its own folder, "" for the folder itself, and its images in order."""

    folder: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class Found:
    """What is read of the folder at `root`, by split in the order train, validation, test; None is split off train.

    bad: names that stand for images but are none that can be opened, with the reason; other: names that are not read.
    """

    root: str
    classes: tuple[str, ...]
    parts: tuple[Part | None, Part | None, Part | None]
    bad: tuple[tuple[str, str], ...]
    other: tuple[str, ...]

    @property
    def files(self) -> list[File]:
        """The images of all parts."""
        return [file for part in self.parts if part for file in part.files]

    def path(self, file: File) -> str:
        """Where the image lies."""
        return os.path.join(self.root, file.name)


def printable(name: str) -> str:
    """A file's name in words: bytes that are no text, and control characters, as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _listed(names: Sequence[str], most: int = 5) -> str:
    return shortened([*map(printable, names)], most)


# ---- the walk --------------------------------------------------------------------------------------------------------


class _Walk:
    """Lists the folders below `root`, and gathers what of them is bad or not read. Names are relative to it; `above` are the
    identities of the folders that hold one, by which links that lead in circles are known."""

    def __init__(self, root: str):
        self.root, self.bad, self.other = root, [], []

    def _entries(self, name: str, above: frozenset) -> tuple[list[str], list[tuple[str, os.stat_result]], frozenset]:
        """The folders and files in a folder, and the identities above those."""
        path = os.path.join(self.root, name)
        folders, files = [], []
        try:
            own, found = os.stat(path), sorted(os.listdir(path))
        except OSError as error:
            self.bad.append((name, error.strerror))
            return folders, files, above
        if (own.st_dev, own.st_ino) in above:
            self.bad.append((name, "a link to a folder that holds it"))
            return folders, files, above
        for inner in (os.path.join(name, n) for n in found if not n.startswith(".") and n.lower() not in LITTER):
            try:
                status = os.stat(os.path.join(self.root, inner))
            except OSError as error:
                link = os.path.islink(os.path.join(self.root, inner))
                self.bad.append((inner, "a link to nothing" if link else error.strerror))
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(inner)
            else:
                files.append((inner, status))
        return folders, files, above | {(own.st_dev, own.st_ino)}

    def folders(self, name: str, above: frozenset = frozenset()) -> tuple[list[str], frozenset]:
        """The folders in one that should hold nothing else, and the identities above them."""
        folders, files, above = self._entries(name, above)
        self.other += [inner for inner, _ in files]
        return folders, above

    def images(self, folder: str, label: int, above: frozenset) -> list[File]:
        """All images below a class's folder, in ImageFolder's order."""
        out, todo = [], [(folder, above)]
        while todo:
            folders, files, above = self._entries(*todo.pop())
            for inner in folders:
                if inner.lower().endswith(IMAGES):
                    self.bad.append((inner, "a folder"))
                else:
                    todo.append((inner, above))
            for inner, s in files:
                if not inner.lower().endswith(IMAGES):
                    self.other.append(inner)
                elif not stat.S_ISREG(s.st_mode):
                    self.bad.append((inner, "a pipe, socket or device"))
                else:
                    out.append(File(inner, label, (s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)))
        return sorted(out, key=lambda file: os.path.split(file.name))


def _split(folder: str) -> str | None:
    """The split that a folder's name stands for."""
    return next((split for split, names in SPLITS.items() if os.path.basename(folder).lower() in names), None)


def find(name: str) -> Found:
    """Walk the folder `name`; no file is opened. Raises BadInput for a layout that cannot be told."""
    root = os.path.abspath(os.path.expanduser(name))
    if not os.path.isdir(root):
        raise BadInput(
            f"There is no image folder {printable(root)}: wanted is a folder with one folder of images per class, or with "
            "train/ (and validation/, test/) that hold them; or name a data set: " + ", ".join(DATASETS) + "."
        )
    walk = _Walk(root)
    top, above = walk.folders("")
    if any(map(_split, top)):
        classes, parts = (), []
        for folder in _splits(walk, top, above):
            part = None
            if folder is not None:
                classes, part = _part(walk, folder, *walk.folders(folder, above), classes)
            parts.append(part)
    else:
        classes, part = _part(walk, "", top, above, ())
        _check_flat(root, classes, part)
        parts = [part, None, None]
    if len(classes) == 1:
        raise BadInput(
            f"{printable(root)} has one class only, {printable(classes[0])}; give the folder that holds all classes."
        )
    return Found(root, classes, tuple(parts), tuple(sorted(walk.bad)), tuple(sorted(walk.other)))


def _splits(walk: _Walk, top: list[str], above: frozenset) -> list[str | None]:
    """The folders of train, validation and test among those at the top. BadInput if others are classes, or two are one."""
    shown, named = printable(walk.root), [folder for folder in top if _split(folder)]
    for folder in (f for f in top if f not in named):
        if _Walk(walk.root).images(folder, 0, above):
            raise BadInput(
                f"{shown} holds {printable(folder)} beside {_listed(named)}, so that splits and classes cannot be told "
                "apart: name the splits train, validation and test, or, if all are classes, move them into one folder train."
            )
        walk.other.append(folder)
    of = {split: [folder for folder in named if _split(folder) == split] for split in SPLITS}
    if not of["train"] or any(len(folders) > 1 for folders in of.values()):
        raise BadInput(
            f"{shown} holds {_listed(named)}, but wanted is one folder train and at most one validation and one test: "
            "rename them, or, if they are classes, move them into one folder train."
        )
    return [next(iter(folders), None) for folders in of.values()]


def _part(
    walk: _Walk, folder: str, inner: list[str], above: frozenset, classes: tuple[str, ...]
) -> tuple[tuple[str, ...], Part]:
    """The classes, which are `classes` if training has said them already, and a split's images; inner: its folders."""
    shown = printable(os.path.join(walk.root, folder))
    names = [os.path.basename(path) for path in inner]
    if not names:
        why = dict(walk.bad).get(folder, "no folder of images in it")
        raise BadInput(f"{shown} holds no class ({why}), but wanted is one folder of images for each; see to it.")
    if folder and len({_split(name) for name in names} - {None}) > 1:
        raise BadInput(
            f"{shown} holds {_listed(names)}, which are names of splits, where classes are wanted; give that folder itself, "
            "or rename them."
        )
    classes = classes or tuple(names)
    if unknown := [name for name in names if name not in classes]:
        raise BadInput(f"{shown} has classes that training has not: {_listed(unknown)}; rename or remove them.")
    files, empty = [], []
    for name, path in zip(names, inner):
        before = len(walk.bad)
        own = walk.images(path, classes.index(name), above)
        files += own
        if not own and len(walk.bad) == before:
            empty.append(name)
        if halves := {f for file in own if _split(f := file.name[len(path) + 1 :].partition(os.sep)[0])}:
            raise BadInput(
                f"The class {printable(name)} in {shown} holds folders with names of splits ({_listed(sorted(halves))}): "
                "make train, validation and test the outer folders, and the classes the inner ones."
            )
    if empty:
        raise BadInput(
            f"Class folders in {shown} hold no images ({' '.join(IMAGES)}): {_listed(empty)}; fill or remove them."
        )
    return classes, Part(folder, tuple(files))


def _check_flat(root: str, classes: tuple[str, ...], part: Part) -> None:
    """Raise BadInput where all that should be classes hold nothing but folders of the same names, as splits do."""
    inner = {c: set() for c in classes}
    for file in part.files:
        _, first, *more = file.name.split(os.sep)
        inner[classes[file.label]].add(first if more else None)
    same = set.intersection(*inner.values())
    if len(same) > 1 and len(classes) > 1 and not any(None in names for names in inner.values()):
        raise BadInput(
            f"In {printable(root)}, {_listed(classes)} all hold folders {_listed(sorted(same))}: if these are "
            "the classes, name the outer ones train, validation and test; if not, move the images out of these."
        )


# ---- reading -----------------------------------------------------------------------------------------------------------


def read(found: Found, size: int | None) -> list[Images | None]:
    """Train, validation and test images (None where the folder has no such split) at `size` pixels square, 224 if None: the
    shorter side resized to it, then the centre.

    Raises BadInput that names the images that cannot be read right, once all have been tried, or says that they do not fit
    into memory.
    """
    from torchvision import transforms

    size = size or SIZE
    _check_memory(found, size)
    resize = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()])
    bad, out = dict(found.bad), []
    for part in found.parts:
        if part is None:
            out.append(None)
            continue
        images = np.empty((len(part.files), 3, size, size), np.uint8)
        for place, file in enumerate(part.files):
            try:
                images[place] = _read(found.path(file), size, resize)
            except Exception as error:  # a damaged file: PIL's decoders raise whatever they like
                bad[file.name] = pixels.reason(error)
        out.append((images, np.array([file.label for file in part.files])))
    if bad:
        raise BadInput(f"In {printable(found.root)}, {_bad_words(sorted(bad.items()))}; mend or remove what is named.")
    return out


def _read(path: str, size: int, resize: Callable) -> np.ndarray:
    from PIL import Image

    if os.path.getsize(path) == 0:
        raise ValueError("empty")
    with open(path, "rb") as stream, Image.open(stream) as image:
        width, height = image.size
        if size**2 * max(image.size) // min(image.size) > pixels.MOST_PIXELS:
            raise ValueError(f"{width:,} x {height:,} pixels: too long to be resized")
        return resize(pixels.rgb(image)).numpy()


def _bad_words(bad: Sequence[tuple[str, str]]) -> str:
    names = _listed([f"{name} ({why})" for name, why in bad])
    return f"{len(bad):,} {'file' if len(bad) == 1 else 'files'} cannot be used: {names}"


def _gib(found: Found, size: int) -> float:
    return len(found.files) * 3 * size**2 / 2**30


def _check_memory(found: Found, size: int) -> None:
    """Raise BadInput if the images, with the copies that splitting them and their statistics make, outgrow the machine."""
    from retrainlab.device import memory_gib

    need, have = 5 * _gib(found, size), memory_gib()
    if have and need > have:
        raise BadInput(
            f"{len(found.files):,} images at {size} x {size} take about {need:,.1f} GiB to read, and this machine has "
            f"{have:.1f}: give a smaller image size, or fewer images."
        )


# ---- fingerprint and words -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """A file's content hash and its header. kind: PIL's mode and (width, height); revised: it may have been converted
    otherwise when results were first stored."""

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
    """A hash of what is read: each image's content, with its split, class and name, and the image size. Where all of it was
    read so when results were first stored, it is what it was then."""
    digest = hashlib.sha256(f"{size}".encode())
    for split, part in zip(SPLITS, found.parts):
        if part and part.folder not in ("", split, "val"):  # names that stood for no split then
            digest.update(f"{split} is ".encode() + os.fsencode(part.folder) + b":")
    files = zip(found.files, _looks(found))
    for file, look in sorted(files, key=lambda pair: pair[0].name.split(os.sep)):
        digest.update(os.fsencode(file.name) + b":" + look.digest + (b"revised" if look.revised else b""))
    return f"folder/{digest.hexdigest()[:16]}"


def words(found: Found, size: int | None) -> str:
    """What was found, in a sentence: classes, splits, counts, sizes, modes, and what is not read."""
    return f"{printable(found.root)}: {'; '.join(_facts(found, size or SIZE))}."


def _facts(found: Found, size: int) -> Iterator[str]:
    yield f"{len(found.classes)} classes ({_listed(found.classes)})"
    counts = []
    for split, part in zip(SPLITS, found.parts):
        if part:
            where = f" in {printable(part.folder)}/" if part.folder else ""
            counts.append(f"{len(part.files):,} {split} images{where}")
            if lacking := [c for i, c in enumerate(found.classes) if i not in {f.label for f in part.files}]:
                counts[-1] += f" (none of {_listed(lacking)})"
    yield ", ".join(counts)
    if off := [split for split, part in zip(SPLITS, found.parts) if part is None]:
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
        yield f"not read: {_listed(found.other)}"
    if found.bad:
        yield _bad_words(found.bad)
