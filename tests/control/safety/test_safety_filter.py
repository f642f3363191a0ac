"""Limits on velocity, acceleration and place: kept for any input, and together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control.safety.dynamics import fastest
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.safety_filter import LimitsGate
from wmplan.control.safety.workspace import Workspace

BOX = Workspace(low=(-0.2,), high=(0.5,), action=(1,), proprio=(0,), gain=0.1)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 100), st.floats(0.01, 10))
def test_fastest_is_the_largest_step_that_can_still_stop(distance: float, braking: float) -> None:
    def way(step: float) -> float:
        """How far a motion goes that begins with `step` and slows by `braking` each step."""
        total = 0.0
        while step > 0:
            total, step = total + step, step - braking
        return total

    step = float(fastest(np.array(distance), np.array(braking)))
    assert way(step) == pytest.approx(distance, rel=1e-6, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.booleans())
def test_all_limits_hold_together_for_any_wish(seed: int, rate: bool, acceleration: bool, inside: bool) -> None:
    rng = np.random.default_rng(seed)
    limits = Limits(
        low=(-1.0, -0.7),
        high=(0.5, 1.0),
        max_change=tuple(rng.uniform(0.05, 1.0, 2)) if rate else None,
        max_acceleration=tuple(rng.uniform(0.02, 0.5, 2)) if acceleration else None,
        workspace=BOX if inside else None,
        on_non_finite="rest",
    )
    gate = LimitsGate(limits)
    position, last, change = np.zeros(2), np.zeros(2), np.zeros(2)
    for _ in range(60):
        wanted = rng.normal(0, 2, 2) if rng.random() < 0.3 else np.sign(rng.normal(0, 1, 2)) * 3
        if rng.random() < 0.1:
            wanted[0] = np.nan
        resting = rng.random() < 0.2
        sent = (gate.rest(position[None]) if resting else gate(wanted[None], position[None]))[0]
        assert (sent >= np.float32(limits.low)).all() and (sent <= np.float32(limits.high)).all()
        now = sent - last
        if limits.max_change is not None:
            assert (np.abs(now) <= np.array(limits.max_change) + 1e-6).all()
        if limits.max_acceleration is not None:
            assert (np.abs(now - change) <= np.array(limits.max_acceleration) + 1e-6).all()
        position[0] += 0.1 * sent[1]
        if inside:
            assert -0.2 - 1e-5 <= position[0] <= 0.5 + 1e-5
        last, change = sent.astype(np.float64), now


def test_the_way_to_rest_does_not_overshoot() -> None:
    gate = LimitsGate(Limits(low=(-1.0,), high=(1.0,), max_change=(0.4,), max_acceleration=(0.1,)))
    up = [float(gate([[1.0]])[0, 0]) for _ in range(20)]
    assert up[-1] == pytest.approx(1.0)
    down = [float(gate.rest()[0, 0]) for _ in range(20)]
    assert (np.diff(down) <= 1e-7).all() and down[-1] == 0.0


def test_within_the_limits_nothing_changes_and_nothing_is_counted() -> None:
    limits = Limits((-1.0, -1.0), (1.0, 1.0), max_change=(0.2, 0.2), max_acceleration=(0.1, 0.1), workspace=BOX)
    gate = LimitsGate(limits)
    for wanted in ([0.1, 0.0], [0.25, 0.1], [0.4, 0.15], [0.5, 0.15]):
        np.testing.assert_array_equal(gate([wanted], [[0.0, 0.0]])[0], np.float32(wanted))
    assert gate.violations.total() == 0


def test_each_kind_of_violation_has_its_name() -> None:
    gate = LimitsGate(Limits((-1.0,), (1.0,), max_change=(0.5,), max_acceleration=(0.2,)))
    assert gate([[0.4]])[0, 0] == pytest.approx(0.2)
    assert +gate.violations == {"acceleration": 1}
    gate([[3.0]])
    assert +gate.violations == {"acceleration": 2, "bounds": 1, "rate": 1}
    gate = LimitsGate(Limits((-1.0, -1.0), (1.0, 1.0), workspace=BOX))
    assert gate([[0.0, 1.0]], [[0.45, 0.0]])[0, 1] == pytest.approx(0.5, abs=1e-3)
    assert +gate.violations == {"workspace": 1}


def test_out_of_the_box_only_the_way_back_is_open() -> None:
    gate = LimitsGate(Limits((-1.0, -1.0), (1.0, 1.0), workspace=BOX))
    assert gate([[0.0, 1.0]], [[0.8, 0.0]])[0, 1] == pytest.approx(0.0, abs=1e-3)
    assert gate([[0.0, -1.0]], [[0.8, 0.0]])[0, 1] == -1.0


def test_a_workspace_without_the_robots_state_is_refused() -> None:
    with pytest.raises(ValueError, match="proprio"):
        LimitsGate(Limits((-1.0, -1.0), (1.0, 1.0), workspace=BOX))([[0.0, 0.0]])


def test_a_stop_leads_to_rest_within_the_limits_until_reset() -> None:
    gate = LimitsGate(Limits((-1.0,), (1.0,), max_change=(0.3,), on_violation="stop"))
    assert gate([[0.25]])[0, 0] == 0.25 and gate.stopped is None
    assert gate([[5.0]])[0, 0] == 0.0 and gate.stopped == "bounds"
    assert gate([[0.2]])[0, 0] == 0.0
    gate.reset()
    assert gate([[0.2]])[0, 0] == pytest.approx(0.2)


def test_numbers_that_are_not_finite_may_stop_it() -> None:
    gate = LimitsGate(Limits((-1.0,), (1.0,), on_non_finite="stop"))
    assert gate([[np.nan]])[0, 0] == 0.0 and gate.stopped == "non_finite"


def test_a_preview_is_what_is_then_sent() -> None:
    rng = np.random.default_rng(3)
    limits = Limits((-1.0, -1.0), (1.0, 1.0), max_change=(0.3, 0.3), max_acceleration=(0.1, 0.2), workspace=BOX)
    gate = LimitsGate(limits)
    gate([[0.05, 0.1]], [[0.0, 0.0]])
    wishes: list[Any] = [rng.uniform(-2, 2, 2) for _ in range(8)] + [None] * 6
    ahead = gate.preview(wishes)
    counted = gate.violations.copy()
    assert ahead.shape == (14, 2)
    sent = [gate.rest()[0] if wish is None else gate(wish[None])[0] for wish in wishes]
    np.testing.assert_allclose(ahead, np.stack(sent), atol=1e-7)
    assert counted.total() == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_acceleration": (0.0, 1.0)}, "max_acceleration"),
        ({"on_violation": "shout"}, "on_violation"),
        (
            {"rest": (0.0, 0.1), "workspace": BOX},
            "limits: rest must be zero where the workspace counts, or nothing would ever stop",
        ),
        ({"workspace": Workspace((0.0,), (1.0,), (2,), (0,), 1.0)}, "number 2 of an action"),
    ],
)
def test_wrong_limits_name_the_field(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits((-1.0, -1.0), (1.0, 1.0), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"high": (-1.0,)}, "low .* below high"),
        ({"action": (0, 1)}, "action has 2 entries"),
        ({"gain": 0.0}, "gain"),
        ({"action": (-1,)}, "at least 0"),
    ],
)
def test_a_wrong_workspace_names_the_field(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Workspace(**{"low": (0.0,), "high": (1.0,), "action": (0,), "proprio": (0,), "gain": 1.0, **settings})


# ------------------------------------------------------------------ over a reset


@pytest.mark.parametrize("acceleration", [None, (0.04,)])
def test_a_reset_in_motion_begins_at_what_was_sent_last(acceleration: tuple[float, ...] | None) -> None:
    gate = LimitsGate(Limits((-1.0,), (1.0,), max_change=(0.1,), max_acceleration=acceleration))
    sent = [float(gate([[0.9]])[0, 0]) for _ in range(40)]
    assert sent[-1] == pytest.approx(0.9)
    for _ in range(4):
        gate.reset()
        sent += [float(gate([[-1.0]])[0, 0]) for _ in range(6)]
    assert np.abs(np.diff(sent)).max() <= 0.1 + 1e-6 and sent[-1] < 0
    if acceleration is not None:
        assert np.abs(np.diff(sent, 2)).max() <= 0.04 + 1e-6
    gate.reset(at_rest=True)
    assert gate([[-1.0]])[0, 0] == pytest.approx(-0.1 if acceleration is None else -0.04)


def test_the_way_to_rest_goes_on_over_a_reset() -> None:
    gate = LimitsGate(Limits((-1.0,), (1.0,), max_change=(0.1,), estop=lambda: False))
    for _ in range(9):
        gate([[0.9]])
    gate.stop("estop")
    assert gate([[0.9]])[0, 0] == pytest.approx(0.8)
    gate.reset()
    assert gate.stopped is None and gate.rest()[0, 0] == pytest.approx(0.7) and not gate.rests_next


def test_each_robot_is_remembered_and_others_are_at_rest() -> None:
    gate = LimitsGate(Limits((-1.0,), (1.0,), max_change=(0.5,)))
    gate.reset(batch=2)
    gate([[0.5], [-0.5]])
    gate.reset(batch=2)
    np.testing.assert_allclose(gate([[-1.0], [1.0]]), [[0.0], [0.0]])
    gate([[0.5], [0.5]])
    gate.reset(batch=3)  # who is who is not known
    np.testing.assert_allclose(gate([[-1.0], [1.0], [0.2]]), [[-0.5], [0.5], [0.2]])


# ------------------------------------------------------------------ what may come in


@pytest.mark.parametrize(
    "actions", [None, "ab", [["a", "b"]], [[1, 2], [3]], [[1j, 0]], {}, object(), [[None, [1]]], [1.0, 2.0], [[]], 0.5]
)
def test_what_are_no_actions_is_refused_and_nothing_is_sent(actions: Any) -> None:
    gate = LimitsGate(Limits((-1.0, -1.0), (1.0, 1.0)))
    gate([[0.5, 0.5]])
    with pytest.raises(ValueError, match="actions"):
        gate(actions)
    np.testing.assert_array_equal(gate.last, [[0.5, 0.5]])


@pytest.mark.parametrize(
    "wish", [[[10**400, 0]], [[1e308, -1e308]], [[np.inf, 0]], np.array([[np.longdouble(1e300), 0]])]
)
def test_what_is_too_large_is_kept_within_the_limits(wish: Any) -> None:
    gate = LimitsGate(Limits((-1.0, -1.0), (1.0, 1.0), on_non_finite="rest", max_change=(0.5, 0.5)))
    try:
        sent = gate(wish)
    except ValueError:
        sent = gate.last
    assert np.isfinite(sent).all() and (np.abs(sent) <= 0.5).all()


def test_a_state_that_is_not_finite_leaves_the_robot_where_its_actions_led() -> None:
    gate = LimitsGate(Limits((-1.0, -1.0), (1.0, 1.0), workspace=BOX))
    with pytest.raises(ValueError, match="proprio"):
        gate([[0.0, 1.0]], [[np.nan]])
    sent = [float(gate([[0.0, 1.0]], [[0.45] if step == 0 else [np.nan]])[0, 1]) for step in range(20)]
    assert 0.45 + 0.1 * sum(sent) == pytest.approx(0.5, abs=1e-3) and max(sent) <= 0.5 + 1e-6
    for proprio in ([[]], [0.45], [[0.1], [0.2]], "here", [[1j]]):
        with pytest.raises(ValueError, match="proprio"):
            gate([[0.0, 0.0]], proprio)


def test_a_preview_from_a_moment_does_not_see_what_came_later() -> None:
    gate = LimitsGate(Limits((-1.0,), (1.0,), max_change=(0.1,)))
    gate([[0.1]])
    moment = gate.moment
    gate([[0.2]])
    gate.stop("estop")
    np.testing.assert_allclose(gate.preview([[1.0], None], moment)[:, 0], [0.2, 0.1], atol=1e-6)
