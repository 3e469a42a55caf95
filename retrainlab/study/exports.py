"""Results of a store into one file (see `archive`): which, with which tensors, and how large that is at most."""

import hashlib
import json
import warnings
import zipfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save

from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe
from retrainlab.keys import SCHEMA, references
from retrainlab.paths import write_whole
from retrainlab.study import nouns, records, seal
from retrainlab.study.archive import FORMAT, MANIFEST, VERSION
from retrainlab.study.making import Noun
from retrainlab.study.measured import LEFT_OUT, MOMENTUM
from retrainlab.study.older import Unfit
from retrainlab.study.records import Stored, counted
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.store import Name, Store


@dataclass(frozen=True)
class Chosen:
    """Which results to take: those that have one of the values of each field; of an empty field all."""

    data: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    schedule: tuple[str, ...] = ()
    sparsity: tuple[float, ...] = ()
    budget: tuple[float, ...] = ()
    seed: tuple[int, ...] = ()

    def takes(self, e: Experiment) -> bool:
        """Whether it takes that experiment's result; sparsities and budgets are equal within a millionth."""
        return (
            (not self.data or e.recipe.data in self.data)
            and (not self.model or e.recipe.model in self.model)
            and (not self.schedule or e.retrain.schedule in self.schedule)
            and (not self.seed or e.recipe.seed in self.seed)
            and (not self.sparsity or any(abs(one - e.prune.sparsity) < 1e-6 for one in self.sparsity))
            and (not self.budget or any(abs(one - e.retrain.budget) < 1e-6 for one in self.budget))
        )


@dataclass(frozen=True)
class Plan:
    """What an export holds. names: of all records. whole: those of them that have their tensors with them."""

    names: tuple[Name, ...]
    whole: frozenset[Name]

    def words(self, size: int) -> str:
        """What that is; size: bytes at most."""
        count, whole = Counter(kind for kind, _ in self.names), Counter(kind for kind, _ in self.whole)
        parts = [counted("results", count["results"])]
        parts += [f"{counted(kind, count[kind])} ({whole[kind]} with tensors)" for kind in ("dense", "pruned")]
        return f"{', '.join(parts)}; at most {size / 1e6:.2f} MB"


def plan(results: Results, chosen: Chosen, weights: Sequence[int] | None = None, known: Collection[Name] = ()) -> Plan:
    """What to export of the store's own: the results that are chosen, and the dense runs and masks that they start from.

    weights: seeds whose dense weights and masks go along, all if it is empty, none if None. known: names to leave out,
    since whoever takes the file in has them. What is damaged is left out with a warning.
    """
    store, taken = results.store, dict[Name, int]()
    written = cache(lambda: _written(store))
    for name in store.names():
        if name[0] != "results" or name in known:
            continue
        try:
            found = store.read(*name, tensors=False)
            experiment = nouns.experiment_of(found.result.config) if found else None
        except ValueError as why:
            warnings.warn(f"{'/'.join(name)} is left out ({why}).", stacklevel=2)
            continue
        if found is None or experiment is None or not chosen.takes(experiment):
            continue
        taken[name] = experiment.recipe.seed
        if references(experiment):  # without the code, which nobody imports for this, no name is known
            starts = _starts(experiment, found.result.provenance.get("weights"), written())
        else:
            nouns_of = ("dense", experiment.recipe), ("pruned", (experiment.recipe, experiment.prune))
            starts = [(kind, _key(results, noun)) for kind, noun in nouns_of]
        for start in starts:
            if start[1] and start not in known and store.path(*start).is_file():
                taken[start] = experiment.recipe.seed
    if not taken:
        raise BadInput(f"The store {store.root} has no results that fit, so that there is nothing to export.")
    own = {
        name
        for name, seed in taken.items()
        if weights is not None and name[0] != "results" and (not weights or seed in weights)
    }
    return Plan(tuple(sorted(taken)), frozenset(name for name in own if store.path(*name, "safetensors").is_file()))


def _key(results: Results, noun: Noun) -> str:
    """The name of what is stored of a noun; empty where its images are not here any more."""
    try:
        return results.key(noun)
    except BadInput:
        return ""


def _written(store: Store) -> dict[Name, tuple[Recipe | Prune, str | None]]:
    """The settings of all dense runs and masks, and which dense weights they are of."""
    out: dict[Name, tuple[Recipe | Prune, str | None]] = {}
    for name in store.names():
        with suppress(ValueError):  # what is damaged, or of no version that is known
            if name[0] != "results" and (found := store.read(*name, tensors=False)) is not None:
                read = nouns.recipe_of if name[0] == "dense" else nouns.prune_of
                out[name] = read(found.result.config), found.result.provenance.get("weights")
    return out


def _starts(
    experiment: Experiment, weights: str | None, written: Mapping[Name, tuple[Recipe | Prune, str | None]]
) -> list[Name]:
    """The dense run and the masks that an experiment starts from, known by their settings and the dense weights."""
    wanted = (experiment.recipe, weights), (experiment.prune, weights)
    return [name for name, told in written.items() if weights is not None and told in wanted]


def most(store: Store, planned: Plan) -> int:
    """Bytes that the file takes at most: those of the files in the store."""
    paths = [store.path(*name) for name in planned.names] + [store.path(*n, "safetensors") for n in planned.whole]
    return sum(path.stat().st_size for path in paths)


def export(store: Store, planned: Plan, file: Path) -> None:
    """Write the file, the same bytes for the same results. Raises BadInput for what is damaged, OSError for a full disk."""
    write_whole(file, lambda temporary: _fill(temporary, store, planned))


def _fill(path: Path, store: Store, planned: Plan) -> None:
    listed: dict[str, dict] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:

        def add(name: str, content: bytes) -> None:
            info = zipfile.ZipInfo(name)  # of 1980, on every machine
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            file.writestr(info, content)
            listed[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}

        for kind, key in planned.names:
            try:
                found = store.read(kind, key, tensors=(kind, key) in planned.whole)
            except Unfit as why:
                raise BadInput(
                    f"{kind}/{key} in the store {store.root} is damaged ({why}); see results verify."
                ) from None
            assert found is not None
            tensors, result = _portable(kind, found)
            digest, name = None, f"{kind}/{key}"
            if tensors:
                digest = seal.of_tensors(name, tensors)
                add(f"{name}.safetensors", save(tensors, {name: digest}))
            add(f"{name}.json", records.text(kind, key, result, digest, indent=None).encode())
        manifest = {"format": FORMAT, "version": VERSION, "schema": SCHEMA, "files": dict(sorted(listed.items()))}
        add(MANIFEST, (json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n").encode())


def _portable(kind: str, found: Stored) -> tuple[dict[str, torch.Tensor], Result]:
    """The tensors to export, without momentum and in float32, and the record, which says so."""
    if kind != "dense" or not found.tensors:
        return found.tensors, found.result
    kept = {name: t for name, t in found.tensors.items() if not name.startswith("momentum/")}
    single = {name: t.float() if t.is_floating_point() else t for name, t in kept.items()}
    return single, replace(found.result, provenance=found.result.provenance | {MOMENTUM: LEFT_OUT})
