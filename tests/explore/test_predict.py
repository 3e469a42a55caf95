"""Guesses: scored against hand counts, kept in the store's folder, and never about a race that was shown."""

import csv
import io
import json
import math
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("ipywidgets")

from retrainlab.checks import BadInput
from retrainlab.config import NAMED_SCHEDULES, Recipe
from retrainlab.explore.apps.predict import Predict
from retrainlab.explore.kit import live
from retrainlab.explore.views import predict
from retrainlab.explore.views.predict import Guess, Guesses, score
from retrainlab.explore.views.race import Settings
from retrainlab.study.results import Results
from tests.helpers.invented import fake


def worth(order: tuple[str, ...], gap: float, came: dict[str, float]):
    own = score(Guess("a", order, gap), came)
    return own.tau if own.tau is None else round(own.tau, 6), own.exact, round(own.off, 6)


def test_the_score_is_kendalls_tau_counted_by_hand():
    came = {"FT": 0.80, "LLR": 0.95, "ALLR": 0.90}
    assert worth(("LLR", "ALLR", "FT"), 15, came) == (1, 3, 0)
    assert worth(("FT", "ALLR", "LLR"), 5, came) == (-1, 1, 10)
    assert worth(("ALLR", "LLR", "FT"), 20, came) == (round(1 / 3, 6), 1, 5), "2 pairs of 3 right, 1 wrong"
    assert worth(("LLR", "FT"), 0, {"FT": 0.9, "LLR": 0.9}) == (None, 2, 0)
    assert worth(("LLR", "FT", "ALLR"), 0, {"FT": 0.9, "LLR": 0.9, "ALLR": 0.9 - 1e-9}) == (round(2 / 6**0.5, 6), 3, 0)


def test_a_schedule_that_diverged_came_last():
    came = {"LLR": 0.95, "ALLR": 0.90}
    assert worth(("LLR", "ALLR", "FT"), 5, came) == (1, 3, 0)
    assert worth(("FT", "LLR", "ALLR"), 5, came)[:2] == (round(-1 / 3, 6), 0)
    assert worth(("FT", "LLR"), 5, {}) == (None, 2, 5)
    text = predict.words([Guess("Ann", ("LLR", "FT"), 1)], fake({"FT": math.nan, "LLR": 0.9}))
    assert text.startswith(
        "Ann guessed best (Kendall's tau: +1.00). It came out as: LLR 90.0 %, FT diverged; 0.0 points"
    )
    assert predict.words([], fake({"FT": math.nan})).endswith("It came out as: FT diverged.")


def test_a_race_of_one_schedule_has_no_pair_to_get_wrong():
    assert worth(("LLR",), 1, {"LLR": 0.9}) == (None, 1, 1)
    assert predict.words([Guess("Ann", ("LLR",), 0)], fake({"LLR": 0.9})).startswith(
        "Ann guessed best (Kendall's tau: all equal)"
    )


def test_places_make_an_order():
    assert Guess.of("a", {"FT": 3, "LLR": 1, "ALLR": 2}, 4).order == ("LLR", "ALLR", "FT")
    with pytest.raises(BadInput, match="FT and ALLR share place 1"):
        Guess.of("a", {"FT": 1, "LLR": 2, "ALLR": 1}, 4)
    with pytest.raises(BadInput, match="no name"):
        Guess(" ", ("FT",), 1)
    with pytest.raises(BadInput, match="at most 100"):
        Guess("a", ("FT",), 101)


def test_the_table_is_sorted_by_score_then_gap_and_its_csv_can_be_read():
    race = fake({"FT": 0.8, "LLR": 0.9})
    guesses = [
        Guess("worst", ("FT", "LLR"), 10),
        Guess('far, "off"', ("LLR", "FT"), 50),
        Guess("best", ("LLR", "FT"), 9),
    ]
    assert [row[0] for row in predict.table(guesses, race)] == ["best", 'far, "off"', "worst"]
    rows = list(csv.DictReader(io.StringIO(predict.guesses_csv(guesses, race))))
    assert rows[1]["name"] == 'far, "off"' and rows[1]["order"] == "LLR > FT"
    assert [row["kendall_tau"] for row in rows] == ["1", "1", "-1"]
    assert [row[2:4] for row in predict.table(guesses, race)] == [("+1.00", "2 of 2")] * 2 + [("-1.00", "0 of 2")]
    assert 'best and far, "off" guessed best (Kendall\'s tau: +1.00)' in predict.words(guesses, race)
    assert "10.0 points from first to last" in predict.words([], race)


def test_guesses_are_kept_and_a_second_one_replaces_the_first(tmp_path):
    kept = Guesses(Results.at(tmp_path))
    kept.add("race", Guess("Ann", ("FT", "LLR"), 1))
    kept.add("race", Guess("Bob", ("LLR", "FT"), 2))
    kept.add("race", Guess("Ann", ("LLR", "FT"), 3))
    assert (
        Guesses(Results.at(tmp_path)).all
        == kept.all
        == {"race": [Guess("Bob", ("LLR", "FT"), 2), Guess("Ann", ("LLR", "FT"), 3)]}
    )


ANN = {"name": "Ann", "order": ["FT", "LLR"], "gap": 1}


