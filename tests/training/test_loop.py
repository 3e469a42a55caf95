"""The loop: exact SGD, evaluation that changes nothing, a method's moments in order, honest seconds."""

import copy
import itertools
import math
import time
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from retrainlab.config import SGD
from retrainlab.data.batches import batches, clean_batches
from retrainlab.data.dataset import Augmentation, Dataset, Split
from retrainlab.device import repeatable
from retrainlab.training import loop
from retrainlab.training.loop import direction, evaluate, recalibrate, train
from retrainlab.training.masked import Masked
from retrainlab.training.method import Method, Plain
from retrainlab.training.state import Job, Point, Setup, State
from tests.helpers.diary import Diary
from tests.helpers.members import after, identical, tensors

PRUNABLE = ("0.weight", "4.weight")


def network(seed=0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3)
        )


def tiny(device="cpu") -> Dataset:
    """44 / 24 / 12 images of 4x4 in three classes that can be learned; 5 whole batches of 8 an epoch."""
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randint(0, 200, (3, 1, 4, 4), generator=generator)

    def split(count):
        labels = torch.arange(count) % 3
        noise = torch.randint(0, 50, (count, 1, 4, 4), generator=generator)
        return Split((pattern[labels] + noise).to(torch.uint8).to(device), labels.to(device))

    mean, std = torch.full((1,), 120.0, device=device), torch.full((1,), 60.0, device=device)
    return Dataset("tiny", split(44), split(24), split(12), 3, mean, std, Augmentation(1, True))


DATA = tiny()
USUAL, PLAIN = SGD(), SGD(momentum=0, weight_decay=0)


def go(model=None, rates=(0.1,) * 5, method=None, sgd=USUAL, data=DATA, start=None, **more):
    model = model or network()
    start = start or State.of(model, data.device)
    curve = torch.tensor(rates, dtype=torch.float64)
    setup = setup_of(model, data, sgd, prunable=more.pop("prunable", PRUNABLE), augment=more.pop("augment", True))
    stop = more.pop("stop", None)
    return train(setup, Job(start, curve, more.pop("seed", (0, "t")), method or Plain(), **more), stop)


def setup_of(model, data=DATA, sgd=USUAL, prunable=PRUNABLE, augment=True) -> Setup:
    return Setup(model, data, sgd, 8, prunable, augment)


# ---- the state -------------------------------------------------------------------------------------------------------


def test_a_state_is_a_copy_of_the_networks_tensors_with_no_momentum():
    model = network()
    state = State.of(model)
    assert state.params.keys() == dict(model.named_parameters()).keys() == state.momentum.keys()
    assert all(not m.any() for m in state.momentum.values())
    state.params["0.weight"].zero_()
    assert model[0].weight.any()
    other = state.copy()
    other.params["4.weight"].zero_()
    assert state.params["4.weight"].any()


# ---- SGD -------------------------------------------------------------------------------------------------------------


def two_of_each():
    generator = torch.Generator().manual_seed(1)
    shapes = {"a.weight": (3, 4), "norm.weight": (4,), "norm.bias": (4,)}
    params = {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}
    theirs = {n: nn.Parameter(p.clone()) for n, p in params.items()}
    gradients = [
        {n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()} for _ in range(20)
    ]
    return params, theirs, gradients


SETTINGS = [
    SGD(momentum, nesterov, decay, decay_norm)
    for momentum, nesterov, decay, decay_norm in itertools.product((0, 0.9), (False, True), (0, 1e-2), (False, True))
    if momentum or not nesterov
]


