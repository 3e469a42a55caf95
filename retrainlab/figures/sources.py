"""Which modules of the package a notebook's figure depends on, found by reading what each imports; none is loaded.

A module counts if it can be reached from the notebook's cells by imports, those inside functions and for type checkers as
well. A text that names a module of the same folder counts as an import too, because some are imported by a name that stands
in a table. So more may count than is used, but nothing less.
"""

import ast
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import retrainlab

NAME = retrainlab.__name__
PACKAGE = Path(retrainlab.__file__).parent


def texts(package: Path = PACKAGE) -> dict[str, str]:
    """The source of every module in that folder, by its name: retrainlab, retrainlab.config, ..."""
    return {_name(path, package): path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}


def needed(notebook: str, modules: Mapping[str, str]) -> list[str]:
    """Names of the modules that a notebook, given as the text of its file, can reach; all of them if its cells or one of
    these cannot be read, or has a relative import. modules: from `texts`."""
    seen: set[str] = set()
    try:
        todo = [*_imported(_code(notebook), "")]
        while todo:
            if (name := todo.pop()) in modules and name not in seen:
                seen.add(name)
                todo += _imported(modules[name], _folder(name, modules))
    except (ValueError, LookupError, TypeError, AttributeError, SyntaxError):
        return sorted(modules)
    return sorted(seen)


def _name(path: Path, package: Path) -> str:
    return ".".join((NAME, *path.relative_to(package).with_suffix("").parts)).removesuffix(".__init__")


def _folder(name: str, modules: Mapping[str, str]) -> str:
    """The package that a module lies in; a package lies in itself."""
    inside = any(other.startswith(f"{name}.") for other in modules)
    return name if inside else name.rpartition(".")[0]


def _code(notebook: str) -> str:
    """What a notebook's cells execute, without the lines that only Jupyter understands."""
    cells = [cell["source"] for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(source) for source in cells).split("\n")
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


@lru_cache(maxsize=1024)
def _imported(code: str, folder: str) -> frozenset[str]:
    """Dotted names that may be modules of the package, with the packages that each lies in."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Import(names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(level=level) if level:
                raise LookupError("a relative import")
            case ast.ImportFrom(str(base), names):
                found |= {base, *(f"{base}.{alias.name}" for alias in names)}
            case ast.Constant(str(text)) if folder:
                found.add(f"{folder}.{text.partition(':')[0]}")
    own = {name for name in found if name == NAME or name.startswith(f"{NAME}.")}
    return frozenset(".".join(parts[: i + 1]) for parts in (name.split(".") for name in own) for i in range(len(parts)))
