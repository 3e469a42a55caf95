"""Random numbers of a network's own: torch's, bit for bit, and no other thread sees or changes them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import vmap

from retrainlab import Experiment, Prune, Recipe, Retrain
from retrainlab.checks import BadInput
from retrainlab.config import SGD
from retrainlab.data.dataset import load
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.noise import Seeded
from retrainlab.study import stages
from retrainlab.training import together
from retrainlab.training.loop import recalibrate, train
from retrainlab.training.state import Job, Setup, State

X = torch.linspace(-1, 1, 48).view(2, 3, 2, 4)


def by_torch(seed, draw):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return draw()


def attention(x):
    q = x.flatten(1, 2)
    return F.scaled_dot_product_attention(q, q, q, dropout_p=0.5)


@torch.inference_mode()
def inference(x):
    return F.dropout(x, 0.5)


DRAWS = {
    "rand": lambda: torch.rand(3, 4),
    "randn": lambda: torch.randn(17),
    "randn float64": lambda: torch.randn(3, dtype=torch.float64),
    "randint": lambda: torch.randint(9, (5,)),
    "randint low": lambda: torch.randint(2, 9, (5,)),
    "randperm": lambda: torch.randperm(20),
    "rand out": lambda: torch.rand(3, out=torch.empty(3)),
    "rand_like": lambda: torch.rand_like(X),
    "randn_like": lambda: torch.randn_like(X),
    "randint_like": lambda: torch.randint_like(X, 9),
    "normal": lambda: torch.normal(X, 2.0),
    "normal of numbers": lambda: torch.normal(1.0, 2.0, (7,)),
    "multinomial": lambda: torch.multinomial(X.abs().flatten(), 5),
    "bernoulli": lambda: torch.bernoulli(X.abs()),
    "poisson": lambda: torch.poisson(X.abs()),
    "binomial": lambda: torch.binomial(torch.full((4,), 9.0), torch.full((4,), 0.3)),
    "in place": lambda: [getattr(torch.empty(5), f"{n}_")() for n in ("uniform", "normal", "exponential", "cauchy")],
    "random_": lambda: torch.empty(5).random_(),
    "dropout": lambda: F.dropout(X, 0.5),
    "dropout in place": lambda: F.dropout(X.clone(), 0.5, inplace=True),
    "dropout2d": lambda: F.dropout2d(X, 0.5),
    "alpha dropout": lambda: F.alpha_dropout(X, 0.5, training=True),
    "feature alpha dropout": lambda: F.feature_alpha_dropout(X, 0.5, training=True),
    "dropout while nothing is recorded": lambda: inference(X),
    "the GPU's dropout": lambda: torch.native_dropout(X, 0.25, True)[0],
    "the GPU's dropout of all": lambda: torch.native_dropout(X, 1.0, True)[0],
    "the GPU's dropout, asleep": lambda: torch.native_dropout(X, 0.5, False)[0],
    "rrelu": lambda: F.rrelu(X, training=True),
    "gumbel softmax": lambda: F.gumbel_softmax(X),
    "fractional pooling": lambda: F.fractional_max_pool2d(X, 2, output_size=1),
    "attention": lambda: attention(X),
    "recurrence": lambda: nn.LSTM(4, 4, 2, dropout=0.5)(X[0])[0],
    "initialisation": lambda: [nn.init.trunc_normal_(torch.empty(9)), nn.init.orthogonal_(torch.empty(3, 3))],
    "vmap": lambda: vmap(lambda x: F.dropout(x, 0.5), randomness="same")(X),
    "vmap, all alike": lambda: vmap(lambda x: x + torch.randn(3, 2, 4), randomness="same")(X),
    "vmap, each its own": lambda: vmap(lambda x: x + torch.rand(3, 2, 4), randomness="different")(X),
}


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True)) if isinstance(a, list) else torch.equal(a, b)


@pytest.mark.parametrize("name", DRAWS)
def test_what_is_drawn_inside_is_what_torch_draws_from_that_seed_and_torchs_generator_stays(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with Seeded(5):
        drawn = DRAWS[name]()
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(drawn, by_torch(5, DRAWS[name]))


def test_gradients_under_dropout_are_torchs():
    def slope():
        x = X.clone().requires_grad_()
        return torch.autograd.grad(F.dropout(x, 0.5).square().sum() + torch.native_dropout(x, 0.5, True)[0].sum(), x)[0]

    with Seeded(5):
        own = slope()
    assert torch.equal(own, by_torch(5, slope))


def test_entered_again_it_goes_on_and_outside_nothing_is_its():
    own = Seeded(5)
    with own:
        first = torch.rand(3)
    torch.rand(9)
    with own, Seeded(6):
        inner = torch.rand(3)
    with own:
        second = torch.rand(3)
    both = by_torch(5, lambda: torch.rand(6))
    assert torch.equal(torch.cat([first, second]), both) and torch.equal(inner, by_torch(6, lambda: torch.rand(3)))


def test_a_generator_that_is_given_is_used():
    generator = torch.Generator().manual_seed(7)
    with Seeded(5) as own:
        drawn = torch.rand(3, generator=generator)
    assert torch.equal(drawn, by_torch(7, lambda: torch.rand(3))) and not own.drew


@pytest.mark.parametrize("draw", [lambda: X.sum(), lambda: F.dropout(X, 0.0), lambda: torch.rand(3, device="meta")])
def test_nothing_is_drawn_where_nothing_is_random(draw):
    with Seeded(5) as own:
        draw()
    assert not own.drew
    with own:
        torch.rand(1)
    assert own.drew


def test_a_kernel_that_knows_torchs_generator_only_is_refused_unless_it_draws_nothing():
    fused, q = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu, X
    with Seeded(5):
        assert torch.equal(fused(q, q, q)[0], fused(q, q, q)[0])
        with pytest.raises(BadInput, match="takes no generator"):
            fused(q, q, q, dropout_p=0.5)


# ---- threads ---------------------------------------------------------------------------------------------------------


@contextmanager
def meddling():
    """Another thread that seeds torch's generator and draws from it all the time."""
    over = threading.Event()

    def meddle():
        while not over.wait(0.0005):
            torch.manual_seed(3)
            torch.rand(10)

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(t, b[name]) for name, t in a.items())


