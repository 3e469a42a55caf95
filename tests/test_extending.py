"""docs/extending.md: each of its recipes, carried out word by word in a copy of the package, trains, and costs little."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## A(?:n)? (.+?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S))
COST = {"schedule": (10, 2), "score": (10, 2), "data set": (20, 1), "method": (30, 2)}  # lines and files, at most
SHARED = """
import json, sys
from dataclasses import replace
from retrainlab import Prune, Recipe, Retrain, Experiment, contest, study

def trained(experiments, engine="auto"):
    frame = study.run_study(
        experiments, store=f"store-{engine}", jobs=1, device="cpu", engine=engine, progress=lambda *_: None
    )
    assert (frame["outcome"] == "").all()
    return frame

RECIPE = Recipe(model="mlp", width=8, epochs=2, batch_size=64)
"""
TINY = "--model mlp --width 8 --epochs 4 --batch-size 32 --jobs 1 --store of-the-command".split()
USES = {
    "schedule": """
        frame = trained([Experiment(RECIPE, Prune(0.5), Retrain("quadratic", 0.5, lr=0.2))])
        assert frame["peak_lr"].item() == 0.2
    """,
    "score": """
        plans = [Experiment(RECIPE, Prune(0.5, score=score), Retrain("LLR", 0.5)) for score in ("relative", "magnitude")]
        filters = Experiment(replace(RECIPE, model="resnet8", width=4), Prune(0.5, "relative", structure="filters"))
        frame = trained([*plans, filters])
        assert (abs(frame["sparsity_achieved"][:2] - 0.5) < 1e-3).all()
        assert frame["norm_drop"][:2].nunique() == 2, "they take other weights"
    """,
    "data set": """
        recipe = replace(RECIPE, data="waves", width=32, batch_size=32, epochs=6)
        frame = trained([Experiment(recipe, Prune(0.5), Retrain("LLR", 0.5))])
        assert frame["dense_test_accuracy"].item() > 0.8
        from retrainlab.data.dataset import counts, load
        from retrainlab.data.sources import content
        data = load("waves")
        assert [len(part) for part in (data.train, data.validation, data.test)] == [400, 100, 100] and data.classes == 2
        assert "400 train, 100 validation, 100 test" in content("waves") and data.shape == (1, 8, 8)
        assert counts("waves") == data.counts
    """,
    "method": """
        from retrainlab.methods.table import IHT
        two = [Experiment(replace(RECIPE, method=IHT(0.8), seed=s), Prune(0.8), Retrain(budget=0)) for s in (0, 1)]
        alone, together = (trained(two, engine) for engine in ("loop", "batched"))
        for frame in (alone, together):
            assert (abs(frame["trained_sparsity"] - 0.8) < 1e-3).all() and (frame["stability"] == 1).all()
        assert (abs(alone["validation_loss"] - together["validation_loss"]) < 1e-3).all()
        rules = contest.Rules(seeds=1, tuning_seeds=1)
        _, rows, *_ = contest.contest(replace(RECIPE, epochs=4), (0.8,), trained, ["IHT"], rules)
        assert rows["entrant"].tolist() == ["IHT"] and abs(rows["sparsity_achieved"].item() - 0.8) < 1e-3
    """,
}


def blocks(section: str) -> list[tuple[str, str, str]]:
    """The code of a recipe: file, place, and what to write there."""
    found = re.findall(r"```python\n# (\S+), (new file|before \w+|in \w+)\n(.*?)```", SECTIONS[section], flags=re.S)
    assert len(found) == SECTIONS[section].count("```") / 2 > 0, f"{section} has code whose place cannot be told"
    return found


def carry_out(root: Path, file: str, place: str, code: str) -> None:
    """Write the code where the page says."""
    path = root / file
    if place == "new file":
        assert not path.exists()
        path.write_text(code)
        return
    text, (way, name) = path.read_text(), place.split()
    lines = text.splitlines(keepends=True)
    [node] = [n for n in ast.parse(text).body if name in targets(n)]
    if way == "before":
        at = sum(map(len, lines[: node.lineno - 1]))
        path.write_text(f"{text[:at]}{code}\n\n{text[at:]}")
        return
    assert way == "in"
    at = sum(map(len, lines[: node.value.end_lineno - 1])) + node.value.end_col_offset - 1
    comma = "" if text[:at].rstrip().endswith((",", "(", "{", "[")) else ", "
    path.write_text(f"{text[:at].rstrip()}{comma}\n{code}{text[at:]}")


def targets(node: ast.stmt) -> list[str]:
    """The names that a statement at the top of a file assigns."""
    names = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [n.id for n in names if isinstance(n, ast.Name)]


def test_every_recipe_of_the_page_is_carried_out():
    assert set(SECTIONS) == set(USES) == set(COST)


@pytest.mark.parametrize("section", USES)
def test_a_recipe_is_what_it_says_and_trains(section, tmp_path):
    shutil.copytree(ROOT / "retrainlab", tmp_path / "retrainlab", ignore=shutil.ignore_patterns("__pycache__"))
    for block in blocks(section):
        carry_out(tmp_path, *block)
    use = "\n".join(line.removeprefix(" " * 8) for line in USES[section].splitlines())
    [line] = re.findall(r"^    retrainlab (run .+)$", SECTIONS[section], flags=re.M)
    use = use.rstrip() + f"\nfrom retrainlab.cli import main\nassert main({[*line.split(), *TINY]!r}) == 0\n"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "RETRAINLAB_STORE": str(tmp_path / "store")}
    done = subprocess.run(
        [sys.executable, "-c", SHARED + use], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("section", SECTIONS)
def test_a_recipe_costs_few_lines_in_few_files(section):
    lines, files = COST[section]
    assert sum(len(code.splitlines()) for *_, code in blocks(section)) <= lines
    assert len({file for file, *_ in blocks(section)}) <= files
