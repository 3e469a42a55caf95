"""Dask as the engine beyond one machine: a study's tasks on the workers of a cluster, of which only this process keeps
results.

    with connected("tcp://scheduler:8786") as client:
        run_study(experiments, client=client)

Workers need the package, the data and nothing else: no shared disk, and no store (see `away`). Networks and masks travel to
them once, and from one to the other. How many tasks are under way follows the workers that there are, which may come and go.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from retrainlab.checks import BadInput
from retrainlab.config import Recipe
from retrainlab.phrases import first_line
from retrainlab.study import away, serving
from retrainlab.study.away import Away
from retrainlab.study.ledger import Task
from retrainlab.study.making import Pair
from retrainlab.study.processes import Died
from retrainlab.study.results import Results

if TYPE_CHECKING:
    import distributed

GONE = "Dask's scheduler is out of reach"
CONNECT = 15.0  # seconds in which a scheduler is to answer first
PATIENCE = 60.0  # seconds that a scheduler may be out of reach
OFTEN = 1.0  # seconds from one word of a task to the next
TRIES = 5  # how often a task is begun whose networks and masks are lost with the workers that held them


@contextmanager
def connected(address: str) -> "Iterator[distributed.Client]":
    """A client of the scheduler at that address, such as `tcp://node1:8786`. Raises BadInput if there is none, or if Dask is
    not installed."""
    try:
        import distributed
        from distributed.comm.addressing import get_address_host_port
    except ImportError:
        raise BadInput(
            "Dask is not installed, by which studies run on clusters: pip install 'retrainlab[cluster]', here and on all "
            "workers."
        ) from None
    try:
        get_address_host_port(address)  # a client that fails at this hangs when the program ends
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError, NotImplementedError) as error:
        raise BadInput(
            f"There is no scheduler at {address!r} ({first_line(error)}); start one with `dask scheduler`, "
            "which prints its address, such as tcp://node1:8786."
        ) from None
    try:
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that is gone
            client.close(timeout=2)


class Cluster(Away):
    """Carries out tasks by a Dask client's workers, one at a time in each. device, kind: as for `study.run_study`, there."""

    def __init__(self, client: "distributed.Client", results: Results, device: str, kind: str):
        self.client = client
        self._numbers = itertools.count()
        self._running: dict[Future, distributed.Future] = {}
        self._hearing: dict[int, serving.Tell] = {}
        self._tries: dict[str, int] = {}
        self._lock = threading.Lock()
        self._asked, self._workers, self._seen = -1e9, 0, time.monotonic()
        super().__init__(client.get_executor(), 1, results, device, kind)

    @property
    def count(self) -> int:
        """How many tasks are under way at once: one where there is no worker, for which a cluster that grows with its work
        gets one. Raises BrokenExecutor once the scheduler is out of reach for long."""
        return max(1, self.ahead * self._there())

    @property
    def workers(self) -> int:
        """How many workers there are now, or 1 before the first has come."""
        return max(1, self._there())

    @property
    def words(self) -> str:
        """Where the work is done."""
        there = self._there()
        return f"{there} Dask worker{'s' * (there != 1)}" if there else "Dask, which has no worker yet"

    def check(self) -> None:
        """Raise BrokenExecutor if the scheduler is out of reach for long."""
        self._there()

    def begin(self, task: Task, tell: serving.Tell) -> Future:
        """As Away's. Raises BrokenExecutor if the scheduler is out of reach."""
        try:
            return super().begin(task, tell)
        except (OSError, TimeoutError):
            raise BrokenExecutor(GONE) from None

    def finish(self) -> None:
        """Let workers end what they are at, and what waits for them, and bring what that has come to."""
        with suppress(Exception):  # a task knows itself when it is to end, but not how long it has waited
            self.client.run(_stop, self.study, wait=False, on_error="ignore")

    def close(self) -> None:
        """As Away's; and hear no more of its tasks. A client may have many studies, one after the other."""
        super().close()
        with suppress(Exception):  # of a scheduler that is gone, or if no task was sent
            self.client.unsubscribe_topic(self._topic)

    def terminate(self) -> None:
        """Let workers leave what they are at, soon, and begin nothing more."""
        with self._lock:
            running = list(self._running.values())
        if self.client.status == "running":
            self.finish()
            with suppress(Exception):  # what is gone needs no end
                self.client.cancel(running, force=True)

    def submit(self, name: str, tell: serving.Tell, work: Callable, *args: object) -> Future:
        """As Away's; the task has its name on Dask's dashboard, too."""
        out: Future = Future()
        if (number := next(self._numbers)) == 0:
            self.client.subscribe_topic(self._topic, self._hear)
        self._hearing[number] = tell
        key = f"{name.replace(' ', '-', 1)}-{self.study}-{number}"  # all of a kind are one bar there
        how: dict[str, Any] = {"key": key, "pure": False}
        handle = self.client.submit(_telling, self._topic, number, work, *args, **how)
        with self._lock:
            self._running[out] = handle
        handle.add_done_callback(lambda done: self._settle(out, name, number, done))
        return out

    def sent(self, start: Recipe | Pair) -> object:
        """What a task starts from, in the memory of some worker, or along with the task if there is none."""
        return self._start(start) if self._there() else super()._read(start)

    def _read(self, start: Recipe | Pair) -> Any:
        return self.client.scatter(super()._read(start), hash=False)

    @property
    def _topic(self) -> str:
        return f"retrainlab-{self.study}"

    def _there(self) -> int:
        """Workers that there are, asked once a second."""
        now = time.monotonic()
        if self.client.status == "running":
            self._seen = now
            if now - self._asked > 1.0:
                with suppress(OSError, TimeoutError):
                    self._workers, self._asked = len(self.client.nthreads(callback_timeout=10)), now
        elif self.client.status == "closed" or now - self._seen > PATIENCE:
            raise BrokenExecutor(GONE)
        return self._workers

    def _hear(self, event: tuple[float, Any]) -> None:
        number, share, made = event[1]
        if (tell := self._hearing.get(number)) is not None:
            tell(share, made)

    def _settle(self, out: Future, name: str, number: int, done: "distributed.Future") -> None:
        """Hand on how a task ended; on a thread of Dask's."""
        import distributed

        with self._lock:
            self._running.pop(out, None)
            self._hearing.pop(number, None)
        if not out.set_running_or_notify_cancel():
            return
        try:
            out.set_result(done.result())
        except distributed.KilledWorker as error:
            out.set_exception(Died(f"died {error.allowed_failures + 1} times"))
        except distributed.client.FutureCancelledError as error:
            self._tries[name] = self._tries.get(name, 0) + 1
            self._start.cache_clear()
            if self.client.status != "running":
                out.set_exception(BrokenExecutor(GONE))
            elif self._tries[name] < TRIES:
                out.set_exception(away.Lost())
            else:
                out.set_exception(Died(f"was lost {TRIES} times ({error.reason})"))
        except BaseException as error:
            out.set_exception(error)


async def _stop(study: str) -> None:
    """In a worker, beside its work: Dask waits for all that is no coroutine."""
    away.stop(study)


def _telling(topic: str, number: int, work: Callable, *args: object) -> object:
    """In a worker: do the work, whose words go to the client's topic."""
    import distributed

    worker, last = distributed.get_worker(), time.monotonic()

    def tell(share: float, made: int) -> None:
        nonlocal last
        if time.monotonic() - last >= OFTEN:
            last = time.monotonic()
            worker.log_event(topic, (number, share, made))

    before = serving.listener.set(tell)
    try:
        return work(*args)
    finally:
        serving.listener.reset(before)
