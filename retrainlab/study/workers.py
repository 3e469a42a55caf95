"""Run tasks that need one another on all cores, or wherever else: what is begun, what has failed, and what goes on all the
same.

A task is a picklable function and its arguments; what it makes is in the store when it ends. Ctrl-C, a crash or a killed
process loses what was running and nothing else.
"""

import heapq
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

from retrainlab.checks import BadInput, Stopped, WorkerDied
from retrainlab.progress import Tell
from retrainlab.study import serving
from retrainlab.study.ledger import Ledger, Task
from retrainlab.study.processes import Inline, NotStarted, Workers
from retrainlab.study.serving import Unfinished
from retrainlab.study.sharing import Sharing
from retrainlab.study.sitting import Sitting

POLL = 2.0  # seconds after which it is asked again what others have made


class Crew(Protocol):
    """Who carries out tasks.

    count: how many at once, which may change. here: whether a task is over when `begin` returns. alone: whether tasks do not
    take one another's memory, so that one that lacks it fails.
    """

    @property
    def count(self) -> int: ...

    @property
    def here(self) -> bool: ...

    @property
    def alone(self) -> bool: ...

    def begin(self, task: Task, tell: serving.Tell) -> Future:
        """Begin a task; `tell` hears how far it is. The future raises what the task does, Died if its worker did, and
        CancelledError if it is to be begun anew."""

    def keep(self, task: Task, value: Any) -> None:
        """Put into the store what a task has returned, if it did not itself."""

    def rest(self) -> None:
        """Give back the memory of workers that wait."""

    def finish(self) -> None:
        """A sitting is over: let what has begun end soon, if it does not look at the sitting itself."""

    def terminate(self) -> None:
        """End all that is running."""


def run_tasks(
    tasks: Sequence[Task],
    crew: int | Crew,
    tell: Tell,
    place: str,
    sitting: Sitting | None = None,
    sharing: Sharing | None = None,
) -> None:
    """Run all tasks in order of rank, each after those it needs, on so many processes (1: in this one), or by a crew that is
    there already. Where no process can be started, this one does the work, and a warning says so.

    A task whose worker died, or that ran out of memory beside others, is tried once more, alone. One that fails takes with
    it those that need it, and no others, unless workers die whatever they are given, which ends all. tell(share of the cost,
    words) is called as tasks advance and end; place: where results are kept, for the words. sitting: once it is over no task
    begins, and those under way raise Unfinished; once it is spent, processes are ended. sharing: with other studies. Raises
    BadInput as soon as a task does, Stopped on Ctrl-C; and when all others have ended, what a task raised, or WorkerDied if
    a worker died or memory ran out.
    """
    own = Workers(crew) if isinstance(crew, int) and crew > 1 else None
    run = _Run(Ledger(tasks, tell), own or (Inline() if isinstance(crew, int) else crew), sitting, sharing)
    ledger = run.ledger
    try:
        run.all()
    except KeyboardInterrupt:
        kept = f"{ledger.count()} of {ledger.runs} runs are finished and kept in {place}"
        raise Stopped(f"Stopped: {kept}; the same command goes on from there.") from None
    except BrokenExecutor as error:
        why, kept = str(error).rstrip("."), f"{ledger.count()} of {ledger.runs} runs are kept in {place}"
        raise WorkerDied(f"The executor broke ({why}); {kept}; the same call goes on from there.") from None
    finally:
        run.end()
        if own is not None:
            own.shutdown()
    if sharing is not None:
        for task, reason in ledger.failed:
            sharing.note(task, reason)
    if ledger.failed:
        words = ledger.account(place)
        if ledger.bug is None:
            raise WorkerDied(words)
        ledger.bug.add_note(words)
        raise ledger.bug


class _Run:
    """One call of `run_tasks`."""

    def __init__(self, ledger: Ledger, crew: Crew, sitting: Sitting | None, sharing: Sharing | None):
        self.ledger, self.crew, self.sitting, self.sharing = ledger, crew, sitting, sharing
        self.running: dict[Future, Task] = {}
        self.reports: SimpleQueue = SimpleQueue()
        self.missing, self.refusal = 0, "no thread can be started"  # of the crew's places
        self.asked = time.monotonic()

    def all(self) -> None:
        ledger, over = self.ledger, False
        ledger.tell()
        while (ledger.ready or self.running or ledger.again or ledger.elsewhere) and not ledger.hopeless:
            if not over and self.sitting is not None and self.sitting.over():
                over = True
                self.crew.finish()
            self._look_around()
            places = self._places()
            while ledger.ready and len(self.running) < places and not over:
                self._begin(heapq.heappop(ledger.ready))
            if over and not self.running or self.sitting and self.sitting.spent() and isinstance(self.crew, Workers):
                break
            if not self.running and ledger.again:
                self._again(ledger.again.pop())
            if not self.running:
                time.sleep(POLL / 10 if ledger.elsewhere or ledger.ready else 0)
            for future in wait(self.running, timeout=0.5, return_when=FIRST_COMPLETED).done if self.running else ():
                self._ended(future, self.running.pop(future))
            while not self.reports.empty():
                if (report := self.reports.get())[0] in self.running.values():
                    ledger.hear(*report)

    def end(self) -> None:
        """Nothing is running any more."""
        for future in self.running:
            future.cancel()
        if self.running and not self.crew.here:
            self.crew.terminate()

    def _places(self) -> int:
        places = self.crew.count - self.missing
        if not places and isinstance(self.crew, Workers):
            words = f"No worker can be started here ({self.refusal}); this process does the work."
            warnings.warn(words, stacklevel=4)
            self.crew, self.missing, places = Inline(), 0, 1
        return places

    def _look_around(self) -> None:
        """Ask again, now and then, for what others were at."""
        ledger = self.ledger
        if ledger.elsewhere and time.monotonic() - self.asked >= POLL:
            self.asked = time.monotonic()
            for task in ledger.elsewhere:
                heapq.heappush(ledger.ready, task)
            ledger.elsewhere.clear()

    def _begin(self, task: Task) -> None:
        if self.sharing is not None and task.parts:
            taken = self.sharing.take(task)
            self.ledger.there(task, taken.there)
            self.ledger.split(task, taken.mine, taken.elsewhere, taken.others)
            if taken.mine is None:
                return
            task = taken.mine
        hears: Callable = partial(self.ledger.hear, task)
        if not self.crew.here:
            hears = lambda share, made: self.reports.put((task, share, made))  # noqa: E731
        self.running[self.crew.begin(task, hears)] = task

    def _again(self, task: Task) -> None:
        if self.crew.here:  # what has killed a worker might kill this process
            self.ledger.fail(task, "its worker died, and no other could be started")
        else:
            self.crew.rest()
            self._begin(task)

    def _ended(self, future: Future, task: Task) -> None:
        ledger, rest = self.ledger, None
        try:
            self.crew.keep(task, future.result())
            rest = self.sharing.rest(task) if self.sharing is not None else None
        except CancelledError:  # another study has ended what the workers were at
            ledger.put_back(task)
        except Unfinished as error:
            ledger.leave(task, *error.args)
        except NotStarted as error:
            self.missing, self.refusal = self.missing + 1, str(error)
            ledger.put_back(task)
        except (BadInput, BrokenExecutor):
            raise
        except Exception as error:
            failed = self.sharing and self.sharing.rest(task) or task  # what it made before that is there
            ledger.shrink(task, failed)
            ledger.suffer(failed, error, alone=self.crew.alone)
        else:
            if rest is None:
                ledger.end(task)
            else:
                ledger.lose(task, rest)
        finally:
            if self.sharing is not None:
                self.sharing.release(task)
