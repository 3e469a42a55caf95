"""A user's checkpoint and masks, however they are kept, become a plain network with masks beside it."""

import copy
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from retrainlab.adopt import checkpoint
from retrainlab.adopt.checkpoint import masked, read
from retrainlab.layers import prunable
from tests.helpers.refusals import said
from tests.helpers.tables import network, parts, trained

NAMES = ("0.weight", "3.weight")


def taken(model, given=None):
    return read(model, given, (12,), 3, "net")


def pruned_by_torch() -> nn.Module:
    model = trained()
    torch_prune.global_unstructured(
        [(model[0], "weight"), (model[3], "weight")], torch_prune.L1Unstructured, amount=0.5
    )
    return model


def same(model: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("how", ["module", "state_dict", "wrapped file", "safetensors", "compiled", "parallel"])
def test_a_checkpoint_is_the_same_network_in_every_form(how, tmp_path):
    own = trained()
    weights = own.state_dict()
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": t for n, t in weights.items()}}, tmp_path / "net.pt")
    safetensors.torch.save_file(weights, tmp_path / "net.safetensors")
    found = {
        "module": lambda: taken(own),
        "state_dict": lambda: taken(network, weights),
        "wrapped file": lambda: taken(network, tmp_path / "net.pt"),
        "safetensors": lambda: taken(network, str(tmp_path / "net.safetensors")),
        "compiled": lambda: taken(network(), {f"_orig_mod.{n}": t for n, t in weights.items()}),
        "parallel": lambda: taken(nn.Sequential(OrderedDict(module=network())), nn.DataParallel(own).state_dict()),
    }[how]()
    assert same(found.model, own) and found.masks == {}
    assert found.model is not own and next(found.model.parameters()) is not own[0].weight


@pytest.mark.parametrize("how", ["module", "state_dict"])
def test_torchs_pruning_becomes_masks_with_the_weights_behind_them(how):
    """Pitfall: a module under torch.nn.utils.prune cannot be copied, and its state_dict has other keys."""
    before, own = trained(), pruned_by_torch()
    found = taken(own) if how == "module" else taken(network, own.state_dict())
    assert same(found.model, before) and found.hidden and tuple(found.masks) == NAMES
    assert sum(int((~m).sum()) for m in found.masks.values()) == round(0.5 * (12 * 16 + 16 * 3))
    with torch.no_grad():
        for name, mask in found.masks.items():
            found.model.get_parameter(name).mul_(mask)
    inputs = parts()[2][0]
    assert torch.equal(found.model.eval()(inputs), own.eval()(inputs))
    assert hasattr(own[0], "weight_orig"), "the user's module stays as it is"


def test_zeros_and_given_masks_are_adopted():
    model = trained()
    with torch.no_grad():
        model[0].weight[:4] = 0
    zeros = masked(taken(model), "zeros", NAMES)
    assert (
        not zeros.hidden
        and torch.equal(zeros.masks["0.weight"], model[0].weight != 0)
        and zeros.masks["3.weight"].all()
    )
    mask = torch.ones(3, 16)
    mask[0] = 0
    given = masked(taken(model), {"3.weight": mask}, NAMES)
    assert given.hidden and torch.equal(given.masks["3.weight"], mask.bool()) and given.masks["0.weight"].all()
    assert masked(taken(trained()), None, NAMES).masks == {}


def test_a_few_numbers_behind_masks_are_not_what_a_prune_took():
    """Pitfall: of a handful that was left there by mistake, ALLR would measure a prune that took next to nothing."""
    model = trained()
    mask = torch.ones(16, 12, dtype=torch.bool)
    mask[:8] = False
    with torch.no_grad():
        model[0].weight[~mask] = 0
        model[0].weight[0, 0] = 0.1
    assert not masked(taken(model), {"0.weight": mask}, NAMES).hidden


@pytest.mark.parametrize(
    "masks, words",
    [
        ("zeros", "None of the prunable weights is 0"),
        ("ones", "no kind of masks 'ones'"),
        ({"0.wieght": torch.ones(16, 12)}, "did you mean '0.weight'?"),
        ({"0.weight": torch.ones(12, 16)}, "The mask of '0.weight' is (12, 16)"),
        ({"0.bias": torch.ones(16)}, "no prunable weight '0.bias'"),
    ],
)
def test_masks_that_do_not_fit_are_refused_in_a_sentence(masks, words):
    assert words in said(lambda: masked(taken(trained()), masks, NAMES))


def broken(change) -> dict:
    weights = dict(trained().state_dict())
    change(weights)
    return weights


@pytest.mark.parametrize(
    "given, words",
    [
        (broken(lambda w: w.pop("3.bias")), "it lacks 3.bias"),
        (broken(lambda w: w.update(extra=torch.ones(2))), "it also holds extra"),
        (broken(lambda w: w.update({"3.bias": torch.ones(4)})), "'3.bias' is [4] and should be [3]"),
        (broken(lambda w: w.update({"3.bias": w["3.bias"].numpy()})), "'3.bias' is ndarray"),
        ({0: torch.ones(2)}, "it lacks 0.bias"),
        (trained(), "checkpoint is Sequential"),
        ("none.pt", "none.pt cannot be read"),
        ("net.onnx", "ends in .safetensors"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused_in_a_sentence(given, words):
    assert words in said(lambda: taken(network, given))


@pytest.mark.parametrize("model, words", [("resnet9", "did you mean 'resnet8'?"), (nn.Linear(9, 3), "fails on")])
def test_a_model_that_is_none_or_takes_other_inputs_is_refused(model, words):
    assert words in said(lambda: checkpoint.outputs(taken(model).model, (12,), "net", 3))


def test_more_classes_than_the_labels_show_are_the_networks_and_fewer_are_refused():
    model = nn.Linear(12, 5)
    assert checkpoint.outputs(model, (12,), "net", 3) == 5
    assert "labels go up to 6" in said(lambda: checkpoint.outputs(model, (12,), "net", 7))


def test_torchvisions_weights_are_read_from_disk_and_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    name = "torchvision/squeezenet1_1"
    ask = lambda model: read(model, "pretrained", (3, 224, 224), 3, "net")  # noqa: E731
    assert "squeezenet1_1-b8a52dc0.pth is wanted, from https" in said(lambda: ask(name))
    assert "needs a checkpoint" in said(lambda: ask("package.module:net")) and "needs a" in said(lambda: ask("mlp"))
    from torchvision.models import squeezenet1_1

    own = squeezenet1_1()
    (tmp_path / "checkpoints").mkdir()
    torch.save(own.state_dict(), tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    assert same(ask(name).model, own)


def test_prunable_weights_are_those_of_the_plain_module():
    assert prunable(taken(pruned_by_torch()).model) == NAMES == prunable(copy.deepcopy(trained()))
