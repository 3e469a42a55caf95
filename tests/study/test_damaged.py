"""Damaged and hostile files, of every kind that is read: set aside or left out with a sentence, never fatal, never believed.

docs/reliability.md has a table of what is tried here, which is compared with this list.
"""

import json
import os
import random
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.explore.views.predict import Guess, Guesses
from retrainlab.figures.provenance import described
from retrainlab.keys import SCHEMA
from retrainlab.parsing import MOST
from retrainlab.paths import engines_file
from retrainlab.study import checkpoints, exports, seal
from retrainlab.study import store as store_module
from retrainlab.study.archive import Archive
from retrainlab.study.checkpoints import Checkpoints
from retrainlab.study.collapse import COLLAPSE
from retrainlab.study.older import Unfit
from retrainlab.study.results import Results
from retrainlab.study.run import run_study
from retrainlab.study.store import Store
from retrainlab.training import engine as engines
from retrainlab.training.engine import remembered
from retrainlab.training.state import Checkpoint, Job, Point, State
from tests.helpers.stored import KEY, dense, pruned, result

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
OTHERS = [None, False, 10**400, "../../x", [[1]], {"a": {}}]
Change = bytes | Callable[[Path], object]  # other content, or what is done to the file


@dataclass(frozen=True)
class Kind:
    """A kind of file. make: writes it into a folder and returns it; read: what it says, None if it is set aside or left out;
    text: whether it is JSON; sums: whether a checksum holds it; said: the sentence on what is set aside."""

    name: str
    make: Callable[[Path], Path]
    read: Callable[[Path], object]
    text: bool
    sums: bool
    said: str


ANEW = "Damaged: FILE (WHY); set aside in STORE/damaged, and made anew when it is needed."
AGAIN = "Damaged: FILE (WHY); set aside in STORE/damaged, and that training begins anew."
BEGUN = "Damaged: FILE (WHY); set aside in STORE/damaged, and the guesses begin anew."
REFUSED = "FILE is not taken in, and nothing was changed: WHY."
LANDSCAPE = replace(result(), curves={"place": [0.0, 1.0, 2.0], "accuracy": [0.1, 0.9, 0.8]})
CURVE = {COLLAPSE: {str(s): 1 - s / 100 for s in range(100)}}
CURVED = replace(dense(), result=replace(result(), curves=CURVE))
JOB = Job(
    State({"w": torch.ones(2, 3)}, {"b": torch.zeros(2)}, {"w": torch.zeros(2, 3)}), torch.linspace(1, 0, 9), (0,)
)
CHECKPOINT = Checkpoint(JOB.start, {}, {}, 4, (Point(0, 0.1, 2.0, None),), 1.5, 4, 0.25)


def _stored(kind: str, end: str, thing) -> tuple[Callable[[Path], Path], Callable[[Path], object]]:
    def make(folder: Path) -> Path:
        Store(folder).put(KEY, thing)
        return Store(folder).path(kind, KEY, end)

    def read(folder: Path) -> object:
        found = Store(folder).get(kind, KEY)
        return found and (found.result, sorted((n, t.tolist()) for n, t in found.tensors.items()))

    return make, read


def _checkpoint(folder: Path) -> Path:
    Checkpoints(folder, ["a"])._write("a-0", JOB, CHECKPOINT)
    return checkpoints.path(folder, "a-0")


def _gone_on(folder: Path) -> object:
    found = Checkpoints(folder, ["a"])._read("a-0", JOB)
    return found and (found.step, found.points, found.loss_sum, found.state.params["w"].tolist())


def _engines(folder: Path) -> Path:
    file, engine = engines_file(), {"kind": "loop", "seconds": 0.5}
    file.parent.mkdir(parents=True, exist_ok=True)
    name = "mlp, 1x8x8, batch 64, cpu, 2 cores, torch 2.0.0"
    file.write_text(json.dumps({name: {"engine": engine, "ms_per_member_step": {"0": 0.5}}}))
    return file


def _guesses(folder: Path) -> Path:
    Guesses(Results(Store(folder))).add("race", Guess("Ann", ("LLR", "FT"), 2.0))
    return folder / "guesses.json"


