"""The claims of the paper and of what it builds on, in our words; and what a folder of figures says of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from retrainlab import stats
from retrainlab.checks import BadInput
from retrainlab.claims import others, schedules
from retrainlab.claims.rule import Judged, Part, judge, verdict
from retrainlab.claims.schedules import Runs
from retrainlab.figures.presets import Preset
from retrainlab.phrases import listed


@dataclass(frozen=True)
class Claim:
    """What is claimed.

    name: C1 to C7. against: what would count against it. figures: whose runs it is tested on. parts: what it says, as a
    function of these runs and the preset's settings.
    """

    name: str
    statement: str
    source: str
    against: str
    figures: tuple[str, ...]
    parts: Callable[[Runs, Preset], list[Part]]


PAPER = "Zimmer et al. 2023"
CLAIMS = (
    Claim(
        "C1",
        "Schedules that start high and fall to 0 make retraining short: with small budgets LLR is as good as any of them, "
        "they beat LRW and FT, and the gap closes as the budget grows.",
        PAPER,
        "LLR behind CLR or SLR, SLR no better than LRW or FT, or a lead that grows with the budget",
        (schedules.FIG3,),
        schedules.short_budgets,
    ),
    Claim(
        "C2",
        "LRW needs time: as long as the budget is within the dense run's last plateau it is FT, and beyond it is better.",
        f"Renda et al. 2020; {PAPER}",
        "another run than FT's within the plateau, or nothing gained beyond it",
        (schedules.FIG3,),
        schedules.rewinding,
    ),
    Claim(
        "C3",
        "The best start of a linear schedule grows with the damage of the prune and with the budget; ALLR comes close to it "
        "untuned, and gains most over LLR at low sparsity and short budgets.",
        PAPER,
        "a best start that stays or falls, or ALLR behind the best start or LLR",
        (schedules.FIG3, schedules.FIG4),
        schedules.starts,
    ),
    Claim(
        "C4",
        "Within a budget a line to 0 is the best schedule for dense training, too.",
        "Li et al. 2020",
        "steps, a constant rate or a cosine ahead of the line",
        (others.FIG11,),
        others.within_a_budget,
    ),
    Claim(
        "C5",
        "BIMP, in the time of one dense run, keeps up with the methods that sparsify during training.",
        PAPER,
        "any of them ahead of BIMP at equal epochs",
        (others.FIG5,),
        others.contest,
    ),
    Claim(
        "C6",
        "Avoiding the drop does not pay: accuracy straight after the prune does not tell the end, and retraining helps the "
        "methods that sparsify during training, too.",
        PAPER,
        "a clear correlation, or nothing gained by retraining them",
        (others.FIG7,),
        others.stability,
    ),
    Claim(
        "C7",
        "Length explains part of what iterative pruning gains; to prune between a quarter and three quarters of the time is "
        "better than sooner or later; averaging retrained copies helps; biases and normalisation alone regain much.",
        "Jin et al. 2022; by analogy Jin et al. 2025, who prune gradually; Zimmer et al. 2024; Zimmer et al. 2023 (PERP)",
        "no gain of length, of the middle or of averaging, or less than half regained",
        (others.FIG6, others.FIG8, others.FIG12, others.FIG14),
        others.later_work,
    ),
)

COLUMNS = {
    schedules.FIG3: "seed sparsity budget schedule test_accuracy test_loss",
    schedules.FIG4: "seed sparsity budget schedule test_accuracy validation_accuracy validation_loss",
    others.FIG5: "seed sparsity entrant test_accuracy",
    others.FIG6: "seed share test_accuracy",
    others.FIG7: "seed entrant test_accuracy validation_accuracy pruned_validation_accuracy",
    others.FIG8: "seed what in_all test_accuracy",
    others.FIG11: "seed epochs dense_schedule test_accuracy",
    others.FIG12: "seed base ingredient test_accuracy",
    others.FIG14: "seed recalibrated_test_accuracy recalibrated_second_test_accuracy recalibrated_average_test_accuracy",
}
"""What is needed of the runs of each figure that claims are tested on."""
WORDS = {"schedule", "entrant", "what", "dense_schedule", "base", "ingredient"}


@dataclass(frozen=True)
class Verdict:
    """What the data say of a claim. missing: figures that are not there, for want of which it is not tested."""

    claim: Claim
    verdict: str
    parts: tuple[Judged, ...] = ()
    missing: tuple[str, ...] = ()


def verdicts(runs: Runs, settings: Preset) -> list[Verdict]:
    """All claims with their verdicts, from the runs of the figures that there are."""
    missing = {c: tuple(name for name in c.figures if name not in runs) for c in CLAIMS}
    parts = {c: [] if missing[c] else c.parts(runs, settings) for c in CLAIMS}
    found = iter(judge([part for each in parts.values() for part in each]))
    judged = {c: tuple(next(found) for _ in each) for c, each in parts.items()}
    states = {c: [j.state for j in judged[c]] if any(j.n for j in judged[c]) else [] for c in CLAIMS}
    return [Verdict(c, verdict(states[c]), judged[c], missing[c]) for c in CLAIMS]


def read(folder: Path) -> Mapping[str, pd.DataFrame]:
    """The runs of the figures in a folder, by figure; of those that claims are tested on. Raises BadInput for a table that
    cannot be read."""
    found = {}
    for name in COLUMNS:
        path = folder / f"{name}.runs.csv"
        if not path.is_file():
            continue
        try:
            found[name] = _checked(stats.read_saved(path), COLUMNS[name])
        except (ValueError, OSError) as error:  # pandas' errors are ValueErrors
            why = (str(error).splitlines() or ["empty"])[0]
            raise BadInput(f"The table {path} cannot be read ({why}); make the figure anew.") from None
    return found


def _checked(runs: pd.DataFrame, columns: str) -> pd.DataFrame:
    """The runs, if they have rows and these columns. Raises ValueError where not, or where words stand for numbers."""
    if runs.empty:
        raise ValueError("it has no rows")
    if lacking := [name for name in columns.split() if name not in runs]:
        raise ValueError(f"it has no column {listed(lacking)}")
    if words := [name for name in columns.split() if name not in WORDS and runs[name].dtype.kind not in "iuf"]:
        raise ValueError(f"{listed(words)} should be numbers")
    return runs


def figures(found: Sequence[Verdict]) -> list[str]:
    """The figures whose runs the verdicts rest on."""
    return sorted({name for v in found for name in v.claim.figures} - {name for v in found for name in v.missing})
