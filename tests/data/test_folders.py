"""Folders of images: what is read is what is fingerprinted and told, and what cannot be read right is refused by name."""

import hashlib
import os
import shutil
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from retrainlab import study
from retrainlab.config import Recipe
from retrainlab.data import dataset, pixels, sources
from retrainlab.data.folders import find
from retrainlab.data.reading import Folder
from retrainlab.data.sources import fingerprint
from retrainlab.study.store import Store
from tests.helpers.refusals import said


def draw(path: Path, seed: int = 0, mode: str = "RGB") -> Path:
    """An image of 9 x 8 pixels of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def fill(root: Path, *parts: str, classes=("cat", "dog"), count: int = 2, first: int = 0) -> Path:
    """`count` images in each class of each part, all different."""
    seed = first
    for part in parts or ("",):
        for name in classes:
            for i in range(count):
                draw(root / part / name / f"{i}.png", seed)
                seed += 1
    return root


@pytest.fixture
def pets(tmp_path) -> Path:
    return fill(tmp_path / "pets")


def pixels_of(path: Path) -> np.ndarray:
    """What is read of one image at its own size, [H, W, 3]."""
    with Image.open(path) as image:
        return np.asarray(pixels.rgb(image))


def refused(path: Path) -> str:
    """Why this image is not read; the sentence names it."""
    text = said(lambda: read(path.parent.parent))
    assert path.name in text and str(path.parent.parent) in text
    return text


def read(root: Path, size: int = 8):
    return Folder(find(str(root)), size).read()


def told(root: Path) -> str:
    return sources.content(str(root), 8)


def names(root: Path) -> list[str]:
    return [file.name for file in find(str(root)).files]


# ---- one walk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [(), ("train",), ("train", "val", "test"), ("train", "validation")])
def test_plain_folders_have_the_fingerprint_that_stored_results_have(tmp_path, parts):
    root = fill(tmp_path / "pets", *parts, classes=("cat", "cat-b", "dog", "cat/b", "Eel"))
    digest = hashlib.sha256(b"16")
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(root)}:".encode() + hashlib.sha256(path.read_bytes()).digest())
    assert fingerprint(str(root), 16) == f"folder/{digest.hexdigest()[:16]}"


def test_plain_folders_are_read_as_torchvision_reads_them(tmp_path):
    from torchvision import datasets, transforms

    root = fill(tmp_path / "pets", classes=("cat", "cat-b", "dog", "cat/b", "cat/b/c", "cat/b-c", "Eel"))
    for i, mode in enumerate(("L", "P", "1", "CMYK", "YCbCr")):
        draw(root / "dog" / f"{mode}.{'tif' if mode in ('CMYK', 'YCbCr') else 'PNG'}", i, mode)
    draw(root / "dog" / "photo.JPEG")
    transform = transforms.Compose([transforms.Resize(6), transforms.CenterCrop(6), transforms.PILToTensor()])
    theirs = datasets.ImageFolder(str(root), transform)
    images, labels = read(root, 6).train
    assert list(find(str(root)).classes) == theirs.classes and labels.tolist() == theirs.targets
    assert np.array_equal(images, np.stack([x.numpy() for x, _ in theirs]))


def test_class_folders_that_are_links_have_the_fingerprint_of_what_they_point_to(tmp_path):
    """Pitfall: a walk that follows no links, beside a loader that does."""
    prints = []
    for pool, first in (("one", 0), ("two", 50)):
        fill(tmp_path / pool, first=first)
        root = tmp_path / f"links to {pool}"
        root.mkdir()
        for name in ("cat", "dog"):
            (root / name).symlink_to(tmp_path / pool / name)
        prints.append(fingerprint(str(root)))
        assert fingerprint(str(root)) == fingerprint(str(tmp_path / pool))
        assert np.array_equal(read(root).train[0], read(tmp_path / pool).train[0])
    assert prints[0] != prints[1]


def test_a_link_that_is_turned_elsewhere_is_read_again(tmp_path, pets):
    fill(tmp_path / "pool", count=10)
    fill(tmp_path / "other", count=10, first=50)
    for name in ("cat", "dog"):
        shutil.rmtree(pets / name)
        (pets / name).symlink_to(tmp_path / "pool" / name)
    before = dataset.load(str(pets), image_size=8), fingerprint(str(pets))
    for name in ("cat", "dog"):
        (pets / name).unlink()
        (pets / name).symlink_to(tmp_path / "other" / name)
    after = dataset.load(str(pets), image_size=8), fingerprint(str(pets))
    assert before[1] != after[1] and not np.array_equal(before[0].train.images, after[0].train.images)


def test_a_file_that_changed_under_its_old_size_and_time_is_hashed_again(pets):
    path, before = pets / "cat" / "0.png", fingerprint(str(pets))
    status, raw = path.stat(), path.read_bytes()
    path.write_bytes(raw[:-30] + bytes([raw[-30] ^ 1]) + raw[-29:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size and fingerprint(str(pets)) != before


def test_a_relative_name_is_another_folder_elsewhere(tmp_path, monkeypatch):
    for place, first in (("a", 0), ("b", 50)):
        fill(tmp_path / place / "pets", count=10, first=first)
    seen = []
    for place in "ab":
        monkeypatch.chdir(tmp_path / place)
        seen.append((fingerprint("./pets"), dataset.load("./pets", image_size=8).train.images))
    assert seen[0][0] != seen[1][0] and not np.array_equal(seen[0][1], seen[1][1])


def test_a_folder_that_changes_during_a_study_ends_it(tmp_path):
    """Pitfall: what is trained on the new images is stored as the old ones'."""
    root, calls = fill(tmp_path / "pets", count=10), []
    recipe = Recipe(str(root), "mlp", 2, 1, batch_size=4, image_size=8)
    runs = study.grid(recipe, sparsities=[0.5], budgets=[1], schedules=["FT"], seeds=1)

    def add_one(share, word):
        calls.append(share)
        if len(calls) == 1:
            draw(root / "cat" / "new.png", 99)

    def go(progress):
        return study.run_study(runs, store=tmp_path / "store", jobs=1, engine="loop", progress=progress)

    assert "changed while the study ran" in said(lambda: go(add_one))
    assert Store(tmp_path / "store").count()["results"] == 0
    assert len(go(lambda *_: None)) == 1


