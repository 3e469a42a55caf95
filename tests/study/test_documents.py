"""TOML and YAML: the same things read the same, and what is damaged, hostile or no such file is refused with its line."""

import json
import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from retrainlab.checks import BadInput
from retrainlab.study import documents, plain_yaml


def things(texts: st.SearchStrategy[str]) -> st.SearchStrategy:
    numbers = st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    )


@settings(deadline=None, max_examples=50)
@given(things(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=5)))
def test_json_is_yaml(thing):
    assert plain_yaml.loads(json.dumps(thing), 99) == thing


@settings(deadline=None, max_examples=50)
@given(things(st.text("ano ~:-#'\"\n{}[],&*!|>%@é", max_size=5)))  # a text such as 1e4 is a number since YAML 1.2
def test_yaml_that_others_have_written_is_read_as_they_meant_it(thing):
    assert plain_yaml.loads(yaml.safe_dump(thing), 99) == thing


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5E3", 5000.0),
        ("-.5", -0.5),
        ("3", 3),
        ("010", 10),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
    ]
    + [
        ("True", True),
        ("tRue", "tRue"),
        ("~", None),
        ("null", None),
        ("-.inf", float("-inf")),
        ("2024-01-01", "2024-01-01"),
    ]
    + [("'3'", "3"), ("2:4", "2:4"), ("1_000", "1_000"), ("a:b", "a:b"), ("<<", "<<"), ("9" * 400, float("inf"))],
)
def test_plain_words_mean_what_yaml_1_2_says(text, value):
    """Pitfall: PyYAML reads YAML 1.1, in which 1e-4 is a text, `no` is False and 2:4 is 124."""
    assert plain_yaml.loads(f"x: {text}", 9) == {"x": value}


REFUSED = [
    ("a.toml", "x = 1\nx = 2\n", "line 2"),
    ("a.toml", "[a]\n[a]\n", "line 2"),
    ("a.toml", "x = \n", "line 1"),
    ("a.toml", f"x = {'9' * 5000}", "5000 digits"),
    ("a.toml", f"x = {'[' * 10_000}", "nests"),
    ("a.toml", f"x = {'[' * 50}{']' * 50}", "nests"),
    ("a.toml", "", "must hold names with values"),
    ("a.yaml", "x: 1\nx: 2\n", "'x' comes twice (at line 2, column 1)"),
    ("a.yaml", "x: [1\n", "line 2"),
    ("a.yaml", "a: &a [1]\nb: *a", "*a stands for another place (at line 2"),
    ("a.yaml", "x: !!python/object/apply:os.system [ls]", "names a type (at line 1"),
    ("a.yaml", "x: !own 1", "names a type"),
    ("a.yaml", "[" * 10_000, "nests"),
    ("a.yaml", f"x: {'[' * 50}{']' * 50}", "nests"),
    ("a.yaml", "x: 1\n---\ny: 2", "second document"),
    ("a.yaml", "? [a]\n: 1", "a name is no text"),
    ("a.yaml", "[1, 2]", "must hold names with values"),
    ("a.yaml", "x: \0", "cannot be read"),
    ("a.json", "{}", ".toml, .yaml, .yml"),
    ("a.toml", b"x = '\xff'", "not in UTF-8"),
    ("a.toml", b"#" * 1_000_001, "1,000,000 bytes"),
]


@pytest.mark.parametrize(("name", "text", "words"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_read_is_refused_with_its_name(name, text, words, tmp_path):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput) as error:
        documents.read(tmp_path / name)
    assert f"The file {tmp_path / name} " in str(error.value) and words in str(error.value)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 500


def test_a_folder_and_what_is_not_there_are_refused(tmp_path):
    os.mkdir(tmp_path / "a.toml")
    for name in "a.toml", "b.toml":
        with pytest.raises(BadInput, match=f"{name} cannot be read"):
            documents.read(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.toml")
    with pytest.raises(BadInput, match="it is no file"):
        documents.read(tmp_path / "a.toml")


def test_marks_of_other_systems_do_no_harm(tmp_path):
    for name, text in ("a.toml", "x = 1\r\n"), ("a.yml", "x: 1\r\n"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert documents.read(tmp_path / name) == {"x": 1}
