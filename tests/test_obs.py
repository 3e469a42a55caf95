"""Optimal Brain Surgeon against loops that invert anew for each weight; what it leaves of a network, and in studies."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from retrainlab import layers, models, obs, pruning, scores
from retrainlab.checks import BadInput
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.data.dataset import Dataset, Split, load
from retrainlab.noise import stream
from retrainlab.study import grid, run_study, stages
from retrainlab.study.results import Results
from retrainlab.study.stages import prepare, prune_dense, run, train_dense
from retrainlab.training import cycles
from retrainlab.training.engine import forced
from retrainlab.training.loop import validate
from retrainlab.training.masked import apply
from retrainlab.training.state import Setup, State
from tests.helpers.attentive import Attentive

CPU = torch.device("cpu")


def images(count=30, channels=1, size=4, seed=0) -> Dataset:
    """Noise, in float64."""
    generator = torch.Generator().manual_seed(seed)
    split = Split(
        torch.randint(0, 256, (count, channels, size, size), generator=generator).to(torch.uint8),
        torch.zeros(count, dtype=torch.int64),
    )
    own = load("digits")
    mean = torch.full((channels,), 127.0, dtype=torch.float64)
    return replace(own, train=split, validation=split, test=split, classes=3, mean=mean, std=mean / 2)


def network(model: nn.Module, data: Dataset, seed=0) -> tuple[Setup, State]:
    """In float64, with random weights and statistics."""
    state, generator = State.of(model.double()), torch.Generator().manual_seed(seed)
    for t in [*state.params.values(), *state.buffers.values()]:
        if t.is_floating_point():
            t += 0.3 * torch.rand(t.shape, generator=generator, dtype=torch.float64)
    return Setup(model, data, SGD(), 4, layers.prunable(model)), state


class Small(nn.Module):
    """Two convolutions and two Linear layers of at most 40 weights each; `idle` is never used."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)  # 36
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 2, stride=2, groups=2)  # 32
        self.inner = nn.Linear(4, 8)  # 32, used at four places
        self.head = nn.Linear(8, 3)  # 24
        self.idle = nn.Linear(2, 2)

    def forward(self, x):
        x = F.relu(self.grouped(F.relu(self.norm(self.conv(x)))))
        return self.head(F.relu(self.inner(x.flatten(2).transpose(1, 2))).mean(1))


@pytest.fixture(scope="module")
def small():
    return network(Small(), images())


def inputs_of(setup, state) -> dict[str, torch.Tensor]:
    """What each layer is given, all training images at once."""
    seen, model = {}, setup.model.eval()
    hooks = [
        layer.register_forward_hook(lambda _, given, __, name=name: seen.update({f"{name}.weight": given[0]}))
        for name, layer in model.named_children()
    ]
    with torch.no_grad():
        functional_call(model, (state.params, state.buffers), (setup.data.normalise(setup.data.train.images),))
    for hook in hooks:
        hook.remove()
    return seen


def hessian_by_hand(setup, state, name, row, damping=0.01) -> torch.Tensor:
    """The damped Hessian of 1/2 the mean over images of the squared changes of one row's outputs, from autograd."""
    given, layer = inputs_of(setup, state)[name], setup.model.get_submodule(name.removesuffix(".weight"))
    weight = state.params[name]

    def half_square(w):
        changed = torch.cat([weight[:row], w[None], weight[row + 1 :]])
        out, old = (functional_call(layer, {"weight": one, "bias": layer.bias}, (given,)) for one in (changed, weight))
        return (out - old).square().sum() / 2 / len(given)

    n = weight[row].numel()
    h = torch.autograd.functional.hessian(half_square, weight[row]).view(n, n)
    return h + damping * h.diagonal().mean() * torch.eye(n, dtype=h.dtype)


def surgery(weights, hessians):
    """Hassibi & Stork word by word: always the cheapest weight of all rows, its row updated, the inverse of what is left of
    the row's Hessian made anew. Yields (row, place, cost, all weights after it)."""
    w = weights.clone()
    left = [list(range(w.shape[1])) for _ in w]
    for _ in range(w.numel()):
        options = []
        for row, places in enumerate(left):
            inverse = torch.linalg.inv(hessians[row][places][:, places]) if places else None
            options += [(float(w[row, p] ** 2 / (2 * inverse[i, i])), row, p, i, inverse) for i, p in enumerate(places)]
        cost, row, p, i, inverse = min(options, key=lambda option: option[0])
        w[row, left[row]] -= w[row, p] / inverse[i, i] * inverse[:, i]
        left[row].remove(p)
        w[row, p] = 0
        yield row, p, cost, w.clone()


