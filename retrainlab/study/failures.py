"""Why runs have failed, kept in the store until they are made.

STORE/failures/KEY.json   of a run: what it is, why it failed, where and when
"""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from retrainlab.parsing import parsed, read_file
from retrainlab.paths import stored_file, write_whole

LONGEST = 2000  # characters of a reason that are kept


@dataclass(frozen=True)
class Failure:
    """words: what failed; reason: why; host: where; time: when, in UTC as ISO 8601 has it."""

    words: str
    reason: str
    host: str
    time: str


def write(root: Path, key: str, words: str, reason: str) -> None:
    """Keep why the run with this key failed, in place of why it did before; nothing where the store cannot be written."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    text = json.dumps({"key": key, **asdict(Failure(words, reason[:LONGEST], socket.gethostname(), now))}, indent=1)
    with suppress(OSError):
        write_whole(path(root, key), lambda there: there.write_text(text + "\n"))


def every(root: Path) -> Iterator[tuple[str, Failure]]:
    """(key, failure) of every run that failed when it was last tried; what is damaged is passed over."""
    for file in sorted((root / "failures").glob("[!.]*.json")):
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            told = parsed(read_file(file))
            yield file.stem, Failure(*(str(told[name])[:LONGEST] for name in ("words", "reason", "host", "time")))


def remove(root: Path, key: str) -> None:
    """The run with this key is made: why it had failed is of no interest any more."""
    with suppress(OSError):
        path(root, key).unlink(missing_ok=True)


def left_over(root: Path) -> list[Path]:
    """Those of runs that are made meanwhile, as by an import."""
    files = (path(root, key) for key, _ in every(root))
    return [
        f for f in files if any(stored_file(root, kind, f.stem).exists() for kind in ("dense", "pruned", "results"))
    ]


def path(root: Path, key: str) -> Path:
    """The file of a failure."""
    return root / "failures" / f"{key}.json"
