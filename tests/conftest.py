"""Nothing of the user's own is read or written by the tests, and no test sees which engine another has chosen."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(autouse=True, scope="session")
def no_cache(tmp_path_factory):
    """For what is made before a test: a place where nothing can be remembered."""
    with pytest.MonkeyPatch.context() as patch:
        file = tmp_path_factory.mktemp("cache") / "file"
        file.touch()
        patch.setenv("XDG_CACHE_HOME", str(file))
        yield
