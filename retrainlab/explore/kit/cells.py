"""What a store holds of a data set that the explorers can show: from its records alone, without images or training."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from retrainlab.config import NAMED_SCHEDULES, Experiment, Prune, Retrain
from retrainlab.explore.kit import live
from retrainlab.keys import references
from retrainlab.phrases import listed, share
from retrainlab.study.making import grouped
from retrainlab.study.nouns import experiment_of
from retrainlab.study.result import Result
from retrainlab.study.results import Results


@dataclass(frozen=True)
class Cell:
    """Retrainings of one network after the usual prune to one sparsity, for one budget.

    sparsity, budget: shares. epochs: of the retraining. points: of its curves. schedules, seeds: those that are stored, some
    perhaps not with all of the others; runs: how many all are. devices: where they were computed; step: seconds of a step
    there, on average.
    """

    model: str
    sparsity: float
    budget: float
    epochs: float
    points: int
    schedules: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: int
    devices: tuple[str, ...]
    step: float

    @property
    def words(self) -> str:
        """How much was removed, and how long the retraining was."""
        return f"{share(self.sparsity)} removed, {self.epochs:.3g} epochs ({share(self.budget)} of the dense run)"


def stored_cells(results: Results, data: str) -> tuple[Cell, ...]:
    """The cells of a data set's networks, trained and retrained as its preset says; those with most runs first."""
    found: list[tuple[Experiment, Result]] = []
    for name, record in results.every():
        if (e := _experiment(record.config, data)) is not None and results.key(e) == name and not record.outcome:
            found.append((e, record))
    groups = grouped(found, lambda one: (one[0].recipe.model, one[0].prune, one[0].retrain.budget, one[0].evaluations))
    cells = (
        _cell(model, prune.sparsity, budget, points, own) for (model, prune, budget, points), own in groups.items()
    )
    return tuple(sorted(cells, key=lambda c: (-c.runs, c.model, c.sparsity, c.budget, c.points)))


def _experiment(config: dict, data: str) -> Experiment | None:
    """The experiment that a record is about, if it is one that the explorers ask for."""
    if config.get("recipe", {}).get("data") != data:
        return None
    try:
        e = experiment_of(config)
    except ValueError:  # of another version
        return None
    if references(e):  # a file's word makes nothing be imported
        return None
    own = live.recipe_of(data, e.recipe.model, e.recipe.seed), Prune(e.prune.sparsity)
    asked = Experiment(*own, Retrain(e.retrain.schedule, e.retrain.budget), e.evaluations)
    return e if e == asked else None


def _cell(model: str, sparsity: float, budget: float, points: int, runs: Sequence[tuple[Experiment, Result]]) -> Cell:
    names, told = {e.retrain.schedule for e, _ in runs}, [result.provenance for _, result in runs]
    steps = [r.provenance.get("seconds", 0.0) / max(1, r.scalars.get("steps") or 0) for _, r in runs]
    return Cell(
        model,
        sparsity,
        budget,
        budget * runs[0][0].recipe.epochs,
        points,
        tuple(name for name in NAMED_SCHEDULES if name in names),
        tuple(sorted({e.recipe.seed for e, _ in runs})),
        len(runs),
        tuple(sorted({str(one.get("device", "")) for one in told})),
        fmean(steps),
    )


def nearest(cells: Sequence[Cell], model: str, sparsity: float, budget: float) -> Cell | None:
    """The cell of that network nearest in sparsity, and then in budget by its ratio; of several alike the one with the most
    points. None if nothing of that network is stored."""

    def far(cell: Cell) -> tuple[float, float, int]:
        return abs(cell.sparsity - sparsity), abs(math.log(cell.budget / budget)), -cell.points

    return min((c for c in cells if c.model == model and c.budget), key=far, default=None)


def words(data: str, cells: Sequence[Cell]) -> str:
    """What is stored of a data set, in a sentence; empty for nothing."""
    if not cells:
        return ""
    groups = grouped(cells, lambda c: (c.model, c.sparsity, c.seeds, c.devices))
    parts = []
    for (model, sparsity, seeds, devices), own in groups.items():
        lengths = listed([f"{epochs:.3g}" for epochs in sorted({c.epochs for c in own})])
        count = f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
        where = listed(devices)
        parts.append(f"{model} at {share(sparsity)} with {lengths} epochs of retraining, {count}, computed on {where}")
    return f"Stored for {data}: {'; '.join(parts)}."


def on_page(results: Results, data: str) -> tuple[list[Cell], tuple[int, ...]]:
    """The cells that an exported page shows of a data set, of each network, sparsity and budget that with the most points,
    and the seeds that all of them have, with every schedule; none if nothing is stored."""
    found = [cell for cell in stored_cells(results, data) if cell.runs == len(cell.schedules) * len(cell.seeds)]
    seeds = found[0].seeds if found else ()
    best: dict[tuple, Cell] = {}
    for cell in sorted(found, key=lambda c: (c.model, c.sparsity, c.budget, c.points)):
        if {*seeds} <= {*cell.seeds}:
            best[cell.model, cell.sparsity, cell.budget] = cell
    return list(best.values()), seeds


def devices(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Where they were computed."""
    return tuple(sorted({device for cell in cells for device in cell.devices}))


def exact(value: float, known: Iterable[float]) -> float:
    """The known share that a control shows as `value`, rounded as it is there; `value` itself if there is none."""
    return next((k for k in known if f"{100 * k:.5g}" == f"{100 * value:.5g}"), value)
