"""The keeper of results: what is stored is found by its nouns, what is missing is made once, old stores still read."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from retrainlab import study
from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES, SGD, Experiment, Prune, Recipe, Retrain
from retrainlab.study import making, results
from retrainlab.study.making import Watch, cost
from retrainlab.study.result import Result
from retrainlab.study.results import Results
from retrainlab.study.stages import Dense, Pruned, prepare
from retrainlab.study.store import Store
from retrainlab.training.engine import Engine
from retrainlab.training.loop import evaluate

CPU = torch.device("cpu")
RECIPE = Recipe(model="mlp", width=4, epochs=1)
RACE = [Experiment(RECIPE, Prune(0.5), Retrain(name, 1), evaluations=2) for name in ("FT", "LLR")]


@pytest.fixture
def kept(tmp_path):
    return Results.at(tmp_path / "store")


def made(kept, wanted, watch=Watch()) -> list:
    return list(kept.make(wanted, CPU, watch))


def test_an_empty_name_is_the_projects_own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("RETRAINLAB_STORE", str(tmp_path / "own"))
    own, other = Store(tmp_path / "own"), Store(tmp_path / "other")
    assert [Results.at(place).store for place in ("", None)] == [own, own]
    assert [Results.at(place).store for place in (other, tmp_path / "other", Results(other))] == [other] * 3


def test_a_data_set_is_fingerprinted_once(kept, monkeypatch):
    asked = []
    monkeypatch.setattr(results, "fingerprint", lambda *of: (asked.append(of), "mark")[1])
    assert len({kept.key(e) for e in RACE}) == 2 and len({kept.key(RECIPE), kept.key((RECIPE, Prune(0.5)))}) == 2
    assert asked == [("digits", None)]


def test_each_thing_is_there_once_it_is_made_and_in_the_order_in_which_it_is_needed(kept):
    assert kept.dense(RECIPE, CPU) is kept.masks(RECIPE, Prune(0.5), CPU) is kept.of(RACE[0]) is None
    assert kept.work(RACE) == 1 + 2 * 1.1
    first = made(kept, RACE)
    assert [noun for noun, _ in first[:2]] == [RECIPE, (RECIPE, Prune(0.5))]
    assert {noun for noun, _ in first[2:]} == set(RACE) and kept.work(RACE) == 0
    assert [type(thing) for _, thing in first] == [Dense, Pruned, Result, Result]
    assert all(kept.of(noun) == result for noun, result in first[2:])
    torch.testing.assert_close(kept.masks(RECIPE, Prune(0.5), CPU).masks, first[1][1].masks)


def test_what_is_stored_is_not_made_again(kept, monkeypatch):
    first = made(kept, RACE[:1])
    again = made(kept, [*RACE, *RACE, RECIPE])
    assert [noun for noun, _ in again] == [RACE[0], RECIPE, (RECIPE, Prune(0.5)), RACE[1]]
    assert again[0][1] == first[-1][1] and kept.store.count() == {"dense": 1, "pruned": 1, "results": 2}
    monkeypatch.setattr(making, "run_together", lambda *_, **__: pytest.fail("it trains"))
    assert {noun for noun, _ in made(kept, RACE)} == set(RACE), "no network is read if all results are there"


def test_one_process_makes_what_a_study_makes(kept, tmp_path):
    table = study.run_study(RACE, store=tmp_path / "study", jobs=1)
    engine = Engine()
    mine = [thing for noun, thing in kept.make(RACE, CPU, engine=engine) if noun in RACE]
    for result, (_, row) in zip(mine, table.iterrows(), strict=True):
        assert result.scalars["test_loss"] == row["test_loss"] and result.scalars["steps"] == row["steps"]


def test_a_first_training_alone_can_be_asked_for(kept):
    [(noun, dense)] = made(kept, [RECIPE])
    assert noun == RECIPE and kept.dense(RECIPE, CPU).weights == dense.weights


def test_points_are_seen_as_they_are_made_and_progress_is_by_the_work(kept):
    seen, told = [], []
    made(kept, RACE, Watch(lambda noun, point: seen.append((noun, point.step)), None, lambda *args: told.append(args)))
    assert [step for noun, step in seen if noun == RECIPE] == [0, 31]
    assert [step for noun, step in seen if noun == RACE[1]] == [0, 16, 31]
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert [words.split()[0] for _, words in told if words] == ["Training", "Retraining"]


def test_stop_keeps_only_what_is_whole(kept):
    seen = []
    watch = Watch(lambda noun, point: seen.append(noun), lambda: RACE[0] in seen)
    last = made(kept, RACE, watch)[-2:]
    assert all(result.scalars["stopped"] for _, result in last)
    assert kept.store.count() == {"dense": 1, "pruned": 1, "results": 0}
    other = [replace(e, recipe=replace(RECIPE, seed=1)) for e in RACE]
    assert made(kept, other, Watch(stop=lambda: True)) == [] and kept.store.count()["dense"] == 1


def test_a_store_that_cannot_be_written_loses_nothing_while_somebody_watches(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert len(made(Results.at(tmp_path / "file"), RACE)) == 4


def test_a_task_keeps_what_it_makes_before_it_goes_on_and_says_what_it_lacks(kept, tmp_path):
    with pytest.raises(BadInput, match="were changed or damaged while the study ran"):
        list(kept.make_task(RACE, CPU, Engine(), Watch()))
    pair = RECIPE, Prune(0.5)
    for nouns in ([RECIPE], [pair], RACE):
        for count, thing in enumerate(kept.make_task(nouns, CPU, Engine(), Watch()), 1):
            assert kept.store.count()[{Dense: "dense", Pruned: "pruned", Result: "results"}[type(thing)]] == count
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot be written"):
        list(Results.at(tmp_path / "file").make_task([RECIPE], CPU, Engine(), Watch()))


def test_a_task_refuses_images_that_changed(tmp_path):
    stale = Results(Store(tmp_path), {("digits", None): "as they were"})
    with pytest.raises(BadInput, match="digits changed while the study ran"):
        list(stale.make_task([RECIPE], CPU, Engine(), Watch()))


def test_the_cost_of_a_noun_is_its_epochs():
    assert cost(RECIPE) == 1 and cost((RECIPE, Prune())) < 1
    assert cost(replace(RACE[0], retrain=Retrain("FT", 2, copies=3))) == pytest.approx(6.1)


# ---- the network of a result -----------------------------------------------------------------------------------------


def test_the_network_of_a_result_is_made_again_and_has_its_numbers(kept):
    """The same whether its dense network and masks are stored or made first."""
    first, state = kept.network(RACE[0], CPU, Engine())
    assert kept.store.count() == {"dense": 1, "pruned": 1, "results": 0}
    [stored] = [result for noun, result in kept.make(RACE[:1], CPU, engine=Engine()) if noun == RACE[0]]
    result, again = kept.network(RACE[0], CPU, Engine())
    times = {"images_per_second": 0}
    assert stored.scalars | times == result.scalars | times == first.scalars | times
    setup, _ = prepare(RECIPE, CPU)
    assert setup.sparsity(state.params) == stored.scalars["sparsity_achieved"]
    for part in ("params", "buffers"):
        torch.testing.assert_close(getattr(again, part), getattr(state, part), rtol=0, atol=0)
    accuracy, loss = evaluate(setup.model, state.params, state.buffers, setup.data, setup.data.test)
    assert (accuracy, loss) == (stored.scalars["test_accuracy"], stored.scalars["test_loss"])


# ---- a store of before -----------------------------------------------------------------------------------------------

PAPER = Recipe(
    data="cifar10", model="resnet20", epochs=182, batch_size=128, milestones=(91 / 182, 136 / 182),
    sgd=SGD(weight_decay=2e-4), all_train=True, precision="bfloat16",
)  # fmt: skip
MEASURED = {"FT": 0.8523, "LRW": 0.8523, "SLR": 0.8855, "CLR": 0.8897, "LLR": 0.8917, "ALLR": 0.8917}


@pytest.fixture
def before(tmp_path):
    folder = Path(__file__).parent / "cifar10-resnet20-h100"
    return Results(Store(shutil.copytree(folder, tmp_path / "before")))


def test_results_of_an_earlier_version_are_found_by_their_experiments(before):
    """They were computed in bfloat16, which neither their keys nor their settings said then."""
    for name in NAMED_SCHEDULES:
        experiment = Experiment(PAPER, Prune(0.8926), Retrain(name, 10 / 182))
        assert before.of(experiment).scalars["test_accuracy"] == MEASURED[name]
        assert before.of(replace(experiment, recipe=replace(PAPER, precision="float32"))) is None
        assert before.of(replace(experiment, recipe=replace(PAPER, seed=1))) is None
    assert before.store.count()["results"] == 6


def test_a_study_of_what_an_earlier_version_stored_makes_nothing(before):
    """Not even the images are needed."""
    experiments = [Experiment(PAPER, Prune(0.8926), Retrain(name, 10 / 182)) for name in NAMED_SCHEDULES]
    table = study.run_study(experiments, store=before)
    assert list(table["schedule"]) == list(NAMED_SCHEDULES) and set(table["precision"]) == {"bfloat16"}
    assert table["packed_bytes"].isna().all() and table["compression_ratio"].isna().all(), "nobody counted them then"
    assert study.sizes(experiments, before).empty
