"""Notebooks: clean in git, parameterised, and true to the store when they run."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from retrainlab import figures
from retrainlab.errors import BadInput

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIGURES = [path for path in NOTEBOOKS if path.name.startswith("fig")]
ENDS = ("png", "svg", "csv", "json")


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_outputs_are_stripped(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_the_format_is_valid_and_the_kernel_is_python3(notebook):
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata


def test_one_title_and_no_skipped_heading(notebook):
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    levels = [len(m) for m in re.findall(r"^(#+) ", text, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:]))


def test_relative_links_lead_somewhere(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#:]+)\)", cell.source):
                assert (ROOT / "notebooks" / target).exists(), target


@pytest.mark.parametrize("path", FIGURES, ids=lambda p: p.stem)
def test_figure_notebooks_have_typed_parameters_and_assert_the_sparsity(path):
    """Pitfall: a notebook forgets the mask in retraining, and its pruned network is dense."""
    cells = nbformat.read(path, as_version=4).cells
    [parameters] = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert all(isinstance(node, ast.AnnAssign) for node in ast.parse(parameters.source).body)
    code = "\n".join(c.source for c in cells if c.cell_type == "code")
    exact = 'assert (abs(frame["sparsity_achieved"] - frame["sparsity"]) < 1e-3).all()'
    at_least = 'assert (frame["sparsity_achieved"] > frame["sparsity"] - 1e-3).all()'  # a searched one may be above
    at_most = 'assert (frame["sparsity_achieved"] < most + 1e-3).all()'  # what it was trained to
    wanted = {"fig05_contest": [at_least], "fig07_stability": [at_least, at_most]}.get(path.stem, [exact])
    assert all(words in code for words in wanted)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_notebook_holds_its_parameters_to_their_types_before_it_uses_them(path):
    """Pitfall: `papermill -p sparsities 0.5` gives a number where the cells want a list, `-p fresh true` a text."""
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    kinds = {node.target.id: ast.unparse(node.annotation) for node in ast.parse(code[0].source).body}
    assert set(kinds.values()) <= {"bool", "int", "float", "str"} | {
        f"list[{of}]" for of in ("int", "float", "str", "tuple[float, float]")
    }
    first = next(n for n in ast.parse(code[1].source).body if not isinstance(n, ast.Import | ast.ImportFrom))
    assert ast.unparse(first) == "parameters(globals())"


def test_the_figures_of_the_default_preset_are_in_the_project():
    for name in figures.available():
        for end in ENDS:
            assert (ROOT / "figures" / "digits" / f"{name}.{end}").stat().st_size > 100
        assert len(json.loads((ROOT / "figures" / "digits" / f"{name}.json").read_text())["alt"]) > 80


def test_a_notebook_without_the_parameters_is_refused(tmp_path, monkeypatch):
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(plain, tmp_path / "fig99_plain.ipynb")
    monkeypatch.setattr(figures, "available", lambda: {"fig99_plain": tmp_path / "fig99_plain.ipynb"})
    with pytest.raises(BadInput, match="has no parameter"):
        figures.make(output=str(tmp_path / "out"))


def run_figures(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "retrainlab.cli",
        "figures",
        "--preset",
        "smoke",
        "--store",
        str(tmp_path / "store"),
    ]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path)


@pytest.mark.xdist_group("figures")
def test_all_figures_of_preset_smoke_and_a_rerun_changes_no_byte(tmp_path):
    done = run_figures(tmp_path, "--output", "first")
    assert done.returncode == 0, done.stderr
    assert f"{len(FIGURES)} figures in" in done.stdout
    again = run_figures(tmp_path, "--output", "second")
    assert again.returncode == 0, again.stderr
    assert " runs on " in done.stderr and " runs on " not in again.stderr, "all of it came from the store"
    for name in figures.available():
        for end in ENDS:
            first, second = ((tmp_path / f / f"{name}.{end}").read_bytes() for f in ("first", "second"))
            assert first == second, f"{name}.{end}"
    stray = {p.name for p in (tmp_path / "first").iterdir()} - {f"{n}.{e}" for n in figures.available() for e in ENDS}
    assert not stray


@pytest.mark.xdist_group("figures")
def test_a_mistake_inside_a_notebook_is_one_sentence(tmp_path):
    done = run_figures(tmp_path, "fig01", "--device", "abacus", "--output", "out")
    assert done.returncode == 2
    assert "There is no device 'abacus'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.xdist_group("figures")
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_ends_the_figures_in_a_sentence_and_keeps_what_is_finished(tmp_path):
    store = tmp_path / "store" / "results"
    command = [sys.executable, "-m", "retrainlab.cli", "figures", "fig03", "--preset", "smoke", "--output", "out"]
    running = subprocess.Popen(
        [*command, "--store", str(tmp_path / "store")],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    begin = time.monotonic()
    while not (store.is_dir() and list(store.glob("*.json"))) and time.monotonic() - begin < 90:
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGINT)
    _, words = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Stopped" in words and "Traceback" not in words
    assert list(store.glob("*.json")) and not list(store.glob(".*")), "what is there is whole"
    assert not list((tmp_path / "out").iterdir())
