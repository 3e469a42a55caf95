"""Masks: exact counts, ties by index, nested cycles, and each allocation against a slow version of its definition."""

import itertools
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from retrainlab import config, pruning, scores
from retrainlab.checks import BadInput
from retrainlab.config import ALLOCATIONS
from retrainlab.pruning import lamp, smallest, undivided
from tests.helpers.pruning import prune

quick = settings(max_examples=40, deadline=None, database=None, derandomize=True)
SHAPES = {"conv1": (4, 1, 3, 3), "conv2": (8, 4, 3, 3), "conv3": (8, 8, 3, 3), "fc": (5, 8)}


def gaussian(shapes=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in (shapes or SHAPES).items()}


def tied(shapes=None, seed=0):
    """Weights with heavy ties: -1, 0, 0 and 1 in random order."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([-1.0, 0.0, 0.0, 1.0])
    return {n: values[torch.randint(0, 4, s, generator=generator)] for n, s in (shapes or SHAPES).items()}


def equal(shapes=None, seed=0):
    return {name: torch.ones(shape) for name, shape in (shapes or SHAPES).items()}


def size(weights):
    return sum(w.numel() for w in weights.values())


def removed(masks):
    return sum(int((~m).sum()) for m in masks.values())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- counts and ties -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [gaussian, tied, equal])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_removes_exactly_the_rounded_count(weights, allocation, score):
    """Pitfall: a threshold (`<= kthvalue`) removes all ties or one too many, and fails at 0 %."""
    w = weights()
    for sparsity in (0, 1e-4, 0.01, 0.1, 0.25, 0.333, 0.5, 0.66, 0.75, 0.9, 0.95, 0.99, 0.999, 1):
        masks = prune(w, sparsity, allocation=allocation, score=score, generator=generator())
        assert removed(masks) == round(sparsity * size(w)), sparsity
        assert all(masks[n].shape == w[n].shape and masks[n].dtype == torch.bool for n in w) and list(masks) == list(w)


@quick
@given(
    values=st.lists(st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 1.0]), min_size=2, max_size=40),
    share=st.floats(0, 1),
    cut=st.integers(1, 39),
    allocation=st.sampled_from(ALLOCATIONS),
)
def test_exact_count_for_any_values_and_sizes(values, share, cut, allocation):
    w = torch.tensor(values)
    cut = min(cut, len(values) - 1)
    masks = prune({"a": w[:cut], "b": w[cut:, None]}, share, allocation=allocation)
    assert removed(masks) == round(share * len(values))


def test_ties_are_broken_layer_by_layer_then_by_index():
    masks = prune(equal({"a": (2, 3), "b": (4,)}), 0.8)
    assert masks["a"].tolist() == [[False] * 3] * 2
    assert masks["b"].tolist() == [False, False, True, True]
    masks = prune({"a": torch.tensor([1.0, 0.0, 2.0]), "b": torch.tensor([0.0, 1.0, 0.0])}, 4 / 6)
    assert masks["a"].tolist() == [False, False, True] and masks["b"].tolist() == [False, True, False]


@quick
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(0, 30))
def test_smallest_is_a_stable_sort(values, count):
    marked = smallest(torch.tensor(values, dtype=torch.float32), count)
    want = sorted(range(len(values)), key=lambda i: (values[i], i))[:count]
    assert marked.nonzero().flatten().tolist() == sorted(want)


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.37, 0.5, 0.9, 0.99, 1])
def test_global_masks_equal_torchs(sparsity):
    w = gaussian()
    holder = nn.ParameterDict({n: nn.Parameter(t) for n, t in w.items()})
    torch_prune.global_unstructured([(holder, n) for n in w], torch_prune.L1Unstructured, amount=float(sparsity))
    masks = prune(w, sparsity)
    assert all(torch.equal(masks[n], getattr(holder, f"{n}_mask").bool()) for n in w)


@pytest.mark.parametrize("sparsity", [0, 0.25, 0.5, 0.75, 1])
def test_uniform_masks_equal_torchs_layer_by_layer(sparsity):
    w = gaussian()  # each size is a multiple of 4
    masks = prune(w, sparsity, allocation="uniform")
    for name, t in w.items():
        layer = nn.ParameterDict({"w": nn.Parameter(t)})
        torch_prune.l1_unstructured(layer, "w", amount=float(sparsity))
        assert torch.equal(masks[name], layer.w_mask.bool())


@quick
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.floats(0, 1))
def test_uniform_takes_the_same_share_of_each_layer_within_one_weight(sizes, share):
    masks = prune({str(i): torch.randn(n) for i, n in enumerate(sizes)}, share, allocation="uniform")
    count = round(share * sum(sizes))
    for i, n in enumerate(sizes):
        assert abs(int((~masks[str(i)]).sum()) - count * n / sum(sizes)) < 1


def test_global_removes_the_smallest_of_all():
    w = gaussian()
    masks = prune(w, 0.7)
    kept = torch.cat([w[n][m].abs() for n, m in masks.items()])
    gone = torch.cat([w[n][~m].abs() for n, m in masks.items()])
    assert kept.min() > gone.max()


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_within_each_layer_the_smallest_go(allocation):
    w = gaussian()
    for name, mask in prune(w, 0.6, allocation=allocation).items():
        if mask.any() and not mask.all():
            assert w[name][mask].abs().min() > w[name][~mask].abs().max()


# ---- repeated pruning ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [gaussian, tied, equal])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_repeated_pruning_is_nested_and_its_target_is_the_total(weights, allocation, score):
    """Pitfall: repeated pruning takes a share of what remains when a share of all was meant."""
    w = weights()
    masks, draw = None, generator()
    for sparsity in (0.2, 0.36, 0.5, 0.5, 0.8, 0.9, 1.0):
        before = masks
        masks = prune(w, sparsity, allocation=allocation, score=score, masks=masks, generator=draw)
        assert removed(masks) == round(sparsity * size(w))
        assert before is None or all(not (masks[n] & ~before[n]).any() for n in w)
        w = {n: torch.randn(t.shape).masked_fill(~masks[n], 0) for n, t in w.items()}  # what retraining leaves


@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_nested_when_rounding_alone_would_give_a_weight_back(allocation):
    """Shares of 10 over sizes 60, 60, 20 round to 4, 4, 2 and shares of 11 to 5, 5, 1: the third layer must keep its 2.

    (Removed weights may not return: largest remainders are not monotone in the total.)
    """
    w = {"a": torch.randn(60, 1), "b": torch.randn(60, 1), "c": torch.randn(20, 1)}
    masks = None
    for count in range(141):
        before, masks = masks, prune(w, count / 140, allocation=allocation, masks=masks)
        assert removed(masks) == count
        assert before is None or all(not (masks[n] & ~before[n]).any() for n in w)


def test_removed_weights_stay_removed_even_if_they_are_large():
    w = {"a": torch.tensor([9.0, 8.0, 1.0, 2.0])}
    masks = prune(w, 0.75, masks={"a": torch.tensor([False, True, True, True])})
    assert masks["a"].tolist() == [False, True, False, False]


def test_removed_weights_stay_removed_under_a_pattern():
    w = {"a": torch.tensor([[9.0, 8.0, 1.0, 2.0], [9.0, 8.0, 1.0, 2.0]])}
    before = {"a": torch.tensor([[False, True, True, True], [False, False, False, True]])}
    masks = prune(w, 0.5, structure="n:m", masks=before)
    assert masks["a"].tolist() == [[False, True, False, True], [False, False, False, True]]


# ---- allocations -----------------------------------------------------------------------------------------------------


def erk_densities(shapes, keep):
    """The densities min(1, f * sum(dims) / prod(dims)) whose sum with the sizes is `keep`, by bisection over f."""
    low, high = 0.0, 1e9

    def densities(f):
        return {n: min(1.0, f * sum(s) / math.prod(s)) for n, s in shapes.items()}

    for _ in range(200):
        middle = (low + high) / 2
        total = sum(d * math.prod(shapes[n]) for n, d in densities(middle).items())
        low, high = (middle, high) if total < keep else (low, middle)
    return densities(low)


@pytest.mark.parametrize("sparsity", [0.05, 0.2, 0.4, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_erk_redistributes_what_full_layers_cannot_take(sparsity):
    """Pitfall: layers clamped at density 1 lose the excess, and the total misses its target."""
    shapes = {"stem": (16, 3, 3, 3), "a": (16, 16, 3, 3), "b": (32, 16, 3, 3), "c": (64, 32, 3, 3), "fc": (10, 64)}
    w = gaussian(shapes)
    masks = prune(w, sparsity, allocation="erk")
    assert removed(masks) == round(sparsity * size(w))
    want = erk_densities(shapes, size(w) - round(sparsity * size(w)))
    for name, mask in masks.items():
        assert abs(int(mask.sum()) - want[name] * mask.numel()) < 1 + 1e-6, name
    assert any(m.all() for m in masks.values()) == (sparsity < 0.95)  # both cases occur


def test_erk_density_is_proportional_to_dimensions_over_size_where_not_clamped():
    shapes = {"a": (64, 32, 3, 3), "b": (128, 64, 3, 3), "fc": (100, 200)}
    masks = prune(gaussian(shapes), 0.97, allocation="erk")
    factors = [m.float().mean().item() / (sum(m.shape) / m.numel()) for m in masks.values()]
    assert factors == pytest.approx([factors[0]] * 3, rel=0.01) and all(not m.all() for m in masks.values())


def lamp_by_hand(w):
    """LAMP's formula: w[u]**2 over the sum of w[v]**2 for all v that are not before u in ascending order."""
    flat = w.flatten().double().tolist()
    rank = sorted(range(len(flat)), key=lambda i: (abs(flat[i]), i))
    place = {u: p for p, u in enumerate(rank)}
    return [x**2 / sum(y**2 for v, y in enumerate(flat) if place[v] >= place[u]) for u, x in enumerate(flat)]


