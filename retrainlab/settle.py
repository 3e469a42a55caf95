"""Bring the fields of a frozen dataclass to their declared types. This module does not load torch."""

from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import get_args, get_origin

from retrainlab.errors import BadInput


def settle(noun: object) -> None:
    """Bring every field to its declared type, so that equal settings are equal and hash alike (1 and 1.0, a list and a
    tuple, numpy's numbers); raise BadInput for what cannot be that type."""
    for f in fields(noun):
        value = _as(getattr(noun, f.name), f.type, f"{type(noun).__name__}'s {f.name}")
        object.__setattr__(noun, f.name, value)


def _as(value: object, kind: type, what: str) -> object:
    if isinstance(kind, UnionType):  # such as int | None
        kinds = get_args(kind)
        if value is None or is_dataclass(value) and isinstance(value, kinds):
            return value
        if is_dataclass(kinds[0]):
            names = ", ".join(f"{k.__name__}(...)" for k in kinds if k is not NoneType)
            raise BadInput(f"{what} is {value!r}, but must be one of {names}.")
        return _as(value, kinds[0], what)
    if get_origin(kind) is tuple:
        of, more = get_args(kind)
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            raise BadInput(f"{what} is {value!r}, but must be a list.")
        items = list(value)
        kinds = [of] * len(items) if more is Ellipsis else [of, more]
        if len(items) != len(kinds):
            raise BadInput(f"{what} has the entry {value!r}, but each entry must be a pair.")
        return tuple(_as(item, k, what) for item, k in zip(items, kinds))
    is_bool = isinstance(value, bool)
    if kind is bool and is_bool or kind not in (bool, int, float) and isinstance(value, kind):
        return value
    if kind is int and isinstance(value, Integral) and not is_bool:
        return int(value)
    if kind is float and isinstance(value, Real) and not is_bool:
        return float(value)
    words = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
    raise BadInput(f"{what} is {value!r}, but must be {words.get(kind, f'a {kind.__name__}')}.")
