"""One file of results: a zip of the store's records and tensors with a manifest of their checksums. Reading it runs nothing
that is in it, and writes nothing.

    manifest.json               the format, its version, the schema of the keys, and size and SHA-256 of every other member
    results/KEY.json            canonical JSON: sorted by name, without spaces
    dense/KEY.json    pruned/KEY.json
    dense/KEY.safetensors       weights and statistics in float32, without momentum; some or all may be left out
    pruned/KEY.safetensors      masks, likewise
"""

import errno
import hashlib
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load

from retrainlab.checks import BadInput
from retrainlab.keys import SCHEMA
from retrainlab.parsing import MOST as MOST_OF_JSON
from retrainlab.parsing import open_file, parsed
from retrainlab.paths import shipped_files
from retrainlab.phrases import first_line
from retrainlab.study import records
from retrainlab.study.older import Unfit
from retrainlab.study.records import Stored

FORMAT, VERSION = "retrainlab results", 1
MANIFEST = "manifest.json"
MEMBER = re.compile(r"(dense|pruned|results)/([0-9a-f]{16})\.(json|safetensors)")
MOST = {"json": MOST_OF_JSON, "safetensors": 2**33}  # bytes of a member
DEFLATED = 1032  # the most bytes that one of a deflated member can stand for


@dataclass(frozen=True)
class Archive:
    """A file of results, of which only what is asked for is read, and checked then."""

    path: Path

    @cached_property
    def manifest(self) -> dict[str, dict]:
        """Size and SHA-256 of each member by its name. Raises Unfit unless the file holds these members and no others,
        with sizes that they can have."""
        with self._opened() as file:
            infos = file.infolist()
            names = [info.filename for info in infos]
            if odd := [n for n in names if n != MANIFEST and not MEMBER.fullmatch(n)]:
                raise Unfit(f"it holds {odd[0]!r}, which is no name of a result")
            if len(set(names)) < len(names):
                raise Unfit("it holds two members of one name")
            if MANIFEST not in names:
                raise Unfit(f"it has no {MANIFEST}, so that it is no file of results")
            for info in infos:
                _check_size(info)
            listed = _listed(_content(file, MANIFEST))
            if differing := sorted(listed.keys() ^ {*names} - {MANIFEST}):
                where = "missing" if differing[0] in listed else f"not in its {MANIFEST}"
                raise Unfit(f"its member {differing[0]} is {where}")
            for info in infos:
                if info.filename != MANIFEST and listed[info.filename]["size"] != info.file_size:
                    raise Unfit(f"its member {info.filename} has another size than its {MANIFEST} says")
            return listed

    def names(self) -> list[tuple[str, str]]:
        """(kind, key) of everything that it holds. Raises Unfit."""
        records = (MEMBER.fullmatch(name) for name in self.manifest)
        return [(match[1], match[2]) for match in records if match and match[3] == "json"]

    def read(self, kind: str, key: str, tensors: bool = True) -> Stored | None:
        """What it holds under that name; without `tensors` the record alone. Raises Unfit for what is damaged."""
        if f"{kind}/{key}.json" not in self.manifest:
            return None
        with self._opened() as file:
            record = records.read(kind, key, self._member(file, f"{kind}/{key}.json"))
            if kind == "results" or record.bare or not tensors:
                return Stored(record.result, {}, record.sealed, record.bare)
            content = self._member(file, f"{kind}/{key}.safetensors")
        try:
            return records.joined(kind, key, record, _about(content), load(content))
        except (SafetensorError, ValueError, RuntimeError) as error:
            raise (
                error if isinstance(error, Unfit) else Unfit(f"its tensors {kind}/{key}: {first_line(error)}")
            ) from None

    def get(self, kind: str, key: str) -> Stored | None:
        """As `read`, for a file that serves as a store: what is damaged is not there, and a warning says so."""
        try:
            return self.read(kind, key)
        except Unfit as why:
            warnings.warn(f"{self.path} is damaged ({why}) and not used; restore it.", stacklevel=2)
            return None

    def every(self) -> Iterator[tuple[str, str, Stored]]:
        """All that it holds, with kind and key, checked. Raises Unfit."""
        for kind, key in self.names():
            found = self.read(kind, key)
            assert found is not None
            yield kind, key, found

    def _member(self, file: zipfile.ZipFile, name: str) -> bytes:
        if name not in self.manifest:
            raise Unfit(f"its member {name} is missing")
        content = _content(file, name)
        if hashlib.sha256(content).hexdigest() != self.manifest[name].get("sha256"):
            raise Unfit(f"the content of its member {name} is not that of its checksum")
        return content

    def _opened(self) -> zipfile.ZipFile:
        try:
            open_file(self.path).close()  # a pipe would be waited for
            return zipfile.ZipFile(self.path)
        except OSError as error:
            if self.path.is_dir() or error.errno == errno.ELOOP:
                raise Unfit("it is a folder, or a link in a circle") from None
            raise BadInput(f"The file of results {self.path} cannot be read ({error.strerror}).") from None
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise Unfit(f"it is no zip file ({first_line(error)})") from None


def shipped() -> tuple[Archive, ...]:
    """The files of results that come with the project, in results/; none where the package was installed without it."""
    return tuple(map(Archive, shipped_files()))


def _check_size(info: zipfile.ZipInfo) -> None:
    """Raise Unfit for a member that claims more than it can hold, or than any may, and for one that is encrypted."""
    most = MOST["safetensors" if info.filename.endswith(".safetensors") else "json"]
    if info.file_size > min(most, DEFLATED * info.compress_size + 1024):
        raise Unfit(f"its member {info.filename} claims to be {info.file_size:,} bytes, which it cannot be")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unfit(f"its member {info.filename} is encrypted or packed in an unknown way")


def _content(file: zipfile.ZipFile, name: str) -> bytes:
    """A member's bytes, no more than it claims to have."""
    try:
        with file.open(name) as member:
            content = member.read(size := file.getinfo(name).file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise Unfit(f"its member {name} cannot be read ({first_line(error)})") from None
    if len(content) != size:
        raise Unfit(f"its member {name} is cut off")
    return content


def _listed(content: bytes) -> dict[str, dict]:
    """What a manifest lists. Raises Unfit for one that is damaged, or of a version that this one does not know."""
    try:
        found = parsed(content)
        listed = found["files"]
        if found["format"] != FORMAT or not all(isinstance(one["size"], int) for one in listed.values()):
            raise ValueError(found["format"])
        version, schema = int(found["version"]), int(found["schema"])
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError):
        raise Unfit(f"its {MANIFEST} is damaged, or no manifest of results") from None
    if version > VERSION or schema > SCHEMA:
        raise Unfit(
            f"a newer version of retrainlab has written it (format {version}, schema {schema}); update this one"
        )
    if schema < SCHEMA:
        raise Unfit(f"an earlier version has written it (schema {schema}), whose results mean something else now")
    return listed


def _about(content: bytes) -> dict[str, str]:
    """What a safetensors file says of itself: the metadata of its header."""
    size = int.from_bytes(content[:8], "little")
    found = parsed(content[8 : 8 + size]) if size <= len(content) else {}
    return (found.get("__metadata__") if isinstance(found, dict) else None) or {}
