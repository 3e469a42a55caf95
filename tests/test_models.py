"""Networks: published sizes, the shapes they take, seeds, and that they stay plain modules."""

import copy
import importlib.util
import sys
from collections import namedtuple

import pytest
import torch
from torch import nn

from retrainlab import layers, libraries, models
from retrainlab.checks import BadInput
from retrainlab.config import MODELS
from retrainlab.layers import prunable
from retrainlab.models import BasicBlock, build
from tests.helpers.attentive import Attentive
from tests.helpers.pruning import prune


def count(model):
    return sum(p.numel() for p in model.parameters())


def test_each_name_of_the_settings_has_its_network_and_no_network_lacks_a_name():
    assert tuple(models.NETWORKS) == MODELS


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, published", [("resnet20", 269_722), ("resnet56", 853_018), ("resnet18", 11_173_962)])
def test_parameter_count_of_resnets_is_the_published_one(name, published):
    assert count(build(name, shape=(3, 32, 32), classes=10)) == published


def test_parameter_count_of_the_mlp_is_lenet_300_100s():
    assert count(build("mlp", shape=(1, 28, 28), classes=10)) == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10


def test_parameter_count_of_resnet8():
    convs = 9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    norms = 2 * (16 * 3 + 32 * 2 + 64 * 2)
    assert count(build("resnet8", shape=(3, 32, 32), classes=10)) == convs + norms + 64 * 10 + 10


def test_parameter_count_of_vgg16():
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convs = sum(9 * a * b for a, b in zip(widths, widths[1:], strict=False))
    assert convs == 14_710_464  # VGG-16's thirteen convolutions; their biases fall away before the normalisation
    assert count(build("vgg16", shape=(3, 8, 8), classes=10)) == convs + 2 * sum(widths[1:]) + 512 * 10 + 10


def test_parameter_count_of_wrn28_10_is_the_published_one():
    model = build("wrn28-10", shape=(3, 8, 8), classes=10)
    assert count(model) == 36_479_194
    assert len(prunable(model)) == 1 + 12 * 2 + 3 + 1  # stem, blocks, shortcuts of changing shape, classifier


@pytest.mark.parametrize("name, layers", [("resnet8", 8), ("resnet20", 20), ("resnet56", 56), ("vgg16", 14)])
def test_names_count_their_layers(name, layers):
    assert len(prunable(build(name, shape=(3, 32, 32), classes=10, width=4))) == layers


def test_width_scales_the_first_stage():
    assert build("resnet20", shape=(1, 8, 8), classes=3, width=5).conv.out_channels == 5
    assert build("wrn28-10", shape=(1, 8, 8), classes=3, width=1).blocks[0].conv1.out_channels == 16
    assert build("mlp", shape=(1, 8, 8), classes=3, width=2).layer2.out_features == 1


# ---- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 30, 50)])
def test_forward_gives_one_score_per_class(name, shape):
    model = build(name, shape=shape, classes=7, width=2 if name == "wrn28-10" else 8)
    assert model.training
    scores = model(torch.randn(2, *shape))
    assert scores.shape == (2, 7) and scores.isfinite().all()


@pytest.mark.parametrize("name", ["mlp", "resnet8", "resnet18", "vgg16"])
def test_forward_of_large_images(name):
    model = build(name, shape=(3, 224, 224), classes=5, width=2).eval()
    assert model(torch.randn(1, 3, 224, 224)).shape == (1, 5)


def test_option_a_shortcut_has_no_parameters_subsamples_and_pads_with_zero_channels():
    block = BasicBlock(4, 8, 2, projection=False).eval()
    assert {n.split(".")[0] for n, _ in block.named_parameters()} == {"conv1", "norm1", "conv2", "norm2"}
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(2, 4, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 2:6], x[:, :, ::2, ::2]) and y[:, :2].eq(0).all() and y[:, 6:].eq(0).all()


def test_projection_only_where_the_shape_changes():
    assert BasicBlock(4, 4, 1, projection=True).shortcut is None
    assert BasicBlock(4, 8, 2, projection=True).shortcut is not None


# ---- seeds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "resnet20", "torchvision/squeezenet1_1"])
def test_same_seed_same_bits_whatever_the_global_state(name):
    """Pitfall: the seed comes from the process or the clock, and no network can be built twice."""

    def make(seed):
        return build(name, shape=(3, 32, 32), classes=3, seed=seed).state_dict()

    torch.manual_seed(1)
    first = make(0)
    torch.manual_seed(2)
    again, other = make(0), make(1)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not all(torch.equal(first[k], other[k]) for k in first)


