"""Worlds with a robot: what happens in them is what the simulator makes of their actions, and the exchange is not."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from wmplan.envs.physics_exam.pusht_exam import MOVED, task_states, travel
from wmplan.envs.physics_exam.robot_exam import RobotExam
from wmplan.errors import UserError
from wmplan.exam.quadruplet import Quadruplet
from wmplan.registry import EXAMS


@pytest.fixture(scope="module", params=["pusht", "arm_reach"])
def exam(request: pytest.FixtureRequest) -> Iterator[RobotExam]:
    found: RobotExam = EXAMS[request.param]((32, 32))
    yield found
    found.close()


@pytest.fixture(scope="module")
def push() -> Iterator[RobotExam]:
    found: RobotExam = EXAMS["pusht"]((32, 32))
    yield found
    found.close()


def draw(exam: RobotExam, name: str, seed: int) -> Quadruplet:
    return exam.quadruplet(name, 0, np.random.default_rng(seed))


def test_both_worlds_follow_from_their_actions_and_the_impossible_clips_do_not(exam: RobotExam) -> None:
    for name in exam.properties:
        one = draw(exam, name, 0)
        assert one.clip_actions is not None and one.clip_actions.shape == (4, exam.length, exam.action_dim)
        for world in range(2):
            assert np.array_equal(exam.predict(one, world, 0), one.states[world])
            impossible = one.clip_states[2 + world]
            assert np.array_equal(impossible[: one.break_at], one.states[world, : one.break_at])
            assert not np.array_equal(impossible[-1], one.states[world, -1])
        assert not one.occluded and draw(exam, name, 0).sha256 == one.sha256 != draw(exam, name, 1).sha256


def test_a_command_without_effect(exam: RobotExam) -> None:
    """The frames of a robot that stands still, with the actions of one that goes on."""
    for seed in range(3):
        one = draw(exam, "command", seed)
        first, second = one.frames
        assert np.array_equal(first[: one.break_at + 1], second[: one.break_at + 1])
        assert not np.array_equal(first[-1], second[-1])
        assert one.actions is not None and not one.actions[1, one.break_at :].any()
        assert np.abs(one.actions[0, one.break_at :]).max() > 0


def test_a_block_that_jumps_was_touched_by_no_one(push: RobotExam) -> None:
    for seed in range(4):
        one = draw(push, "teleport", seed)
        assert max(travel(push.env, world[: one.break_at + 1]) for world in one.states) <= MOVED
        here, there = (task_states(push.env, world[one.break_at : one.break_at + 1])[0] for world in one.states)
        assert np.linalg.norm(here[2:4] - there[2:4]) == pytest.approx(one.severity, abs=1e-3)
        assert np.allclose(here[:2], there[:2])  # the pusher is where it was


def test_a_pusher_passes_through(push: RobotExam) -> None:
    """It goes on from the same place with the same command; in one world it pushes, in the other it leaves."""
    for seed in range(4):
        one = draw(push, "passing", seed)
        assert one.actions is not None
        assert np.array_equal(one.actions[0, one.break_at :], one.actions[1, one.break_at :])
        here, there = (task_states(push.env, world[one.break_at : one.break_at + 1])[0] for world in one.states)
        assert np.allclose(here[:2], there[:2], atol=0.02)
        assert travel(push.env, one.states[0]) > 0.02 and travel(push.env, one.states[1]) <= MOVED
        heading = one.actions[0, 0]
        assert (here[2:4] - here[:2]) @ heading > 0 > (there[2:4] - there[:2]) @ heading


def test_a_property_that_it_does_not_have_is_named(push: RobotExam) -> None:
    with pytest.raises(UserError, match="there is no property 'pasing'; did you mean 'passing'"):
        draw(push, "pasing", 0)
