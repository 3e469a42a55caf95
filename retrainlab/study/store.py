"""Results on disk: one readable JSON file each, named by content hash; weights and masks beside them in safetensors.

    STORE/dense/KEY.json  KEY.safetensors     a dense run and its weights
    STORE/pruned/KEY.json KEY.safetensors     what pruning did, and the first cycle's masks
    STORE/results/KEY.json                    an experiment's result
    STORE/damaged/                            what did not fit, set aside

Every file is written under a temporary name in its folder and then renamed, so that what is there is whole, however many
processes write and whenever one is killed. Every file holds its own key and a checksum of what it says (see `seal`), and a
record that of its tensors, too; both are compared when it is read. What does not fit is set aside with a warning and is as
if it had never been made. Files of an earlier version have no checksums; they are read if all in them is of the right kind.
Device and versions are provenance, not part of a key.
"""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from retrainlab.checks import BadInput
from retrainlab.keys import SCHEMA
from retrainlab.paths import probe, set_aside, write_whole
from retrainlab.study import older, seal
from retrainlab.study.measured import Dense, Pruned
from retrainlab.study.older import Unfit
from retrainlab.study.result import Result
from retrainlab.training.state import State

KINDS = ("dense", "pruned", "results")
RENAMED = 0.1  # seconds within which another process has given both files of a pair their names


@dataclass(frozen=True)
class Stored:
    """A record, the tensors beside it by name, and whether checksums hold all of it."""

    result: Result
    tensors: dict[str, torch.Tensor]
    sealed: bool


