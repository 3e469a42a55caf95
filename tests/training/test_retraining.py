"""Other retraining: none at all, a split budget, biases alone (PERP), averaged copies; after OBD and after a method."""

from dataclasses import replace

import pytest
import torch

from retrainlab import metrics, pruning, shrink
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Prune, Recipe, Retrain
from retrainlab.schedules import allr_factor
from retrainlab.scores import obd
from retrainlab.study.courses import drive
from retrainlab.study.stages import dense_curve, prepare, prune_dense, run, run_together, train_dense
from retrainlab.training import cycles, masked
from retrainlab.training.engine import Engine
from retrainlab.training.loop import evaluate, recalibrate, train
from retrainlab.training.state import State

CPU = torch.device("cpu")
RECIPE = Recipe(width=4, epochs=2)
SETUP, ORIGINAL = prepare(RECIPE, CPU)


@pytest.fixture(scope="module")
def dense():
    return train_dense(RECIPE, "cpu")


def course(dense, pruned: Prune, plan: Retrain, seen: list | None = None):
    """cycles.run in the plain loop: (state, masks, cycles); the jobs it asked for go to `seen`."""
    generator = cycles.run(SETUP, Experiment(RECIPE, pruned, plan), dense.state, ORIGINAL)
    try:
        job = next(generator)
        while True:
            if seen is not None:
                seen.append(job)
            job = generator.send(train(SETUP, job))
    except StopIteration as end:
        return end.value


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


# ---- no retraining ---------------------------------------------------------------------------------------------------


def test_a_budget_of_0_leaves_the_pruned_network_as_it_is(dense):
    jobs = []
    state, masks, [cycle] = course(dense, Prune(0.8), Retrain(budget=0), jobs)
    assert jobs == [] and cycle.trained.steps == 0
    assert same(state.params, masked.apply(dense.state, masks).params) and same(state.buffers, dense.state.buffers)
    scalars = run(Experiment(RECIPE, Prune(0.8), Retrain(budget=0)), "cpu", dense=dense).scalars
    assert scalars["validation_accuracy"] == scalars["pruned_validation_accuracy"]
    assert scalars["steps"] == 0 and scalars["total_steps"] == 62
    assert scalars["sparsity_achieved"] == pytest.approx(0.8, abs=1e-3)


def test_courses_with_and_without_training_end_together(dense):
    plans = [Retrain(budget=0), Retrain("LLR", 0.2), Retrain(budget=0, recalibrate=True)]
    experiments = [Experiment(RECIPE, Prune(0.8), plan) for plan in plans]
    pruned = prune_dense(RECIPE, Prune(0.8), dense, "cpu")
    results = dict(run_together(experiments, [(dense, pruned)] * 3, "cpu", Engine("batched", 8, 1)))
    assert [results[i].scalars["steps"] for i in range(3)] == [0, 12, 0]
    assert results[2].scalars["validation_accuracy"] == pytest.approx(
        pruned.result.scalars["recalibrated_validation_accuracy"]
    )


def test_drive_returns_what_wants_no_training_at_all():
    def idle():
        return 7
        yield

    assert list(drive(SETUP, [idle(), idle()], Engine())) == [(0, 7), (1, 7)]


# ---- a split budget --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cycles", "budget", "split", "each"),
    [(1, 0.5, True, [31]), (4, 0.5, True, [7, 7, 7, 10]), (3, 1.0, True, [20, 20, 22]), (4, 0.5, False, [31] * 4)],
)
def test_a_split_budget_is_shared_out_with_the_remainder_to_the_last_cycle(dense, cycles, budget, split, each):
    jobs = []
    _, _, done = course(dense, Prune(0.8, cycles=cycles), Retrain("FT", budget, split=split), jobs)
    assert [len(job.curve) for job in jobs] == each == [c.trained.steps for c in done]


def test_allr_measures_a_split_cycle_by_its_own_length(dense):
    """d2 = T_rt / T of the one cycle; here it is far above d1, which a sparsity of 1 % keeps small."""
    _, _, done = course(dense, Prune(0.01, cycles=2), Retrain("ALLR", 1.9, split=True))
    for c in done:
        length = c.trained.steps / len(ORIGINAL.lr)
        assert c.factor == pytest.approx(allr_factor(c.norm_drop, c.removed, length)) == pytest.approx(length)


# ---- PERP ------------------------------------------------------------------------------------------------------------


def test_perp_trains_biases_and_normalisation_and_nothing_else(dense):
    jobs = []
    state, masks, [cycle] = course(dense, Prune(0.8), Retrain("LLR", 0.5, freeze=True), jobs)
    pruned = masked.apply(dense.state, masks)
    for name, p in state.params.items():
        assert torch.equal(p, pruned.params[name]) == (name in SETUP.prunable), name
    assert list(state.params) == list(dense.state.params) == list(state.momentum)
    assert state.buffers.keys() == dense.state.buffers.keys()
    assert all(state.momentum[n].eq(0).all() for n in SETUP.prunable), "weights have no momentum"
    assert not set(jobs[0].start.params) & set(SETUP.prunable)
    assert cycle.trained.points[-1].sparsity == pytest.approx(0.8, abs=1e-3)
    assert cycle.trained.points[-1].accuracy > cycle.trained.points[0].accuracy


