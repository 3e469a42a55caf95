"""Saliency: OBD's curvature against double backward and finite differences; what it must and must not depend on."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from retrainlab import layers, models, scores
from retrainlab.checks import BadInput
from retrainlab.config import SGD
from retrainlab.data.dataset import Dataset, Split, load
from retrainlab.metrics import norm_drop
from retrainlab.models import in_mode
from retrainlab.pruning import allocate_global, magnitude, select
from retrainlab.scores import obd
from retrainlab.training.loop import train
from retrainlab.training.masked import zeroed
from retrainlab.training.state import Job, Setup, State
from tests.helpers.attentive import Attentive

DIGITS = load("digits")


def few(count=12, double=True) -> Dataset:
    """The first digits for training; images come in float64 if the mean is."""
    mean, std = (DIGITS.mean.double(), DIGITS.std.double()) if double else (DIGITS.mean, DIGITS.std)
    return replace(DIGITS, train=Split(DIGITS.train.images[:count], DIGITS.train.labels[:count]), mean=mean, std=std)


def setup_of(model: nn.Module, data: Dataset | None = None) -> Setup:
    return Setup(model, data or few(), SGD(), 4, layers.prunable(model))


def network(name="mlp", width=6, double=True, data=None) -> tuple[Setup, State]:
    """A network with normalisation unlike its start, as after some training."""
    model = models.build(name, shape=DIGITS.shape, classes=DIGITS.classes, width=width)
    state = State.of(model.double() if double else model)
    generator = torch.Generator().manual_seed(1)
    for t in [*state.params.values(), *state.buffers.values()]:
        if t.is_floating_point() and t.dim() == 1:
            t += 0.5 * torch.rand(t.shape, generator=generator)
    return setup_of(model, data or few(double=double)), state


def loss(setup: Setup, state: State, weights: dict) -> torch.Tensor:
    """Mean cross-entropy of the training images in one batch, in evaluation mode."""
    split = setup.data.train
    with in_mode(setup.model, training=False):
        images = setup.data.normalise(split.images)
        scores = functional_call(setup.model, (state.params | weights, state.buffers), (images,))
    return F.cross_entropy(scores, split.labels)


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_close(a: dict, b: dict, rtol=1e-9):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=rtol, atol=rtol * 1e-3 * float(b[name].max()))


# ---- against the Hessian ---------------------------------------------------------------------------------------------


def test_is_the_diagonal_of_the_whole_hessian_of_an_mlp():
    setup, state = network()
    found = obd(setup, state)
    assert list(found) == ["layer1.weight", "layer2.weight", "classifier.weight"]
    for name, score in found.items():
        w = state.params[name]
        hessian = torch.autograd.functional.hessian(lambda w, name=name: loss(setup, state, {name: w}), w)
        diagonal = hessian.reshape(w.numel(), w.numel()).diagonal().view_as(w)
        torch.testing.assert_close(score, diagonal * w**2 / 2, rtol=1e-9, atol=1e-15)
        assert score.max() > 1e-4


@pytest.mark.parametrize(("name", "width"), [("resnet8", 2), ("vgg16", 2)])
def test_is_double_backward_of_a_convolutional_network(name, width):
    """Normalisation in evaluation mode, shortcuts and max pooling keep the scores piecewise affine in each weight."""
    setup, state = network(name, width)
    found, generator = obd(setup, state), torch.Generator().manual_seed(0)
    for name, score in found.items():
        w = state.params[name].clone().requires_grad_()
        [gradient] = torch.autograd.grad(loss(setup, state, {name: w}), w, create_graph=True)
        for k in torch.randperm(w.numel(), generator=generator)[:6].tolist():
            [row] = torch.autograd.grad(gradient.flatten()[k], w, retain_graph=True)
            expected = row.flatten()[k] * w.detach().flatten()[k] ** 2 / 2
            torch.testing.assert_close(score.flatten()[k], expected, rtol=1e-8, atol=1e-15)
        assert score.max() > 0


def test_is_the_mean_square_of_each_gradient_through_attention():
    """The Gauss-Newton matrix's diagonal, an image and a class at a time."""
    torch.manual_seed(0)
    model = Attentive(DIGITS.shape[0], classes=10).double()
    setup = setup_of(model, few(3))
    state = State.of(model)
    found, wanted = obd(setup, state), {n: torch.zeros_like(state.params[n]) for n in setup.prunable}
    images = setup.data.normalise(setup.data.train.images)
    params = dict(model.eval().named_parameters())
    for i, c in itertools.product(range(3), range(10)):
        scores = model(images[i : i + 1])[0]
        p = scores.detach().softmax(0)
        along = p[c].sqrt() * (scores[c] - p @ scores)
        for n, g in zip(wanted, torch.autograd.grad(along, [params[n] for n in wanted])):
            wanted[n] += g.square() / 3
    assert_close(found, {n: h * state.params[n].square() / 2 for n, h in wanted.items()})


