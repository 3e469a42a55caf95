"""References to a user's code: they train, their results are known by what the code is, and no file makes it run."""

import sys
from dataclasses import replace

import pytest
import torch

from retrainlab import importing
from retrainlab.adopt.rates import past
from retrainlab.checks import is_reference
from retrainlab.cli import main
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.data.dataset import load
from retrainlab.explore.kit.cells import stored_cells
from retrainlab.keys import references, to_dict
from retrainlab.models import build
from retrainlab.study import masks, nouns, run_study
from retrainlab.study.older import LEAST
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.stages import dense_curve_of
from tests.helpers.own_code import CODE, written
from tests.helpers.refusals import said


def experiment(module: str, **more: str) -> Experiment:
    dense = more.get("dense", "multistep")
    recipe = Recipe(data=f"{module}:table", model=f"{module}:net", epochs=4, schedule=dense, lr=0.05)
    return Experiment(recipe, Prune(0.5, more.get("score", "magnitude")), Retrain(more.get("schedule", "LLR"), 0.5))


def test_what_has_the_form_of_a_reference_is_one():
    assert all(map(is_reference, ("a:b", "package.module:Class.method", "__main__:net")))
    assert not any(map(is_reference, ("a", "C:\\images", "a:", "./a:b", "a b:c", "a:b:c", 3)))


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_a_network_data_a_schedule_and_a_score_of_the_users_are_trained_with(engine, tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch)
    own = experiment(module, schedule=f"{module}:falling", score=f"{module}:largest_first")
    frame = run_study([experiment(module), own], jobs=1, device="cpu", engine=engine)
    assert (frame["dense_test_accuracy"] > 0.9).all() and (abs(frame["sparsity_achieved"] - 0.5) < 0.01).all()
    assert frame["norm_drop"][1] > frame["norm_drop"][0] and frame["peak_lr"][1] == pytest.approx(0.05)
    assert run_study([own], jobs=1, stored_only=True)["key"].item() == frame["key"][1]


