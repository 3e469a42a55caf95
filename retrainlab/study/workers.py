"""Run tasks that need one another on all cores: what is ready, what has failed, and what goes on all the same.

A task is a picklable function and its arguments; it leaves its result in the store and returns nothing. Ctrl-C, a crash or
a killed process loses what was running and nothing else.
"""

import heapq
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from traceback import clear_frames

from retrainlab.checks import BadInput, Stopped, WorkerDied, shortened
from retrainlab.device import out_of_memory
from retrainlab.progress import Tell
from retrainlab.study.processes import Died, Inline, NotStarted, Workers
from retrainlab.study.serving import Unfinished
from retrainlab.study.sitting import Sitting

NAMED = 5  # tasks that failed, and that a sentence names


@dataclass(frozen=True, eq=False)
class Task:
    """`work(*args)`, after the tasks whose keys it `needs`. Ordered by stage, then longest first (`rank`); `cost` is its
    share of the progress, in any unit; `runs`: how many runs it makes; `words`: which these are, for the reader."""

    rank: tuple[int, float, int]
    key: str
    work: Callable
    args: tuple
    cost: float
    needs: frozenset[str]
    runs: int = 1
    words: str = ""

    def __lt__(self, other: "Task") -> bool:
        return self.rank < other.rank


def run_tasks(
    tasks: Sequence[Task],
    workers: int,
    tell: Tell,
    place: str,
    executor: Executor | None = None,
    sitting: Sitting | None = None,
) -> None:
    """Run all tasks in order of rank, each after those it needs, on `workers` processes (1: in this one) or `executor`,
    such as `Workers` that are there already. Where none can be started, this process does the work, and a warning says so.

    A task whose worker died, or that ran out of memory beside others, is tried once more, alone. One that fails takes with
    it those that need it, and no others. tell(share of the cost, words) is called as tasks advance and end; place: where
    results are kept, for the words. sitting: once it is over no task begins, and those under way raise Unfinished; once it
    is spent, processes are ended. Raises BadInput as soon as a task does, Stopped on Ctrl-C; and when all others have ended,
    what a task raised, or WorkerDied if a worker died or memory ran out.
    """
    ledger = _Ledger(tasks, tell)
    own = Workers(workers) if executor is None and workers > 1 else None
    pool = executor or own or Inline()
    slots = pool.count if isinstance(pool, Workers | Inline) else 2 * workers
    refusal = "no thread can be started"
    running: dict[Future, Task] = {}
    reports: SimpleQueue = SimpleQueue()

    def begin(task: Task) -> None:
        more: dict[str, Callable] = {}
        if isinstance(pool, Inline):
            more = {"tell": partial(ledger.hear, task)}
        elif isinstance(pool, Workers):
            more = {"tell": lambda share, made: reports.put((task, share, made))}
        running[pool.submit(task.work, *task.args, **more)] = task

    try:
        ledger.tell()
        while ledger.ready or running or ledger.again:
            if not slots:
                warnings.warn(f"No worker can be started here ({refusal}); this process does the work.", stacklevel=2)
                pool, slots = Inline(), 1
            while ledger.ready and len(running) < slots and not (sitting and sitting.over()):
                begin(heapq.heappop(ledger.ready))
            if sitting and (sitting.over() and not running or sitting.spent() and isinstance(pool, Workers)):
                break
            if not running and isinstance(pool, Inline):  # what has killed a worker might kill this process
                ledger.fail(ledger.again.pop(), "its worker died, and no other could be started")
            elif not running:
                if isinstance(pool, Workers):
                    pool.rest()
                begin(ledger.again.pop())
            for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                try:
                    future.result()
                except CancelledError:  # another study has ended what the workers were at
                    ledger.put_back(task)
                except Unfinished as error:
                    ledger.leave(task, *error.args)
                except NotStarted as error:
                    slots, refusal = slots - 1, str(error)
                    ledger.put_back(task)
                except (BadInput, BrokenExecutor):
                    raise
                except Exception as error:
                    ledger.suffer(task, error, alone=isinstance(pool, Inline))
                else:
                    ledger.end(task)
                del future
            while not reports.empty():
                if (report := reports.get())[0] in running.values():
                    ledger.hear(*report)
    except KeyboardInterrupt:
        kept = f"{ledger.count()} of {ledger.runs} runs are finished and kept in {place}"
        raise Stopped(f"Stopped: {kept}; the same command goes on from there.") from None
    except BrokenExecutor as error:
        kept = f"{ledger.count()} of {ledger.runs} runs are kept in {place}"
        raise WorkerDied(f"The executor broke ({error}); {kept}; the same call goes on from there.") from None
    finally:
        for future in running:
            future.cancel()
        if running and isinstance(pool, Workers):
            pool.terminate()
        if own is not None:
            own.shutdown()
    if ledger.failed:
        words = ledger.account(place)
        if ledger.bug is None:
            raise WorkerDied(words)
        ledger.bug.add_note(words)
        raise ledger.bug


