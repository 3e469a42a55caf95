"""Methods that sparsify as they train: each ends as a slow version in single floats does, and leaves what it promises."""

import copy
import math
from collections import OrderedDict
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from retrainlab.checks import BadInput
from retrainlab.config import SGD
from retrainlab.data.batches import batches
from retrainlab.layers import prunable
from retrainlab.methods.knobs import at
from retrainlab.methods.make import make
from retrainlab.methods.sparsifier import Span
from retrainlab.methods.table import CS, DNW, DPF, DST, GMP, GSM, LC, METHODS, STR, RigL, Static
from retrainlab.models import build
from retrainlab.training import loop
from retrainlab.training.loop import evaluate
from retrainlab.training.state import Job, Setup, State
from tests.helpers.members import after, images, rates, tensors
from tests.helpers.pruning import prune

EPOCH, BATCH = 5, 8  # steps, images
STEPS = 50
HEAVY = SGD(0.9, False, 1e-2)
SHAPES = {"mlp": (1, 4, 4), "conv": (3, 8, 8)}


@cache
def data(name):
    return images(SHAPES[name])


@cache
def model(name):
    """180 weights in three layers, or 342 in two convolutions and a Linear layer, with normalisation."""
    if name == "mlp":
        return build(name, shape=SHAPES[name], classes=3, width=9).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = dict(
            conv1=nn.Conv2d(3, 4, 3, 2, bias=False),
            norm1=nn.BatchNorm2d(4),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(4, 6, 3, padding=1),
            norm2=nn.BatchNorm2d(6),
            relu2=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            classifier=nn.Linear(6, 3),
        )
        return nn.Sequential(OrderedDict(layers)).double()


def setup_of(name="mlp", sgd=HEAVY) -> Setup:
    return Setup(model(name), data(name), sgd, BATCH, prunable(model(name)))


def job_of(setup, knobs, steps=STEPS, lr=0.1, seed=0, evaluations=2) -> Job:
    span = Span(setup.prunable, steps, EPOCH, seed)
    method, start = make(knobs, State.of(setup.model), span)
    return Job(start, rates(steps, lr), (seed, "t"), method, evaluations)


def train(knobs, setup=None, stop=None, watch=(), **more):
    """watch: moments of the method, each with what is called in it (see `watched`)."""
    setup = setup or setup_of()
    job = job_of(setup, knobs, **more)
    for moment, see in dict(watch).items():
        watched(job, moment, see)
    return loop.train(setup, job, stop)


def watched(job, moment, see):
    """Calls `see` with what the method is given: before `finish`, after any other moment."""
    real = getattr(job.method, moment)

    def both(*given):
        for call in (see, real) if moment == "finish" else (real, see):
            call(*given)

    setattr(job.method, moment, both)


def weights(params, setup):
    return torch.cat([params[n].flatten() for n in setup.prunable])


def zeros(params, setup):
    return int((weights(params, setup) == 0).sum())


def size(setup):
    return len(weights(dict(setup.model.named_parameters()), setup))


# ---- the methods in single floats --------------------------------------------------------------------------------------


class Literal:
    """Dense training. w: a list of floats by name; G: so the gradients at `seen`; t: steps made so far."""

    def __init__(self, knobs, setup, steps, w):
        self.knobs, self.steps, self.t = knobs, steps, 0
        self.names, self.shapes = setup.prunable, {n: p.shape for n, p in setup.model.named_parameters()}
        self.places = [(n, i) for n in self.names for i in range(len(w[n]))]
        if hasattr(knobs, "sparsity"):
            self.lost = round(knobs.sparsity * len(self.places))

    def more(self, w):
        """What is learned besides the weights."""
        return {}

    def seen(self, w):
        return {n: w[n] for n in self.names}

    def gradients(self, w, G):
        return {}

    def after(self, w): ...

    def end(self, w): ...

    # tools

    def smallest(self, w, count, among=None):
        return set(sorted(among or self.places, key=lambda p: abs(w[p[0]][p[1]]))[:count])

    def without(self, w, gone):
        return {n: [0.0 if (n, i) in gone else x for i, x in enumerate(w[n])] for n in self.names}


class LiteralGMP(Literal):
    last = 35  # 5 * 7, the multiple of the interval that is nearest to 70 % of 50

    def more(self, w):
        self.gone = set()
        return {}

    def remove(self, w, count):
        left = [p for p in self.places if p not in self.gone]
        self.gone |= self.smallest(w, count - len(self.gone), left) if count > len(self.gone) else set()

    def after(self, w):
        if self.t % self.knobs.interval == 0 and self.t <= self.last:
            self.remove(w, round(self.knobs.sparsity * (1 - (1 - self.t / self.last) ** 3) * len(self.places)))
        w |= self.without(w, self.gone)

    def end(self, w):
        self.remove(w, self.lost)
        w |= self.without(w, self.gone)


class LiteralGSM(Literal):
    def gradients(self, w, G):
        scores = {n: [abs(x * g) for x, g in zip(w[n], G[n])] for n in self.names}
        return self.without(G, self.smallest(scores, self.lost))


