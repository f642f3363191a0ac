"""A journal that was damaged never loses or changes a finished episode without a word."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.errors import UserError
from wmplan.evaluation.journal import Journal, Record, encode

SETTINGS = {"seed": 0, "task": "pusht", "planner": {"name": "cem", "num_samples": 3}}


def record(i: int) -> Record:
    return {"row": "planner", "planner_seed": 0, "instance": i, "min_distance": 0.25, "note": "ä\n", "success": False}


EPISODES = {("planner", 0, i): record(i) for i in range(8)}
WHOLE = b"".join(map(encode, [SETTINGS, *EPISODES.values()]))


def read(content: bytes) -> dict[Any, Record] | str:
    """The records of a journal of this content, or the error's message; it leaves a damaged file as it was."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "per_episode.jsonl")
        path.write_bytes(content)
        try:
            with Journal(path, SETTINGS) as journal:
                return journal.records
        except UserError as error:
            assert path.read_bytes() == content
            return str(error)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "per_episode.jsonl"
    with Journal(path, SETTINGS) as journal:
        for one in EPISODES.values():
            journal.append(one)
    assert path.read_bytes() == WHOLE
    for line in WHOLE.splitlines():
        json.loads(line)  # any other reader's JSON, too
    with Journal(path, SETTINGS) as journal:
        assert journal.records == EPISODES
        journal.append(record(99))
    assert path.read_bytes() == WHOLE + encode(record(99))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 7))
def test_any_flipped_bit_is_noticed(byte: int, bit: int) -> None:
    flipped = bytearray(WHOLE)
    flipped[byte] ^= 1 << bit
    found = read(bytes(flipped))
    if byte == len(WHOLE) - 1:  # the last newline: an episode that is played again
        assert found == {key: one for key, one in EPISODES.items() if key[2] < 7}
    else:
        assert isinstance(found, str) and ("damaged" in found or "holds a run" in found)


@settings(deadline=None)
@given(st.data())
def test_bytes_that_are_lost_repeated_or_replaced_change_no_episode(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(WHOLE)))
    end = data.draw(st.integers(start, min(len(WHOLE), start + 400)))
    found = read(
        WHOLE[:start] + data.draw(st.sampled_from([b"", WHOLE[start:end] * 2, b"\0" * (end - start)])) + WHOLE[end:]
    )
    if isinstance(found, dict):
        assert found.items() <= EPISODES.items()


@pytest.mark.parametrize("cut", [1, 7, len(encode(record(7))) - 1])
def test_only_a_last_line_that_was_cut_off_is_an_interruption(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "per_episode.jsonl"
    path.write_bytes(WHOLE[:-cut])
    with Journal(path, SETTINGS) as journal:
        assert journal.records == {key: one for key, one in EPISODES.items() if key[2] < 7}
        journal.append(record(7))
    assert path.read_bytes() == WHOLE


@pytest.mark.parametrize("number", [2, 5, 9])
def test_the_advice_of_the_message_is_right(number: int) -> None:
    lines = WHOLE.splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(b"0.25", b"0.05")
    message = read(b"".join(lines))
    assert isinstance(message, str) and message.startswith(f"line {number} of ") and "other 7 episodes" in message
    del lines[number - 1]
    assert read(b"".join(lines)) == {key: one for key, one in EPISODES.items() if key[2] != number - 2}


def test_several_damaged_lines_are_named_together() -> None:
    message = read(WHOLE.replace(b"false", b"true"))
    assert isinstance(message, str) and message.startswith("lines 2, 3, 4, 5, 6, 7, 8, 9 of ")


def test_settings_that_are_damaged_name_the_way_out() -> None:
    message = read(WHOLE.replace(b"cem", b"cen"))
    assert isinstance(message, str) and message.startswith("line 1 of ") and "give another out=DIR" in message


def test_a_journal_without_checks_is_read_and_continued(tmp_path: Path) -> None:
    path, old = tmp_path / "per_episode.jsonl", [SETTINGS, *EPISODES.values()]
    path.write_text("".join(json.dumps(one) + "\n" for one in old))
    for number in (99, 100):
        with Journal(path, SETTINGS) as journal:
            assert EPISODES.items() <= journal.records.items()
            journal.append(record(number))
    damaged = path.read_bytes().replace(b'"instance": 99', b'"instance": 98')
    assert "line 10 of" in str(read(damaged))
    assert "line 3 of" in str(read(path.read_bytes().replace(b'"instance": 1,', b'"instance"; 1,')))
    assert "line 3 of" in str(read(path.read_bytes().replace(b'"instance": 1,', b'"instance": [],')))
    assert "line 11 of" in str(
        read(path.read_bytes().replace(encode(record(100)), json.dumps(record(100)).encode() + b"\n"))
    )
