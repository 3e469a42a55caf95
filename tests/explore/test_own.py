"""The explorer of own networks: from a reference to weights in a file, driven by its widgets on a small network."""

import pytest
import torch

pytest.importorskip("ipywidgets")

from retrainlab import own
from retrainlab.adopt import sample
from retrainlab.checks import BadInput
from retrainlab.data.dataset import load
from retrainlab.explore.apps.own import OwnNetwork
from retrainlab.explore.views import own as views
from retrainlab.explore.views.own import Settings
from retrainlab.study.results import Results
from tests.helpers.own_code import written

SHORT = Settings(epochs=2, budget=0.5, schedules=("FT", "LLR"), seeds=2)


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """The explorer after a race of its sample; what it says before is kept as `before`."""
    app = OwnNetwork(SHORT, Results.at(tmp_path_factory.mktemp("store")), "cpu")
    assert app.desk.worker.wait()
    app.before = app.layers.note.value, app.screen.charts[0].spec["alt"]
    app.desk.start.click()
    assert app.desk.worker.wait() and "4 retrainings have ended" in app.desk.status.value
    yield app
    app.close()


def test_what_may_be_pruned_is_said_before_anything_is_pruned(raced):
    words, alt = raced.before
    assert "Pruning may take weights of 3 layers, 97.5 % of all 6,186 parameters." in words
    assert "nothing has been retrained yet" in alt


def test_the_layers_lose_together_what_the_slider_says(raced):
    raced.inputs["sparsity"].slider.value = 50.0
    lost = raced.layers.charts[0].spec["panels"][0]["marks"][0]["y"]
    sizes = [p.numel() for p in sample.network((1, 8, 8), 10).parameters() if p.dim() > 1]
    assert sum(share * size for share, size in zip(lost, sizes)) / sum(sizes) == pytest.approx(50, abs=0.02)
    raced.inputs["sparsity"].slider.value = 90.0


def test_a_race_ends_in_advice_of_all_seeds_and_curves_of_the_first(raced):
    assert "take " in raced.screen.note.value and "Seeds differ in batches only" in raced.screen.note.value
    assert raced.screen.table.value.count("<tr>") == 3 and len(raced.screen.take.csv.splitlines()) == 3
    lines = raced.screen.charts[0].spec["panels"][0]["marks"]
    assert len(lines) == 3 and all(len(mark["x"]) == 6 for mark in lines[1:])
    table = raced.answer.table.query("schedule == 'LLR' and seed == 0")
    assert lines[2]["y"][-1] == pytest.approx(100 * table["validation_accuracy"].item(), abs=0.01)


def test_the_weights_are_written_and_are_the_network_of_the_table(raced, tmp_path):
    raced.which.value, raced.file.value = "LLR", str(tmp_path / "sparse.pt")
    raced.save.click()
    assert raced.desk.worker.wait() and "sparse.pt: 16 tensors" in raced.saved.value
    model, data = sample.network((1, 8, 8), 10).eval(), load("digits")
    model.load_state_dict(torch.load(tmp_path / "sparse.pt", weights_only=True), strict=True)
    right = (model(data.normalise(data.test.images)).argmax(1) == data.test.labels).float().mean().item()
    row = raced.answer.table.query("schedule == 'LLR' and seed == 0")
    assert right == pytest.approx(row["test_accuracy"].item(), abs=1e-6)
    raced.file.value = "sparse.h5"
    raced.save.click()
    assert raced.desk.worker.wait() and "whose name ends in" in raced.saved.value


def test_the_python_of_the_view_gives_the_same_answer(raced, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(raced.screen.take.code, names := {})
    assert names["answer"].schedule == raced.answer.schedule and (tmp_path / "sparse.safetensors").is_file()
    mine, theirs = (a.table["test_accuracy"].tolist() for a in (names["answer"], raced.answer))
    assert mine == theirs


def test_a_network_of_the_users_with_its_checkpoint_is_not_trained_first(tmp_path, monkeypatch):
    module = written(tmp_path, monkeypatch)
    data = load(f"{module}:table")
    parts = [(part.images, part.labels) for part in (data.train, data.validation, data.test)]
    net, dense = own(f"{module}:net", *parts, rates=("linear", 0.1, 4), device="cpu").measured()
    net.write(net.network.model.state_dict(), str(tmp_path / "net.pt"))
    given = Settings(f"{module}:net", f"{module}:table", str(tmp_path / "net.pt"), "linear", epochs=4)
    app = OwnNetwork(given, Results.at(tmp_path / "store"), "cpu")
    assert app.desk.worker.wait() and app.taken.accuracy == dense.result.scalars["validation_accuracy"] > 0.5
    assert "checkpoint='" in views.code(given)
    app.inputs["model"].value = "nothing:net"
    app.desk.start.click()
    assert "press &#x27;Take it in&#x27; first" in app.desk.status.value
    app.take.click()
    assert app.desk.worker.wait() and "There is no module nothing" in app.desk.status.value
    app.close()


def test_a_stop_keeps_what_is_on_screen_and_gives_no_weights(tmp_path):
    app = OwnNetwork(SHORT, Results.at(tmp_path), "cpu")
    assert app.desk.worker.wait()
    real = app.desk.worker.start
    app.desk.worker.start = lambda work, *rest: real(lambda _: work(lambda: True), *rest)
    app.desk.start.click()
    assert app.desk.worker.wait() and "Stopped" in app.desk.status.value and app.save.disabled
    app.take.click()
    assert app.desk.worker.wait() and "stopped" in app.desk.status.value
    app.close()


@pytest.mark.parametrize("bad", [{"dense": "cosin"}, {"epochs": 0}, {"schedules": ()}, {"sparsity": 0}, {"peak": 0}])
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(BadInput):
        Settings(**bad)
