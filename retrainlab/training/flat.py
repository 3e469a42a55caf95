"""One buffer [M, P] for all parameters of M members, of which the tensors by name are views: what is done to each entry
alike, such as a step of SGD, is then a few operations and not a few for each tensor.

Within a member's row each tensor lies in the order of memory that `layout.laid_out` gives it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from retrainlab.training.layout import as_used, in_memory
from retrainlab.training.method import Tensors


@dataclass(frozen=True, eq=False)
class Flat:
    """buffer: [M, P]. views: tensors [M, ...] by name, parts of the buffer. ends: where in a row each ends, in the order in
    which they lie."""

    buffer: Tensor
    views: Tensors
    ends: dict[str, int]

    @staticmethod
    def of(tensors: Mapping[str, Tensor], order: Sequence[str]) -> "Flat":
        """Copies of stacked tensors, all of one dtype, that lie in this order; `views` has that of `tensors`."""
        shapes = {name: in_memory(t).shape for name, t in tensors.items()}
        ends = dict(zip(order, accumulate(shapes[name][1:].numel() for name in order)))
        some = tensors[order[0]]
        buffer = torch.empty(len(some), ends[order[-1]], dtype=some.dtype, device=some.device)
        rows = {name: buffer[:, ends[name] - shape[1:].numel() : ends[name]] for name, shape in shapes.items()}
        flat = Flat(buffer, {name: as_used(row.view(shapes[name])) for name, row in rows.items()}, ends)
        flat.fill({name: t.detach() for name, t in tensors.items()})
        return flat

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors, one for each view, into the buffer."""
        torch.cat([in_memory(tensors[name]).reshape(len(self.buffer), -1) for name in self.ends], 1, out=self.buffer)

    def length(self, names: Iterable[str]) -> int:
        """How many entries of a row the tensors take up to the last of these."""
        return max((self.ends[name] for name in names), default=0)
