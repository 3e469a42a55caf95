"""From a user's checkpoint to advice and sparse weights."""

import copy

import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.utils import prune as torch_prune
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from retrainlab import Prune, own
from retrainlab.adopt import running
from retrainlab.checks import Stopped
from retrainlab.cli import main
from retrainlab.study.store import Store
from tests.helpers.refusals import said
from tests.helpers.tables import PEAK, network, parts, trained

RATES = ("linear", PEAK, 6)  # 4 steps an epoch
COLUMNS = ["schedule", "seed", "test_accuracy", "norm_drop", "removed", "allr_factor", "peak_lr", "sparsity_achieved"]


@pytest.fixture
def model():
    return trained()


def taken(model, **more):
    return own(model, *parts(), **{"rates": RATES, "name": "net", "device": "cpu", **more})


def test_a_checkpoint_becomes_advice_and_a_sparse_checkpoint(model):
    answer = taken(network, checkpoint=model.state_dict()).advise(0.7, (0.25, 0.5), seeds=3, keep=True)
    assert len(answer.table) == 2 * 6 * 3 and (answer.table["outcome"] == "").all()
    assert (abs(answer.table["sparsity_achieved"] - 0.7) < 0.01).all() and (
        answer.table["dense_test_accuracy"] > 0.8
    ).all()
    assert [one.budget for one in answer.advice] == [0.25, 0.5]
    said_ = str(answer)
    assert f"take {answer.schedule}" in said_ and "Seeds differ in batches only" in said_
    for budget in (0.25, 0.5):
        weights = answer.weights("LLR", seed=1, budget=budget)
        back = network()
        back.load_state_dict(weights, strict=True)
        inputs, labels = parts()[2]
        correct = (back.eval()(inputs).argmax(1) == labels).float().mean().item()
        row = answer.table.query(f"schedule == 'LLR' and seed == 1 and budget == {budget}").iloc[0]
        assert correct == pytest.approx(row["test_accuracy"], abs=1e-6)
        zeros = sum(int((weights[n] == 0).sum()) for n in ("0.weight", "3.weight")) / 240
        assert zeros == pytest.approx(row["sparsity_achieved"])
    assert answer.figure().axes
    assert "no schedule 'LR'" in said(lambda: answer.weights("LR")) and "no run of seed 9" in said(
        lambda: answer.weights(seed=9)
    )


@pytest.mark.parametrize("ending", ["safetensors", "onnx"])
def test_the_sparse_network_is_written_in_the_forms_that_others_read(ending, model, tmp_path):
    net = taken(model)
    weights = net.advise(0.7, schedules=["LLR"], seeds=1, keep=True).weights()
    file = tmp_path / f"sparse.{ending}"
    inputs = parts()[2][0]
    if ending == "onnx":
        runtime = pytest.importorskip("onnxruntime", reason="pip install 'retrainlab[onnx]'")
        assert "ONNX Runtime finds as torch does" in net.write(weights, str(file))
        session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {"input": inputs.numpy()})[0])
    else:
        assert "tensors." in net.write(weights, str(file))
        back = taken(network, checkpoint=file)
        found = back.setup.model.eval()(inputs)
    model.load_state_dict(weights)
    assert torch.allclose(found, model.eval()(inputs), atol=1e-5)
    assert "not the weights of this network" in said(lambda: net.write({"a": torch.ones(1)}, str(file)))
    assert "whose name ends in" in said(lambda: net.write(weights, str(tmp_path / "sparse.h5")))


def test_a_layer_that_is_emptied_is_named(model):
    """Pitfall: a network that has lost a whole layer looks as if no schedule were any good."""
    with torch.no_grad():
        model[0].weight *= 0.01
    answer = taken(model).advise(0.9, schedules=["LLR"], seeds=1)
    assert answer.table["emptied"].tolist() == ["0.weight"] and "Nothing is left of 0.weight" in str(answer)
    spread = taken(model).advise(Prune(0.9, allocation="erk"), schedules=["LLR"], seeds=1)
    assert spread.table["emptied"].tolist() == [""] and "Nothing is left" not in str(spread)


