"""Results of a file (see `archive`), or of another store, into a store: all of it, or nothing.

What is taken in is checked whole before anything is written. A result that is there already stays; one of the same name with
other numbers is kept beside it, in STORE/conflicts/.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from retrainlab.checks import BadInput, shortened
from retrainlab.config import PRECISIONS, Experiment
from retrainlab.data.sources import BUILT_IN
from retrainlab.keys import references
from retrainlab.progress import Tell
from retrainlab.study import nouns, older, seal
from retrainlab.study.archive import Archive
from retrainlab.study.older import Unfit
from retrainlab.study.records import KINDS, Stored, counted
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.store import Name, Store

TIMED = {"images_per_second", "measured_speedup"}  # scalars that no two runs share


@dataclass(frozen=True)
class Taken:
    """What an import did: names that are new, that were there with the same numbers, that got tensors or curves which they
    lacked, and whose numbers here are others."""

    new: tuple[Name, ...] = ()
    there: tuple[Name, ...] = ()
    more: tuple[Name, ...] = ()
    other: tuple[Name, ...] = ()

    def words(self, store: Store) -> str:
        """The same in a sentence or two."""
        count = Counter(kind for kind, _ in self.new)
        text = ", ".join(counted(kind, count[kind]) for kind in KINDS)
        text = f"New in {store.root}: {text}; there already: {len(self.there)}"
        text += f"; completed: {len(self.more)}." if self.more else "."
        if self.other:
            names = shortened(["/".join(name) for name in self.other], 5)
            text += (
                f" {len(self.other)} of the same name have other numbers than here: both are kept, those that were here"
                f" under their names, the others in {store.root / 'conflicts'}: {names}."
            )
        return text


def take_in(store: Store, source: Archive | Store, tell: Tell = lambda share, words: None) -> Taken:
    """Take in what a file or another store holds; all of it is checked before anything is written. tell: is told how far it
    is. Raises BadInput in one sentence for what is damaged, too large or of a newer version, with nothing written."""
    path = source.path if isinstance(source, Archive) else source.root
    found: dict[str, list[Name]] = {field: [] for field in Taken.__dataclass_fields__}
    size = 0
    try:
        renamed, count = _renamed(source), len(source.names())
        for place, (kind, key, thing) in enumerate(_every(source, renamed)):
            tell(place / count / 2, f"{count} records are checked")
            _check(kind, key, thing.result)
            found[_standing(store.own(kind, key), thing)].append((kind, key))
            size += sum(t.nbytes for t in thing.tensors.values()) + 8192
    except Unfit as why:
        raise BadInput(f"{path} is not taken in, and nothing was changed: {why}.") from None
    taken = Taken(**{field: tuple(names) for field, names in found.items()})
    store.check_writable()
    store.check_room(size)
    beside = Store(store.root / "conflicts")
    for place, (kind, key, thing) in enumerate(_every(source, renamed)):
        tell(0.5 + place / count / 2, f"{count} records are taken in")
        name, tensors = (kind, key), None if thing.bare else thing.tensors
        if name in taken.new:
            store.write(kind, key, thing.result, tensors)
        elif name in taken.other:
            beside.write(kind, f"{key}-{_digest(thing.result)}", thing.result, tensors)
        elif name in taken.more and (here := store.own(kind, key)) is not None:
            curves = thing.result.curves | here.result.curves
            kept = thing.result.provenance if here.bare and not thing.bare else here.result.provenance
            whole = tensors if here.bare else here.tensors
            store.write(kind, key, replace(here.result, curves=curves, provenance=kept), whole)
    return taken


def _every(source: Archive | Store, renamed: Mapping[Name, str]) -> Iterator[tuple[str, str, Stored]]:
    """All that a source holds, with kind and key, under today's names. Raises Unfit."""
    for kind, key in source.names():
        if (found := source.read(kind, key)) is None:
            continue
        if (kind, key) in renamed:
            found, key = replace(found, result=older.saying_half(kind, found.result)), renamed[kind, key]
        yield kind, key, found


def _renamed(source: Archive | Store) -> dict[Name, str]:
    """Today's keys of what an earlier version computed in bfloat16 and named as if in float32."""
    out: dict[Name, str] = {}
    keys = Results(Store(Path()))
    for kind, key in source.names():
        found = source.read(kind, key, tensors=False) if kind == "results" else None
        if found is not None and older.unsaid_half(found.result):
            e = nouns.experiment_of(found.result.config)
            if references(e):  # which no version knew that left this unsaid
                raise Unfit(f"the settings of {kind}/{key} are of no one version")
            first, half = (replace(e, recipe=replace(e.recipe, precision=p)) for p in PRECISIONS)
            out["results", key] = keys.key(half)
            out["dense", keys.key(first.recipe)] = keys.key(half.recipe)
            out["pruned", keys.key((first.recipe, e.prune))] = keys.key((half.recipe, e.prune))
    return out


def _check(kind: str, key: str, result: Result) -> None:
    """Raise Unfit if a record lacks what tables need, or if one of a built-in data set has another name than its settings
    give."""
    if lacking := older.lacking(kind, result):
        raise Unfit(f"{kind}/{key} lacks {', '.join(lacking)}")
    try:
        noun = nouns.recipe_of(result.config) if kind == "dense" else nouns.experiment_of(result.config)
    except ValueError:  # a prune alone does not tell its network; another's method is not known here
        return
    recipe = noun.recipe if isinstance(noun, Experiment) else noun
    if recipe.data in BUILT_IN and not references(noun) and Results(Store(Path())).key(noun) != key:
        raise Unfit(f"the settings of {kind}/{key} are not those of its name")


def _standing(here: Stored | None, thing: Stored) -> str:
    """The field of Taken that a record belongs to. here: what the store has under its name."""
    if here is None:
        return "new"
    if not same(here.result, thing.result):
        return "other"
    more = (here.bare and not thing.bare) or thing.result.curves.keys() - here.result.curves.keys()
    return "more" if more else "there"


def same(a: Result, b: Result) -> bool:
    """Whether both tell the same numbers of the same network: all scalars but those of time, and the curves that both
    have."""
    numbers = [{name: x for name, x in r.scalars.items() if name not in TIMED} for r in (a, b)]
    networks = {r.provenance.get("weights") for r in (a, b)} - {None}
    curves = all(a.curves[name] == b.curves[name] for name in a.curves.keys() & b.curves.keys())
    return numbers[0] == numbers[1] and curves and a.outcome == b.outcome and len(networks) < 2


def _digest(result: Result) -> str:
    return seal.of_record({"scalars": result.scalars, "curves": result.curves, "outcome": result.outcome})[:8]
