"""Results on disk: one readable JSON file each, named by content hash; weights and masks beside them in safetensors.

    STORE/dense/KEY.json  KEY.safetensors     a dense run and its weights
    STORE/pruned/KEY.json KEY.safetensors     what pruning did, and the first cycle's masks
    STORE/results/KEY.json                    an experiment's result

Every file is written under a temporary name in its folder and then renamed, so that what is there is whole, however many
processes write and whenever one is killed. Device and versions are provenance, not part of a key.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from retrainlab.config import SCHEMA
from retrainlab.errors import BadInput
from retrainlab.experiment import Dense, Pruned
from retrainlab.paths import write_whole
from retrainlab.result import Result
from retrainlab.training import State


@dataclass(frozen=True)
class Store:
    """A folder of results. Reading a damaged file, or writing where one may not, raises BadInput."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        try:
            str(self.root).encode()
        except UnicodeEncodeError:
            raise BadInput(f"The store {str(self.root)!r} has a name that is not UTF-8; name another folder.") from None

    def check_writable(self) -> None:
        """Raise BadInput now rather than after the first hour's work."""
        probe = self.root / "results" / ".probe"
        self._write(probe, lambda path: path.write_text(""))
        probe.unlink(missing_ok=True)

    def check(self, kind: str, key: str) -> bool:
        """Whether that thing is stored; BadInput if it is but is damaged."""
        if self._read(kind, key) is None:
            return False
        if kind != "results":
            path = self._path(kind, key, "safetensors")
            try:
                with safe_open(path, framework="pt"):  # reads the header, and compares it with the file's length
                    pass
            except (SafetensorError, OSError) as error:
                raise self._damaged(path, error) from None
        return True

    def result(self, key: str) -> Result | None:
        """The experiment's result, or None if it has not been run."""
        return self._read("results", key)

    def put_result(self, key: str, result: Result) -> None:
        self._put("results", key, result)

    def dense(self, key: str, device: torch.device) -> Dense | None:
        """The dense run with its weights and momentum on `device`, or None if it has not been made."""
        if (result := self._read("dense", key)) is None:
            return None
        tensors = self._tensors("dense", key, device)
        parts: dict[str, dict] = {"params": {}, "buffers": {}, "momentum": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            if part not in parts:
                raise self._damaged(self._path("dense", key, "safetensors"), ValueError(f"it holds '{name}'"))
            parts[part][rest] = tensor
        return Dense(State(**parts), result)

    def put_dense(self, key: str, dense: Dense) -> None:
        state = dense.state
        parts = {"params": state.params, "buffers": state.buffers, "momentum": state.momentum}
        self._put_tensors("dense", key, {f"{p}/{name}": t for p, part in parts.items() for name, t in part.items()})
        self._put("dense", key, dense.result)

    def pruned(self, key: str, device: torch.device) -> Pruned | None:
        """The first cycle's masks on `device` and what pruning did, or None if it has not been made."""
        if (result := self._read("pruned", key)) is None:
            return None
        return Pruned(self._tensors("pruned", key, device), result)

    def put_pruned(self, key: str, pruned: Pruned) -> None:
        self._put_tensors("pruned", key, pruned.masks)
        self._put("pruned", key, pruned.result)

    def count(self) -> dict[str, int]:
        """How many of each kind are stored."""
        return {kind: len(list((self.root / kind).glob("*.json"))) for kind in ("dense", "pruned", "results")}

    # ---- files ----

    def _path(self, kind: str, key: str, end: str = "json") -> Path:
        return self.root / kind / f"{key}.{end}"

    def _read(self, kind: str, key: str) -> Result | None:
        path = self._path(kind, key)
        try:
            record = json.loads(path.read_text())
            if record.pop("key") != key or record.pop("schema") != SCHEMA:
                raise ValueError("it holds another result")
            return Result(**record)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise BadInput(
                f"The stored file {path} cannot be read ({error.strerror}); check its permissions."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(path, error) from None

    def _tensors(self, kind: str, key: str, device: torch.device) -> dict[str, torch.Tensor]:
        path = self._path(kind, key, "safetensors")
        try:
            return load_file(path, device=str(device))
        except (SafetensorError, OSError) as error:
            raise self._damaged(path, error) from None

    @staticmethod
    def _damaged(path: Path, error: Exception) -> BadInput:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return BadInput(
            f"The stored file {path} is damaged ({reason}); delete {path.stem}.* in {path.parent} and run the same "
            "command again: it is made anew."
        )

    def _put(self, kind: str, key: str, result: Result) -> None:
        text = json.dumps({"key": key, "schema": SCHEMA, **asdict(result)}, indent=1, allow_nan=False) + "\n"
        self._write(self._path(kind, key), lambda path: path.write_text(text))

    def _put_tensors(self, kind: str, key: str, tensors: dict[str, torch.Tensor]) -> None:
        whole = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        self._write(self._path(kind, key, "safetensors"), lambda path: save_file(whole, path))

    def _write(self, path: Path, fill: Callable[[Path], object]) -> None:
        try:
            write_whole(path, fill)
        except (OSError, SafetensorError) as error:
            raise BadInput(
                f"The store {self.root} cannot be written ({getattr(error, 'strerror', None) or error}); choose a "
                "folder that can, with --store or RETRAINLAB_STORE."
            ) from None
