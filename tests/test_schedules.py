"""Learning-rate curves against their formulas, written again here with plain loops, and against torch's schedulers."""

import math

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from retrainlab import metrics, schedules
from retrainlab.checks import BadInput
from retrainlab.config import DENSE_SCHEDULES, FREE_SCHEDULES, NAMED_SCHEDULES, Recipe, Retrain
from retrainlab.schedules import DenseCurve, allr_factor, piecewise_linear, retraining
from retrainlab.training.masked import zeroed
from tests.helpers.pruning import prune

LENGTHS = [*range(1, 31), 57, 100]
PEAK = 0.4


def dense(name, n, lr, **options):
    return schedules.dense(Recipe(schedule=name, lr=lr, **options), n)


STEPPED = dense("multistep", 200, PEAK)  # 0.4 for 100 steps, 0.04 for 50, 0.004 for 50
POINTS = ((0.0, 0.1), (0.25, 0.5), (0.75, 0.2), (1.0, 0.0))
DECAYING = ("CLR", "LLR", "ALLR", "cosine", "linear", "rex", "cosine-to-0")  # each value below the one before
EXTRA = {name: {"lr": 0.3} for name in FREE_SCHEDULES} | {"custom": {"points": POINTS}}


def make(name, n, original=STEPPED, **options):
    d = 0.6 if name == "ALLR" else 1.0
    return retraining(Retrain(name, **EXTRA.get(name, {}), **options), original, n, d)


def written_out(n, share, first, decay, ramp="linear"):
    """The curve by its definition: int(share * n) steps that rise to `first`, then first * decay(t) for t = j/m."""
    w = int(share * n)
    m = n - w
    if ramp == "linear":
        rise = [first * (i + 1) / (w + 1) for i in range(w)]
    else:
        rise = [first * (1 - math.cos(math.pi * (i + 1) / (w + 1))) / 2 for i in range(w)]
    return rise + [first * decay(j / m) for j in range(m)]


def expected(name, n, share=0.1, ramp="linear"):
    """Each retraining curve after STEPPED, by its definition."""
    low = 0.004

    def to(end, first):
        return lambda t: (end + (first - end) * (1 + math.cos(math.pi * t)) / 2) / first

    match name:
        case "FT":
            return [low] * n
        case "LRW":
            whole = [0.4] * 100 + [0.04] * 50 + [0.004] * 50
            return [whole[200 - n + i] for i in range(n)]
        case "SLR":
            return written_out(n, share, 0.4, lambda t: 1 if t < 0.5 else 0.1 if t < 0.75 else 0.01, ramp)
        case "CLR":
            return written_out(n, share, 0.4, to(low, 0.4), ramp)
        case "LLR":
            return written_out(n, share, 0.4, lambda t: 1 - t, ramp)
        case "ALLR":
            return written_out(n, share, 0.6 * 0.4, lambda t: 1 - t, ramp)
        case "constant":
            return written_out(n, share, 0.3, lambda t: 1, ramp)
        case "stepped":
            m = n - int(share * n)
            half, three_quarters = max(1, round(m / 2)), max(1, round(0.75 * m))
            return written_out(
                n, share, 0.3, lambda t: 0.1 ** ((round(t * m) >= half) + (round(t * m) >= three_quarters)), ramp
            )
        case "cosine":
            return written_out(n, share, 0.3, to(low, 0.3), ramp)
        case "linear":
            return written_out(n, share, 0.3, lambda t: 1 - t, ramp)
        case "rex":
            return written_out(n, share, 0.3, lambda t: (1 - t) / (0.5 + 0.5 * (1 - t)), ramp)
        case "cosine-to-0":
            return written_out(n, share, 0.3, to(0, 0.3), ramp)
        case "custom":
            return [
                0.1 + 1.6 * t if t < 0.25 else 0.5 - 0.6 * (t - 0.25) if t < 0.75 else 0.2 - 0.8 * (t - 0.75)
                for t in (i / n for i in range(n))
            ]


