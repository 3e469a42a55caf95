"""What a figure was made from, recorded beside it, so that only what changed is made again.

The record, OUTPUT/.made/NAME.json, holds digests of the notebook and the modules that it can reach, the versions of the
libraries, the parameters, every result in the store, and the files that were written. It is of this machine's store, and so
not part of the project; a figure without one is made. Nothing here loads torch.
"""

import hashlib
import json
import platform
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from retrainlab.checks import BadInput, shortened
from retrainlab.figures import sources
from retrainlab.figures.provenance import described, texts, versions
from retrainlab.parsing import open_file, parsed, read_file
from retrainlab.paths import shipped_files, stored_file, write_text

MADE_FROM = ("parameters", "versions", "code")  # what is known before a notebook runs ...
FOUND_IN = ("files", "results")  # ... and after it
BESIDE = ("pandas", "scipy", "statsmodels", "scikit-learn", "pillow", "nbconvert", "mistune")
Record = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Asked:
    """A figure as it is asked for. parameters: those on which its content may depend; store: the folder of results."""

    notebook: Path
    folder: Path
    store: Path
    parameters: Mapping[str, str]

    @property
    def name(self) -> str:
        """Of the figure and of its notebook: `fig03_budgets`."""
        return self.notebook.stem

    @property
    def record(self) -> Path:
        """The file of what it was made from."""
        return self.folder / ".made" / f"{self.name}.json"


def before(asked: Asked, modules: Mapping[str, str]) -> Record:
    """What the figure is made from if its notebook runs now, results aside. modules: from `sources.texts`."""
    text = asked.notebook.read_text(encoding="utf-8", errors="replace")
    code = {asked.notebook.name: _digest(text.encode())}
    code |= {name: _digest(modules[name].encode()) for name in sources.needed(text, modules)}
    return {"parameters": dict(asked.parameters), "versions": versions() | _beside(), "code": code}


def after(asked: Asked) -> Record:
    """The results that the saved figure names, its files, and those that it looked for, with digests of what is there now;
    empty where nothing is."""
    about = described(asked.folder, asked.name)
    files = {path.name: _digest_of(path) for path in sorted(asked.folder.glob(f"{asked.name}.*"))}
    beside = [*texts(about, "read"), *texts(about, "written")]
    files |= {name: _digest_of(asked.folder / name) for name in beside}
    return {"files": files, "results": stored(asked.store, texts(about, "results"))}


def stored(store: Path, keys: Iterable[str]) -> dict[str, str]:
    """Digests of results by their keys, in the store or else in a file of results that comes with the project; empty for one
    that is in neither."""
    shelved = _shelved()
    found = {key: _digest_of(stored_file(store, "results", key)) for key in keys}
    return {key: digest or shelved.get(f"results/{key}.json", "") for key, digest in found.items()}


def _shelved() -> dict[str, str]:
    """What the manifests of the files of results that come with the project say of their members, by name."""
    out: dict[str, str] = {}
    for path in shipped_files():
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, zipfile.BadZipFile):
            with zipfile.ZipFile(path) as file:
                listed = parsed(file.read("manifest.json"))["files"]
            out |= {name: str(about["sha256"])[:16] for name, about in listed.items()}
    return out


def beside(asked: Asked) -> dict[str, str]:
    """Digests of the tables and words that lie in the figure's folder, which its notebook may read."""
    return {path.name: _digest_of(path) for end in ("csv", "json") for path in sorted(asked.folder.glob(f"*.{end}"))}


def keep(asked: Asked, begun: Record, seen: Mapping[str, str]) -> None:
    """Record what the figure was made from. begun, seen: what `before` and `beside` said when its notebook started. Nothing
    is recorded of a figure that names no results, or whose results are not all stored, nor where what it read has changed
    since, as it may while another command runs."""
    done = after(asked)
    same = all(done["files"][name] == seen.get(name, "") for name in texts(described(asked.folder, asked.name), "read"))
    if done["results"] and all(done["results"].values()) and same:
        with suppress(BadInput):  # without a record it is made again
            write_text(asked.record, json.dumps(begun | done, indent=1, sort_keys=True) + "\n")


def forget(asked: Asked) -> None:
    """Remove the record, before a notebook runs that may change what it tells of."""
    with suppress(OSError):
        asked.record.unlink()


def why(asked: Asked, modules: Mapping[str, str]) -> str:
    """Why the figure must be made, in a few words; empty if it is what its notebook would make now."""
    known = _recorded(asked.record)
    if known is None:
        return "not made here before"
    return next(_changes(known, before(asked, modules) | after(asked)), "")


def _changes(known: Record, now: Record) -> Iterator[str]:
    for part in MADE_FROM + FOUND_IN:
        gone = [name for name, digest in known[part].items() if digest and not now[part].get(name)]
        other = [name for name in known[part].keys() | now[part].keys() if known[part].get(name) != now[part].get(name)]
        for names, what, result in ((gone, "gone", "not in the store"), (sorted(other), "changed", "changed")):
            if names and part == "results":
                yield f"{len(names)} of its {len(known[part])} results {result}"
            elif names:
                yield f"{shortened(names, 2)} {what}"


def _recorded(path: Path) -> Record | None:
    """The record; None if there is none that is whole."""
    with suppress(OSError, ValueError):
        record = parsed(read_file(path))
        if isinstance(record, dict) and all(isinstance(record.get(part), dict) for part in MADE_FROM + FOUND_IN):
            return record
    return None


def _beside() -> dict[str, str]:
    """The versions of what else a figure's numbers and pages come through; empty for what is not installed."""
    found = {"python": platform.python_version()}
    for library in BESIDE:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = ""
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _digest_of(path: Path) -> str:
    """Of a file's content; empty if it is not there or cannot be read."""
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except (OSError, ValueError):
        return ""
