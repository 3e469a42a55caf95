"""What training costs on a device before it is started: about how long it takes, and words that leave it to the reader."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

from retrainlab import metrics
from retrainlab.checks import BadInput
from retrainlab.config import Experiment, Recipe
from retrainlab.data.dataset import counts, load
from retrainlab.data.sources import BUILT_IN
from retrainlab.device import describe
from retrainlab.explore.kit.cells import Cell
from retrainlab.layers import prunable
from retrainlab.models import build
from retrainlab.phrases import listed
from retrainlab.progress import duration
from retrainlab.study.making import work
from retrainlab.study.stages import common, steps_of
from retrainlab.training.engine import seconds_of

PATIENCE = 300.0  # seconds that an explorer trains without asking
RATES = {"cpu": 2e10, "cuda": 2e12}  # operations a second in float32, cautiously, where no engine has been measured
HALF = {True: 2.0, False: 0.1}  # how many times that in bfloat16, by whether the device multiplies it itself
BACKWARD = 3  # a step's operations are about those of so many forward passes


def seconds(wanted: Iterable[Recipe | Experiment], device: torch.device) -> float:
    """About how long the trainings take on a device in one process, which they share."""
    total = 0.0
    for noun in wanted:
        recipe = noun.recipe if isinstance(noun, Experiment) else noun
        total += work([noun]) * steps_of(recipe) * step(common(recipe), device)
    return total


@lru_cache(maxsize=64)
def step(recipe: Recipe, device: torch.device) -> float:
    """Seconds of a step: as the engine remembers them for this device, or else a cautious guess from its operations."""
    there = counts(recipe.data, image_size=recipe.image_size)
    if known := seconds_of(recipe, there.shape, device):
        return known
    model = build(recipe.model, shape=there.shape, classes=there.classes, width=recipe.width)
    weights = {name: model.get_parameter(name).detach() for name in prunable(model, recipe.embeddings)}
    products, _ = metrics.multiply_adds(model, there.shape, weights)
    return 2 * BACKWARD * products * recipe.batch_size / rate(recipe.precision, device)


def rate(precision: str, device: torch.device) -> float:
    """Operations a second of one process, a cautious guess."""
    known: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    itself = device.type == "cuda" or bool(known.get("amx_bf16"))
    return RATES[device.type] * (1.0 if precision == "float32" else HALF[itself])


def words(wanted: Sequence[Recipe | Experiment], device: torch.device, cells: Sequence[Cell]) -> str:
    """How long the trainings take here, and where others that are stored were computed, in a sentence."""
    text = f"That takes about {duration(seconds(wanted, device))} on {describe(device)}"
    recipes = [noun.recipe if isinstance(noun, Experiment) else noun for noun in wanted]
    alike = [cell for cell in cells if {cell.model} == {recipe.model for recipe in recipes} and cell.step]
    if alike and alike[0].devices != (describe(device),):
        steps = sum(work([noun]) * steps_of(recipe) for noun, recipe in zip(wanted, recipes))
        there = listed(alike[0].devices)
        text += f"; on {there}, where what is stored was computed, about {duration(steps * alike[0].step)}"
    return f"{text}."


def absent(wanted: Sequence[Recipe | Experiment]) -> str:
    """That images to train with are not here, and how to get them; empty if all are here."""
    for noun in wanted:
        recipe = noun.recipe if isinstance(noun, Experiment) else noun
        if recipe.data in BUILT_IN and BUILT_IN[recipe.data].where() is None:
            try:
                load(recipe.data)
            except BadInput as error:
                return f"Nothing can be trained without its images: {error}"
    return ""