@pytest.mark.parametrize("name, seeds", [("resnet8", 12), ("torchvision/squeezenet1_1", 3)])
def test_networks_built_on_many_threads_are_those_of_their_seeds(name, seeds):
    """Pitfall: a seed that is set for the whole process, so that threads share one stream."""

    def make(seed):
        return build(name, shape=(3, 32, 32), classes=3, seed=seed).state_dict()

    alone = [make(seed) for seed in range(seeds)]
    with meddling(), ThreadPoolExecutor(6) as pool:
        together = list(pool.map(make, range(seeds)))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


def noisy():
    with Seeded(0):
        return nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout2d(0.2)),
            *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 36, 10)),
        )


def setup_of(model):
    return Setup(model, load("digits"), SGD(), 32, prunable(model))


def job(setup, seed, steps=8):
    return Job(State.of(setup.model), torch.linspace(0.1, 0.01, steps), (seed, "t"), evaluations=2)


def tensors(state):
    return state.params | {f"buffer {n}": b for n, b in state.buffers.items()}


def test_trainings_with_dropout_on_four_threads_and_one_setup_are_those_of_each_alone():
    setup = setup_of(noisy())

    def go(seed):
        state = train(setup, job(setup, seed)).state
        return tensors(state) | {f"again {n}": b for n, b in recalibrate(setup, state, (seed, "r"), 2).buffers.items()}

    alone = [go(seed) for seed in range(4)]
    with meddling(), ThreadPoolExecutor(4) as pool:
        together = list(pool.map(go, range(4)))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))
    assert not same(alone[0], alone[1])


def test_the_noise_of_a_training_is_torchs_from_one_seed(monkeypatch):
    setup = setup_of(noisy())
    own, seed = train(setup, job(setup, 0)), setup.noise((0, "t")).seed
    monkeypatch.setattr("retrainlab.training.state.Seeded", lambda seed: nullcontext())
    theirs = by_torch(seed, lambda: train(setup, job(setup, 0)))
    assert same(tensors(own.state), tensors(theirs.state))


def test_a_training_of_many_that_waits_leaves_the_noise_of_others_alone():
    setup = setup_of(noisy())
    jobs = [job(setup, 0, 4), job(setup, 0, 8)]
    whole = [trained.state for _, trained in together.train(setup, jobs)]
    waiting = together.train(setup, jobs)
    first = next(waiting)[1].state
    assert torch.equal(by_torch(2, lambda: torch.rand(3)), torch.rand(3, generator=torch.Generator().manual_seed(2)))
    assert same(tensors(first), tensors(whole[0])) and same(tensors(next(waiting)[1].state), tensors(whole[1]))


def test_experiments_on_two_threads_give_the_results_of_each_alone():
    def go(seed):
        recipe = Recipe(model="mlp", width=9, epochs=2, batch_size=100, seed=seed)
        result = stages.run(Experiment(recipe, Prune(0.9), Retrain("ALLR", 0.5)), "cpu")
        scalars = {name: v for name, v in result.scalars.items() if "per_second" not in name}
        return repr(scalars)

    alone = [go(seed) for seed in range(4)]
    with meddling(), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(go, range(4))) == alone