def test_is_a_second_difference_of_the_loss():
    """No automatic differentiation here: w_k a little more, a little less."""
    setup, state = network()
    found, step = obd(setup, state), 2e-4
    for name, score in found.items():
        w = state.params[name]
        for k in score.flatten().topk(10).indices.tolist():
            unit = torch.zeros_like(w)
            unit.view(-1)[k] = step
            up, here, down = (loss(setup, state, {name: w + sign * unit}) for sign in (1, 0, -1))
            expected = (up - 2 * here + down) / step**2 * w.flatten()[k] ** 2 / 2
            torch.testing.assert_close(score.flatten()[k], expected, rtol=1e-4, atol=0)


def test_single_precision_is_enough():
    exact = obd(*network("resnet8", 2))
    for name, score in obd(*network("resnet8", 2, double=False)).items():
        assert score.dtype == torch.float32
        torch.testing.assert_close(score.double(), exact[name], rtol=1e-3, atol=1e-4 * float(exact[name].max()))


def test_a_smooth_activation_gets_the_gauss_newton_diagonal():
    """sum over classes a, b of (diag(p) - p p^T)_ab J_a J_b, from Jacobians of the scores; not the exact one there."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.SiLU(), nn.Linear(5, 10)).double()
    setup, state = setup_of(model), State.of(model)
    images, name = setup.data.normalise(setup.data.train.images), "1.weight"
    w = state.params[name]
    jacobian = torch.autograd.functional.jacobian(
        lambda w: functional_call(model, state.params | {name: w}, (images,)), w
    )
    p = model(images).detach().softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    expected = torch.einsum("nab,naij,nbij->ij", middle, jacobian, jacobian) / len(images) * w**2 / 2
    found = obd(setup, state)[name]
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-15)
    hessian = torch.autograd.functional.hessian(lambda w: loss(setup, state, {name: w}), w)
    exact = hessian.reshape(w.numel(), w.numel()).diagonal().view_as(w) * w**2 / 2
    assert (found - exact).abs().max() > 0.01 * exact.abs().max()


# ---- laws ------------------------------------------------------------------------------------------------------------


def test_a_rescaling_that_changes_no_function_changes_no_saliency():
    """ReLU(a x) = a ReLU(x): what one layer multiplies the next can divide. Magnitude does not know that."""
    setup, state = network()
    other = state.copy()
    other.params["layer1.weight"] *= 8
    other.params["layer1.bias"] *= 8
    other.params["layer2.weight"] /= 8
    assert_close(obd(setup, other), obd(setup, state))


def test_the_curvature_stays_where_only_its_weight_is_scaled():
    """The scores of an affine network move with the biases alone: h is that of the same p, s goes with w^2."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).double()
    setup, state = setup_of(model), State.of(model)
    state.params["1.weight"].fill_(0.5)  # equal rows: every class has the same score, whatever the size of the weights
    state.params["1.bias"].zero_()
    first = obd(setup, state)["1.weight"]
    images = setup.data.normalise(setup.data.train.images).flatten(1)
    torch.testing.assert_close(first, (0.09 * images.square().mean(0) * 0.125).expand(10, 64))  # p (1 - p) x^2 w^2 / 2
    state.params["1.weight"].fill_(-1.5)
    torch.testing.assert_close(obd(setup, state)["1.weight"], 9 * first)


