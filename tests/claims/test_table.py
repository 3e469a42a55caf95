"""Each verdict can turn out either way, and each part is about what it says."""

import numpy as np
import pandas as pd
import pytest

from retrainlab import stats
from retrainlab.checks import BadInput
from retrainlab.claims import others, rule, schedules, table
from retrainlab.claims.rule import CONTRADICTED, NOT_TESTED, SUPPORTED, UNDECIDED
from retrainlab.figures import presets
from tests.helpers import claimed

DIGITS = presets.preset("digits")


def verdicts(**own):
    return {v.claim.name: v.verdict for v in table.verdicts(claimed.runs(**own), DIGITS)}


def values(claim, place, **own):
    [parts] = [c.parts(claimed.runs(**own), DIGITS) for c in table.CLAIMS if c.name == claim]
    return np.array(parts[place].values)


def test_where_all_is_true_all_claims_are_supported():
    assert verdicts() == dict.fromkeys(["C1", "C2", "C3", "C4", "C5", "C6", "C7"], SUPPORTED)


@pytest.mark.parametrize(
    ("claim", "own"),
    [
        ("C1", dict(budgets=claimed.budgets(CLR=1.5))),
        ("C1", dict(budgets=claimed.budgets(SLR=-12.0))),  # worse than LRW and FT
        ("C1", dict(budgets=claimed.budgets(later_FT=-10.0))),  # the gap opens
        ("C2", dict(budgets=claimed.budgets(lrw_twin=False))),
        ("C2", dict(budgets=claimed.budgets(later_LRW=-3.0))),
        ("C3", dict(best_lr=claimed.best_lr(sparsity=-1.0))),
        ("C3", dict(best_lr=claimed.best_lr(budget=-1.0))),
        ("C3", dict(best_lr=claimed.best_lr(allr=-4.0))),
        ("C3", dict(budgets=claimed.budgets(ALLR=-3.0))),
        ("C3", dict(budgets=claimed.budgets(later_ALLR=8.0))),  # it gains most elsewhere
        ("C4", dict(dense=claimed.dense(multistep=3.0))),
        ("C4", dict(dense=claimed.dense(cosine=1.0))),
        ("C4", dict(dense=claimed.dense(constant=6.0))),
        *(("C5", dict(contest=claimed.contest(**{name: 3.0}))) for name in others.RIVALS),
        ("C6", dict(stability=claimed.stability(follows=0.9))),
        ("C6", dict(stability=claimed.stability(gain=-5.0))),
        ("C7", dict(lengths=claimed.lengths(-1.0))),
        ("C7", dict(splits=claimed.splits(-1.0))),
        ("C7", dict(landscape=claimed.landscape(-1.0))),
        ("C7", dict(ingredients=claimed.ingredients(0.2))),
    ],
    ids=lambda x: x if isinstance(x, str) else "-".join(x),
)
def test_data_that_contradict_a_claim_turn_it_round_and_no_other(claim, own):
    found = verdicts(**own)
    assert found.pop(claim) == CONTRADICTED
    assert set(found.values()) == {SUPPORTED}


def test_what_is_on_its_boundary_is_undecided():
    found = verdicts(
        budgets=claimed.budgets(CLR=rule.MARGIN + 0.1),
        dense=claimed.dense(multistep=2.0),
        contest=claimed.contest(GMP=1 + rule.MARGIN),
        ingredients=claimed.ingredients(0.5),
    )
    assert [name for name, verdict in found.items() if verdict == UNDECIDED] == ["C1", "C4", "C5", "C7"]


def test_two_seeds_decide_nothing_but_what_is_exact():
    few = {name: frame[frame["seed"] < 2] for name, frame in claimed.runs().items()}
    found = table.verdicts(few, DIGITS)
    assert {v.verdict for v in found} == {UNDECIDED}
    states = [j.state for v in found for j in v.parts]
    assert states.count(rule.HOLDS) == 1 and states.count(rule.OPEN) == len(states) - 1


def test_claims_whose_figures_are_missing_are_not_tested():
    runs = claimed.runs()
    del runs[schedules.FIG4], runs[others.FIG14]
    found = {v.claim.name: v for v in table.verdicts(runs, DIGITS)}
    assert {name for name, v in found.items() if v.verdict == NOT_TESTED} == {"C3", "C7"}
    assert found["C3"].missing == (schedules.FIG4,) and found["C7"].missing == (others.FIG14,)
    assert found["C1"].verdict == SUPPORTED


