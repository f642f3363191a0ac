"""Faults are there when they should be, and random ones come from their seed."""

import numpy as np
import pytest

from wmplan.errors import UserError
from wmplan.robot_sim.faults import KINDS, Fault, FaultSchedule, random_faults


def test_a_fault_lasts_from_its_beginning_to_its_end():
    schedule = FaultSchedule([Fault("network_slow", 1.0, 0.5, 0.3), Fault("network_slow", 1.2, None)])
    sizes = [schedule.size("network_slow", moment) for moment in (0.99, 1.0, 1.3, 1.5, 100.0)]
    assert sizes == [None, 0.3, 0.3, KINDS["network_slow"].default, KINDS["network_slow"].default]
    assert schedule.size("network_lost", 1.2) is None
    assert schedule.names(0.5) == [] and schedule.names(1.3) == ["network_slow"]


def test_the_worst_of_several_counts():
    schedule = FaultSchedule([Fault("camera_delay", 0.0, 2.0, 0.1), Fault("camera_delay", 0.5, 0.5, 0.4)])
    assert [schedule.size("camera_delay", moment) for moment in (0.2, 0.7, 1.2)] == [0.1, 0.4, 0.1]
    assert schedule.sizes("camera_delay", 0.7) == [0.1, 0.4]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kind": "camera_delayed"}, "there is no fault 'camera_delayed'; did you mean 'camera_delay'?"),
        ({"kind": "knock", "at": -1.0}, "fault knock: at must be at least 0 seconds, got -1.0"),
        ({"kind": "knock", "seconds": 0.0}, "fault knock: seconds must be above 0, or null, got 0.0"),
        ({"kind": "camera_frozen", "size": 1.0}, "fault camera_frozen has no size"),
        ({"kind": "frames_dropped", "size": 1.5}, "size must be a number of at least 0 and at most 1, got 1.5"),
        (
            {"kind": "actuator_failed", "size": 0.5},
            "fault actuator_failed: size must be a whole number of at least 0, got 0.5",
        ),
        ({"kind": "camera_delay", "size": float("nan")}, "size must be a number or null, got nan"),
        (
            {"kind": "camera_delay", "size": float("inf")},
            "fault camera_delay: size must be a number of at least 0, got inf",
        ),
    ],
)
def test_what_is_no_fault_is_named(wrong, says):
    with pytest.raises(UserError, match=says.replace("?", r"\?")):
        Fault(**wrong)


def test_random_faults_come_from_their_seed_and_of_every_kind():
    first, again = (random_faults(np.random.default_rng(5), 4, 3.0, 2) for _ in range(2))
    assert first == again != random_faults(np.random.default_rng(6), 4, 3.0, 2)
    many = random_faults(np.random.default_rng(0), 2000, 3.0, 2)
    assert {fault.kind for fault in many} == set(KINDS)
    assert [fault.at for fault in many] == sorted(fault.at for fault in many)
    assert {fault.size for fault in many if fault.kind == "actuator_failed"} == {0.0, 1.0}
    assert all(0.1 <= fault.seconds <= 1.5 for fault in many if fault.seconds)
