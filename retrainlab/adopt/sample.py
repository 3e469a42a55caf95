"""A small network for small images: what a factory looks like, and where the explorer of own networks starts."""

from torch import nn


def network(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Two convolutions and a Linear layer, for images of shape (channels, height, width), each side at least 4."""
    side = shape[1] // 4, shape[2] // 4
    return nn.Sequential(
        *(nn.Conv2d(shape[0], 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(32 * side[0] * side[1], classes)),
    )
