"""A control: a random mask from the start, and training within it."""

from collections.abc import Sequence

from retrainlab.methods.knobs import Knobs
from retrainlab.methods.sparsifier import Span, random_masks
from retrainlab.training.masked import Masked
from retrainlab.training.method import Tensors


class Static(Masked):
    """Its mask is drawn when training begins."""

    def __init__(self, knobs: Knobs, span: Span):
        super().__init__({})
        self.knobs, self.span = knobs, span

    @classmethod
    def stacked(cls, methods: Sequence[Masked]) -> Masked:
        return Masked.stacked(methods)

    def begin(self, params: Tensors) -> Tensors:
        weights = {name: params[name] for name in self.span.prunable}
        masks = random_masks(weights, self.knobs.sparsity, self.knobs.allocation, self.span.seed)
        super().__init__(masks)
        return params | {name: params[name].masked_fill(~mask, 0) for name, mask in masks.items()}
