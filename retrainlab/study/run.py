"""A grid of experiments -> a tidy DataFrame: from the store what is there, and the rest on all cores.

Each result is written as soon as it is done, so that Ctrl-C, a crash or a power cut loses only what was running; the same
call goes on from there.
"""

import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd
import torch

from retrainlab import stats
from retrainlab.checks import BadInput, check_number, listed, settled
from retrainlab.config import DATASETS, Experiment, Recipe
from retrainlab.data.sources import content
from retrainlab.device import cores, describe, lack_of_memory_told, resolve
from retrainlab.keys import references
from retrainlab.progress import Progress, Tell
from retrainlab.study import checkpoints
from retrainlab.study.away import Away
from retrainlab.study.index import uncollected
from retrainlab.study.lacking import NotStored
from retrainlab.study.plan import Missing, tasks
from retrainlab.study.processes import Workers
from retrainlab.study.reading import rows, stored
from retrainlab.study.result import Result
from retrainlab.study.results import Place, Results
from retrainlab.study.sharing import Sharing
from retrainlab.study.sitting import Sitting
from retrainlab.study.speed import paces, total
from retrainlab.study.stages import check_all
from retrainlab.study.workers import Crew, run_tasks
from retrainlab.training.engine import forced

if TYPE_CHECKING:
    import distributed

QUICK = 12  # seconds of work that one process does sooner than others have started


@lack_of_memory_told()
def run_study(
    experiments: Sequence[Experiment],
    *,
    store: Place = None,
    jobs: int = 0,
    device: str = "auto",
    engine: str = "auto",
    fresh: bool = False,
    stored_only: bool = False,
    minutes: float | Sitting = 0.0,
    progress: Tell | None = None,
    executor: Executor | None = None,
    client: "distributed.Client | None" = None,
) -> pd.DataFrame:
    """One row per experiment, in the order given: the configuration and every scalar of its result. What was under way when
    an earlier call ended goes on from its checkpoint (see `study.checkpoints`).

    store: where results are kept (see `Results.at`). jobs: processes on a CPU, 0 for one per core; a GPU is used by this
    process alone. engine: `loop`, `batched`, `graph`, or `auto` for the fastest (see `training.engine`). fresh: make
    everything anew, in place of what is stored. stored_only: train nothing, and raise NotStored where runs are missing.
    minutes: if above 0, stop cleanly before they are over, counted from this call or the beginning of a `Sitting`, say so on
    stderr, and return the rows of the experiments that are finished, maybe none; what tells most comes first then.
    progress: told a share and what is done, by default a `progress.Progress`. executor: any
    `concurrent.futures.Executor` of processes, instead of this study's own, with as many at once as jobs says; client: of a
    Dask cluster (see `study.cluster`). Both may be on other machines: they bring back what they have made, and device and
    engine are theirs. Studies that share a store share its work (see `study.sharing`).
    Raises BadInput before any work starts, and Stopped (a KeyboardInterrupt) on Ctrl-C with all finished results kept.
    """
    experiments = listed(experiments, Experiment, "run_study's experiments")
    fresh = settled(fresh, bool, "run_study's fresh")
    stored_only = settled(stored_only, bool, "run_study's stored_only")
    check_number(jobs, "number of jobs", low=0, whole=True)
    jobs = int(jobs)  # numpy's numbers are none of Python's
    sitting = Sitting.of(minutes)
    if sitting and fresh:
        raise BadInput("A study that makes all anew would begin anew in every sitting; leave fresh or minutes out.")
    kept = Results.at(store)
    crew = _crew(executor, client, kept, jobs or cores(), device, engine)
    if isinstance(crew, Away) and sitting:
        crew.ahead = 1
    where = torch.device("cpu") if isinstance(crew, Away) else resolve(device)
    if engine != "auto" and not isinstance(crew, Away):
        forced(engine, where)
    if isinstance(crew, Away) and _only_here(experiments):
        raise BadInput(
            "Other processes cannot import what a notebook or a script defines; put it into a module of its own."
        )
    missing = Missing.of(experiments, kept, fresh, stored_only)
    if missing.results and stored_only:
        raise NotStored(missing)
    if missing.results:
        kept.store.check_writable()
        check_all(experiments, where)
        kept.store.check_room(missing.bytes())
        for data, size in kept.fingerprints:
            if data not in DATASETS:
                print(f"study: {content(data, size)}", file=sys.stderr)
        report = progress or Progress("study")

        def tell(share: float, word: str) -> None:
            report(share, f"{word} on {crew.words if isinstance(crew, Away) else describe(where)}")

        try:
            with kept.store.claims() as claims:
                with kept.store.writing():
                    claims.tidy()
                sharing = Sharing(kept.store, claims, [*missing.dense, *missing.pruned, *missing.results])
                if fresh:
                    for name in (*missing.dense, *missing.results):
                        checkpoints.remove(kept.store.root, name)
                elif any(sharing.before.values()):  # another study may have made it just now
                    missing = Missing.of(experiments, kept)
                paced = paces(missing, engine, where, tell, sitting, crew.engine if isinstance(crew, Away) else None)
                seconds, hints = total(paced.values()), [pace.hint for pace in paced.values() if pace.hint]
                if hints and hasattr(report, "close"):
                    report.close()  # its line is not to go on with other words
                for words in hints:
                    _say(words)
                count = min(jobs or cores(), len(missing.results)) if where.type == "cpu" else 1
                if _only_here(experiments) or (not jobs and executor is None and 0 < seconds < QUICK):
                    count = 1
                if isinstance(crew, Away):
                    count = crew.workers
                engines = {recipe: pace.engine for recipe, pace in paced.items()}
                todo = tasks(missing, engines, count, replace(kept, owner=claims.id), where, sitting)
                run_tasks(todo, crew or min(count, len(todo)), tell, str(kept.store.root), sitting, sharing)
        finally:
            if isinstance(crew, Away):
                crew.close()
            if hasattr(report, "close"):
                report.close()
    asked = dict(zip(missing.names, experiments))
    found = missing.found | kept.many({name: e for name, e in asked.items() if name not in missing.found})
    named = list(zip(missing.names, experiments))
    if sitting:
        _tell_left(missing, len(found.keys() & asked.keys()), len(asked), kept, sitting)
        named = [(name, e) for name, e in named if name in found]
    names, experiments = [name for name, _ in named], [e for _, e in named]
    results = [stored(found.get(name)) for name in names]
    with uncollected():
        _check_starts(experiments, results)
        table = rows(experiments, names, results)
    if len(table) and (words := stats.mixed(table)):
        _say(words)
    return table


