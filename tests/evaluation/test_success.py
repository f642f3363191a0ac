"""Success by the task's rules and by the environment's own flag, side by side."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest

from wmplan.data.registered import make_environment
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate
from wmplan.evaluation.success import holds_now, judge_states, rule_names, success_now

TASK = "mine/Opinion-v0"


@pytest.fixture
def opinionated() -> Any:
    """Push-T that calls every state success whose block is on the left, which is none of the task's rules."""
    from wmplan.envs.environment import Environment
    from wmplan.envs.pusht import PushT

    class Opinion(Environment):
        @property
        def succeeded(self) -> bool:
            return bool(self.task_state()[2] < 0)

    gymnasium.register(TASK, entry_point=lambda **options: Opinion(PushT(), **options))
    yield make_environment(TASK, {"image_size": 16})
    del gymnasium.registry[TASK]


def test_both_are_in_the_results_and_the_tasks_first_rule_counts(opinionated: Any, tmp_path: Path) -> None:
    assert rule_names(opinionated) == ["public", "block", "environment"]
    settings: dict[str, Any] = {"episodes": 6, "rows": ["replay"], "workers": 1}
    protocol = Protocol(offset=12, budget=14, episode_steps=40)
    result = evaluate(None, TASK, tmp_path / "out", protocol=protocol, **settings)
    rules = result["rows"]["replay"]["rules"]
    assert list(rules) == ["public", "block", "environment"] and result["protocol"]["rule"] == "public"
    assert rules["public"]["success"] == result["rows"]["replay"]["success"] == 1
    assert 0 < rules["environment"]["success"] < 1
    own = Protocol(offset=12, budget=14, episode_steps=40, rule="environment")
    other = evaluate(None, TASK, tmp_path / "own", protocol=own, **settings)
    assert other["rows"]["replay"]["success"] == rules["environment"]["success"] or other["protocol"]["rule"] == (
        "environment"
    )


def test_the_present_state_is_judged_as_an_episode_is(opinionated: Any) -> None:
    opinionated.reset(seed=1)
    states, flags = [], []
    for action in np.random.default_rng(0).uniform(-0.2, 0.2, (8, 2)):
        opinionated.step_physics(action)
        states.append(opinionated.task_state())
        flags.append(opinionated.succeeded)
    now = holds_now(opinionated)
    judged = judge_states(opinionated, np.stack(states), opinionated.goal, np.array(flags))
    assert {name: one["success_at_end"] for name, one in judged.items()} == now
    assert success_now(opinionated) == now["public"]


def test_steps_are_counted_after_the_start() -> None:
    env: Any = SimpleNamespace(succeeded=False, task=None)
    judge = lambda *flags: judge_states(env, np.empty((len(flags), 0)), np.empty(0), np.array(flags))  # noqa: E731
    assert judge(True, False, True, False)["environment"] == {
        "success": True, "success_step": 2, "success_at_end": False,
    }  # fmt: skip
    assert judge(True, False)["environment"] == {"success": False, "success_step": None, "success_at_end": False}


def test_what_nobody_judges_is_named() -> None:
    with pytest.raises(UserError, match="success cannot be judged: .*abilities rules and success"):
        rule_names(SimpleNamespace(task=None))  # type: ignore[arg-type]
