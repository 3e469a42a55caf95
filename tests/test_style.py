"""What the package's own code is held to: few parameters, short files."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "retrainlab"
MOST_PARAMETERS = 6
MOST_LINES = 300
MORE_PARAMETERS = {  # function -> why it may have more
    "explore/kit/chart.py: panel": "each is a part of one drawing, and most are left out",
    "explore/kit/chart.py: chart": "each is a part of one drawing, and most are left out",
    "study/grids.py: grid": "each is an axis of the grid",
    "study/stages.py: run": "what a notebook asks of an experiment, by name",
    "study/run.py: run_study": "what a notebook asks of a study, by name",
    "study/result.py: record": "each is a part of what is stored",
    "adopt/own.py: own": "what a user tells of a network of theirs, by name",
    "adopt/own.py: advise": "what a user asks of it, by name",
    "products.py: patches": "those of a convolution in torch",
}


def test_functions_have_few_parameters():
    """Nouns go through the calls, not their fields."""
    many = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                a = node.args
                every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x)]
                if len([x for x in every if x.arg not in ("self", "cls")]) > MOST_PARAMETERS:
                    many.add(f"{path.relative_to(PACKAGE).as_posix()}: {node.name}")
    assert many == MORE_PARAMETERS.keys(), "give it nouns, or a reason here; drop a reason that is needed no more"


def test_files_are_short():
    lengths = {p.relative_to(PACKAGE).as_posix(): len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert lengths and not {name for name, n in lengths.items() if n > MOST_LINES}
