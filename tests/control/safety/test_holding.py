"""What a robot is sent that is to stand still: zero of velocities; of positions, rotations and grippers the last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmplan.control import Limits
from wmplan.control.safety.safety_filter import LimitsGate
from wmplan.control.safety.workspace import Workspace
from wmplan.errors import NotPossibleError, UserError

KINDS = ("velocity", "delta", "absolute", "gripper")
LIMITS = Limits((-1.0, -1.0, 0.2, 0.0), (1.0, 1.0, 3.0, 0.08), kinds=KINDS)


def test_each_kind_rests_as_it_has_to() -> None:
    gate = LimitsGate(replace(LIMITS, start=(None, None, 1.0, 0.08)))
    np.testing.assert_allclose(gate.rest()[0], [0, 0, 1.0, 0.08])  # before anything was sent
    gate([[0.5, -0.5, 2.0, 0.0]])
    for _ in range(3):
        np.testing.assert_allclose(gate.rest()[0], [0, 0, 2.0, 0.0])
    gate.reset()  # goes on from where it is
    np.testing.assert_allclose(gate.rest()[0], [0, 0, 2.0, 0.0])
    gate.reset(at_rest=True)  # it was put elsewhere
    np.testing.assert_allclose(gate.rest()[0], [0, 0, 1.0, 0.08])


def test_rotations_stay_rotations() -> None:
    kinds = ("rotation_6d",) * 6
    gate = LimitsGate(Limits((-1.0,) * 6, (1.0,) * 6, kinds=kinds))
    turned = [[0.6, 0.8, 0, -0.8, 0.6, 0]]
    gate(turned)
    np.testing.assert_allclose(gate.rest(), turned, atol=1e-6)


def test_where_a_robot_is_is_measured_until_something_is_sent() -> None:
    gate = LimitsGate(replace(LIMITS, measured=(None, None, 3, 0), max_change=(0.1, 0.1, 0.1, 1.0)))
    with pytest.raises(NotPossibleError, match=r"numbers 2, 3 of the action are to be held .* nobody knows where yet"):
        gate.rest()
    gate.measure(np.array([[0.08, 9.0, 9.0, 2.5]]))
    np.testing.assert_allclose(gate.rest()[0], [0, 0, 2.5, 0.08])
    np.testing.assert_allclose(gate([[0.0, 0, 0.2, 0]])[0], [0, 0, 2.4, 0], atol=1e-6)  # the change is from there
    gate.measure(np.array([[0.0, 9.0, 9.0, 1.0]]))  # it lags behind what it was sent: that is what counts
    np.testing.assert_allclose(gate.rest()[0, 2], 2.4, atol=1e-6)
    gate.reset(2)
    gate.measure(np.array([[0.08, 9.0, 9.0, 2.5], [0.0, 9.0, 9.0, 7.0]]))
    np.testing.assert_allclose(gate.rest()[:, 2], [2.5, 3.0])  # within the bounds


def test_a_robot_of_which_nothing_is_known_is_sent_its_first_action_unless_changes_are_limited() -> None:
    gate = LimitsGate(LIMITS)
    np.testing.assert_allclose(gate([[0.5, 0.5, 2.9, 0.08]])[0], [0.5, 0.5, 2.9, 0.08], atol=1e-6)
    assert not gate.violations.total()
    for limited in ({"max_change": (0.1, 0.1, 0.1, 1.0)}, {"max_acceleration": (0.1, 0.1, 0.1, 1.0)}):
        with pytest.raises(NotPossibleError, match="numbers 2, 3"):
            LimitsGate(replace(LIMITS, **limited))([[0.5, 0.5, 2.9, 0.08]])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_a_hold_brakes_within_all_limits_and_then_stands(seed: int, rate: bool, acceleration: bool) -> None:
    rng = np.random.default_rng(seed)
    limits = Limits(
        (-1.0, -2.0),
        (1.5, 1.0),
        kinds=("absolute", "velocity"),
        start=(0.3, None),
        max_change=(0.2, 0.3) if rate else None,
        max_acceleration=(0.05, 0.1) if acceleration else None,
    )
    gate, sent = LimitsGate(limits), [np.array([0.3, 0.0]), np.array([0.3, 0.0])]
    for _ in range(int(rng.integers(1, 40))):
        sent.append(gate(rng.uniform(-3, 3, (1, 2)))[0])
    moving = sent[-1][0] - sent[-2][0]
    for _ in range(40):
        sent.append(gate.rest()[0])
    way = np.array(sent)
    assert (way >= np.float32(limits.low)).all() and (way <= np.float32(limits.high)).all()
    change = np.diff(way, axis=0)
    assert not rate or (np.abs(change) <= np.array([0.2, 0.3]) + 1e-6).all()
    assert not acceleration or (np.abs(np.diff(change, axis=0)) <= np.array([0.05, 0.1]) + 1e-6).all()
    np.testing.assert_allclose(change[-5:], 0, atol=1e-6)
    assert abs(sent[-1][1]) < 1e-6
    if not acceleration:
        assert way[-1, 0] == way[-41, 0]  # it stands at once
    elif abs(moving) > 1e-6:  # it goes on a little, the way it went
        assert (way[-1, 0] - way[-41, 0]) * moving >= -1e-9


def test_what_says_where_a_hold_leads_goes_before_the_kinds() -> None:
    gate = LimitsGate(replace(LIMITS, rest=(0.0, 0.0, 0.5, 0.0)))
    gate([[0.5, -0.5, 2.0, 0.08]])
    np.testing.assert_allclose(gate.rest()[0], [0, 0, 0.5, 0.0])
    assert not replace(LIMITS, rest=(0.0, 0.0, 0.5, 0.0)).unknown


def test_limits_are_made_of_what_a_server_says() -> None:
    told: dict[str, Any] = {"action_low": [-1.0, 0.0], "action_high": [1.0, 2.0]}
    assert not Limits.of(told).held.any()  # an older server says no kinds
    told |= {"action_kinds": ["velocity", "absolute"], "action_measured": [None, 4]}
    found = Limits.of(told, max_change=(0.1, 0.2))
    assert found.held.tolist() == [False, True] and found.measured == (None, 4) and found.max_change == (0.1, 0.2)
    plain = Limits((-1.0, 0.0), (1.0, 2.0))
    assert plain.knowing(told).measured == (None, 4)
    own = replace(plain, kinds=("velocity", "velocity"))
    assert own.knowing(told) is own  # what the user says stays
    assert replace(plain, measured=(None, 1)).knowing(told).measured == (None, 1)
    assert Limits.of({**told, "action_measured": []}).unknown == [1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kinds": ("velocity",)}, "kinds has 1 entries"),
        ({"kinds": (*KINDS[:3], "hand")}, "kinds must be of velocity"),
        ({"measured": (0, 1)}, "measured has 2 entries"),
        ({"measured": (None, None, -1, None)}, "measured must be numbers of the robot's state from 0 on"),
        ({"start": (0.0,)}, "start has 1 entries"),
        ({"start": (None, None, float("nan"), None)}, "start"),
        (
            {"workspace": Workspace((-1.0,), (1.0,), action=(2,), proprio=(0,), gain=0.1)},
            "number 2 of the action is a position: low and high are its box",
        ),
    ],
)
def test_what_cannot_be_is_named(wrong: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        replace(LIMITS, **wrong)
