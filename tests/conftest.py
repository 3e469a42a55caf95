"""For all tests: nothing of the user's own is read or written, and no test sees which engine another has chosen."""

import os
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from retrainlab.study import run
from retrainlab.training import engine, half

pytest.register_assert_rewrite("tests.helpers")

ROOT = Path(__file__).parent.parent
REWRITTEN = tuple(f"{ROOT / name}{os.sep}" for name in ("figures", "store", "slides", "pages", "site"))


def refuse(event: str, arguments: tuple) -> None:
    """A test that opens what a user's command rewrites would pass or fail by what the user did last."""
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        path = os.fsdecode(arguments[0])
        if path.startswith(REWRITTEN):
            raise AssertionError(f"A test opens {path}, which a user's command rewrites; give it a file of its own.")


sys.addaudithook(refuse)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """A store, data sets and a cache of the test's own."""
    monkeypatch.setenv("RETRAINLAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("RETRAINLAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True, scope="session")
def no_cache(tmp_path_factory):
    """For what is made before a test: a place where nothing can be remembered."""
    with pytest.MonkeyPatch.context() as patch:
        file = tmp_path_factory.mktemp("cache") / "file"
        file.touch()
        patch.setenv("XDG_CACHE_HOME", str(file))
        patch.setenv("RETRAINLAB_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(autouse=True, scope="session")
def at_once():
    """A study that is not asked for several processes has one; and in place of a measurement which engine is fastest it
    takes one that trains many at once. Both cost seconds for each test, whose cache is its own. Tests of a probe call it,
    or stand in for it."""
    real = engine.probe
    with pytest.MonkeyPatch.context() as patch:
        times = {0: 0.004, 8: 0.002}
        patch.setattr(engine, "probe", lambda s, start: times if s.data.device.type == "cpu" else real(s, start))
        patch.setattr(half, "measured", lambda *of: {})
        patch.setattr(run, "cores", lambda: 1)
        yield


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Grows by a name whenever the host reads a tensor's value."""
    seen = []
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "__array__"):
        real = getattr(torch.Tensor, name)

        def counted(self, *args, _name=name, _real=real, **more):
            seen.append(_name)
            return _real(self, *args, **more)

        monkeypatch.setattr(torch.Tensor, name, counted)
    return seen


@pytest.fixture
def lively(monkeypatch):
    """No unit is the same for all images by chance, because it is 0."""
    for name in ("relu", "hardtanh"):  # what ReLU and ReLU6 call
        monkeypatch.setattr(F, name, lambda x, *limits, inplace=False: F.leaky_relu(x, 0.3))
