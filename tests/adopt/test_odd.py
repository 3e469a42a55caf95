"""A dozen odd networks of users: each is retrained alike by the loop and many at once, or refused in a sentence."""

import pytest
import torch

from retrainlab import own
from retrainlab.adopt import running
from retrainlab.training.engine import Engine
from tests.helpers.networks import Tied, transformer
from tests.helpers.odd import Lstm, Mixer, Recurrent, TwoHeads, backbone, dropped, grouped, sequence, table
from tests.helpers.refusals import said
from tests.helpers.tables import parts

IMAGES = (3, 8, 8)
WORK = {
    "GroupNorm and depthwise": (grouped, IMAGES),
    "vision transformer": (lambda: transformer(IMAGES, 3), IMAGES),
    "MLP-Mixer": (Mixer, IMAGES),
    "tied weights, and a parameter that no forward pass uses": (lambda: Tied(IMAGES, 3), IMAGES),
    "no normalisation": (sequence, (2, 16)),
    "dropout": (dropped, (20,)),
    "BatchNorm1d": (table, (20,)),
    "recurrent": (Recurrent, IMAGES),
    "recurrent, by torch's own kernel": (Lstm, IMAGES),
    "frozen backbone": (backbone, IMAGES),
}
REFUSED = {"two heads": (TwoHeads, "gives 2 outputs"), "half precision": (lambda: table().half(), "torch.float16")}


def taken(make, shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make()
    return own(model, *parts(shape), rates=("linear", 0.02, 4), batch_size=60, name="odd", device="cpu")


@pytest.mark.parametrize("name", WORK)
def test_it_is_pruned_and_retrained_alike_by_the_loop_and_many_at_once(name, monkeypatch):
    answers = []
    for engine in (Engine(), Engine("batched", 2)):
        monkeypatch.setattr(running, "_engine", lambda *_, engine=engine: engine)
        net = taken(*WORK[name])
        before = {n: p.clone() for n, p in net.network.model.named_parameters() if not p.requires_grad}
        answers.append(net.advise(0.5, 0.5, ["FT", "LLR"], seeds=1, keep=True))
    for schedule in ("FT", "LLR"):
        mine, theirs = (answer.weights(schedule) for answer in answers)
        assert mine.keys() == theirs.keys()
        for n, t in mine.items():
            assert torch.allclose(t, theirs[n], atol=1e-4) and torch.equal(t == 0, theirs[n] == 0), n
        pruned = [mine[n] for n in net.setup.prunable]
        zeros, size = sum(int((w == 0).sum()) for w in pruned), sum(w.numel() for w in pruned)
        assert abs(zeros - size / 2) < 1
        assert all(torch.equal(mine[n], p) for n, p in before.items())
    assert bool(before) == (name in ("frozen backbone", "tied weights, and a parameter that no forward pass uses"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_before_any_work(name, monkeypatch):
    monkeypatch.setattr(running, "retrained", lambda *_: pytest.fail("work has begun"))
    make, words = REFUSED[name]
    assert words in said(lambda: taken(make, (20,)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_a_network_is_taken_in_retrained_and_handed_back_on_a_gpu(tmp_path):
    net = own(table(), *parts((20,)), rates=("linear", 0.02, 4), batch_size=60, name="odd", device="cuda")
    answer = net.advise(0.5, 0.5, ["FT", "LLR"], seeds=2, keep=True)
    weights = answer.weights("LLR", seed=1)
    assert {t.device.type for t in weights.values()} == {"cpu"} and (weights["0.weight"] == 0).any()
    table().load_state_dict(weights, strict=True)
    assert "tensors" in net.write(weights, str(tmp_path / "sparse.pt"))
    assert "cuda" in answer.table["device"].iloc[0]
    assert net.measured()[0] is net and max(net.shares(0.5).values()) > 0.5
