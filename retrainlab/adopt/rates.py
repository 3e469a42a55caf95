"""How the dense run's learning rates are told: as a curve, as (schedule, peak, epochs), or with an optimiser's state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retrainlab.checks import REFERENCE, BadInput, check_number, choose, is_reference, plain
from retrainlab.config import DENSE_SCHEDULES, LARGEST, SGD, Recipe
from retrainlab.schedules import DenseCurve, dense

Rates = Sequence[Any] | Tensor
ASKED = "(schedule, peak, epochs), such as ('cosine', 0.1, 90), or one learning rate for each iteration"


@dataclass(frozen=True)
class Past:
    """What a network's first training is told to have been. original: its learning rates; recipe: its settings, as far as
    one can have them."""

    recipe: Recipe
    original: DenseCurve


def past(rates: Rates | None, sgd: SGD | None, recipe: Recipe, steps_per_epoch: int) -> Past:
    """The first training of these learning rates.

    rates: (schedule, peak, epochs), whose peak may be the optimiser, or its state, that trained with them; or one learning
    rate for each iteration. sgd: of the retraining; that of the optimiser if None, or else the default. recipe: for all
    other settings. Raises BadInput that asks, in one sentence, for what is not told.
    """
    if rates is None:
        raise BadInput(
            f"Retraining schedules follow the dense run's learning rates, which a checkpoint does not tell; give {ASKED}."
        )
    if _is_optimizer(rates):
        found, peak = _optimizer(rates)
        raise BadInput(
            f"The optimiser's state tells a peak of {peak:g} and {found}, but neither schedule nor length; give "
            "('cosine', this state, EPOCHS), with the schedule that it had."
        )
    values = plain(rates)
    if isinstance(values, Sequence) and len(values) == 3 and isinstance(values[0], str):
        name, peak, epochs = values
        if not is_reference(name):
            choose(name, DENSE_SCHEDULES, "dense schedule", REFERENCE)
        if _is_optimizer(peak):
            found, peak = _optimizer(peak)
            sgd = sgd or found
        settings = _replaced(recipe, schedule=name, lr=peak, epochs=epochs, sgd=sgd or recipe.sgd)
        return Past(settings, dense(settings, settings.epochs * steps_per_epoch))
    if not isinstance(values, Sequence) or len(values) < 2 or isinstance(values, str):
        raise BadInput(f"The learning rates of the dense run are {values!r:.60}, but must be {ASKED}.")
    for value in values:
        check_number(value, "learning rate of an iteration", low=0, high=LARGEST)
    curve = torch.tensor(values, dtype=torch.float64)
    if not curve.any():
        raise BadInput("All learning rates of the dense run are 0, so nothing was trained; give those that it had.")
    top = int(curve.argmax())
    rising = bool((curve[1 : top + 1] > curve[:top]).all())
    epochs = max(1, round(len(curve) / steps_per_epoch))
    settings = _replaced(recipe, schedule="constant", lr=float(curve.max()), epochs=epochs, sgd=sgd or recipe.sgd)
    return Past(settings, DenseCurve(curve, top if rising else 0))


def _replaced(recipe: Recipe, **settings: Any) -> Recipe:
    return Recipe(**{name: getattr(recipe, name) for name in recipe.__dataclass_fields__} | settings)


def _is_optimizer(thing: object) -> bool:
    return isinstance(thing, torch.optim.Optimizer) or (isinstance(thing, Mapping) and "param_groups" in thing)


def _optimizer(thing: Any) -> tuple[SGD, float]:
    """The settings of an optimiser, or of its state_dict, and its peak: what its scheduler started from."""
    groups = thing.param_groups if isinstance(thing, torch.optim.Optimizer) else thing["param_groups"]
    if not groups or any("nesterov" not in group or "betas" in group or "momentum" not in group for group in groups):
        raise BadInput(
            "The optimiser is not SGD, but retraining is done with SGD; give the peak that SGD is to have, and sgd=SGD(...)."
        )
    first = groups[0]
    if "initial_lr" not in first:
        raise BadInput(
            f"The optimiser's state tells its last learning rate, {first['lr']:g}, but not the peak, as no scheduler of "
            "torch was used; give the peak as a number."
        )
    decays = [group["weight_decay"] for group in groups]
    settings = SGD(first["momentum"], first["nesterov"], max(decays), decay_norm=min(decays) == max(decays))
    peaks = [group.get("max_lr", group["initial_lr"]) for group in groups]  # OneCycleLR starts below its peak
    return settings, max(peaks)
