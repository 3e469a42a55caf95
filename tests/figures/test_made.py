"""Exactly what changed is made again: with a stand-in for the notebooks' execution, and files of the test's own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from retrainlab.checks import BadInput, Failed
from retrainlab.figures import cost, made, notebooks, run, sources
from retrainlab.study.machine import Machine

ROOT = Path(__file__).parents[2]
A, B = "fig01_a", "fig02_b"
READS = {A: ["shared", "own-a"], B: ["shared", "own-b"]}  # results


class Desk:
    """Two figures whose notebooks import a module each and one that both import; `make` says which it has run."""

    def __init__(self, folder: Path):
        self.out, self.store, self.books = folder / "out", folder / "kept", folder / "books"
        self.modules = {
            "retrainlab": "",
            "retrainlab.both": "",
            "retrainlab.one": "",
            "retrainlab.two": "",
            "retrainlab.cli": "",
        }
        self.ran: list[str] = []
        self.fails, self.named, self.read = set[str](), dict(READS), dict[str, list[str]]()
        self.written: dict[str, list[str]] = {}
        for name, module in ((A, "one"), (B, "two")):
            self.write(self.book(name), json.dumps({"cells": [_cell(f"from retrainlab import both, {module}")]}))
        for key in ("shared", "own-a", "own-b", "other"):
            self.write(self.result(key), key)

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def book(self, name: str) -> Path:
        return self.books / f"{name}.ipynb"

    def result(self, key: str) -> Path:
        return self.store / "results" / f"{key}.json"

    def execute(self, path: Path, given: dict, keep: Path, timeout: float, live: bool = False) -> None:
        """In place of the notebook: files that tell of it and of its results, which `fresh` makes anew."""
        name = path.stem
        self.ran.append(name)
        if name in self.fails:
            raise Failed("It failed.")
        for key in self.named[name]:
            if given["fresh"] or not self.result(key).exists():
                self.write(self.result(key), f"{key}, made by {len(self.ran)}")
        drawn = path.read_text() + "".join(self.result(key).read_text() for key in self.named[name])
        drawn += "".join(
            (self.out / other).read_text() for other in self.read.get(name, ()) if (self.out / other).exists()
        )
        for other in self.written.get(name, ()):
            self.write(self.out / other, drawn)
        about = {"results": self.named[name], "read": self.read.get(name, []), "written": self.written.get(name, [])}
        for end, text in {"png": drawn, "svg": drawn, "csv": drawn, "json": json.dumps(about)}.items():
            self.write(self.out / f"{name}.{end}", text)

    def make(self, *names: str, **options) -> list[str]:
        self.ran.clear()
        own = {key: options.pop(key) for key in ("precision", "dry_run") if key in options}
        run.make(names, "smoke", Machine(store=str(self.store), **options), output=str(self.out), **own)
        return list(self.ran)


def _cell(code: str) -> dict:
    return {"cell_type": "code", "source": [code]}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Both figures, made once."""
    out = Desk(tmp_path)
    monkeypatch.setattr(run, "available", lambda: {name: out.book(name) for name in (A, B)})
    monkeypatch.setattr(notebooks, "parameters", lambda path: {"preset", "precision", "output", *vars(Machine())})
    monkeypatch.setattr(notebooks, "execute", out.execute)
    monkeypatch.setattr(sources, "texts", lambda: dict(out.modules))
    monkeypatch.setattr(cost, "sentence", lambda *given: "The cost.")
    monkeypatch.setattr(cost, "project", lambda: tmp_path)
    assert out.make() == [A, B]
    return out


