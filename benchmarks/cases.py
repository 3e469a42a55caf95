"""What is trained to be measured: networks, random images of a size, a batch size."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from retrainlab.config import Prune, Recipe
from retrainlab.data.dataset import Dataset, Split
from retrainlab.data.reading import Augmentation
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.noise import stream
from retrainlab.training import cycles, masked
from retrainlab.training.state import Job, Setup, State

SPARSITY = 0.9
EPOCH = 64  # batches on a CPU: long enough for the workers of a DataLoader to reach their pace
CIFAR = (45_000, 5_000, 10_000)  # images to train, validate and test on; the first is the epoch on a GPU
FEW = 64


@lru_cache(maxsize=1)
def images(shape: tuple[int, int, int], counts: tuple[int, int, int], device: str) -> Dataset:
    """Random images of 10 classes, `counts` to train, validate and test on: speed does not depend on what they show."""
    generator = stream("benchmark")
    some = torch.randint(0, 256, (512, *shape), generator=generator, dtype=torch.uint8).to(device)
    labels = torch.randint(0, 10, (512,), generator=generator).to(device)

    def split(count: int) -> Split:
        index = torch.arange(count, device=device) % len(some)
        return Split(some[index], labels[index])

    ones = torch.ones(shape[0], device=device)
    augmentation = Augmentation(shape[1] // 8, shape[1] > 8)
    return Dataset("random", *map(split, counts), 10, 127 * ones, 74 * ones, augmentation)


@dataclass(frozen=True)
class Case:
    """A network, its images (channels, height, width) and a batch size."""

    model: str
    shape: tuple[int, int, int]
    batch: int
    width: int | None = None

    def __str__(self) -> str:
        width = "" if self.width is None else f" of width {self.width}"
        return f"{self.model}{width}, {'x'.join(map(str, self.shape))}, batch {self.batch}"

    def setup(self, device: torch.device, precision: str = "float32", validation: int = FEW) -> Setup:
        """An untrained network, and random images: few to validate on unless said otherwise."""
        count = CIFAR[0] if device.type == "cuda" else max(EPOCH * self.batch, 512)
        data = images(self.shape, (count, validation, FEW), str(device))
        model = build(self.model, shape=self.shape, classes=10, width=self.width).to(device)
        return Setup(model, data, Recipe().sgd, self.batch, prunable(model), precision=precision)

    def jobs(self, setup: Setup, members: int, steps: int, on_point=None) -> list[Job]:
        """Members that start as the same pruned network and differ in their learning rates."""
        state = State.of(setup.model, setup.data.device)
        masks = cycles.prune_state(setup, state, Prune(SPARSITY), 0, 0)
        state = masked.apply(state, masks)
        rates = [torch.full((steps,), 1e-3 * (1 + i), dtype=torch.float64) for i in range(members)]
        return [Job(state, r, ("benchmark",), masked.Masked(masks), evaluations=1, on_point=on_point) for r in rates]


NETWORKS = ("resnet20", "resnet56", "resnet18", "vgg16", "wrn28-10")
CASES = {"cpu": [Case("resnet8", (1, 8, 8), 32)], "cuda": [Case(n, (3, 32, 32), 128) for n in NETWORKS]}
SCALING = {
    "cpu": {
        "width": [Case("resnet8", (1, 8, 8), 32, w) for w in (4, 8, 16, 32)],
        "depth": [Case(m, (1, 8, 8), 32, 16) for m in ("mlp", "resnet8", "resnet20", "resnet56")],
        "batch": [Case("resnet8", (1, 8, 8), b) for b in (16, 32, 128)],
        "image": [Case("resnet8", (c, s, s), 128) for c, s in ((1, 8), (1, 28), (3, 32))],
    },
    "cuda": {
        "width": [Case("resnet20", (3, 32, 32), 128, w) for w in (4, 64)],
        "depth": CASES["cuda"][:2],
        "batch": [Case("resnet20", (3, 32, 32), b) for b in (32, 512)],
    },
}
