"""What loads what: the core computes without the notebook stack, and arrows between modules only point down."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
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
    modules = (
        "retrainlab, retrainlab.config, retrainlab.figures.presets, retrainlab.methods.table, retrainlab.methods.bimp"
    )
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LAYERS = """
checks parsing
glossary paths phrases noise progress tables device references importing study.seal
data.pixels data.folders data.reading data.given data.sources given
methods.knobs stats
config
keys recipes
schedules data.dataset data.batches methods.table figures.presets
pruning layers libraries models storage training.method methods.bimp
products
metrics landscape influence chains narrow training.layout training.patches training.stacking advice
training.state training.loop training.masked training.flat training.slots training.ways shrink sparse_kernels
training.stack
training.together
training.timing
training.half
obs
scores training.cycles methods.sparsifier
methods training.engine
study.serving study.processes study.ledger study.sitting study.claims study.failures
study.checkpoints study.courses study.result study.measured study.stages study.older study.records study.archive study.index
study.store
study.sharing
study.workers
study
contest
figures.sentences figures teaching.answers teaching.times
claims.rule
claims.effects
claims.schedules
claims.others
claims.table
claims.report
claims.beside
onnx_file weights adopt
explore.kit explore.views explore.apps
teaching
report options export doctor lab packing keeping filing running
site
cli
"""


def layer(module: str) -> int:
    """The place of its line in LAYERS: that of its own name, or else of its room."""
    rows = [line.split() for line in LAYERS.split("\n")]
    for name in (module, module.rpartition(".")[0]):
        for place, row in enumerate(rows):
            if name in row:
                return place
    raise AssertionError(f"{module} has no place in LAYERS")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, functions included; what only a type checker reads is not."""
    tree = ast.parse(path.read_text())
    skip = {
        n
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for n in ast.walk(node)
    }
    out = set()
    for node in ast.walk(tree):
        assert not getattr(node, "level", 0), f"{path} imports by dots, which no check follows"
        if isinstance(node, ast.ImportFrom) and node not in skip and (node.module or "").startswith("retrainlab"):
            base = node.module.removeprefix("retrainlab").lstrip(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                out.add(inner if inner in MODULES else base)
        elif isinstance(node, ast.Import) and node not in skip:
            out |= {alias.name.removeprefix("retrainlab.") for alias in node.names}
    return {name for name in out if name in MODULES}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_arrows_only_point_down(module):
    for other in imports_of(MODULES[module]):
        assert layer(other) <= layer(module), f"{module} imports {other}"


def test_no_import_runs_in_a_circle():
    TopologicalSorter({name: imports_of(path) for name, path in MODULES.items()}).prepare()


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("schedules", {"models", "training", "data", "study", "figures"}),
        ("pruning", {"models", "training", "data", "study", "figures", "scores"}),
        ("training.loop", {"study", "figures", "pruning", "schedules"}),
        ("methods.sparsifier", {"study", "figures", "schedules"}),
        ("figures.retraining", {"study", "training", "contest"}),
        ("figures.contest", {"study", "training", "contest"}),
        ("contest.search", {"study", "figures", "training"}),
        ("contest.entrants", {"study", "figures", "training"}),
        ("config", {"models", "schedules", "pruning", "training"}),
    ],
)
def test_doors_stay_shut(module, never):
    rooms = {name.partition(".")[0] for name in imports_of(MODULES[module])}
    assert not rooms & never


def test_what_is_live_asks_results_and_walks_no_pipeline_of_its_own():
    forbidden = {"study.plan", "study.stages", "study.store", "study.workers", "training.engine", "training.cycles"}
    found = imports_of(MODULES["explore.kit.live"])
    assert not found & forbidden and not any(name.startswith("methods") for name in found)


def test_tests_share_by_helpers_and_not_by_importing_one_another():
    for path in (ROOT / "tests").rglob("*.py"):
        assert not re.search(r"(from|import) tests\.(\w+\.)*test_", path.read_text()), path


def test_views_know_no_widgets():
    widgets = {f"explore.kit.{name}" for name in ("app", "controls", "looking", "racing", "worker")}
    assert widgets < MODULES.keys()
    for name in (name for name in MODULES if name.startswith("explore.views.")):
        assert not imports_of(MODULES[name]) & widgets and "explore.apps" not in MODULES[name].read_text(), name
        assert not re.search(r"ipywidgets|anywidget|IPython", MODULES[name].read_text()), name


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
