"""What a step of many members waits for, and a stand-in for the GPU's recording of it."""

from contextlib import contextmanager, nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from retrainlab.training import stack


class Reads(TorchDispatchMode):
    """Counts the operations that make a host wait for its device."""

    WAITS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "allclose")

    def __init__(self):
        super().__init__()
        self.count = self.all = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.all += 1
        self.count += func.overloadpacket.__name__ in self.WAITS
        return func(*args, **(kwargs or {}))


def waits_in_steps(monkeypatch, reads) -> tuple[list[int], Reads]:
    """How many values the host has read before and after each step from now on, and what its operations wait for."""
    step, at, waits = stack.Stack.step, [], Reads()

    def watched(own):
        at.append(len(reads))
        with waits:
            step(own)
        at.append(len(reads))

    monkeypatch.setattr(stack.Stack, "step", watched)
    return at, waits


class Recorder:
    """Stands for torch.cuda: what is captured is not computed, and a replay computes it."""

    def __init__(self, monkeypatch):
        self.events, self.capturing = [], None
        real = stack.Stack.step

        def step(own):
            if self.capturing is None:
                self.events.append("step")
                real(own)
            else:
                assert self.capturing.stack is None
                self.capturing.stack = own

        class Graph:
            stack = None

            def replay(graph):
                self.events.append("replay")
                real(graph.stack)

        class Stream:
            def wait_stream(stream, other):
                self.events.append("wait")

        @contextmanager
        def capture(graph, stream, capture_error_mode):
            self.capturing = graph
            yield
            self.capturing = None
            self.events.append("capture")

        monkeypatch.setattr(stack.Stack, "step", step)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "current_stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        monkeypatch.setattr(torch.cuda, "graph", capture)
