"""The contest: every method at one total of epochs, each with the best of its settings.

    entrants      who takes part, with which settings; tuning and final runs; comparisons beside it at equal totals
    search        reaches a sparsity that only a method's knob decides
    throughput    how fast each method trains

What others call is importable from here.
"""

from retrainlab.contest.entrants import (
    ENTRANTS,
    GRID,
    Candidate,
    Rules,
    candidates,
    contest,
    lengths,
    retrained,
    splits,
    with_references,
)

__all__ = [
    "ENTRANTS",
    "GRID",
    "Candidate",
    "Rules",
    "candidates",
    "contest",
    "lengths",
    "retrained",
    "splits",
    "with_references",
]
