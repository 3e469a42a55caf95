"""An experiment's numbers mean what they say: recomputed here from its parts, by hand where that is possible."""

import copy
import json
import math
import re
from dataclasses import replace

import pytest
import torch

from retrainlab import storage
from retrainlab.checks import BadInput
from retrainlab.config import SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.data.dataset import Split, load
from retrainlab.device import repeatable
from retrainlab.keys import to_dict
from retrainlab.layers import prunable
from retrainlab.methods.table import CS, DNW, DPF, DST, GMP, GSM, LC, STR, RigL, Static
from retrainlab.study import courses, measured, stages
from retrainlab.study.stages import dense_curve, prepare, prune_dense, run, train_dense
from retrainlab.training import cycles, loop
from retrainlab.training.engine import Engine
from retrainlab.training.loop import evaluate, recalibrate
from retrainlab.training.state import State

CPU = torch.device("cpu")
RECIPE = Recipe(width=4, epochs=2)
ONCE = Experiment(RECIPE, Prune(0.8), Retrain("ALLR", budget=0.5), evaluations=2)
TWICE = Experiment(RECIPE, Prune(0.9, cycles=2), Retrain("ALLR", budget=0.5, optimizer="keep"), evaluations=2)
BOTH = pytest.mark.parametrize("which", [ONCE, TWICE], ids=["one-shot", "two cycles"])
TIMES = ("images_per_second",)
# positions of a weight's output for 8x8 digits: the stem and first stage 8x8, then halved twice, then the scores
POSITIONS = {"conv": 64, "blocks.0": 64, "blocks.1": 16, "blocks.2": 4, "classifier": 1}


@pytest.fixture(scope="module")
def dense():
    return train_dense(RECIPE, "cpu")


@pytest.fixture(scope="module")
def parts(dense):
    """For each experiment: what pruning did, its result, and the pieces of the same run made one by one."""
    out = {}
    for e in (ONCE, TWICE):
        pruned = prune_dense(RECIPE, e.prune, dense, "cpu")
        result = run(e, "cpu", dense=dense, pruned=pruned)
        with repeatable(CPU):
            setup, original = prepare(RECIPE, CPU)
            course = cycles.run(setup, e, dense.state, original, pruned.cut)
            ((_, (state, masks, done)),) = courses.drive(setup, [course], Engine())
        made = dict(data=setup.data, model=setup.model, state=state, cycles=done, masks=masks)
        out[e] = dict(pruned=pruned, result=result, setup=setup) | made
    return out


def share_right(model, state, split, data) -> float:
    """Accuracy, from a plain module in evaluation mode on images normalised here."""
    plain = copy.deepcopy(model)
    plain.load_state_dict(state.params | state.buffers)
    images = (split.images.float() - data.mean.view(1, -1, 1, 1)) / data.std.view(1, -1, 1, 1)
    with torch.no_grad():
        return (plain.eval()(images).argmax(1) == split.labels).double().mean().item()


def but_times(scalars: dict) -> dict:
    return {name: x for name, x in scalars.items() if name not in TIMES}


# ---- what the scalars mean -------------------------------------------------------------------------------------------


