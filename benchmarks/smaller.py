"""How much faster is the network that is left of whole filters or neurons, beside what its multiply-adds promise?

    python benchmarks/smaller.py [--device auto] [--sparsity 0.5] [--repeats 15]

Prints a row for each network: multiply-adds dense over those left, and forward passes in milliseconds of the masked network
and of the smaller one, measured in turn, for one image and for 64. Weights are random, and so is what goes.
"""

import argparse
from collections.abc import Iterator

import torch

from retrainlab import metrics, pruning, shrink
from retrainlab.config import Prune
from retrainlab.device import describe, resolve
from retrainlab.influence import hidden
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.noise import stream
from retrainlab.training.masked import zeroed

CASES = (
    ("mlp", (1, 28, 28), "neurons"),
    ("resnet8", (1, 8, 8), "filters"),
    ("resnet20", (3, 32, 32), "filters"),
    ("resnet18", (3, 32, 32), "filters"),
    ("vgg16", (3, 32, 32), "filters"),
    ("torchvision/mobilenet_v2", (3, 64, 64), "filters"),
    ("torchvision/vgg11", (3, 64, 64), "neurons"),
    ("torchvision/vit_b_32", (3, 224, 224), "neurons"),
)
"""(network, shape of its images, structure)"""


def row(case: tuple[str, tuple[int, int, int], str], sparsity: float, device: torch.device, repeats: int) -> list[str]:
    """The cells of one network's row."""
    name, shape, structure = case
    model = build(name, shape=shape, classes=10).to(device)
    params, buffers = {n: p.detach() for n, p in model.named_parameters()}, dict(model.named_buffers())
    weights = {n: params[n] for n in prunable(model)}
    units = {n for n, w in weights.items() if w.dim() == 4} if structure == "filters" else set(hidden(model, shape))
    generator = stream("smaller", name)
    scores = {n: torch.rand(len(w), generator=generator).to(device) for n, w in weights.items() if n in units}
    masks = pruning.prune(weights, scores, Prune(sparsity, allocation="uniform", structure=structure), sparsity)
    small = shrink.shrink(model, params, buffers, masks, shape).network
    both = [
        (model, zeroed(params, masks), buffers),
        (small, dict(small.named_parameters()), dict(small.named_buffers())),
    ]
    executed = [shrink.executed(network, shape) for network, _, _ in both]
    cells = [name, structure, f"{executed[0] / executed[1]:.2f}"]
    for count in (1, 64):
        images = torch.randn(count, *shape, generator=generator).to(device)
        times = [min(metrics.latency(*network, images, repeats) for _ in range(2)) for network in both]
        cells += [f"{1e3 * t:.2f}" for t in times] + [f"{times[0] / times[1]:.2f}"]
    return cells


def table(sparsity: float, device: torch.device, repeats: int) -> Iterator[str]:
    """The table's lines, each as soon as it is measured."""
    yield f"{describe(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    yield f"{sparsity:.0%} of the filters or neurons removed\n"
    head = [
        "network",
        "structure",
        "multiply-adds",
        "ms, 1 image",
        "smaller",
        "times",
        "ms, 64 images",
        "smaller",
        "times",
    ]
    yield from ("| " + " | ".join(head) + " |", "|---" * len(head) + "|")
    for case in CASES:
        yield "| " + " | ".join(row(case, sparsity, device, repeats)) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    for line in table(given.sparsity, resolve(given.device), given.repeats):
        print(line, flush=True)