@pytest.mark.parametrize(
    "text",
    [
        "{ damaged",
        "[]",
        "[" * 100_000,
        json.dumps({"race": ANN}),
        *(json.dumps({"race": [ANN | bad]}) for bad in ({"name": 3}, {"order": 3}, {"order": [[], 1]}, {"gap": "1"})),
    ],
)
def test_a_damaged_file_of_guesses_is_set_aside_and_not_written_over(tmp_path, text):
    (tmp_path / "guesses.json").write_text(text)
    with pytest.warns(UserWarning, match="guesses.json .*; set aside in .*damaged, and the guesses begin anew"):
        kept = Guesses(Results.at(tmp_path))
    assert kept.all == {}
    kept.add("race", Guess("Bob", ("LLR", "FT"), 2))
    [aside] = (tmp_path / "damaged").iterdir()
    assert aside.read_text() == text and Guesses(Results.at(tmp_path)).all == kept.all != {}


def test_two_kernels_lose_none_of_each_others_guesses(tmp_path):
    both = [Guesses(Results.at(tmp_path)) for _ in range(2)]

    def guess(place: int) -> None:
        for i in range(10):
            both[place].add(f"race {i % 3}", Guess(f"{place} {i}", ("FT", "LLR"), 1))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(guess, range(2)))
    kept = Guesses(Results.at(tmp_path)).all
    assert sorted(g.name for guesses in kept.values() for g in guesses) == [
        f"{p} {i}" for p in (0, 1) for i in range(10)
    ]
    both[1].add("race 0", Guess("last", ("FT", "LLR"), 1))
    assert both[1].all == Guesses(Results.at(tmp_path)).all


def test_guesses_that_could_not_be_written_are_written_with_the_next(tmp_path, monkeypatch):
    kept = Guesses(Results.at(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(predict, "write_whole", lambda *_: (_ for _ in ()).throw(OSError()))
        kept.add("race", Guess("Ann", ("FT", "LLR"), 1))
    assert [g.name for g in kept.all["race"]] == ["Ann"]
    Guesses(Results.at(tmp_path)).add("race", Guess("Bob", ("FT", "LLR"), 1))
    kept.add("race", Guess("Cy", ("FT", "LLR"), 1))
    assert [g.name for g in Guesses(Results.at(tmp_path)).all["race"]] == ["Bob", "Ann", "Cy"]


def test_a_name_that_begins_like_a_formula_reaches_the_table_as_text():
    race = fake({"FT": 0.8, "LLR": 0.9})
    made = predict.guesses_csv([Guess("=1+1", ("FT", "LLR"), 1), Guess("-5", ("LLR", "FT"), 1)], race)
    assert [row.split(",")[0] for row in made.splitlines()] == ["name", "-5", "'=1+1"]


def test_a_guess_about_other_schedules_is_left_out():
    race = fake({"FT": 0.8, "LLR": 0.9})
    guesses = [Guess("Ann", ("FT", "LLR"), 1), Guess("Bob", ("FT", "SLR"), 1), Guess("Cy", (), 1)]
    assert [row[0] for row in predict.table(guesses, race)] == ["Ann"]


@pytest.fixture
def view(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "recipe_of", lambda data, model, seed: Recipe(data, model, width=4, epochs=1, seed=seed))
    return Predict(Settings(sparsity=0.9, budget=0.5), Results.at(tmp_path), "cpu")


@pytest.mark.xdist_group("predict")
def test_guess_then_race_then_no_more_guesses(view, tmp_path):
    assert "hidden" in view.screen.charts[0].spec["alt"] and view.screen.table.value == ""
    view.guess()
    assert "no name" in view.said.value
    view.name.value = "Ann"
    view.places["FT"].value = 2
    view.guess()
    assert "FT and LRW share place 2" in view.said.value and "Ann" not in view.guessed.value
    view.places["FT"].value = 1
    view.guess()
    assert (
        "Kept: Ann says FT" in view.said.value
        and "Ann" in view.guessed.value
        and "hidden" in view.screen.charts[0].spec["alt"]
    )

    view.desk.start.click()
    assert view.desk.worker.wait() and "Ann guessed best" in view.desk.status.value
    accuracies = {name: value for name, value, _ in predict.standing(view.race)}
    tau, exact = score(Guess("Ann", NAMED_SCHEDULES, 5), accuracies).told
    assert f"<td>{tau}</td><td>{exact}</td>" in view.guessed.value and view.screen.table.value.count("<tr>") == 7

    view.name.value = "Bob"
    view.guess()
    assert "has been shown already" in view.said.value and "Bob" not in view.guessed.value

    # another race is hidden again, and so is the first after it, though both are stored
    view.inputs["budget"].value = 0.25
    assert "hidden" in view.screen.charts[0].spec["alt"] and "Ann" not in view.guessed.value
    view.guess()
    assert "Kept: Bob" in view.said.value
    view.inputs["budget"].value = 0.5
    view.guess()
    assert "has been shown already" in view.said.value
    view.desk.start.click()
    assert not view.desk.worker.busy and "Ann guessed best" in view.desk.status.value, "from the store"
    again = Predict(view.given, Results.at(tmp_path), "cpu")
    assert "Ann" in again.guessed.value


def test_those_who_share_the_first_place_are_all_named():
    race = fake({"FT": 0.8, "LLR": 0.9})
    guesses = [Guess("Ann", ("LLR", "FT"), 1), Guess("Bob", ("LLR", "FT"), 10), Guess("Cy", ("FT", "LLR"), 1)]
    assert predict.words(guesses, race).startswith("Bob and Ann guessed best (Kendall's tau: +1.00)")


@pytest.mark.xdist_group("predict")
def test_a_race_that_showed_nothing_can_still_be_guessed(view, monkeypatch):
    real = view.desk.worker.start
    monkeypatch.setattr(view.desk.worker, "start", lambda work, *rest: real(lambda _: work(lambda: True), *rest))
    view.desk.start.click()
    assert view.desk.worker.wait() and "Stopped" in view.desk.status.value
    view.name.value = "Ann"
    view.guess()
    assert "Kept: Ann" in view.said.value
