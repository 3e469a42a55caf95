"""Small networks of many architectures, with nothing left as it was initialised."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TwoBranches(nn.Module):
    """Two convolutions side by side, concatenated; a third whose output is added to a fourth's; then a hidden layer."""

    def __init__(self, shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.wide = nn.Conv2d(shape[0], 6, 5, padding=2)
        self.narrow = nn.Conv2d(shape[0], 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(11)
        self.left = nn.Conv2d(11, 8, 3, padding=1)
        self.right = nn.Conv2d(11, 8, 1)
        self.hidden = nn.Linear(8 * (shape[1] // 2) * (shape[2] // 2), 12)
        self.classifier = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.cat([F.relu(self.wide(x)), torch.tanh(self.narrow(x))], 1))
        x = F.max_pool2d(F.relu(self.left(x) + self.right(x)), 2)
        return self.classifier(F.silu(self.hidden(x.flatten(1))))


class Shuffled(nn.Module):
    """Half of the channels pass by a depthwise block, then all are shuffled, as in ShuffleNet."""

    def __init__(self, shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.stem = nn.Conv2d(shape[0], 8, 3, padding=1)
        self.point = nn.Conv2d(4, 4, 1)
        self.depth = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(4)
        self.last = nn.Conv2d(8, 6, 1)
        self.classifier = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        a, b = F.relu(self.stem(x)).chunk(2, 1)
        x = torch.cat([a, self.norm(self.depth(F.relu(self.point(b))))], 1)
        x = x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        return self.classifier(F.relu(self.last(x)).mean((2, 3)))


class Rotated(nn.Module):
    """Turns pairs of features by angles, as rotary embeddings do, which are complex numbers in a buffer; asks a
    layer for the type of its weight."""

    def __init__(self, shape, classes):
        super().__init__()
        self.first, self.second = nn.Linear(math.prod(shape), 8), nn.Linear(8, 6)
        self.classifier = nn.Linear(6, classes)
        self.register_buffer("angles", torch.polar(torch.ones(4), torch.arange(4.0)))

    def forward(self, x):
        turned = torch.view_as_complex(self.first(x.flatten(1)).unflatten(1, (4, 2))) * self.angles
        return self.classifier(self.second(torch.view_as_real(turned).flatten(1).type_as(self.second.weight)).relu())


class Untraceable(nn.Module):
    """A perceptron whose path depends on the shape of its images, which torch.fx cannot follow."""

    def __init__(self, shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.first = nn.Linear(shape[0] * shape[1] * shape[2], 10)
        self.second = nn.Linear(10, 9)
        self.classifier = nn.Linear(9, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.flatten(1)))
        x = F.relu(self.second(x if len(x) < 10**6 else x / 2))
        return self.classifier(x)


class Looking(Untraceable):
    """A perceptron whose path depends on the numbers that it computes."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x.flatten(1)))
        x = F.relu(self.second(x if float(x.detach().abs().max()) < 1e9 else x / 2))
        return self.classifier(x)


class Classifier(nn.Module):
    """Convolutions, pooling to 2x2 and a classifier of three layers with dropout, as torchvision's VGG and AlexNet."""

    def __init__(self, shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(shape[0], 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 7, 3, padding=1), nn.ReLU()),
        )
        self.pool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            *(nn.Linear(28, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 10), nn.ReLU(), nn.Dropout()),
            nn.Linear(10, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


class Tied(nn.Module):
    """A layer that is used twice, two layers with one weight, and one that is read, but not called."""

    def __init__(self, shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.first = nn.Linear(shape[0] * shape[1] * shape[2], 8)
        self.twice = nn.Linear(8, 8)
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)
        self.other.weight = self.one.weight
        self.read = nn.Linear(8, 8)
        self.classifier = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.twice(F.relu(self.twice(F.relu(self.first(x.flatten(1)))))))
        x = F.relu(self.other(F.relu(self.one(x))))
        return self.classifier(F.relu(F.linear(x, self.read.weight)))


class Depthwise(nn.Module):
    """Two inverted residual blocks, as in MobileNetV2."""

    def __init__(self, shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(shape[0], 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU6(inplace=True)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                *(nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU6(inplace=True)),
                *(nn.Conv2d(12, 12, 3, 1, 1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6(inplace=True)),
                *(nn.Conv2d(12, 6, 1, bias=False), nn.BatchNorm2d(6)),
            )
            for _ in range(2)
        )
        self.classifier = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.classifier(x.mean((2, 3)))


class Tokens(nn.Module):
    """Patches to which their places are added, so that constants differ between positions; then Linear layers."""

    def __init__(self, shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.patches = nn.Conv2d(shape[0], 8, 4, 4)
        self.places = nn.Parameter(torch.zeros(1, (shape[1] // 4) * (shape[2] // 4), 8))
        self.first, self.second = nn.Linear(8, 10), nn.Linear(10, 8)
        self.classifier = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.classifier((x + self.second(F.gelu(self.first(x)))).mean(1))


class Encoder(nn.Module):
    """Patches, then torch's own encoder layer, which reads the weights of its layers itself where that is faster."""

    def __init__(self, shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.patches = nn.Conv2d(shape[0], 8, 4, 4)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=True)
        self.classifier = nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def transformer(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A small vision transformer of torchvision."""
    from torchvision.models import VisionTransformer

    sizes = dict(image_size=shape[1], patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12)
    return VisionTransformer(num_classes=classes, **sizes)


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The network with random biases and normalisation, and no weight that is 0 as its head may be at the start."""
    generator = torch.Generator().manual_seed(seed)

    def normal(t: Tensor) -> Tensor:
        return torch.randn(t.shape, generator=generator).to(t)

    with torch.no_grad():
        for name, t in [*model.named_parameters(), *model.named_buffers()]:
            if not t.is_floating_point():
                continue
            if "running_var" in name:
                t.copy_(0.5 + normal(t).abs())
            elif t.dim() < 2 and name.endswith("weight"):
                t.copy_(0.7 + 0.3 * normal(t).abs())
            elif t.dim() < 2 or not t.any():
                t.copy_(0.3 * normal(t))
            else:
                t.mul_(1.5)  # so that images still matter to scores if half of the rows are gone
    return model
