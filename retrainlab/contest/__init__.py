"""The contest: every method at one total of epochs, each with the best of its settings.

    entrants      who takes part, with which settings; tuning and final runs; comparisons beside it at equal totals
    search        looks for the value of a method's setting that leads to a sparsity
    throughput    how fast each method trains

What others call is importable from here.
"""

from retrainlab.contest.entrants import (
    ENTRANTS,
    Rules,
    candidates,
    contest,
    lengths,
    retrained,
    splits,
    with_references,
)

__all__ = ["ENTRANTS", "Rules", "candidates", "contest", "lengths", "retrained", "splits", "with_references"]
