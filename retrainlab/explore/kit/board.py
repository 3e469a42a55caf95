"""The leaderboard of schedules that were raced on several seeds: entries, their order, a table, a CSV, a verdict in words.

A drawn curve may be tuned on validation accuracy, so test accuracy is shown only when it is asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from retrainlab import stats
from retrainlab.config import Retrain
from retrainlab.explore.kit import writing
from retrainlab.explore.kit.live import Live
from retrainlab.explore.kit.points import Points
from retrainlab.phrases import percent
from retrainlab.study.making import grouped


@dataclass(frozen=True)
class Entry:
    """A schedule that has been raced on all seeds; its accuracies are shares, one a seed, NaN where it has diverged."""

    name: str
    retrain: Retrain
    validation: tuple[float, ...]
    test: tuple[float, ...]

    @property
    def mean(self) -> float:
        return round(fmean(self.validation), 10)  # equal means tie, whatever the noise of their sums

    @property
    def lost(self) -> int:
        """On how many seeds it has diverged."""
        return sum(map(math.isnan, self.validation))


def groups(race: Live) -> dict[Retrain, list[int]]:
    """The places of each schedule's experiments, one for each seed."""
    return grouped(range(len(race.experiments)), lambda place: race.experiments[place].retrain)


def finished(race: Live, names: Mapping[Points, str]) -> list[Entry]:
    """The schedules that have ended by themselves on all seeds. names: those of the drawn ones."""
    out = []
    for retrain, places in groups(race).items():
        scalars = [r.scalars for p in places if (r := race.results.get(p)) is not None and not r.scalars["stopped"]]
        if len(scalars) == len(places):
            validation, test = (
                tuple(math.nan if s[name] is None else s[name] for s in scalars)
                for name in ("validation_accuracy", "test_accuracy")
            )
            out.append(Entry(names.get(retrain.points, retrain.schedule), retrain, validation, test))
    return out


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    """The best mean validation accuracy first, ties in the given order; last those that diverged on any seed."""
    return sorted(entries, key=lambda e: (e.lost > 0, 0 if e.lost else -e.mean))


HEADS = ("place", "curve", "validation, mean", "lowest to highest", "seeds", "test, mean")


def rows(entries: Sequence[Entry], revealed: bool) -> list[tuple[str, ...]]:
    """The leaderboard as words; without `revealed`, test accuracy is hidden."""
    out: list[tuple[str, ...]] = []
    for e in ranked(entries):
        seeds, place = str(len(e.validation)), str(1 + sum(other.mean > e.mean for other in entries))
        span = f"{100 * min(e.validation):.1f} to {percent(max(e.validation))}"
        row = place, e.name, percent(e.mean), span, seeds, percent(fmean(e.test)) if revealed else "hidden"
        out.append(("", e.name, "diverged", f"on {e.lost} of {seeds} seeds", seeds, "") if e.lost else row)
    return out


def csv(entries: Sequence[Entry], revealed: bool) -> str:
    """The leaderboard in shares, with the control points; no accuracies where a schedule has diverged."""
    measured = [f"validation_accuracy_{name}" for name in ("mean", "lowest", "highest")]
    lines = []
    for e in ranked(entries):
        points = " ".join(f"{share:g}:{lr:g}" for share, lr in e.retrain.points)
        numbers = (None,) * 3 if e.lost else (fmean(e.validation), min(e.validation), max(e.validation))
        test = (None if e.lost else fmean(e.test)) if revealed else "hidden"
        lines.append((e.name, points, *numbers, len(e.validation), test))
    return writing.csv(["curve", "points", *measured, "seeds", "test_accuracy_mean"], lines) if lines else ""


def words(race: Live, entries: Sequence[Entry]) -> str:
    """What a race that is over shows, in sentences, the last of which tells the sparsity that was checked."""
    if not race.whole:
        return writing.stopped_words(any(curve.steps for curve in race.second.values()))
    order, lost = [e for e in ranked(entries) if not e.lost], [e for e in entries if e.lost]
    n = len(entries[0].validation)
    left = ", ".join(f"{e.name} on {e.lost} of {n} seeds" for e in lost)
    if not order:
        return f"Nothing can be ranked: every curve diverged ({left})."
    told = ", ".join(f"{e.name} {percent(e.mean)}" for e in order)
    zeros = min(r.scalars["sparsity_achieved"] for r in race.results.values() if not r.outcome)
    text = f"Validation accuracy ({f'mean of {n} seeds' if n > 1 else 'one seed'}): {told}. "
    if n == 1:
        text += "One seed only: differences of a point or two may be luck. "
    elif len(order) > 1:
        pairs = [a - b for a, b in zip(order[0].validation, order[1].validation)]
        mean, low, high = stats.difference(pairs)
        if stats.verdict(pairs) == "undecided":
            text += f"{n} seeds cannot tell the first two apart (paired by seed). "
        else:
            text += (
                f"Paired by seed the first is {100 * mean:+.1f} points from the second (95 % {100 * low:+.1f} to "
                f"{100 * high:+.1f}, not corrected for choosing the best of {len(order)}). "
            )
    text += f"Left out, as they diverged: {left}. " if lost else ""
    return text + f"Checked in each: {percent(zeros)} of the weights are exactly 0."
