"""Networks of timm by name: pruned and retrained as any other, with their makers' weights only where they are on disk."""

import sys

import pytest
import safetensors.torch
import torch

from retrainlab import libraries
from retrainlab.adopt.checkpoint import read
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.study import run_study
from tests.helpers.refusals import said

timm = pytest.importorskip("timm", reason="pip install 'retrainlab[timm]'")


NETWORKS = {"timm/test_resnet": "layer1.0.conv1.weight", "timm/test_vit": "blocks.0.attn.qkv.weight"}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_timm_takes_the_images_that_there_are(name):
    model = build(name, shape=(1, 32, 32), classes=4)
    assert NETWORKS[name] in prunable(model)
    assert model.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 4)
    same = build(name, shape=(1, 32, 32), classes=4)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), same.state_dict().values()))


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_a_network_of_timm_is_pruned_and_retrained(engine):
    recipe = Recipe(model="timm/test_resnet", epochs=1, batch_size=250)
    plans = [Experiment(recipe, Prune(0.5), Retrain(name, 1)) for name in ("FT", "LLR")]
    frame = run_study(plans, jobs=1, device="cpu", engine=engine)
    assert (frame["outcome"] == "").all() and (abs(frame["sparsity_achieved"] - 0.5) < 1e-3).all()


@pytest.mark.parametrize("place", ["hub", "torch"])
def test_its_makers_weights_are_read_from_disk_and_never_downloaded(place, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda **_: pytest.fail("it would be downloaded"))
    name = "timm/resnet18.a1_in1k"
    ask = lambda: read(name, "pretrained", (3, 224, 224), 3, "net")  # noqa: E731
    words = said(ask)
    assert "models--timm--resnet18.a1_in1k" in words and "resnet18_a1_0-d63eafa0.pth is wanted" in words
    own = timm.create_model("resnet18")
    if place == "torch":
        (tmp_path / "checkpoints").mkdir()
        torch.save(own.state_dict(), tmp_path / "checkpoints" / "resnet18_a1_0-d63eafa0.pth")
    else:
        home = tmp_path / "hub" / "models--timm--resnet18.a1_in1k"
        for folder in ("refs", "snapshots/abc"):
            (home / folder).mkdir(parents=True)
        (home / "refs" / "main").write_text("abc")
        safetensors.torch.save_file(own.state_dict(), home / "snapshots" / "abc" / "model.safetensors")
    found = ask().model.state_dict()
    assert all(torch.equal(found[n], t) for n, t in own.state_dict().items())


@pytest.mark.parametrize(
    "name, width, words",
    [
        ("timm/resnet1", None, "did you mean 'resnet1"),
        ("timm/resnet18", 3, "no width to choose"),
        ("timm/test_vit", None, "should be divisible by patch size"),
    ],
)
def test_what_timm_cannot_make_is_refused_in_a_sentence(name, width, words):
    assert words in said(lambda: build(name, shape=(1, 3, 3), classes=4, width=width))


def test_without_timm_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "needs timm, which is not installed; pip install timm" in said(
        lambda: libraries.made("timm/resnet18", (3, 32, 32), 4)
    )
