"""The project's own files agree with one another."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


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
    for target in ("help", "setup", "figures", "export", "slides", "test", "lab", "bench", "doctor", "clean"):
        assert f"make {target} " in done.stdout
    for variable in ("PRESET", "JOBS", "DEVICE"):
        assert variable in done.stdout


def test_links_in_the_documents_lead_somewhere():
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_readme_is_short():
    """At most 900 words besides code, pictures and addresses."""
    text = re.sub(r"```.*?```|!\[[^]]*\]\([^)]*\)", "", (ROOT / "README.md").read_text(), flags=re.S)
    assert len(re.sub(r"\]\([^)]*\)", "]", text).split()) <= 900


def test_every_command_of_the_readme_exists():
    from retrainlab.cli import _parser

    text = (ROOT / "README.md").read_text()
    [commands] = [a.choices for a in _parser()._actions if hasattr(a, "choices") and a.choices]
    for command in set(re.findall(r"(?:`|bin/)retrainlab ([a-z]+)", text)):
        assert command in commands, command
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for target in set(re.findall(r"`make ([a-z]+)", text)):
        assert target in targets, target


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