def test_links_in_a_circle_and_to_nothing_are_refused_by_name(pets):
    (pets / "cat" / "inner").symlink_to(pets)
    (pets / "dog" / "gone.png").symlink_to(pets / "nowhere")
    text = said(lambda: read(pets))
    assert (
        "2 files cannot be used: cat/inner (a link to a folder that holds it), dog/gone.png (a link to nothing)" in text
    )


def test_what_is_hidden_or_left_behind_is_neither_class_nor_image_nor_in_the_fingerprint(pets):
    """Pitfall: `.ipynb_checkpoints` as a class, or its copies among the images."""
    before, mark = names(pets), fingerprint(str(pets))
    for litter in (".ipynb_checkpoints", "__MACOSX", "@eaDir"):
        for folder in (pets, pets / "cat"):
            draw(folder / litter / "0-checkpoint.png", 9)
    for file in (".DS_Store", "cat/.DS_Store", "cat/Thumbs.db", "cat/._0.png", "dog/desktop.ini"):
        (pets / file).write_bytes(b"litter")
    assert names(pets) == before and find(str(pets)).classes == ("cat", "dog") and fingerprint(str(pets)) == mark
    assert "not read" not in told(pets)


# ---- splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [
        ("train", "valid", "test"),
        ("Training", "VAL", "Testing"),
        ("TRAIN", "dev", "test"),
        ("train", "Validation", "Test"),
    ],
)
def test_splits_are_known_by_the_names_in_use_in_any_case(tmp_path, parts):
    root = fill(tmp_path / "pets", *parts)
    for found, folder in zip(find(str(root)).parts, parts, strict=True):
        assert found.folder == folder and [f.name.split("/")[0] for f in found.files] == [folder] * 4