class LiteralDPF(Literal):
    last = 24  # 6 * 4 is nearest to 50 % of 50

    def more(self, w):
        self.gone = set()
        return {}

    def seen(self, w):
        return self.without(w, self.gone)

    def after(self, w):
        if self.t % self.knobs.interval == 0:
            share = 1 - (1 - min(self.t, self.last) / self.last) ** 3
            self.gone = self.smallest(w, round(self.knobs.sparsity * share * len(self.places)))

    def end(self, w):
        w |= self.without(w, self.smallest(w, self.lost))


class LiteralDNW(Literal):
    """Every layer loses the same share; what rounding leaves goes to the largest remainders."""

    def more(self, w):
        share = self.lost / len(self.places)
        self.losses = {n: math.floor(share * len(w[n])) for n in self.names}
        for n in sorted(self.names, key=lambda n: self.losses[n] - share * len(w[n])):
            self.losses[n] += sum(self.losses.values()) < self.lost
        return {}

    def seen(self, w):
        gone = [self.smallest(w, self.losses[n], [p for p in self.places if p[0] == n]) for n in self.names]
        return self.without(w, set().union(*gone))

    def end(self, w):
        w |= self.seen(w)


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


class LiteralCS(Literal):
    def more(self, w):
        return {f"{n}:gate": [self.knobs.s0] * len(w[n]) for n in self.names}

    @property
    def beta(self):
        epochs = math.ceil(self.steps / EPOCH)
        return self.knobs.final_beta ** (self.t // EPOCH / (epochs - 1))

    def seen(self, w):
        unit = sigmoid(self.knobs.s0)
        return {n: [x * sigmoid(self.beta * m) / unit for x, m in zip(w[n], w[f"{n}:gate"])] for n in self.names}

    def gradients(self, w, G):
        out, beta, unit = {}, self.beta, sigmoid(self.knobs.s0)
        for n in self.names:
            open_ = [sigmoid(beta * m) for m in w[f"{n}:gate"]]
            out[f"{n}:gate"] = [
                (g * x + self.knobs.penalty) / unit * beta * o * (1 - o) for g, x, o in zip(G[n], w[n], open_)
            ]
            out[n] = [g * o / unit for g, o in zip(G[n], open_)]
        return out

    def end(self, w):
        unit = sigmoid(self.knobs.s0)
        w |= {n: [x / unit if m > 0 else 0.0 for x, m in zip(w[n], w[f"{n}:gate"])] for n in self.names}


class LiteralSTR(Literal):
    def more(self, w):
        return {f"{n}:threshold": [self.knobs.t0] for n in self.names}

    def seen(self, w):
        low = {n: sigmoid(w[f"{n}:threshold"][0]) for n in self.names}
        return {n: [math.copysign(max(abs(x) - low[n], 0.0), x) for x in w[n]] for n in self.names}

    def gradients(self, w, G):
        out = {}
        for n in self.names:
            t = w[f"{n}:threshold"][0]
            low = sigmoid(t)
            slope = -sum(math.copysign(g, g * x) for g, x in zip(G[n], w[n]) if abs(x) > low)
            out[f"{n}:threshold"] = [slope * low * (1 - low) + self.knobs.decay * t]
            out[n] = [g if abs(x) > low else 0.0 for g, x in zip(G[n], w[n])]
        return out

    def end(self, w):
        w |= self.seen(w)


class LiteralDST(Literal):
    resets = 0

    def more(self, w):
        return {f"{n}:threshold": [0.0] * self.shapes[n][0] for n in self.names}

    def above(self, w, n):
        """|w| - t of its output channel."""
        fan_in = len(w[n]) // self.shapes[n][0]
        return [abs(x) - w[f"{n}:threshold"][i // fan_in] for i, x in enumerate(w[n])]

    def seen(self, w):
        return {n: [x if a >= 0 else 0.0 for x, a in zip(w[n], self.above(w, n))] for n in self.names}

    @staticmethod
    def slope(x):
        if abs(x) > 1:
            return 0.0
        return 2 - 4 * abs(x) if abs(x) <= 0.4 else 0.4

    def gradients(self, w, G):
        out = {}
        for n in self.names:
            above, thresholds = self.above(w, n), w[f"{n}:threshold"]
            steps = [g * x * self.slope(a) for g, x, a in zip(G[n], w[n], above)]
            out[n] = [(g if a >= 0 else 0.0) + math.copysign(1, x) * s for g, x, a, s in zip(G[n], w[n], above, steps)]
            fan_in = len(w[n]) // len(thresholds)
            out[f"{n}:threshold"] = [
                -sum(steps[c * fan_in : (c + 1) * fan_in]) - self.knobs.alpha * math.exp(-t)
                for c, t in enumerate(thresholds)
            ]
        return out

    def after(self, w):
        for n in self.names:
            above = self.above(w, n)
            if 100 * sum(a >= 0 for a in above) <= len(above):
                w[f"{n}:threshold"] = [0.0] * len(w[f"{n}:threshold"])
                self.resets += 1

    def end(self, w):
        w |= self.seen(w)


class LiteralLC(Literal):
    compressions = (3, 5, 7, 9)  # epochs made: from 30 % of 10 on, every second

    def more(self, w):
        self.theta, self.done = {n: [0.0] * len(w[n]) for n in self.names}, 0
        return {}

    def gradients(self, w, G):
        mu = self.knobs.mu0 * self.knobs.growth ** (self.done - 1) if self.done else 0.0
        return {n: [g + mu * (x - y) for g, x, y in zip(G[n], w[n], self.theta[n])] for n in self.names}

    def after(self, w):
        if self.t in [EPOCH * e for e in self.compressions]:
            self.theta, self.done = self.without(w, self.smallest(w, self.lost)), self.done + 1


class LiteralStatic(Literal):
    """What starts at zero stays there."""

    def more(self, w):
        self.gone = {(n, i) for n, i in self.places if w[n][i] == 0}
        return {}

    def gradients(self, w, G):
        return self.without(G, self.gone)


class LiteralRigL(LiteralStatic):
    updates = (6, 12, 18, 24, 30, 36)  # below 80 % of 50

    def gradients(self, w, G):
        self.dense = {n: G[n] for n in self.names}
        return self.without(G, self.gone)

    def after(self, w):
        for n in self.names if self.t in self.updates else ():
            here = [p for p in self.places if p[0] == n]
            active = [p for p in here if p not in self.gone]
            share = self.knobs.drop / 2 * (1 + math.cos(math.pi * self.t / (0.8 * self.steps)))
            dropped = self.smallest(w, round(share * len(active)), active)
            self.gone |= dropped
            closed = [p for p in here if p in self.gone]
            grown = sorted(closed, key=lambda p: -abs(self.dense[n][p[1]]))[: len(dropped)]
            for _, i in set(grown) - set(active):
                w[n][i] = 0.0
            self.gone -= set(grown)
        w |= self.without(w, self.gone)


def literally(kind, knobs, setup, job):
    """(rule, weights, momenta, buffers, loss and sparsity at each point but the first): the gradient at the seen weights
    from autograd, all else by hand."""
    model, sgd, steps = setup.model, setup.sgd, len(job.curve)
    shapes = {n: p.shape for n, p in model.named_parameters()}
    w = {n: job.start.params[n].flatten().tolist() for n in shapes}
    buffers = {n: b.clone() for n, b in job.start.buffers.items()}
    rule = kind(knobs, setup, steps, w)
    w |= rule.more(w)
    v = {n: [0.0] * len(x) for n, x in w.items()}
    decayed = [n for n in shapes if n in setup.prunable or sgd.decay_norm]
    points = []

    def seen():
        return {
            n: torch.tensor(x, dtype=torch.float64).view(shapes[n])
            for n, x in (w | rule.seen(w)).items()
            if n in shapes
        }

    def measure():
        split = setup.data.validation
        with torch.no_grad():
            scores = functional_call(model.eval(), (seen(), buffers), (setup.data.normalise(split.images),))
        none = sum(x == 0 for n in setup.prunable for x in seen()[n].flatten().tolist())
        points.append((F.cross_entropy(scores, split.labels).item(), none / size(setup)))

    for x, y in batches(setup.data, BATCH, steps, job.seed, setup.augment):
        at_ = {n: p.requires_grad_() for n, p in seen().items()}
        loss = F.cross_entropy(functional_call(model.train(), (at_, buffers), (x,)), y)
        G = {n: g.flatten().tolist() for n, g in zip(at_, torch.autograd.grad(loss, list(at_.values())))}
        G |= rule.gradients(w, G)
        for n in w:
            for i, g in enumerate(G[n]):
                g += sgd.weight_decay * w[n][i] if n in decayed else 0.0
                v[n][i] = sgd.momentum * v[n][i] + g
                w[n][i] -= job.curve[rule.t].item() * (g + sgd.momentum * v[n][i] if sgd.nesterov else v[n][i])
        rule.t += 1
        rule.after(w)
        if rule.t == steps // 2:
            measure()
    rule.end(w)
    rule.seen = lambda w: {}
    measure()
    return rule, w, v, buffers, points


CASES = {
    "GMP": (LiteralGMP, GMP(0.8, interval=7, end=0.7)),
    "GSM": (LiteralGSM, GSM(0.7)),
    "DPF": (LiteralDPF, DPF(0.7, interval=4, end=0.5)),
    "DNW": (LiteralDNW, DNW(0.65)),
    "CS": (LiteralCS, CS(0.05, 0.01, 200)),
    "STR": (LiteralSTR, STR(-3, 0.05)),
    "DST": (LiteralDST, DST(0.01)),
    "DST, thresholds reset": (LiteralDST, DST(0.2)),
    "LC": (LiteralLC, LC(0.7, mu0=0.05, growth=1.5, start=0.3, epochs_per_step=2)),
    "Static": (LiteralStatic, Static(0.7)),
    "RigL": (LiteralRigL, RigL(0.6, interval=6, end=0.8, drop=0.4)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "network, sgd", [("mlp", SGD(0.8, True, 2e-2, decay_norm=False)), ("conv", HEAVY)], ids=["mlp", "conv"]
)
def test_training_ends_as_the_literal_version_does(network, sgd, name):
    """Pitfall: weight decay is applied to masks and thresholds, top-k counts all parameters, CS's beta grows with each step
    and CS is evaluated with soft masks, DPF's last mask is stale: none of these ends so."""
    kind, knobs = CASES[name]
    setup = setup_of(network, sgd)
    trained = loop.train(setup, job := job_of(setup, knobs, lr=0.05))
    rule, w, v, buffers, points = literally(kind, knobs, setup, job)
    assert list(trained.state.params) == list(trained.state.momentum) == list(job_of(setup, None).start.params)
    for n, p in trained.state.params.items():
        assert p.flatten().tolist() == pytest.approx(w[n], rel=0, abs=1e-9), n
        assert trained.state.momentum[n].flatten().tolist() == pytest.approx(v[n], rel=0, abs=1e-9), n
        assert (p.flatten() == 0).tolist() == [x == 0 for x in w[n]], n
    torch.testing.assert_close(trained.state.buffers, buffers, rtol=0, atol=1e-9)
    for point, wanted in zip(trained.points[1:], points, strict=True):
        assert (point.loss, point.sparsity) == pytest.approx(wanted, rel=0, abs=1e-9)
    assert (getattr(rule, "resets", 0) > 0) == name.endswith("reset")


# ---- what is left at the end -------------------------------------------------------------------------------------------

ALL = {
    "GMP": GMP(0.8, 3),
    "GSM": GSM(0.8),
    "DPF": DPF(0.8, 3),
    "DNW": DNW(0.8),
    "CS": CS(0.05, 0.02),
    "STR": STR(-2, 0.1),
    "DST": DST(0.02),
    "LC": LC(0.8),
    "RigL": RigL(0.8, 3),
    "Static": Static(0.8),
}
EXACT = {"GMP": GMP, "DPF": DPF, "DNW": DNW, "Static": Static, "RigL": RigL}


def settings(name, **more):
    return replace(ALL[name], **more)


def test_all_methods_are_tested():
    assert list(ALL) == list(METHODS) and set(METHODS) == {name.partition(",")[0] for name in CASES}


@pytest.mark.parametrize("made", [3, 17, 99], ids=["stopped early", "stopped late", "to its end"])
@pytest.mark.parametrize("name", ALL)
def test_the_state_is_a_network_and_what_the_last_point_judged(name, made):
    """Pitfalls: CS is evaluated with soft masks; DPF's last mask is stale."""
    setup = setup_of("conv")
    trained = train(ALL[name], setup, after(made), steps=18)
    state, last = trained.state, trained.points[-1]
    assert (trained.steps, trained.stopped, last.step) == (min(made, 18), made < 18, min(made, 18))
    copy.deepcopy(setup.model).load_state_dict(state.params | state.buffers)  # strict: the keys are the network's own
    assert list(state.momentum) == list(state.params) == [n for n, _ in setup.model.named_parameters()]
    assert not any(t.requires_grad for t in tensors(state).values())
    assert evaluate(setup.model, state.params, state.buffers, setup.data, setup.data.validation) == (
        last.accuracy,
        last.loss,
    )


@pytest.mark.parametrize("sparsity", [0, 0.3333, 0.9, 0.995, 1])
@pytest.mark.parametrize("name", EXACT)
def test_exactly_the_share_of_weights_is_zero(name, sparsity):
    """Pitfall: pruned weights come back through momentum, weight decay or a late mask; or ties go with them."""
    for sgd in (SGD(0.9, True, 0.1), SGD(0, False, 0)):
        setup = setup_of("conv", sgd)
        trained = train(settings(name, sparsity=sparsity), setup, steps=13, evaluations=1)
        assert zeros(trained.state.params, setup) == round(sparsity * size(setup))
        assert trained.state.params["classifier.bias"].all()


@pytest.mark.parametrize("stop_after", [2, 13, 99])
@pytest.mark.parametrize("name", ["GMP", "DPF"])
def test_a_run_shorter_than_an_interval_or_stopped_ends_at_its_sparsity(name, stop_after):
    setup = setup_of("conv")
    for interval, steps in ((1000, 1), (1000, 14), (6, 14)):
        trained = train(settings(name, interval=interval), setup, after(stop_after), steps=steps)
        assert zeros(trained.state.params, setup) == round(0.8 * size(setup))


@pytest.mark.parametrize("name", EXACT)
def test_masked_weights_are_zero_even_if_training_diverges(name):
    """Pitfall: pruned weights come back (0 times what is not finite is not 0)."""
    setup = setup_of()
    trained = train(ALL[name], setup, steps=6, lr=1e200)
    assert not all(p.isfinite().all() for p in trained.state.params.values())
    assert zeros(trained.state.params, setup) >= round(0.8 * size(setup))


def erk(setup, sparsity):
    """Densities by bisection: min(1, c (sum of dimensions) / (their product)), with the c that keeps the share."""
    shapes = {n: p.shape for n, p in setup.model.named_parameters() if n in setup.prunable}
    low, high = 0.0, 1e6
    for _ in range(200):
        c = (low + high) / 2
        density = {n: min(1.0, c * sum(s) / s.numel()) for n, s in shapes.items()}
        enough = sum(d * shapes[n].numel() for n, d in density.items()) > (1 - sparsity) * size(setup)
        low, high = (low, c) if enough else (c, high)
    return density


@pytest.mark.parametrize(
    "knobs",
    [kind(0.8, allocation=a) for kind in (GMP, DPF, Static) for a in ("uniform", "erk")] + [RigL(0.8, 3), DNW(0.8)],
    ids=lambda knobs: f"{knobs.name} {getattr(knobs, 'allocation', '')}",
)
def test_layers_have_the_shares_of_the_allocation(knobs):
    setup = setup_of("conv")
    params = train(knobs, setup, steps=12).state.params
    uniform = knobs == DNW(0.8) or getattr(knobs, "allocation", "erk") == "uniform"
    density = dict.fromkeys(setup.prunable, 0.2) if uniform else erk(setup, 0.8)
    assert zeros(params, setup) == round(0.8 * size(setup))
    for n in setup.prunable:
        assert abs(int((params[n] != 0).sum()) - density[n] * params[n].numel()) <= 1, n


@pytest.mark.parametrize("name", ["GMP", "DPF"])
@pytest.mark.parametrize("steps, interval, end, last", [(50, 7, 0.7, 35), (30, 8, 0.75, 24), (20, 8, 0.1, 8)])
def test_sparsity_grows_by_the_cubic_and_only_every_interval(name, steps, interval, end, last):
    """Pitfall: a share of what remains is taken when a share of all was meant."""
    setup, counts = setup_of(), []
    job = job_of(setup, settings(name, interval=interval, end=end), steps)

    @torch.no_grad()
    def count(params, step):
        counts.append(zeros(job.method.effective(params), setup))

    watched(job, "after_step", count)
    loop.train(setup, job)
    at_update = [min(t - t % interval, last) for t in range(1, steps + 1)]
    assert counts == [round(0.8 * (1 - (1 - t / last) ** 3) * size(setup)) for t in at_update]


def test_gmps_masks_only_grow():
    setup, seen = setup_of(sgd=SGD(0.9, True, 0.1)), []
    trained = train(
        ALL["GMP"], setup, watch={"after_step": lambda params, step: seen.append(weights(params, setup) == 0)}, steps=20
    )
    seen.append(weights(trained.state.params, setup) == 0)
    assert all(bool((late | ~early).all()) for early, late in zip(seen, seen[1:])) and seen[2].any()


@pytest.mark.parametrize("name", ["DPF", "DNW"])
def test_a_dense_shadow_lives_until_the_end_and_is_pruned_as_it_then_is(name):
    """Pitfall: DPF's last mask is up to 15 steps stale."""
    setup, dense = setup_of(), []

    def keep(params, step=None):
        dense.append(weights(params, setup).clone())

    trained = train(settings(name), setup, watch={"after_step": keep, "finish": keep}, steps=20)
    assert len(dense) == 21 and not any((w == 0).any() for w in dense)
    wanted, parts = dense[-1].clone(), [dense[-1]]
    if name == "DNW":  # layer by layer
        parts = wanted.split([trained.state.params[n].numel() for n in setup.prunable])
    offset, lost = 0, []
    for part in parts:
        lost.append(int((weights(trained.state.params, setup)[offset : offset + len(part)] == 0).sum()))
        wanted[offset + part.abs().argsort(stable=True)[: lost[-1]]] = 0
        offset += len(part)
    assert torch.equal(weights(trained.state.params, setup), wanted)
    assert all(abs(count - 0.8 * len(part)) <= 1 for count, part in zip(lost, parts))


def masks_of(job):
    return {n: t[0].clone() for n, t in job.method.tensors.items()}


def test_dpfs_weights_come_back():
    setup, seen = setup_of(), []
    job = job_of(setup, DPF(0.8, 1, 0.1), lr=0.2)
    watched(job, "after_step", lambda *_: seen.append(weights(masks_of(job), setup) == 0))
    loop.train(setup, job)
    assert bool((seen[9] & ~seen[-1]).any())


@pytest.mark.parametrize("name", ["GSM", "LC"])
def test_what_is_to_be_pruned_afterwards_ends_dense(name):
    setup = setup_of()
    job = job_of(setup, ALL[name], 20)
    params = loop.train(setup, job).state.params
    assert zeros(params, setup) == 0
    if name == "LC":  # the prune is the last C step
        own = {n: params[n] for n in setup.prunable}
        for n, mask in prune(own, 0.8).items():
            assert torch.equal(job.method.tensors[n][0], params[n] * mask)


def test_lc_pulls_towards_what_the_prune_afterwards_leaves():
    setup, shares = setup_of(), []
    for knobs in (LC(0.8, 0.5, 1.2), None):
        w = weights(train(knobs, setup, steps=80).state.params, setup).square().sort().values
        shares.append((w[: round(0.8 * len(w))].sum() / w.sum()).item())
    assert shares[0] < 0.01 and shares[1] > 0.1


def test_lcs_mu_grows_up_to_the_inverse_of_the_largest_learning_rate():
    """A step of SGD leaves its minimum where lr mu exceeds 2 (1 + momentum): after 40 doublings, by far."""
    setup, curve = setup_of("conv", SGD()), torch.linspace(0.1, 0, 40 * EPOCH, dtype=torch.float64)
    for peak, most in ((0.1, 10.0), (0.0, 0.03 * 2**29)):
        method, start = make(LC(0.8), State.of(setup.model), Span(setup.prunable, len(curve), EPOCH, peak=peak))
        mu, job = [], Job(start, curve, (0, "t"), method, evaluations=1)
        watched(job, "after_epoch", lambda *_, m=method, mu=mu: mu.append(m.tensors["mu"].item()))
        ended = loop.train(setup, job).state.params
        growing = [0.03 * 2**k for k in range(31)]
        assert [m for m in mu if m] == pytest.approx([min(g, most) if peak else g for g in growing])
        assert (weights(ended, setup).abs().max() < 10) == bool(peak)


@pytest.mark.parametrize(
    "steps, start, every, made",
    [(40, 0.2, 1, [2, 3, 4, 5, 6, 7, 8]), (50, 0.3, 2, [3, 5, 7, 9]), (17, 0.5, 1, [2, 3]), (15, 0, 1, [1, 2, 3])],
)
def test_lc_compresses_after_whole_epochs_from_its_start_on(steps, start, every, made):
    setup, mu = setup_of(), [0.0]
    job = job_of(setup, LC(0.8, 1e-3, 2, start, every), steps)
    watched(job, "after_epoch", lambda *_: mu.append(job.method.tensors["mu"].item()))
    loop.train(setup, job)
    assert [e for e, (a, b) in enumerate(zip(mu, mu[1:]), 1) if a != b] == made
    assert mu[-1] == pytest.approx(1e-3 * 2 ** (len(made) - 1))


@pytest.mark.parametrize(
    "gentle, strong",
    [(CS(0.05, 1e-4), CS(0.05, 0.01)), (STR(-4, 0), STR(-4, 0.2)), (DST(0), DST(0.02))],
    ids=["CS", "STR", "DST"],
)
def test_the_knob_raises_the_sparsity_of_methods_that_have_no_target(gentle, strong):
    setup = setup_of()
    few, many = (zeros(train(knobs, setup, steps=30).state.params, setup) for knobs in (gentle, strong))
    assert few + 10 < many < size(setup)


# ---- pitfalls and edges ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay_norm", [True, False])
@pytest.mark.parametrize("name", ["CS", "STR", "DST"])
def test_sgd_decays_weights_and_never_what_is_learned_besides(name, decay_norm):
    """Pitfall: weight decay is applied to masks and thresholds."""
    setup = setup_of("conv", SGD(0.9, False, 0.1, decay_norm))
    params = job_of(setup, ALL[name]).start.params
    own = [n for n, _ in setup.model.named_parameters()]
    assert setup.decayed(params) == (own if decay_norm else list(setup.prunable))
    assert len(params) == len(own) + len(setup.prunable)


@pytest.mark.parametrize("knobs, begin", [(CS(60, 0), 60), (STR(-60, 0), -60)], ids=["CS", "STR"])
def test_gates_and_thresholds_without_a_gradient_stay_under_any_weight_decay(knobs, begin):
    """Pitfall: weight decay is applied to masks and thresholds."""
    setup, seen = setup_of(sgd=SGD(0.9, False, 0.5)), []
    train(knobs, setup, watch={"finish": lambda params: seen.extend(params[n] for n in params if ":" in n)}, steps=20)
    assert len(seen) == 3 and all((t == begin).all() for t in seen)


def test_strs_threshold_falls_back_by_its_own_decay_alone():
    """t <- t (1 - lr decay) at every step where its gradient is none."""
    setup, seen = setup_of(sgd=SGD(0, False, 0.5)), []
    train(
        STR(-60, 0.3), setup, watch={"finish": lambda params: seen.append(params["layer1.weight:threshold"])}, steps=9
    )
    assert seen[0].item() == pytest.approx(-60 * math.prod(1 - 0.3 * lr for lr in rates(9).tolist()), rel=1e-12)


def test_css_beta_grows_with_the_epochs_and_not_within_them():
    """Pitfall: CS's beta grows per iteration."""
    setup, seen = setup_of(), []
    job = job_of(setup, CS(final_beta=64.0), 17)  # 3.4 epochs
    watched(job, "after_step", lambda *_: seen.append(job.method.tensors["beta"].item()))
    loop.train(setup, job)
    assert seen == pytest.approx([1] * 5 + [4] * 5 + [16] * 5 + [64] * 2)


@pytest.mark.parametrize("sparsity", [0.0, 0.6, 0.9, 1.0])
def test_gsm_gives_a_gradient_to_the_share_of_the_prunable_weights_and_to_all_others(sparsity):
    """Pitfall: top-k over all parameters while k counts the prunable ones."""
    setup, counts = setup_of("conv"), []

    def count(params, gradients):
        counts.append(sum(int((gradients[n] != 0).sum()) for n in setup.prunable))
        assert all(g.all() for n, g in gradients.items() if n == "classifier.bias")

    train(GSM(sparsity), setup, watch={"edit_gradients": count}, steps=10, lr=0.01)
    kept = size(setup) - round(sparsity * size(setup))
    assert len(counts) == 10 and all(c == kept or sparsity == 0 and c > 0.9 * kept for c in counts)


def test_gsm_at_1_leaves_weights_without_decay_where_they_are():
    setup = setup_of(sgd=SGD(0.9, False, 0))
    job = job_of(setup, GSM(1.0), 10)
    params = loop.train(setup, job).state.params
    assert all(torch.equal(params[n], job.start.params[n]) == (n in setup.prunable) for n in params)


NOTHING = {
    "GMP": GMP(0, 3),
    "GSM": GSM(0),
    "DPF": DPF(0, 3),
    "DNW": DNW(0),
    "CS": CS(800, 0),
    "STR": STR(-800, 0),
    "LC": LC(0.8, start=1),
    "Static": Static(0),
    "RigL": RigL(0, 3, drop=0),
}


@pytest.mark.parametrize("name", NOTHING)
def test_with_nothing_to_remove_it_is_dense_training(name):
    setup = setup_of("conv")
    mine, dense = (train(knobs, setup, steps=15).state for knobs in (NOTHING[name], None))
    torch.testing.assert_close(tensors(mine), tensors(dense), rtol=0, atol=1e-11)


def test_rigl_without_an_update_is_training_in_a_static_mask():
    setup = setup_of("conv")
    for late in (RigL(0.8, 1000), RigL(0.8, 10, end=0.5)):  # the only update would be at the end of its time
        params, wanted = (train(knobs, setup, steps=20).state.params for knobs in (late, Static(0.8)))
        torch.testing.assert_close(params, wanted, rtol=0, atol=1e-11)


def test_rigl_keeps_each_layers_count_and_moves_weights():
    setup, seen = setup_of("conv"), []
    job = job_of(setup, RigL(0.8, 3), 30)
    watched(job, "after_step", lambda *_: seen.append(masks_of(job)))
    loop.train(setup, job)
    for n in setup.prunable:
        assert len({int(masks[n].sum()) for masks in seen}) == 1
    moved = [t for t, (a, b) in enumerate(zip(seen, seen[1:]), 2) if any((a[n] != b[n]).any() for n in setup.prunable)]
    assert moved[:5] == [3, 6, 9, 12, 15] and set(moved) <= {3, 6, 9, 12, 15, 18, 21}


def test_rigl_grows_from_zero_but_keeps_what_it_dropped_a_moment_before():
    """Both public codes look at the mask of before the update; what was outside it starts at 0, whatever it drifted to."""
    method, params = made(RigL(0.5, 1, drop=1.0), torch.ones(1, 4))
    method.tensors["w"].copy_(torch.tensor([[[1, 1, 0, 0]]]))
    params["w"].copy_(torch.tensor([[0.5, 3.0, 0.25, 0.0]]))
    method.edit_gradients(params, {"w": torch.tensor([[9.0, 1.0, 8.0, 0.0]])})
    method.after_step(params, 0)  # drops round(0.98 * 2) = 2 of 2 and grows the first and the third
    assert params["w"].tolist() == [[0.5, 0, 0, 0]] and method.tensors["w"].tolist() == [[[1, 0, 1, 0]]]


@pytest.mark.parametrize("s0", [0.0, -0.5])
def test_cs_penalises_the_gates_that_its_weights_see(s0):
    method, params = made(CS(s0, penalty=0.5), torch.ones(1, 3))
    assert method.penalty(params).item() == pytest.approx(0.5 * method.effective(params)["w"].sum().item())
    assert method.penalty(params).item() == pytest.approx(1.5)  # at the start all gates are 1


def made(knobs, w):
    """Its method, and the parameters of a network with one weight."""
    method, start = make(knobs, State({"w": w}, {}, {}), Span(("w",), 10, EPOCH))
    return method, start.params


def test_a_gate_at_zero_is_closed_in_the_end():
    method, params = made(CS(0), torch.ones(1, 3))
    params["w:gate"].copy_(torch.tensor([[-1e-9, 0, 1e-9]]))
    method.finish(params)
    assert list(params) == ["w"] and params["w"].tolist() == [[0, 0, 2]]


def test_dsts_step_keeps_what_equals_its_threshold_and_has_the_long_tailed_slope():
    far = torch.tensor([-1.5, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 1.5])
    method, params = made(DST(), (far + 2)[None])
    params["w:threshold"].fill_(2)
    params["w"].requires_grad_()
    seen = method.effective(params)["w"]
    (slope,) = torch.autograd.grad(seen.sum(), params["w"])
    assert torch.equal(seen[0], (far + 2) * (far >= 0))
    tail = torch.tensor([0, 0.4, 0.4, 1, 2, 1, 0.4, 0.4, 0])
    torch.testing.assert_close(slope[0], (far >= 0) + (far + 2) * tail)


@pytest.mark.parametrize("kept, reset", [(0, True), (1, True), (2, False)])
def test_dst_resets_a_layer_that_keeps_1_percent_or_less(kept, reset):
    w, other = torch.full((2, 5, 10), 0.5), torch.full((4, 3), 2.0)
    w[1].view(-1)[:kept] = 1.5
    start = State({"w": w.view(10, 10), "other": other}, {}, {})
    method, start = make(DST(), start, Span(("w", "other"), 10, EPOCH))
    for n in ("w", "other"):
        start.params[f"{n}:threshold"].fill_(1)
    method.after_step(start.params, 0)
    assert bool((start.params["w:threshold"] == 0).all()) == reset
    assert (start.params["w:threshold"] == 1).any() != reset and (start.params["other:threshold"] == 1).all()


# ---- settings and starts -----------------------------------------------------------------------------------------------


def started(knobs, seed=0, name="conv"):
    return job_of(setup_of(name), knobs, seed=seed).start


@pytest.mark.parametrize("name", ALL)
def test_the_start_given_stays_as_it_was(name):
    setup = setup_of("conv")
    given = State.of(setup.model)
    before = given.copy()
    method, start = make(ALL[name], given, Span(setup.prunable, 12, EPOCH, 0))
    made = start.copy()
    loop.train(setup, Job(start, rates(12), (0, "t"), method))
    assert all(torch.equal(t, tensors(before)[n]) for n, t in tensors(given).items())
    assert tensors(start).keys() == tensors(made).keys() and list(tensors(given)) == list(tensors(before))
    assert all(torch.equal(t, tensors(made)[n]) for n, t in tensors(start).items())
    assert not any(v.any() for v in start.momentum.values()) and start.momentum.keys() == start.params.keys()


@pytest.mark.parametrize("name", ["Static", "RigL"])
def test_masks_follow_from_the_seed_alone(name):
    torch.manual_seed(1)
    first = started(ALL[name])
    torch.manual_seed(2)
    again, other = started(ALL[name]), started(ALL[name], seed=1)
    setup = setup_of("conv")
    masks = [weights(s.params, setup) != 0 for s in (first, again, other)]
    assert torch.equal(masks[0], masks[1])
    both, kept = int((masks[0] & masks[2]).sum()), size(setup) - round(0.8 * size(setup))
    assert all(int(m.sum()) == kept for m in masks) and both < 0.6 * kept
    dense = weights(State.of(setup.model).params, setup)
    assert torch.equal(weights(first.params, setup), dense * masks[0])


@pytest.mark.parametrize("name", ["GMP", "GSM", "DPF", "CS", "DST", "LC"])
def test_training_starts_at_the_network_itself(name):
    setup = setup_of("conv")
    dense = State.of(setup.model)
    loss = evaluate(setup.model, dense.params, dense.buffers, setup.data, setup.data.validation)[1]
    assert train(ALL[name], setup, steps=1).points[0].loss == pytest.approx(loss, rel=1e-12)
    start = started(ALL[name]).params
    assert all(torch.equal(start[n], p) for n, p in dense.params.items())


def test_what_is_learned_besides_has_its_size_and_start():
    setup = setup_of("conv")
    shapes = {n: p.shape for n, p in setup.model.named_parameters() if n in setup.prunable}
    for knobs, what, value, shape in (
        (CS(0.3), "gate", 0.3, lambda s: s),
        (STR(-5), "threshold", -5, lambda s: ()),
        (DST(), "threshold", 0, lambda s: s[:1]),
    ):
        more = {n: p for n, p in started(knobs).params.items() if ":" in n}
        assert {n: p.shape for n, p in more.items()} == {f"{n}:{what}": shape(s) for n, s in shapes.items()}
        assert all((p == value).all() for p in more.values())


def test_no_method_is_dense_training():
    setup = setup_of()
    given = State.of(setup.model)
    method, start = make(None, given, Span(setup.prunable, 5, EPOCH))
    assert type(method).__name__ == "Plain" and start is given


@pytest.mark.parametrize(
    "kind, field, value, words",
    [
        *(
            (k, "sparsity", v, "at least 0 and at most 1")
            for k in (GMP, GSM, DPF, DNW, LC, Static, RigL)
            for v in (-0.1, 2)
        ),
        (GMP, "sparsity", math.nan, "at least 0 and at most 1"),
        (GMP, "sparsity", "much", "must be a number"),
        *((k, "interval", 0, "a whole number at least 1") for k in (GMP, DPF, RigL)),
        *((k, "interval", 2.5, "a whole number") for k in (GMP, DPF, RigL)),
        *((k, "end", v, "above 0 and at most 1") for k in (GMP, DPF, RigL) for v in (0, 1.1)),
        *((k, "allocation", "globl", "did you mean 'global'") for k in (GMP, DPF, Static)),
        (Static, "allocation", "lamp", "no magnitudes for LAMP"),
        (CS, "s0", math.inf, "a number."),
        (CS, "penalty", -1, "at least 0"),
        (CS, "final_beta", 0.9, "at least 1"),
        (STR, "t0", math.nan, "a number."),
        (STR, "decay", -0.1, "at least 0"),
        (DST, "alpha", -0.1, "at least 0"),
        (LC, "mu0", 0, "above 0"),
        (LC, "growth", 0.9, "at least 1"),
        (LC, "start", 1.1, "at least 0 and at most 1"),
        (LC, "epochs_per_step", 0, "a whole number at least 1"),
        (RigL, "drop", -0.1, "at least 0 and at most 1"),
        (RigL, "drop", 1.1, "at least 0 and at most 1"),
    ],
)
def test_a_setting_out_of_its_range_is_told_in_a_sentence(kind, field, value, words):
    with pytest.raises(BadInput) as told:
        kind(**{field: value})
    sentence = str(told.value)
    assert words in sentence and "\n" not in sentence and sentence.endswith(".")
    assert field == "allocation" or f"{kind.__name__}'s {field} is " in sentence


@pytest.mark.parametrize("name", ALL)
def test_settings_that_mean_the_same_are_equal_and_carry_their_name(name):
    kind = METHODS[name].settings
    assert ALL[name].name == name and kind() == kind() and hash(kind()) == hash(kind())
    at_half = at(ALL[name], 0.5)
    assert at_half == (replace(ALL[name], sparsity=0.5) if hasattr(ALL[name], "sparsity") else ALL[name])
    assert at(None, 0.5) is None
    if hasattr(ALL[name], "sparsity"):
        assert kind(sparsity=1) == kind(sparsity=1.0)
