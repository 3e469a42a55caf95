"""Which device computes, said in words; and what makes its results repeatable."""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from retrainlab.checks import BadInput, WorkerDied, choose


def resolve(name: str = "auto") -> torch.device:
    """The device of that name: `cpu`, `cuda`, `cuda:N`, or `auto` for the first CUDA GPU, or else the CPU.

    Raises BadInput for a device that is not on this machine.
    """
    kind, colon, index = str(name).partition(":")
    choose(kind, ("auto", "cpu", "cuda"), "device")
    if colon and kind != "cuda":
        whose = "the CPU" if kind == "cpu" else kind
        raise BadInput(f"There is no device '{name}'; {whose} has no number: use --device {kind}.")
    if kind == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if kind == "cuda" and not torch.cuda.is_available():
        raise BadInput(
            f"The device '{name}' was asked for, but torch finds no CUDA GPU here; use --device cpu or auto."
        )
    if colon and index not in map(str, range(torch.cuda.device_count())):
        raise BadInput(f"There is no device '{name}'; this machine has {torch.cuda.device_count()} CUDA GPUs.")
    return torch.device(name)


def describe(device: torch.device) -> str:
    """A reader's name for the device, with its memory: `cpu, 2 cores` or `cuda, NVIDIA H100, 79 GiB`."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"cuda, {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    return f"{device.type}, {cores()} cores"


def memory_gib() -> float:
    """The machine's memory, or 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return 0.0


def memory() -> str:
    """The machine's memory in words, or nothing where the system does not say."""
    return f"{gib:.0f} GiB of memory" if (gib := memory_gib()) else ""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def synchronise(device: torch.device) -> None:
    """Wait for all work that this thread has queued, so that a clock read next tells the truth. Other threads may record a
    graph meanwhile, when to wait for the whole device is forbidden."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


recording = threading.Lock()
"""Held by the thread that records a graph: meanwhile no other may record one, or give memory back."""


def free(device: torch.device) -> None:
    """Give back what is no longer used of a GPU's memory."""
    gc.collect()
    if device.type == "cuda":
        with recording:
            torch.cuda.empty_cache()


_repeating = threading.Lock()
_inside, _before = 0, (0, False, False)  # threads that are inside, and torch's settings before the first


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Set torch so that the same seed gives the same bits: on a CPU one thread, since the order of a sum depends on how
    many share it. Where several threads are inside, as with two explorers in one kernel, torch's own settings come back
    when the last leaves."""
    global _inside, _before
    cudnn = torch.backends.cudnn
    with _repeating:
        if _inside == 0:
            _before = torch.get_num_threads(), cudnn.benchmark, cudnn.deterministic
        _inside += 1
        if device.type == "cpu":
            torch.set_num_threads(1)
        cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        with _repeating:
            _inside -= 1
            if _inside == 0:
                torch.set_num_threads(_before[0])
                cudnn.benchmark, cudnn.deterministic = _before[1:]


@contextmanager
def lack_of_memory_told() -> Iterator[None]:
    """Turn an error for lack of memory into WorkerDied, which says so in a sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, WorkerDied) or not out_of_memory(error):
            raise
        raise WorkerDied("Memory ran out; a smaller width, batch_size or image_size takes less.") from None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error is one for lack of memory; torch has a class for it only where it allocates on a GPU itself."""
    words = ("can't allocate memory", "not enough memory", "bad_alloc", "out of memory", "ALLOC_FAILED")
    # Unix, Windows, C++, CUDA and its libraries
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(w in str(error) for w in words)