@pytest.mark.parametrize("name", ["resnet8", "torchvision/squeezenet1_1", "no such model"])
def test_build_leaves_the_global_random_state_alone(name):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    try:
        build(name, shape=(3, 32, 32), classes=3)
    except BadInput:
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_build_leaves_the_accelerators_random_state_alone(monkeypatch):
    """`torch.manual_seed` seeds every accelerator too, and restoring the CPU's state does not undo that."""
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    build("mlp", shape=(1, 8, 8), classes=3, width=4)
    assert not seeded


def test_initialisation_is_hes():
    model = build("resnet18", shape=(3, 8, 8), classes=10)
    w = dict(model.named_parameters())["blocks.7.conv2.weight"]
    assert w.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01) and abs(w.mean()) < 1e-4
    assert model.classifier.bias.eq(0).all()


# ---- prunable weights ------------------------------------------------------------------------------------------------


def test_prunable_names_conv_and_linear_weights_in_order():
    """Pitfall: biases and normalisation layers are counted among what can be pruned."""
    assert prunable(build("mlp", shape=(1, 8, 8), classes=3)) == ("layer1.weight", "layer2.weight", "classifier.weight")
    assert prunable(build("resnet8", shape=(1, 8, 8), classes=3)) == (
        "conv.weight",
        *(f"blocks.{i}.conv{j}.weight" for i in range(3) for j in (1, 2)),
        "classifier.weight",
    )


@pytest.mark.parametrize("name", [*MODELS, "torchvision/mobilenet_v2"])
def test_prunable_is_all_weights_of_two_or_more_dimensions(name):
    model = build(name, shape=(3, 32, 32), classes=10, width=None if "/" in name else 2)
    params = dict(model.named_parameters())
    assert list(prunable(model)) == [n for n, p in params.items() if p.dim() > 1]


PROJECTIONS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


def test_the_projections_of_attention_are_prunable():
    """Pitfall: only what is called `weight` is pruned, and a quarter of a transformer stays dense unseen."""
    among = ("among.in_proj_weight", "among.out_proj.weight")
    looks = (*(f"looks.{p}" for p in PROJECTIONS), "looks.out_proj.weight")
    assert prunable(Attentive()) == ("patches.weight", *among, *looks, "head.weight")


def test_a_shared_weight_is_prunable_once():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert prunable(model) == ("0.weight",)


def test_nothing_is_left_out_of_our_networks():
    for name in MODELS:
        model = models.skeleton(name, shape=(3, 32, 32), classes=10)
        assert layers.unpruned(model) == () and layers.uncounted(model) == ""


def test_what_pruning_leaves_alone_is_named_by_kind_with_its_share_of_all_weights():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 10))  # 10
            self.up = nn.ConvTranspose2d(2, 5, 2)  # 40, which pruning takes
            self.rows, self.columns = nn.Embedding(6, 5), nn.Embedding(2, 5)  # 30, 10
            self.pair = nn.Bilinear(2, 5, 3)  # 30
            self.run = nn.LSTM(2, 1)  # 8, 4
            self.norm = nn.LayerNorm([2, 4])  # 8 of two dimensions; its bias as many
            self.conv, self.out = nn.Conv3d(2, 5, 1), nn.Linear(6, 7)  # 10, 42
            self.tied = nn.Embedding(6, 5)
            self.tied.weight = self.rows.weight

    found = {u.kind: (u.names, u.share) for u in layers.unpruned(Mixed())}
    assert found == {
        "other parameters": (("token", "norm.weight", "norm.bias"), 26 / 200),
        "embeddings": (("rows.weight", "columns.weight"), 40 / 200),
        "bilinear layers": (("pair.weight",), 30 / 200),
        "recurrent layers": (("run.weight_ih_l0", "run.weight_hh_l0"), 12 / 200),
    }
    assert layers.uncounted(Mixed()) == (
        "Neither pruned nor counted: other parameters (token, norm.weight, norm.bias), 13 % of all weights; "
        "embeddings (rows.weight, columns.weight), 20 % of all weights; "
        "bilinear layers (pair.weight), 15 % of all weights; "
        "recurrent layers (run.weight_ih_l0, run.weight_hh_l0), 6 % of all weights."
    )
    assert layers.prunable(Mixed()) == ("up.weight", "conv.weight", "out.weight")
    asked = layers.prunable(Mixed(), embeddings=True)
    assert asked == ("up.weight", "rows.weight", "columns.weight", "conv.weight", "out.weight")
    assert "embeddings" not in layers.uncounted(Mixed(), embeddings=True)


