"""What an environment can do is asked by name, and what a missing ability costs is said in one line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wmplan.data.collection import CollectConfig, collect
from wmplan.data.registered import make_environment
from wmplan.environment import ABILITIES, has, missing, require, why_not
from wmplan.errors import UserError
from wmplan.gym.adapter import adapt, resized


@pytest.fixture(scope="module")
def plain() -> Iterator[Any]:
    sys.path.insert(0, str(Path(__file__).parent))  # for worker processes too, which take over the path
    import plain_point

    yield plain_point
    sys.path.remove(str(Path(__file__).parent))


def test_the_native_tasks_have_all_abilities_but_an_expert_and_a_flag_of_success_beside_their_rules() -> None:
    for task in ("PushT", "ArmReach"):
        env = make_environment(f"wmplan.envs:wmplan/{task}-v0", {"image_size": 16})
        missing = ["success", *([] if task == "PushT" else ["goal_mask"]), "expert"]  # all of the arm is robot
        assert [name for name in ABILITIES if not has(env, name)] == missing
        env.close()


def test_an_ability_is_all_of_its_members() -> None:
    half = SimpleNamespace(get_state=lambda: np.zeros(3), task=SimpleNamespace(proprio_names=()))
    assert missing(half, "state") == ["set_state"] and not has(half, "state")
    assert not has(half, "proprioception")  # it has no name
    assert why_not(half, ("state", "simulator")) == (
        "the environment has no set_state (ability state) and no simulate (ability simulator)"
    )
    with pytest.raises(UserError, match=r"the row oracle cannot be had: .* no simulate \(ability simulator\)"):
        require(half, "the row oracle", "simulator")
    half.set_state = lambda state: None
    require(half, "a replay", "state")


def test_a_plain_environment_is_filled_in(plain: Any) -> None:
    env: Any = make_environment(plain.TASK, {"image_size": (16, 24)})
    assert env.image_size == (16, 24) and env.control_rate == 5 and env.task.action_names == ("action_0", "action_1")
    assert env.task.action_high.tolist() == [1, 0.5]
    env.reset(seed=3)
    assert env.observe()["pixels"].shape == (16, 24, 3) and env.observe()["proprio"].shape == (0,)
    np.testing.assert_array_equal(env.render((32, 32)), env.picture(env.point))
    before = env.point
    env.step_physics(np.array([0.5, 0.25]))
    np.testing.assert_allclose(env.point, before + [0.1, 0.05])
    assert [name for name in ABILITIES if has(env, name)] == ["task_state", "success"] and not env.succeeded
    while not env.ended:
        env.step_physics(np.array([1, 0.5]))
    assert env.succeeded
    env.reset(seed=3)
    assert not env.succeeded and not env.ended


def test_the_flag_of_success_is_the_declared_one(plain: Any) -> None:
    class ByEnd(plain.PlainPoint):
        success_flag = "terminated"

        def step(self, action: Any) -> Any:
            *rest, info = super().step(action)
            return *rest, {}

    class Silent(ByEnd):
        success_flag = None

    env, silent = adapt(ByEnd("rgb_array")), adapt(Silent("rgb_array"))
    for one in (env, silent):
        one.reset(seed=0)
        for _ in range(30):
            one.step_physics(np.ones(2) / 2)
    assert env.succeeded and env.ended
    assert has(silent, "success")  # its reset says is_success


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"low": -np.inf, "high": 1.0, "shape": (2,)}, "finite bounds"),
        ({"low": -1.0, "high": 1.0, "shape": (2, 2)}, "one row of numbers"),
        ({"low": 0, "high": 3, "shape": (2,), "dtype": np.int32}, "floats, got int32"),
    ],
)
def test_actions_that_cannot_be_planned_are_named(plain: Any, space: Any, says: str) -> None:
    import gymnasium

    env = plain.PlainPoint("rgb_array")
    env.action_space = gymnasium.spaces.Box(**space)
    with pytest.raises(UserError, match=says):
        adapt(env)


def test_frames_that_are_none_are_named(plain: Any) -> None:
    with pytest.raises(UserError, match=r"render\(\) must give uint8 frames \(H, W, 3\), got NoneType"):
        adapt(plain.PlainPoint())


def test_frames_are_resized_by_their_area() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[:, 4:] = 200
    small = resized(frame, (4, 4))
    assert small.dtype == np.uint8 and small[:, 0].max() < 20 and small[:, 3].min() > 180
    assert resized(frame, (8, 8)) is frame
    assert resized(np.full((5, 7, 3), 90, np.uint8), (16, 9)).min() == 90


@pytest.mark.parametrize("processes", [1, 2])
def test_what_has_no_full_states_is_collected_with_what_it_observes(plain: Any, tmp_path: Path, processes: int) -> None:
    config = CollectConfig(
        plain.TASK, str(tmp_path), 4, steps=6, image_size=(16, 16), processes=processes, episodes_per_shard=2
    )
    store = collect(config)
    assert not {"physics_state", "proprio"} & set(store.columns)
    assert store.meta.control_rate == 5 and store.meta.state_names == ("observation_0", "observation_1")
    point, action = store.episode(0)["state"], store.episode(0)["action"]
    np.testing.assert_allclose(point[1:], np.clip(point[:-1] + 0.2 * action[:-1], -1, 1), 1e-4)
    assert store.lengths.max() <= 7
    actions = store.episode(0)["action"]
    assert np.isnan(actions[-1]).all() and np.isfinite(actions[:-1]).all()
    assert (np.abs(actions[:-1]) <= [1, 0.5]).all()
    with pytest.raises(UserError, match=r"variation=true cannot be had: .*ability variation"):
        collect(CollectConfig(plain.TASK, str(tmp_path / "varied"), 1, steps=2, variation=True))
