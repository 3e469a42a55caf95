"""An index beside many results, STORE/index.sqlite: what their files were found to say, by name, so that a hundred thousand
are there in seconds. The files stay the truth: the index may be deleted at any time, and is made again as they are read.

A row holds what one file says, and what tells this state of the file from every other (see `now`); it is believed only while
the file has that state, and only with the checksum of all this. Content that changes behind a file's state, as on a failing
disk, goes unseen here: `results verify` and `doctor --store` read the files. An index that is locked, damaged or of another
version, or in a folder that is only read, is passed over or made anew, and never an error: the files are read then.
"""

import gc
import hashlib
import json
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from retrainlab.paths import write_whole
from retrainlab.study import older, records, result, seal
from retrainlab.study.result import Result

FILE = "index.sqlite"
YOUNG = 2_000_000_000  # nanoseconds in which a file system may give two states of a file the same times
BATCH = 500  # rows of a question or a transaction, which must not keep others waiting
WAIT = 1.0  # seconds for a lock
PAGE = 16384  # bytes of a page of the file, into which several rows fit
ELSEWHERE = {  # errors that say nothing against what the file holds
    getattr(sqlite3, f"SQLITE_{name}") for name in "BUSY LOCKED READONLY CANTOPEN PERM AUTH NOMEM INTERRUPT".split()
}
SETTINGS = (  # a writer that is killed leaves no journal, but maybe rows whose checksums do not fit, or a file to make anew
    "journal_mode = OFF",
    "synchronous = OFF",
    "trusted_schema = OFF",
)
FOREIGN = ("journal", "wal", "shm")  # files beside it that this module never writes
PARTS = ("recipe", "prune", "retrain", "evaluations")
LINES = ("key", "state", "outcome", "scalars", "provenance", *PARTS, "curves")  # of a row: all but the first two JSON
KINDS = {float: "d", int: "q", bool: "?"}  # how a number is packed, in `struct`'s letters
WELL = b'""\n'  # the line of a run that ended as it should
Row = tuple[str, str, bytes]  # key, state, and all that is said: LINES, each with its end, then packed numbers


def now(path: str | Path) -> str:
    """What differs between any two states of a file: its times (the second no program can set), size and number; empty if
    there is no such file."""
    try:
        found = os.stat(path)
    except OSError:  # gone meanwhile, or a link in a circle
        return ""
    return f"{found.st_mtime_ns} {found.st_ctime_ns} {found.st_size} {found.st_ino}"


def states(folder: Path) -> dict[str, str]:
    """The state of every record in a folder, by its name; none if there is no such folder."""
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if name.endswith(".json")]
        return {name.removesuffix(".json"): now(f"{folder}/{name}") for name in names}
    return {}


def row(key: str, own: str, found: Result) -> Row | None:
    """The row of a result that was read and is whole; None for settings of another form, which their files keep alone."""
    if found.config.keys() != {*PARTS}:
        return None
    scalars, provenance = _packed(found.scalars), _packed(found.provenance)
    values = [found.outcome, scalars[0], provenance[0], *map(found.config.get, PARTS), found.curves]
    lines = "".join(f"{line}\n" for line in (key, own, *map(_json, values))).encode()
    return key, own, lines + scalars[1] + provenance[1]