@pytest.mark.parametrize("weights", [gaussian, equal])
def test_lamp_scores_and_masks_match_the_papers_formula(weights):
    w = weights({"a": (5, 7), "b": (4, 2, 3, 3), "c": (10,)})
    by_hand = {name: lamp_by_hand(t) for name, t in w.items()}
    scores = lamp({n: t.abs() for n, t in w.items()})
    for name in w:
        assert scores[name].flatten().tolist() == pytest.approx(by_hand[name], rel=1e-9)
    if weights is gaussian:
        places = sorted((s, i, j) for i, n in enumerate(w) for j, s in enumerate(by_hand[n]))
        for sparsity in (0.1, 0.5, 0.8, 0.95):
            gone = {(i, j) for _, i, j in places[: round(sparsity * size(w))]}
            for i, mask in enumerate(prune(w, sparsity, allocation="lamp").values()):
                assert mask.flatten().tolist() == [(i, j) not in gone for j in range(mask.numel())]


def test_lamp_leaves_every_layer_its_largest_weight_until_only_those_remain():
    w = {"tiny": torch.randn(50) * 1e-6, "big": torch.randn(50) * 1e3, "middle": torch.randn(9)}
    masks = prune(w, 1 - 3 / 109, allocation="lamp")
    assert all(m.sum() == 1 and m.flatten()[w[n].abs().argmax()] for n, m in masks.items())


