"""What Optimal Brain Surgeon costs on this machine: seconds and memory of its score and its update, network by network.

    python benchmarks/surgeon.py [--models resnet8 resnet20 vgg16] [--rows 4] [--device auto]

On 512 images of noise (3 x 32 x 32; 1 x 8 x 8 for resnet8) and weights as initialised, which cost as much as trained ones.
Scores take rows of a layer independently of each other: --rows measures so many of each layer and multiplies; 0 measures
all. The update is that of a random mask of 90 %. Memory is the most that the process has held, or the device's own.
Written to results/surgeon-DEVICE.json.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from retrainlab import layers, models, obs
from retrainlab.config import SGD
from retrainlab.data.dataset import Dataset, Split, load
from retrainlab.device import describe, resolve, synchronise
from retrainlab.paths import write_whole
from retrainlab.training.state import Setup, State

FOLDER = Path(__file__).parent / "results"
T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """Of one network. rows: how many were scored of each layer, 0 for all. Times in seconds, memory in bytes."""

    model: str
    weights: int
    widest: int  # weights of a row
    rows: int
    hessians: float
    scores: float
    update: float
    memory: int


def noise(shape: tuple[int, int, int], device: torch.device) -> Dataset:
    """512 images."""
    draw = torch.Generator().manual_seed(0)
    split = Split(torch.randint(0, 256, (512, *shape), generator=draw).to(torch.uint8), torch.zeros(512).long())
    mean = torch.full((shape[0],), 127.0, device=device)
    split = Split(split.images.to(device), split.labels.to(device))
    return replace(load("digits", str(device)), train=split, validation=split, test=split, mean=mean, std=mean / 2)


def scored(weight: Tensor, problem: obs.Problem, rows: int, timed: Callable) -> float:
    """Seconds for the scores of a layer, from so many of its rows, or all if 0."""
    count = min(len(weight), rows or len(weight))
    few = replace(problem, rows=slice(0, count))
    _, all_in_all = timed(lambda: obs.scores({"w": weight[:count]}, {"w": [few]}))
    _, once = timed(lambda: torch.cholesky_inverse(torch.linalg.cholesky(problem.hessians)))
    return once + max(0.0, all_in_all - once) * len(weight) / count


def measure(name: str, device: torch.device, rows: int) -> Cost:
    """The cost of one network."""
    shape = (1, 8, 8) if name == "resnet8" else (3, 32, 32)
    model = models.build(name, shape=shape, classes=10).to(device)
    setup = Setup(model, noise(shape, device), SGD(), 128, layers.prunable(model))
    state = State.of(model, device)
    weights = setup.weights(state)

    def timed(work: Callable[[], T]) -> tuple[T, float]:
        synchronise(device)
        start = time.perf_counter()
        out = work()
        synchronise(device)
        return out, time.perf_counter() - start

    found, hessians = timed(lambda: obs.problems(setup, state))
    scoring = sum(scored(weight, found[layer][0], rows, timed) for layer, weight in weights.items())
    draw = torch.Generator(device).manual_seed(0)
    masks = {layer: torch.rand(w.shape, device=device, generator=draw) < 0.1 for layer, w in weights.items()}
    _, update = timed(lambda: obs.update(weights, found, masks))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else peak
    widest = max(w[0].numel() for w in weights.values())
    return Cost(name, sum(w.numel() for w in weights.values()), widest, rows, hessians, scoring, update, memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=["resnet8", "resnet20", "vgg16"]
    )  # memory only grows: small first
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = resolve(options.device)
    costs = []
    for name in options.models:
        costs.append(cost := measure(name, device, options.rows))
        print(
            f"{name}: {cost.weights:,} weights, rows of up to {cost.widest:,}; Hessians {cost.hessians:.1f} s, scores "
            f"{cost.scores:.1f} s{f' (from {cost.rows} rows a layer)' if cost.rows else ''}, update {cost.update:.1f} s, "
            f"at most {cost.memory / 1e9:.2f} GB",
            flush=True,
        )
    told = {"device": describe(device), "torch": torch.__version__, "costs": [asdict(cost) for cost in costs]}
    where = (
        FOLDER / f"surgeon-{device.type}{f'-threads-{torch.get_num_threads()}' if device.type == 'cpu' else ''}.json"
    )
    text = json.dumps(told, indent=1) + "\n"
    write_whole(where, lambda temporary: temporary.write_text(text))
    print(f"Written to {where}.")


if __name__ == "__main__":
    main()
