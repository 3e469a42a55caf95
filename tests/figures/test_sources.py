"""Which modules a notebook can reach: by hand on small packages, and no fewer than a figure really loads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from retrainlab.figures import sources

ROOT = Path(__file__).parents[2]
PACKAGE = {
    "retrainlab": "",
    "retrainlab.base": "import json",
    "retrainlab.late": "def f():\n    from retrainlab.base import x\n    return x",
    "retrainlab.typed": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import retrainlab.base",
    "retrainlab.room": "",
    "retrainlab.room.one": "from retrainlab import late",
    "retrainlab.room.two": "from retrainlab.room.one import y as z",
    "retrainlab.table": "MAKERS = ('kind:Class', 'typed:Name', 'no module')",
    "retrainlab.aside": "from retrainlab.room import two",
}


def notebook(*codes: str) -> str:
    cells = [{"cell_type": "code", "source": code.splitlines(keepends=True)} for code in codes]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "import retrainlab.aside"}, *cells]})


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import math", ""),
        ("import retrainlab.base", "base"),
        ("from retrainlab import base as b, unknown", "base"),
        ("from retrainlab.late import f", "late base"),
        ("from retrainlab.typed import x", "typed base"),
        ("from retrainlab.room import (\n    two,\n)", "room room.two room.one late base"),
        ("def f():\n    import retrainlab.table", "table typed base"),
        ("print('base')", ""),
        ("%matplotlib inline\n!ls\nimport retrainlab.base", "base"),
    ],
)
def test_what_is_reached_is_as_by_hand(code, names):
    reached = sources.needed(notebook("x = 1", code), PACKAGE)
    own = {f"retrainlab.{name}" for name in names.split()} | ({"retrainlab"} if names else set())
    assert reached == sorted(own)


@pytest.mark.parametrize("broken", ["{", "[]", '{"cells": [{"cell_type": "code"}]}', notebook("this is no Python")])
def test_of_a_notebook_that_cannot_be_read_everything_counts(broken):
    assert sources.needed(broken, PACKAGE) == sorted(PACKAGE)


def test_a_module_that_cannot_be_read_makes_everything_count():
    assert sources.needed(notebook("import retrainlab.base"), PACKAGE | {"retrainlab.base": "def"}) == sorted(PACKAGE)


@pytest.mark.parametrize("code", ["from . import base", "from .base import x", "from ..room import one"])
def test_a_relative_import_makes_everything_count(code):
    """Pitfall: it names no module of the package, and what it imports is taken for nothing."""
    assert sources.needed(notebook("import retrainlab.aside"), PACKAGE | {"retrainlab.aside": code}) == sorted(PACKAGE)


def test_an_import_in_a_circle_ends():
    circle = {"retrainlab": "", "retrainlab.a": "import retrainlab.b", "retrainlab.b": "import retrainlab.a"}
    assert sources.needed(notebook("import retrainlab.b"), circle) == sorted(circle)


def test_no_figure_loads_a_module_that_does_not_count():
    """Pitfall: a module that is imported by a name in a table is forgotten, and a figure made by its old code stays."""
    path = ROOT / "notebooks" / "fig05_contest.ipynb"
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    code = f"""
import sys
exec({"".join(cells[1]["source"]).partition("parameters(globals())")[0]!r})
import retrainlab, torch
from retrainlab import study
from retrainlab.methods import make, sparsifier, table
from retrainlab.training.state import State
[getattr(of, name) for of in (retrainlab, study) for name in of.__all__]
start = State({{"a.weight": torch.ones(4, 4)}}, {{}}, {{}})
for one in table.METHODS.values():
    make.make(one.settings(), start, sparsifier.Span(("a.weight",), 8, 4))
print(*(name for name in sys.modules if name.partition(".")[0] == "retrainlab"))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded, reached = set(done.stdout.split()), set(sources.needed(path.read_text(), sources.texts()))
    assert {"retrainlab.methods.gmp", "retrainlab.study.stages"} <= loaded <= reached
    assert "retrainlab.cli" not in reached and "retrainlab.figures.slides" not in reached


def test_who_imports_by_a_computed_name_is_known_to_the_test_above():
    modules = sources.texts()
    reached = {n for path in (ROOT / "notebooks").glob("fig*.ipynb") for n in sources.needed(path.read_text(), modules)}
    computed = {name for name in reached if "import_module(" in modules[name] or "__import__(" in modules[name]}
    users = {"retrainlab.importing"}  # a user's code, which the keys of results tell apart
    assert computed == {"retrainlab", "retrainlab.study", "retrainlab.methods.make"} | users
