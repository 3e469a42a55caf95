"""From a method's settings to the method."""

from dataclasses import replace
from importlib import import_module

from retrainlab.methods.knobs import Knobs
from retrainlab.methods.sparsifier import Span
from retrainlab.methods.table import entry
from retrainlab.training.method import Method, Plain
from retrainlab.training.state import State


def make(knobs: Knobs | None, start: State, span: Span) -> tuple[Method, State]:
    """The method with these settings, and the state that its training starts from.

    knobs: None for dense training. start: the network, which stays as it is. Raises BadInput for settings that stand in
    no record of `methods.table`.
    """
    if knobs is None:
        return Plain(), start
    module, _, name = entry(knobs).maker.partition(":")
    method = getattr(import_module(f"retrainlab.methods.{module}"), name)(knobs, span)
    return method, replace(start, params=method.begin(start.params)).fresh_optimizer()
