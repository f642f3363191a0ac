"""What success is: every rule of the task, and what the environment itself says, judged in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmplan.environment import PlanningEnvironment, has
from wmplan.errors import UserError

ENVIRONMENT = "environment"
"""Name, beside the task's rules, of success by the environment's own flag."""


def rule_names(env: PlanningEnvironment) -> list[str]:
    """The rules by which success is judged: the task's, the first of which counts, then the environment's own.

    Raises:
        UserError: if there is neither.
    """
    names = list(env.task.rules(env.goal, env.goal)) if has(env, "rules") else []
    if has(env, "success"):
        names.append(ENVIRONMENT)
    if not names:
        raise UserError(
            "success cannot be judged: the environment has no rules and tells no success (abilities rules and success; "
            "wmplan.environment describes them); say env.success=MODULE:NAME, a rule of yours"
        )
    return names


def holds_now(env: PlanningEnvironment) -> dict[str, bool]:
    """Whether each of rule_names() holds in the present state."""
    rules = env.task.rules(env.task_state(), env.goal) if has(env, "rules") else {}
    now = {name: bool(holds) for name, holds in rules.items()}
    return now | ({ENVIRONMENT: bool(env.succeeded)} if has(env, "success") else {})  # type: ignore[attr-defined]


def success_now(env: PlanningEnvironment) -> bool:
    """Whether the rule that counts holds in the present state."""
    return next(iter(holds_now(env).values()))


def judge_states(
    env: PlanningEnvironment,
    states: NDArray[Any],
    goal: NDArray[Any],
    succeeded: NDArray[np.bool_] | None = None,
    every: int = 1,
) -> dict[str, dict[str, Any]]:
    """Success of an episode by every rule.

    Args:
        states: task states at its start and after every robot step, (T + 1, D).
        goal: task state of the goal, (D,).
        succeeded: what the environment itself said at these times, (T + 1,); None where it says nothing.
        every: robot steps between two times at which success is read; the last is always one.

    Returns:
        rule -> `success` at any of these times after the start, `success_step` the first of them or None,
        `success_at_end`.
    """
    by_rule = dict(env.task.rules(states, goal)) if has(env, "rules") else {}
    if succeeded is not None:
        by_rule[ENVIRONMENT] = succeeded
    judged = {}
    for name, holds in by_rule.items():
        steps = np.arange(len(holds))
        read = (steps > 0) & ((steps % every == 0) | (steps == len(holds) - 1))
        held = np.flatnonzero(np.asarray(holds) & read)  # robot steps after which the rule held
        first = int(held[0]) if held.size else None
        judged[name] = {"success": first is not None, "success_step": first, "success_at_end": bool(holds[-1])}
    return judged