def test_a_weight_at_zero_has_no_saliency_and_no_score_is_negative():
    setup, state = network("resnet8", 4, double=False)
    generator = torch.Generator().manual_seed(0)
    keep = {name: torch.rand(state.params[name].shape, generator=generator) < 0.3 for name in setup.prunable}
    for name, mask in keep.items():
        state.params[name] *= mask
    for name, score in obd(setup, state).items():
        assert score.shape == state.params[name].shape
        assert score.isfinite().all() and (score >= 0).all()
        assert not score[~keep[name]].any()
        assert (score[keep[name]] > 0).float().mean() > 0.2  # ReLUs that are always off leave the others none


def test_images_count_one_by_one():
    """Pitfall: squaring the mean gradient of a batch, or normalising an image by the others."""
    setup, state = network("resnet8", 2, data=few(5))
    split = setup.data.train
    alone = []
    for i in range(5):
        data = replace(setup.data, train=Split(split.images[i : i + 1], split.labels[i : i + 1]))
        alone.append(obd(replace(setup, data=data), state))
    assert_close(obd(setup, state), {name: sum(a[name] for a in alone) / 5 for name in alone[0]})


def test_labels_do_not_matter():
    """Pitfall: the empirical Fisher, squared gradients of the loss at the labels, in place of the curvature."""
    setup, state = network()
    split = setup.data.train
    data = replace(setup.data, train=Split(split.images, split.labels.flip(0)))
    assert not torch.equal(split.labels, split.labels.flip(0))
    assert equal(obd(replace(setup, data=data), state), obd(setup, state))


# ---- which images ----------------------------------------------------------------------------------------------------


def test_images_are_evenly_spaced_over_the_training_split():
    setup, state = network()
    some = torch.tensor([0, 2, 4, 7, 9])  # floor(i * 12 / 5)
    split = setup.data.train
    data = replace(setup.data, train=Split(split.images[some], split.labels[some]))
    assert equal(obd(setup, state, images=5), obd(replace(setup, data=data), state, images=5))


def test_more_images_than_there_are_means_all():
    setup, state = network()
    assert equal(obd(setup, state, images=12), obd(setup, state, images=13))
    assert not equal(obd(setup, state, images=12), obd(setup, state, images=11))


def test_neither_augmentation_nor_chance_has_a_part():
    setup, state = network("resnet8", 2, double=False)
    before = torch.get_rng_state()
    first = obd(setup, state)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert equal(first, obd(setup, state))
    assert equal(first, obd(replace(setup, augment=False), state))


@pytest.mark.parametrize("images", [0, -3, 2.5, True, None])
def test_refuses_a_number_of_images_that_is_none(images):
    with pytest.raises(BadInput, match="number of images"):
        obd(*network(), images=images)


# ---- how it is computed ----------------------------------------------------------------------------------------------


class Counting(Dataset):
    """Remembers how many images were asked for at a time."""

    seen: list[int] = []

    def normalise(self, images):
        self.seen.append(len(images))
        return super().normalise(images)


@pytest.mark.parametrize(("name", "width"), [("mlp", 6), ("resnet8", 2)])
def test_chunks_bound_the_memory_and_change_nothing(name, width, monkeypatch):
    setup, state = network(name, width)
    setup = replace(setup, data=Counting(**vars(setup.data)))
    gradient = sum(state.params[name].nbytes for name in setup.prunable)
    found, sizes = [], []
    for memory in (0, 50 * gradient, 2**28):
        monkeypatch.setattr(scores, "MEMORY", memory)
        monkeypatch.setattr(Counting, "seen", [])
        found.append(obd(setup, state))
        sizes.append(max(Counting.seen))
    assert sizes[0] == 1 and 1 < sizes[1] < 25 and sizes[2] == 120  # pairs of an image and a class
    assert_close(found[0], found[2])
    assert_close(found[1], found[2])


def test_the_chunk_is_the_same_every_time():
    """Pitfall: memory that is freed and used anew looks like one tensor; sums in other chunks end in other bits."""
    setup, state = network("resnet8", 16)
    sizes, clutter = set(), []
    with torch.no_grad(), in_mode(setup.model, training=False):
        image = setup.data.normalise(setup.data.train.images[:1])
        for i in range(20):
            clutter.append(torch.zeros(64 * (i % 7 + 1)))
            sizes.add(scores._bytes(setup, state, image))
            if i % 3 == 0:
                clutter.clear()
    assert len(sizes) == 1