def test_perp_is_what_torch_does_with_frozen_weights(dense):
    """The oracle: torch.optim.SGD over the other parameters only."""
    from torch.func import functional_call

    from retrainlab.data.batches import batches
    from retrainlab.models import in_mode

    jobs = []
    state, masks, _ = course(dense, Prune(0.5), Retrain("constant", 5 / 62, lr=0.05, warmup=0, freeze=True), jobs)
    start = masked.apply(dense.state, masks)
    free = {n: p.clone().requires_grad_(True) for n, p in start.params.items() if n not in SETUP.prunable}
    still = {n: start.params[n] for n in SETUP.prunable}
    buffers = {n: b.clone() for n, b in start.buffers.items()}
    sgd = torch.optim.SGD(free.values(), 0.05, 0.9, weight_decay=1e-4)
    with in_mode(SETUP.model, training=True):
        for images, labels in batches(SETUP.data, 32, 5, jobs[0].seed):
            sgd.zero_grad()
            scores = functional_call(SETUP.model, (free | still, buffers), (images,))
            torch.nn.functional.cross_entropy(scores, labels).backward()
            sgd.step()
    for name, p in free.items():
        torch.testing.assert_close(state.params[name], p.detach(), rtol=1e-5, atol=1e-6)


def test_perp_in_the_engine_is_perp_alone(dense):
    plans = [Retrain("LLR", 0.3, freeze=True), Retrain("FT", 0.3, freeze=True), Retrain("LLR", 0.3)]
    experiments = [Experiment(RECIPE, Prune(s), plan) for s in (0.5, 0.8) for plan in plans]
    pruned = [prune_dense(RECIPE, e.prune, dense, "cpu") for e in experiments]
    together = dict(run_together(experiments, [(dense, own) for own in pruned], "cpu", Engine("batched", 8, 1)))
    for i, e in enumerate(experiments):
        alone = run(e, "cpu", dense=dense, pruned=pruned[i])
        assert together[i].scalars["validation_loss"] == pytest.approx(alone.scalars["validation_loss"], rel=1e-3)


def test_frozen_and_thawed_are_inverse():
    state = State.of(SETUP.model)
    back = state.frozen(SETUP.prunable).thawed(SETUP.prunable, list(state.params))
    assert (
        same(back.params, state.params)
        and same(back.buffers, state.buffers)
        and list(back.params) == list(state.params)
    )


# ---- soups -----------------------------------------------------------------------------------------------------------


def test_a_soup_is_the_mean_of_its_copies_recalibrated(dense):
    jobs = []
    state, masks, [cycle] = course(dense, Prune(0.8), Retrain("LLR", 0.3, copies=3), jobs)
    assert len(jobs) == 3 == len({job.seed for job in jobs})
    ends = [train(SETUP, job).state for job in jobs]
    for name, p in state.params.items():
        torch.testing.assert_close(p, (ends[0].params[name] + ends[1].params[name] + ends[2].params[name]) / 3)
    wanted = recalibrate(SETUP, replace(ends[0], params=state.params), (RECIPE.seed, "recalibrate", 0))
    assert same(state.buffers, wanted.buffers)
    assert all(state.params[n][~m].eq(0).all() for n, m in masks.items()), "the mask is that of every copy"
    assert cycle.trained.steps == sum(len(job.curve) for job in jobs)
    accuracy, loss = evaluate(SETUP.model, state.params, state.buffers, SETUP.data, SETUP.data.validation)
    assert (cycle.trained.points[-1].accuracy, cycle.trained.points[-1].loss) == (accuracy, loss)


def test_the_first_copy_sees_the_batches_of_ordinary_retraining(dense):
    soup, plain = [], []
    course(dense, Prune(0.8), Retrain("LLR", 0.1, copies=2), soup)
    course(dense, Prune(0.8), Retrain("LLR", 0.1), plain)
    assert soup[0].seed == plain[0].seed != soup[1].seed


# ---- OBD as a score --------------------------------------------------------------------------------------------------


def test_obd_takes_the_weights_of_smallest_saliency(dense):
    pruned = prune_dense(RECIPE, Prune(0.6, score="obd"), dense, "cpu")
    scores = torch.cat([s.flatten() for s in obd(SETUP, dense.state).values()])
    kept = torch.cat([m.flatten() for m in pruned.masks.values()])
    assert int((~kept).sum()) == round(0.6 * len(kept))
    assert scores[~kept].max() <= scores[kept].min()
    magnitude = prune_dense(RECIPE, Prune(0.6), dense, "cpu")
    assert not same(pruned.masks, magnitude.masks)


