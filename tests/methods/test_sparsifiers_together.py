"""Members that sparsify as they train, each with its own settings, end together as each would alone."""

from dataclasses import replace

import pytest
import torch

from retrainlab.device import repeatable
from retrainlab.methods.make import make
from retrainlab.methods.sparsifier import Span, Sparsifier
from retrainlab.methods.table import CS, DNW, DPF, DST, GMP, GSM, LC, METHODS, STR, RigL, Static
from retrainlab.training import loop, stack
from retrainlab.training.engine import Engine
from retrainlab.training.method import SideBySide
from retrainlab.training.slots import in_slots
from retrainlab.training.state import Job, Setup, State
from tests.helpers.members import (
    after,
    alone,
    assert_alike,
    identical,
    images,
    network,
    rates,
    setup_of,
    train_together,
)
from tests.helpers.recording import Recorder, waits_in_steps

LENGTHS = (18, 13, 18, 8, 4)  # of an epoch of 5 steps
SEEDS = (0, 0, 1, 2, 1)
MEMBERS = {
    "GMP": [GMP(0.9, 3), GMP(0.5, 4, 0.5), GMP(0.9, 3), GMP(0.7, 2, allocation="erk"), GMP(1, 50)],
    "GSM": [GSM(0.9), GSM(0.5), GSM(0.9), GSM(0), GSM(1)],
    "DPF": [DPF(0.9, 3), DPF(0.5, 4, 0.5), DPF(0.9, 3), DPF(0.7, 2, allocation="uniform"), DPF(0.3, 50)],
    "DNW": [DNW(0.9), DNW(0.5), DNW(0.9), DNW(0), DNW(0.99)],
    "CS": [CS(0.05, 0.01), CS(0.1, 0.02, 10), CS(0.05, 0.01), CS(-0.02, 0), CS(0.02, 0.1, 1)],
    "STR": [STR(-2, 0.1), STR(-4, 0.5), STR(-2, 0.1), STR(-1, 0), STR(-30, 0)],
    "DST": [DST(0.02), DST(0.3), DST(0.02), DST(0), DST(0.1)],
    "LC": [LC(0.9, 0.1), LC(0.5, 0.2, 2, 0.4, 2), LC(0.9, 0.1), LC(0.7, start=0.5), LC(0.8, start=0)],
    "Static": [Static(0.9), Static(0.5, "uniform"), Static(0.9), Static(0.3, "global"), Static(0)],
    "RigL": [RigL(0.9, 3), RigL(0.5, 4, 0.5, 0.6), RigL(0.9, 3), RigL(0.7, 2, 1), RigL(0.2, 50)],
}


def job_of(setup: Setup, knobs, steps, seed=0, place=0) -> Job:
    span = Span(setup.prunable, steps, setup.data.steps_per_epoch(setup.batch_size), seed)
    method, start = make(knobs, State.of(setup.model, setup.data.device), span)
    return Job(start, rates(steps, 0.05, place), (seed, "t"), method, (5, 2, 1)[place % 3])


def jobs_of(setup, settings, lengths=LENGTHS, seeds=SEEDS) -> list[Job]:
    return [job_of(setup, *own, i) for i, own in enumerate(zip(settings, lengths, seeds, strict=True))]


def assert_own_state_alike(jobs, others):
    """What members have besides their weights, as it is after their own end."""
    for a, b in zip(jobs, others, strict=True):
        assert type(a.method) is type(b.method)
        mine, wanted = (getattr(job.method, "tensors", {}) for job in (a, b))
        torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-10)


def both(setup, make_jobs, stop=lambda: None):
    """Trains the same jobs together and alone, and compares."""
    mine, wanted = make_jobs(), make_jobs()
    done, ones = train_together(setup, mine, stop()), alone(setup, wanted, stop)
    assert_alike(done, ones)
    assert [[p.sparsity for p in t.points] for t in done] == [[p.sparsity for p in t.points] for t in ones]
    assert_own_state_alike(mine, wanted)
    return done


@pytest.mark.parametrize("name", METHODS)
def test_members_with_settings_of_their_own_end_as_in_the_loop(name):
    """They leave after 4, 8, 13 and 18 steps, so that the others' state lives on three times."""
    setup = setup_of()
    done = both(setup, lambda: jobs_of(setup, MEMBERS[name]))
    ends = [torch.cat([t.state.params[n].flatten() for n in setup.prunable]) for t in done]
    assert len({int((w == 0).sum()) for w in ends}) >= (1 if name in ("GSM", "LC") else 4)


@pytest.mark.parametrize("name", METHODS)
def test_a_member_that_trains_beside_none_ends_as_in_the_loop(name):
    setup = setup_of()
    both(setup, lambda: jobs_of(setup, MEMBERS[name][:1], (7,), (3,)))


@pytest.mark.parametrize("name", METHODS)
def test_a_stop_ends_all_where_it_would_end_each(name):
    """Before the last member, after the first; what stops is finished too."""
    setup = setup_of()
    both(setup, lambda: jobs_of(setup, MEMBERS[name]), lambda: after(6))


