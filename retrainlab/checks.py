"""What refuses bad input: the errors, each of which is one sentence for the user; checks of names and numbers; and `settle`,
which brings values to their declared types."""

import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import Field, field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from itertools import repeat
from numbers import Integral, Real
from types import GenericAlias, NoneType, UnionType
from typing import Any, get_args, get_origin

Bound = float | None
WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}


class _Sentence:
    """An exception whose sentence says all: a notebook shows it without a stack trace."""

    def _render_traceback_(self) -> list[str]:  # IPython's hook
        return [f"retrainlab: {self}"]


class BadInput(_Sentence, ValueError):
    """Raised before any work starts. The CLI prints its sentence and exits with 2."""


class Stopped(_Sentence, KeyboardInterrupt):
    """A study was stopped by the user; its sentence says what is kept. The CLI exits with 130."""


class Failed(_Sentence, RuntimeError):
    """Some of what was asked could not be made; its sentences say what, and what is kept. The CLI exits with 1."""


class WorkerDied(Failed):
    """A worker ended for lack of memory, or without a word; its sentence says what is kept. The CLI exits with 1."""


def choose(name: str, allowed: Iterable[str], what: str, more: str = "") -> str:
    """Return `name` if it is allowed.

    what: the kind of thing that it names, for the error; more: what is allowed besides, in words.
    Raises BadInput, with the nearest allowed name.
    """
    allowed = list(allowed)
    if name in allowed:
        return name
    lower = {a.lower(): a for a in allowed}
    near = get_close_matches(str(name).lower(), lower, n=1, cutoff=0.5)
    hint = f"did you mean '{lower[near[0]]}'? " if near else ""
    raise BadInput(f"There is no {what} '{name}': {hint}Allowed: {', '.join([*allowed, *([more] if more else [])])}.")


def shortened(names: Sequence[str], most: int) -> str:
    """The first `most` of the names, and how many more there are: `a, b, and 3 more`."""
    more = [f"and {len(names) - most:,} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def check_number(
    value: Any, what: str, *, above: Bound = None, low: Bound = None, high: Bound = None, whole: bool = False
) -> None:
    """Raise BadInput unless `value` is a finite number with `above` < value and `low` <= value <= `high`, where given.

    what: its name in the error; whole: whether it must be a whole number.
    """
    kind, usual = (Integral, int) if whole else (Real, float)  # of which the latter is soon told
    try:
        good = type(value) is usual or isinstance(value, kind) and not isinstance(value, bool)
        good = good and math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        good = False
    good = good and (above is None or value > above)
    good = good and (low is None or value >= low) and (high is None or value <= high)
    if not good:
        bounds = [("above", above), ("at least", low), ("at most", high)]
        words = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        raise BadInput(f"The {what} is {value!r}, but must be {WORDS[int if whole else float]}{words and ' '}{words}.")


def told(default: object, help: str) -> Any:
    """A dataclass's field with its help text, which the command line shows."""
    return field(default=default, metadata={"help": help})


def number(
    default: Any, help: str = "", what: str = "", *, above: Bound = None, low: Bound = None, high: Bound = None
) -> Any:
    """A field that `settle` holds to these bounds, or each entry of a tuple, unless it is None. what: its name in errors;
    the field's if empty."""
    metadata = {"help": help, "what": what, "bounds": {"above": above, "low": low, "high": high}}
    return field(default=default, metadata=metadata)


def choice(default: Any, allowed: Collection[str], what: str = "", help: str = "", reference: bool = False) -> Any:
    """A field that `settle` holds to one of `allowed`, or each entry of a tuple. what: as of `number`; help: the list of the
    allowed if empty; reference: whether `package.module:name` is allowed, too."""
    metadata = {"help": help or ", ".join(allowed), "what": what, "allowed": allowed}
    return field(default=default, metadata=metadata | ({"reference": REFERENCE} if reference else {}))


REFERENCE = "a reference to your own, such as package.module:name"
_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_reference(name: object) -> bool:
    """Whether a text has the form `package.module:name`; nothing is imported."""
    return isinstance(name, str) and ":" in name and _REFERENCE.fullmatch(name) is not None


def settle(noun: Any, whose: str = "") -> None:
    """Bring every field of a dataclass to its declared type, so that equal settings are equal and hash alike (1 and 1.0,
    a list and a tuple, numpy's numbers), and hold it to what `number` or `choice` asks of it.

    whose: stands before a number's name in a sentence. Raises BadInput for the first field that does not fit.
    """
    every, held = _fields(noun.__class__)
    for f in every:
        if type(value := getattr(noun, f.name)) is not f.type or f.type is float:
            value = settled(value, f.type, f"{type(noun).__name__}'s {f.name}")
            object.__setattr__(noun, f.name, value)
    for f in held:
        _hold(f, getattr(noun, f.name), whose)


@cache
def _fields(kind: type) -> tuple[Sequence[Field], Sequence[Field]]:
    """The fields of a dataclass, and those of them that are held to what `number` or `choice` asks."""
    return fields(kind), [f for f in fields(kind) if "allowed" in f.metadata or "bounds" in f.metadata]


