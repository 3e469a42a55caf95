"""What loads what: the core computes without the notebook stack, and arrows between modules only point down."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "retrainlab"
STACK = ("matplotlib", "seaborn", "IPython", "ipykernel", "ipywidgets", "jupyterlab", "papermill", "torchvision", "PIL")


def test_training_and_studies_need_no_notebook_stack(tmp_path):
    """Pitfall: optional imports that are not optional."""
    code = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {STACK!r}:
            raise ImportError(name + ' is not here')

sys.meta_path.insert(0, Absent())
import retrainlab
from retrainlab import Recipe, study
grid = study.grid(Recipe(width=4, epochs=1), sparsities=[0.9], budgets=[0.5], schedules=["LLR"], seeds=1)
frame = study.run_study(grid, store={str(tmp_path)!r}, jobs=1)
assert len(frame) == 1
assert "torch._dynamo" not in sys.modules  # two seconds to load
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_no_torch():
    modules = "retrainlab, retrainlab.config, retrainlab.presets, retrainlab.methods.knobs, retrainlab.methods.bimp"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, functions included."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("retrainlab"):
            parts = node.module.split(".")[1:]
            out |= {".".join(parts)} if parts else {a.name for a in node.names}
        elif isinstance(node, ast.Import):
            out |= {a.name.removeprefix("retrainlab.") for a in node.names if a.name.startswith("retrainlab.")}
    return out


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("schedules", {"models", "training", "data", "experiment", "store", "study", "plots"}),
        ("pruning", {"models", "training", "data", "experiment", "store", "study", "plots"}),
        ("training", {"experiment", "store", "study", "plots", "figures", "pruning", "schedules"}),
        ("methods/imp", {"experiment", "store", "study", "plots"}),
        ("methods/knobs", {"data", "models", "pruning", "training", "methods.base"}),
        ("methods/sparsifier", {"experiment", "store", "study", "plots", "training", "schedules"}),
        ("experiment", {"store", "study", "plots"}),
        ("search", {"store", "study", "plots", "training"}),
        ("contest", {"store", "study", "plots", "training"}),
        ("shrink", {"experiment", "store", "study", "plots"}),
        ("saliency", {"experiment", "store", "study", "plots"}),
        ("plots", {"store", "study", "experiment", "training"}),
        ("plots_methods", {"store", "study", "experiment", "training", "contest"}),
        ("config", {"data", "models", "schedules", "pruning", "training"}),
    ],
)
def test_doors_stay_shut(module, never):
    assert not imported(PACKAGE / f"{module}.py") & never


def test_pictures_are_made_without_pyplot():
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "notebooks").glob("*.ipynb")]:
        assert not re.search(r"(matplotlib\.|import )pyplot", path.read_text()), path.name


def test_every_module_says_what_it_is_for():
    for path in PACKAGE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path


def test_public_functions_and_classes_have_docstrings():
    lacking = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                if ast.get_docstring(node) is None:
                    lacking.append(f"{path.relative_to(PACKAGE)}: {node.name}")
    assert not lacking
