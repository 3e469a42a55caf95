"""Where things lie (the project's folder, the data sets, the store), and how a file is written whole. Environment variables
come first; a home directory is needed only for what has no other place."""

import atexit
import os
import re
import shutil
import stat
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import retrainlab
from retrainlab.checks import BadInput

_ROOT = Path(retrainlab.__file__).parent.parent
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp", re.DOTALL)  # as `write_whole` names them
# where others keep what they would keep in a home directory
PLACES = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")


def home() -> Path | None:
    """The user's home directory; None for a user who has none, as in a container or a batch system."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def lend_places() -> None:
    """Give Jupyter, IPython and matplotlib folders that go when this process ends, if they cannot write at home."""
    own = home()
    if own is not None and os.access(own, os.W_OK):
        return
    folder = tempfile.mkdtemp(prefix="retrainlab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in PLACES:
        os.environ.setdefault(name, os.path.join(folder, name.lower()))


def _cached(name: str) -> Path | None:
    own = home()
    caches = os.environ.get("XDG_CACHE_HOME") or (own and own / ".cache")
    return Path(caches) / "retrainlab" / name if caches else None


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
    given = os.environ.get("RETRAINLAB_DATA")
    return Path(given) if given else _cached("data")


def store_root() -> Path:
    """Where results lie: RETRAINLAB_STORE, or `store` in the project, or else a folder of the user's cache. Raises BadInput
    without any of them."""
    if given := os.environ.get("RETRAINLAB_STORE"):
        return Path(given)
    if in_project():
        return _ROOT / "store"
    if (store := _cached("store")) is None:
        raise BadInput("There is no home directory to keep results in; name a folder with --store or RETRAINLAB_STORE.")
    return store


def stored_file(store: Path, kind: str, key: str, end: str = "json") -> Path:
    """The file of a stored thing of that kind (`dense`, `pruned` or `results`) and name; end: `json`, or `safetensors` for
    the tensors beside it."""
    return store / kind / f"{key}.{end}"


def shipped_files() -> list[Path]:
    """The files of results that come with the project, in results/; none where the package was installed without it."""
    return sorted((_ROOT / "results").glob("*.zip")) if in_project() else []


def engines_file() -> Path | None:
    """The file of which engine is fastest for what on this machine; None without a home directory."""
    return _cached("engines.json")


def compiled_folder() -> Path | None:
    """The folder of what torch.compile has made on this machine; None without a home directory."""
    return _cached("compiled")


def make_writable(folder: Path, names: Iterable[str] = ()) -> None:
    """Make the folder if it is missing. Raises BadInput, before any work starts, if it cannot be written, or what lies there
    under one of the names cannot be replaced."""
    try:
        probe(folder)
    except OSError as error:
        raise BadInput(f"The folder {folder} cannot be written ({error.strerror}); give another as --output.") from None
    for path in (folder / name for name in names):
        if path.is_dir() or path.exists() and not os.access(path, os.W_OK):
            why = "is a folder" if path.is_dir() else "may not be written"
            raise BadInput(f"{path} {why}, so that it cannot be replaced; move it away, or give another --output.")


def target(path: str, what: str) -> Path:
    """The file that is to be written there: behind a link the file itself, but a pipe or a device by its own name. what: its
    name in the error. Raises BadInput, before any work starts, for a folder, or a file in one that cannot be written."""
    place = Path(path)
    own = place.is_file() or not place.exists()
    place = place.resolve() if own else place
    if place.is_dir() or not os.access(place.parent if own else place, os.W_OK):
        raise BadInput(f"{what} cannot be written to {place}; name a file in a folder that exists and is yours.")
    return place


def probe(folder: Path) -> None:
    """Make the folder if it is missing, and write a block in it that leaves nothing behind; what killed writers have left in
    it for a day goes (see `abandoned`). Raises OSError, for a full disk as well."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in abandoned(folder, 86_400.0):
        with suppress(OSError):  # another process was first, or it is not ours
            path.unlink()
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(bytes(4096))
        os.fsync(file.fileno())


def abandoned(folder: Path, seconds: float) -> list[Path]:
    """Temporary files of `write_whole` in a folder, to which nobody has written for so many seconds by the clock of its file
    system, which has stamped them too, whatever the clocks of those who share it say. Writing takes seconds, and a clock
    that was set back makes a file look younger. Raises OSError for a folder in which nothing can be written."""
    with os.scandir(folder) as entries:
        found = [
            entry for entry in entries if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        ]
    if not found:
        return []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        file.write(b"0")
        now = os.fstat(file.fileno()).st_mtime
    out = []
    for entry in found:
        with suppress(OSError):  # renamed meanwhile
            if now - entry.stat(follow_symlinks=False).st_mtime > seconds:
                out.append(Path(entry.path))
    return out


def write_text(path: Path, text: str) -> None:
    """`write_whole` for a text, in UTF-8 with escapes for what is no text. Raises BadInput if it cannot be written, such as
    on a full disk."""
    try:
        write_whole(path, lambda temporary: temporary.write_text(text, "utf-8", "backslashreplace"))
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}); give another --output.") from None


def write_whole(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a temporary file in `path`'s folder, then rename it to `path`: what has that name is whole, however
    many processes write and whenever one is killed. The umask alone says who may read it. A device or a pipe is written
    directly. Raises what `fill` does, and OSError."""
    if path.exists() and not path.is_file() and not path.is_dir():
        fill(path)
        return
    temporary = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        fill(temporary)
        if temporary.stat().st_mode != mode:
            temporary.chmod(stat.S_IMODE(mode))
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_new(path: Path, text: str) -> bool:
    """Create a small file, and say whether it was this process that did: one alone succeeds. Raises OSError."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(file, text.encode())
    except OSError:  # a full disk
        with suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(file)
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process or thread holds the lock of `path`, and hold it: what is read, added to and written whole
    inside loses nothing of theirs. Raises OSError where no lock can be made, or none is had within a minute."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=60):
        yield


def set_aside(files: Iterable[Path], folder: Path, why: str, then: str) -> None:
    """Move damaged files to `folder` under new names, and say so in a warning. Where they cannot be moved they stay, and the
    warning says that.

    why: what is wrong with them; then: what happens next, as the end of the warning's sentence.
    """
    files = [path for path in files if os.path.lexists(path)]
    where = f"set aside in {folder}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in files:
            with suppress(FileNotFoundError):  # another process was first
                os.replace(path, folder / f"{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    except OSError as error:
        where = f"left where it is ({error.strerror})"
    names = " and ".join(map(str, files))
    warnings.warn(f"Damaged: {names} ({why}); {where}, {then}.", stacklevel=2)
