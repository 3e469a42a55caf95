"""The least that a training step can take on a device: what it must move and compute, and how fast the device does both."""

from collections.abc import Callable
from functools import lru_cache

import torch
from cases import Case

from retrainlab.config import PRECISIONS
from retrainlab.layers import prunable
from retrainlab.metrics import multiply_adds
from retrainlab.models import build
from retrainlab.training import loop


@lru_cache
def traffic(case: Case, precision: str = "float32") -> int:
    """Bytes that a training step must move, about: forward and backward through convolution, normalisation and ReLU pass
    over each convolution's output some 12 times."""
    model, outputs = build(case.model, shape=case.shape, classes=10, width=case.width), 0

    def count(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *case.shape))
    return 12 * outputs * case.batch * (2 if precision == "bfloat16" else 4)


@lru_cache
def arithmetic(case: Case) -> int:
    """Floating-point operations of a training step: two for each multiply-add, forward once and backward twice."""
    model = build(case.model, shape=case.shape, classes=10, width=case.width)
    parameters = dict(model.named_parameters())
    return 6 * case.batch * multiply_adds(model, case.shape, {name: parameters[name] for name in prunable(model)})[0]


def ceilings(device: torch.device) -> dict:
    """Measured: bytes per second of a copy (read and write counted), operations per second of a product in either type;
    float32 is what it is to convolutions, which torch lets use TF32 where there is such a thing."""
    big = torch.empty(2**28, device=device)  # 1 GiB
    size = 8192

    def best(work: Callable[[], object]) -> float:
        work()
        times = []
        for _ in range(5):
            start = loop.now(device)
            work()
            times.append(loop.now(device) - start)
        return min(times)

    out = {"copy_bytes_per_second": 2 * big.nbytes / best(lambda: big.clone())}
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    for precision in PRECISIONS:
        square = torch.randn(size, size, device=device, dtype=getattr(torch, precision))
        out[f"{precision}_flops"] = 2 * size**3 / best(lambda: square @ square)  # noqa: B023
    matmul.allow_tf32 = before
    return out


def floor(case: Case, precision: str, ceilings: dict) -> float:
    """Seconds that a step of one member must take: for what it moves or for what it computes, whichever is longer."""
    moves = traffic(case, precision) / ceilings["copy_bytes_per_second"]
    return max(moves, arithmetic(case) / ceilings[f"{precision}_flops"])