def test_lamp_of_removed_and_zero_weights():
    scores = lamp({"a": torch.tensor([0.0, -torch.inf, 3.0, 4.0, 0.0])})["a"]
    assert scores.tolist() == pytest.approx([0, -math.inf, 9 / 25, 1, 0])


# ---- the random control ----------------------------------------------------------------------------------------------


def test_random_masks_follow_their_seed_and_ignore_the_weights():
    """Pitfall: the seed comes from the process or the clock, and no run can be repeated."""
    w, other = gaussian(), gaussian(seed=1)

    def draw(weights, seed):
        return prune(weights, 0.5, score="random", generator=generator(seed))

    def same(a, b):
        return all(torch.equal(a[n], b[n]) for n in a)

    assert same(draw(w, 0), draw(w, 0)) and same(draw(w, 0), draw(other, 0))
    assert not same(draw(w, 0), draw(w, 1)) and not same(draw(w, 0), prune(w, 0.5))
    torch.manual_seed(0)
    first = draw(w, 0)
    torch.manual_seed(5)
    assert same(first, draw(w, 0))


def test_random_takes_about_the_same_share_everywhere():
    w = {"small": torch.randn(10_000) * 1e-3, "large": torch.randn(10_000)}
    masks = prune(w, 0.5, score="random", generator=generator())
    assert all(abs(m.float().mean() - 0.5) < 0.03 for m in masks.values())


# ---- layers kept dense -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("dense", [("conv1",), ("fc",), ("conv1", "fc")])
def test_layers_kept_dense_stay_whole_and_the_total_is_exact(allocation, dense):
    keep = dict(keep_first="conv1" in dense, keep_last="fc" in dense)
    w = gaussian()
    for sparsity in (0, 0.5, 0.9):
        masks = prune(w, sparsity, allocation=allocation, **keep)
        assert removed(masks) == round(sparsity * size(w)) and all(masks[n].all() for n in dense)


