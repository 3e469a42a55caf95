"""One piece of work at a time, in a thread, with Start, Stop and how far it is."""

import resource
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import ipywidgets as widgets
import torch

from retrainlab.checks import BadInput
from retrainlab.device import cores, describe, memory, out_of_memory, resolve
from retrainlab.explore.kit.controls import Note, Status, row
from retrainlab.progress import Left, duration

# seconds from one drawing to the next while something runs, and the share of the kernel's time that drawing may take:
# less on two cores, where the browser draws on those that train
FRAME, SHARE = (0.1, 0.1) if cores() > 2 else (0.2, 0.02)
Stop = Callable[[], bool]  # asked whether the work is to end
Work = Callable[[Stop], str]  # returns the sentence to say at its end
Act = Callable[[], None]


def device_words(device: torch.device) -> str:
    """Which device computes, its memory, and how much of it is in use."""
    if device.type == "cuda":
        return f"{describe(device)}, {torch.cuda.memory_allocated(device) / 2**30:.2f} GiB of it in use"
    unit = 2**30 if sys.platform == "darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return ", ".join(filter(None, [describe(device), memory(), f"this kernel has used up to {peak:.2f} GiB"]))


class Worker:
    """At most one piece of work in a daemon thread, and a second thread that draws while it runs."""

    def __init__(self):
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.busy = False

    def start(self, work: Work, draw: Act, over: Callable[[str], None], ended: Act = lambda: None) -> bool:
        """Begin a piece of work unless something runs already; return whether it was begun.

        draw: called while it runs, each FRAME, or as seldom as it must be to take no more than SHARE of the time.
        over: called with the work's sentence, or one about its error; ended: after that, when the next work can start.
        """
        with self._lock:
            if self.busy:
                return False
            self.busy = True
            stop, done = threading.Event(), threading.Event()

            def run() -> None:
                try:
                    sentence = work(stop.is_set)
                except BadInput as error:
                    sentence = str(error)
                except Exception as error:
                    sentence = f"It went wrong: {type(error).__name__}: {error}"
                    if out_of_memory(error):
                        sentence = "Memory ran out; a smaller network or fewer seeds take less."
                done.set()
                watcher.join()  # so that no frame comes after the end
                try:
                    over(sentence)
                finally:
                    self.busy = False
                ended()

            def watch() -> None:
                pause = FRAME
                while not done.wait(pause):
                    start = time.thread_time()
                    with suppress(Exception):  # a frame that fails is one frame less; the last is drawn by `over`
                        draw()
                    spent = time.thread_time() - start
                    pause = max(FRAME - spent, spent * (1 - SHARE) / SHARE)

            self._stop = stop
            self._thread = threading.Thread(target=run, daemon=True, name="retrainlab")
            watcher = threading.Thread(target=watch, daemon=True, name="retrainlab-draw")
            watcher.start()
            self._thread.start()
            return True

    def stop(self) -> None:
        """Ask the work to end; it does so at its next step."""
        self._stop.set()

    def wait(self, seconds: float = 60) -> bool:
        """Wait for the work to end, `ended` included; return whether it has."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self._thread is None or not self._thread.is_alive()


class Desk:
    """Start and Stop, a progress bar with the time left, a status line and the device of an explorer that trains."""

    def __init__(self, button: str, device: str):
        self.device, self.worker = resolve(device), Worker()
        self.start = widgets.Button(description=button, button_style="primary")
        self.stop = widgets.Button(description="Stop", disabled=True)
        self.bar = widgets.IntProgress(0, 0, 1000, description="Progress", layout=widgets.Layout(flex="1 1 16em"))
        self.left, self.status, self.where = widgets.Label(""), Status(), Note()
        self.stop.on_click(lambda _: self.worker.stop())
        self.buttons = row(self.start, self.stop, self.bar, self.left)
        self.pace, self.share, self.running, self.ended = Left(), 0.0, False, False
        self._say_where()

    def _say_where(self) -> None:
        self.where.say(f"Computes on {device_words(self.device)}.")

    def go(self, work: Work, draw: Act, ended: Act = lambda: None) -> bool:
        """Begin a piece of work as `Worker.start` does; its sentence goes to the status line."""
        if self.ended:
            return False

        def begin(stopped: Stop) -> str:
            self.pace, self.share, self.running = Left(), 0.0, True
            self.start.disabled, self.stop.disabled = True, False
            return work(stopped)

        def frame() -> None:
            self.follow()
            draw()

        def over(sentence: str) -> None:
            self.running = False
            try:
                draw()
            finally:
                self.bar.value, self.left.value = 0, ""
                self.start.disabled, self.stop.disabled = False, True
                self._say_where()
                if sentence:
                    self.status.say(sentence)

        return self.worker.start(begin, frame, over, ended)

    def tell(self, share: float, words: str = "") -> None:
        """Take how far the work is (a share) and, if not empty, words for the status line. The bar follows with the next
        frame: a message for each point would cost more than the point."""
        self.pace.add(time.monotonic(), share)
        self.share = share
        if words:
            self.status.say(words)

    def follow(self) -> None:
        """Show how far the work is."""
        left = self.pace.at(time.monotonic())
        self.bar.value = round(1000 * self.share)
        self.left.value = f"about {duration(left)} left" if left else ""

    def end(self) -> None:
        """Stop what runs, and begin nothing more."""
        self.ended = True
        self.worker.stop()
