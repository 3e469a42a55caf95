"""Numbers against hand counts, and that measuring changes nothing."""

import math

import pytest
import torch
from torch import nn

from retrainlab import metrics
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.training.masked import zeroed
from tests.helpers.attentive import Attentive


def weights(model):
    params = dict(model.named_parameters())
    return {name: params[name].detach() for name in prunable(model)}


def snapshot(model):
    return {k: v.clone() for k, v in model.state_dict().items()}, [m.training for m in model.modules()]


def same(a, b):
    return a[1] == b[1] and all(torch.equal(a[0][k], b[0][k]) for k in a[0] | b[0])


def network():
    return build("resnet8", shape=(1, 8, 8), classes=3, width=4)


# ---- sparsity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "resnet20"])
def test_an_unpruned_network_is_dense(name):
    """Pitfall: sparsity counts biases and normalisation weights, whose zeros make an unpruned net look sparse."""
    model = build(name, shape=(3, 16, 16), classes=10)
    assert any(p.eq(0).any() for p in model.parameters())  # biases are
    assert metrics.sparsity(weights(model)) == 0
    assert set(metrics.layer_sparsity(weights(model)).values()) == {0}


def test_sparsity_counts_zeros_exactly():
    w = {"a": torch.tensor([[0.0, 1, -0.0], [2, 3, 4]]), "b": torch.tensor([0.0, 1e-30]), "c": torch.zeros(4)}
    assert metrics.sparsity(w) == 7 / 12
    assert metrics.layer_sparsity(w) == {"a": pytest.approx(1 / 3), "b": 0.5, "c": 1.0}
    w["big"] = torch.ones(10_000_000)
    assert metrics.sparsity(w) == 7 / 10_000_012


# ---- multiply-adds ---------------------------------------------------------------------------------------------------


class One(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize(
    "layer, shape, by_hand",
    [
        (nn.Conv2d(3, 8, 3), (3, 9, 9), 7 * 7 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, padding=1), (3, 9, 9), 9 * 9 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, padding=1, stride=2), (3, 9, 9), 5 * 5 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, dilation=2), (3, 9, 9), 5 * 5 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, (1, 5), padding=(0, 2), stride=(3, 1)), (3, 9, 9), 3 * 9 * 8 * 3 * 5),
        (nn.Conv2d(32, 32, 3, padding=1, groups=32), (32, 6, 6), 6 * 6 * 32 * 9),
        (nn.Conv2d(8, 12, 3, padding=1, groups=4), (8, 6, 6), 6 * 6 * 12 * 2 * 9),
        (nn.Conv2d(4, 6, 1, bias=False), (4, 5, 7), 5 * 7 * 6 * 4),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1), (4, 5, 5), 5 * 5 * 4 * 6 * 9),
        (nn.ConvTranspose1d(4, 6, 3, groups=2), (4, 5), 5 * 4 * 3 * 3),
        (nn.Linear(7, 5), (3, 4, 7), 3 * 4 * 7 * 5),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2), 12 * 5),
    ],
)
def test_multiply_adds_of_a_layer_match_the_hand_count(layer, shape, by_hand):
    """Pitfall: multiply-adds that ignore padding and groups (a depthwise convolution counts 32 times too many)."""
    model = One(layer)
    assert metrics.multiply_adds(model, shape, weights(model)) == (by_hand, by_hand)


def test_multiply_adds_of_attention_match_the_hand_count():
    """Pitfall: torch multiplies with a projection's weight without calling its layer, and it is counted as nothing."""
    model = Attentive(channels=1)
    w = weights(model)
    patches, tokens, width, raw = 4, 5, 8, 16
    by_hand = {
        "patches.weight": patches * width * raw,
        "among.in_proj_weight": tokens * 3 * width * width,
        "among.out_proj.weight": tokens * width * width,
        "looks.q_proj_weight": 1 * width * width,
        "looks.k_proj_weight": patches * width * raw,
        "looks.v_proj_weight": patches * width * raw,
        "looks.out_proj.weight": 1 * width * width,
        "head.weight": width * 3,
    }
    assert {n: metrics.multiply_adds(model, (1, 8, 8), {n: t})[0] for n, t in w.items()} == by_hand
    assert metrics.multiply_adds(model, (1, 8, 8), w) == (sum(by_hand.values()),) * 2


