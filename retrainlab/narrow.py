"""A layer that has lost inputs and outputs but stands where the whole one stood; how it is saved and built again."""

import copy

from torch import Tensor, nn

from retrainlab.chains import NORMS, is_depthwise
from retrainlab.checks import BadInput
from retrainlab.influence import LAYERS, axis_of
from retrainlab.training.method import Tensors

BUFFERS = ("read", "offset", "places", "constants")


class Narrow(nn.Module):
    """A smaller layer between what it is given and what is expected of it.

    read: places of the inputs that `layer` still has, [kept]. offset: what the others, which are constants, add to its
    output. places, constants: where its outputs stand, [kept], among numbers that no image changes, [all]. Each may be None.
    """

    def __init__(
        self,
        layer: nn.Module,
        read: Tensor | None = None,
        offset: Tensor | None = None,
        places: Tensor | None = None,
        constants: Tensor | None = None,
    ):
        super().__init__()
        self.layer, self.axis = layer, axis_of(layer)
        self.read: Tensor | None
        self.offset: Tensor | None
        self.places: Tensor | None
        self.constants: Tensor | None
        for name, buffer in zip(BUFFERS, (read, offset, places, constants)):
            self.register_buffer(name, buffer)

    @property
    def weight(self) -> Tensor:
        """The smaller layer's own, for networks that ask it for its type or device."""
        return self.layer.get_parameter("weight")

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x if self.read is None else x.index_select(self.axis, self.read))
        if self.offset is not None:
            x = x + self.offset
        if self.places is not None and self.constants is not None:
            size = list(x.shape)
            size[self.axis] = len(self.constants)
            among = self.constants if self.axis == -1 else self.constants.view(-1, *[1] * (x.dim() - 2))
            x = among.expand(size).index_copy(self.axis, self.places, x)
        return x


def resize(layer: nn.Module, tensors: Tensors) -> None:
    """Give a convolution, a Linear or a BatchNorm layer other tensors, by the names in its `state_dict`, and the sizes that
    belong to them."""
    for name, tensor in tensors.items():
        if name in layer._parameters:
            setattr(layer, name, nn.Parameter(tensor))
        else:
            setattr(layer, name, tensor)
    some = tensors["weight" if "weight" in tensors else "running_mean"]
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = some.shape
    elif isinstance(layer, NORMS):
        layer.num_features = len(some)
    elif isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        layer.groups = len(some) if is_depthwise(layer) else layer.groups
        layer.out_channels, layer.in_channels = len(some), some.shape[1] * layer.groups


def put(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another, wherever that one stands."""
    for name, module in list(model.named_modules(remove_duplicate=False)):
        if module is old:
            model.set_submodule(name, new)


def rebuilt(model: nn.Module, state: Tensors) -> nn.Module:
    """The small network that `state` is the `state_dict()` of, in evaluation mode.

    model: the network that it was made from, of which only the architecture counts. state: as torch or safetensors load it.
    Raises BadInput unless the tensors are of such a network, and all of them.
    """
    small = copy.deepcopy(model)
    for name, layer in list(small.named_modules()):
        if type(layer) in (*LAYERS, *NORMS):
            parts = {n.rpartition(".")[2]: t for n, t in state.items() if n.rpartition(".")[0] == name}
            inner = {n.rpartition(".")[2]: t for n, t in state.items() if n.rpartition(".")[0] == f"{name}.layer"}
            if inner:
                put(small, layer, Narrow(layer, *(parts.get(name) for name in BUFFERS)))
            if inner or parts:
                resize(layer, inner or parts)
    shapes = {n: t.shape for n, t in small.state_dict().items()}
    wrong = [n for n in {**shapes, **state} if n not in state or shapes.get(n) != state[n].shape]
    if wrong:
        raise BadInput(
            f"These tensors are not those of a smaller copy of this network: '{wrong[0]}' is missing, or not of it; give "
            "the state_dict of what `shrink` made of it, whole."
        )
    small.load_state_dict({n: t.clone() for n, t in state.items()}, assign=True)
    return small.eval()
