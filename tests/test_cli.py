"""The command line: what it refuses, with which words and which exit code; and what it prints."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrainlab import cli, paths
from retrainlab.cli import main
from retrainlab.data import sources

ROOT = Path(__file__).parent.parent
QUICK = ["--width", "4", "--epochs", "2", "--jobs", "1"]


def refused(arguments: list[str], capsys) -> str:
    """The one sentence on stderr of a command that must end with exit code 2."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert captured.err.startswith("retrainlab: ")
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sparsity", "1.2"], ["1.2", "at most 1"]),
        (["--sparsity", "nan"], ["nan", "at most 1"]),
        (["--budget", "-0.1"], ["budget", "at least 0"]),
        (["--epochs", "-3"], ["epochs", "-3", "at least 1"]),
        (["--schedule", "ALR"], ["ALR", "did you mean 'ALLR'"]),
        (["--schedule", "linear"], ["linear", "lr"]),
        (["--model", "resnet2O"], ["resnet2O", "did you mean 'resnet20'"]),
        (["--data", "fashion"], ["fashion", "did you mean 'fashion-mnist'"]),
        (["--data", "cifar10"], ["cifar-10-batches-py", "retrainlab data cifar10"]),
        (["--data", "./no/such/folder"], ["no/such/folder", "one folder of images per class"]),
        (["--allocation", "Global"], ["did you mean 'global'"]),
        (["--schedule", "LRW", "--budget", "2", "--epochs", "4"], ["LRW", "8 epochs", "4 epochs"]),
        (["--batch-size", "5000"], ["5000", "1000 training images"]),
        (["--device", "gpu"], ["gpu", "Allowed: auto, cpu"]),
        (["--jobs", "-1"], ["jobs", "at least 0"]),
        (["--engine", "batch"], ["did you mean 'batched'"]),
        (["--engine", "graph", "--device", "cpu"], ["graph", "CUDA GPU", "batched, loop or auto"]),
        (["--precision", "half"], ["half", "float32, bfloat16"]),
        (["--structure", "n:m", "--sparsity", "0.9"], ["0.5", "0.9"]),
        (["--schedule", "custom"], ["control points"]),
        (["--lr", "0.1"], ["LLR", "leave lr out"]),
        (["--image-size", "32"], ["image size"]),
        (["--model", "torchvision/resnet1"], ["did you mean 'resnet1"]),
    ],
)
def test_a_mistake_gets_one_sentence_and_exit_code_2(arguments, words, capsys, tmp_path):
    sentence = refused(["run", *arguments], capsys)
    for word in words:
        assert word in sentence
    assert not (tmp_path / "store" / "dense").exists(), "nothing was computed"


def test_unknown_figures_and_presets_are_named_with_the_nearest(capsys):
    assert "did you mean 'digits'" in refused(["figures", "--preset", "digit"], capsys)
    assert "did you mean 'fig03_budgets'" in refused(["figures", "fig03_budget"], capsys)


