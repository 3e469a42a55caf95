"""The tasks of a study and how far they are: which are ready, under way, done, failed, or waited for."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from traceback import clear_frames
from typing import Any

from retrainlab.checks import shortened
from retrainlab.device import out_of_memory
from retrainlab.progress import Tell
from retrainlab.study.processes import Died

NAMED = 5  # tasks that failed, and that a sentence names
IN_A_ROW = 3  # tasks that have lost their workers twice, with none between that went well: then it is not the tasks


@dataclass(frozen=True)
class Part:
    """One run of a task: the key of what is made, its noun, and what it is in words, and in a name for lists of tasks."""

    key: str
    noun: Any
    words: str
    name: str = ""


@dataclass(frozen=True, eq=False)
class Task:
    """`work(*args)`, after the tasks whose keys it `needs`. Ordered by stage, then longest first (`rank`); `cost` is its
    share of the progress, in any unit; `runs`: how many runs it makes; `words`: which these are, for the reader. parts: the
    runs one by one, where others may make some of them; their nouns are then the last of what `work` takes."""

    rank: tuple[int, float, int]
    key: str
    work: Callable
    args: tuple
    cost: float
    needs: frozenset[str]
    runs: int = 1
    words: str = ""
    parts: tuple[Part, ...] = ()

    def __lt__(self, other: "Task") -> bool:
        return self.rank < other.rank

    @staticmethod
    def of(
        rank: tuple[int, float, int],
        work: Callable,
        args: tuple,
        cost: float,
        needs: frozenset[str],
        parts: Sequence[Part],
    ) -> "Task":
        """The task that makes those parts, under the key of the first."""
        return Task(rank, parts[0].key, work, args, cost, needs, len(parts), _joined(parts), tuple(parts))

    def only(self, parts: Sequence[Part]) -> "Task | None":
        """The task for some of its parts alone; none for none."""
        if len(parts) == len(self.parts):
            return self
        if not parts:
            return None
        cost = self.cost * len(parts) / len(self.parts)
        return replace(self, parts=tuple(parts), cost=cost, runs=len(parts), words=_joined(parts))

    @property
    def call(self) -> tuple:
        """What `work` takes."""
        return (*self.args, [part.noun for part in self.parts]) if self.parts else self.args


def _joined(parts: Sequence[Part]) -> str:
    return parts[0].words if len(parts) == 1 else f"{parts[0].words}, and {len(parts) - 1} made together with it"


class Ledger:
    """Which tasks are ready, under way, done and failed, and how far all are.

    ready: a heap; again: those that are to be tried once more, alone; elsewhere: those that others make; failed: with the
    reason; left: those not begun because of these; bug: the first error that is neither a lost worker nor lack of memory.
    """

    def __init__(self, tasks: Sequence[Task], told: Tell):
        self.told = told
        self.dependents: dict[str, list[Task]] = defaultdict(list)
        for task in tasks:
            for need in task.needs:
                self.dependents[need].append(task)
        self.ready = sorted(t for t in tasks if not t.needs)
        self.pieces = {task.key: 1 for task in tasks}  # that are open, of a task that may be made in several
        self.again: list[Task] = []
        self.elsewhere: list[Task] = []
        self.others = ""
        self.tried: set[str] = set()
        self.in_a_row = 0
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
        words = f"{self.count()} of {self.runs} runs"
        if self.elsewhere and not (self.ready or self.under_way):
            words += f", waiting for {sum(task.runs for task in self.elsewhere)} by {self.others}"
        self.told(min(done / self.total, 0.999) if self.open else 1.0, words)

    def hear(self, task: Task, share: float, made: int) -> None:
        """A task says how far it is."""
        share_before, made_before = self.under_way.get(task, (0.0, 0))  # more than now if it is tried once more
        self.under_way[task] = max(share, share_before), max(made, made_before)
        self.tell()

    def end(self, task: Task) -> None:
        """A task is done; those that waited for it alone are ready."""
        self.in_a_row = 0
        self._close(task, task.runs)
        self.tell()
        self._go_on(task)

    def there(self, task: Task, runs: int) -> None:
        """Some runs of a task were made by others."""
        self.made, self.done = self.made + runs, self.done + task.cost * runs / task.runs
        self.tell()

    def split(self, task: Task, mine: Task | None, elsewhere: Task | None, others: str) -> None:
        """A task goes on as what is begun now and what others make; as neither, it is done."""
        self.pieces[task.key] += (mine is not None) + (elsewhere is not None) - 1
        if mine is not task:
            self.under_way.pop(task, None)
        if elsewhere is not None:
            self.elsewhere.append(elsewhere)
            self.others = others
        if not self.pieces[task.key]:
            self.open -= 1
            self.tell()
            self._go_on(task)

    def lose(self, task: Task, rest: Task) -> None:
        """A task is done, but for what others have taken from it meanwhile."""
        self.elsewhere.append(rest)
        self.shrink(task, rest)

    def shrink(self, task: Task, rest: Task) -> None:
        """A task has ended, and only the rest of it is not made."""
        if rest is not task:
            self.under_way.pop(task, None)
            self.there(task, task.runs - rest.runs)

    def leave(self, task: Task, made: int) -> None:
        """A task has made only so many of its runs."""
        share, _ = self.under_way.pop(task, (0.0, 0))
        self.done, self.made = self.done + share * task.cost, self.made + made
        self.tell()

    def put_back(self, task: Task) -> None:
        """A task was not begun after all."""
        if task.key in self.tried:
            self.again.append(task)
        else:
            heapq.heappush(self.ready, task)

    def suffer(self, task: Task, error: Exception, alone: bool) -> None:
        """A task has failed; alone: nothing ran beside it that may have taken its memory."""
        clear_frames(error.__traceback__)  # a trace holds tensors
        died, full = isinstance(error, Died), out_of_memory(error)
        if (died or full) and not alone and task.key not in self.tried:
            self.tried.add(task.key)
            self.again.append(task)
        elif died:
            self.in_a_row += 1
            twice = ", twice" * (task.key in self.tried)
            self.fail(task, f"its worker {error}{twice}" + ("; out of memory?" if "SIGKILL" in str(error) else ""))
        elif full:
            self.fail(task, "memory ran out; a smaller batch_size or width takes less")
        else:
            self.bug = self.bug or error
            self.fail(task, f"{type(error).__name__}: {error}")

    @property
    def hopeless(self) -> bool:
        """Whether workers die whatever they are given."""
        return self.in_a_row >= IN_A_ROW

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
        if self.hopeless:
            kept = f"workers fail whatever they are given here, which no run is to blame for, so that the study ends; {kept}"
        return f"Failed: {named}{needing}; {kept}, and the same command tries the others again."

    def _close(self, task: Task, made: int) -> None:
        self.under_way.pop(task, None)
        self.pieces[task.key] -= 1
        self.done, self.made, self.open = (
            self.done + task.cost,
            self.made + made,
            self.open - (not self.pieces[task.key]),
        )

    def _go_on(self, task: Task) -> None:
        if not self.pieces[task.key]:
            for other in self.dependents[task.key]:
                if other not in self.left and not any(self.pieces[need] for need in other.needs):
                    heapq.heappush(self.ready, other)
