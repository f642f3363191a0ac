"""What a robot is sent that is to stand still, by what the server says of its actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmplan_client import resting_action

KINDS = ["velocity", "delta", "absolute", "gripper"]
TOLD: dict[str, Any] = {"action_low": [-1.0, -1.0, 0.2, 0.0], "action_high": [1.0, 1.0, 3.0, 0.08]}


def test_each_kind_rests_as_it_has_to() -> None:
    last = [0.5, -0.5, 2.0, 0.08]
    np.testing.assert_allclose(resting_action(TOLD, last), [0, 0, 0.2, 0])  # an older server says no kinds
    told = {**TOLD, "action_kinds": KINDS, "action_measured": [None, None, 3, None]}
    np.testing.assert_allclose(resting_action(told, last), [0, 0, 2.0, 0.08])
    np.testing.assert_allclose(resting_action(told, last, [0, 0, 0, 1.0]), [0, 0, 2.0, 0.08])
    with pytest.raises(ValueError, match=r"numbers 3 \(gripper\) of the action stay where they are.*give last"):
        resting_action(told, None, [0, 0, 0, 1.0])
    measured = {**told, "action_measured": [None, None, 3, 0]}
    np.testing.assert_allclose(resting_action(measured, None, [0.08, 0, 0, 9.0]), [0, 0, 3.0, 0.08])
    with pytest.raises(ValueError, match="numbers 2 .absolute., 3"):
        resting_action(measured)
