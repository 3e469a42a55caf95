"""A stored record as text and back: what it says, its own name, a checksum of both, and that of the tensors beside it.

A store's files and an exported file's members are the same but for their spaces, and are read and checked here alike.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch

from retrainlab.keys import SCHEMA
from retrainlab.parsing import parsed
from retrainlab.phrases import first_line
from retrainlab.study import older, seal
from retrainlab.study.measured import Dense, Pruned
from retrainlab.study.older import Unfit
from retrainlab.study.result import Result
from retrainlab.training.state import State

CPU = torch.device("cpu")
KINDS = {"dense": "dense runs", "pruned": "prunes", "results": "results"}  # in words
UPDATED = "updated/"  # before the names of weights beside the masks
Named = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Record:
    """What a record's text says. digest: the checksum of its tensors, None if it names none. sealed: whether it has a
    checksum itself. bare: whether its tensors were left out."""

    result: Result
    digest: str | None
    sealed: bool
    bare: bool


@dataclass(frozen=True)
class Stored:
    """A record, the tensors beside it by name, on the CPU, whether checksums hold all of it, and whether it is bare: stored
    without its tensors, as in a small file of results."""

    result: Result
    tensors: dict[str, torch.Tensor]
    sealed: bool
    bare: bool = False

    def dense(self, device: torch.device = CPU) -> Dense:
        """The dense run that it is, its tensors on `device`."""
        return Dense(State(**_parts(self.tensors)).map(lambda t: t.to(device)), self.result)

    def pruned(self, device: torch.device = CPU) -> Pruned:
        """The first cycle's prune that it is, on `device`."""
        there = {name: tensor.to(device) for name, tensor in self.tensors.items()}
        updated = {name.removeprefix(UPDATED): t for name, t in there.items() if name.startswith(UPDATED)}
        return Pruned({name: t for name, t in there.items() if not name.startswith(UPDATED)}, self.result, updated)


def counted(kind: str, number: int) -> str:
    """So many of a kind in words, such as `1 dense run`."""
    return f"{number} {KINDS[kind] if number != 1 else KINDS[kind].removesuffix('s')}"


def tensors_of(thing: Dense | Pruned | Result) -> dict[str, torch.Tensor]:
    """The tensors of what is stored, under the names that they have in files; none of a result."""
    match thing:
        case Dense(state):
            return {f"{part}/{name}": t for part, named in vars(state).items() for name, t in named.items()}
        case Pruned(masks, _, updated):
            return {**masks, **{UPDATED + name: w for name, w in updated.items()}}
    return {}


def text(kind: str, key: str, result: Result, digest: str | None = None, indent: int | None = 1) -> str:
    """The record of `result` under that name, JSON that ends with a line end. digest: that of its tensors, which it is bare
    of if None. indent: None for canonical JSON, without spaces and sorted by name. Raises ValueError for NaN."""
    record: dict[str, object] = {"key": key, "schema": SCHEMA}
    if kind != "results":
        record["tensors"] = digest
    record = json.loads(json.dumps(record | asdict(result), allow_nan=False))
    whole = {"sha256": seal.of_record(record)} | record
    if indent is None:
        return json.dumps(whole, sort_keys=True, separators=(",", ":")) + "\n"
    return json.dumps(whole, indent=indent) + "\n"


def read(kind: str, key: str, text: bytes | str) -> Record:
    """What the text of a record says. Raises Unfit for what is damaged, another's, or of another version."""
    try:
        record = parsed(text)
        if not isinstance(record, dict):
            raise Unfit("it is no record")
        stamp = record.pop("sha256", None)
        if seal.of_record(record) != stamp and stamp is not None:
            raise Unfit("its content is not that of its checksum")
        if record.pop("key", None) != key or record.pop("schema", None) != SCHEMA:
            raise Unfit("it holds another result")
        bare = kind != "results" and record.get("tensors", "") is None
        digest = record.pop("tensors", None)
        result = Result.of(record)
        if stamp is None:
            older.check(kind, result)
    except ValueError as error:
        raise error if isinstance(error, Unfit) else Unfit(first_line(error)) from None
    return Record(result, digest, stamp is not None, bare)


def joined(kind: str, key: str, record: Record, about: Mapping[str, str], tensors: dict[str, torch.Tensor]) -> Stored:
    """A record with the tensors beside it. about: what their file says of itself. Raises Unfit if they are not those that
    the record names, or not what their checksum says, or cannot be of this kind."""
    whole = bool(about) or record.digest is not None
    if whole:
        own = seal.of_tensors(name := f"{kind}/{key}", tensors)
        if about != {name: own} or record.digest not in (None, own):
            raise Unfit("the content of its tensors is not that of their checksum")
        whole = record.digest is not None
    if kind == "dense":
        parts = _parts(tensors)
        if not whole:
            older.check_dense(record.result, parts)
        if not record.result.outcome and any(t.isnan().any() for t in parts["params"].values()):
            raise Unfit("its weights are NaN, but its run is not said to have diverged")
    elif not whole:
        older.check_masks(tensors)
    return Stored(record.result, tensors, whole and record.sealed)


def _parts(tensors: Named) -> dict[str, dict[str, torch.Tensor]]:
    """The fields of a State from tensors named field/name. A network that was stored without its momentum has none that is
    not 0."""
    out: dict[str, dict[str, torch.Tensor]] = {"params": {}, "buffers": {}, "momentum": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part not in out:
            raise Unfit(f"it holds a tensor '{name}'")
        out[part][rest] = tensor
    if not out["momentum"]:
        out["momentum"] = {name: torch.zeros_like(w) for name, w in out["params"].items()}
    return out
