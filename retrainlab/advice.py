"""Which schedule for a budget: a recommendation from results, how sure it is, and what more retraining would buy.

The choice is by validation accuracy; test accuracy is only reported. Where training saw the validation images, too, none is
held out for a choice: it is by test accuracy then, and is said to flatter. All that is compared shares the dense network,
the mask and the batches of its seed, so that differences are taken seed by seed. A schedule is ruled out if the interval of
its difference to the recommended one lies below 0, at a level that Bonferroni corrects for the number of other schedules.
That the recommended one was picked from the same data does no harm: the best schedule in truth is ruled out only if one of
the k - 1 others beats it by chance, so it is the recommended one or one of those not ruled out with at least 95 % confidence
(multiple comparisons with the best, Edwards & Hsu 1983). The intervals are Student's t, for seeds as a sample of all seeds;
they say nothing about other images. What is not covered is said in LIMITS.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrainlab import stats
from retrainlab.checks import BadInput, check_number
from retrainlab.config import NAMED_SCHEDULES
from retrainlab.phrases import listed, percent, share
from retrainlab.stats import SEEDS

COLUMNS = ("seed", "sparsity", "budget", "schedule", "validation_accuracy", "test_accuracy", "epochs")
LIMITS = (
    "Not covered: a schedule that collapses, but rarely (a better mean can then be ruled out in a third of cases). Also, "
    "the validation accuracy of what was picked flatters it, and of many settings looked at some mislead by chance."
)
VALIDATION, TEST = "validation accuracy", "test accuracy"
OUT, UNSURE, SAME = "ruled out", "cannot tell", "the same"
UNHELD = (
    "No image was held out for this choice, for the validation images were trained on, too: it is by test accuracy, which "
    "flatters what it picks."
)
Estimate = tuple[float, float, float]
"""A mean, and the low and high end of its interval: infinite for one seed, or for a difference that all seeds share."""


@dataclass(frozen=True)
class Comparison:
    """A schedule beside the recommended one; accuracies and differences are shares.

    validation, test: mean validation accuracy, and mean test accuracy with its 95 % interval.
    difference: its accuracy of the kind chosen by, less the recommended one's, paired by seed, at the advice's level.
    verdict: OUT if that interval lies below 0, SAME if the schedules are equal on every seed, otherwise UNSURE.
    """

    schedule: str
    validation: float
    test: Estimate
    difference: Estimate
    verdict: str


@dataclass(frozen=True)
class Gain:
    """What longer retraining brings.

    budget, epochs: length of the next longer retraining that is stored, as a share of the dense run and in epochs.
    per_epoch: how test accuracy (a share) grows with each epoch up to there, paired by seed, with its 95 % interval.
    seeds: how many pairs.
    """

    budget: float
    epochs: float
    per_epoch: Estimate
    seeds: int

    @property
    def sure(self) -> bool:
        """Whether the data tell if accuracy grows or falls."""
        _, low, high = self.per_epoch
        return self.seeds >= SEEDS and (low > 0 or high < 0)


@dataclass(frozen=True)
class Advice:
    """What to do at a sparsity and a budget, both shares.

    asked: the budget that was asked for.
    budget, epochs: the nearest budget that is stored, which all the rest is about, and its length in epochs.
    seeds: those that every schedule has, which alone count; of: how many seeds any schedule has.
    by: the accuracy that the choice is by, validation, or test where no image was held out for it.
    schedule: the recommended one; ties: others of equal mean accuracy.
    validation, test: the recommended one's mean validation accuracy, and its mean test accuracy with its 95 % interval.
    others: every other schedule, in NAMED_SCHEDULES' order; level: the confidence of the intervals of their differences.
    gain: what longer retraining brings; None if nothing longer is stored.
    """

    sparsity: float
    asked: float
    budget: float
    epochs: float
    seeds: tuple[int, ...]
    of: int
    by: str
    schedule: str
    ties: tuple[str, ...]
    validation: float
    test: Estimate
    others: tuple[Comparison, ...]
    level: float
    gain: Gain | None

    @property
    def held_out(self) -> bool:
        """Whether images were held out for the choice."""
        return self.by == VALIDATION

    def mean(self, c: "Comparison | Advice") -> float:
        """A schedule's mean accuracy of the kind that the choice is by."""
        return c.validation if self.held_out else c.test[0]

    @property
    def enough(self) -> bool:
        """Whether there are seeds enough to tell anything."""
        return len(self.seeds) >= SEEDS

    @property
    def compared(self) -> tuple[Comparison, ...]:
        """The recommended schedule, whose difference to itself has no interval, and then the others."""
        own = Comparison(self.schedule, self.validation, self.test, (0.0, math.nan, math.nan), "recommended")
        return (own, *self.others)

    def judged(self, verdict: str) -> list[str]:
        """The other schedules with this verdict."""
        return [c.schedule for c in self.others if c.verdict == verdict]


