"""Exercises: what is right is marked so, what is wrong is told in a sentence, and nothing ends in a trace."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from retrainlab import Experiment, Prune, Recipe, Retrain, schedules
from retrainlab.teaching import tasks
from retrainlab.teaching.marking import NOT_YET, OPEN, RIGHT

CURVE = schedules.dense(Recipe(), 400)  # its last plateau is a quarter


def falls(*recoveries: float) -> pd.DataFrame:
    """FT's recovery at 80, 90 and 95 %, with two seeds that differ; LLR's is 0 throughout."""
    rows = [("FT", s, r + d) for s, r in zip((0.8, 0.9, 0.95), recoveries) for d in (-0.1, 0.1)]
    return pd.DataFrame([*rows, ("LLR", 0.8, 0.0)], columns=["schedule", "sparsity", "recovery"])


def raced(**means: tuple[float, float]) -> pd.DataFrame:
    """Validation and test accuracies of curves, with four seeds."""
    rows = [
        (curve, seed, validation + 0.01 * seed, test + 0.01 * seed * (curve == "LLR"))
        for curve, (validation, test) in means.items()
        for seed in range(4)
    ]
    return pd.DataFrame(rows, columns=["curve", "seed", "validation_accuracy", "test_accuracy"])


def fair(**changes):
    """A plan whose rivals differ from fair ones in some fields of Retrain."""

    def plan():
        recipes = [Recipe(seed=seed) for seed in range(3)]
        averages = [Experiment(r, Prune(0.9), Retrain("LLR", budget=0.05, copies=3)) for r in recipes]
        rival = replace(Retrain("LLR", budget=3 * 0.05, recalibrate=True), **changes)
        return averages, [Experiment(r, Prune(0.9), rival) for r in recipes]

    return plan


def right_schedule(n, peak):
    return [peak * (i + 1) / 10 for i in range(9)] + [peak * (1 - i / (n - 9)) for i in range(n - 9)]


RACE = raced(LLR=(0.8, 0.8), a=(0.9, 0.7), b=(0.85, 0.95))
CHECKS = {  # number -> check, what it is given, a right answer, wrong ones
    1: (tasks.part_of_a_cycle, (0.95, 3), 0.6316, [0.95 / 3, 0.95, "x", True]),
    2: (
        tasks.honest_sparsity,
        (),
        lambda tensors, names: sum((tensors[n] == 0).sum() for n in names).item() / sum(tensors[n].numel() for n in names),
        [
            lambda tensors, names: sum((t == 0).sum() for t in tensors.values()).item() / 290,
            lambda tensors, names: sum((tensors[n] == 0).float().mean() for n in names).item() / len(names),
            lambda tensors, names: 1 / 0,
        ],
    ),
    3: (tasks.longest_plateau, (CURVE,), 0.25, [0.1, 0.5, 0.24, 7]),
    4: (tasks.gives_up, (falls(0.9, 0.45, 0.2),), 0.9, [0.95, 0.8, 1.0]),
    5: (
        tasks.own_schedule,
        (),
        right_schedule,
        [
            lambda n, peak: [peak] * n,
            lambda n, peak: right_schedule(n, peak)[1:],
            lambda n, peak: [2 * lr for lr in right_schedule(n, peak)],
            lambda n, peak: [float("nan")] * n,
            lambda n, peak: right_schedule(93, peak),
        ],
    ),
    6: (
        tasks.gaussian_damage,
        (),
        lambda s: {0.2: 0.146, 0.5: 0.378, 0.8: 0.662, 0.9: 0.789, 0.95: 0.871, 0.99: 0.962}[s],
        [lambda s: s, lambda s: {0.2: 0.089, 0.5: 0.258}[s], lambda s: float("nan")],
    ),
    7: (tasks.drawn_curve, (RACE,), "a", ["b", "LLR", "c"]),
    8: (
        tasks.holm,
        (),
        # by definition: the largest of what comes up to it, over all that are not larger
        lambda p: [min(1, max(q * sum(r >= q for r in p) for q in p if q <= one)) for one in p],
        [lambda p: [min(1, len(p) * one) for one in p], lambda p: p, lambda p: sorted(p), lambda p: 3],
    ),
    9: (tasks.mistake, (), "c", ["a", "b", "d", "e", 3]),
    10: (
        tasks.fair_plan,
        (),
        fair(),
        [fair(budget=0.05), fair(recalibrate=False), fair(copies=2), fair(schedule="CLR"), lambda: ([], []), lambda: 3],
    ),
}  # fmt: skip
of_each = pytest.mark.parametrize("number", CHECKS)


@of_each
def test_a_right_answer_is_right(number):
    check, given, right, _ = CHECKS[number]
    mark = check(right, *given)
    assert (mark.exercise, mark.state) == (number, RIGHT), mark.words


@of_each
def test_wrong_answers_are_told_in_a_sentence(number):
    check, given, _, wrong = CHECKS[number]
    for answer in wrong:
        mark = check(answer, *given)
        assert mark.state == NOT_YET and mark.words.endswith((".", "?")) and "\n" not in mark.words, answer


@of_each
def test_without_an_answer_it_is_said_what_is_wanted(number):
    check, given, right, _ = CHECKS[number]
    unwritten = lambda *given: None  # noqa: E731
    for answer in [None, ..., *([unwritten] if callable(right) else [])]:
        mark = check(answer, *given)
        assert mark.state == OPEN and mark.words.endswith("."), answer


def test_the_examples_of_holm_have_ties_and_a_step_that_is_held():
    p = torch.tensor(tasks.P_VALUES[0]).sort().values
    stepped = p * torch.arange(len(p), 0, -1)
    assert (stepped.diff() < 0).any() and any(len(set(q)) < len(q) for q in tasks.P_VALUES)


def test_the_lead_of_a_drawn_curve_is_told_on_both_splits():
    assert "validation +10.00 points" in tasks.drawn_curve("a", RACE).words
    assert "test -11.50 points (worse)" in tasks.drawn_curve("a", RACE).words
    assert tasks.drawn_curve("a", RACE[RACE["curve"] == "LLR"]).state == OPEN, "no curve was drawn"


def test_where_ft_never_gives_up_the_answer_is_one():
    assert tasks.gives_up(1.0, falls(0.9, 0.9, 0.9)).state == RIGHT
