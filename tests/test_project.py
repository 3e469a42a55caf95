"""The project's own files agree with one another."""

import argparse
import ast
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from distributed.cli import dask_scheduler, dask_worker

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "retrainlab"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "teach").glob("*.md")),
]
of_each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def test_environment_yml_is_pyproject_in_conda_words():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PYPROJECT["name"]
    assert environment["channels"] == ["conda-forge"]
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    assert f"python{PYPROJECT['requires-python']}" in plain
    assert "pip" in plain
    [pip] = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    extras = sorted(PYPROJECT["optional-dependencies"])
    assert pip == [f"-e .[{','.join(extras)}]"]


def test_the_makefile_installs_the_same_extras():
    extras = ",".join(sorted(PYPROJECT["optional-dependencies"]))
    assert f"-e '.[{extras}]'" in (ROOT / "Makefile").read_text()


def test_the_version_is_the_same_everywhere():
    import retrainlab

    assert retrainlab.__version__ == PYPROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PYPROJECT["version"]


def test_the_citation_names_the_paper():
    [paper] = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    assert paper["title"] == "How I Learned to Stop Worrying and Love Retraining"
    assert [a["family-names"] for a in paper["authors"]] == ["Zimmer", "Spiegel", "Pokutta"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_alone_lists_every_target():
    done = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in (
        "help",
        "setup",
        "figures",
        "words",
        "export",
        "slides",
        "teach",
        "test",
        "lab",
        "bench",
        "doctor",
        "clean",
    ):
        assert f"make {target} " in done.stdout
    for variable in ("PRESET", "JOBS", "DEVICE", "PRECISION", "FIGURES", "FRESH", "COMPUTE"):
        assert f" {variable}=" in done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("target", "given", "passed"),
    [
        ("figures", [], {}),
        ("figures", ["PRECISION=bfloat16"], {"precision": "bfloat16"}),
        ("figures", ["FIGURES=fig03 fig05"], {"names": ["fig03", "fig05"]}),
        ("figures", ["FRESH=1", "FIGURES=fig03", "JOBS=1"], {"names": ["fig03"], "fresh": True, "jobs": 1}),
        ("figures", ["FRESH=0", "COMPUTE=0"], {}),
        ("figures", ["COMPUTE=1"], {"stored_only": False}),
        ("slides", [], {}),
        ("slides", ["PRECISION=bfloat16"], {"precision": "bfloat16"}),  # figures of it are in figures/own/
    ],
)
def test_make_passes_on_what_is_asked(target, given, passed):
    from retrainlab.cli import _parser

    command = ["make", "--no-print-directory", "--dry-run", target, *given]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    [line] = [line for line in done.stdout.splitlines() if f"retrainlab {target}" in line]
    usual = {"preset": "digits", "precision": ""}
    if target == "figures":
        usual |= {"names": [], "jobs": 0, "device": "auto", "fresh": False, "stored_only": None}
    options = _parser().parse_args(shlex.split(line)[1:])
    assert {name: getattr(options, name) for name in usual} == usual | passed


@of_each_document
def test_links_in_the_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def in_backticks(path: Path) -> list[str]:
    """What stands between backticks, blocks of code aside."""
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M))


@of_each_document
def test_every_file_and_folder_that_a_document_names_is_there(path):
    made_by_commands, not_paths = (
        ("store/", "figures/own/", "site/", ".made/", "teach/participants/"),
        ("torchvision/",),
    )
    for name in in_backticks(path):
        is_path = re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", name) and ("/" in name or name.endswith((".py", ".md")))
        if is_path and not name.startswith(made_by_commands + not_paths):
            assert any((root / name).exists() for root in (ROOT, PACKAGE, PACKAGE / "explore")), name


@of_each_document
def test_every_dotted_name_of_a_document_can_be_imported(path):
    for name in in_backticks(path):
        if re.fullmatch(r"[a-z]\w*(\.[A-Za-z]\w*)+", name) and not name.endswith((".py", ".md")):
            own = (PACKAGE / name.partition(".")[0]).with_suffix(".py").exists()
            pkgutil.resolve_name(f"retrainlab.{name}" if own or (PACKAGE / name.partition(".")[0]).is_dir() else name)


def test_the_map_of_the_code_names_every_room_and_module():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    assert rooms - {"__init__"} == {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}


