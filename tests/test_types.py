"""The annotations are true: mypy follows the whole package, and nothing is excused without a reason."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


@pytest.mark.skipif(os.environ.get("RETRAINLAB_LINT") == "0", reason="switched off by RETRAINLAB_LINT=0")
def test_mypy_finds_no_error():
    """What it has learned of the libraries is kept in .mypy_cache: half a minute the first time, a few seconds then."""
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_of_ours_is_left_out():
    assert SETTINGS["mypy"]["packages"] == ["retrainlab"] and not {"exclude", "ignore_errors"} & {*SETTINGS["mypy"]}
    [third_party] = SETTINGS["mypy"]["overrides"]
    assert {*third_party} == {"module", "ignore_missing_imports"}
    assert not any(name.startswith(("retrainlab", "*")) for name in third_party["module"])


def test_what_mypy_is_to_ignore_is_named_and_explained():
    for path in (ROOT / "retrainlab").rglob("*.py"):
        for line in path.read_text().splitlines():
            assert "# mypy:" not in line, f"{path.name}: {line.strip()}"
            if "type: ignore" in line:
                assert re.search(r"# type: ignore\[[a-z-]+\]  # \w", line), f"{path.name}: {line.strip()}"


def test_readers_of_the_package_get_its_types():
    assert (ROOT / "retrainlab" / "py.typed").is_file()
    assert SETTINGS["setuptools"]["package-data"]["retrainlab"] == ["py.typed"]
