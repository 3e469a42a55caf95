"""Run tasks that need one another on all cores: the part of a study that knows processes, and nothing of networks.

A task is a picklable function and its arguments; it leaves its result in the store and returns nothing. Ctrl-C, a crash or
a killed process loses what was running and nothing else.
"""

import heapq
import multiprocessing
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue

import torch

from retrainlab.errors import Stopped, WorkerDied


@dataclass(order=True)
class Task:
    """`work(*args)`, after the tasks whose keys it `needs`. Ordered by stage, then longest first (`rank`); `cost` is its
    share of the progress, in any unit; `runs`: how many runs it makes, for the words."""

    rank: tuple[int, float, int]
    key: str = field(compare=False)
    work: Callable = field(compare=False)
    args: tuple = field(compare=False)
    cost: float = field(compare=False)
    needs: frozenset[str] = field(compare=False)
    runs: int = field(default=1, compare=False)


_current = ""  # the key of the task that this process is at
_listener: Callable[[str, float, int], None] | None = None  # who wants to know how far it is


def advance(share: float, runs: int = 0) -> None:
    """For a task's work to call: how much of it is done (0..1), and how many of its runs."""
    if _listener is not None:
        _listener(_current, share, runs)


def run_tasks(
    tasks: Sequence[Task],
    workers: int,
    progress: Callable[[float, float, str], None],
    place: str,
    executor: Executor | None = None,
) -> None:
    """Run all tasks in order of rank, each after those it needs, on `workers` processes (1: in this one) or `executor`,
    such as `Workers` that are there already.

    progress(cost done, total cost, words) is called as tasks advance and end; place: where results are kept, for the
    words. Raises Stopped on Ctrl-C, what a task raised, and WorkerDied if a process was killed.
    """
    global _listener
    waiting = {t.key: set(t.needs) for t in tasks}
    dependents: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        for need in task.needs:
            dependents[need].append(task)
    ready = [t for t in tasks if not t.needs]
    heapq.heapify(ready)
    running: dict[Future, Task] = {}
    costs = {t.key: t.cost for t in tasks}
    under_way: dict[str, tuple[float, int]] = {}
    total, runs, ended = sum(costs.values()), sum(t.runs for t in tasks), 0
    done = finished = 0

    def count() -> int:
        return finished + sum(made for _, made in under_way.values())

    def tell() -> None:
        cost = done + sum(share * costs[key] for key, (share, _) in under_way.items())
        progress(total if ended == len(tasks) else min(cost, 0.999 * total), total, f"{count()} of {runs} runs")

    def hear(key: str, share: float, made: int) -> None:
        under_way[key] = share, made
        tell()

    pool = executor or (Workers(workers) if workers > 1 else _Inline())
    reports = getattr(pool, "reports", None)
    in_flight = 1 if isinstance(pool, _Inline) else 2 * workers
    before, _listener = _listener, hear if isinstance(pool, _Inline) else None
    try:
        tell()
        while ready or running:
            while ready and len(running) < in_flight:
                task = heapq.heappop(ready)
                running[pool.submit(_work, task.key, task.work, *task.args)] = task
            for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                future.result()
                under_way.pop(task.key, None)
                done, finished, ended = done + task.cost, finished + task.runs, ended + 1
                tell()
                for next_task in dependents[task.key]:
                    waiting[next_task.key].discard(task.key)
                    if not waiting[next_task.key]:
                        heapq.heappush(ready, next_task)
            at_work = {t.key for t in running.values()}
            while reports is not None and not reports.empty():
                if (report := reports.get())[0] in at_work:
                    hear(*report)
    except KeyboardInterrupt:
        raise Stopped(
            f"Stopped: {count()} of {runs} runs are finished and kept in {place}; the same command goes on from there."
        ) from None
    except BrokenProcessPool:
        raise WorkerDied(
            f"A worker process ended unexpectedly (out of memory?); {count()} of {runs} runs are kept in {place}. "
            "Try again with fewer --jobs."
        ) from None
    except torch.OutOfMemoryError as error:
        raise WorkerDied(f"{error}; {count()} of {runs} runs are kept in {place}.") from None
    finally:
        _listener = before
        for future in running:
            future.cancel()
        if running and isinstance(pool, Workers):
            pool.terminate()
        if executor is None:
            pool.shutdown(wait=True, cancel_futures=True)


class _Inline(Executor):
    """Runs each task at once in this process: one job, or a GPU."""

    def submit(self, work: Callable, /, *args) -> Future:
        future: Future = Future()
        try:
            future.set_result(work(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def _work(key: str, work: Callable, *args) -> None:
    global _current
    _current = key
    work(*args)


class Workers(ProcessPoolExecutor):
    """Processes for one study, or for several one after the other, which then do not wait for them to start each time.
    They tell how far they are, and end at once when a study is stopped."""

    def __init__(self, count: int):
        context = multiprocessing.get_context("spawn")
        self.reports: SimpleQueue = context.SimpleQueue()
        super().__init__(count, context, _start_worker, (os.getpid(), self.reports))

    def terminate(self) -> None:
        """End what is running: its result would come too late to matter, and the store keeps whole files only."""
        for process in list((getattr(self, "_processes", None) or {}).values()):
            process.terminate()


def _start_worker(parent: int, reports: SimpleQueue) -> None:
    """One torch thread; Ctrl-C is the parent's to handle; if the parent is killed, end with it."""
    global _listener
    _listener = lambda *report: reports.put(report)  # noqa: E731
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
