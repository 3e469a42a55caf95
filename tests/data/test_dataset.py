"""Splits that never change, statistics of the training split alone, and batches that a seed repeats exactly."""

import gzip
import hashlib
import os
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrainlab.checks import BadInput
from retrainlab.config import Recipe
from retrainlab.data import dataset as D
from retrainlab.data import sources
from retrainlab.data.batches import batches, clean_batches, crop_and_flip
from retrainlab.data.dataset import Augmentation, Dataset, Split, counts, load
from retrainlab.data.sources import fingerprint
from retrainlab.noise import stream
from retrainlab.study import layer_names
from retrainlab.study.stages import dense_curve_of, steps_of
from tests.helpers.refusals import said

PARTS = ("train", "validation", "test")
PLAIN = Augmentation()
REAL = os.environ.get("RETRAINLAB_DATA", "")  # before tests have a folder of their own


@pytest.fixture(autouse=True)
def nothing_kept():
    """What one test read from its own folder is not there for the next."""
    D._load.cache_clear()
    yield
    D._load.cache_clear()


@pytest.fixture
def digits():
    return load("digits")


def tiny(n=20, channels=1, size=5, augmentation=PLAIN, device="cpu") -> Dataset:
    """Training image i is full of the number i; 7 validation and 6 test images."""

    def split(count, first):
        grey = torch.arange(first, first + count, dtype=torch.uint8).view(-1, 1, 1, 1)
        return Split(grey.expand(count, channels, size, size).clone().to(device), (torch.arange(count) % 3).to(device))

    mean, std = torch.full((channels,), 9.5, device=device), torch.full((channels,), 5.0, device=device)
    return Dataset("tiny", split(n, 0), split(7, 100), split(6, 200), 3, mean, std, augmentation)


def told(name: str, d: Dataset) -> str:
    """What is said of grey images in three splits."""
    counts = ", ".join(f"{len(getattr(d, part)):,} {part}" for part in PARTS)
    return f"{name}: {d.classes} classes; {counts} images; {d.shape[1]} x {d.shape[2]} pixels; mode L."


def same(a: Dataset, b: Dataset) -> bool:
    pairs = [(getattr(a, part), getattr(b, part)) for part in PARTS]
    return all(torch.equal(x.images, y.images) and torch.equal(x.labels, y.labels) for x, y in pairs)


# ---- digits ----------------------------------------------------------------------------------------------------------


def test_digits_are_1000_257_540_images_of_8x8(digits):
    assert [len(getattr(digits, p)) for p in PARTS] == [1000, 257, 540]
    assert digits.shape == (1, 8, 8) and digits.classes == 10
    assert sources.content("digits") == told("digits", digits)


def test_digits_splits_are_disjoint_and_together_are_all_of_them(digits):
    """Pitfall: the test set used to choose (through images that are in two splits)."""
    from sklearn.datasets import load_digits

    def rows(images, labels):
        return sorted((bytes(i.flatten().tolist()), int(y)) for i, y in zip(images, labels, strict=True))

    bunch = load_digits()
    everything = rows((bunch.images * 15).astype(np.uint8), bunch.target)
    ours = [getattr(digits, p) for p in PARTS]
    assert rows(torch.cat([s.images for s in ours]), torch.cat([s.labels for s in ours])) == everything


def test_digits_splits_hold_each_class_in_its_share(digits):
    everything = torch.cat([getattr(digits, p).labels for p in PARTS])
    share = everything.bincount() / len(everything)
    for part in PARTS:
        labels = getattr(digits, part).labels
        assert (labels.bincount() - share * len(labels)).abs().max() <= 1


def test_digits_splits_follow_no_seed_and_no_call(digits):
    """Pitfall: seed from pid and time."""
    first = digits
    for seed in (1, 2):
        D._load.cache_clear()
        torch.manual_seed(seed)
        np.random.seed(seed)
        assert same(load("digits"), first)


