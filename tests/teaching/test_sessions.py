"""The sessions: a host's has every exercise solved, a participant's none, and nothing of the solutions leaks."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from retrainlab.checks import BadInput
from retrainlab.cli import main
from retrainlab.figures import notebooks
from retrainlab.teaching import sessions, sheet

ROOT = Path(__file__).parents[2]
HOST = ROOT / "teach"
EXERCISES = {"session_1": range(1, 6), "session_2": range(6, 11)}
of_each = pytest.mark.parametrize("name", sessions.NAMES)


def read(path: Path):
    return nbformat.read(path, as_version=4)


def tagged(notebook, solution: bool) -> list:
    return [c for c in notebook.cells if (sessions.SOLUTION in c.metadata.get("tags", [])) == solution]


def printed(notebook) -> str:
    """All that the cells have put out, as text and as HTML."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    texts = [o.get("text", "") for o in outputs] + [str(v) for o in outputs for v in o.get("data", {}).values()]
    return "\n".join(texts)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("participants")
    sessions.make(str(folder), pdf=False)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


def telling(cells: list) -> set[str]:
    """Lines of solutions that say something: not an import, and not as short as many a line is."""
    lines = {line.strip() for cell in cells for line in cell.source.splitlines()}
    return {line for line in lines if len(line) > 12 and not line.startswith(("import ", "from ", "def "))}


@of_each
def test_no_solution_leaks(name, made):
    host, text = read(HOST / f"{name}.ipynb"), (made / f"{name}.ipynb").read_text(encoding="utf-8")
    shown = "\n".join(cell.source for cell in read(made / f"{name}.ipynb").cells)
    secret = telling(tagged(host, solution=True))
    assert len(secret) > 10
    for line in secret:
        assert line not in shown and json.dumps(line, ensure_ascii=False)[1:-1] not in text, line
    assert '"solution"' not in text


@of_each
def test_what_is_no_solution_is_all_there_without_outputs(name, made):
    host, own = read(HOST / f"{name}.ipynb"), read(made / f"{name}.ipynb")
    kept = tagged(host, solution=False)
    assert [c.source for c in own.cells if c.cell_type == "code"] == [c.source for c in kept if c.cell_type == "code"]
    assert len(own.cells) == len(kept)
    assert all(c.outputs == [] and c.execution_count is None for c in own.cells if c.cell_type == "code")


@of_each
def test_every_exercise_has_a_task_a_place_to_write_a_solution_and_a_check(name):
    cells = read(HOST / f"{name}.ipynb").cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    assert [int(n) for n in re.findall(r"^### Exercise (\d+)", text, re.M)] == list(EXERCISES[name])
    code = [c.source for c in tagged(read(HOST / f"{name}.ipynb"), solution=False) if c.cell_type == "code"]
    assert sum("tasks." in source for source in code) == len(EXERCISES[name])


def test_links_lead_somewhere_from_the_copys_folder(tmp_path):
    folder = HOST / "participants"
    for name in sessions.NAMES:
        back = sessions.participants(read(HOST / f"{name}.ipynb"), "..")
        links = re.findall(
            r"\]\((?!https?:)([^)#]+)", "\n".join(c.source for c in back.cells if c.cell_type == "markdown")
        )
        assert links and all((HOST / link.removeprefix("../")).resolve().exists() for link in links), links
        assert all(link.startswith("../") for link in links), folder


@pytest.mark.xdist_group("sessions")  # the store is shared
@of_each
def test_the_hosts_form_runs_and_every_exercise_is_right(name, store, tmp_path):
    given = {"quick": True, "store": str(store), "device": "cpu", "jobs": 1}
    done = printed(notebooks.execute(HOST / f"{name}.ipynb", given, tmp_path / "failed.ipynb", 300))
    for number in EXERCISES[name]:
        assert f"Exercise {number}: right." in done, number


@pytest.mark.xdist_group("sessions")
@of_each
def test_the_participants_form_runs_and_asks_for_every_answer(name, made, store, tmp_path):
    given = {"quick": True, "store": str(store), "device": "cpu", "jobs": 1}
    done = printed(notebooks.execute(made / f"{name}.ipynb", given, tmp_path / "failed.ipynb", 300))
    for number in EXERCISES[name]:
        assert f"Exercise {number}: nothing yet." in done, number
    assert "Traceback" not in done
    assert done.count("you have made no guess") == {"session_1": 2, "session_2": 3}[name] and "guess was" not in done
    solutions = telling(tagged(read(HOST / f"{name}.ipynb"), solution=True))
    assert not [line for line in solutions if line in done]


def test_the_command_writes_the_sessions_and_the_sheet(tmp_path, capsys):
    assert main(["teach", "--output", str(tmp_path), "--no-pdf"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {*(f"{name}.ipynb" for name in sessions.NAMES), sheet.HTML}
    assert capsys.readouterr().out.count("\n") == 3


def test_the_sessions_themselves_are_never_overwritten(tmp_path):
    with pytest.raises(BadInput, match="holds the sessions with their solutions; give another folder"):
        sessions.make(str(HOST))
    (tmp_path / "session_2.ipynb").mkdir()
    with pytest.raises(BadInput, match="session_2.ipynb is a folder"):
        sessions.make(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["session_2.ipynb"]


def test_a_plan_fills_ninety_minutes():
    """Of each session: the minutes of its table, and the parts that its notebook has."""
    plans = re.split(r"^## (Session \d), minute by minute$", (HOST / "host.md").read_text(), flags=re.M)[1:]
    assert plans[::2] == ["Session 1", "Session 2"]
    for name, text in zip(sessions.NAMES, plans[1::2]):
        rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text.partition("\n## ")[0], re.M)
        assert sum(int(minutes) for minutes, _ in rows) == 90
        parts = re.findall(r"^## (\d.*)$", "\n".join(c.source for c in read(HOST / f"{name}.ipynb").cells), re.M)
        assert [part for _, part in rows[1:]] == parts