def test_obd_works_in_cycles_with_allocations_and_filters(dense):
    for pruned in (Prune(0.7, "obd", "uniform"), Prune(0.7, "obd", cycles=2), Prune(0.4, "obd", structure="filters")):
        state, masks, _ = course(dense, pruned, Retrain("LLR", 0.1))
        if pruned.structure == "unstructured":
            assert metrics.sparsity({n: state.params[n] for n in SETUP.prunable}) == pytest.approx(0.7, abs=1e-3)
        assert all(state.params[n][~m].eq(0).all() for n, m in masks.items())


@pytest.mark.parametrize("scores", [{}, {"a": torch.ones(3)}, {"a": torch.ones(3, 3), "b": torch.ones(3)}])
def test_pruning_needs_a_score_for_each_weight_and_none_besides(scores):
    with pytest.raises(BadInput, match="scores are not those of these weights"):
        pruning.prune({"a": torch.ones(3, 3)}, scores, Prune(0.5), 0.5)


# ---- methods before the prune ----------------------------------------------------------------------------------------


def test_a_networks_method_is_trained_before_the_prune_and_its_stability_told():
    from retrainlab.methods.table import GMP, GSM

    for method, stable in ((GMP(0.8), True), (GSM(0.8), False)):
        result = run(Experiment(replace(RECIPE, method=method), Prune(0.8), Retrain("LLR", 0.2)), "cpu")
        s = result.scalars
        assert (s["stability"] == 1.0) == stable == (s["trained_sparsity"] > 0.79)
        assert s["sparsity_achieved"] == pytest.approx(0.8, abs=1e-3)
        assert result.curves["weight_sparsity"] == pytest.approx([0.8] * 6, abs=1e-3)


def test_a_dense_run_streams_its_sparsity():
    from retrainlab.methods.table import GMP

    curve = train_dense(replace(RECIPE, epochs=4, method=GMP(0.8, interval=10)), "cpu").result.curves["weight_sparsity"]
    assert curve == sorted(curve) and curve[0] == 0 and curve[-1] == pytest.approx(0.8, abs=1e-3) and 0 < curve[1] < 0.8
    assert len(dense_curve(RECIPE, 31).lr) == 62


# ---- filters and neurons ---------------------------------------------------------------------------------------------


def test_the_measured_speed_of_the_smaller_network_stands_beside_the_theoretical(dense):
    filters = run(Experiment(RECIPE, Prune(0.5, structure="filters"), Retrain(budget=0)), "cpu", dense=dense).scalars
    assert filters["shrunken_speedup"] > 1.2 and filters["measured_speedup"] > 0
    weights = run(Experiment(RECIPE, Prune(0.5), Retrain(budget=0)), "cpu", dense=dense).scalars
    assert weights["shrunken_speedup"] is None and weights["measured_speedup"] is None


def test_a_network_that_cannot_be_made_smaller_is_measured_all_the_same(dense, monkeypatch):
    def refuses(*given, **more):
        raise BadInput("It looks at its numbers.")

    monkeypatch.setattr(shrink, "shrink", refuses)
    told = run(Experiment(RECIPE, Prune(0.5, structure="filters"), Retrain(budget=0)), "cpu", dense=dense).scalars
    assert told["shrunken_speedup"] is None and told["measured_speedup"] is None and told["test_accuracy"] > 0


@pytest.mark.parametrize("score", ["magnitude", "random", "obd"])
def test_neurons_are_pruned_retrained_and_removed_alike_in_the_loop_and_many_at_once(score):
    recipe = replace(RECIPE, model="mlp", width=30)  # 30 neurons and 10
    goals = [Prune(share, score, structure="neurons", cycles=2) for share in (0.5, 0.8)]
    experiments = [Experiment(recipe, goal, Retrain("LLR", 0.5)) for goal in goals]
    trained = train_dense(recipe, "cpu")
    pruned = [prune_dense(recipe, goal, trained, "cpu") for goal in goals]
    together = dict(run_together(experiments, [(trained, own) for own in pruned], "cpu", Engine("batched", 8, 1)))
    for place, goal in enumerate(goals):
        one, other = run(experiments[place], "cpu", dense=trained, pruned=pruned[place]), together[place]
        gone = (round(goal.sparsity * 40), one.curves["layer_sparsity"])
        left = {"layer1.weight": 30, "layer2.weight": 10}
        assert sum(round(gone[1][name] * n) for name, n in left.items()) == gone[0]
        assert gone[1]["classifier.weight"] == 0 and gone[1] == other.curves["layer_sparsity"]
        assert one.scalars["shrunken_speedup"] > 1.3 and one.scalars["measured_speedup"] > 0
        for name in ("test_accuracy", "shrunken_speedup", "sparsity_achieved", "norm_drop"):
            assert one.scalars[name] == pytest.approx(other.scalars[name], abs=0.02)


def test_neurons_of_a_network_without_a_hidden_layer_are_refused(dense):
    with pytest.raises(BadInput, match="no neurons to prune, for want of hidden Linear layers"):
        prune_dense(RECIPE, Prune(0.5, structure="neurons"), dense, "cpu")