def test_the_user_s_module_stays_as_it_is_and_the_same_question_is_answered_from_the_store(model, capsys, monkeypatch):
    before = copy.deepcopy(model.state_dict())
    first = taken(model).advise(0.5, schedules=["FT", "LLR"], seeds=2)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert "keep=True" in said(first.weights)
    monkeypatch.setattr(running, "drive", None)
    again = taken(model).advise(0.5, schedules=["FT", "LLR"], seeds=2)
    assert (
        again.table[COLUMNS].equals(first.table[COLUMNS]) and "4 of 4 runs were in the store" in capsys.readouterr().err
    )
    assert main(["weights", first.table["key"][0], "net.pt"]) == 2
    assert "an object of another process" in capsys.readouterr().err
    keys = set(first.table["key"])
    with torch.no_grad():
        model[0].weight[0, 0] += 1
    monkeypatch.undo()
    assert not keys & set(taken(model).advise(0.5, schedules=["FT", "LLR"], seeds=2).table["key"])


def test_a_prune_that_torch_made_is_told_as_one_that_is_made_here(model):
    """With the weights behind the masks, ALLR and all else are as if the kit had pruned."""
    here = taken(model).advise(Prune(0.75), seeds=1)
    torch_prune.global_unstructured(
        [(model[0], "weight"), (model[3], "weight")], torch_prune.L1Unstructured, amount=0.75
    )
    mine = taken(model)
    assert "75 % of these are pruned already (masks: torch.nn.utils.prune)" in str(mine)
    there = mine.advise(seeds=1)
    assert there.table[COLUMNS].equals(here.table[COLUMNS]) and "hide of the weights" in str(there)
    assert not set(there.table["key"]) & set(here.table["key"])


def test_allr_after_a_prune_that_nobody_saw_asks_or_takes_an_estimate(model):
    """Pitfall: zeros that are there already count as a prune that took nothing, and ALLR starts at the budget."""
    with torch.no_grad():
        model[0].weight[model[0].weight.abs() < 0.2] = 0
    assert "give masks='zeros'" in str(taken(model))
    mine = taken(model, masks="zeros")
    left = mine.advise(seeds=1)
    assert "ALLR" not in set(left.table["schedule"]) and "cannot be known from zeros" in str(left)
    assert "give estimate" in said(lambda: mine.advise(schedules=["ALLR"], seeds=1))
    told = mine.advise(schedules=["ALLR"], seeds=1, estimate=0.625)
    assert told.table["allr_factor"].item() == 0.625 and "estimate given, 0.625" in str(told)
    assert told.table["sparsity_achieved"].item() == pytest.approx(mine.pruned)
    more = mine.advise(0.9, schedules=["ALLR"], seeds=1)  # what is pruned further is seen
    assert more.table["removed"].item() > 0 and abs(more.table["sparsity_achieved"].item() - 0.9) < 0.01
    assert "no more than the" in said(lambda: mine.advise(0.01)) and "no more" in said(lambda: mine.advise(mine.pruned))
    assert "is measured" in said(lambda: mine.advise(0.9, estimate=0.5))


def test_datasets_and_loaders_are_the_tensors_that_they_hold(model):
    train, validation, test = parts()
    want = taken(model)
    more = dict(rates=RATES, name="net", device="cpu")
    others = TensorDataset(*train), DataLoader(TensorDataset(*validation), batch_size=7), [x.numpy() for x in test]
    found = own(model, *others, **more)
    assert found.data == want.data and found.code == want.code


def test_a_factory_without_a_checkpoint_is_trained_first():
    answer = taken(network).advise(0.5, schedules=["LLR"], seeds=1)
    assert answer.table["dense_test_accuracy"].item() > 0.8
    again = taken(network).advise(0.5, schedules=["FT"], seeds=1)
    assert again.table["dense_test_accuracy"].item() == answer.table["dense_test_accuracy"].item()


def test_embeddings_are_pruned_on_request():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.EmbeddingBag(20, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.table(x.abs().clamp(max=19).long()))

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Words()
    few, all_ = (taken(model, embeddings=flag) for flag in (False, True))
    assert "embeddings (table.weight)" in str(few) and "embeddings" not in str(all_)
    answer = all_.advise(0.5, schedules=["LLR"], seeds=1, keep=True)
    assert (answer.weights()["table.weight"] == 0).any()


