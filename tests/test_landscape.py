"""Distances, signs and lines between two networks, against hand counts and closed forms."""

import math

import pytest
import torch

from retrainlab import landscape
from retrainlab.models import build

PRUNED = {"a": torch.tensor([[3.0, 0.0], [-4.0, 0.0]]), "b": torch.tensor([[0.0, 0.0, 12.0]])}
MASKS = {name: w != 0 for name, w in PRUNED.items()}


def test_a_distance_is_relative_and_over_all_layers_at_once():
    moved = {"a": torch.tensor([[6.0, 0.0], [-4.0, 0.0]]), "b": torch.tensor([[0.0, 0.0, 8.0]])}
    assert landscape.distance(PRUNED, moved) == pytest.approx(5 / 13)  # 3-4-5 over 3-4-12
    assert landscape.distance(PRUNED, PRUNED) == landscape.distance({"a": torch.zeros(2)}, {"a": torch.ones(2)}) == 0


def test_flips_are_counted_among_the_weights_that_stay():
    turned = {"a": torch.tensor([[-0.1, 5.0], [-4.0, 0.0]]), "b": torch.tensor([[0.0, -1.0, 0.0]])}
    assert landscape.flips(PRUNED, turned, MASKS) == pytest.approx(1 / 3)  # 3 turned; 12 became 0, which has no sign
    assert landscape.flips(PRUNED, {name: -w for name, w in PRUNED.items()}, MASKS) == 1
    assert landscape.flips({"a": torch.ones(2)}, {"a": -torch.ones(2)}, {"a": torch.zeros(2, dtype=torch.bool)}) == 0


def test_the_sign_of_the_smallest_numbers_counts_too():
    """Pitfall: the product of two small numbers is 0, which is no longer below 0."""
    small = {"a": torch.tensor([1e-30])}
    assert landscape.flips(small, {"a": torch.tensor([-1e-30])}, {"a": torch.tensor([True])}) == 1


def test_a_line_ends_at_its_networks_bit_for_bit_and_its_middle_is_their_average():
    first, second = (build("resnet8", shape=(1, 8, 8), classes=10, width=4, seed=s).state_dict() for s in (0, 1))
    first["norm.num_batches_tracked"], second["norm.num_batches_tracked"] = torch.tensor(3), torch.tensor(8)
    for t, wanted in ((0, first), (1, second)):
        found = landscape.interpolate(first, second, t)
        for name, own in found.items():
            assert torch.equal(own, wanted[name]) or not own.is_floating_point()
    middle = landscape.interpolate(first, second, 0.5)
    assert list(middle) == list(first) and middle["norm.num_batches_tracked"] == 3
    for name in (name for name, own in first.items() if own.is_floating_point()):
        assert torch.equal(middle[name], (first[name] + second[name]) / 2)


def test_what_is_0_in_both_networks_is_0_on_the_line():
    line = landscape.interpolate(PRUNED, {name: 0.3 * w for name, w in PRUNED.items()}, 1 / 3)
    assert all(torch.equal(line[name] != 0, MASKS[name]) for name in MASKS)


def test_a_quadratic_loss_along_a_line_has_its_closed_form():
    """x A x on the line from u to v is (1-t)^2 uAu + 2 t (1-t) uAv + t^2 vAv."""
    u, v, A = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    u, v, A = u[0], v[0], A @ A.T
    for t in (0, 0.25, 0.6, 1):
        x = landscape.interpolate({"x": u}, {"x": v}, t)["x"]
        closed = (1 - t) ** 2 * u @ A @ u + 2 * t * (1 - t) * u @ A @ v + t**2 * v @ A @ v
        assert float(x @ A @ x) == pytest.approx(float(closed))


def test_a_barrier_is_how_far_a_loss_rises_above_the_straight_line_between_its_ends():
    assert landscape.barrier([1.0, 5.0, 2.0]) == 3.5
    assert landscape.barrier([0.0, 2.0, 1.0, 3.0]) == 1.0, "1 after one step, -1 after two"
    assert landscape.barrier([1.0, 0.2, 2.0]) == landscape.barrier([0.1, 0.2, 0.3, 0.4]) == 0
    assert landscape.above_ends([0.0, 2.0, 1.0, 3.0]) == [0, 1, -1, 0]


def test_what_is_no_number_on_the_way_is_no_barrier_of_0():
    assert math.isnan(landscape.barrier([1.0, math.nan, 2.0]))
