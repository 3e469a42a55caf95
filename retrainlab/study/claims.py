"""Claims of work: which process makes what, so that all that share a store's folder, on any host, make nothing twice.

    STORE/claims/owners/ID   a process: its host, number and start (see `filelock.SoftFileLease`), renewed while it lives
    STORE/claims/KEY-N       claim N (from 0) of what has this key: the ID of its owner; the highest N holds

A claim is a file that is created only if there is none of that name, which every shared folder can do. Who finds that an
owner is dead creates the next N, and one alone succeeds. An owner of this machine is dead when its process is; any other
once its file has not changed for PATIENCE seconds, as this process has watched it. No clock is compared with another, so
that one that is wrong, or set back, does no harm. A process that stood still for so long finds its claims gone; what it
makes of them is not kept (see `holds`).
"""

import os
import random
import socket
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filelock import LeaseSettingsMismatch, SoftFileLease, Timeout

from retrainlab.parsing import read_file
from retrainlab.paths import write_new

PATIENCE = 180.0  # seconds without one after which an owner is dead; a network folder shows changes up to 60 s late
BEATS = 18  # renewals in that time
LONGEST = 1000  # bytes of a claim, and of what tells of an owner
UNKNOWN = "-"  # an owner whose name is not written yet


class Claims:
    """The claims of one study in the store's folder `root`. Raises OSError where they cannot be written."""

    def __init__(self, root: Path):
        self.folder = root / "claims"
        self.owners = self.folder / "owners"
        self.id = uuid.uuid4().hex[:12]
        self.held: dict[str, int] = {}  # N by key
        self._watched: dict[str, SoftFileLease] = {}
        self._empty: dict[str, float] = {}
        self.owners.mkdir(parents=True, exist_ok=True)
        self._lease = self._watch(self.id)
        self._lease.acquire(timeout=0)

    def __enter__(self) -> "Claims":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, key: str) -> str:
        """Claim what has this key: empty if it is this study's now, or else the ID of the owner that has it."""
        if self._lease.compromise is not None:  # this process stood still, and was taken for dead
            self._lease.release(force=True)
            self._lease.acquire(timeout=0)
        while True:
            numbers = numbers_of(self.folder, key)
            last, owner = max(numbers, default=-1), None
            if numbers and (owner := owner_of(self.folder, key, last)) is not None:
                if owner == self.id:
                    return ""
                if self._lives(owner, f"{key}-{last}"):
                    return owner or UNKNOWN
            if not write_new(self.folder / f"{key}-{last + 1}", self.id):
                continue  # another was first
            others = set(numbers_of(self.folder, key)) - {last + 1}
            if not others or others <= {*numbers} and owner_of(self.folder, key, last) == owner:
                self.held[key] = last + 1
                return ""
            self._remove(f"{key}-{last + 1}")  # one began anew, from 0, while this was on its way
            time.sleep(random.uniform(0.0, 0.05))

    def release(self, keys: Iterable[str]) -> None:
        """Give up claims, whether their work is done or not."""
        for key in keys:
            if (mine := self.held.pop(key, None)) is not None:
                for number in sorted(n for n in numbers_of(self.folder, key) if n <= mine):
                    self._remove(f"{key}-{number}")  # the highest last, so that none before it holds again

    def tidy(self) -> None:
        """Remove what dead owners have left."""
        for key in {name.rpartition("-")[0] for name in _listed(self.folder) if "-" in name}:
            if not self.take(key):
                self.release([key])
        for owner in _listed(self.owners):
            self._lives(owner, owner)

    def close(self) -> None:
        """Give up all claims, and be no owner any more."""
        self.release(list(self.held))
        self._lease.release(force=True)

    def _watch(self, owner: str) -> SoftFileLease:
        how: dict = {"lease_duration": PATIENCE, "heartbeat_interval": PATIENCE / BEATS, "thread_local": False}
        return SoftFileLease(self.owners / owner, **how)

    def _lives(self, owner: str, claim: str) -> bool:
        if not owner:  # a claim that is being written, or whose writer was killed at that moment
            return time.monotonic() - self._empty.setdefault(claim, time.monotonic()) < PATIENCE
        if owner == self.id:
            return True
        if not (self.owners / owner).exists():
            return False
        lease = self._watched.setdefault(owner, self._watch(owner))
        try:
            lease.acquire(timeout=0)
        except (Timeout, OSError, LeaseSettingsMismatch):
            return True
        lease.release()
        return False

    def _remove(self, name: str) -> None:
        with suppress(OSError):
            (self.folder / name).unlink()


def holds(root: Path, owner: str, key: str) -> bool:
    """Whether the owner has the claim of that key: another may have taken it for dead."""
    folder = root / "claims"
    numbers = numbers_of(folder, key)
    return bool(numbers) and owner_of(folder, key, max(numbers)) == owner


def who(root: Path, owner: str) -> str:
    """The owner in words, such as `process 4711 on node3`."""
    told = _told(root / "claims" / "owners" / owner)
    return f"process {told['pid'][:20]} on {told['host'][:80]}" if {"pid", "host"} <= told.keys() else "another process"


def _told(owner: Path) -> dict[str, str]:
    """What an owner's file says."""
    try:
        return dict(line.split("=", 1) for line in read_file(owner, LONGEST).decode().splitlines() if "=" in line)
    except (OSError, ValueError):
        return {}


def left_over(root: Path) -> list[Path]:
    """Claims whose owners are surely gone, and these owners' files. Another study may have just cleared them away."""
    folder, owners = root / "claims", root / "claims" / "owners"
    gone = [name for name in _listed(owners) if _gone(owners / name)]
    there = set(_listed(owners)) - set(gone)
    made = [name.rpartition("-") for name in _listed(folder) if name.rpartition("-")[2].isdecimal()]
    left = [
        f"{key}-{number}" for key, _, number in made if owner_of(folder, key, int(number)) not in {None, "", *there}
    ]
    return [*(folder / name for name in sorted(left)), *(owners / name for name in sorted(gone))]


def _gone(owner: Path) -> bool:
    """Whether the process of an owner on this machine has ended; a number that another process has now says nothing."""
    told = _told(owner)
    if told.get("host") != socket.gethostname() or not told.get("pid", "").isdecimal() or os.name == "nt":
        return False
    try:
        os.kill(int(told["pid"]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def numbers_of(folder: Path, key: str) -> list[int]:
    """The claims that there are of that key."""
    ends = (name.rpartition("-") for name in _listed(folder))
    return [int(number) for start, _, number in ends if start == key and number.isdecimal()]


def owner_of(folder: Path, key: str, number: int) -> str | None:
    """Who made that claim: empty while it is being written, or if it cannot be read; None if it is gone."""
    try:
        text = read_file(folder / f"{key}-{number}", LONGEST)
    except FileNotFoundError:
        return None
    except (OSError, ValueError):  # one that may not be read, or is no file, says no owner either
        return ""
    return "".join(c for c in text.decode("ascii", "ignore") if c.isalnum())  # it names a file


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
