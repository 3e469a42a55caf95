"""What a user's reference `package.module:name` stands for: imported when it is first needed, and known by a fingerprint.

A reference that is read from a file is `Told`, and is never imported: results may come from anyone.
"""

import hashlib
import inspect
import os
import sys
from functools import cache
from importlib import import_module
from typing import Any

from retrainlab.checks import BadInput, choose

OBJECT = "own:"  # before the name of a network, or data, that a user gave as an object of a process


class Told(str):
    """A reference that a stored record names; equal to the text, but nothing is imported for it."""


def thing(name: str) -> Any:
    """What the reference stands for; its module is looked for where Python does, and then in the current folder.

    Raises BadInput for a reference that was read from a file, a module that is not there or fails to import, and a name
    that the module lacks.
    """
    if isinstance(name, Told):
        raise BadInput(
            f"A stored record names the code {name}, which is not imported for a file's sake; write this reference "
            "yourself where you want it to run."
        )
    return _known(name)[0]


def fingerprint(name: str) -> str:
    """What tells this code from another: the `version` that the user gave the thing, or else a hash of its module's source
    as it was imported. What the module imports in turn does not count: give the thing a version, and raise it.

    Raises BadInput as `thing` does, and for code without a version whose source cannot be read.
    """
    thing(name)
    return _known(name)[1]


def called(name: str) -> Any:
    """As `thing`, for a reference to something that can be called. Raises BadInput for all else."""
    found = thing(name)
    if not callable(found):
        raise BadInput(f"{name} is {type(found).__name__}, but must be a function or a class.")
    return found


def _known(name: str) -> tuple[Any, str]:
    """The thing and its fingerprint: of a module as it was imported, of a notebook's cells as they are now."""
    return _found(name) if name.startswith("__main__:") else _imported(name)


@cache
def _imported(name: str) -> tuple[Any, str]:
    """Both taken at once, for a file may change later."""
    return _found(name)


def _found(name: str) -> tuple[Any, str]:
    module, _, path = name.partition(":")
    found: Any = _module(module)
    home = found
    for part in path.split("."):
        if not hasattr(found, part):
            public = [n for n in dir(found) if not n.startswith("_")]
            choose(part, public[:20], f"name in {module}")
        found = getattr(found, part)
    return found, _fingerprint(name, home, found)


def _module(name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise BadInput(
                f"There is no module {error.name}: it is looked for among what is installed and in {here}; start from the "
                "folder that holds it, or install it."
            ) from None
        raise BadInput(f"The module {name} needs {error.name}, which is not installed; install it.") from None
    except Exception as error:  # whatever the user's code raises
        raise BadInput(f"The module {name} cannot be imported ({type(error).__name__}: {error}); mend it.") from None


def _fingerprint(name: str, module: Any, found: Any) -> str:
    if (version := getattr(found, "version", None)) is not None:
        return f"version {version}"
    for one in (module, found):  # a notebook's own module has no source, its functions have
        try:
            return hashlib.sha256(inspect.getsource(one).encode()).hexdigest()[:16]
        except (OSError, TypeError):
            continue
    raise BadInput(f"The source of {name} cannot be read, so results could not name it; give it a `version`, a text.")