def test_digits_splits_are_these_images_on_every_machine(digits):
    """Fingerprints of labels and images in order: they change when any library, or we, shuffle or scale otherwise."""
    text = b"".join(bytes(getattr(digits, p).labels.tolist()) for p in PARTS)
    assert hashlib.sha256(text).hexdigest()[:16] == "f45082cf1cafa8af"
    images = b"".join(getattr(digits, p).images.numpy().tobytes() for p in PARTS)
    assert hashlib.sha256(images).hexdigest()[:16] == "27856874ab153ae3"


def test_images_stay_bytes_until_a_batch_is_used(digits):
    assert all(getattr(digits, p).images.dtype == torch.uint8 for p in PARTS)
    assert all(getattr(digits, p).labels.dtype == torch.int64 for p in PARTS)
    assert next(iter(clean_batches(digits, digits.test)))[0].dtype == torch.float32


def test_normalised_by_statistics_of_the_training_split_only(digits):
    pixels = digits.train.images.numpy().astype(np.float64)
    assert digits.mean.item() == pytest.approx(pixels.mean(), rel=1e-6)
    assert digits.std.item() == pytest.approx(pixels.std(), rel=1e-6)
    normal = digits.normalise(digits.train.images)
    assert abs(normal.mean().item()) < 1e-4 and abs(normal.std(correction=0).item() - 1) < 1e-4
    assert abs(digits.normalise(digits.test.images).mean().item()) > 1e-4


def test_all_train_moves_the_validation_images_into_training_and_leaves_the_test_images(digits):
    merged = load("digits", all_train=True)
    assert len(merged.train) == 1257
    assert torch.equal(merged.train.images, torch.cat([digits.train.images, digits.validation.images]))
    assert torch.equal(merged.train.labels, torch.cat([digits.train.labels, digits.validation.labels]))
    assert torch.equal(merged.test.images, digits.test.images)
    assert merged.mean.item() == pytest.approx(merged.train.images.double().mean().item(), rel=1e-6)


@pytest.mark.parametrize("name", sources.BUILT_IN)
def test_what_a_data_set_is_said_to_hold_is_what_its_images_are(name, monkeypatch):
    monkeypatch.setenv("RETRAINLAB_DATA", REAL)
    if sources.BUILT_IN[name].where() is None:
        pytest.skip(f"the images of {name} are not here")
    assert load(name).counts == counts(name) == sources.BUILT_IN[name].holds
    both = load(name, all_train=True).counts
    assert both == counts(name, all_train=True) and both.train == counts(name).train + counts(name).validation


def test_what_a_data_set_holds_is_known_without_its_images():
    recipe = Recipe(data="cifar10", model="resnet20", epochs=182, batch_size=128, all_train=True)
    assert steps_of(recipe) == 50_000 // 128 and steps_of(replace(recipe, all_train=False)) == 45_000 // 128
    assert len(dense_curve_of(recipe).lr) == 182 * 390
    assert len(layer_names(recipe)) == 20, "19 convolutions and a Linear"
    text = said(lambda: steps_of(replace(recipe, batch_size=50_001)))
    assert "50001" in text and "cifar10 has 50000 training images" in text


# ---- stratified ------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_stratified_takes_exactly_so_many_and_each_class_within_one_of_its_share(labels, draw):
    labels = np.array(labels)
    count = draw.draw(st.integers(0, len(labels)))
    index = D.stratified(labels, count)
    assert len(index) == count == len(set(index)) and list(index) == sorted(index)
    for c in set(labels):
        assert abs((labels[index] == c).sum() - count * (labels == c).mean()) < 1


def test_stratified_does_not_take_the_first_ones():
    assert list(D.stratified(np.zeros(100, int), 10)) != list(range(10))


# ---- streams and batches ---------------------------------------------------------------------------------------------


def test_streams_of_different_names_are_independent_and_of_the_same_name_equal():
    draws = {name: torch.rand(8, generator=stream(*name)) for name in [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0)]}
    assert torch.equal(draws[0, "a"], torch.rand(8, generator=stream(0, "a")))
    assert len({tuple(d.tolist()) for d in draws.values()}) == 4


