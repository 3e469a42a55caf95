"""What bfloat16 would take on a CPU: how its share of float32's time is found, from times that are given, and told."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from retrainlab.config import SGD
from retrainlab.data.dataset import Augmentation, Dataset, Split
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.training import half
from retrainlab.training.half import measured as really_measured
from retrainlab.training.state import Setup, State

MEMBERS, BATCH = 3, 100


def setup_of() -> Setup:
    split = Split(torch.zeros(12, 1, 4, 4, dtype=torch.uint8), torch.arange(12) % 3)
    data = Dataset("tiny", split, split, split, 3, torch.zeros(1), torch.ones(1), Augmentation(1, False))
    model = build("mlp", shape=data.shape, classes=3, width=4)
    return Setup(model, data, SGD(), BATCH, prunable(model))


class Clock:
    """Stands for `timing.Trial`: a step of all members takes so many seconds, by precision, or a part of them for a part
    of the batch. asked: the precision, the images, the members (0 for the loop) and the steps of each call."""

    def __init__(self, **seconds: float):
        self.seconds, self.asked = seconds, []

    def took(self, precision: str, images: int) -> float:
        return self.seconds[precision] * images / BATCH

    def __call__(self, setup: Setup, start: State) -> SimpleNamespace:
        def step(members: int, steps: int) -> float:
            took = self.took(setup.precision, setup.batch_size)
            self.asked.append((setup.precision, setup.batch_size, members, steps))
            return took

        return SimpleNamespace(
            many=lambda members, steps: step(members, steps) / members, single=lambda steps: step(0, steps)
        )


@pytest.fixture
def measured(monkeypatch):
    """`half.measured` by a clock."""

    def call(clock: Clock, setup: Setup | None = None, members: int = MEMBERS) -> dict[str, float]:
        monkeypatch.setattr(half, "Trial", clock)
        setup = setup or setup_of()
        return really_measured(setup, State.of(setup.model), members)

    return call


@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize("ratio", [0.25, 0.42, 0.9, 5.4])
@pytest.mark.parametrize("seconds", [1e-4, 0.03, 0.15, 3.0])
def test_the_share_is_that_of_the_same_steps_images_and_members(measured, seconds, ratio, members):
    clock = Clock(float32=seconds, bfloat16=ratio * seconds)
    assert measured(clock, members=members) == {"bfloat16": pytest.approx(ratio)}
    full, fewer = ({asked[1:] for asked in clock.asked if asked[0] == p} for p in ("float32", "bfloat16"))
    assert fewer <= full and {asked for _, asked, _ in full} == {members}


def test_what_is_done_only_once_is_not_in_the_share(measured):
    """Pitfall: the first step in bfloat16 prepares its kernels, and counts as slow."""

    class Late(Clock):
        def took(self, precision, images):
            first = (precision, images) not in {asked[:2] for asked in self.asked}
            return super().took(precision, images) + 0.5 * first

    for seconds in (0.02, 0.2, 400.0):
        share = measured(Late(float32=seconds, bfloat16=0.4 * seconds))
        assert share == {"bfloat16": pytest.approx(0.4, rel=0.01)}


def test_the_best_of_the_rounds_counts(measured):
    class Disturbed(Clock):
        def took(self, precision, images):
            slow = len(self.asked) in (2, 5)  # float32 in the first round, bfloat16 in the last
            return super().took(precision, images) * (7 if slow else 1)

    assert measured(Disturbed(float32=0.02, bfloat16=0.01)) == {"bfloat16": pytest.approx(0.5)}


@pytest.mark.parametrize(
    ("seconds", "ratio"), [(1e-4, 1), (0.04, 13), (0.1, 13), (0.5, 1), (0.9, 0.4), (2, 13), (30, 1)]
)
def test_it_takes_some_seconds_or_some_steps_at_most(measured, seconds, ratio):
    clock = Clock(float32=seconds, bfloat16=ratio * seconds)
    measured(clock)
    assert sum(steps * clock.took(p, images) for p, images, _, steps in clock.asked) <= max(4, 4 * seconds)


def test_where_bfloat16_is_far_slower_no_whole_step_of_it_is_made(measured):
    """Pitfall: a step of a second takes thirteen where the CPU has to imitate bfloat16."""
    clock = Clock(float32=1.0, bfloat16=13.0)
    assert measured(clock) == {"bfloat16": pytest.approx(13)}
    parts = [("bfloat16", 5, MEMBERS, 1), ("float32", 5, MEMBERS, 1)] * 2
    assert clock.asked == [("float32", BATCH, MEMBERS, 1), *parts]


@pytest.mark.parametrize("members", [0, 2])
def test_a_real_network_has_a_share_and_is_left_as_it_was(members):
    setup = replace(setup_of(), batch_size=4)
    start = State.of(setup.model)
    before, threads = start.copy(), torch.get_num_threads()
    [share] = really_measured(setup, start, members).values()
    assert share > 0 and torch.get_num_threads() == threads
    assert all(torch.equal(t, before.params[name]) for name, t in start.params.items())


def test_neither_a_gpu_nor_bfloat16_itself_is_measured(measured):
    clock, setup = Clock(), setup_of()
    assert measured(clock, replace(setup, precision="bfloat16")) == {}
    gpu = SimpleNamespace(device=torch.device("cuda"))
    assert measured(clock, replace(setup, data=gpu)) == {} and not clock.asked


class Failing(Clock):
    """Raises an error in one precision."""

    def __init__(self, precision: str, error: Exception):
        super().__init__(float32=0.01, bfloat16=0.01)
        self.precision, self.error = precision, error

    def took(self, precision, images):
        if precision == self.precision:
            raise self.error
        return super().took(precision, images)


@pytest.mark.parametrize("error", [NotImplementedError('"fold" not implemented for BFloat16'), MemoryError()])
def test_a_network_that_bfloat16_cannot_compute_has_no_share(measured, error):
    assert measured(Failing("bfloat16", error)) == {}


@pytest.mark.parametrize("failing", [("float32", RuntimeError("a mistake")), ("bfloat16", TypeError("a mistake"))])
def test_a_mistake_of_ours_is_no_lack_of_bfloat16(measured, failing):
    with pytest.raises((RuntimeError, TypeError), match="a mistake"):
        measured(Failing(*failing))


# ---- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "told", "hinted"),
    [
        ({}, "", False),
        ({"bfloat16": 0.4231}, "bfloat16 would take about 0.42 of the time", True),
        ({"bfloat16": 0.799}, "bfloat16 would take about 0.80 of the time", True),
        ({"bfloat16": 0.8}, "bfloat16 would take about 0.80 of the time", False),
        ({"bfloat16": 0.97}, "bfloat16 would take about 0.97 of the time", False),
        ({"bfloat16": 1.0}, "bfloat16 would take about 1.00 times as long", False),
        ({"bfloat16": 5.42}, "bfloat16 would take about 5.42 times as long", False),
    ],
)
def test_the_share_is_told_where_known_and_a_study_says_it_where_it_saves_much(record, told, hinted):
    assert half.told(record) == told
    end = " (--precision bfloat16; other results, with keys of their own)"
    assert half.hint(record) == (told + end if hinted else "")
