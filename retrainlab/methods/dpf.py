"""Dynamic pruning with feedback: the gradient is taken at the pruned weights and given to the dense ones.

Lin, Stich, Barba, Dmitriev & Jaggi 2020. Masks are made anew on GMP's curve, and every weight keeps its dense value,
whatever the mask, so that it may come back at the next update. At the end the network is pruned once more, because the
last mask may be `interval` - 1 iterations old.
"""

from retrainlab.methods.gmp import Gmp
from retrainlab.methods.sparsifier import straight_through
from retrainlab.training.method import Tensors


class Dpf(Gmp):
    """Masks are free to change; the parameters are dense until `finish`."""

    nested = False

    def _effective(self, w: Tensors) -> Tensors:
        return {n: straight_through(w[n], w[n] * mask) for n, mask in self.tensors.items()}