def test_a_schedule_of_the_users_trains_the_first_time_too(tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch)
    e = experiment(module, dense=f"{module}:root", schedule=f"{module}:falling")
    assert references(e)["dense schedule"] == f"{module}:root" and references(e)["schedule"] == f"{module}:falling"
    n = len(dense_curve_of(e.recipe).lr)
    curve = dense_curve_of(replace(e.recipe, warmup=0.1))
    assert torch.allclose(curve.lr[n // 10 :], 0.05 * (1 - torch.arange(n - n // 10).double() / n) ** 0.5)
    linear = experiment(module, dense="linear")
    frame = run_study([e, linear], jobs=1, device="cpu")
    assert (frame["dense_test_accuracy"] > 0.9).all() and len(set(frame["key"])) == 2
    results = Results.at(tmp_path)
    assert results.key(e.recipe) != results.key(replace(e.recipe, schedule=f"{written(tmp_path, monkeypatch)}:falling"))
    assert past((f"{module}:root", 0.1, 4), None, Recipe(), 5).original.peak == pytest.approx(0.1)


@pytest.mark.parametrize(
    "returned, words", [("torch.zeros(n)", "0 throughout"), ("None", "fails"), ("[1]", "finite numbers")]
)
def test_a_first_training_without_a_curve_is_refused(returned, words, tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch, CODE + f"\ndef odd(recipe, n, w): return {returned}\n")
    assert words in said(lambda: run_study([experiment(module, dense=f"{module}:odd")], jobs=1))


def test_a_result_is_known_by_the_code_that_it_was_made_with(tmp_path, monkeypatch):
    first, same, other = (written(tmp_path, monkeypatch, CODE + tail) for tail in ("", "", "\nmore = 1\n"))
    prints = [importing.fingerprint(f"{name}:net") for name in (first, same, other)]
    assert prints[0] == prints[1] != prints[2]
    results = Results.at(tmp_path / "store")
    kinds = [lambda e: e.recipe, lambda e: (e.recipe, e.prune), lambda e: e]
    e, scored = experiment(first), experiment(first, score=f"{other}:largest_first")
    assert [results.key(part(e)) == results.key(part(scored)) for part in kinds] == [True, False, False]
    assert references(scored) == {"data": f"{first}:table", "model": f"{first}:net", "score": f"{other}:largest_first"}


def test_embeddings_of_a_network_of_the_users_are_pruned_on_request(tmp_path, monkeypatch):
    code = (
        CODE
        + """
class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.EmbeddingBag(20, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.table(x.abs().clamp(max=19).long()))
"""
    )
    module = written(tmp_path, monkeypatch, code)
    e = experiment(module)
    plain = replace(e, recipe=replace(e.recipe, model=f"{module}:Words"))
    asked = replace(plain, recipe=replace(plain.recipe, embeddings=True))
    frame = run_study([plain, asked], jobs=1, device="cpu")
    assert "embeddings (table.weight)" in frame["not_pruned"][0] and not frame["not_pruned"][1]
    few, all_ = (masks(one) for one in (plain, asked))
    assert set(few) == {"head.weight"} and set(all_) == {"table.weight", "head.weight"}
    assert sum(int(m.sum()) for m in all_.values()) == 69  # half of 120 + 18


def test_a_version_of_the_users_stands_for_the_source(tmp_path, monkeypatch):
    one, two = (written(tmp_path, monkeypatch, CODE + f"\nx = {i}\nnet.version = 'b'\n") for i in (1, 2))
    assert importing.fingerprint(f"{one}:net") == importing.fingerprint(f"{two}:net") == "version b"


def test_data_are_known_by_their_content_and_split_where_no_parts_are_given(tmp_path, monkeypatch):
    scaled = CODE.replace("2 * labels[:, None], labels", "3 * labels[:, None], labels")
    names = [f"{written(tmp_path, monkeypatch, code)}:table" for code in (CODE, CODE + "\n# the same", scaled)]
    assert scaled != CODE
    prints = [Results.at(tmp_path).fingerprint(Recipe(data=name)) for name in names]
    assert prints[0] == prints[1] != prints[2]
    data = load(names[0])
    assert [len(part) for part in (data.train, data.validation, data.test)] == [280, 60, 60]
    assert data.shape == (20,) and data.normalise(data.train.images) is data.train.images


@pytest.mark.parametrize(
    "name, code, words",
    [
        ("net", "import no_such_module", "needs no_such_module, which is not installed"),
        ("net", "1 / 0", "cannot be imported (ZeroDivisionError: division by zero)"),
        ("nett", "def net(): pass", "did you mean 'net'?"),
        ("net", "net = 3", "is int, but must be a function"),
        ("net", "def net(shape, depth): pass", "asks for depth, but is given shape, classes, width at most"),
        ("net", "def net(): raise KeyError('x')", "fails (KeyError: 'x')"),
        ("net", "def net(): return 3", "gives int, but must give a torch.nn.Module"),
        ("net", "from torch import nn\ndef net(): return nn.Linear(20, 3).half()", "parameters of torch.float16"),
        ("net", "from torch import nn\ndef net(): return nn.Linear(20, 3).requires_grad_(False)", "all are frozen"),
        ("net", "from torch import nn\ndef net(): return nn.Linear(20, 4)", "not scores of 3 classes"),
        ("net", "from torch import nn\ndef net(): return nn.Linear(9, 3)", "fails on inputs of shape [20] with"),
        ("net", "from torch import nn\ndef net(): return nn.LSTM(20, 3)", "gives 2 outputs"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_in_a_sentence(name, code, words, tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch, code)
    assert words in said(lambda: build(f"{module}:{name}", shape=(20,), classes=3))


def test_a_parameter_that_no_forward_pass_uses_stays_as_it_is(tmp_path, monkeypatch):
    code = CODE.replace("    return nn.Sequential", "    net = nn.Sequential").replace(
        "classes))\n",
        "classes))\n    net.extra = nn.Parameter(torch.ones(3))\n    net.forward = net[:4].forward\n    return net\n",
        1,
    )
    module = written(tmp_path, monkeypatch, code)
    model = build(f"{module}:net", shape=(20,), classes=3)
    assert not model.extra.requires_grad and sum(p.requires_grad for p in model.parameters()) == 6
    assert run_study([experiment(module)], jobs=1, device="cpu", engine="loop")["test_accuracy"].item() > 0.9


@pytest.mark.parametrize(
    "returned, words",
    [
        ("None", "There is no training data"),
        ("(torch.ones(4, 2), torch.ones(3).long())", "inputs of shape [4, 2] and labels of shape [3]"),
        ("(torch.ones(4, 2), torch.ones(4))", "labels of torch.float32"),
        ("(torch.ones(4, 2).long(), torch.ones(4).long())", "x.long()"),
        ("(torch.full((4, 2), torch.nan), torch.ones(4).long())", "infinite or NaN"),
        ("[(torch.ones(4, 2), 0), (torch.ones(4, 2), 1), 5]", "list, but must be a pair"),
        ("((torch.ones(4, 2), torch.ones(4).long()), (torch.ones(4, 3), torch.ones(4).long()), None)", "parts alike"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused_in_a_sentence(returned, words, tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch, f"import torch\ndef data(): return {returned}\n")
    assert words in said(lambda: load(f"{module}:data"))


def test_what_a_notebook_defines_anew_is_taken_as_it_is_now(monkeypatch):
    main = sys.modules["__main__"]
    for size in (60, 90):
        pair = torch.ones(size, 4), torch.arange(size) % 3
        table = lambda pair=pair: pair  # noqa: E731
        table.version = str(size)
        monkeypatch.setattr(main, "table_of_a_cell", table, raising=False)
        data = load("__main__:table_of_a_cell")
        assert sum(map(len, (data.train, data.validation, data.test))) == size
        assert importing.fingerprint("__main__:table_of_a_cell") == f"version {size}"


@pytest.mark.parametrize("returned", ["torch.ones(n + 1)", "-torch.ones(n)", "torch.full((n,), torch.inf)"])
def test_a_schedule_that_gives_no_curve_is_refused_before_any_work(returned, tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch, CODE + f"\ndef odd(retrain, original, n, d): return {returned}\n")
    assert "finite numbers of at least 0" in said(
        lambda: run_study([experiment(module, schedule=f"{module}:odd")], jobs=1)
    )


@pytest.mark.parametrize("body, words", [("return 1", "must give a dictionary"), ("1 / 0", "fails (ZeroDivisionError")])
def test_a_score_that_fails_or_gives_none_is_refused_before_any_work(body, words, tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch, CODE + f"\ndef odd(*given): {body}\n")
    assert words in said(lambda: run_study([experiment(module, score=f"{module}:odd")], jobs=1))


def test_nothing_in_a_stored_file_makes_a_module_be_imported(tmp_path, monkeypatch, capsys):
    module = written(tmp_path, monkeypatch, f"raise SystemExit('imported for the sake of a file')\n{CODE}")
    everywhere = {"data": f"{module}:table", "model": f"{module}:net"}
    e = Experiment(Recipe(), Prune(0.5, f"{module}:s"), Retrain(f"{module}:c", 0.5))
    store = Results.at(tmp_path / "own").store
    of_run, of_dense = (dict.fromkeys(LEAST[kind][0], 0.9) | {"stopped": False} for kind in ("results", "dense"))
    for i, recipe in enumerate((everywhere, {"model": f"{module}:net"}, {}, {"schedule": f"{module}:d"})):
        config = to_dict(e)
        config["recipe"] |= recipe
        result = Result(config, of_run, {}, {"device": "cpu", "weights": "0"})
        store.put(f"{i}{'a' * 15}", result)
        store.write("dense", f"{i}{'b' * 15}", Result(config["recipe"], of_dense, {}, {"device": "cpu"}), None)
    own, other, file = (str(tmp_path / name) for name in ("own", "other", "all.zip"))
    for line in (
        ["ls"], ["ls", "--model", f"{module}:net"], ["show", "1a"], ["verify"], ["gc"], ["export", file], ["import", file]
    ):  # fmt: skip
        assert main(["results", *line, "--store", other if line[0] == "import" else own]) == 0
    for key in ("0aa", "1aa", "2aa", "3aa", "0bb", "1bb", "3bb"):
        assert main(["weights", key, str(tmp_path / "net.pt"), "--store", own]) == 2
        assert f"--allow {module}:" in capsys.readouterr().err
    assert main(["doctor", "--store", own]) in (0, 1)
    stored_cells(Results.at(own), "digits")
    noun = nouns.experiment_of(store.read("results", "1" + "a" * 15).result.config)
    for ask in (lambda: Results.at(own).key(noun), lambda: run_study([noun], store=own, jobs=1)):
        assert "not imported for a file's sake" in said(ask)
    assert module not in sys.modules


def test_a_reference_from_a_file_is_refused_though_the_same_was_written_before(tmp_path, monkeypatch):
    """Pitfall: both are equal, and so would share what is kept of one of them."""
    e = experiment(written(tmp_path, monkeypatch))
    told = nouns.experiment_of(to_dict(e))
    assert told == e and len(Results.at(tmp_path).key(e)) == 16
    assert "not imported for a file's sake" in said(lambda: Results.at(tmp_path).key(told))
    assert len(Results.at(tmp_path).key(e)) == 16


def test_files_hold_what_a_result_with_code_starts_from_and_nothing_is_imported(tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch)
    own, other, file = (str(tmp_path / name) for name in ("own", "other", "all.zip"))
    e = experiment(module, score=f"{module}:largest_first", dense=f"{module}:root")
    elsewhere = replace(e, recipe=replace(e.recipe, seed=1))
    run_study([e, elsewhere, Experiment(Recipe(model="mlp", width=4, epochs=1))], store=own, jobs=1, device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(importing, "import_module", lambda name: pytest.fail(f"{name} is imported"))
        importing._imported.cache_clear()
        assert main(["results", "export", file, "--store", own, "--model", f"{module}:net", "--weights"]) == 0
        assert main(["results", "import", file, "--store", other]) == 0
    results = Results.at(other)
    assert results.store.count() == {"dense": 2, "pruned": 2, "results": 2}
    for one in (e, elsewhere):
        assert results.dense(one.recipe, torch.device("cpu")).state.params
        assert results.masks(one.recipe, one.prune, torch.device("cpu")).masks


def test_the_network_of_a_result_with_code_is_written_where_its_code_is_allowed(tmp_path, monkeypatch, capsys):
    module = written(tmp_path, monkeypatch)
    row = run_study([experiment(module)], jobs=1, device="cpu").iloc[0]
    command = ["weights", row["key"], str(tmp_path / "net.pt"), "--device", "cpu"]
    assert main(command) == 2
    assert main([*command, "--allow", f"{module}:net", f"{module}:table"]) == 0
    weights = torch.load(tmp_path / "net.pt", weights_only=True)
    build(f"{module}:net", shape=(20,), classes=3).load_state_dict(weights, strict=True)
    assert abs((weights["0.weight"] == 0).float().mean() - 0.5) < 0.2


def test_the_command_line_takes_references(tmp_path, monkeypatch, capsys):
    module = written(tmp_path, monkeypatch)
    own = {"model": "net", "data": "table", "schedule": "falling", "score": "largest_first", "dense-schedule": "root"}
    line = " ".join(["run --epochs 2", *(f"--{what} {module}:{name}" for what, name in own.items())])
    assert main([*line.split(), "--jobs", "1", "--device", "cpu"]) == 0
    assert f"{module}:falling" in capsys.readouterr().out
