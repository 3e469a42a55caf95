"""Results on disk: one readable JSON file each, named by content hash; weights and masks beside them in safetensors.

    STORE/dense/KEY.json  KEY.safetensors     a dense run and its weights
    STORE/pruned/KEY.json KEY.safetensors     what pruning did, and the first cycle's masks (and weights, if it changed them)
    STORE/results/KEY.json                    an experiment's result
    STORE/checkpoints/  claims/  failures/            see `checkpoints`, `claims` and `failures`
    STORE/conflicts/                          of imported files, what has the name of another result (see `exports`)
    STORE/damaged/                            what did not fit, set aside
    STORE/index.sqlite                        of many results, what their files say (see `index`); it may be deleted

Every file is written under a temporary name in its folder and then renamed, so that what is there is whole, however many
processes write and whenever one is killed. Every file holds its own key and a checksum of what it says (see `seal`), and a
record that of its tensors, too; both are compared when it is read. What does not fit is set aside with a warning and is as
if it had never been made. Files of an earlier version have no checksums; they are read if all in them is of the right kind.
Device and versions are provenance, not part of a key.
"""

import errno
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from retrainlab.checks import BadInput
from retrainlab.parsing import open_file, read_file
from retrainlab.paths import probe, set_aside, stored_file, write_whole
from retrainlab.phrases import first_line
from retrainlab.progress import Progress
from retrainlab.study import index, older, records, seal
from retrainlab.study.archive import Archive
from retrainlab.study.claims import Claims
from retrainlab.study.measured import Dense, Pruned
from retrainlab.study.older import Unfit
from retrainlab.study.records import KINDS, Stored
from retrainlab.study.result import Result

T = TypeVar("T")
Name = tuple[str, str]  # kind and key
MANY = 500  # results that are asked for at once, from which on an index is worth its while
RENAMED = 0.1  # seconds within which another process has given both files of a pair their names


