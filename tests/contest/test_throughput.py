"""Images per second: of the real loop, measured once and kept."""

import pytest

from retrainlab.config import Recipe
from retrainlab.contest import throughput
from retrainlab.methods.dpf import Dpf
from retrainlab.methods.gmp import Gmp
from retrainlab.methods.lc import Lc
from retrainlab.methods.rigl import Rigl
from retrainlab.methods.table import DPF, GMP, LC, STR, RigL
from retrainlab.study.results import Results
from retrainlab.training.loop import train
from retrainlab.training.state import Trained


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(throughput, "STEPS", 3)
    monkeypatch.setattr(throughput, "ROUNDS", 3)


RECIPES = [Recipe(width=4), Recipe(width=4, method=GMP()), Recipe(width=4, method=STR())]


def test_rates_are_those_of_the_median_round(monkeypatch, tmp_path):
    seconds = iter([1.0, 5.0, 2.0, 9.0, 1.0, 4.0])

    def pretend(setup, job):
        assert len(job.curve) == 62, "two epochs"
        return Trained(job.start, (), 62, next(seconds))

    monkeypatch.setattr(throughput, "train", pretend)
    assert throughput.images_per_second(RECIPES[:2], Results.at(tmp_path), "cpu") == [62 * 32 / 1.0, 62 * 32 / 5.0]


@pytest.mark.parametrize(
    ("kind", "moment", "knobs"),
    [(Rigl, "_move", RigL()), (Lc, "_compress", LC()), (Gmp, "_prune", GMP()), (Dpf, "_prune", DPF())],
)
def test_what_a_method_does_now_and_then_is_in_it(kind, moment, knobs, monkeypatch, tmp_path):
    monkeypatch.setattr(throughput, "STEPS", 64)
    calls, own = [], getattr(kind, moment)
    monkeypatch.setattr(kind, moment, lambda *a: calls.append(1) or own(*a))
    throughput.images_per_second([Recipe(width=4, method=knobs)], Results.at(tmp_path), "cpu")
    assert len(calls) >= 2 * 3, "at least twice in each of three rounds"


def test_a_recipe_that_stands_twice_is_measured_once_and_says_the_same_from_the_store(tmp_path):
    """Two seeds of one recipe, which had two rates at first, and one of them afterwards."""
    twice = [Recipe(width=4), Recipe(width=4, seed=1)]
    first = throughput.images_per_second(twice, Results.at(tmp_path), "cpu")
    assert first[0] == first[1] and throughput.images_per_second(twice, Results.at(tmp_path), "cpu") == first


def test_measured_once_and_then_kept_unless_fresh(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(throughput, "train", lambda *a: calls.append(1) or train(*a))
    first = throughput.images_per_second(RECIPES, Results.at(tmp_path), "cpu")
    assert len(calls) == 9 and all(rate > 0 for rate in first)
    assert throughput.images_per_second(RECIPES, Results.at(tmp_path), "cpu") == first and len(calls) == 9
    throughput.images_per_second(RECIPES[1:], Results.at(tmp_path), "cpu")
    assert len(calls) == 9
    throughput.images_per_second(RECIPES[:1], Results.at(tmp_path), "cpu", fresh=True)
    assert len(calls) == 12
