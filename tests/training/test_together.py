"""Many members at once: each gets what the plain loop gives it, whoever trains beside it and whenever it leaves."""

import itertools
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import nn

from retrainlab.config import MODELS, SGD, Recipe, Retrain
from retrainlab.data.dataset import load
from retrainlab.device import repeatable
from retrainlab.methods.make import make
from retrainlab.methods.sparsifier import Span
from retrainlab.methods.table import DST, GMP
from retrainlab.models import apart, build
from retrainlab.schedules import dense, retraining
from retrainlab.training import loop, masked, stack, together, ways
from retrainlab.training.method import Method, Plain
from retrainlab.training.slots import in_slots
from retrainlab.training.stacking import forward_of, vmapped
from retrainlab.training.state import Job, Setup, State
from retrainlab.training.ways import Way
from tests.helpers.attentive import Attentive
from tests.helpers.diary import Diary
from tests.helpers.members import (
    BATCH,
    NETWORKS,
    SEEDS,
    after,
    alone,
    assert_alike,
    identical,
    images,
    jobs_of,
    masks_of,
    network,
    rates,
    setup_of,
    tensors,
    train_together,
    under_masks,
)
from tests.helpers.recording import Recorder, waits_in_steps

CPU = torch.device("cpu")


# ---- every network ---------------------------------------------------------------------------------------------------


def of_network(name) -> Setup:
    _, height, _ = NETWORKS[name]
    return setup_of(network(name), images((3, height, height)), batch_size=4 if name == "wrn28-10" else BATCH)


@pytest.mark.parametrize("name", MODELS)
def test_masked_members_of_each_network_end_as_in_the_loop(name):
    """Two see the same images and the third others, until it leaves."""
    setup = of_network(name)
    jobs = jobs_of(setup, under_masks(setup), name=name, steps=(50, 30, 7), lr=NETWORKS[name][2])
    mine = train_together(setup, jobs)
    assert_alike(mine, alone(setup, jobs))
    for trained, job in zip(mine, jobs):
        assert any((trained.state.params[n] - p).abs().max() > 1e-4 for n, p in job.start.params.items())
        for part in (trained.state.params, trained.state.momentum):
            for layer, mask in job.method.masks.items():
                assert not mask.all() and torch.equal(part[layer][~mask], torch.zeros_like(part[layer][~mask]))


@pytest.mark.parametrize("name", ["mlp", "resnet8"])
def test_plain_members_with_images_of_their_own_end_as_in_the_loop(name):
    setup = of_network(name)
    seeds = [(0, "t"), (1, "t")]
    jobs = jobs_of(setup, lambda place: Plain(), name=name, steps=(50, 11), seeds=seeds, lr=NETWORKS[name][2])
    assert_alike(train_together(setup, jobs), alone(setup, jobs))


@pytest.mark.parametrize("sgd", [SGD(), SGD(0.9, True, 1e-2, False), SGD(0, False, 1e-2), SGD(0.5, False, 0)], ids=str)
@pytest.mark.parametrize("seeds", [SEEDS[:1] * 3, [(i, "t") for i in range(3)]], ids=["one seed", "three seeds"])
def test_members_end_as_in_the_loop_with_any_sgd_and_any_seeds(seeds, sgd):
    setup = setup_of(sgd=sgd)
    jobs = jobs_of(setup, under_masks(setup), steps=(20, 20, 13), seeds=seeds)
    assert_alike(train_together(setup, jobs), alone(setup, jobs))


@pytest.mark.parametrize("unfolded", [False, True])
def test_members_that_are_evaluated_together_have_the_loops_points(monkeypatch, unfolded):
    """As on a GPU."""
    monkeypatch.setattr(ways, "evaluation_of", forward_of)
    setup = setup_of()
    jobs = jobs_of(setup, under_masks(setup), steps=(12, 9, 5))
    jobs[2].curve[2:] = 1e200
    mine, wanted = train_together(setup, jobs, unfolded=unfolded), alone(setup, jobs)
    assert mine[2].diverged and math.isnan(mine[2].points[-1].accuracy) and mine[2].points[-1].step == 5
    assert_alike(mine[:2], wanted[:2])


def test_members_of_a_network_under_vmap_end_as_in_the_loop():
    setup = setup_of()
    jobs = jobs_of(setup, under_masks(setup))
    assert_alike(train_together(setup, jobs, forward=vmapped(setup.model)), alone(setup, jobs))


