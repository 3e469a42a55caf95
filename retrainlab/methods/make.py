"""From a method's settings to the method: the one place that knows them all."""

from dataclasses import replace

from retrainlab.methods import knobs
from retrainlab.methods.cs import Cs
from retrainlab.methods.dnw import Dnw
from retrainlab.methods.dpf import Dpf
from retrainlab.methods.dst import Dst
from retrainlab.methods.gmp import Gmp
from retrainlab.methods.gsm import Gsm
from retrainlab.methods.lc import Lc
from retrainlab.methods.rigl import Rigl
from retrainlab.methods.sparsifier import Span, random_masks
from retrainlab.methods.str_ import Str
from retrainlab.training import masked
from retrainlab.training.method import Method, Plain
from retrainlab.training.state import State

SPARSIFIERS = {
    knobs.GMP: Gmp,
    knobs.GSM: Gsm,
    knobs.DPF: Dpf,
    knobs.DNW: Dnw,
    knobs.CS: Cs,
    knobs.STR: Str,
    knobs.DST: Dst,
    knobs.LC: Lc,
    knobs.RigL: Rigl,
}


def make(settings: knobs.Knobs | None, start: State, span: Span) -> tuple[Method, State]:
    """The method of these settings (dense training for None), and what its training starts from, given the network."""
    if settings is None:
        return Plain(), start
    if isinstance(settings, knobs.Static):
        weights = {name: start.params[name] for name in span.prunable}
        masks = random_masks(weights, settings.sparsity, settings.allocation, span.seed)
        return masked.Masked(masks), masked.apply(start.fresh_optimizer(), masks)
    method = SPARSIFIERS[type(settings)](settings, span)
    return method, replace(start, params=method.begin(start.params)).fresh_optimizer()
