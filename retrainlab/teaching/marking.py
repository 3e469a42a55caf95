"""What is said of an answer to an exercise: nothing yet, not yet right, or right. A mistake in an answer never ends in a
trace."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from html import escape
from typing import Any, TypeVar

from retrainlab.phrases import first_line

T = TypeVar("T")
OPEN, NOT_YET, RIGHT = "nothing yet", "not yet", "right"


@dataclass(frozen=True)
class Mark:
    """What a check says. state: OPEN, NOT_YET or RIGHT."""

    exercise: int
    state: str
    words: str

    def __str__(self) -> str:
        return f"Exercise {self.exercise}: {self.state}. {self.words}"

    def _repr_html_(self) -> str:
        return f"<p><strong>Exercise {self.exercise}: {self.state}.</strong> {escape(self.words)}</p>"


class Wrong(Exception):
    """Why an answer is not right yet, as a sentence that does not give it away."""


class Unanswered(Exception):
    """There is no answer yet."""


def answered(value: T) -> T:
    """The value; raises Unanswered for None and `...`, as a function gives that is still to be written."""
    if value is None or value is ...:
        raise Unanswered
    return value


def exercise(number: int, wanted: str) -> Callable[[Callable[..., str]], Callable[..., Mark]]:
    """Make of a check the function that marks an answer, its first argument.

    wanted: what is said while there is no answer. The check returns what is said of a right answer, and raises Wrong or
    Unanswered; whatever else an answer raises is told in a sentence.
    """

    def marking(check: Callable[..., str]) -> Callable[..., Mark]:
        @wraps(check)
        def mark(answer: Any, *given: Any) -> Mark:
            try:
                return Mark(number, RIGHT, check(answered(answer), *given))
            except Unanswered:
                return Mark(number, OPEN, wanted)
            except Wrong as why:
                return Mark(number, NOT_YET, str(why))
            except Exception as error:  # an answer is anybody's code
                return Mark(number, NOT_YET, f"The answer ends with {type(error).__name__}: {first_line(error)}.")

        return mark

    return marking