def test_one_class_alone_goes_on_when_members_of_other_classes_have_left():
    """Side by side at first, then stacked with what its members had."""
    setup = setup_of()
    settings = [
        GMP(0.8, 3),
        DPF(0.8, 3),
        None,
        RigL(0.8, 3),
        GMP(0.6, 4),
        GSM(0.7),
        DNW(0.5),
        LC(0.9, 0.1),
        Static(0.6),
    ]
    lengths, seeds = (21, 8, 6, 13, 17, 9, 5, 12, 7), (0, 1, 0, 2, 1, 0, 1, 0, 0)
    kinds, real = [], stack.stacked

    def stacked(methods):
        kinds.append(type(together := real(methods)).__name__)
        return together

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "stacked", stacked)
        both(setup, lambda: jobs_of(setup, settings, lengths, seeds))
    assert kinds == [SideBySide.__name__] * 7 + ["Gmp"] * 2


@pytest.mark.parametrize("engine", [Engine("batched", 8, 1), Engine("batched", 2, 2)], ids=str)
def test_an_engine_trains_jobs_of_all_classes_as_the_loop_does(engine):
    setup = setup_of()

    def make_jobs():
        settings = [member for i in range(2) for members in MEMBERS.values() for member in (members[i],)] + [None] * 2
        lengths = [4 + i % 4 for i in range(len(settings))]
        return jobs_of(setup, settings, lengths, [i % 3 for i in range(len(settings))])

    mine, wanted = make_jobs(), make_jobs()
    done = dict(engine.train(setup, mine))
    assert sorted(done) == list(range(22))
    assert_alike([done[i] for i in range(22)], alone(setup, wanted))
    assert_own_state_alike(mine, wanted)


def test_equal_settings_share_no_state():
    """Methods with a state walk in slots of their own, whatever their settings."""
    setup = setup_of()

    def make_jobs():
        twins = [job_of(setup, DPF(0.8, 3), n) for n in (12, 12, 7)]
        return [replace(job, curve=twins[0].curve[: len(job.curve)]) for job in twins]

    assert in_slots(make_jobs()) == [[0], [1], [2]]
    first, second, _ = both(setup, make_jobs)
    assert identical(first.state, second.state)


@pytest.mark.parametrize("name", [n for n in METHODS if n != "Static"])
def test_what_a_member_has_besides_its_weights_changes_in_place(name):
    """So that a step which was recorded once reads it: the stacked method and each member's own see the same."""
    setup = setup_of()
    jobs = jobs_of(setup, MEMBERS[name][:2], (12, 12), (0, 0))
    whole = Sparsifier.stacked.__func__(type(jobs[0].method), [job.method for job in jobs])
    places = {n: t.data_ptr() for n, t in whole.tensors.items()}
    for i, job in enumerate(jobs):
        for n, t in job.method.tensors.items():
            assert t.data_ptr() == places[n] + i * t.nbytes
    params = {n: torch.stack([job.start.params[n] for job in jobs]) for n in jobs[0].start.params}
    with torch.no_grad():
        for step in range(12):
            whole.edit_gradients(params, {n: torch.randn_like(p) for n, p in params.items()})
            whole.after_step(params, step)
            if step % 5 == 4:
                whole.after_epoch(params, step // 5)
    assert {n: t.data_ptr() for n, t in whole.tensors.items()} == places


@pytest.mark.parametrize("name", METHODS)
def test_no_method_makes_the_host_wait_for_its_device_in_a_step(name, monkeypatch, reads):
    """Pitfall: reading a value in every step stalls the accelerator, and a step that does cannot be recorded."""
    at, waits = waits_in_steps(monkeypatch, reads)
    setup = setup_of()
    train_together(setup, jobs_of(setup, MEMBERS[name][:2], (12, 12), (0, 1)))
    assert len(at) == 24 and waits.all > 1000
    assert all(before == after for before, after in zip(at[::2], at[1::2])) and waits.count == 0


@pytest.mark.parametrize("name", METHODS)
def test_a_recorded_step_is_replayed_with_the_loops_results(name, monkeypatch):
    setup, recorder = setup_of(), Recorder(monkeypatch)
    kind = dict(settings=MEMBERS[name][:2], lengths=(12, 7), seeds=(0, 1))
    mine = train_together(setup, jobs_of(setup, **kind), recorded=True)
    assert recorder.events.count("replay") == 12
    assert_alike(mine, [loop.train(setup, job) for job in jobs_of(setup, **kind)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("graph", [False, True], ids=["calls", "graph"])
@pytest.mark.parametrize("name", METHODS)
def test_members_on_a_gpu_end_as_in_the_loop(name, graph):
    device = torch.device("cuda")
    setup = setup_of(network().to(device), images((3, 8, 8), device=device))
    kind = dict(settings=MEMBERS[name], lengths=LENGTHS, seeds=SEEDS)
    with repeatable(device):
        mine = train_together(setup, jobs_of(setup, **kind), recorded=graph)
        wanted = [loop.train(setup, job) for job in jobs_of(setup, **kind)]
    assert_alike(mine, wanted, tolerance=1e-8)
