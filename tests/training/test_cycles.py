"""Iterative magnitude pruning: what is zero stays zero, counts are exact, and one-shot equals a literal version."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrainlab.checks import BadInput
from retrainlab.config import OPTIMIZERS, SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.data.batches import batches
from retrainlab.data.dataset import Augmentation, Dataset, Split
from retrainlab.layers import prunable
from retrainlab.methods.table import GMP
from retrainlab.models import build
from retrainlab.schedules import dense, retraining
from retrainlab.training import cycles, masked
from retrainlab.training.loop import evaluate, train
from retrainlab.training.state import Setup, State
from tests.helpers.pruning import prune

BATCH = 10  # 4 steps per epoch
ORIGINAL = dense(Recipe(lr=0.1), 20)


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 120, (count, 1, 8, 8), generator=generator)
    images[torch.arange(count), 0, labels * 2] += 100  # each class has its bright row
    return Split(images.to(torch.uint8), labels)


DATA = Dataset(
    "synthetic",
    split(40, 0),
    split(15, 1),
    split(15, 2),
    3,
    torch.tensor([72.0]),
    torch.tensor([49.0]),
    Augmentation(1, True),
)


def network(name="mlp"):
    return build(name, shape=(1, 8, 8), classes=3, width={"mlp": 12, "resnet8": 4}[name])


def start(model, momentum=0.0):
    """A dense state; `momentum` as if the dense run had ended with it."""
    state = State.of(model)
    return State(state.params, state.buffers, {n: torch.full_like(p, momentum) for n, p in state.params.items()})


def run(goal, retrain, *, model=None, state=None, sgd=None, method=None, evaluations=5, **options):
    model = model or network()
    recipe = Recipe(batch_size=BATCH, sgd=sgd or SGD(0.9, False, 1e-2), seed=3, method=method)
    state = state or start(model, 0.01)
    seen = options.pop("seen", [])
    stop = options.pop("stop", None)
    setup = Setup(model, DATA, recipe.sgd, BATCH, prunable(model))
    course = cycles.run(setup, Experiment(recipe, goal, retrain, evaluations), state, ORIGINAL, **options)
    job = next(course)
    while True:
        begin = job.start.copy()
        trained = train(setup, job, stop)
        seen.append((begin, job, trained.state))
        try:
            job = course.send(trained)
        except StopIteration as end:
            return end.value


def zeros(state, model):
    return sum(int((state.params[n] == 0).sum()) for n in prunable(model))


def size(model):
    return sum(p.numel() for n, p in model.named_parameters() if n in prunable(model))


def masked_are_zero(state, masks):
    return all(tensors[n][~m].eq(0).all() for n, m in masks.items() for tensors in (state.params, state.momentum))


# ---- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 0.98, 0.999])
@pytest.mark.parametrize("cycles", [1, 2, 3, 7, 20])
def test_each_cycle_removes_the_same_share_of_what_remains_and_the_last_hits_the_total(sparsity, cycles):
    """Pitfall: the per-cycle share and the total sparsity are mixed up."""
    targets = Prune(sparsity, cycles=cycles).targets
    assert len(targets) == cycles and targets[-1] == sparsity
    remaining = [1 - t for t in (0, *targets)]
    shares = [1 - b / a for a, b in zip(remaining, remaining[1:], strict=False)]
    assert shares == pytest.approx([1 - (1 - sparsity) ** (1 / cycles)] * cycles, rel=1e-6)


def test_targets_at_the_ends():
    assert Prune(0.0, cycles=3).targets == (0, 0, 0)
    assert Prune(1.0, cycles=3).targets == (1, 1, 1)
    assert Prune(0.36, cycles=2).targets == pytest.approx((0.2, 0.36))


# ---- zeros stay zeros ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("sgd", [SGD(0.9, True, 0.1), SGD(0.9, False, 0.1), SGD(0.0, False, 0.1, decay_norm=False)])
@pytest.mark.parametrize("name", ["mlp", "resnet8"])
def test_masked_weights_stay_zero_through_momentum_and_decay(optimizer, sgd, name):
    """Pitfall: pruned weights come back through momentum, weight decay or a late mask."""
    model = network(name)
    state, masks, cycles = run(
        Prune(0.8, cycles=3), Retrain("LLR", 0.35, optimizer=optimizer), model=model, state=start(model, 0.5), sgd=sgd
    )
    assert masked_are_zero(state, masks)
    assert all(c.trained.steps == 7 for c in cycles)
    assert zeros(state, model) == round(0.8 * size(model)) == sum(int((~m).sum()) for m in masks.values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_cycle_starts_and_ends_with_its_masked_weights_and_momentum_at_zero(optimizer):
    seen = []
    run(Prune(0.9, cycles=3), Retrain("FT", 0.2, optimizer=optimizer), sgd=SGD(0.9, True, 0.1), seen=seen)
    assert len(seen) == 3
    for begin, job, end in seen:
        for n, mask in job.method.masks.items():
            for tensors in (begin.params, begin.momentum, end.params, end.momentum):
                assert tensors[n][~mask].eq(0).all()


@pytest.mark.parametrize(
    "prune",
    [
        Prune(0.7, allocation="uniform", cycles=2),
        Prune(0.7, allocation="erk", cycles=2),
        Prune(0.7, allocation="lamp", cycles=2),
        Prune(0.7, score="random", cycles=2),
        Prune(0.7, keep_first=True, keep_last=True, cycles=2),
        Prune(0.0),
        Prune(1.0),
        Prune(0.999, cycles=4),
    ],
    ids=str,
)
def test_final_sparsity_is_the_exact_count_for_every_way_to_prune(prune):
    """Pitfall: retraining forgets the mask, and a "pruned" network is 98 % dense."""
    model = network("resnet8")
    state, masks, cycles = run(prune, Retrain("LLR", 0.2), model=model)
    assert zeros(state, model) == round(prune.sparsity * size(model))
    assert masked_are_zero(state, masks)
    assert 1 - torch.tensor([1 - c.removed for c in cycles]).prod().item() == pytest.approx(prune.sparsity, abs=1e-3)
    if prune.keep_first:
        assert masks["conv.weight"].all() and masks["classifier.weight"].all()


@pytest.mark.parametrize(
    ("name", "prune"),
    [
        ("resnet8", Prune(0.5, structure="filters", cycles=2)),
        ("resnet8", Prune(0.5, structure="n:m")),
        ("mlp", Prune(0.5, structure="neurons", cycles=2)),
        ("mlp", Prune(0.5, "obd", "uniform", structure="neurons")),
        ("mlp", Prune(0.5, "random", structure="neurons")),
    ],
)
def test_structures_stay_zero_too(name, prune):
    model = network(name)
    state, masks, _ = run(prune, Retrain("LLR", 0.2), model=model, sgd=SGD(0.9, True, 0.1))
    assert masked_are_zero(state, masks) and not all(m.all() for m in masks.values())


@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_masks_of_the_cycles_are_nested_and_hit_each_total(score):
    """Pitfall: repeated pruning takes a share of what remains when a share of all was meant."""
    seen = []
    model = network()
    prune = Prune(0.9, score, cycles=4)
    run(prune, Retrain("CLR", 0.2), model=model, seen=seen)
    gone = [{n: ~job.method.masks[n] for n in prunable(model)} for _, job, _ in seen]
    for target, now in zip(prune.targets, gone, strict=True):
        assert sum(int(g.sum()) for g in now.values()) == round(target * size(model))
    for early, late in zip(gone, gone[1:], strict=False):
        assert all((late[n] | ~early[n]).all() for n in early)


# ---- one-shot, literally ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sgd",
    [
        SGD(0.0, False, 0.0),
        SGD(0.9, False, 0.0),
        SGD(0.9, False, 0.05),
        SGD(0.9, True, 0.05),
        SGD(0.9, False, 0.05, decay_norm=False),
    ],
)
@pytest.mark.parametrize("name", ["mlp", "resnet8"])
def test_one_shot_equals_torchs_sgd_with_masks_multiplied_in(sgd, name):
    """Pitfall: weight decay is applied twice, or to parameters that are not to decay; or the schedule is off by one."""
    model = network(name)
    state, masks, (cycle,) = run(Prune(0.6), Retrain("LLR", 0.5), model=model, sgd=sgd)

    twin = copy.deepcopy(model).train()
    params = dict(twin.named_parameters())
    flat = torch.cat([params[n].detach().abs().flatten() for n in prunable(twin)])
    gone = torch.zeros(len(flat), dtype=torch.bool)
    gone[flat.argsort(stable=True)[: round(0.6 * len(flat))]] = True
    keep = {
        n: ~g.view_as(params[n])
        for n, g in zip(prunable(twin), gone.split([params[n].numel() for n in prunable(twin)]), strict=True)
    }
    rest = [p for n, p in params.items() if n not in prunable(twin)]
    optimizer = torch.optim.SGD(
        [
            {"params": [params[n] for n in prunable(twin)]},
            {"params": rest, "weight_decay": sgd.weight_decay * sgd.decay_norm},
        ],
        lr=0.1,
        momentum=sgd.momentum,
        nesterov=sgd.nesterov,
        weight_decay=sgd.weight_decay,
    )

    def mask():
        with torch.no_grad():
            for n, k in keep.items():
                params[n].mul_(k)

    mask()
    for step, (images, labels) in enumerate(batches(DATA, BATCH, 10, (3, "retrain", 0), True)):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / 2 if step == 0 else 0.1 * (9 - (step - 1)) / 9  # one step of warm-up, then 9 to 0
        optimizer.zero_grad()
        F.cross_entropy(twin(images), labels).backward()
        optimizer.step()
        mask()

    assert cycle.trained.steps == 10 and all(torch.equal(masks[n], keep[n]) for n in keep)
    for n, p in params.items():
        assert torch.allclose(state.params[n], p.detach(), rtol=1e-4, atol=1e-5), n
    for n, b in twin.named_buffers():
        assert torch.allclose(state.buffers[n].float(), b.float(), rtol=1e-4, atol=1e-5), n


# ---- the optimiser between cycles ------------------------------------------------------------------------------------


def test_fresh_optimizer_starts_each_cycle_with_no_momentum():
    """Pitfall: one optimiser is carried through all cycles by accident."""
    seen = []
    run(Prune(0.8, cycles=3), Retrain("FT", 0.2), seen=seen)
    assert len(seen) == 3
    assert all(v.eq(0).all() for begin, _, _ in seen for v in begin.momentum.values())
    assert all(any(v.ne(0).any() for v in end.momentum.values()) for _, _, end in seen)


def test_kept_optimizer_starts_each_cycle_with_the_masked_momentum_before():
    seen = []
    model = network()
    dense_state = start(model, 0.25)
    run(Prune(0.8, cycles=3), Retrain("FT", 0.2, optimizer="keep"), model=model, state=dense_state, seen=seen)
    for before, (begin, job, _) in zip([dense_state, *(end for _, _, end in seen)], seen, strict=False):
        for n, v in before.momentum.items():
            assert torch.equal(begin.momentum[n], v.masked_fill(~job.method.masks.get(n, torch.tensor(True)), 0))
        assert any(v.ne(0).any() for v in begin.momentum.values())


def test_an_optimizer_for_all_cycles_starts_fresh_after_the_dense_run_and_is_carried_on():
    """As in the authors' code, which makes one optimiser after loading the dense network and never another."""
    seen = []
    model = network()
    run(Prune(0.8, cycles=3), Retrain("FT", 0.2, optimizer="cycles"), model=model, state=start(model, 0.25), seen=seen)
    assert all(v.eq(0).all() for v in seen[0][0].momentum.values())
    for (_, _, end), (begin, job, _) in zip(seen, seen[1:], strict=False):
        for n, v in end.momentum.items():
            assert torch.equal(begin.momentum[n], v.masked_fill(~job.method.masks.get(n, torch.tensor(True)), 0))
        assert any(v.ne(0).any() for v in begin.momentum.values())


