"""A folder of images: one walk says which files are read, as which class of which split; reading, fingerprint and words
all follow it.

Classes are folders, either in the folder itself or in folders that have a split's name. Links are followed. What is hidden,
and what systems leave behind, is neither a class nor an image; what cannot be told, or read right, is refused by name.
"""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from retrainlab.checks import BadInput, shortened

SPLITS = {  # the names in use for each, in any case
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")  # torchvision's list
LITTER = ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class File:
    """An image. name: its path below the folder, which starts with split and class; label: the number of its class;
    stamp: changes whenever the file does."""

    name: str
    label: int
    stamp: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """The images of one split. split: a key of SPLITS; folder: where they lie below the root, "" for the root itself."""

    split: str
    folder: str
    files: tuple[File, ...]


@dataclass(frozen=True)
class Found:
    """What is read of the folder at `root`. parts: the splits that it has, in the order of SPLITS, train among them;
    bad: (name, reason) of what looks like an image but cannot be opened; other: names of files that are not read."""

    root: str
    classes: tuple[str, ...]
    parts: tuple[Part, ...]
    bad: tuple[tuple[str, str], ...]
    other: tuple[str, ...]

    @property
    def files(self) -> list[File]:
        """The images of all parts."""
        return [file for part in self.parts for file in part.files]


def printable(name: str) -> str:
    """A file's name in words: bytes that are no text, and control characters, as escapes."""
    return name if name.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def some(names: Sequence[str]) -> str:
    """The first five of some file names, printable, and how many more there are."""
    return shortened([*map(printable, names)], 5)


class _Walk:
    """Lists folders below `root`, and gathers what in them is bad or not read. All names are relative to the root."""

    def __init__(self, root: str):
        self.root = root
        self.bad: list[tuple[str, str]] = []
        self.other: list[str] = []

    def _stat(self, name: str) -> os.stat_result:
        return os.stat(os.path.join(self.root, name))

    def _entries(self, name: str) -> tuple[list[str], list[tuple[str, os.stat_result]]]:
        """The folders, and the files with their status, that lie in the folder of this name."""
        folders: list[str] = []
        files: list[tuple[str, os.stat_result]] = []
        try:
            own = self._stat(name)
            if any(os.path.samestat(own, self._stat(str(parent))) for parent in PurePath(name).parents):
                raise OSError(errno.ELOOP, "a link to a folder that holds it")
            found = sorted(os.listdir(os.path.join(self.root, name)))
        except OSError as error:
            self.bad.append((name, str(error.strerror)))
            return folders, files
        for inner in (os.path.join(name, n) for n in found if not n.startswith(".") and n.lower() not in LITTER):
            try:
                status = self._stat(inner)
            except OSError as error:
                link = os.path.islink(os.path.join(self.root, inner))
                self.bad.append((inner, "a link to nothing" if link else str(error.strerror)))
                continue
            if stat.S_ISDIR(status.st_mode):
                folders.append(inner)
            else:
                files.append((inner, status))
        return folders, files

    def folders(self, name: str) -> list[str]:
        """The folders in one that should hold nothing else."""
        folders, files = self._entries(name)
        self.other += [inner for inner, _ in files]
        return folders

    def images(self, folder: str, label: int) -> list[File]:
        """All images below a class's folder, in ImageFolder's order."""
        out, todo = [], [folder]
        while todo:
            folders, files = self._entries(todo.pop())
            for inner in folders:
                if inner.lower().endswith(IMAGES):
                    self.bad.append((inner, "a folder"))
                else:
                    todo.append(inner)
            for inner, s in files:
                if not inner.lower().endswith(IMAGES):
                    self.other.append(inner)
                elif not stat.S_ISREG(s.st_mode):
                    self.bad.append((inner, "a pipe, socket or device"))
                else:
                    out.append(File(inner, label, (s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)))
        return sorted(out, key=lambda file: os.path.split(file.name))


def find(name: str) -> Found:
    """Walk a folder that is there; no file is opened. Raises BadInput for a layout that is not clear."""
    walk = _Walk(os.path.abspath(name))
    top = walk.folders("")
    if any(map(_split, top)):
        folders = _splits(walk, top)
        inner = {split: walk.folders(folder) for split, folder in folders.items()}
    else:
        folders, inner = {"train": ""}, {"train": top}
    classes = [os.path.basename(path) for path in inner["train"]]
    parts = tuple(Part(split, folder, _files(walk, folder, inner[split], classes)) for split, folder in folders.items())
    shown = printable(walk.root)
    if folders["train"] == "":
        _check_flat(shown, classes, parts[0].files)
    if len(classes) == 1:
        raise BadInput(f"{shown} has one class only, {printable(classes[0])}; give the folder that holds all classes.")
    return Found(walk.root, tuple(classes), parts, tuple(sorted(walk.bad)), tuple(sorted(walk.other)))


def _split(folder: str) -> str | None:
    """The split that a folder's name stands for."""
    return next((split for split, names in SPLITS.items() if os.path.basename(folder).lower() in names), None)


def _splits(walk: _Walk, top: list[str]) -> dict[str, str]:
    """The folder of each split among those at the top. BadInput if others are classes, or two are one split."""
    shown, named = printable(walk.root), [folder for folder in top if _split(folder)]
    for folder in (f for f in top if f not in named):
        if _Walk(walk.root).images(folder, 0):
            raise BadInput(
                f"{shown} holds {printable(folder)} beside {some(named)}, so that splits and classes cannot be told "
                "apart: name the splits train, validation and test, or, if all are classes, move them into one folder train."
            )
        walk.other.append(folder)
    of = {split: folder for split in SPLITS for folder in named if _split(folder) == split}
    if "train" not in of or len(of) < len(named):
        raise BadInput(
            f"{shown} holds {some(named)}, but wanted is one folder train and at most one validation and one test: "
            "rename them, or, if they are classes, move them into one folder train."
        )
    return of


def _files(walk: _Walk, folder: str, inner: list[str], classes: list[str]) -> tuple[File, ...]:
    """A split's images. inner: the folders in its own; classes: those of training."""
    shown = printable(os.path.join(walk.root, folder))
    names = [os.path.basename(path) for path in inner]
    if not names:
        why = dict(walk.bad).get(folder, "no folder of images in it")
        raise BadInput(f"{shown} holds no class ({why}), but wanted is one folder of images for each; see to it.")
    if folder and len({_split(name) for name in names} - {None}) > 1:
        raise BadInput(
            f"{shown} holds {some(names)}, which are names of splits, where classes are wanted; give that folder itself, "
            "or rename them."
        )
    if unknown := [name for name in names if name not in classes]:
        raise BadInput(f"{shown} has classes that training has not: {some(unknown)}; rename or remove them.")
    files, empty = [], []
    for name, path in zip(names, inner):
        before = len(walk.bad)
        own = walk.images(path, classes.index(name))
        files += own
        if not own and len(walk.bad) == before:
            empty.append(name)
        if halves := {f for file in own if _split(f := file.name[len(path) + 1 :].partition(os.sep)[0])}:
            raise BadInput(
                f"The class {printable(name)} in {shown} holds folders with names of splits ({some(sorted(halves))}): "
                "make train, validation and test the outer folders, and the classes the inner ones."
            )
    if empty:
        raise BadInput(
            f"Class folders in {shown} hold no images ({' '.join(IMAGES)}): {some(empty)}; fill or remove them."
        )
    return tuple(files)


def _check_flat(shown: str, classes: list[str], files: tuple[File, ...]) -> None:
    """Raise BadInput where all that should be classes hold nothing but folders of the same names, as splits do."""
    inner: dict[str, set[str]] = {c: set() for c in classes}
    for file in files:
        _, first, *more = file.name.split(os.sep)
        inner[classes[file.label]].add(first if more else "")
    same = set.intersection(*inner.values())
    if len(same) > 1 and len(classes) > 1 and not any("" in names for names in inner.values()):
        raise BadInput(
            f"In {shown}, {some(classes)} all hold folders {some(sorted(same))}: if these are "
            "the classes, name the outer ones train, validation and test; if not, move the images out of these."
        )
