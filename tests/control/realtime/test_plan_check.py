"""What is a plan, and the reason for what is none: whatever a planner replied."""

from __future__ import annotations

import math
from collections import UserList
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control.backend import PlanReply
from wmplan.control.realtime.plan_check import LONGEST_PLAN, PlanRefusedError, read_plan

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)
GOOD = PlanReply(ROWS, 0, 1.0, 1.0)


class Counted(float):
    """A number that knows how often it was read."""

    reads = 0

    def __float__(self) -> float:
        Counted.reads += 1
        return 0.5


class Bomb:
    """Raises whenever it is read."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name) if name.startswith("_") else self.error


class Liar:
    """Says that it is small, and is not."""

    shape = (3, 2)

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        return np.zeros((10**6, 2), np.float32)


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (None, "a NoneType"),
        ("walk", "a str"),
        ({"x": 1.0}, "a dict"),
        (0.5, "a float"),
        ((row for row in ROWS), "a generator"),
        (np.float32(0.5), r"its actions must have shape \(robot steps, 2\), got \(\)"),
        (ROWS[0], r"its actions must have shape \(robot steps, 2\), got \(2,\)"),
        (ROWS[:0], r"its actions must have shape \(robot steps, 2\), got \(0, 2\)"),
        (ROWS[:, :1], r"its actions must have shape \(robot steps, 2\), got \(3, 1\)"),
        (ROWS[None], r"its actions must have shape \(robot steps, 2\), got \(1, 3, 2\)"),
        ([], r"its actions must have shape \(robot steps, 2\), got \(0,\)"),
        ([0.5, 0.5], r"its actions must have shape \(robot steps, 2\), got \(2,\)"),
        ([[1, 2], [3]], "row 1 .* has 1 numbers"),
        ([[1, 2], 3.0], "row 1 .* has no numbers"),
        ([[1, 2], [3, [4]]], "a list"),
        ([["1", "2"]], "a str"),
        ([[1, None]], "a NoneType"),
        ([{0.5: 1, 0.6: 2}], "shape"),
        (np.array([[1, None]], object), "a NoneType"),
        (np.array([["1", "2"]]), "<U1"),
        (ROWS.astype(complex), "complex"),
        (ROWS > 1, "bool"),
        (np.zeros((3, 2), "datetime64[s]"), "datetime64"),
        (ROWS * math.nan, "not a finite number"),
        (ROWS.astype(np.float64) * 1e300, "not a finite number"),
        ([[10**400, 0]], "not a finite number"),
        (np.ma.masked_greater(ROWS, 3), "masked"),
        (np.zeros((500_000, 2)), "500000 robot steps"),
        ([[0.5, 0.5]] * 500_000, "500000 robot steps"),
        (torch.zeros(3, 2, requires_grad=True), "grad"),
        (Liar(), "1000000"),
        (SimpleNamespace(shape=("a", "b")), "."),
        (Bomb(OSError("no memory")), "OSError: no memory"),
        (Bomb(SystemExit("quit")), "SystemExit: quit"),
    ],
)
def test_what_are_no_actions_is_refused_with_its_reason(actions: Any, said: str) -> None:
    with pytest.raises(PlanRefusedError, match=said) as refused:
        read_plan(replace(GOOD, actions=actions), 2)
    assert len(str(refused.value)) < 1000 and "\n" not in str(refused.value)


@pytest.mark.parametrize("reply", [None, "a plan", {"actions": ROWS, "cost": 1.0}, [ROWS], ROWS, PlanReply, object()])
def test_what_is_no_reply_is_refused_by_its_kind(reply: Any) -> None:
    with pytest.raises(PlanRefusedError, match="PlanReply|array|has to be"):
        read_plan(reply, 2)


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(1), GeneratorExit(), MemoryError(), RecursionError("deep")]
)
def test_a_reply_that_raises_is_refused(error: BaseException) -> None:
    with pytest.raises(PlanRefusedError, match=type(error).__name__):
        read_plan(Bomb(error), 2)
    with pytest.raises(KeyboardInterrupt):  # of the user, who wants it to end
        read_plan(Bomb(KeyboardInterrupt()), 2)


@pytest.mark.parametrize(
    "cost", [None, "1.0", b"1", math.nan, math.inf, -math.inf, 1j, [1.0], np.zeros(1), 10**400, {}]
)
def test_a_cost_that_is_none_is_refused(cost: Any) -> None:
    with pytest.raises(PlanRefusedError, match="cost"):
        read_plan(replace(GOOD, cost=cost), 2)


@pytest.mark.parametrize("surprise", ["high", [], 1j, np.zeros(3), {}])
def test_a_surprise_that_is_none_is_refused(surprise: Any) -> None:
    with pytest.raises(PlanRefusedError, match="surprise"):
        read_plan(replace(GOOD, surprise=surprise), 2)


def test_half_a_million_rows_are_not_looked_into() -> None:
    with pytest.raises(PlanRefusedError):
        read_plan(replace(GOOD, actions=[[Counted(), Counted()]] * 500_000), 2)
    assert Counted.reads == 0
    assert read_plan(replace(GOOD, actions=[[Counted(), 1]] * 3), 2).actions.tolist() == [[0.5, 1.0]] * 3


@pytest.mark.parametrize(
    "actions",
    [
        ROWS,
        ROWS.tolist(),
        tuple(map(tuple, ROWS.tolist())),
        list(ROWS),
        [torch.tensor(row) for row in ROWS.tolist()],
        [[np.float32(x) for x in row] for row in ROWS],
        ROWS.astype(np.float16),
        ROWS.astype(np.int8),
        ROWS.astype(">f8"),
        ROWS.astype(object),
        ROWS[::-1][::-1],
        np.asfortranarray(ROWS),
        torch.tensor(ROWS.tolist()),
        np.ma.MaskedArray(ROWS),
    ],
)
def test_any_table_of_numbers_is_a_plan_in_memory_of_its_own(actions: Any) -> None:
    plan = read_plan(replace(GOOD, actions=actions, cost=np.float32(2), surprise=torch.tensor(0.5)), 2)
    np.testing.assert_array_equal(plan.actions, ROWS)
    assert type(plan.actions) is np.ndarray and plan.actions.dtype == np.float32 and plan.surprise == 0.5
    if isinstance(actions, np.ndarray):
        assert not np.shares_memory(plan.actions, actions)


def test_a_reply_of_another_class_and_the_longest_plan_are_taken() -> None:
    assert read_plan(SimpleNamespace(actions=ROWS, cost=0), 2).surprise is None
    assert len(read_plan(replace(GOOD, actions=np.zeros((LONGEST_PLAN, 2))), 2).actions) == LONGEST_PLAN
    assert math.isnan(read_plan(replace(GOOD, surprise=math.nan), 2).surprise or 0.0)


NUMBER = st.floats() | st.integers() | st.booleans() | st.complex_numbers()
ANYTHING = st.recursive(
    NUMBER
    | st.none()
    | st.text(max_size=3)
    | st.sampled_from([ROWS, ROWS * np.nan, Liar(), Bomb(OSError()), object()]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.builds(UserList, st.lists(inner, max_size=3))
    ),
    max_leaves=9,
)


@settings(max_examples=300, deadline=None)
@given(ANYTHING, ANYTHING | st.just(1.0), ANYTHING | st.none())
def test_whatever_a_planner_replies_is_a_plan_or_refused(actions: Any, cost: Any, surprise: Any) -> None:
    try:
        plan = read_plan(PlanReply(actions, 0, cost, 1.0, surprise), 2)
    except PlanRefusedError as refusal:
        assert 0 < len(str(refusal)) < 1000
    else:
        assert plan.actions.dtype == np.float32 and plan.actions.shape[1] == 2 and len(plan.actions) >= 1
        assert np.isfinite(plan.actions).all()