@dataclass(frozen=True)
class Store:
    """A folder of results. Reading a file that one may not read, or writing where one may not, raises BadInput; a damaged
    file is set aside, and is None. shelves: files of results in which what the folder lacks is looked for, never written.
    only_read: writing raises BadInput, and a damaged file stays where it is."""

    root: Path
    shelves: tuple[Archive, ...] = field(default=(), compare=False)
    only_read: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        try:
            str(self.root).encode()
        except UnicodeEncodeError:
            raise BadInput(f"The store {str(self.root)!r} has a name that is not UTF-8; name another folder.") from None

    def check_writable(self) -> None:
        """Raise BadInput now rather than after the first hour's work; what killed writers have left goes."""
        with self.writing():
            probe(self.root / "results")
        for folder in self.folders():
            with suppress(OSError):
                probe(folder)

    def folders(self) -> list[Path]:
        """The folders in which there may be files of the store; none in it is a link, which may lead out of it."""
        beside = self.root / "conflicts"
        more = (self.root / name for name in ("checkpoints", "failures"))
        own = [*(parent / kind for parent in (self.root, beside) for kind in KINDS), *more]
        return [f for f in (self.root, *own) if f.is_dir() and (f == self.root or not f.is_symlink())]

    def claims(self) -> Claims:
        """A study's claims of work here (see `claims`). Raises BadInput where they cannot be written."""
        try:
            with self.writing():
                return Claims(self.root)
        except RuntimeError as error:  # what renews them is a thread
            raise BadInput(
                f"A study needs a thread beside its work ({error}); let it have more memory or processes (ulimit)."
            ) from None

    def check_room(self, size: float) -> None:
        """Raise BadInput now if `size` bytes do not fit on the store's disk."""
        if (free := self.room()) < size:
            raise BadInput(
                f"The store {self.root} has room for {free / 1e6:.1f} MB, but about {size / 1e6:.1f} MB are to be "
                "written; make room, or choose another folder with --store or RETRAINLAB_STORE."
            )

    def room(self) -> int:
        """Bytes that are free on the store's disk."""
        return shutil.disk_usage(next(filter(os.path.isdir, (self.root, *self.root.absolute().parents)))).free

    def get(self, kind: str, key: str, fits: Callable[[Stored], bool] = lambda _: True) -> Stored | None:
        """What is stored under that name, here or on a shelf; None if there is nothing whole, if it is damaged, which sets
        it aside, or if an earlier version computed it in another precision than its key says (see `older.adopt`).

        fits: asked where no checksum holds all of it; what does not fit is damaged.
        """
        return next((found for found in self._found(kind, key, fits) if not found.bare), None)

    def told(self, kind: str, key: str) -> Result | None:
        """The record of that name, here or on a shelf, also of what is stored without its tensors."""
        return next((found.result for found in self._found(kind, key)), None)

    def _found(self, kind: str, key: str, fits: Callable[[Stored], bool] = lambda _: True) -> Iterator[Stored]:
        """What there is under that name, the folder's own first; a shelf is read only if it is asked for."""
        if (own := self.own(kind, key, fits)) is not None:
            yield own
        yield from (found for shelf in self.shelves if (found := shelf.get(kind, key)) is not None)

    def own(self, kind: str, key: str, fits: Callable[[Stored], bool] = lambda _: True) -> Stored | None:
        """What the folder itself has under that name, whole or bare; see `get`."""
        try:
            found = self._read_twice(kind, key)
            if found is None or older.unsaid_half(found.result):
                return None
            if not (found.sealed or found.bare or fits(found)):
                raise Unfit("its tensors are not those of its network")
            return found
        except Unfit as error:
            if self.only_read:
                return None
            both = [self.path(kind, key, end) for end in ("json", "safetensors")]
            set_aside(both, self.root / "damaged", str(error), "and made anew when it is needed")
            return None

    def put(self, key: str, thing: Dense | Pruned | Result) -> None:
        """Keep it under that name, in place of what is there. Raises BadInput where one may not write."""
        kind, result = ("results", thing) if isinstance(thing, Result) else (type(thing).__name__.lower(), thing.result)
        self.write(kind, key, result, records.tensors_of(thing))

    def write(self, kind: str, key: str, result: Result, tensors: Mapping[str, torch.Tensor] | None) -> None:
        """Write a record, and before it the tensors that go with it; a result has none. tensors: None to leave them out, so
        that what is stored is bare."""
        digest = None
        with self.writing():
            if kind != "results" and tensors is not None:
                whole = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
                digest = seal.of_tensors(name := f"{kind}/{key}", whole)
                about = {name: digest}  # one entry: several would be written in any order
                write_whole(self.path(kind, key, "safetensors"), lambda path: save_file(whole, path, about))
            text = records.text(kind, key, result, digest)
            write_whole(self.path(kind, key), lambda path: path.write_text(text))

    def results(self, wanted: Collection[str] | None = None) -> dict[str, Result]:
        """The results of these names, all if None, that the folder itself has: of many at once from the index beside them
        (see `index`), which learns what it lacks. What cannot be read is left out; `get` says why, and does what is to be
        done."""
        folder, beside = self.root / "results", index.Index(self.root)
        if wanted is not None and len(wanted) < MANY:
            asked = there = {name: own for name in wanted if (own := index.now(f"{folder}/{name}.json"))}
        else:
            there = index.states(folder)
            asked = there if wanted is None else {name: there[name] for name in wanted if name in there}
        found = beside.read(asked) if (many := len(asked) >= MANY) else {}
        rows = self._rows({name: own for name, own in asked.items() if name not in found}, found)
        if many and not self.only_read:
            beside.keep(rows)
            beside.drop(there)
        deque(rows, maxlen=0)
        return found

    def _rows(self, lacking: Mapping[str, str], found: dict[str, Result]) -> Iterator[index.Row]:
        """Read results into `found`; yields the rows of those that the index can hold, in the order in which
        they will be asked for. lacking: the states of the files."""
        progress = Progress("reading", after=2.0)
        for number, (key, own) in enumerate(sorted(lacking.items()), 1):
            read = None
            with suppress(Unfit, BadInput):
                read = self.read("results", key)
            if read is not None and not older.unsaid_half(read.result):
                found[key] = read.result
                row = index.row(key, own, read.result) if read.sealed else None
                if row is not None and index.now(self.path("results", key)) == own:
                    yield row
            progress(number / len(lacking), f"{number:,} of {len(lacking):,} results")
        progress.close()

    def count(self) -> dict[str, int]:
        """How many of each kind are stored."""
        return {kind: len(self._keys(kind)) for kind in KINDS}

    def names(self) -> list[Name]:
        """(kind, key) of everything that is stored."""
        return [(kind, key) for kind in KINDS for key in sorted(self._keys(kind))]

    def _keys(self, kind: str) -> list[str]:
        try:
            return [name[: -len(".json")] for name in os.listdir(self.root / kind) if name.endswith(".json")]
        except OSError:
            return []

    def read(self, kind: str, key: str, tensors: bool = True) -> Stored | None:
        """What is stored under that name, its tensors on the CPU; without `tensors` the record alone, which costs little.
        Raises Unfit for what is damaged, and moves nothing."""
        if (text := _of_file(self.path(kind, key), read_file)) is None:
            return None
        record = records.read(kind, key, text)
        if kind == "results" or record.bare or not tensors:
            return Stored(record.result, {}, record.sealed, record.bare)
        return records.joined(kind, key, record, *self._tensors(kind, key))

    def forget(self, kind: str, key: str) -> None:
        """Remove what is stored under that name. Raises BadInput where one may not."""
        with self.writing():
            for end in ("json", "safetensors"):
                self.path(kind, key, end).unlink(missing_ok=True)

    def path(self, kind: str, key: str, end: str = "json") -> Path:
        """The file of that name; end: `json`, or `safetensors` for the tensors beside it."""
        return stored_file(self.root, kind, key, end)

    def _read_twice(self, kind: str, key: str) -> Stored | None:
        """As `read`; a moment later once more if it does not fit, for a record and its tensors are renamed one by one."""
        try:
            return self.read(kind, key)
        except Unfit:
            time.sleep(RENAMED * (kind != "results"))
            return self.read(kind, key)

    def _tensors(self, kind: str, key: str) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
        """What the file of tensors says of itself, and the tensors."""
        path = self.path(kind, key, "safetensors")
        if (found := _of_file(path, open_file)) is None:
            raise Unfit(f"{path.name} is missing")
        found.close()
        try:
            with safe_open(path, framework="pt") as file:
                return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise Unfit(f"{path.name}: {first_line(error)}") from None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raise BadInput for what the disk refuses inside."""
        if self.only_read:
            raise BadInput(f"The store {self.root} is only read here.")
        try:
            yield
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in reason:
                raise BadInput(
                    f"The store {self.root} is full ({reason}); make room and give the same command again, which goes on "
                    "from what is kept, or choose another folder with --store or RETRAINLAB_STORE."
                ) from None
            raise BadInput(
                f"The store {self.root} cannot be written ({reason}); choose a folder that can, with --store or "
                "RETRAINLAB_STORE."
            ) from None


def _of_file(path: Path, read: Callable[[Path], T]) -> T | None:
    """What `read` makes of a file; None if there is no such file. Raises Unfit for what is no file, or too large."""
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise Unfit(f"{path.name}: {first_line(error)}") from None
    except OSError as error:
        if os.path.isdir(path) or error.errno == errno.ELOOP:
            raise Unfit(f"{path.name} is a folder, or a link in a circle") from None
        raise BadInput(
            f"The stored file {path} cannot be read ({error.strerror}), which does not say that it is damaged; let its "
            "owner permit it (chmod a+r), or choose another folder with --store or RETRAINLAB_STORE."
        ) from None
