"""Who plays the instances: the planner, and those it has to be compared with."""

from __future__ import annotations

import time
import warnings
from abc import ABC
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wmplan.client.goals import MaskedGoal
from wmplan.control.backend import Goal
from wmplan.control.controller import Controller
from wmplan.control.safety.limits import Limits
from wmplan.control.safety.safety_filter import LimitsGate
from wmplan.control.schedule import FollowedPlan, Schedule
from wmplan.environment import PlanningEnvironment, require, why_not
from wmplan.evaluation.instances import Instance, idle_action
from wmplan.evaluation.oracle import OracleCost
from wmplan.evaluation.protocol import Protocol
from wmplan.planning.planner import Plan, Planner

DEFAULT_ROWS = ("planner", "noop", "random", "replay")
ALL_ROWS = (*DEFAULT_ROWS, "oracle")


class Row(ABC):
    """Plays one instance after another.

    Attributes:
        new_plan: the plan that the newest act() made, None where it made none.
        plan_ms: how long that took, from observation to action.
    """

    name: ClassVar[str]
    new_plan: Plan | None = None
    plan_ms: float = 0.0

    def begin(self, env: PlanningEnvironment, instance: Instance, seed: int) -> None:
        """Prepare for an instance whose start the environment stands at."""
        self.env, self.instance, self.step = env, instance, 0

    def act(self) -> NDArray[np.float32]:
        """The action of this robot step, of shape (a,)."""
        action = self.choose()
        self.step += 1
        return action

    def choose(self) -> NDArray[np.float32]:
        """What act() gives at robot step `self.step`."""
        return idle_action(self.env).astype(np.float32)


class NoopRow(Row):
    """Does nothing."""

    name = "noop"


class RandomRow(Row):
    """A fresh uniform action at every robot step."""

    name = "random"

    def begin(self, env: PlanningEnvironment, instance: Instance, seed: int) -> None:
        super().begin(env, instance, seed)
        self.rng = np.random.default_rng(seed)

    def choose(self) -> NDArray[np.float32]:
        return self.rng.uniform(self.env.task.action_low, self.env.task.action_high).astype(np.float32)


class ReplayRow(Row):
    """What the collection policy did, then nothing: below 100 % success something is wrong with states or rules."""

    name = "replay"

    def choose(self) -> NDArray[np.float32]:
        if self.step < len(self.instance.actions):
            return self.instance.actions[self.step]
        return super().choose()


class PlannerRow(Row):
    """The controller with a world model, which sees the frames and the goal's image.

    Args:
        protocol: what it gets to see of the robot's state, now and at the goal.
    """

    name = "planner"

    def __init__(self, controller: Controller, protocol: Protocol) -> None:
        self.controller, self.protocol = controller, protocol

    def begin(self, env: PlanningEnvironment, instance: Instance, seed: int) -> None:
        super().begin(env, instance, seed)
        self.controller.reset(shown_goal(env, self.protocol), seeds=[seed], at_rest=True)

    def choose(self) -> NDArray[np.float32]:
        observation = self.env.observe()
        if self.protocol.proprio:
            action = self.controller.act(observation)
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "an observation without 'proprio'")  # as was asked for
                action = self.controller.act({"pixels": observation["pixels"]})
        self.new_plan = self.controller.last_plan if self.controller.planned else None
        self.plan_ms = self.controller.plan_ms
        return action


def shown_goal(env: PlanningEnvironment, protocol: Protocol) -> Goal:
    """What a planner gets of the environment's goal.

    Raises:
        UserError: if the robot is to be masked out, and the environment does not tell where it is.
    """
    goal = env.goal_observation()
    if protocol.goal == "image+proprio":
        return goal
    if protocol.goal == "image":
        return {"pixels": goal["pixels"]}
    require(env, "protocol.goal=scene", "goal_mask")
    return MaskedGoal(goal["pixels"], env.goal_mask())  # type: ignore[attr-defined]  # asked for


class OracleRow(Row):
    """The same search at the same times, over the true simulator with the task's own distance as cost."""

    name = "oracle"

    def __init__(self, planner: Planner, schedule: Schedule, action_block: int) -> None:
        schedule.check(planner.config.horizon, action_block)
        self.planner, self.schedule, self.action_block = planner, schedule, action_block

    def begin(self, env: PlanningEnvironment, instance: Instance, seed: int) -> None:
        super().begin(env, instance, seed)
        self.cost = OracleCost([env])
        self.gate = LimitsGate(Limits(tuple(env.task.action_low), tuple(env.task.action_high)))
        self.planner.reset([seed])
        self.followed: FollowedPlan | None = None

    def choose(self) -> NDArray[np.float32]:
        self.new_plan = None
        if self.followed is None or self.followed.is_over:
            began = time.perf_counter()
            self.new_plan = self.planner.plan(
                self.cost,
                horizon=self.schedule.horizon(self.step, self.action_block, self.planner.config.horizon),
                elapsed=None if self.followed is None else self.followed.step,
            )
            actions = self.new_plan.actions.reshape(-1, len(self.env.task.action_low)).cpu().numpy().copy()
            self.followed = FollowedPlan(actions, self.schedule.replan_every or self.action_block)
            self.plan_ms = 1000 * (time.perf_counter() - began)
        return self.gate(self.followed.next_action()[None])[0]


def absent_rows(env: PlanningEnvironment, instances: Sequence[Instance]) -> dict[str, str]:
    """The rows that cannot be played, with the reason."""
    absent = {}
    if (reason := why_not(env, ("simulator", "rules"))) is not None:
        absent["oracle"] = reason
    if any(not len(instance.actions) for instance in instances):
        absent["replay"] = "nobody knows actions that lead to these goals"
    return absent