def _crew(
    executor: Executor | None, client: "distributed.Client | None", kept: Results, jobs: int, device: str, engine: str
) -> Crew | None:
    """Who carries out the tasks, if not processes of the study's own. Raises BadInput for what cannot."""
    if client is not None and executor is not None:
        raise BadInput("Work is sent to an executor or to a Dask client; leave one of them out.")
    if executor is not None and not isinstance(executor, Executor):
        raise BadInput(f"The executor is {type(executor).__name__}, but must be a concurrent.futures.Executor.")
    if client is not None and not hasattr(client, "get_executor"):
        raise BadInput(
            f"The client is {type(client).__name__}, but must be one of Dask's, such as distributed.Client('tcp://node1:8786')."
        )
    if client is not None:
        from retrainlab.study.cluster import Cluster

        return Cluster(client, kept, device, engine)
    if executor is None or isinstance(executor, Workers):
        return executor
    return Away(executor, jobs, kept, device, engine)


def _only_here(experiments: Sequence[Experiment]) -> bool:
    """Whether any is made with code that a notebook or a script defines, which no other process can import."""
    return any(name.startswith("__main__:") for e in experiments for name in references(e).values())


def _tell_left(missing: Missing, there: int, count: int, kept: Results, sitting: Sitting) -> None:
    """Say what a sitting has left, if anything. there: how many of the `count` experiments have their results."""
    if there < count:
        going_on = {key for key, _ in checkpoints.files(kept.store.root)} & {*missing.dense, *missing.results}
        words = sitting.words(there, count, len(going_on), str(kept.store.root))
        print(f"study: {words}", file=sys.stderr)


@cache  # a search asks for one study after the other
def _say(words: str) -> None:
    """Print what is of interest once in a process."""
    print(f"study: {words}", file=sys.stderr)


def _check_starts(experiments: Sequence[Experiment], results: Sequence[Result]) -> None:
    """Warn where rows of one recipe do not start from one dense network: their differences are not paired then."""
    told = ((e.recipe, result.provenance.get("weights")) for e, result in zip(experiments, results))
    starts: dict[Recipe, set[str]] = {}
    for recipe, weights in {(id(recipe), weights): (recipe, weights) for recipe, weights in told if weights}.values():
        starts.setdefault(recipe, set()).add(weights)
    several = [recipe for recipe, found in starts.items() if len(found) > 1]
    if several:
        first = f"the first training of {several[0].model}, seed {several[0].seed}, was made more than once"
        words = f"Some rows start from other networks than their neighbours: {first}; fresh makes all anew."
        warnings.warn(words, stacklevel=3)