def _words(folder: Path) -> Path:
    caption = "Which schedule is best, at which sparsity and budget, with the spread of the seeds."
    (folder / "fig.json").write_text(json.dumps({"caption": caption, "devices": ["cpu"], "steps": {"mlp": 9}}))
    return folder / "fig.json"


def _exported(folder: Path) -> Path:
    store = Store(folder / "from")
    store.put(KEY, dense())
    store.put(KEY, result())
    planned = exports.Plan((("dense", KEY), ("results", KEY)), frozenset({("dense", KEY)}))
    exports.export(store, planned, folder / "out.zip")
    shutil.rmtree(store.root)
    return folder / "out.zip"


def _unpacked(folder: Path) -> object:
    try:
        every = list(Archive(folder / "out.zip").every())
    except Unfit:
        return None
    return [
        (kind, key, thing.result, sorted((n, t.tolist()) for n, t in thing.tensors.items()))
        for kind, key, thing in every
    ]


REMADE = "nothing: it is measured again"
ASKED = "nothing, or to make the figure again"
KINDS = [
    Kind("record of a result", *_stored("results", "json", result()), True, True, ANEW),
    Kind("record of a landscape", *_stored("results", "json", LANDSCAPE), True, True, ANEW),
    Kind("record of a dense run with its curve of collapse", *_stored("dense", "json", CURVED), True, True, ANEW),
    Kind("record of a prune", *_stored("pruned", "json", pruned()), True, True, ANEW),
    Kind("weights", *_stored("dense", "safetensors", dense()), False, True, ANEW),
    Kind("masks", *_stored("pruned", "safetensors", pruned()), False, True, ANEW),
    Kind("checkpoint", _checkpoint, _gone_on, False, True, AGAIN),
    Kind("file of results", _exported, _unpacked, False, True, REFUSED),
    Kind("guesses.json", _guesses, lambda folder: Guesses(Results(Store(folder))).all or None, True, False, BEGUN),
    Kind("engines.json", _engines, lambda folder: remembered() or None, True, False, REMADE),
    Kind("words beside a figure", _words, lambda folder: described(folder, "fig") or None, True, False, ASKED),
]


# ---- what is done to a file ------------------------------------------------------------------------------------------