@pytest.mark.parametrize("sgd", SETTINGS, ids=str)
def test_sgd_equals_torchs_for_20_steps(sgd):
    """Pitfall: weight decay applied twice, or to what is never pruned."""
    params, theirs, gradients = two_of_each()
    prunable = ["a.weight"]
    groups = [
        dict(params=[theirs[n] for n in prunable], weight_decay=sgd.weight_decay),
        dict(
            params=[p for n, p in theirs.items() if n not in prunable],
            weight_decay=sgd.weight_decay if sgd.decay_norm else 0,
        ),
    ]
    optimizer = torch.optim.SGD(groups, lr=1, momentum=sgd.momentum, nesterov=sgd.nesterov)
    momentum = {n: torch.zeros_like(p) for n, p in params.items()}
    decayed = list(params) if sgd.decay_norm else prunable
    for step, gradient in enumerate(gradients):
        rate = 0.1 / (1 + step)
        for n, p in theirs.items():
            p.grad = gradient[n].clone()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        update = direction(params, {n: g.clone() for n, g in gradient.items()}, momentum, sgd, decayed)
        for n, u in zip(params, update, strict=True):
            params[n] -= rate * u
            torch.testing.assert_close(params[n], theirs[n].detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("sgd", [SGD(), SGD(0.9, True, 1e-2, False), SGD(0, False, 1e-2, True)], ids=str)
def test_training_equals_a_literal_loop_with_a_plain_module_and_torchs_sgd(sgd):
    """Pitfall: weight decay applied twice; pitfall: a rate used for the wrong step."""
    rates = [0.05, 0.1, 0.2, 0.1, 0.05, 0.02, 0.01]
    model = network()
    literal = copy.deepcopy(model)
    groups = [
        dict(params=[p for n, p in literal.named_parameters() if n in PRUNABLE], weight_decay=sgd.weight_decay),
        dict(
            params=[p for n, p in literal.named_parameters() if n not in PRUNABLE],
            weight_decay=sgd.weight_decay if sgd.decay_norm else 0,
        ),
    ]
    optimizer = torch.optim.SGD(groups, lr=1, momentum=sgd.momentum, nesterov=sgd.nesterov)
    literal.train()
    for rate, (images, labels) in zip(rates, batches(DATA, 8, len(rates), (0, "t")), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        F.cross_entropy(literal(images), labels).backward()
        optimizer.step()
    out = go(model, rates, sgd=sgd).state
    for part, theirs in ((out.params, literal.named_parameters()), (out.buffers, literal.named_buffers())):
        for name, tensor in theirs:
            torch.testing.assert_close(part[name], tensor.detach(), rtol=1e-4, atol=1e-6)
    if sgd.momentum:
        for name, p in literal.named_parameters():
            torch.testing.assert_close(out.momentum[name], optimizer.state[p]["momentum_buffer"], rtol=1e-3, atol=1e-5)


def test_a_start_with_momentum_goes_on_with_it():
    """Pitfall: one optimiser carried through all cycles by accident: here it is, and there it is not."""
    first = go(rates=(0.1,) * 2).state
    unit = SGD(0.5, False, 0)
    starts = (first, first.fresh_optimizer())
    kept, fresh = (go(rates=(1.0,), start=start, sgd=unit, method=UnitGradient()).state for start in starts)
    for name, momentum in first.momentum.items():
        assert momentum.any()
        torch.testing.assert_close(kept.momentum[name], 0.5 * momentum + 1)
        torch.testing.assert_close(kept.params[name], first.params[name] - 0.5 * momentum - 1)
        torch.testing.assert_close(fresh.params[name], first.params[name] - 1)


def test_gradients_that_share_memory_are_each_decayed_once():
    """Pitfall: weight decay applied twice. autograd hands a sum's gradient to both summands as one tensor."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.ones(3, 16)), nn.Parameter(torch.full((3, 16), 2.0))

        def forward(self, x):
            return F.linear(x.flatten(1), self.a + self.b)

    class NoGradient(Method):
        def edit_gradients(self, params, gradients):
            for g in gradients.values():
                g.zero_()

    out = go(Sum(), rates=(1.0,), method=NoGradient(), sgd=SGD(0, False, 0.1), prunable=("a", "b"))
    torch.testing.assert_close(out.state.params["a"], torch.full((3, 16), 0.9))
    torch.testing.assert_close(out.state.params["b"], torch.full((3, 16), 1.8))


# ---- evaluation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training_mode", [True, False])
def test_evaluation_changes_nothing(training_mode):
    """Pitfall: "pruned" accuracy measured after a training-mode pass that refreshed BatchNorm."""
    model = network().train(training_mode)
    state = go().state
    before, own = state.copy(), copy.deepcopy(model.state_dict())
    evaluate(model, state.params, state.buffers, DATA, DATA.validation)
    assert identical(state, before)
    assert all(torch.equal(t, own[name]) for name, t in model.state_dict().items())
    assert model.training is training_mode and all(m.training is training_mode for m in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_evaluation_uses_the_running_statistics_on_untouched_images():
    """Pitfall: evaluation in training mode; pitfall: validation images augmented like training images."""
    state = go().state
    model = network().eval()
    model.load_state_dict(state.params | state.buffers)
    with torch.no_grad():
        scores = model((DATA.validation.images.float() - 120) / 60)
    accuracy, loss = evaluate(network(), state.params, state.buffers, DATA, DATA.validation)
    assert accuracy == (scores.argmax(1) == DATA.validation.labels).double().mean().item()
    assert loss == pytest.approx(F.cross_entropy(scores, DATA.validation.labels).item(), rel=1e-5)


def test_evaluation_of_a_split_is_a_mean_over_all_its_images_whatever_the_batches(monkeypatch):
    state = go().state
    whole = evaluate(network(), state.params, state.buffers, DATA, DATA.validation)
    monkeypatch.setattr(loop, "clean_batches", lambda data, split: clean_batches(data, split, batch_size=7))
    parts = evaluate(network(), state.params, state.buffers, DATA, DATA.validation)
    assert parts[0] == whole[0] and parts[1] == pytest.approx(whole[1], rel=1e-5)


# ---- recalibration ---------------------------------------------------------------------------------------------------


def test_recalibrated_statistics_are_the_average_over_the_batches():
    state = go().state
    out = recalibrate(setup_of(network()), state, (1, "r"))
    means, variances = [], []
    for images, _ in batches(DATA, 8, 5, (1, "r"), augment=False):
        x = F.conv2d(images, state.params["0.weight"], state.params["0.bias"], padding=1)
        means.append(x.mean((0, 2, 3)))
        variances.append(x.transpose(0, 1).flatten(1).var(1))
    torch.testing.assert_close(out.buffers["1.running_mean"], torch.stack(means).mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(out.buffers["1.running_var"], torch.stack(variances).mean(0), rtol=1e-4, atol=1e-6)
    assert out.buffers["1.num_batches_tracked"].item() == 5


def test_recalibration_takes_as_many_batches_as_asked_for():
    out = recalibrate(setup_of(network()), go().state, (1, "r"), steps=3)
    assert out.buffers["1.num_batches_tracked"].item() == 3


def test_recalibration_changes_neither_weights_nor_its_input_nor_the_model():
    state = go().state
    before, model = state.copy(), network().eval()
    own = copy.deepcopy(model.state_dict())
    out = recalibrate(setup_of(model), state, (1, "r"))
    assert identical(state, before)
    assert all(torch.equal(out.params[n], p) for n, p in before.params.items())
    assert all(torch.equal(out.momentum[n], m) for n, m in before.momentum.items())
    assert not torch.equal(out.buffers["1.running_mean"], before.buffers["1.running_mean"])
    assert all(torch.equal(t, own[name]) for name, t in model.state_dict().items())
    assert model[1].momentum == 0.1 and not model.training


def test_nothing_recalibrates_by_itself(monkeypatch):
    """Pitfall: the authors' code silently recalibrates first, which lifts 38 % to 92 %."""

    def never(*args, **kwargs):
        raise AssertionError("recalibrated")

    monkeypatch.setattr(loop, "recalibrate", never)
    start = State.of(network())
    start.buffers["1.running_mean"].fill_(50)
    out = go(start=start, rates=(0.0,) * 5, evaluations=1)
    assert out.points[0].loss == evaluate(network(), start.params, start.buffers, DATA, DATA.validation)[1]


# ---- the loop --------------------------------------------------------------------------------------------------------


def test_training_leaves_its_start_and_the_model_as_they_were():
    model = network()
    start = State.of(model)
    before, own, keys = start.copy(), copy.deepcopy(model.state_dict()), list(model.state_dict())
    go(model, start=start)
    assert identical(start, before)
    assert all(torch.equal(t, own[name]) for name, t in model.state_dict().items())
    assert not any(t.requires_grad for t in tensors(start).values())
    assert list(copy.deepcopy(model).state_dict()) == keys


def test_the_end_state_is_plain_tensors_that_share_nothing():
    out = go().state
    assert all(not t.requires_grad and t.grad_fn is None for t in tensors(out).values())
    pointers = [t.data_ptr() for t in tensors(out).values()]
    assert len(set(pointers)) == len(pointers)


class UnitGradient(Method):
    """Every gradient is 1, so that a step without momentum and decay moves each weight by the learning rate."""

    def __init__(self):
        self.seen = []

    def edit_gradients(self, params, gradients):
        for g in gradients.values():
            g.fill_(1)

    def after_step(self, params, step):
        self.seen.append(params["4.bias"][0].item())


def test_each_rate_of_the_curve_is_used_once_and_in_order():
    """Pitfall: warm-up off by one (the first step at 0, the peak taken twice)."""
    rates = [0.25, 1.0, 0.5, 0.125, 0.75, 0.0, 2.0]
    method = UnitGradient()
    start = State.of(network())
    out = go(rates=rates, method=method, sgd=PLAIN, start=start)
    moved = [a - b for a, b in itertools.pairwise([start.params["4.bias"][0].item(), *method.seen])]
    assert moved == pytest.approx(rates, abs=1e-6)
    assert out.steps == len(rates)


def test_a_curve_of_zeros_changes_no_weight_but_the_statistics():
    start = State.of(network())
    out = go(rates=(0.0,) * 7, start=start)
    assert all(torch.equal(out.state.params[n], p) for n, p in start.params.items())
    assert out.state.buffers["1.num_batches_tracked"].item() == 7


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    """Pitfall: seed from pid and time."""
    torch.manual_seed(1)
    first = go()
    torch.manual_seed(2)
    again = go()
    assert identical(first.state, again.state) and first.points == again.points
    assert not identical(first.state, go(seed=(1, "t")).state)


def test_the_same_seed_gives_the_same_bits_for_a_network_with_dropout():
    """Pitfall: seeds that are no part of the configuration (torchvision's VGG, AlexNet and others have Dropout)."""

    def once(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
        start = State(
            {"2.weight": torch.zeros(3, 16), "2.bias": torch.zeros(3)},
            {},
            {"2.weight": torch.zeros(3, 16), "2.bias": torch.zeros(3)},
        )
        return go(model, start=start, prunable=("2.weight",)).state

    assert identical(once(1), once(2))


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    go()
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("n", "evaluations", "steps"),
    [
        (10, 5, [0, 2, 4, 6, 8, 10]),
        (7, 1, [0, 7]),
        (7, 2, [0, 4, 7]),
        (3, 5, [0, 1, 2, 3]),
        (1, 5, [0, 1]),
        (5, 5, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_points_are_at_the_start_at_even_steps_and_at_the_end(n, evaluations, steps):
    seen = []
    out = go(rates=(0.1,) * n, evaluations=evaluations, on_point=seen.append)
    assert [p.step for p in out.points] == steps and tuple(seen) == out.points
    assert out.points[0].train_loss is None and all(p.train_loss is not None for p in out.points[1:])


def test_a_point_is_the_validation_split_at_that_step():
    """Pitfall: the test set used to choose."""
    out = go(rates=(0.1,) * 6, evaluations=2)
    short = go(rates=(0.1,) * 3, evaluations=1)
    assert out.points[1] == short.points[1]
    accuracy, loss = evaluate(network(), short.state.params, short.state.buffers, DATA, DATA.validation)
    assert (accuracy, loss) == (short.points[-1].accuracy, short.points[-1].loss)


def test_how_often_it_is_evaluated_changes_no_bit():
    """Pitfall: evaluation that changes the state."""
    assert identical(go(rates=(0.1,) * 8, evaluations=1).state, go(rates=(0.1,) * 8, evaluations=8).state)


def test_the_train_loss_of_a_point_is_the_mean_over_the_steps_since_the_last_one():
    model, start = network().train(), State.of(network())
    losses = [
        F.cross_entropy(functional_call(model, (start.params, start.copy().buffers), (x,)), y).item()
        for x, y in batches(DATA, 8, 6, (0, "t"))
    ]
    out = go(rates=(0.0,) * 6, evaluations=2)
    assert out.points[1].train_loss == pytest.approx(sum(losses[:3]) / 3, rel=1e-5)
    assert out.points[2].train_loss == pytest.approx(sum(losses[3:]) / 3, rel=1e-5)


def test_training_learns():
    out = go(rates=(0.05,) * 60, augment=False)
    assert out.points[-1].accuracy > 0.9 and out.points[-1].loss < out.points[0].loss / 2


# ---- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_stop_ends_training_and_reports_the_steps_made(steps):
    out = go(rates=(0.1,) * 10, evaluations=5, stop=after(steps))
    assert out.stopped and out.steps == steps and out.points[-1].step == steps
    assert identical(out.state, go(rates=(0.1,) * steps).state)


def test_stop_before_the_first_step_returns_the_start():
    start = State.of(network())
    out = go(start=start, stop=lambda: True)
    assert out.stopped and out.steps == 0 and identical(out.state, start) and out.points[-1].step == 0


def test_training_that_is_not_stopped_says_so():
    assert go(stop=lambda: False).stopped is False and go().stopped is False


# ---- a training that diverges ----------------------------------------------------------------------------------------


def lost(trained) -> bool:
    last = trained.points[-1]
    return trained.diverged and not trained.stopped and math.isnan(last.accuracy) and math.isnan(last.loss)


def test_a_training_that_diverges_ends_at_its_next_evaluation_without_an_accuracy():
    """Pitfall: the largest of scores that are NaN is class 0, whose share of the images is then called an accuracy."""
    seen = []
    out = go(rates=(0.1,) * 3 + (1e30,) * 7, evaluations=5, on_point=seen.append)
    assert lost(out) and out.steps == 4 and [p.step for p in out.points] == [0, 2, 4]
    assert tuple(seen) == out.points and [p.finite for p in seen] == [True, True, False]
    again = go(rates=(1e30,) * 3, evaluations=1)
    assert lost(again) and again.steps == 3, "at the end at the latest"


def test_a_start_that_is_not_finite_is_not_trained():
    for part, name in (("params", "4.bias"), ("params", "0.weight"), ("buffers", "1.running_var")):
        start = State.of(network())
        getattr(start, part)[name][0] = torch.inf  # an infinite variance leaves all scores finite
        out = go(start=start)
        assert lost(out) and out.steps == 0 and identical(out.state, start)


def test_an_infinite_loss_counts_and_a_huge_one_does_not():
    start = State.of(network())
    start.params["4.weight"].mul_(1e30)
    out = go(rates=(0.0,) * 4, sgd=PLAIN, start=start)
    assert not out.diverged and out.steps == 4 and 1e25 < out.points[-1].loss < math.inf
    assert [Point(1, 0.5, *losses).finite for losses in ((1e38, 1e38), (1.0, math.inf), (math.inf, 1.0))] == [
        True,
        False,
        False,
    ]
    start.params["4.weight"].mul_(1e9)
    assert lost(go(rates=(0.0,) * 4, sgd=PLAIN, start=start))


def test_a_method_cannot_make_numbers_of_a_network_that_has_diverged():
    class Zero(Method):
        def finish(self, params):
            for p in params.values():
                p.nan_to_num_(0, 0, 0)

    out = go(rates=(0.1, 1e30, 1e30), method=Zero(), evaluations=1)
    assert lost(out) and all(p.isfinite().all() for p in out.state.params.values())


def test_a_buffer_of_infinities_is_a_networks_own():
    """Masks of attention are such buffers."""
    model = network()
    model.register_buffer("mask", torch.full((3,), -torch.inf))
    assert not go(model).diverged


# ---- methods ---------------------------------------------------------------------------------------------------------


def test_a_methods_moments_come_in_their_order():
    """Pitfalls: CS evaluated with soft masks; DPF's last mask stale. `finish` is after the last step, the last
    evaluation after `finish`."""
    method = Diary()
    go(rates=(0.1,) * 6, method=method, evaluations=2)
    step = ["effective", "penalty", "edit"]
    assert method.lines == [
        "evaluate",
        *step,
        "step 0",
        *step,
        "step 1",
        *step,
        "step 2",
        "evaluate",
        *step,
        "step 3",
        *step,
        "step 4",
        "epoch 0",
        *step,
        "step 5",
        "finish",
        "evaluate",
    ]


@pytest.mark.parametrize(("steps", "epochs"), [(4, 0), (5, 1), (14, 2), (15, 3)])
def test_after_epoch_is_called_once_an_epoch(steps, epochs):
    """Pitfall: CS's beta grown per iteration, not per epoch."""
    method = Diary()
    go(rates=(0.1,) * steps, method=method)
    assert [line for line in method.lines if line.startswith("epoch")] == [f"epoch {i}" for i in range(epochs)]


class Gate(Method):
    """Half-open gates in training; `finish` shuts them: all scores are 0 then, the loss is log 3 exactly."""

    def __init__(self):
        self.gate = 0.5

    def effective(self, params):
        return {name: p * self.gate if name.startswith("4.") else p for name, p in params.items()}

    def finish(self, params):
        self.gate = 0.0


@pytest.mark.parametrize("made", [10, 3, 4, 0], ids=["all", "stopped between points", "at a point", "at the start"])
def test_the_last_point_is_that_of_the_finished_weights(made):
    """Pitfall: CS evaluated with soft masks."""
    out = go(rates=(0.1,) * 10, method=Gate(), evaluations=5, stop=after(made))
    assert out.points[-1].step == made
    assert out.points[-1].loss == pytest.approx(torch.tensor(3.0).log().item(), abs=1e-6)


class Stale(Method):
    """Masks the smaller half of one layer every 4 steps, as DPF does every 16, and once more at the end."""

    def __init__(self):
        self.mask = None

    def renew(self, params):
        size = params["4.weight"].abs()
        self.mask = size > size.median()

    def effective(self, params):
        return params if self.mask is None else params | {"4.weight": params["4.weight"] * self.mask}

    def after_step(self, params, step):
        if step % 4 == 0:
            self.renew(params)

    def finish(self, params):
        self.renew(params)
        params["4.weight"].mul_(self.mask)


def test_the_last_mask_is_made_from_the_last_weights():
    """Pitfall: DPF's last mask up to 15 steps stale."""
    last = {}

    class Watched(Stale):
        def after_step(self, params, step):
            super().after_step(params, step)
            last["weights"] = params["4.weight"].clone()

    out = go(rates=(0.5,) * 7, method=Watched())
    size = last["weights"].abs()
    assert torch.equal(out.state.params["4.weight"] != 0, size > size.median())


class TopK(Method):
    """GSM's rule: of the prunable weights only the k with the largest |w dL/dw| get their gradient."""

    def __init__(self, names, k):
        self.names, self.k = names, k

    def edit_gradients(self, params, gradients):
        score = torch.cat([(params[n] * gradients[n]).abs().flatten() for n in self.names])
        least = score.topk(self.k).values[-1]
        for n in self.names:
            gradients[n].mul_((params[n] * gradients[n]).abs() >= least)


def test_a_top_k_over_the_prunable_weights_moves_k_of_them_and_all_others():
    """Pitfall: top-k over all parameters while k counts the prunable ones (GSM, LC)."""
    start = State.of(network())
    start.params["1.bias"].fill_(0.3)
    out = go(rates=(0.1,), method=TopK(PRUNABLE, 7), sgd=PLAIN, start=start)
    moved = {n: int((out.state.params[n] != p).sum()) for n, p in start.params.items()}
    assert sum(moved[n] for n in PRUNABLE) == 7
    assert moved["4.bias"] == 3 and moved["1.weight"] == moved["1.bias"] == 4


def test_weight_decay_is_added_after_a_method_has_edited_the_gradients():
    """Pitfall: weight decay applied twice, or lost with the gradient (GSM: all weights decay)."""
    start = State.of(network())
    zero = UnitGradient()
    zero.edit_gradients = lambda params, gradients: [g.zero_() for g in gradients.values()]
    out = go(rates=(1.0,), method=zero, sgd=SGD(0, False, 0.1, decay_norm=False), start=start)
    for name, p in start.params.items():
        torch.testing.assert_close(out.state.params[name], p * (0.9 if name in PRUNABLE else 1))


def test_a_penalty_is_part_of_the_gradient_and_not_of_the_reported_loss():
    class Pull(Method):
        def penalty(self, params):
            return 1000 + (params["4.bias"] * torch.tensor([1.0, 2.0, 3.0])).sum()

    start = State.of(network())
    pulled, free = (go(rates=(0.5,), method=m, sgd=PLAIN, start=start) for m in (Pull(), None))
    difference = pulled.state.params["4.bias"] - free.state.params["4.bias"]
    torch.testing.assert_close(difference, torch.tensor([-0.5, -1.0, -1.5]))
    assert pulled.points[-1].train_loss == free.points[-1].train_loss


def test_effective_weights_are_differentiated_back_to_the_raw_ones():
    class Double(Method):
        def effective(self, params):
            return params | {"4.weight": 2 * params["4.weight"]}

    start = State.of(network())
    doubled = start.copy()
    doubled.params["4.weight"].mul_(2)
    raw = go(rates=(0.1,), method=Double(), sgd=PLAIN, start=start).state.params["4.weight"] - start.params["4.weight"]
    plain = go(rates=(0.1,), sgd=PLAIN, start=doubled).state.params["4.weight"] - doubled.params["4.weight"]
    torch.testing.assert_close(raw, 2 * plain)


# ---- speed -----------------------------------------------------------------------------------------------------------


def test_nothing_waits_for_the_device_while_steps_run(reads):
    """Pitfall: `.item()` and logging every step stall the accelerator."""

    class Count(Method):
        at = []

        def effective(self, params):
            self.at += [len(reads)] if torch.is_grad_enabled() else []
            return params

        def after_step(self, params, step):
            self.at.append(len(reads))

    go(rates=(0.1,) * 12, method=(method := Count()), sgd=SGD(0.9, True), evaluations=1, stop=lambda: False)
    assert len(method.at) == 24 and reads
    assert method.at[-1] - method.at[0] == 0, reads


def test_seconds_hold_data_and_steps_but_no_evaluation_and_are_synchronised(monkeypatch):
    """Pitfall: throughput timed without synchronising, without loading."""
    clock, log = [0.0], []

    def spend(seconds, real):
        def wrapped(*args, **kwargs):
            clock[0] += seconds
            return real(*args, **kwargs)

        return wrapped

    def loaded(*args):
        for batch in batches(*args):
            clock[0] += 10
            yield batch

    monkeypatch.setattr(loop, "batches", loaded)
    monkeypatch.setattr(loop, "direction", spend(1, direction))
    monkeypatch.setattr(loop, "evaluate", spend(1000, evaluate))
    monkeypatch.setattr(loop, "synchronise", lambda device: log.append("synchronised"))
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: (log.append("read"), clock[0])[1]))
    out = go(rates=(0.1,) * 6, evaluations=3, on_point=lambda p: clock.__setitem__(0, clock[0] + 100))
    assert out.seconds == 6 * 11
    assert log == ["synchronised", "read"] * (len(log) // 2) and log


def test_seconds_are_real():
    start = time.perf_counter()
    out = go()
    assert 0 < out.seconds < time.perf_counter() - start


# ---- a GPU -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_training_on_a_gpu_repeats_its_bits_and_agrees_with_the_cpu():
    device = torch.device("cuda")
    data = tiny(device)
    with repeatable(device):
        first, again = (go(network().to(device), data=data).state for _ in range(2))
    assert identical(first, again) and all(t.device.type == "cuda" for t in tensors(first).values())
    here = tensors(go().state)
    for name, tensor in tensors(first).items():
        torch.testing.assert_close(tensor.cpu(), here[name], rtol=2e-2, atol=2e-2)


def test_a_method_begins_with_the_network_as_it_is_and_one_under_masks_with_zeros():
    params = State.of(network()).params
    masks = {name: torch.arange(params[name].numel()).view_as(params[name]) % 2 == 0 for name in PRUNABLE}
    assert Method().begin(params) is params
    begun = Masked(masks).begin(params)
    for name, before in params.items():
        assert torch.equal(begun[name], before * masks[name] if name in masks else before)
    assert all(params[name].all() for name in PRUNABLE)