@cache
def words_of_the_code() -> set[str]:
    """Names and texts of the package, and the names of its modules."""
    words = {part for path in PACKAGE.rglob("*.py") for part in path.relative_to(PACKAGE).with_suffix("").parts}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            words |= {value for _, value in ast.iter_fields(node) if isinstance(value, str)}
    return words


@of_each_document
def test_every_single_name_of_a_document_is_one_that_the_code_has(path):
    """Such as a class, a field, a column or a preset; of a call the name before the bracket."""
    of_others = {"make", "mypy"}
    for name in in_backticks(path):
        if match := re.fullmatch(r"([A-Za-z]\w+)(\(.*\))?", name):
            assert match[1] in words_of_the_code() | of_others, name


def test_the_readme_is_short():
    """At most 1000 words besides code, pictures, comments, addresses and the lines of tables."""
    text = re.sub(r"```.*?```|!\[[^]]*\]\([^)]*\)|<!--.*?-->", "", (ROOT / "README.md").read_text(), flags=re.S)
    assert sum(bool(re.search(r"\w", word)) for word in re.sub(r"\]\([^)]*\)", "]", text).split()) <= 1000


def test_every_acronym_of_the_readme_is_spelt_out():
    """As **NAME** in the list of names, or as `words (NAME)`."""
    text = re.sub(
        r"```.*?```|!\[[^]]*\]\([^)]*\)|`[^`]*`|\]\([^)]*\)", "", (ROOT / "README.md").read_text(), flags=re.S
    )
    common = {"CIFAR", "CITATION", "CONTRIBUTING", "CPU", "GB", "HTML", "ICLR", "MIT"}
    for name in set(re.findall(r"\b[A-Z]{2,}\b", text)) - common:
        assert re.search(rf"^- .*\*\*{name}\*\*.*, \w+.*:|[a-z] \({name}\)", text, re.M), name


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A parser and those of its commands, and theirs."""
    below = [a.choices.values() for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [parser, *(deeper for choices in below for one in choices for deeper in parsers(one))]


@of_each_document
def test_every_command_and_option_of_a_document_exists(path):
    from retrainlab.cli import _parser

    text = path.read_text()
    [commands] = [a.choices for a in _parser()._actions if isinstance(a, argparse._SubParsersAction)]
    for command in set(re.findall(r"(?:`|bin/)retrainlab ([a-z]+)", text)):
        assert command in commands, command
    options = {option for parser in parsers(_parser()) for option in parser._option_string_actions}
    for script in (ROOT / "benchmarks").glob("*.py"):
        options |= set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', script.read_text()))
    options |= {option for command in (dask_scheduler, dask_worker) for p in command.main.params for option in p.opts}
    text = re.sub(r"^helm .*\n|`helm [^`]*`", "", text, flags=re.M)
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
        assert option in options, option
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for target in set(re.findall(r"`make ([a-z]+)", text)):
        assert target in targets, target


OF_CLUSTERS = ("dask_jobqueue", "dask_kubernetes")  # which only who has such a cluster installs


@of_each_document
def test_what_the_examples_of_a_document_import_is_there(path):
    for block in re.findall(r"```python\n(.*?)```", path.read_text(), re.S):
        if not block.startswith("# retrainlab/"):  # a piece of a file, which test_extending.py carries out
            lines = [line for line in block.splitlines() if line.startswith(("import ", "from "))]
            exec("\n".join(line for line in lines if line.split()[1].split(".")[0] not in OF_CLUSTERS), {})


def test_no_test_reads_what_a_users_command_rewrites():
    """Pitfall: `make figures` and then `make test` fails, because a test holds numbers of another machine."""
    from retrainlab.paths import store_root

    with pytest.raises(AssertionError, match="which a user's command rewrites"):
        (ROOT / "figures" / "digits" / "fig03_budgets.csv").read_text()
    assert not store_root().is_relative_to(ROOT)


@pytest.mark.skipif(os.environ.get("RETRAINLAB_LINT") == "0", reason="switched off by RETRAINLAB_LINT=0")
def test_the_code_is_formatted_and_lints_clean():
    ruff = shutil.which("ruff") or str(Path(os.sys.executable).parent / "ruff")
    for arguments in (["check"], ["format", "--check"]):
        folders = ["retrainlab", "tests", "notebooks", "benchmarks"]
        done = subprocess.run([ruff, *arguments, *folders], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.xdist_group("together")
def test_tests_that_share_something_costly_run_in_one_process(request):
    """Pitfall: where groups are not kept, every process starts a JupyterLab of its own."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("in one process all run together")
    assert request.node.nodeid.endswith("@together")