def test_dense_momentum_matters_only_when_it_is_kept():
    model = network()
    for optimizer, alike in (("fresh", True), ("cycles", True), ("keep", False)):
        ends = [
            run(Prune(0.5), Retrain("FT", 0.2, optimizer=optimizer), model=model, state=start(model, m))[0].params
            for m in (0.0, 0.5)
        ]
        assert all(torch.equal(ends[0][n], ends[1][n]) for n in ends[0]) == alike


# ---- what a cycle reports --------------------------------------------------------------------------------------------


def test_pruned_accuracy_is_measured_with_the_dense_statistics():
    """Pitfall: "pruned" accuracy is measured after a training-mode pass that refreshed BatchNorm."""
    model = network("resnet8")
    state = start(model)
    for name, b in state.buffers.items():
        if b.is_floating_point():
            b.copy_(torch.rand(b.shape, generator=torch.Generator().manual_seed(len(name))) + 0.5)
    _, masks, (cycle,) = run(Prune(0.5), Retrain("LLR", 0.2), model=model, state=state, sgd=SGD(0, False, 0))
    twin = copy.deepcopy(model).eval()
    twin.load_state_dict({n: p * masks[n] if n in masks else p for n, p in state.params.items()} | state.buffers)
    with torch.no_grad():
        scores = twin(DATA.normalise(DATA.validation.images))
    first = cycle.trained.points[0]
    assert first.step == 0 and first.loss == pytest.approx(F.cross_entropy(scores, DATA.validation.labels).item(), 1e-4)
    assert first.accuracy == pytest.approx((scores.argmax(1) == DATA.validation.labels).float().mean().item())