@dataclass(frozen=True)
class Store:
    """A folder of results. Reading a file that one may not read, or writing where one may not, raises BadInput; a damaged
    file is set aside, and is None."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        try:
            str(self.root).encode()
        except UnicodeEncodeError:
            raise BadInput(f"The store {str(self.root)!r} has a name that is not UTF-8; name another folder.") from None

    def check_writable(self) -> None:
        """Raise BadInput now rather than after the first hour's work."""
        try:
            probe(self.root / "results")
        except OSError as error:
            raise self._unwritable(error) from None

    def check_room(self, size: float) -> None:
        """Raise BadInput now if `size` bytes do not fit on the store's disk."""
        if (free := self.room()) < size:
            raise BadInput(
                f"The store {self.root} has room for {free / 1e6:.1f} MB, but about {size / 1e6:.1f} MB are to be "
                "written; make room, or choose another folder with --store or RETRAINLAB_STORE."
            )

    def room(self) -> int:
        """Bytes that are free on the store's disk."""
        return shutil.disk_usage(next(filter(os.path.isdir, (self.root, *self.root.absolute().parents)))).free

    def check(self, kind: str, key: str, fits: Callable[[Stored], bool] = lambda _: True) -> Stored | None:
        """What is stored under that name, if it is whole; tensors are compared with their checksum, too.

        fits: asked where there is no checksum to tell.
        """
        found = self._whole(kind, key)
        if found is None or found.sealed or fits(found):
            return found
        self._set_aside(kind, key, "its tensors are not those of its network")
        return None

    def result(self, key: str) -> Result | None:
        """The experiment's result, or None if it has not been run."""
        found = self._whole("results", key)
        return None if found is None else found.result

    def put_result(self, key: str, result: Result) -> None:
        self.put("results", key, result)

    def dense(self, key: str, device: torch.device) -> Dense | None:
        """The dense run with its weights and momentum on `device`, or None if it has not been made."""
        if (found := self._whole("dense", key)) is None:
            return None
        return Dense(state_of({n: t.to(device) for n, t in found.tensors.items()}), found.result)

    def put_dense(self, key: str, dense: Dense) -> None:
        state = dense.state
        parts = {"params": state.params, "buffers": state.buffers, "momentum": state.momentum}
        tensors = {f"{part}/{name}": t for part, named in parts.items() for name, t in named.items()}
        self.put("dense", key, dense.result, tensors)

    def pruned(self, key: str, device: torch.device) -> Pruned | None:
        """The first cycle's masks on `device` and what pruning did, or None if it has not been made."""
        if (found := self._whole("pruned", key)) is None:
            return None
        return Pruned({n: t.to(device) for n, t in found.tensors.items()}, found.result)

    def put_pruned(self, key: str, pruned: Pruned) -> None:
        self.put("pruned", key, pruned.result, pruned.masks)

    def put(self, kind: str, key: str, result: Result, tensors: Mapping[str, torch.Tensor] | None = None) -> None:
        """Keep a record, and before it the tensors that go with it; None for a result, which has none."""
        digest = {} if tensors is None else {"tensors": self._put_tensors(kind, key, tensors)}
        record = {"key": key, "schema": SCHEMA} | digest | asdict(result)
        record = json.loads(json.dumps(record, allow_nan=False))
        text = json.dumps({"sha256": seal.of_record(record)} | record, indent=1) + "\n"
        self._write(self.path(kind, key), lambda path: path.write_text(text))

    def count(self) -> dict[str, int]:
        """How many of each kind are stored."""
        return {kind: len(list((self.root / kind).glob("*.json"))) for kind in KINDS}

    def names(self) -> list[tuple[str, str]]:
        """(kind, key) of everything that is stored."""
        return [(kind, path.stem) for kind in KINDS for path in sorted((self.root / kind).glob("*.json"))]

    def read(self, kind: str, key: str, tensors: bool = True) -> Stored | None:
        """What is stored under that name, its tensors on the CPU; without `tensors` the record alone, which costs little.
        Raises Unfit for what is damaged, and moves nothing."""
        path = self.path(kind, key)
        if (text := _bytes(path)) is None:
            return None
        try:
            record = json.loads(text, parse_constant=_no_number)
            if not isinstance(record, dict):
                raise Unfit("it is no record")
            stamp = record.pop("sha256", None)
            if stamp is not None and seal.of_record(record) != stamp:
                raise Unfit("its content is not that of its checksum")
            if record.pop("key", None) != key or record.pop("schema", None) != SCHEMA:
                raise Unfit("it holds another result")
            digest = record.pop("tensors", None)
            result = Result.of(record)
            if stamp is None:
                older.check(kind, result)
            if kind == "results" or not tensors:
                return Stored(result, {}, stamp is not None)
            named, whole = self._tensors(kind, key, digest)
            if not whole and kind == "dense":
                older.check_dense(result, _parts(named))
            elif not whole:
                older.check_masks(named)
            if kind == "dense" and not result.outcome:
                _check_numbers(named)
        except (Unfit, BadInput):
            raise
        except RecursionError:
            raise Unfit("it is nested too deeply") from None
        except ValueError as error:
            raise Unfit(_first_line(error)) from None
        return Stored(result, named, whole and stamp is not None)

    def forget(self, kind: str, key: str) -> None:
        """Remove what is stored under that name. Raises BadInput where one may not."""
        try:
            for end in ("json", "safetensors"):
                self.path(kind, key, end).unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def path(self, kind: str, key: str, end: str = "json") -> Path:
        """The file of that name; end: `json`, or `safetensors` for the tensors beside it."""
        return self.root / kind / f"{key}.{end}"

    # ---- files ----

    def _whole(self, kind: str, key: str) -> Stored | None:
        """What is stored under that name, or None: if there is nothing, nothing that fits, or something in another precision
        than an earlier version's key says (see `older.adopt`)."""
        try:
            return self._said(kind, key)
        except Unfit:
            if kind != "results":
                time.sleep(RENAMED)  # a record and its tensors are renamed one after the other
        try:
            return self._said(kind, key)
        except Unfit as error:
            self._set_aside(kind, key, str(error))
            return None

    def _set_aside(self, kind: str, key: str, why: str) -> None:
        both = [self.path(kind, key, end) for end in ("json", "safetensors")]
        set_aside(both, self.root / "damaged", why, "and made anew when it is needed")

    def _said(self, kind: str, key: str) -> Stored | None:
        found = self.read(kind, key)
        return None if found is not None and older.unsaid_half(found.result) else found

    def _tensors(self, kind: str, key: str, digest: str | None) -> tuple[dict[str, torch.Tensor], bool]:
        """The tensors, and whether a checksum holds them; digest: what their record says it is."""
        path = self.path(kind, key, "safetensors")
        if _bytes(path, 1) is None:
            raise Unfit(f"{path.name} is missing")
        try:
            with safe_open(path, framework="pt") as file:
                about, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise Unfit(f"{path.name}: {_first_line(error)}") from None
        if not about and digest is None:
            return tensors, False
        own = seal.of_tensors(name := f"{kind}/{key}", tensors)
        if about != {name: own} or digest not in (None, own):
            raise Unfit(f"the content of {path.name} is not that of its checksum")
        return tensors, digest is not None

    def _put_tensors(self, kind: str, key: str, tensors: Mapping[str, torch.Tensor]) -> str:
        """Returns their checksum."""
        whole = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        digest = seal.of_tensors(name := f"{kind}/{key}", whole)
        about = {name: digest}  # one entry: several would be written in any order
        self._write(self.path(kind, key, "safetensors"), lambda path: save_file(whole, path, about))
        return digest

    def _write(self, path: Path, fill: Callable[[Path], object]) -> None:
        try:
            write_whole(path, fill)
        except (OSError, SafetensorError) as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: Exception) -> BadInput:
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in reason:
            return BadInput(
                f"The store {self.root} is full ({reason}); make room and give the same command again, which goes on "
                "from what is kept, or choose another folder with --store or RETRAINLAB_STORE."
            )
        return BadInput(
            f"The store {self.root} cannot be written ({reason}); choose a folder that can, with --store or "
            "RETRAINLAB_STORE."
        )


def _bytes(path: Path, size: int = -1) -> bytes | None:
    """The first `size` bytes of a file, or None if there is no such file."""
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if os.path.isdir(path) or error.errno == errno.ELOOP:
            raise Unfit(f"{path.name} is a folder, or a link in a circle") from None
        raise BadInput(
            f"The stored file {path} cannot be read ({error.strerror}), which does not say that it is damaged; let its "
            "owner permit it (chmod a+r), or choose another folder with --store or RETRAINLAB_STORE."
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _no_number(text: str) -> None:
    raise Unfit(f"it holds {text}, which is no number")


def state_of(tensors: dict[str, torch.Tensor]) -> State:
    """A dense run's state from its stored tensors. Raises Unfit for a tensor that is no part of one."""
    return State(**_parts(tensors))


def _parts(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The fields of a State from tensors named field/name."""
    out: dict[str, dict[str, torch.Tensor]] = {"params": {}, "buffers": {}, "momentum": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part not in out:
            raise Unfit(f"it holds a tensor '{name}'")
        out[part][rest] = tensor
    return out


def _check_numbers(tensors: dict[str, torch.Tensor]) -> None:
    if any(t.isnan().any() for name, t in tensors.items() if name.startswith("params/")):
        raise Unfit("its weights are NaN, but its run is not said to have diverged")