def advise(frame: pd.DataFrame, sparsity: float, budget: float) -> Advice:
    """Recommend a schedule for a sparsity and a budget.

    frame: results of one network on one data set, with COLUMNS: a row for each seed, sparsity, budget and schedule;
    accuracies are shares, epochs the dense run's length; all_train, if there: whether training saw the validation images.
    sparsity: a stored one, in [0, 1].
    budget: share of the dense run, above 0 and within the stored ones; the nearest by ratio is taken, of two equally near
    ones the shorter.
    Raises BadInput for other sparsities and budgets, results of several networks or precisions, and if no seed has every
    schedule.
    """
    check_number(sparsity, "sparsity", low=0, high=1)
    check_number(budget, "budget (share of the dense run)", above=0)
    known = _at_sparsity(frame, sparsity)
    nearest = _nearest(sorted(set(known["budget"])), budget, sparsity)
    [length] = set(known["epochs"])
    by = TEST if "all_train" in known and known["all_train"].any() else VALIDATION
    cell = known[known["budget"] == nearest]
    names = sorted(set(cell["schedule"]), key=lambda s: (NAMED_SCHEDULES.index(s) if s in NAMED_SCHEDULES else 99, s))
    wide = cell.pivot(index="seed", columns="schedule", values=["validation_accuracy", "test_accuracy"])
    wide = wide.astype(float).dropna()
    if wide.empty:
        raise BadInput(
            f"At sparsity {share(sparsity)} and budget {share(nearest)} no seed has every schedule "
            f"({', '.join(names)}); run what is missing, and leave out a schedule that diverges with every seed."
        )
    validation, test = wide["validation_accuracy"][names], wide["test_accuracy"][names]
    compared = test if by == TEST else validation
    means = compared.mean().round(10)  # no noise of float sums
    first, *ties = [name for name in names if means[name] == means.max()]
    level = 1 - (1 - stats.LEVEL) / max(1, len(names) - 1)
    less = compared.sub(compared[first], axis=0).round(10)
    others = tuple(_compare(n, validation[n], test[n], less[n], level) for n in names if n != first)
    return Advice(
        sparsity=float(sparsity),
        asked=float(budget),
        budget=nearest,
        epochs=float(nearest * length),
        seeds=tuple(map(int, wide.index)),
        of=int(cell["seed"].nunique()),
        by=by,
        schedule=first,
        ties=tuple(ties),
        validation=float(round(validation[first].mean(), 10)),
        test=_interval(test[first]),
        others=others,
        level=level,
        gain=_gain(known[known["schedule"] == first], nearest, length),
    )


def _at_sparsity(frame: pd.DataFrame, sparsity: float) -> pd.DataFrame:
    """The rows of retrainings at that sparsity."""
    if lacking := [name for name in COLUMNS if name not in frame]:
        raise BadInput(f"The results have no column {', '.join(lacking)}; give a table as study.run_study makes it.")
    known = frame[np.isclose(frame["sparsity"], sparsity, rtol=0, atol=1e-9) & (frame["budget"] > 0)]
    if known.empty:
        there = ", ".join(share(s) for s in sorted(set(frame["sparsity"]))) or "none"
        raise BadInput(f"Nothing is stored at sparsity {share(sparsity)}; stored: {there}.")
    stats.check_precision(known)
    twice = known.duplicated(["seed", "budget", "schedule"]).any()
    if twice or any(known[c].nunique() > 1 for c in ("epochs", "all_train") if c in known):
        raise BadInput("These are results of more than one network or method; give those of one.")
    return known


def _nearest(budgets: Sequence[float], budget: float, sparsity: float) -> float:
    low, high = budgets[0], budgets[-1]
    if not low * (1 - 1e-9) <= budget <= high * (1 + 1e-9):
        raise BadInput(
            f"A budget of {share(budget)} is outside what is stored at sparsity {share(sparsity)}, "
            f"{share(low)} to {share(high)}; no advice is drawn from other lengths."
        )
    return float(min(budgets, key=lambda b: round(abs(np.log(b / budget)), 9)))


def _interval(values: pd.Series) -> Estimate:
    mean, low, high = (round(x, 10) + 0.0 for x in stats.interval(values))  # no noise of float sums, no -0
    return mean, low, high


def _compare(name: str, validation: pd.Series, test: pd.Series, less: pd.Series, level: float) -> Comparison:
    estimate = stats.difference(less, level)
    verdict = OUT if stats.verdict(less, level) == "worse" else UNSURE
    if len(less) >= SEEDS and (less == 0).all():
        verdict = SAME
    return Comparison(name, float(round(validation.mean(), 10)), _interval(test), estimate, verdict)


