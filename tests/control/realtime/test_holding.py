"""The loop of a robot that is told positions: what it gets before the first plan, when plans end, and after a stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmplan.control import Limits, RealtimeConfig, RealtimeController, make_controller
from wmplan.errors import NotPossibleError, UserError
from wmplan.models.base import ModelSpec, WorldModel

KINDS = ("absolute", "velocity")
ARM = Limits((0.2, -1.0), (3.0, 1.0), kinds=KINDS, measured=(1, None))
PLANNER = {"name": "cem", "num_samples": 16, "num_iterations": 2, "num_elites": 4, "horizon": 2}


def positions(step: int, plan: int) -> list[float]:
    """The arm goes from 1 upwards, and turns."""
    return [1.0 + 0.05 * step, 0.3]


def seen(loop: Any, position: float | None) -> dict[str, np.ndarray]:
    """A frame, and the robot's state where it is told: its second number measures the position."""
    picture = loop.picture()
    proprio = np.array([9.0, 0.0 if position is None else position], np.float32)
    return {"pixels": picture["pixels"], **({} if position is None else {"proprio": proprio})}


def test_a_robot_holds_where_it_was_measured_then_where_it_was_sent(simulate: Any, answer: Any) -> None:
    works = [True]

    def planner(now: float) -> Any:
        return answer(0.25) if works[0] else answer(0.03, RuntimeError("gone"))

    loop = simulate(ARM, answer=planner, length=6, actions=positions)
    loop.reset()
    before = [loop.tick(seen(loop, 1.7)) for _ in range(2)]  # the first plan is not there yet
    np.testing.assert_allclose(before, [[1.7, 0.0]] * 2, atol=1e-6)
    for _ in range(6):
        loop.tick(seen(loop, 1.7))
    assert "FOLLOW" in loop.states
    works[0] = False
    while loop.states[-1] == "FOLLOW":
        loop.tick(seen(loop, 0.3))
    last = loop.sent[-2][0]
    for _ in range(40):
        loop.tick(seen(loop, 0.3))
        np.testing.assert_allclose(loop.sent[-1], [last, 0.0], atol=1e-6)
    assert {"HOLD", "SAFE_STOP"} <= set(loop.states) and last > 1.2
    assert loop.loop.is_at_rest
    works[0] = True
    loop.reset()
    np.testing.assert_allclose(loop.tick(seen(loop, 0.3)), [last, 0.0], atol=1e-6)


def test_the_planner_is_told_of_a_robot_that_stands(simulate: Any, answer: Any) -> None:
    loop = simulate(ARM, answer=lambda now: answer(0.35), actions=positions)
    loop.reset()
    for _ in range(3):
        loop.tick(seen(loop, 1.7))
    still = simulate(answer=lambda now: answer(0.35))  # the same robot, told velocities
    still.reset()
    for _ in range(3):
        still.tick()
    request, _, _ = loop.requests[0]
    assert len(request.committed) == len(still.requests[0][0].committed)
    np.testing.assert_allclose(request.committed, np.tile([1.7, 0.0], (len(request.committed), 1)), atol=1e-6)
    while loop.states[-1] != "FOLLOW":
        loop.tick(seen(loop, 1.7))
    for _ in range(6):
        loop.tick(seen(loop, 1.7))
    executed = np.concatenate([one.executed for one, _, _ in loop.requests])
    np.testing.assert_allclose(executed[0], [1.7, 0.0], atol=1e-6)
    assert np.isfinite(executed).all()


def test_nothing_is_sent_before_it_is_known_where_the_robot_is(simulate: Any, answer: Any) -> None:
    loop = simulate(ARM, answer=lambda now: answer(1.0))
    loop.reset()
    with pytest.raises(NotPossibleError, match="nobody knows where yet"):
        loop.tick(seen(loop, None))
    np.testing.assert_allclose(loop.tick(seen(loop, 2.2)), [2.2, 0.0], atol=1e-6)


def test_a_standing_robot_whose_picture_does_not_change_has_no_frozen_camera(simulate: Any) -> None:
    loop = simulate(ARM, actions=lambda step, plan: [2.0, 0.0])  # sent to where it is
    loop.reset()
    same = seen(loop, 2.0)
    for _ in range(60):
        loop.tick(same)
    assert not loop.loop.statistics.counter("rejected")
    moving = simulate(ARM, actions=lambda step, plan: [1.0 + 0.02 * step, 0.0])
    moving.reset()
    same = seen(moving, 1.0)
    for _ in range(60):
        moving.tick(same)
    assert moving.loop.statistics.counter("rejected", "repeated")


class Place(WorldModel):
    """A robot that is told where to be."""

    def __init__(self, measured: tuple[int | None, ...] = ()) -> None:
        super().__init__()
        self.spec = ModelSpec(
            image_size=(8, 8),
            history=1,
            action_block=1,
            action_low=(0.5,),
            action_high=(2.0,),
            action_mean=(1.0,),
            action_std=(0.3,),
            latent_shape=(1,),
            proprio_dim=1,
            proprio_mean=(0.0,),
            proprio_std=(1.0,),
            action_kinds=("absolute",),
            action_measured=measured,
        )

    def encode(self, frames: Any, proprio: Any = None) -> Any:
        return frames.float().mean((2, 3, 4))[..., None] if proprio is None else proprio.clone()

    def rollout(self, context: Any, actions: Any, past_actions: Any = None) -> Any:
        return actions


def observation(place: float) -> dict[str, np.ndarray]:
    return {"pixels": np.zeros((8, 8, 3), np.uint8), "proprio": np.array([place], np.float32)}


def test_controllers_take_the_kinds_over_and_say_what_nothing_tells() -> None:
    with RealtimeController.of(Place((0,)), PLANNER, config=RealtimeConfig(log_seconds=None)) as controller:
        controller.reset(observation(1.9))
        np.testing.assert_allclose(controller.act(observation(1.2)), [1.2], atol=1e-6)
    with pytest.raises(
        UserError, match=r"numbers 0 \(absolute\) of the action are held .*limits.measured.*limits.rest"
    ):
        RealtimeController.of(Place(), PLANNER)
    given = Limits((0.5,), (2.0,), start=(1.1,))  # without kinds, which the model says
    with RealtimeController.of(Place(), PLANNER, limits=given, config=RealtimeConfig(log_seconds=None)) as controller:
        controller.reset(observation(1.9))
        np.testing.assert_allclose(controller.act(observation(1.2)), [1.1], atol=1e-6)
    with pytest.raises(UserError, match="limits.start"):
        make_controller(Place(), PLANNER, limits=Limits((0.5,), (2.0,), max_change=(0.1,)))


@pytest.mark.parametrize("measured", [(), (0,)])
def test_a_controller_that_is_stopped_holds_the_last_position(measured: tuple[int, ...]) -> None:
    pressed = [False]
    limits = Limits((0.5,), (2.0,), estop=lambda: pressed[0])
    controller = make_controller(Place(measured), PLANNER, limits=limits)
    controller.reset(observation(1.9), seeds=0)
    last = [controller.act(observation(1.2))[0] for _ in range(3)][-1]
    pressed[0] = True
    np.testing.assert_allclose([controller.act(observation(0.9))[0] for _ in range(3)], last, atol=1e-6)


def test_a_controller_changes_by_so_much_from_where_the_robot_is() -> None:
    limits = Limits((0.5,), (2.0,), max_change=(0.1,))
    controller = make_controller(Place((0,)), PLANNER, limits=limits)
    controller.reset(observation(1.9), seeds=0)
    np.testing.assert_allclose(controller.act(observation(1.2)), [1.3], atol=0.02)
