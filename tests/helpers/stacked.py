"""Networks, tensors and images of several members, and what each member gives alone."""

import torch
from torch import nn
from torch.func import functional_call

from retrainlab.models import in_mode

MEMBERS = 3


class Net(nn.Module):
    """Layers by name, and a forward pass written as a function of them and the images."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.own = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.own(self, x)


def conv(inputs, outputs, kernel=3, **more):
    return nn.Conv2d(inputs, outputs, kernel, **more)


def line(features):
    return nn.Linear(features, 3)


def row(shape, *layers):
    """The layers one after the other, and a classifier, for images of `shape`."""
    body = nn.Sequential(*layers).eval()
    features = body(torch.zeros(2, *shape)).flatten(1).shape[1]
    return nn.Sequential(*layers, nn.Flatten(), line(features))


def tensors(model, members=MEMBERS):
    """Parameters and buffers [M, ...] of which no two members' are alike."""

    def several(t):
        if not t.is_floating_point():
            return torch.arange(members)
        return t.detach() + 0.3 * torch.rand(members, *t.shape, dtype=t.dtype)

    params = {name: several(p).requires_grad_(True) for name, p in model.named_parameters()}
    return params, {name: several(b) for name, b in model.named_buffers()}


def images_of(shape, own, members=MEMBERS, count=4):
    return torch.randn(*((members,) if own else ()), count, *shape, dtype=torch.float64)


def one_by_one(model, params, buffers, images):
    """Scores [M, B, K], each member alone; buffers change."""
    out = []
    for i in range(len(next(iter(params.values())))):
        own = {name: b[i].clone() for name, b in buffers.items()}
        seen = images[i] if images.dim() == 5 else images
        out.append(functional_call(model, ({name: p[i] for name, p in params.items()}, own), (seen.clone(),)))
        for name, b in own.items():
            buffers[name][i] = b
    return torch.stack(out)


def gradients(scores, params):
    weights = torch.linspace(-1, 1, scores.numel(), dtype=scores.dtype).view_as(scores)
    return torch.autograd.grad((scores * weights).sum(), list(params.values()))


def assert_alike(model, forward, shape, own, training=True, members=MEMBERS):
    params, buffers = tensors(model, members)
    images = images_of(shape, own, members)
    wanted_buffers = {name: b.clone() for name, b in buffers.items()}
    with in_mode(model, training):
        wanted = one_by_one(model, params, wanted_buffers, images)
        scores = forward(params, buffers, images)
    torch.testing.assert_close(scores, wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients(scores, params), gradients(wanted, params), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(buffers, wanted_buffers, rtol=1e-10, atol=1e-10)
