"""Figures from what is stored alone: those that lack nothing are drawn, what others lack is told, and nothing is trained."""

import json
from dataclasses import replace

import pytest

from retrainlab import Experiment, Prune, Retrain
from retrainlab.checks import BadInput
from retrainlab.cli import main
from retrainlab.figures import cost, presets, run, stored
from retrainlab.figures.style import SCHEDULES
from retrainlab.study import Results, grid, lacking, run_study
from retrainlab.study.lacking import NotStored
from retrainlab.study.machine import Machine

SMOKE = presets.preset("smoke")
SECOND = grid(
    SMOKE.recipe,
    sparsities=SMOKE.curve_sparsity,
    budgets=SMOKE.recovery_budget,
    schedules=list(SCHEDULES),
    seeds=[0],
    evaluations=SMOKE.recovery_points,
)
FIRST = [Experiment(SMOKE.recipe, Prune(SMOKE.curve_sparsity), Retrain("ALLR", SMOKE.curve_budgets[0]))]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store with what figures 1 and 2 of preset smoke need."""
    place = tmp_path_factory.mktemp("kept")
    run_study(FIRST + SECOND, store=place, jobs=1, device="cpu")
    return Results.at(place)


@pytest.fixture
def nothing_trained(monkeypatch):
    """And nothing found but in the store itself."""
    monkeypatch.setattr("retrainlab.study.results.shipped", lambda: ())
    monkeypatch.setattr("retrainlab.study.run.run_tasks", lambda *_: pytest.fail("something is to be trained"))


def lacks(name: str, preset: str, store: object) -> NotStored | None:
    given = {"preset": preset, "store": str(store), "jobs": 1, "device": "cpu", "stored_only": True}
    return stored.lacking(run.available()[name], given)


def test_what_is_all_there_is_drawn_and_the_rest_told_with_what_it_lacks(
    kept, tmp_path, capfd, monkeypatch, nothing_trained
):
    monkeypatch.setattr(cost, "speeds", lambda wanted, *_: dict.fromkeys(wanted, 10.0))  # seconds a step
    gone = kept.store.path("results", kept.key(SECOND[0]))
    text = gone.read_bytes()
    gone.unlink()
    try:
        asked = ["figures", "fig01", "fig02", "--preset", "smoke", "--stored-only", "--output", str(tmp_path / "out")]
        assert main([*asked, "--store", str(kept.store.root), "--jobs", "1"]) == 0
    finally:
        gone.write_bytes(text)
    told, words = capfd.readouterr()
    assert "smoke: 1 of 1 figures to make; nothing to train" in words
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["fig01_schedules.png"]
    lines = told.splitlines()
    assert lines[1].startswith("1 figure in ") and lines[2] == "Not drawn, as nothing is trained here:"
    cost_ = "1 run, 1 member-epoch; about 5 min 10 s to 10 min 20 s"  # a quarter of 4 epochs of 31 steps
    assert lines[3:5] == [f"  fig02_recovery: {cost_}", f"Together, each run once: {cost_}."]
    assert lines[5].startswith("(Estimated for cpu, ") and "from 1e+04 ms a step of resnet8" in lines[5]
    assert lines[-1].startswith("Train it with ") and "figures --preset smoke --compute" in lines[-1]


def test_a_figure_that_lacks_nothing_is_not_among_those_that_do(kept, nothing_trained):
    assert lacks("fig01_schedules", "smoke", kept.store.root) is None
    assert lacks("fig02_recovery", "smoke", kept.store.root) is None
    assert lacks("fig15_claims", "smoke", kept.store.root) is None, "it asks for no study"


@pytest.mark.parametrize(
    ("name", "runs", "first", "epochs", "more"),
    [
        ("fig01_schedules", 1, 1, 4 + 1, False),
        ("fig02_recovery", 6, 1, 4 + 6, False),
        ("fig03_budgets", 2 * 2 * 2 * 6, 2, 2 * 4 + 2 * 2 * 6 * (1 + 2), False),
        ("fig05_contest", 0, 0, 0, True),
        ("fig14_landscape", 4, 2, 2 * 4 + 4 * 2 * 1, False),  # two copies of each
    ],
)
def test_an_empty_store_lacks_every_run_of_a_figure(name, runs, first, epochs, more, tmp_path, nothing_trained):
    lack = lacks(name, "smoke", tmp_path)
    assert lack.more == more
    if not more:
        assert (len(lack.missing.results), len(lack.missing.dense)) == (runs, first)
        assert sum(lacking.epochs(lack.missing).values()) == pytest.approx(epochs)
    assert not list(tmp_path.iterdir())


def test_runs_that_figures_share_count_once(tmp_path):
    both = [lacks(name, "smoke", tmp_path).missing for name in ("fig02_recovery", "fig03_budgets")]
    together = lacking.joined([*both, *both])
    assert len(together.results) == 6 + 48 and len(together.dense) == 2
    assert lacking.words(together).startswith("54 runs, 86 member-epochs, 8 of them in 2 first trainings")


def test_of_cifar10_all_is_told_without_its_images_and_nothing_is_trained(tmp_path, capsys, nothing_trained):
    assert main(["figures", "--preset", "cifar10", "--dry-run", "--output", str(tmp_path / "out")]) == 0
    told, _ = capsys.readouterr()
    assert told.count("  fig") == 15 and "fig15_claims: not made here before" in told
    assert "fig03_budgets: 288 runs, 6,306 member-epochs, 546 of them in 3 first trainings\n" in told
    assert "fig05_contest: at least " in told and "Together, each run once: at least " in told
    assert "told once the images of cifar10 are here: " in told and "retrainlab data cifar10" in told


def test_a_study_that_trains_nothing_refuses_what_is_missing(tmp_path, nothing_trained, capsys):
    asked = [
        "study",
        "--stored-only",
        "--store",
        str(tmp_path / "none"),
        "--width",
        "4",
        "--epochs",
        "2",
        "--seed",
        "0",
        "1",
    ]
    assert main([*asked, "--schedule", "LLR", "FT", "--budget", "0.5"]) == 2
    words = capsys.readouterr().err
    assert "Not stored: 4 runs, 8 member-epochs, 4 of them in 2 first trainings." in words
    assert not (tmp_path / "none").exists()


def test_what_is_stored_comes_without_training(kept, nothing_trained):
    frame = run_study(SECOND, store=kept, stored_only=True)
    assert frame["schedule"].tolist() == list(SCHEDULES)


def test_a_network_without_the_momentum_that_a_run_goes_on_from_is_to_be_trained_again(kept, monkeypatch):
    monkeypatch.setattr("retrainlab.study.plan.lacks_momentum", lambda e, dense: e.retrain.optimizer == "keep")
    on = replace(FIRST[0], retrain=replace(FIRST[0].retrain, optimizer="keep"))
    with pytest.raises(NotStored) as lack:
        run_study([on], store=kept, stored_only=True)
    assert len(lack.value.missing.dense) == len(lack.value.missing.results) == 1


def test_anew_and_without_training_exclude_each_other():
    with pytest.raises(BadInput, match="exclude each other"):
        Machine(fresh=True, stored_only=True)
    with pytest.raises(BadInput, match="give --compute with --fresh"):
        run.make([], "cifar10", Machine(fresh=True))


def test_the_last_cell_of_a_figure_draws_and_saves_and_no_other_does():
    """Its other cells are what `stored.lacking` runs."""
    for path in run.available().values():
        code = ["".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        assert ["saving.save(" in source for source in code] == [False] * (len(code) - 1) + [True], path.name


def test_steps_are_epochs_of_each_network_times_its_own_steps():
    recipe = replace(SMOKE.recipe, batch_size=100)
    missing = lacking.Missing({"a": recipe}, {}, {"b": Experiment(recipe, Prune(0.5), Retrain(budget=0.5))})
    assert stored.steps(missing) == {cost.trained(vars(recipe)): (4 + 2) * 10}