def test_leaves_everything_as_it_was():
    setup, state = network("resnet8", 2)
    for p in state.params.values():
        p.requires_grad_()
    model = setup.model.train()
    model.norm.eval()  # a frozen layer
    before, own, images = state.copy(), State.of(model), setup.data.train.images.clone()
    modes = [m.training for m in model.modules()]
    found = obd(setup, state)
    assert not any(s.requires_grad for s in found.values())
    assert equal(before.params, state.params) and equal(before.buffers, state.buffers)
    assert equal(before.momentum, state.momentum)
    assert all(p.requires_grad and p.grad is None for p in state.params.values())
    assert equal(own.params, dict(model.named_parameters())) and equal(own.buffers, dict(model.named_buffers()))
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(images, setup.data.train.images)


def test_the_networks_own_tensors_have_no_part():
    setup, state = network("resnet8", 2)
    first = obd(setup, state)
    for t in [*setup.model.parameters(), *setup.model.buffers()]:
        t.detach().fill_(7)
    assert equal(obd(setup, state), first)


class Choosy(nn.Module):
    """Looks at a number on its way, which vmap forbids."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x if x.max().item() > -100 else -x)


def test_a_network_that_vmap_cannot_take_goes_one_by_one():
    setup, state = network()
    model = Choosy(setup.model)
    prefixed = replace(state, params={f"inner.{name}": p for name, p in state.params.items()})
    found = obd(setup_of(model), prefixed)
    assert_close(found, {f"inner.{name}": score for name, score in obd(setup, state).items()})


class Odd(nn.Module):
    """Two layers that are added, so that autograd may hand both the same gradient tensor; and one that is idle."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.idle = (nn.Linear(64, 10, bias=False) for _ in range(3))

    def forward(self, x):
        return F.linear(x.flatten(1), self.a.weight + self.b.weight)


def test_layers_that_share_a_gradient_or_have_none():
    """Pitfall: squaring in place squares a shared gradient twice."""
    model = Odd().double()
    setup, state = setup_of(model), State.of(model)
    for name in ("a.weight", "b.weight"):
        state.params[name].fill_(0.5)  # as in the affine network above: p = 1/10
    images = setup.data.normalise(setup.data.train.images).flatten(1)
    expected = (0.09 * images.square().mean(0) * 0.125).expand(10, 64)
    found = obd(setup, state)
    torch.testing.assert_close(found["a.weight"], expected)
    torch.testing.assert_close(found["b.weight"], expected)
    assert not found["idle.weight"].any()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_a_gpu_agrees():
    setup, state = network("resnet8", 2)
    data = load("digits", "cuda")
    data = replace(data, train=Split(data.train.images[:12], data.train.labels[:12]))
    data = replace(data, mean=data.mean.double(), std=data.std.double())
    there = State(*({n: t.cuda() for n, t in g.items()} for g in (state.params, state.buffers, state.momentum)))
    found = obd(replace(setup, data=data), there)
    assert all(score.is_cuda for score in found.values())
    assert_close({name: score.cpu() for name, score in found.items()}, obd(setup, state), rtol=1e-6)


# ---- in use ----------------------------------------------------------------------------------------------------------


def test_ranks_the_weights_of_a_trained_network_unlike_magnitude():
    """Of half the weights, other ones go: larger in norm, and yet the loss rises less."""
    model = models.build("resnet8", shape=DIGITS.shape, classes=10, width=4)
    setup = setup_of(model, DIGITS)
    curve = torch.linspace(0.1, 0, 200, dtype=torch.float64)
    state = train(replace(setup, batch_size=50), Job(State.of(model), curve, (0, "t"))).state
    weights = {name: state.params[name] for name in setup.prunable}
    total = sum(w.numel() for w in weights.values())
    masks, losses = {}, {}
    for name, own in {"obd": obd(setup, state, images=128), "magnitude": magnitude(weights)}.items():
        masks[name] = select(own, allocate_global(own, total // 2))
        losses[name] = float(loss(setup, state, {n: w * masks[name][n] for n, w in weights.items()}))
    differ = sum(int((masks["obd"][n] != masks["magnitude"][n]).sum()) for n in weights)
    assert differ > 0.1 * total
    assert norm_drop(weights, zeroed(weights, masks["obd"])) > norm_drop(weights, zeroed(weights, masks["magnitude"]))
    assert float(loss(setup, state, {})) < losses["obd"] < losses["magnitude"]
