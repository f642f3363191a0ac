"""What the robot needs of an environment beyond what planning and evaluation need."""

from __future__ import annotations

from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from wmplan.data.environment import Array, PlanningEnvironment, PlanningTask, PlanningVariation
from wmplan.errors import UserError


class RobotTask(PlanningTask, Protocol):
    """A task that is simulated in physics steps."""

    @property
    def substeps(self) -> int:
        """Physics steps in one robot step."""

    @property
    def incremental(self) -> bool:
        """Whether an action says by how much the command changes, and not what it is."""


class RobotVariation(PlanningVariation, Protocol):
    """Factors of variation that can be changed while the robot moves."""

    def apply(self, factors: dict[str, Any]) -> None:
        """Set the named factors, and make the others nominal."""


@runtime_checkable
class RobotEnvironment(PlanningEnvironment, Protocol):
    """An environment that can be driven in physics steps."""

    @property
    def task(self) -> RobotTask: ...
    @property
    def variation(self) -> RobotVariation: ...

    def advance_part(self, action: Array, substeps: int) -> None:
        """Give the command of `action`, and simulate so many physics steps."""

    def knock(self, speed: float, rng: np.random.Generator) -> None:
        """Set what the task moves going in a random direction."""


def make_robot_environment(task: str, options: dict[str, Any]) -> RobotEnvironment:
    """The environment of a Gymnasium id, unwrapped.

    Raises:
        UserError: if there is no such task, or it cannot be driven in real time.
    """
    from wmplan.data.registered import make_environment

    env: Any = make_environment(task, options)
    if not isinstance(env, RobotEnvironment):
        raise UserError(f"task {task!r} cannot be run in real time: it lacks advance_part() or knock()")
    return cast(RobotEnvironment, env)
