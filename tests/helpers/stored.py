"""A result, a dense network and masks to store, the same in every process."""

import torch

from retrainlab.study.measured import Dense, Pruned
from retrainlab.study.result import Result
from retrainlab.training.state import State

KEY = "0123456789abcdef"


def result(x=0.1) -> Result:
    return Result(
        {"recipe": {"lr": x}},
        {"test_accuracy": 1 / 3, "recovery": None, "stopped": False},
        {"step": [0, 5], "train_loss": [None, 0.30000000000000004]},
        {"device": "cpu, 2 cores", "revision": None},
    )


def dense() -> Dense:
    generator = torch.Generator().manual_seed(0)
    params = {"conv.weight": torch.randn(2, 3, generator=generator), "conv.bias": torch.tensor([-0.0, 1e-42])}
    buffers = {"norm.running_mean": torch.randn(2, generator=generator), "norm.num_batches_tracked": torch.tensor(7)}
    return Dense(State(params, buffers, {n: 2 * p for n, p in params.items()}), result())


def pruned() -> Pruned:
    return Pruned({"conv.weight": torch.tensor([[True, False, True], [False, False, True]])}, result(0.2))