def _gain(own: pd.DataFrame, budget: float, length: float) -> Gain | None:
    """own: rows of the recommended schedule; length: epochs of the dense run."""
    # by test accuracy: validation accuracy, by which the schedule was chosen, flatters the shorter retraining
    wide = own.pivot(index="seed", columns="budget", values="test_accuracy").astype(float)
    for longer in sorted(b for b in own["budget"].unique() if b > budget):
        pairs = wide[[budget, longer]].dropna()
        if not pairs.empty:
            slopes = (pairs[longer] - pairs[budget]) / ((longer - budget) * length)
            return Gain(float(longer), float(longer * length), stats.difference(slopes), len(pairs))
    return None


def words(advice: Advice) -> str:
    """The advice in two to four sentences: what to take, how sure that is, what one more epoch would buy."""
    sentences = [_choice_words(advice), _sure_words(advice), _gain_words(advice)]
    if abs(advice.asked - advice.budget) >= 1e-9:
        asked, used = share(advice.asked), share(advice.budget)
        sentences.insert(0, f"A budget of {asked} is not stored: this is about the nearest that is, {used}.")
    return " ".join(filter(None, sentences))


def _choice_words(a: Advice) -> str:
    text = f"At {share(a.sparsity)} sparsity and a budget of {share(a.budget)} ({_epochs(a.epochs)} of retraining)"
    mean, low, high = map(percent, a.test)
    spread = f"95 % interval {low} to {high}, {len(a.seeds)} seeds" if len(a.seeds) > 1 else "one seed, so no interval"
    tested = f"its test accuracy is {mean} ({spread})."
    if not a.others:
        return f"{text}, only {a.schedule} is stored; {tested}"
    tied = f", as {listed(a.ties)} {'has' if len(a.ties) == 1 else 'have'}" if a.ties else ""
    text += f", take {a.schedule}: of {len(a.others) + 1} schedules it has the highest mean {a.by}, "
    if not a.held_out:
        return f"{text}{mean} ({spread}){tied}. {UNHELD}"
    return f"{text}{percent(a.validation)}{tied}; {tested}"


def _sure_words(a: Advice) -> str:
    if not a.others:
        return ""
    lost = ""
    if left_out := a.of - len(a.seeds):
        verb, those = ("does", "it") if left_out == 1 else ("do", "them")
        lost = f"; {left_out} of {a.of} seeds {verb} not count, as not every schedule has {those}"
    if not a.enough:
        unknown = "the data cannot tell whether any schedule is better; it takes at least"
        return f"From {_seeds(len(a.seeds))} {unknown} {SEEDS}{lost}."
    unsure, same, out = map(a.judged, (UNSURE, SAME, OUT))
    clauses = []
    if unsure:
        clauses.append(f"the data cannot tell it from {listed(unsure)}")
    if same:
        clauses.append(f"{listed(same)} {'equals' if len(same) == 1 else 'equal'} it on every seed")
    if out and clauses:
        clauses.append(f"{listed(out)} {'is' if len(out) == 1 else 'are'} ruled out as the best")
    elif out:
        clauses.append(f"every other schedule is ruled out as the best: {listed(out)}")
    text, how, count = "; ".join(clauses), f"{100 * a.level:.3g} % intervals", len(a.others)
    if count > 1:
        how += f", which is 95 % corrected for {count} comparisons by Bonferroni"
    return f"{text[0].upper()}{text[1:]} ({a.by} seed by seed, {how}{lost})."


def _gain_words(a: Advice) -> str:
    if (g := a.gain) is None:
        return "What one more epoch would buy is not known: nothing longer is stored for it."
    mean, low, high = (100 * x for x in g.per_epoch)
    longer = f"Retraining for {_epochs(g.epochs)} in place of {a.epochs:.3g}"
    if g.seeds < SEEDS:
        what = f"was measured for {_seeds(g.seeds)} only ({mean:+.2f} points of test accuracy per epoch)"
        return f"{longer} {what}: the data cannot tell what one more epoch would buy."
    interval = f"(95 % interval {low:+.2f} to {high:+.2f})" if math.isfinite(low) else "(the same for every seed)"
    unsure = "" if g.sure else ": the data cannot tell whether one more epoch would buy anything"
    return f"{longer} changes test accuracy by {mean:+.2f} points per epoch on average {interval}{unsure}."


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"


def _epochs(count: float) -> str:
    return f"{count:.3g} epoch{'' if abs(count - 1) < 1e-9 else 's'}"