# ---- retraining curves -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMED_SCHEDULES, *FREE_SCHEDULES])
def test_curve_matches_its_closed_form_at_every_length(name):
    for n in LENGTHS:
        curve = make(name, n)
        assert curve.shape == (n,) and curve.dtype == torch.float64
        assert curve.tolist() == pytest.approx(expected(name, n), rel=1e-12, abs=1e-15), n


@pytest.mark.parametrize("name", ["SLR", "CLR", "LLR", "ALLR", "constant", "stepped", "cosine", "linear", "rex"])
@pytest.mark.parametrize("share, ramp", [(0.0, "linear"), (0.3, "cosine"), (0.9, "linear")])
def test_curve_matches_its_closed_form_with_other_warmups(name, share, ramp):
    for n in (1, 2, 7, 40):
        curve = make(name, n, warmup=share, ramp=ramp)
        assert curve.tolist() == pytest.approx(expected(name, n, share, ramp), rel=1e-12)


@pytest.mark.parametrize("name", [*NAMED_SCHEDULES, *(s for s in FREE_SCHEDULES if s != "custom")])
@pytest.mark.parametrize("ramp", ["linear", "cosine"])
def test_every_rate_is_above_zero(name, ramp):
    """Pitfall: the warm-up's first step is at 0, so that it trains nothing."""
    assert all(make(name, n, ramp=ramp).min() > 0 for n in LENGTHS)


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize("ramp", ["linear", "cosine"])
def test_peak_is_taken_exactly_once_right_after_the_warmup(name, ramp):
    """Pitfall: the warm-up takes the peak, and then the decay takes it again."""
    for n in LENGTHS:
        curve = make(name, n, ramp=ramp)
        w = int(0.1 * n)
        assert curve.argmax() == w and int((curve == curve.max()).sum()) == 1
        assert (curve[: w + 1].diff() > 0).all() and (curve[w:].diff() < 0).all()


@pytest.mark.parametrize("name, peak", [("CLR", 0.4), ("LLR", 0.4), ("ALLR", 0.24), ("linear", 0.3), ("rex", 0.3)])
def test_peak_is_reached_in_full(name, peak):
    assert all(make(name, n).max().item() == pytest.approx(peak, rel=1e-14) for n in LENGTHS)


@pytest.mark.parametrize("name", ["LLR", "ALLR", "linear"])
def test_line_would_reach_zero_one_step_after_the_last(name):
    """Pitfall: the linear decay ends early, at several percent of its peak."""
    for n in LENGTHS[2:]:
        curve = make(name, n)
        assert (2 * curve[-1] - curve[-2]).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("name, ends", [("CLR", 0.404), ("cosine", 0.304), ("cosine-to-0", 0.3)])
def test_cosine_would_reach_its_end_one_step_after_the_last(name, ends):
    """The decay is point-symmetric, so the second and the last value sum to the first and the one after the last."""
    for n in LENGTHS[3:]:
        decay = make(name, n)[int(0.1 * n) :]
        assert (decay[1] + decay[-1]).item() == pytest.approx(ends, rel=1e-12)


def test_rex_would_reach_zero_one_step_after_the_last():
    for n in LENGTHS:
        m = n - int(0.1 * n)
        assert make("rex", n)[-1].item() == pytest.approx(0.3 * 2 / (m + 1), rel=1e-12)


@pytest.mark.parametrize("name", DECAYING)
@pytest.mark.parametrize("ramp", ["linear", "cosine"])
def test_curve_has_no_jump(name, ramp):
    """Pitfall: warm-up and decay do not meet: a step is skipped or doubled between them."""
    curve = torch.cat([torch.zeros(1, dtype=torch.float64), make(name, 1000, ramp=ramp)])
    steepest = 1 / 101 * (math.pi / 2 if ramp == "cosine" else 1)  # the ramp's; every decay is slower
    assert curve.diff().abs().max() <= curve.max() * steepest * (1 + 1e-9)
    if ramp == "linear":
        assert torch.allclose(curve[:102].diff(), (curve.max() / 101).expand(101), rtol=1e-9, atol=0)


