"""Pages for readers without a kernel of what is stored of a data set: nothing is trained for them, nor is an image read.

PAGES has a function for each explorer that has one: (results, data set) -> its page, or None if nothing that it could show
is stored.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product

import torch

from retrainlab import advice
from retrainlab.config import DENSE_SCHEDULES
from retrainlab.explore.kit import cells, live, writing
from retrainlab.explore.kit.cells import Cell
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.pages import Control, Page, View
from retrainlab.explore.views import allr, budget, draw, predict, race, schedules, start
from retrainlab.figures.pages import FOLDERS
from retrainlab.study import collapse
from retrainlab.study.results import Results


def shown(data: str) -> str:
    """The data set's name as it is written in sentences."""
    return FOLDERS.get(data, data)


def _what(found: Sequence[Cell]) -> Control:
    """The control that chooses a cell."""
    told = [f"{c.model}, {c.words}" for c in found]
    return Control("Network, prune and retraining", list(zip(told, found)), choice=True)


def _seed(seeds: Sequence[int]) -> Control:
    return Control("Seed", [(str(seed), seed) for seed in seeds])


def _raced(cell: Cell, data: str, seed: int, results: Results) -> tuple[race.Settings, Live]:
    settings = race.Settings(data, cell.model, cell.sparsity, budget=cell.budget, schedules=cell.schedules, seed=seed)
    return settings, live.stored(race.experiments(settings, cell.points), results)


def race_page(results: Results, data: str) -> Page | None:
    """Races of schedules, by cell and seed."""
    found, seeds = cells.on_page(results, data)
    if not found:
        return None
    intro = (
        f"A network was trained on {shown(data)}, pruned by magnitude and then retrained with several schedules, which "
        "share all else. Choose the network, how much was pruned and how long it was retrained, and the seed."
    )
    return Page(
        f"race_{data}",
        f"Prune and retrain on {shown(data)}: a race of schedules",
        [intro],
        [_what(found), _seed(seeds)],
        [],
        lambda cell, seed: race.view(*_raced(cell, data, seed, results), "Ranking"),
        devices=cells.devices(found),
    )


def predict_page(results: Results, data: str) -> Page | None:
    """The same races to guess."""
    found, seeds = cells.on_page(results, data)
    if not found:
        return None

    return Page(
        f"predict_{data}",
        f"Predict first, on {shown(data)}",
        [predict.INTRO, predict.SCORED],
        [_what(found), _seed(seeds)],
        [],
        lambda cell, seed: predict.question(*_raced(cell, data, seed, results)),
        hidden=True,
        devices=cells.devices(found),
        script="guess.js",
        data=predict.script_data(),
    )


def draw_page(results: Results, data: str) -> Page | None:
    """A curve to draw, beside the schedules that all seeds of a cell have."""
    found, seeds = cells.on_page(results, data)
    if not found or seeds != tuple(range(len(seeds))):
        return None

    def view_of(cell: Cell) -> View:
        return draw.near_view(
            draw.Settings(data, cell.model, cell.sparsity, cell.budget, len(seeds)), results, cell.points
        )

    title, devices = f"Draw your own schedule, on {shown(data)}", cells.devices(found)
    script = draw.script_data(live.recipe_of(data, found[0].model, 0))
    return Page(
        f"draw_{data}",
        title,
        [draw.INTRO],
        [_what(found)],
        [],
        view_of,
        devices=devices,
        script="drawing.js",
        data=script,
    )


def budget_page(results: Results, data: str) -> Page | None:
    """The advice for each cell, from the seeds that all cells have."""
    found, seeds = cells.on_page(results, data)
    if not found:
        return None

    def view_of(cell: Cell) -> View:
        settings = budget.Settings(data, cell.model, cell.sparsity, cell.budget, len(seeds))
        budgets = sorted({c.budget for c in found if (c.model, c.sparsity) == (cell.model, cell.sparsity)})
        return budget.view(settings, budget.load(budget.experiments(settings, budgets), results), [])

    intro = (
        f"A network was trained on {shown(data)}, pruned in one go by global magnitude, and retrained for a share of the "
        "first training's length. Choose the network, how much was pruned and how long it was retrained."
    )
    title, devices = f"Which schedule for my budget, on {shown(data)}?", cells.devices(found)
    return Page(f"budget_{data}", title, [intro, advice.LIMITS], [_what(found)], [], view_of, devices=devices)


