"""What of a network no image can change, found with an image of NaN.

Every number that an image can influence is NaN then, by arithmetic alone: a sum or a product with NaN is NaN, even the
product with a weight of 0. So what stays finite is a constant, with exactly this value, whatever the architecture.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from retrainlab.checks import BadInput
from retrainlab.device import out_of_memory
from retrainlab.models import apart
from retrainlab.phrases import first_line

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
Calls = dict[str, list[Tensor]]
"""name of a layer -> what it was given at each call, [1, C, ...] for a convolution and [1, ..., C] for a Linear layer"""


def layers(model: nn.Module) -> dict[str, Layer]:
    """The convolutions and Linear layers of a network, by name; not of classes derived from them, nor with weights that are
    computed, which may do something else."""
    every = {n: m for n, m in model.named_modules() if n and isinstance(m, LAYERS)}
    return {n: m for n, m in every.items() if type(m) in LAYERS and "weight" in m._parameters}


@torch.no_grad()
def poisoned(model: nn.Module, shape: tuple[int, ...], edit: Callable[[Layer, Tensor], None]) -> Calls:
    """What each of `layers(model)` is given in evaluation mode if all pixels of the image are NaN.

    shape: (channels, height, width) of the image. edit: called with each layer and its output, which it may change in place.
    Raises BadInput for a network that takes no such image.
    """
    own = apart(model).eval()
    calls: Calls = {}

    def noted(name: str) -> Callable[[Layer, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: Layer, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls.setdefault(name, []).append(inputs[0].clone())
            edit(layer, output)

        return hook

    for name, layer in layers(own).items():
        layer.register_forward_hook(noted(name))
    image = next(own.parameters()).new_full((1, *shape), torch.nan)
    try:
        own(image)
    except Exception as error:  # whatever a network says to numbers or to a precision that it did not expect
        if out_of_memory(error):
            raise
        raise BadInput(
            f"In this {type(model).__qualname__} what no image changes cannot be found, for it takes no image of NaN in "
            f"{str(image.dtype).removeprefix('torch.')} ({first_line(error)}); keep it masked, and prune no neurons of it."
        ) from None
    return calls


def axis_of(layer: nn.Module) -> int:
    """Along which axis of its inputs and outputs a layer has its channels, or features."""
    return -1 if isinstance(layer, nn.Linear) else 1


def channels_of(layer: Layer, tensor: Tensor) -> Tensor:
    """What a layer is given, or gives, with the channels (of a Linear layer: features) first: [C, values]."""
    return tensor.movedim(axis_of(layer), 0).flatten(1)


def fixed(layer: Layer, inputs: Tensor) -> Tensor:
    """Which input channels are constants in a pass of `poisoned`; boolean [C]."""
    return channels_of(layer, inputs).isfinite().all(1)


def hidden(model: nn.Module, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the weights of Linear layers whose units are hidden: a unit whose weights are all 0 leaves a constant for
    a later layer to read, so that it can go from both.

    So are the layers of a perceptron but the last, and the first of the two in a transformer's feed-forward part. What is
    added to other features, normalised with them or given to attention is not. Only the architecture counts, and each layer
    is judged by its first unit. shape: (channels, height, width) of an image.
    """
    own = copy.deepcopy(model).cpu()  # whose arithmetic with NaN is known
    every = layers(own)
    before = _read(every, poisoned(own, shape, lambda layer, output: None))
    found = []
    for name, weight in own.named_parameters():
        if any(type(m) is nn.Linear and m.weight is weight for m in every.values()):

            def silence(layer: Layer, output: Tensor, weight: nn.Parameter = weight) -> None:
                if layer.weight is weight:
                    output[..., 0] = 0

            if _read(every, poisoned(own, shape, silence)) - before:
                found.append(name)
    return tuple(found)


def _read(every: dict[str, Layer], calls: Calls) -> set[tuple[str, int, int]]:
    """(layer, call, channel) of all constants that are read."""
    return {
        (name, call, int(channel))
        for name, given in calls.items()
        for call, inputs in enumerate(given)
        for channel in fixed(every[name], inputs).nonzero()
    }
