"""Global sparse momentum SGD: only the weights that matter most now get a gradient, the others decay towards zero.

Ding et al. 2019. In each step the (1-S)N prunable weights of largest |w dL/dw| get their gradient; weight decay and
momentum (the recipe's) act on all. Parameters that are never pruned train as usual. The weights that have decayed are
pruned by magnitude after the training (`Prune`). The source starts from a trained network; here training starts from
scratch, as for every method.
"""

from retrainlab.methods.sparsifier import Sparsifier, keep_largest
from retrainlab.methods.table import GSM
from retrainlab.training.method import Tensors


class Gsm(Sparsifier[GSM]):
    """No state."""

    def _edit(self, w: Tensors, g: Tensors) -> Tensors:
        scores = {n: (w[n] * g[n]).abs() for n in self.prunable}
        masks = keep_largest(scores, [knobs.sparsity for knobs, _ in self.each])
        return {n: g[n] * mask for n, mask in masks.items()}
