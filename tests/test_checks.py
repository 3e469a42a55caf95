"""A user's mistake is one sentence: what was wrong, what is allowed, the nearest right name."""

import math
from dataclasses import dataclass

import pytest

from retrainlab.checks import BadInput, check_number, choice, choose, number, settle
from tests.helpers.refusals import said


def test_choose_returns_an_allowed_name():
    assert choose("b", ["a", "b"], "letter") == "b"
    assert choose("b", (c for c in "ab"), "letter") == "b"


def test_an_unknown_name_gets_the_nearest_one_and_all_that_are_allowed():
    assert said(lambda: choose("apfle", ("apple", "pear"), "fruit")) == (
        "There is no fruit 'apfle': did you mean 'apple'? Allowed: apple, pear."
    )


def test_the_nearest_name_is_found_whatever_the_case():
    assert "did you mean 'ALLR'?" in said(lambda: choose("allr", ("FT", "ALLR"), "schedule"))


def test_nothing_is_guessed_where_nothing_is_near():
    assert said(lambda: choose("xyz", ("apple", "pear"), "fruit")) == "There is no fruit 'xyz': Allowed: apple, pear."


@pytest.mark.parametrize("name", [None, 3, ("apple",)])
def test_what_is_no_text_is_no_name(name):
    assert "There is no fruit" in said(lambda: choose(name, ("apple", "pear"), "fruit"))


@pytest.mark.parametrize(
    ("value", "bounds", "text"),
    [
        (2, dict(low=0, high=1), "The size is 2, but must be a number at least 0 and at most 1."),
        (0, dict(above=0), "The size is 0, but must be a number above 0."),
        (0, dict(above=0, high=1), "The size is 0, but must be a number above 0 and at most 1."),
        (1.5, dict(low=1, whole=True), "The size is 1.5, but must be a whole number at least 1."),
        ("1", {}, "The size is '1', but must be a number."),
        (None, dict(whole=True), "The size is None, but must be a whole number."),
        (True, dict(whole=True), "The size is True, but must be a whole number."),
        (math.nan, {}, "The size is nan, but must be a number."),
        (0.0001, dict(low=0.001), "The size is 0.0001, but must be a number at least 0.001."),
    ],
)
def test_a_number_out_of_bounds_is_told_with_its_bounds(value, bounds, text):
    assert said(lambda: check_number(value, "size", **bounds)) == text


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_no_number(value):
    said(lambda: check_number(value, "size"))


@pytest.mark.parametrize(
    ("value", "bounds"), [(0, dict(low=0)), (1, dict(high=1)), (1e-9, dict(above=0)), (3, dict(whole=True)), (-2.5, {})]
)
def test_a_number_within_its_bounds_passes(value, bounds):
    assert check_number(value, "size", **bounds) is None


@dataclass(frozen=True)
class Basket:
    fruits: tuple[str, ...] = choice(("apple",), ("apple", "pear"), "fruit")
    sizes: tuple[int, ...] = number((1,), what="size", low=1)


def test_each_entry_of_a_field_is_held_to_what_it_may_be():
    settle(Basket(("pear", "apple"), (2, 3)))
    assert "There is no fruit 'apfle'" in said(lambda: settle(Basket(("pear", "apfle"))))
    assert "The size is 0, but must be a whole number at least 1" in said(lambda: settle(Basket(sizes=(2, 0))))


def test_bad_input_is_a_value_error_that_a_notebook_shows_without_a_trace():
    error = BadInput("No.")
    assert isinstance(error, ValueError)
    assert error._render_traceback_() == ["retrainlab: No."]