def test_frozen_and_parametrized_weights_are_named_and_not_pruned():
    old, new, still, free = (nn.Linear(3, 3) for _ in range(4))
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(old)
    torch.nn.utils.parametrizations.weight_norm(new)
    still.requires_grad_(False)
    model = nn.Sequential(old, new, still, free)
    assert prunable(model) == ("3.weight",) and layers.frozen(model) == ("2.weight", "2.bias")
    parametrized = (
        "0.weight_g",
        "0.weight_v",
        "1.parametrizations.weight.original0",
        "1.parametrizations.weight.original1",
    )
    assert {u.kind: (u.names, u.share) for u in layers.unpruned(model)} == {
        "parametrized weights": (parametrized, 24 / 42),
        "frozen parameters": (("2.weight",), 9 / 42),
    }
    assert layers.words(model).startswith(
        "Pruning may take weights of 1 layer, 16.7 % of all 54 parameters. Neither pruned"
    )


def test_a_transformer_of_torchvision_is_pruned_but_for_its_token_and_places():
    """At 90 % of what is called `weight` only 67.5 % of the weights went."""
    model = models.skeleton("torchvision/vit_b_16", shape=(3, 224, 224), classes=10)
    params = dict(model.named_parameters())
    total = sum(p.numel() for p in params.values() if p.dim() > 1)
    assert {p.device.type for p in params.values()} == {"meta"}
    assert round(0.9 * sum(params[n].numel() for n in prunable(model) if n.endswith(".weight")) / total, 3) == 0.675
    [rest] = layers.unpruned(model)
    assert rest.names == ("class_token", "encoder.pos_embedding")
    assert rest.share == (768 + 197 * 768) / total
    assert "0.18 % of all weights; the products within attention" in layers.uncounted(model)


@pytest.mark.parametrize(
    "name, words",
    [
        (
            "swin_t",
            "other parameters (relative_position_bias_table), 0.085 % of all weights; the products within attention",
        ),
        ("maxvit_t", "other parameters (relative_position_bias_table), 0.094 % of all weights; the products within"),
        ("convnext_tiny", "other parameters (layer_scale), 0.024 % of all weights."),
    ],
)
def test_what_torchvisions_networks_have_besides_is_told(name, words):
    model = models.skeleton(f"torchvision/{name}", shape=(3, 224, 224), classes=10)
    assert f"Neither pruned nor counted: {words}" in layers.uncounted(model)


@pytest.mark.parametrize("name", ["resnet8", "mlp", "torchvision/squeezenet1_1"])
def test_a_skeleton_has_the_names_and_sizes_of_the_network(name):
    options = dict(shape=(1, 64, 64), classes=5)
    bare, whole = (make(name, **options).state_dict() for make in (models.skeleton, build))
    assert {k: v.shape for k, v in bare.items()} == {k: v.shape for k, v in whole.items()}


def test_a_network_that_looks_at_numbers_while_it_is_built_has_a_skeleton_too(monkeypatch):
    import torchvision

    class Numbers(nn.Module):  # as torchvision's regnets
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(*(torch.arange(2) + 3).tolist())

        def forward(self, x):
            return self.fc(x.mean((2, 3)))

    monkeypatch.setattr(torchvision.models, "get_model", lambda *args, **options: Numbers())
    model = models.skeleton("torchvision/regnet_y_400mf", shape=(3, 8, 8), classes=4)
    assert model.fc.weight.shape == (4, 3)


# ---- torchvision -----------------------------------------------------------------------------------------------------


def test_mobilenet_takes_one_channel():
    model = build("torchvision/mobilenet_v2", shape=(1, 224, 224), classes=5)
    assert model.features[0][0].weight.shape == (32, 1, 3, 3) and model.features[0][0].stride == (2, 2)
    assert model.training and model.eval()(torch.randn(1, 1, 224, 224)).shape == (1, 5)


def test_three_channels_leave_torchvisions_network_as_it_is():
    from torchvision.models import squeezenet1_1

    ours = build("torchvision/squeezenet1_1", shape=(3, 64, 64), classes=5)
    theirs = squeezenet1_1(weights=None, num_classes=5)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}


def test_our_networks_need_no_torchvision(monkeypatch):
    """Pitfall: an optional package is imported for nothing, and its absence breaks what never used it."""
    monkeypatch.setitem(sys.modules, "torchvision", None)
    spec = importlib.util.spec_from_file_location("models_once_more", models.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    build("resnet8", shape=(1, 8, 8), classes=3, width=2)
    with pytest.raises(BadInput, match="not installed"):
        build("torchvision/resnet18", shape=(3, 32, 32), classes=3)


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("resnet2O", "resnet20"),
        ("ResNet20", "resnet20"),
        ("wrn-28-10", "wrn28-10"),
        ("vgg", "vgg16"),
        ("torchvision/mobilnet_v2", "mobilenet_v2"),
        ("torchvision/resnet181", "resnet18"),
    ],
)
def test_unknown_name_names_the_nearest(name, nearest):
    with pytest.raises(BadInput, match=f"did you mean '{nearest}'"):
        build(name, shape=(3, 32, 32), classes=10)