def _cut(content: bytes) -> list[Change]:
    places = [0, 1, 7, 8, 9, len(content) - 1, *(len(content) * i // 15 for i in range(1, 15))]
    return [content[:place] for place in sorted(places)]


def _flipped(content: bytes) -> list[Change]:
    draw, out = random.Random(0), []
    for _ in range(50):
        other = bytearray(content)
        other[draw.randrange(len(other))] ^= 1 << draw.randrange(8)
        out.append(bytes(other))
    return out


def _replaced(how: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        path.unlink()
        how(path)

    return change


def _large(path: Path) -> None:
    with open(path, "r+b") as file:
        file.truncate(MOST + 1)  # without a block on disk


def _places(thing: object) -> Iterator[tuple]:
    """The way to every value in parsed JSON."""
    for name, value in (
        thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    ):
        yield (name,)
        yield from ((name, *rest) for rest in _places(value))


def _of_other_types(content: bytes) -> list[Change]:
    out = []
    for place in [*_places(json.loads(content))][:25]:
        for value in OTHERS:
            whole = thing = json.loads(content)
            for name in place[:-1]:
                thing = thing[name]
            thing[place[-1]] = value
            out.append(json.dumps(whole).encode())
    return out


def _twice(content: bytes) -> list[Change]:
    """Its first number once more with another value, after it; before it the true one wins, as JSON has it."""
    first = re.search(rb'("[^"]+"): ([\d.]+)', content)
    return [content[: first.end()] + b", " + first[1] + b": 7" + content[first.end() :]]


def _header(header: bytes, size: int | None = None, data: bytes = b"") -> bytes:
    return (len(header) if size is None else size).to_bytes(8, "little") + header + data


def _headers(content: bytes) -> list[Change]:
    claims = [_header(b"{}", size) for size in (3, 10**6, 2**40, 2**63)]
    odd = [_header(h) for h in (b"[]", b"{}", b"[" * 10_000, b'{"__metadata__": []}', b'{"a": 3}', b"\xff\xff")]
    shapes = [([], 4), ([], 3), ([0], 0), ([2**62], 4), ([0, 2**62, 2**62], 0), ([1] * 99, 4), ([-1], 4)]
    kinds = ("F32", "BOOL", "F64", "F8_E5M2", "F4", "U64", "C64", "nothing")
    told = [
        _header(
            json.dumps({"w": {"dtype": kind, "shape": shape, "data_offsets": [0, size]}}).encode(), None, bytes(size)
        )
        for kind in kinds
        for shape, size in shapes
    ]
    return [*claims, *odd, *told, save({"w": torch.tensor(1.0)}), save({"../w": torch.zeros(0)})]


def _places_taken(_: bytes) -> list[Change]:
    others = (Path.mkdir, lambda path: path.symlink_to(path), os.mkfifo, lambda path: path.symlink_to("/dev/zero"))
    return [_replaced(how) for how in others]


def _other_bytes(_: bytes) -> list[Change]:
    return [bytes(99), b"\xff\xfe\x00\x80", b"PK\x03\x04" + bytes(30), b"<html><script>alert(1)</script></html>"]


def _nested(_: bytes) -> list[Change]:
    return [b"[" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000]


def _beyond(content: bytes) -> list[Change]:
    """Its numbers, and its whole, as others than any float or computer's integer."""
    numbers = (b"1e400", b"-1e400", b"9" * 5_000, b"NaN", b"-Infinity")
    return [*numbers, *(re.sub(rb": [\d.]+", b": " + number, content) for number in numbers)]


def _newer(content: bytes) -> list[Change]:
    now, then = (b'"schema": %d' % version for version in (SCHEMA, SCHEMA + 1))
    return [content.replace(now, then)] if now in content else []


TEXT: dict[str, Callable[[bytes], list[Change]]] = {  # of JSON
    "numbers beyond all others": _beyond,
    "a value of another type": _of_other_types,
    "a name twice": _twice,
    "a newer version": _newer,
}
DONE: dict[str, Callable[[bytes], list[Change]]] = {
    "cut off": _cut,
    "a bit flipped": _flipped,
    "a folder, link, pipe or device instead": _places_taken,
    "other bytes": _other_bytes,
    "nested 10,000 deep": _nested,
    **TEXT,
    "false headers": _headers,
    "64 MiB": lambda _: [_large],
}


def changes(kind: Kind, folder: Path) -> list[tuple[str, Change]]:
    """Everything that is tried on a file of that kind."""
    content, left_out = kind.make(folder).read_bytes(), ["false headers"] if kind.text else TEXT
    return [(name, change) for name, done in DONE.items() if name not in left_out for change in done(content)]


# ---- what comes of it ------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(store_module, "RENAMED", 0.0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_does_not_fit_is_set_aside_and_made_anew_equal_to_before(kind, tmp_path):
    """Whatever is done to a file: it is read as it was, or as if it had never been made; then it is made again."""
    (folder := tmp_path / "there").mkdir()
    (outside := tmp_path / "outside").mkdir()
    every = changes(kind, folder)
    was, words = kind.read(folder), set()
    assert was is not None
    path = kind.make(folder)
    whole = {each: each.read_bytes() for each in [*folder.rglob("*.*"), path] if each.is_file()}
    for name, change in every:
        for each, content in whole.items():
            each.write_bytes(content)
        path.write_bytes(change) if isinstance(change, bytes) else change(path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = kind.read(folder)
        words |= {str(warning.message).replace(str(folder), "STORE") for warning in caught}
        assert found is None or found == was or not kind.sums, name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif not path.is_file() or path.is_symlink():
            path.unlink(missing_ok=True)
    kind.make(folder)
    assert kind.read(folder) == was
    if kind.said.startswith("Damaged"):
        pattern = re.escape(kind.said).replace("FILE", r"[^(]*").replace("WHY", r".+")
        assert words and all(re.fullmatch(pattern, one) and one.isprintable() for one in words)
    else:
        assert not words
    assert not list(outside.iterdir()) and {p.name for p in tmp_path.iterdir()} <= {"there", "outside", "cache"}


def test_the_page_tells_what_was_tried(tmp_path):
    tried: Counter[str] = Counter()
    for place, kind in enumerate(KINDS):
        (folder := tmp_path / str(place)).mkdir()
        tried.update(name for name, _ in changes(kind, folder))
    rows = [f"| {name} | {tried[name]} | 0 | 0 | 0 |" for name in DONE]
    first = ["| what was done to a file | times | lost | doubled | wrong |", "|---|---|---|---|---|", *rows]
    rows = [f"| {kind.name} | {'yes' if kind.sums else 'no'} | {kind.said} |" for kind in KINDS]
    second = ["| file | held by a checksum | what is said |", "|---|---|---|", *rows]
    for table in (first, second):
        assert "\n".join(table) in PAGE.read_text(), "\n".join(table)


FORGED = ("step", "since", "seconds", "points", "ended", "tensors", "job", "name", "schema")


@pytest.mark.parametrize("field", FORGED)
def test_a_checkpoint_that_someone_forged_ends_no_study(field, tmp_path):
    """Its checksums are right."""
    file = _checkpoint(tmp_path)
    with safe_open(file, framework="pt") as opened:
        record = json.loads(opened.metadata()[checkpoints.HEADER])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    record.pop("sha256")
    values = [*OTHERS, 10**9, [{}], [{"step": "0"}], [{"step": 0, "accuracy": "x", "loss": 0, "train_loss": 0}]]
    for value in values:
        changed = record | {field: value}
        about = {checkpoints.HEADER: json.dumps({"sha256": seal.of_record(changed)} | changed)}
        file.write_bytes(save(tensors, about))
        with suppress(Unfit):
            checkpoints.read(file, JOB)
            assert field in ("ended", "seconds", "points"), value
    for name, tensor in {"params/w": torch.ones(3), "method/masks": torch.ones(1), "noise/cpu": torch.ones(3)}.items():
        changed = record | {"tensors": seal.of_tensors("a-0", tensors | {name: tensor})}
        about = {checkpoints.HEADER: json.dumps({"sha256": seal.of_record(changed)} | changed)}
        file.write_bytes(save(tensors | {name: tensor}, about))
        with pytest.raises(Unfit):
            checkpoints.read(file, JOB)


def test_a_study_whose_files_are_all_damaged_makes_them_anew_equal_to_before(tmp_path):
    plan = [Experiment(Recipe(model="mlp", width=4, epochs=1), Prune(0.8), Retrain("LLR", budget=1.0), evaluations=1)]
    first = run_study(plan, store=tmp_path, jobs=1)
    for path in tmp_path.rglob("*.*"):
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="set aside"):
        again = run_study(plan, store=tmp_path, jobs=1)
    timed = ["images_per_second"]
    assert again.drop(columns=timed).equals(first.drop(columns=timed))
    assert len(list((tmp_path / "damaged").iterdir())) == 3  # new masks have taken the place of the old
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_study(plan, store=tmp_path, jobs=1, stored_only=True).equals(again)


def test_what_is_said_is_one_short_line_whatever_names_a_file_holds(tmp_path):
    """Pitfall: a name that a terminal obeys, or that fills it."""
    path = _stored("results", "json", result())[0](tmp_path)
    for name in ("\x1b[2J\x07", "a\nb\r", "\ud800", "long" * 10**5):
        record = {"key": KEY, "schema": SCHEMA, **vars(result()), "scalars": {name: "1"}}
        path.write_text(json.dumps(record))
        with pytest.warns(UserWarning) as caught:
            assert Store(tmp_path).get("results", KEY) is None
        said = str(caught[0].message)
        assert said.isprintable() and said.endswith("when it is needed.") and len(said) < 1000


def test_what_a_killed_writer_left_beside_the_engines_goes(tmp_path):
    left = _engines(tmp_path).with_name(".engines.json.0123abcd.tmp")
    left.write_text("{")
    os.utime(left, (0, 0))
    engines._remember("another", {})
    assert not left.exists() and len(json.loads(engines_file().read_text())) == 2
