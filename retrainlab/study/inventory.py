"""What lies in stores and files of results, record by record, and what has a name that begins so."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from retrainlab.checks import BadInput
from retrainlab.progress import Progress
from retrainlab.study.archive import Archive
from retrainlab.study.older import Unfit
from retrainlab.study.records import Stored
from retrainlab.study.result import Result
from retrainlab.study.store import Store

AWHILE = 2.0  # seconds of work after which a line says how far it is


@dataclass(frozen=True)
class Entry:
    """A record, and the store or file in which it lies; none, but why not, if it is damaged."""

    where: str
    kind: str
    key: str
    stored: Stored | None
    why: str = ""


def entries(places: Sequence[Store | Archive], tensors: bool = False, begins: str = "") -> Iterator[Entry]:
    """Everything in some stores and files whose name begins so; tensors: whether to read these, too."""
    for place in places:
        where = str(place.path if isinstance(place, Archive) else place.root)
        try:
            names = [name for name in place.names() if name[1].startswith(begins)]
        except Unfit as why:
            yield Entry(where, "", "", None, str(why))
            continue
        progress = Progress("reading", after=AWHILE)
        for number, (kind, key) in enumerate(names, 1):
            try:
                yield Entry(where, kind, key, place.read(kind, key, tensors))
            except Unfit as why:
                yield Entry(where, kind, key, None, str(why))
            progress(number / len(names), f"{number:,} of {len(names):,} records")
        progress.close()


def results(place: Store | Archive) -> dict[str, Result]:
    """The results that a store or a file holds, by name in its order, but for what is damaged. Raises BadInput for what may
    not be read."""
    found = place.results() if isinstance(place, Store) else {}
    if isinstance(place, Store) and len(found) == place.count()["results"]:
        return dict(sorted(found.items()))
    with suppress(Unfit):  # no file of results
        for kind, key in place.names():
            if kind == "results" and key not in found:
                with suppress(Unfit):
                    if (read := place.read(kind, key)) is not None:
                        found[key] = read.result
    return dict(sorted(found.items()))


def named(store: Store, key: str, kinds: Sequence[str] = ()) -> list[Entry]:
    """What is stored whole under the one name that begins with `key`, of these kinds (all if none), in the store and in each
    file under it. Raises BadInput if there is no such name, or more than one."""
    every = (e for e in entries([store, *store.shelves], begins=key) if e.stored is not None)
    found = [e for e in every if not kinds or e.kind in kinds]
    names = sorted({f"{e.kind}/{e.key}" for e in found})
    if len(names) != 1:
        what = f"{len(names)} names begin with {key!r}: {', '.join(names[:5])}" if names else "there is none"
        raise BadInput(f"KEY must be the beginning of one name, but {what}; `retrainlab results ls` lists them.")
    return found