def test_recalibration_happens_only_when_asked_and_changes_statistics_alone():
    """Pitfall: BatchNorm's statistics are refreshed silently."""
    model = network("resnet8")
    plain, _, (a,) = run(Prune(0.8), Retrain("LLR", 0.2), model=model)
    again, _, (b,) = run(Prune(0.8), Retrain("LLR", 0.2, recalibrate=True), model=model)
    assert all(torch.equal(plain.params[n], again.params[n]) for n in plain.params)
    assert a.trained.points == b.trained.points
    assert not torch.equal(plain.buffers["norm.running_mean"], again.buffers["norm.running_mean"])
    assert plain.buffers["norm.num_batches_tracked"] == 4
    _, loss = evaluate(model, plain.params, plain.buffers, DATA, DATA.validation)
    assert loss == pytest.approx(a.trained.points[-1].loss, rel=1e-6)


def drop_by_hand(params, names, share, extra=0.0):
    squares = torch.cat([params[n].double().square().flatten() for n in names]).sort().values
    return (squares[: round(share * len(squares))].sum() / (squares.sum() + extra)).sqrt().item()


@pytest.mark.parametrize("norm", ["prunable", "all"])
def test_allr_starts_at_its_factor_of_the_peak(norm):
    model = network()
    state = start(model)
    state.params["layer1.bias"].fill_(1.0)
    names = prunable(model)
    others = sum(p.double().square().sum() for n, p in state.params.items() if n not in names)
    _, _, (cycle,) = run(Prune(0.75), Retrain("ALLR", 0.25, allr_norm=norm, warmup=0), model=model, state=state)
    drop = drop_by_hand(state.params, names, 0.75, others if norm == "all" else 0.0)
    assert cycle.removed == pytest.approx(0.75, abs=1e-3) and cycle.norm_drop == pytest.approx(drop, rel=1e-6)
    assert cycle.factor == pytest.approx(drop / cycle.removed**0.5, rel=1e-6) and 0.25 < cycle.factor < 1
    assert cycle.first_lr == cycle.peak_lr == pytest.approx(0.1 * cycle.factor)


