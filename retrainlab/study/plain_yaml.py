"""YAML as dictionaries, lists, texts, numbers, truth values and None, and as nothing else.

It is built from the events of PyYAML's safe parser, with the meaning of YAML 1.2: `1e-4` is a number, `no` a text. No tag
makes an object, no alias makes one thing many, and a key that comes twice is refused, as TOML refuses it.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml

_NUMBERS: dict[str, Callable[[str], object]] = {
    r"[-+]?[0-9]{1,18}": int,
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?": float,
    r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)": lambda text: float(text.replace(".", "")),
}
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def loads(text: str, deepest: int) -> Any:
    """What a text of one document says. deepest: how many lists and names with values may lie in one another.

    Raises ValueError with the line for what is no YAML, or says more than such things; RecursionError for what is too deep.
    """
    said, begun = None, False
    try:
        for event in (events := yaml.parse(text, yaml.SafeLoader)):
            if isinstance(event, yaml.DocumentStartEvent):
                if begun:
                    raise ValueError(f"a second document begins {_place(event.start_mark)}; leave one")
                said, begun = _built(events, next(events), deepest), True
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        words = getattr(error, "problem", None) or str(error)
        raise ValueError(f"{words} {_place(mark)}" if mark else words) from None
    return said


def _built(events: Iterator[Any], first: Any, deeper: int) -> Any:
    """The value that begins with this event."""
    where = _place(first.start_mark)
    if isinstance(first, yaml.AliasEvent):
        raise ValueError(f"*{first.anchor} stands for another place {where}; write out what it means")
    if first.tag is not None:
        raise ValueError(f"the tag {first.tag} names a type {where}; leave it out")
    if isinstance(first, yaml.ScalarEvent):
        return _plain(first.value) if first.implicit[0] else first.value
    if not deeper:
        raise RecursionError
    if isinstance(first, yaml.SequenceStartEvent):
        return [_built(events, one, deeper - 1) for one in _until(events, yaml.SequenceEndEvent)]
    out: dict[str, Any] = {}
    for name in _until(events, yaml.MappingEndEvent):
        if not isinstance(name, yaml.ScalarEvent):
            raise ValueError(f"a name is no text {_place(name.start_mark)}; write one word")
        if name.value in out:
            raise ValueError(f"{name.value!r} comes twice {_place(name.start_mark)}; leave one")
        out[name.value] = _built(events, next(events), deeper - 1)
    return out


def _until(events: Iterator[Any], end: type) -> Iterator[Any]:
    """The events that begin a part of a list or of names with values."""
    while not isinstance(event := next(events), end):
        yield event


def _plain(text: str) -> object:
    """What a text without quotation marks means."""
    if text in (text.lower(), text.upper(), text.capitalize()) and text.lower() in _WORDS:
        return _WORDS[text.lower()]
    return next((kind(text) for form, kind in _NUMBERS.items() if re.fullmatch(form, text)), text)


def _place(mark: Any) -> str:
    return f"(at line {mark.line + 1}, column {mark.column + 1})"  # as tomllib has it