def test_ctrl_c_keeps_what_is_finished(model, monkeypatch):
    real, count = Store.put, []

    def put(self, *what):
        real(self, *what)
        count.append(what)
        if len(count) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "put", put)
    with pytest.raises(Stopped, match="2 of 3 runs are finished"):
        taken(model).advise(0.5, schedules=["LLR"], seeds=3)
    monkeypatch.undo()


@pytest.mark.parametrize(
    "more, words",
    [
        ({"rates": None}, "give (schedule, peak, epochs)"),
        ({"name": "a net"}, "must be one word"),
        ({"batch_size": 400}, "has 300 training images; give a batch size of at most that"),
        ({"masks": {"nothing": torch.ones(1)}}, "no prunable weight 'nothing'"),
        ({"model": nn.LSTM(12, 3)}, "gives 2 outputs"),
        ({"model": trained().half()}, "float16"),
        ({"model": trained().requires_grad_(False)}, "all are frozen"),
        (
            {"model": nn.Sequential(nn.BatchNorm1d(12), nn.Flatten(), nn.PReLU(12), nn.LayerNorm(12))},
            "nothing to prune in",
        ),
        ({"model": network, "masks": "zeros"}, "None of the prunable weights is 0"),
        ({"masks": 0.5}, "must be 'zeros', or a mask for each weight"),
        ({"masks": {"0.weight": "zeros"}}, "mask of '0.weight' has str where numbers must be"),
        ({"model": None}, "model is NoneType"),
        ({"name": 5}, "name is 5"),
    ],
)
def test_what_cannot_be_taken_in_is_refused_in_a_sentence(more, words):
    given = {"model": trained(), **more}
    assert words in said(lambda: taken(given.pop("model"), **given))


@pytest.mark.parametrize(
    "question, words",
    [
        ({}, "Say how much to prune"),
        ({"sparsity": 2}, "2.0"),
        ({"sparsity": 0.5, "schedules": ["XX"]}, "XX"),
        ({"sparsity": 0.5, "schedules": []}, "nothing to compare"),
        ({"sparsity": 0.5, "budget": [0.1, 0]}, "budget (share of the dense run) is 0.0"),
    ],
)
def test_a_question_that_has_no_answer_is_refused_before_any_work(question, words, model, monkeypatch):
    monkeypatch.setattr("retrainlab.adopt.own.retrained", lambda *_: pytest.fail("work has begun"))
    assert words in said(lambda: taken(model).advise(**question))


def test_what_is_asked_twice_is_made_once_and_whole_neurons_may_go(model):
    """Pitfall: rows that come twice look like results of two networks; inputs that are no images have no height."""
    twice = taken(model).advise(Prune(0.5, structure="neurons"), [0.25, 0.25], ["LLR", "LLR"], seeds=1)
    assert len(twice.table) == 1 and twice.table["shrunken_speedup"].item() > 1


def test_a_run_that_has_diverged_has_no_network_to_give(model):
    answer = taken(model).advise(0.5, schedules=["LLR"], seeds=1, keep=True)
    assert answer.weights()
    answer.table["outcome"] = "diverged while it was retrained"
    assert "diverged" in said(answer.weights)


def test_data_that_cannot_be_read_are_refused_in_a_sentence(model):
    class Images(Dataset):
        def __init__(self, item):
            self.item = item

        def __len__(self):
            return 3

        def __getitem__(self, place):
            return self.item()

    def lost():
        raise OSError("cannot identify image file")

    _, validation, test = parts()
    stream = type("Stream", (IterableDataset,), {"__iter__": lambda self: iter(())})()
    take = lambda data: said(lambda: own(model, data, validation, test, rates=RATES))  # noqa: E731
    assert "such as ToTensor()" in take(Images(lambda: (Image.new("L", (4, 4)), 0)))
    assert "cannot identify image file" in take(Images(lost))
    assert "has a length" in take(stream) and "list where numbers" in take(([["a"]], [0]))


def test_data_that_were_trained_on_do_not_judge(model):
    train, _, test = parts()
    assert "no validation data" in said(lambda: own(model, train, None, test, rates=RATES))
    images = (torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    assert "The inputs are bytes" in said(lambda: own(model, images, images, images, rates=RATES))
