"""A model of another task is refused with what to give instead."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wmplan
from wmplan import cli
from wmplan.data.registered import make_environment
from wmplan.errors import UserError
from wmplan.evaluation import Protocol, evaluate
from wmplan.evaluation.fit import require_fit
from wmplan.models import shipped_models
from wmplan.models.loading import tasks_of
from wmplan.registry import TASKS

CARDS = shipped_models()
ARM, PUSH = "wmplan.envs:wmplan/ArmReach-v0", "wmplan.envs:wmplan/PushT-v0"


@pytest.fixture
def point_world() -> Iterator[Any]:
    sys.path.insert(0, str(Path(__file__).parent))
    import point_world

    yield point_world
    sys.path.remove(str(Path(__file__).parent))


@pytest.mark.parametrize(("name", "task"), [("pusht", ARM), ("arm_reach", PUSH)])
def test_a_shipped_model_of_another_task_names_the_right_one(name: str, task: str) -> None:
    env = make_environment(task, {})
    right = next(one for one, card in shipped_models().items() if card["task"] == task)
    with pytest.raises(UserError, match=rf"^model {name}, which was .* numbers, the task's have .* give model={right}"):
        require_fit(wmplan.load(name), name, env, task)
    env.close()


@pytest.mark.parametrize(("name", "task"), [(name, task) for name, card in CARDS.items() for task in tasks_of(card)])
def test_every_shipped_model_fits_its_tasks(name: str, task: str) -> None:
    suite = next((one.suite for one in TASKS.values() if one.id == task), None)
    if suite is not None and not suite.is_installed:
        pytest.skip(f"{suite.versions[0]} is not installed")
    env = make_environment(task, {})
    require_fit(wmplan.load(name), name, env, task)
    env.close()


def test_the_model_is_by_default_that_of_the_task() -> None:
    for command in ("eval", "robot"):
        for task in ("pusht", "arm_reach"):
            assert cli.read_settings(command, [f"task={task}", "out=x"])["model"] == task
        assert cli.read_settings(command, ["task=arm_reach", "model=mine", "out=x"])["model"] == "mine"


def test_a_model_without_a_card_is_refused_too(point_world: Any, tmp_path: Path) -> None:
    protocol = Protocol(offset=12, budget=3, episode_steps=40)
    with pytest.raises(UserError, match=r"^model PointWorld has actions of 2 numbers, .*: give model=arm_reach"):
        evaluate(point_world.PointWorld(), ARM, tmp_path / "a", protocol=protocol, episodes=1, rows=["planner"])
    other = evaluate(
        point_world.PointWorld(), ARM, tmp_path / "b", protocol=protocol, episodes=1, rows=["noop"], workers=1
    )
    assert list(other["rows"]) == ["noop"]  # which needs no model


def test_a_state_that_the_model_reads_off_the_frames_is_not_asked_for() -> None:
    env = make_environment(ARM, {})
    model = wmplan.load("arm_reach")
    object.__setattr__(model.spec, "proprio_dim", 3)
    with pytest.raises(UserError, match="robot states of 3 numbers"):
        require_fit(model, "x", env, ARM)
    require_fit(model, "x", env, ARM, proprio=False)
    env.close()