def test_a_difference_is_the_mean_over_cells_of_each_seeds_own():
    frame = claimed.budgets()
    points = 100 * frame.set_index(["schedule", "seed", "sparsity", "budget"])["test_accuracy"]
    cells = [(s, b) for s in (0.8, 0.95) for b in (0.05, 0.1)]
    by_hand = [np.mean([points["LLR", n, s, b] - points["CLR", n, s, b] for s, b in cells]) for n in range(10)]
    np.testing.assert_allclose(values("C1", 0), by_hand, atol=1e-9)
    gap = [
        np.mean([points["LLR", n, s, b] - points["FT", n, s, b] for s in (0.8, 0.95)])
        for n in range(10)
        for b in (0.05, 0.5)
    ]
    np.testing.assert_allclose(values("C1", 4), np.subtract(gap[::2], gap[1::2]), atol=1e-9)


def test_a_seed_that_lacks_a_value_is_left_out():
    """Its mean over the other cells would be of another kind."""
    frame = claimed.budgets()
    frame.loc[(frame["seed"] == 3) & (frame["schedule"] == "CLR") & (frame["budget"] == 0.1), "test_accuracy"] = np.nan
    whole, less = values("C1", 0), values("C1", 0, budgets=frame)
    np.testing.assert_allclose(less, np.delete(whole, 3))


def lost(frame, seed, **cell):
    """The frame with the values of a seed's runs in a cell gone, as if they had diverged."""
    where = np.logical_and.reduce([frame["seed"] == seed, *(frame[name] == level for name, level in cell.items())])
    measured = [name for name in frame if name.endswith(("_accuracy", "_loss"))]
    frame.loc[where, measured] = np.nan
    return frame


def test_leads_at_two_budgets_are_of_the_same_seeds():
    """Pitfall: one seed lacks the one and another seed the other, and what is left is subtracted by its place."""
    frame = lost(claimed.budgets(), 3, schedule="FT", budget=0.05)
    frame = lost(frame, 6, schedule="FT", budget=0.5)
    np.testing.assert_allclose(values("C1", 4, budgets=frame), np.delete(values("C1", 4), [3, 6]))
    frame = lost(claimed.budgets(), 3, schedule="ALLR", sparsity=0.8, budget=0.05)
    frame = lost(frame, 6, schedule="ALLR", sparsity=0.95)
    np.testing.assert_allclose(values("C3", 4, budgets=frame), np.delete(values("C3", 4), [3, 6]))


def test_a_single_budget_has_no_shorter_one():
    frame = claimed.budgets().query("budget == 0.05")
    assert values("C1", 4, budgets=frame).size == 0 and values("C1", 0, budgets=frame).size == 10


def test_a_seed_in_which_lrw_or_ft_diverged_does_not_show_that_they_are_one_run():
    frame = lost(claimed.budgets(), 3, schedule="LRW", budget=0.05)
    assert values("C2", 0, budgets=frame).tolist() == [0.0] * 9


def test_no_start_is_best_where_all_have_diverged():
    frame = claimed.best_lr()
    for name in ("LLR", "linear"):
        frame = lost(frame, 2, schedule=name, sparsity=0.5, budget=0.05)
    for place in (0, 1, 2):
        np.testing.assert_allclose(values("C3", place, best_lr=frame), np.delete(values("C3", place), 2))


def test_a_start_that_diverged_with_some_seeds_is_not_the_best_over_all():
    """Pitfall: the seeds that are left make it the highest mean."""
    frame = claimed.best_lr()
    high = dict(schedule="linear", initial_lr=1.6, sparsity=0.5, budget=0.05)
    for seed in range(9):
        frame = lost(frame, seed, **high)
    left = frame["seed"].eq(9) & frame["initial_lr"].eq(1.6) & frame["sparsity"].eq(0.5) & frame["budget"].eq(0.05)
    frame.loc[left, "validation_accuracy"] = 0.99
    np.testing.assert_allclose(values("C3", 2, best_lr=frame), values("C3", 2))


def test_a_seed_that_lacks_a_run_of_the_splits_is_left_out():
    frame = claimed.splits()
    less = frame[~((frame["seed"] == 4) & (frame["share"] == 0.125) & (frame["cycles"] == 3))]
    np.testing.assert_allclose(values("C7", 1, splits=less), np.delete(values("C7", 1), 4))


