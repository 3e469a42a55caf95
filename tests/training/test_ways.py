"""How steps are made: compiled ones give the loop's results, and slots are left out when it pays."""

import itertools
import os
from contextlib import contextmanager
from functools import cache, partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from retrainlab.checks import BadInput
from retrainlab.config import SGD
from retrainlab.device import recording
from retrainlab.models import in_mode
from retrainlab.paths import compiled_folder
from retrainlab.training import stack, ways
from retrainlab.training.method import Plain
from retrainlab.training.ways import WARM_UP, Pace, Way, pays
from tests.helpers import stacked
from tests.helpers.members import SEEDS, alone, assert_alike, jobs_of, network, setup_of, train_together, under_masks


@pytest.fixture
def compiles(monkeypatch):
    """The graphs that torch.compile was given; they are run as they are, since a compiler may not be installed."""
    real, graphs = torch.compile, []

    def backend(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    monkeypatch.setattr(torch, "compile", lambda losses, **more: real(losses, backend=backend, **more))
    torch._dynamo.reset()
    return graphs


@pytest.mark.parametrize(("name", "seeds"), [("mlp", SEEDS[:1] * 3), ("resnet8", SEEDS)], ids=["one seed", "two seeds"])
def test_compiled_steps_train_as_the_loop_and_are_compiled_once_for_a_number_of_members(compiles, name, seeds):
    setup = setup_of(network(name), sgd=SGD(0.9, True))
    jobs = jobs_of(setup, under_masks(setup), name=name, steps=(5, 5, 2), seeds=seeds)
    for _ in range(2):
        assert_alike(train_together(setup, jobs, compiled=True), alone(setup, jobs))
    assert len(compiles) == 2


def test_what_cannot_be_compiled_is_bad_input(monkeypatch):
    real = torch.compile

    def broken(graph, inputs):
        raise RuntimeError("no compiler was found\nand a trace")

    monkeypatch.setattr(torch, "compile", lambda losses, **more: real(losses, backend=broken, **more))
    setup = setup_of(network("mlp"))
    with pytest.raises(BadInput, match="cannot be compiled here .*no compiler was found.*use --engine graph"):
        train_together(setup, jobs_of(setup, under_masks(setup), name="mlp"), compiled=True)


def test_what_was_compiled_is_kept_in_the_users_cache(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it is as it was after the test
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    ways.compile_(ways.mean_losses)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(compiled_folder())


# ---- slots that are left out -----------------------------------------------------------------------------------------


def slots_at(monkeypatch):
    """How many slots each step had."""
    real, seen = stack.Stack.step, []
    monkeypatch.setattr(stack.Stack, "step", lambda own: (seen.append(len(own.slots)), real(own))[1])
    return seen


@pytest.mark.parametrize(
    ("rebuild", "wanted"),
    [(0, [3] * 4 + [2] * 5 + [1] * 11), (12, [3] * 9 + [1] * 11), (13, [3] * 9 + [1] * 11), (1000, [3] * 20)],
)
def test_members_that_have_ended_idle_until_it_pays_and_change_nothing(monkeypatch, rebuild, wanted):
    setup = setup_of()
    jobs = jobs_of(setup, under_masks(setup), steps=(20, 9, 4))
    once = alone(setup, jobs)
    seen = slots_at(monkeypatch)
    assert_alike(train_together(setup, jobs, rebuild=rebuild), once)
    assert seen == wanted


def test_a_member_that_diverges_idles_beside_the_others_and_harms_none(monkeypatch):
    setup = setup_of()
    jobs = jobs_of(setup, under_masks(setup), steps=(20, 20, 20), lr=0.1)
    jobs[1].curve[:] = 1e30
    wanted = alone(setup, jobs)
    seen = slots_at(monkeypatch)
    mine = train_together(setup, jobs, rebuild=1e6)
    assert mine[1].diverged and mine[1].steps == wanted[1].steps and seen == [3] * 20
    assert_alike([mine[0], mine[2]], [wanted[0], wanted[2]])


class Counting(Plain):
    """Acts after each step, and may not know what comes after its last."""

    def after_step(self, params, step):
        self.last = step


def test_a_method_that_acts_between_steps_is_left_out_at_once(monkeypatch):

    setup = setup_of()
    jobs = jobs_of(setup, lambda place: Counting(), steps=(8, 5, 3))
    seen = slots_at(monkeypatch)
    train_together(setup, jobs, rebuild=1e6)
    assert seen == [3] * 3 + [2] * 2 + [1] * 3


def cheapest(left, slots, rebuild):
    """By trying every choice at every end: the fewest member-steps, and those if slots are left out now or are kept."""
    ends = sorted(set(left))

    @cache
    def rest(i, width):
        if i == len(ends):
            return 0, 0, 0
        length = ends[i] - (ends[i - 1] if i else 0)
        live = sum(n >= ends[i] for n in left)
        keep = width * length + rest(i + 1, width)[0]
        leave = rebuild + live * length + rest(i + 1, live)[0] if live < width else float("inf")
        return min(keep, leave), leave, keep

    return rest(0, slots)


def test_slots_are_left_out_where_brute_force_would():
    generator = torch.Generator().manual_seed(0)
    answers = []
    for _ in range(300):
        live = int(torch.randint(1, 7, (1,), generator=generator))
        left = torch.randint(1, 12, (live,), generator=generator).tolist()
        slots = live + int(torch.randint(0, 4, (1,), generator=generator))
        rebuild = float(torch.randint(0, 40, (1,), generator=generator))
        _, leave, keep = cheapest(tuple(left), slots, rebuild)
        answers.append(pays(left, slots, rebuild))
        assert answers[-1] == (leave < keep), (left, slots, rebuild)
    assert 30 < sum(answers) < 270


# ---- what a network is asked in which mode ---------------------------------------------------------------------------


class Moody(nn.Module):
    """Adds another layer's scores only while it trains."""

    def __init__(self):
        super().__init__()
        self.always, self.also = (nn.Linear(192, 3, dtype=torch.float64) for _ in range(2))

    def forward(self, x):
        x = x.flatten(1)
        return self.always(x) + self.also(x) if self.training else self.always(x)


@pytest.mark.parametrize("mode", [True, False], ids=["in training", "in evaluation"])
def test_a_network_is_stacked_as_it_is_in_the_mode_in_which_it_is_used(monkeypatch, mode):
    """Pitfall: what Python decides while a network is traced holds for all its calls."""
    monkeypatch.setattr(ways, "evaluation_of", ways.forward_of)  # as on a GPU
    model = Moody().train(mode)
    way = Way.of(model)
    assert model.training == mode
    params, buffers = stacked.tensors(model)
    images, labels = stacked.images_of((3, 8, 8), own=False), torch.tensor([0, 1, 2, 0])
    for training in (True, False):
        with in_mode(model, training):
            wanted = stacked.one_by_one(model, params, buffers, images)
            if training:
                found = way.losses(params, buffers, images, labels.repeat(len(wanted)))
                wanted = torch.stack([F.cross_entropy(scores, labels) for scores in wanted])
            else:
                found = way.forward(params, buffers, images)
        torch.testing.assert_close(found, wanted)


# ---- a recording -----------------------------------------------------------------------------------------------------


class Places:
    """Stands for torch.cuda: where something happens. Recordings fail, and stay on their stream."""

    def __init__(self, monkeypatch):
        self.current = []
        for name in ("device_of", "stream"):
            monkeypatch.setattr(torch.cuda, name, partial(self.within, name))
        monkeypatch.setattr(torch.cuda, "Stream", lambda: Places.Stream(self.current[:]))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: Places.Stream(self.current[:]))
        monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
        monkeypatch.setattr(torch.cuda, "graph", self.recording)

    class Stream:
        def __init__(self, made):
            self.made = made

        def wait_stream(self, other):
            assert self.made == other.made

    @contextmanager
    def within(self, name, what):
        before = self.current[:]
        self.current.append((name, what))
        try:
            yield
        finally:
            self.current[:] = before

    @contextmanager
    def recording(self, graph, stream, capture_error_mode):
        self.current.append(("stream", stream))
        yield
        raise RuntimeError("this recording cannot be ended")


def test_a_recording_is_made_where_its_tensors_are_and_is_left_even_if_it_fails(monkeypatch):
    """Pitfall: torch records on the current device, whatever the tensors', and where nothing is recorded nothing is done."""
    weight, seen, places = torch.zeros(2), [], Places(monkeypatch)

    def step():
        seen.append(places.current[:])
        assert recording.locked()
        weight.add_(1)

    with pytest.raises(RuntimeError, match="cannot be ended"):
        ways.recorded(step, [weight])
    device, side = seen[0]
    assert device[0] == "device_of" and device[1] is weight and side[0] == "stream"
    assert seen == [[device, side]] * WARM_UP + [[device, side, side]]
    assert (
        places.current == [] and not recording.locked() and weight.tolist() == [1, 1]
    )  # the step that was recorded is carried out here


# ---- the host's pace -------------------------------------------------------------------------------------------------


def test_the_host_stays_less_than_two_stretches_ahead(monkeypatch):
    made, waited, numbers = [], [], itertools.count()

    class Event:
        def __init__(self, blocking):
            self.number = next(numbers)

        def record(self, stream):
            assert stream == "of cuda:1"
            made.append(self.number)

        def synchronize(self):
            waited.append((self.number, steps))

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"of {device}")
    pace = Pace(torch.device("cuda:1"))
    for steps in range(1, 5 * Pace.STRETCH + 1):  # noqa: B007
        pace()
    assert made == [0, 1, 2, 3, 4]
    assert waited == [(i, (i + 2) * Pace.STRETCH) for i in range(4)]


def test_on_a_cpu_nothing_waits():
    pace = Pace(torch.device("cpu"))
    for _ in range(100):
        pace()
    assert not pace.marks
