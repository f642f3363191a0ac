"""What the planner may see, and the reason for what it may not; the loop's own tests see to the consequences."""

from __future__ import annotations

import math
from collections import UserDict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control.realtime.observation_check import FAULTS, ObservationGuard, ObservationRefusedError

SHAPE = (4, 4, 3)


def guard(**options: Any) -> ObservationGuard:
    made = ObservationGuard(max_age=0.5, max_repeats=3, **options)
    made.expect({"pixels": np.zeros(SHAPE, np.uint8), "proprio": np.zeros(2)})
    return made


def frame(number: int = 0) -> np.ndarray:
    return np.full(SHAPE, number % 256, np.uint8)


class Broken:
    """Looks like an array and raises when it is read."""

    shape, dtype, ndim = SHAPE, np.dtype(np.uint8), 3

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or RuntimeError("the camera's memory is gone")

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise self.error

    def __float__(self) -> float:
        raise self.error


class BrokenMapping(Mapping[str, Any]):
    """Raises at every entry."""

    def __getitem__(self, name: str) -> Any:
        raise OSError("no shared memory")

    def __iter__(self) -> Any:
        raise OSError("no shared memory")

    def __len__(self) -> int:
        return 2


class Untouchable(list[Any]):
    """A list that may not be walked through."""

    def __iter__(self) -> Any:
        raise AssertionError("it was looked into")


@pytest.mark.parametrize(
    ("observation", "fault", "said"),
    [
        (None, "missing", "none"),
        ({}, "missing", "'pixels'"),
        ({"pixels": None}, "missing", "'pixels'"),
        ({"wrist": frame()}, "missing", "'pixels'"),
        ({"pixels": frame().astype(np.float32)}, "shape", "float32"),
        ({"pixels": frame()[None]}, "shape", r"\(1, 4, 4, 3\)"),
        ({"pixels": [[1, 2], [3]]}, "shape", "a list"),
        ({"pixels": Untouchable([0] * 10**6)}, "shape", "Untouchable"),
        ({"pixels": "front.png"}, "shape", "a str"),
        ({"pixels": Broken()}, "shape", "RuntimeError: the camera's memory is gone"),
        (BrokenMapping(), "shape", "OSError: no shared memory"),
        (7, "shape", "a int"),
        ({"pixels": frame(), "proprio": [[1], [1, 2]]}, "shape", "proprio"),
        ({"pixels": frame(), "proprio": ["1", "2"]}, "shape", "proprio"),
        ({"pixels": frame(), "proprio": 1.0}, "shape", "proprio"),
        ({"pixels": frame(), "proprio": np.zeros(2, complex)}, "shape", "proprio"),
        ({"pixels": frame(), "proprio": Untouchable([0.0] * 10**6)}, "shape", "proprio"),
        ({"pixels": frame(), "proprio": Broken()}, "shape", "proprio"),
        ({"pixels": frame(), "proprio": [0.0, math.nan]}, "non_finite", "proprio"),
        ({"pixels": frame(), "proprio": np.array([0.0, np.inf])}, "non_finite", "proprio"),
    ],
)
def test_what_is_no_observation_is_refused_with_its_reason(observation: Any, fault: str, said: str) -> None:
    with pytest.raises(ObservationRefusedError, match=said) as refused:
        guard().judge(observation, 10.0, 10.0, False)
    assert refused.value.fault == fault and fault in FAULTS


@pytest.mark.parametrize(
    "captured_at",
    ["now", math.nan, math.inf, -math.inf, True, 10**400, b"3", [10.0], np.array([10.0]), 3j, {}, Broken(), 10.1],
)
def test_a_time_that_is_none_is_of_the_wrong_clock(captured_at: Any) -> None:
    with pytest.raises(ObservationRefusedError) as refused:
        guard().judge({"pixels": frame()}, captured_at, 10.0, False)
    assert refused.value.fault == "clock"


@pytest.mark.parametrize("captured_at", [-5.0, 9.4, 0, np.float32(9.0), -(10**300)])
def test_a_time_long_ago_is_stale(captured_at: Any) -> None:
    with pytest.raises(ObservationRefusedError, match="ago") as refused:
        guard().judge({"pixels": frame()}, captured_at, 10.0, False)
    assert refused.value.fault == "stale"


@pytest.mark.parametrize("captured_at", [10, 9.9, np.float64(9.9), np.float32(9.75), np.array(9.9), Decimal("9.9")])
def test_a_time_of_any_kind_of_number_is_taken(captured_at: Any) -> None:
    assert guard().judge({"pixels": frame()}, captured_at, 10.0, False).captured_at == float(captured_at)