def test_stepped_starts_at_its_initial_value_however_short_the_run():
    for n in range(1, 31):
        curve = 0.3 * schedules.stepped(n, (0.05, 0.5), 0.1)
        assert curve[0].item() == make("stepped", n, warmup=0)[0].item() == 0.3, n


def test_cosine_never_rises_when_it_starts_below_the_dense_end():
    curve = retraining(Retrain("cosine", lr=0.001, warmup=0), STEPPED, 20)
    assert curve.tolist() == pytest.approx([0.001] * 20)


def test_lrw_below_the_last_plateau_is_ft():
    for n in (1, 17, 50):
        assert torch.equal(make("LRW", n), make("FT", n))
    assert not torch.equal(make("LRW", 51), make("FT", 51))


def test_lrw_of_the_full_length_is_the_dense_run():
    original = dense("cosine", 80, 0.1, warmup=0.1)
    assert torch.equal(retraining(Retrain("LRW"), original, 80), original.lr)


def test_lrw_longer_than_the_dense_run_is_refused_with_both_lengths():
    """Pitfall: rewinding crashes, or wraps around, when retraining is longer than training."""
    with pytest.raises(BadInput, match=r"\b201\b.*\b200\b"):
        make("LRW", 201)


def test_lrw_clamped_holds_the_first_rate_until_the_replay_starts():
    original = dense("linear", 10, 1.0)
    curve = retraining(Retrain("LRW", clamp=True), original, 14)
    assert curve.tolist() == [1.0] * 4 + original.lr.tolist()


def test_slr_replaces_the_dense_warmup_by_the_peak():
    original = dense("multistep", 100, 0.1, warmup=0.2)
    curve = retraining(Retrain("SLR", warmup=0), original, 100)
    assert curve[:20].tolist() == [0.1] * 20
    assert torch.equal(curve[20:], original.lr[20:])


@pytest.mark.parametrize("n", [5, 30, 100, 1000])
def test_slr_of_a_linear_dense_run_is_llr_up_to_its_grid(n):
    original = dense("linear", 1000, 0.1)
    gap = retraining(Retrain("SLR"), original, n) - retraining(Retrain("LLR"), original, n)
    assert gap.min() >= -1e-12 and gap.max() < 0.1 / 1000


def test_ft_and_lrw_of_a_linear_dense_run():
    original = dense("linear", 1000, 0.1)
    assert retraining(Retrain("FT"), original, 10).max().item() == pytest.approx(1e-4)
    lower = retraining(Retrain("LLR", warmup=0), dense("linear", 1000, 0.03), 300)  # LRW is LLR started lower
    assert torch.allclose(retraining(Retrain("LRW"), original, 300), lower, atol=1e-12)


def test_clr_and_ft_read_the_dense_run_after_its_warmup():
    original = dense("multistep", 400, 0.1, warmup=0.375)
    assert original.lr[0] < original.floor == pytest.approx(0.001)
    ends = retraining(Retrain("CLR", warmup=0), original, 1000)[-1].item()
    assert ends == pytest.approx(0.001, rel=1e-3)


def test_each_name_of_the_settings_has_its_function_and_no_function_lacks_a_name():
    assert tuple(schedules.DENSE) == DENSE_SCHEDULES
    assert tuple(schedules.RETRAINING) == NAMED_SCHEDULES + FREE_SCHEDULES


def test_unknown_schedule_names_the_nearest():
    with pytest.raises(BadInput, match="did you mean 'cosine-to-0'"):
        retraining(Retrain("cosine_to_0"), STEPPED, 10)
    with pytest.raises(BadInput, match="did you mean 'multistep'"):
        dense("multi-step", 10, 0.1)