def test_a_split_that_was_not_known_before_gives_another_fingerprint_than_its_files(tmp_path):
    """Results were stored under the hash of all files when `valid` was ignored."""
    marks = [fingerprint(str(fill(tmp_path / name, "train", name))) for name in ("val", "valid")]
    shutil.move(tmp_path / "valid" / "valid", tmp_path / "valid" / "val")
    assert marks[0] == fingerprint(str(tmp_path / "valid")) != marks[1]
    files = [(f.name.replace("val/", "valid/"), f) for f in find(str(tmp_path / "val")).files]
    plain = hashlib.sha256(b"None")
    for name, file in sorted(files, key=lambda pair: pair[0].split("/")):
        plain.update(f"{name}:".encode() + hashlib.sha256((tmp_path / "val" / file.name).read_bytes()).digest())
    assert marks[1] != f"folder/{plain.hexdigest()[:16]}"


LAYOUTS = {
    "splits one level too deep": (("train/train/cat", "train/val/cat"), "names of splits, where classes are wanted"),
    "a class beside train": (("train/cat", "train/dog", "eel"), "holds eel beside train"),
    "splits and classes": (("train/cat", "train/dog", "test/cat", "fold2/cat"), "holds fold2 beside test, train"),
    "no train": (("val/cat", "val/dog", "test/cat"), "one folder train"),
    "train twice": (("train/cat", "train/dog", "Training/cat"), "one folder train"),
    "two validations": (("train/cat", "train/dog", "val/cat", "valid/cat"), "at most one validation"),
    "a class that only test has": (("train/cat", "train/dog", "test/eel"), "training has not: eel"),
    "images of no class": (("train/cat", "train/dog", "test"), "pets/test holds no class"),
    "train of no class": (("train",), "pets/train holds no class"),
    "one class": (("cat",), "one class only"),
    "the folder above": (("pets/cat", "pets/dog"), "one class only"),
    "splits inside classes": (("cat/train", "cat/test", "dog/train"), "The class cat"),
    "splits by other names": (("set1/cat", "set1/dog", "set2/cat", "set2/dog"), "set1, set2 all hold folders cat, dog"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_cannot_be_told_is_refused(tmp_path, layout):
    paths, words = LAYOUTS[layout]
    for i, path in enumerate(paths):
        draw(tmp_path / "pets" / path / "0.png", i)
    assert words in said(lambda: fingerprint(str(tmp_path / "pets")))


def test_a_folder_without_images_beside_train_is_named_and_left_out(tmp_path):
    root = fill(tmp_path / "pets", "train")
    (root / "annotations").mkdir()
    (root / "annotations" / "boxes.xml").touch()
    assert "not read: annotations." in told(root) and len(names(root)) == 4


@pytest.mark.parametrize("inside", ["", "train"])
def test_a_class_without_images_is_refused_by_name(tmp_path, inside):
    root = fill(tmp_path / "pets", *filter(None, [inside]))
    (root / inside / "eel").mkdir()
    (root / inside / "eel" / "notes.txt").touch()
    assert ".tiff .webp): eel;" in said(lambda: find(str(root)))


def test_a_class_may_be_called_train_inside_train(tmp_path):
    assert find(str(fill(tmp_path / "ways", "train", classes=("bus", "train")))).classes == ("bus", "train")


# ---- what was found, in words ----------------------------------------------------------------------------------------


def test_words_say_splits_classes_counts_sizes_modes_and_what_is_not_read(tmp_path):
    root = fill(tmp_path / "pets", "train", "valid")
    draw(root / "test" / "dog" / "0.png", 90)
    Image.new("L", (20, 30)).save(root / "test" / "dog" / "1.png")
    shutil.copy(root / "train" / "cat" / "0.png", root / "valid" / "dog" / "copy.png")
    for name in ("readme.txt", "train/cat/new.gif", "train/x.png"):
        (root / name).touch()
    assert told(root) == (
        f"{root}: 2 classes (cat, dog); 4 train images in train/, 5 validation images in valid/, 2 test images in test/ "
        "(none of cat); 9 x 8 to 20 x 30 pixels; mode RGB (10), L (1); read at 8 x 8 (0.00 GiB); 1 file is a copy of "
        "another; not read: readme.txt, train/cat/new.gif, train/x.png."
    )
    assert "224 x 224" in sources.content(str(root))
    flat = told(fill(tmp_path / "flat", count=10))
    assert "20 train images; validation and test split off train, 15 % each; 9 x 8 pixels; mode RGB; read" in flat


# ---- pixels ----------------------------------------------------------------------------------------------------------


def png(path: Path, width: int, height: int, depth: int, colour: int, rows: bytes = b"") -> Path:
    """A PNG from its bytes; colour: 0 grey, 2 RGB. rows: with a filter byte before each."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("end", ["png", "tif", "pgm"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(tmp_path, end):
    """Pitfall: PIL clips at 255 what it converts from 16 bits."""
    wide = np.array([[0, 128, 129, 257, 300, 32767, 32768, 65278, 65406, 65407, 65535]], np.uint16)
    path = tmp_path / f"x.{end}"
    Image.fromarray(wide).save(path)
    assert np.array_equal(pixels_of(path), np.round(wide[..., None] / 257).astype(np.uint8).repeat(3, 2))


def test_grey_of_16_bits_made_from_8_is_read_as_those_8(tmp_path):
    eight = np.arange(256, dtype=np.uint16)[None]
    Image.fromarray(eight * 257).save(tmp_path / "x.png")
    assert np.array_equal(pixels_of(tmp_path / "x.png")[..., 0], eight)


def test_rgb_of_16_bits_is_read_within_one_level(tmp_path):
    wide = np.random.default_rng(0).integers(0, 65536, (4, 5, 3)).astype(">u2")
    wide[0] = 257 * np.arange(100, 115).reshape(5, 3)
    path = png(tmp_path / "x.png", 5, 4, 16, 2, b"".join(b"\0" + row.tobytes() for row in wide))
    assert np.abs(pixels_of(path) - wide / 257).max() < 1 and np.array_equal(pixels_of(path)[0], wide[0] // 257)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_is_stretched_to_the_whole_range(tmp_path, depth):
    values = list(range(2**depth))
    packed = int("".join(f"{v:0{depth}b}" for v in values).ljust(8 * -(-depth * len(values) // 8), "0"), 2)
    row = b"\0" + packed.to_bytes(-(-depth * len(values) // 8), "big")
    path = png(tmp_path / "x.png", len(values), 1, depth, 0, row)
    assert pixels_of(path)[0, :, 0].tolist() == [v * 255 // (2**depth - 1) for v in values]


def test_cmyk_keeps_white_black_and_the_inks(tmp_path):
    inks = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 255, 0]]], np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / "x.tif")
    wanted = [[255, 255, 255], [0, 0, 0], [0, 255, 255], [255, 0, 255], [255, 255, 0]]
    assert pixels_of(tmp_path / "x.tif")[0].tolist() == wanted


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("end", ["jpg", "png", "webp", "tif"])
def test_images_are_turned_as_the_camera_was_held(tmp_path, turn, end):
    """Pitfall: EXIF's orientation ignored."""
    exif = Image.Exif()
    exif[0x0112] = turn
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / f"x.{end}", exif=exif)
    with Image.open(tmp_path / f"x.{end}") as image:
        assert np.array_equal(pixels_of(tmp_path / f"x.{end}"), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_is_refused_unless_all_is_opaque(pets, mode):
    """Pitfall: dropped alpha shows whatever colour lies below."""
    alpha = np.full((8, 8), 255, np.uint8)
    path = pets / "cat" / ("x.tif" if mode == "PA" else "x.png")
    for hole in (False, True):
        alpha[0, 0] = 0 if hole else 255
        image = draw(pets / "cat" / "x.png")
        image = Image.open(image).convert("RGB").crop((0, 0, 8, 8))
        if mode == "P":
            image.quantize(8).save(path, transparency=bytes([0 if hole else 255] * 8))
        else:
            base = image.convert("L" if mode in ("LA", "PA") else "RGB")
            whole = Image.merge("LA" if mode in ("LA", "PA") else "RGBA", (*base.split(), Image.fromarray(alpha)))
            whole.save(path)
        if hole:
            assert "(transparent: lay it on a background)" in refused(path)
        else:
            with Image.open(path) as opened:
                assert np.array_equal(pixels_of(path), np.asarray(opened.convert("RGBA"))[..., :3])
            read(pets)


def test_a_colour_that_stands_for_transparent_is_refused(pets):
    Image.new("RGB", (8, 8), (1, 2, 3)).save(pets / "cat" / "x.png", transparency=(1, 2, 3))
    assert "transparent" in refused(pets / "cat" / "x.png")


@pytest.mark.parametrize("mode", ["F", "I", "LAB", "12 bits", "white is zero"])
def test_numbers_whose_range_is_not_told_are_refused(pets, mode):
    path = pets / "cat" / "x.tif"
    if mode in ("F", "I", "LAB"):
        Image.new(mode, (8, 8)).save(path)
    else:
        Image.new("I;16", (8, 8)).save(path)
        raw = bytearray(path.read_bytes())  # a TIFF's entry: tag, type, count, value
        tag, value = (258, 12) if mode == "12 bits" else (262, 0)
        entry = raw.index(struct.pack("<HHI", tag, 3, 1))
        raw[entry + 8 : entry + 10] = struct.pack("<H", value)
        path.write_bytes(raw)
    assert "range is not told" in refused(path)


@pytest.mark.parametrize("end", ["png", "webp", "tif"])
def test_several_frames_are_refused(pets, end):
    path = pets / "cat" / f"x.{end}"
    frames = [Image.new("RGB", (8, 8), (c, c, c)) for c in (10, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert "(2 frames: keep one)" in refused(path)


def test_a_phones_photo_with_a_preview_in_it_is_read(pets):
    shots = [Image.new("RGB", (8, 8), (c, c, c)) for c in (10, 200)]
    shots[0].save(pets / "cat" / "x.jpg", "MPO", save_all=True, append_images=shots[1:])
    assert abs(pixels_of(pets / "cat" / "x.jpg").astype(int) - 10).max() < 3
    read(pets)


@pytest.mark.parametrize("kind", ["16 bits", "turned", "alpha"])
def test_what_was_read_otherwise_when_results_were_stored_has_another_fingerprint_than_its_bytes(pets, kind):
    path, exif = pets / "cat" / "0.png", Image.Exif()
    exif[0x0112] = 6
    if kind == "16 bits":
        Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(path)
    else:
        Image.new("RGBA" if kind == "alpha" else "RGB", (8, 9)).save(path, exif=exif if kind == "turned" else None)
    digest = hashlib.sha256(b"None")
    for name in names(pets):
        digest.update(f"{name}:".encode() + hashlib.sha256((pets / name).read_bytes()).digest())
    assert fingerprint(str(pets)) != f"folder/{digest.hexdigest()[:16]}"


# ---- what cannot be read ---------------------------------------------------------------------------------------------


def test_every_file_that_cannot_be_read_is_found_before_work_and_the_first_are_named(pets):
    png(pets / "cat" / "huge.png", 20_000, 10_000, 8, 2)
    (pets / "cat" / "empty.png").touch()
    (pets / "cat" / "text.png").write_text("<html>404</html>")
    whole = draw(pets / "cat" / "cut.png").read_bytes()
    (pets / "cat" / "cut.png").write_bytes(whole[: len(whole) // 2])
    png(pets / "dog" / "long.png", 1, 100_000, 8, 0, b"\0\0" * 100_000)
    (pets / "dog" / "more.png").touch()
    fingerprint(str(pets))
    text = said(lambda: Folder(find(str(pets)), 64).read())
    wanted = (
        "cat/cut.png (",
        "cat/empty.png (empty)",
        "cat/huge.png (more than 178,956,970 pixels)",
        "cat/text.png (no image",
    )
    assert "6 files cannot be used" in text and all(w in text for w in wanted) and "and 1 more" in text
    for name in ("cut", "empty", "huge", "text"):
        (pets / "cat" / f"{name}.png").unlink()
    text = said(lambda: Folder(find(str(pets)), 224).read())
    assert "dog/long.png (1 x 100,000 pixels: too long" in text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["cat/0.png", "cat", "."])
def test_what_may_not_be_read_is_named(pets, name):
    (pets / name).chmod(0)
    try:
        assert "Permission denied" in said(lambda: (fingerprint(str(pets)), read(pets)))
    finally:
        (pets / name).chmod(0o700)


def test_a_folder_that_may_not_be_listed_is_named(pets, monkeypatch):
    """Pitfall: `os.walk` passes over it without a word, and its images are missing."""
    real = os.listdir

    def listdir(path):
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert "cat (Permission denied)" in said(lambda: read(pets))


def test_pipes_sockets_devices_and_folders_with_an_images_name_are_never_opened(pets, monkeypatch):
    """Pitfall: a FIFO is waited for for ever."""
    os.mkfifo(pets / "cat" / "fifo.png")
    (pets / "cat" / "null.png").symlink_to("/dev/zero")
    (pets / "dog" / "folder.png").mkdir()
    monkeypatch.chdir(pets / "dog")  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind("plug.png")
        fingerprint(str(pets))
        text = said(lambda: read(pets))
    assert (
        "4 files cannot be used: cat/fifo.png (a pipe, socket or device)" in text
        and "dog/folder.png (a folder)" in text
    )
    assert "fifo.png" in told(pets)


def test_a_pipe_by_another_name_is_only_told(pets):
    os.mkfifo(pets / "cat" / "fifo")
    assert "not read: cat/fifo." in told(pets) and len(read(pets).train[0]) == 4


def test_names_that_are_no_text_are_read_hashed_and_told(tmp_path):
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/p\xe9ts"))
    fill(root, classes=(os.fsdecode(b"ch\xe2t"), "new\nline"), count=10)
    (root / "new\nline" / os.fsdecode(b"\xff.txt")).touch()
    first = fingerprint(str(root))
    assert len(dataset.load(str(root), image_size=8).train) == 14
    text = told(root)
    assert text.isprintable() and "(ch\\udce2t, new\\nline)" in text and "\\udcff.txt" in text
    (root / "new\nline" / os.fsdecode(b"\xe9.png")).write_bytes(b"no image")
    assert fingerprint(str(root)) != first and "\\udce9.png (no image" in said(lambda: read(root))
    text.encode()


def test_images_that_do_not_fit_into_memory_are_refused_with_their_size(pets):
    text = said(lambda: Folder(find(str(pets)), 1_000_000).read())
    assert "4 images at 1000000 x 1000000 take about 55,879.4 GiB" in text


def test_a_name_that_is_no_folder_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    for name in ("~nobody-of-this-name/pets", str(tmp_path / "file"), "./a\0b", str(tmp_path / "p\udce9ts")):
        assert "There is no image folder" in said(lambda name=name: fingerprint(name))
