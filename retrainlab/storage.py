"""Networks as files, and how many bytes they take: weights dense, as bit mask and values, or in rows; gzipped or not.

    dense      every value, as NAME
    bitmask    NAME.mask: a bit for each weight, the highest of a byte first, 1 where it is not 0; NAME.values: these weights
    csr        compressed sparse rows, one for each output. NAME.values: row by row the weights that are not 0; NAME.columns:
               the column of each; NAME.rows: how many values there are before each row, and in all

Each file is an ordinary safetensors file, or such a file gzipped. It has one encoding for all prunable weights; biases,
normalisation and buffers are dense in each. Columns and rows have the smallest type of U8, U16, I32 and I64 that holds
them. What is 0 is decided on the bits, so that -0 and NaN come back as they were: unpacking gives the very same bits.
"""

import gzip
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor

from retrainlab.checks import BadInput
from retrainlab.config import PRECISIONS
from retrainlab.phrases import first_line
from retrainlab.study import seal

ENCODINGS = ("dense", "bitmask", "csr")
LEVEL = 4  # of gzip: level 6 takes up to twice as long, and makes the smallest file at most 2 % smaller
VERSION = 1
INDICES = (("U8", np.uint8), ("U16", np.uint16), ("I32", np.int32), ("I64", np.int64))
TYPES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.bool: "BOOL"},
    **{torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8"},
    **{torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.complex64: "C64"},
}


@dataclass(frozen=True)
class Packed:
    """A network as a file's content."""

    encoding: str
    gzipped: bool
    content: bytes

    def __str__(self) -> str:
        return f"{self.encoding}, gzipped" if self.gzipped else self.encoding


def pack(tensors: Mapping[str, Tensor], prunable: Collection[str]) -> Iterator[Packed]:
    """The network in each encoding, plain and gzipped.

    tensors: parameters and buffers by name. prunable: the names of those that are encoded. Raises BadInput for a tensor of
    a type or name that safetensors does not know, and for names that would meet in a file.
    """
    for encoding, content in _files(tensors, prunable).items():
        yield Packed(encoding, False, content)
        yield Packed(encoding, True, _gzipped(content))


def smallest(tensors: Mapping[str, Tensor], prunable: Collection[str]) -> Packed:
    """The smallest of the files that `pack` makes, the simplest of those that are equally small."""
    return min(pack(tensors, prunable), key=lambda packed: len(packed.content))


def dense(tensors: Mapping[str, Tensor]) -> bytes:
    """The plain file that holds every tensor dense."""
    return _file({name: _part(name, t) for name, t in tensors.items()}, (), "dense", _digest(tensors))


def rounded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors whose numbers have more than 16 bits rounded to bfloat16; whole numbers stay."""
    return {n: t.bfloat16() if t.is_floating_point() and t.element_size() > 2 else t for n, t in tensors.items()}


def sizes(tensors: Mapping[str, Tensor], prunable: Collection[str]) -> dict[str, int]:
    """The exact size in bytes of each file that `pack` makes of a network in float32, and of the same rounded to bfloat16,
    by names such as `float32_bitmask` and `bfloat16_csr_gzip`."""
    both = dict(zip(PRECISIONS, (tensors, rounded(tensors))))
    files = {f"{p}_{name}": content for p, own in both.items() for name, content in _files(own, prunable).items()}
    out = {name: len(content) for name, content in files.items()}
    return out | {f"{name}_gzip": size for name, size in zip(files, _gzipped_sizes(list(files.values())))}


def ratios(sizes: Mapping[str, int]) -> dict[str, float | None]:
    """What `sizes` says, in four numbers; None without any, for a network that has diverged.

    unpacked_bytes: of the dense network in float32, neither encoded nor gzipped; packed_bytes: of the smallest file that
    holds it bit for bit; compression_ratio: the first over the second (Blalock et al. 2020, original size over compressed
    size); compression_ratio_bfloat16: the first over the smallest file of the network rounded to bfloat16.
    """
    if not sizes:
        names = "unpacked_bytes", "packed_bytes", "compression_ratio", "compression_ratio_bfloat16"
        return dict.fromkeys(names)
    original = sizes["float32_dense"]
    exact, half = (min(size for name, size in sizes.items() if name.startswith(p)) for p in PRECISIONS)
    return {
        "unpacked_bytes": original,
        "packed_bytes": exact,
        "compression_ratio": original / exact,
        "compression_ratio_bfloat16": original / half,
    }


def unpack(content: bytes, what: str = "The packed file") -> dict[str, Tensor]:
    """The tensors of a file that `pack` has made, bit for bit, on the CPU.

    what: the file's name, for the error. Raises BadInput for a file that is damaged, cut short, of a newer version, or none
    of pack's.
    """
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        tensors, about = load(content), _about(content)
        if "packed" not in about:
            raise BadInput(f"{what} holds tensors, but was not written by `retrainlab pack`, which makes such files.")
        if int(about["packed"]) > VERSION:
            raise BadInput(f"{what} was packed by a newer version of retrainlab; update this one to unpack it.")
        if int(about["packed"]) < 1 or about["encoding"] not in ENCODINGS:
            raise ValueError("there is no such encoding")
        for name, shape in json.loads(about["shapes"]).items():
            tensors[name] = _decoded(name, shape, about["encoding"], tensors)
        if _digest(tensors) != about["sha256"]:
            raise ValueError("its content is not that of its checksum")
        return tensors
    except BadInput:
        raise
    except Exception as error:  # a damaged file can make each of these steps fail, in any way
        raise BadInput(
            f"{what} is damaged, or was not written by `retrainlab pack` ({first_line(error)}); pack the network once more."
        ) from None


@dataclass(frozen=True)
class _Part:
    """A tensor as a file holds it. kind: safetensors' name of its type; bits: its elements as whole numbers, 1-D."""

    kind: str
    shape: tuple[int, ...]
    bits: np.ndarray


