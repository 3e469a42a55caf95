"""A control: a random mask from the start, and training within it."""

from retrainlab.methods.sparsifier import Span, random_masks
from retrainlab.methods.table import Static as Knobs
from retrainlab.training.masked import Masked
from retrainlab.training.method import Tensors


class Static(Masked):
    """Draws its masks when training begins."""

    def __init__(self, knobs: Knobs, span: Span):
        super().__init__({})
        self.knobs, self.span = knobs, span

    def begin(self, params: Tensors) -> Tensors:
        weights = {name: params[name] for name in self.span.prunable}
        super().__init__(random_masks(weights, self.knobs.sparsity, self.knobs.allocation, self.span.seed))
        return super().begin(params)