def test_streams_follow_neither_the_global_seed_nor_the_process(monkeypatch):
    """Pitfall: seed from pid and time."""
    first = torch.rand(4, generator=stream(5, "x"))
    torch.manual_seed(99)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert torch.equal(torch.rand(4, generator=stream(5, "x")), first)
    assert stream(0, "init").initial_seed() == int(hashlib.sha256(b"0/init").hexdigest()[:16], 16) >> 1


def test_a_stream_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    list(batches(tiny(augmentation=Augmentation(2, True)), 4, 5, (0,)))
    assert torch.equal(torch.random.get_rng_state(), state)


def shown(data, batch_size, steps, seed, augment=False):
    """Which training images each batch held (see `tiny`)."""
    return [
        data_of.tolist()
        for data_of in (
            (images * 5 + 9.5).round().long()[:, 0, 0, 0]
            for images, _ in batches(data, batch_size, steps, seed, augment)
        )
    ]


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    """Pitfall: seed from pid and time."""
    data = tiny(augmentation=Augmentation(2, True))
    first, again, other = (list(batches(data, 4, 7, (seed, "x"))) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) and torch.equal(c, d) for (a, c), (b, d) in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for (a, _), (b, _) in zip(first, other, strict=True))


def test_every_epoch_has_its_own_order_and_shows_no_image_twice():
    epochs = np.array(shown(tiny(20), 6, 9, (0,))).reshape(3, 18)
    assert all(len(set(e)) == 18 for e in epochs.tolist())
    assert len({tuple(e) for e in epochs.tolist()}) == 3


def test_batches_are_whole_and_exactly_as_many_as_asked_for():
    data = tiny(20)
    assert data.steps_per_epoch(6) == 3 and data.steps_per_epoch(20) == 1
    for steps in (1, 3, 4, 7):
        made = list(batches(data, 6, steps, (0,)))
        assert len(made) == steps and all(len(images) == len(labels) == 6 for images, labels in made)


def test_fewer_steps_are_the_beginning_of_more_steps():
    assert shown(tiny(20), 6, 4, (0,)) == shown(tiny(20), 6, 9, (0,))[:4]


def test_labels_go_with_their_images():
    data = tiny(20)
    for images, labels in batches(data, 4, 10, (3,)):
        assert torch.equal((images[:, 0, 0, 0] * 5 + 9.5).round().long() % 3, labels)


def test_augmentation_changes_no_image_and_no_order_but_the_crop():
    data = tiny(20, augmentation=Augmentation(1, True))
    centre = [((images * 5 + 9.5).round().long()[:, 0, 2, 2]).tolist() for images, _ in batches(data, 4, 10, (0,))]
    assert centre == shown(tiny(20), 4, 10, (0,))


def test_augmentation_happens_where_asked_for_and_only_there():
    data = tiny(20, augmentation=Augmentation(2, False))

    def flat(augment):
        return all(len(set(image.flatten().tolist())) == 1 for image, _ in batches(data, 1, 20, (0,), augment))

    assert flat(augment=False) and not flat(augment=True)


def test_crops_reach_every_offset_and_flips_are_half():
    size, pad = 5, 2
    data = tiny(200, size=size, augmentation=Augmentation(pad, True))
    ramp = torch.arange(1, size * size + 1, dtype=torch.uint8).view(1, 1, size, size).expand(200, 1, size, size).clone()
    data.train.images.copy_(ramp)
    plain = torch.nn.functional.pad(ramp[:1], (pad,) * 4)
    wanted = {}
    for dy in range(2 * pad + 1):
        for dx in range(2 * pad + 1):
            crop = plain[0, 0, dy : dy + size, dx : dx + size]
            wanted[tuple(crop.flatten().tolist())] = (dy, dx, False)
            wanted[tuple(crop.flip(1).flatten().tolist())] = (dy, dx, True)
    seen = [
        wanted[tuple(image.flatten().tolist())]
        for images, _ in batches(data, 50, 40, (0,))
        for image in (images * 5 + 9.5).round().long()
    ]
    assert {s[:2] for s in seen} == {(y, x) for y in range(5) for x in range(5)}
    assert abs(np.mean([s[2] for s in seen]) - 0.5) < 4 * 0.5 / len(seen) ** 0.5


