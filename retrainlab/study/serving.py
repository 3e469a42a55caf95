"""A worker's side of `processes`: one piece of work after the other, answers in pickle."""

import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from queue import SimpleQueue
from typing import BinaryIO

Tell = Callable[[float, int], None]
"""Takes how much of a piece of work is done (0..1), and how many of its runs."""

listener: ContextVar[Tell | None] = ContextVar("listener", default=None)
"""Who hears how far the work of this thread is."""


class Unfinished(Exception):
    """For work to raise that ends because its time is over; with how many of its runs are made."""


def advance(share: float, runs: int) -> None:
    """For work to call: how much of it is done (0..1), and how many of its runs."""
    if (hears := listener.get()) is not None:
        hears(share, runs)


def serve(out: BinaryIO) -> None:
    """A worker's life: one piece of work after the other; the answers go to `out`."""
    signal.signal(signal.SIGTERM, _leave)
    inbox: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()

    def send(packed: bytes) -> None:
        try:
            out.write(packed)
            out.flush()
        except OSError:  # the parent is gone
            os._exit(1)

    listener.set(lambda share, runs: send(pickle.dumps(("at", (share, runs)))))
    send(pickle.dumps(""))
    while True:
        try:
            folder, work, args = pickle.loads(inbox.get())
            os.chdir(folder)  # which the program may have left since this process began
            answer = pickle.dumps(("returned", work(*args)))
        except SystemExit:
            os._exit(1)
        except Exception as error:
            answer = _packed(error)
        work = args = None  # what they hold is not needed while it waits
        send(answer)


def _leave(*_: object) -> None:
    """Through all `finally` of the work, which remove what is half written."""
    raise SystemExit(1)


def _listen(inbox: SimpleQueue) -> None:
    """Pass on what the parent sends; if it is killed, end with it."""
    while True:
        try:
            inbox.put(pickle.load(sys.stdin.buffer))
        except (EOFError, OSError, pickle.UnpicklingError):
            os._exit(1)


def _packed(error: Exception) -> bytes:
    """The answer that says what the work raised, with its trace as a note."""
    error.add_note("In a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        packed = pickle.dumps(("raised", error))
        pickle.loads(packed)  # an exception that wants more than its message can be packed, but not unpacked
        return packed
    except Exception:
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        plain.add_note(error.__notes__[-1])
        return pickle.dumps(("raised", plain))
