"""`retrainlab results ...`: what is stored, out of the store into one file, and back."""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES
from retrainlab.paths import abandoned, store_root, target
from retrainlab.progress import Progress
from retrainlab.tables import aligned

if TYPE_CHECKING:
    from retrainlab.study.exports import Chosen
    from retrainlab.study.store import Store

LONGEST = 100  # characters of a reason in a table
LISTED = "key,data,network,method,sparsity %,schedule,budget %,seed,test acc. %,computed on,kept in".split(",")
OLD = 3600.0  # seconds after which a temporary file is left over, whoever wrote it
FILTERS = {  # option -> type and help text
    "data": (str, "data sets"),
    "model": (str, "networks"),
    "schedule": (str, f"schedules: {', '.join(NAMED_SCHEDULES)}, ..."),
    "sparsity": (float, "sparsities, as shares"),
    "budget": (float, "budgets, as shares of the dense run"),
    "seed": (int, "seeds"),
}


def add(commands: Callable[[str, Callable, str], argparse.ArgumentParser]) -> None:
    """Add the parsers of all actions; commands: makes one from its name, its function and its help text."""
    export = commands("export", _export, "write results to one file that other stores can take in")
    export.add_argument("file", metavar="FILE", help="the file to write, such as results.zip")
    _add_filters(export)
    export.add_argument(
        "--weights",
        nargs="*",
        type=int,
        metavar="SEED",
        help="the dense weights (float32, no momentum) and masks of these seeds too; of all seeds if none is named",
    )
    export.add_argument("--new", action="store_true", help="leave out what the project's own files of results hold")
    taking = commands(
        "import", _import, "take in such files, or the results of other stores, after checking all of them"
    )
    taking.add_argument("files", nargs="+", metavar="FILE", help="a file that export has written, or a store's folder")
    listing = commands("ls", _list, "list the results that are there, those that come with the project too")
    _add_filters(listing)
    show = commands("show", _show, "print all that is stored under a name")
    show.add_argument("key", metavar="KEY", help="the first digits of the name are enough")
    verify = commands("verify", _verify, "read everything, and say what is damaged")
    verify.add_argument(
        "files", nargs="*", metavar="FILE", help="files to look at; the store and the project's if none"
    )
    collect = commands(
        "gc",
        _collect,
        "remove what nothing needs: damaged files that were set aside, and leftovers, such as claims of dead processes",
    )
    collect.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    failed = commands("failures", _failures, "list the runs that failed when they were last tried, and why")
    for parser in (export, taking, listing, show, verify, collect, failed):
        parser.add_argument("--store", default="", help="folder of results; RETRAINLAB_STORE or the project's if empty")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    for name, (kind, words) in FILTERS.items():
        parser.add_argument(f"--{name}", nargs="+", type=kind, default=(), help=f"only these {words}")


def _chosen(options: argparse.Namespace) -> "Chosen":
    from retrainlab.study.exports import Chosen

    return Chosen(**{f.name: tuple(getattr(options, f.name)) for f in fields(Chosen)})


def _store(options: argparse.Namespace) -> "Store":
    from retrainlab.study.results import Results

    if options.store and not Path(options.store).is_dir():
        raise BadInput(f"There is no store {options.store}; name a folder that is there with --store.")
    return Results.at(options.store).store


def _export(options: argparse.Namespace) -> None:
    from retrainlab.study import exports
    from retrainlab.study.results import Results

    file, store = target(options.file, "The file of results"), _store(options)
    known = {name for shelf in store.shelves for name in shelf.names()} if options.new else set()
    planned = exports.plan(Results(store), _chosen(options), options.weights, known)
    print(planned.words(exports.most(store, planned)), file=sys.stderr)
    try:
        exports.export(store, planned, file)
    except OSError as error:
        raise BadInput(f"The file of results {file} cannot be written ({error.strerror}); name another.") from None
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")


def _import(options: argparse.Namespace) -> None:
    from retrainlab.study.archive import Archive
    from retrainlab.study.imports import take_in
    from retrainlab.study.inventory import AWHILE
    from retrainlab.study.store import Store

    paths = [Path(name) for name in options.files]
    if missing := [path for path in paths if not path.exists()]:
        raise BadInput(f"There is no {missing[0]}; name a file that `retrainlab results export` has written.")
    store = Store(Path(options.store) if options.store else store_root())
    for path in paths:
        progress = Progress("import", after=AWHILE)
        taken = take_in(store, Store(path) if path.is_dir() else Archive(path), progress)
        progress.close()
        print(f"{path}: {taken.words(store)}")


def _list(options: argparse.Namespace) -> None:
    from retrainlab.study.index import uncollected
    from retrainlab.study.records import counted

    with uncollected():
        rows = _rows(_store(options), _chosen(options))
    if not rows:
        print("No results fit.")
        return
    rows.sort(key=lambda row: row[0])
    print("\n".join(aligned([LISTED, *(cells for _, cells in rows)])))
    print(f"{counted('results', len(rows))}.")


