"""A training that is stopped at any step goes on from its checkpoint to the bits that it would have had undisturbed."""

import random
from dataclasses import replace

import pytest
import torch

from retrainlab.device import repeatable
from retrainlab.methods.make import make
from retrainlab.methods.sparsifier import Span
from retrainlab.methods.table import CS, DPF, GMP, LC, RigL
from retrainlab.training import together
from retrainlab.training.engine import Engine
from retrainlab.training.masked import Masked, apply
from retrainlab.training.method import Method, Plain
from retrainlab.training.state import Job, State
from tests.helpers.bits import same
from tests.helpers.members import after, assert_alike, dropout, images, masks_of, network, rates, setup_of, tensors

STEPS = (63, 44, 31)  # of an epoch of 5 steps
CUTS = sorted(random.Random(0).sample(range(1, 63), 20))
METHODS = {"masked": None, "RigL": RigL(0.8, 3), "GMP": GMP(0.9, 4), "DPF": DPF(0.9, 4), "CS": CS(0.05, 0.01)}
METHODS |= {"LC": LC(0.8, 0.1, start=0.2)}
LOOP, BATCHED = Engine(), Engine("batched", 8, 1)


class Kept:
    """The last checkpoint of a training, and how many there were."""

    def __init__(self, always=False):
        self.always, self.count, self.last = always, 0, None

    def due(self):
        return self.always

    def __call__(self, checkpoint):
        self.count, self.last = self.count + 1, checkpoint


def convolutions(device="cpu"):
    return setup_of(network().to(device), images((3, 8, 8), device=device))


def perceptron():
    return setup_of(network("mlp"))


def jobs_of(setup, knobs, members=3, seeds=(0, 0, 1)):
    """Each with a method of its own, made anew."""
    out = []
    for i in range(members):
        start = State.of(setup.model, setup.data.device)
        method, start = make(knobs, start, Span(setup.prunable, STEPS[i], 5, i, 0.1))
        if knobs is None:
            method = Masked(masks_of(setup, i))
            start = apply(start, method.masks)
        out.append(Job(start, rates(STEPS[i], 0.05, i), (seeds[i], "t"), method, (5, 2, 1)[i]))
    return out


def in_pieces(engine, setup, jobs, cuts):
    """What comes of jobs() when it is stopped after each of these numbers of steps; and the jobs that ended so."""
    resume, ended, done = {}, {}, 0
    for cut in [*cuts, 10**6]:
        todo = [(i, job) for i, job in enumerate(jobs()) if i not in ended]
        todo = [(i, replace(job, resume=resume.get(i), keep=Kept())) for i, job in todo]
        for place, trained in engine.train(setup, [job for _, job in todo], after(cut - done)):
            i, job = todo[place]
            if trained.stopped:
                resume[i] = job.keep.last
                assert job.keep.count == 1 and resume[i].step == trained.steps
            else:
                ended[i] = trained, job
        done = cut
    return [ended[i][0] for i in sorted(ended)], [ended[i][1] for i in sorted(ended)]


def assert_same_bits(mine, wanted):
    for a, b in zip(mine, wanted, strict=True):
        assert same(tensors(a.state), tensors(b.state))
        assert (a.points, a.steps, a.stopped) == (b.points, b.steps, b.stopped)


def assert_undisturbed(engine, setup, jobs, cuts=CUTS):
    whole = jobs()
    wanted = [trained for _, trained in sorted(engine.train(setup, whole), key=lambda pair: pair[0])]
    mine, ended = in_pieces(engine, setup, jobs, cuts)
    assert_same_bits(mine, wanted)
    for a, b in zip(ended, whole, strict=True):
        assert same(a.method.state(), b.method.state())


@pytest.mark.parametrize("name", METHODS)
def test_a_training_stopped_at_20_random_steps_ends_with_the_same_bits(name):
    setup = convolutions() if name in ("masked", "RigL") else perceptron()
    assert_undisturbed(LOOP, setup, lambda: jobs_of(setup, METHODS[name], members=1))


@pytest.mark.parametrize("name", METHODS)
def test_members_stopped_together_at_20_random_steps_end_with_the_same_bits(name):
    setup = convolutions() if name == "RigL" else perceptron()
    assert_undisturbed(BATCHED, setup, lambda: jobs_of(setup, METHODS[name]))


@pytest.mark.parametrize("engine", [LOOP, BATCHED], ids=str)
def test_a_network_with_dropout_goes_on_with_the_numbers_that_come_next(engine):
    setup, members = dropout(), 1 if engine is LOOP else 3
    assert_undisturbed(engine, setup, lambda: jobs_of(setup, None, members, seeds=(0, 0, 0)))


def test_members_that_share_a_slot_go_on_in_one():
    setup = perceptron()

    def jobs():
        start = State.of(setup.model)
        return [Job(start, torch.full((n,), 0.05, dtype=torch.float64), (0, "t"), Plain(), 3) for n in (40, 22)]

    assert_undisturbed(BATCHED, setup, jobs, (7, 16, 30))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("name", ["masked", "RigL", "GMP"])
