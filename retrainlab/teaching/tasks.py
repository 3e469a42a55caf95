"""A check for each of the ten exercises of the two sessions: it marks an answer and does not give it away.

Each compares with what the package computes another way, or with a count by brute force. Tables are those of
`study.run_study`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from retrainlab import metrics, pruning, schedules, stats
from retrainlab.config import Experiment, Prune, Retrain
from retrainlab.schedules import DenseCurve
from retrainlab.teaching.marking import Unanswered, Wrong, answered, exercise

LENGTHS = (93, 310)  # steps for which a schedule of one's own is tried
SHARES = (0.2, 0.5, 0.8, 0.9, 0.95, 0.99)  # that a prune of Gaussian weights takes
P_VALUES = ((0.01, 0.04, 0.03, 0.005), (0.2, 0.001, 0.9), (0.02, 0.02, 0.02), (0.04,))


def _number(answer: object) -> float:
    """The answer as a number; Wrong if it is none."""
    if isinstance(answer, bool) or not isinstance(answer, int | float | np.number):
        raise Wrong(f"The answer should be a number, but is of the kind {type(answer).__name__}.")
    return float(answer)


def _near(found: float, wanted: float, within: float) -> bool:
    return bool(abs(found - wanted) <= within)


@exercise(1, "Set `part` to the share that each cycle removes of the weights that are left.")
def part_of_a_cycle(answer: object, sparsity: float, cycles: int) -> str:
    """answer: the share s of what is left that each of `cycles` cycles removes, so that `sparsity` is reached."""
    left = 1.0
    for _ in range(cycles):
        left *= 1 - _number(answer)
    if not _near(1 - left, sparsity, 1e-4):
        raise Wrong(
            f"With that share {100 * (1 - left):.1f} % are gone after {cycles} cycles, not {100 * sparsity:g} %."
        )
    totals = ", ".join(f"{100 * target:.1f} %" for target in Prune(sparsity, cycles=cycles).targets)
    return f"The totals after each cycle are {totals}."


@exercise(2, "Let `sparsity` return the share of zeros over the prunable weights alone.")
def honest_sparsity(answer: Callable[[dict[str, Tensor], Sequence[str]], float]) -> str:
    """answer: a function of all tensors of a network by name, and the names of those that are prunable."""
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "conv.weight": torch.randn(6, 3, 3, 3, generator=generator),
        "conv.bias": torch.zeros(6),
        "norm.weight": torch.ones(6),
        "norm.bias": torch.zeros(6),
        "classifier.weight": torch.randn(10, 6, generator=generator),
    }
    tensors["conv.weight"][:2] = 0
    names = ["conv.weight", "classifier.weight"]
    for some, what in ((names, "the two prunable tensors"), (names[1:], "a layer without zeros")):
        found = _number(answered(answer(tensors, some)))
        if not _near(found, metrics.sparsity({name: tensors[name] for name in some}), 1e-6):
            raise Wrong(f"Of {what} it gives {found:.4f}. Which tensors do you count, and what do you divide by?")
    return "Biases and normalisation are neither counted nor divided by, and layers count by their size."


@exercise(
    3, "Set `longest` to the longest budget, as a share of the dense run, at which LRW has the learning rates of FT."
)
def longest_plateau(answer: object, original: DenseCurve) -> str:
    """answer: a budget. original: the dense run's curve."""
    steps = len(original.lr)

    def same(n: int) -> bool:
        both = (schedules.retraining(Retrain(name), original, n) for name in ("LRW", "FT"))
        return bool(torch.equal(*both))

    longest = max((n for n in range(1, steps + 1) if same(n)), default=0)
    if not _near(_number(answer), longest / steps, 1.01 / steps):
        n = min(max(1, round(_number(answer) * steps)), steps)
        raise Wrong(
            f"At {n} of {steps} steps the two are {'the same, but that is not the longest' if same(n) else 'not the same'}."
        )
    return (
        "It is the last plateau of the dense run. After a dense run on a line there is none, and LRW is no FT at all."
    )


@exercise(
    4, "Set `gives_up` to the lowest sparsity of `table` at which FT brings back less than half; 1.0 if there is none."
)
def gives_up(answer: object, table: pd.DataFrame) -> str:
    """answer: a sparsity. table: rows with schedule, sparsity and recovery."""
    means: dict[float, list[float]] = {}
    for row in table[table["schedule"] == "FT"].itertuples():
        means.setdefault(row.sparsity, []).append(row.recovery)
    low = [sparsity for sparsity, found in means.items() if np.nanmean(found) < 0.5]
    if not _near(_number(answer), min(low, default=1.0), 1e-9):
        raise Wrong(
            "Take the mean of `recovery` over the seeds, for FT alone, and the lowest sparsity with a mean below 0.5."
        )
    return "Whether that is the network's limit or the schedule's, the other schedules of the table tell."


@exercise(5, "Let `own` return n learning rates: a warm-up to the peak, then your own way down.")
def own_schedule(answer: Callable[[int, float], object]) -> str:
    """answer: a function of the number of steps n and the peak, which gives n learning rates."""
    for n in LENGTHS:
        curve = np.asarray(answered(answer(n, 0.1)), dtype=float)
        if curve.shape != (n,):
            raise Wrong(f"For n = {n} it gives the shape {curve.shape}; a schedule has one learning rate a step.")
        if not np.isfinite(curve).all() or curve.min() < 0 or curve.max() > 0.1 * (1 + 1e-9):
            raise Wrong(f"For n = {n} and a peak of 0.1 its values go from {curve.min():g} to {curve.max():g}.")
        if curve.max() < 0.099 or curve[0] >= curve.max() or curve[-1] > 0.01:
            raise Wrong(
                f"For n = {n} it starts at {curve[0]:.3g}, has its peak at {curve.max():.3g} and ends at {curve[-1]:.3g}."
            )
    return "It rises, reaches the peak and ends low, for every length."


