"""The contest: every method at one total of epochs, each with the best of its settings."""

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
