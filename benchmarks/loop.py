"""How fast is the training loop? Milliseconds per step and images per second, beside a bare torch loop on equal batches.

The bare loop is what one writes by hand: model(x), loss.backward(), torch.optim.SGD, the weights multiplied by their
masks after each step; no data handling at all, the same batch again and again. The ratio is what our functional loop
costs (or saves) with data loading, augmentation and masks included. Both are timed in turns in one run, synchronised,
after a warm-up; the median of the rounds counts.

    python benchmarks/loop.py [--device auto] [--seconds 2] [--rounds 3]
"""

import argparse
import json
import platform
import re
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from retrainlab.config import Prune, Recipe
from retrainlab.data import Augmentation, Dataset, Split, stream
from retrainlab.device import describe, repeatable, resolve, synchronise
from retrainlab.methods.imp import Masked, apply, prune_state
from retrainlab.models import build, prunable
from retrainlab.training import State, train

CASES = [  # model, image (channels, height, width), batch size
    ("mlp", (1, 8, 8), 32),
    ("resnet8", (1, 8, 8), 32),
    ("resnet8", (1, 28, 28), 128),
    ("resnet20", (3, 32, 32), 128),
]


def random_data(shape: tuple[int, int, int], count: int, device: torch.device) -> Dataset:
    """`count` random images of ten classes: speed does not depend on what they show."""
    generator = stream("benchmark")
    images = torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8).to(device)
    split = Split(images, torch.randint(0, 10, (count,), generator=generator).to(device))
    few = Split(split.images[:64], split.labels[:64])
    ones = torch.ones(shape[0], device=device)
    return Dataset("random", split, few, few, 10, 127 * ones, 74 * ones, Augmentation(1, True))


def bare_loop(model: nn.Module, masks: dict, x: torch.Tensor, y: torch.Tensor, steps: int) -> float:
    """Seconds of `steps` steps of the hand-written loop on one batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4)
    pairs = [(p, masks[name]) for name, p in model.named_parameters() if name in masks]
    model.train()
    synchronise(x.device)
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for p, mask in pairs:
                p.mul_(mask)
    synchronise(x.device)
    return time.perf_counter() - start


def measure(
    name: str, shape: tuple[int, int, int], batch: int, device: torch.device, seconds: float, rounds: int
) -> dict:
    """One line of the table."""
    data = random_data(shape, max(4 * batch, 512), device)
    model = build(name, shape=shape, classes=10).to(device)
    names = prunable(model)
    state = State.of(model, device)
    masks = prune_state(state, Prune(0.9), names, 0, 0)
    state = apply(state, masks)
    factors = {n: m.float() for n, m in masks.items()}
    x, y = data.normalise(data.train.images[:batch]), data.train.labels[:batch]
    bare_loop(model, factors, x, y, 2)
    steps = max(5, min(500, round(seconds / (bare_loop(model, factors, x, y, 3) / 3))))
    rates = torch.full((steps,), 1e-3, dtype=torch.float64)
    sgd = Recipe().sgd
    ours, bare = [], []
    for _ in range(rounds + 1):
        trained = train(
            model,
            state,
            data,
            rates,
            sgd=sgd,
            batch_size=batch,
            seed=(0,),
            prunable=names,
            method=Masked(masks),
            evaluations=1,
        )
        ours.append(trained.seconds)
        bare.append(bare_loop(model, factors, x, y, steps))
    ours, bare = statistics.median(ours[1:]) / steps, statistics.median(bare[1:]) / steps
    size = "x".join(map(str, shape))
    return {
        "model": name, "image": size, "batch": batch, "ms_per_step": 1e3 * ours, "images_per_second": batch / ours,
        "bare_ms_per_step": 1e3 * bare, "ratio": ours / bare,
    }  # fmt: skip


def main() -> None:
    """Measure every case, print the table, write results/DEVICE.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=2.0, help="that each side of each round takes, about")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    device = resolve(options.device)
    print(f"{describe(device)}; torch {torch.__version__}; one torch thread on a CPU")
    print(f"{'model':<9} {'image':<8} {'batch':>5} {'ms/step':>8} {'images/s':>9} {'bare ms':>8} {'ours/bare':>9}")
    rows = []
    with repeatable(device):
        for case in CASES:
            row = measure(*case, device, options.seconds, options.rounds)
            rows.append({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
            print(
                f"{row['model']:<9} {row['image']:<8} {row['batch']:>5} {row['ms_per_step']:>8.2f} "
                f"{row['images_per_second']:>9.0f} {row['bare_ms_per_step']:>8.2f} {row['ratio']:>9.2f}",
                flush=True,
            )
    record = {"device": describe(device), "machine": platform.machine(), "torch": torch.__version__, "rows": rows}
    name = re.sub(r"[^a-z0-9]+", "-", describe(device).lower()).strip("-")
    path = Path(__file__).parent / "results" / f"loop-{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {path.relative_to(Path(__file__).parent.parent)}")


if __name__ == "__main__":
    main()
