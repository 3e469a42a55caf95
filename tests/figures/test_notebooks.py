"""Notebooks: clean in git, parameterised, and true to the store when they run."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import nbformat
import pytest

from retrainlab import stats
from retrainlab.checks import BadInput
from retrainlab.claims import report
from retrainlab.cli import main
from retrainlab.figures import cost, presets, run, sentences
from retrainlab.study.machine import Machine

ROOT = Path(__file__).parents[2]
NOTEBOOKS = [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted((ROOT / "teach").glob("*.ipynb"))]
FIGURES = [path for path in NOTEBOOKS if path.name.startswith("fig")]
SHOWN = ("fig03_budgets", "fig07_stability")  # by papermill; CI makes all of them so


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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_relative_links_lead_somewhere(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", cell.source):
                assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", FIGURES, ids=lambda p: p.stem)
def test_figure_notebooks_have_typed_parameters_and_assert_the_sparsity(path):
    """Pitfall: a notebook forgets the mask in retraining, and its pruned network is dense."""
    cells = nbformat.read(path, as_version=4).cells
    [parameters] = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert all(isinstance(node, ast.AnnAssign) for node in ast.parse(parameters.source).body)
    code = "\n".join(c.source for c in cells if c.cell_type == "code")
    exact = 'assert (abs(whole["sparsity_achieved"] - whole["sparsity"]) < 1e-3).all()'
    at_least = 'assert (whole["sparsity_achieved"] > whole["sparsity"] - 1e-3).all()'  # a searched one may be above
    at_most = 'assert (whole["sparsity_achieved"] < most + 1e-3).all()'  # what it was trained to
    assert "as_saved(" in code and "sentences.words(" in code
    if path.stem == "fig15_claims":  # it reads what others have saved
        return
    masked = 'assert (abs(whole["sparsity_achieved"] - zeros) < 1e-3).all()'  # of filters a share goes, not of weights
    wanted = {"fig05_contest": [at_least], "fig07_stability": [at_least, at_most], "fig13_storage": [masked]}
    wanted = wanted.get(path.stem, [exact])
    assert all(words in code for words in wanted) and "whole = stats.finished(frame)" in code
    assert "stats.left_out(frame)" in code


@pytest.mark.parametrize("path", FIGURES, ids=lambda p: p.stem)
def test_every_parameter_that_changes_a_figure_says_so_where_it_is_saved(path):
    """Pitfall: a notebook run by hand with other parameters overwrites the preset's figure."""
    cells = nbformat.read(path, as_version=4).cells
    [parameters] = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    names = {node.target.id for node in ast.parse(parameters.source).body}
    code = ast.parse("\n".join(c.source for c in cells if c.cell_type == "code"))
    calls = [n for n in ast.walk(code) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    [asked] = [n for n in calls if n.func.attr == "asked"]
    passed = {k.arg: k.value.id for k in asked.keywords}
    machine = {field.name for field in fields(Machine)}
    assert set(passed.values()) == names - {"preset", "output"} - machine
    assert all(field.split("_")[-1] == name for field, name in passed.items()), (
        "a mistake is told by the parameter's name"
    )
    assert set(passed) <= {field.name for field in fields(presets.Preset)}
    [save] = [n for n in calls if n.func.attr == "save"]
    assert [ast.unparse(a) for a in asked.args] == ["preset", "output"]
    assert "settings" in {ast.unparse(k.value) for k in save.keywords}


def test_a_notebooks_own_settings_replace_the_presets():
    own = presets.asked("digits", map_sparsities=0.5, contest_names=["GMP"], map_seeds=0, stability_budget=0.5, seeds=3)
    assert (own.map_sparsities, own.contest_names, own.map_seeds) == ((0.5,), ("GMP",), 10)
    assert list(presets.changed(own)) == ["seeds", "map_sparsities", "contest_names", "stability_budget"]
    assert presets.asked("digits", sparsities=[0.8, 0.9, 0.95, 0.98], baseline="LLR") == presets.preset("digits")
    with pytest.raises(BadInput, match="did you mean 'digits'"):
        presets.asked("digit")


def test_only_the_presets_own_settings_lead_to_its_folder():
    assert presets.folder(presets.asked("smoke")) == ROOT / "figures" / "smoke"
    for own in ({"precision": "bfloat16"}, {"seeds": 3}, {"baseline": "FT"}, {"where_layer": "conv.weight"}):
        assert presets.folder(presets.asked("smoke", **own)) == ROOT / "figures" / "own" / "smoke"
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "figures/own/" in ignored


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"map_sparsities": "0.5"}, "map_sparsities is '0.5', but must be a number, or a list of such"),
        ({"contest_names": 3}, "contest_names is 3, but must be a text, or a list of such"),
        ({"budgets": ["0.1"]}, "budgets has the entry '0.1', but each entry must be a number"),
        ({"seeds": 2.5}, "seeds is 2.5, but must be a whole number"),
        ({"stability_budget": [0.1]}, "stability_budget is [0.1], but must be a number"),
        ({"baseline": 3}, "baseline is 3, but must be a text"),
        ({"scores": ["obd"]}, "there are ['obd']; give two, each once"),
        ({"scores": ["obd", "random", "obd"]}, "give two, each once"),
        ({"score_budgets": [0.0, 0.1]}, "budget after a score"),
        ({"dense_schedules": ["linear"]}, "Dense schedules are compared with each other, but there are ['linear']"),
        ({"dense_schedules": ["linear", "cosin"]}, "did you mean 'cosine'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(given, words):
    with pytest.raises(BadInput, match=re.escape(words)):
        presets.asked("digits", **given)


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
    for name in run.available():
        for end in presets.ENDS:
            assert (ROOT / "figures" / "digits" / f"{name}.{end}").is_file()


def test_a_notebook_without_the_parameters_is_refused(tmp_path, monkeypatch):
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(plain, tmp_path / "fig99_plain.ipynb")
    monkeypatch.setattr(run, "available", lambda: {"fig99_plain": tmp_path / "fig99_plain.ipynb"})
    with pytest.raises(BadInput, match="has no parameter"):
        run.make(output=str(tmp_path / "out"))


PARAMETERS = ("preset", "jobs", "device", "engine", "precision", "fresh", "stored_only", "store", "output")


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Makes these, by name and code, the figure notebooks that there are."""

    def make(codes: dict[str, str]) -> Path:
        for name, code in codes.items():
            given = "\n".join(f"{p} = None" for p in PARAMETERS)
            first = nbformat.v4.new_code_cell(given, metadata={"tags": ["parameters"]})
            cells = [first, nbformat.v4.new_code_cell("print('so', 'far')"), nbformat.v4.new_code_cell(code)]
            spec = {"name": "python3", "language": "python", "display_name": "Python 3"}
            notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec})
            nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        monkeypatch.setattr(run, "available", lambda: {n: tmp_path / f"{n}.ipynb" for n in codes})
        monkeypatch.setattr(cost, "project", lambda: tmp_path)
        return tmp_path / "out"

    return make


@pytest.mark.xdist_group("figures")
def test_a_notebook_that_fails_ends_no_other_and_each_is_told_in_a_sentence(few, capfd):
    died = "from retrainlab.checks import WorkerDied; raise WorkerDied('Failed: run a; 3 of 4 runs are kept in x.')"
    out = few(
        {
            "fig01_dead": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "fig02_bug": "{}['lost']",
            "fig03_worker": died,
            "fig04_good": "open(output + '/fig04_good.png', 'w').write('x')",
        }
    )
    (out / "failed").mkdir(parents=True)
    (out / "failed" / "fig04_good.ipynb").write_text("of an earlier time")
    assert main(["figures", "--output", str(out)]) == 1
    told, words = capfd.readouterr()
    progress, ends = words.splitlines()[1:5], words.splitlines()[5:]  # the first line tells the cost
    assert [line.split()[0] for line in progress] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]
    assert ends == [
        "",
        "retrainlab: 3 of 4 figures failed.",
        "fig01_dead: Its kernel died (out of memory?); what was finished is kept. "
        f"What was executed is in {out}/failed/fig01_dead.ipynb.",
        f"fig02_bug: KeyError: 'lost'. What was executed is in {out}/failed/fig02_bug.ipynb.",
        "fig03_worker: Failed: run a; 3 of 4 runs are kept in x. "
        f"What was executed is in {out}/failed/fig03_worker.ipynb.",
    ]
    assert told.splitlines()[-1].startswith("1 figure in") and (out / "fig04_good.png").exists()
    for name in ("fig01_dead", "fig02_bug", "fig03_worker"):
        assert "so far\\n" in (out / "failed" / f"{name}.ipynb").read_text()
    assert not (out / "failed" / "fig04_good.ipynb").exists()


def test_an_output_that_cannot_be_replaced_is_told_before_any_notebook_runs(few, capsys):
    out = few({"fig01_a": "raise SystemError", "fig02_b": "raise SystemError"})
    (out / "fig02_b.png").mkdir(parents=True)
    assert main(["figures", "--output", str(out)]) == 2
    told, words = capsys.readouterr()
    assert words.startswith(f"retrainlab: {out}/fig02_b.png is a folder") and not told
    (out / "fig02_b.png").rmdir()
    (out / "fig02_b.svg").touch(mode=0o444)
    if not os.access(out / "fig02_b.svg", os.W_OK):  # root may write anything
        assert main(["figures", "--output", str(out)]) == 2
        assert "fig02_b.svg may not be written" in capsys.readouterr().err


def test_a_damaged_notebook_is_told_in_a_sentence(few, tmp_path):
    out = few({"fig01_a": "1"})
    (tmp_path / "fig01_a.ipynb").write_text('{"cells": [')
    with pytest.raises(BadInput, match="fig01_a.ipynb cannot be read .*restore it from git"):
        run.make(output=str(out))


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


def run_cells(path: Path, **given: object) -> None:
    """A notebook's code with these parameters, in this process."""
    first, *others = (c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    names: dict[str, object] = {}
    exec(first, names)
    names |= given
    for source in others:
        exec(source, names)


@pytest.mark.xdist_group("figures")
def test_all_figures_of_preset_smoke_and_a_rerun_by_the_command_changes_no_byte(tmp_path):
    for path in run.available().values():
        run_cells(path, preset="smoke", jobs=1, store=str(tmp_path / "store"), output=str(tmp_path / "first"))
    again = run_figures(tmp_path, "--output", "second", *SHOWN)
    assert again.returncode == 0, again.stderr
    assert f"{len(SHOWN)} figures in" in again.stdout and " runs on " not in again.stderr, "all came from the store"
    idle = run_figures(tmp_path, "--output", "second", *SHOWN)
    assert idle.returncode == 0 and "all up to date: nothing to make" in idle.stdout and not idle.stderr
    for name in run.available():
        for end in presets.ENDS if name in SHOWN else ():
            first, second = ((tmp_path / f / f"{name}.{end}").read_bytes() for f in ("first", "second"))
            assert first == second, f"{name}.{end}"
        said = sentences.words(name, stats.read_saved(tmp_path / "first" / f"{name}.csv"))
        about = json.loads((tmp_path / "first" / f"{name}.json").read_text())
        assert about["alt"] == said.alt and said.results in about["caption"] and about["parameters"] == {}
    files = [f"{n}.{e}" for n in run.available() for e in presets.ENDS] + [f"claims.{end}" for end in report.ENDS]
    assert {p.name for p in (tmp_path / "first").iterdir()} == {*files}


@pytest.mark.xdist_group("figures")
def test_a_mistake_inside_a_notebook_is_one_sentence_and_ends_all(few, capfd):
    mistake = "from retrainlab.checks import BadInput; raise BadInput('There is no device here.')"
    out = few({"fig01_a": mistake, "fig02_b": "raise SystemError"})
    assert main(["figures", "--output", str(out)]) == 2
    _, words = capfd.readouterr()
    assert words.splitlines()[-1] == "retrainlab: There is no device here." and "fig02_b (" not in words
    assert not list(out.iterdir())


@pytest.mark.xdist_group("figures")
@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_ends_the_figures_in_a_sentence_and_keeps_what_is_finished(tmp_path):
    store = tmp_path / "store" / "results"
    command = [sys.executable, "-m", "retrainlab.cli", "figures", "fig03", "--preset", "smoke", "--output", "out"]
    command += ["--engine", "batched"]  # no time goes into a probe
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
