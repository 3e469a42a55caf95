"""Processes that work for this one, and tell how far they are.

They are plain `python -c` processes that speak pickle over their stdin and stdout. They never import the user's script (so
that it needs no `if __name__ == "__main__"`), they need no semaphores and no shared memory, and it is known at which work
one died.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import ORIGINAL_DIR  # type: ignore[attr-defined]  # known to its own modules only
from multiprocessing.spawn import get_executable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from retrainlab.study.serving import Tell, listener

if TYPE_CHECKING:
    from retrainlab.study.ledger import Task

START = """
import os, pickle, sys
out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # what libraries print must not mix with the answers
try:
    sys.path = pickle.load(sys.stdin.buffer)
    import torch
    torch.set_num_threads(1)
    from retrainlab.study.serving import serve
except BaseException as error:
    with out:
        pickle.dump(f"{type(error).__name__}: {error}", out)
else:
    serve(out)
"""

PATIENCE = 5  # seconds that a process has to leave its work


class Died(Exception):
    """A worker ended in the middle of its work; says how."""


class NotStarted(Exception):
    """No worker could be started; says why."""


class Inline(Executor):
    """Runs each piece of work at once in this process: one job, or a GPU."""

    count, here, alone = 1, True, True

    def begin(self, task: "Task", tell: Tell) -> Future:
        """Do a task."""
        return self.submit(task.work, *task.call, tell=tell)

    def keep(self, task: "Task", value: object) -> None:
        """Its work has kept what it made."""

    def rest(self) -> None:
        """There is none."""

    def finish(self) -> None:
        """The work looks at the sitting itself."""

    def terminate(self) -> None:
        """Nothing is running."""

    def submit(self, work: Callable, /, *args, tell: Tell | None = None) -> Future:  # type: ignore[override]  # tell is ours
        """As Executor's; `tell` hears how far the work is."""
        future: Future = Future()
        before = listener.set(tell)
        try:
            future.set_result(work(*args))
        except Exception as error:
            future.set_exception(error)
        finally:
            listener.reset(before)
        return future


@dataclass
class _Job:
    """A piece of work that waits for a process; round: the pool's when it came."""

    future: Future
    round: int
    tell: Tell | None
    work: Callable
    args: tuple


class Workers(Executor):
    """Up to `count` processes for one study, or for several, which then do not wait for them to start each time. Each starts
    when it is needed, tells how far it is, and ends with this process, however that ends.

    count: how many pieces of work it does at once; fewer than asked for where threads cannot be started. A future raises
    Died if its worker did (the next work gets another), and NotStarted if there is none to be had.
    """

    here, alone = False, False

    def __init__(self, count: int):
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: list[_Process] = []
        self._round, self._closed = 0, False
        self._threads: list[threading.Thread] = []
        with suppress(RuntimeError):  # where no further thread can be started, there are fewer workers
            for _ in range(count):
                thread = threading.Thread(target=self._serve, daemon=True, name="retrainlab-worker")
                thread.start()
                self._threads.append(thread)
        self.count = len(self._threads)

    def submit(self, work: Callable, /, *args, tell: Tell | None = None) -> Future:  # type: ignore[override]  # tell is ours
        """As Executor's; `tell` hears, on another thread, how far the work is."""
        if self._closed:
            raise RuntimeError("These workers have been shut down; make new ones.")
        future: Future = Future()
        self._jobs.put(_Job(future, self._round, tell, work, args))
        return future

    def begin(self, task: "Task", tell: Tell) -> Future:
        """Begin a task."""
        return self.submit(task.work, *task.call, tell=tell)

    def keep(self, task: "Task", value: object) -> None:
        """Its work has kept what it made."""

    def rest(self) -> None:
        """End the processes that wait for work, and so give back their memory."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def finish(self) -> None:
        """The work looks at the sitting itself."""

    def terminate(self) -> None:
        """End what is running, and drop what waits: its result would come too late to matter. New work may come after."""
        with self._lock:
            self._round += 1
            for process in self._busy:
                process.stop()
        self.rest()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As Executor's."""
        self._closed = True
        with self._lock:
            self._round += cancel_futures
        for _ in self._threads:
            self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()
        self.rest()

    def _serve(self) -> None:
        """A thread's life: give one piece of work after the other to a process and wait for it."""
        if hasattr(signal, "pthread_sigmask"):  # Ctrl-C is for the parent; processes inherit this from the thread
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while (job := self._jobs.get()) is not None:
            if job.round != self._round:
                job.future.cancel()
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                job.future.set_result(self._answer(job))
            except BaseException as error:
                job.future.set_exception(error)
            del job

    def _answer(self, job: _Job) -> Any:
        packed = pickle.dumps((os.getcwd(), job.work, job.args))
        with self._lock:
            if job.round != self._round:
                raise CancelledError
            process = self._taken()
            self._busy.append(process)
        try:
            process.greet()
            good, answer = process.ask(packed, job.tell)
        except BaseException:
            process.end()
            raise
        finally:
            with self._lock:
                self._busy.remove(process)
        with self._lock:
            self._idle.append(process)
        if not good:
            raise answer
        return answer

    def _taken(self) -> "_Process":
        """A process that waits for work and is alive, or a new one."""
        while self._idle:
            if (process := self._idle.pop()).popen.poll() is None:
                return process
            process.end()
        return _Process()


class _Process:
    """One worker, as its parent sees it."""

    def __init__(self):
        if getattr(sys, "frozen", False) or not get_executable():
            raise NotStarted("this program has no interpreter of its own")
        new_group = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows: else Ctrl-C ends it
        command, pipe = [get_executable(), "-P", "-c", START], subprocess.PIPE
        try:
            self.popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, creationflags=new_group)
        except OSError as error:
            raise NotStarted(error.strerror or str(error)) from None
        assert self.popen.stdin and self.popen.stdout
        self.stdin, self.stdout, self.greeted = self.popen.stdin, self.popen.stdout, False

    def greet(self) -> None:
        """Wait until it can work. Raises NotStarted if it never can."""
        if self.greeted:
            return
        try:
            self._send([entry or ORIGINAL_DIR for entry in sys.path])
            reason = pickle.load(self.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            reason = f"it {self._end_in_words()} while it started"
        if reason:
            raise NotStarted(reason)
        self.greeted = True

    def ask(self, packed: bytes, tell: Tell | None) -> tuple[bool, Any]:
        """(True, what the work returned) or (False, what it raised). Raises Died."""
        try:
            self._send(packed)
            while True:
                kind, what = pickle.load(self.stdout)
                if kind != "at":
                    return kind == "returned", what
                if tell is not None:
                    tell(*what)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise Died(self._end_in_words()) from None

    def stop(self) -> None:
        """Let it leave what it is at, with no file half written; kill it if it does not soon."""
        self.popen.terminate()
        late = threading.Timer(PATIENCE, self.popen.kill)
        late.daemon = True
        late.start()

    def end(self) -> None:
        """Kill it: the store keeps whole files only."""
        self.popen.kill()
        self.popen.wait()
        for stream in (self.stdin, self.stdout):
            with suppress(OSError):
                stream.close()

    def _send(self, what: object) -> None:
        pickle.dump(what, self.stdin)
        self.stdin.flush()

    def _end_in_words(self) -> str:
        try:
            code = self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "was lost"
        if code >= 0:
            return f"ended with exit code {code}"
        names = {each.value: each.name for each in signal.Signals}
        return f"was killed by {names.get(-code, f'signal {-code}')}"
