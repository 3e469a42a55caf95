"""What a user is told whose input is bad."""

from collections.abc import Callable

import pytest

from retrainlab.checks import BadInput


def said(call: Callable[[], object]) -> str:
    """The one sentence with which the call refuses its input."""
    with pytest.raises(BadInput) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.isprintable() and sentence.endswith(".")
    return sentence