@pytest.mark.parametrize("batch_first", [False, True])
def test_queries_keys_and_values_of_one_weight_count_their_own_tokens(batch_first):
    class Cross(One):
        def forward(self, x):
            tokens, others = x[:, 0], x[:, 0, :3]
            if not batch_first:
                tokens, others = tokens.transpose(0, 1), others.transpose(0, 1)
            return self.layer(tokens, others, others)[0]

    model = Cross(nn.MultiheadAttention(6, 2, batch_first=batch_first))
    w = {n: t.clone() for n, t in weights(model).items()}
    assert metrics.multiply_adds(model, (1, 7, 6), w)[0] == 36 * (7 + 3 + 3 + 7)
    w["layer.in_proj_weight"][:6, 0] = 0  # of the queries, at 7 tokens
    w["layer.in_proj_weight"][12:, :2] = 0  # of the values, at 3
    assert metrics.multiply_adds(model, (1, 7, 6), w) == (720, 720 - 7 * 6 - 3 * 12)


def test_an_encoder_layer_counts_as_much_with_its_fast_path():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2, enable_nested_tensor=False)
    squeezed = nn.Sequential(nn.Flatten(1, 2), model)
    assert metrics.multiply_adds(squeezed, (1, 5, 4), weights(squeezed))[0] == 2 * 5 * (4 * 16 + 2 * 32)


def test_weights_that_a_module_reads_for_itself_are_counted_in_every_window():
    """torchvision's swin never calls its layers `qkv` and `proj`, and puts windows where images are."""
    swin = pytest.importorskip("torchvision.models.swin_transformer").SwinTransformer
    model = swin([2, 2], 8, [2], [2], [2, 2], num_classes=3)  # 16 tokens in four windows
    by_hand = 16 * 8 * 12 + 2 * 16 * (4 * 64 + 2 * 8 * 32) + 8 * 3
    assert metrics.multiply_adds(model, (3, 8, 8), weights(model))[0] == by_hand


def test_multiply_adds_of_a_network_add_up():
    stage1, stage2, stage3 = 8 * 8, 4 * 4, 2 * 2  # positions
    by_hand = 9 * (stage1 * (1 * 4 + 4 * 4 * 2) + stage2 * (4 * 8 + 8 * 8) + stage3 * (8 * 16 + 16 * 16)) + 16 * 3
    model = network()
    assert metrics.multiply_adds(model, (1, 8, 8), weights(model)) == (by_hand, by_hand)


def test_resnet20_has_the_published_multiply_adds():
    model = build("resnet20", shape=(3, 32, 32), classes=10)
    assert metrics.multiply_adds(model, (3, 32, 32), weights(model))[0] == 40_551_040  # 40.55 million


def test_nonzero_multiply_adds_follow_the_mask():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 5))
    w = weights(model)
    w = {n: t.clone() for n, t in w.items()}
    w["0.weight"][0] = 0  # 18 weights at 64 positions
    w["1.weight"][:, 1] = 0  # 36 weights at 9 positions
    w["3.weight"][2, :7] = 0
    dense = 64 * 54 + 9 * 108 + 180
    assert metrics.multiply_adds(model, (2, 8, 8), w) == (dense, dense - 64 * 18 - 9 * 36 - 7)


def test_a_layer_used_twice_counts_twice():
    class Twice(One):
        def forward(self, x):
            return self.layer(self.layer(x))

    model = Twice(nn.Conv2d(2, 2, 3, padding=1))
    assert metrics.multiply_adds(model, (2, 4, 4), weights(model)) == (2 * 16 * 36, 2 * 16 * 36)


@pytest.mark.parametrize("training", [True, False])
def test_counting_changes_neither_state_nor_mode(training):
    """Pitfall: a measurement makes a training-mode pass, which refreshes BatchNorm's statistics."""
    model = network().train(training)
    before = snapshot(model)
    metrics.multiply_adds(model, (1, 8, 8), weights(model))
    assert same(before, snapshot(model))
    assert not any(m._forward_hooks for m in model.modules())