def test_a_total_that_the_other_layers_cannot_reach_is_refused():
    w = gaussian()
    most = 1 - (w["conv1"].numel() + w["fc"].numel()) / size(w)
    assert removed(prune(w, most, keep_first=True, keep_last=True)) == w["conv2"].numel() + w["conv3"].numel()
    with pytest.raises(BadInput, match="conv1, fc"):
        prune(w, most + 0.01, keep_first=True, keep_last=True)


def test_all_layers_kept_dense():
    w = gaussian({"conv1": (4, 1, 3, 3), "fc": (5, 8)})
    assert removed(prune(w, 0, keep_first=True, keep_last=True)) == 0
    with pytest.raises(BadInput):
        prune(w, 0.5, keep_first=True, keep_last=True)


# ---- structures ------------------------------------------------------------------------------------------------------


def filters(masks):
    """Per convolution: for each filter whether it stays; each must be whole or gone."""
    out = {}
    for name, m in masks.items():
        if m.dim() == 4:
            rows = m.flatten(1)
            assert (rows.all(1) == rows.any(1)).all(), "part of a filter"
            out[name] = rows.all(1)
    return out


@pytest.mark.parametrize("weights", [gaussian, tied, equal])
@pytest.mark.parametrize("allocation", ["global", "uniform"])
@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_filters_go_whole_in_exact_number_and_never_all_of_a_layer(weights, allocation, score):
    w = weights()
    for count in range(0, 18):  # 20 filters in three layers, each of which keeps one
        masks = prune(w, count / 20, structure="filters", allocation=allocation, score=score, generator=generator())
        keep = filters(masks)
        assert sum(int((~k).sum()) for k in keep.values()) == count
        assert all(k.any() for k in keep.values()) and masks["fc"].all()


def test_too_many_filters_are_refused():
    for sparsity in (0.9, 1.0):
        with pytest.raises(BadInput, match="keeps one"):
            prune(gaussian(), sparsity, structure="filters")
    with pytest.raises(BadInput):
        prune(gaussian(), 0.8, structure="filters", keep_first=True)


def test_filters_of_a_network_without_convolutions_are_refused():
    """Pitfall: nothing is pruned, and the table says 0.00 % without a word."""
    with pytest.raises(BadInput, match="no filters to prune"):
        prune(gaussian({"layer1": (8, 4), "layer2": (4, 8)}), 0.5, structure="filters")


def test_filters_of_smallest_root_mean_square_go():
    w = gaussian()
    rms = {(n, i): w[n][i].square().mean().sqrt().item() for n in ("conv1", "conv2", "conv3") for i in range(len(w[n]))}
    gone = set(sorted(rms, key=rms.get)[:6])
    keep = filters(prune(w, 6 / 20, structure="filters"))
    assert {(n, i) for n, k in keep.items() for i in range(len(k)) if not k[i]} == gone


def test_the_largest_filter_of_a_weak_layer_stays():
    w = gaussian()
    w["conv1"] *= 1e-3
    keep = filters(prune(w, 0.5, structure="filters"))
    assert keep["conv1"].sum() == 1 and keep["conv1"][w["conv1"].flatten(1).norm(dim=1).argmax()]


def test_filters_of_a_layer_kept_dense_stay():
    keep = filters(prune(gaussian(), 0.5, structure="filters", keep_first=True))
    assert keep["conv1"].all() and sum(int((~k).sum()) for k in keep.values()) == 10


@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_filter_masks_are_nested(allocation):
    w = gaussian({"a": (12, 2, 3, 3), "b": (12, 2, 3, 3), "c": (4, 2, 3, 3)})
    masks = None
    for count in range(26):
        before, masks = masks, prune(w, count / 28, structure="filters", allocation=allocation, masks=masks)
        assert sum(int((~k).sum()) for k in filters(masks).values()) == count
        assert before is None or all(not (masks[n] & ~before[n]).any() for n in w)
        w = {n: torch.randn(t.shape).masked_fill(~masks[n], 0) for n, t in w.items()}


