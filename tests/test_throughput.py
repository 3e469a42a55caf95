"""Images per second: of the real loop, measured once and kept."""

import pytest

from retrainlab import throughput
from retrainlab.config import Recipe
from retrainlab.methods.knobs import GMP, STR
from retrainlab.store import Store
from retrainlab.training import Trained, train


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(throughput, "STEPS", 3)
    monkeypatch.setattr(throughput, "ROUNDS", 3)


RECIPES = [Recipe(width=4), Recipe(width=4, method=GMP()), Recipe(width=4, method=STR())]


def test_rates_are_those_of_the_median_round(monkeypatch, tmp_path):
    seconds = iter([1.0, 5.0, 2.0, 9.0, 1.0, 4.0])

    def pretend(setup, job):
        assert len(job.curve) == 3
        return Trained(job.start, (), 3, next(seconds))

    monkeypatch.setattr(throughput, "train", pretend)
    assert throughput.images_per_second(RECIPES[:2], Store(tmp_path), "cpu") == [3 * 32 / 1.0, 3 * 32 / 5.0]


def test_measured_once_and_then_kept_unless_fresh(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(throughput, "train", lambda *a: calls.append(1) or train(*a))
    first = throughput.images_per_second(RECIPES, Store(tmp_path), "cpu")
    assert len(calls) == 9 and all(rate > 0 for rate in first)
    assert throughput.images_per_second(RECIPES, Store(tmp_path), "cpu") == first and len(calls) == 9
    throughput.images_per_second(RECIPES[1:], Store(tmp_path), "cpu")
    assert len(calls) == 9
    throughput.images_per_second(RECIPES[:1], Store(tmp_path), "cpu", fresh=True)
    assert len(calls) == 12