def allr_page(results: Results, data: str) -> Page | None:
    """The anatomy of ALLR, on the first network of a cell whose weights are stored."""
    for cell in cells.stored_cells(results, data):
        for seed in cell.seeds:
            start = allr.Settings(data=data, model=cell.model, seed=seed)
            if (dense := results.dense(start.recipe, torch.device("cpu"))) is not None:
                page = allr.page_of(start, results, [])
                about = f"Here it is {cell.model} on {shown(data)}, seed {seed}."
                devices = [str(dense.result.provenance.get("device", ""))]
                title = f"{page.title}, on {shown(data)}"
                return replace(page, name=f"allr_{data}", title=title, intro=[*page.intro, about], devices=devices)
    return None


def schedules_page(results: Results, data: str) -> Page | None:
    """The schedules as curves with the dense run of the data set's preset, from the budget and the damage of a cell on."""
    if not (found := cells.stored_cells(results, data)):
        return None
    start = schedules.of_data(schedules.Settings(), data, found, results)
    budgets = sorted({*live.preset_of(data).budgets, *(cell.budget for cell in found), start.budget, 0.5, 1.0})
    intro = (
        f"The dense run is that of {shown(data)}: {start.epochs} epochs of {start.steps_per_epoch} steps. Pruning did the "
        f"damage d1 = {start.damage:.3g} where that is measured. Nothing has to be trained to see the curves."
    )
    return Page(
        f"schedules_{data}",
        f"The schedules as curves, on {shown(data)}",
        [intro],
        [
            Control("Dense schedule", [(n, n) for n in DENSE_SCHEDULES], DENSE_SCHEDULES.index(start.dense), True),
            Control("Budget (share of the dense run)", writing.shares(budgets), budgets.index(start.budget)),
        ],
        [],
        lambda dense, budget: schedules.short(replace(start, dense=dense, budget=budget)),
        devices=cells.devices(found),
    )


def start_page(results: Results, data: str) -> Page | None:
    """A network pruned with a slider, and the stored race nearest to it: the first network whose accuracy straight after
    pruning is stored at each percentage."""
    found, seeds = cells.on_page(results, data)
    if (network := next(_whole(found, seeds, data, results), None)) is None:
        return None
    recipe, own = network.recipe, [cell for cell in found if cell.model == network.recipe.model]
    raced = {cell: _raced(cell, data, recipe.seed, results) for cell in own}

    def view_of(place: int) -> View:
        near = min(own, key=lambda cell: (abs(cell.sparsity - place / 100), cell.budget))
        return start.mended(network, place, *raced[near])

    about = f"Here it is {recipe.model} on {shown(data)}, seed {recipe.seed}."
    title, devices = f"{start.TITLE}, on {shown(data)}", sorted({*cells.devices(own), network.where})
    return Page(f"start_{data}", title, [*start.INTRO, about], [start.SLIDER], [], view_of, devices=devices)


def _whole(found: Sequence[Cell], seeds: Sequence[int], data: str, results: Results) -> Iterator[collapse.Network]:
    """The networks whose accuracy straight after pruning is stored at each percentage."""
    cpu = torch.device("cpu")
    for model, seed in product(dict.fromkeys(cell.model for cell in found), seeds):
        recipe = live.recipe_of(data, model, seed)
        if (dense := collapse.stored(recipe, results, cpu)) is not None and collapse.kept(dense.result):
            yield collapse.network(recipe, collapse.USUAL, dense, cpu)


PAGES: dict[str, Callable[[Results, str], Page | None]] = {
    "start": start_page,
    "race": race_page,
    "predict": predict_page,
    "draw": draw_page,
    "budget": budget_page,
    "allr": allr_page,
    "schedules": schedules_page,
}