def test_a_store_that_cannot_be_written_is_refused_before_any_work(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = refused(["run", *QUICK, "--store", str(tmp_path / "file" / "store")], capsys)
    assert "cannot be written" in sentence and "--store" in sentence


def test_a_damaged_result_is_made_anew_with_a_word(capsys, tmp_path):
    arguments = ["run", *QUICK, "--budget", "0.5"]
    assert main(arguments) == 0
    [path] = (tmp_path / "store" / "results").glob("*.json")
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=f"Damaged: {path}"):
        assert main(arguments) == 0
    assert json.loads(path.read_text())["key"] == path.stem
    [aside] = (tmp_path / "store" / "damaged").iterdir()
    assert aside.read_text() == whole[: len(whole) // 2], "nothing was overwritten"


def test_a_study_s_file_whose_name_is_empty_is_refused_and_not_left_out(capsys):
    """Pitfall: `study "$FILE"` with a FILE that is not set runs something else."""
    assert "must be TOML or YAML" in refused(["study", ""], capsys)


def test_a_table_that_cannot_be_written_is_refused_before_any_work(capsys, tmp_path):
    sentence = refused(["study", *QUICK, "--csv", str(tmp_path / "no" / "table.csv")], capsys)
    assert "table.csv" in sentence
    assert not (tmp_path / "store" / "dense").exists(), "nothing was computed"


def test_a_download_without_a_network_says_what_to_copy(capsys, monkeypatch, tmp_path):
    from torchvision import datasets

    def fails(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "CIFAR10", fails)
    sentence = refused(["data", "cifar10"], capsys)
    assert "no route to host" in sentence and str(tmp_path / "data") in sentence


def test_study_prints_means_with_intervals_and_writes_the_rows(capsys, tmp_path):
    grid = ["--seed", "0", "1", "--sparsity", "0.5", "--budget", "0.5", "--schedule", "FT", "LLR"]
    assert main(["study", *QUICK, *grid, "--csv", str(tmp_path / "rows.csv")]) == 0
    out = capsys.readouterr().out
    assert "95 % from" in out and "LLR" in out and "dense:" in out
    rows = (tmp_path / "rows.csv").read_text().splitlines()
    assert len(rows) == 1 + 4
    assert "test_accuracy" in rows[0]


def test_run_prints_every_scalar(capsys):
    assert main(["run", *QUICK, "--budget", "0.5"]) == 0
    out = capsys.readouterr().out
    for name in ("test_accuracy", "sparsity_achieved", "recovery", "theoretical_speedup", "images_per_second"):
        assert name in out


def test_doctor_lists_what_it_looked_for(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for name in (
        "Python",
        "torch",
        "ONNX files",
        "timm's networks",
        "torchvision",
        "device",
        "data: digits",
        "data: cifar10",
        "kernel",
        "store",
        "browser",
    ):
        assert name in out
    assert "retrainlab data cifar10" in out


@pytest.fixture
def pets(tmp_path) -> Path:
    """A folder of two classes of ten images."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / "pets" / name / f"{i}.png")
    return tmp_path / "pets"


def test_doctor_says_what_a_folder_holds_and_what_in_it_cannot_be_read(capsys, pets):
    assert main(["doctor", "--data", str(pets)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "2 classes (cat, dog); 20 train images; validation and test split off train" in out
    (pets / "cat" / "0.png").write_bytes(b"no image")
    assert main(["doctor", "--data", str(pets)]) == 1
    assert "cat/0.png (no image of a format that is known)" in " ".join(capsys.readouterr().out.split())


def test_doctor_looks_for_a_folder_whatever_data_set_has_its_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--data", "digits"]) == 1
    assert "There is no image folder" in " ".join(capsys.readouterr().out.split())


def test_a_study_says_on_stderr_what_it_found_in_a_folder(capsys, pets):
    arguments = ["--model", "mlp", "--batch-size", "4", "--image-size", "8", "--schedule", "FT", "--budget", "0.5"]
    assert main(["run", "--data", str(pets), *arguments, *QUICK]) == 0
    captured = capsys.readouterr()
    assert "2 classes (cat, dog); 20 train images" in captured.err and "2 classes" not in captured.out
    assert "read at 8 x 8" in captured.err


def test_a_folder_whose_name_is_no_text_gets_its_table(capsys, tmp_path, pets):
    root = pets.rename(tmp_path / os.fsdecode(b"p\xe9ts"))
    arguments = ["--model", "mlp", "--batch-size", "4", "--image-size", "8", "--schedule", "FT", "--budget", "0.5"]
    assert main(["study", "--data", str(root), *arguments, *QUICK, "--csv", str(tmp_path / "rows.csv")]) == 0
    assert "p\\udce9ts" in (tmp_path / "rows.csv").read_text() and "p\\udce9ts: 2 classes" in capsys.readouterr().err
    arguments[3] = "100"
    assert "p\\udce9ts has 14 training images" in refused(["study", "--data", str(root), *arguments, *QUICK], capsys)


def test_doctor_shows_the_engines_that_were_chosen(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["doctor"]) == 0 and "none chosen yet" in capsys.readouterr().out
    engine = {"kind": "batched", "members": 8, "least": 2, "seconds": 0.003}
    times = {"0": 5.0, "8": 3.0}
    record = {
        "net, batch 32": {"engine": engine, "ms_per_member_step": times},
        "net, batch 64": {"engine": engine, "ms_per_member_step": times, "bfloat16": 0.423},
        "net, batch 128": {"engine": engine, "ms_per_member_step": times, "bfloat16": 5.4},
    }
    path = tmp_path / "retrainlab" / "engines.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))
    assert main(["doctor"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    found = "batched, up to 8 at once (5.0 ms a step in the loop, 3.0 at best)"
    assert f"net, batch 32: {found} engine" in out
    assert f"net, batch 64: {found}; bfloat16 would take about 0.42 of the time engine" in out
    assert f"net, batch 128: {found}; bfloat16 would take about 5.40 times as long engine" in out
    assert str(path) in out.replace(" ", "")


def test_doctor_reads_every_stored_file_or_a_sample(capsys, tmp_path):
    """60 truncated files are no store that is ok; an earlier version's files are, and are counted."""
    from retrainlab.study.older import LEAST
    from retrainlab.study.result import Result
    from retrainlab.study.store import Store

    store = Store(tmp_path / "store")
    scalars, curves = (dict.fromkeys(names, value) for names, value in zip(LEAST["results"], (0.5, [0.5])))
    whole = Result({"retrain": {}}, scalars, curves, {"device": "cpu"})
    for i in range(60):
        store.put(f"{i:016x}", whole)
    first = store.path("results", f"{0:016x}")
    record = json.loads(first.read_text())
    del record["sha256"]
    first.write_text(json.dumps(record))
    assert main(["doctor", "--store"]) == 0
    assert "60 of 60 looked at: 60 whole, 1 of these without a checksum" in " ".join(capsys.readouterr().out.split())
    assert main(["doctor"]) == 0 and "50 of 60 looked at: 50 whole" in capsys.readouterr().out
    first.write_text(first.read_text()[:-9])
    assert main(["doctor", "--store", str(tmp_path / "store")]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "59 whole" in out and "DAMAGED results/0000000000000000 (" in out and "give the study's command again" in out
    for path in (store.root / "results").iterdir():
        path.write_text(path.read_text()[:200])
    assert main(["doctor"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "0 whole" in out and "and 40 more" in out and "retrainlab doctor --store` looks at all" in out
    assert store.count()["results"] == 60, "nothing was moved"


def test_a_warning_of_the_kits_own_is_a_sentence_without_code(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", usual := warnings.formatwarning)
    main(["doctor"])
    inside = str(ROOT / "retrainlab" / "store.py")
    assert warnings.formatwarning("Damaged: x.", UserWarning, inside, 3) == "retrainlab: Damaged: x.\n"
    assert warnings.formatwarning("x", UserWarning, "torch.py", 3, "") == usual("x", UserWarning, "torch.py", 3, "")


def test_doctor_says_that_the_stores_disk_is_nearly_full(capsys, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=150_000_000))
    assert main(["doctor"]) == 1
    assert "FULL     150 MB are free" in capsys.readouterr().out


def test_help_does_not_load_torch():
    for arguments in (["--help"], ["figures", "--help"], ["study", "--help"], ["pack", "--help"]):
        code = (
            "import sys; from retrainlab.cli import main\n"
            f"try: main({arguments!r})\nexcept SystemExit: pass\n"
            "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "usage: retrainlab" in done.stdout


def options_of(command: str) -> set[str]:
    [commands] = (a for a in cli._parser()._actions if a.choices)
    return {action.dest for action in commands.choices[command]._actions}


def test_every_setting_but_drawn_points_has_an_option():
    from dataclasses import fields

    from retrainlab.config import SGD, Prune, Recipe, Retrain
    from retrainlab.study.settings import DENSE_NAMES

    names = {DENSE_NAMES.get(f.name, f.name) for f in fields(Recipe)} - {"sgd", "method"}
    names |= {f.name for noun in (SGD, Prune, Retrain) for f in fields(noun)} - {"points", "sgd"}
    methods = {"method", *_method_settings()}
    machine = {"help", "jobs", "device", "store", "engine", "fresh", "stored_only", "minutes", "scheduler"}
    assert options_of("run") == names | methods | machine and not names & methods
    assert options_of("study") == options_of("run") | {"csv", "file", "dry_run"}
    assert options_of("pack") == options_of("run") - {"minutes", "scheduler"} | {"file", "weights", "half"}


def _method_settings() -> set[str]:
    from dataclasses import fields

    from retrainlab.methods.table import METHODS

    names = {f.name for entry in METHODS.values() for f in fields(entry.settings)} - {"name", "sparsity"}
    return {"order" if name == "allocation" else name for name in names}


def test_every_setting_of_a_method_has_an_option():
    assert _method_settings() <= options_of("run")


def test_a_method_and_its_settings_reach_the_recipe(tmp_path):
    arguments = ["--method", "GMP", "--interval", "5", "--order", "uniform", "--sparsity", "0.8", "--budget", "0"]
    assert main(["run", *QUICK, *arguments]) == 0
    [path] = (tmp_path / "store" / "results").glob("*.json")
    stored = json.loads(path.read_text())
    method = stored["config"]["recipe"]["method"]
    assert method == {"name": "GMP", "sparsity": 0.8, "interval": 5, "end": 0.75, "allocation": "uniform"}
    assert stored["scalars"]["trained_sparsity"] == pytest.approx(0.8, abs=1e-3)


def test_a_method_that_missed_its_sparsity_is_named(capsys):
    assert main(["run", *QUICK, "--method", "DST", "--sparsity", "0.9", "--budget", "0"]) == 0
    out = capsys.readouterr().out
    assert "DST alone did not reach the sparsity" in out and "before the prune %" in out
    assert main(["run", *QUICK, "--method", "GMP", "--sparsity", "0.9", "--budget", "0"]) == 0
    assert "did not reach" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "GNP"], ["There is no method 'GNP'", "did you mean 'GMP'"]),
        (["--interval", "5"], ["--interval", "dense training"]),
        (["--method", "CS", "--interval", "5", "--end", "1"], ["--interval, --end", "CS has no such setting"]),
        (["--method", "GMP", "--end", "2"], ["GMP's end is 2.0", "at most 1"]),
        (["--method", "Static", "--order", "lamp"], ["LAMP"]),
    ],
)
def test_a_mistake_in_a_methods_settings_is_one_sentence(arguments, words, capsys):
    sentence = refused(["run", *arguments], capsys)
    assert all(word in sentence for word in words)


def test_options_reach_the_nouns(capsys, tmp_path):
    switches = ["--nesterov", "--no-augment", "--momentum", "0.8", "--keep-last", "--recalibrate", "--warmup", "0.2"]
    others = ["--milestones", "0.4", "0.8", "--optimizer", "cycles"]
    assert main(["run", *QUICK, "--budget", "0.5", *switches, *others]) == 0
    [path] = (tmp_path / "store" / "results").glob("*.json")
    config = json.loads(path.read_text())["config"]
    assert config["recipe"]["sgd"]["nesterov"] and config["recipe"]["sgd"]["momentum"] == 0.8
    assert not config["recipe"]["augment"] and config["recipe"]["milestones"] == [0.4, 0.8]
    assert config["prune"]["keep_last"] and config["retrain"]["recalibrate"] and config["retrain"]["warmup"] == 0.2
    assert config["retrain"]["optimizer"] == "cycles"


SMALL = (
    "[recipe]\nmodel = 'mlp'\nwidth = 4\nepochs = 2\n[grid]\nseed = [0, 1]\nbudget = 0.5\nschedule = ['FT', 'LLR']\n"
)
AS_OPTIONS = "--model mlp --width 4 --epochs 2 --seed 0 1 --budget 0.5 --schedule FT LLR --jobs 1".split()


def test_a_study_in_a_file_is_that_of_the_options(capsys, tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    assert main(["study", str(tmp_path / "small.toml"), "--jobs", "1", "--csv", "-", "--minutes", "9"]) == 0
    rows = capsys.readouterr().out
    assert main(["study", *AS_OPTIONS, "--csv", "-", "--stored-only"]) == 0
    assert capsys.readouterr().out == rows and rows.count("\n") == 5


@pytest.mark.parametrize("form", [["small.toml", "--jobs", "1"], AS_OPTIONS])
def test_a_dry_run_says_what_a_study_costs_and_makes_nothing(form, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SMALL)
    assert main(["study", *form, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "4 runs: 0 stored, 4 to make, which need 2 first trainings and 2 prunes that are not stored."
    )
    assert "Training: 4 runs, 8 member-epochs" in said and not Path("store").exists()


def test_a_mistake_in_a_studys_file_is_one_sentence_before_any_work(capsys, tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SMALL.replace("epochs", "epoch"))
    assert f"{file}: recipe: There is no entry 'epoch': did you mean 'epochs'?" in refused(["study", str(file)], capsys)
    assert "no.toml cannot be read" in refused(["study", "no.toml"], capsys)
    file.write_text(SMALL)
    sentence = refused(["study", str(file), "--epochs", "3", "--seed", "0", "1", "--jobs", "1"], capsys)
    assert "Leave --epochs, --seed out:" in sentence and not (tmp_path / "store").exists()


def test_the_studies_that_the_page_on_using_it_shows_are_the_same_whichever_way_they_are_written(tmp_path, capsys):
    from retrainlab.study import described

    text = (ROOT / "docs" / "using.md").read_text()
    found = []
    for end in ("toml", "yaml"):
        [block] = re.findall(rf"```{end}\n(.*?)```", text, re.S)
        (tmp_path / f"digits.{end}").write_text(block)
        found.append(described.study(tmp_path / f"digits.{end}"))
    assert found[0] == found[1] and {e.recipe.model for e in found[0]} == {"mlp"}
    assert f"{len(found[0])} runs" in text
    assert main(["study", str(tmp_path / "digits.toml"), "--dry-run", "--jobs", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{len(found[0])} runs: 0 stored")


def test_a_repeated_seed_is_no_further_replication(capsys):
    assert main(["study", *QUICK, "--budget", "0.5", "--seed", "0", "0", "--schedule", "FT", "LLR"]) == 0
    assert "95 % from" not in capsys.readouterr().out


def test_a_lost_worker_is_told_without_a_stack_trace(capsys, monkeypatch):
    from retrainlab.study import run, workers

    def dies(*_, **__):
        raise workers.WorkerDied("A worker process ended unexpectedly.")

    monkeypatch.setattr(run, "run_study", dies)
    assert main(["run", *QUICK]) == 1
    assert capsys.readouterr().err.strip() == "retrainlab: A worker process ended unexpectedly."


def test_what_is_not_pruned_is_told_under_the_table(capsys):
    options = [*QUICK, "--epochs", "1", "--sparsity", "0.5", "--structure", "n:m", "--seed", "0"]
    assert main(["study", *options]) == 0
    printed = capsys.readouterr().out
    assert printed.count("2:4 leaves conv.weight dense, ") == 1
    assert main(["study", *options[:-4], "--seed", "0"]) == 0
    assert "leaves" not in capsys.readouterr().out


def test_the_table_goes_to_stdout_and_progress_to_stderr_line_by_line(capsys):
    """Pitfall: a table in a file, with hundreds of carriage returns before it."""
    assert main(["study", *QUICK, "--budget", "0.5", "--schedule", "FT", "LLR"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("dense: ") and out.count("\n") == 4 and "\r" not in out + err
    assert "0%, 0 of 4 runs on cpu" in err.splitlines()[0] and "100%" in err.splitlines()[-1]


def test_rows_for_machines_take_the_tables_place_on_stdout(capsys, tmp_path):
    assert main(["study", *QUICK, "--budget", "0.5", "--csv", str(tmp_path / "rows.csv")]) == 0
    capsys.readouterr()
    assert main(["study", *QUICK, "--budget", "0.5", "--csv", "-"]) == 0
    assert capsys.readouterr().out == (tmp_path / "rows.csv").read_text()


@pytest.mark.skipif(os.name != "posix", reason="pipes with names are POSIX's")
def test_rows_can_go_to_a_pipe_and_through_a_link(tmp_path):
    """Pitfall: a file renamed onto /dev/null is the end of it."""
    (tmp_path / "link.csv").symlink_to(tmp_path / "rows.csv")
    os.mkfifo(tmp_path / "pipe")
    with open(os.open(tmp_path / "pipe", os.O_RDWR)) as reader:
        for name in ("pipe", "link.csv"):
            assert main(["study", *QUICK, "--budget", "0.5", "--csv", str(tmp_path / name)]) == 0
        assert "test_accuracy" in reader.readline()
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link.csv").is_symlink()
    assert "test_accuracy" in (tmp_path / "rows.csv").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_path_that_the_terminal_cannot_write_costs_nothing(tmp_path, monkeypatch):
    """Pitfall: the table is printed first, fails, and is never written to its file."""
    monkeypatch.chdir(tmp_path)
    data = "./" + os.fsdecode("größe".encode("latin-1") + "é".encode())
    for i in range(20):
        folder = Path(data) / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * i).save(folder / f"{i}.png")
    small = ["--model", "mlp", "--width", "4", "--epochs", "1", "--batch-size", "4", "--image-size", "8", "--jobs", "1"]
    monkeypatch.setattr(sys, "stdout", out := io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert main(["study", *small, "--data", data, "--csv", "rows.csv"]) == 0
    assert main(["run", *small, "--data", data]) == 0
    assert ascii(data)[1:-1].encode() in out.buffer.getvalue()
    with open("rows.csv", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["data"] == data.encode("utf-8", "backslashreplace").decode()


def test_a_store_whose_name_is_no_text_is_refused_before_any_work(capsys):
    """Pitfall: its tensors cannot be opened by that name, and are called damaged after training."""
    assert "not UTF-8; name another folder" in refused(["run", *QUICK, "--store", "store\udcff"], capsys)


def printing(shell: str) -> subprocess.CompletedProcess:
    """A command that prints one line, with what follows it in the shell."""
    code = "import sys; from retrainlab import cli; cli._doctor = lambda _: print('x'); sys.exit(cli.main(['doctor']))"
    return subprocess.run(
        f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} {shell}", shell=True, cwd=ROOT, capture_output=True
    )


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
def test_a_reader_that_has_seen_enough_ends_the_command_without_a_word(tmp_path):
    done = printing(f"2>{tmp_path / 'words'} | sleep 0; cat {tmp_path / 'words'}")
    assert done.stdout == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_table_that_cannot_be_printed_is_one_sentence():
    done = printing(">/dev/full")
    assert done.returncode == 1
    said = "retrainlab: The output could not be written (No space left on device); results are kept.\n"
    assert done.stderr.decode() == said


@pytest.fixture
def homeless(monkeypatch):
    """A user without a home directory, as the password file of a container may have it."""

    def none():
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "XDG_CACHE_HOME", "RETRAINLAB_STORE", "RETRAINLAB_DATA", *paths.PLACES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", none)
    monkeypatch.setattr(os.path, "expanduser", lambda name: name)
    yield
    for name in paths.PLACES:
        os.environ.pop(name, None)


def test_without_a_home_digits_need_a_store_and_nothing_else(homeless, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("retrainlab.study.speed.WORTH_A_PROBE", 0)
    assert main(["run", *QUICK, "--budget", "0.5", "--store", str(tmp_path / "store")]) == 0
    assert "test_accuracy" in capsys.readouterr().out


def test_without_a_home_what_needs_a_place_says_how_to_name_one(homeless, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sources, "DEBIAN_FASHION", tmp_path)
    for arguments in (["run", "--data", "cifar10"], ["run", "--data", "fashion-mnist"], ["data", "cifar10"]):
        arguments += ["--store", str(tmp_path / "store")] if arguments[0] == "run" else []
        assert "set RETRAINLAB_DATA" in refused(arguments, capsys)
    assert "~/images: wanted is a folder" in refused(["run", "--data", "~/images", "--store", str(tmp_path)], capsys)
    monkeypatch.setattr(paths, "in_project", lambda: False)
    assert "--store or RETRAINLAB_STORE" in refused(["run", *QUICK], capsys)


def test_without_a_home_doctor_says_so_and_jupyter_gets_folders(homeless, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RETRAINLAB_STORE", str(tmp_path / "store"))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "home directory" in out and "there is none" in out and "set HOME" in out
    assert all(Path(os.environ[name]).parent.is_dir() for name in paths.PLACES)


def test_without_a_home_jupyterlab_is_refused(homeless, capsys):
    assert "set HOME" in refused(["lab"], capsys)


def test_runs_that_diverge_are_left_out_of_the_table_and_named(capsys, tmp_path):
    """Pitfall: a network of NaN answers class 0 to every image, which looks like an accuracy of 10 %."""
    free = ["--schedule", "LLR", "constant", "--lr", "1e6", "--budget", "0.5"]
    assert main(["study", *QUICK, *free, "--sparsity", "0.9", "--seed", "0", "1"]) == 0
    out = capsys.readouterr().out
    assert "Left out of these numbers: 2 of 4 runs." in out
    assert "90 % sparsity, budget 50 %, constant, seed 0, 1: diverged: retraining, cycle 1, within 6 steps" in out
    stored = (json.loads(path.read_text())["scalars"] for path in (tmp_path / "store" / "results").iterdir())
    ratios = [scalars["compression_ratio"] for scalars in stored if scalars["compression_ratio"] is not None]
    healthy, lost = (next(line for line in out.splitlines() if f" {name} " in line) for name in ("LLR", "constant"))
    assert healthy.split()[-2] == "2" and lost.split() == ["-", "50.00", "constant", "-", "-", "-", "0", "-"]
    assert float(healthy.split()[-1]) == pytest.approx(np.mean(ratios), abs=0.006) and "times smaller" in out
    assert main(["run", *QUICK, "--dense-lr", "1e6", "--budget", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "dense: diverged" in out and "1 of 1 runs" in out and "diverged: the first training, within 31 steps" in out
    assert not any(word in out for word in ("10.", "0.10", "0.09"))


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_end_nothing(closed):
    """Pitfall: Python has no sys.stdout then, and the next file that is opened takes its number."""
    assert printing(closed).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="pipes with names are POSIX's")
def test_a_table_can_go_to_a_pipe_that_the_shell_names(tmp_path):
    read, write = os.pipe()
    with open(read) as reader:
        assert main(["study", *QUICK, "--budget", "0.5", "--csv", f"/dev/fd/{write}"]) == 0
        os.close(write)
        assert "test_accuracy" in reader.readline()


@pytest.mark.parametrize("said", ["", "Stopped: 3 of 4 runs are kept; the same command goes on from there."])
@pytest.mark.parametrize(
    ("fresh", "end"), [([], "goes on from there."), (["--fresh"], "begins anew, since it has --fresh.")]
)
def test_what_is_computed_anew_does_not_go_on_from_where_it_was_stopped(monkeypatch, capsys, said, fresh, end):
    def stop(_):
        raise KeyboardInterrupt(*filter(None, [said]))

    monkeypatch.setattr(cli, "_figures", stop)
    assert main(["figures", *fresh]) == 130 and capsys.readouterr().err.endswith(f"the same command {end}\n")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_sigterm_is_told_as_ctrl_c_is_and_what_was_ignored_stays_so(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_doctor", lambda _: signal.raise_signal(signal.SIGTERM))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert main(["doctor"]) == 130 and "goes on from there" in capsys.readouterr().err
        monkeypatch.setattr(cli, "_doctor", lambda _: signal.raise_signal(signal.SIGHUP))
        assert main(["doctor"]) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
