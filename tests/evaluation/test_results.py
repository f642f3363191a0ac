"""Results that are read back are those that were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.errors import UserError
from wmplan.evaluation.results import load_results, times_to_goal, write_results

RESULT: dict[str, Any] = {
    "schema": 1,
    "instances_sha256": "00",
    "settings": {"task": "pusht"},
    "rows": {"planner": {"success": 0.5}},
    "per_episode": [{"row": "planner", "instance": i, "distance": i / 3} for i in range(3)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_noticed(folder: Path, data: st.DataObject) -> None:
    path = folder / "results.json"
    write_results(path, RESULT)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = load_results(folder)
    except UserError as error:
        assert str(path) in str(error)
    else:  # white space, or the name of the digest
        assert RESULT.items() <= found.items()


def test_results_without_a_digest_are_read(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(RESULT))
    assert load_results(tmp_path) == RESULT


@pytest.mark.parametrize("content", ["[1]", "{", '{"schema": 2}', '{"schema": 1, "task": "a robot\'s"}', "\x00"])
def test_what_is_no_result_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"results\.json"):
        load_results(tmp_path)


def test_successes_are_counted_by_deadline() -> None:
    found = times_to_goal([25, 26, None, 1, 50, None, 40, 41], 50)
    assert found["success_by"] == {"25": 2 / 8, "30": 3 / 8, "40": 4 / 8, "50": 6 / 8}
    assert found["median_steps"] == 33.0  # of 1, 25, 26, 40, 41, 50
    assert times_to_goal([None, None], 10) == {
        "success_by": {"5": 0.0, "6": 0.0, "8": 0.0, "10": 0.0},
        "median_steps": None,
    }
    assert list(times_to_goal([1], 1)["success_by"]) == ["1"]
