"""The contest's search for a sparsity that only a knob decides, with runs that somebody watches or that are stored."""

from collections.abc import Callable, Sequence
from itertools import count

import pandas as pd

from retrainlab.config import Experiment
from retrainlab.contest.search import reach, searched
from retrainlab.explore.kit.live import Live

ROUNDS = 4  # at most, as while the contest tunes


class Unfinished(Exception):
    """A search lacks a run: it was stopped, or is not stored."""


def sought(
    experiments: Sequence[Experiment], run: Callable[[list[Experiment], int], Live], tolerance: float
) -> tuple[Live, list[int]]:
    """Find the knob of each experiment that has one.

    run: called with the experiments of a round and its number, from 1 to ROUNDS.
    tolerance: how far off the sparsity may be, a share.
    Returns the experiments, with their knobs and the curves and results of the runs that had them, and how many runs each
    search took (0 for none). Raises Unfinished if a round does not end.
    """
    found, runs, rounds = list(experiments), [0] * len(experiments), count(1)
    live = Live(found)
    seen: dict[Experiment, tuple[Live, int]] = {}
    turn = [i for i, e in enumerate(experiments) if searched(e.recipe)]

    def study(tried: list[Experiment]) -> pd.DataFrame:
        came = run(tried, next(rounds))
        if not came.whole:
            raise Unfinished
        seen.update({e: (came, place) for place, e in enumerate(tried)})
        return pd.DataFrame([came.results[i].scalars for i in range(len(tried))], columns=["trained_sparsity"])

    reached, rows = reach([experiments[i] for i in turn], study, tolerance=tolerance, most=ROUNDS)
    for i, e, taken in zip(turn, reached, rows["runs"]):
        found[i], runs[i] = e, round(taken)
        live.take(i, *seen[e])
    return live, runs