class Strange(nn.Module):
    """Its forward pass is a function of the layer's mode and the images."""

    def __init__(self, forward):
        super().__init__()
        self.own, self.fc = forward, nn.Linear(3, 4)

    def forward(self, x):
        return self.own(self, x)


def scores(model, x):
    return model.fc(x.mean((2, 3)))


def out_of_room(model, x):
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


def only(sides):
    def forward(model, x):
        torch._assert(x.shape[2] in sides, "Wrong image height!")
        return scores(model, x)

    return forward


def broken(model, x):
    raise IndexError("tuple index out of range")


Two = namedtuple("Two", "logits aux_logits")
AUXILIARY = (
    "gives 2 outputs (logits, aux_logits) while it trains, but one tensor of scores is all that is trained here; "
)
HEIGHT = (
    'takes images of 3x224x224, but fails on 3x8x8 (channels x height x width) with "Wrong image height"; give images '
)


@pytest.mark.parametrize(
    "forward, cause",
    [
        (lambda m, x: Two(scores(m, x), 0) if m.training else scores(m, x), AUXILIARY),
        (lambda m, x: Two(only({299})(m, x), 0) if m.training else scores(m, x), AUXILIARY),
        (lambda m, x: {"out": scores(m, x)}, "gives 1 outputs (out) in evaluation"),
        (
            lambda m, x: scores(m, x)[:, :3],
            "gives a tensor of 2x3 for 2 images in evaluation, not scores of 4 classes; ",
        ),
        (only({224}), HEIGHT + "of another size, or choose another."),
        (only({30}), 'fails on images of 3x8x8 (channels x height x width) with "Wrong image height"; choose another.'),
        (
            broken,
            'fails on images of 3x8x8 (channels x height x width) with "tuple index out of range"; choose another.',
        ),
    ],
)
def test_each_refusal_names_its_cause(forward, cause, monkeypatch):
    """Pitfall: a network with auxiliary scores is refused for the size of images that it takes."""
    import torchvision

    monkeypatch.setattr(torchvision.models, "get_model", lambda *args, **options: Strange(forward))
    with pytest.raises(BadInput) as caught:
        build("torchvision/googlenet", shape=(3, 8, 8), classes=4)
    assert str(caught.value).startswith(f"The model 'torchvision/googlenet' {cause}")


def test_memory_that_runs_out_is_not_told_as_a_property_of_the_network(monkeypatch):
    import torchvision

    monkeypatch.setattr(torchvision.models, "get_model", lambda *args, **options: Strange(out_of_room))
    with pytest.raises(RuntimeError, match="can't allocate memory") as caught:
        build("torchvision/googlenet", shape=(3, 8, 8), classes=4)
    assert not isinstance(caught.value, BadInput)


def test_images_too_small_are_refused_with_their_size():
    with pytest.raises(BadInput, match=r"takes images of 1x224x224, but fails on 1x4x4 .*Output size is too small"):
        build("torchvision/squeezenet1_1", shape=(1, 4, 4), classes=3)


def test_a_torchvision_that_cannot_be_loaded_is_told_from_one_that_is_missing(monkeypatch):
    def broken():
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(libraries, "_torchvision", broken)
    with pytest.raises(BadInput, match=r"installed but cannot be loaded \(operator torchvision::nms does not exist\)"):
        build("torchvision/resnet18", shape=(3, 32, 32), classes=3)


def test_width_of_a_torchvision_network_is_refused():
    with pytest.raises(BadInput, match="width"):
        build("torchvision/resnet18", shape=(3, 32, 32), classes=3, width=4)


# ---- plain modules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "resnet8", "vgg16", "wrn28-10", "torchvision/mobilenet_v2"])
def test_network_stays_a_plain_module_after_pruning(name):
    """Pitfall: masks inside the module break deepcopy and rename the keys of the state_dict."""
    model = build(name, shape=(3, 32, 32), classes=3, width=None if "/" in name else 2).eval()
    keys = list(model.state_dict())
    params = dict(model.named_parameters())
    with torch.no_grad():
        for n, mask in prune({n: params[n] for n in prunable(model)}, 0.8).items():
            params[n].mul_(mask)
    twin = copy.deepcopy(model)
    assert list(model.state_dict()) == keys == list(twin.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(x), twin(x))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