def test_allrs_share_is_that_of_the_weights_still_there():
    seen = []
    model = network()
    state = start(model)
    _, _, cycles = run(Prune(0.75, cycles=2), Retrain("ALLR", 0.2), model=model, state=state, seen=seen)
    assert [c.removed for c in cycles] == pytest.approx([0.5, 0.5], abs=2e-3)
    alive = {n: seen[0][2].params[n][seen[0][2].params[n] != 0] for n in prunable(model)}
    assert cycles[1].norm_drop == pytest.approx(drop_by_hand(alive, prunable(model), cycles[1].removed), rel=1e-6)
    assert all(c.factor == pytest.approx(c.norm_drop / c.removed**0.5, rel=1e-6) for c in cycles)


def test_allr_in_the_last_cycle_only():
    _, _, cycles = run(Prune(0.75, cycles=3), Retrain("ALLR", 0.2, allr_cycles="last"))
    assert [c.factor == 1 for c in cycles] == [True, True, False]


def test_long_budget_sets_allrs_factor():
    _, _, (cycle,) = run(Prune(0.3), Retrain("ALLR", 0.9))
    assert cycle.factor == 0.9 and cycle.trained.steps == 18


def test_a_budget_below_one_step_still_makes_one():
    _, _, (cycle,) = run(Prune(0.3), Retrain("LLR", 1e-6))
    assert cycle.trained.steps == 1


