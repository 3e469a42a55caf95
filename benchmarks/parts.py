"""What a step of many members is made of: feeding, forward and backward pass, update; and how many calls it makes.

On a GPU each part is recorded as a CUDA graph of its own, and the graphs are launched one after the other between events of
the device, so that the waiting for the host, which a recorded step does not know, is not counted. Between them the device
may idle for some microseconds, so that they take a little longer than the whole step, recorded as one graph. What cannot
be recorded is called instead, and `recorded` says so: then each part's time holds the gaps between its kernels. On a CPU
the parts are called one after the other.

All is measured in a process of its own: the profiler that counts kernels and CUDA graphs do not go well together in one
that lives on.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from cases import Case
from torch.autograd import DeviceType
from torch.utils._python_dispatch import TorchDispatchMode

from retrainlab.device import repeatable, resolve
from retrainlab.models import in_mode
from retrainlab.training.stack import Stack
from retrainlab.training.ways import Way

Works = dict[str, Callable[[], object]]
VALIDATION = 1_000  # images of an evaluation
ROUNDS = 20
PATIENCE = 60  # seconds, after which the process is given up


def measure(case: Case, members: tuple[int, ...], precision: str, device: str) -> list[dict]:
    """A row for each number of members, times in ms a step (or evaluation) of all of them; see `measured`."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return [pool.apply_async(measured, (case, m, precision, device)).get(PATIENCE) for m in members]


def measured(case: Case, members: int, precision: str, device: str) -> dict:
    """As `measure`, in this process.

    parts: ms of each part; step: of all of them, recorded as one where there are graphs; evaluation: of every member on
    VALIDATION images. kernels, on a CPU operations: how many `calls` a step makes.
    """
    where = resolve(device)
    setup = case.setup(where, precision, VALIDATION)
    with repeatable(where), in_mode(setup.model, training=True):
        stack = Stack.of(setup, Way.of(setup.model, unfolded=where.type == "cuda"), case.jobs(setup, members, 300))
        stack.turn(0)
        works = parts_of(stack)
        whole: Works = {"step": stack.step}
        recorded = where.type == "cuda"
        if recorded:
            try:
                warm(works)
                works, whole = record(works), record(whole)
            except RuntimeError as error:
                print(f"the parts could not be recorded ({error})", flush=True)
                recorded, works = False, parts_of(stack)
        times, step = clocked(works, where), clocked(whole, where)
        evaluation = clocked({"evaluation": lambda: stack.pause(stack.members, 1)}, where, rounds=3)
        row = {"members": members, "precision": precision, "recorded": recorded, "parts": times, **step, **evaluation}
        try:
            return row | {"kernels" if where.type == "cuda" else "operations": calls(stack.step, where)}
        except RuntimeError as error:  # a machine on which the profiler may not look
            print(f"the calls of a step could not be counted ({error})", flush=True)
            return row


def parts_of(stack: Stack) -> Works:
    """Its step in parts, to be carried out in this order."""
    batch: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    losses: list[torch.Tensor] = []

    def feed() -> None:
        batch[:] = [stack.feed()]

    def forward() -> None:
        losses[:] = [stack.losses(*batch[0][:2])]

    return {
        "feed": feed,
        "forward": forward,
        "backward": lambda: stack.backward(losses.pop()),
        "update": lambda: stack.update(batch[0][2]),
    }


def warm(works: Works) -> None:
    """Carry all out three times on a stream aside, as a recording wants it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            for work in works.values():
                work()
    torch.cuda.current_stream().wait_stream(side)


def record(works: Works) -> Works:
    """Each as a CUDA graph, to be launched in this order: they share memory, since one reads what another has left."""
    pool, out = torch.cuda.graph_pool_handle(), {}
    for name, work in works.items():
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            work()
        out[name] = graph.replay
    return out


def clocked(works: Works, device: torch.device, rounds: int = ROUNDS) -> dict[str, float]:
    """Median ms of each, carried out in this order `rounds` times."""
    rows = []
    for _ in range(rounds + 2):  # two to warm up
        marks = [_mark(device)]
        for work in works.values():
            work()
            marks.append(_mark(device))
        rows.append(marks)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        times = [[a.elapsed_time(b) for a, b in pairwise(marks)] for marks in rows[2:]]
    else:
        times = [[1e3 * (b - a) for a, b in pairwise(marks)] for marks in rows[2:]]
    return {name: statistics.median(own) for name, own in zip(works, zip(*times))}


def _mark(device: torch.device):
    """A moment: of the device's clock, read when all before it is done, or of the wall's."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


class _Counted(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def calls(work: Callable[[], object], device: torch.device) -> int:
    """How many kernels `work` launches on a GPU, copies among them; how many operations it calls on a CPU."""
    if device.type != "cuda":
        with _Counted() as counted:
            work()
        return counted.count
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        work()
        torch.cuda.synchronize(device)
    return sum(event.device_type == DeviceType.CUDA for event in profile.events())