NAMES = ("conv.weight", "grouped.weight", "inner.weight", "head.weight")


@pytest.mark.parametrize("name", NAMES)
def test_masks_and_updates_are_those_of_a_loop_that_inverts_anew_each_time(small, name):
    setup, state = small
    weight = state.params[name]
    hessians = [hessian_by_hand(setup, state, name, row) for row in range(len(weight))]
    found = obs.problems(setup, state)
    cost = obs.scores({name: weight}, found)[name].flatten(1)
    steps, highest = list(surgery(weight.flatten(1), hessians)), 0.0
    for count, (row, place, wanted, after) in enumerate(steps, 1):
        highest = max(highest, wanted)
        assert cost[row, place].item() == pytest.approx(highest, rel=1e-9)
        masks = pruning.select({name: cost.view_as(weight)}, {name: count})
        gone = {divmod(int(i), cost.shape[1]) for i in (~masks[name]).flatten().nonzero()}
        assert gone == {step[:2] for step in steps[:count]}
        ours = obs.update({name: weight}, found, masks).get(name, weight * masks[name])
        torch.testing.assert_close(ours.flatten(1), after, rtol=1e-8, atol=1e-10)
        assert torch.equal(ours != 0, masks[name])


def test_blocks_and_memory_change_nothing(small, monkeypatch):
    setup, state = small
    weights, found = setup.weights(state), obs.problems(setup, state)
    whole = obs.scores(weights, found)
    for block, memory in ((1, 2**29), (3, 1), (5, 9 * 9 * 8 * 2)):
        monkeypatch.setattr(obs, "BLOCK", block)
        monkeypatch.setattr(obs, "MEMORY", memory)  # of images and of rows
        there = obs.problems(setup, state)
        for name, own in there.items():
            for a, b in zip(own, found[name], strict=True):
                torch.testing.assert_close(a.hessians, b.hessians, rtol=1e-12, atol=1e-12)
        for name, cost in obs.scores(weights, there).items():
            torch.testing.assert_close(cost, whole[name], rtol=1e-9, atol=1e-12)


def test_costs_are_in_the_order_in_which_a_rows_weights_go():
    """Whatever the sizes: a later step can cost less than the one before, and must not be taken first."""
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(50, 12, dtype=torch.float64, generator=draw) @ torch.randn(
        12, 12, dtype=torch.float64, generator=draw
    )
    h, w = x.mT @ x / 50, torch.randn(1, 12, dtype=torch.float64, generator=draw)
    steps = list(surgery(w, [h]))
    raw = [cost for _, _, cost, _ in steps]
    assert raw != sorted(raw)
    order = obs.costs(w, torch.linalg.inv(h)[None])[0].argsort().tolist()
    assert order == [place for _, place, _, _ in steps]
    assert sum(raw) == pytest.approx(float(w @ h @ w.mT / 2))


def test_is_obd_where_the_hessian_is_diagonal():
    """Inputs that are never on together: then nothing can be updated, and the cost is h_kk w_k^2 / 2."""
    data = images(count=16)
    pixels = (255 * torch.eye(16)).view(16, 1, 4, 4).to(torch.uint8)
    data = replace(
        data, train=Split(pixels, data.train.labels), mean=torch.zeros(1).double(), std=torch.ones(1).double()
    )
    setup, state = network(nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False)), data)
    weight, found = state.params["1.weight"], obs.problems(setup, state)

    def half_square(w):
        return (data.normalise(pixels).flatten(1) @ (w - weight).mT).square().sum() / 2 / 16

    curvature = torch.autograd.functional.hessian(half_square, weight).view(48, 48).diagonal().view(3, 16)
    assert torch.equal(curvature, torch.full_like(curvature, 255**2 / 16))
    damped = curvature * (1 + obs.DAMPING)
    cost = obs.scores({"1.weight": weight}, found)["1.weight"]
    torch.testing.assert_close(cost, damped * weight.square() / 2, rtol=1e-12, atol=0)
    masks = pruning.select({"1.weight": cost}, {"1.weight": 20})
    torch.testing.assert_close(obs.update({"1.weight": weight}, found, masks)["1.weight"], weight * masks["1.weight"])