# ---- what is left alone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["magnitude", "random"])
def test_same_seed_same_bits_whatever_the_global_state(score):
    """Pitfall: the seed comes from the process or the clock, and no run can be repeated."""
    prune, retrain = Prune(0.8, score, cycles=2), Retrain("ALLR", 0.3)
    torch.manual_seed(1)
    first, masks, _ = run(prune, retrain)
    torch.manual_seed(2)
    again, same, _ = run(prune, retrain)
    assert all(torch.equal(first.params[n], again.params[n]) for n in first.params)
    assert all(torch.equal(masks[n], same[n]) for n in masks)


def test_random_masks_of_two_cycles_are_drawn_anew():
    model = network()
    state = start(model)
    setup, prune = Setup(model, DATA, SGD(), BATCH, prunable(model)), Prune(0.5, "random", cycles=2)
    draws = [cycles.prune_state(setup, state, prune, cycle, 0) for cycle in (0, 1)]
    shared = sum(int((~draws[0][n] & ~draws[1][n]).sum()) for n in draws[0])
    independent = sum(int((~m).sum()) for m in draws[0].values()) * 0.5
    assert shared == pytest.approx(independent, rel=0.15)


def test_model_and_dense_state_stay_as_they_were():
    """Pitfall: masks inside the module break deepcopy and rename the keys of the state_dict."""
    model = network("resnet8")
    before = copy.deepcopy(model).state_dict()
    state = start(model, 0.5)
    kept = state.copy()
    final, _, _ = run(Prune(0.8, cycles=2), Retrain("LLR", 0.2, recalibrate=True), model=model, state=state)
    assert list(model.state_dict()) == list(before) == list(copy.deepcopy(model).state_dict())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    for part in ("params", "buffers", "momentum"):
        old, now = getattr(kept, part), getattr(state, part)
        assert list(old) == list(now) and all(torch.equal(old[n], now[n]) for n in old)
    nn.Module.load_state_dict(model, final.params | final.buffers)  # strict: the keys are the network's own


