"""Where things lie: the project's folder, the data sets, the store. Environment variables come first."""

import os
import shutil
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import retrainlab
from retrainlab.errors import BadInput

_ROOT = Path(retrainlab.__file__).parent.parent


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retrainlab"


def command(arguments: str) -> str:
    """`retrainlab ARGUMENTS` as it can be typed here: with the environment's folder before it unless that is on the path."""
    if shutil.which("retrainlab"):
        return f"retrainlab {arguments}"
    program = Path(sys.executable).parent / "retrainlab"
    return f"{program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program} {arguments}"


def in_project() -> bool:
    """Whether the package runs from its project's folder, which holds notebooks/ and figures/ too."""
    return (_ROOT / "notebooks").is_dir() and (_ROOT / "pyproject.toml").is_file()


def project() -> Path:
    """The project's folder. Raises BadInput if the package was installed without it."""
    if not in_project():
        raise BadInput(
            "The notebooks are not beside the package; use a checkout of the project, installed by `make setup`."
        )
    return _ROOT


def data_root() -> Path:
    """Where data sets lie: RETRAINLAB_DATA, or else a folder of the user's cache."""
    return Path(os.environ.get("RETRAINLAB_DATA") or _cache() / "data")


def store_root() -> Path:
    """Where results lie: RETRAINLAB_STORE, or `store` in the project, or else a folder of the user's cache."""
    return Path(os.environ.get("RETRAINLAB_STORE") or (_ROOT / "store" if in_project() else _cache() / "store"))


def engines_file() -> Path:
    """Where it is kept which engine is fastest for what, on this machine."""
    return _cache() / "engines.json"


def make_writable(folder: Path) -> None:
    """Make the folder if it is missing; raises BadInput, before any work starts, if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".probe").touch()
        (folder / ".probe").unlink()
    except OSError as error:
        raise BadInput(f"The folder {folder} cannot be written ({error.strerror}); give another as --output.") from None


def check_free(path: Path) -> None:
    """Raise BadInput, before any work starts, if what lies under this name cannot be replaced."""
    if path.is_dir() or path.exists() and not os.access(path, os.W_OK):
        why = "is a folder" if path.is_dir() else "may not be written"
        raise BadInput(f"{path} {why}, so that it cannot be replaced; move it away, or give another --output.")


def write_text(path: Path, text: str) -> None:
    """`write_whole` for a text. Raises BadInput if it cannot be written, such as on a full disk."""
    try:
        write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}); give another --output.") from None


def write_whole(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a temporary file in `path`'s folder, then give it its name: what has the name is whole, however many
    processes write and whenever one is killed. Raises what `fill` does, and OSError."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