def test_no_other_weights_do_better_under_the_same_masks(small):
    """A least-squares solver, given the inputs and the damping as further equations, finds the same weights."""
    setup, state = small
    name = "inner.weight"
    weight, found = state.params[name], obs.problems(setup, state)
    mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[0], mask[1], mask[2, :1] = True, False, True
    ours = obs.update({name: weight}, found, {name: mask})[name]
    x = inputs_of(setup, state)[name].flatten(0, 1) / 30**0.5
    h = x.mT @ x
    x = torch.cat([x, (0.01 * h.diagonal().mean()).sqrt() * torch.eye(4, dtype=h.dtype)])
    for row, stays in enumerate(mask):
        best = torch.linalg.lstsq(x[:, stays], (x @ weight[row])[:, None]).solution[:, 0]
        torch.testing.assert_close(ours[row, stays], best, rtol=1e-9, atol=1e-12)
    assert torch.equal(ours[0], weight[0]) or torch.allclose(ours[0], weight[0], rtol=1e-12)
    assert not ours[1].any()


def test_its_work_is_that_of_each_rows_elimination():
    """A product and a sum for each entry of the inverse of what is left, for each weight that goes."""
    n = 300
    assert obs.work({"w": torch.empty(7, n // 3, 3, 1)}) == pytest.approx(7 * 2 * sum(k**2 for k in range(n)), rel=0.01)


def test_whole_rows_cost_what_their_weights_cost_together(small):
    setup, state = small
    found = obs.row_scores(setup.weights(state), obs.problems(setup, state))
    for name in NAMES:
        for row, cost in enumerate(found[name]):
            w, h = state.params[name][row].flatten(), hessian_by_hand(setup, state, name, row)
            assert cost.item() == pytest.approx(float(w @ h @ w / 2), rel=1e-9)
            [problem] = obs.problems(setup, state)[name]
            one = problem.hessians[row * len(problem.hessians) // len(found[name])]
            assert cost.item() == pytest.approx(sum(c for _, _, c, _ in surgery(w[None], [one])), rel=1e-9)
    assert torch.equal(found["idle.weight"], torch.zeros(2, dtype=torch.float64))


def test_weights_that_are_not_used_go_first_and_are_not_updated(small):
    setup, state = small
    found = obs.problems(setup, state)
    weights = setup.weights(state)
    assert not found["idle.weight"] and not obs.scores(weights, found)["idle.weight"].any()
    masks = {name: torch.rand(w.shape, generator=torch.Generator().manual_seed(1)) < 0.5 for name, w in weights.items()}
    assert obs.update(weights, found, masks).keys() == set(NAMES)
    whole = {name: m.flatten(1)[:, 0].view(-1, *[1] * (m.dim() - 1)).expand_as(m) for name, m in masks.items()}
    assert obs.update(weights, found, whole) == {}


class Standardised(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True))


class Transposed(nn.Linear):
    def forward(self, x):
        return x @ self.weight.mT


@pytest.mark.parametrize("odd", [Standardised(1, 3, 3), Transposed(4, 4)])
def test_a_weight_whose_inputs_cannot_be_seen_is_refused(odd):
    """Pitfall: a weight that no product was seen of costs nothing, so that a used one would go first, and whole."""
    inputs = 12 if isinstance(odd, nn.Conv2d) else 16
    setup, state = network(nn.Sequential(odd, nn.Flatten(), nn.Linear(inputs, 3)), images())
    with pytest.raises(BadInput, match="cannot tell what '0.weight' is multiplied with"):
        obs.problems(setup, state)


def test_a_study_refuses_such_a_network_before_it_trains(tmp_path, monkeypatch):
    """Pitfall: the score is first asked when hours of training are over."""
    strange = nn.Sequential(nn.Flatten(), Transposed(64, 10))
    monkeypatch.setattr(stages, "build", lambda *arguments, **options: strange)
    with pytest.raises(BadInput, match="cannot tell what '1.weight' is multiplied with"):
        run_study([Experiment(Recipe(), Prune(0.5, score="obs"))], store=tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_attention_is_solved_with_the_tokens_that_it_reads():
    setup, state = network(Attentive(), images(channels=3, size=8))
    found = obs.problems(setup, state)
    assert {name: [(p.rows.start, p.rows.stop) for p in own] for name, own in found.items()} == {
        "patches.weight": [(0, 8)],
        "among.in_proj_weight": [(0, 8), (8, 16), (16, 24)],
        "among.out_proj.weight": [(0, 8)],
        "looks.q_proj_weight": [(0, 8)],
        "looks.k_proj_weight": [(0, 8)],
        "looks.v_proj_weight": [(0, 8)],
        "looks.out_proj.weight": [(0, 8)],
        "head.weight": [(0, 3)],
    }
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in setup.weights(state).items()}
    masks["among.in_proj_weight"][:, ::2] = False
    [(name, after)] = obs.update(setup.weights(state), found, masks).items()
    q, k, v = after.chunk(3)
    alone = [
        obs.updated(w, m, p.hessians.expand(8, -1, -1))
        for w, m, p in zip(state.params[name].chunk(3), masks[name].chunk(3), found[name])
    ]
    for ours, own in zip((q, k, v), alone):
        torch.testing.assert_close(ours, own)


def test_images_are_evenly_spaced_and_bad_numbers_are_refused(small):
    setup, state = small
    every = replace(setup, data=replace(setup.data, train=Split(*(t[::6] for t in vars(setup.data.train).values()))))
    a, b = obs.problems(setup, state, 5), obs.problems(every, state)
    for name in NAMES:
        torch.testing.assert_close(a[name][0].hessians, b[name][0].hessians)
    for number in (0, 1.5, -3):
        with pytest.raises(BadInput):
            obs.problems(setup, state, number)
    broken = replace(state, params=state.params | {"conv.bias": torch.full((4,), torch.inf, dtype=torch.float64)})
    with pytest.raises(BadInput, match="grouped.weight"):
        obs.problems(setup, broken)


def test_inputs_that_are_always_0_cost_next_to_nothing():
    """Pitfall: the Hessian of a layer whose inputs are dead is singular, and its inverse is not finite."""
    data = images()
    black = replace(
        data, train=Split(torch.zeros_like(data.train.images), data.train.labels), mean=torch.zeros(1).double()
    )
    setup, state = network(nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 3)), black)
    found = scores.score(Prune(0.5, "obs"), setup.weights(state), stream(0), setup, state)
    assert all(cost.isfinite().all() for cost in found.values())
    assert 0 < found["1.weight"].min() < found["1.weight"].max() < 1e-99 < found["3.weight"].min()
    cut = cycles.cut(setup, state, Prune(0.5, "obs"), 0, 0)
    assert int((~cut.masks["1.weight"]).sum()) == 38 and cut.masks["3.weight"].all()
    assert all(w.isfinite().all() for w in cut.of(state).params.values())


# ---- as a score ------------------------------------------------------------------------------------------------------

RECIPE = Recipe(width=4, epochs=4)


@pytest.fixture(scope="module")
def dense():
    return train_dense(RECIPE, "cpu")


@pytest.fixture(scope="module")
def setup():
    return prepare(RECIPE, CPU)[0]


@pytest.mark.parametrize("allocation", ("global", "uniform", "erk", "lamp"))
def test_allocations_reach_the_sparsity_and_the_rest_is_updated(dense, setup, allocation):
    pruned = prune_dense(RECIPE, Prune(0.6, "obs", allocation), dense, "cpu")
    total = sum(m.numel() for m in pruned.masks.values())
    assert sum(int(m.sum()) for m in pruned.masks.values()) == total - round(0.6 * total)
    after, plain = pruned.cut.of(dense.state), apply(dense.state, pruned.masks)
    assert all(torch.equal(after.params[name] != 0, mask) for name, mask in pruned.masks.items())
    assert all(after.params[name].dtype == torch.float32 for name in pruned.masks)
    others = after.params.keys() - pruned.masks.keys()
    assert others and all(torch.equal(after.params[name], dense.state.params[name]) for name in others)
    assert validate(setup, after)[1] < validate(setup, plain)[1]
    assert pruned.result.scalars["validation_accuracy"] == validate(setup, after)[0]


def test_hurts_less_than_magnitude(dense):
    accuracy = {
        score: prune_dense(RECIPE, Prune(0.8, score), dense, "cpu").result.scalars["validation_accuracy"]
        for score in ("magnitude", "obs", "random")
    }
    assert accuracy["obs"] > accuracy["magnitude"] + 0.2 and accuracy["obs"] > accuracy["random"] + 0.2


def test_later_cycles_go_on_from_what_is_gone(dense, setup):
    first = cycles.cut(setup, dense.state, Prune(0.8, "obs", cycles=2), 0, 0)
    state = first.of(dense.state)
    second = cycles.cut(setup, state, Prune(0.8, "obs", cycles=2), 1, 0, first.masks)
    total = sum(m.numel() for m in second.masks.values())
    assert sum(int(m.sum()) for m in second.masks.values()) == total - round(0.8 * total)
    assert all(not bool((second.masks[name] & ~first.masks[name]).any()) for name in first.masks)
    name, found = "blocks.0.conv1.weight", obs.problems(setup, state)
    w, h = obs.exact(state.params[name]).flatten(1), found[name][0].hessians[0]
    for row, stays in enumerate(first.masks[name].flatten(1)):  # among what is left, as if the rest had never been
        if stays.any():
            alone = obs.costs(w[row : row + 1, stays], torch.linalg.inv(h[stays][:, stays])[None])[0]
            torch.testing.assert_close(
                obs.scores({name: state.params[name]}, found)[name].flatten(1)[row, stays], alone, rtol=1e-6, atol=1e-12
            )


def test_patterns_and_whole_filters_follow_it(dense):
    pattern = prune_dense(RECIPE, Prune(0.5, "obs", structure="n:m"), dense, "cpu")
    groups = pattern.masks["blocks.0.conv2.weight"].movedim(1, -1).unflatten(-1, (-1, 4)).sum(-1)
    assert bool((groups == 2).all()) and pattern.updated
    filters = prune_dense(RECIPE, Prune(0.4, "obs", structure="filters"), dense, "cpu")
    assert not filters.updated
    convolutions = [m.flatten(1) for m in filters.masks.values() if m.dim() == 4]
    assert all(torch.equal(m.any(1), m.all(1)) for m in convolutions)
    assert sum(int((~m.any(1)).sum()) for m in convolutions) == round(0.4 * sum(map(len, convolutions)))


def test_zeros_stay_through_retraining_alone_and_together(tmp_path):
    experiments = grid(
        RECIPE, sparsities=[0.9], budgets=[0.05], schedules=["FT", "LLR"], seeds=2, prune=Prune(0.9, "obs")
    )
    results, ends = Results.at(tmp_path), {}
    for name in ("loop", "batched"):
        ends[name] = [results.network(e, CPU, forced(name, CPU)) for e in experiments]
        for experiment, (result, state) in zip(experiments, ends[name]):
            masks = results.masks(experiment.recipe, experiment.prune, CPU).masks
            assert all(not bool(state.params[n][~mask].any()) for n, mask in masks.items())
            total = sum(m.numel() for m in masks.values())
            assert result.scalars["sparsity_achieved"] == pytest.approx(round(0.9 * total) / total, abs=1e-12)
    for (_, one), (_, many) in zip(*ends.values()):
        for name, w in one.params.items():
            torch.testing.assert_close(w, many.params[name], rtol=1e-3, atol=1e-4)


def test_is_kept_and_read_back_with_the_weights_that_it_changed(tmp_path, dense):
    experiment = Experiment(RECIPE, Prune(0.9, "obs"), Retrain("LLR", 0.25))
    kept, pruned = Results.at(tmp_path), prune_dense(RECIPE, experiment.prune, dense, "cpu")
    kept.put((RECIPE, experiment.prune), pruned)
    again = kept.masks(RECIPE, experiment.prune, CPU)
    assert again.result == pruned.result
    for part in ("masks", "updated"):
        ours, theirs = getattr(pruned, part), getattr(again, part)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
    one = run(experiment, "cpu", dense=dense, pruned=again)
    frame = run_study([experiment], store=tmp_path / "other", jobs=2, engine="loop", device="cpu")
    assert one.scalars["test_accuracy"] == pytest.approx(frame["test_accuracy"][0], abs=0.02)


def test_what_the_prune_changed_counts_as_damage(dense):
    """||W - W_p|| with W_p as the prune leaves it, which is more than the norm of what went."""
    experiment = Experiment(RECIPE, Prune(0.9, "obs"), Retrain("ALLR", 0.25))
    pruned = prune_dense(RECIPE, experiment.prune, dense, "cpu")
    result = run(experiment, "cpu", dense=dense, pruned=pruned)
    before, after = dense.state.params, pruned.cut.of(dense.state).params
    changed = sum(float((before[n].double() - after[n].double()).square().sum()) for n in pruned.masks)
    whole = sum(float(before[n].double().square().sum()) for n in pruned.masks)
    gone = sum(float(before[n][~m].double().square().sum()) for n, m in pruned.masks.items())
    assert result.scalars["norm_drop"] == pytest.approx((changed / whole) ** 0.5, rel=1e-9)
    assert changed > gone
    assert result.scalars["allr_factor"] <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_is_the_same_on_a_gpu():
    model = models.build("resnet8", shape=(1, 8, 8), classes=10, width=8)
    data = load("digits")
    here = Setup(model, data, SGD(), 4, layers.prunable(model))
    state = State.of(model)
    there = replace(here, model=model.to("cuda"), data=load("digits", "cuda"))
    moved = state.map(lambda t: t.cuda())
    ours = obs.scores(here.weights(state), obs.problems(here, state))
    for name, cost in obs.scores(there.weights(moved), obs.problems(there, moved)).items():
        torch.testing.assert_close(cost.cpu(), ours[name], rtol=1e-3, atol=1e-9)