def test_masks_that_are_known_are_used_in_the_first_cycle():
    model = network()
    known = {n: torch.rand(p.shape) < 0.5 for n, p in model.named_parameters() if n in prunable(model)}
    state, masks, _ = run(Prune(0.5), Retrain("LLR", 0.2), model=model, first=cycles.Cut(known))
    assert all(torch.equal(masks[n], known[n]) for n in known) and masked_are_zero(state, known)


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda m: {n: t for n, t in m.items() if n != "layer2.weight"}, "'layer2.weight' lacks a mask"),
        (lambda m: m | {"layer2.bias": torch.ones(4, dtype=torch.bool)}, "'layer2.bias' has a mask"),
        (lambda m: m | {"layer2.weight": m["layer2.weight"][:1]}, "(1, 12) of torch.bool"),
        (lambda m: m | {"layer2.weight": m["layer2.weight"].float()}, "(4, 12) of torch.float32"),
        (lambda m: m | {"layer2.weight": m["layer2.weight"].to("meta")}, "on meta"),
    ],
    ids=["missing", "of a bias", "shape", "kind", "device"],
)
def test_masks_of_another_network_are_refused(spoil, said):
    """Pitfall: a mask that can be broadcast passes, and the sparsity is another."""
    model = network()
    masks = spoil({n: torch.rand(p.shape) < 0.5 for n, p in model.named_parameters() if n in prunable(model)})
    weights = {n: p for n, p in model.named_parameters() if n in prunable(model)}
    for adopt in (
        lambda: run(Prune(0.5), Retrain("LLR"), model=model, first=cycles.Cut(masks)),
        lambda: prune(weights, 0.9, masks=masks),
    ):
        with pytest.raises(BadInput, match=re.escape(said)):
            adopt()


def sparse(model, share):
    """A state with the smallest weights at 0, as a method that sparsifies leaves it; and its masks."""
    state = start(model)
    masks = prune({n: state.params[n] for n in prunable(model)}, share)
    return masked.apply(state, masks), masks


def test_allr_refuses_masks_whose_weights_are_gone_already():
    """Pitfall: a norm drop of 0 where nobody can know what the prune took."""
    model = network()
    state, masks = sparse(model, 0.5)
    with pytest.raises(BadInput, match="is 0 in the network already"):
        run(Prune(0.5), Retrain("ALLR", 0.2), model=model, state=state, first=cycles.Cut(masks))
    _, _, (cycle,) = run(Prune(0.5), Retrain("LLR", 0.2), model=model, state=state, first=cycles.Cut(masks))
    assert cycle.removed == cycle.norm_drop == 0


@pytest.mark.parametrize("target, removed", [(0.5, 0.0), (0.75, 0.5)])
def test_what_a_sparsifying_method_left_at_zero_is_not_removed_by_the_prune(target, removed):
    """Its damage is that of the prune alone: s is the share of the weights still there, and d = d2 where none goes."""
    model = network()
    state, _ = sparse(model, 0.5)
    retrain = Retrain("ALLR", 0.2, warmup=0)
    _, _, (cycle,) = run(Prune(target), retrain, model=model, state=state, method=GMP(0.5))
    assert cycle.removed == pytest.approx(removed, abs=2e-3)
    drop = drop_by_hand({n: state.params[n][state.params[n] != 0] for n in prunable(model)}, prunable(model), removed)
    assert cycle.norm_drop == pytest.approx(drop, rel=1e-6)
    assert cycle.factor == pytest.approx(max(drop / removed**0.5 if removed else 0.0, 0.2), rel=1e-3)


def test_a_prune_that_takes_nothing_has_allrs_factor_of_the_budget():
    _, _, (cycle,) = run(Prune(0.0), Retrain("ALLR", 0.2))
    assert cycle.removed == cycle.norm_drop == 0 and cycle.factor == 0.2


def test_stopping_ends_after_the_step_with_the_masks_applied():
    calls = iter(range(100))
    state, masks, cycles = run(Prune(0.8, cycles=3), Retrain("LLR", 0.25), stop=lambda: next(calls) >= 8)
    assert [c.trained.steps for c in cycles] == [5, 3] and cycles[-1].trained.stopped
    assert masked_are_zero(state, masks)


def test_retraining_follows_the_named_curve():
    seen = []
    run(Prune(0.5, cycles=2), Retrain("SLR", 0.5, ramp="cosine"), seen=seen)
    want = retraining(Retrain("SLR", ramp="cosine"), ORIGINAL, 10)
    assert len(seen) == 2 and all(torch.equal(job.curve, want) for _, job, _ in seen)
