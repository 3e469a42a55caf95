"""Several studies at once in one store: each takes what no other makes, and finds the rest when the others are done.

What is to be made is known by its key. It is there once its file in the store is another than when the study began, whoever
wrote it; a study that makes everything anew thus waits for what others make anew, too.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from retrainlab.paths import stored_file
from retrainlab.study import failures
from retrainlab.study.claims import Claims, who
from retrainlab.study.ledger import Task
from retrainlab.study.records import KINDS
from retrainlab.study.store import Store

File = tuple[int, int] | None
"""What tells a file from any that is put in its place; None if there is none."""


@dataclass(frozen=True)
class Taken:
    """A task, seen by this study: what it makes now, how many runs others have made, and what others are at, with their
    name."""

    mine: Task | None
    there: int
    elsewhere: Task | None
    others: str = ""


class Sharing:
    """A study's part of a store. keys: of all that it is to make."""

    def __init__(self, store: Store, claims: Claims, keys: Iterable[str]):
        self.store, self.root, self.claims = store, store.root, claims
        self.before = {key: self._file(key) for key in keys}

    def there(self, key: str) -> bool:
        """Whether it has been made since this study began."""
        return (now := self._file(key)) is not None and now != self.before.get(key)

    def take(self, task: Task) -> Taken:
        """Claim the runs of a task that are neither made nor claimed. Raises BadInput where claims cannot be written."""
        mine, elsewhere, others = [], [], ""
        for part in task.parts:
            with self.store.writing():
                owner = "" if self.there(part.key) else self.claims.take(part.key)
            if owner:
                elsewhere.append(part)
                others = others or who(self.root, owner)
            elif not self.there(part.key):  # asked after the claim: its last owner may have just made it
                mine.append(part)
        self.claims.release(part.key for part in task.parts if part not in mine)
        made = len(task.parts) - len(mine) - len(elsewhere)
        return Taken(task.only(mine), made, task.only(elsewhere), others)

    def release(self, task: Task) -> None:
        """Give up the claims of a task that has ended, however it did."""
        self.claims.release(part.key for part in task.parts)

    def rest(self, task: Task) -> Task | None:
        """What is not there of a task that has ended: what another took from it that held this process for dead, so that
        what was made of it here was not kept; or, if it failed, what it had not made before."""
        return task.only([part for part in task.parts if not self.there(part.key)])

    def note(self, task: Task, reason: str) -> None:
        """Keep why the runs of a task have failed."""
        for part in task.parts:
            failures.write(self.root, part.key, part.words, reason)

    def _file(self, key: str) -> File:
        for kind in KINDS:
            try:
                found = os.stat(stored_file(self.root, kind, key))
            except OSError:
                continue
            return found.st_ino, found.st_mtime_ns
        return None