def neurons(weights, sparsity, masks=None, **how):
    """Masks of neurons in the layers named `hidden...`, the others being no hidden ones."""
    units = {name: w for name, w in weights.items() if name.startswith("hidden")}
    return pruning.prune(
        weights, pruning.row_norm(units), config.Prune(0.5, structure="neurons", **how), sparsity, masks
    )


HIDDEN = {"conv": (4, 1, 3, 3), "hidden1": (12, 6), "hidden2": (8, 12), "hidden3": (2, 8), "fc": (5, 2)}


@pytest.mark.parametrize("weights", [gaussian, tied, equal])
@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_neurons_go_whole_in_exact_number_and_every_layer_keeps_one(weights, allocation):
    w, masks = weights(HIDDEN), None
    for count in range(20):  # 22 neurons in three layers
        before, masks = masks, neurons(w, count / 22, masks, allocation=allocation)
        keep = {n: m.any(1) for n, m in masks.items() if n.startswith("hidden")}
        assert all((masks[n].all(1) == k).all() and k.any() for n, k in keep.items())
        assert sum(int((~k).sum()) for k in keep.values()) == count and list(masks) == list(w)
        assert masks["conv"].all() and masks["fc"].all()
        assert before is None or all(not (masks[n] & ~before[n]).any() for n in w)


def test_neurons_of_smallest_norm_go():
    w = gaussian(HIDDEN)
    norm = {(n, i): w[n][i].square().sum().sqrt() for n in w if n.startswith("hidden") for i in range(len(w[n]))}
    best = {max((k for k in norm if k[0] == n), key=norm.get) for n in ("hidden1", "hidden2", "hidden3")}
    gone = set(sorted(norm.keys() - best, key=norm.get)[:11])
    masks = neurons(w, 0.5)
    assert {(n, i) for n, i in norm if not masks[n][i].any()} == gone


def test_neurons_as_initialised_go_from_layers_of_few_and_of_many_inputs_alike():
    """Pitfall: a norm relative to the number of inputs empties the layer with the most of them."""
    draw = torch.Generator().manual_seed(0)
    sizes = {"hidden1": (200, 50), "hidden2": (200, 800)}
    w = {name: torch.randn(size, generator=draw) * (2 / size[1]) ** 0.5 for name, size in sizes.items()}
    gone = {name: float((~m.any(1)).float().mean()) for name, m in neurons(w, 0.5).items()}
    assert all(0.4 < share < 0.6 for share in gone.values())


@pytest.mark.parametrize("sparsity", [0.9, 1.0])
def test_too_many_neurons_are_refused(sparsity):
    with pytest.raises(BadInput) as caught:
        neurons(gaussian(HIDDEN), sparsity)
    assert str(caught.value) == (
        f"A sparsity of {sparsity:g} removes {round(22 * sparsity)} neurons, but it must be at least 0 (gone already) "
        "and at most 19; every layer keeps one; ask for another sparsity."
    )


def test_neurons_of_a_network_without_hidden_layers_are_refused():
    with pytest.raises(BadInput) as caught:
        neurons(gaussian({"conv": (4, 1, 3, 3), "fc": (5, 4)}), 0.5)
    assert str(caught.value) == (
        "This network has no neurons to prune, for want of hidden Linear layers; choose another structure."
    )


def test_neurons_of_a_layer_kept_dense_stay_and_count():
    w = gaussian({"hidden1": (12, 6), "hidden2": (8, 12), "fc": (5, 8)})
    masks = neurons(w, 0.3, keep_first=True)
    assert masks["hidden1"].all() and int((~masks["hidden2"].any(1)).sum()) == 6  # of 20
    with pytest.raises(BadInput, match="removes 10 neurons.* at most 7 with hidden1 kept dense"):
        neurons(w, 0.5, keep_first=True)


def groups(tensor, m):
    """Every m neighbours along dimension 1, by loops: [groups, m]."""
    out = []
    for k in range(tensor.shape[0]):
        for place in itertools.product(*(range(s) for s in tensor.shape[2:])):
            row = torch.stack([tensor[(k, c, *place)] for c in range(tensor.shape[1])])
            out += row.split(m)
    return out


