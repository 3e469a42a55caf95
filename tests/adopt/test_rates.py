"""The dense run's learning rates, told in three ways, are one curve; what is not told is asked for in a sentence."""

import pytest
import torch
from torch import nn

from retrainlab.adopt.rates import past
from retrainlab.config import SGD, Recipe
from retrainlab.schedules import dense
from tests.helpers.refusals import said

STEPS = 5  # an epoch
RECIPE = Recipe()


def optimizer(scheduled=True, kind=torch.optim.SGD):
    layer = nn.Linear(2, 2)
    how = dict(momentum=0.8, nesterov=True, weight_decay=1e-3) if kind is torch.optim.SGD else {}
    own = kind([{"params": [layer.weight]}, {"params": [layer.bias], "weight_decay": 0.0}], lr=0.4, **how)
    if scheduled:
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(own, 8)
        own.step()
        scheduler.step()
    return own


def test_schedule_peak_and_epochs_are_the_kits_own_curve():
    told = past(("multistep", 0.2, 8), None, RECIPE, STEPS)
    assert (told.recipe.schedule, told.recipe.lr, told.recipe.epochs) == ("multistep", 0.2, 8)
    assert torch.equal(told.original.lr, dense(told.recipe, 40).lr) and told.recipe.sgd == SGD()


@pytest.mark.parametrize("make", [optimizer, lambda: optimizer().state_dict()])
def test_an_optimisers_state_tells_peak_and_settings(make):
    told = past(("cosine", make(), 8), None, RECIPE, STEPS)
    assert told.recipe.lr == 0.4 and told.recipe.sgd == SGD(0.8, True, 1e-3, decay_norm=False)
    assert past(("cosine", make(), 8), SGD(0.5), RECIPE, STEPS).recipe.sgd == SGD(0.5)


def test_the_peak_of_one_cycle_is_its_largest_rate_and_not_the_one_it_starts_from():
    """Pitfall: OneCycleLR writes a 25th of its peak as the initial learning rate."""
    torch.optim.lr_scheduler.OneCycleLR(own := optimizer(False), max_lr=[0.4, 0.8], total_steps=10)
    assert past(("cosine", own, 8), None, RECIPE, STEPS).recipe.lr == 0.8


def test_a_curve_is_taken_as_it_is_with_its_rise_as_warm_up():
    values = [0.1, 0.2, 0.3, 0.2, 0.1, 0.0, 0.0]
    told = past(values, None, RECIPE, 3)
    assert told.original.lr.tolist() == values and told.original.warmup == 2 and told.recipe.epochs == 2
    assert past(torch.tensor([0.1, 0.3, 0.2, 0.4]), None, RECIPE, 3).original.warmup == 0


@pytest.mark.parametrize(
    "rates, words",
    [
        (None, "give (schedule, peak, epochs)"),
        (("cosin", 0.1, 8), "did you mean 'cosine'?"),
        (("cosine", -0.1, 8), "learning rate is -0.1"),
        (("cosine", 0.1, 0), "number of epochs is 0"),
        (0.1, "one learning rate for each iteration"),
        ([0.1, float("nan")], "learning rate of an iteration is nan"),
        ([0.0, 0.0], "All learning rates of the dense run are 0"),
    ],
)
def test_what_is_not_told_is_asked_for_in_a_sentence(rates, words):
    assert words in said(lambda: past(rates, None, RECIPE, STEPS))


def test_an_optimiser_that_does_not_tell_enough_is_asked_about():
    assert "peak of 0.4" in (words := said(lambda: past(optimizer(), None, RECIPE, STEPS))) and "EPOCHS" in words
    assert "not the peak" in said(lambda: past(("cosine", optimizer(False), 8), None, RECIPE, STEPS))
    for kind in (torch.optim.Adam, torch.optim.RMSprop):
        other = optimizer(kind=kind)
        assert "not SGD" in said(lambda other=other: past(("cosine", other, 8), None, RECIPE, STEPS))