def noisy():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2)),
            *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 36, 3)),
        ).double()


def noisy_jobs(setup, steps=(30, 17, 8)):
    start = State.of(setup.model)
    return [Job(start, rates(n, place=i), (0, "t"), masked.Masked({}), 2) for i, n in enumerate(steps)]


def test_members_of_one_seed_see_the_loops_noise():
    setup = setup_of(noisy())
    jobs = noisy_jobs(setup)
    assert_alike(train_together(setup, jobs), alone(setup, jobs))
    other = train_together(setup, [replace(job, seed=(1, "t")) for job in jobs])
    assert not any(identical(a.state, b.state) for a, b in zip(train_together(setup, jobs), other))


def test_training_leaves_the_global_generator_and_the_model_as_they_were():
    setup = setup_of(noisy().eval())
    torch.manual_seed(0)
    before, own = torch.random.get_rng_state(), {n: t.clone() for n, t in setup.model.state_dict().items()}
    train_together(setup, noisy_jobs(setup, (3, 2, 1)))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(m.training for m in setup.model.modules())
    assert all(torch.equal(t, own[n]) for n, t in setup.model.state_dict().items())


@pytest.mark.parametrize("own", [False, True], ids=["shared images", "own images"])
def test_in_float32_a_study_network_differs_from_the_loops_by_rounding(own):
    """Most members; of some a ReLU's input lies so near 0 that rounding opens or shuts it, which training then
    multiplies."""
    model = build("resnet8", shape=(1, 8, 8), classes=10, width=16)
    setup, jobs = setup_of(model, load("digits"), batch_size=32), []
    for i in range(8):
        method = masked.Masked(masks_of(setup, i))
        start = masked.apply(State.of(model), method.masks)
        jobs.append(Job(start, rates(1, 0.1, i), (i * own, "t"), method))
    with repeatable(CPU):
        mine, wanted = train_together(setup, jobs), alone(setup, jobs)
    far = [
        max(float((x - y).abs().max()) for x, y in zip(m.state.params.values(), w.state.params.values()))
        for m, w in zip(mine, wanted)
    ]
    assert sorted(far)[4] < 1e-6 and max(far) < 1e-2


def test_a_member_that_diverges_harms_no_other_and_its_masked_weights_are_still_zero():
    """Pitfall: pruned weights come back (0 times a gradient that is not finite is not 0)."""
    setup = setup_of()
    wild, *calm = jobs_of(setup, under_masks(setup), steps=(12, 12, 9), seeds=SEEDS[:1] * 3)
    wild = replace(wild, curve=torch.full((12,), 1e200, dtype=torch.float64))
    first, *others = train_together(setup, [wild, *calm])
    assert not all(p.isfinite().all() for p in first.state.params.values())
    assert not any(first.state.params[name][~mask].any() for name, mask in wild.method.masks.items())
    assert_alike(others, alone(setup, calm))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_members_diverge_where_they_do_in_the_loop_and_the_others_go_on_as_alone(dtype):
    """One alone; two that share a slot but not their points, the longer of which ends first; one from the start."""
    setup = setup_of(network("mlp", dtype=dtype, width=8, shape=(3, 8, 8)), images((3, 8, 8), dtype))
    start = State.of(setup.model)
    calm, wild = rates(20, 0.05), torch.full((20,), 0.05, dtype=torch.float64)
    wild[6:] = 1e200 if dtype == torch.float64 else 1e30
    lost = start.copy()
    lost.params["layer1.weight"][0] = torch.nan
    plans = [(start, calm, 4), (start, wild, 5), (start, wild[:16], 1), (lost, calm, 4), (start, calm[:9], 2)]
    seen = [[] for _ in plans]
    jobs = [
        Job(begin, curve, SEEDS[0], Plain(), count, own.append)
        for (begin, curve, count), own in zip(plans, seen, strict=True)
    ]
    mine, told = train_together(setup, jobs), [[p.step for p in own] for own in seen]
    wanted = alone(setup, [replace(job, on_point=None) for job in jobs])
    assert [t.diverged for t in mine] == [False, True, True, True, False] == [t.diverged for t in wanted]
    assert [t.steps for t in mine] == [20, 8, 16, 0, 9] == [t.steps for t in wanted]
    assert told == [[p.step for p in t.points] for t in wanted] == [[p.step for p in t.points] for t in mine]
    assert not any(t.stopped for t in mine) and all(math.isnan(mine[i].points[-1].accuracy) for i in (1, 2, 3))
    healthy = ([t for t in some if not t.diverged] for some in (mine, wanted))
    assert_alike(*healthy, tolerance=1e-10 if dtype == torch.float64 else 1e-4)