@pytest.mark.parametrize("n, m", [(1, 2), (2, 4), (1, 4), (3, 4), (4, 8), (4, 4)])
@pytest.mark.parametrize("weights", [gaussian, tied, equal])
def test_n_of_m_keeps_exactly_n_of_each_m_inputs_the_largest(weights, n, m):
    w = weights({"conv": (3, 8, 3, 2), "fc": (5, 16), "line": (2, 8, 3)})
    for name, mask in prune(w, 1 - n / m, structure="n:m", n=n, m=m).items():
        assert mask.shape == w[name].shape
        for values, kept in zip(groups(w[name].abs(), m), groups(mask, m), strict=True):
            order = sorted(range(m), key=lambda i: (values[i].item(), i))  # ties: the first goes
            assert [i for i in range(m) if not kept[i]] == sorted(order[: m - n])


def test_n_of_m_fits_hardware_in_every_group_of_a_convolution():
    """Pitfall: groups along kernel positions, of which two thirds break the pattern along input channels that kernels of
    GPUs want (64 % in a layer of 16x16x3x3)."""
    w = gaussian({"conv": (16, 16, 3, 3)})
    [mask] = prune(w, 0.5, structure="n:m").values()
    as_hardware = mask.permute(2, 3, 0, 1).reshape(-1, 4)  # NVIDIA's ASP: (R, S, K, C), then by fours
    assert set(as_hardware.sum(1).tolist()) == {2}
    along_the_kernel = w["conv"].abs().reshape(-1, 4)
    old = torch.zeros_like(along_the_kernel).scatter_(1, along_the_kernel.topk(2).indices, 1).view(16, 16, 3, 3)
    assert (old.permute(2, 3, 0, 1).reshape(-1, 4).sum(1) != 2).float().mean() > 0.6


def test_n_of_m_layers_whose_inputs_do_not_divide_stay_dense_and_are_named():
    w = gaussian({"stem": (4, 3, 3, 3), "row": (4, 6), "depth": (8, 1, 3, 3), "conv": (2, 4, 3, 3), "last": (2, 8)})
    masks = prune(w, 0.5, structure="n:m", keep_last=True)
    assert [bool(m.all()) for m in masks.values()] == [True, True, True, False, True]
    assert undivided(w, 4) == ("stem", "row", "depth")


def test_n_of_m_that_prunes_no_layer_is_refused():
    """Pitfall: nothing is pruned, and the table says 0.00 % without a word."""
    w = gaussian({"stem": (4, 3, 3, 3), "fc": (4, 6), "last": (3, 8)})
    words = "Keeping 2 of each 4 weights would prune no layer: 4 divides the inputs of no layer (3, 6); choose another m or "
    with pytest.raises(BadInput) as caught:
        prune(w, 0.5, structure="n:m", keep_last=True)
    assert str(caught.value) == words + "another structure."
    with pytest.raises(BadInput, match="would prune no layer: all are kept dense"):
        prune({"stem": w["stem"]}, 0.5, structure="n:m", keep_first=True)


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_each_name_of_the_settings_has_its_function_and_no_function_lacks_a_name():
    assert tuple(pruning.ALLOCATIONS) == config.ALLOCATIONS
    assert tuple(pruning.STRUCTURES) == config.STRUCTURES
    assert tuple(scores.SCORES) == config.SCORES


@pytest.mark.parametrize("setting", ["score", "allocation", "structure"])
def test_an_unknown_name_is_refused_at_once(setting):
    with pytest.raises(BadInput, match="There is no .* 'magnitud'"):
        config.Prune(0.5, **{setting: "magnitud"})


# ---- what pruning leaves alone ---------------------------------------------------------------------------------------


@example(0.5)
@quick
@given(st.floats(0, 1))
def test_pruning_reads_weights_and_changes_none(share):
    w = gaussian()
    copies = {n: t.clone() for n, t in w.items()}
    for allocation, structure in (("global", "unstructured"), ("uniform", "unstructured"), ("global", "n:m")):
        prune(w, share, allocation=allocation, structure=structure)
    assert all(torch.equal(w[n], copies[n]) for n in w)


def test_a_diverged_network_is_pruned_exactly_and_revives_nothing():
    """Pitfall: pruned weights come back (a comparison with NaN is never true)."""
    w = gaussian()
    first = prune(w, 0.5)
    lost = {n: torch.full_like(v, torch.nan).masked_fill(~first[n], 0) for n, v in w.items()}
    for allocation in ALLOCATIONS:
        again = prune(lost, 0.75, allocation=allocation, masks=first)
        assert removed(again) == round(0.75 * size(w))
        assert all((~again[n])[~first[n]].all() for n in w)