@pytest.mark.parametrize("kind", ["loop", "graph"])
def test_a_training_on_a_gpu_goes_on_to_the_same_bits(kind, name):
    device = torch.device("cuda")
    setup, engine = convolutions(device), LOOP if kind == "loop" else Engine(kind, 8, 1, unfolded=True)
    with repeatable(device):
        assert_undisturbed(engine, setup, lambda: jobs_of(setup, METHODS[name], members=1), CUTS[::5])


@pytest.mark.parametrize("engine", [LOOP, BATCHED], ids=str)
def test_checkpoints_made_before_every_step_change_no_bit_and_the_last_leads_to_the_same_end(engine):
    setup, seen = perceptron(), []
    wanted = dict(engine.train(setup, jobs_of(setup, RigL(0.8, 3))))
    keeps = [Kept(always=True) for _ in STEPS]
    jobs = [replace(job, keep=keep) for job, keep in zip(jobs_of(setup, RigL(0.8, 3)), keeps)]
    jobs[0] = replace(jobs[0], on_point=seen.append)
    made = dict(engine.train(setup, jobs))
    assert_same_bits([made[i] for i in range(3)], [wanted[i] for i in range(3)])
    assert [keep.last.step for keep in keeps] == [n - 1 for n in STEPS] and keeps[0].count == STEPS[0]
    assert tuple(seen) == made[0].points
    [(_, end)] = engine.train(setup, [replace(jobs_of(setup, RigL(0.8, 3))[0], resume=keeps[0].last)])
    assert_same_bits([end], [wanted[0]])


def test_a_checkpoint_of_many_members_is_one_of_the_loop_too_up_to_rounding():
    setup = perceptron()
    wanted = dict(LOOP.train(setup, jobs_of(setup, GMP(0.9, 4))))
    jobs = [replace(job, keep=Kept()) for job in jobs_of(setup, GMP(0.9, 4))]
    list(BATCHED.train(setup, jobs, after(20)))
    going_on = [replace(job, resume=j.keep.last) for job, j in zip(jobs_of(setup, GMP(0.9, 4)), jobs)]
    made = dict(LOOP.train(setup, going_on))
    assert_alike([made[i] for i in range(3)], [wanted[i] for i in range(3)])


def test_members_that_go_on_from_different_steps_share_no_stack(monkeypatch):
    setup = perceptron()
    wanted = dict(BATCHED.train(setup, jobs_of(setup, None)))
    jobs = [replace(job, keep=Kept()) for job in jobs_of(setup, None)]
    for job, steps in zip(jobs, (20, 20, 11)):
        list(LOOP.train(setup, [job], after(steps)))
    going_on = [replace(job, resume=j.keep.last) for job, j in zip(jobs_of(setup, None), jobs)]
    real, seen = together.train, []

    def train(setup, jobs, *more):
        seen.append([job.step for job in jobs])
        yield from real(setup, jobs, *more)

    monkeypatch.setattr(together, "train", train)
    made = dict(BATCHED.train(setup, going_on))
    assert seen == [[20, 20], [11]]
    assert_alike([made[i] for i in range(3)], [wanted[i] for i in range(3)])


@pytest.mark.parametrize("engine", [LOOP, BATCHED], ids=str)
def test_points_so_far_are_told_again_and_a_stop_is_not_evaluated(engine):
    setup, seen, keep = perceptron(), [], Kept()
    [job] = jobs_of(setup, None, members=1)
    [(_, whole)] = engine.train(setup, [job])
    [(_, cut)] = engine.train(setup, [replace(job, keep=keep)], after(30))
    assert cut.stopped and cut.points == whole.points[:3]  # after 0, 13 and 25 of 63 steps
    [(_, end)] = engine.train(setup, [replace(job, resume=keep.last, on_point=seen.append)])
    assert tuple(seen) == end.points == whole.points
    assert keep.last.seconds > 0 and end.seconds > keep.last.seconds


class Counting(Method):
    """Has state of every kind that a checkpoint knows."""

    def __init__(self):
        self.count, self.share, self.on, self.words = 0, 0.5, False, "as it was"
        self.one, self.some = torch.zeros(2), {"a": torch.ones(3), "b": None}
        self.masks = {"w": torch.ones(2, dtype=torch.bool)}
        self.generator = torch.Generator().manual_seed(0)


def test_a_methods_tensors_numbers_and_generators_are_its_state():
    method, other = Counting(), Counting()
    tensor = other.one
    method.count, method.share, method.on = 7, 0.1, True
    method.one += 2
    method.some["a"][1] = 5
    torch.rand(3, generator=method.generator)
    state = method.state()
    assert state.keys() == {"count", "share", "on", "one", "some/a", "generator"}
    method.one += 1  # what is kept does not change any more
    other.restore(state)
    assert (other.count, other.share, other.on, type(other.on)) == (7, 0.1, True, bool)
    assert other.one is tensor and other.one.tolist() == [2, 2] and other.some["a"].tolist() == [1, 5, 1]
    assert torch.equal(torch.rand(3, generator=other.generator), torch.rand(3, generator=method.generator))