@pytest.mark.parametrize("n", [0, -1, 2.5])
def test_retraining_needs_a_whole_number_of_iterations(n):
    with pytest.raises(BadInput):
        retraining(Retrain("LLR"), STEPPED, n)


# ---- ALLR's factor ---------------------------------------------------------------------------------------------------

TABLE = {  # d1 of one-shot magnitude pruning to a sparsity s, where weights follow that distribution
    "gaussian": {0.2: 0.146, 0.5: 0.378, 0.8: 0.662, 0.9: 0.789, 0.95: 0.871, 0.99: 0.962},
    "laplace": {0.2: 0.089, 0.5: 0.258, 0.8: 0.523, 0.9: 0.671, 0.95: 0.779, 0.99: 0.920},
}


@pytest.mark.parametrize("family", TABLE)
def test_allr_factor_of_random_weights_matches_the_table(family):
    draw = np.random.default_rng(0)
    w = draw.normal(size=400_000) if family == "gaussian" else draw.laplace(size=400_000)
    weights = {"w": torch.from_numpy(w)}
    squares = np.sort(w**2)
    for s, value in TABLE[family].items():
        by_hand = math.sqrt(squares[: round(s * len(w))].sum() / squares.sum())
        drop = metrics.norm_drop(weights, zeroed(weights, prune(weights, s)))
        assert drop == pytest.approx(by_hand, rel=1e-9)
        assert allr_factor(drop, s, 1e-6) == pytest.approx(value, abs=0.01)


def test_allr_factor_is_the_larger_of_damage_and_budget_within_0_and_1():
    assert allr_factor(0.3, 0.25, 0.1) == pytest.approx(0.6)
    assert allr_factor(0.3, 0.25, 0.7) == 0.7  # a long budget wins
    assert allr_factor(0.3, 0.25, 3.0) == 1.0
    assert allr_factor(0.9, 0.25, 0.1) == 1.0  # more than magnitude pruning can remove
    assert allr_factor(0.0, 0.0, 0.2) == 0.2  # nothing removed
    for drop in (0.0, 0.2, 0.9, 1.0):
        for s in (0.0, 0.1, 0.5, 1.0):
            assert all(0 <= allr_factor(drop, s, b) <= 1 for b in (0.01, 0.5, 1, 10))


def test_allr_with_factor_one_is_llr():
    assert torch.equal(retraining(Retrain("ALLR"), STEPPED, 33, d=1.0), retraining(Retrain("LLR"), STEPPED, 33))


# ---- the drawn curve -------------------------------------------------------------------------------------------------


def test_piecewise_linear_hits_its_control_points_and_is_level_outside():
    curve = piecewise_linear(20, ((0.25, 0.5), (0.5, 0.1), (0.75, 0.3)))
    assert [curve[i].item() for i in (5, 10, 15)] == pytest.approx([0.5, 0.1, 0.3], rel=1e-15)
    assert curve[:5].tolist() == [0.5] * 5 and curve[16:].tolist() == pytest.approx([0.3] * 4)


def test_piecewise_linear_agrees_with_interpolation():
    draw = np.random.default_rng(1)
    for n in (1, 2, 13, 64):
        x = np.sort(draw.choice(1001, 5, replace=False)) / 1000
        y = draw.uniform(0, 1, 5)
        curve = piecewise_linear(n, list(zip(x.tolist(), y.tolist(), strict=True)))
        assert curve.numpy() == pytest.approx(np.interp(np.arange(n) / n, x, y), abs=1e-12)


def test_piecewise_linear_through_one_point_is_constant():
    assert piecewise_linear(4, [(0.5, 0.2)]).tolist() == [0.2] * 4


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(0.5, 0.1), (0.5, 0.2)],
        [(0.6, 0.1), (0.5, 0.2)],
        [(0.0, -0.1)],
        [(-0.1, 0.1)],
        [(0.0, 0.1), (1.1, 0.1)],
        [(0.0, math.nan)],
        [(math.nan, 0.1)],
        [(0.0, "0.1")],
    ],
)
def test_bad_control_points_are_refused(points):
    with pytest.raises(BadInput):
        piecewise_linear(10, points)


