"""docs/evidence.md, and a line of the README: results that come with the project beside published ones.

All numbers are of the files in results/, none of a user's own store, and none is typed.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd

from retrainlab import stats
from retrainlab.config import Experiment
from retrainlab.figures import presets, published, stored
from retrainlab.figures.blocks import Read, filled, table
from retrainlab.figures.provenance import number
from retrainlab.figures.style import SCHEDULES
from retrainlab.phrases import listed, share
from retrainlab.study import Results, grid, run_study
from retrainlab.study.lacking import NotStored, epochs, joined
from retrainlab.study.plan import Missing
from retrainlab.study.stages import steps_of

README, EVIDENCE = "README.md", "docs/evidence.md"
CIFAR = presets.preset("cifar10")
SHORT = 10  # epochs of retraining that all schedules are compared at
MANY, THREE = 0.57e-3, 1.33e-3
"""Seconds of a member-step of this network on an H100, in bfloat16 and compiled: with 16 networks at once; and with three,
as the first trainings were made."""
BASELINE = "LLR"


def pages(read: Read) -> dict[str, str]:
    """Both pages by their paths, with blocks that say what the results say now."""
    with tempfile.TemporaryDirectory(prefix="retrainlab-") as empty:
        rows = runs(Results.at(empty))
        blocks = {
            EVIDENCE: {
                "published": lambda old: beside(rows),
                "schedules": lambda old: schedules(rows),
                "open": lambda old: unexplained(rows),
                "sittings": lambda old: sittings(lacks(empty)),
            },
            README: {"cifar10": lambda old: line(rows)},
        }
        return {path: filled(path, read(path), own) for path, own in blocks.items()}


def runs(results: Results) -> pd.DataFrame:
    """What is stored of the recipe that was published, at its sparsity: every schedule and number of epochs."""
    there = [e for e in _wanted(list(SCHEDULES)) if results.of(e) is not None]
    return run_study(there, store=results, stored_only=True).assign(
        length=[round(e.retrain.budget * published.EPOCHS) for e in there]
    )


def _wanted(schedules: list[str]) -> list[Experiment]:
    """These schedules for every published number of epochs."""
    lengths = sorted({SHORT, *(n for own in published.RIGHT.values() for n in own)})
    budgets = [n / published.EPOCHS for n in lengths]
    return grid(CIFAR.recipe, sparsities=[published.SPARSITY], budgets=budgets, schedules=schedules, seeds=CIFAR.seeds)


# ---- beside published accuracies -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A published accuracy, and ours: shares of the test images, one for each seed, none where it is not trained yet."""

    name: str
    ours: tuple[float, ...]
    mean: float
    deviation: float
    count: int


def rows_beside(rows: pd.DataFrame) -> list[Row]:
    """Dense training, and each schedule and number of epochs that was published."""
    dense = rows.drop_duplicates("seed")["dense_test_accuracy"]
    out = [Row(f"dense, {published.EPOCHS} epochs", tuple(dense), *published.DENSE)]
    for schedule, lengths in published.RIGHT.items():
        for length in lengths:
            ours = rows.loc[(rows["schedule"] == schedule) & (rows["length"] == length), "test_accuracy"]
            theirs = pd.Series(published.accuracies(schedule, length))
            out.append(Row(f"{schedule}, {length} epochs", tuple(ours), theirs.mean(), theirs.std(), len(theirs)))
    return out


def beside(rows: pd.DataFrame) -> str:
    """A table of ours and published accuracies, and what the choice of the test images may do."""
    found = rows_beside(rows)
    compared = {row: stats.welch(row.ours, row.mean, row.deviation, row.count) for row in found if row.ours}
    corrected = dict(zip(compared, stats.holm([p for *_, p in compared.values()])))
    heads = [
        "",
        "ours (95 % interval)",
        "seeds",
        "published (sd)",
        "trials",
        "ours less published, points",
        "p",
        "verdict",
    ]
    cells = []
    for row in found:
        theirs = [f"{_percent(row.mean)} ({100 * row.deviation:.2f})", str(row.count)]
        if row not in compared:
            cells.append([row.name, "not trained yet", "", *theirs, "", "", ""])
            continue
        apart, low, high, p = compared[row]
        word = "undecided" if not corrected[row] <= 1 - stats.LEVEL else "higher" if apart > 0 else "lower"
        own = [_mean(row.ours), str(len(row.ours)), *theirs, _points(apart, low, high), f"{p:.3f}", word]
        cells.append([row.name, *own])
    moved = listed([f"{100 * _by_choice(row.mean):.2f} for {row.name}" for row in compared])
    return (
        f"{table(heads, cells)}\nDifferences have Welch's 95 % intervals, uncorrected; p-values are two-sided, and verdicts "
        f"follow them after Holm's correction for {len(compared)} comparisons. One thing no interval counts: the published "
        f"accuracies are of {published.TESTED:,} of the test images, and ours of all 10,000. A random choice of so many "
        f"moves an accuracy by this standard deviation, in points, and all of their networks alike: {moved}.\n"
    )


def _by_choice(accuracy: float) -> float:
    """The standard deviation of an accuracy of TESTED of 10,000 images around that of all, if they are chosen at random."""
    return math.sqrt(accuracy * (1 - accuracy) / published.TESTED * (1 - published.TESTED / 10_000))


def _percent(part: float) -> str:
    return f"{100 * part:.2f} %"


def _mean(values: Sequence[float]) -> str:
    mean, low, high = stats.interval(values)
    return f"{_percent(mean)} ({100 * low:.2f} to {100 * high:.2f})"


