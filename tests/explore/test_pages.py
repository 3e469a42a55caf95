"""Exported pages: self-contained, complete, true to the store; and the command that opens JupyterLab."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

pytest.importorskip("ipywidgets")

from retrainlab import export, lab, study
from retrainlab.checks import BadInput, WorkerDied
from retrainlab.config import Recipe
from retrainlab.explore.kit import live, pages
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.views import race, schedules
from retrainlab.study.store import Store
from tests.helpers import shelved


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def simple(**more) -> Page:
    controls = [Control("One", [("a", 1), ("b", 2)], 1), Control("Two", [("c", 3), ("d", 4), ("e", 5)], choice=True)]
    view = lambda one, two: View([], f"{one}{two} </script>", ("Caption", ("h",), [(str(one),)]), "x\n", "code")  # noqa: E731
    return Page("simple", "A <title>", ["First & last."], controls, [], view, **more)


def test_a_page_holds_a_view_for_every_setting_of_its_controls():
    text = pages.html(simple())
    data = data_of(text)
    assert list(data["views"]) == ["0,0", "0,1", "0,2", "1,0", "1,1", "1,2"]
    assert data["views"]["1,2"]["words"] == "25 </script>" and data["views"]["0,0"]["table"][2] == [["1"]]
    assert data["controls"][0] == {"label": "One", "words": ["a", "b"], "start": 1, "choice": False}
    assert "<h1>A &lt;title&gt;</h1>" in text and "<p>First &amp; last.</p>" in text
    assert not data["hidden"] and data_of(pages.html(simple(hidden=True)))["hidden"]


def test_a_control_cannot_start_outside_its_values():
    with pytest.raises(ValueError, match="place 2 of 2 values"):
        Control("One", [("a", 1), ("b", 2)], 2)


def test_a_page_loads_nothing_from_anywhere():
    text = pages.html(simple())
    assert not re.search(r"<(link|img|iframe)|\bsrc=|@import|url\(|import\s*\(|^\s*import ", text, re.M)
    outside = set(re.findall(r"https?://[^\s\"'`]+", text))
    assert outside == {"http://www.w3.org/2000/svg"}, "a name, not an address"


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(live, "recipe_of", lambda data, model, seed: Recipe(data, model, width=4, epochs=1, seed=seed))
    monkeypatch.setattr(race, "BUDGETS", (0.1, 0.25, 0.5))


def test_export_computes_what_is_missing_and_writes_what_the_store_says(tiny, tmp_path, capsys):
    store = Store(tmp_path / "store")
    [path] = export.make(["race"], output=str(tmp_path / "out"), store=str(store.root), jobs=1)
    data = data_of(path.read_text())
    assert len(data["views"]) == 4 * 3 and "race.html" in capsys.readouterr().out
    wanted = live.stored(race.experiments(race.Settings(sparsity=0.95, budget=0.5)), store)
    assert wanted.whole and data["views"]["2,2"]["words"] == race.words(wanted)
    assert data["views"]["2,2"]["table"][2] == [list(row) for row in race.ranking(wanted)]
    before = path.read_bytes()
    export.make(["race"], output=str(tmp_path / "out"), store=str(store.root), jobs=1)
    assert path.read_bytes() == before and " runs on " not in capsys.readouterr().err


def test_export_writes_what_is_stored_of_cifar10_beside_it(tiny, tmp_path):
    store = Store(tmp_path / "store")
    shelved.cifar10(store)
    both = export.make(["allr"], output=str(tmp_path / "out"), store=str(store.root), jobs=1)
    assert [path.name for path in both] == ["allr.html", "allr_cifar10.html"]
    digits, cifar10 = (path.read_text() for path in both)
    assert "computed on cpu" in digits and f"computed on {shelved.DEVICE}; this file" in cifar10
    assert len(data_of(cifar10)["views"]) == 13 * 6 * 2 and data_of(cifar10)["name"] == "allr_cifar10"


def test_pages_that_need_no_run_that_failed_are_written(tiny, tmp_path, monkeypatch):
    def dies(*_, **__):
        raise WorkerDied("Failed: run a.")

    monkeypatch.setattr(study, "run_study", dies)
    with pytest.raises(WorkerDied, match="Failed: run a. 1 of 2 pages are written."):
        export.make(["race", "schedules"], output=str(tmp_path / "out"), store=str(tmp_path / "store"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["schedules.html"]


def test_the_schedules_page_shows_the_package_s_curves():
    page = schedules.page(None)
    view = page.view("linear", 0.25, 0.5)
    settings = schedules.Settings(budget=0.25, dense="linear", damage=0.5)
    assert view.words == schedules.words(settings, schedules.compute(settings)) and page.needs == []
    assert view.csv.splitlines()[-1].startswith("ALLR,")


def test_every_page_has_a_module_with_a_notebook():
    from importlib import import_module

    for name in export.PAGES:
        view, app = (import_module(f"retrainlab.explore.{room}.{name}") for room in ("views", "apps"))
        assert callable(view.page) and callable(app.show)


def test_mistakes_are_refused_before_any_work(tmp_path):
    with pytest.raises(BadInput, match="did you mean 'race'"):
        export.make(["raec"], output=str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        export.make(["schedules"], output=str(tmp_path / "file" / "folder"))
    (tmp_path / "race.html").mkdir()
    with pytest.raises(BadInput, match="race.html is a folder"):
        export.make(["schedules", "race"], output=str(tmp_path))
    assert not (tmp_path / "schedules.html").exists()
    with pytest.raises(BadInput, match="port is 80"):
        lab.command(80, True)


def test_lab_listens_on_loopback_with_jupyters_own_token():
    command = lab.command(8899, browser=False)
    assert command[:4] == [sys.executable, "-m", "jupyter", "lab"] and command[4].endswith("start_here.ipynb")
    assert {"--ip=127.0.0.1", "--port=8899", "--no-browser"} <= set(command)
    assert not any("token" in word.lower() or "password" in word.lower() for word in command), "Jupyter makes one"


@pytest.mark.skipif(os.name != "posix", reason="signals as Unix knows them")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_what_ends_lab_ends_jupyter(name):
    """Pitfall: a program that only starts another leaves it behind when it is terminated."""
    jupyter = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    code = f"from retrainlab import lab; lab.command = lambda port, browser: {jupyter!r}; lab.serve()"
    running = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in (signal.SIGHUP, signal.SIGINT)],
    )
    child = int(running.stdout.readline())
    running.send_signal(getattr(signal, name))
    running.wait(30)
    try:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