def test_counting_keeps_a_frozen_layers_mode():
    model = network().train()
    model.norm.eval()
    before = snapshot(model)
    metrics.multiply_adds(model, (1, 8, 8), weights(model))
    assert same(before, snapshot(model))


def test_a_failed_count_cleans_up():
    model = network().train()
    before = snapshot(model)
    with pytest.raises(RuntimeError):
        metrics.multiply_adds(model, (2, 8, 8), weights(model))
    assert same(before, snapshot(model)) and not any(m._forward_hooks for m in model.modules())


def test_theoretical_speedup():
    assert metrics.theoretical_speedup(100, 20) == 5 and metrics.theoretical_speedup(100, 0) == math.inf


# ---- stability, recovery, norms --------------------------------------------------------------------------------------


def test_stability_by_hand():
    assert metrics.stability(0.8, 0.6) == pytest.approx(0.75)
    assert metrics.stability(0.8, 0.8) == 1 and metrics.stability(0.8, 0.0) == pytest.approx(0)
    assert metrics.stability(0.5, 0.6) == pytest.approx(1.2)
    assert math.isnan(metrics.stability(0.0, 0.1))


def test_recovery_by_hand():
    assert metrics.recovery(0.4, 0.2) == pytest.approx(0.5)
    assert metrics.recovery(0.4, 0.4) == pytest.approx(1) and metrics.recovery(0.4, -0.1) < 0
    assert math.isnan(metrics.recovery(0.0, 0.0)) and math.isnan(metrics.recovery(-0.1, 0.0))


def test_norm_drop_by_hand_with_and_without_the_rest():
    w = {"a": torch.tensor([[3.0, 1.0], [1.0, 2.0]]), "b": torch.tensor([-1.0])}  # squares 9 1 1 4 1
    masks = {"a": torch.tensor([[True, False], [False, True]]), "b": torch.tensor([False])}
    after = zeroed(w, masks)
    assert metrics.norm_drop(w, after) == pytest.approx(math.sqrt(3 / 16))
    assert metrics.norm_drop(w, after, {"norm": torch.full((4,), 3.0)}) == pytest.approx(math.sqrt(3 / 52))
    assert metrics.norm_drop(w, w) == 0
    assert metrics.norm_drop(w, {n: torch.zeros_like(t) for n, t in w.items()}) == 1
    assert metrics.norm_drop({"z": torch.zeros(3)}, {"z": torch.zeros(3)}) == 0


def test_norm_drop_is_computed_in_double():
    w = {"a": torch.full((4,), 1e-25)}  # whose squares are 0 in single precision
    assert metrics.norm_drop(w, {"a": torch.tensor([1e-25, 1e-25, 1e-25, 0])}) == pytest.approx(0.5)


def test_norm_drop_counts_what_stays_but_changes():
    w, after = {"a": torch.tensor([3.0, 4.0])}, {"a": torch.tensor([0.0, 8.0])}
    assert metrics.norm_drop(w, after) == 1


# ---- latency ---------------------------------------------------------------------------------------------------------


def test_latency_is_positive_and_changes_nothing():
    model = network()
    before = snapshot(model)
    params, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    assert 0 < metrics.latency(model, params, buffers, torch.randn(2, 1, 8, 8), repeats=3) < 10
    assert same(before, snapshot(model))


def test_latency_waits_for_the_device_around_each_pass(monkeypatch):
    """Pitfall: a time read without synchronising measures the launch, not the work."""
    events = []
    monkeypatch.setattr(metrics, "synchronise", lambda device: events.append("wait"))
    clock = iter(range(1000))
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: events.append("clock") or next(clock))
    monkeypatch.setattr(metrics, "functional_call", lambda *args: events.append("pass"))
    model = One(nn.Linear(2, 2))
    assert metrics.latency(model, {}, {}, torch.zeros(1, 2), repeats=4) == 1
    assert events == ["wait", "clock", "pass", "wait", "clock"] * (len(events) // 5) and len(events) >= 20
