"""Which vectors a network multiplies its weights with: of convolutions, Linear layers, and torch's attention, which reads a
layer's weight without calling the layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")


@dataclass(frozen=True)
class Product:
    """Rows of one weight times vectors.

    name: of the weight. rows: which of its rows. count: how many vectors, one for each position of the layer's output (in
    attention, each token) of each image. vectors: makes them, [groups, count, inputs], in the order of a row's weights; the
    rows of a grouped convolution fall into as many equal parts, and each is multiplied with its own. None for a transposed
    convolution, whose rows give sums that overlap; its count is that of the input's positions.
    """

    name: str
    rows: slice
    count: int
    vectors: Callable[[], Tensor] | None


class Products(TorchFunctionMode):
    """The context in which `see` is called with each product of one of these weights, given by name, once it is computed."""

    def __init__(self, weights: Mapping[str, Tensor], see: Callable[[Product], None]):
        self.names = {id(w): name for name, w in weights.items()}
        self.see = see

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        if function is F.linear:
            given = dict(zip(_ARGUMENTS, args)) | kwargs
            self._rows(given["weight"], given["input"])
        elif function in CONVOLUTIONS:
            given = dict(zip(_ARGUMENTS, args)) | kwargs
            weight = given["weight"]
            self._product(weight, out.numel() // len(weight), lambda: patches(**given))
        elif function in TRANSPOSED:
            given = dict(zip(_ARGUMENTS, args)) | kwargs  # the first two, whose order is the same
            self._product(given["weight"], given["input"].numel() // len(given["weight"]), None)
        elif function is F.multi_head_attention_forward:
            self._attention(function, signature(function).bind(*args, **kwargs).arguments)
        return out

    def _product(
        self, weight: Tensor | None, count: int, vectors: Callable[[], Tensor] | None, rows: slice = slice(None)
    ) -> None:
        if weight is not None and id(weight) in self.names:
            self.see(Product(self.names[id(weight)], slice(*rows.indices(len(weight))), count, vectors))

    def _rows(self, weight: Tensor | None, tokens: Tensor, rows: slice = slice(None)) -> None:
        width = tokens.shape[-1]
        self._product(weight, tokens.numel() // width, lambda: tokens.reshape(1, -1, width), rows)

    def _attention(self, function: Callable, given: dict) -> None:
        # in_proj_weight holds the projections of queries, keys and values one below the other; each has its own tokens
        width = given["embed_dim_to_check"]
        for i, (letter, tokens) in enumerate((("q", "query"), ("k", "key"), ("v", "value"))):
            self._rows(given.get(f"{letter}_proj_weight"), given[tokens])
            self._rows(given.get("in_proj_weight"), given[tokens], slice(i * width, (i + 1) * width))
        same = torch.eye(width, dtype=given["query"].dtype, device=given["query"].device)
        plain = given | {"out_proj_weight": same, "out_proj_bias": None}
        query = given["query"]
        self._product(
            given["out_proj_weight"], query.numel() // width, lambda: function(**plain)[0].reshape(1, -1, width)
        )


def patches(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """The vectors that a convolution with these arguments multiplies each filter with: [groups, images * positions,
    weights of a filter], in the order of a filter's weights. input: [images, channels, ...]."""
    sizes = weight.shape[2:]

    def each(value: int | Sequence[int]) -> list[int]:
        return [value] * len(sizes) if isinstance(value, int) else list(value) * (len(sizes) // len(value))

    steps, gaps = each(stride), each(dilation)
    if isinstance(padding, str):
        wide = [gap * (size - 1) if padding == "same" else 0 for size, gap in zip(sizes, gaps)]
        borders = [(total // 2, total - total // 2) for total in wide]
    else:
        borders = [(one, one) for one in each(padding)]
    x = F.pad(input, [n for border in reversed(borders) for n in border])
    for i, (size, step, gap) in enumerate(zip(sizes, steps, gaps)):
        x = x.unfold(2 + i, gap * (size - 1) + 1, step)[..., ::gap]
    # now [images, channels, *positions, *sizes]
    n = len(sizes)
    x = x.unflatten(1, (groups, -1)).movedim(1, 0).movedim(2, 2 + n)  # [groups, images, *positions, channels, *sizes]
    return x.reshape(groups, -1, weight[0].numel())
