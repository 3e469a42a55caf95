"""What a session says of a guess: right, of another kind, or none at all; an unset guess is not told as 0."""

import pytest

from retrainlab.phrases import share
from retrainlab.teaching import showing

MEANS = {"FT": 0.7, "LLR": 0.9, "CLR": 0.8}


@pytest.mark.parametrize(
    ("guess", "said"),
    [(None, "you have made no guess"), (0.0, "your guess was 0 %"), (0.7, "your guess was 70 %")]
    + [("70", "your guess, '70', is no number"), (True, "your guess, True, is no number")],
)
def test_a_guess_is_told_as_it_was_made(guess, said):
    assert showing.yours(guess, share) == said


def test_a_number_has_no_unit_unless_one_is_given():
    assert (showing.yours(4), showing.yours(2.50)) == ("your guess was 4", "your guess was 2.5")


def test_an_order_is_scored_or_asked_for():
    assert showing.guessed([], MEANS).startswith("No guess yet: put FT, LLR, CLR in your order")
    assert showing.guessed(["LLR", "FT"], MEANS) == "The guess should name each of FT, LLR, CLR once."
    assert showing.guessed(["LLR", "FT", "CLR"], MEANS) == (
        "Kendall's tau: +0.33 (+1 is the right order, -1 its reverse); 1 of 3 at an exact place. "
        "It came out as: LLR 90.0 %, CLR 80.0 %, FT 70.0 %."
    )
