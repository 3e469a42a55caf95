"""The command line: what it refuses, with which words and which exit code; and what it prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from retrainlab.cli import main

ROOT = Path(__file__).parent.parent
QUICK = ["--width", "4", "--epochs", "2", "--jobs", "1"]


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("RETRAINLAB_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("RETRAINLAB_DATA", str(tmp_path / "data"))


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
        (["--engine", "loop", "--precision", "bfloat16"], ["loop", "float32", "batched or auto"]),
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


def test_a_damaged_result_is_refused_with_its_path(capsys, tmp_path):
    arguments = ["run", *QUICK, "--budget", "0.5"]
    assert main(arguments) == 0
    [path] = (tmp_path / "store" / "results").glob("*.json")
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    assert str(path) in refused(arguments, capsys)
    assert path.read_text() == whole[: len(whole) // 2], "nothing was overwritten"
    path.unlink()
    assert main(arguments) == 0


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


def test_doctor_shows_the_engines_that_were_chosen(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["doctor"]) == 0 and "none chosen yet" in capsys.readouterr().out
    engine = {"kind": "batched", "members": 8, "least": 2, "precision": "float32", "seconds": 0.003}
    record = {"net, batch 32": {"engine": engine, "ms_per_member_step": {"0": 5.0, "8": 3.0}}}
    path = tmp_path / "retrainlab" / "engines.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))
    assert main(["doctor"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "net, batch 32: batched, up to 8 at once (5.0 ms a step in the loop, 3.0 at best)" in out
    assert str(path) in out.replace(" ", "")


def test_help_does_not_load_torch():
    for arguments in (["--help"], ["figures", "--help"], ["study", "--help"]):
        code = (
            "import sys; from retrainlab.cli import main\n"
            f"try: main({arguments!r})\nexcept SystemExit: pass\n"
            "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "usage: retrainlab" in done.stdout


def test_every_setting_but_drawn_points_has_an_option():
    from dataclasses import fields

    from retrainlab.cli import DENSE_NAMES, HELP
    from retrainlab.config import SGD, Prune, Recipe, Retrain

    names = {DENSE_NAMES.get(f.name, f.name) for f in fields(Recipe)} - {"sgd", "method"}
    names |= {f.name for noun in (SGD, Prune, Retrain) for f in fields(noun)} - {"points", "sgd"}
    assert names == set(HELP)


def test_every_setting_of_a_method_has_an_option():
    from dataclasses import fields

    from retrainlab.cli import HELP, KNOB_HELP, _setting
    from retrainlab.methods.knobs import KNOBS

    names = {f.name for kind in KNOBS.values() for f in fields(kind)} - {"name", "sparsity"}
    assert names == {_setting(name) for name in KNOB_HELP} and not set(KNOB_HELP) & set(HELP)


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
    assert main(["run", *QUICK, "--budget", "0.5", *switches, "--milestones", "0.4", "0.8"]) == 0
    [path] = (tmp_path / "store" / "results").glob("*.json")
    config = json.loads(path.read_text())["config"]
    assert config["recipe"]["sgd"]["nesterov"] and config["recipe"]["sgd"]["momentum"] == 0.8
    assert not config["recipe"]["augment"] and config["recipe"]["milestones"] == [0.4, 0.8]
    assert config["prune"]["keep_last"] and config["retrain"]["recalibrate"] and config["retrain"]["warmup"] == 0.2


def test_a_repeated_seed_is_no_further_replication(capsys):
    assert main(["study", *QUICK, "--budget", "0.5", "--seed", "0", "0", "--schedule", "FT", "LLR"]) == 0
    assert "95 % from" not in capsys.readouterr().out


def test_a_lost_worker_is_told_without_a_stack_trace(capsys, monkeypatch):
    from retrainlab import study, workers

    def dies(*_, **__):
        raise workers.WorkerDied("A worker process ended unexpectedly.")

    monkeypatch.setattr(study, "run_study", dies)
    assert main(["run", *QUICK]) == 1
    assert capsys.readouterr().err.strip() == "retrainlab: A worker process ended unexpectedly."


def test_runs_that_diverge_are_left_out_of_the_table_and_named(capsys):
    """Pitfall: a network of NaN answers class 0 to every image, which looks like an accuracy of 10 %."""
    free = ["--schedule", "LLR", "constant", "--lr", "1e6", "--budget", "0.5"]
    assert main(["study", *QUICK, *free, "--sparsity", "0.9"]) == 0
    out = capsys.readouterr().out
    assert "Left out of these numbers: 1 of 2 runs." in out
    assert "90 % sparsity, budget 50 %, constant, seed 0: diverged: retraining, cycle 1, within 6 steps" in out
    healthy, lost = (next(line for line in out.splitlines() if f" {name} " in line) for name in ("LLR", "constant"))
    assert "-" not in healthy and lost.split()[:4] == ["-", "50.00", "constant", "-"]
    assert main(["run", *QUICK, "--dense-lr", "1e6", "--budget", "0.5"]) == 0
    out = capsys.readouterr().out
    assert "dense: diverged" in out and "1 of 1 runs" in out and "diverged: the first training, within 31 steps" in out
    assert not any(word in out for word in ("10.", "0.10", "0.09"))