def test_time_that_goes_back_is_stale() -> None:
    one = guard()
    one.judge({"pixels": frame(1)}, 10.0, 10.0, False)
    with pytest.raises(ObservationRefusedError, match="earlier"):
        one.judge({"pixels": frame(2)}, 9.9, 10.1, False)
    one.judge({"pixels": frame(2)}, 10.1, 10.1, False)


def test_the_state_keeps_its_length_and_has_what_the_workspace_reads() -> None:
    one = guard(least_proprio=2)
    for proprio in (None, np.zeros(1)):
        with pytest.raises(ObservationRefusedError, match="proprio"):
            one.judge({"pixels": frame(), "proprio": proprio}, 10.0, 10.0, False)
    one.judge({"pixels": frame(), "proprio": np.zeros(3)}, 10.0, 10.0, False)
    for proprio in (None, np.zeros(2), np.zeros((3, 1))):
        with pytest.raises(ObservationRefusedError, match="proprio"):
            one.judge({"pixels": frame(), "proprio": proprio}, 10.0, 10.0, False)


@pytest.mark.parametrize(
    "pixels",
    [
        frame(7),
        frame(7)[::-1, ::-1],
        np.asfortranarray(frame(7)),
        frame(7).view(np.ma.MaskedArray),
        torch.full(SHAPE, 7, dtype=torch.uint8),
        memoryview(frame(7)),
    ],
)
@pytest.mark.parametrize("proprio", [[1.0, 2], (np.float32(1), 2), np.array([1, 2]), torch.tensor([1.0, 2.0])])
def test_all_kinds_of_arrays_are_read_and_copied(pixels: Any, proprio: Any) -> None:
    own = guard().judge({"pixels": pixels, "proprio": proprio}, 10.0, 10.0, False).copied()
    np.testing.assert_array_equal(own["pixels"], frame(7))
    np.testing.assert_array_equal(own["proprio"], [1.0, 2.0])
    assert type(own["pixels"]) is np.ndarray and own["pixels"].flags.c_contiguous and own["pixels"].flags.writeable
    if isinstance(pixels, np.ndarray):
        assert not np.shares_memory(own["pixels"], pixels)


def test_one_camera_needs_no_name_and_any_mapping_will_do() -> None:
    assert list(guard().judge(frame(), 10.0, 10.0, False).copied()) == ["pixels"]
    assert list(guard().judge(UserDict({"pixels": frame()}), 10.0, 10.0, False).copied()) == ["pixels"]


def test_of_entries_that_no_one_asked_for_plain_ones_go_along() -> None:
    extras = {
        "force": np.arange(3.0),
        "depth": torch.ones(2, 2),
        "task": "pick",
        "mode": 3,
        "gripper": [0.5, 1.0],
        "notes": [[1], [1, 2]],
        "nothing": None,
        "object": np.array([{}]),
        "huge": 10**400,
        "long": Untouchable([0.0] * 10**6),
        "info": {"a": 1},
        5: np.zeros(2),
    }
    own = guard().judge({**extras, "pixels": frame()}, 10.0, 10.0, False).copied()
    assert set(own) == {"pixels", "force", "depth", "task", "mode", "gripper"}
    assert not np.shares_memory(own["force"], extras["force"])
    many = {f"extra {number}": number for number in range(10**5)}
    assert len(guard().judge({**many, "pixels": frame()}, 10.0, 10.0, False).copied()) < 100
    broken = guard().judge({"pixels": frame(), "lidar": Broken()}, 10.0, 10.0, False).copied()
    assert set(broken) == {"pixels"}


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from(
        [Broken(), BrokenMapping(), object(), frame(1), frame(2).astype(float), np.zeros(2), np.ma.masked]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["pixels", "proprio", "x"]) | st.integers(), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(ANYTHING, ANYTHING | st.floats(9, 11), st.booleans()), max_size=6))
def test_whatever_comes_is_judged(calls: list[tuple[Any, Any, bool]]) -> None:
    one = guard()
    for observation, captured_at, moves in calls:
        try:
            seen = one.judge(observation, captured_at, 10.0, moves)
        except ObservationRefusedError as refusal:
            assert refusal.fault in FAULTS and 0 < len(str(refusal)) < 1000
        else:
            own = seen.copied()
            assert own["pixels"].shape == SHAPE and own["pixels"].dtype == np.uint8
            assert all(isinstance(entry, np.ndarray) and not entry.dtype.hasobject for entry in own.values())
            assert np.isfinite(own.get("proprio", 0.0)).all() and 9.5 <= seen.captured_at <= 10.005