def fitting(f: Field, value: object) -> Any:
    """A value for a dataclass's field, as `settle` would leave it there. Raises BadInput."""
    value = settled(value, f.type, "It")
    _hold(f, value)
    return value


def _hold(f: Field, value: object, whose: str = "") -> None:
    """Raise BadInput unless a value of the field's type is what `number` or `choice` asks of it."""
    if "allowed" not in f.metadata and "bounds" not in f.metadata:
        return
    what = f.metadata.get("what") or f.name
    for one in value if isinstance(value, tuple) else (value,):
        if "allowed" in f.metadata:
            more = f.metadata.get("reference", "")
            if one not in f.metadata["allowed"] and not (more and is_reference(one)):
                choose(one, f.metadata["allowed"], what, more)
        elif one is not None:
            check_number(one, whose + what, **f.metadata["bounds"], whole=int in (f.type, *get_args(f.type)))


def parameters(names: dict[str, Any]) -> None:
    """Bring a notebook's parameters to the types that their cell declares: call it with `globals()`.

    Raises BadInput for what cannot be that type.
    """
    for name, kind in names.get("__annotations__", {}).items():
        names[name] = settled(names[name], kind, f"The parameter {name}")


def listed(value: object, of: Any, what: str) -> list:
    """A list of what is in `value`, each brought to the type `of`; one number or name is a list of one. Raises BadInput, as
    `settled` does."""
    return settled(value, GenericAlias(list, (of,)), what)


def settled(value: object, kind: Any, what: str) -> Any:
    """Return `value` as the type `kind`: arrays and series as lists, one thing where a list is meant as a list of one, a
    path as a text with a slash in it.

    kind: bool, int, float, str, a dataclass, or a list, tuple or union of these; what: its name in the error.
    Raises BadInput for all else: a text where a number is meant, None, a set (which has no order).
    """
    try:
        return _as(value, kind)
    except _Unfit as error:
        raise BadInput(f"{what} {error}.") from None


class _Unfit(Exception):
    """What is wrong with a value, in words that follow its name."""


def plain(value: Any) -> Any:
    """numpy's, pandas' and torch's numbers and arrays as Python's numbers and lists; all else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _as(value: object, kind: Any) -> object:
    if type(value) is float and kind is float:
        return value + 0.0  # -0.0 is 0.0
    if type(value) is kind:
        return value
    value = plain(value)
    if isinstance(kind, UnionType):  # such as int | None
        kinds = [k for k in get_args(kind) if k is not NoneType]
        if value is None and NoneType in get_args(kind) or is_dataclass(value) and isinstance(value, tuple(kinds)):
            return value
        for other in kinds:
            if not is_dataclass(other):
                with suppress(_Unfit):
                    return _as(value, other)
    elif get_origin(kind) is list:
        return _items(value, kind)
    elif get_origin(kind) is tuple:
        return tuple(_items(value, kind))
    elif kind is float and not isinstance(value, bool) and isinstance(value, Real):
        with suppress(OverflowError):
            return float(value) + 0.0
    elif kind is int and not isinstance(value, bool) and isinstance(value, Integral):
        return int(value)
    elif kind is str and isinstance(value, os.PathLike) and isinstance(text := os.fspath(value), str):
        return text if "/" in text or "\\" in text else f"./{text}"
    elif kind not in (int, float) and isinstance(value, kind):
        return value
    raise _Unfit(f"is {value!r}, but must be {_words(kind)}")


def _items(value: object, kind: Any) -> list:
    """The items of `value` for a list or tuple type; a tuple's has a type for each place, or one type and an ellipsis."""
    of, *more = get_args(kind)
    many = more in ([], [Ellipsis])
    if isinstance(value, Set):
        raise _Unfit(f"is {value!r}, which has no order, but must be a list")
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        if many and get_origin(of) not in (list, tuple):
            try:
                return [_as(value, of)]
            except _Unfit:
                raise _Unfit(f"is {value!r}, but must be {_words(of)}, or a list of such") from None
        raise _Unfit(f"is {value!r}, but must be a list")
    items = list(value)
    if not many and len(items) != len(more) + 1:
        raise _Unfit(f"is {value!r}, but must be {_words(kind)}")
    out = []
    for item, its in zip(items, repeat(of) if many else (of, *more)):
        try:
            out.append(_as(item, its))
        except _Unfit:
            raise _Unfit(f"has the entry {plain(item)!r}, but each entry must be {_words(its)}") from None
    return out


def _words(kind: Any) -> str:
    if isinstance(kind, UnionType):
        words = [_words(k) for k in get_args(kind) if k is not NoneType]
        return " or ".join(words) if len(words) < 3 else f"one of {', '.join(words)}"
    if get_origin(kind) is tuple:
        return "a pair"
    return WORDS.get(kind) or str(getattr(kind, "words", f"{kind.__name__}(...)"))
