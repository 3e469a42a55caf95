"""TOML and YAML files of a user's own, read whole: one structure of names with values, in two ways of writing it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrainlab.checks import BadInput
from retrainlab.parsing import read_file

LARGEST = 1_000_000  # bytes of a file
DEEPEST = 8  # lists and names with values in one another


def read(path: Path) -> dict[str, Any]:
    """What a .toml, .yaml or .yml file says. Raises BadInput with the file's name, and with the line where it is known."""
    if (parse := _PARSERS.get(path.suffix.lower())) is None:
        raise BadInput(f"The file {path} must be TOML or YAML, and its name end so: {', '.join(_PARSERS)}.")
    try:
        said = parse(read_file(path, LARGEST).decode("utf-8-sig"))
    except OSError as error:
        raise BadInput(f"The file {path} cannot be read ({error.strerror}); name one that can.") from None
    except UnicodeDecodeError:
        raise BadInput(f"The file {path} is not in UTF-8; save it so.") from None
    except RecursionError:
        raise BadInput(f"The file {path} nests its values more than {DEEPEST} deep, which no study needs.") from None
    except ValueError as error:
        words = " ".join(str(error).partition("; use sys.")[0].split())  # a number of thousands of digits
        raise BadInput(f"The file {path} cannot be read: {words.rstrip('.')}.") from None
    if not isinstance(said, dict) or not said:
        raise BadInput(f"The file {path} must hold names with values, such as [grid] with its seeds and sparsities.")
    return said


def _toml(text: str) -> object:
    said = tomllib.loads(text)
    layer: list[Any] = [said]
    for _ in range(DEEPEST + 1):
        inner = [x for one in layer for x in (one.values() if isinstance(one, Mapping) else one)]
        layer = [one for one in inner if isinstance(one, Mapping | list)]
    if layer:
        raise RecursionError
    return said


def _yaml(text: str) -> object:
    from retrainlab.study import plain_yaml

    return plain_yaml.loads(text, DEEPEST + 1)


_PARSERS = {".toml": _toml, ".yaml": _yaml, ".yml": _yaml}
