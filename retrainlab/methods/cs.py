"""Continuous sparsification: each weight has a gate, sigmoid(beta m) / sigmoid(s0), that hardens as beta grows.

Savarese, Silva & Maire 2020. m is learned beside w, without weight decay, under the penalty lambda times the sum of the
gates; beta grows exponentially from 1, once per epoch. At the end gates are open where m > 0 and closed elsewhere, and
only then is the network evaluated. The division by sigmoid(s0), in the gate and so in the penalty, is that of the
authors' code: training starts at the network's own weights. There is one round, without rewinding.
"""

import torch
from torch import Tensor

from retrainlab.methods.sparsifier import Sparsifier, over
from retrainlab.methods.table import CS
from retrainlab.training.method import Tensors


class Cs(Sparsifier[CS]):
    """State: beta, s0 and penalty (lambda), each of shape [M]. Learned besides: m, as `WEIGHT:gate`."""

    def _begin(self, w: Tensors) -> Tensors:
        knobs, some = self.each[0][0], next(iter(w.values()))
        values = {"beta": 1.0, "s0": knobs.s0, "penalty": knobs.penalty}
        self.tensors = {name: some.new_tensor([value]) for name, value in values.items()}
        return {f"{n}:gate": torch.full_like(t, knobs.s0) for n, t in w.items()}

    def _gate(self, m: Tensor) -> Tensor:
        return torch.sigmoid(over(self.tensors["beta"], m) * m) * self._scale(m)

    def _scale(self, like: Tensor) -> Tensor:
        return over(1 / torch.sigmoid(self.tensors["s0"]), like)

    def _effective(self, w: Tensors) -> Tensors:
        return {n: w[n] * self._gate(w[f"{n}:gate"]) for n in self.prunable if f"{n}:gate" in w}

    def _penalty(self, w: Tensors) -> Tensor:
        return self.tensors["penalty"] * sum(self._gate(w[f"{n}:gate"]).flatten(1).sum(1) for n in self.prunable)

    def _after_epoch(self, w: Tensors, epoch: int) -> None:
        betas = [k.final_beta ** min(1.0, (epoch + 1) / max(1, span.epochs - 1)) for k, span in self.each]
        self.tensors["beta"].copy_(torch.tensor(betas, dtype=torch.float64))

    def _finish(self, w: Tensors) -> None:
        for n in self.prunable:
            w[n].mul_((w[f"{n}:gate"] > 0) * self._scale(w[n]))