def test_a_dense_runs_scalars(dense):
    setup, _ = prepare(RECIPE, CPU)
    model, data = setup.model, setup.data
    s = dense.result.scalars
    assert s["test_accuracy"] == share_right(model, dense.state, data.test, data)
    assert s["validation_accuracy"] == share_right(model, dense.state, data.validation, data)
    assert s["steps"] == 2 * (1000 // 32)
    assert s["parameters"] == sum(p.numel() for p in model.parameters())
    assert s["prunable_weights"] == sum(p.numel() for n, p in model.named_parameters() if n in prunable(model))
    weights = dict(model.named_parameters())
    by_hand = sum(n * weights[w].numel() for w in prunable(model) for p, n in POSITIONS.items() if w.startswith(p))
    assert s["multiply_adds"] == by_hand
    assert s["images_per_second"] > 0


def test_a_dense_runs_curve_holds_its_learning_rates(dense):
    curves, original = dense.result.curves, dense_curve(RECIPE, 31)
    assert curves["step"] == [0, 31, 62]
    assert curves["lr"] == [original.lr[i].item() for i in (0, 31, 61)]


@BOTH
def test_accuracies_are_of_the_final_network_and_of_the_dense_one(parts, dense, which):
    p = parts[which]
    s, data, model = p["result"].scalars, p["data"], p["model"]
    assert s["test_accuracy"] == share_right(model, p["state"], data.test, data)
    assert s["validation_accuracy"] == share_right(model, p["state"], data.validation, data)
    assert s["dense_test_accuracy"] == share_right(model, dense.state, data.test, data)
    assert s["dense_validation_accuracy"] == share_right(model, dense.state, data.validation, data)


@BOTH
def test_the_pruned_accuracy_is_raw_and_the_recalibrated_one_is_named_so(parts, dense, which):
    """Pitfall: "pruned" accuracy measured after a pass that refreshed BatchNorm (38 % became 92 %)."""
    p = parts[which]
    s, data, model, setup = p["result"].scalars, p["data"], p["model"], p["setup"]
    params = dense.state.params | {n: dense.state.params[n] * m for n, m in p["pruned"].masks.items()}
    masked = replace(dense.state, params=params)
    assert s["pruned_validation_accuracy"] == share_right(model, masked, data.validation, data)
    fresh = recalibrate(setup, masked, (RECIPE.seed, "recalibrate"))
    assert s["recalibrated_validation_accuracy"] == share_right(model, fresh, data.validation, data)
    assert s["pruned_validation_accuracy"] != s["recalibrated_validation_accuracy"]


@BOTH
def test_stability_and_recovery_are_their_formulas(parts, which):
    s = parts[which]["result"].scalars
    before, raw, again = (s[f"{x}validation_accuracy"] for x in ("dense_", "pruned_", "recalibrated_"))
    assert s["stability"] == pytest.approx(1 - (before - raw) / before)
    assert s["recalibrated_stability"] == pytest.approx(1 - (before - again) / before)
    accuracy, cycle = (parts[which]["result"].curves[c] for c in ("validation_accuracy", "cycle"))
    lost = regained = 0.0
    for c in range(which.prune.cycles):
        own = [a for a, k in zip(accuracy, cycle, strict=True) if k == c]
        lost, regained, before = lost + before - own[0], regained + own[-1] - own[0], own[-1]
    assert s["recovery"] == pytest.approx(regained / lost)


@BOTH
def test_sparsity_is_the_exact_share_of_zeros_among_the_prunable_weights(parts, which):
    """Pitfalls: sparsity counts biases and normalisation weights; weights come back through momentum or decay;
    top-k over all parameters while k counts the prunable ones."""
    p = parts[which]
    weights = {n: p["state"].params[n] for n in prunable(p["model"])}
    total = sum(w.numel() for w in weights.values())
    zeros = sum(int((w == 0).sum()) for w in weights.values())
    assert zeros == round(which.prune.sparsity * total)
    assert p["result"].scalars["sparsity_achieved"] == pytest.approx(zeros / total, abs=1e-12)
    layers = p["result"].curves["layer_sparsity"]
    assert layers == {n: pytest.approx((w == 0).double().mean().item()) for n, w in weights.items()}


@BOTH
def test_only_prunable_weights_have_masks_and_everything_else_is_left_alone(parts, which):
    """Pitfall: top-k over all parameters."""
    p = parts[which]
    assert list(p["pruned"].masks) == list(prunable(p["model"])) == list(p["masks"])
    others = [n for n in p["state"].params if n not in p["masks"]]
    assert others and all((p["state"].params[n] != 0).any() for n in others)


@BOTH
def test_masked_weights_and_their_momentum_are_exactly_zero_after_retraining(parts, which):
    """Pitfall: pruned weights come back through momentum, weight decay or a late mask."""
    p = parts[which]
    for name, mask in p["masks"].items():
        assert not p["state"].params[name][~mask].any() and not p["state"].momentum[name][~mask].any()


@BOTH
def test_the_norm_drop_is_that_of_the_last_prune(parts, dense, which):
    p = parts[which]
    before = dense.state if which is ONCE else p["cycles"][0].trained.state
    names = prunable(p["model"])
    flat = torch.cat([before.params[n].flatten() for n in names]).double()
    keep = torch.cat([p["masks"][n].flatten() for n in names])
    s = p["result"].scalars
    assert s["norm_drop"] == pytest.approx(((flat - flat * keep).norm() / flat.norm()).item(), rel=1e-9)
    alive = 1 if which is ONCE else 1 - round(which.prune.targets[0] * len(flat)) / len(flat)
    removed = 1 - keep.sum().item() / len(flat) / alive
    assert s["removed"] == pytest.approx(removed, abs=1e-12)
    factor = min(max(s["norm_drop"] / math.sqrt(removed), which.retrain.budget), 1)
    assert s["allr_factor"] == pytest.approx(factor) and s["peak_lr"] == pytest.approx(factor * RECIPE.lr)


@BOTH
def test_the_theoretical_speedup_is_dense_over_nonzero_multiply_adds(parts, which):
    """Pitfall: multiply-adds that ignore padding."""
    p = parts[which]
    weights = {n: p["state"].params[n] for n in prunable(p["model"])}
    at = {w: n for w in weights for prefix, n in POSITIONS.items() if w.startswith(prefix)}
    dense = sum(at[n] * w.numel() for n, w in weights.items())
    nonzero = sum(at[n] * int((w != 0).sum()) for n, w in weights.items())
    assert p["result"].scalars["theoretical_speedup"] == pytest.approx(dense / nonzero)


@BOTH
def test_the_bytes_are_those_of_the_final_network_with_its_buffers(parts, which):
    """Pitfall: a compression ratio of the prunable weights alone."""
    p = parts[which]
    tensors = p["model"].state_dict() | p["state"].params | p["state"].buffers
    files = list(storage.pack(tensors, prunable(p["model"])))
    s, sizes = p["result"].scalars, p["result"].curves["bytes"]
    for file in files:
        assert sizes[f"float32_{file.encoding}{'_gzip' * file.gzipped}"] == len(file.content)
    assert len(sizes) == 12 and s["unpacked_bytes"] == len(files[0].content)
    assert s["packed_bytes"] == min(len(file.content) for file in files)
    assert s["compression_ratio"] == s["unpacked_bytes"] / s["packed_bytes"] > 2
    assert s["compression_ratio_bfloat16"] == s["unpacked_bytes"] / min(sizes[n] for n in sizes if n.startswith("bf"))


@BOTH
def test_steps_are_the_budgets_share_of_the_dense_run_in_each_cycle(parts, which):
    s = parts[which]["result"].scalars
    assert s["steps"] == which.prune.cycles * 31 and s["stopped"] is False
    assert parts[which]["result"].provenance["seconds"] > 0


@BOTH
def test_curves_are_the_validation_points_of_every_cycle(parts, which):
    p = parts[which]
    curves = p["result"].curves
    points = [point for cycle in p["cycles"] for point in cycle.trained.points]
    assert curves["step"] == [0, 16, 31] * which.prune.cycles
    assert curves["cycle"] == [i for i in range(which.prune.cycles) for _ in range(3)]
    assert curves["validation_accuracy"] == [point.accuracy for point in points]
    assert curves["validation_loss"] == [point.loss for point in points]
    assert curves["validation_accuracy"][0] == p["result"].scalars["pruned_validation_accuracy"]
    assert curves["validation_accuracy"][-1] == p["result"].scalars["validation_accuracy"]
    assert [x is None for x in curves["train_loss"]] == [True, False, False] * which.prune.cycles


# ---- which images are read -------------------------------------------------------------------------------------------


@pytest.fixture
def read(monkeypatch):
    """The names of the splits that were evaluated, in order; `weights` are what was evaluated."""
    names = []

    def spy(model, params, buffers, data, split):
        names.append(next(n for n in ("train", "validation", "test") if getattr(data, n) is split))
        return evaluate(model, params, buffers, data, split)

    for module in (loop, measured):
        monkeypatch.setattr(module, "evaluate", spy)
    return names


def test_the_test_images_are_read_once_for_each_network(dense, read):
    """Pitfall: the test set used to choose."""
    train_dense(RECIPE, "cpu")
    assert read.count("test") == 1 and read[-1] == "test"
    read.clear()
    pruned = prune_dense(RECIPE, TWICE.prune, dense, "cpu")
    assert set(read) == {"validation"}
    read.clear()
    run(TWICE, "cpu", dense=dense, pruned=pruned)
    assert read.count("test") == 1 and set(read) == {"validation", "test"}


def test_no_number_but_the_test_scores_depends_on_the_test_images(parts, dense, monkeypatch):
    """Pitfall: the test set used to choose."""

    def garbled(*args, **kwargs):
        data = load(*args, **kwargs)
        return replace(data, test=Split(255 - data.test.images, (data.test.labels + 1) % 10))

    monkeypatch.setattr(stages, "load", garbled)
    other_dense = train_dense(RECIPE, "cpu")
    other = run(ONCE, "cpu", dense=other_dense)
    first = parts[ONCE]["result"]
    for a, b in ((dense.result, other_dense.result), (first, other)):
        assert a.curves == b.curves
        different = {n for n in a.scalars if a.scalars[n] != b.scalars[n]} - set(TIMES)
        assert different and all("test" in n for n in different)


@pytest.fixture
def trainings(monkeypatch):
    """What every retraining was given, and the batches it saw."""
    calls, batches = [], loop.batches

    real = loop.train

    def train(setup, job, stop=None):
        if job.seed[1] == "retrain":
            calls.append(dict(start=job.start.copy(), curve=job.curve, setup=setup, seed=job.seed, batches=[]))
        return real(setup, job, stop)

    def seen(*args, **kwargs):
        for images, labels in batches(*args, **kwargs):
            if calls:
                calls[-1]["batches"].append((images.clone(), labels.clone()))
            yield images, labels

    monkeypatch.setattr(loop, "batches", seen)
    monkeypatch.setattr(loop, "train", train)
    return calls


def test_schedules_that_are_compared_share_batches_masks_and_start(parts, dense, trainings):
    pruned = parts[ONCE]["pruned"]
    for schedule in ("FT", "LRW", "SLR", "CLR", "LLR", "ALLR"):
        run(Experiment(RECIPE, ONCE.prune, Retrain(schedule, budget=0.2)), "cpu", dense=dense, pruned=pruned)
    first, *others = trainings
    assert len(first["batches"]) == 12 and len(others) == 5
    for other in others:
        for (a, x), (b, y) in zip(first["batches"], other["batches"], strict=True):
            assert torch.equal(a, b) and torch.equal(x, y)
        assert all(torch.equal(other["start"].params[n], p) for n, p in first["start"].params.items())
        assert all(torch.equal(p != 0, pruned.masks[n]) for n, p in other["start"].params.items() if n in pruned.masks)
    assert len({tuple(c["curve"].tolist()) for c in trainings}) >= 5


def test_cycles_and_the_dense_run_see_different_batches(dense, trainings):
    run(TWICE, "cpu", dense=dense)
    first, second = (call["batches"][0][0] for call in trainings)
    assert not torch.equal(first, second)
    assert len({call["seed"] for call in trainings} | {(RECIPE.seed, "dense")}) == 3


@pytest.mark.parametrize(
    "optimizer, carried", [("fresh", [False, False]), ("cycles", [False, True]), ("keep", [True, True])]
)
def test_the_optimiser_is_fresh_in_each_cycle_unless_asked_to_be_kept(dense, trainings, optimizer, carried):
    """Pitfall: one optimiser carried through all cycles by accident."""
    run(replace(TWICE, retrain=Retrain("LLR", budget=0.5, optimizer=optimizer)), "cpu", dense=dense)
    assert [any(m.any() for m in call["start"].momentum.values()) for call in trainings] == carried
    for call in trainings:
        momentum = call["start"].momentum
        for name in call["setup"].prunable:
            assert not momentum[name][call["start"].params[name] == 0].any()


def test_training_uses_the_recipes_batch_size_augmentation_and_sgd(trainings):
    recipe = Recipe(width=4, epochs=1, batch_size=50, augment=False, sgd=SGD(0.5, True, 1e-3, False))
    run(Experiment(recipe, Prune(0.5), Retrain("FT", budget=0.5)), "cpu")
    call = trainings[-1]
    setup = call["setup"]
    assert setup.sgd == recipe.sgd and setup.augment is False and setup.batch_size == 50
    assert [len(y) for _, y in call["batches"]] == [50] * 10


# ---- sharing and repeating -------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_of_everything_but_time(parts, dense):
    """Pitfall: seed from pid and time."""
    torch.manual_seed(123)
    again = train_dense(RECIPE, "cpu")
    for part in ("params", "buffers", "momentum"):
        assert all(torch.equal(t, getattr(dense.state, part)[n]) for n, t in getattr(again.state, part).items())
    assert but_times(again.result.scalars) == but_times(dense.result.scalars)
    whole, first = run(TWICE, "cpu"), parts[TWICE]["result"]
    assert but_times(whole.scalars) == but_times(first.scalars) and whole.curves == first.curves


def test_another_seed_gives_another_network_and_other_batches(dense):
    other = train_dense(replace(RECIPE, seed=1), "cpu")
    assert other.result.curves != dense.result.curves


def test_given_networks_and_masks_are_used_and_not_changed(parts, dense, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("made again")

    monkeypatch.setattr(stages, "train_dense", never)
    monkeypatch.setattr(stages, "prune_dense", never)
    state, pruned = dense.state.copy(), parts[TWICE]["pruned"]
    masks = {n: m.clone() for n, m in pruned.masks.items()}
    run(TWICE, "cpu", dense=dense, pruned=pruned)
    for part in ("params", "buffers", "momentum"):
        assert all(torch.equal(t, getattr(dense.state, part)[n]) for n, t in getattr(state, part).items())
    assert all(torch.equal(m, pruned.masks[n]) for n, m in masks.items())


def test_a_dense_network_or_masks_of_another_recipe_are_refused(parts, dense):
    other = Experiment(replace(RECIPE, width=5), ONCE.prune, ONCE.retrain)
    narrow = re.escape("is (4, 1, 3, 3), torch.float32 on cpu and should be (5, 1, 3, 3), torch.float32 on cpu")
    for adopt in (lambda: prune_dense(other.recipe, other.prune, dense, "cpu"), lambda: run(other, "cpu", dense=dense)):
        with pytest.raises(BadInput, match=narrow):
            adopt()
    wide = train_dense(replace(other.recipe, epochs=1), "cpu")
    with pytest.raises(BadInput, match="The dense network given has another epochs"):
        run(other, "cpu", dense=wide, pruned=parts[ONCE]["pruned"])
    with pytest.raises(BadInput, match="The pruning given has another sparsity"):
        run(replace(ONCE, prune=Prune(0.5)), "cpu", dense=dense, pruned=parts[ONCE]["pruned"])
    with pytest.raises(BadInput, match="The masks given were made from another dense network"):
        run(replace(other, recipe=replace(other.recipe, epochs=1)), "cpu", dense=wide, pruned=parts[ONCE]["pruned"])


def test_the_first_cycles_masks_are_those_given(parts, dense, trainings):
    masks = {n: torch.zeros_like(m) for n, m in parts[ONCE]["pruned"].masks.items()}
    masks["classifier.weight"][:] = True
    run(ONCE, "cpu", dense=dense, pruned=replace(parts[ONCE]["pruned"], masks=masks))
    start = trainings[0]["start"].params
    assert {n for n in masks if start[n].any()} == {"classifier.weight"}


def test_recalibration_is_done_at_the_end_if_asked_for_and_not_otherwise(parts, dense, monkeypatch):
    """Pitfall: BatchNorm refreshed in silence."""
    calls = []
    monkeypatch.setattr(cycles, "recalibrate", lambda model, state, *a, **k: (calls.append(state), state)[1])
    run(ONCE, "cpu", dense=dense, pruned=parts[ONCE]["pruned"])
    assert not calls
    asked = replace(ONCE, retrain=replace(ONCE.retrain, recalibrate=True))
    run(asked, "cpu", dense=dense, pruned=parts[ONCE]["pruned"])
    assert len(calls) == 1


def test_stop_ends_a_run_early_and_says_so(parts, dense):
    asked = iter(range(1000))
    result = run(TWICE, "cpu", dense=dense, pruned=parts[TWICE]["pruned"], stop=lambda: next(asked) >= 5)
    assert result.scalars["stopped"] is True and result.scalars["steps"] == 5


def test_points_are_reported_as_they_come(parts, dense):
    seen = []
    run(ONCE, "cpu", dense=dense, pruned=parts[ONCE]["pruned"], on_point=seen.append)
    assert [p.accuracy for p in seen] == parts[ONCE]["result"].curves["validation_accuracy"]


def test_the_global_generator_and_torchs_threads_are_left_as_they_were(parts, dense):
    torch.manual_seed(0)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    run(ONCE, "cpu", dense=dense, pruned=parts[ONCE]["pruned"])
    assert torch.equal(torch.random.get_rng_state(), state) and torch.get_num_threads() == threads


# ---- what is kept ----------------------------------------------------------------------------------------------------


@BOTH
def test_a_result_is_json_without_nan_and_holds_its_configuration(parts, which):
    result = parts[which]["result"]
    assert result.config == to_dict(which)
    for part in (result, parts[which]["pruned"].result):
        text = json.dumps(vars(part), allow_nan=False)
        assert json.loads(text) == vars(part)
    assert {"device", "seconds", "python", "torch", "retrainlab", "revision"} <= set(result.provenance)


def test_what_is_undefined_is_none_and_not_nan(dense):
    nothing = run(Experiment(RECIPE, Prune(0.0), Retrain("FT", budget=0.1)), "cpu", dense=dense)
    assert nothing.scalars["recovery"] is None and nothing.scalars["stability"] == 1
    assert nothing.scalars["sparsity_achieved"] == 0 and nothing.scalars["theoretical_speedup"] == 1
    everything = run(Experiment(RECIPE, Prune(1.0), Retrain("FT", budget=0.1)), "cpu", dense=dense)
    assert everything.scalars["theoretical_speedup"] is None and everything.scalars["sparsity_achieved"] == 1
    json.dumps([vars(nothing), vars(everything)], allow_nan=False)


def test_a_run_that_diverges_is_json_too_and_its_masked_weights_are_still_zero(dense):
    """Pitfall: pruned weights come back (0 times a gradient that is not finite is not 0)."""
    wild = run(Experiment(RECIPE, Prune(0.5), Retrain("constant", lr=1e30, budget=0.1)), "cpu", dense=dense)
    json.dumps(vars(wild), allow_nan=False)
    assert wild.scalars["sparsity_achieved"] == pytest.approx(0.5, abs=1e-3)
    assert wild.outcome.startswith("diverged: retraining, cycle 1")
    assert wild.curves["bytes"] == {} and wild.scalars["packed_bytes"] is wild.scalars["compression_ratio"] is None


@pytest.mark.parametrize("method", [CS(), STR(), DST(), GSM(), LC(), GMP(), DPF(), DNW(), RigL(), Static()], ids=str)
def test_a_method_that_diverges_is_no_network_whatever_it_makes_of_its_weights(method):
    """CS and GMP set weights to 0 at the end, NaN or not."""
    recipe = Recipe(model="mlp", width=6, epochs=1, lr=1e30, method=method)
    ended = train_dense(recipe, "cpu")
    assert ended.result.outcome == "diverged: the first training, within 31 steps"
    s = run(Experiment(recipe, Prune(0.9), Retrain(budget=0.0)), "cpu", dense=ended).scalars
    assert [s[name] for name in ("test_accuracy", "trained_sparsity", "sparsity_achieved")] == [None] * 3


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_statistics_that_overflow_when_they_are_measured_anew_are_an_outcome_too(parts, dense, monkeypatch, value):
    def overflow(*args):
        fresh = recalibrate(*args)
        return replace(fresh, buffers=fresh.buffers | {"norm.running_var": fresh.buffers["norm.running_var"] * value})

    monkeypatch.setattr(cycles, "recalibrate", overflow)
    asked = replace(ONCE, retrain=replace(ONCE.retrain, recalibrate=True))
    result = run(asked, "cpu", dense=dense, pruned=parts[ONCE]["pruned"])
    assert result.outcome == "diverged: the finished network" and result.scalars["test_accuracy"] is None


def test_a_last_cycle_too_long_for_lrw_is_refused_before_anything_is_trained(monkeypatch):
    """Of 186 iterations in 3 cycles each has 62, as the dense run; of 185 the last has 63."""
    monkeypatch.setattr(stages, "train_dense", lambda *args, **more: pytest.fail("it trains"))

    def ask(steps, clamp=False):
        retrain = Retrain("LRW", budget=steps / 62, split=True, clamp=clamp)
        return Experiment(RECIPE, Prune(0.9, cycles=3), retrain)

    for fits in (ask(153), ask(186), ask(185, clamp=True)):
        stages.check_lengths(fits)
    with pytest.raises(BadInput, match="replays the last 63 iterations, but the dense run has only 62"):
        run(ask(185), "cpu")


def test_models_stay_plain_modules(parts):
    """Pitfall: deepcopy fails and state_dict keys change after pruning."""
    fresh = prepare(RECIPE, CPU)[0].model
    used = parts[TWICE]["model"]
    assert list(copy.deepcopy(used).state_dict()) == list(fresh.state_dict())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in used.modules())
    assert State.of(used).params.keys() == parts[TWICE]["state"].params.keys()
