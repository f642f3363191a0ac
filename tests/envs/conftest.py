"""Both tasks, as everyone else gets them."""

from collections.abc import Iterator

import gymnasium
import pytest

from wmplan.envs.environment import Environment

TASKS = ("PushT", "ArmReach")


def make(task: str, **options: object) -> Environment:
    env = gymnasium.make(f"wmplan.envs:wmplan/{task}-v0", **options).unwrapped
    assert isinstance(env, Environment)
    return env


@pytest.fixture(params=TASKS)
def env(request: pytest.FixtureRequest) -> Iterator[Environment]:
    env = make(request.param)
    yield env
    env.close()


@pytest.fixture
def push() -> Iterator[Environment]:
    env = make("PushT")
    yield env
    env.close()


@pytest.fixture
def reach() -> Iterator[Environment]:
    env = make("ArmReach")
    yield env
    env.close()