def test_a_start_that_has_diverged_trains_as_in_the_loop():
    setup = setup_of()
    jobs = jobs_of(setup, lambda place: Plain(), steps=(3, 3, 2))
    jobs[0].start.params["conv.weight"][0] = float("nan")
    mine, wanted = train_together(setup, jobs), alone(setup, jobs)
    assert_alike(mine[1:], wanted[1:])
    assert all(p.isnan().all() == wanted[0].state.params[n].isnan().all() for n, p in mine[0].state.params.items())


# ---- methods ---------------------------------------------------------------------------------------------------------


class Toy(Method):
    """Each member acts with its own `size`, and counts epochs."""

    def __init__(self, place):
        self.size, self.epochs = 0.1 * (1 + place), 0


class Soft(Toy):
    def effective(self, params):
        w = params["classifier.weight"]
        return params | {"classifier.weight": w * torch.sigmoid(w / self.size)}


class Pull(Toy):
    def penalty(self, params):
        return self.size * (params["conv.weight"].abs().sum() + params["classifier.bias"].square().sum())


class Edit(Toy):
    def edit_gradients(self, params, gradients):
        w = params["classifier.weight"]
        gradients["classifier.weight"] = gradients["classifier.weight"] * (w.abs() > self.size)
        gradients["norm.bias"] = gradients["norm.bias"] + self.size


class Clip(Toy):
    def after_step(self, params, step):
        if step % 4 == 0:
            params["conv.weight"].clamp_(-self.size, self.size)


class Grow(Toy):
    def after_epoch(self, params, epoch):
        self.epochs += 1 + epoch
        params["classifier.bias"].mul_(1 - self.size)

    def effective(self, params):
        return params | {"conv.weight": params["conv.weight"] * (1 + self.size * self.epochs)}


class Round(Toy):
    def finish(self, params):
        for name in ("conv.weight", "classifier.weight"):
            params[name].copy_((params[name] / self.size).round() * self.size)


class Every(Soft, Pull, Edit, Clip, Round):
    pass


TOYS = (Soft, Pull, Edit, Clip, Grow, Round, Every)


@pytest.mark.parametrize("kind", TOYS, ids=lambda kind: kind.__name__)
def test_members_with_methods_of_their_own_end_as_in_the_loop(kind):
    setup = setup_of()
    mine = train_together(setup, jobs_of(setup, kind, lr=0.02))
    assert_alike(mine, alone(setup, jobs_of(setup, kind, lr=0.02)))
    shortest = jobs_of(setup, lambda place: Plain(), lr=0.02)[2]
    assert not identical(mine[2].state, loop.train(setup, shortest).state)


def test_members_of_unlike_methods_end_as_in_the_loop():
    setup = setup_of()
    kinds = [Plain, lambda: under_masks(setup)(0), *(lambda kind=kind, i=i: kind(i) for i, kind in enumerate(TOYS))]

    def jobs():
        seeds = [(i % 2, "t") for i in range(len(kinds))]
        return jobs_of(setup, lambda i: kinds[i](), steps=range(12, 12 + len(kinds)), seeds=seeds, lr=0.02)

    assert_alike(train_together(setup, jobs()), alone(setup, jobs()))


def test_each_methods_moments_come_as_in_the_loop():
    setup = setup_of()
    diaries = []
    for way in (train_together, alone):
        jobs = jobs_of(setup, lambda place: Diary(), steps=(12, 10, 6))
        way(setup, jobs)
        diaries.append([job.method.lines for job in jobs])
    assert diaries[0] == diaries[1]
    assert [lines.count("finish") for lines in diaries[0]] == [1, 1, 1]