@pytest.mark.parametrize("part", PARTS)
def test_clean_batches_are_all_images_in_order_normalised_and_otherwise_untouched(part):
    """Pitfall: validation images augmented like training images."""
    data = tiny(20, channels=3, augmentation=Augmentation(2, True))
    split = getattr(data, part)
    split.images.copy_(torch.randint(0, 256, split.images.shape, dtype=torch.uint8))
    made = list(clean_batches(data, split, batch_size=4))
    images, labels = (torch.cat(x) for x in zip(*made, strict=True))
    assert torch.equal(images, (split.images.float() - 9.5) / 5) and torch.equal(labels, split.labels)
    assert [len(x) for x, _ in made] == [4] * (len(split) // 4) + [len(split) % 4] * (len(split) % 4 > 0)


def test_a_batch_larger_than_the_data_names_both():
    text = said(lambda: list(batches(tiny(20), 21, 1, (0,))))
    assert "21" in text and "20 training images" in text and "tiny" in text


# ---- crop and flip ---------------------------------------------------------------------------------------------------


def slow_crop_and_flip(images, pad, shift, flip):
    out = np.zeros_like(images)
    for b in range(len(images)):
        padded = np.pad(images[b], ((0, 0), (pad, pad), (pad, pad)))
        dy, dx = shift[b]
        out[b] = padded[:, dy : dy + images.shape[2], dx : dx + images.shape[3]]
        if flip[b]:
            out[b] = out[b][:, :, ::-1]
    return out


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 6)] * 4), st.integers(0, 4), st.integers(0, 10**6))
def test_crop_and_flip_equals_a_slow_loop_over_images(shape, pad, seed):
    b = shape[0]
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    shift, flip = rng.integers(0, 2 * pad + 1, (b, 2)), rng.random(b) < 0.5
    ours = crop_and_flip(torch.from_numpy(images), pad, torch.from_numpy(shift), torch.from_numpy(flip))
    assert ours.dtype == torch.uint8 and np.array_equal(ours.numpy(), slow_crop_and_flip(images, pad, shift, flip))


def test_the_shift_by_the_padding_without_a_flip_changes_nothing():
    images = torch.randint(0, 256, (3, 2, 4, 6), dtype=torch.uint8)
    assert torch.equal(crop_and_flip(images, 2, torch.full((3, 2), 2), torch.zeros(3, dtype=torch.bool)), images)


# ---- where data come from --------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_looked_at_is_a_place_without_data(monkeypatch):
    """Pitfall: `Path.is_file` raises where a name is too long, or a folder may not be entered."""
    monkeypatch.setenv("RETRAINLAB_DATA", "/" + "a" * 300)
    assert {"cifar10", "cifar100"} <= set(sources.missing())
    for name in ("cifar10", "cifar100"):
        assert "retrainlab data" in said(lambda name=name: load(name))
    sources.fashion_folder()


def test_files_of_cifar_that_may_not_be_read_are_a_sentence(monkeypatch):
    import torchvision

    def locked(self, root, train):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "__init__", locked)
    assert "may not be read" in said(lambda: load("cifar10"))


def test_an_unknown_name_is_a_folder_that_is_not_there(tmp_path):
    assert "There is no image folder" in said(lambda: load(str(tmp_path / "nowhere")))
    assert "digits" in said(lambda: fingerprint(str(tmp_path / "nowhere")))


