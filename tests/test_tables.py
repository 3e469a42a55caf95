"""CSV for people: numbers as pandas writes them, and no text that a spreadsheet would compute."""

import errno
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrainlab import tables

WEB = Path(tables.__file__).parent / "explore" / "web"


def test_texts_that_begin_like_formulas_get_an_apostrophe_and_numbers_stay_numbers():
    frame = pd.DataFrame(
        {
            "=data": ["=cmd|'/C calc'!A0", "+a", "-a", "@a", "\ta", "a=b", "-0.5", "+3", "", None],
            "number": [-1.5, 2, np.nan, -0.0, 1e-9, 3, 4, 5, 6, -7],
            "mixed": [-1, "-1", "-x", None, True, 2.5, "=x", "x", np.int64(-3), -0.25],
        }
    )
    back = pd.read_csv(pd.io.common.StringIO(tables.csv(frame)), keep_default_na=False, dtype=str)
    assert list(back) == ["'=data", "number", "mixed"]
    assert list(back["'=data"]) == ["'=cmd|'/C calc'!A0", "'+a", "'-a", "'@a", "'\ta", "a=b", "-0.5", "+3", "", ""]
    assert list(back["number"]) == ["-1.5", "2.0", "", "-0.0", "1e-09", "3.0", "4.0", "5.0", "6.0", "-7.0"]
    assert list(back["mixed"]) == ["-1", "-1", "'-x", "", "True", "2.5", "'=x", "x", "-3", "-0.25"]


@pytest.mark.parametrize("float_format", [None, "%.6g"])
def test_a_frame_without_such_texts_is_what_pandas_writes(float_format):
    frame = pd.DataFrame(
        {"name": ["LLR", "a,b", 'c"d'], 3: [1, -2, 3], "x": [0.1, -1 / 3, None], "b": [True, False, True]}
    )
    frame["kind"] = pd.Categorical(["u", "v", "u"])
    expected = frame.to_csv(index=False, float_format=float_format, lineterminator="\n")
    assert tables.csv(frame, float_format) == expected and list(frame["name"]) == ["LLR", "a,b", 'c"d']


def test_columns_are_aligned_at_their_right_ends():
    assert [*tables.aligned([("key", "%"), ("a", "12.5"), ("{é}", "")])] == ["key     %", "  a  12.5", "{é}      "]


def test_a_full_disk_leaves_the_old_table(tmp_path, monkeypatch):
    """Pitfall: a table that is opened for writing is empty before the first new byte is there."""
    path = tmp_path / "table.csv"
    tables.write(pd.DataFrame({"a": [1]}), path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        tables.write(pd.DataFrame({"a": [2]}), path)
    assert path.read_text() == "a\n1\n" and list(tmp_path.iterdir()) == [path]


def test_names_that_are_no_text_are_written_as_escapes(tmp_path):
    tables.write(pd.DataFrame({"data": ["\udcff"]}), tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "data\n\\udcff\n"


def test_the_pages_script_has_the_same_cells_as_python():
    [first] = re.findall(r"/\^\[(.*?)\]/\.test\(value\) && Number\.isNaN", (WEB / "take.js").read_text())
    unescaped = re.sub(r"\\([trn-])", lambda match: {"t": "\t", "r": "\r", "n": "\n", "-": "-"}[match[1]], first)
    assert {*unescaped} == {*tables.FORMULA}
    for path in ("guess.js", "drawing.js"):
        script = (WEB / path).read_text()
        assert script.count('join(",")') == script.count('.map(cell).join(",")') == 1, "every line of a CSV has cells"
