"""A sitting on a borrowed machine, in one command: take in the data and the results that are given, compute for some minutes
what tells most of what is missing, and write what is new to one file.

    python benchmarks/sitting.py --minutes 9 --data cifar-10-python.tar.gz --output new.zip

The machine needs this folder and what computing needs (torch, torchvision, numpy, pandas, scipy, scikit-learn, safetensors),
and no network. What the project's own files of results hold is known; name those of earlier sittings, files or stores, with
--results. Runs that are under way when time is up go on in the next sitting if the store (--store) is still there. At home
`retrainlab results import new.zip` takes in what came of it.
"""

import argparse
import os
import sys
import tarfile
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrainlab.checks import BadInput, check_number
from retrainlab.config import NAMED_SCHEDULES, Experiment, Retrain
from retrainlab.device import describe, resolve
from retrainlab.figures.presets import Preset, preset
from retrainlab.paths import target
from retrainlab.progress import duration
from retrainlab.study.archive import Archive
from retrainlab.study.exports import Chosen, export, plan
from retrainlab.study.grids import grid
from retrainlab.study.imports import take_in
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.store import Name, Store

PAPER = 182  # epochs of the dense run of Renda, Frankle & Carbin (2020), of which these are published retrainings:
PUBLISHED = tuple(epochs / PAPER for epochs in (10, 30, 50, 70, 90, 182))
LEAST = 0.3  # minutes; with fewer left no further part begins


@dataclass(frozen=True)
class Part:
    """Experiments that are asked for together, and what they are for."""

    name: str
    experiments: list[Experiment]


def parts(settings: Preset) -> Iterator[Part]:
    """What a sitting computes, what tells most first: of the published recipe FT and LLR where there are published numbers,
    and beyond their sparsity; then all of figure 3, of figure 4, and the rest of the published row."""

    def cells(sparsities: Sequence[float], budgets: Sequence[float], schedules: Sequence[str]) -> list[Experiment]:
        own = dict(sparsities=sparsities, budgets=budgets, schedules=schedules, seeds=settings.seeds)
        return grid(settings.recipe, **own)

    both = ["FT", "LLR"]
    published = settings.recipe.epochs == PAPER
    if published:
        yield Part("FT and LLR at 10, 30 and 90 epochs", cells([0.8926], [PUBLISHED[i] for i in (0, 1, 4)], both))
        yield Part("FT and LLR at high sparsities", cells([0.95, 0.98], PUBLISHED[:1], both))
    yield Part("figure 3", cells(settings.sparsities, settings.budgets, NAMED_SCHEDULES))
    lines = [Retrain("linear", lr=m * settings.recipe.lr) for m in settings.map_multiples if m != 1]
    yield Part(
        "figure 4",
        grid(
            settings.recipe,
            sparsities=settings.map_sparsities,
            budgets=settings.map_budgets,
            schedules=[*lines, Retrain("LLR"), Retrain("ALLR")],
            seeds=settings.map_seeds,
        ),
    )
    if published:
        yield Part("the rest of the published row", cells([0.8926], PUBLISHED, ["FT"]))


def sit(settings: Preset, results: Results, minutes: float, device: str) -> None:
    """Compute part after part until the minutes are over, and say on stderr what each has come to."""
    begun = time.monotonic()
    for part in parts(settings):
        left = minutes - (time.monotonic() - begun) / 60
        missing = results.work(part.experiments)
        if left < LEAST and missing:
            print(f"{part.name}: {missing:,.0f} epochs are left for another sitting.", file=sys.stderr)
            continue
        start = time.monotonic()
        rows = run_study(part.experiments, store=results, device=device, minutes=max(left, LEAST))
        done = missing - (open_ := results.work(part.experiments))
        took = duration(time.monotonic() - start)
        print(
            f"{part.name}: {len(rows)} of {len(part.experiments)} runs are there; {done:,.0f} epochs made in {took}, "
            f"{open_:,.0f} left.",
            file=sys.stderr,
        )


def unpacked(data: str, folder: Path) -> Path:
    """The folder that holds the data sets: `data` itself, or `folder` with what the archive `data` holds, such as
    torchvision's cifar-10-python.tar.gz. Raises BadInput for neither."""
    if os.path.isdir(data):
        return Path(data)
    try:
        with tarfile.open(data) as archive:
            archive.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise BadInput(f"--data {data} is no folder of data sets and no tar archive ({error}).") from None
    return folder


def taken_in(store: Store, files: Sequence[str]) -> None:
    """Take in the results that are given, files or stores. Raises BadInput for those that are not there."""
    for path in map(Path, files):
        if not path.exists():
            raise BadInput(f"There are no results {path}; name a file that `retrainlab results export` has written.")
        print(take_in(store, Store(path) if path.is_dir() else Archive(path)).words(store), file=sys.stderr)


def written(results: Results, known: Collection[Name], file: Path) -> str:
    """Write what is not known to a file, weights and masks too; says what that is."""
    try:
        planned = plan(Results(results.store), Chosen(), weights=(), known=known)
    except BadInput:
        return "Nothing is new, so that no file is written."
    export(results.store, planned, file)
    return f"{file}: {len(planned.names)} records, {file.stat().st_size / 1e6:.2f} MB"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="after which it has ended")
    parser.add_argument("--preset", default="cifar10", help="whose figures 3 and 4 are wanted")
    parser.add_argument(
        "--data", default="", help="folder of data sets, or a tar archive of them; RETRAINLAB_DATA if empty"
    )
    parser.add_argument(
        "--results", nargs="*", default=(), metavar="FILE", help="results that are known: files or stores"
    )
    parser.add_argument("--output", default="new.zip", help="the file to write")
    parser.add_argument("--store", default="sitting-store", help="folder in which results are kept")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    try:
        check_number(options.minutes, "number of minutes", above=0)
        settings, file = preset(options.preset), target(options.output, "The file of results")
        results = Results.at(options.store)
        if options.data:
            os.environ["RETRAINLAB_DATA"] = str(unpacked(options.data, results.store.root / "data").resolve())
        taken_in(results.store, options.results)
        known = {*results.store.names(), *(name for shelf in results.store.shelves for name in shelf.names())}
        print(f"Sitting on {describe(resolve(options.device))}.", file=sys.stderr)
        try:
            sit(settings, results, options.minutes - (time.monotonic() - begun) / 60, options.device)
        finally:
            print(written(results, known, file))
    except BadInput as error:
        print(f"sitting: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