@exercise(6, "Let `gaussian_d1` return d1 for Gaussian weights of which the smallest share s goes.")
def gaussian_damage(answer: Callable[[float], float]) -> str:
    """answer: a function of s, compared with weights that are drawn and pruned."""
    weights = {"w": torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)}
    off = 0.0
    for s in SHARES:
        masks = pruning.prune(weights, pruning.magnitude(weights), Prune(s), s)
        drop = metrics.norm_drop(weights, {"w": weights["w"] * masks["w"]})
        wanted, found = schedules.allr_factor(drop, s, 1e-9), _number(answered(answer(s)))
        off = max(off, abs(found - wanted))
        if not _near(found, wanted, 0.01):
            raise Wrong(f"For s = {s:g} it gives {found:.3f}; weights that are drawn and pruned give another value.")
    return f"It is at most {off:.4f} away from 200,000 weights that were drawn and pruned."


@exercise(7, "Put a curve into `curves`, run the study, and set `chosen` to the best one's name, by validation.")
def drawn_curve(answer: object, table: pd.DataFrame) -> str:
    """answer: a name in the column `curve`, where LLR stands as well. table: with seed, validation_ and test_accuracy."""
    means = {name: part["validation_accuracy"].mean() for name, part in table.groupby("curve") if name != "LLR"}
    if not means:
        raise Unanswered
    if answer not in means:
        raise Wrong(f"The answer should be one of {', '.join(means)}.")
    if means[answer] < max(means.values()):
        raise Wrong("Another of your curves has the higher mean validation accuracy; choose by that alone.")
    one = table[table["curve"].isin(["LLR", answer])].assign(where="here")
    said = []
    for split in ("validation", "test"):
        [row] = stats.paired(one, ["where"], f"{split}_accuracy", "curve", "LLR").itertuples()
        said.append(f"{split} {100 * row.mean:+.2f} points ({row.verdict})")
    return (
        f"Against LLR: {', '.join(said)}. The first was chosen among {len(means)}, so only the second is fair; "
        "undecided means that nothing was shown."
    )


@exercise(8, "Let `corrected` return the p-values after Holm's correction, in their order.")
def holm(answer: Callable[[list[float]], Sequence[float]]) -> str:
    """answer: a function of a list of p-values."""
    for p in P_VALUES:
        found = np.asarray(answered(answer(list(p))), dtype=float)
        if found.shape != (len(p),) or not np.allclose(found, stats.holm(p)):
            raise Wrong(f"For {list(p)} it gives {np.round(found, 4).tolist()}.")
    return "The smallest is multiplied by their number, and none gets below one that was smaller before."


@exercise(9, "Set `mistake` to the letter of what is wrong with the plot: 'a', 'b', 'c' or 'd'.")
def mistake(answer: object) -> str:
    """answer: a letter."""
    if not isinstance(answer, str) or answer.strip().lower() not in ("a", "b", "c", "d"):
        raise Wrong("The answer should be one of the letters 'a', 'b', 'c' and 'd'.")
    if answer.strip().lower() != "c":
        raise Wrong("That holds for the plot as well as for its repair. How many epochs has each line trained in all?")
    return '`compare(Retrain("LLR", split=True), ...)` draws it at equal totals: the budget is then for all cycles together.'


@exercise(10, "Let `plan` return two lists of experiments: averages of copies, and what they are to be compared with.")
def fair_plan(answer: Callable[[], tuple[Sequence[Experiment], Sequence[Experiment]]]) -> str:
    """answer: a function that gives (averages, rivals)."""
    averages, rivals = answered(answer())
    if not averages or not rivals or not all(isinstance(e, Experiment) for e in [*averages, *rivals]):
        raise Wrong("Both should be lists of experiments.")
    if any(e.retrain.copies < 2 for e in averages) or any(e.retrain.copies > 1 for e in rivals):
        raise Wrong("The first list should average copies (`Retrain(copies=...)`), the second none.")
    if [(e.recipe, e.prune) for e in averages] != [(e.recipe, e.prune) for e in rivals]:
        raise Wrong("Both should start from the same networks, seeds and masks, in the same order.")
    if len({e.recipe.seed for e in averages}) < stats.SEEDS:
        raise Wrong(f"There should be at least {stats.SEEDS} seeds, or no verdict is given.")
    for one, other in zip(averages, rivals):
        if not _near(one.retrain.copies * one.retrain.budget, other.retrain.budget, 1e-9):
            raise Wrong("Count the epochs of retraining of each: they are not the same.")
        if one.retrain.schedule != other.retrain.schedule:
            raise Wrong("Schedule and averaging change at once; which of them would a difference be due to?")
        if not other.retrain.recalibrate:
            raise Wrong("BatchNorm is recalibrated after averaging, and in the rivals it is not.")
    return "Same start, same total, same schedule, recalibrated alike: what is left is the averaging."