# ---- the dense run ---------------------------------------------------------------------------------------------------


def by_torch(n, lr, scheduler):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = scheduler(optimizer)
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize(
    "name, options, scheduler",
    [
        ("constant", {}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        ("step", {}, lambda o: lr_scheduler.StepLR(o, 36, 0.1)),
        ("multistep", {"milestones": (0.25, 0.5, 0.75), "gamma": 0.5}, lambda o: lr_scheduler.StepLR(o, 30, 0.5)),
        ("multistep", {}, lambda o: lr_scheduler.MultiStepLR(o, [60, 90], 0.1)),
        ("multistep", {"milestones": (0.1, 0.3), "gamma": 0.2}, lambda o: lr_scheduler.MultiStepLR(o, [12, 36], 0.2)),
        ("cosine", {}, lambda o: lr_scheduler.CosineAnnealingLR(o, 120)),
        ("linear", {}, lambda o: lr_scheduler.PolynomialLR(o, 120, power=1)),
        ("linear", {}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, 120)),
        ("constant", {"warmup": 0.1}, lambda o: lr_scheduler.LambdaLR(o, lambda i: min((i + 1) / 13, 1))),
        (
            "linear",
            {"warmup": 0.1},
            lambda o: lr_scheduler.LambdaLR(o, lambda i: (i + 1) / 13 if i < 12 else (120 - i) / 108),
        ),
        (
            "multistep",
            {"warmup": 0.1},  # milestones are shares of the whole run, its warm-up included
            lambda o: lr_scheduler.LambdaLR(o, lambda i: (i + 1) / 13 if i < 12 else 0.1 ** ((i >= 60) + (i >= 90))),
        ),
    ],
)
def test_dense_schedule_agrees_with_torch(name, options, scheduler):
    original = dense(name, 120, 0.3, **options)
    assert original.lr.tolist() == pytest.approx(by_torch(120, 0.3, scheduler), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", DENSE_SCHEDULES)
def test_dense_schedule_has_its_length_and_peak_at_every_length(name):
    for n in range(1, 31):
        for share in (0.0, 0.1, 0.9):
            warmup = int(share * n)
            if (
                name in ("step", "multistep")
                and warmup
                and warmup >= max(1, round((0.3 if name == "step" else 0.5) * n))
            ):
                with pytest.raises(BadInput, match="first reduced"):
                    dense(name, n, 0.3, warmup=share)
                continue
            original = dense(name, n, 0.3, warmup=share)
            assert original.lr.shape == (n,) and original.lr.min() > 0 and original.warmup == warmup
            assert original.lr.argmax() == warmup and original.peak == pytest.approx(0.3)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, 1.1])
def test_dense_warmup_must_leave_an_iteration(warmup):
    with pytest.raises(BadInput, match="warm-up"):
        dense("linear", 10, 0.1, warmup=warmup)


def test_original_reads_peak_floor_and_last():
    original = DenseCurve(torch.tensor([0.001, 0.5, 0.3, 0.01, 0.02], dtype=torch.float64), warmup=1)
    assert (original.peak, original.floor, original.last) == (0.5, 0.01, 0.02)
    assert original.decay.tolist() == [0.5, 0.3, 0.01, 0.02]


def test_warmup_with_no_steps_changes_nothing():
    curve = retraining(Retrain("rex", lr=1.0, warmup=0.0), DenseCurve(schedules.constant(1)), 5)
    assert torch.equal(curve, schedules.rex(5))


def test_a_clamped_rewind_holds_the_peak_through_the_dense_warmup():
    original = dense("linear", 20, 0.3, warmup=0.25)
    curve = retraining(Retrain("LRW", clamp=True), original, 30)
    assert curve.shape == (30,)
    assert (curve[:16] == 0.3).all() and torch.equal(curve[15:], original.decay)
