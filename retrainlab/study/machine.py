"""The options that figures and the command line share: with what studies are computed, and where they are kept."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from retrainlab.checks import BadInput, choice, number, settle, told
from retrainlab.config import ENGINES, Experiment
from retrainlab.progress import Progress
from retrainlab.study.sitting import Sitting

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd


@dataclass(frozen=True)
class Machine:
    """What `study.run_study` computes with; its fields are options of the command line. This module does not load torch."""

    jobs: int = number(0, "processes on a CPU; 0 is one per core", "number of jobs", low=0)
    device: str = told("auto", "auto, cpu, cuda or cuda:N")
    store: str = told("", "folder of results; RETRAINLAB_STORE or the project's store if empty")
    engine: str = choice(
        "auto",
        ENGINES,
        "engine",
        "loop: one training after the other; batched: many at once; graph: many at once as a CUDA graph; compiled: the "
        "same, compiled first; auto: the fastest, by a short measurement that is remembered",
    )
    fresh: bool = told(False, "compute anew what is stored already")
    stored_only: bool | None = told(
        None,
        "train nothing: take what is stored, and say what is missing; so it is with figures of preset cifar10 anyway",
    )
    minutes: float = number(
        0.0,
        "stop cleanly before so many minutes are over: 20 seconds before, or a tenth of the time, for a last evaluation and "
        "checkpoints; what is finished is kept, and the same command goes on from there; 0 is no limit",
        "number of minutes",
        low=0,
    )

    scheduler: str = told("", "address of a Dask scheduler, such as tcp://node1:8786, whose workers do the work")

    def __post_init__(self) -> None:
        settle(self)
        if self.fresh and self.stored_only:
            raise BadInput("To compute anew and to train nothing exclude each other; leave out fresh, or stored only.")

    def study(self, experiments: Sequence[Experiment], name: str, executor: "Executor | None" = None) -> "pd.DataFrame":
        """`study.run_study` with these options; its progress is told under this name."""
        sitting = Sitting.of(self.minutes)  # begins before torch is loaded
        from retrainlab.study.run import run_study

        options = asdict(self) | {"stored_only": bool(self.stored_only), "minutes": sitting or 0.0}
        if not options.pop("scheduler") or self.stored_only:
            return run_study(experiments, **options, progress=Progress(name), executor=executor)
        from retrainlab.study.cluster import connected

        with connected(self.scheduler) as client:
            return run_study(experiments, **options, progress=Progress(name), client=client)

    @contextmanager
    def studies(self, name: str) -> "Iterator[Studies]":
        """`study` as a function for several studies one after the other, which share their processes."""
        if self.minutes:
            raise BadInput("Studies that build on one another are made whole; leave minutes out.")
        from retrainlab.device import cores, resolve
        from retrainlab.study.processes import Workers

        count = (self.jobs or cores()) if resolve(self.device).type == "cpu" else 1  # processes of this study's own
        with Workers(count) if count > 1 and not self.stored_only else nullcontext() as pool:
            yield Studies(self, name, pool)


class Studies:
    """`Machine.study` for several studies one after the other; with `fresh` each makes anew what none before it has asked
    for."""

    def __init__(self, machine: Machine, name: str, pool: "Executor | None"):
        self.machine, self.name, self.pool = machine, name, pool
        self.asked: set[Experiment] = set()
        self.frames: list[pd.DataFrame] = []

    def __call__(self, experiments: "Sequence[Experiment]") -> "pd.DataFrame":
        """A row for each experiment, in their order. What those lead to that are not stored is not known."""
        from retrainlab.study.lacking import NotStored

        again = [e for e in experiments if e not in self.asked]
        if self.machine.fresh and again:
            self.machine.study(again, self.name, self.pool)
        self.asked.update(experiments)
        try:
            frame = replace(self.machine, fresh=False).study(experiments, self.name, self.pool)
        except NotStored as lacking:
            raise NotStored(lacking.missing, more=True) from None
        self.frames.append(frame.copy())
        return frame

    def rows(self) -> "pd.DataFrame":
        """A row for each run that was asked for so far."""
        import pandas as pd

        return pd.concat(self.frames, ignore_index=True).drop_duplicates("key")