def _part(name: str, tensor: Tensor) -> _Part:
    if name == "__metadata__" or name != name.encode(errors="replace").decode():
        raise BadInput(f"No safetensors file can hold a tensor of the name {ascii(name)}; give it another.")
    if tensor.dtype not in TYPES or tensor.layout != torch.strided or tensor.is_meta:
        form = tensor.layout if tensor.layout != torch.strided else "meta" if tensor.is_meta else tensor.dtype
        kind = f"{form}".removeprefix("torch.")
        raise BadInput(f"The tensor '{name}' is of type {kind}, which no safetensors file holds; convert it first.")
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return _Part(TYPES[tensor.dtype], tuple(tensor.shape), raw.view(f"u{tensor.element_size()}"))


def _files(tensors: Mapping[str, Tensor], prunable: Collection[str]) -> dict[str, bytes]:
    """The content of the plain file in each encoding."""
    parts, digest = {name: _part(name, t) for name, t in tensors.items()}, _digest(tensors)
    return {encoding: _file(parts, prunable, encoding, digest) for encoding in ENCODINGS}


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content, LEVEL, mtime=0)


def _gzipped_sizes(contents: Sequence[bytes]) -> list[int]:
    """The size of each content once it is gzipped; all cores share the work, which takes seconds for a large network."""
    try:
        with ThreadPoolExecutor(len(contents)) as pool:
            return list(pool.map(lambda content: len(_gzipped(content)), contents))
    except RuntimeError:  # no thread can be started here
        return [len(_gzipped(content)) for content in contents]


def _file(parts: Mapping[str, _Part], prunable: Collection[str], encoding: str, digest: str) -> bytes:
    """The content of the safetensors file that holds the parts, the prunable ones in that encoding."""
    encoded = [name for name in parts if name in prunable and encoding != "dense"]
    written = {name: part for name, part in parts.items() if name not in encoded}
    for name in encoded:
        for ending, part in _encoded(parts[name], encoding).items():
            if written.setdefault(f"{name}.{ending}", part) is not part:
                raise BadInput(f"The tensor '{name}.{ending}' has the name of a part of '{name}'; rename one of them.")
    shapes = json.dumps({name: parts[name].shape for name in encoded}, separators=(",", ":"))
    about = {"packed": str(VERSION), "encoding": encoding, "shapes": shapes, "sha256": digest}
    header: dict[str, object] = {"__metadata__": about}
    order = sorted(written, key=lambda name: (-written[name].bits.itemsize, name))  # each begins where its type may
    end = 0
    for name in order:
        part, begin = written[name], end
        end += part.bits.nbytes
        header[name] = {"dtype": part.kind, "shape": part.shape, "data_offsets": (begin, end)}
    head = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([len(head).to_bytes(8, "little"), head, *(written[name].bits.data for name in order)])


def _encoded(part: _Part, encoding: str) -> dict[str, _Part]:
    """The parts in whose place they stand, by the ends of their names."""
    there = part.bits != 0
    values = part.bits[there]
    own = {"values": _Part(part.kind, values.shape, values)}
    if encoding == "bitmask":
        mask = np.packbits(there)
        return own | {"mask": _Part("U8", mask.shape, mask)}
    matrix = there.reshape(_matrix(part.shape))
    rows = np.concatenate([[0], np.count_nonzero(matrix, axis=1).cumsum()])
    return own | {"columns": _indices(np.nonzero(matrix)[1], matrix.shape[1] - 1), "rows": _indices(rows, len(values))}


def _decoded(name: str, shape: list[int], encoding: str, tensors: dict[str, Tensor]) -> Tensor:
    """The tensor whose parts are taken out of `tensors`."""
    values = tensors.pop(f"{name}.values")
    found = _part(name, values).bits
    bits = np.zeros(math.prod(shape), found.dtype)
    if encoding == "bitmask":
        mask = tensors.pop(f"{name}.mask").numpy()
        bits[np.unpackbits(mask, count=len(bits)).astype(bool)] = found
    else:
        columns, rows = (tensors.pop(f"{name}.{end}").numpy().astype(np.int64) for end in ("columns", "rows"))
        matrix = bits.reshape(_matrix(tuple(shape)))
        matrix[np.repeat(np.arange(len(matrix)), np.diff(rows)), columns] = found
    return torch.from_numpy(bits.view(np.uint8)).view(values.dtype).reshape(shape)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Outputs (the first dimension) and weights of each; one row for what has fewer than two dimensions."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))


def _indices(values: np.ndarray, most: int) -> _Part:
    """Whole numbers from 0 to `most`, in the smallest type that holds these."""
    kind, of = next((kind, of) for kind, of in INDICES if most <= np.iinfo(of).max)
    return _Part(kind, values.shape, values.astype(of))


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """A checksum of names, types, shapes and values: 16 hex digits."""
    return seal.of_tensors("packed", {name: t.detach().cpu() for name, t in tensors.items()})[:16]


def _about(content: bytes) -> dict[str, str]:
    """The metadata in the header of a safetensors file that can be read."""
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
