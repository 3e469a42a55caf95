"""Networks as files: every bit comes back, every size is that of the formula, and what is damaged is refused."""

import gzip
import json
import math
import threading

import numpy as np
import pytest
import safetensors.torch
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrainlab import layers, models, storage
from retrainlab.checks import BadInput
from retrainlab.training import masked
from retrainlab.training.state import State
from tests.helpers.bits import bits, same
from tests.helpers.pruning import prune

KINDS = {"float32": ("F32", 4), "bfloat16": ("BF16", 2)}


def contents(tensors: dict, prunable) -> dict[tuple[str, bool], bytes]:
    return {(p.encoding, p.gzipped): p.content for p in storage.pack(tensors, prunable)}


@pytest.fixture(scope="module", params=[0.5, 0.9, 0.98])
def network(request):
    """resnet8 as initialised for digits, pruned: its tensors by name and the names of its prunable weights."""
    model = models.build("resnet8", shape=(1, 8, 8), classes=10)
    state, names = State.of(model), layers.prunable(model)
    masks = prune({name: state.params[name] for name in names}, request.param)
    assert sum(int(m.sum()) for m in masks.values()) == pytest.approx((1 - request.param) * 74_512, abs=1)
    pruned = masked.apply(state, masks)
    return pruned.params | pruned.buffers, names


# ---- what comes back ---------------------------------------------------------------------------------------------------