@pytest.mark.parametrize(
    ("name", "parts"),
    [("FT", "C1 C1 C2 C2"), ("LRW", "C1 C2 C2"), ("SLR", "C1 C1 C1"), ("CLR", "C1"), ("ALLR", "C3 C3")],
)
def test_without_a_schedule_the_parts_about_it_have_no_runs(name, parts):
    frame = claimed.budgets().query(f"schedule != '{name}'")
    found = table.verdicts(claimed.runs(budgets=frame), DIGITS)
    assert [v.claim.name for v in found for j in v.parts if j.n == 0] == parts.split()


def test_a_claim_without_any_run_of_its_kind_is_not_tested():
    """As the rule says: undecided is for data that leave it open."""
    found = verdicts(
        budgets=claimed.budgets().query("budget > 0.1 and budget < 0.2"),
        dense=claimed.dense().query("epochs == 30"),
        contest=claimed.contest().query("entrant != 'BIMP'"),
        stability=claimed.stability().query("entrant == 'IMP'"),
    )
    assert [name for name, verdict in found.items() if verdict == NOT_TESTED] == ["C1", "C2", "C4", "C5", "C6"]


def test_allrs_lead_over_the_best_start_is_of_the_start_that_validation_chose():
    frame = claimed.best_lr()
    best = {(0.5, 0.05): 0.1, (0.5, 0.25): 0.2, (0.98, 0.05): 0.2, (0.98, 0.25): 0.4}  # most seeds' own
    lr = frame["initial_lr"].fillna(0.1).where(frame["schedule"] != "ALLR", 0.0)
    points = 100 * frame.assign(lr=lr).set_index(["seed", "sparsity", "budget", "lr"])["test_accuracy"]
    by_hand = [np.mean([points[n, s, b, 0.0] - points[n, s, b, lr] for (s, b), lr in best.items()]) for n in range(10)]
    np.testing.assert_allclose(values("C3", 2), by_hand, atol=1e-9)
    for place in (0, 1):
        np.testing.assert_allclose(values("C3", place), [2.0 if n % 3 == 0 else 1.0 for n in range(10)])


def test_what_biases_and_normalisation_regain_is_a_share_of_llrs_gain():
    assert np.mean(values("C7", 3)) == pytest.approx(0.8, abs=0.01)
    assert np.mean(values("C7", 3, ingredients=claimed.ingredients(0.25))) == pytest.approx(0.25, abs=0.01)


def test_ranks_are_correlated_over_the_methods_of_each_seed():
    np.testing.assert_allclose(values("C6", 0, stability=claimed.stability(follows=1.0)), 1.0, atol=0.05)


def test_a_mask_that_is_there_from_the_start_is_no_method_that_sparsifies_during_training():
    """Pitfall: figure 7 shows controls, too."""
    frame = claimed.stability()
    control = frame[frame["entrant"] == "IMP"].assign(entrant="Static", validation_accuracy=0.1)
    np.testing.assert_allclose(values("C6", 1, stability=pd.concat([frame, control])), values("C6", 1))
    assert values("C6", 1, stability=pd.concat([frame[frame["entrant"] == "IMP"], control])).size == 0


def test_the_smoke_test_has_no_short_budgets():
    found = table.verdicts({schedules.FIG3: claimed.budgets().query("budget > 0.2")}, presets.preset("smoke"))
    assert found[0].verdict == NOT_TESTED and {j.n for j in found[0].parts} == {0}


def test_runs_are_read_from_a_folder_of_figures(tmp_path):
    frame = claimed.budgets()
    (tmp_path / f"{schedules.FIG3}.runs.csv").write_text(stats.to_csv(frame))
    (tmp_path / "fig01_schedules.runs.csv").write_text("seed\n0\n")
    found = table.read(tmp_path)
    assert list(found) == [schedules.FIG3]
    pd.testing.assert_frame_equal(found[schedules.FIG3], frame, rtol=1e-5)
    assert table.read(tmp_path / "nowhere") == {}


HEAD = b"seed,sparsity,budget,schedule,test_accuracy,test_loss\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\x00", b"a,b\n1,2\n3,4,5\n", b"seed,budget\n0,0.1\n", HEAD, HEAD + b"0,0.9,0.1,LLR,high,0.1\n"],
)
def test_a_damaged_table_is_named(tmp_path, content):
    path = tmp_path / f"{schedules.FIG3}.runs.csv"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="fig03_budgets.runs.csv cannot be read .* make the figure anew"):
        table.read(tmp_path)


def test_every_claim_names_its_figures_notebooks():
    from retrainlab.figures.run import available

    named = {name for c in table.CLAIMS for name in c.figures}
    assert named <= {*available()}