@dataclass(frozen=True)
class Index:
    """The index of the store in a folder."""

    root: Path

    @property
    def path(self) -> Path:
        """Its file."""
        return self.root / FILE

    def read(self, wanted: Mapping[str, str]) -> dict[str, Result]:
        """The results of these names whose files still have the states that are given with them."""
        out: dict[str, Result] = {}
        with self._passing_over(), self._opened("ro") as file, uncollected():
            for names in _portions(wanted):
                asked = f"SELECT * FROM results WHERE key IN ({','.join('?' * len(names))})"
                for digest, key, said in file.execute(asked, names):
                    head = f"{key}\n{wanted[key]}\n".encode()
                    if said.startswith(head) and digest == _digest(said):
                        outcome = "" if said.startswith(WELL, len(head)) else _told(said, "outcome")["outcome"]
                        out[key] = Result.later(said, _told, outcome)
        return out

    def keep(self, rows: Iterator[Row]) -> None:
        """Write rows, in place of those of the same names, but for those of files that are too young to be told from what
        they may yet become. Rows that are not taken are left to the caller, as where none can be written."""
        if not self.path.exists():
            self._make()
        with self._passing_over(), self._opened("rw") as file:
            while True:
                os.utime(self.path)
                limit = self.path.stat().st_mtime_ns - YOUNG  # by the clock that gives the files their times
                portion = list(islice(rows, BATCH))  # reads them
                with file:
                    old = [(_digest(said), key, said) for key, own, said in portion if _changed(own) < limit]
                    file.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?)", old)
                if len(portion) < BATCH:
                    return

    def drop(self, there: Mapping[str, str]) -> None:
        """Remove the rows of all but these names, whose files are gone."""
        with self._passing_over(), self._opened("rw") as file:
            if file.execute("SELECT count(*) FROM results").fetchone()[0] > len(there):
                gone = [(key,) for (key,) in file.execute("SELECT key FROM results") if key not in there]
                with file:
                    file.executemany("DELETE FROM results WHERE key = ?", gone)

    @contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        """The file, with which nothing is run. Raises sqlite3.Error unless this version has written it, or OSError."""
        if not self.path.is_file():
            raise FileNotFoundError(self.path)
        for name in FOREIGN:  # SQLite would do what they say, which may be of files elsewhere
            self.path.with_name(f"{FILE}-{name}").unlink(missing_ok=True)
        with closing(sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", WAIT, uri=True)) as file:
            for setting in SETTINGS:
                file.execute(f"PRAGMA {setting}")
            if file.execute("PRAGMA user_version").fetchone()[0] != version():
                raise sqlite3.DatabaseError("another version's")
            yield file

    @contextmanager
    def _passing_over(self) -> Iterator[None]:
        """What goes wrong with the file ends what is done with it, and no more; if it is damaged, or another version's, it
        is removed."""
        try:
            yield
        except OSError:
            pass
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 255 not in ELSEWHERE:
                with suppress(OSError):
                    self.path.unlink(missing_ok=True)

    def _make(self) -> None:
        """Make the file with no rows, unless it cannot be written."""

        def fill(path: Path) -> None:
            with closing(sqlite3.connect(path)) as file, file:
                file.execute(f"PRAGMA {SETTINGS[0]}")
                file.execute(f"PRAGMA page_size = {PAGE}")
                file.execute("CREATE TABLE results (digest BLOB NOT NULL, key TEXT PRIMARY KEY, said BLOB NOT NULL)")
                file.execute(f"PRAGMA user_version = {version()}")

        with suppress(sqlite3.Error, OSError):
            write_whole(self.path, fill)


@contextmanager
def uncollected() -> Iterator[None]:
    """Python looks through all objects again and again while many are made; of these none is garbage."""
    usual = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if usual:
            gc.enable()


@cache
def version() -> int:
    """A number of what reads records and writes rows: that of its source, so that no row outlives a change of it."""
    files = [module.__file__ for module in (older, records, result, seal)] + [__file__]
    return int.from_bytes(hashlib.sha256(b"".join(Path(str(f)).read_bytes() for f in files)).digest()[:3]) + 1


def _changed(own: str) -> int:
    """The later of the times of a state, in nanoseconds."""
    return max(map(int, own.split()[:2]))


def _digest(said: bytes) -> bytes:
    return hashlib.sha256(said).digest()[:16]


_json = json.JSONEncoder(separators=(",", ":")).encode


def _told(said: bytes, name: str) -> dict[str, Any]:
    """The field of the result of which a row says this, or its settings, and what is told along with it."""
    if name in ("scalars", "provenance"):
        (scalars, some, first), (provenance, others, last) = map(_form, said.split(b"\n", 5)[3:5])
        place = len(said) - last.size
        return {
            "scalars": scalars | dict(zip(some, first.unpack_from(said, place - first.size))),
            "provenance": provenance | dict(zip(others, last.unpack_from(said, place))),
        }
    lines = dict(zip(LINES, said.split(b"\n", len(LINES))))
    if name == "settings":
        return {name: {part: lines[part].decode() for part in PARTS}}
    return {name: {part: json.loads(lines[part]) for part in PARTS} if name == "config" else json.loads(lines[name])}


def _packed(named: Mapping[str, Any]) -> tuple[dict, bytes]:
    """What is to be written of named texts, numbers and None, in which many results are alike: in place of each number a
    list of its kind; and the numbers, as they are in memory."""
    kinds = {name: KINDS[type(value)] for name, value in named.items() if type(value) in KINDS}
    numbers = struct.pack("<" + "".join(kinds.values()), *(named[name] for name in kinds))
    return {name: [kinds[name]] if name in kinds else value for name, value in named.items()}, numbers


@lru_cache(maxsize=8192)  # results that start from one network have the same
def _form(line: bytes) -> tuple[dict[str, Any], list[str], struct.Struct]:
    """Of what was written of some named values: all names, with texts and None; the names of numbers; how these are
    packed."""
    named = json.loads(line)
    kinds = {name: value[0] for name, value in named.items() if isinstance(value, list)}
    return named, [*kinds], struct.Struct("<" + "".join(kinds.values()))


def _portions(names: Iterable[str]) -> Iterator[list[str]]:
    left = iter(sorted(names))
    while portion := list(islice(left, BATCH)):
        yield portion