NAN = torch.tensor([0x7FC00001, 0x7F800001, -1], dtype=torch.int32).view(torch.float32)  # of several bit patterns
ODD = {
    "minus zero, nan and infinity": torch.cat([torch.tensor([0.0, -0.0, math.inf, 1e-45]), NAN]).reshape(1, 7),
    "all zero": torch.zeros(3, 5),
    "none zero": torch.ones(3, 5),
    "empty rows": torch.tensor([[0.0, 0, 0], [1, 0, 2], [0, 0, 0], [0, 3, 0], [0, 0, 0]]),
    "one dimension": torch.tensor([0.0, 2.0, 0.0]),
    "scalar": torch.tensor(2.5),
    "scalar zero": torch.tensor(0.0),
    "three dimensions": torch.arange(24.0).reshape(2, 3, 4) % 5,
    "four dimensions": torch.arange(48.0).reshape(2, 3, 4, 2) % 3,
    "transposed": (torch.arange(12.0).reshape(3, 4) % 4).T,
    "no rows": torch.zeros(0, 3),
    "no columns": torch.zeros(3, 0),
    "bfloat16": torch.tensor([[0.0, 1.5], [-0.0, 3.0]], dtype=torch.bfloat16),
    "float16": torch.tensor([[0.0, 1.5], [-0.0, 3.0]], dtype=torch.float16),
    "float64": torch.tensor([[0.0, 1e-300], [-0.0, 3.0]], dtype=torch.float64),
    "complex, as of rotary embeddings": torch.tensor([[0.0, 1.5j], [-0.0, 3.0]]),
    "float8": torch.tensor([[0.0, 1.5], [-0.0, 3.0]]).to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("name", ODD)
def test_every_bit_comes_back(name):
    """Pitfall: `w != 0` drops the sign of -0, and a mask by product (`w * mask`) leaves -0 in the place of zeros."""
    others = {"bias": torch.tensor([0.0, -0.0]), "count": torch.tensor(7), "table": torch.tensor([[True, False]])}
    tensors = {"weight": ODD[name]} | others
    for content in contents(tensors, ["weight"]).values():
        assert same(storage.unpack(content), tensors)


def test_a_network_without_prunable_weights_or_without_any_tensor_is_packed():
    for tensors in ({"bias": torch.zeros(3)}, {}):
        for content in contents(tensors, []).values():
            assert same(storage.unpack(content), tensors)


def test_tensors_that_share_memory_are_packed_one_by_one():
    """Pitfall: safetensors refuses tied weights, or drops one of them."""
    w = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    tensors = {"a.weight": w, "b.weight": w, "c.weight": w[:1]}
    for content in contents(tensors, ["a.weight"]).values():
        assert same(storage.unpack(content), tensors)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(0, 6), max_size=4),
    zero=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    kind=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
    seed=st.integers(0, 999),
)
def test_random_tensors_come_back_in_every_encoding(shape, zero, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(shape, generator=generator).to(kind)
    w = torch.where(torch.rand(shape, generator=generator) < zero, torch.zeros((), dtype=kind), w)
    for content in contents({"w": w, "b": w.flatten()}, ["w"]).values():
        assert same(storage.unpack(content), {"w": w, "b": w.flatten()})


def test_every_reader_of_safetensors_opens_a_packed_file(network):
    tensors, names = network
    for (encoding, gzipped), content in contents(tensors, names).items():
        parts = safetensors.torch.load(gzip.decompress(content) if gzipped else content)
        assert all(bits(parts[name]) == bits(t) for name, t in tensors.items() if name not in names)
        for name in names:
            w = tensors[name].reshape(len(tensors[name]), -1)
            if encoding == "dense":
                assert bits(parts[name]) == bits(tensors[name])
                continue
            values = parts[f"{name}.values"].numpy()
            if encoding == "bitmask":
                assert np.array_equal(parts[f"{name}.mask"].numpy(), np.packbits(w.numpy() != 0))
                assert np.array_equal(values, w[w != 0].numpy())
            else:
                own = scipy.sparse.csr_matrix(w.numpy())
                assert np.array_equal(values, own.data)
                assert np.array_equal(parts[f"{name}.columns"].numpy(), own.indices)
                assert np.array_equal(parts[f"{name}.rows"].numpy(), own.indptr)


# ---- how large it is ---------------------------------------------------------------------------------------------------


def index_kind(most: int) -> tuple[str, int]:
    """The smallest type whose numbers reach `most`, and its bytes."""
    if most < 1 << 8:
        return "U8", 1
    if most < 1 << 16:
        return "U16", 2
    return ("I32", 4) if most < 1 << 31 else ("I64", 8)


def entries(name: str, shape: tuple[int, ...], nonzero: int, precision: str, encoding: str) -> list[tuple]:
    """(name, type, bytes of one, shape) of what stands for a prunable weight, from its shape and count alone."""
    kind, rows, columns = KINDS[precision], shape[0], math.prod(shape[1:])
    values = f"{name}.values", *kind, (nonzero,)
    if encoding == "dense":
        return [(name, *kind, shape)]
    if encoding == "bitmask":
        return [values, (f"{name}.mask", "U8", 1, (-(-rows * columns // 8),))]
    own = index_kind(columns - 1), index_kind(nonzero)
    return [values, (f"{name}.columns", *own[0], (nonzero,)), (f"{name}.rows", *own[1], (rows + 1,))]


def predicted(tensors: dict, names, precision: str, encoding: str) -> int:
    """The size of the plain file, from shapes and counts: 8 bytes, a header as safetensors writes it, and the numbers."""
    own = []
    for name, t in tensors.items():
        if name in names:
            own += entries(name, tuple(t.shape), int(t.count_nonzero()), precision, encoding)
        else:
            own.append((name, *(KINDS[precision] if t.is_floating_point() else ("I64", 8)), tuple(t.shape)))
    shapes = ",".join(rf"\"{n}\":[{','.join(map(str, tensors[n].shape))}]" for n in tensors if n in names)
    shapes = "" if encoding == "dense" else shapes
    header = f'{{"__metadata__":{{"packed":"1","encoding":"{encoding}","shapes":"{{{shapes}}}","sha256":"{"0" * 16}"}}'
    end = 0
    for name, kind, size, shape in sorted(own, key=lambda entry: (-entry[2], entry[0])):
        begin, end = end, end + size * math.prod(shape)
        header += f',"{name}":{{"dtype":"{kind}","shape":[{",".join(map(str, shape))}],"data_offsets":[{begin},{end}]}}'
    return 8 + math.ceil(len(header + "}") / 8) * 8 + end


def test_sizes_are_as_predicted_to_the_byte(network):
    tensors, names = network
    found = storage.sizes(tensors, names)
    assert len(found) == 12
    for precision in KINDS:
        own = storage.rounded(tensors) if precision == "bfloat16" else tensors
        files = contents(own, names)
        for encoding in storage.ENCODINGS:
            name = f"{precision}_{encoding}"
            assert found[name] == predicted(tensors, names, precision, encoding) == len(files[encoding, False])
            assert found[f"{name}_gzip"] == len(gzip.compress(files[encoding, False], 4, mtime=0))
            assert files[encoding, True] == gzip.compress(files[encoding, False], 4, mtime=0)


def test_a_file_has_the_size_that_the_library_would_give_it(network):
    tensors, names = network
    for (_, gzipped), content in contents(tensors, names).items():
        if not gzipped:
            about = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            assert len(content) == len(safetensors.torch.save(safetensors.torch.load(content), about))


def test_the_same_network_gives_the_same_file(network):
    tensors, names = network
    shuffled = dict(reversed([(name, t.clone()) for name, t in tensors.items()]))
    for (encoding, _), content in contents(tensors, names).items():
        if encoding == "dense":
            assert content in contents(shuffled, names).values()
    assert contents(tensors, names) == contents({name: t.clone() for name, t in tensors.items()}, names)


@pytest.mark.parametrize(
    ("columns", "kind"), [(1, "U8"), (256, "U8"), (257, "U16"), (65_536, "U16"), (65_537, "I32"), (2**31 + 1, "I64")]
)
def test_columns_take_the_smallest_type_that_holds_them_all(columns, kind):
    if columns < 2**31:
        w = torch.zeros(2, columns)
        w[0, -1] = 1
        content = contents({"w": w}, ["w"])["csr", False]
        assert same(storage.unpack(content), {"w": w})
        found = safetensors.torch.load(content)["w.columns"]
        assert found.tolist() == [columns - 1] and storage.TYPES[found.dtype] == kind
    assert storage._indices(np.array([columns - 1]), columns - 1).kind == kind == index_kind(columns - 1)[0]


@pytest.mark.parametrize(("nonzero", "kind"), [(255, "U8"), (256, "U16"), (65_535, "U16"), (65_536, "I32")])
def test_rows_take_the_smallest_type_that_holds_their_sum(nonzero, kind):
    w = torch.zeros(2, 65_536)
    w[1, :nonzero] = 1
    found = safetensors.torch.load(contents({"w": w}, ["w"])["csr", False])["w.rows"]
    assert found.tolist() == [0, 0, nonzero] and storage.TYPES[found.dtype] == kind


def test_the_smallest_file_is_the_best_of_all(network):
    tensors, names = network
    best = storage.smallest(tensors, names)
    assert len(best.content) == min(map(len, contents(tensors, names).values()))
    assert str(best) == "bitmask, gzipped" and same(storage.unpack(best.content), tensors)


def test_a_dense_network_is_smallest_dense():
    model = models.build("mlp", shape=(1, 8, 8), classes=10, width=4)
    assert storage.smallest(State.of(model).params, layers.prunable(model)).encoding == "dense"


def test_ratios_are_those_of_the_original_to_the_smallest(network):
    tensors, names = network
    found = storage.sizes(tensors, names)
    told, half = storage.ratios(found), storage.rounded(tensors)
    assert told["unpacked_bytes"] == len(contents(tensors, names)["dense", False])
    assert told["packed_bytes"] == len(storage.smallest(tensors, names).content)
    assert told["compression_ratio"] == told["unpacked_bytes"] / told["packed_bytes"]
    smaller = len(storage.smallest(half, names).content)
    assert told["compression_ratio_bfloat16"] == told["unpacked_bytes"] / smaller > told["compression_ratio"]
    assert storage.ratios({}) == dict.fromkeys(told)


def test_rounding_leaves_whole_numbers_and_short_ones():
    tensors = {"w": torch.tensor([1 + 2**-9]), "h": torch.ones(1, dtype=torch.float16), "n": torch.tensor(3)}
    found = storage.rounded(tensors)
    assert found["w"].dtype == torch.bfloat16 and found["w"].item() == 1
    assert bits(found["h"]) == bits(tensors["h"]) and bits(found["n"]) == bits(tensors["n"])


# ---- what is refused -----------------------------------------------------------------------------------------------------


def test_a_damaged_byte_is_found_wherever_it_is():
    tensors = {"w": torch.tensor([[0.0, 1.0, 0.0, 2.0]] * 3), "b": torch.tensor([0.5]), "n": torch.tensor(3)}
    for (_, gzipped), content in contents(tensors, ["w"]).items():
        unseen = (
            0  # bits that say nothing: what fills up the last byte of a mask or of gzip's, and gzip's time and system
        )
        for place in range(len(content)):
            for flip in (1, 128):
                damaged = bytearray(content)
                damaged[place] ^= flip
                try:
                    found = storage.unpack(bytes(damaged), "net")
                except BadInput as error:
                    assert str(error).startswith("net ")
                else:
                    unseen += 1
                    assert same(found, tensors)
        assert unseen <= (18 if gzipped else 1)


def test_a_file_that_was_cut_short_is_refused(network):
    tensors, names = network
    for content in contents(tensors, names).values():
        for size in (0, 1, 7, 100, len(content) // 2, len(content) - 1):
            with pytest.raises(BadInput, match="net is damaged, or was not written by `retrainlab pack`"):
                storage.unpack(content[:size], "net")


def test_files_of_others_and_of_newer_versions_are_told_apart(monkeypatch):
    tensors = {"w": torch.ones(2, 2)}
    with pytest.raises(BadInput, match="net holds tensors, but was not written by `retrainlab pack`"):
        storage.unpack(safetensors.torch.save(tensors, {"format": "pt"}), "net")
    for strange in (b"PK\3\4", b"\x1f\x8b\x08", gzip.compress(b"a text"), b"{}" * 100):
        with pytest.raises(BadInput, match="net is damaged, or was not written by"):
            storage.unpack(strange, "net")
    monkeypatch.setattr(storage, "VERSION", 2)
    newer = contents(tensors, ["w"])["csr", True]
    monkeypatch.undo()
    with pytest.raises(BadInput, match="net was packed by a newer version of retrainlab"):
        storage.unpack(newer, "net")


@pytest.mark.parametrize(
    "change",
    [
        {"shapes": '{"w":[99999999999,99999999999]}'},
        {"shapes": '{"w":[-1,4]}'},
        {"shapes": "[]"},
        {"shapes": '{"v":[3,4]}'},
        {"encoding": "csr"},
        {"encoding": "coo"},
        {"packed": "0"},
        {"sha256": "0" * 16},
        {"packed": "one"},
    ],
    ids=str,
)
def test_what_a_header_claims_is_not_believed(change):
    tensors = {"w": torch.tensor([[0.0, 1.0, 0.0, 2.0]] * 3)}
    content = contents(tensors, ["w"])["bitmask", False]
    about = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    with pytest.raises(BadInput, match="is damaged"):
        storage.unpack(safetensors.torch.save(safetensors.torch.load(content), about | change))


def test_names_that_would_meet_and_types_that_no_file_holds_are_refused():
    clash = {"w": torch.ones(2, 2), "w.values": torch.ones(3)}
    with pytest.raises(BadInput, match="'w.values' has the name of a part of 'w'"):
        storage.smallest(clash, ["w"])
    meta, complex_ = torch.ones(2, device="meta"), torch.ones(2, dtype=torch.complex128)
    for strange, kind in ((complex_, "complex128"), (torch.eye(2).to_sparse(), "sparse_coo"), (meta, "meta")):
        with pytest.raises(BadInput, match=f"'w' is of type {kind}, which no safetensors file holds"):
            storage.smallest({"w": strange}, ["w"])
    for name in ("__metadata__", "lone \ud800"):
        with pytest.raises(BadInput, match="No safetensors file can hold a tensor of the name"):
            storage.smallest({name: torch.ones(2)}, [])


def test_sizes_need_no_threads(network, monkeypatch):
    """Pitfall: a machine that lets a process start no thread ends a study that needs none."""
    tensors, names = network
    found = storage.sizes(tensors, names)

    def refused(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert storage.sizes(tensors, names) == found
