"""What is read from files that anyone may have written: bytes and JSON, or one line that says what is wrong."""

import os

import pytest

from retrainlab import parsing
from retrainlab.parsing import open_file, parsed, read_file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 10_000 + "]" * 10_000, "nested too deeply"),
        ('{"a": ' * 10_000, "nested too deeply"),
        ("9" * 5_000, "digits"),
        ('{"a": NaN}', "NaN, which is no number"),
        ("-Infinity", "-Infinity, which is no number"),
        ("", "Expecting value"),
        ('{"a": 1', "Expecting"),
        (b"\xc3(", "decode"),
        (b'{"a": "\x00"}', "control character"),
    ],
)
def test_what_is_no_json_is_told_in_a_line(text, words):
    with pytest.raises(ValueError, match=words):
        parsed(text)


def test_json_is_what_it_says():
    assert parsed('{"a": [1, 2.5, null, true, "x"]}') == parsed(b'{"a": [1, 2.5, null, true, "x"]}')
    assert parsed('{"a": [1, 2.5, null, true, "x"]}') == {"a": [1, 2.5, None, True, "x"]}


def test_more_than_the_most_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b'"abcdefg"')
    assert read_file(tmp_path / "file", 9) == b'"abcdefg"'
    with pytest.raises(ValueError, match="more than 8 bytes"):
        read_file(tmp_path / "file", 8)
    monkeypatch.setattr(parsing, "MOST", 8)
    with pytest.raises(ValueError, match="more than 8 bytes"):
        parsed('"abcdefg"')


def test_a_pipe_is_not_waited_for_and_a_device_not_read_to_its_end(tmp_path):
    """Pitfall: opening a pipe that nobody writes to never returns."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ValueError, match="no file"):
            open_file(path)
    with pytest.raises(OSError):
        open_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "nothing")