def test_missing_fashion_mnist_names_its_files_its_folder_and_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "DEBIAN_FASHION", tmp_path / "debian")
    text = said(lambda: load("fashion-mnist"))
    for part in ("train", "t10k"):
        assert f"{part}-images-idx3-ubyte.gz" in text and f"{part}-labels-idx1-ubyte.gz" in text
    assert str(tmp_path / "data" / "FashionMNIST" / "raw") in text and str(tmp_path / "debian") in text
    assert "retrainlab data fashion-mnist`" in text
    assert sources.missing()["fashion-mnist"].endswith("retrainlab data fashion-mnist")


@pytest.mark.parametrize(("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")])
def test_missing_cifar_names_its_folder_its_file_and_the_command(tmp_path, name, folder):
    text = said(lambda: load(name))
    assert folder in text and ".tar.gz" in text and str(tmp_path / "data") in text
    assert f"retrainlab data {name}`" in text
    assert sources.missing()[name].endswith(f"retrainlab data {name}")


def test_built_in_data_that_is_there_is_not_missing(tmp_path):
    (tmp_path / "data" / "cifar-10-batches-py").mkdir(parents=True)
    assert "cifar10" in sources.missing(), "an empty folder is no data set"
    (tmp_path / "data" / "cifar-10-batches-py" / "data_batch_1").touch()
    assert "cifar10" not in sources.missing() and "cifar100" in sources.missing() and "digits" not in sources.missing()