def _rows(store: "Store", chosen: "Chosen") -> list[tuple[tuple, tuple[str, ...]]]:
    """What is told of each result that is chosen, after what it is sorted by."""
    from retrainlab.data.folders import printable
    from retrainlab.study import inventory, nouns
    from retrainlab.study.archive import Archive
    from retrainlab.study.store import Store

    rows: list[tuple[tuple, tuple[str, ...]]] = []
    places: list[Store | Archive] = [store, *store.shelves]
    for place in places:
        where = printable(str(place.path if isinstance(place, Archive) else place.root))
        found = inventory.results(place)
        for (key, result), e in zip(found.items(), nouns.experiments_of(found.values())):
            if e is None or not chosen.takes(e):
                continue
            recipe, prune, retrain = e.recipe, e.prune, e.retrain
            accuracy = result.scalars.get("test_accuracy")
            order = recipe.data, recipe.model, prune.sparsity, retrain.budget, retrain.schedule, recipe.seed
            cells = (
                key,
                printable(recipe.data),
                recipe.model,
                recipe.method.name if recipe.method else "dense",
                f"{100 * prune.sparsity:.4g}",
                retrain.schedule,
                f"{100 * retrain.budget:.4g}",
                str(recipe.seed),
                "-" if accuracy is None else f"{100 * accuracy:.2f}",
                printable(str(result.provenance.get("device", ""))),
                where,
            )
            rows.append((order, cells))
    return rows


def _show(options: argparse.Namespace) -> None:
    from retrainlab.study.inventory import named

    for entry in named(_store(options), options.key):
        assert entry.stored is not None
        bare = ", without its tensors" if entry.stored.bare else ""
        print(f"{entry.kind}/{entry.key} in {entry.where}{bare}")
        print(json.dumps(asdict(entry.stored.result), indent=1))


def _verify(options: argparse.Namespace) -> int:
    from retrainlab.study.archive import Archive
    from retrainlab.study.inventory import entries
    from retrainlab.study.store import Store

    if missing := [name for name in options.files if not Path(name).exists()]:
        raise BadInput(f"There is no {missing[0]}.")
    if options.files:
        places: list[Store | Archive] = [Store(p) if p.is_dir() else Archive(p) for p in map(Path, options.files)]
    else:
        store = _store(options)
        places = [store, *store.shelves]
    damaged = 0
    for place in places:
        whole = bare = old = 0
        for entry in entries([place], tensors=True):
            if entry.stored is None:
                damaged += 1
                print(f"damaged: {'/'.join(filter(None, [entry.kind, entry.key])) or entry.where} ({entry.why})")
            else:
                whole, bare, old = whole + 1, bare + entry.stored.bare, old + (not entry.stored.sealed)
        where = place.path if isinstance(place, Archive) else place.root
        more = f", {bare} of them without their tensors" * bool(bare) + f", {old} without a checksum" * bool(old)
        print(f"{where}: {whole} whole{more}")
    return 1 if damaged else 0


def _collect(options: argparse.Namespace) -> None:
    from retrainlab.study import checkpoints, claims, failures

    store = _store(options)
    files = [*checkpoints.left_over(store.root), *failures.left_over(store.root)]
    with suppress(OSError):
        files += [path for folder in store.folders() for path in abandoned(folder, OLD)]
    if (aside := store.root / "damaged").is_dir() and not aside.is_symlink():
        files += aside.iterdir()
    size = removed = 0
    for path in files:
        with suppress(OSError):  # another process was first, or it may not be removed
            own = path.lstat().st_size
            if not options.dry_run:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            size, removed = size + own, removed + 1
    if left := claims.left_over(store.root):
        own = sum(path.lstat().st_size for path in left if path.exists())
        if not options.dry_run:
            with suppress(BadInput), store.claims() as mine:
                mine.tidy()
        size, removed = size + own, removed + sum(options.dry_run or not path.exists() for path in left)
    print(f"{store.root}: {removed} files {'would be ' * options.dry_run}removed, {size / 1e6:.2f} MB")


def _failures(options: argparse.Namespace) -> None:
    import pandas as pd

    from retrainlab.data.folders import printable
    from retrainlab.study import failures

    store = _store(options)
    made = {path.stem for path in failures.left_over(store.root)}
    rows = [
        {
            "key": printable(key),
            "run": printable(failure.words),
            "why": printable(failure.reason),
            "when (UTC)": printable(failure.time.partition("+")[0].replace("T", " ")),
            "on": printable(failure.host),
        }
        for key, failure in failures.every(store.root)
        if key not in made
    ]
    if not rows:
        print("No run has failed.")
        return
    print(pd.DataFrame(rows).to_string(index=False, max_colwidth=LONGEST))
    print(
        f"{len(rows)} runs; the command of their study tries them again. All of each reason: {store.root / 'failures'}"
    )