# ---- points, ends and stops ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [*(0, 1, 3, 5, 6, 10, 11, 12, 20)])
def test_stop_ends_all_where_it_would_end_each(made):
    """Lengths are 12, 10 and 5; points are made after 6 and 10 steps, among others."""
    setup = setup_of()
    kind = dict(steps=(12, 10, 5), lr=0.02)
    mine = train_together(setup, jobs_of(setup, Round, **kind), after(made))
    wanted = alone(setup, jobs_of(setup, Round, **kind), lambda: after(made))
    assert_alike(mine, wanted)
    assert [t.stopped for t in mine] == [made < n for n in kind["steps"]]
    assert [t.points[-1].step for t in mine] == [min(made, n) for n in kind["steps"]]


@pytest.mark.parametrize("made", [3, 6])
def test_a_member_that_has_diverged_since_its_last_point_is_stopped_and_not_done(made):
    """Pitfall: what was stopped is kept as a result. Points are made after 6 steps and at the end."""
    setup = setup_of(network("mlp"))
    wild, calm = jobs_of(setup, under_masks(setup), name="mlp", steps=(12, 12), seeds=SEEDS[:2])
    wild = replace(wild, curve=torch.full((12,), 1e200, dtype=torch.float64), evaluations=2)
    wanted = alone(setup, [wild, calm], lambda: after(made))
    mine = train_together(setup, [wild, calm], after(made))
    assert [(t.stopped, t.diverged, t.steps) for t in mine] == [(t.stopped, t.diverged, t.steps) for t in wanted]
    assert mine[0].diverged and mine[0].stopped == (made < 6) and mine[1].stopped


def test_stop_is_asked_once_before_each_step():
    asked = []
    setup = setup_of()
    train_together(setup, jobs_of(setup, under_masks(setup), steps=(7, 5, 5)), lambda: asked.append(1))
    assert len(asked) == 7


def test_members_are_handed_over_as_they_end(monkeypatch):
    setup = setup_of()
    made, real = [], stack.Stack.step
    monkeypatch.setattr(stack.Stack, "step", lambda stack: made.append(real(stack)))
    jobs = jobs_of(setup, under_masks(setup), steps=(3, 9, 6, 9), seeds=SEEDS[:1] * 4)
    assert [(place, len(made)) for place, _ in together.train(setup, jobs)] == [(0, 3), (2, 6), (1, 9), (3, 9)]


def test_each_member_sees_its_own_points_in_order():
    setup = setup_of()
    seen = [[], [], []]
    jobs = jobs_of(setup, under_masks(setup), steps=(12, 10, 5))
    jobs = [replace(job, on_point=own.append) for job, own in zip(jobs, seen)]
    mine = train_together(setup, jobs)
    assert [tuple(own) for own in seen] == [t.points for t in mine]
    assert [[p.step for p in own] for own in seen] == [[0, 2, 5, 7, 10, 12], [0, 5, 10], [0, 5]]


def test_how_often_members_are_evaluated_changes_no_bit():
    """Pitfall: evaluation that changes the state."""
    setup = setup_of()
    jobs = jobs_of(setup, under_masks(setup), steps=(12, 10, 5))
    often = [replace(job, evaluations=10) for job in jobs]
    assert all(identical(a.state, b.state) for a, b in zip(train_together(setup, jobs), train_together(setup, often)))