def test_a_download_without_a_network_is_one_sentence(monkeypatch):
    import torchvision

    def no_network(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", no_network)
    text = said(lambda: sources.download("fashion-mnist"))
    assert "no route to host" in text and "retrainlab data fashion-mnist`" in text
    assert "did you mean 'cifar10'?" in said(lambda: sources.download("cifar-10"))


# ---- Fashion-MNIST ---------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    """The bytes of one file in IDX format."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    """Four small files in Fashion-MNIST's format where it is looked for first; accepted by their own checksum."""
    folder = tmp_path / "data" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 6000), ("t10k", 50)):
        arrays[f"{part}-images-idx3-ubyte"] = 80 * rng.integers(0, 3, (count, 4, 3), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    for stem, array in arrays.items():
        with gzip.open(folder / f"{stem}.gz", "wb") as file:
            file.write(idx(array))
    digest = hashlib.sha256(b"".join(a.tobytes() for a in arrays.values())).hexdigest()
    monkeypatch.setattr(sources, "FASHION_SHA256", digest)
    return SimpleNamespace(folder=folder, arrays=arrays)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("shape", [(7,), (3, 4, 5), (300, 2, 2)])
def test_an_idx_file_is_read_plain_or_gzipped(tmp_path, end, shape):
    array = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    path = tmp_path / f"images-idx{end}"
    path.write_bytes(gzip.compress(idx(array)) if end else idx(array))
    assert np.array_equal(sources._idx(path), array)


def test_fashion_mnist_is_split_into_train_validation_and_its_own_test_images(fashion):
    data = load("fashion-mnist")
    assert data.shape == (1, 4, 3) and [len(getattr(data, p)) for p in PARTS] == [1000, 5000, 50]
    assert np.array_equal(data.test.images[:, 0].numpy(), fashion.arrays["t10k-images-idx3-ubyte"])
    assert np.array_equal(data.test.labels.numpy(), fashion.arrays["t10k-labels-idx1-ubyte"])
    assert torch.equal(data.validation.labels.bincount(), torch.full((10,), 500))
    theirs = sorted(i.tobytes() for i in fashion.arrays["train-images-idx3-ubyte"])
    ours = torch.cat([data.train.images, data.validation.images])
    assert sorted(i.numpy().tobytes() for i in ours) == theirs


def _truncate(raw):
    return raw[: len(raw) // 2]


def _scramble(raw):
    raw = gzip.compress(gzip.decompress(raw))
    return raw[:10] + b"\xff" + raw[11:]  # the first byte after the header: no such kind of block


DAMAGE = {
    "truncated": _truncate,
    "scrambled": _scramble,
    "empty": lambda raw: b"",
    "empty gzip": lambda raw: gzip.compress(b""),
    "a web page": lambda raw: b"<html>404</html>",
    "short": lambda raw: gzip.compress(gzip.decompress(raw)[:100]),
    "other images": lambda raw: gzip.compress(gzip.decompress(raw)[:-1] + b"\x01"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_of_fashion_mnist_is_bad_input_that_says_what_to_do(fashion, damage):
    path = fashion.folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    text = said(lambda: load("fashion-mnist"))
    assert str(fashion.folder) in text and "again" in text


def test_one_missing_file_of_fashion_mnist_makes_all_of_it_missing(fashion, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "DEBIAN_FASHION", tmp_path / "debian")
    (fashion.folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "is not here" in said(lambda: load("fashion-mnist"))


def test_the_real_fashion_mnist():
    if sources.fashion_folder() is None:
        pytest.skip("Fashion-MNIST is not on this machine")
    data = load("fashion-mnist")
    assert data.shape == (1, 28, 28) and [len(getattr(data, p)) for p in PARTS] == [55000, 5000, 10000]
    assert sources.content("fashion-mnist") == told("fashion-mnist", data)
    assert torch.equal(data.validation.labels.bincount(), torch.full((10,), 500))
    assert torch.equal(data.test.labels.bincount(), torch.full((10,), 1000))
    assert data.mean.item() == pytest.approx(0.286 * 255, rel=0.01)
    assert data.std.item() == pytest.approx(0.353 * 255, rel=0.01)


# ---- CIFAR -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "maker"), [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_cifar_is_read_channels_first_and_split(monkeypatch, tmp_path, name, maker):
    import torchvision

    rng = np.random.default_rng(0)
    made = {t: rng.integers(0, 256, (n, 4, 6, 3), dtype=np.uint8) for t, n in ((True, 5100), (False, 30))}

    def fake(root, train):
        assert root == str(tmp_path / "data")
        return SimpleNamespace(data=made[train], targets=[i % 10 for i in range(len(made[train]))])

    monkeypatch.setattr(torchvision.datasets, maker, fake)
    data = load(name)
    assert data.shape == (3, 4, 6) and [len(getattr(data, p)) for p in PARTS] == [100, 5000, 30]
    assert np.array_equal(data.test.images.numpy(), made[False].transpose(0, 3, 1, 2))
    assert data.test.labels.tolist() == [i % 10 for i in range(30)]
    pixels = data.train.images.numpy().astype(float)
    assert np.allclose(data.mean, pixels.mean((0, 2, 3))) and np.allclose(data.std, pixels.std((0, 2, 3)))
    assert data.augmentation == Augmentation(4, True)


# ---- folders of images -----------------------------------------------------------------------------------------------


def paint(folder, classes, count, size=12, first=0):
    """`count` PNGs per class; the class is told by the red channel, 50 apart, the image by the green one."""
    from PIL import Image

    for value, name in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.zeros((size, size + 2, 3), np.uint8)
            pixels[...] = (50 * value, first + i, 7)
            pixels[0, 0] = (255, 255, 255)  # so that no channel is constant
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


THREE = {0: "cat", 1: "dog", 2: "eel"}


def red(split) -> list[int]:
    return split.images[:, 0, -1, -1].tolist()


def test_a_folder_of_classes_is_split_70_15_15(tmp_path):
    root = paint(tmp_path / "pets", THREE, 20)
    data = load(str(root), image_size=8)
    assert data.shape == (3, 8, 8) and data.classes == 3
    assert [len(getattr(data, p)) for p in PARTS] == [42, 9, 9]
    for part in PARTS:
        split = getattr(data, part)
        assert red(split) == [50 * y for y in split.labels.tolist()]
        assert split.labels.bincount().tolist() == [len(split) // 3] * 3
    shown = [tuple(i[:2, -1, -1].tolist()) for p in PARTS for i in getattr(data, p).images]
    assert len(set(shown)) == 60


def test_a_folder_with_train_validation_and_test_keeps_them(tmp_path):
    root = tmp_path / "pets"
    for first, part, count in ((0, "train", 8), (100, "validation", 3), (200, "test", 2)):
        paint(root / part, THREE, count, first=first)
    data = load(str(root), image_size=8)
    assert [len(getattr(data, p)) for p in PARTS] == [24, 9, 6]
    assert all(100 * i <= g < 100 * i + 8 for i, p in enumerate(PARTS) for g in getattr(data, p).images[:, 1, -1, -1])


def test_a_folder_with_train_and_test_only_splits_validation_off_train(tmp_path):
    root = tmp_path / "pets"
    paint(root / "train", THREE, 20)
    paint(root / "test", THREE, 4, first=100)
    data = load(str(root), image_size=8)
    assert [len(getattr(data, p)) for p in PARTS] == [51, 9, 12]
    assert min(data.test.images[:, 1, -1, -1]) == 100


def test_classes_mean_the_same_in_train_and_test_even_if_test_lacks_one(tmp_path):
    root = tmp_path / "pets"
    paint(root / "train", THREE, 20)
    paint(root / "test", {1: "dog", 2: "eel"}, 4)
    try:
        test = load(str(root), image_size=8).test
    except BadInput as error:
        assert "cat" in str(error)
    else:
        assert red(test) == [50 * y for y in test.labels.tolist()]


def test_the_fingerprint_of_a_folder_follows_its_content(tmp_path):
    root = paint(tmp_path / "pets", THREE, 3)
    first = fingerprint(str(root))
    assert fingerprint(str(root)) == first and fingerprint(str(root), 16) != first
    paint(root, {0: "cat"}, 1, first=99)
    changed = fingerprint(str(root))
    (root / "cat" / "1.png").rename(root / "dog" / "9.png")
    assert len({first, changed, fingerprint(str(root))}) == 3


def test_a_folder_that_changed_is_read_again(tmp_path):
    """Otherwise the old images' results are stored under the new images' key."""
    root = paint(tmp_path / "pets", THREE, 20)
    first = load(str(root), image_size=8)
    paint(root, THREE, 20, first=100)
    assert min(load(str(root), image_size=8).train.images[:, 1, -1, -1]) >= 100 > max(first.train.images[:, 1, -1, -1])


def test_built_in_fingerprints_are_names():
    assert fingerprint("digits") == "digits/1" and fingerprint("cifar10") != fingerprint("cifar100")


def test_an_image_that_cannot_be_read_is_bad_input(tmp_path):
    root = paint(tmp_path / "pets", THREE, 4)
    (root / "cat" / "0.png").write_bytes(b"not an image")
    assert str(root) in said(lambda: load(str(root), image_size=8))


def test_a_folder_too_small_to_split_is_bad_input(tmp_path):
    root = paint(tmp_path / "pets", THREE, 1)
    said(lambda: load(str(root), image_size=8))


def test_a_class_without_images_is_bad_input(tmp_path):
    root = paint(tmp_path / "pets", THREE, 4)
    (root / "fox").mkdir()
    assert str(root) in said(lambda: load(str(root), image_size=8))


def test_a_constant_colour_channel_is_bad_input(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "grey" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (8, 8), (5, 5, 5)).save(tmp_path / "grey" / name / f"{i}.png")
    assert "constant" in said(lambda: load(str(tmp_path / "grey"), image_size=8))


def test_digits_load_without_torchvision(monkeypatch):
    """Pitfall: a package imported for nothing; optional imports stay optional."""
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert len(load("digits").train) == 1000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_a_gpu_sees_the_same_batches():
    here, there = (tiny(augmentation=Augmentation(2, True), device=device) for device in ("cpu", "cuda"))
    pairs = zip(batches(here, 4, 12, (0,)), batches(there, 4, 12, (0,)), strict=True)
    assert all(torch.equal(a, b.cpu()) and torch.equal(c, d.cpu()) for (a, c), (b, d) in pairs)
