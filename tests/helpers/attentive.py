"""A tiny network with both kinds of torch's attention, for images of three classes."""

import torch
from torch import Tensor, nn


class Attentive(nn.Module):
    """Patches of 4x4 pixels and a class token attend to themselves; then the token alone looks at the raw patches."""

    def __init__(self, channels: int = 3, width: int = 8, classes: int = 3):
        super().__init__()
        raw = 16 * channels
        self.patches = nn.Conv2d(channels, width, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.among = nn.MultiheadAttention(width, 2, batch_first=True)
        self.looks = nn.MultiheadAttention(width, 2, kdim=raw, vdim=raw, batch_first=True)
        self.raw = nn.Unfold(4, stride=4)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), self.patches(x).flatten(2).transpose(1, 2)], 1)
        tokens = tokens + self.among(tokens, tokens, tokens, need_weights=False)[0]
        raw, first = self.raw(x).transpose(1, 2), tokens[:, :1]
        return self.head((first + self.looks(first, raw, raw, need_weights=False)[0]).flatten(1))