def test_training_leaves_its_starts_as_they_were_and_shares_nothing():
    setup = setup_of()
    jobs = jobs_of(setup, under_masks(setup), steps=(6, 6, 4))
    jobs.append(replace(jobs[0], curve=jobs[0].curve[:3]))
    before = [job.start.copy() for job in jobs]
    mine = train_together(setup, jobs)
    assert all(identical(job.start, start) for job, start in zip(jobs, before))
    every = [
        t for state in (*(t.state for t in mine), *(job.start for job in jobs[:3])) for t in tensors(state).values()
    ]
    places = [t.untyped_storage().data_ptr() for t in every]
    assert len(set(places)) == len(places) and not any(t.requires_grad or t.grad_fn for t in every)
    assert all(t.is_contiguous() for t in every), "in the plain order of memory"
    sizes = [(t.untyped_storage().nbytes(), t.nbytes) for m in mine for t in tensors(m.state).values()]
    assert all(kept == own for kept, own in sizes)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass: 10 for a batch, 1 for a step, 1000 for an evaluation."""
    seconds = [0.0]

    def spend(of, name, cost):
        real = getattr(of, name)

        def timed(*args, **more):
            seconds[0] += cost
            return real(*args, **more)

        monkeypatch.setattr(of, name, timed)

    monkeypatch.setattr(together, "now", lambda device: seconds[0])
    spend(stack.Stack, "feed", 10)
    spend(stack.Stack, "step", 1)
    spend(stack, "judged", 1000)
    return seconds


def test_members_share_the_seconds_of_their_steps_and_of_no_evaluation(clock):
    setup, seconds = setup_of(), {}
    for place, trained in together.train(setup, jobs_of(setup, under_masks(setup), steps=(8, 4, 4))):
        seconds[place] = trained.seconds
        clock[0] += 1e6
    assert seconds == pytest.approx({0: 4 * 11 / 3 + 4 * 11, 1: 4 * 11 / 3, 2: 4 * 11 / 3})


def test_seconds_hold_no_recording(clock, monkeypatch):
    setup = setup_of()
    Recorder(monkeypatch)
    jobs = jobs_of(setup, under_masks(setup), steps=(6, 6, 6))
    assert [t.seconds for t in train_together(setup, jobs, recorded=True)] == pytest.approx([6 * 11 / 3] * 3)


def test_seconds_are_real():
    setup = setup_of()
    start = time.perf_counter()
    mine = train_together(setup, jobs_of(setup, under_masks(setup), steps=(4, 4, 4)))
    assert 0 < sum(t.seconds for t in mine) < time.perf_counter() - start


# ---- slots -----------------------------------------------------------------------------------------------------------


def flat(steps, lr=0.05):
    return torch.full((steps,), lr, dtype=torch.float64)


def a_job(setup, steps=6, **more) -> Job:
    masks = masks_of(setup)
    state = masked.apply(State.of(network(), CPU), masks)
    return replace(Job(state, flat(steps), (0, "t"), masked.Masked(masks), 1), **more)


def momentum_of(job, value):
    return replace(job, start=replace(job.start, momentum={n: m + value for n, m in job.start.momentum.items()}))


def buffers_of(job, value):
    return replace(job, start=replace(job.start, buffers={n: b + value for n, b in job.start.buffers.items()}))


def weights_of(job, value):
    bias = job.start.params["classifier.bias"] + value
    return replace(job, start=replace(job.start, params=job.start.params | {"classifier.bias": bias}))


def slots_of(setup, jobs):
    """How many slots each training step had, and what came of the jobs."""
    real, slots = forward_of(setup.model), []

    def forward(params, buffers, images):
        slots.append(len(next(iter(params.values()))))
        return real(params, buffers, images)

    return slots, train_together(setup, jobs, forward=forward)


def test_fine_tuning_with_two_budgets_and_a_replay_that_equals_it_walk_in_one_slot():
    setup = setup_of()
    original = dense(Recipe(lr=0.1), 24)
    plans = (("FT", 5, 1), ("SLR", 6, 1), ("LRW", 4, 2), ("FT", 6, 3), ("FT", 3, 1))
    seen = [[] for _ in plans]
    jobs = [
        a_job(setup, curve=retraining(Retrain(s), original, n), evaluations=e, on_point=own.append)
        for (s, n, e), own in zip(plans, seen)
    ]
    assert in_slots(jobs) == [[1], [3, 0, 2, 4]]
    slots, mine = slots_of(setup, jobs)
    assert slots == [2] * 6
    assert_alike(mine, alone(setup, [replace(job, on_point=None) for job in jobs]))
    assert [tuple(own) for own in seen] == [t.points for t in mine]
    assert [len(own) for own in seen] == [2, 2, 3, 4, 2]


def test_members_that_share_a_slot_each_finish_by_themselves():
    setup = setup_of()

    class Half(Method):
        def same(self, other):
            return type(other) is Half

        def finish(self, params):
            for p in params.values():
                p.mul_(0.5)

    jobs = [a_job(setup, n, method=Half()) for n in (6, 6, 4)]
    slots, mine = slots_of(setup, jobs)
    assert slots == [1] * 6
    assert_alike(mine, alone(setup, jobs))


def test_a_members_train_loss_goes_on_when_others_leave_its_slot_and_their_own():
    setup = setup_of()
    lengths = ((9, 0.05), (3, 0.05), (8, 0.04), (5, 0.03))
    jobs = [a_job(setup, curve=flat(steps, lr)) for steps, lr in lengths]
    assert in_slots(jobs) == [[0, 1], [2], [3]]
    assert_alike(train_together(setup, jobs), alone(setup, jobs))


ALIKE = {
    "a shorter curve": lambda job: replace(job, curve=job.curve[:3]),
    "other evaluations": lambda job: replace(job, evaluations=4),
    "equal tensors": lambda job: replace(job, start=job.start.copy()),
    "equal masks": lambda job: replace(
        job, method=masked.Masked({n: mask.clone() for n, mask in job.method.masks.items()})
    ),
}
UNLIKE = {
    "another curve": lambda job: replace(job, curve=flat(6, 0.04)),
    "a curve that ends otherwise": lambda job: replace(job, curve=torch.cat([job.curve[:5], flat(1, 0.04)])),
    "another seed": lambda job: replace(job, seed=(0, "u")),
    "other masks": lambda job: replace(job, method=masked.Masked(masks_of(setup_of(), seed=2))),
    "fewer masks": lambda job: replace(job, method=masked.Masked({})),
    "no masks": lambda job: replace(job, method=Plain()),
    "another momentum": lambda job: momentum_of(job, 1e-9),
    "other statistics": lambda job: buffers_of(job, 1),
    "other weights": lambda job: weights_of(job, 1e-9),
    "a method with a state": lambda job: replace(job, method=Grow(0)),
}


@pytest.mark.parametrize("what", ALIKE)
def test_members_that_walk_the_same_way_share_a_slot(what):
    setup = setup_of()
    job = a_job(setup)
    jobs = [ALIKE[what](job), job]
    assert len(in_slots(jobs)) == 1
    assert_alike(train_together(setup, jobs), alone(setup, jobs))


@pytest.mark.parametrize("what", UNLIKE)
def test_members_that_walk_another_way_share_no_slot(what):
    setup = setup_of()
    job = a_job(setup)
    assert in_slots([UNLIKE[what](job), job]) == [[0], [1]]
    assert in_slots([job, UNLIKE[what](job)]) == [[0], [1]]


@pytest.mark.parametrize("make", [Grow, Round, lambda place: Method()])
def test_methods_with_a_state_share_no_slot_even_if_they_are_alike(make):
    job = a_job(setup_of())
    assert len(in_slots([replace(job, method=make(0)) for _ in range(3)])) == 3


class Still(Plain):
    """Of a class with rules for stacked tensors, and yet another method."""

    def edit_gradients(self, params, gradients):
        gradients["classifier.weight"] = torch.zeros_like(gradients["classifier.weight"])


@pytest.mark.parametrize("steps", [(6, 6), (6, 4)])
def test_a_method_of_a_subclass_is_not_taken_for_one_of_its_class(steps):
    setup = setup_of()
    jobs = [a_job(setup, n, method=method) for n, method in zip(steps, (Plain(), Still()))]
    assert_alike(train_together(setup, jobs), alone(setup, jobs))
    jobs = [a_job(setup, n, method=Still(), seed=(i,)) for i, n in enumerate(steps)]
    assert_alike(train_together(setup, jobs), alone(setup, jobs))


def test_walks_hold_every_job_once_and_the_longest_leads():
    job = a_job(setup_of())
    jobs = [
        replace(job, curve=flat(n, lr), seed=(seed,))
        for n, lr, seed in itertools.product((3, 5, 2), (0.1, 0.2), (0, 1))
    ]
    slots = in_slots(jobs)
    assert sorted(i for slot in slots for i in slot) == list(range(12)) and len(slots) == 4
    lengths = [[len(jobs[i].curve) for i in slot] for slot in slots]
    assert lengths == [[5, 3, 2]] * 4


# ---- a step can be recorded ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [SEEDS[:1] * 3, SEEDS], ids=["one seed", "two seeds"])
def test_every_tensor_of_a_stack_stays_where_it_is(monkeypatch, seeds):
    real, seen = stack.Stack.step, []

    def held_by(value):
        if isinstance(value, torch.Tensor):
            return [value]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [t for part in parts for t in held_by(part)]

    def step(stack):
        real(stack)
        held = held_by([vars(stack), vars(stack.method)])
        assert len(held) > 3 * len(stack.params) + len(stack.method.masks)
        seen.append((stack, held, [t.data_ptr() for t in held]))

    monkeypatch.setattr(stack.Stack, "step", step)
    setup = setup_of(sgd=SGD(0.9, True))
    jobs = jobs_of(setup, under_masks(setup), steps=(9, 6, 3), seeds=seeds)
    assert_alike(train_together(setup, jobs), alone(setup, jobs))
    assert len(seen) == 9 and len({stack for stack, _, _ in seen}) == 3
    for _, own in itertools.groupby(seen, key=lambda entry: entry[0]):
        assert len({tuple(places) for _, _, places in own}) == 1


def test_nothing_waits_for_the_device_while_steps_run(monkeypatch, reads):
    """Pitfall: `.item()` and logging every step stall the accelerator."""
    at, waits = waits_in_steps(monkeypatch, reads)
    setup = setup_of(sgd=SGD(0.9, True))
    jobs = [replace(j, evaluations=1) for j in jobs_of(setup, under_masks(setup), steps=(6,) * 3)]
    train_together(setup, jobs, lambda: False)
    assert len(at) == 12 and reads and waits.all > 1000
    assert at[-1] == at[0] and waits.count == 0, reads


RECORDED = ["wait", "step", "step", "step", "capture", "wait"]


def test_a_recording_leaves_everything_as_it_was_and_a_replay_makes_one_step(monkeypatch):
    setup = setup_of()
    jobs = jobs_of(setup, under_masks(setup))
    mine, twin = (stack.Stack.of(setup, Way.of(setup.model), jobs) for _ in range(2))
    for one in (mine, twin):
        one.turn(0)
        one.step()
    recorder = Recorder(monkeypatch)

    def state(of):
        parts = (of.params, of.buffers, of.momentum)
        return [t.detach().clone() for part in parts for t in part.values()] + [of.loss_sum.clone(), of.made.clone()]

    def same():
        return all(torch.equal(a, b) for a, b in zip(state(mine), state(twin), strict=True))

    assert same()
    replay = ways.recorded(mine.step, mine.changed)
    assert same() and recorder.events == RECORDED
    for _ in range(2):
        replay()
        assert not same()
        twin.step()
        assert same()


def test_recorded_steps_train_as_the_loop_and_are_recorded_anew_when_a_member_leaves(monkeypatch):
    setup = setup_of()
    jobs = jobs_of(setup, under_masks(setup), steps=(9, 6, 2))
    wanted = alone(setup, jobs)
    recorder = Recorder(monkeypatch)
    assert_alike(train_together(setup, jobs, recorded=True), wanted)
    replays = [["replay"] * n for n in (2, 4, 3)]
    assert recorder.events == [e for own in replays for e in (*RECORDED, *own)]


def test_a_method_that_is_not_steady_is_not_recorded(monkeypatch):
    setup = setup_of()
    jobs = jobs_of(setup, lambda place: Grow(place) if place else Plain(), steps=(6, 6, 6))
    recorder = Recorder(monkeypatch)
    train_together(setup, jobs, recorded=True)
    assert recorder.events == ["step"] * 6


def test_steady_methods_side_by_side_are_recorded(monkeypatch):
    setup = setup_of()
    jobs = jobs_of(setup, lambda place: under_masks(setup)(place) if place else Plain(), steps=(6, 6, 6))
    wanted = alone(setup, jobs)
    recorder = Recorder(monkeypatch)
    assert_alike(train_together(setup, jobs, recorded=True), wanted)
    assert recorder.events == [*RECORDED, *["replay"] * 6]


def test_a_network_with_noise_is_not_recorded(monkeypatch):
    """The steps that warm a recording up would draw random numbers, which the loop does not draw."""
    setup = setup_of(noisy())
    jobs = noisy_jobs(setup)
    wanted = alone(setup, jobs)
    recorder = Recorder(monkeypatch)
    assert_alike(train_together(setup, jobs, recorded=True), wanted)
    assert recorder.events == ["step"] * 30


# ---- half precision --------------------------------------------------------------------------------------------------


def test_bfloat16_learns_in_float32_parameters_with_exact_zeros():
    setup = replace(setup_of(network(dtype=torch.float32), images((3, 8, 8), torch.float32)), augment=False)
    jobs = [replace(job, curve=flat(40, 0.02), evaluations=1) for job in jobs_of(setup, under_masks(setup))]
    half, full = train_together(replace(setup, precision="bfloat16"), jobs), train_together(setup, jobs)
    for h, f, job in zip(half, full, jobs):
        kinds = {t.dtype for name, t in tensors(h.state).items() if not name.endswith("num_batches_tracked")}
        assert kinds == {torch.float32} and not identical(h.state, f.state)
        assert h.points[-1].accuracy > 0.9 and h.points[-1].loss < h.points[0].loss / 2
        assert h.points[-1].train_loss == pytest.approx(f.points[-1].train_loss, rel=0.3)
        for name, mask in job.method.masks.items():
            zeros = h.state.params[name][~mask]
            assert torch.equal(zeros, torch.zeros_like(zeros))


def test_the_loop_computes_in_bfloat16_what_the_members_do():
    """Up to the rounding of a format of 8 bits: as far apart as two ways to add in it, nearer than float32 is."""
    setup = setup_of(network(dtype=torch.float32), images((3, 8, 8), torch.float32))
    jobs = [replace(job, curve=flat(3, 0.02), evaluations=1) for job in jobs_of(setup, under_masks(setup))]
    half = replace(setup, precision="bfloat16")
    for one, many, full in zip(alone(half, jobs), train_together(half, jobs), alone(setup, jobs)):
        assert one.points[-1].train_loss == pytest.approx(many.points[-1].train_loss, rel=0.02)
        assert one.points[-1].train_loss != full.points[-1].train_loss
        assert {t.dtype for t in one.state.params.values()} == {torch.float32}


# ---- a GPU -----------------------------------------------------------------------------------------------------------


HOW = {
    "calls": {},
    "graph": dict(recorded=True),
    "unfolded": dict(recorded=True, unfolded=True),
    "compiled": dict(recorded=True, unfolded=True, compiled=True),
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("seeds", [SEEDS[:1] * 3, SEEDS], ids=["one seed", "two seeds"])
def test_members_on_a_gpu_end_as_in_the_loop(how, seeds):
    device = torch.device("cuda")
    setup = setup_of(network().to(device), images((3, 8, 8), device=device))
    jobs = jobs_of(setup, under_masks(setup), seeds=seeds)
    with repeatable(device):
        mine, wanted = train_together(setup, jobs, **HOW[how]), alone(setup, jobs)
    assert_alike(mine, wanted, tolerance=1e-8)
    for trained, job in zip(mine, jobs):
        assert not any(trained.state.params[name][~mask].any() for name, mask in job.method.masks.items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_two_threads_record_and_train_at_once_on_a_gpu():
    """As a race beside a study, or two explorers in one kernel: a recording forbids much while it lasts."""
    device = torch.device("cuda")
    setup = setup_of(network().to(device), images((3, 8, 8), device=device))
    jobs = jobs_of(setup, under_masks(setup), steps=(40, 30, 20, 10) * 2, seeds=[(i, "t") for i in range(8)])

    def one(_):
        own = replace(setup, model=apart(setup.model))
        return [train_together(own, jobs, recorded=True) for _ in range(3)]

    with repeatable(device):
        wanted = alone(setup, jobs)
        with ThreadPoolExecutor(3) as pool:
            for mine in itertools.chain.from_iterable(pool.map(one, range(3))):
                assert_alike(mine, wanted, tolerance=1e-8)


# ---- attention -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["masked", DST(0.02), GMP(0.9, 2)], ids=["masked", "DST", "GMP"])
def test_a_network_with_attention_trains_as_in_the_loop_and_what_is_masked_stays_zero(method):
    torch.manual_seed(0)
    model = Attentive().double()
    setup = setup_of(model)

    def job(seed):
        span = Span(setup.prunable, 7, 5, seed)
        own, start = make(None if method == "masked" else method, State.of(model), span)
        if method == "masked":
            masks = masks_of(setup, seed)
            own, start = masked.Masked(masks), masked.apply(start, masks)
        return Job(start, rates(7, 0.05), (0, "t"), own, 2)

    mine = train_together(setup, [job(0), job(1)])
    assert_alike(mine, alone(setup, [job(0), job(1)]))
    for seed, trained in enumerate(mine):
        assert not torch.equal(
            trained.state.params["among.in_proj_weight"], job(seed).start.params["among.in_proj_weight"]
        )
        if method == "masked":
            masks = masks_of(setup, seed)
            assert all((trained.state.params[n] == 0)[~m].all() for n, m in masks.items())
            assert trained.points[-1].sparsity == pytest.approx(
                1 - sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
            )
