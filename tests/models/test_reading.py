"""Small files from outside: what is no plain file, and JSON that is broken, ambiguous or without end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.models.errors import MOST_SHOWN, CheckpointError, shorten
from wmplan.models.reading import MOST_BYTES, MOST_LEVELS, parse_json, read_bounded, read_json

PLAIN = st.none() | st.booleans() | st.integers(-(10**90), 10**90) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    PLAIN | st.text(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def refused(text: bytes | str) -> str:
    with pytest.raises(CheckpointError) as raised:
        parse_json(text, "config.json")
    assert str(raised.value).startswith("config.json") and str(raised.value).isprintable()
    return str(raised.value)


@given(JSON)
@settings(max_examples=100, deadline=None)
def test_what_json_can_say_is_read_as_the_library_reads_it(value: Any) -> None:
    text = json.dumps(value)
    assert parse_json(text.encode(), "x") == json.loads(text)


def test_an_editors_byte_order_mark_is_no_fault() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', "x") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": {"c": 2, "c": 3}}', "the key 'c' is there twice"),
        ('{"a": NaN}', "NaN is no number in JSON"),
        ("[-Infinity]", "-Infinity is no number in JSON"),
        ("[1e999]", "the number '1e999' is too large"),
        (f"[{'9' * 5000}]", "has 5000 digits"),
        ("[" * 100_000 + "]" * 100_000, f"must have at most {MOST_LEVELS} levels"),
        ("[" * 200 + "]" * 200, f"must have at most {MOST_LEVELS} levels"),
        ('{"a":' * 200 + "1" + "}" * 200, f"must have at most {MOST_LEVELS} levels"),
        ('{"a": ', "is not valid JSON"),
        ("", "is not valid JSON"),
        (b"\xff\xfe{\x00}\x00", "is not valid JSON"),
        (b" " * (MOST_BYTES + 1), f"must have at most {MOST_BYTES} bytes"),
    ],
)
def test_what_is_refused_gets_one_line(text: bytes | str, message: str) -> None:
    assert message in refused(text)


def test_levels_up_to_the_bound_are_read() -> None:
    assert parse_json("[" * MOST_LEVELS + "]" * MOST_LEVELS, "x")


def test_an_old_header_may_hold_constants() -> None:
    assert parse_json("[NaN, Infinity]", "x", constants=lambda constant: None) == [None, None]


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        value = parse_json(content, "config.json")
    except CheckpointError:
        return
    assert json.loads(content) == value


# ------------------------------------------------------------------ what is no plain file


def test_devices_pipes_and_folders_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(CheckpointError, match="must be a file, it is a device, a pipe or a socket"):
            read_json(path)
    with pytest.raises(CheckpointError, match="must be a file, it is a folder"):
        read_json(tmp_path)


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CheckpointError, match=r"loop cannot be read: Too many levels of symbolic links"):
        read_json(tmp_path / "loop")
    with pytest.raises(CheckpointError, match="cannot be read: No such file or directory"):
        read_json(tmp_path / "absent")


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_bounded(file, 5) == b"12345"
    with pytest.raises(CheckpointError, match="must have at most 4 bytes, it has more"):
        read_bounded(file, 4)


# ------------------------------------------------------------------ the error


@given(st.text(max_size=3000))
@settings(max_examples=50, deadline=None)
def test_an_error_is_one_line_whatever_a_file_calls_its_tensors(name: str) -> None:
    message = str(CheckpointError(f"{name * 2} is wrong"))
    assert message.isprintable() and len(message) <= MOST_SHOWN + 3


def test_names_are_shortened() -> None:
    assert shorten(["a", "b"]) == "a, b"
    assert shorten(list("abcde")) == "a, b, c, and 2 more"
    assert len(shorten(["x" * 10**6] * 9)) < 700
