"""What is claimed of retraining schedules (C1 to C3), from the runs of figures 3 and 4."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from retrainlab.claims.effects import Values, best, difference, lead, means, values
from retrainlab.claims.rule import MARGIN, Part
from retrainlab.figures.presets import Preset
from retrainlab.phrases import share

Runs = Mapping[str, pd.DataFrame]
"""Runs by the name of their figure."""
FIG3, FIG4 = "fig03_budgets", "fig04_best_lr"
SHORT = 0.1  # share of the dense run up to which a budget counts as short


def short_budgets(runs: Runs, settings: Preset) -> list[Part]:
    """C1: linear schedules shorten retraining."""
    frame = runs[FIG3]
    short = frame[frame["budget"] <= SHORT]
    where = f"at budgets of up to {share(SHORT)}"
    as_good = [
        Part(f"{where} LLR is at least as good as {name}", FIG3, difference(short, "schedule", "LLR", name), -MARGIN)
        for name in ("CLR", "SLR")
    ]
    better = [
        Part(f"{where} SLR is better than {name}", FIG3, difference(short, "schedule", "SLR", name))
        for name in ("LRW", "FT")
    ]
    first, last = (lead(frame[frame["budget"] == b], "schedule", "LLR", "FT") for b in _ends(frame["budget"]))
    says = "the lead of LLR over FT is larger at the shortest budget than at the longest"
    closing = values(first - last) if frame["budget"].nunique() > 1 else ()
    return [*as_good, *better, Part(says, FIG3, closing)]


def _ends(column: pd.Series) -> tuple[float, float]:
    return column.min(), column.max()


def rewinding(runs: Runs, settings: Preset) -> list[Part]:
    """C2: LRW needs time."""
    frame, recipe = runs[FIG3], settings.recipe
    plateau = 1 - max(recipe.milestones) if recipe.schedule == "multistep" and recipe.milestones else 0.0
    within = frame["budget"] <= plateau + 1e-9
    last = f"the dense run's last plateau ({share(plateau)} of it)"
    return [
        Part(
            f"at budgets within {last} LRW is FT", FIG3, _apart(frame[within]), side="exactly", unit="nats of test loss"
        ),
        Part(
            f"at budgets beyond {last} LRW is better than FT", FIG3, difference(frame[~within], "schedule", "LRW", "FT")
        ),
    ]


def _apart(frame: pd.DataFrame) -> Values:
    """How far the test losses of LRW and FT lie apart at most, for each seed in which neither has diverged."""
    losses = frame.set_index(["seed", "sparsity", "budget"])["test_loss"]
    one, other = (losses[(frame["schedule"] == name).to_numpy()] for name in ("LRW", "FT"))
    return values((one - other).abs().groupby("seed").agg(lambda x: x.max(skipna=False)))


def starts(runs: Runs, settings: Preset) -> list[Part]:
    """C3: the best start of a linear schedule, and ALLR's."""
    lines = (
        runs[FIG4].assign(initial_lr=runs[FIG4].get("initial_lr", np.nan)).fillna({"initial_lr": settings.recipe.lr})
    )
    lines, allr = lines[lines["schedule"] != "ALLR"], lines[lines["schedule"] == "ALLR"]
    own = best(lines, ["seed", "sparsity", "budget"]).assign(start=lambda t: np.log2(t["initial_lr"]))
    grows = [
        Part(f"the best start is larger at the {most} {what} than at the {least}", FIG4, change, unit="doublings")
        for what, least, most in (("sparsity", "lowest", "highest"), ("budget", "shortest", "longest"))
        for change in [_change(own, what)]
    ]
    frame = runs[FIG3]
    gentle = (frame["sparsity"] == frame["sparsity"].min()) & (frame["budget"] <= SHORT)
    leads = [lead(frame[rows], "schedule", "ALLR", "LLR") for rows in (gentle, ~gentle)]
    return [
        *grows,
        Part("ALLR is at least as good as the best start", FIG4, _allr(lines, allr), -MARGIN),
        Part("ALLR is at least as good as LLR", FIG3, difference(frame, "schedule", "ALLR", "LLR"), -MARGIN),
        Part(
            f"its lead over LLR is larger at the lowest sparsity and budgets of up to {share(SHORT)} than elsewhere",
            FIG3,
            values(leads[0] - leads[1]),
        ),
    ]


def _change(own: pd.DataFrame, what: str) -> Values:
    """How many doublings the best start grows by from the lowest to the highest value of a column, for each seed."""
    low, high = _ends(own[what])
    table = means(own[own[what].isin((low, high))], what, "start") / 100
    return values(table[high] - table[low]) if own[what].nunique() > 1 else ()


def _allr(lines: pd.DataFrame, allr: pd.DataFrame) -> Values:
    """Test accuracy of ALLR less that of each cell's best start, which is chosen on validation over all seeds, from those
    that have diverged least often."""
    cell = ["sparsity", "budget"]
    measured = ["validation_accuracy", "validation_loss"]
    groups = lines.groupby([*cell, "initial_lr"])[measured]
    counts = groups.count()
    over_seeds = groups.mean().where(counts == counts.groupby(cell).transform("max")).reset_index()
    chosen = best(over_seeds, cell)[[*cell, "initial_lr"]]
    both = pd.concat([lines.merge(chosen).assign(which="best"), allr.assign(which="ALLR")])
    table = means(both, "which")
    return values(table["ALLR"] - table["best"]) if {"ALLR", "best"} <= {*table} else ()
