"""What a host reads of the claims and of times is what the files say."""

import json

import pytest

from retrainlab.checks import BadInput
from retrainlab.claims.table import CLAIMS as CLAIMED
from retrainlab.teaching import answers, times

PART = {"says": "A is better than B", "boundary": 0.0, "side": "above", "unit": "points", "n": 10, "smallest": 1.5}
OPEN = PART | {"mean": 1.234, "low": -0.5, "high": 2.9, "state": "open"}
SAME = PART | {"mean": 0.0, "low": 0.0, "high": 0.0, "state": "holds", "side": "exactly", "smallest": None}
NONE = PART | {"mean": None, "low": None, "high": None, "state": "open", "n": 0, "smallest": None}
CLAIMS = [
    {"name": "C1", "statement": "A beats B.", "verdict": "undecided", "parts": [OPEN, SAME, NONE]},
    {"name": "C2", "statement": "Not tested.", "verdict": "not tested", "parts": []},
]


def test_parts_are_told_with_how_sure_they_are():
    [row] = answers.rows(CLAIMS, ["C1", "C2", "C9"])
    assert row[:2] == ["C1. A beats B.", "undecided"]
    assert row[2].split("; ") == [
        "open: A is better than B (+1.23 points, 95 % interval -0.50 to +2.90, 10 seeds, "
        "where 1.50 away from 0 would be found in 80 % of studies)",
        "holds: A is better than B (+0.00 points, 10 seeds)",
        "open: A is better than B (no runs)",
    ]


def test_a_block_has_a_table_for_each_data_set_with_such_claims():
    block = answers.block({"digits": CLAIMS, "CIFAR-10": CLAIMS[1:]}, ["C1", "C2"], "as it was")
    assert block.startswith("On digits:\n\n| claim |") and "CIFAR-10" not in block and "as it was" not in block


def test_a_notebook_has_a_line_for_each_part_and_a_claim_in_one_piece():
    [row] = answers.rows([CLAIMS[0] | {"statement": "A beats B; C < D."}], ["C1"])
    html = answers._html("digits", [row])
    assert "C1. A beats B; C &lt; D.</td>" in html and html.count(";<br>") == 2


def test_the_sessions_ask_about_every_claim_once():
    assert sorted(name for names in answers.SESSIONS.values() for name in names) == [claim.name for claim in CLAIMED]


def test_times_are_shares_of_the_processor_time():
    text = json.dumps({"session_1": {"parts": {"a": 30.0, "b": 9.9, "c": 0.1}, "processor": 16.0}})
    block = times.block(text)
    assert "| session_1 | a | 75 % | 6 |" in block and "| session_1 | in all | 100 % | 8 |" in block
    assert "| session_1 | c | 0 % | under 1 |" in block
    assert times.block(None) == ""
    with pytest.raises(BadInput, match="is damaged; make it again"):
        times.block("{")