def test_with_nothing_to_do_nothing_runs_and_a_line_says_so(desk, capsys):
    before = {path.name: path.read_bytes() for path in desk.out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert desk.make() == []
    told, words = capsys.readouterr()
    assert told == f"2 figures in {desk.out}/, all up to date: nothing to make.\n" and words == ""
    assert {path.name: path.read_bytes() for path in desk.out.rglob("*") if path.is_file()} == before


def damage(text: str):
    return lambda desk: (desk.out / ".made" / f"{A}.json").write_text(text)


def edit(path: str, text: str = "edited"):
    return lambda desk: (desk.out / path).write_text(text)


def remove(path: str):
    return lambda desk: (desk.out / path).unlink()


def change(**modules: str):
    return lambda desk: desk.modules.update({f"retrainlab.{name}": text for name, text in modules.items()})


def touched(desk) -> None:
    for path in (desk.book(A), desk.out / f"{A}.png", desk.result("shared")):
        os.utime(path, (1, 1))


@pytest.mark.parametrize(
    ("do", "again"),
    [
        pytest.param(lambda d: d.write(d.book(A), d.book(A).read_text() + " "), [A], id="notebook"),
        pytest.param(change(one="x = 1"), [A], id="module of one"),
        pytest.param(change(both="x = 1"), [A, B], id="module of both"),
        pytest.param(change(both="import retrainlab.cli"), [A, B], id="a module imports another ..."),
        pytest.param(change(cli="x = 1"), [], id="... which did not count before"),
        pytest.param(lambda d: d.modules.pop("retrainlab.two"), [B], id="module removed"),
        pytest.param(edit(f"{A}.csv"), [A], id="table edited"),
        pytest.param(edit(f"{B}.json", "{}"), [B], id="words edited"),
        pytest.param(edit(f"{B}.json", "[1]"), [B], id="words damaged"),
        pytest.param(remove(f"{B}.svg"), [B], id="picture deleted"),
        pytest.param(remove(f"{A}.json"), [A], id="words deleted"),
        pytest.param(lambda d: shutil.rmtree(d.out), [A, B], id="all deleted"),
        pytest.param(lambda d: d.result("own-a").write_text("another"), [A], id="result changed"),
        pytest.param(lambda d: d.result("shared").write_text("another"), [A, B], id="shared result changed"),
        pytest.param(lambda d: d.result("own-b").unlink(), [B], id="result missing"),
        pytest.param(lambda d: shutil.rmtree(d.store), [A, B], id="store empty, as in a fresh clone"),
        pytest.param(lambda d: d.result("other").write_text("another"), [], id="result of none"),
        pytest.param(touched, [], id="times of files alone"),
        pytest.param(remove(f".made/{A}.json"), [A], id="record deleted"),
        pytest.param(damage("{"), [A], id="record cut off"),
        pytest.param(damage("[]"), [A], id="record of another kind"),
        pytest.param(
            damage('{"parameters": {}, "versions": {}, "code": {}, "files": {}, "results": []}'), [A], id="parts"
        ),
        pytest.param(damage("[" * 100_000), [A], id="record nested too deeply"),
    ],
)
def test_exactly_what_changed_is_made_again(desk, do, again):
    do(desk)
    assert desk.make() == again
    assert desk.make() == []


@pytest.mark.parametrize(
    ("options", "again"),
    [
        ({"jobs": 2, "engine": "loop"}, []),
        ({"precision": "bfloat16"}, [A, B]),
        ({"device": "cpu"}, [A, B]),
        ({"fresh": True}, [A, B, A]),  # A once more: B has made their shared result anew
    ],
)
def test_options_that_can_change_a_figure_make_it_again(desk, options, again):
    assert desk.make(**options) == again
    assert desk.make(**{key: value for key, value in options.items() if key != "fresh"}) == []


def test_another_version_of_a_library_makes_all_again(desk, monkeypatch):
    monkeypatch.setattr(made, "versions", lambda: {"torch": "3.0"})
    assert desk.make() == [A, B]
    assert desk.make() == []


@pytest.mark.parametrize("what", ["python", "pandas", "scipy", "statsmodels"])
def test_so_does_one_of_those_that_no_figure_names(desk, monkeypatch, what):
    monkeypatch.setattr(made.platform, "python_version", lambda: "3.99" if what == "python" else sys.version.split()[0])
    real = made.metadata.version
    monkeypatch.setattr(made.metadata, "version", lambda name: "0.1" if name == what else real(name))
    assert desk.make() == [A, B]
    assert desk.make() == []


def test_named_figures_alone_are_looked_at(desk):
    change(both="x = 1")(desk)
    assert desk.make("fig02") == [B]
    assert desk.make("fig02") == []
    assert desk.make() == [A]


def test_what_failed_or_was_stopped_is_made_again_although_its_old_files_are_there(desk):
    old = (desk.out / f"{A}.png").read_bytes()
    desk.fails = {A}
    with pytest.raises(Failed):
        desk.make(fresh=True)
    assert (desk.out / f"{A}.png").read_bytes() == old
    desk.fails = set()
    assert desk.make() == [A]
    assert desk.make() == []


def test_figures_are_made_in_their_order_however_they_are_named(desk):
    """Pitfall: the one that reads the others is named first, and made of what they were."""
    change(both="x = 1")(desk)
    assert desk.make("fig02", "fig01", "fig02") == [A, B]


def test_what_a_figure_lacks_because_others_failed_does_not_hide_why_they_did(desk, monkeypatch):
    def execute(path, *rest, **more):
        raise Failed("No memory.") if path.stem == A else BadInput("There are no runs.")

    monkeypatch.setattr(notebooks, "execute", execute)
    with pytest.raises(Failed, match="2 of 2 figures failed.\n.*No memory.\n.*There are no runs."):
        desk.make(fresh=True)
    with pytest.raises(BadInput, match="no runs"):
        desk.make("fig02", fresh=True)


def test_a_figure_that_reads_another_follows_it_in_the_same_run(desk):
    desk.read = {B: [f"{A}.csv"]}
    desk.write(desk.book(B), desk.book(B).read_text() + " ")
    assert desk.make() == [B]
    desk.write(desk.book(A), desk.book(A).read_text() + " ")
    assert desk.make() == [A, B]
    assert desk.make() == []


def test_a_file_that_a_figure_looked_for_in_vain_makes_it_again_once_it_is_there(desk):
    """Pitfall: figure 15 by itself, then a figure whose runs it lacked, then all: what was not there is in no record."""
    desk.read = {B: ["fig03_c.runs.csv"]}
    desk.write(desk.book(B), desk.book(B).read_text() + " ")
    assert desk.make() == [B]
    assert desk.make() == []
    (desk.out / "fig03_c.runs.csv").write_text("seed")
    assert desk.make() == [B]
    assert desk.make() == []


def test_a_figure_that_another_command_remakes_while_it_is_read_is_read_again(desk, monkeypatch):
    """Pitfall: the record is of the file as it is at the end, and the figure of what it was at the start."""
    desk.read = {B: [f"{A}.csv"]}
    desk.write(desk.book(B), desk.book(B).read_text() + " ")

    def slow(path, *rest, **more):
        desk.execute(path, *rest, **more)
        monkeypatch.setattr(notebooks, "execute", desk.execute)
        desk.write(desk.book(A), desk.book(A).read_text() + " ")
        run.make(["fig01"], "smoke", Machine(store=str(desk.store)), output=str(desk.out))

    monkeypatch.setattr(notebooks, "execute", slow)
    assert desk.make("fig02") == [B, A]
    assert desk.make() == [B]
    assert desk.make() == []


def test_files_of_other_names_that_a_notebook_wrote_count_too(desk):
    desk.written = {A: ["claims.md"]}
    desk.write(desk.book(A), desk.book(A).read_text() + " ")
    assert desk.make() == [A]
    (desk.out / "claims.md").unlink()
    assert desk.make() == [A]
    assert desk.make() == []


@pytest.mark.parametrize("results", [[], ["shared", "lost"], "shared", [["shared"]]])
def test_without_results_that_are_stored_no_figure_is_up_to_date(desk, monkeypatch, results):
    """Pitfall: a store that could not be written, and a figure that is never made again."""
    real = desk.execute

    def forgetful(path, *rest, **more):
        real(path, *rest, **more)
        if path.stem == A:
            (desk.out / f"{A}.json").write_text(json.dumps({"results": results}))

    monkeypatch.setattr(notebooks, "execute", forgetful)
    (desk.out / f"{A}.csv").write_text("edited")
    assert desk.make() == [A]
    assert desk.make() == [A]


def test_a_module_that_changes_while_the_notebook_runs_makes_its_figure_again(desk, monkeypatch):
    """Pitfall: the record is of the code as it is at the end, and the figure by what it was at the start."""
    real = desk.execute

    def slow(path, *rest, **more):
        real(path, *rest, **more)
        change(one="edited = True")(desk)

    monkeypatch.setattr(notebooks, "execute", slow)
    (desk.out / f"{A}.csv").write_text("edited")
    assert desk.make() == [A, A], "what changed under way is made again at once"
    assert desk.make() == []


def test_a_dry_run_says_what_and_why_and_changes_nothing(desk, capsys):
    change(one="x = 1")(desk)
    desk.result("own-b").unlink()
    before = {path: path.read_bytes() for path in desk.out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert desk.make(dry_run=True) == []
    told, words = capsys.readouterr()
    assert words == "" and told.splitlines() == [
        "The cost.",
        f"  {A}: retrainlab.one changed",
        f"  {B}: 1 of its 2 results not in the store",
    ]
    assert {path: path.read_bytes() for path in desk.out.rglob("*") if path.is_file()} == before


def test_the_cost_is_told_before_the_first_notebook(desk, capsys):
    (desk.out / f"{A}.csv").unlink()
    capsys.readouterr()
    assert desk.make() == [A]
    told, words = capsys.readouterr()
    assert words.splitlines() == ["The cost.", f"[1/1] {A} ({A}.csv gone)"]
    assert told.splitlines()[-1].startswith(f"2 figures in {desk.out}/ (1 made now), ")


def test_the_command_with_nothing_to_do_loads_neither_torch_nor_the_notebook_stack(desk):
    code = f"""
import sys
from pathlib import Path
from retrainlab.cli import main
from retrainlab.figures import made, run, sources
books, out, store = {str(desk.books)!r}, Path({str(desk.out)!r}), Path({str(desk.store)!r})
run.available = lambda: {{path.stem: path for path in sorted(Path(books).glob("*.ipynb"))}}
for path in run.available().values():
    one = made.Asked(path, out, store, {{"preset": "smoke", "precision": "float32", "device": "auto"}})
    made.keep(one, made.before(one, sources.texts()), made.beside(one))
code = main(["figures", "--preset", "smoke", "--output", str(out), "--store", str(store)])
heavy = {{"torch", "numpy", "pandas", "matplotlib", "papermill", "nbformat", "jupyter_client"}}
assert code == 0 and not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"2 figures in {desk.out}/, all up to date: nothing to make.\n"
