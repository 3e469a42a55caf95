"""Where things lie: the project's folder, the data sets, the store. Environment variables come first; a home directory is
needed only for what has no other place."""

import atexit
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import retrainlab
from retrainlab.errors import BadInput

_ROOT = Path(retrainlab.__file__).parent.parent


# where others keep what they would keep in a home directory
PLACES = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")


def home() -> Path | None:
    """The user's home directory; None for a user who has none, as in a container or a batch system."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def lend_places() -> None:
    """Where nothing can be written at home, give Jupyter, IPython and matplotlib folders that go when this process ends."""
    own = home()
    if own is not None and os.access(own, os.W_OK):
        return
    folder = tempfile.mkdtemp(prefix="retrainlab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in PLACES:
        os.environ.setdefault(name, os.path.join(folder, name.lower()))


def _cache() -> Path | None:
    own = home()
    caches = os.environ.get("XDG_CACHE_HOME") or (own and own / ".cache")
    return Path(caches) / "retrainlab" if caches else None


def command(arguments: str) -> str:
    """`retrainlab ARGUMENTS` as it can be typed here: with the environment's folder before it unless that is on the path."""
    if shutil.which("retrainlab"):
        return f"retrainlab {arguments}"
    program = Path(sys.executable).parent / "retrainlab"
    with suppress(OSError, ValueError):  # a folder that is gone, or another one
        program = program.relative_to(Path.cwd())
    return f"{program} {arguments}"


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


def data_root() -> Path | None:
    """Where data sets lie: RETRAINLAB_DATA, or else a folder of the user's cache; None without either."""
    given, cache = os.environ.get("RETRAINLAB_DATA"), _cache()
    return Path(given) if given else cache and cache / "data"


def store_root() -> Path:
    """Where results lie: RETRAINLAB_STORE, or `store` in the project, or else a folder of the user's cache. BadInput without
    any of them."""
    if given := os.environ.get("RETRAINLAB_STORE"):
        return Path(given)
    if in_project():
        return _ROOT / "store"
    if (cache := _cache()) is None:
        raise BadInput("There is no home directory to keep results in; name a folder with --store or RETRAINLAB_STORE.")
    return cache / "store"


def engines_file() -> Path | None:
    """Where it is kept which engine is fastest for what, on this machine; None without a home directory."""
    cache = _cache()
    return cache and cache / "engines.json"


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