class _Ledger:
    """Which tasks are ready, under way, done and failed, and how far all are.

    ready: a heap; again: those that are to be tried once more, alone; failed: with the reason; left: those not begun
    because of these; bug: the first error that is neither a lost worker nor lack of memory.
    """

    def __init__(self, tasks: Sequence[Task], told: Tell):
        self.told = told
        self.dependents: dict[str, list[Task]] = defaultdict(list)
        for task in tasks:
            for need in task.needs:
                self.dependents[need].append(task)
        self.ready = sorted(t for t in tasks if not t.needs)
        self.ended: set[str] = set()
        self.again: list[Task] = []
        self.tried: set[Task] = set()
        self.failed: list[tuple[Task, str]] = []
        self.left: set[Task] = set()
        self.bug: Exception | None = None
        self.under_way: dict[Task, tuple[float, int]] = {}
        self.total, self.runs = sum(t.cost for t in tasks), sum(t.runs for t in tasks)
        self.done, self.made, self.open = 0.0, 0, len(tasks)

    def count(self) -> int:
        """Runs that are made and kept."""
        return self.made + sum(made for _, made in self.under_way.values())

    def tell(self) -> None:
        done = self.done + sum(share * task.cost for task, (share, _) in self.under_way.items())
        self.told(min(done / self.total, 0.999) if self.open else 1.0, f"{self.count()} of {self.runs} runs")

    def hear(self, task: Task, share: float, made: int) -> None:
        """A task says how far it is."""
        share_before, made_before = self.under_way.get(task, (0.0, 0))  # more than now if it is tried once more
        self.under_way[task] = max(share, share_before), max(made, made_before)
        self.tell()

    def end(self, task: Task) -> None:
        """A task is done; those that waited for it alone are ready."""
        self._close(task, task.runs)
        self.tell()
        self.ended.add(task.key)
        for other in self.dependents[task.key]:
            if other.needs <= self.ended:
                heapq.heappush(self.ready, other)

    def leave(self, task: Task, made: int) -> None:
        """A task has made only so many of its runs."""
        share, _ = self.under_way.pop(task, (0.0, 0))
        self.done, self.made = self.done + share * task.cost, self.made + made
        self.tell()

    def put_back(self, task: Task) -> None:
        """A task was not begun after all."""
        if task in self.tried:
            self.again.append(task)
        else:
            heapq.heappush(self.ready, task)

    def suffer(self, task: Task, error: Exception, alone: bool) -> None:
        """A task has failed; alone: nothing ran beside it that may have taken its memory."""
        clear_frames(error.__traceback__)  # a trace holds tensors
        died, full = isinstance(error, Died), out_of_memory(error)
        if (died or full) and not alone and task not in self.tried:
            self.tried.add(task)
            self.again.append(task)
        elif died:
            self.fail(task, f"its worker {error}, twice" + ("; out of memory?" if "SIGKILL" in str(error) else ""))
        elif full:
            self.fail(task, "memory ran out; a smaller batch_size or width takes less")
        else:
            self.bug = self.bug or error
            self.fail(task, f"{type(error).__name__}: {error}")

    def fail(self, task: Task, reason: str) -> None:
        """A task has failed for good, and with it those that need it."""
        self.failed.append((task, reason))
        self._close(task, self.under_way.get(task, (0, 0))[1])
        below = list(self.dependents[task.key])
        while below:
            if (other := below.pop()) not in self.left:
                self.left.add(other)
                self._close(other, 0)
                below += self.dependents[other.key]
        self.tell()

    def account(self, place: str) -> str:
        """What has failed and what is kept, in a sentence."""
        named = shortened([f"{task.words or task.key} ({reason})" for task, reason in self.failed], NAMED)
        left = sum(t.runs for t in self.left)
        needing = f", and with it {left} run{'s' * (left > 1)} that need{'s' * (left == 1)} it" if left else ""
        kept = f"{self.made} of {self.runs} runs are kept in {place}"
        return f"Failed: {named}{needing}; {kept}, and the same command tries the others again."

    def _close(self, task: Task, made: int) -> None:
        self.under_way.pop(task, None)
        self.done, self.made, self.open = self.done + task.cost, self.made + made, self.open - 1
