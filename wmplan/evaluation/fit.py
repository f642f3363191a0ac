"""Whether a model is one for a task."""

from __future__ import annotations

from wmplan.environment import PlanningEnvironment
from wmplan.errors import UserError
from wmplan.models.base import WorldModel
from wmplan.models.loading import shipped_models, tasks_of
from wmplan.registry import TASKS


def require_fit(model: WorldModel, name: str, env: PlanningEnvironment, task: str, proprio: bool = True) -> None:
    """Check that a model has the task's actions, robot state and control rate.

    Args:
        model: the world model.
        name: what the user calls it.
        env: an environment of the task.
        task: Gymnasium id.
        proprio: whether the model gets the robot's state from the environment.

    Raises:
        UserError: naming both sides, and a model that would be right where one is shipped.
    """
    spec, actions, state = model.spec, len(env.task.action_low), len(env.task.proprio_names)
    differs = []
    if spec.action_dim != actions:
        differs.append(f"actions of {spec.action_dim} numbers, the task's have {actions}")
    if proprio and spec.proprio_dim not in (0, state):
        differs.append(f"robot states of {spec.proprio_dim} numbers, the task's have {state}")
    if abs(spec.control_rate - env.control_rate) > 1e-6:
        differs.append(f"{spec.control_rate:g} robot steps a second, the task has {env.control_rate:g}")
    if not differs:
        return
    identity = model.card.get("task")
    home = next((one for one, entry in TASKS.items() if entry.id == identity), identity)
    own = f", which was trained for {home}," if home else ""
    right = [f"model={one}" for one, card in shipped_models().items() if task in tasks_of(card)]
    advice = " or ".join(right) if right else "model=... for one of that task"
    raise UserError(f"model {name}{own} has {'; '.join(differs)}: give {advice}, or another task=...")
