"""Networks of other kinds than the kit's own: for images [3, 8, 8] and 3 classes unless they say otherwise."""

import torch.nn.functional as F
from torch import nn

from tests.helpers.networks import Tied, TwoBranches


class Mixer(nn.Module):
    """Linear layers along the patches, then along the channels, as in MLP-Mixer."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, 4)
        self.norm = nn.LayerNorm(6)
        self.tokens, self.channels = nn.Linear(4, 4), nn.Linear(6, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.patches(x).flatten(2)
        x = x + F.gelu(self.tokens(x))
        x = x.transpose(1, 2)
        return self.head((x + F.gelu(self.channels(self.norm(x)))).mean(1))


class Recurrent(nn.Module):
    """Rows of an image one after the other."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.RNNCell(24, 5), nn.Linear(5, 3)

    def forward(self, x):
        state = x.new_zeros(len(x), 5)
        for row in x.permute(2, 0, 1, 3).flatten(2):
            state = self.cell(row, state)
        return self.head(state)


class Lstm(nn.Module):
    """torch's own, which vmap does not know."""

    def __init__(self):
        super().__init__()
        self.run, self.head = nn.LSTM(24, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.run(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])


class Permuted(nn.Module):
    """Dropout of what lies otherwise in memory where it is stacked."""

    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layer(x).mean(1))


def grouped():
    layers = (
        nn.Conv2d(3, 6, 3, padding=1),
        nn.GroupNorm(2, 6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.GroupNorm(3, 6),
    )
    return nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))


def transposed():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.ConvTranspose2d(4, 5, 3, 2), nn.Flatten(), nn.Linear(245, 3)
    )


def table():
    return nn.Sequential(nn.Linear(20, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))


def sequence():
    return nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 14, 3))


def backbone():
    model = TwoBranches((3, 8, 8), 3)
    for part in (model.wide, model.narrow, model.norm, model.left):
        part.requires_grad_(False)
    return model


def tied():
    model = Tied((3, 8, 8), 3)
    model.read.bias.requires_grad_(False)  # which no forward pass uses
    return model


def dropped():
    """Rows of 20 numbers, half of whose features are dropped as it trains."""
    return nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 3))


class TwoHeads(nn.Module):
    """Two tensors of scores for rows of 20 numbers."""

    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(20, 3), nn.Linear(20, 3)

    def forward(self, x):
        return self.one(x), self.other(x)
