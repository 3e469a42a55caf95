"""What sending work to a Dask cluster costs: stand-in runs, which take no time, made here and by two workers on loopback.

    python benchmarks/cluster.py [--runs 1000]

All ways plan, claim, write and read back the same runs; a stand-in is the result of one real run under other names. A
network and its masks are sent once. Runs are sent one by one, as those are that take a second or more, and in the tasks that
short ones are put into. The difference for a run is what Dask costs. Written to results/cluster-DEVICE.json, from which the
page's table is made.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path

import distributed
import torch

from retrainlab.checks import check_number
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.device import describe, resolve
from retrainlab.paths import write_whole
from retrainlab.study.away import Brought, Probed
from retrainlab.study.cluster import Cluster
from retrainlab.study.plan import Missing, tasks
from retrainlab.study.result import Result, versions
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.sharing import Sharing
from retrainlab.study.stages import common
from retrainlab.study.workers import run_tasks
from retrainlab.training.engine import Engine

RESULTS, PAGE = Path(__file__).parent / "results", Path(__file__).parents[1] / "docs" / "cluster.md"
RECIPE = Recipe(model="mlp", width=8, epochs=1)
WORKERS = 2


def stand_in(result: Result, order, *_: object) -> Brought:
    """What a worker brings of runs that it has not made."""
    return Brought(tuple((place, result) for place in range(len(order.nouns))), {})


class StandIns(Cluster):
    """A cluster whose workers make nothing."""

    result: Result

    def submit(self, name: str, tell: Callable, work: Callable, *args: object) -> Future:
        """As Cluster's, in place of any work."""
        return super().submit(name, tell, partial(stand_in, self.result), *args)


def keep(results: Results, result: Result, nouns: Sequence[Experiment]) -> None:
    """What this process makes of runs that it does not make."""
    for noun in nouns:
        results.put(noun, result)


def seconds(runs: int, folder: Path, client: distributed.Client | None = None, step: float = 0.0) -> float:
    """Seconds from the plan of so many stand-in runs to the last that is kept. step: seconds that a step is said to take."""
    first = Experiment(RECIPE, Prune(0.5), Retrain("LLR", 0.01))
    run_study([first], store=folder, jobs=1, device="cpu", engine="loop", progress=lambda *_: None)
    kept = Results.at(folder)
    result = kept.of(first)
    assert result is not None
    many = [replace(first, retrain=Retrain("LLR", 0.01 + (i + 1) / runs)) for i in range(runs)]
    begun = time.perf_counter()
    missing, shared = Missing.of(many, kept), common(RECIPE)
    with kept.store.claims() as claims:
        sharing = Sharing(folder, claims, missing.results)
        own = replace(kept, owner=claims.id)
        todo = tasks(missing, {shared: Engine(seconds=step)}, WORKERS, own, torch.device("cpu"))
        crew: int | Cluster = 1
        if client is None:
            todo = [replace(task, work=keep, args=(own, result)) for task in todo]
        else:
            crew = StandIns(client, kept, "cpu", "loop")
            crew.result, crew.probed[shared] = result, (Probed(Engine()), 1.0)
        run_tasks(todo, crew, lambda *_: None, str(folder), None, sharing)
    took = time.perf_counter() - begun
    assert kept.store.count()["results"] == runs + 1
    return took


def table(record: dict) -> str:
    """The page's table."""
    runs, here = record["runs"], record["here"]
    lines = [
        "| | all | a run | Dask's share of a run |",
        "|---|---|---|---|",
        f"| here | {here:.1f} s | {1e3 * here / runs:.1f} ms | |",
    ]
    for name, words in (("one by one", "by Dask, one by one"), ("together", "by Dask, short runs together")):
        took = record[name]
        lines.append(f"| {words} | {took:.1f} s | {1e3 * took / runs:.1f} ms | {1e3 * (took - here) / runs:.1f} ms |")
    on = f"on {record['device']}, version {record['distributed']} of Dask"
    tail = f"{runs:,} stand-in runs, {WORKERS} workers on loopback, {on}."
    return "\n".join([*lines, "", tail])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="how many stand-in runs")
    options = parser.parse_args(arguments)
    check_number(options.runs, "number of runs", low=1, high=1_000_000, whole=True)
    how = dict(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
    new = tempfile.TemporaryDirectory
    with new() as one, new() as two, new() as three:
        with distributed.LocalCluster(**how) as cluster, distributed.Client(cluster, set_as_default=False) as client:
            found = {"one by one": seconds(options.runs, Path(one), client)}
            found["together"] = seconds(options.runs, Path(two), client, 1e-3)
        found["here"] = seconds(options.runs, Path(three))
    device = describe(resolve("cpu"))
    record = {"device": device, "versions": versions(), "distributed": distributed.__version__}
    record |= {"runs": options.runs, **{name: round(took, 3) for name, took in found.items()}}
    path = RESULTS / f"cluster-{device.replace(', ', '-').replace(' ', '-')}.json"
    write_whole(path, lambda temporary: temporary.write_text(json.dumps(record, indent=1) + "\n"))
    if PAGE.exists():
        before, mark, rest = PAGE.read_text().partition("<!-- cluster: made by benchmarks/cluster.py -->\n")
        _, end, after = rest.partition("<!-- end of cluster -->")
        text = f"{before}{mark}{table(record)}\n{end}{after}"
        write_whole(PAGE, lambda temporary: temporary.write_text(text))
    print(table(record))


if __name__ == "__main__":
    sys.exit(main())
