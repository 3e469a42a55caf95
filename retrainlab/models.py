"""Networks: build(name, ...) -> a plain nn.Module, which knows of no masks or methods.

CIFAR ResNets with option-A shortcuts (He et al. 2016), one of 8 layers for images as small as 8x8, ResNet-18 with a first
convolution for small images, VGG-16 with normalisation (Simonyan & Zisserman 2015), wide ResNet (Zagoruyko & Komodakis
2016), an MLP (LeNet-300-100), and torchvision's and timm's networks by name.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retrainlab import given, libraries
from retrainlab.checks import BadInput, choose, is_reference
from retrainlab.device import out_of_memory
from retrainlab.noise import Seeded, stream


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution with padding 1 and no bias."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


class MLP(nn.Module):
    """Three Linear layers: pixels, or inputs of any shape -> width -> width // 3 -> classes (300 and 100 as published)."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int):
        super().__init__()
        self.layer1 = nn.Linear(math.prod(shape), width)
        self.layer2 = nn.Linear(width, max(width // 3, 1))
        self.classifier = nn.Linear(max(width // 3, 1), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.layer2(F.relu(self.layer1(x.flatten(1))))))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: option A (subsample, pad with zero channels) or B (1x1 convolution)."""

    def __init__(self, inputs: int, outputs: int, stride: int, projection: bool):
        super().__init__()
        self.conv1, self.norm1 = conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv3x3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride, self.new_channels = stride, outputs - inputs
        self.shortcut: nn.Sequential | None = None
        if projection and (stride != 1 or inputs != outputs):
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride != 1 or self.new_channels:
            before = self.new_channels // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))
        return F.relu(x + y)


def _stages(
    block: Callable[[int, int, int], nn.Module], inputs: int, width: int, counts: Sequence[int]
) -> nn.Sequential:
    """Blocks (inputs, outputs, stride) one after the other; each stage but the first doubles width and halves resolution."""
    blocks = []
    for stage, count in enumerate(counts):
        for i in range(count):
            blocks.append(block(inputs, width * 2**stage, 2 if stage and not i else 1))
            inputs = width * 2**stage
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """A 3x3 convolution, stages of BasicBlocks, the mean of each map, one Linear layer."""

    def __init__(
        self, shape: tuple[int, int, int], classes: int, width: int, blocks: tuple[int, ...], projection: bool = False
    ):
        super().__init__()
        self.conv, self.norm = conv3x3(shape[0], width), nn.BatchNorm2d(width)
        self.blocks = _stages(partial(BasicBlock, projection=projection), width, width, blocks)
        self.classifier = nn.Linear(width * 2 ** (len(blocks) - 1), classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(F.relu(self.norm(self.conv(x)))).mean((2, 3)))


class VGG(nn.Module):
    """VGG-16 with normalisation: 13 convolutions, one Linear; pooling rounds up, so that small images pass."""

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int):
        super().__init__()
        layers, inputs = [], shape[0]
        for factor, count in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
            for _ in range(count):
                layers += [conv3x3(inputs, width * factor), nn.BatchNorm2d(width * factor), nn.ReLU()]
                inputs = width * factor
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class WideBlock(nn.Module):
    """Pre-activation block: norm, ReLU, convolution, twice; the shortcut of a changing shape starts after the ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), conv3x3(inputs, outputs, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), conv3x3(outputs, outputs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.norm1(x))
        y = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        return y + (x if self.shortcut is None else self.shortcut(activated))


class WideResNet(nn.Module):
    """WRN-28-k: 28 layers, stages of 16k, 32k and 64k channels, four blocks each, no dropout; k is the width."""

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int):
        super().__init__()
        self.conv = conv3x3(shape[0], 16)
        self.blocks = _stages(WideBlock, 16, 16 * width, (4, 4, 4))
        self.norm = nn.BatchNorm2d(64 * width)
        self.classifier = nn.Linear(64 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.norm(self.blocks(self.conv(x)))).mean((2, 3)))


NETWORKS: dict[str, tuple[Callable[..., nn.Module], int]] = {  # name -> (what makes it, published width)
    "mlp": (MLP, 300),
    "resnet8": (partial(ResNet, blocks=(1, 1, 1)), 16),
    "resnet20": (partial(ResNet, blocks=(3, 3, 3)), 16),
    "resnet56": (partial(ResNet, blocks=(9, 9, 9)), 16),
    "resnet18": (partial(ResNet, blocks=(2, 2, 2, 2), projection=True), 64),
    "vgg16": (VGG, 64),
    "wrn28-10": (WideResNet, 10),
}
_FIT: set[tuple] = set()  # arguments of networks that `build` has tried on images, which takes as long as to make one


def build(name: str, *, shape: tuple[int, ...], classes: int, width: int | None = None, seed: int = 0) -> nn.Module:
    """The network `name` for images of `shape` (channels, height, width), initialised from `seed`, on the CPU: ours as in
    He et al. 2015, others in their own way. Raises BadInput for an unknown name, a width that cannot be chosen, or
    images that the network cannot take."""
    with Seeded(stream(seed, "init").initial_seed()):
        model = _made(name, shape, classes, width)
        for module in model.modules() if name in NETWORKS else ():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if (kind := (name, shape, classes, width)) not in _FIT:
            check(model, name, shape, classes)
            _FIT.add(kind)
    return model


def _made(name: str, shape: tuple[int, ...], classes: int, width: int | None) -> nn.Module:
    """The network as torch, or a user's factory, initialises its layers."""
    if is_reference(name):
        return given.made(name, shape, classes, width)
    if len(shape) != 3 and name != "mlp":
        raise BadInput(f"The model '{name}' takes images, but an input has the shape {list(shape)}; choose 'mlp'.")
    if libraries.is_theirs(name):
        return libraries.made(name, shape, classes, width)
    make, published = NETWORKS[choose(name, NETWORKS, "model")]
    return make(shape, classes, width=width or published)


def check(model: nn.Module, name: str, shape: tuple[int, ...], classes: int) -> None:
    """Raise BadInput, with the cause, unless the network turns images of that shape into one score per class, in either
    mode. An error for lack of memory says nothing about the network and is raised as it is."""
    trial = copy.deepcopy(model)
    try:
        fault = _fault(trial, shape, classes)
    except Exception as error:
        if isinstance(error, BadInput) or out_of_memory(error):
            raise
        fault = _cause(trial.to("meta"), shape, classes, error)
    if fault:
        raise BadInput(f"The model '{name}' {fault}.")


def _fault(model: nn.Module, shape: tuple[int, ...], classes: int) -> str:
    """What is wrong with the network's output for two images, in words; empty if nothing. Raises what the network raises."""
    images = torch.zeros(2, *shape, device=next(model.parameters()).device)
    for training, moment in ((False, "in evaluation"), (True, "while it trains")):
        with torch.no_grad():
            scores = model.train(training)(images)
        if not isinstance(scores, Tensor):
            several = isinstance(scores, tuple | list | dict)
            names = getattr(scores, "_fields", scores if isinstance(scores, dict) else ())
            what = f"{len(scores)} outputs" if several else f"a {type(scores).__name__}"
            what += f" ({', '.join(map(str, names))})" if names else ""
            return f"gives {what} {moment}, but one tensor of scores is all that is trained here; choose another"
        if scores.shape != (2, classes):
            found = "x".join(map(str, scores.shape))
            return f"gives a tensor of {found} for 2 images {moment}, not scores of {classes} classes; choose another"
    return ""


def _cause(model: nn.Module, shape: tuple[int, ...], classes: int, error: Exception) -> str:
    """Why the network failed with `error` on images of `shape`: their size, if it takes larger ones; what is wrong with its
    output for those; or else the words of `error`. The network is on the meta device."""
    size = f"images of {'x'.join(map(str, shape))} (channels x height x width)"
    if len(shape) != 3:
        size = f"inputs of shape {list(shape)}"
    words = '"' + " ".join((str(error) or type(error).__name__).split())[:200].rstrip(".!") + '"'
    for side in (224, 299):
        usual = (shape[0], side, side)
        with suppress(Exception):
            if usual != shape:
                return _fault(model, usual, classes) or (
                    f"takes images of {'x'.join(map(str, usual))}, but fails on {size.removeprefix('images of ')} with "
                    f"{words}; give images of another size, or choose another"
                )
    return f"fails on {size} with {words}; choose another"


def state_dict(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's state_dict with these parameters and buffers in place of its own, copied to the CPU: a tied weight under
    each of its names, non-persistent buffers left out. tensors: by the names of named_parameters and named_buffers."""
    name_of = {id(t): name for name, t in [*model.named_parameters(), *model.named_buffers()]}
    own = model.state_dict(keep_vars=True)
    return {name: tensors[name_of[id(t)]].detach().to("cpu", copy=True) for name, t in own.items() if id(t) in name_of}


def apart(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares their tensors, so that no other thread sees the modes, settings and tensors that one
    puts into them for a while."""
    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The context in which the network is in training or in evaluation mode; after it each module has its own mode again."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


def skeleton(name: str, *, shape: tuple[int, ...], classes: int, width: int | None = None) -> nn.Module:
    """The network `name` on torch's meta device: layers, names and sizes, but no numbers and no memory taken."""
    if is_reference(name):  # a user's factory may look at numbers, or read them
        return build(name, shape=shape, classes=classes, width=width)
    try:
        with torch.device("meta"):
            return _made(name, shape, classes, width)
    except NotImplementedError:  # torchvision's regnets look at numbers while they are built
        return build(name, shape=shape, classes=classes, width=width)