def _points(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


# ---- all schedules ---------------------------------------------------------------------------------------------------


def schedules(rows: pd.DataFrame) -> str:
    """A table of all schedules after SHORT epochs, with paired differences to BASELINE."""
    short = rows[rows["length"] == SHORT]
    found = stats.compared(short, ["sparsity"], "test_accuracy", "schedule", BASELINE).set_index("schedule")
    heads = ["", "mean (95 % interval)", "lowest to highest", f"less {BASELINE}, points (95 % interval)", "verdict"]
    dense = short.drop_duplicates("seed")["dense_test_accuracy"]
    cells = [["dense", _mean(dense), _span(dense), "", ""]]
    for name in SCHEDULES:
        one, own = found.loc[name], short.loc[short["schedule"] == name, "test_accuracy"]
        cells.append([name, _mean(own), _span(own), "", ""])
        if name != BASELINE:
            twin = f" (the same run as {one['same_as']})" if one["same_as"] else ""
            cells[-1][-2:] = [_points(*(one[f"difference_{end}"] for end in stats.ENDS)), f"{one['corrected']}{twin}"]
    where, seeds = listed(sorted(rows["device"].unique())), short["seed"].nunique()
    return (
        f"{table(heads, cells)}\n{seeds} seeds, {share(published.SPARSITY)} of the weights removed, {SHORT} of "
        f"{published.EPOCHS} epochs of retraining, computed on {where}. Differences are paired over seeds (Student's t); "
        "verdicts are after Holm's correction.\n"
    )


def _span(values: pd.Series) -> str:
    return f"{100 * values.min():.2f} to {100 * values.max():.2f}"


def line(rows: pd.DataFrame) -> str:
    """What the README says of it."""
    short = rows[rows["length"] == SHORT]
    llr, ft = (_percent(short.loc[short["schedule"] == name, "test_accuracy"].mean()) for name in ("LLR", "FT"))
    dense, theirs = short["dense_test_accuracy"].mean(), published.accuracies("FT", published.EPOCHS)
    return (
        f"CIFAR-10, resnet20 ({_percent(dense)}), {share(published.SPARSITY)} pruned, {short['seed'].nunique()} seeds: LLR "
        f"reaches {llr} in {SHORT} of {published.EPOCHS} epochs, FT {ft}; published FT, after all {published.EPOCHS}: "
        f"{_percent(sum(theirs) / len(theirs))} ([docs/evidence.md](docs/evidence.md)).\n"
    )


# ---- what is open ----------------------------------------------------------------------------------------------------


def unexplained(rows: pd.DataFrame) -> str:
    """How far ours lie from what was published, what more seeds could show, and what an experiment on one difference in the
    set-up costs."""
    found = {row.name: row for row in rows_beside(rows)}
    dense, short = found[f"dense, {published.EPOCHS} epochs"], found[f"FT, {SHORT} epochs"]
    (first, *one, _), (second, *two, _) = (
        stats.welch(row.ours, row.mean, row.deviation, row.count) for row in (dense, short)
    )
    theirs = stats.interval(published.accuracies("FT", SHORT))
    count = CIFAR.seeds * (CIFAR.recipe.epochs + SHORT)
    minutes = math.ceil(count * steps_of(CIFAR.recipe) * THREE / 60)
    return (
        f"FT after {SHORT} epochs is {_points(second, *two)} points from the published mean, and the dense network "
        f"{_points(first, *one)}. The published trials of FT differ so much that their own mean is known to "
        f"{100 * (theirs[0] - theirs[1]):.1f} points either way (95 %), however many seeds of ours stand beside it. Whether "
        "there is a difference at all is therefore **open**, and so is which part of the set-up would explain one. Each of "
        f"these experiments changes one part. With {CIFAR.seeds} dense networks, and FT for {SHORT} epochs from each, it is "
        f"{count:,} member-epochs: about {minutes} minutes on an H100, at the speed measured for {CIFAR.seeds} networks at "
        "once.\n"
    )


# ---- a plan of sittings ----------------------------------------------------------------------------------------------


@cache
def lacks(store: str) -> dict[str, NotStored]:
    """What the rows of the first table, with BASELINE beside them, and each figure of the preset lack in a store and in the
    files of results that come with the project."""
    from retrainlab.figures.run import available

    given = {"preset": CIFAR.name, "store": store, "jobs": 1, "device": "cpu", "stored_only": True}
    rows: dict[str, NotStored] = {}
    try:
        run_study(_wanted([*published.RIGHT, BASELINE]), store=store, stored_only=True)
    except NotStored as lack:
        rows[""] = lack
    return rows | stored.lacking_of(available(), given)


def sittings(found: dict[str, NotStored]) -> str:
    """A table of what is missing, figure by figure: runs, member-epochs, and minutes on an H100."""
    heads = ["figure", "runs that are missing", "member-epochs", "of these in first trainings", "minutes"]
    cells = [
        [
            f"[{number(name)}](../notebooks/{name}.ipynb)" if name else f"published rows, and {BASELINE} beside them",
            *_costs(lack.missing, lack.more),
        ]
        for name, lack in found.items()
    ]
    whole = joined(lack.missing for lack in found.values())
    cells.append(["all, each run once", *_costs(whole, any(lack.more for lack in found.values()))])
    return f"{table(heads, cells)}"


def _costs(missing: Missing, more: bool) -> Iterator[str]:
    first = sum(recipe.epochs for recipe in missing.dense.values())
    seconds = sum(count * steps_of(recipe) for recipe, count in epochs(missing).items()) * MANY
    least = "at least " * more
    yield f"{least}{len(missing.results):,}"
    yield f"{least}{sum(epochs(missing).values()):,.0f}"
    yield f"{first:,}"
    yield f"{least}{math.ceil(seconds / 60):,}"
